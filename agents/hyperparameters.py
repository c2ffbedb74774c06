"""The hyper-parameters of every algorithm, in one place.

They are written for streams of about 30 decisions and returns of order 1. `hyperparameters` fills in what depends on
the number of rows and on the length of an episode, so that a roll-out of the PPO family holds whole episodes.
"""

from __future__ import annotations

from typing import Any

from growenv.registry import unknown_name

MLP = {"net_arch": [64, 64], "activation": "tanh"}
VALUES = {"net_arch": [128, 128], "activation": "relu"}

PPO: dict[str, Any] = {
    "learning_rate": 1e-3,
    "n_epochs": 12,
    "minibatches": 4,  # of a roll-out: 64 rows x 30 decisions make minibatches of 480
    "gamma": 1.0,  # the objective is the plain sum of the rewards
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "ent_coef": 0.01,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
}

A2C: dict[str, Any] = {
    "learning_rate": 7e-4,
    "n_steps": 5,
    "gamma": 1.0,
    "gae_lambda": 0.95,
    "ent_coef": 0.01,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
}

DQN: dict[str, Any] = {
    "learning_rate": 5e-4,
    "buffer_size": 50_000,
    "learning_starts": 2_000,
    "batch_size": 256,
    "gamma": 0.99,
    "train_freq": 1,  # calls of step: one a row each
    "gradient_steps": 2,
    "target_update_interval": 2_000,
    "exploration_fraction": 0.3,
    "exploration_initial_eps": 1.0,
    "exploration_final_eps": 0.02,
    "max_grad_norm": 10.0,
}

WAIT_LOGIT = 2.0
"""Actor-critic agents begin with this on the logit of waiting: with four growth actions they wait 65 % of the time. One
that chose uniformly would begin by growing at four decisions of five, which no budget bears."""

ALGORITHMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ppo": (PPO, MLP),
    "a2c": (A2C, MLP),
    "dqn": (DQN, VALUES),
    "maskable-ppo": (PPO, MLP),
    "qr-dqn": (DQN, VALUES | {"n_quantiles": 25}),
    "recurrent-ppo": (PPO, MLP | {"lstm_hidden_size": 64, "n_lstm_layers": 1}),
}
"""Hyper-parameters and network architecture of each algorithm."""

LONGEST_ROLLOUT = 256


def hyperparameters(algorithm: str, rows: int, episode: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Hyper-parameters, as Stable-Baselines3 names them, and the network's architecture.

    Args:
        algorithm: a key of `ALGORITHMS`.
        rows: rows of the environment N.
        episode: decisions of an episode; roll-outs of the PPO family are as long, up to `LONGEST_ROLLOUT`.

    Raises:
        UnknownNameError: no such algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise unknown_name("algorithm", algorithm, ALGORITHMS)
    options, architecture = dict(ALGORITHMS[algorithm][0]), dict(ALGORITHMS[algorithm][1])
    if "minibatches" in options:
        options["n_steps"] = max(2, min(episode, LONGEST_ROLLOUT))
        samples, wanted = rows * options["n_steps"], options.pop("minibatches")
        options["batch_size"] = samples // next(
            count for count in (wanted, 3, 5, 2, 1) if samples % count == 0 and samples // count >= 2
        )
    return options, architecture
