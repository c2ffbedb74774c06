"""Learning without forgetting against a literal version of one network, and by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.hardware import Architecture
from growenv.protection import PROTECTIONS, Batch, LearningWithoutForgetting
from growenv.protection.distillation import OLD, distillation_gradient
from growenv.testing import check_protection
from tests.protection.slow import CLASSES, Slow, SlowNet, assert_follows
from tests.reference import Row, logits_of
from tests.rollouts import assert_same, context, learner, task

STRENGTHS = (0.0, 1.0, 3.0)
EVERYONE = np.ones(2, dtype=bool)
STREAM = [task(*classes) for classes in CLASSES]


def distilled(new: Tensor, old: Tensor, seen: list[int], known: list[int]) -> Tensor:
    """Mean over samples of the cross-entropy at temperature 2, old answers padded with zeros."""
    q = torch.zeros_like(new)
    q[:, known] = torch.softmax(old[:, known] / 2, dim=1)
    return -(q[:, seen] * torch.log_softmax(new[:, seen] / 2, dim=1)).sum(dim=1).mean()


class SlowTeacher(Slow):
    """The old network, a copy of its own."""

    def __init__(self, strength: float, scenario: str) -> None:
        self.strength, self.scenario, self.task = strength, scenario, 0
        self.old: Row | None = None

    def loss(self, net: SlowNet, x: Tensor, logits: Tensor) -> Tensor:
        if self.old is None:
            return super().loss(net, x, logits)
        old, before = logits_of(self.old, x), CLASSES[: self.task]
        if self.scenario == "task-incremental":
            heads = [[10 * number + place for place in range(len(each))] for number, each in enumerate(before)]
            each = torch.stack([distilled(logits, old, head, head) for head in heads])
            return self.strength * self.task * each.mean()
        if self.scenario == "domain-incremental":
            places = list(range(max(map(len, CLASSES))))
            return self.strength * self.task * distilled(logits, old, places, places)
        known = [label for each in before for label in each]
        return self.strength * distilled(logits, old, known + list(CLASSES[self.task]), known)

    def finished(self, net: SlowNet, drawn: list[Batch], row: int) -> None:
        self.old = copy.deepcopy(net.weights)
        self.task += 1


@pytest.mark.parametrize(
    "scenario", ["task-incremental", "domain-incremental", "class-incremental", "class-incremental-current"]
)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_distillation_equals_its_literal_version(scenario: str, optimizer: str) -> None:
    slow = [SlowTeacher(strength, scenario) for strength in STRENGTHS]
    ours = assert_follows(
        LearningWithoutForgetting, slow, protection={"strength": STRENGTHS}, scenario=scenario, optimizer=optimizer
    )
    assert (ours.network.classes == 30) == (scenario == "task-incremental")


def test_over_all_outputs_only_classes_that_were_shown_are_distilled() -> None:
    scenario = "class-incremental-all"
    slow = [SlowTeacher(strength, scenario) for strength in STRENGTHS]
    # So many samples that every minibatch shows all classes of its task.
    assert_follows(
        LearningWithoutForgetting, slow, protection={"strength": STRENGTHS}, scenario=scenario, batch_size=64
    )


def test_a_gradient_by_hand() -> None:
    """At temperature 2, logits (0, 2 log 3) mean (1/4, 3/4); a third output is not known, a fourth not seen."""
    high = 2 * float(np.log(3.0))
    new, old = torch.tensor([0.0, 0.0, 0.0, 5.0]), torch.tensor([0.0, high, 7.0, 7.0])
    seen, known = torch.tensor([[[True, True, True, False]]]), torch.tensor([[[True, True, False, False]]])
    slope = distillation_gradient(new.view(1, 1, 4, 1), old.view(1, 1, 4, 1), seen, known, 2.0)
    expected = [(1 / 3 - 1 / 4) / 2, (1 / 3 - 3 / 4) / 2, 1 / 6, 0.0]
    assert slope.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_a_network_that_answers_as_before_is_left_alone() -> None:
    """At a task's first minibatch teacher and pupil are one, so nothing moves the old heads."""
    ours = learner(2, protection="lwf", minibatches=1)
    ours.begin(EVERYONE, [context(STREAM, 1), context(STREAM, 2)])
    ours.train()
    ours.next_task(EVERYONE)
    head = ours.network.weights[-1][:, :, :10].clone()
    ours.train()
    torch.testing.assert_close(ours.network.weights[-1][:, :, :10], head, atol=1e-9, rtol=0)
    ours.train()
    assert not torch.allclose(ours.network.weights[-1][:, :, :10], head, atol=1e-6), "then old heads follow"


