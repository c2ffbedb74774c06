"""Rows at different tasks, of which one begins anew, learn what each would learn alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.protection import PROTECTIONS, GenerativeReplay, Protection
from growenv.streams import NotVisibleError
from tests.rollouts import context, learner, task

STREAM = [task(0, 1, 2), task(3, 4, permutation=5), task(5, 6, 7)]
GROW, NEXT, BEGIN, WAIT = range(4)
COURSES = ((GROW, NEXT, NEXT, BEGIN, GROW), (WAIT, GROW, NEXT, WAIT, GROW))
"""What each of two rows does after each decision's training."""
SMALL_GENERATOR = {"hidden": (8,), "latent": 3}


def play(protection: str | Protection, courses: Sequence[int], scenario: str) -> list[Tensor]:
    """Logits on the current task of each of some rows after every decision, each (N, V, C)."""
    rows = len(courses)
    ours = learner(rows, len(STREAM), protection=protection, scenario=scenario, minibatches=5, batch_size=8)
    ours.begin(np.ones(rows, dtype=bool), [context(STREAM, inner_seed=row) for row in courses])
    found = []
    for number in range(len(COURSES[0])):
        ours.train()
        now = np.array([COURSES[row][number] for row in courses])
        ours.next_task(now == NEXT)
        if (now == BEGIN).any():
            ours.begin(now == BEGIN, [context(STREAM, inner_seed=10 + row) for row in courses])
        if (now == GROW).any():
            ours.grow(np.full(rows, number % 2), np.where(now == GROW, 2 + np.array(courses), 0))
        ours.train()
        samples, _, _ = ours.data.evaluation_set("validation", ours.task)
        found.append(ours.logits(ours.data.gather(samples), ours.task).clone())
    return found


@pytest.mark.parametrize("scenario", ["task-incremental", "class-incremental", "task-free"])
@pytest.mark.parametrize("name", PROTECTIONS.names())
def test_a_row_does_not_notice_at_which_task_others_are(name: str, scenario: str) -> None:
    """Named after the moments of Adam that one row's next task took from all others under sparse rehearsal."""
    small: Any = GenerativeReplay(distill=name.endswith("distill"), **SMALL_GENERATOR)  # type: ignore[arg-type]
    part = small if name.startswith("dgr") else name
    try:
        together = play(part, (0, 1), scenario)
    except NotVisibleError:
        return  # it says that it needs what is hidden
    for row in range(2):
        for among, alone in zip(together, play(part, (row,), scenario), strict=True):
            torch.testing.assert_close(among[row], alone[0], atol=1e-8, rtol=1e-8)
