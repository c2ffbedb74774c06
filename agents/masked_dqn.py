"""DQN and QR-DQN that never choose an illegal action.

The mask in the observation is applied where values become choices: the arg-max, the maximum in the target (through the
target network, which masks with the *next* observation's mask) and exploration. Exploration is decided row by row, with
a generator of its own instead of the global ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor

from agents.masked_policy import ILLEGAL, MASK, legal_actions


class MaskedQNetwork(QNetwork):
    """Values of the actions, those of illegal ones replaced; shape (N, A)."""

    def forward(self, obs: Any) -> Tensor:
        """Values, shape (N, A)."""
        values, legal = super().forward(obs), legal_actions(obs)
        return values if legal is None else values.masked_fill(~legal, ILLEGAL)


class MaskedDQNPolicy(DQNPolicy):
    """A DQN policy whose value and target networks mask."""

    def make_q_net(self) -> QNetwork:
        """A value network."""
        return MaskedQNetwork(**self._update_features_extractor(self.net_args, features_extractor=None)).to(self.device)


class MaskedExploration:
    """Mixed into an off-policy algorithm: epsilon-greedy in each row, random actions drawn from the legal ones.

    Attributes:
        exploration_generator: where explored actions come from; a part of the checkpoint.
    """

    exploration_generator: np.random.Generator

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed everything that the algorithm draws from."""
        super().set_random_seed(seed)  # type: ignore[misc]
        self.exploration_generator = np.random.default_rng(seed)

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        warm_up = self.num_timesteps < learning_starts  # type: ignore[attr-defined]
        rate = 1.0 if warm_up else self.exploration_rate  # type: ignore[attr-defined]
        observations, count = self._last_obs, int(self.action_space.n)  # type: ignore[attr-defined]
        masked = isinstance(observations, dict) and MASK in observations
        legal = observations[MASK] > 0.5 if masked else np.ones((n_envs, count), dtype=bool)
        draws = self.exploration_generator.random((n_envs, count + 1))
        actions = np.where(legal, draws[:, 1:], -1.0).argmax(axis=1)  # the largest of equal draws: uniform over legal
        greedy = draws[:, 0] >= rate
        if greedy.any():
            best, _ = self.policy.predict(observations, deterministic=True)  # type: ignore[attr-defined]
            actions = np.where(greedy, best, actions)
        return actions, actions


class MaskedDQN(MaskedExploration, DQN):
    """DQN with legal exploration."""


def quantile_classes() -> tuple[type[Any], type[Any]]:
    """QR-DQN's algorithm and policy, which need sb3-contrib."""
    from sb3_contrib import QRDQN
    from sb3_contrib.qrdqn.policies import QRDQNPolicy, QuantileNetwork

    class MaskedQuantileNetwork(QuantileNetwork):
        """Quantiles of the actions, those of illegal ones replaced; shape (N, quantiles, A)."""

        def forward(self, obs: Any) -> Tensor:
            quantiles, legal = super().forward(obs), legal_actions(obs)
            return quantiles if legal is None else quantiles.masked_fill(~legal[:, None, :], ILLEGAL)

    class MaskedQRDQNPolicy(QRDQNPolicy):
        """A QR-DQN policy whose networks mask."""

        def make_quantile_net(self) -> QuantileNetwork:
            options = self._update_features_extractor(self.net_args, features_extractor=None)
            return MaskedQuantileNetwork(**options).to(self.device)

    class MaskedQRDQN(MaskedExploration, QRDQN):
        """QR-DQN with legal exploration."""

    return MaskedQRDQN, MaskedQRDQNPolicy
