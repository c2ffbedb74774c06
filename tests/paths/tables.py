"""Small tables of growth paths for tests: two steps of one layer and one of the other, and random counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from growenv.config import GrowthConfig
from growenv.paths.problem import PathProblem
from growenv.paths.table import PathTable


def problem(steps: tuple[int, ...] = (2, 1), waits: int = 0, trials: int = 2, **options: Any) -> PathProblem:
    """Paths on digits; every layer starts with 1 neuron and grows by 1."""
    hidden = (1,) * len(steps)
    given = {
        "tasks": 1,
        "decisions": sum(steps) + waits,
        "hidden": hidden,
        "max_hidden": tuple(1 + step for step in steps),
        "amounts": (1,),
        "protection": "finetune",
        "meter": "parameters",
        "budget": 1.0,
        **options,
    }
    return PathProblem(GrowthConfig.from_options(**given), steps, waits, tuple(range(trials)))


def random_table(
    steps: tuple[int, ...] = (2, 1), waits: int = 0, trials: int = 2, seed: int = 0, samples: int = 100
) -> PathTable:
    """A table of random counts; those on validation and on test samples have nothing in common."""
    about, rng = problem(steps, waits, trials), np.random.default_rng(seed)
    shape = (trials, about.lattice.nodes)
    validation, test = (rng.integers(0, samples + 1, shape) for _ in range(2))
    return PathTable(about, validation, test, {"validation": samples, "test": samples})


def worked_table() -> PathTable:
    """Two steps of layer 0 and one of layer 1, two trials, ten samples; the tree and its right answers are

    node       0      1        2        3        4        5         6          7          8
    path       -      1        2        11       12       21        112        121        211
    trial 0    1      2        4        3        5        6         7          8          9
    trial 1    0      6        4        6        6        2         9          7          3
    mean       .5     4        4        4.5      5.5      4         8          7.5        6
    """
    validation = np.array([[1, 2, 4, 3, 5, 6, 7, 8, 9], [0, 6, 4, 6, 6, 2, 9, 7, 3]])
    test = np.array([[0, 1, 2, 3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3, 2, 1, 0]])
    return PathTable(problem(), validation, test, {"validation": 10, "test": 8})
