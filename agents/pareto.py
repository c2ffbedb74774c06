"""Accuracy against hardware: the front of several policies, its hypervolume, and what a policy saves on it.

A point is the mean cost and the mean value (accuracy) of one policy over the same contexts. Less cost and more value
are better. Between neighbours on the front the cost is taken as linear: playing one of the two schedules at random
reaches every point between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agents.statistics import STUDY_DRAWS, Interval, study_interval


def front(cost: ArrayLike, value: ArrayLike) -> NDArray[np.intp]:
    """Indices of the points that no other point beats, cheapest first.

    A point is beaten by one that costs no more and is worth no less, and differs from it. Of equal points the first
    one stays.

    Args:
        cost: cost of each point, shape (K,).
        value: value of each point, shape (K,).

    Returns:
        Indices, shape (P,), with cost and value both strictly increasing.

    Raises:
        ValueError: no points, different lengths, or a number that is not finite.
    """
    costs, values = _points(cost, value)
    order = np.lexsort((-values, costs))
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(values[order])[:-1]])
    return np.asarray(order[values[order] > best_before])


def hypervolume(cost: ArrayLike, value: ArrayLike, *, reference: tuple[float, float]) -> float:
    """Area between the points' front and a reference point that is worse than they are.

    Points that are not better than the reference in both respects add nothing. The area depends on the reference, so
    state it beside every figure.

    Args:
        cost: cost of each point, shape (K,).
        value: value of each point, shape (K,).
        reference: (cost, value) of the reference: the highest cost and the lowest value that count.

    Returns:
        Area in units of cost times value.

    Source: Zitzler and Thiele 1999, doi 10.1109/4235.797969.

    Raises:
        ValueError: as in `front`, or a reference that is not finite.
    """
    costs, values = _points(cost, value)
    if len(reference) != 2 or not np.all(np.isfinite(reference)):
        raise ValueError(f"the reference must be a finite (cost, value), got {reference!r}")
    best = front(costs, values)
    widths = np.maximum(reference[0] - costs[best], 0.0)
    heights = np.diff(np.maximum(values[best] - reference[1], 0.0), prepend=0.0)
    return float(widths @ heights)


def cost_at(value: float, front_cost: ArrayLike, front_value: ArrayLike) -> float | None:
    """Cost on the front of the given points at a given value, linear between neighbours.

    Args:
        value: the value to reach.
        front_cost: cost of each point, shape (K,); beaten points are left out first.
        front_value: value of each point, shape (K,).

    Returns:
        The cost; None below the front's least value or above its greatest.

    Raises:
        ValueError: as in `front`.
    """
    costs, values = _points(front_cost, front_value)
    best = front(costs, values)
    if not values[best[0]] <= value <= values[best[-1]]:
        return None
    return float(np.interp(value, values[best], costs[best]))


@dataclass(frozen=True)
class Saving:
    """What a policy saves at equal mean accuracy.

    Attributes:
        accuracy: mean accuracy of the policy.
        cost: its mean cost.
        front_cost: cost of the schedules' front at that accuracy; None if the accuracy is not on the front.
        front_values: least and greatest mean accuracy on the front.
        total: 1 - cost / front cost, negative if the policy costs more; None without a front cost.
        new: the same of the cost beyond the initial network; None also where the schedule adds nothing to it.
    """

    accuracy: float
    cost: float
    front_cost: float | None
    front_values: tuple[float, float]
    total: Interval | None
    new: Interval | None

    def __str__(self) -> str:
        """One sentence for a report."""
        if self.total is None:
            low, high = self.front_values
            whole = f"the schedules' front ({low:.3f} to {high:.3f})"
            return f"the policy's mean accuracy ({self.accuracy:.3f}) is not on {whole}"
        extra = "" if self.new is None else f" and {_amount(self.new, 'newly used hardware')}"
        shown = "; no saving was shown" if self.total.covers_zero else ""
        return (
            f"at equal mean accuracy ({self.accuracy:.3f}) the policy uses {_amount(self.total, 'hardware')}{extra} "
            f"than fixed schedules{shown}"
        )


def saving(
    cost: ArrayLike,
    value: ArrayLike,
    schedule_cost: ArrayLike,
    schedule_value: ArrayLike,
    *,
    initial_cost: float = 0.0,
    contexts: str = "new",
    level: float = 0.95,
    draws: int = STUDY_DRAWS,
    seed: int = 0,
) -> Saving:
    """Share of the cost that a policy saves against the front of fixed schedules at its own mean accuracy.

    The front is chosen on the same contexts that it is judged on, which favours the schedules. It is built anew in
    every draw, from the same contexts as the policy's means. Draws in which it does not reach the policy's accuracy
    count against both ends; an end that they reach is NaN.

    Args:
        cost: cost of each episode, shape (S, C, I); or the mean cost as a number, then there is no interval.
        value: accuracy of the same episodes, in the same shape.
        schedule_cost: cost of K schedules in the same contexts and inner seeds, shape (K, C, I); or numbers, (K,).
        schedule_value: accuracy likewise.
        initial_cost: cost of the network that all start from, in the same unit.
        contexts: as in `study_interval`, likewise the other options.
        level: level of both intervals.
        draws: bootstrap samples.
        seed: seed of the draws.

    Raises:
        ValueError: shapes that do not match, an `initial_cost` that is not finite, or what `study_interval` refuses.
    """
    own, family = _episodes("policy", cost, value), _episodes("schedules", schedule_cost, schedule_value)
    if not np.isfinite(initial_cost):
        raise ValueError(f"initial_cost must be a finite number, got {initial_cost!r}")
    # All schedules in one table, because none has training seeds: (1, C, I, 2, K).
    schedules = np.moveaxis(family, 0, -1)[None]
    tables = (own, schedules.reshape(*schedules.shape[:3], -1))
    options: dict[str, Any] = {"contexts": contexts, "level": level, "draws": draws, "seed": seed, "of_means": True}

    def share_of(spared: float) -> Interval | None:
        interval = study_interval(lambda a, b: _share_saved(a, b, spared), tables, **options)
        return None if np.isnan(interval.mean) else interval

    mean_cost, mean_value = own.mean(axis=(0, 1, 2)).tolist()
    costs, values = family.mean(axis=(1, 2)).T
    ends = values[front(costs, values)[[0, -1]]]
    reached = cost_at(mean_value, costs, values)
    return Saving(
        mean_value, mean_cost, reached, (float(ends[0]), float(ends[1])), share_of(0.0), share_of(initial_cost)
    )


def _share_saved(policy: NDArray[np.float64], schedules: NDArray[np.float64], spared: float) -> NDArray[np.float64]:
    """1 - cost / front cost, both beyond `spared`, of tables (..., S, C, 2) and (..., 1, C, 2K); NaN off the front."""
    means, other = policy.mean(axis=(-3, -2)), schedules.mean(axis=(-3, -2))
    drawn = np.broadcast_shapes(means.shape[:-1], other.shape[:-1])
    points = np.broadcast_to(means, (*drawn, 2)).reshape(-1, 2)
    families = np.broadcast_to(other, (*drawn, other.shape[-1])).reshape(len(points), 2, -1)
    found = np.full(len(points), np.nan)
    for number, ((cost, value), (costs, values)) in enumerate(zip(points, families, strict=True)):
        reached = cost_at(value, costs, values)
        if reached is not None and reached > spared:
            found[number] = 1.0 - (cost - spared) / (reached - spared)
    return found.reshape(drawn)


def _episodes(whose: str, cost: ArrayLike, value: ArrayLike) -> NDArray[np.float64]:
    """Cost and value of episodes as one table of shape (S, C, I, 2), from tables or from means."""
    costs, values = np.asarray(cost, dtype=np.float64), np.asarray(value, dtype=np.float64)
    means = costs.ndim == (0 if whose == "policy" else 1)
    if costs.shape != values.shape or not (means or costs.ndim == 3):
        raise ValueError(
            f"cost and value of the {whose} must be tables of one shape, rows x contexts x inner seeds, or means; got "
            f"shapes {costs.shape} and {values.shape}"
        )
    pair = np.stack([costs, values], axis=-1)
    return pair.reshape(-1, 1, 1, 2) if means else pair


def _points(cost: ArrayLike, value: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    costs, values = np.asarray(cost, dtype=np.float64), np.asarray(value, dtype=np.float64)
    if costs.ndim != 1 or costs.shape != values.shape or len(costs) == 0:
        raise ValueError(f"a cost and a value for each point are needed, got shapes {costs.shape} and {values.shape}")
    if not (np.all(np.isfinite(costs)) and np.all(np.isfinite(values))):
        raise ValueError(f"costs and values must be finite, got {costs} and {values}")
    return costs, values


def _amount(saved: Interval, noun: str) -> str:
    """For example ``20.0 % [10.0, 30.0] less hardware``."""
    sign, word = (1.0, "less") if saved.mean >= 0.0 else (-1.0, "more")
    low, high = (saved.low, saved.high) if sign > 0.0 else (-saved.high, -saved.low)
    ends = ", ".join("unknown" if np.isnan(end) else f"{100.0 * end:.1f}" for end in (low, high))
    return f"{100.0 * sign * saved.mean:.1f} % [{ends}] {word} {noun}"
