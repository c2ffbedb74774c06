"""Pictures of the growth-path experiment: the lattice, the paths, the curves, the components and the lead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.growth_paths_runs import DATASETS, STARTS, Run, lead, title
from experiments.growth_paths_statistics import COMPONENTS, Array

SEQUENTIAL = "cividis"
"""Reads the same for all kinds of colour vision, and in print."""
COLOURS = {"blue": "#0072B2", "orange": "#E69F00", "green": "#009E73", "red": "#D55E00", "purple": "#CC79A7"}
"""Okabe and Ito's palette."""
START_COLOURS = {"random": COLOURS["blue"], "gradmax": COLOURS["red"]}
NAMED_COLOURS = {"layer 1 first": COLOURS["purple"], "layer 2 first": COLOURS["red"]}
COMPONENT_WORDS = {"path": "path (order)", "interaction": "path × trial", "trial": "trial"}
SPREAD = 0.42
"""Width, in growth steps, of the bundle into which paths with the same steps are fanned out."""


def places(run: Run) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Growth steps of both layers along paths, each (P, T + 1), the root first."""
    steps = [np.cumsum(run.paths == action, axis=1) for action in (1, 2)]
    first, second = (np.pad(each, ((0, 0), (1, 0))) for each in steps)
    return first, second


def place_accuracy(run: Run) -> Array:
    """Mean validation accuracy at each place of the lattice, (steps + 1, steps + 1); NaN where no drawn path was.

    The first axis is layer 1. Each path counts for as many paths as it stands for; named paths do not count.
    """
    drawn = run.drawn
    first, second = places(drawn)
    shape = (int(first.max()) + 1, int(second.max()) + 1)
    weight = np.broadcast_to(drawn.sample.weights[:, None], drawn.paths.shape)
    total, sums = np.zeros(shape), np.zeros(shape)
    where = first[:, 1:], second[:, 1:]
    np.add.at(total, where, weight)
    np.add.at(sums, where, weight * drawn.validation.mean(axis=1))
    means: Array = np.divide(sums, total, out=np.full(shape, np.nan), where=total > 0)
    return means


def scales(runs: Sequence[Run]) -> tuple[Normalize, Normalize, tuple[float, float]]:
    """Colours of places and of paths, and the axis of the curves, the same for some runs.

    A few places right after the root are so bad that they would use up the colours; they share the darkest one.
    """
    shown = np.concatenate([place_accuracy(run).ravel() for run in runs])
    finals = np.concatenate([run.test.mean(axis=1) for run in runs])
    low, high = np.nanquantile(shown, [0.1, 1.0])
    curves = np.concatenate([run.validation.mean(axis=(0, 1)) for run in runs])
    every = [*(run.validation.mean(axis=1) for run in runs), *(run.target_validation for run in runs)]
    top, bottom = max(float(each.max()) for each in every), float(np.quantile(curves, 0.2))
    room = 0.08 * (top - bottom)
    roots = min(float(run.root_validation.mean(axis=0)[-1]) for run in runs)
    return (
        Normalize(float(low), float(high)),
        Normalize(float(np.quantile(finals, 0.02)), float(np.quantile(finals, 0.98))),
        (min(bottom, roots) - 2 * room, top + room),
    )


def _lattice(axes: Axes, run: Run) -> None:
    axes.set_xlabel("growth steps of layer 1")
    axes.set_ylabel("growth steps of layer 2")
    axes.set_aspect("equal")
    for set_ticks, action in ((axes.set_xticks, 1), (axes.set_yticks, 2)):
        set_ticks(range(0, int((run.paths[0] == action).sum()) + 1, 2))


def draw_places(figure: Figure, axes: Axes, run: Run, colours: Normalize) -> None:
    """Accuracy at every place, after the training there."""
    axes.set_facecolor("#e8e8e8")
    image = axes.imshow(place_accuracy(run).T, origin="lower", cmap=SEQUENTIAL, norm=colours)
    _lattice(axes, run)
    axes.set_title("(a) mean accuracy at each place")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, extend="min")
    bar.set_label("validation accuracy, %")


def draw_paths(figure: Figure, axes: Axes, run: Run, colours: Normalize) -> None:
    """Every path in the colour of its final accuracy; in a bundle, the best lie to the upper left."""
    first, second = places(run)
    final = run.test.mean(axis=1)
    order = np.argsort(final, kind="stable")
    moved = np.empty(len(final))
    moved[order] = np.linspace(-SPREAD, SPREAD, len(final))
    lines = np.stack([first - moved[:, None], second + moved[:, None]], axis=-1)
    drawn = LineCollection(list(lines), cmap=SEQUENTIAL, norm=colours, linewidths=0.7, alpha=0.9)
    drawn.set_array(final)
    axes.add_collection(drawn)
    _lattice(axes, run)
    axes.set_xlim(-0.7, first.max() + 0.7)
    axes.set_ylim(-0.7, second.max() + 0.7)
    axes.set_title(f"(b) {len(final)} paths; in a bundle, better ones lie upper left", fontsize=10)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, extend="both")
    bar.set_label("final test accuracy, %")


def draw_curves(axes: Axes, run: Run, limits: tuple[float, float]) -> None:
    """Mean and standard deviation over trials of root, target, all paths and those that grow one layer first."""
    drawn = run.drawn
    curves = {
        "target from the start": (run.target_validation, "black", "--"),
        "mean of all paths": (drawn.sample.mean(drawn.validation), COLOURS["blue"], "-"),
    }
    for name, place in run.called.items():
        if name in NAMED_COLOURS:
            curves[name] = (run.validation[place], NAMED_COLOURS[name], "-")
    curves["root, never grown"] = (run.root_validation, "#777777", ":")
    decisions = np.arange(1, run.validation.shape[2] + 1)
    for name, (values, colour, style) in curves.items():
        mean, sd = values.mean(axis=0), values.std(axis=0, ddof=1)
        axes.plot(decisions, mean, style, color=colour, label=name, linewidth=1.6)
        axes.fill_between(decisions, mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)
    axes.set_ylim(*limits)
    axes.set_xlabel("decision")
    axes.set_ylabel("validation accuracy, %")
    axes.set_xticks(range(0, len(decisions) + 1, 5))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_title("(c) mean ± SD over trials")
    # below the panel: the root's curve may lie anywhere inside
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False)


def draw_run(run: Run, same: tuple[Normalize, Normalize, tuple[float, float]], heading: str, path: Path) -> None:
    """The three panels of one data set and start."""
    figure = Figure(figsize=(14, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels: NDArray[Any] = figure.subplots(1, 3)
    draw_places(figure, panels[0], run, same[0])
    draw_paths(figure, panels[1], run, same[1])
    draw_curves(panels[2], run, same[2])
    figure.suptitle(f"{heading}; {run.test.shape[1]} trials", fontsize=12)
    figure.savefig(path, dpi=110)


def draw_components(found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Standard deviations and shares of path, interaction and trial of every run, with intervals (a forest plot)."""
    keys = [(dataset, start) for dataset, each in found.items() for start in each]
    figure = Figure(figsize=(11, 1.6 + 0.62 * len(keys)), layout="constrained")
    FigureCanvasAgg(figure)
    panels: NDArray[Any] = figure.subplots(1, 2, sharey=True)
    marks = dict(
        zip(COMPONENTS, ((COLOURS["blue"], "o"), (COLOURS["orange"], "s"), (COLOURS["green"], "^")), strict=True)
    )
    for axes, kind, factor in ((panels[0], "sd", 1.0), (panels[1], "share", 100.0)):
        for place, (dataset, start) in enumerate(keys):
            for number, component in enumerate(COMPONENTS):
                each = found[dataset][start]["components"][kind][component]
                mean, low, high = (factor * each[name] for name in ("mean", "low", "high"))
                height, (colour, mark) = place + 0.22 * (number - 1), marks[component]
                axes.plot([low, high], [height, height], color=colour, linewidth=2)
                label = COMPONENT_WORDS[component] if not place else None
                axes.plot([mean], [height], mark, color=colour, markersize=6, label=label)
        axes.set_xlim(left=0)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        for line in range(1, len(keys)):
            axes.axhline(line - 0.5, color="#bbbbbb", linewidth=0.6)
    panels[0].set_yticks(range(len(keys)), [f"{DATASETS[dataset]},\n{STARTS[start]}" for dataset, start in keys])
    panels[0].invert_yaxis()
    panels[0].set_xlabel("standard deviation of test accuracy, points")
    panels[1].set_xlabel("share of the variance, %")
    panels[1].set_xlim(0, 100)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=9, frameon=False
    )
    figure.savefig(path, dpi=110)


