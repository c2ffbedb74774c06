"""Curves of regret: measured while one agent learns, and put together over seeds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from agents.paths.judging import ELSEWHERE, Judge
from agents.policy import Policy
from agents.redrawing import student_quantile
from agents.report.charts import canvas, png, quiet
from agents.saving import write_atomically

EQUAL = 1e-9
"""Regrets of equal paths differ by rounding."""
TITLES = {"train": "trials that agents learn from", "test": "held-out trials", ELSEWHERE: "trials of {}"}
COLOURS = ("#c1440e", "#1f6f8b", "#6a4c93", "#2e7d32", "#b8860b", "#7a7a7a", "#ad1457", "#00695c", "#37474f")
RANDOM, ORDER = "#000000", "#9e9e9e"


def checkpoints(episodes: int, first: int = 100, each: int = 2) -> tuple[int, ...]:
    """Numbers of episodes at which regret is measured, evenly spaced on a log axis, the last one included.

    Args:
        episodes: the last one.
        first: the first one, if there are as many episodes.
        each: measurements from one number to its double.

    Raises:
        ValueError: numbers below 1.
    """
    if min(episodes, first, each) < 1:
        raise ValueError(f"episodes={episodes}, first={first}, each={each}: expected numbers of at least 1")
    count = int(each * np.log2(max(episodes / first, 1.0))) + 1
    between = {round(first * 2 ** (step / each)) for step in range(count)}
    return tuple(sorted({number for number in between if number < episodes} | {episodes}))


@dataclass
class Curve:
    """The regret of one agent as it learns; a watch, see `agents.paths.sampling.Watch`.

    It measures at the end of every batch of episodes that reaches a checkpoint, and notes how many episodes had then
    been played. Seconds are the agent's own: those of the measurements are left out.

    Args:
        judge: measures.
        wanted: checkpoints in episodes.

    Attributes:
        points: what was measured, plain types: episodes, environment steps, seconds, and regret of each split.
    """

    judge: Judge
    wanted: Sequence[int]
    points: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._begun, self._measuring = time.perf_counter(), 0.0
        self._reached = 0

    def __call__(self, episodes: int, policy: Callable[[int], Policy]) -> None:
        """Measure if a checkpoint has been reached."""
        reached = sum(number <= episodes for number in self.wanted)
        if reached == self._reached:
            return
        self._reached = reached
        now = time.perf_counter()
        seconds = now - self._begun - self._measuring
        regret = self.judge.regret(policy)
        steps = episodes * self.judge.table.lattice.horizon
        self.points.append({"episodes": episodes, "steps": steps, "seconds": round(seconds, 3), "regret": regret})
        self._measuring += time.perf_counter() - now


def mean_band(values: ArrayLike, level: float = 0.95) -> dict[str, Any]:
    """Mean over seeds and Student's interval of it; without ends for a single seed.

    Args:
        values: one number for each seed, (S,).
        level: of the interval.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError(f"values={values!r}: expected finite numbers, one for each seed")
    mean, count = float(numbers.mean()), len(numbers)
    if count == 1:
        return {"mean": mean, "low": None, "high": None}
    half = float(student_quantile(level, count - 1)) * float(numbers.std(ddof=1)) / count**0.5
    return {"mean": mean, "low": mean - half, "high": mean + half}


def together(curves: Sequence[Sequence[Mapping[str, Any]]], bar: Mapping[str, float]) -> dict[str, Any]:
    """The curves of several seeds as one, plain types.

    Args:
        curves: points of `Curve` for each seed, all after equally many episodes.
        bar: for each split the regret that is to be undercut, that of the best fixed order for example.

    Returns:
        ``points``: episodes, mean seconds, and for each split mean and interval of regret; ``final``: for each split
        the last regret of each seed; ``below``: for each split the seconds and episodes of each seed's first
        measurement from which on its regret stays below the bar, None where it is not below at the end.

    Raises:
        ValueError: no curves, or curves measured after other numbers of episodes.
    """
    places = {tuple([point["episodes"] for point in curve]) for curve in curves}
    if len(places) != 1 or not curves[0]:
        raise ValueError(f"curves measured at {sorted(places)}: expected one curve or more, all at the same episodes")
    points = []
    for column in zip(*curves, strict=True):
        regret = {split: mean_band([point["regret"][split] for point in column]) for split in bar}
        seconds = round(float(np.mean([point["seconds"] for point in column])), 2)
        points.append({"episodes": column[0]["episodes"], "seconds": seconds, **regret})
    below = {split: [_below(curve, split, bar[split]) for curve in curves] for split in bar}
    final = {split: [curve[-1]["regret"][split] for curve in curves] for split in bar}
    return {"points": points, "final": final, "below": below}


def _below(curve: Sequence[Mapping[str, Any]], split: str, bar: float) -> dict[str, float] | None:
    """Seconds and episodes from which on a curve stays below a bar."""
    first = None
    for point in reversed(curve):
        if point["regret"][split] >= bar - EQUAL:
            break
        first = point
    return None if first is None else {"seconds": first["seconds"], "episodes": first["episodes"]}


def draw(results: Mapping[str, Any], path: str | Path) -> None:
    """Draw regret against episodes for all agents, a panel for each split, as a PNG file.

    Args:
        results: ``agents``, what `together` returned by name, ``references``, see `Judge.references`, and, where
            there is another table, its name in ``settings`` under ``elsewhere``.
        path: file to write.
    """
    splits = list(results["references"]["optimum"])
    figure = canvas(2.4 + 5.3 * len(splits), 5.6)
    for axes, split in zip(figure.subplots(1, len(splits), sharey=True), splits, strict=True):
        _panel(axes, results, split)
    figure.axes[0].set_ylabel("regret in points (optimum minus mean return)", fontsize=9)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    write_atomically(Path(path), png(figure))


def _panel(axes: Axes, results: Mapping[str, Any], split: str) -> None:
    references = results["references"]
    for number, regret in enumerate(references["orders"].values()):
        label = None if number else "named fixed orders"
        axes.axhline(100 * regret[split], color=ORDER, linestyle="--", linewidth=0.7, label=label)
    label = "average over all paths"
    axes.axhline(100 * references["random"][split], color=RANDOM, linestyle="--", linewidth=1.4, label=label)
    if split != "train":
        chosen = 100 * references["chosen on train"][split]
        axes.axhline(chosen, color=RANDOM, linestyle=":", linewidth=1.2)
        words = "the path that is best in trials learned from"
        axes.annotate(words, (0.02, chosen), xycoords=("axes fraction", "data"), va="bottom", fontsize=7)
    for (name, agent), colour in zip(results["agents"].items(), COLOURS, strict=False):
        episodes = [point["episodes"] for point in agent["points"]]
        mean, low, high = (100 * _column(agent["points"], split, end) for end in ("mean", "low", "high"))
        axes.plot(episodes, mean, color=colour, linewidth=1.8, label=name)
        axes.fill_between(episodes, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    axes.set_xlabel("episodes", fontsize=9)
    axes.axhline(0.0, color="#000000", linewidth=0.8)
    quiet(axes, TITLES[split].format(results.get("settings", {}).get(ELSEWHERE)))


def _column(points: Sequence[Mapping[str, Any]], split: str, end: str) -> NDArray[np.float64]:
    """One figure of all points; the mean where there is no interval."""
    values = [point[split][end] if point[split][end] is not None else point[split]["mean"] for point in points]
    return np.array(values, dtype=np.float64)
