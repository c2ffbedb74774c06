"""L2 and elastic weight consolidation against literal versions of one network, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.hardware import Architecture
from growenv.protection import EWC, L2, PROTECTIONS, OnlineEWC, SynapticIntelligence, quadratic
from growenv.protection.base import Batch
from growenv.protection.quadratic import CENTRE, IMPORTANCE, QuadraticPenalty
from growenv.protection.strengths import family
from growenv.registry import UnknownNameError
from growenv.streams import SCENARIOS
from growenv.streams.scenarios import PERIOD
from growenv.testing import check_protection
from tests.protection.slow import Slow, SlowNet, assert_follows, padded, slow_fisher
from tests.rollouts import TASKS, assert_same, context, learner, task

KINDS = {"l2": L2, "ewc": EWC, "online-ewc": OnlineEWC, "si": SynapticIntelligence}
EVERYONE = np.ones(2, dtype=bool)
STRENGTHS = (0.0, 3.0, 40.0)
SPLIT = [task(0, 1), task(2, 3), task(4, 5)]


class SlowPenalties(Slow):
    """All importances and centres of all tasks, one after the other."""

    def __init__(self, strength: float, own_heads: bool, labels: str = "exact", gamma: float | None = None) -> None:
        self.strength, self.own_heads, self.labels, self.gamma = strength, own_heads, labels, gamma
        self.kept: list[tuple[list[Tensor], list[Tensor]]] = []

    def loss(self, net: SlowNet, x: Tensor, logits: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for importances, centres in self.kept:
            blocks = list(zip(importances, net.parameters, centres, strict=True))
            for importance, weights, centre in blocks[:-1] if self.own_heads else blocks:
                total = total + self.strength / 2 * (importance * (weights - centre) ** 2).sum()
        return total

    def widened(self, net: SlowNet) -> None:
        self.kept = [
            tuple([padded(old, now) for old, now in zip(part, net.parameters, strict=True)] for part in kept)  # type: ignore[misc]
            for kept in self.kept
        ]

    def finished(self, net: SlowNet, drawn: list[Batch], row: int) -> None:
        importance = self.measured(net, drawn, row)
        if self.gamma is not None and self.kept:
            older = self.kept.pop()[0]
            importance = [self.gamma * one + two for one, two in zip(older, importance, strict=True)]
        self.kept.append((importance, [each.clone() for each in net.parameters]))

    def measured(self, net: SlowNet, drawn: list[Batch], row: int) -> list[Tensor]:
        x, right = (torch.cat([getattr(each, name)[row] for each in drawn]) for name in ("inputs", "outputs"))
        absent = torch.cat([each.absent[row].T.expand(len(each.inputs[row]), -1) for each in drawn])
        return slow_fisher(net.weights, x, absent, self.labels, right)


class SlowL2(SlowPenalties):
    """Importance one, and only the last task's centre."""

    def finished(self, net: SlowNet, drawn: list[Batch], row: int) -> None:
        self.kept = [([torch.ones_like(each) for each in net.parameters], [each.clone() for each in net.parameters])]


PLACES = [("task-incremental", True), ("class-incremental-all", False)]


@pytest.mark.parametrize(("scenario", "own_heads"), PLACES)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_ewc_equals_separate_penalties(
    scenario: str, own_heads: bool, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quadratic, "_CHUNK", 8)
    slow = [SlowPenalties(strength, own_heads) for strength in STRENGTHS]
    options: dict[str, Any] = {"strength": STRENGTHS, "samples": 20}
    ours = assert_follows(EWC, slow, (8, 8, 4), protection=options, scenario=scenario, optimizer=optimizer)
    assert len(slow[0].kept) == 2
    centre_free = [float(each) for each in ours.protection.penalty(ours.network)]  # type: ignore[attr-defined]
    assert centre_free[0] == 0.0
    assert min(centre_free[1:]) > 0


@pytest.mark.parametrize("labels", ["true", "predicted"])
def test_online_ewc_equals_its_running_penalty(labels: str) -> None:
    slow = [SlowPenalties(strength, False, labels, gamma=0.7) for strength in STRENGTHS]
    options = {"strength": STRENGTHS, "samples": 20, "gamma": 0.7, "labels": labels}
    assert_follows(OnlineEWC, slow, (20,), protection=options, scenario="domain-incremental")


@pytest.mark.parametrize(("scenario", "own_heads"), PLACES)
def test_l2_equals_its_literal_version(scenario: str, own_heads: bool) -> None:
    slow = [SlowL2(strength, own_heads) for strength in STRENGTHS]
    assert_follows(L2, slow, protection={"strength": STRENGTHS}, scenario=scenario)


