"""A small made-up table of growth paths, whose best order is known, and a larger one that is noisy as real ones are."""

from __future__ import annotations

import numpy as np

from growenv.config import GrowthConfig
from growenv.paths.problem import PathProblem
from growenv.paths.table import PathTable

SAMPLES = 10_000


def problem(steps: tuple[int, ...], waits: int, trials: int) -> PathProblem:
    """Two layers of 4 neurons that grow by 2 at a time."""
    wanted = tuple(4 + 2 * step for step in steps)
    hidden, decisions = (4,) * len(steps), sum(steps) + waits
    config = GrowthConfig(
        dataset="digits",
        tasks=1,
        hidden=hidden,
        max_hidden=wanted,
        amounts=(2,),
        decisions=decisions,
        budget=(1.0, 1.0),
    )
    return PathProblem(config, steps, waits, tuple(range(trials)))


def made_up(steps: tuple[int, ...] = (2, 2), waits: int = 0, trials: int = 4, noise: float = 0.0) -> PathTable:
    """Layer 2 had better grow first: every decision at which it is ahead adds to all accuracies that follow.

    Trials differ by a constant of two points, and every node by `noise` more.
    """
    about = problem(steps, waits, trials)
    lattice, generator = about.lattice, np.random.default_rng(0)
    quality = np.zeros(lattice.nodes)
    for node in range(1, lattice.nodes):
        counts = lattice.counts[node].astype(float) / np.maximum(lattice.limits, 1)
        quality[node] = quality[lattice.parents[node]] + 0.004 * (counts[2] - counts[1])
    accuracy = 0.3 + 0.5 * lattice.depth / lattice.horizon + quality
    shown = accuracy + 0.02 * generator.standard_normal((trials, 1))
    shown = shown + noise * generator.standard_normal((trials, lattice.nodes))
    counts = np.clip(np.rint(shown * SAMPLES), 0, SAMPLES).astype(np.uint16)
    return PathTable(about, counts, counts, {"validation": SAMPLES, "test": SAMPLES})
