"""What the best and the worst of many measured paths say. Their observed difference is too large: noise was chosen.

Noise of path means has two parts here. Trials differ in what a lead of layer 1 is worth, which moves all paths with
that lead together, and every path has its own noise. Both are averaged over the trials only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.growth_paths_effects import t_interval
from experiments.growth_paths_statistics import Array, Components, Estimate, Sample, around, components

DRAWS = 4000
MANY = 10**9
"""Paths of the population behind shrinkage, which is a model and not the lattice."""


def _parts(values: Array, ahead: Array) -> tuple[Array, Array, Components]:
    """Slopes over lead (trials,), what is left (P, trials), and the components of that, for the paths as drawn."""
    columns = np.column_stack([np.ones(len(ahead)), ahead])
    fitted = np.linalg.lstsq(columns, values, rcond=None)[0]
    left = values - columns @ fitted
    drawn: NDArray[np.int64] = np.zeros(len(values), dtype=np.int64)
    return fitted[1], left, components(Sample(drawn, np.array([MANY])), left, DRAWS)


def range_without_effect(values: Array, ahead: Array, seed: int = 0) -> tuple[float, float]:
    """Difference of best and worst of path means that noise alone makes: the mean, and the 95 % quantile.

    Args:
        values: accuracies of the drawn paths, (P, trials); only their noise is used.
        ahead: lead of each path, (P,).
        seed: seed of the draws.
    """
    trials, generator = values.shape[1], np.random.default_rng(seed)
    slopes, _, found = _parts(values, ahead)
    own = (max(found.variance["interaction"], 0.0) / trials) ** 0.5
    common = generator.standard_normal((DRAWS, 1)) * (slopes.std(ddof=1) / trials**0.5)
    ranges = np.ptp(own * generator.standard_normal((DRAWS, len(values))) + common * ahead, axis=1)
    return float(ranges.mean()), float(np.quantile(ranges, 0.95))


def shrunken_range(values: Array, ahead: Array, seed: int = 0) -> Estimate:
    """True difference between the path that was best and the one that was worst on average, given what was seen.

    The slope over lead and what is left of each path are shrunk towards 0 by the share of their variance that is no
    noise (best linear unbiased prediction; Robinson 1991). The interval carries the uncertainty of these shares too.

    Args:
        values: accuracies of the drawn paths, (P, trials).
        ahead: lead of each path, (P,).
        seed: seed of the draws.
    """
    trials, generator = values.shape[1], np.random.default_rng(seed)
    slopes, left, found = _parts(values, ahead)
    means = values.mean(axis=1)
    best, worst = int(means.argmax()), int(means.argmin())
    noise, kept = max(found.variance["interaction"], 0.0) / trials, max(found.variance["path"], 0.0)
    share = kept / (kept + noise) if kept else 0.0
    slope, error = float(slopes.mean()), float(slopes.std(ddof=1)) / trials**0.5
    trusted = max(0.0, 1 - (error / slope) ** 2) if slope else 0.0
    along = float(ahead[best] - ahead[worst])
    beside = float(left[best].mean() - left[worst].mean())
    paths, noises = found.draws[:, 0], found.draws[:, 1] / trials
    shares = np.divide(paths, paths + noises, out=np.zeros_like(paths), where=paths > 0)
    own = shares * beside + generator.standard_normal(DRAWS) * np.sqrt(2 * shares * noises)
    drawn_slopes = trusted * slope + trusted**0.5 * error * generator.standard_t(trials - 1, DRAWS)
    return around(trusted * slope * along + share * beside, along * drawn_slopes + own)


def held_out_range(validation: Array, test: Array) -> Estimate:
    """Best minus worst path on a trial that had no part in choosing them.

    For each trial, the paths with the highest and the lowest mean validation accuracy in the other trials are chosen,
    and their test accuracies in this trial are compared. No noise is chosen, so 0 is expected without a path effect.
    The choices share trials, so the variance of their mean is taken as larger by 1 / (trials - 1) than that of
    independent ones (Nadeau and Bengio 2003).

    Args:
        validation: final validation accuracies, (P, trials).
        test: final test accuracies, (P, trials).
    """
    trials, differences = test.shape[1], []
    for trial in range(trials):
        seen = np.delete(validation, trial, axis=1).mean(axis=1)
        differences.append(test[seen.argmax(), trial] - test[seen.argmin(), trial])
    variance = float(np.var(differences, ddof=1)) * (1 / trials + 1 / (trials - 1))
    return t_interval(float(np.mean(differences)), variance, trials - 1, 0.0, 1.0)