def draw_lead(runs: Mapping[str, Mapping[str, Run]], found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Path means over the lead of layer 1, with the fitted lines, a panel for each data set."""
    figure = Figure(figsize=(4.6 * len(runs), 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    panels: NDArray[Any] = figure.subplots(1, len(runs), squeeze=False)
    for axes, (dataset, each) in zip(panels[0], runs.items(), strict=True):
        for start, run in each.items():
            drawn, colour = run.drawn, START_COLOURS[start]
            ahead, means = lead(drawn.paths), drawn.test.mean(axis=1)
            mark = "o" if start == "random" else "^"
            axes.plot(ahead, means, mark, color=colour, markersize=3.5, alpha=0.45, linewidth=0)
            slope = found[dataset][start]["lead"]["slope"]["mean"]
            weights = drawn.sample.weights
            ends = np.array([-1.0, 1.0])
            line = weights @ means + slope * (ends - weights @ ahead)
            axes.plot(ends, line, color=colour, linewidth=2, marker=mark, markersize=5, label=STARTS[start])
        axes.set_title(title(dataset, next(iter(each.values())).note))
        axes.set_xticks([-1, -0.5, 0, 0.5, 1])
        axes.set_xlabel("lead of layer 1\n(−1: layer 2 wholly first, 1: layer 1 wholly first)")
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.legend(fontsize=8)
    panels[0, 0].set_ylabel("final test accuracy, %\n(mean over trials)")
    figure.savefig(path, dpi=110)


def draw_all(runs: Mapping[str, Mapping[str, Run]], found: Mapping[str, Any], folder: Path) -> None:
    """Write ``<data set>-<start>.png`` for each run, ``components.png`` and ``lead.png``."""
    for dataset, each in runs.items():
        same = scales(list(each.values()))
        for start, run in each.items():
            draw_run(run, same, f"{title(dataset, run.note)}, {STARTS[start]}", folder / f"{dataset}-{start}.png")
    draw_components(found["runs"], folder / "components.png")
    draw_lead(runs, found["runs"], folder / "lead.png")
