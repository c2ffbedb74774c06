"""Three rows that learn pairs of digits, for tests of scenarios and heads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from growenv.config import GrowthConfig
from growenv.learner import Learner
from growenv.protection import Finetune, Protection
from growenv.streams import Context, Scenario, Task, Transform, load_dataset

DIGITS = load_dataset("digits")
ROWS = 3
SPLIT = [(0, 1), (2, 3), (4, 5)]


def stream(pairs: list[tuple[int, ...]], permuted: bool, seed: int) -> Context:
    tasks = tuple(
        Task(Transform(permutation=7 + number) if permuted else Transform(), pair) for number, pair in enumerate(pairs)
    )
    return Context("test", "digits", "train", 0, tasks, 1.0, 0.0, seed)


def begun(
    scenario: str | Scenario,
    protection: str | Protection = "finetune",
    pairs: list[tuple[int, ...]] = SPLIT,
    permuted: bool = False,
    **options: Any,
) -> Learner:
    """Three rows at the begin of one stream with different seeds."""
    small = {"hidden": (12, 10), "max_hidden": (40, 40), "minibatches": 10, "decisions": 4, "batch_size": 16}
    config = GrowthConfig(scenario=scenario, protection=protection, test_samples=100, **{**small, **options})
    learner = Learner(config, DIGITS, ROWS, len(pairs))
    learner.begin(everyone(), [stream(pairs, permuted, row) for row in range(ROWS)])
    return learner


def everyone() -> NDArray[np.bool_]:
    return np.ones(ROWS, dtype=bool)


def onwards(learner: Learner, decisions: int = 4) -> None:
    """Train the current task and turn to the next one."""
    for _ in range(decisions):
        learner.train()
    learner.next_task(everyone())


def accuracies(learner: Learner) -> NDArray[np.float64]:
    """Test accuracy on every task, (T, N)."""
    return np.stack([learner.accuracy("test", np.full(ROWS, task)) for task in range(learner.tasks)])


class AllHeads(Finetune):
    """Finetuning in which all heads are outputs of one matrix."""

    all_heads = True
