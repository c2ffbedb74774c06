"""How good is a policy while it trains? Played on fixed episodes, in environments that training never touches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from agents.evaluation import play
from agents.learned import LearnedPolicy
from growenv.config import GrowthConfig
from growenv.streams.tasks import Context
from growenv.vector_env import GrowthVectorEnv


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Episodes that a policy played.

    Attributes:
        results: return of each episode, shape (E,).
        lengths: decisions of each episode, shape (E,).
        figures: further means to show, for example accuracy and cost.
    """

    results: NDArray[np.float64]
    lengths: NDArray[np.int64]
    figures: Mapping[str, float]


class Evaluator(Protocol):
    """Plays a policy on the same episodes whenever it is called.

    Attributes:
        played: what these episodes are, in words.
    """

    played: str

    def __call__(self, module: BasePolicy, manifest: Mapping[str, Any]) -> Evaluation:
        """Play the policy deterministically."""


class ValContexts:
    """Plays on fixed val contexts, each with its own inner seed.

    Args:
        config: the environment.
        contexts: what to play.
        device: where the networks that grow live.
    """

    played = "val"

    def __init__(self, config: GrowthConfig, contexts: Sequence[Context], device: str = "cpu") -> None:
        self.config = dataclasses.replace(config, accuracy_matrix=False)  # only the reward matters here
        self.contexts, self.device = tuple(contexts), device

    def __call__(self, module: BasePolicy, manifest: Mapping[str, Any]) -> Evaluation:
        """Returns, accuracies and costs of the policy."""
        policy = LearnedPolicy(module, manifest)
        records = play(policy.bind, self.config, self.contexts, rows=len(self.contexts), make_env=self._make_env)
        figures = {name: float(np.mean([getattr(record, name) for record in records])) for name in ("accuracy", "cost")}
        results = np.array([record.return_ for record in records])
        return Evaluation(results, np.array([len(record.actions) for record in records]), figures)

    def _make_env(self, config: GrowthConfig, rows: int) -> GrowthVectorEnv:
        return GrowthVectorEnv(rows, config, autoreset_mode="DISABLED", device=self.device)


class SeededEpisodes:
    """Plays the first episode of every row of a `VecEnv`, always from the same seeds; for environments not ours.

    Args:
        vec_env: an environment of its own, with a row for every episode.
        seed: seed of the first row.
        longest: decisions after which an episode counts as over.
    """

    played = "val"

    def __init__(self, vec_env: VecEnv, seed: int, longest: int = 10_000) -> None:
        self.vec_env, self.seed, self.longest = vec_env, seed, longest

    def __call__(self, module: BasePolicy, manifest: Mapping[str, Any]) -> Evaluation:
        """Returns of the policy."""
        rows = self.vec_env.num_envs
        self.vec_env.seed(self.seed)
        observations: Any = self.vec_env.reset()
        state = None
        results, lengths = np.zeros(rows), np.zeros(rows, dtype=np.int64)
        going, starts = np.ones(rows, dtype=bool), np.ones(rows, dtype=bool)
        while going.any() and lengths.max() < self.longest:
            actions, state = module.predict(observations, state, starts, deterministic=True)
            observations, rewards, starts, _ = self.vec_env.step(actions)
            results += np.where(going, rewards, 0.0)
            lengths += going
            going &= ~starts
        return Evaluation(results, lengths, {})
