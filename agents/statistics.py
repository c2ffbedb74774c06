"""Intervals over contexts: percentile bootstrap, seeded, the same draws for every policy.

The unit that is redrawn is the context: the inner seeds of one context are averaged first, because they share their
stream, budget and price and are therefore no independent evidence about new contexts.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 10_000
_BLOCK = 2_000_000  # numbers drawn at once, so that many contexts do not need much memory


@dataclass(frozen=True)
class Interval:
    """A mean and its percentile interval.

    Attributes:
        mean: the mean over contexts.
        low: lower end; NaN for a single context, which says nothing about others.
        high: upper end; likewise.
    """

    mean: float
    low: float
    high: float

    @property
    def covers_zero(self) -> bool:
        """Whether 0 is inside, or the interval is unknown."""
        return not (self.low > 0.0 or self.high < 0.0)

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def context_means(values: ArrayLike, contexts: Sequence[Hashable]) -> NDArray[np.float64]:
    """Mean of the values of each context, in order of the contexts' first appearance.

    Args:
        values: a number for each episode, shape (E,).
        contexts: what tells contexts apart, for each episode.

    Returns:
        Means, shape (C,) for C different contexts.

    Raises:
        ValueError: different lengths, no episodes, or a value that is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or len(numbers) != len(contexts) or len(numbers) == 0:
        raise ValueError(f"one value for each of {len(contexts)} episodes is needed, got shape {numbers.shape}")
    if not np.all(np.isfinite(numbers)):
        raise ValueError(f"values must be finite, got {numbers[~np.isfinite(numbers)][0]} among them")
    number_of = {context: number for number, context in enumerate(dict.fromkeys(contexts))}
    group = np.array([number_of[context] for context in contexts])
    return np.bincount(group, weights=numbers) / np.bincount(group)


def bootstrap_means(values: ArrayLike, draws: int = DRAWS, seed: int = 0) -> NDArray[np.float64]:
    """Means of `draws` samples drawn with replacement from the contexts' values, shape (draws,).

    Equal counts, draws and seeds give the same contexts in the same draws, so differences between policies are paired.
    """
    numbers = np.asarray(values, dtype=np.float64)
    generator = np.random.Generator(np.random.Philox(seed))
    count = len(numbers)
    block = max(1, _BLOCK // count)
    sizes = [min(block, draws - begun) for begun in range(0, draws, block)]
    return np.concatenate([numbers[generator.integers(0, count, (size, count))].mean(axis=1) for size in sizes])


def mean_interval(values: ArrayLike, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Mean over contexts and its percentile bootstrap interval.

    Args:
        values: one number for each context, shape (C,), for example from `context_means`.
        level: share of the bootstrap means inside the interval.
        draws: bootstrap samples.
        seed: seed of the draws.

    Source: Efron 1979; percentile form.

    Raises:
        ValueError: no values, one that is not finite, or a level outside (0, 1).
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or len(numbers) == 0 or not np.all(np.isfinite(numbers)):
        raise ValueError(f"finite values, one for each context, are needed; got {numbers!r}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")
    mean = float(numbers.mean())
    if len(numbers) == 1:
        return Interval(mean, float("nan"), float("nan"))
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(bootstrap_means(numbers, draws, seed), [tail, 100.0 - tail])
    return Interval(mean, float(low), float(high))


def paired_interval(a: ArrayLike, b: ArrayLike, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Mean of `a - b` over the same contexts in the same order, with its interval; arguments as in `mean_interval`.

    Raises:
        ValueError: different shapes, or what `mean_interval` refuses.
    """
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.shape != right.shape:
        raise ValueError(f"paired values need the same contexts, got shapes {left.shape} and {right.shape}")
    return mean_interval(left - right, level=level, draws=draws, seed=seed)


def share_better(a: ArrayLike, b: ArrayLike) -> float:
    """Share of the contexts in which `a` exceeds `b`; a tie counts half (probability of improvement).

    Source: Agarwal et al. 2021, arXiv 2108.13264, here paired by context.
    """
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.shape != right.shape or len(left) == 0:
        raise ValueError(f"paired values need the same contexts, got shapes {left.shape} and {right.shape}")
    return float(np.mean((left > right) + 0.5 * (left == right)))


def crossed_interval(values: ArrayLike, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Mean of a table of seeds by contexts, and its interval when both are redrawn.

    Seeds and contexts are redrawn independently and every pair of a drawn seed and a drawn context counts, so the
    interval speaks of new training seeds in new contexts. It is somewhat too wide rather than too narrow.

    Args:
        values: one number for each seed and context, shape (S, C), both at least 2.
        level: share of the bootstrap means inside the interval.
        draws: bootstrap samples.
        seed: seed of the draws.

    Source: Owen 2007, "The pigeonhole bootstrap", doi 10.1214/07-AOAS122.

    Raises:
        ValueError: a table of another shape, a value that is not finite, or a level outside (0, 1).
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2 or not np.all(np.isfinite(table)):
        raise ValueError(f"a table of at least 2 seeds by 2 contexts of finite values is needed, got {table.shape}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")
    generator = np.random.Generator(np.random.Philox(seed))
    seeds, contexts = table.shape
    by_seed = generator.multinomial(seeds, np.full(seeds, 1.0 / seeds), draws) / seeds
    block = max(1, _BLOCK // contexts)
    means = []
    for begun in range(0, draws, block):
        weights = by_seed[begun : begun + block]
        redrawn = generator.multinomial(contexts, np.full(contexts, 1.0 / contexts), len(weights)) / contexts
        means.append(np.einsum("ds,sc,dc->d", weights, table, redrawn, optimize=True))
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(np.concatenate(means), [tail, 100.0 - tail])
    return Interval(float(table.mean()), float(low), float(high))
