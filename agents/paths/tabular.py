"""Agents that keep a number for every node of the lattice: Q-learning and Thompson sampling.

They know the lattice, which is the rules of the game, and learn everything else from the rewards of sampled episodes.
They react to nothing but their own actions, so each would play one fixed path.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.paths.orders import playing
from agents.paths.sampling import Nodes, Sampler, Watch
from agents.policy import Policy
from growenv.paths.lattice import Lattice
from growenv.registry import unknown_name

STATES = ("node", "place")


class TabularAgent(ABC):
    """Walks down the lattice in all rows, learns from the rewards, and would play its best path.

    Args:
        sampler: plays the episodes.
        seed: seed of exploration.
    """

    def __init__(self, sampler: Sampler, seed: int) -> None:
        self.sampler, self.lattice = sampler, sampler.lattice
        self.generator = np.random.default_rng(seed)
        self.progress = 0.0
        """Share of the episodes of `learn` that have been played."""

    def learn(self, episodes: int, watch: Watch) -> None:
        """Play so many episodes; see `agents.paths.sampling.Agent`."""
        while self.sampler.episodes < episodes:
            self.progress = self.sampler.episodes / episodes
            self.update(*self.sampler.walk(self.explore))
            watch(self.sampler.episodes, self.policy)

    def policy(self, rows: int) -> Policy:
        """Plays the path of the best values."""
        node, path = np.zeros(1, dtype=np.int64), []
        for _ in range(self.lattice.horizon):
            action = legal(self.lattice, node, self.values(node)).argmax(axis=1)
            node = self.lattice.children[node, action].astype(np.int64)
            path.append(int(action[0]))
        return playing(self.lattice, path, rows)

    @abstractmethod
    def explore(self, nodes: Nodes) -> NDArray[np.int64]:
        """Actions of an episode that is learned from; shapes (N,) and (N,)."""

    @abstractmethod
    def update(self, nodes: Nodes, rewards: NDArray[np.float64]) -> None:
        """Learn from episodes: nodes (N, T + 1), rewards (N, T)."""

    @abstractmethod
    def values(self, nodes: Nodes) -> NDArray[np.float64]:
        """How good every action is believed to be, (N,) to (N, A); those that are not allowed do not matter."""


def legal(lattice: Lattice, nodes: Nodes, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of actions, (N, A), those that are not allowed as minus infinity."""
    return np.where(lattice.children[nodes] >= 0, values, -np.inf)


def places(lattice: Lattice) -> NDArray[np.int64]:
    """Number of the place of every node, (nodes,): equal where all actions were taken equally often."""
    sizes = tuple(limit + 1 for limit in lattice.limits)
    return np.asarray(np.ravel_multi_index(tuple(lattice.counts.T.astype(np.int64)), sizes), dtype=np.int64)


class QLearning(TabularAgent):
    """Q-learning with epsilon-greedy exploration that fades out.

    An episode is replayed from its end to its beginning, so one episode moves the values of all its steps. Where
    several rows took one action in one state, their mean target counts as that many visits.

    Args:
        sampler: plays the episodes.
        seed: seed of exploration.
        states: ``node``, everything that was done in order, or ``place``, only how often. Places are few, so values are
            learned soon, but what the order changes is averaged out.
        epsilon: share of random actions at the beginning; it falls in a straight line to 0 at the end.
        rate_power: the n-th visit moves a value by n^-rate_power of the way.

    Source: Watkins and Dayan 1992, doi 10.1007/BF00992698; replay backwards: Lin 1992, doi 10.1007/BF00992699; powers
    near the default are best in Even-Dar and Mansour 2003, JMLR 5.

    Raises:
        UnknownNameError: other states.
        ValueError: an epsilon outside [0, 1], or a power outside (0.5, 1], with which values do not settle.
    """

    def __init__(
        self, sampler: Sampler, seed: int, states: str = "node", epsilon: float = 0.3, rate_power: float = 0.8
    ) -> None:
        if states not in STATES:
            raise unknown_name("kind of states", states, STATES)
        if not 0.0 <= epsilon <= 1.0:
            raise ValueError(f"epsilon={epsilon!r}: expected a share of actions from 0 to 1")
        if not 0.5 < rate_power <= 1.0:
            raise ValueError(f"rate_power={rate_power!r}: expected a power above 0.5 and at most 1")
        super().__init__(sampler, seed)
        self.epsilon, self.rate_power = epsilon, rate_power
        self.state = places(self.lattice) if states == "place" else np.arange(self.lattice.nodes)
        self.q = np.zeros((int(self.state.max()) + 1, self.lattice.actions))
        self.visits = np.zeros_like(self.q)

    def values(self, nodes: Nodes) -> NDArray[np.float64]:
        """Expected rewards from here on; an action that was never tried counts as the worst that was."""
        known = self.visits[self.state[nodes]] > 0
        q: NDArray[np.float64] = np.where(known, self.q[self.state[nodes]], -1e9)
        return q

    def explore(self, nodes: Nodes) -> NDArray[np.int64]:
        """The best action, or sometimes any; equal values are decided by chance."""
        draws = self.generator.random((len(nodes), self.lattice.actions + 1))
        random = draws[:, :1] < self.epsilon * (1.0 - self.progress)
        values = np.where(random, 0.0, self.values(nodes))
        chosen = legal(self.lattice, nodes, values)
        tied = chosen == chosen.max(axis=1, keepdims=True)
        actions: NDArray[np.int64] = np.where(tied, draws[:, 1:], -1.0).argmax(axis=1)
        return actions

    def update(self, nodes: Nodes, rewards: NDArray[np.float64]) -> None:
        """Move values towards reward plus the best value of what follows, the last step first."""
        width = self.lattice.actions
        for time in reversed(range(self.lattice.horizon)):
            after = nodes[:, time + 1]
            follows = np.zeros(len(nodes))
            if time + 1 < self.lattice.horizon:
                follows = legal(self.lattice, after, self.values(after)).max(axis=1)
            taken = self.state[nodes[:, time]] * width + self.lattice.last[after]
            pairs, where, counts = np.unique(taken, return_inverse=True, return_counts=True)
            target = np.bincount(where, weights=rewards[:, time] + follows) / counts
            q, visits = self.q.reshape(-1), self.visits.reshape(-1)
            visits[pairs] += counts
            rate = np.minimum(1.0, counts / visits[pairs] ** self.rate_power)
            q[pairs] += rate * (target - q[pairs])


