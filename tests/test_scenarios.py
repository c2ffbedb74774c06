"""What a scenario hides is not there, and what it scores is what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.config import GrowthConfig
from growenv.heads import ABSENT, head_kind
from growenv.learner import Learner
from growenv.protection import Finetune, Stage
from growenv.registry import UnknownNameError
from growenv.streams import SCENARIOS, NotVisibleError, Scenario
from growenv.streams.scenarios import PERIOD
from tests.pairs import DIGITS, ROWS, SPLIT, AllHeads, accuracies, begun, everyone, onwards, stream


class Recorder(Finetune):
    """Writes down what it is told, and tries to read what it may not."""

    def __init__(self) -> None:
        self.entered: list[list[bool]] = []
        self.finished: list[tuple[int, list[bool]]] = []
        self.refused: set[str] = set()

    def enter(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        self.entered.append(rows.tolist())

    def finish_task(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        self.finished.append((int(stage.steps[0]), rows.tolist()))

    def after_step(self, stage: Stage) -> None:
        peeks = {
            "task": lambda: stage.task,
            "units": lambda: stage.units,
            "task_steps": lambda: stage.task_steps,
            "task_length": lambda: stage.task_length,
            "task_counts": stage.task_counts,
            "draw_from": lambda: stage.draw_from(0, np.zeros((ROWS, 2), dtype=np.int64)),
        }
        for name, peek in peeks.items():
            try:
                peek()
            except NotVisibleError as error:
                self.refused.add(name if stage.scenario.name in str(error) else f"{name}, without saying by whom")


EVERYTHING = {"task", "units", "task_steps", "task_length", "task_counts", "draw_from"}
HIDDEN = {
    "task-incremental": set(),
    "domain-incremental": {"task"},
    "class-incremental": set(),
    "class-incremental-restore": set(),
    "task-free": EVERYTHING,
    "multitask": {"units", "task_steps", "task_length"},
}


@pytest.mark.parametrize("name", HIDDEN)
def test_whoever_asks_for_what_is_hidden_gets_an_error(name: str) -> None:
    learner = begun(name, Recorder())
    onwards(learner, 1)
    learner.train()
    assert isinstance(learner.protection, Recorder)
    assert learner.protection.refused == HIDDEN[name]


def test_nobody_sees_samples_of_tasks_to_come() -> None:
    learner = begun("class-incremental")
    for reached in range(1, 3):
        seen = np.full((ROWS, 2), reached - 1)
        assert ((learner.stage.task_counts() > 0) == (np.arange(learner.tasks) < reached)).all()
        assert learner.stage.draw_from(0, seen).samples.shape == seen.shape
        with pytest.raises(NotVisibleError, match="samples of tasks to come"):
            learner.stage.draw_from(0, seen + 1)
        onwards(learner, 1)


def test_without_boundaries_nobody_hears_of_them() -> None:
    learner = begun("task-free", Recorder(), minibatches=25, decisions=2)
    for _ in range(2):
        onwards(learner, 2)
    learner.train()
    recorder = learner.protection
    assert isinstance(recorder, Recorder)
    assert recorder.entered == [[True] * ROWS]
    assert recorder.finished == [(PERIOD, [True] * ROWS)]
    assert learner.finished.tolist() == [1] * ROWS
    assert learner.optimizer.counts.tolist() == [125] * ROWS  # type: ignore[attr-defined]


def test_boundaries_are_fuzzy_where_nobody_tells_them() -> None:
    learner = begun("task-free", decisions=1)
    number, many = np.zeros(ROWS, dtype=np.int64), 40_000
    middle = np.full(ROWS, 1)
    for place, wanted in ((0.0, [0.5, 0.5, 0.0]), (0.125, [0.25, 0.75, 0.0]), (0.5, [0.0, 1.0, 0.0])):
        mixed = learner.samples.mixture(middle, np.full(ROWS, place), 0.25, many, number)
        shares = [(mixed == task).mean(axis=1) for task in range(3)]
        np.testing.assert_allclose(np.array(shares).T, np.tile(wanted, (ROWS, 1)), atol=0.01)
        mirrored = learner.samples.mixture(middle, np.full(ROWS, 1.0 - place), 0.25, many, number)
        np.testing.assert_allclose((mirrored == 2).mean(axis=1), wanted[0], atol=0.01)
    first = learner.samples.mixture(np.zeros(ROWS, dtype=np.int64), np.zeros(ROWS), 0.25, many, number)
    assert (first == 0).all(), "there is nothing before the first task"


def test_a_class_is_known_once_it_appears() -> None:
    learner = begun("task-free", decisions=1, minibatches=1, batch_size=64)
    seen = []
    for _ in range(3):
        learner.task_steps[:] = 0
        learner.train()
        seen.append(learner.heads.seen.sum(axis=1).tolist())
        learner.task_steps[:] = 1
        if len(seen) < 3:
            learner.next_task(everyone())
    assert seen[0] == [2] * ROWS
    assert seen[2] == [6] * ROWS


def test_classes_that_were_not_seen_are_no_answers() -> None:
    learner = begun("class-incremental")
    for task in range(3):
        for _ in range(4):
            learner.train()
        found = accuracies(learner)
        assert (found[task] > 0.5).all()
        assert (found[task + 1 :] == 0).all()
        if task < 2:
            learner.next_task(everyone())
    assert (found[0] < 0.5).all(), "finetuning forgets"


def test_domains_share_outputs_and_classes_do_not() -> None:
    domain, by_class = begun("domain-incremental"), begun("class-incremental-all")
    for learner, outputs in ((domain, [2, 2, 2]), (by_class, [10, 10, 10])):
        found = []
        for task in range(3):
            found.append(int(learner.taking_part[0].sum()))
            if task < 2:
                onwards(learner, 1)
        assert found == outputs
        assert learner.network.classes == 10


def test_answers_with_the_identity_are_never_worse_than_without() -> None:
    by_identity, by_class = begun("task-incremental", "freeze"), begun("class-incremental-prob", "freeze")
    for learner in (by_identity, by_class):
        onwards(learner)
        onwards(learner)
        learner.train()
    assert (accuracies(by_identity) >= accuracies(by_class)).all()


def test_all_tasks_together_are_all_learned() -> None:
    learner = begun("multitask", permuted=True)
    for _ in range(12):
        learner.train()
    assert (accuracies(learner) > 0.7).all()


def test_stored_samples_are_read_as_their_own_task_wants() -> None:
    learner = begun("task-incremental", AllHeads(), permuted=True)
    tokens = learner.stage.draw(0, 5).samples
    true = learner.stage.inputs_of(learner.stage.gather(tokens))
    onwards(learner, 1)
    torch.testing.assert_close(learner.stage.inputs_of(learner.stage.gather(tokens)), true, atol=0, rtol=0)
    x = learner.stage.gather(tokens)
    torch.testing.assert_close(learner.stage.samples_like(learner.stage.inputs_of(x)), x, atol=0, rtol=0)
    pixels = learner.stage.pixels(x)
    assert 0 <= float(pixels.min()) < float(pixels.max()) <= 1
    torch.testing.assert_close(learner.stage.from_pixels(pixels), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", sorted(HIDDEN))
def test_rows_do_not_matter_to_each_other(name: str) -> None:
    def logits(rows: list[int]) -> Tensor:
        config = GrowthConfig(scenario=name, protection="finetune", hidden=(6, 5), minibatches=6, batch_size=8)
        learner = Learner(config, DIGITS, len(rows), 3)
        all_rows = np.ones(len(rows), dtype=bool)
        learner.begin(all_rows, [stream(SPLIT, True, row) for row in rows])
        for _ in range(2):
            learner.train()
            learner.next_task(all_rows)
        learner.train()
        x = learner.data.gather(learner.data.evaluation_set("test", learner.task)[0])
        return learner.logits(x, learner.task)

    torch.testing.assert_close(logits([0, 1, 2])[1:2], logits([1]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["class-incremental", "class-incremental-restore", "task-free", "multitask"])
def test_snapshots_continue_exactly(name: str) -> None:
    learner = begun(name)
    onwards(learner, 1)
    kept = learner.snapshot()
    results = []
    for _ in range(2):
        learner.restore(kept)
        learner.train()
        learner.next_task(everyone())
        learner.train()
        results.append(accuracies(learner))
    assert np.array_equal(*results)


def test_impossible_contracts_are_refused() -> None:
    for wrong, message in (
        ({"heads": "many"}, "heads of scenario 'mine' is 'many'"),
        ({"labels": "number"}, "labels"),
        ({"loss": "some"}, "loss"),
        ({"scored": "best"}, "scored"),
        ({"fuzzy": 0.6}, "fuzzy"),
        ({"restore": True}, "needs heads='task' and labels='class'"),
        ({"boundaries": False}, "tells nobody when a task begins"),
    ):
        with pytest.raises(ValueError, match=message):
            Scenario("mine", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="non-empty"):
        Scenario("")
    with pytest.raises(ValueError, match="keeps the outputs of other tasks silent"):
        head_kind(SCENARIOS.make("class-incremental-restore"), all_heads=True)
    with pytest.raises(UnknownNameError, match="did you mean 'task-free'"):
        begun("taskfree")


def test_absent_outputs_cannot_be_chosen() -> None:
    learner = begun("class-incremental")
    x = learner.data.gather(learner.data.evaluation_set("test", learner.task)[0])
    assert (learner.logits(x, learner.task)[:, :, 2:] < ABSENT / 2).all()


def test_tokens_tell_nothing_and_lead_back_to_their_samples() -> None:
    learner = begun("task-incremental", permuted=True)
    samples = torch.arange(16).repeat(ROWS, 1)
    tokens = {task: learner.samples.tokens(samples, np.full(ROWS, task)) for task in range(3)}
    for task, mixed in tokens.items():
        assert (learner.samples.tasks(mixed) == task).all()
        assert torch.equal(learner.samples.gather(mixed, np.full(ROWS, task)), learner.data.gather(samples))
        high = (mixed[0] >> 40).tolist()
        assert len(set(high)) == 16, "neither the task nor the order of samples shows"
    every = torch.cat([mixed[0] for mixed in tokens.values()])
    assert len(set(every.tolist())) == 48


def test_without_boundaries_draws_cross_fade_as_training_does() -> None:
    learner = begun("task-free", decisions=1, minibatches=8)
    learner.task_steps[:] = 8
    tasks = learner.samples.tasks(learner.stage.draw(0, 4000).samples)
    np.testing.assert_allclose((tasks == 1).double().mean(dim=1), 0.5, atol=0.05)
    assert learner.stage.sample_counts.tolist() == [PERIOD * 16] * ROWS
