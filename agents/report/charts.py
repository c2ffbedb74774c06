"""The pictures of a comparison, in one quiet style: colours by kind of player, few lines, intervals at every mean."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from agents.baselines import CONTROLS
from agents.comparison import BEST_FIXED, Comparison
from agents.pareto import front
from agents.price_sweep import REFERENCE as REFERENCE_POINT
from agents.price_sweep import PriceSweep
from agents.report.breakdown import Bin, protagonists
from agents.statistics import Interval, performance_profile

if TYPE_CHECKING:
    from agents.report.tables import Row

INK, FAINT, GRID = "#222222", "#8a8a8a", "#e3e3e3"
COLOURS = {
    "learned": "#c1440e",
    "ablation": "#d98a5b",
    "control": "#8d6aa8",
    "schedule": "#6b6b6b",
    "gate": "#3f7d4f",
    "search": "#a07a00",
    "oracle": "#222222",
}
"""Colours by kind of player."""
REFERENCE = "#1f6f8b"
"""The colour of the best fixed schedule."""
MARKS = {"learned": "o", "ablation": "p", "control": "X", "schedule": "s", "gate": "^", "search": "D", "oracle": "*"}
DOTS = 120  # per inch

FIXED_FAMILY = "fixed schedules"
HALO = [withStroke(linewidth=2.0, foreground="white")]  # so that names can be read on lines
MOST_NUMBERS = 10  # tasks of a matrix beyond which numbers do not fit into its cells
FARTHEST = 5  # lines by which a name may be moved from its point
THRESHOLDS = 61  # of a performance profile
PROFILE_DRAWS = 500

Point = tuple[float, float]
"""Cost and accuracy."""


def colour(name: str, kind: str) -> str:
    """The colour of a player; the same in all pictures."""
    return REFERENCE if name == BEST_FIXED else COLOURS[kind]


def png(figure: Figure) -> bytes:
    """A figure as a PNG file, without the date or the version that would make equal pictures differ."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS, metadata={"Software": None})
    return buffer.getvalue()


