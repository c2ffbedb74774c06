"""Pictures of when and where policies grow: all of them on average, and two of them in one context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from agents.comparison import BEST_FIXED, Comparison
from agents.evaluation import EpisodeRecord, action_table
from agents.report.charts import FAINT, INK, canvas, colour, draw_interval, quiet
from agents.report.showcase import Course
from growenv.actions import ActionTable
from growenv.hardware.mosaic.drawing import task_colour

if TYPE_CHECKING:
    from agents.report.tables import Row

MOST = 20
"""Players in a picture; beyond that the worst are left out."""
LAYERS = ("#c1440e", "#1f6f8b", "#8d6aa8", "#3f7d4f", "#a07a00")
STYLES = ("-", (0, (3, 3)), (3, (3, 3)), ":", "-.")
"""Colours and styles of hidden layers; reused after five."""


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


def draw_timeline(comparison: Comparison, lines: Sequence[Row]) -> Figure:
    """A strip of every player's mean growth by decision and layer, beside its return.

    Of many players the first ones are drawn, learned ones and the best fixed schedule in any case.

    Args:
        comparison: what was played.
        lines: the players in the order of the picture, from `agents.report.tables.rows`.
    """
    kept = [line for line in lines if line.kind == "learned" or line.name == BEST_FIXED]
    others = [line for line in lines if line not in kept][: max(0, MOST - len(kept))]
    lines = [line for line in lines if line in kept or line in others]
    config = comparison.config
    actions = action_table(config)
    growth = [growth_per_decision(sum(comparison.player(line.name).runs, ()), actions) for line in lines]
    top = max(1e-9, max(float(strip.max()) for strip in growth))
    figure = canvas(11.0, 1.4 + 0.55 * len(lines))
    # The square root keeps a growth of one neuron in ten episodes visible.
    norm = PowerNorm(0.5, 0.0, top)
    cells = figure.subplots(len(lines), 2, squeeze=False, sharex="col", width_ratios=(3.2, 1.0))
    for (strip, dot), added, line in zip(cells, growth, lines, strict=True):
        own = colour(line.name, line.kind)
        strip.imshow(added, aspect="auto", cmap="Greens", norm=norm)
        _dress(strip, line.name, added.shape, config.decisions, own)
        _draw_return(dot, line, own)
    _label_tasks(cells[-1, 0], growth[0].shape[1], config.decisions)
    cells[0, 0].set_title("neurons added in each decision, mean over episodes", fontsize=10)
    cells[0, 1].set_title("return, 95 % interval", fontsize=10)
    bar = figure.colorbar(cells[0, 0].images[0], ax=cells, shrink=0.7, pad=0.01)
    bar.ax.tick_params(labelsize=8)
    return figure


def _dress(axes: Axes, name: str, shape: tuple[int, int], decisions: int, own: str) -> None:
    """Name, layers and task borders of one strip."""
    layers, length = shape
    axes.set_yticks(range(layers), [f"layer {layer}" for layer in range(layers)], fontsize=6)
    axes.set_ylabel(name, rotation=0, ha="right", va="center", labelpad=34, fontsize=9, color=own)
    axes.tick_params(axis="x", length=0)
    for border in range(decisions, length, decisions):
        axes.axvline(border - 0.5, color="#888888", linewidth=0.8)


def _label_tasks(axes: Axes, length: int, decisions: int) -> None:
    middles = [start + (decisions - 1) / 2 for start in range(0, length, decisions)]
    axes.set_xticks(middles, [f"task {number}" for number in range(len(middles))], fontsize=8)
    axes.tick_params(axis="x", length=0)


def _draw_return(axes: Axes, line: Row, own: str) -> None:
    """Mean return of one player with its interval."""
    interval = line.return_
    draw_interval(axes, interval, 0.0, own)
    label, at = f"{interval.mean:.3f}", (interval.mean, 0)
    axes.annotate(label, at, (0, 5), textcoords="offset points", ha="center", fontsize=7)
    quiet(axes, grid="x")
    axes.set_yticks([])
    axes.set_ylim(-1, 1)
    axes.spines["left"].set_visible(False)


def draw_courses(courses: Mapping[str, Course]) -> Figure:
    """Episodes side by side: widths, growth events, accuracy on the present task, share of the capacity used.

    Args:
        courses: episodes in the same context, by player.
    """
    figure = canvas(5.3 * len(courses), 6.4)
    cells = figure.subplots(3, len(courses), squeeze=False, sharex="col", sharey="row", height_ratios=(2.0, 1.3, 1.0))
    for column, (name, course) in zip(cells.T, courses.items(), strict=True):
        widths, accuracy, used = column
        length = len(course.task)
        for axes in column:
            _shade_tasks(axes, course.task)
            axes.set_xlim(-0.6, length + 0.2)
        quiet(widths, f"{name}: return {course.return_:.3f}", grid="y")
        _draw_widths(widths, course)
        quiet(accuracy, "validation accuracy on the present task", grid="y")
        for task in np.unique(course.task):
            inside = np.flatnonzero(course.task == task)
            accuracy.plot(inside + 1, course.accuracy[inside], color=task_colour(int(task)), marker=".", linewidth=1.4)
        accuracy.set_ylim(0, 1.02)
        quiet(used, "share of the capacity used", grid="y")
        used.stairs(course.used, np.arange(length + 1), color=INK, linewidth=1.6, baseline=None)
        used.set_xlabel("decision", fontsize=8)
    cells[0, 0].set_ylabel("neurons", fontsize=8)
    return figure


def _shade_tasks(axes: Axes, task: NDArray[np.int64]) -> None:
    """A pale band behind the decisions of each task, in the task's colour."""
    for number in np.unique(task):
        inside = np.flatnonzero(task == number)
        axes.axvspan(inside[0], inside[-1] + 1, color=task_colour(int(number)), alpha=0.09, linewidth=0)


def _draw_widths(axes: Axes, course: Course) -> None:
    """Widths as steps; a mark and the number of neurons where a layer grows."""
    length, layers = course.widths.shape
    for layer in range(layers):
        own = LAYERS[layer % len(LAYERS)]
        steps = course.widths[:, layer]
        edges, style = np.arange(length + 1), STYLES[layer % len(STYLES)]  # equal widths stay visible below each other
        axes.stairs(steps, edges, color=own, linewidth=2.0, linestyle=style, baseline=None, label=f"layer {layer}")
        grown = [(when, amount) for when, _, where, amount in course.growth if where == layer]
        for when, amount in grown:
            axes.plot(when, steps[when], "^", color=own, markersize=5)
            axes.annotate(
                f"+{amount}",
                (when, steps[when]),
                (0, 4),
                textcoords="offset points",
                fontsize=7,
                color=own,
                ha="center",
            )
    axes.margins(y=0.3)  # room for the legend
    axes.legend(fontsize=8, frameon=False, loc="upper left", ncols=layers)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if not course.growth:
        axes.text(0.5, 0.5, "no growth", transform=axes.transAxes, fontsize=9, color=FAINT, ha="center")
