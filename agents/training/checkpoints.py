"""Checkpoints of training: all that is needed to continue after the process was killed, and nothing that runs code.

A checkpoint is taken between two roll-outs, after the update, so policy, optimiser, counters and generators belong to
the same moment. The rows of a growth environment are noted by context and generator: a resumed row begins its stream
again. When roll-outs hold whole episodes, as PPO's do by default, no stream is under way at that moment and the resumed
run continues exactly as the killed one would have; otherwise the begun streams are played anew.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from agents.saving import SavedFileError, load_state, read_tensors, tensor_bytes, write_atomically
from growenv.vector_env import GrowthVectorEnv

FORMAT = 1
COUNTERS = ("num_timesteps", "_n_updates", "_n_calls", "_episode_num", "exploration_rate")
REPLAY = ("actions", "rewards", "dones", "timeouts")


def capture(model: BaseAlgorithm, extra: dict[str, Any]) -> dict[str, Any]:
    """The state of training, copied, so that training may go on.

    Args:
        model: a model between two roll-outs.
        extra: plain types to keep with it.
    """
    counters = {name: getattr(model, name) for name in COUNTERS if hasattr(model, name)}
    return {
        "format": FORMAT,
        "policy": _copied(model.policy.state_dict()),
        "optimizer": _copied(model.policy.optimizer.state_dict()),
        "counters": {name: float(value) if "rate" in name else int(value) for name, value in counters.items()},
        "generators": _generators(model),
        "rows": _rows(model.get_env()),
        "extra": dict(extra),
    }


def write(path: Path, model: BaseAlgorithm, state: dict[str, Any]) -> None:
    """Write a captured state, wholly or not at all; a replay buffer is written as it is now.

    Raises:
        OSError: the file cannot be written.
    """
    rows = dict(state["rows"])
    rows["contexts"] = [context.to_json() for context in rows.get("contexts", [])]
    write_atomically(path, tensor_bytes({**state, "rows": json.dumps(rows), "replay": _replay(model)}))


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote.

    Raises:
        SavedFileError: the file is missing, damaged or of another version.
    """
    state = read_tensors(path)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise SavedFileError(f"{path} is no checkpoint of this version of train_agent.py")
    try:
        return {**state, "rows": json.loads(state["rows"])}
    except (KeyError, TypeError, ValueError) as error:
        raise SavedFileError(f"{path} is damaged: {error}") from None


def restore(model: BaseAlgorithm, state: dict[str, Any], path: Path) -> None:
    """Put a freshly built model and its environment into a state that was read.

    Raises:
        SavedFileError: the checkpoint is of another algorithm, network or environment.
    """
    load_state(model.policy, state["policy"], path)
    try:
        model.policy.optimizer.load_state_dict(state["optimizer"])
        for name, value in state["counters"].items():
            setattr(model, name, value)
        _restore_replay(model, state["replay"])
        environment = model.get_env()
        assert environment is not None
        model._last_obs = _reset_rows(environment, state["rows"])
        model._last_episode_starts = np.ones(environment.num_envs, dtype=bool)
        _restore_generators(model, state["generators"])
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise SavedFileError(f"{path} does not fit this run: {type(error).__name__}: {error}") from error


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, (list, tuple)) else value


def _engine(environment: VecEnv | None) -> GrowthVectorEnv | None:
    """The growth environment underneath, if there is one."""
    engine = getattr(getattr(environment, "unwrapped", None), "env", None)
    engine = getattr(engine, "unwrapped", engine)
    return engine if isinstance(engine, GrowthVectorEnv) else None


def _rows(environment: VecEnv | None) -> dict[str, Any]:
    """Context and generator of every row; contexts never change, so they need no copy."""
    engine = _engine(environment)
    if engine is None:
        return {}
    return {"contexts": engine.contexts, "generators": [row.bit_generator.state for row in engine.source.generators]}


def _reset_rows(environment: VecEnv, rows: dict[str, Any]) -> Any:
    """Begin every row's stream again; the generators go on where they were."""
    engine = _engine(environment)
    if engine is None or not rows.get("contexts"):
        return environment.reset()
    environment.set_options({"contexts": rows["contexts"]})
    observations = environment.reset()
    for generator, kept in zip(engine.source.generators, rows["generators"], strict=True):
        generator.bit_generator.state = kept
    return observations


def _generators(model: BaseAlgorithm) -> dict[str, Any]:
    """States of what training draws from; Stable-Baselines3 draws from the global generators."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    own = getattr(model, "exploration_generator", None)
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state().clone(),
        "numpy": [
            str(kind),
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            [int(rest[0]), int(rest[1]), float(rest[2])],
        ],
        "python": [version, list(words), gauss],
        "exploration": "" if own is None else json.dumps(own.bit_generator.state),
    }


def _restore_generators(model: BaseAlgorithm, states: dict[str, Any]) -> None:
    kind, keys, (position, has_gauss, gauss) = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    version, words, spare = states["python"]
    random.setstate((version, tuple(words), spare))
    torch.set_rng_state(states["torch"])
    if states["exploration"]:
        model.exploration_generator.bit_generator.state = json.loads(states["exploration"])  # type: ignore[attr-defined]


def _replay(model: BaseAlgorithm) -> dict[str, Any]:
    """The filled part of the replay buffer; empty for algorithms without one."""
    buffer: Any = getattr(model, "replay_buffer", None)
    if buffer is None:
        return {}
    size = buffer.buffer_size if buffer.full else buffer.pos
    arrays = {name: getattr(buffer, name) for name in REPLAY}
    for name in ("observations", "next_observations"):
        value = getattr(buffer, name)
        arrays |= {f"{name}/{key}": part for key, part in (value if isinstance(value, dict) else {"": value}).items()}
    tensors = {name: torch.from_numpy(array[:size].copy()) for name, array in arrays.items()}
    return {"position": int(buffer.pos), "full": bool(buffer.full), "arrays": tensors}


def _restore_replay(model: BaseAlgorithm, state: dict[str, Any]) -> None:
    buffer: Any = getattr(model, "replay_buffer", None)
    if buffer is None or not state:
        return
    for name, tensor in state["arrays"].items():
        attribute, slash, key = name.partition("/")
        array = getattr(buffer, attribute)
        array = array[key] if slash and isinstance(array, dict) else array
        array[: len(tensor)] = tensor.numpy()
    buffer.pos, buffer.full = state["position"], state["full"]
