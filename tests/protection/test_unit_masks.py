"""Masks over frozen units: which are chosen, what they change, and that nothing is forgotten."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.hardware import Architecture
from growenv.networks import StackedMLP
from growenv.networks.other_weights import hidden_with
from growenv.protection import PROTECTIONS
from growenv.protection.base import Batch
from growenv.protection.unit_masks import UnitMasks, taylor_importance, top_share, trained_head
from growenv.streams.scenarios import NotVisibleError
from growenv.testing import check_protection
from tests.protection.unforgetting import EVERYONE, ROWS, assert_unforgetting, logits, started, train_task
from tests.rollouts import assert_same


def part_of(ours: Any) -> UnitMasks:
    part = ours.protection
    assert isinstance(part, UnitMasks)
    return part


def test_the_contract_of_protections_holds() -> None:
    check_protection("firefly-masks")


@pytest.mark.parametrize("operator", ["random", "firefly"])
def test_finished_tasks_answer_the_same_to_the_last_bit(operator: str) -> None:
    assert_unforgetting(started("firefly-masks", growth=operator))


def test_finished_tasks_answer_the_same_with_a_layer_around_which_wires_lead() -> None:
    assert_unforgetting(started("firefly-masks", hidden=(5, 0)))


def test_the_top_share_is_rounded_up_and_leaves_out_what_is_no_older_unit() -> None:
    importance = torch.tensor([[9.0, 0.1, 0.5, 0.3, 7.0], [9.0, 0.2, 0.2, 0.2, 0.2]])
    chosen = top_share(importance, np.array([3, 4]), 0.5)
    assert chosen.tolist() == [[False, False, True, True, False], [False, True, True, False, False]]
    assert top_share(importance, np.array([3, 0]), 1.0).sum(axis=1).tolist() == [3, 0]
    many = top_share(torch.rand(1, 31, generator=torch.Generator().manual_seed(0)), np.array([30]), 0.1)
    assert many.sum() == 3


def one_unit_stage() -> tuple[Any, Batch]:
    """Two hidden units that read inputs (x, y) as max(x, 0) and max(2 y, 0), and two outputs."""
    network = StackedMLP(1, 2, 1, 2, dtype=torch.float64)
    network.reserve(0, np.array([2]))
    network.weights[0][0, 0, 0], network.weights[0][0, 1, 1] = 1.0, 2.0
    start = network.layout.frozen[0]
    network.weights[1][0, start : start + 2] = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    inputs = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 0.5, 1.0]]], dtype=torch.float64)
    targets = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    nothing = torch.zeros((1, 2), dtype=torch.int64)
    batch = Batch(inputs, targets, torch.zeros((1, 2, 1), dtype=torch.float64), 0.5, nothing, nothing)
    own = network.buffers["weights"]
    stage = SimpleNamespace(
        network=network,
        rows=1,
        batch_size=2,
        draw=lambda number, count: batch,
        read=lambda x: hidden_with(network, x, own),
    )
    return stage, batch


def test_importance_is_activation_times_gradient_by_hand() -> None:
    """Sample 1 has h = (1, 0), logits (1, 0): |h dL/dh| = 1/2 (1 - p) 1; sample 2 h = (0, 1), logits (0, 3)."""
    stage, _ = one_unit_stage()
    (found,) = taylor_importance(stage, stage.network.weights[-1].clone(), 0)
    start = stage.network.layout.frozen[0]
    first, second = 1.0 / (1.0 + np.exp(1.0)), 1.0 / (1.0 + np.exp(3.0))
    expected = [0.5 * first * 1.0, 0.5 * second * 3.0]
    np.testing.assert_allclose(found[0, start : start + 2].numpy(), expected, atol=1e-12)
    assert found[0, 1:start].sum() == 0


def test_a_trained_head_is_better_and_the_network_keeps_its_own() -> None:
    stage, batch = one_unit_stage()
    own = stage.network.weights[-1].clone()
    head = trained_head(stage, 30, 0.1)
    assert torch.equal(stage.network.weights[-1], own)
    read = stage.read(batch.inputs)[-1]

    def loss(weights: Tensor) -> float:
        chosen = torch.log_softmax(torch.bmm(read, weights).transpose(1, 2), 1) * batch.targets
        return float(-chosen.sum())

    assert loss(head) < 0.5 * loss(own)
    assert torch.equal(trained_head(stage, 0, 0.1), own)


def test_each_later_task_uses_its_share_of_older_units_and_all_of_its_own() -> None:
    ours = started("firefly-masks")
    assert ours.protection.gates(ours.stage, None) is None, "the first task hides nothing"
    train_task(ours, 0, [3, 0, 9])
    ours.next_task(EVERYONE)
    ours.grow(np.zeros(ROWS, dtype=np.int64), np.array([2, 4, 0]))
    gates = ours.protection.gates(ours.stage, None)
    assert gates is not None
    frozen = ours.network.layout.frozen
    for layer, older in enumerate(([8, 5, 14], [4, 4, 4])):
        assert gates[layer][:, 0].tolist() == [1.0] * ROWS, "biases are never hidden"
        for row in range(ROWS):
            let_through = gates[layer][row, 1 : 1 + older[row]]
            assert let_through.sum() == np.ceil(0.5 * older[row])
            assert gates[layer][row, 1 + older[row] : frozen[layer]].sum() == 0
    assert [gates[0][row, frozen[0] :].sum() for row in range(ROWS)] == [2.0, 4.0, 0.0]
    masks = part_of(ours).used[:, 1]
    assert masks[:, 0].sum(axis=1).tolist() == [4, 3, 7]
    assert masks[:, 1].sum(axis=1).tolist() == [2, 2, 2]


def test_hidden_units_take_no_part_in_training() -> None:
    """Weights from hidden units into new ones, and into the head, never change."""
    ours = started("firefly-masks", optimizer="sgd", learning_rate=0.1)
    ours.train()
    ours.next_task(EVERYONE)
    ours.grow(np.ones(ROWS, dtype=np.int64), np.full(ROWS, 3))
    gates = ours.protection.gates(ours.stage, None)
    assert gates is not None
    before = [block.clone() for block in ours.network.weights]
    ours.train()
    for layer in (1, 2):
        moved = (ours.network.weights[layer] != before[layer]).any(dim=2)
        hidden = gates[layer - 1] == 0
        assert not moved[hidden].any()
        assert moved[~hidden].any()


def test_keeping_everything_is_freezing() -> None:
    ours, frozen = started(UnitMasks(keep=1.0)), started("freeze")
    for each in (ours, frozen):
        train_task(each, 0, [3, 0, 9])
        each.next_task(EVERYONE)
        train_task(each, 1, [1, 2, 3])
    for number in range(2):
        torch.testing.assert_close(logits(ours, number), logits(frozen, number), atol=1e-6, rtol=0)


def test_masks_are_chosen_by_each_row_for_itself_and_a_snapshot_brings_them_back() -> None:
    ours = started("firefly-masks")
    ours.train()
    ours.next_task(np.array([True, False, True]))
    masks = part_of(ours)
    assert masks.used.any(axis=(1, 2, 3)).tolist() == [True, False, True]
    kept = ours.snapshot()
    used = masks.used.copy()
    first = vars(ours.train())
    ours.next_task(EVERYONE)
    ours.train()
    ours.restore(kept)
    assert (part_of(ours).used == used).all()
    assert_same(vars(ours.train()), first)


def test_memory_is_one_bit_for_every_older_unit_of_every_later_task() -> None:
    units = np.array([[[10, 5], [3, 0], [0, 4]], [[1, 1], [0, 0], [0, 0]]])
    shape = Architecture(4, units, np.array([[2, 2, 2], [2, 0, 0]]), directed=True)
    bits = 15 + 18
    assert UnitMasks().memory(shape).tolist() == [-(-bits // 8), 0]
    # A head that all tasks share is counted with the last one, but every task has its mask.
    shared = Architecture(4, units, np.array([[0, 0, 10], [0, 0, 10]]), directed=True)
    assert UnitMasks().memory(shared).tolist() == [-(-bits // 8), 1]


def test_flags_options_and_scenarios_without_boundaries() -> None:
    part = PROTECTIONS.make("firefly-masks")
    assert (part.name, part.directed, part.invariant, part.frees) == ("firefly-masks", True, True, False)
    for keep in (0.0, 1.5):
        with pytest.raises(ValueError, match=f"keep={keep}"):
            UnitMasks(keep=keep)
    with pytest.raises(ValueError, match="minibatches=-1"):
        UnitMasks(minibatches=-1)
    with pytest.raises(ValueError, match="learning_rate=0"):
        UnitMasks(learning_rate=0.0)
    with pytest.raises(NotVisibleError, match="task-free"):
        started("firefly-masks", scenario="task-free")


def test_growth_operators_see_the_networks_through_the_masks() -> None:
    """In rows whose units are partly hidden, evidence has the logits, gradients and losses of training."""
    ours = started("firefly-masks", dtype=torch.float64)
    ours.train()
    ours.next_task(EVERYONE)
    ours.grow(np.ones(ROWS, dtype=np.int64), np.full(ROWS, 3))
    ours.train()
    ours.grow(np.zeros(ROWS, dtype=np.int64), np.full(ROWS, 3))
    seen, network = ours.evidence(), ours.network
    gates = ours.protection.gates(ours.stage, None)
    assert gates is not None
    assert (gates[0] == 0).any()
    torch.testing.assert_close(seen.logits, network.forward(seen.x, gates=gates))
    network.backward(seen.x, seen.loss.gradient(seen.logits).contiguous(), gates)
    for layer in range(3):
        torch.testing.assert_close(seen.gradient(layer), network.gradients[layer])
    for layer in range(2):
        extra = torch.zeros((*seen.x.shape[:2], network.layout.fan_out(layer + 1)), dtype=torch.float64)
        torch.testing.assert_close(seen.loss_with(layer, extra), seen.loss.value(seen.logits))
    assert not torch.allclose(seen.logits, network.forward(seen.x))
