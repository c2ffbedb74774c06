"""Growth paths by brute force: all permutations, one at a time, written without the package's tree."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from growenv.paths.objective import Objective
from growenv.paths.table import PathTable


def all_paths(steps: tuple[int, ...], waits: int) -> list[tuple[int, ...]]:
    """Every order of the actions, sorted."""
    actions = [action for action, times in enumerate((waits, *steps)) for _ in range(times)]
    return sorted(set(permutations(actions)))


def node_numbers(paths: list[tuple[int, ...]]) -> dict[tuple[int, ...], int]:
    """Numbers of all prefixes: shorter ones first, then in the order of the words."""
    prefixes = {path[:length] for path in paths for length in range(len(path) + 1)}
    return {prefix: number for number, prefix in enumerate(sorted(prefixes, key=lambda path: (len(path), path)))}


def all_returns(table: PathTable, objective: Objective) -> NDArray[np.float64]:
    """Returns of all paths from their definition, (trials, paths)."""
    problem = table.problem
    paths = all_paths(problem.steps, problem.waits)
    node, horizon = node_numbers(paths), len(paths[0])
    counts = table.validation if objective.metric == "validation" else table.test
    accuracy, work = counts / table.samples[objective.metric], problem.work
    found = np.empty((len(problem.trials), len(paths)))
    for trial in range(len(problem.trials)):
        for number, path in enumerate(paths):
            visited = [node[path[: length + 1]] for length in range(horizon)]
            reached = [accuracy[trial, each] for each in visited]
            earned = reached[-1] if objective.kind == "final" else sum(reached) / horizon
            found[trial, number] = earned - objective.price * sum(work[each] for each in visited) / horizon
    return found
