"""Training environments by id: ours in one batch, a user's own in Stable-Baselines3's `DummyVecEnv`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from growenv.paths.vector_env import PathsVectorEnv
from growenv.registry import unknown_name
from growenv.sb3 import as_vec_env
from growenv.vector_env import GrowthVectorEnv


def find_environment(env_id: str) -> str:
    """The registered id that ``[module:]namespace/Name-vN`` stands for; imports the module first.

    Raises:
        ValueError: the module cannot be imported, or nothing is registered under the id.
    """
    module, colon, name = env_id.rpartition(":")
    if colon:
        try:
            importlib.import_module(module)
        except Exception as error:  # a user's module may fail in any way
            raise ValueError(f"cannot import {module!r} for --env: {type(error).__name__}: {error}") from error
    if name in gym.registry:
        return name
    latest = [known for known in gym.registry if known.rpartition("-v")[0] == name]
    if latest:
        return max(latest, key=lambda known: int(known.rpartition("-v")[2]))
    namespace = name.split("/")[0] if colon else "growenv"
    known = [known for known in gym.registry if known.startswith(f"{namespace}/")]
    raise unknown_name("environment", name, known or gym.registry)


def is_growth(env_id: str) -> bool:
    """Whether networks grow in streams under a registered id: one of ours, or a user's registration of our engine."""
    entry = gym.registry[env_id].vector_entry_point
    ours = isinstance(entry, str) and entry.startswith("growenv.")
    return (ours or entry is GrowthVectorEnv) and not is_paths(env_id)


def is_paths(env_id: str) -> bool:
    """Whether a registered id reads a table of growth paths: one of ours, or a user's registration of our engine."""
    entry = gym.registry[env_id].vector_entry_point
    return (isinstance(entry, str) and entry.startswith("growenv.paths.")) or entry is PathsVectorEnv


def make_training_env(env_id: str, rows: int, options: Mapping[str, Any], device: str = "cpu") -> VecEnv:
    """`rows` rows of a registered environment for Stable-Baselines3.

    Args:
        env_id: registered id.
        rows: number of rows N.
        options: what `gymnasium.make` takes besides the id. The accuracy matrix, which only final figures need, is not
            measured in training unless it is asked for.
        device: where our networks live; other environments do not get it.

    Raises:
        ValueError: an option that the environment does not take.
    """
    if rows < 1:
        raise ValueError(f"--n-envs {rows}: at least one row is needed")
    if is_growth(env_id):
        given = {"accuracy_matrix": False, **gym.registry[env_id].kwargs, **options}
        return as_vec_env(GrowthVectorEnv(rows, autoreset_mode="SAME_STEP", device=device, **given))
    try:
        if is_paths(env_id):
            given = {**gym.registry[env_id].kwargs, **options}
            return as_vec_env(PathsVectorEnv(rows, autoreset_mode="SAME_STEP", **given))
        return DummyVecEnv([lambda: gym.make(env_id, **options) for _ in range(rows)])
    except TypeError as error:
        raise ValueError(f"{env_id} does not take these --env-kwargs: {error}") from error


def episode_length(vec_env: VecEnv) -> int:
    """Decisions of an episode; a power of two for environments that do not say."""
    if vec_env.has_attr("config") and vec_env.has_attr("actions"):
        config = vec_env.get_attr("config", 0)[0]
        return int(config.tasks * config.decisions)
    if vec_env.has_attr("lattice"):
        return int(vec_env.get_attr("lattice", 0)[0].horizon)
    return 128
