"""Scripted environments with episodes of unequal length, whose every number can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

ACTIONS = 4
LENGTHS = ((3, 5), (4, 2), (6, 1, 3))


class ScriptedEnv(gym.Env[dict[str, np.ndarray], np.integer[Any]]):
    """One row: the observation counts the decisions, the reward is the decision's number plus a tenth of the action.

    Args:
        row: number of the row, seen in the observation and in the context id.
        lengths: lengths of the episodes, used in turn.
        cut: every second episode is truncated instead of terminated.
        render_mode: None or "rgb_array".
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012

    def __init__(
        self, row: int = 0, lengths: Sequence[int] = (3, 5), cut: bool = False, render_mode: str | None = None
    ) -> None:
        self.row, self.lengths, self.cut, self.render_mode = row, tuple(lengths), cut, render_mode
        self.observation_space = spaces.Dict(
            {
                "task": spaces.Box(-1.0, 1.0, (2,), np.float32),
                "budget": spaces.Box(0.0, 1.0, (1,), np.float32),
                "action_mask": spaces.Box(0.0, 1.0, (ACTIONS,), np.float32),
            }
        )
        self.action_space = spaces.Discrete(ACTIONS)
        self.episode, self.decision, self.noise, self.options = -1, 0, 0.0, None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.decision, self.options = self.episode + 1, 0, options
        self.noise = float(self.np_random.random())
        return self._observe(), self._info()

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        self.decision += 1
        ended = self.decision >= self.lengths[self.episode % len(self.lengths)]
        cut = self.cut and self.episode % 2 == 1
        return self._observe(), self.decision + 0.1 * int(action), ended and not cut, ended and cut, self._info()

    def action_masks(self) -> np.ndarray:
        """Waiting is always legal; of the others, one depends on the decision."""
        mask = np.zeros(ACTIONS, dtype=bool)
        mask[[0, 1 + self.decision % (ACTIONS - 1)]] = True
        return mask

    def render(self) -> np.ndarray:
        return np.full((2, 3, 3), self.row, dtype=np.uint8)

    def _observe(self) -> dict[str, np.ndarray]:
        return {
            "task": np.array([self.decision / 10, self.row / 10], dtype=np.float32),
            "budget": np.array([self.noise], dtype=np.float32),
            "action_mask": self.action_masks().astype(np.float32),
        }

    def _info(self) -> dict[str, Any]:
        return {
            "action_mask": self.action_masks().astype(np.int8),
            "context_id": f"row {self.row} episode {self.episode}",
            "decision": self.decision,
            "used": self.decision / 10,
        }


class ScriptedVectorEnv(VectorEnv[Any, Any, Any]):
    """The same rows in one batch that re-uses every buffer in place, as an unkind implementation would."""

    def __init__(
        self,
        lengths: Sequence[Sequence[int]] = LENGTHS,
        cut: bool = False,
        mode: AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
    ) -> None:
        self.rows = [ScriptedEnv(row, script, cut, render_mode) for row, script in enumerate(lengths)]
        self.num_envs, self.render_mode = len(self.rows), render_mode
        self.metadata = {**ScriptedEnv.metadata, "autoreset_mode": mode}
        self.single_observation_space = self.rows[0].observation_space
        self.single_action_space = self.rows[0].action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observations = {
            key: np.zeros((self.num_envs, *space.shape), space.dtype)
            for key, space in self.single_observation_space.spaces.items()
        }
        self.last = {key: value.copy() for key, value in self.observations.items()}
        self.rewards = np.zeros(self.num_envs)
        self.mask_calls = 0
        self.closed_times = 0

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        seeds = [None] * self.num_envs if seed is None else seed
        infos: dict[str, Any] = {}
        for index, (row, own) in enumerate(zip(self.rows, seeds, strict=True)):
            observation, info = row.reset(seed=own, options=options)
            infos = self._add_info(infos, info, index)
            self._write(self.observations, index, observation)
        return self.observations, infos

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        terminated, truncated = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        infos: dict[str, Any] = {}
        self.rewards.flags.writeable = True
        for index, row in enumerate(self.rows):
            observation, self.rewards[index], terminated[index], truncated[index], info = row.step(actions[index])
            if terminated[index] or truncated[index]:
                self._write(self.last, index, observation)
                view = {key: value[index] for key, value in self.last.items()}
                infos = self._add_info(infos, {"final_obs": view, "final_info": info}, index)
                observation, info = row.reset()
            infos = self._add_info(infos, info, index)
            self._write(self.observations, index, observation)
        self.rewards.flags.writeable = False
        return self.observations, self.rewards, terminated, truncated, infos

    def action_masks(self) -> np.ndarray:
        self.mask_calls += 1
        return np.stack([row.action_masks() for row in self.rows])

    def batch_name(self) -> str:
        """A method whose result is one for the whole batch."""
        return "scripted"

    def render(self) -> tuple[np.ndarray, ...]:
        return tuple(row.render() for row in self.rows)

    def close_extras(self, **kwargs: Any) -> None:
        self.closed_times += 1

    @staticmethod
    def _write(buffers: dict[str, np.ndarray], index: int, observation: dict[str, np.ndarray]) -> None:
        for key, value in observation.items():
            buffers[key][index] = value
