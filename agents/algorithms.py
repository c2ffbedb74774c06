"""Stable-Baselines3's algorithms by name, each with the policy class that masks for it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import stable_baselines3
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from agents import masked_dqn, masked_policy
from agents.hyperparameters import ALGORITHMS, WAIT_LOGIT, hyperparameters
from agents.masked_policy import GroupExtractor
from growenv.actions import WAIT
from growenv.registry import unknown_name

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}
CONTRIB = ("maskable-ppo", "qr-dqn", "recurrent-ppo")
SEED_STRIDE = 10_000  # rows of runs with neighbouring seeds share no stream


@dataclass(frozen=True)
class Algorithm:
    """A Stable-Baselines3 algorithm and the policy class that masks for it."""

    model: type[Any]
    policy: type[Any]


def known_algorithms() -> tuple[str, ...]:
    """Names of the algorithms that can be used here; some need sb3-contrib."""
    contrib = importlib.util.find_spec("sb3_contrib") is not None
    return tuple(name for name in ALGORITHMS if contrib or name not in CONTRIB)


def algorithm(name: str) -> Algorithm:
    """The algorithm called `name`.

    Raises:
        UnknownNameError: no such algorithm.
        ValueError: it needs sb3-contrib, which is not installed.
    """
    if name in CONTRIB and name not in known_algorithms():
        raise ValueError(f"the algorithm {name!r} needs sb3-contrib; run: pip install sb3-contrib")
    if name == "ppo":
        return Algorithm(stable_baselines3.PPO, masked_policy.MaskedActorCriticPolicy)
    if name == "a2c":
        return Algorithm(stable_baselines3.A2C, masked_policy.MaskedActorCriticPolicy)
    if name == "dqn":
        return Algorithm(masked_dqn.MaskedDQN, masked_dqn.MaskedDQNPolicy)
    if name == "qr-dqn":
        return Algorithm(*masked_dqn.quantile_classes())
    if name == "recurrent-ppo":
        from sb3_contrib import RecurrentPPO

        return Algorithm(RecurrentPPO, masked_policy.recurrent_policy())
    if name == "maskable-ppo":
        from sb3_contrib import MaskablePPO
        from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

        return Algorithm(MaskablePPO, MaskableActorCriticPolicy)
    raise unknown_name("algorithm", name, known_algorithms())


def policy_options(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """What Stable-Baselines3's policies take for an architecture that was written as JSON.

    Raises:
        ValueError: the architecture has an unknown entry, or one of the wrong type or an absurd size.
    """
    options: dict[str, Any] = {"features_extractor_class": GroupExtractor}
    for name, value in architecture.items():
        sizes = value if isinstance(value, list) else [value]
        if name == "activation":
            if value not in ACTIVATIONS:
                raise unknown_name("activation", value, ACTIVATIONS)
            options["activation_fn"] = ACTIVATIONS[value]
        elif name not in ("net_arch", "lstm_hidden_size", "n_lstm_layers", "n_quantiles"):
            raise unknown_name("entry of the architecture", name, ("activation", "net_arch", "lstm_hidden_size"))
        elif len(sizes) > 8 or not all(type(size) is int and 1 <= size <= 4096 for size in sizes):
            raise ValueError(f"architecture entry {name}={value!r}: expected sizes from 1 to 4096")
        else:
            options[name] = value
    return options


def build(
    algo: str,
    vec_env: VecEnv,
    seed: int = 0,
    *,
    options: Mapping[str, Any] | None = None,
    architecture: Mapping[str, Any] | None = None,
    episode: int = 30,
    device: str = "cpu",
) -> BaseAlgorithm:
    """A Stable-Baselines3 model that is ready to learn.

    Args:
        algo: name of the algorithm, see `known_algorithms`.
        vec_env: the environment.
        seed: seeds the model, the rows, and as Stable-Baselines3 does the global generators.
        options: hyper-parameters; those of `agents.hyperparameters` if None.
        architecture: the network; likewise.
        episode: decisions of an episode, for the default roll-out length.
        device: where the agent's own network lives.

    Raises:
        ValueError: no such algorithm, or it cannot learn in this environment.
    """
    chosen = algorithm(algo)
    standard, network = hyperparameters(algo, vec_env.num_envs, episode)
    if algo == "maskable-ppo" and not vec_env.has_attr("action_masks"):
        raise ValueError("maskable-ppo needs an environment with action_masks(); use ppo for this one")
    try:
        model = chosen.model(
            chosen.policy,
            vec_env,
            seed=seed,
            device=device,
            policy_kwargs=policy_options(network if architecture is None else architecture),
            **(standard if options is None else options),
        )
    except (AssertionError, NotImplementedError) as error:
        raise ValueError(f"{algo} cannot learn in this environment: {error}") from error
    if vec_env.has_attr("feature_names") and vec_env.has_attr("config") and hasattr(model.policy, "action_net"):
        with torch.no_grad():
            model.policy.action_net.bias[WAIT] = WAIT_LOGIT
    vec_env.seed(seed * SEED_STRIDE)
    return model  # type: ignore[no-any-return]
