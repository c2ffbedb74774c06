"""Accuracies at the nodes of a lattice: of all of them, of some, or shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from growenv.paths.lattice import Lattice
from growenv.paths.training import PathTraining


@dataclass(frozen=True)
class Counted:
    """What the networks at some nodes get right.

    Attributes:
        nodes: which nodes, in order, (k,).
        validation: samples of the validation part that are right, (trials, k).
        test: the same of the test part; -1 where it was not asked, (trials, k).
    """

    nodes: NDArray[np.int64]
    validation: NDArray[np.int32]
    test: NDArray[np.int32]


def count_right(
    training: PathTraining,
    nodes: NDArray[np.int64],
    trials: Sequence[int],
    most_rows: int = 64,
    *,
    test_everywhere: bool = True,
    progress: Callable[[int], None] = lambda rows: None,
) -> Counted:
    """Train all that leads to some nodes, and measure it on the way.

    Args:
        training: trains and measures.
        nodes: where to go, (k,).
        trials: which trials.
        most_rows: rows of a stack; see `PathTraining.walk`.
        test_everywhere: ask the test part at every node, not only at ends of paths.
        progress: told of how many more networks have been trained for a decision.

    Raises:
        ValueError: no nodes, or trials that do not exist.
    """
    every = len(training.problem.trials)
    if not len(trials) or len(set(trials)) != len(trials) or min(trials) < 0 or max(trials) >= every:
        raise ValueError(f"trials={trials}: expected different numbers from 0 to {every - 1}")
    lattice = training.problem.lattice
    visited = lattice.below(nodes)
    column = np.full(lattice.nodes, -1, dtype=np.int64)
    column[visited] = np.arange(len(visited))
    row = np.full(every, -1, dtype=np.int64)
    row[list(trials)] = np.arange(len(trials))
    validation, test = np.full((2, len(trials), len(visited)), -1, dtype=np.int32)
    for front in training.walk(nodes, trials, most_rows):
        place = row[front.trials], column[front.nodes]
        validation[place] = training.right_answers(front, "validation")
        if test_everywhere or lattice.depth[front.nodes[0]] == lattice.horizon:
            test[place] = training.right_answers(front, "test")
        progress(len(front))
    return Counted(visited, validation, test)


def count_everywhere(training: PathTraining, trials: Sequence[int], most_rows: int = 64, *, level: int = 0) -> Counted:
    """`count_right` at every node, shard by shard: memory holds the networks of one shard at a time.

    Args:
        training: trains and measures.
        trials: which trials.
        most_rows: rows of a stack; see `PathTraining.walk`.
        level: the nodes at this level begin a shard each. What lies above them is trained for every shard again.

    Raises:
        ValueError: trials that do not exist, or a level that paths do not have.
    """
    lattice = training.problem.lattice
    validation, test = np.full((2, len(trials), lattice.nodes), -1, dtype=np.int32)
    for prefix in prefixes(lattice, level):
        part = count_right(training, shard(lattice, int(prefix)), trials, most_rows)
        validation[:, part.nodes], test[:, part.nodes] = part.validation, part.test
    return Counted(np.arange(lattice.nodes), validation, test)


def shard(lattice: Lattice, prefix: int) -> NDArray[np.int64]:
    """The ends of all paths that begin with the path to a node, (k,).

    Raises:
        ValueError: there is no such node.
    """
    depth = lattice.path(prefix).shape[-1]
    within = np.zeros(lattice.nodes, dtype=np.bool_)
    within[prefix] = True
    for level in range(depth + 1, lattice.horizon + 1):
        nodes = lattice.level(level)
        within[nodes] |= within[lattice.parents[nodes]]
    ends: NDArray[np.int64] = lattice.leaves[within[lattice.leaves]]
    return ends


def prefixes(lattice: Lattice, level: int) -> NDArray[np.int64]:
    """The nodes after `level` actions; their shards hold every path once, (k,).

    Raises:
        ValueError: paths have no such level.
    """
    if not 0 <= level <= lattice.horizon:
        raise ValueError(f"level={level}: expected 0 to {lattice.horizon}, the number of actions of a path")
    nodes = lattice.level(level)
    return np.arange(nodes.start, nodes.stop)