class ThompsonSampling(TabularAgent):
    """Draws a return for every child of a node from what is believed of it, and goes to the largest.

    The belief of a node is normal: its mean is that of the returns of all episodes through it, and of one imagined
    episode with its parent's mean; its variance is that of all returns over the number of episodes, the imagined one
    included. So a node that was never visited is believed to be as good as its parent, and is likely to be tried.

    Args:
        sampler: plays the episodes.
        seed: seed of the draws.
        temper: factor on the standard deviation of beliefs; below 1 it explores less.

    Source: Thompson 1933, doi 10.1093/biomet/25.3-4.285, at the nodes of a tree as in Bai et al. 2013 (NeurIPS 26).

    Raises:
        ValueError: a factor that is negative.
    """

    def __init__(self, sampler: Sampler, seed: int, temper: float = 0.5) -> None:
        if not temper >= 0.0:
            raise ValueError(f"temper={temper!r}: expected a factor of at least 0")
        super().__init__(sampler, seed)
        self.temper = temper
        self.visits = np.zeros(self.lattice.nodes)
        self.totals = np.zeros(self.lattice.nodes)
        self.squares = 0.0

    def values(self, nodes: Nodes) -> NDArray[np.float64]:
        """Believed returns of the children."""
        parent = (self.totals[nodes] / np.maximum(self.visits[nodes], 1.0))[:, None]
        children = self.lattice.children[nodes]
        believed: NDArray[np.float64] = (self.totals[children] + parent) / (self.visits[children] + 1.0)
        return believed

    def explore(self, nodes: Nodes) -> NDArray[np.int64]:
        """The child whose drawn return is the largest."""
        shape = (len(nodes), self.lattice.actions)
        spread = self.temper * self._deviation() / np.sqrt(self.visits[self.lattice.children[nodes]] + 1.0)
        drawn = self.values(nodes) + spread * self.generator.standard_normal(shape)
        actions: NDArray[np.int64] = legal(self.lattice, nodes, drawn).argmax(axis=1)
        return actions

    def update(self, nodes: Nodes, rewards: NDArray[np.float64]) -> None:
        """Note the returns at all nodes that were visited."""
        returns = rewards.sum(axis=1)
        np.add.at(self.visits, nodes, 1.0)
        np.add.at(self.totals, nodes, returns[:, None])
        self.squares += float((returns**2).sum())

    def _deviation(self) -> float:
        """Standard deviation of all returns; 1 before there are any."""
        played = self.visits[0]
        if not played:
            return 1.0
        return float(np.sqrt(max(self.squares / played - (self.totals[0] / played) ** 2, 0.0)))


TABULAR: dict[str, dict[str, Any]] = {
    "q-learning": {"states": "node", "epsilon": 0.3, "rate_power": 0.8},
    "q-learning-places": {"states": "place", "epsilon": 0.3, "rate_power": 0.8},
    "thompson": {"temper": 0.5},
}
"""Hyper-parameters by name."""


def tabular_agent(name: str, sampler: Sampler, seed: int) -> TabularAgent:
    """The tabular agent called `name`.

    Raises:
        UnknownNameError: no such agent.
    """
    if name not in TABULAR:
        raise unknown_name("tabular agent", name, TABULAR)
    kind = ThompsonSampling if name == "thompson" else QLearning
    return kind(sampler, seed, **TABULAR[name])