def test_l2_leaves_outputs_of_classes_to_come_free() -> None:
    ours = learner(2, protection="l2", scenario="class-incremental")
    ours.begin(EVERYONE, [context(SPLIT, 1), context([task(8, 9), task(2, 3)], 2)])
    ours.train()
    ours.next_task(EVERYONE)
    head = ours.network.layout.blocks(ours.network.buffers[IMPORTANCE])[-1]
    assert [each.nonzero().flatten().tolist() for each in head.sum(dim=1)] == [[0, 1], [8, 9]]


def test_two_penalties_make_one_about_the_mean_of_their_centres() -> None:
    """1/2 * 1 * (w - 4)^2 + 1/2 * 3 * (w - 8)^2 has the slope 4 (w - 7)."""
    old, new = (torch.tensor([each], dtype=torch.float64) for each in ((1.0, 0.0, 2.0), (3.0, 5.0, 0.0)))
    centre, weights = (torch.tensor([each], dtype=torch.float64) for each in ((4.0, 0.0, 1.5), (8.0, 0.1, 9.0)))
    importance, centre = EWC()._joined(old, centre, new, weights)
    assert importance.tolist() == [[4.0, 5.0, 2.0]]
    assert centre.tolist() == [[7.0, 0.1, 1.5]]


def length(scenario: str) -> int:
    """Minibatches of a decision, of which two make a period where there are no boundaries."""
    return PERIOD // 2 if scenario == "task-free" else 4


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("scenario", ["task-incremental", "class-incremental", "task-free"])
def test_without_strength_a_penalty_is_finetuning_bit_for_bit(name: str, scenario: str) -> None:
    found = []
    for part in (KINDS[name](strength=0.0), "finetune"):
        ours = learner(2, protection=part, scenario=scenario, dtype=torch.float32, minibatches=length(scenario))
        ours.begin(EVERYONE, [context(SPLIT, 1), context(SPLIT, 2)])
        for number in range(3):
            ours.train()
            ours.grow(np.array([0, 1]), np.array([2, 3]))
            ours.train()
            if number < 2:
                ours.next_task(EVERYONE)
        found.append(ours.network.buffers["weights"].clone())
    assert torch.equal(*found)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("scenario", ["task-incremental", "domain-incremental", "class-incremental", "task-free"])
def test_after_the_first_task_the_penalty_is_there_and_grows_with_the_distance(name: str, scenario: str) -> None:
    """Public implementations exist whose penalty was always zero."""
    ours = learner(2, protection=name, scenario=scenario, minibatches=length(scenario))
    part = ours.protection
    assert isinstance(part, QuadraticPenalty)
    ours.begin(EVERYONE, [context(SPLIT, 1), context(SPLIT, 2)])
    ours.train()
    ours.train()
    ours.next_task(EVERYONE)
    assert part.penalty(ours.network).tolist() == [0.0, 0.0], "at its own centre"
    importance = ours.network.layout.blocks(ours.network.buffers[IMPORTANCE])
    assert all(float(block[row].abs().sum()) > 0 for block in importance[:-1] for row in range(2))
    assert (float(importance[-1].abs().sum()) > 0) == (scenario != "task-incremental")
    ours.network.weights[0].add_(0.01)
    once = part.penalty(ours.network)
    ours.network.weights[0].add_(0.01)
    assert (once != 0).all() and (name == "si" or (once > 0).all()), "an omega may be negative"
    torch.testing.assert_close(part.penalty(ours.network), 4 * once)


def test_importances_follow_a_new_order_of_the_inputs() -> None:
    ours = learner(2, protection="ewc")
    ours.begin(EVERYONE, [context(TASKS[:3], 1), context(TASKS[2:5], 2)])
    ours.train()
    ours.finish_task(EVERYONE)
    before = [ours.network.layout.blocks(ours.network.buffers[name])[0].clone() for name in (IMPORTANCE, CENTRE)]
    ours = learner(2, protection="ewc")
    ours.begin(EVERYONE, [context(TASKS[:3], 1), context(TASKS[2:5], 2)])
    ours.train()
    order = ours.data.order(ours.task, ours.task + 1)
    ours.next_task(EVERYONE)
    for name, each in zip((IMPORTANCE, CENTRE), before, strict=True):
        moved = torch.stack([block[index] for block, index in zip(each, order, strict=True)])
        assert torch.equal(ours.network.layout.blocks(ours.network.buffers[name])[0], moved)
        assert not torch.equal(moved, each)


@pytest.mark.parametrize("name", KINDS)
def test_a_new_unit_has_no_importance(name: str) -> None:
    ours = learner(2, protection=KINDS[name](strength=5.0), scenario="domain-incremental")
    ours.begin(EVERYONE, [context(SPLIT, 1), context(SPLIT, 2)])
    ours.train()
    ours.next_task(EVERYONE)
    ours.grow(np.array([0, 0]), np.array([2, 7]))
    blocks, offset = ours.network.layout.blocks(ours.network.buffers[IMPORTANCE]), ours.network.layout.frozen[0]
    assert not blocks[0][:, :, 5:].any()
    assert not blocks[1][:, offset + 5 :].any()
    assert blocks[0][:, :, :5].any()
    assert not ours.protection.penalty(ours.network).any()  # type: ignore[attr-defined]