@pytest.mark.parametrize("scenario", ["domain-incremental", "class-incremental", "task-free"])
def test_without_strength_it_is_finetuning_bit_for_bit(scenario: str) -> None:
    found = []
    for part in (LearningWithoutForgetting(strength=0.0), "finetune"):
        ours = learner(
            2,
            protection=part,
            scenario=scenario,
            dtype=torch.float32,
            minibatches=100 if scenario == "task-free" else 4,
        )
        ours.begin(EVERYONE, [context(STREAM, 1), context(STREAM, 2)])
        for number in range(3):
            ours.train()
            ours.grow(np.array([0, 1]), np.array([2, 3]))
            ours.train()
            if number < 2:
                ours.next_task(EVERYONE)
        found.append(ours.network.buffers["weights"].clone())
    assert torch.equal(*found)


def test_without_strength_every_task_has_the_answers_of_finetuning() -> None:
    """With a head for each task all heads lie in one matrix, whose products may differ in the last bit."""
    found = []
    for part in (LearningWithoutForgetting(strength=0.0), "finetune"):
        ours = learner(2, protection=part)
        ours.begin(EVERYONE, [context(STREAM, 1), context(STREAM, 2)])
        for _ in range(2):
            ours.train()
            ours.next_task(EVERYONE)
        found.append([ours.network.layout.blocks(ours.network.buffers["weights"])[0].clone()])
    assert_same(found[0], found[1], tolerance=1e-10)


def test_the_teacher_has_no_units_that_came_later() -> None:
    ours = learner(2, protection="lwf")
    ours.begin(EVERYONE, [context(STREAM, 1), context(STREAM, 2)])
    ours.train()
    ours.next_task(EVERYONE)
    x = ours.stage.draw(0, 7).inputs
    before = ours.stage.forward(x, weights=ours.network.buffers[OLD]).clone()
    ours.grow(np.array([0, 1]), np.array([3, 9]))
    ours.train()
    after = ours.stage.forward(x, weights=ours.network.buffers[OLD])
    torch.testing.assert_close(after, before)
    assert before.abs().sum() > 0
    assert not torch.allclose(ours.stage.forward(x), before, atol=1e-3)


def test_it_forgets_less_than_finetuning() -> None:
    found = {}
    for name in ("lwf", "finetune"):
        ours = learner(2, protection=name, minibatches=60, hidden=(20, 20), learning_rate=0.01)
        ours.begin(EVERYONE, [context([task(0, 1, 2, 3, 4), task(5, 6, 7, 8, 9)], row) for row in range(2)])
        for _ in range(2):
            ours.train()
        first = np.zeros(2, dtype=np.int64)
        learned = ours.accuracy("test", first)
        ours.next_task(EVERYONE)
        for _ in range(3):
            ours.train()
        found[name] = (learned - ours.accuracy("test", first)).mean()
    assert found["lwf"] < found["finetune"] - 0.1


def test_a_snapshot_brings_the_teacher_back() -> None:
    ours = learner(2, protection="lwf", scenario="class-incremental")
    ours.begin(EVERYONE, [context(STREAM, 1), context(STREAM, 2)])
    ours.train()
    ours.next_task(EVERYONE)
    kept = ours.snapshot()
    found = []
    for _ in range(2):
        ours.restore(kept)
        ours.train()
        ours.next_task(EVERYONE)
        ours.train()
        found.append({name: flat.clone() for name, flat in ours.network.buffers.items()})
    assert_same(found[0], found[1])
    assert not torch.equal(found[0][OLD], kept["network"]["buffers"][OLD])


def test_it_keeps_the_promises_of_protections() -> None:
    check_protection("lwf")


def test_bytes_are_those_of_the_old_network() -> None:
    """Four inputs, three units, two heads of two classes: 12 + 3 hidden numbers, 12 + 4 of the heads."""
    units, outputs = np.array([[[3], [0]]]), np.array([[2, 2]])
    part = PROTECTIONS.make("lwf")
    assert part.memory(Architecture(4, units, outputs, directed=False)).tolist() == [4 * 31]
    assert (part.name, part.directed, part.invariant, part.all_heads) == ("lwf", False, False, True)


def test_bad_options_are_refused() -> None:
    for strength in (-1.0, float("nan"), [[1.0]]):
        with pytest.raises(ValueError, match="strength=.*: expected one number, or one for each row, finite"):
            LearningWithoutForgetting(strength=strength)
    for temperature in (0.0, -2.0, float("inf")):
        with pytest.raises(ValueError, match="a temperature divides logits, so it must be above 0 and finite; got"):
            LearningWithoutForgetting(temperature=temperature)
    with pytest.raises(ValueError, match="strength has 3 numbers for 2 rows"):
        learner(2, protection=LearningWithoutForgetting(strength=[1.0, 2.0, 3.0]))
    with pytest.raises(ValueError, match="silent in training"):
        learner(2, protection="lwf", scenario="class-incremental-restore")
