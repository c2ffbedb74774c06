"""Actor-critic policies that take the action mask from the observation.

With the mask in the observation, plain PPO and A2C need no change: the policy applies it wherever a distribution over
actions is made, so collecting, training, evaluation and resuming all agree. Illegal logits are replaced before the
softmax, so their probability is exactly 0, they add nothing to the entropy and no gradient passes through them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

MASK = "action_mask"
ILLEGAL = -1e8
"""Logit or value of an illegal action; finite, so that a row without any legal action makes no NaN."""


class GroupExtractor(BaseFeaturesExtractor):
    """All groups of a Dict observation in one vector, the mask excluded; any other observation flattened.

    Args:
        observation_space: the environment's observation space.
    """

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        parts = {"": observation_space}
        if isinstance(observation_space, spaces.Dict):
            parts = {key: space for key, space in observation_space.spaces.items() if key != MASK}
        super().__init__(observation_space, sum(get_flattened_obs_dim(space) for space in parts.values()))
        self.groups = tuple(parts)

    def forward(self, observations: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Features, shape (N, features)."""
        if isinstance(observations, Tensor):
            return observations.flatten(1)
        return torch.cat([observations[group].flatten(1) for group in self.groups], dim=1)


def legal_actions(observations: Tensor | Mapping[str, Tensor]) -> Tensor | None:
    """The mask in the observation as bool, shape (N, A); None if the observation has none."""
    if isinstance(observations, Mapping) and MASK in observations:
        return observations[MASK] > 0.5
    return None


class MaskFromObservation:
    """Mixed into an actor-critic policy: the distribution over actions covers the legal ones only.

    The entry points note the mask, the method that all of them use to make the distribution applies it.
    """

    _legal: Tensor | None = None

    def forward(self, obs: Any, *arguments: Any, **options: Any) -> Any:
        """Actions, values and log-probabilities; arguments as in the class mixed into."""
        self._legal = legal_actions(obs)
        return super().forward(obs, *arguments, **options)  # type: ignore[misc]

    def evaluate_actions(self, obs: Any, *arguments: Any, **options: Any) -> Any:
        """Values, log-probabilities and entropies over the legal actions."""
        self._legal = legal_actions(obs)
        return super().evaluate_actions(obs, *arguments, **options)  # type: ignore[misc]

    def get_distribution(self, obs: Any, *arguments: Any, **options: Any) -> Any:
        """The distribution over the legal actions."""
        self._legal = legal_actions(obs)
        return super().get_distribution(obs, *arguments, **options)  # type: ignore[misc]

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Distribution:
        if self._legal is None:
            return super()._get_action_dist_from_latent(latent_pi)  # type: ignore[misc, no-any-return]
        logits = self.action_net(latent_pi).masked_fill(~self._legal, ILLEGAL)  # type: ignore[attr-defined]
        return self.action_dist.proba_distribution(action_logits=logits)  # type: ignore[attr-defined, no-any-return]


class MaskedActorCriticPolicy(MaskFromObservation, ActorCriticPolicy):
    """The policy of PPO and A2C."""


def recurrent_policy() -> type[Any]:
    """The policy class of RecurrentPPO, which needs sb3-contrib."""
    from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy

    class MaskedRecurrentPolicy(MaskFromObservation, RecurrentActorCriticPolicy):
        """The policy of RecurrentPPO; padding of sequences has no legal action, which is harmless."""

        @staticmethod
        def _process_sequence(  # type: ignore[override]  # sb3-contrib's annotation is wrong
            features: Tensor, lstm_states: tuple[Tensor, Tensor], episode_starts: Tensor, lstm: nn.LSTM
        ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            """Run sequences that begin with their episode in one call instead of step by step; the same numbers."""
            rows = lstm_states[0].shape[1]
            starts = episode_starts.reshape(rows, -1)
            if not starts[:, 1:].any():
                keep = (1.0 - starts[:, 0]).view(1, rows, 1)
                lstm_states = (lstm_states[0] * keep, lstm_states[1] * keep)
                episode_starts = torch.zeros_like(episode_starts)
            base = RecurrentActorCriticPolicy._process_sequence
            return base(features, lstm_states, episode_starts, lstm)  # type: ignore[return-value]

    return MaskedRecurrentPolicy
