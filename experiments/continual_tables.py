"""Tables and pictures of continual-learning experiments: our figures beside the published ones, never mixed."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike
from scipy.stats import t as student  # type: ignore[import-untyped]

from agents.saving import write_atomically, write_json
from agents.training.run_folder import versions
from experiments.continual import RESULTS, Case, Outcome
from growenv.metrics import average_accuracy, backward_transfer, forgetting

PUBLISHED = RESULTS / "published.csv"
COLUMNS = ("system", "scenario", "protocol", "metric", "value", "spread", "certainty", "source")
MIXED = "mixed"
"""Protocol of published tables whose rows come from different ones; such a row stands beside reruns of any protocol."""
HEAD = (
    *("protocol", "scenario", "system", "seeds", "ACC ± SD", "95 % interval", "BWT", "forgetting"),
    *("widths", "bytes", "memory bytes", "MACs", "published", "our row"),
)


@dataclass(frozen=True)
class Figures:
    """Mean, standard deviation and the 95 % interval of the mean over seeds; NaN where one seed says nothing."""

    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Published:
    """A number that somebody published.

    Attributes:
        system, scenario, protocol, metric: what it is about.
        value: the number, accuracies in percent.
        spread: as it was printed, "" where none was.
        certainty: how it is known, for example ``secondary``.
        source: where.
    """

    system: str
    scenario: str
    protocol: str
    metric: str
    value: float
    spread: str
    certainty: str
    source: str

    def __str__(self) -> str:
        spread = f" ± {self.spread}" if self.spread else ""
        return f"{self.value:g}{spread} ({self.protocol}, {self.certainty})"


def figures(values: ArrayLike) -> Figures:
    """Mean, SD (divisor n - 1) and Student's 95 % interval of the mean over seeds.

    Args:
        values: one number for each seed, shape (N,).
    """
    numbers = np.asarray(values, dtype=np.float64)
    mean, count = float(numbers.mean()), len(numbers)
    if count == 1:
        return Figures(mean, math.nan, math.nan, math.nan)
    sd = float(numbers.std(ddof=1))
    half = float(student.ppf(0.975, count - 1)) * sd / math.sqrt(count)
    return Figures(mean, sd, mean - half, mean + half)


def published(path: Path = PUBLISHED) -> list[Published]:
    """All published numbers of a file.

    Raises:
        ValueError: other columns than `COLUMNS`, or a value that is no number.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path} has the columns {reader.fieldnames}, expected {', '.join(COLUMNS)}")
        return [_published({**line, "value": _number(line["value"], path, reader.line_num)}) for line in reader]


def _published(plain: Mapping[str, Any]) -> Published:
    return Published(**{name: plain[name] for name in COLUMNS})


def _number(text: str, path: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{path}, line {line}: the value is {text!r}, expected a number; leave out what is not known")
    return value


def beside(case: Case, known: Sequence[Published]) -> list[Published]:
    """Published accuracies of the case's system, in its scenario, under its protocol or in a mixed table."""
    return [
        number
        for number in known
        if number.system == case.system != ""
        and number.metric == "ACC"
        and case.scenario.startswith(number.scenario)
        and number.protocol in (case.protocol.name, MIXED)
    ]


def verdict(ours: Figures, theirs: Published) -> str:
    """How our mean lies to a published value: within its spread, so near that our interval holds it, above, or below.

    What was published without a spread has only our interval to be judged by.
    """
    difference = ours.mean - theirs.value
    if theirs.spread and abs(difference) <= float(theirs.spread):
        return "within its spread"
    if math.isnan(ours.low):
        return f"{difference:+.2f}, one seed"
    if ours.low <= theirs.value <= ours.high:
        return "our interval holds it"
    return f"above by {difference:.2f}" if difference > 0 else f"misses by {-difference:.2f}"


def line_of(case: Case, outcome: Outcome, known: Sequence[Published]) -> dict[str, Any]:
    """All figures of one line as plain types, accuracies in percent."""
    matrix = np.array(outcome.matrix)
    accuracy = figures(100 * average_accuracy(matrix))
    numbers = beside(case, known)
    return {
        "key": case.key,
        "protocol": case.protocol.name,
        "scenario": case.scenario,
        "system": case.name,
        "seeds": len(matrix),
        "acc": _known(accuracy),
        "bwt": _known(figures(100 * backward_transfer(matrix))),
        "forgetting": _known(figures(100 * forgetting(matrix))),
        "widths": np.array(outcome.units).sum(axis=1).mean(axis=0).tolist(),
        "parameters": float(np.mean(outcome.parameters)),
        "network_bytes": float(np.mean(outcome.network_bytes)),
        "memory_bytes": float(np.mean(outcome.memory_bytes)),
        "macs": float(np.mean(outcome.macs)),
        "seconds": outcome.seconds,
        "published": [{**vars(number), "verdict": verdict(accuracy, number)} for number in numbers],
        "note": case.note,
    }


def _known(ours: Figures) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in vars(ours).items()}


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Lines of `line_of` as a Markdown table."""
    rows = [HEAD, ["---"] * len(HEAD), *map(_cells, lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cells(line: Mapping[str, Any]) -> list[str]:
    acc = line["acc"]
    one = acc["sd"] is None
    numbers = [_published(number) for number in line["published"]]
    return [
        *(line["protocol"], line["scenario"], line["system"], str(line["seeds"])),
        f"{acc['mean']:.2f}" if one else f"{acc['mean']:.2f} ± {acc['sd']:.2f}",
        "–" if one else f"{acc['low']:.2f} … {acc['high']:.2f}",
        *(f"{line[name]['mean']:.2f}" for name in ("bwt", "forgetting")),
        "/".join(f"{width:.0f}" for width in line["widths"]),
        *(f"{line[name]:,.0f}" for name in ("network_bytes", "memory_bytes", "macs")),
        "; ".join(map(str, numbers)) or "–",
        "; ".join(number["verdict"] for number in line["published"]) or "–",
    ]


def logarithmic(axes: Axes) -> None:
    """A logarithmic horizontal axis whose numbers are short: 1, 2 and 5 times powers of ten, as 500, 20k, 1M."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(_short))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _short(value: float, place: int | None = None) -> str:
    size, unit = next(((size, unit) for size, unit in ((1e6, "M"), (1e3, "k")) if value >= size), (1.0, ""))
    return f"{value / size:g}{unit}"