def canvas(wide: float, high: float) -> Figure:
    """An empty figure of so many inches; no windows and no global state."""
    figure = Figure(figsize=(wide, high), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def quiet(axes: Axes, title: str = "", *, grid: str = "both") -> None:
    """Dress axes: a title at the left, a pale grid, no frame at the top and the right."""
    axes.set_title(title, fontsize=10, loc="left", color=INK)
    axes.tick_params(labelsize=8, colors=INK, length=3)
    axes.set_axisbelow(True)
    if grid != "none":
        axes.grid(axis="both" if grid == "both" else "x" if grid == "x" else "y", color=GRID, linewidth=0.8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)


def draw_differences(lines: Sequence[Row]) -> Figure:
    """Every player's return minus the best fixed schedule's, with intervals; a faint dot is one training seed.

    Args:
        lines: from `agents.report.tables.rows`; they are drawn in their order, from the top.
    """
    shown = [line for line in lines if line.over_fixed is not None]
    fixed = next(line.return_.mean for line in lines if line.name == BEST_FIXED)
    figure = canvas(8.6, 1.1 + 0.3 * max(1, len(shown)))
    axes = figure.subplots()
    quiet(axes, "Return minus the best fixed schedule's: mean, 95 % interval", grid="x")
    axes.axvline(0.0, color=REFERENCE, linewidth=1.4)
    for place, line in enumerate(shown):
        assert line.over_fixed is not None
        draw_interval(axes, line.over_fixed, place, colour(line.name, line.kind), MARKS[line.kind])
        if len(line.seeds) > 1:
            seeds = np.array(line.seeds) - fixed
            axes.plot(seeds, np.full(len(seeds), place + 0.25), ".", color=FAINT, markersize=3)
    axes.set_yticks(range(len(shown)), [f"{line.name}  ({line.kind})" for line in shown], fontsize=8)
    for label, line in zip(axes.get_yticklabels(), shown, strict=True):
        label.set_color(colour(line.name, line.kind))
    axes.set_ylim(max(1, len(shown)) - 0.4, -0.6)
    axes.set_xlabel("difference in return", fontsize=8)
    return figure


def draw_interval(axes: Axes, interval: Interval, place: float, own: str, mark: str = "o") -> None:
    """A horizontal interval and its mean; an interval that is unknown is left out."""
    if np.isfinite([interval.low, interval.high]).all():
        axes.plot([interval.low, interval.high], [place, place], color=own, linewidth=2.2, solid_capstyle="butt")
    axes.plot(interval.mean, place, mark, color=own, markersize=6)


def draw_profiles(comparison: Comparison, seed: int = 0) -> Figure:
    """Share of seeds and contexts in which a player beats the best fixed schedule by more than a threshold.

    A curve further up or to the right is better; at threshold 0 it shows how often a player is better at all. Drawn are
    the main players, with a 95 % band at each threshold for the learned policy, and the controls.

    Args:
        comparison: what was played.
        seed: seed of the bootstrap.

    Source: Agarwal et al. 2021, arXiv 2108.13264, performance profiles; here of differences.
    """
    fixed = comparison.player(BEST_FIXED).values("return_")
    main = [player for player in protagonists(comparison) if player.name != BEST_FIXED]
    players = [*main, *(player for player in comparison.of_kind("control") if player.name in CONTROLS)]
    differences = {player.name: player.values("return_") - fixed for player in players}
    # Controls may fall far behind; the range is that of the main players, so that their curves can be told apart.
    flat = np.concatenate([np.zeros(1), *(differences[player.name].mean(axis=2).ravel() for player in main)])
    low, high = np.percentile(flat, [1, 99]) + np.array([-0.02, 0.02])
    thresholds = np.linspace(low, high, THRESHOLDS)
    figure = canvas(8.6, 3.8)
    axes = figure.subplots()
    quiet(axes, "Share of training seeds and contexts whose return exceeds best-fixed's by more than a threshold")
    axes.axvline(0.0, color=REFERENCE, linewidth=1.2)
    axes.axhline(0.5, color=FAINT, linewidth=0.8, linestyle=":")
    dashes = iter(("-", "--", ":", "-.", (0, (6, 2, 1, 2, 1, 2))) * len(players))
    for player in players:
        own = colour(player.name, player.kind)
        profile = performance_profile(differences[player.name], thresholds, seed=seed, draws=PROFILE_DRAWS)
        style, wide = (next(dashes), 1.2) if player.kind == "control" else ("-", 2.0)
        axes.plot(thresholds, profile.share, linestyle=style, color=own, linewidth=wide, label=player.name)
        if player.kind == "learned":
            axes.fill_between(thresholds, profile.low, profile.high, color=own, alpha=0.15, linewidth=0)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(low, high)
    axes.set_xlabel("threshold: difference in return", fontsize=8)
    axes.set_ylabel("share", fontsize=8)
    if differences:
        axes.legend(fontsize=8, frameon=False, loc="upper right")
    return figure


def draw_breakdowns(comparison: Comparison, breakdowns: Mapping[str, Sequence[Bin]]) -> Figure:
    """Returns, and differences to the best fixed schedule, in bins of contexts; one column for each breakdown.

    Args:
        comparison: what was played.
        breakdowns: from `agents.report.breakdown.breakdown`, by what the contexts were sorted by.
    """
    figure = canvas(9.6, 5.6)
    cells = figure.subplots(2, len(breakdowns), squeeze=False, sharex="col", sharey="row")
    players = protagonists(comparison)
    others = [player for player in players if player.name != BEST_FIXED]
    for (top, bottom), (by, bins) in zip(cells.T, breakdowns.items(), strict=True):
        quiet(top, f"mean return, contexts sorted by {by}", grid="y")
        quiet(bottom, "minus the best fixed schedule, 95 % interval", grid="y")
        bottom.axhline(0.0, color=REFERENCE, linewidth=1.4)
        places = np.arange(len(bins))
        for player in players:
            own, returns = colour(player.name, player.kind), [each.returns[player.name] for each in bins]
            top.plot(places, returns, marker=MARKS[player.kind], color=own, linewidth=1.4, markersize=5)
        for number, player in enumerate(others):
            own, aside = colour(player.name, player.kind), places + 0.14 * (number - (len(others) - 1) / 2)
            for place, each in zip(aside, bins, strict=True):
                interval = each.differences[player.name]
                bottom.plot([place, place], [interval.low, interval.high], color=own, linewidth=1.8)
                bottom.plot(place, interval.mean, MARKS[player.kind], color=own, markersize=5)
        labels = [f"{each.low:.2f} to\n{each.high:.2f}\n({each.contexts})" for each in bins]
        bottom.set_xticks(places, labels, fontsize=8)
        bottom.set_xlabel(f"{by} (contexts)", fontsize=8)
    names = [player.name for player in players]
    figure.legend(cells[0, 0].lines, names, loc="outside lower center", ncols=len(names), fontsize=8, frameon=False)
    return figure


def draw_trade_off(comparison: Comparison, sweep: PriceSweep | None = None) -> Figure:
    """Accuracy against cost: every player and the front of schedules and gates; families of policies if given.

    Between neighbours on a front the cost is linear, as `agents.pareto` says.

    Args:
        comparison: what was played.
        sweep: policies of one kind between which the price chooses, drawn beside the players.
    """
    figure = canvas(8.6, 5.4 if sweep is None else 8.8)
    cells = figure.subplots(1 if sweep is None else 2, squeeze=False)[:, 0]
    for axes in cells:
        axes.set_xlabel("cost: share of the capacity used at the end", fontsize=8)
        axes.set_ylabel("accuracy", fontsize=8)
    quiet(cells[0], "Validation accuracy at the end against the share of the capacity used: every player, some named")
    _draw_players(cells[0], comparison)
    if sweep is not None:
        quiet(cells[1], f"The same for families between which the price chooses ({sweep.contexts} contexts)")
        _draw_families(cells[1], sweep)
    return figure


def _draw_players(axes: Axes, comparison: Comparison) -> None:
    """A point for each player, and the front of schedules and gates."""
    points = {player.name: (player.mean("cost"), player.mean("accuracy")) for player in comparison.players}
    fixed = np.array([points[player.name] for player in comparison.of_kind("schedule", "gate")])
    best = fixed[front(*fixed.T)]
    axes.plot(*best.T, color=REFERENCE, linewidth=1.0, linestyle="--", zorder=1)
    main = {player.name for player in protagonists(comparison)}
    for player in comparison.players:
        own, size = colour(player.name, player.kind), 9 if player.name in main else 6
        axes.plot(*points[player.name], MARKS[player.kind], color=own, markersize=size, zorder=3)
    axes.margins(x=0.12, y=0.08)
    _name_points(axes, points, {player.name: colour(player.name, player.kind) for player in comparison.players}, main)


def _draw_families(axes: Axes, sweep: PriceSweep) -> None:
    """A line through the points of each family in the order of their labels, and the reference point."""
    for family in sweep.families:
        learned = family.name in sweep.savings
        own = COLOURS["learned"] if learned else REFERENCE if family.name == FIXED_FAMILY else COLOURS["gate"]
        points = np.array(family.points())
        shown = points if learned else points[front(*points.T)]
        label = f"{family.name} (hypervolume {family.hypervolume:.3f})"
        axes.plot(
            *shown.T, "-" if learned else "--", color=own, linewidth=1.4, marker="o" if learned else ".", label=label
        )
        if learned:
            for at, words in zip(points, family.labels, strict=True):
                axes.annotate(words, at, (6, -9), textcoords="offset points", fontsize=7, color=own, path_effects=HALO)
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    words = f"reference point: cost {REFERENCE_POINT[0]:g}, accuracy {REFERENCE_POINT[1]:g}"
    inside = left <= REFERENCE_POINT[0] <= right and low <= REFERENCE_POINT[1] <= high
    axes.plot(*(REFERENCE_POINT if inside else (np.nan, np.nan)), "+", color=INK, markersize=10, label=words)
    axes.legend(
        fontsize=8,
        frameon=False,
        loc="lower right",
        title="" if inside else "the reference point is outside",
        title_fontsize=8,
    )


def _name_points(
    axes: Axes, points: Mapping[str, Point], colours: Mapping[str, str], main: Collection[str] = ()
) -> None:
    """Write the names beside the points; names that would lie on each other move down, at the end of a thin line.

    The main names are written in any case and find their places first; others are left out where they would be far off.
    """
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    axes.set_xlim(left, right + 0.15 * (right - left))  # room for the names of the dearest ones
    step, gap = 0.032 * (high - low), 0.012 * (right - left)
    taken: list[Point] = []
    for name, (cost, accuracy) in sorted(points.items(), key=lambda item: (item[0] not in main, -item[1][1])):
        height = accuracy
        while any(abs(height - other) < step and abs(cost - beside) < 0.2 * (right - left) for beside, other in taken):
            height -= step / 4
        moved = accuracy - height > step / 2
        if accuracy - height > FARTHEST * step and name not in main:
            continue
        taken.append((cost, height))
        place = cost + gap * (3 if moved else 1)
        if moved:
            axes.plot([cost, place], [accuracy, height], color=colours[name], linewidth=0.5, alpha=0.6, zorder=2)
        axes.text(
            place,
            height,
            name,
            fontsize=7,
            color=colours[name],
            va="center",
            path_effects=HALO,
            zorder=4,
        )


def draw_matrices(matrices: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Mean accuracy on task j after task i, a map for each player; what was not measured stays empty.

    Args:
        matrices: accuracy on inner test data by the name of the player, each of shape (T, T), rows by the last task
            trained.
    """
    figure = canvas(4.4 * len(matrices) + 0.6, 3.9)
    cells = figure.subplots(1, len(matrices), squeeze=False)[0]
    seen = np.concatenate([np.zeros(1), *(matrix[np.isfinite(matrix)] for matrix in matrices.values())])
    for axes, (name, matrix) in zip(cells, matrices.items(), strict=True):
        image = axes.imshow(matrix, cmap="Blues", vmin=0.0, vmax=max(1e-9, float(seen.max())))
        quiet(axes, name, grid="none")
        _write_cells(axes, matrix, float(seen.max()))
        ticks = range(len(matrix))
        axes.set_xticks(ticks, [str(task) for task in ticks])
        axes.set_yticks(ticks, [str(task) for task in ticks])
        axes.set_xlabel("accuracy on task", fontsize=8)
        axes.set_ylabel("after training task", fontsize=8)
    bar = figure.colorbar(image, ax=list(cells), shrink=0.8, pad=0.02)
    bar.ax.tick_params(labelsize=8)
    return figure


def _write_cells(axes: Axes, matrix: NDArray[np.float64], top: float) -> None:
    if len(matrix) > MOST_NUMBERS:
        return
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            ink = "white" if value > 0.6 * top else INK
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=ink)
