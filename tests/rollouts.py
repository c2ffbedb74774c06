"""Small environments, hand-made contexts, and roll-outs that can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from growenv.config import GrowthConfig
from growenv.env import GrowthEnv
from growenv.learner import Learner
from growenv.streams import Context, Dataset, Task, Transform, load_dataset
from growenv.vector_env import GrowthVectorEnv

SMALL: dict[str, Any] = {
    "tasks": 2,
    "decisions": 2,
    "minibatches": 2,
    "batch_size": 16,
    "validation_samples": 32,
    "test_samples": 32,
}


def task(*classes: int, permutation: int | None = None, rotation: int = 0) -> Task:
    return Task(Transform(rotation, permutation), classes)


# Tasks of different sizes and of every kind of transform; each later one needs the first weights in another order.
TASKS = (
    task(1, 4, 7, permutation=3),
    task(0, 2, rotation=120),
    task(*range(10), permutation=8),
    task(3, 5, 8),
    task(0, 6, permutation=3),
    task(2, 9, rotation=90),
)


def context(tasks: Sequence[Task] = TASKS[:2], inner_seed: int = 0, **fields: Any) -> Context:
    plain = {"distribution": "custom", "dataset": "digits", "split": "train", "index": inner_seed}
    return Context(**{**plain, "budget": 1.0, "price": 0.1, **fields}, tasks=tuple(tasks), inner_seed=inner_seed)


def uneven_contexts(rows: int, **fields: Any) -> list[Context]:
    """Streams of one, two, three, one, ... tasks."""
    return [context(TASKS[row : row + 1 + row % 3] or TASKS[:1], inner_seed=row, **fields) for row in range(rows)]


def learner(rows: int = 2, tasks: int = 3, dtype: torch.dtype = torch.float64, **options: Any) -> Learner:
    """A small learner; its rows have not begun."""
    chosen = {**SMALL, "hidden": (5, 4), "max_hidden": (40, 40), **options}
    config = GrowthConfig.from_options(None, **chosen)
    return Learner(config, load_dataset(config.dataset), rows, tasks, dtype=dtype)


def toy_dataset(name: str = "toy", classes: int = 3, features: int = 6, seed: int = 0) -> Dataset:
    """Vectors in well separated clusters, twenty of each class."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), 20)
    centres = rng.normal(size=(classes, features)) * 3.0
    return Dataset.from_arrays(centres[labels] + rng.normal(size=(len(labels), features)), labels, name=name)


WAIT = np.zeros(3, dtype=np.int64)


def vector_of_three(mode: str | AutoresetMode = "SAME_STEP", **options: Any) -> GrowthVectorEnv:
    """Three rows that have not begun; growth is soon refused because of the width or of the budget."""
    rows = options.pop("rows", 3)
    sizes = {"max_hidden": (24, 24), "budget": (0.45, 0.9)}
    return GrowthVectorEnv(rows, autoreset_mode=mode, **{**SMALL, **sizes, **options})


def started(mode: str | AutoresetMode = "SAME_STEP", **options: Any) -> GrowthVectorEnv:
    """The same after a seeded reset."""
    env = vector_of_three(mode, **options)
    env.reset(seed=0)
    return env


@dataclass(frozen=True)
class Step:
    """What an environment returned; at a reset the rewards and flags are None."""

    observations: Any
    rewards: Any
    terminated: Any
    truncated: Any
    infos: Any


def begin(env: GrowthEnv | GrowthVectorEnv, **reset: Any) -> Step:
    observations, infos = env.reset(**reset)
    return Step(observations, None, None, None, infos)


def play(env: GrowthEnv | GrowthVectorEnv, actions: Iterable[Any]) -> list[Step]:
    return [Step(*env.step(action)) for action in actions]


def row_of_step(step: Step, row: int) -> Step:
    """What a single environment returns where the vector returned `step`."""
    observations = {name: values[row] for name, values in step.observations.items()}
    infos = row_of_infos(step.infos, row)
    if step.rewards is None:
        return Step(observations, None, None, None, infos)
    flags = bool(step.terminated[row]), bool(step.truncated[row])
    return Step(observations, float(step.rewards[row]), *flags, infos)


def row_of_infos(infos: Mapping[str, Any], row: int) -> dict[str, Any]:
    left = ("final_obs", "final_info")
    return {name: values[row] for name, values in infos.items() if name[0] != "_" and name not in left}


def assert_same(given: Any, expected: Any, tolerance: float = 0.0, where: str = "") -> None:
    """Equal through dicts, lists, steps and arrays; numbers within a tolerance, exactly equal where it is 0."""
    if isinstance(expected, Step):
        assert_same(vars(given), vars(expected), tolerance, where)
    elif isinstance(expected, Mapping):
        assert given.keys() == expected.keys(), where
        for name in expected:
            assert_same(given[name], expected[name], tolerance, f"{where} {name}")
    elif isinstance(expected, list | tuple):
        assert len(given) == len(expected), where
        for number, (one, two) in enumerate(zip(given, expected, strict=True)):
            assert_same(one, two, tolerance, f"{where} [{number}]")
    elif isinstance(expected, np.ndarray) and expected.dtype == object:
        assert_same(list(given), list(expected), tolerance, where)
    elif isinstance(expected, torch.Tensor):
        assert given.dtype == expected.dtype, where
        assert given.shape == expected.shape, where
        assert torch.allclose(given, expected, atol=tolerance, rtol=0, equal_nan=True), where
    elif isinstance(expected, float | np.floating | np.ndarray):
        one, two = np.asarray(given), np.asarray(expected)
        assert one.dtype == two.dtype, where
        if not np.array_equal(one, two):
            np.testing.assert_allclose(one, two, atol=tolerance, rtol=0, err_msg=where)
    else:
        assert given == expected, where


def random_actions(env: GrowthVectorEnv, rng: np.random.Generator, legal: float = 1.0) -> Any:
    """One action a row, drawn among the legal ones with probability `legal`, else among all."""
    return np.array(
        [
            rng.choice(np.flatnonzero(mask)) if rng.random() < legal else rng.integers(len(mask))
            for mask in env.action_masks()
        ]
    )
