"""What `experiments.den_capacity` shows: accuracy over capacity, and capacity relative to separate networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from agents.saving import write_atomically, write_json
from experiments.continual import Case, Outcome
from experiments.continual_tables import figures, logarithmic
from growenv.hardware import Architecture
from growenv.hardware.mosaic.meter import MosaicMeter
from growenv.metrics import average_accuracy
from growenv.protection import PROTECTIONS

CHIP = "large"
"""Preset of the chip of whose memristors shares are given; channels count as unlimited."""
CLAIMS = {
    "noisy": "18.0 % of ten separate networks, DEN on MNIST-Variation (Yoon et al. 2018, quoted second-hand)",
}
SEPARATE = "separate"
CAPACITIES = {"parameters": "parameters", "macs": "multiply-accumulates"}
HEAD = ("system", "width", "ACC ± SD", "parameters", "MACs", "memristors", "of separate, same accuracy")


def equal_capacity(accuracy: float, capacities: ArrayLike, accuracies: ArrayLike) -> float:
    """Capacity at which a curve reaches an accuracy, interpolated linearly over the logarithm of capacity.

    A point that a smaller network beats is left out. NaN below the curve's smallest and above its greatest accuracy.

    Args:
        accuracy: what is to be reached.
        capacities: of the curve's points, (P,), above 0.
        accuracies: of the curve's points, (P,).
    """
    order = np.argsort(capacities, kind="stable")
    size, reached = np.log(np.asarray(capacities, dtype=np.float64)[order]), np.asarray(accuracies)[order]
    best = np.concatenate(([True], reached[1:] > np.maximum.accumulate(reached)[:-1]))
    size, reached = size[best], reached[best]
    if not reached[0] <= accuracy <= reached[-1]:
        return float("nan")
    return float(np.exp(np.interp(accuracy, reached, size)))


def memristors(case: Case, outcome: Outcome, tasks: int) -> float:
    """Mean over seeds of the share of the chip's memristors; NaN where the chip has too few neurons."""
    units = np.array(outcome.units, dtype=np.int64)
    outputs = np.full(units.shape[:2], case.protocol.data().classes, dtype=np.int64)
    directed = bool(case.protection.build(PROTECTIONS.make).directed)
    network = Architecture(case.protocol.data().features, units, outputs, directed=directed)
    try:
        share = MosaicMeter(CHIP, routing_weight=0.0).usage(network)
    except ValueError:
        return float("nan")
    return float(share.reshape(-1, tasks // units.shape[1]).sum(axis=1).mean())


def point(case: Case, own: Outcome, whole: Outcome, tasks: int) -> dict[str, Any]:
    """One point of a curve as plain types, accuracies in percent."""
    system, _, width = case.name.rpartition(" x")
    accuracy = figures(100 * average_accuracy(np.array(whole.matrix)))
    return {
        "stream": case.protocol.name,
        "system": system,
        "width": width,
        "acc": accuracy.mean,
        "sd": None if np.isnan(accuracy.sd) else accuracy.sd,
        "parameters": float(np.mean(whole.parameters)),
        "macs": float(np.mean(whole.macs)),
        "memristors": _plain(memristors(case, own, tasks)),
    }


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value


def relative(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The points, each with its parameters and multiply-accumulates relative to separate networks as accurate as it."""
    answers = []
    for each in points:
        curve = [other for other in points if (other["system"], other["stream"]) == (SEPARATE, each["stream"])]
        shares: dict[str, float | None] = {}
        for name in CAPACITIES:
            sizes, reached = [other[name] for other in curve], [other["acc"] for other in curve]
            same = equal_capacity(each["acc"], sizes, reached) if curve else float("nan")
            shares[f"relative_{name}"] = _plain(each[name] / same)
        answers.append({**each, **shares})
    return answers


def claims(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each stream and system, its smallest network that is as accurate as the largest separate ones.

    Returns:
        Stream, system, the accuracy that was asked for, the system's best accuracy, and the share of parameters of that
        smallest network; None where none is as accurate.
    """
    found = []
    for stream in dict.fromkeys(each["stream"] for each in points):
        here = [each for each in points if each["stream"] == stream]
        separate = [each for each in here if each["system"] == SEPARATE]
        if not separate:
            continue
        largest = max(separate, key=lambda each: float(each["parameters"]))
        for system in dict.fromkeys(each["system"] for each in here if each["system"] != SEPARATE):
            own = [each for each in here if each["system"] == system]
            enough = [each["parameters"] / largest["parameters"] for each in own if each["acc"] >= largest["acc"]]
            best = max(each["acc"] for each in own)
            share = min(enough) if enough else None
            found.append({"stream": stream, "system": system, "asked": largest["acc"], "best": best, "share": share})
    return found


def draw(points: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Accuracy over parameters and over multiply-accumulates, a row of panels for each stream."""
    streams = list(dict.fromkeys(each["stream"] for each in points))
    figure = Figure(figsize=(10, 3.4 * len(streams)), layout="constrained")
    FigureCanvasAgg(figure)
    panels: NDArray[Any] = figure.subplots(len(streams), len(CAPACITIES), squeeze=False)
    systems = list(dict.fromkeys(each["system"] for each in points))
    for stream, row in zip(streams, panels, strict=True):
        for (name, label), axes in zip(CAPACITIES.items(), row, strict=True):
            for number, system in enumerate(systems):
                own = [each for each in points if (each["stream"], each["system"]) == (stream, system)]
                own.sort(key=lambda each: float(each[name]))
                size, acc, error = ([each[key] or 0.0 for each in own] for key in (name, "acc", "sd"))
                style = "--" if system == SEPARATE else "-"
                axes.errorbar(size, acc, error, fmt=f"o{style}", color=f"C{number}", markersize=4, label=system)
            logarithmic(axes)
            axes.set_xlabel(label)
            axes.grid(color="#dddddd", linewidth=0.6)
        row[0].set_ylabel(f"{stream}: accuracy, %")
    panels[0, 0].legend(fontsize=7)
    figure.savefig(path, dpi=120)


def table(points: Sequence[Mapping[str, Any]], stream: str) -> str:
    """The points of one stream as a Markdown table."""
    rows: list[Sequence[str]] = [HEAD, ["---"] * len(HEAD)]
    for each in points:
        if each["stream"] != stream:
            continue
        sd = "" if each["sd"] is None else f" ± {each['sd']:.2f}"
        share, chip = each["relative_parameters"], each["memristors"]
        rows.append(
            (
                *(each["system"], each["width"], f"{each['acc']:.2f}{sd}"),
                *(f"{each['parameters']:,.0f}", f"{each['macs']:,.0f}"),
                "does not fit" if chip is None else f"{100 * chip:.2f} %",
                "–" if share is None else f"{100 * share:.1f} %",
            )
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def said(claim: Mapping[str, Any]) -> str:
    """One claim as a sentence."""
    where = f"- {claim['stream']}, {claim['system']}: "
    if claim["share"] is None:
        asked, best = (f"{claim[name]:.2f} %" for name in ("asked", "best"))
        return f"{where}no network reaches the {asked} of separate networks; its best is {best}."
    return f"{where}{100 * claim['share']:.1f} % of their parameters for at least their {claim['asked']:.2f} %."


def write_capacity(folder: Path, command: str, runs: Sequence[tuple[Case, Outcome, Outcome]], tasks: int) -> str:
    """Write ``capacity.json``, ``capacity.md`` and ``capacity.png``.

    Args:
        folder: where.
        command: what made them.
        runs: cases, what came of each, and that as one system for all tasks.
        tasks: tasks of a stream.

    Returns:
        The page.
    """
    points = relative([point(case, own, whole, tasks) for case, own, whole in runs])
    held = claims(points)
    write_json(folder / "capacity.json", {"command": command, "points": points, "claims": held})
    draw(points, folder / "capacity.png")
    about = (
        "Capacity counts all weights and biases, zeros included, heads too; memristors are shares of the "
        f"`{CHIP}` Mosaic chip, synapses and routing, as if channels had no limit. The last column is a network's "
        "parameters relative to separate networks of the same accuracy, interpolated over the logarithm of their size; "
        "– where no separate networks are that bad or that good."
    )
    parts = ["# Accuracy over capacity", f"`{command}`", "![Accuracy over capacity](capacity.png)", about]
    for stream in dict.fromkeys(each["stream"] for each in points):
        parts += [f"## {stream}", table(points, stream)]
        parts += [f"Published: {CLAIMS[stream]}."] if CLAIMS.get(stream) else []
    parts += ["## As accurate as the largest separate networks", "\n".join(map(said, held)) or "None were run."]
    page = "\n\n".join(parts) + "\n"
    write_atomically(folder / "capacity.md", page.encode())
    return page
