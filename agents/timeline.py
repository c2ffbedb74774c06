"""The picture of when and where each policy grows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agents.comparison import BEST_FIXED, Comparison
from agents.evaluation import EpisodeRecord, action_table
from growenv.actions import ActionTable

if TYPE_CHECKING:
    from agents.report import Row

MOST = 20
"""Policies in a picture; beyond that the worst are left out."""
_LEARNED, _REFERENCE, _OTHER = "#c1440e", "#1f6f8b", "#6b6b6b"


def growth_per_decision(records: Sequence[EpisodeRecord], actions: ActionTable) -> NDArray[np.float64]:
    """Neurons added to each layer in each decision, mean over the episodes, shape (layers, decisions).

    Illegal actions are counted as asked for; policies that respect the mask have none.
    """
    longest = max(len(record.actions) for record in records)
    added = np.zeros((actions.layers, longest))
    for record in records:
        layer, amount = actions.request(record.actions)
        grows = amount > 0
        np.add.at(added, (layer[grows], np.flatnonzero(grows)), amount[grows])
    return added / len(records)


def draw_timeline(comparison: Comparison, lines: Sequence[Row], path: Path) -> None:
    """Draw a strip of every policy's mean growth by decision and layer, beside its return, as a PNG file.

    Of many policies the first ones are drawn, learned ones and the best fixed schedule in any case.

    Args:
        comparison: what was played.
        lines: the policies in the order of the picture, from `agents.report.rows`.
        path: file to write.
    """
    kept = [line for line in lines if line.policy in (*comparison.learned, BEST_FIXED)]
    others = [line for line in lines if line not in kept][: max(0, MOST - len(kept))]
    lines = [line for line in lines if line in kept or line in others]
    config = comparison.config
    actions = action_table(config)
    growth = [growth_per_decision(comparison.records[line.policy], actions) for line in lines]
    top = max(1e-9, max(float(strip.max()) for strip in growth))
    figure = Figure(figsize=(11.0, 1.4 + 0.55 * len(lines)), layout="constrained")
    FigureCanvasAgg(figure)
    # The square root keeps a growth of one neuron in ten episodes visible.
    norm = PowerNorm(0.5, 0.0, top)
    cells = figure.subplots(len(lines), 2, squeeze=False, sharex="col", width_ratios=(3.2, 1.0))
    for (strip, dot), added, line in zip(cells, growth, lines, strict=True):
        colour = _colour(line.policy, comparison)
        strip.imshow(added, aspect="auto", cmap="Greens", norm=norm)
        _dress(strip, line.policy, added.shape, config.decisions, colour)
        _draw_return(dot, line, colour)
    _label_tasks(cells[-1, 0], growth[0].shape[1], config.decisions)
    cells[0, 0].set_title("neurons added in each decision, mean over episodes", fontsize=10)
    cells[0, 1].set_title("return, 95 % interval", fontsize=10)
    bar = figure.colorbar(cells[0, 0].images[0], ax=cells, shrink=0.7, pad=0.01)
    bar.ax.tick_params(labelsize=8)
    figure.savefig(path, dpi=120)


def _colour(policy: str, comparison: Comparison) -> str:
    return _LEARNED if policy in comparison.learned else _REFERENCE if policy == BEST_FIXED else _OTHER


def _dress(axes: Axes, policy: str, shape: tuple[int, int], decisions: int, colour: str) -> None:
    """Name, layers and task borders of one strip."""
    layers, length = shape
    axes.set_yticks(range(layers), [f"layer {layer}" for layer in range(layers)], fontsize=6)
    axes.set_ylabel(policy, rotation=0, ha="right", va="center", labelpad=34, fontsize=9, color=colour)
    axes.tick_params(axis="x", length=0)
    for border in range(decisions, length, decisions):
        axes.axvline(border - 0.5, color="#888888", linewidth=0.8)


def _label_tasks(axes: Axes, length: int, decisions: int) -> None:
    middles = [start + (decisions - 1) / 2 for start in range(0, length, decisions)]
    axes.set_xticks(middles, [f"task {number + 1}" for number in range(len(middles))], fontsize=8)
    axes.tick_params(axis="x", length=0)


def _draw_return(axes: Axes, line: Row, colour: str) -> None:
    """Mean return of one policy with its interval."""
    interval = line.return_
    axes.plot([interval.low, interval.high], [0, 0], color=colour, linewidth=2)
    axes.plot(interval.mean, 0, "o", color=colour, markersize=5)
    label, at = f"{interval.mean:.3f}", (interval.mean, 0)
    axes.annotate(label, at, (0, 5), textcoords="offset points", ha="center", fontsize=7)
    axes.set_yticks([])
    axes.set_ylim(-1, 1)
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelsize=8)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
