"""The lattice of growth paths: every order in which layers can grow to one target, as a tree of prefixes.

A *path* is a sequence of actions. Action 0 waits, action l + 1 grows hidden layer l by one step. Every path makes the
same number of steps in each layer and waits the same number of times, so that all end at the same architecture at the
same time; what differs is the order. A *node* is a prefix of paths: what has been done so far. Many nodes may stand on
one *place* of the lattice, which only counts how often each action was taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

WAIT = 0
"""The action that lets every layer be."""
MOST_NODES = 5_000_000
"""A lattice with more is refused: its table would not fit."""
MOST_TIMES = 2**15 - 1
"""How often a path can take one action."""
MOST_ACTIONS = 2**7
"""Different actions of a lattice."""


class Lattice:
    """All orders of growth steps and waits.

    Nodes are numbered level by level; node 0 is the root, before anything was done. The children of a node have
    neighbouring numbers, in the order of their actions.

    Args:
        steps: growth steps of each hidden layer, each at least 0 and at least 1 in all.
        waits: decisions at which nothing grows, at least 0.

    Attributes:
        limits: how often each action is taken on every path: waits, then the steps of each layer.
        horizon: actions of a path T.
        levels: first node of every level, and the number of nodes; shape (T + 2,).
        children: node that an action leads to, int32 (nodes, A), -1 where the action is not allowed.
        counts: how often each action was taken on the way to a node, int16 (nodes, A).
        parents: node that a node comes from, int32 (nodes,), -1 for the root.
        last: action that led to a node, int8 (nodes,), -1 for the root.

    Raises:
        ValueError: steps or waits that are no such numbers, more than `MOST_NODES` nodes or `MOST_ACTIONS` actions.
    """

    def __init__(self, steps: Sequence[int], waits: int = 0) -> None:
        self.limits = (_count("waits", waits), *(_count("steps", step) for step in steps))
        self.horizon = sum(self.limits)
        if sum(self.limits[1:]) < 1:
            raise ValueError(f"steps={tuple(steps)}: expected at least one growth step")
        if len(self.limits) > MOST_ACTIONS:
            raise ValueError(f"steps of {len(self.limits) - 1} layers: expected at most {MOST_ACTIONS - 1}")
        if not _can_be_listed(self.limits):
            raise ValueError(
                f"steps={tuple(steps)}, waits={waits}: at most {MOST_NODES:,} beginnings of paths can be listed; "
                "take fewer steps or waits"
            )
        self._grow()

    def _grow(self) -> None:
        """List the nodes level by level."""
        actions = len(self.limits)
        counts = [np.zeros((1, actions), dtype=np.int16)]
        parents, last = [np.array([-1], dtype=np.int32)], [np.array([-1], dtype=np.int8)]
        children, levels = [], [0, 1]
        for _ in range(self.horizon):
            now = counts[-1]
            allowed = now < np.array(self.limits, dtype=np.int16)
            node, action = np.nonzero(allowed)
            below = np.full(allowed.shape, -1, dtype=np.int32)
            below[node, action] = levels[-1] + np.arange(len(node), dtype=np.int32)
            children.append(below)
            counts.append(now[node] + np.eye(actions, dtype=np.int16)[action])
            parents.append((levels[-2] + node).astype(np.int32))
            last.append(action.astype(np.int8))
            levels.append(levels[-1] + len(node))
        children.append(np.full((levels[-1] - levels[-2], actions), -1, dtype=np.int32))
        self.levels: NDArray[np.int64] = np.array(levels)
        self.children: NDArray[np.int32] = np.concatenate(children)
        self.counts: NDArray[np.int16] = np.concatenate(counts)
        self.parents: NDArray[np.int32] = np.concatenate(parents)
        self.last: NDArray[np.int8] = np.concatenate(last)

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return int(self.levels[-1])

    @property
    def actions(self) -> int:
        """Number of actions A: wait, and one for each hidden layer."""
        return len(self.limits)

    @property
    def paths(self) -> int:
        """Number of paths."""
        return int(self.levels[-1] - self.levels[-2])

    @property
    def leaves(self) -> NDArray[np.int64]:
        """The nodes at which paths end, one for each path, (paths,)."""
        return np.arange(self.levels[-2], self.levels[-1])

    def level(self, number: int) -> slice:
        """The nodes after `number` actions."""
        return slice(int(self.levels[number]), int(self.levels[number + 1]))

    @cached_property
    def depth(self) -> NDArray[np.int64]:
        """Actions taken on the way to every node, (nodes,)."""
        depth: NDArray[np.int64] = self.counts.sum(axis=1, dtype=np.int64)
        return depth

    # -- paths and nodes -----------------------------------------------------------------------------------------------

    def follow(self, actions: ArrayLike) -> NDArray[np.int64]:
        """The nodes that sequences of actions visit, the root first, (..., length + 1).

        Args:
            actions: sequences of actions, integers of shape (..., length), length at most T.

        Raises:
            ValueError: no integers, too long, an action that does not exist, or one that is not allowed there.
        """
        given = np.asarray(actions)
        if given.size == 0:
            given = given.astype(np.int64)
        if given.ndim < 1 or not np.issubdtype(given.dtype, np.integer):
            raise ValueError(f"actions={actions!r}: expected sequences of integers")
        if given.shape[-1] > self.horizon:
            raise ValueError(f"a path of {given.shape[-1]} actions: expected at most {self.horizon}")
        if given.size and (given.min() < 0 or given.max() >= self.actions):
            raise ValueError(f"actions={actions!r}: expected numbers from 0 to {self.actions - 1}")
        node = np.zeros(given.shape[:-1], dtype=np.int64)
        visited = [node]
        for place in range(given.shape[-1]):
            node = self.children[node, given[..., place]].astype(np.int64)
            if (node < 0).any():
                where = np.argwhere(node < 0)[0]
                path = given[tuple(where)].tolist()
                raise ValueError(
                    f"the path {path} takes action {path[place]} at decision {place}, more often than "
                    f"{self.limits[path[place]]} times; every path takes the actions {self.limits} times"
                )
            visited.append(node)
        return np.stack(visited, axis=-1)

    def path(self, node: ArrayLike) -> NDArray[np.int64]:
        """The actions that lead to nodes, (..., depth); all nodes must have one depth.

        Raises:
            ValueError: a node that does not exist, or nodes of different depths.
        """
        now = self._existing(node)
        depth = np.unique(self.depth[now])
        if len(depth) > 1:
            raise ValueError(f"nodes of the depths {depth.tolist()}: expected one depth")
        actions = np.zeros((*now.shape, int(depth[0]) if len(depth) else 0), dtype=np.int64)
        for place in reversed(range(actions.shape[-1])):
            actions[..., place] = self.last[now]
            now = self.parents[now].astype(np.int64)
        return actions

    def below(self, nodes: ArrayLike) -> NDArray[np.int64]:
        """All nodes on the way from the root to some nodes, and these themselves, in order, (k,).

        Raises:
            ValueError: a node that does not exist.
        """
        wanted = np.zeros(self.nodes, dtype=np.bool_)
        now = np.unique(self._existing(nodes))
        while len(now):
            wanted[now] = True
            now = np.unique(self.parents[now])
            now = now[now >= 0]
        return np.flatnonzero(wanted)

    def completions(self, node: ArrayLike) -> NDArray[np.float64]:
        """Number of paths that go on from nodes, same shape.

        Raises:
            ValueError: a node that does not exist.
        """
        left = np.array(self.limits) - self.counts[self._existing(node)]
        logs = np.cumsum(np.log(np.maximum(np.arange(self.horizon + 1), 1)))
        whole: NDArray[np.float64] = np.rint(np.exp(logs[left.sum(axis=-1)] - logs[left].sum(axis=-1)))
        return whole

    def lead(self, layer: int = 0, over: int = 1) -> NDArray[np.float64]:
        """How far one layer is ahead of another along every path, (paths,), from -1 to 1.

        The mean over decisions of the difference of their steps, as shares of what each will get, relative to the
        largest such mean of any path; 0 is even.

        Raises:
            ValueError: a layer that does not exist; with one hidden layer there is none to be ahead of.
        """
        layers = self.actions - 1
        if not (0 <= layer < layers and 0 <= over < layers):
            raise ValueError(f"lead of layer {layer} over layer {over}: expected numbers of the {layers} hidden layers")
        share = self.counts / np.maximum(np.array(self.limits), 1)
        ahead = share[:, layer + 1] - share[:, over + 1]
        node, total = self.leaves, np.zeros(self.paths)
        for _ in range(self.horizon):
            total += ahead[node]
            node = self.parents[node].astype(np.int64)
        largest = np.abs(total).max()
        return total / largest if largest else total

    def _existing(self, nodes: ArrayLike) -> NDArray[np.int64]:
        given = np.asarray(nodes)
        if given.size and not np.issubdtype(given.dtype, np.integer):
            raise ValueError(f"node={nodes!r}: expected integers")
        if given.size and (given.min() < 0 or given.max() >= self.nodes):
            raise ValueError(f"node={nodes!r}: expected numbers from 0 to {self.nodes - 1}")
        return given.astype(np.int64)


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ValueError(f"{name}={value!r}: expected integers >= 0")
    if value > MOST_TIMES:
        raise ValueError(f"{name}={value!r}: expected at most {MOST_TIMES:,}")
    return int(value)


def _can_be_listed(limits: Sequence[int]) -> bool:
    """Whether a lattice has at most `MOST_NODES` nodes; counts no more levels than it takes to see that.

    Two sets of actions with m_j and n_j beginnings of length j have ``sum_c binomial(k, c) m_c n_{k-c}`` together.
    """
    horizon, levels = sum(limits), 1
    while levels <= horizon:
        levels *= 2
        ways = [1]
        for limit in sorted(limits):
            ways = [
                sum(comb(k, c) * ways[k - c] for c in range(max(0, k - len(ways) + 1), min(limit, k) + 1))
                for k in range(min(len(ways) + limit, levels))
            ]
        if sum(ways) > MOST_NODES:
            return False
    return True
