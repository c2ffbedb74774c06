"""Learning curves of several training seeds: the picture, and how long training takes to reach a return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from agents.training.progress import read_progress

__all__ = ["draw_learning_curves", "read_progress", "seconds_to_reach"]

Progress = Mapping[str, NDArray[np.float64]]

PANELS = {
    "val_return": "return on val contexts",
    "entropy": "entropy of the policy",
    "waits": "share of decisions to wait",
    "explained_variance": "variance explained by the value function",
}
_LEARNED, _REFERENCE = "#c1440e", "#1f6f8b"


def draw_learning_curves(runs: Sequence[str | Path], path: str | Path, reference: float | None = None) -> None:
    """Draw four figures of training against environment steps, each seed thin and their mean thick, as a PNG file.

    The upper axis of the first panel shows the wall-clock seconds, evaluations included, mean over the runs. A mean is
    drawn where all runs have a value.

    Args:
        runs: run folders, one for each training seed.
        path: file to write.
        reference: return to compare with, for example of the best fixed schedule.

    Raises:
        ValueError: no runs.
        SavedFileError: a run has no learning curve, or a damaged one.
    """
    if not runs:
        raise ValueError("learning curves need at least one run")
    curves = [read_progress(run) for run in runs]
    figure = Figure(figsize=(11.0, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2, sharex=True).flat
    for axes, (column, title) in zip(panels, PANELS.items(), strict=True):
        _draw(axes, curves, column)
        axes.set_title(title, fontsize=10)
        axes.grid(color="#e4e4e4")
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8)
        axes.margins(x=0.01)
    first, _, third, fourth = figure.axes
    for axes in (third, fourth):
        axes.set_xlabel("environment steps", fontsize=9)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:,.0f}k" if value >= 1000 else f"{value:.0f}")
    third.set_ylim(0.0, 1.0)
    if reference is not None:
        first.axhline(reference, color=_REFERENCE, linestyle="--", linewidth=1.4, label="best fixed schedule")
    if first.get_legend_handles_labels()[0]:
        first.legend(loc="lower right", fontsize=8, frameon=False)
    _seconds_axis(first, curves)
    figure.savefig(path, dpi=120)


def _draw(axes: Axes, curves: Sequence[Progress], column: str) -> None:
    """One figure of all runs, and its mean."""
    shown = [_measured(curve, column) for curve in curves]
    many = len(curves) > 1
    for steps, values in shown:
        axes.plot(steps, values, color=_LEARNED, linewidth=0.8 if many else 2.0, alpha=0.45 if many else 1.0)
    if not any(len(steps) for steps, _ in shown):
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color="#888888")
        return
    if many:
        common = sorted(set.intersection(*(set(steps) for steps, _ in shown)))
        mean = np.mean([values[np.isin(steps, common)] for steps, values in shown], axis=0)
        axes.plot(common, mean, color=_LEARNED, linewidth=2.2, label=f"mean of {len(curves)} seeds")


def _measured(curve: Progress, column: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and values where the figure was measured."""
    known = np.isfinite(curve[column])
    return curve["timesteps"][known], curve[column][known]


def _seconds_axis(axes: Axes, curves: Sequence[Progress]) -> None:
    """An upper axis in seconds; nothing if no run has gone far enough for one."""
    longest = max(curves, key=lambda curve: len(curve["timesteps"]))["timesteps"]
    alike = [curve["seconds"] for curve in curves if np.array_equal(curve["timesteps"], longest)]
    if len(longest) < 2:
        return
    seconds = np.maximum.accumulate(np.mean(alike, axis=0)) + 1e-9 * np.arange(len(longest))
    upper = axes.secondary_xaxis("top", functions=(_line(longest, seconds), _line(seconds, longest)))
    upper.set_xlabel("wall-clock seconds", fontsize=9)
    upper.tick_params(labelsize=8)


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> Callable[[ArrayLike], NDArray[np.float64]]:
    """Straight lines through the points, and on beyond them with the mean slope, so that both directions agree."""
    slope = (y[-1] - y[0]) / (x[-1] - x[0])

    def value(at: ArrayLike) -> NDArray[np.float64]:
        """The height of the line."""
        places = np.asarray(at, dtype=np.float64)
        beyond = np.minimum(places - x[0], 0.0) + np.maximum(places - x[-1], 0.0)
        line: NDArray[np.float64] = np.interp(places, x, y) + slope * beyond
        return line

    return value


def seconds_to_reach(runs: Sequence[str | Path], value: float) -> NDArray[np.float64]:
    """The wall-clock second of each run's first evaluation on val that reached a return, shape (runs,).

    Nothing is assumed between evaluations. Seconds count evaluations and earlier sessions; they are infinite for runs
    that never reached it.

    Args:
        runs: run folders.
        value: the return to reach.

    Raises:
        SavedFileError: a run has no learning curve, or a damaged one.
    """
    seconds = []
    for run in runs:
        curve = read_progress(run)
        reached = np.flatnonzero(curve["val_return"] >= value)  # NaN compares false
        seconds.append(float(curve["seconds"][reached[0]]) if len(reached) else np.inf)
    return np.array(seconds)
