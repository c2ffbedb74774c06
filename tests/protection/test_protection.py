"""Freezing keeps finished tasks to the last bit; fine-tuning forgets them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.learner import Learner
from growenv.protection import PROTECTIONS, Finetune, Freeze, Protection
from growenv.registry import UnknownNameError
from growenv.vector_env import GrowthVectorEnv
from tests.rollouts import SMALL, TASKS, assert_same, context, learner, play, random_actions, task

STREAMS = {
    "permuted": [task(*range(10), permutation=number) for number in range(4)],
    "rotated": [task(*range(10), rotation=degrees) for degrees in (0, 90, 120, 300)],
    "classes": [task(0, 1), task(2, 3), task(4, 5, 6), task(7, 8, 9)],
    "mixed": list(TASKS[:4]),
}
ROWS = 4


def logits(ours: Learner, number: int) -> Tensor:
    """Logits of all rows on the test samples of one task."""
    tasks = np.full(ours.rows, number)
    samples, _, _ = ours.data.evaluation_set("test", tasks)
    return ours.logits(ours.data.gather(samples), tasks).clone()


def environment(stream: str, protection: str | Protection, **options: Any) -> GrowthVectorEnv:
    """Four rows at the begin of one stream with different inner seeds."""
    chosen = {**SMALL, "tasks": 4, "decisions": 3, "minibatches": 4, **options}
    env = GrowthVectorEnv(ROWS, autoreset_mode="DISABLED", protection=protection, **chosen)
    env.reset(options={"contexts": [context(STREAMS[stream], inner_seed=row) for row in range(ROWS)]})
    return env


@pytest.mark.parametrize("stream", STREAMS)
def test_finished_tasks_are_frozen_to_the_last_bit(stream: str) -> None:
    env, rng = environment(stream, "freeze"), np.random.default_rng(0)
    finished: dict[int, Tensor] = {}
    for step in range(12):
        current = int(env.learner.task[0])
        before = logits(env.learner, current)
        env.step(random_actions(env, rng))
        for number in range(int(env.learner.task[0])):
            now = logits(env.learner, number)
            if number not in finished:
                finished[number] = now
                continue
            assert torch.equal(now, finished[number]), f"task {number} changed in decision {step}"
        changed = logits(env.learner, current)
        assert not torch.equal(changed, before), "the current task does learn"
    assert sorted(finished) == [0, 1, 2]
    assert (env.learner.units[:, 1:].sum(axis=(1, 2)) > 0).all(), "every row grew in a later task"


@pytest.mark.parametrize("stream", STREAMS)
def test_freezing_itself_changes_no_answer(stream: str) -> None:
    env = environment(stream, "freeze")
    ours, everyone = env.learner, np.ones(ROWS, dtype=bool)
    ours.train()
    trained = logits(ours, 0)
    ours.next_task(everyone)
    torch.testing.assert_close(logits(ours, 0), trained, atol=1e-5, rtol=0)
    for row in range(ROWS):
        assert ours.network.active_units[row].sum() == 0
        assert ours.network.frozen_units[row].tolist() == list(env.config.hidden)


@pytest.mark.parametrize("stream", ["permuted", "mixed"])
def test_finetuning_changes_finished_tasks_but_not_their_heads(stream: str) -> None:
    env, rng = environment(stream, "finetune"), np.random.default_rng(0)
    play(env, [random_actions(env, rng) for _ in range(3)])
    assert (env.learner.task == 1).all()
    before, heads = logits(env.learner, 0), env.learner.heads.kept[:, 0].clone()
    play(env, [np.zeros(ROWS, dtype=np.int64)])
    after = logits(env.learner, 0)
    for row in range(ROWS):
        assert not torch.allclose(after[row], before[row], atol=1e-4)
    assert torch.equal(env.learner.heads.kept[:, 0], heads)
    assert heads.any()


def finished_matrix(stream: str, protection: str) -> tuple[GrowthVectorEnv, dict[str, Any]]:
    env, rng = environment(stream, protection, minibatches=15), np.random.default_rng(1)
    for _ in range(12):
        infos = play(env, [random_actions(env, rng)])[0].infos
    assert env.episodes.ended.all()
    return env, infos


@pytest.mark.parametrize("stream", ["permuted", "rotated"])
def test_freezing_forgets_nothing_and_its_matrix_can_be_measured_again(stream: str) -> None:
    env, infos = finished_matrix(stream, "freeze")
    assert (infos["bwt"] == 0).all()
    assert (infos["forgetting"] == 0).all()
    assert (infos["acc"] > 0.2).all()
    for number in range(4):
        again = env.learner.accuracy("test", np.full(ROWS, number))
        assert (env.episodes.matrix[:, -1, number] == again).all()
    np.testing.assert_allclose(infos["acc"], env.episodes.matrix[:, -1].mean(axis=1), atol=1e-12)


def test_finetuning_forgets() -> None:
    _, infos = finished_matrix("permuted", "finetune")
    assert (infos["forgetting"] > 0.05).all()
    assert (infos["bwt"] < -0.05).all()


def test_a_frozen_row_is_the_same_among_rows_at_other_tasks() -> None:
    """Rows whose streams differ in length leave the shapes of finished tasks, which costs the last bit, no more."""
    ours = learner(2, tasks=3, dtype=torch.float32)
    ours.begin(np.ones(2, dtype=bool), [context(TASKS[:3], 1), context(TASKS[1:4], 2)])
    ours.train()
    ours.next_task(np.ones(2, dtype=bool))
    before = logits(ours, 0)
    ours.next_task(np.array([True, False]))
    ours.grow(np.array([0, 1]), np.array([20, 3]))
    ours.train()
    torch.testing.assert_close(logits(ours, 0), before, atol=1e-5, rtol=0)
    ours.begin(np.array([False, True]), [context(TASKS[:3], 1), context(TASKS[1:4], 3)])
    torch.testing.assert_close(logits(ours, 0)[0], before[0], atol=1e-5, rtol=0)


class Counting(Finetune):
    """Remembers what it was told, and stops all learning of row 1."""

    name = "counting"

    def __init__(self) -> None:
        self.begun: list[list[bool]] = []
        self.finished: list[list[bool]] = []
        self.backwards = 0

    def begin(self, stage: Any, rows: NDArray[np.bool_]) -> None:
        self.begun.append(rows.tolist())

    def after_backward(self, stage: Any) -> None:
        self.backwards += 1
        for gradient in stage.network.gradients:
            gradient[1] = 0.0

    def finish_task(self, stage: Any, rows: NDArray[np.bool_]) -> None:
        self.finished.append(rows.tolist())


def test_a_protection_is_asked_at_the_right_times() -> None:
    given = Counting()
    ours = learner(2, protection=given)
    part = ours.protection
    assert part is not given, "an object may serve several environments, so each has its own copy"
    ours.begin(np.ones(2, dtype=bool), [context(TASKS[:2], 1), context(TASKS[:2], 2)])
    before = ours.network.buffers["weights"].clone()
    ours.train()
    assert isinstance(part, Counting)
    assert part.backwards == ours.config.minibatches
    blocks = ours.network.layout.blocks(before)
    assert_same([block[1] for block in ours.network.weights], [block[1] for block in blocks])
    assert not torch.equal(ours.network.weights[0][0], blocks[0][0])
    ours.next_task(np.array([False, True]))
    ours.begin(np.array([True, False]), [context(TASKS[:2], 3)] * 2)
    assert part.finished == [[False, True]]
    assert part.begun == [[True, True], [True, False]]


def test_protections_by_name() -> None:
    assert {"finetune", "freeze"} <= set(PROTECTIONS.names())
    for name, kind, flags in (("freeze", Freeze, (True, True)), ("finetune", Finetune, (False, False))):
        part = PROTECTIONS.make(name)
        assert isinstance(part, kind)
        assert isinstance(part, Protection)
        assert (part.directed, part.invariant) == flags
        assert part.name == name
    with pytest.raises(UnknownNameError, match="unknown protection 'freze'; did you mean 'freeze'"):
        learner(1, protection="freze")
