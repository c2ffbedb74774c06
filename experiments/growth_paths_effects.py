"""Effects of columns on all paths, correlations of path effects, and corrections for many tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student  # type: ignore[import-untyped]

from experiments.growth_paths_statistics import TAILS, Array, Estimate, Sample, disagreement, off_diagonal


def linear(sample: Sample, values: Array, columns: ArrayLike) -> list[Estimate]:
    """Coefficients over all paths of a least-squares fit to values (P, trials), with intervals over paths and trials.

    The spread between trials gives the interval of t with few degrees of freedom; the draw of paths, which all trials
    share, adds to it.

    Args:
        sample: the drawn paths.
        values: accuracies, (P, trials).
        columns: what is fitted, (P, K); a column of ones gives a mean.
    """
    given, trials = np.asarray(columns, dtype=np.float64), values.shape[1]
    weighted = given * sample.weights[:, None]
    rows = np.linalg.solve(given.T @ weighted, weighted.T)
    each = rows @ values
    left = values - given @ each
    found = []
    for row, coefficients in zip(rows, each, strict=True):
        # n * row * residual is the influence of a path relative to its weight
        influence = left * (row / sample.weights)[:, None]
        error = sample.error(influence)
        by_trial = float(coefficients.var(ddof=1)) / trials
        by_path = max(float(error.mean()) - disagreement(error) / trials, 0.0)
        found.append(t_interval(float(coefficients.mean()), by_trial, trials - 1, by_path, sample.effective - 1))
    return found


def t_interval(mean: float, trial: float, few: float, path: float, many: float) -> Estimate:
    """Mean with a t interval whose variance has two parts (Satterthwaite 1946).

    Args:
        mean: the mean.
        trial, few: variance from trials and its degrees of freedom.
        path, many: variance from paths and its degrees of freedom.
    """
    whole = trial + path
    if not whole:
        return Estimate(mean, mean, mean, float(mean == 0))
    free = whole**2 / (trial**2 / few + path**2 / many)
    reach = float(student.ppf(TAILS[1], free)) * whole**0.5
    return Estimate(mean, mean - reach, mean + reach, float(2 * student.sf(abs(mean) / whole**0.5, free)))


def correlation(sample: Sample, one: Array, other: Array, draws: int = 500, seed: int = 0) -> Estimate:
    """Correlation of the path effects in two tables (P, trials) of the same paths, freed from noise.

    Covariances only between different trials, so that what one trial shares does not count. The interval joins a
    bootstrap over paths within strata and a jackknife over trials, and ends at -1 and 1. Only for path effects that are
    there: otherwise it divides by nothing.
    """

    def of(which: Sample, left: Array, right: Array) -> float:
        count = left.shape[1]
        both = which.covariance(np.concatenate([left, right], axis=1))
        shared = off_diagonal(both[:count, count:])
        own = off_diagonal(both[:count, :count]) * off_diagonal(both[count:, count:])
        # without a variance of its own an effect has no correlation: such a draw could say anything
        return shared / own**0.5 if own > 0 and both[0, 0] > 0 else float("nan")

    trials, generator = one.shape[1], np.random.default_rng(seed)
    whole = of(sample, one, other)
    strata = [np.flatnonzero(sample.stratum == stratum) for stratum in range(len(sample.sizes))]
    paths = []
    for _ in range(draws):
        drawn = np.concatenate([generator.choice(own, len(own)) for own in strata])
        paths.append(of(replace(sample, stratum=sample.stratum[drawn]), one[drawn], other[drawn]))
    low, high = np.nanquantile(paths, TAILS)
    by_path = ((high - low) / (2 * float(student.ppf(TAILS[1], np.inf)))) ** 2
    fewer = np.array([of(sample, np.delete(one, trial, 1), np.delete(other, trial, 1)) for trial in range(trials)])
    by_trial = (trials - 1) ** 2 / trials * float(np.nanvar(fewer))
    if not np.isfinite([whole, by_path, by_trial]).all():
        return Estimate(0.0, -1.0, 1.0)
    reach = t_interval(whole, by_trial, trials - 1, by_path, sample.effective - 1)
    return Estimate(*(float(np.clip(value, -1, 1)) for value in (reach.mean, reach.low, reach.high)))


def holm(p: dict[str, float]) -> dict[str, float]:
    """Probabilities corrected for how many there are (Holm 1979)."""
    order = sorted(p, key=lambda name: p[name])
    corrected, largest = {}, 0.0
    for place, name in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - place) * p[name]))
        corrected[name] = largest
    return {name: corrected[name] for name in p}


def plain_interval(values: ArrayLike) -> Estimate:
    """Mean of one number for each trial, (trials,), with its t interval."""
    numbers = np.asarray(values, dtype=np.float64)
    return t_interval(float(numbers.mean()), float(numbers.var(ddof=1)) / len(numbers), len(numbers) - 1, 0.0, 1.0)


def plain(estimates: dict[str, Estimate]) -> dict[str, Any]:
    """Estimates as plain types."""
    return {name: each.to_json() for name, each in estimates.items()}
