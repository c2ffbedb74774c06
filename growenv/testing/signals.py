"""A check for authors of signals."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from growenv.growth.signals import SIGNALS, Scene, Signal
from growenv.streams import Context, Dataset, draw_context, load_dataset
from growenv.testing.require import own_randomness, require
from growenv.vector_env import GrowthVectorEnv

Array = NDArray[np.float64]
_ROWS, _TASKS, _DECISIONS, _TOLERANCE = 3, 2, 3, 1e-5
_NETWORKS: tuple[dict[str, Any], ...] = (
    {"hidden": (5, 4), "max_hidden": (24, 24)},
    {"hidden": (5, 0, 4), "max_hidden": (24, 24, 24), "protection": "finetune", "meter": "parameters"},
)
"""Networks whose finished units stay as they are; and some with an absent layer, whose units all train on."""


def check_signal(signal: str | Signal, dataset: str | Dataset = "digits") -> None:
    """Check a signal on three networks that grow over two tasks.

    Its features must be named, bounded and finite. It must treat a row among others as it treats it alone, forget where
    a stream begins, remember nothing of rows that it was not asked about, survive a copy, and leave networks alone.

    Args:
        signal: a registered name or an object.
        dataset: what the networks learn.

    Raises:
        AssertionError: what is wrong with it.
    """
    part, data = copy.deepcopy(SIGNALS.make(signal)), load_dataset(dataset)
    where = f"signal {getattr(part, 'name', None)!r}"
    require(
        isinstance(part, Signal) and isinstance(part.name, str) and part.name, f"{where} needs a name and 3 methods"
    )
    contexts = _contexts(data)
    with own_randomness(where):
        for options in _NETWORKS:
            layers = len(options["hidden"])
            _check_names(part.features(layers), part.features(layers), where)
            together, own = (
                _environment(data, _ROWS, **options),
                copy.deepcopy(part),
            )  # as every environment has its own
            several = _play(together, contexts, own, where)
            again = _play(together, contexts, own, where)
            require(_near(again, several), f"{where}: begin does not forget; the same streams differ the second time")
            single, other = _environment(data, 1, **options), copy.deepcopy(part)
            for row in range(_ROWS):
                alone = _play(single, contexts[row : row + 1], other, where, row)
                same = _near(alone[:, 0], several[:, row])
                require(same, f"{where}: a row shows something else among other rows than alone; treat rows apart")
            _check_memory(together, contexts, own, where)


def _check_names(names: Any, again: Any, where: str) -> None:
    right = isinstance(names, tuple) and names and all(isinstance(name, str) and name for name in names)
    require(right, f"{where}: features must be a tuple of names, got {names!r}")
    require(len(set(names)) == len(names), f"{where}: features must have different names, got {names}")
    require(names == again, f"{where}: features must always have the same names, got {names} and {again}")


def _contexts(data: Dataset) -> list[Context]:
    pinned: dict[str, Any] = {"tasks": _TASKS, "budget": (1.0, 1.0), "price": (0.0, 0.0)}
    return [draw_context("permuted", data, "train", row, inner_seed=10 + row, **pinned) for row in range(_ROWS)]


def _environment(data: Dataset, rows: int, **options: Any) -> GrowthVectorEnv:
    small: dict[str, Any] = {
        "tasks": _TASKS,
        "decisions": _DECISIONS,
        "minibatches": 4,
        "batch_size": 16,
        "budget": 1.0,
    }
    small |= {"validation_samples": 32, "test_samples": 32, "streams": "permuted", "accuracy_matrix": False}
    return GrowthVectorEnv(rows, autoreset_mode="DISABLED", dataset=data, **{**small, **options})


def _act(env: GrowthVectorEnv, decision: int, first: int) -> None:
    """Every row grows something else; row 0 is row `first` of the streams."""
    wanted = (decision + first + np.arange(env.num_envs)) % env.actions.size
    env.step(np.where(env.action_masks()[np.arange(env.num_envs), wanted], wanted, 0))


def _play(env: GrowthVectorEnv, contexts: Sequence[Context], signal: Signal, where: str, first: int = 0) -> Array:
    """What a signal shows before every decision of all streams, (looks, N, F); the last task is not finished."""
    everyone, shown = np.ones(env.num_envs, dtype=bool), []
    env.reset(options={"contexts": list(contexts)})
    signal.begin(everyone)
    for decision in range(_TASKS * _DECISIONS):
        shown.append(_look(env, signal, everyone, where))
        _act(env, decision, first)
    return np.stack(shown)


def _look(env: GrowthVectorEnv, signal: Signal, rows: NDArray[np.bool_], where: str) -> Array:
    """The features of all rows, checked, and compared with those that a copy of the signal sees."""
    scene, twin = env.scene(), copy.deepcopy(signal)
    network, kept = scene.evidence.network, _everything(env, scene)
    with torch.no_grad():
        given, other = signal.measure(scene, rows.copy()), twin.measure(env.scene(), rows.copy())
    expected = env.num_envs, len(signal.features(network.depth))
    shape = given.shape if isinstance(given, np.ndarray) else type(given).__name__
    require(shape == expected, f"{where}: measure must return an array of shape {expected}, got {shape}")
    values = np.asarray(given, dtype=np.float64)[rows]
    require(np.isfinite(values).all(), f"{where}: a feature is not finite: {values}")
    bounded = (np.abs(values) <= 1.0).all()
    require(bounded, f"{where}: features must lie in [-1, 1] by construction, got {values.min()} to {values.max()}")
    same = np.array_equal(np.asarray(other, dtype=np.float64)[rows], values)
    require(same, f"{where}: a copy shows something else; keep all that is remembered in arrays of the signal's own")
    now = _everything(env, scene)
    untouched = all(np.array_equal(one, two) for one, two in zip(kept, now, strict=True))
    require(untouched, f"{where}: measure changed the network or the scene; it may only look")
    return np.array(given, dtype=np.float64)


def _everything(env: GrowthVectorEnv, scene: Scene) -> list[Any]:
    """Copies of all that a signal could spoil."""
    network = env.learner.network
    tensors = [*network.buffers.values(), *network.frozen, scene.evidence.x]
    arrays = [network.frozen_units, network.active_units, scene.units, scene.task, scene.outputs, scene.trained]
    figures = [scene.losses, scene.validation_accuracy, scene.validation_loss, np.nan_to_num(scene.unit_cost)]
    return [each.cpu().numpy().copy() for each in tensors] + [each.copy() for each in (*arrays, *figures)]


def _check_memory(env: GrowthVectorEnv, contexts: Sequence[Context], signal: Signal, where: str) -> None:
    """Only marked rows are remembered, and only those that begin are forgotten."""
    everyone, first = np.ones(_ROWS, dtype=bool), np.arange(_ROWS) == 0
    env.reset(options={"contexts": list(contexts)})
    signal.begin(everyone)
    for decision in range(2):
        _look(env, signal, everyone, where)
        _act(env, decision, 0)
    ignorant, forgetful = copy.deepcopy(signal), copy.deepcopy(signal)
    _look(env, signal, everyone, where)
    _look(env, ignorant, first, where)
    forgetful.begin(first)
    _look(env, forgetful, everyone, where)
    _act(env, 2, 0)
    known, partly, anew = (_look(env, each, everyone, where) for each in (signal, ignorant, forgetful))
    require(_near(known[first], partly[first]), f"{where}: a row that was asked about alone shows something else later")
    require(_near(known[~first], anew[~first]), f"{where}: the begin of one row changed what the others show")
    unseen = _without_a_look(env, contexts, signal, where)
    require(_near(partly[~first], unseen[~first]), f"{where}: rows were remembered that measure was not asked about")


def _without_a_look(env: GrowthVectorEnv, contexts: Sequence[Context], signal: Signal, where: str) -> Array:
    """What the signal shows in the end if the look before is left out."""
    everyone = np.ones(_ROWS, dtype=bool)
    env.reset(options={"contexts": list(contexts)})
    signal.begin(everyone)
    for decision in range(3):
        if decision < 2:
            _look(env, signal, everyone, where)
        _act(env, decision, 0)
    return _look(env, signal, everyone, where)


def _near(given: Array, expected: Array) -> bool:
    return bool(np.allclose(given, expected, atol=_TOLERANCE, rtol=_TOLERANCE))
