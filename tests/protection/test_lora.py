"""Low-rank adapters: gradients, growth, and that nothing is forgotten."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from growenv.hardware import Architecture
from growenv.networks import StackedMLP
from growenv.protection import PROTECTIONS
from growenv.protection.lora import BASE, LowRankAdapters, adapted, first_inner, merged
from growenv.streams.scenarios import NotVisibleError
from growenv.testing import check_protection
from tests.protection.unforgetting import EVERYONE, ROWS, assert_unforgetting, logits, started, train_task
from tests.rollouts import assert_same


def test_the_contract_of_protections_holds() -> None:
    check_protection("lora")


@pytest.mark.parametrize("operator", ["random", "net2wider"])
def test_finished_tasks_answer_the_same_to_the_last_bit(operator: str) -> None:
    assert_unforgetting(started(LowRankAdapters(rank=2), growth=operator))


def test_finished_tasks_answer_the_same_with_a_layer_around_which_wires_lead() -> None:
    assert_unforgetting(started("lora", hidden=(5, 0)))


def test_a_later_task_starts_from_the_weights_of_the_first() -> None:
    ours = started("lora")
    train_task(ours, 0, [3, 0, 9])
    before = [block.clone() for block in ours.network.weights[:-1]]
    ours.finish_task(EVERYONE)
    ours.protection.enter(ours.stage, EVERYONE)
    for layer in range(2):
        assert torch.equal(ours.network.weights[layer], before[layer])


def test_changes_of_a_later_task_have_the_rank_of_its_adapter() -> None:
    ours = started(LowRankAdapters(rank=2), hidden=(12, 9), learning_rate=0.01, minibatches=10)
    ours.train()
    ours.next_task(EVERYONE)
    bases = [block.clone() for block in ours.network.layout.blocks(ours.network.buffers[BASE])]
    ours.train()
    for layer in range(2):
        for row in range(ROWS):
            change = ours.network.weights[layer][row] - bases[layer][row]
            values = torch.linalg.svdvals(change.double())
            assert values[1] > 1e-4
            assert values[2:].max() < 1e-5 * values[0] + 1e-7
    now = ours.network.layout.blocks(ours.network.buffers[BASE])
    assert all(torch.equal(one, two) for one, two in zip(bases, now, strict=True)), "W_0 stands still"


def test_gradients_of_adapters_by_hand() -> None:
    """One unit, inputs (x, bias), rank 1, scale 2: W = W_0 + 2 a b with a = (3, 5), b = 7 and dL/dW = (1, 4).

    dL/da = 2 G b = (14, 56); dL/db = 2 a^T G = 2 (3 + 20) = 46; the first step of Adam is the rate along the sign.
    """
    network = StackedMLP(1, 1, 1, 2, dtype=torch.float64)
    network.reserve(0, np.array([1]))
    part = LowRankAdapters(rank=1, alpha=2.0, learning_rate=0.5)
    stage: Any = SimpleNamespace(network=network, rows=1, tasks=2, task_length=10, seeds=np.array([3], dtype=np.uint64))
    part.prepare(stage)
    part.number[:] = 0
    base = network.layout.blocks(network.buffers[BASE])[0]
    base[0, :, 0] = torch.tensor([0.1, 0.2], dtype=torch.float64)
    part.enter(stage, np.array([True]))
    assert network.weights[0][0, :, 0].tolist() == [0.1, 0.2]
    (a, first_a, _), (b, first_b, _) = part._inner[0], part._outer[0]
    a[0, :, 0], b[0, 0, 0] = torch.tensor([3.0, 5.0], dtype=torch.float64), 7.0
    network.gradients[0][0, :, 0] = torch.tensor([1.0, 4.0], dtype=torch.float64)
    part.after_backward(stage)
    assert (first_a[0, :, 0] / 0.1).tolist() == pytest.approx([14.0, 56.0])
    assert float(first_b[0, 0, 0] / 0.1) == pytest.approx(46.0)
    assert network.gradients[0][0, :, 0].tolist() == [0.0, 0.0], "W_0 stands still"
    assert a[0, :, 0].tolist() == pytest.approx([2.5, 4.5])
    assert float(b[0, 0, 0]) == pytest.approx(6.5)
    assert not first_b[0, 0, 1:].any() and not b[0, 0, 1:].any()
    part.after_step(stage)
    assert network.weights[0][0, :, 0].tolist() == pytest.approx([0.1 + 2 * 2.5 * 6.5, 0.2 + 2 * 4.5 * 6.5])


def test_first_adapters_are_random_within_bounds_and_the_same_in_any_layout() -> None:
    seeds, task = np.array([5, 6], dtype=np.uint64), np.array([1, 1])
    small, wide = StackedMLP(2, 30, 2, 3), StackedMLP(2, 30, 2, 3)
    for network, other in ((small, 4), (wide, 40)):
        network.reserve(0, np.array([4, other]))
        network.reserve(1, np.array([3, other]))
    for layer, start, count in ((0, 0, 31), (1, small.layout.frozen[0], 4)):
        one, two = (first_inner(network, layer, seeds, task, 3)[0] for network in (small, wide))
        assert torch.equal(one[start : start + count], two[start : start + count])
    inputs = first_inner(small, 0, seeds, task, 3)
    assert inputs.abs().max() <= 1.0 / np.sqrt(31)
    assert inputs.std() == pytest.approx(1.0 / np.sqrt(3 * 31), rel=0.15)
    assert not torch.equal(inputs[0], inputs[1])
    later = first_inner(small, 0, seeds, task + 1, 3)
    assert not torch.equal(inputs[0], later[0])
    assert not first_inner(wide, 1, seeds, task, 3)[0, wide.layout.frozen[0] + 4 :].any()


def test_adapters_know_the_units_that_were_there_when_the_task_began() -> None:
    network = StackedMLP(2, 3, 2, 2)
    network.reserve(0, np.array([4, 2]))
    network.reserve(1, np.array([2, 2]))
    rows, columns, still = adapted(network, 1, np.array([[3, 1], [0, 0]]))
    assert rows[0, :, 0].nonzero()[:, 0].tolist() == [0, 8, 9, 10], "the constant unit and three others"
    assert columns[0, 0].tolist() == [1.0] + [0.0] * 7
    assert still[0].sum() == 4
    assert not rows[1].any() and not columns[1].any() and not still[1].any(), "a first task has no adapters"


def test_weights_of_units_that_grow_later_train_in_full_and_belong_to_the_next_tasks() -> None:
    ours = started(LowRankAdapters(rank=1), minibatches=10)
    ours.train()
    ours.next_task(EVERYONE)
    ours.grow(np.zeros(ROWS, dtype=np.int64), np.full(ROWS, 3))
    before = ours.network.weights[0].clone()
    ours.train()
    change = (ours.network.weights[0] - before)[:, :, 5:8]
    for row in range(ROWS):
        assert torch.linalg.matrix_rank(change[row].double(), rtol=1e-4) > 1
    trained = ours.network.weights[0].clone()
    ours.finish_task(EVERYONE)
    base = ours.network.layout.blocks(ours.network.buffers[BASE])[0]
    assert torch.equal(base[:, :, 5:8], trained[:, :, 5:8])
    assert not torch.equal(base[:, :, :5], trained[:, :, :5])
    first = ours.network.layout.blocks(ours.network.buffers[merged(0)])
    assert not first[0][:, :, 5:].any()
    assert not first[1][:, ours.network.layout.frozen[0] + 5 :].any()


def test_a_row_is_the_same_beside_one_that_grows() -> None:
    ours, other = started("lora"), started("lora")
    for each, amounts in ((ours, [0, 3, 0]), (other, [20, 3, 0])):
        train_task(each, 0, [0, 0, 0])
        each.next_task(EVERYONE)
        train_task(each, 0, amounts)
    for number in range(2):
        torch.testing.assert_close(logits(ours, number)[1:], logits(other, number)[1:], atol=1e-5, rtol=1e-5)


def test_a_snapshot_brings_adapters_back() -> None:
    ours = started("lora")
    train_task(ours, 0, [1, 2, 3])
    ours.next_task(np.array([True, True, False]))
    ours.train()
    kept = ours.snapshot()
    first = vars(ours.train())
    ours.grow(np.zeros(ROWS, dtype=np.int64), np.full(ROWS, 9))
    ours.next_task(EVERYONE)
    ours.train()
    ours.restore(kept)
    assert_same(vars(ours.train()), first)


def test_memory_is_that_of_the_adapters_of_later_tasks() -> None:
    units = np.array([[[10, 5], [2, 0], [0, 4]], [[1, 1], [0, 0], [0, 0]]])
    shape = Architecture(4, units, np.array([[2, 2, 2], [2, 0, 0]]), directed=False)
    second = (5 + 10) + (11 + 5)  # both sides of both layers
    third = (5 + 12) + (13 + 5)
    assert LowRankAdapters(rank=2).memory(shape).tolist() == [4 * 2 * (second + third), 0]
    wired = Architecture(4, units, np.array([[2, 2, 2], [2, 0, 0]]), directed=False, bypassed=(1,))
    assert LowRankAdapters(rank=2).memory(wired).tolist() == [4 * 2 * (second + third), 0], "nothing reads layer 1"


def test_flags_options_and_scenarios_without_boundaries() -> None:
    part = PROTECTIONS.make("lora")
    assert (part.name, part.directed, part.invariant, part.frees) == ("lora", False, True, False)
    for rank in (0, 1.5):
        with pytest.raises(ValueError, match=f"rank of at least 1, got {rank}"):
            LowRankAdapters(rank=rank)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="above 0, got -1.0 and"):
        LowRankAdapters(alpha=-1.0)
    with pytest.raises(NotVisibleError, match="task-free"):
        started("lora", scenario="task-free")