def draw(lines: Sequence[Mapping[str, Any]], title: str, path: Path) -> None:
    """Accuracy of every line with its interval, and the published numbers as hollow diamonds."""
    figure = Figure(figsize=(9, 0.27 * len(lines) + 1.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, line in enumerate(lines):
        acc = line["acc"]
        if acc["sd"] is not None:
            axes.plot([acc["low"], acc["high"]], [place, place], color="#1f4e79", linewidth=2.5)
        axes.plot(acc["mean"], place, "o", color="#1f4e79", markersize=5)
        for number in line["published"]:
            axes.plot(number["value"], place, "D", markerfacecolor="none", color="#c0504d", markersize=6)
    axes.set_yticks(
        range(len(lines)), [f"{line['system']}  [{line['protocol']}, {line['scenario']}]" for line in lines]
    )
    axes.tick_params(axis="y", labelsize=7)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    diamonds = "; diamonds: published" if any(line["published"] for line in lines) else ""
    axes.set_xlabel(f"accuracy on all tasks at the end, % (bar: 95 % over seeds{diamonds})")
    axes.set_title(title, fontsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=120)


def write_results(
    folder: Path, title: str, command: str, cases: Sequence[Case], outcomes: Mapping[str, Outcome]
) -> str:
    """Write ``results.json``, ``table.md`` and ``accuracy.png``.

    Args:
        folder: where.
        title: first line of the page.
        command: what made them.
        cases: the lines, in order.
        outcomes: what came of them, by key.

    Returns:
        The Markdown table.
    """
    known = published()
    lines = [line_of(case, outcomes[case.key], known) for case in cases]
    text = table(lines)
    write_json(folder / "results.json", {"command": command, "versions": versions(), "lines": lines})
    write_atomically(folder / "table.md", _page(title, command, text, cases).encode())
    draw(lines, title, folder / "accuracy.png")
    return text


def _page(title: str, command: str, text: str, cases: Sequence[Case]) -> str:
    protocols = {case.protocol.name: case.protocol for case in cases}
    told = [
        f"- **{name}**: {protocol.source}. " + (f"Not as there: {protocol.deviations}." if protocol.deviations else "")
        for name, protocol in protocols.items()
    ]
    about_lines: dict[str, list[str]] = {}
    for case in cases:
        if case.note:
            about_lines.setdefault(case.note, []).append(f"{case.protocol.name}, {case.scenario}, {case.name}")
    notes = [f"- {'; '.join(lines)}: {note}" for note, lines in about_lines.items()]
    about = (
        "ACC is the mean test accuracy on all tasks after the last one, in percent; SD over seeds; the interval is "
        "Student's for the mean. Published numbers are quoted with their protocol and how they are known. Our mean "
        "lies within a published spread, so near that our interval holds the published value, or above or below it."
    )
    parts = [f"# {title}", f"`{command}`", about, text, "## Protocols", "\n".join(told)]
    return "\n\n".join([*parts, *(["## Notes", "\n".join(notes)] if notes else [])]) + "\n"