def test_importances_too_small_to_matter_are_zero() -> None:
    """They and their products would be denormal numbers."""
    given = torch.tensor([1e-31, -1e-31, 1e-29, -2.0])
    assert quadratic.without_tiny(given).tolist() == torch.tensor([0.0, 0.0, 1e-29, -2.0]).tolist()


@pytest.mark.parametrize("name", KINDS)
def test_a_snapshot_brings_the_penalty_back(name: str) -> None:
    ours = learner(2, protection=name, scenario="class-incremental")
    ours.begin(EVERYONE, [context(SPLIT, 1), context(SPLIT, 2)])
    ours.train()
    ours.next_task(EVERYONE)
    ours.train()
    kept = ours.snapshot()
    found = []
    for _ in range(2):
        ours.restore(kept)
        ours.train()
        ours.next_task(EVERYONE)
        ours.train()
        found.append({name: flat.clone() for name, flat in ours.network.buffers.items()})
    assert_same(found[0], found[1])
    assert not torch.equal(found[0][CENTRE], kept["network"]["buffers"][CENTRE])


@pytest.mark.parametrize("name", KINDS)
def test_it_keeps_the_promises_of_protections(name: str) -> None:
    check_protection(name)


def test_sampled_labels_come_from_the_row_alone() -> None:
    both, one = (learner(rows, protection=EWC(1.0, labels="sampled", samples=300)) for rows in (2, 1))
    both.begin(EVERYONE, [context(SPLIT, 1), context(SPLIT, 2)])
    one.begin(EVERYONE[:1], [context(SPLIT, 2)])
    two, alone = (each.protection.fisher(each.stage) for each in (both, one))  # type: ignore[attr-defined]
    exact = EWC(1.0, samples=300).fisher(one.stage)
    for mine, single, certain in zip(two, alone, exact, strict=True):
        torch.testing.assert_close(mine[1:], single)
        assert not torch.equal(single, certain)
        assert float(single.sum()) == pytest.approx(float(certain.sum()), rel=0.3)


def test_strengths_are_the_published_ones_unless_given() -> None:
    for scenario, strength, gamma in (
        ("task-incremental", 1e8, 0.8),
        ("domain-incremental", 1e8, 0.7),
        ("class-incremental", 1e9, 0.8),
        ("task-free", 1e9, 0.8),
    ):
        part = learner(2, protection="online-ewc", scenario=scenario).protection
        assert isinstance(part, OnlineEWC)
        assert (part.strength.flatten().tolist(), part.gamma) == ([strength] * 2, gamma)
        assert family(SCENARIOS.make(scenario)) in OnlineEWC.published
    given = learner(2, protection=EWC(strength=[2.0, 3.0])).protection
    assert isinstance(given, EWC)
    assert given.strength.flatten().tolist() == [2.0, 3.0]


@pytest.mark.parametrize(("name", "copies"), [("l2", 2), ("ewc", 2), ("online-ewc", 2), ("si", 3)])
def test_bytes_are_numbers_of_guarded_weights(name: str, copies: int) -> None:
    """Four inputs, three units, two classes: 12 + 3 hidden numbers, 6 + 2 of the head."""
    architecture = Architecture(4, np.array([[[3]]]), np.array([[2]]), directed=False)
    for scenario, numbers in (("task-incremental", 15), ("domain-incremental", 23)):
        part = learner(1, protection=name, scenario=scenario).protection
        assert part.memory(architecture).tolist() == [copies * 4 * numbers]


@pytest.mark.parametrize("kind", KINDS.values())
@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf"), [1.0, -2.0], [[1.0]], []])
def test_strengths_that_are_none_are_refused(kind: type[QuadraticPenalty], strength: Any) -> None:
    with pytest.raises(ValueError, match="strength=.*: expected one number, or one for each row, finite"):
        kind(strength=strength)


def test_other_bad_options_are_refused() -> None:
    for gamma in (0.0, -0.5, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"gamma .* in \(0, 1\]; got"):
            OnlineEWC(gamma=gamma)
    with pytest.raises(UnknownNameError, match="unknown choice of Fisher labels 'all'"):
        EWC(labels="all")
    with pytest.raises(ValueError, match="at least 1 sample, got 0"):
        EWC(samples=0)
    with pytest.raises(ValueError, match="strength has 3 numbers for 2 rows"):
        learner(2, protection=EWC(strength=[1.0, 2.0, 3.0]))


def test_penalties_by_name() -> None:
    for name, kind in KINDS.items():
        part = PROTECTIONS.make(name)
        assert type(part) is kind
        assert (part.name, part.directed, part.invariant, part.all_heads) == (name, False, False, False)
