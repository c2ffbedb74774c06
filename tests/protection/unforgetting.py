"""Streams under protections that promise never to change what a finished task answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from growenv.learner import Learner
from growenv.protection import Protection
from tests.rollouts import context, learner, task

STREAM = [task(0, 1, 2), task(3, 4, permutation=3), task(*range(10), permutation=7), task(5, 6, 7, rotation=90)]
ROWS = 3
EVERYONE = np.ones(ROWS, dtype=bool)


def started(protection: str | Protection, **options: Any) -> Learner:
    """Three rows at the start of the same stream with different seeds."""
    chosen = {"tasks": len(STREAM), "dtype": torch.float32, "minibatches": 6, "decisions": 3, **options}
    ours = learner(ROWS, protection=protection, **chosen)
    ours.begin(EVERYONE, [context(STREAM, inner_seed=row) for row in range(ROWS)])
    return ours


def logits(ours: Learner, number: int) -> Tensor:
    """Logits of all rows on the test samples of one task."""
    tasks = np.full(ours.rows, number)
    samples, _, _ = ours.data.evaluation_set("test", tasks)
    return ours.logits(ours.data.gather(samples), tasks).clone()


def train_task(ours: Learner, layer: int, amounts: list[int]) -> None:
    """The three decisions of a task; one layer grows before the second."""
    ours.train()
    ours.grow(np.full(ROWS, layer), np.array(amounts))
    ours.train()
    ours.train()


def assert_unforgetting(ours: Learner) -> list[Tensor]:
    """Four tasks with growth in each; finished tasks answer as they did, to the last bit. Returns their logits."""
    finished: list[Tensor] = []
    for number in range(len(STREAM)):
        before = logits(ours, number)
        train_task(ours, number % 2, [3, 0, 9])
        trained = logits(ours, number)
        assert not torch.equal(before, trained), "the current task does learn"
        for old, expected in enumerate(finished):
            assert torch.equal(logits(ours, old), expected), f"task {old} changed during task {number}"
        if number + 1 < len(STREAM):
            ours.next_task(EVERYONE)
            finished.append(logits(ours, number))
            torch.testing.assert_close(finished[-1], trained, atol=1e-5, rtol=0)
    return finished
