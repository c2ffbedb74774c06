"""Runs of growth paths with known variance components, for the tests of their analysis."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.growth_paths_runs import lead
from experiments.growth_paths_statistics import Array, Sample

SIZES = np.array([125, 1632, 9935, 29125, 48837, 50645, 31234, 11135, 1949, 139])
"""Paths of the lattice of 10 + 10 steps in ten strata of equal width in lead."""
MIDDLES = np.arange(-0.9, 1.0, 0.2)
TRIALS = 5
NOBODY: dict[str, float] = {"top": 90.0, "path": 0.0, "cell": 0.4, "slope": 0.0}
SOMEBODY = {**NOBODY, "path": 0.4, "slope": 1.0}
"""Effects of studies in which nothing matters, and in which paths do."""


def lead_variance() -> float:
    """Variance of the lead that `study` draws, over all paths."""
    shares = SIZES / SIZES.sum()
    return float(shares @ MIDDLES**2 - (shares @ MIDDLES) ** 2 + 0.2**2 / 12)


def study(
    generator: np.random.Generator,
    *,
    path: float = 0.0,
    trial: float = 0.5,
    cell: float = 0.5,
    slope: float = 0.0,
    shared: float = 0.0,
    each: int = 20,
) -> tuple[Sample, Array, Array]:
    """One study of simulated accuracies in points: the sample, values (P, trials) and leads (P,).

    Args:
        generator: of all randomness.
        path, trial, cell: standard deviations of effects.
        slope: what a lead of 1 adds in every trial.
        shared: standard deviation over trials of what a lead of 1 adds: an interaction that similar paths share.
        each: paths drawn from each stratum.
    """
    stratum = np.repeat(np.arange(len(SIZES)), each)
    count = len(stratum)
    ahead = MIDDLES[stratum] + generator.uniform(-0.1, 0.1, count)
    effect = slope * ahead + path * generator.standard_normal(count)
    values = effect[:, None] + trial * generator.standard_normal(TRIALS)
    values = values + shared * np.outer(ahead, generator.standard_normal(TRIALS))
    return Sample(stratum, SIZES), values + cell * generator.standard_normal((count, TRIALS)), ahead


@cache
def sampled_paths(each: int) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
    """Paths of 10 + 10 steps, some from each stratum of lead, and their strata; then four named ones."""
    generator = np.random.default_rng(5)
    steps = np.repeat([1, 2], 10)
    orders = [generator.permuted(np.tile(steps, (20_000, 1)), axis=1)]
    # extreme leads are rare: paths that mostly begin with one layer reach them
    for share in (0.8, 0.9, 0.97):
        keys = generator.random((6000, 20)) + np.where(steps == 1, 0.0, share)
        early = steps[np.argsort(keys, axis=1)]
        orders += [early, 3 - early]
    candidates = np.unique(np.concatenate(orders), axis=0)
    strata = np.minimum((lead(candidates) + 1) * 5, 9).astype(np.int16)
    chosen = [generator.choice(np.flatnonzero(strata == number), each, replace=False) for number in range(10)]
    named = np.array([steps, steps[::-1], np.tile([1, 2], 10), np.tile([2, 1], 10)])
    drawn = candidates[np.concatenate(chosen)]
    both = np.concatenate([drawn, named]).astype(np.int8)
    return both, np.minimum((lead(both) + 1) * 5, 9).astype(np.int16)


def write_run(
    file: Path, seed: int, *, top: float, path: float, cell: float, slope: float, trial: float = 0.3, each: int = 20
) -> None:
    """A file as the experiment's runner writes it; accuracies around `top`, effects in points."""
    generator = np.random.default_rng(seed)
    paths, stratum = sampled_paths(each)
    count, decisions = len(paths), paths.shape[1]
    # the same paths are good for every seed below 100 of one digit: starts are to be compared
    effect = path * np.random.default_rng(seed // 10).standard_normal(count) + slope * lead(paths)
    trials = trial * np.random.default_rng(seed // 10 + 1000).standard_normal(TRIALS)
    final = top + effect[:, None] + trials + cell * generator.standard_normal((count, TRIALS))
    growth = 1 - 0.6 * np.exp(-np.arange(1, decisions + 1) / 3)
    lateness = 1 + 0.02 * np.cumsum(paths == 1, axis=1) / 10
    validation = final[:, :, None] * growth * (lateness / lateness[:, -1:])[:, None, :]
    validation += 0.2 * generator.standard_normal(validation.shape)
    root, target = 0.93 * top + trials, 1.005 * top + trials
    np.savez(
        file,
        paths=paths,
        validation=(validation / 100).astype(np.float32),
        test=(final / 100).astype(np.float32),
        stratum=stratum,
        stratum_sizes=SIZES,
        named=np.arange(count) >= count - 4,
        root_test=(root / 100).astype(np.float32),
        target_test=(target / 100).astype(np.float32),
        root_validation=(root[:, None] * growth / 100).astype(np.float32),
        target_validation=(target[:, None] * growth**0.7 / 100).astype(np.float32),
        meta=json.dumps({"note": "simulated"}),
    )
