"""Which growth path is best, exactly: dynamic programming on the tree of all paths, a level at a time.

Two optima are told apart. Who knows nothing of the trial takes one sequence of actions in all of them: the best such
sequence maximises the mean return over trials (*open loop*). Who knows the trial beforehand takes the best sequence of
each (``knowing="trial"``), which no policy can beat. A policy that looks at accuracies lies between the two at best.

Everywhere, `trials` chooses trials as `PathTable.trials_of` does, None being all of them.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from growenv.paths.lattice import Lattice
from growenv.paths.objective import Objective
from growenv.paths.table import PathTable
from growenv.registry import unknown_name

Array = NDArray[np.float64]
Trials: TypeAlias = str | ArrayLike | None
KNOWING = ("nothing", "trial")
FINAL = Objective()
_SAME = 1e-12
"""Returns that differ by less are equal: sums of the same rewards may round differently."""


# -- on rewards --------------------------------------------------------------------------------------------------------


def values(lattice: Lattice, rewards: ArrayLike) -> Array:
    """Best return to go from every node.

    V(leaf) = 0, V(node) = max over allowed actions of r(child) + V(child).

    Args:
        lattice: the tree.
        rewards: reward of the decision that leads to each node, shape (..., nodes).

    Returns:
        V, float64 (..., nodes).

    Source: Bellman 1957, Dynamic Programming, chapter III.
    """
    return _solve(lattice, rewards)[0]


def best_actions(lattice: Lattice, rewards: ArrayLike) -> NDArray[np.int8]:
    """An action that keeps the best return to go in reach, for every node; arguments as in `values`.

    Returns:
        Actions, int8 (..., nodes), the lowest number among equals, -1 at leaves.
    """
    return _solve(lattice, rewards)[1]


def sums(lattice: Lattice, rewards: ArrayLike) -> Array:
    """Sum of the rewards on the way to every node, float64 (..., nodes); arguments as in `values`."""
    total: Array = _rewards(lattice, rewards).copy()
    for number in range(2, lattice.horizon + 1):
        level = lattice.level(number)
        total[..., level] += total[..., lattice.parents[level]]
    return total


def _solve(lattice: Lattice, rewards: ArrayLike) -> tuple[Array, NDArray[np.int8]]:
    """Values and best actions, from the leaves upwards."""
    given = _rewards(lattice, rewards)
    value = np.zeros(given.shape)
    action = np.full(given.shape, -1, dtype=np.int8)
    for number in reversed(range(lattice.horizon)):
        level = lattice.level(number)
        child = lattice.children[level]
        reached = np.where(child >= 0, given[..., child] + value[..., child], -np.inf)
        value[..., level] = reached.max(axis=-1)
        action[..., level] = reached.argmax(axis=-1)
    return value, action


def _rewards(lattice: Lattice, rewards: ArrayLike) -> Array:
    given = np.asarray(rewards, dtype=np.float64)
    if given.ndim < 1 or given.shape[-1] != lattice.nodes:
        raise ValueError(f"rewards of shape {given.shape}: expected (..., {lattice.nodes}), one for each node")
    return given


# -- on tables ---------------------------------------------------------------------------------------------------------


def returns(table: PathTable, objective: Objective = FINAL, trials: Trials = None) -> Array:
    """Returns of all paths in every trial, float64 (trials, paths), in the order of `Lattice.leaves`."""
    lattice = table.lattice
    return sums(lattice, objective.rewards(table, trials))[:, lattice.leaves]


def optimal_return(
    table: PathTable, objective: Objective = FINAL, trials: Trials = None, *, knowing: str = "nothing"
) -> float:
    """Largest mean return over trials.

    Args:
        table: accuracies and work.
        objective: what a return is.
        trials: which trials.
        knowing: ``"nothing"``, one sequence of actions for all trials, or ``"trial"``, the best sequence of each.

    Raises:
        ValueError: unknown names, or trials that do not exist.
    """
    rewards = _known(objective.rewards(table, trials), knowing)
    return float(values(table.lattice, rewards)[:, 0].mean())


def optimal_policy(
    table: PathTable, objective: Objective = FINAL, trials: Trials = None, *, knowing: str = "nothing"
) -> NDArray[np.int8]:
    """Best action at every node, whatever led there; arguments as in `optimal_return`.

    Returns:
        Actions, int8 (nodes,), or (trials, nodes) for ``knowing="trial"``; -1 at leaves.
    """
    best = best_actions(table.lattice, _known(objective.rewards(table, trials), knowing))
    return best[0] if knowing == "nothing" else best


def optimal_actions(
    table: PathTable, objective: Objective = FINAL, trials: Trials = None, *, knowing: str = "nothing"
) -> NDArray[np.int64]:
    """A best path; arguments as in `optimal_return`.

    Returns:
        Actions, int64 (T,), or (trials, T) for ``knowing="trial"``.
    """
    policy, lattice = optimal_policy(table, objective, trials, knowing=knowing), table.lattice
    rows = np.atleast_2d(policy)
    each, node, actions = np.arange(len(rows)), np.zeros(len(rows), dtype=np.int64), []
    for _ in range(lattice.horizon):
        actions.append(rows[each, node].astype(np.int64))
        node = lattice.children[node, actions[-1]].astype(np.int64)
    return np.stack(actions, axis=-1).reshape(*policy.shape[:-1], lattice.horizon)


def mean_return(table: PathTable, actions: ArrayLike, objective: Objective = FINAL, trials: Trials = None) -> Array:
    """Mean return over trials of whole paths.

    Args:
        table: accuracies and work.
        actions: sequences of T actions, integers of shape (..., T).
        objective: what a return is.
        trials: which trials.

    Returns:
        Mean returns, float64 (...).

    Raises:
        ValueError: no whole paths of this lattice.
    """
    every: Array = returns(table, objective, trials).mean(axis=0)
    reached: Array = np.asarray(every[path_numbers(table.lattice, actions)])
    return reached


def path_numbers(lattice: Lattice, actions: ArrayLike) -> NDArray[np.int64]:
    """Numbers of whole paths in the order of `Lattice.leaves`, int64 (...), for actions of shape (..., T).

    Raises:
        ValueError: no whole paths of this lattice.
    """
    visited = lattice.follow(actions)
    if visited.shape[-1] != lattice.horizon + 1:
        raise ValueError(f"paths of {visited.shape[-1] - 1} actions: expected whole ones, of {lattice.horizon}")
    numbers: NDArray[np.int64] = np.asarray(visited[..., -1] - lattice.levels[-2])
    return numbers


def regret(table: PathTable, actions: ArrayLike, objective: Objective = FINAL, trials: Trials = None) -> Array:
    """The open-loop optimum minus the mean return of whole paths, float64 (...); never negative.

    Arguments as in `mean_return`.
    """
    reached = mean_return(table, actions, objective, trials)
    return np.asarray(np.maximum(regret_of(table, reached, objective, trials), 0.0))  # sums round differently


def regret_of(table: PathTable, reached: ArrayLike, objective: Objective = FINAL, trials: Trials = None) -> Array:
    """The open-loop optimum minus mean returns, float64, shape of `reached`.

    Negative for a policy that tells trials apart by their accuracies and does better than any one sequence.
    """
    difference: Array = np.asarray(optimal_return(table, objective, trials) - np.asarray(reached, dtype=np.float64))
    return difference


def rank(
    table: PathTable, actions: ArrayLike, objective: Objective = FINAL, trials: Trials = None
) -> NDArray[np.int64]:
    """Place of whole paths among all by mean return: 1 for the best, equal paths sharing the best place, int64 (...).

    Arguments as in `mean_return`.
    """
    every = np.sort(returns(table, objective, trials).mean(axis=0))
    reached = mean_return(table, actions, objective, trials)
    better = len(every) - np.searchsorted(every, reached + _SAME, side="right")
    return np.asarray(1 + better, dtype=np.int64)


def quantile(table: PathTable, actions: ArrayLike, objective: Objective = FINAL, trials: Trials = None) -> Array:
    """Share of all paths that whole paths are at least as good as, float64 (...): 1 for the best one.

    Arguments as in `mean_return`.
    """
    shares: Array = np.asarray(1.0 - (rank(table, actions, objective, trials) - 1) / table.lattice.paths)
    return shares


def _known(rewards: Array, knowing: str) -> Array:
    """Rewards that a planner adds up: their mean over trials, or those of every trial."""
    if knowing not in KNOWING:
        raise unknown_name("knowledge of the trial", knowing, KNOWING)
    return rewards.mean(axis=0, keepdims=True) if knowing == "nothing" else rewards
