"""A batched environment as a Stable-Baselines3 `VecEnv`.

Usage::

    env = growenv.GrowthVectorEnv(64, autoreset_mode="SAME_STEP")
    model = PPO(MaskedActorCriticPolicy, as_vec_env(env))

What goes out is a fresh copy, so nothing that Stable-Baselines3 writes in place reaches the environment, and nothing
that the environment writes in place reaches a buffer. The adaptor adds no Monitor; wrap it into SB3's
`VecMonitor` for episode records. Masks are in the observation (``"action_mask"``) and behind
``env_method("action_masks")``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    raise ImportError(
        "growenv.sb3 needs Stable-Baselines3, which is not installed; run: pip install 'stable-baselines3>=2.6'"
    ) from error

Observation = Any  # an array of shape (N, ...), or a dict of such arrays
_FINAL = ("final_obs", "_final_obs", "final_info", "_final_info")


def as_vec_env(env: Any) -> GrowthVecEnv:
    """`env` as a Stable-Baselines3 `VecEnv`.

    Args:
        env: a `GrowthVectorEnv`, or any other Gymnasium vector environment, whose autoreset mode is SAME_STEP; a single
            `GrowthEnv` stands for one row.

    Raises:
        TypeError: `env` is no environment of the right kind.
        ValueError: the autoreset mode is another one; the message says what to pass.
    """
    return GrowthVecEnv(_one_row(env) if isinstance(env, gym.Env) else env)


def _one_row(env: gym.Env[Any, Any]) -> VectorEnv[Any, Any, Any]:
    """A vector environment of one row with the configuration of a single environment."""
    from growenv.vector_env import GrowthVectorEnv

    config = getattr(env.unwrapped, "config", None)
    if config is None:
        raise TypeError(
            f"as_vec_env takes a GrowthVectorEnv or a GrowthEnv, got {type(env.unwrapped).__name__}; "
            "use stable_baselines3's DummyVecEnv for other single environments"
        )
    return GrowthVectorEnv(1, config, autoreset_mode="SAME_STEP", render_mode=env.render_mode)


class GrowthVecEnv(VecEnv):
    """Stable-Baselines3's view of a Gymnasium vector environment whose rows reset themselves in the same step.

    Attributes:
        env: the environment underneath.
        reset_infos: one dict a row, the info of the row's latest reset.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        if not isinstance(env, VectorEnv):
            raise TypeError(
                f"expected a Gymnasium vector environment such as GrowthVectorEnv, got {type(env).__name__}"
            )
        mode = env.metadata.get("autoreset_mode")
        if mode not in (AutoresetMode.SAME_STEP, AutoresetMode.SAME_STEP.value, AutoresetMode.SAME_STEP.name):
            given = mode.name if isinstance(mode, AutoresetMode) else mode
            raise ValueError(
                f"Stable-Baselines3 needs rows that reset in the same step, but the autoreset mode is {given}; "
                'build the environment with autoreset_mode="SAME_STEP"'
            )
        self.env = env
        self._actions: NDArray[Any] | None = None
        self._closed = False
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    # --- acting ---------------------------------------------------------------------------------------------------

    def reset(self) -> Observation:
        """Observations of N new streams; seeds and options that were set apply once."""
        seeds, options = list(self._seeds), self._common_options()
        self._reset_seeds()
        self._reset_options()
        seed: Any = None if all(value is None for value in seeds) else seeds  # Gymnasium declares one number only
        observations, infos = self.env.reset(seed=seed, options=options)
        self.reset_infos = rows_of(infos, self.num_envs)
        return _copy(observations)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Remember the actions; `step_wait` takes them."""
        self._actions = np.array(actions)

    def step_wait(self) -> tuple[Observation, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Observations, rewards (float32), dones (bool) and one info a row.

        Where a stream ended, the observation is the new stream's first, the info is the finished stream's with its last
        observation as ``terminal_observation``, and the new stream's info is in `reset_infos`.
        """
        assert self._actions is not None, "call step_async(actions) before step_wait()"
        observations, rewards, terminated, truncated, infos = self.env.step(self._actions)
        self._actions = None
        dones = np.logical_or(terminated, truncated).astype(bool)
        rows = rows_of({key: value for key, value in infos.items() if key not in _FINAL}, self.num_envs)
        if dones.any():
            self._finish(dones, infos, rows)
        for info, cut in zip(rows, np.logical_and(truncated, ~np.asarray(terminated)).tolist(), strict=True):
            info["TimeLimit.truncated"] = cut
        return _copy(observations), np.array(rewards, dtype=np.float32), dones, rows

    def _finish(self, dones: NDArray[np.bool_], infos: Mapping[str, Any], rows: list[dict[str, Any]]) -> None:
        """Exchange the infos of the new streams in `rows` for those of the streams that ended."""
        finished = rows_of(infos.get("final_info", {}), self.num_envs)
        for row in np.flatnonzero(dones):
            new, rows[row] = rows[row], finished[row]
            if "episode" in new:  # Gymnasium's RecordEpisodeStatistics leaves it beside final_info
                rows[row]["episode"] = new.pop("episode")
            rows[row]["terminal_observation"] = _copy(infos["final_obs"][row])
            self.reset_infos[row] = new

    def close(self) -> None:
        """Close the environment; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self.env.close()

    # --- seeds and options ------------------------------------------------------------------------------------------

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds `seed`, `seed` + 1, ... for the rows at the next reset; None draws one from the operating system."""
        if seed is None:
            seed = int(np.random.default_rng().integers(2**31))  # SB3 itself would draw from NumPy's global generator
        return super().seed(seed)

    def _common_options(self) -> dict[str, Any] | None:
        """The options for the next reset; rows share them, since lists in them already have an entry a row."""
        first = self._options[0] if self._options else {}
        if len(self._options) != self.num_envs or any(not _equal(first, other) for other in self._options[1:]):
            raise ValueError(
                f"set_options needs one dict for all {self.num_envs} rows; "
                "give rows their own contexts by lists inside it, such as contexts=[...]"
            )
        return dict(first) or None

    # --- attributes and methods ---------------------------------------------------------------------------------------

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The environment's attribute, once for every row asked for.

        Raises:
            AttributeError: the environment has no such attribute (`has_attr` relies on it).
        """
        value = getattr(self.env, attr_name)
        return [value for _ in self._rows(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the environment, for all rows at once.

        Raises:
            ValueError: only some rows were asked for, but the rows share one environment.
        """
        if sorted(self._rows(indices)) != list(range(self.num_envs)):
            raise ValueError(f"the rows share one environment: cannot set {attr_name!r} for rows {indices} only")
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of the batch once; a result with an entry a row is split, any other is given to every row."""
        result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        rows = self._rows(indices)
        if isinstance(result, (np.ndarray, list, tuple)) and len(result) == self.num_envs:
            return [_copy(result[row]) for row in rows]
        return [result for _ in rows]

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Any = None) -> list[bool]:
        """False for every row: wrap the batch, into `VecMonitor` for instance, not its rows."""
        return [False for _ in self._rows(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """A picture of every row, uint8 (H, W, 3)."""
        frames: Any = self.env.render()
        if isinstance(frames, np.ndarray) and frames.ndim == 3:
            return [frames]
        return list(frames)

    def _rows(self, indices: int | Iterable[int] | None) -> list[int]:
        """Row numbers that None, a number or several numbers stand for; negative ones count from the end."""
        given = range(self.num_envs) if indices is None else np.atleast_1d(np.asarray(indices, dtype=np.int64)).tolist()
        for row in given:
            if not -self.num_envs <= row < self.num_envs:
                raise IndexError(f"row {row} does not exist: the environment has rows 0..{self.num_envs - 1}")
        return [int(row) % self.num_envs for row in given]


def rows_of(infos: Mapping[str, Any], rows: int) -> list[dict[str, Any]]:
    """Gymnasium's batched info as one dict a row, of plain Python values and own arrays.

    Args:
        infos: arrays of length `rows`, or dicts of such arrays, each with a boolean mask under ``"_" + key`` that says
            which rows have the entry.
        rows: number of rows N.
    """
    parts: list[dict[str, Any]] = [{} for _ in range(rows)]
    for key, values in infos.items():
        if key.startswith("_") and key[1:] in infos:
            continue
        present = infos.get(f"_{key}")
        column = rows_of(values, rows) if isinstance(values, Mapping) else _column(values)
        if present is None or np.all(present):
            for part, value in zip(parts, column, strict=True):
                part[key] = value
        else:
            for row in np.flatnonzero(present):
                parts[row][key] = column[row]
    return parts


def _column(values: Any) -> list[Any]:
    """Entries of a column: Python scalars and strings, or one own array a row."""
    array = np.asarray(values)
    return array.tolist() if array.ndim == 1 else list(array.copy())


def _copy(value: Any) -> Any:
    """A copy of an observation that shares no memory with it."""
    if isinstance(value, Mapping):
        return {key: _copy(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_copy(part) for part in value)
    return value.copy() if isinstance(value, (np.ndarray, np.generic)) else value


def _equal(left: Any, right: Any) -> bool:
    """Whether two options are equal, arrays and lists included."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, (np.ndarray, list, tuple)) and isinstance(right, (np.ndarray, list, tuple)):
        return len(left) == len(right) and all(_equal(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)
