"""Stable-Baselines3's algorithms on growth paths, watched after every so many episodes."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from agents.algorithms import build
from agents.learned import LearnedPolicy, describe
from agents.paths.sampling import Watch
from agents.policy import Policy
from growenv.paths.vector_env import PathsVectorEnv
from growenv.registry import unknown_name
from growenv.sb3 import as_vec_env

MLP = {"net_arch": [64, 64], "activation": "tanh"}
PPO: dict[str, Any] = {
    "learning_rate": 1e-3,
    "n_epochs": 4,
    "gamma": 1.0,
    "gae_lambda": 1.0,
    "clip_range": 0.2,
    "ent_coef": 0.003,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
}
A2C: dict[str, Any] = {
    "learning_rate": 2e-3,
    "gamma": 1.0,
    "gae_lambda": 1.0,
    "ent_coef": 0.003,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
    "normalize_advantage": True,
    "use_rms_prop": False,
}
DQN: dict[str, Any] = {
    "learning_rate": 1e-3,
    "buffer_size": 200_000,
    "learning_starts": 20_000,
    "batch_size": 256,
    "gamma": 1.0,
    "train_freq": 1,
    "gradient_steps": 8,
    "target_update_interval": 5_120,  # environment steps, all rows together
    "exploration_fraction": 0.5,
    "exploration_initial_eps": 1.0,
    "exploration_final_eps": 0.02,
    "max_grad_norm": 10.0,
}
LEARNERS: dict[str, dict[str, Any]] = {"ppo": PPO, "a2c": A2C, "dqn": DQN}
"""Hyper-parameters by algorithm; roll-outs of the first two hold one whole episode of every row."""


class Learner:
    """An algorithm of Stable-Baselines3 as an agent; see `agents.paths.sampling.Agent`.

    Args:
        algo: a key of `LEARNERS`.
        env: the environment, with autoreset mode SAME_STEP.
        seed: seed of the network, the rows and exploration.

    Raises:
        UnknownNameError: no such algorithm.
    """

    def __init__(self, algo: str, env: PathsVectorEnv, seed: int) -> None:
        if algo not in LEARNERS:
            raise unknown_name("algorithm", algo, LEARNERS)
        self.horizon = env.lattice.horizon
        vec_env, options = as_vec_env(env), dict(LEARNERS[algo])
        if algo != "dqn":
            options["n_steps"] = self.horizon
        if algo == "ppo":
            options["batch_size"] = max(2, env.num_envs * self.horizon // 4)
        self.model = build(algo, vec_env, seed, options=options, architecture=MLP)
        self.manifest = describe(algo, MLP, vec_env)

    def learn(self, episodes: int, watch: Watch) -> None:
        """Train for so many episodes, to the end of the last roll-out."""
        self.model.learn(episodes * self.horizon, callback=_Watched(self, watch))

    def policy(self, rows: int) -> Policy:
        """The network's best actions, in any number of rows."""
        return LearnedPolicy(self.model.policy, self.manifest)


class _Watched(BaseCallback):
    """Shows the learner to a watch whenever an episode of all rows has ended and was learned from."""

    def __init__(self, learner: Learner, watch: Watch) -> None:
        super().__init__()
        self.learner, self.watch = learner, watch

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        episodes, rest = divmod(self.num_timesteps, self.learner.horizon)
        if episodes and not rest and episodes % self.training_env.num_envs == 0:
            self.watch(episodes, self.learner.policy)

    def _on_training_end(self) -> None:
        self._on_rollout_start()
