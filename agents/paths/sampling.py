"""Whole episodes of growth paths, played in lock-step: all that searching and tabular agents are ever told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agents.paths.orders import Paths
from agents.policy import Policy
from growenv.paths.vector_env import PathsVectorEnv

Nodes = NDArray[np.int64]
Choose = Callable[[Nodes], NDArray[np.int64]]
"""From the nodes where the rows stand, shape (N,), to their actions, (N,)."""


class Watch(Protocol):
    """Looks at an agent while it learns."""

    def __call__(self, episodes: int, policy: Callable[[int], Policy]) -> None:
        """Take note of the agent after so many episodes.

        Args:
            episodes: episodes that it has played.
            policy: makes the policy that it would be judged by now, for a number of rows; called only if it is looked
                at, because making it may cost something.
        """


class Agent(Protocol):
    """Learns from episodes."""

    def learn(self, episodes: int, watch: Watch) -> None:
        """Play this many episodes, showing itself to `watch` after every batch of them."""


class Sampler:
    """Plays episodes in the rows of an environment; every row's trial is drawn by the environment and not told.

    Args:
        env: the environment; its rows are this sampler's own, and begin again by themselves.
        seed: seed of row 0; row i has seed + i.

    Attributes:
        lattice: the lattice of paths.
        rows: episodes played at once N.
        episodes: episodes played so far.
    """

    def __init__(self, env: PathsVectorEnv, seed: int) -> None:
        self.env, self.lattice, self.rows = env, env.lattice, int(env.num_envs)
        self.episodes = 0
        env.reset(seed=seed)

    def walk(self, choose: Choose) -> tuple[Nodes, NDArray[np.float64]]:
        """One episode in every row.

        Returns:
            The nodes that were visited, the root first, (N, T + 1), and the rewards, (N, T).
        """
        horizon = self.lattice.horizon
        nodes = np.zeros((self.rows, horizon + 1), dtype=np.int64)
        rewards = np.zeros((self.rows, horizon))
        for time in range(horizon):
            actions = choose(nodes[:, time])
            nodes[:, time + 1] = self.lattice.children[nodes[:, time], actions]
            rewards[:, time] = self.env.step(actions)[1]
        self.episodes += self.rows
        return nodes, rewards

    def play(self, paths: Paths) -> NDArray[np.float64]:
        """Returns of given paths, (N, T) to (N,), each in one episode."""
        actions = iter(paths.T)
        returns: NDArray[np.float64] = self.walk(lambda _: next(actions))[1].sum(axis=1)
        return returns
