"""Compacting, picking and growing: owners, masks, pruning."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.hardware import Architecture
from growenv.learner import Learner
from growenv.networks import StackedMLP
from growenv.networks.live import live_weights
from growenv.protection import PROTECTIONS
from growenv.protection.cpg import (
    KEPT,
    OWNER,
    PICK,
    PICKED,
    THRESHOLD,
    CompactPickGrow,
    fresh_weights,
    hidden_weights,
    largest,
    pruned_share,
    used,
)
from growenv.pruning import prune
from growenv.streams.scenarios import NotVisibleError
from growenv.testing import check_protection
from tests.protection.unforgetting import EVERYONE, ROWS, assert_unforgetting, logits, started, train_task
from tests.rollouts import assert_same


def blocks(ours: Learner, name: str) -> list[Tensor]:
    return ours.network.layout.blocks(ours.network.buffers[name])


@pytest.mark.parametrize("name", ["cpg", "cpg-growing"])
def test_the_contract_of_protections_holds(name: str) -> None:
    check_protection(name)


@pytest.mark.parametrize("operator", ["random", "net2wider"])
def test_finished_tasks_answer_the_same_to_the_last_bit(operator: str) -> None:
    assert_unforgetting(started("cpg", growth=operator, minibatches=12))


def test_finished_tasks_answer_the_same_with_a_layer_around_which_wires_lead() -> None:
    assert_unforgetting(started("cpg", hidden=(5, 0)))


def test_finished_tasks_answer_the_same_where_networks_grow_by_themselves() -> None:
    ours = started(CompactPickGrow(goal=1.0), minibatches=12, max_hidden=(60, 60))
    assert_unforgetting(ours)
    assert ours.units[1, 0].tolist() == [5 + 2 * 3, 4 + 2 * 2], "half of the first ones, rounded up, asked for twice"
    assert (ours.units[1, :, 0] > 0).all(), "this row grew in every task, and nobody else let it"


def test_tasks_share_weights_equally_and_sparsity_rises_fast_at_first() -> None:
    ahead, progress = np.array([0, 1, 3, 3, 3]), np.array([1.0, 1.0, 1.0, 0.0, 0.5])
    np.testing.assert_allclose(pruned_share(ahead, progress), [0.0, 0.5, 0.75, 0.0, 0.75 * 0.875])


def test_the_largest_entries_by_hand() -> None:
    magnitude = torch.tensor([[[3.0, 1.0], [2.0, 9.0]], [[1.0, 1.0], [1.0, 1.0]]])
    among = torch.tensor([[[True, True], [True, False]], [[True, True], [True, True]]])
    found = largest(magnitude, among, np.array([0.6, 0.5]))
    assert found.tolist() == [[[True, False], [True, False]], [[True, True], [False, False]]]
    assert not largest(magnitude, torch.zeros_like(among), np.array([0.6, 0.5])).any()


def tiny_stage() -> Any:
    """One unit that reads two inputs and a bias; the first weight belongs to a finished task."""
    network = StackedMLP(1, 2, 1, 2, dtype=torch.float64)
    network.reserve(0, np.array([1]))
    network.weights[0][0, :, 0] = torch.tensor([2.0, 0.5, 0.1], dtype=torch.float64)
    return SimpleNamespace(network=network, rows=1, tasks=3, task_length=100, task_steps=np.array([0]))


def test_masks_learn_from_the_straight_through_gradient_and_owned_weights_from_none() -> None:
    """dL/dm = dL/dw * w = 3 * 2, so the first step of Adam takes the mask down by its rate."""
    stage, part = tiny_stage(), CompactPickGrow(mask_rate=4e-3)
    network = stage.network
    part.prepare(stage)
    part.number[:] = 1
    owner, pick, kept = (network.layout.blocks(network.buffers[name])[0] for name in (OWNER, PICK, KEPT))
    owner[0, 0, 0], pick[0, 0, 0], kept[0, 0, 0] = 1.0, PICKED, 2.0
    for expected in (PICKED - 4e-3, PICKED - 8e-3):
        network.gradients[0][0, :, 0] = torch.tensor([3.0, 5.0, 7.0], dtype=torch.float64)
        part.after_backward(stage)
        assert network.gradients[0][0, :, 0].tolist() == [0.0, 5.0, 7.0]
        assert float(pick[0, 0, 0]) == pytest.approx(expected, abs=1e-9)
        network.weights[0][0, 0, 0] = 9.0  # whatever an optimiser did
        part.after_step(stage)
        assert float(network.weights[0][0, 0, 0]) == (2.0 if expected > THRESHOLD else 0.0)
    assert pick[0, 1:].sum() == 0


def test_pruning_releases_the_smallest_weights_and_what_is_released_stays_so() -> None:
    stage, part = tiny_stage(), CompactPickGrow()
    network = stage.network
    part.prepare(stage)
    part.number[:] = 0
    for name in ("adam_first", "adam_second"):
        network.add_buffer(name)
        network.layout.blocks(network.buffers[name])[0][0, :, 0] = 1.0
    part.prune(network, np.array([True]), np.array([1 / 3]))
    assert network.weights[0][0, :, 0].tolist() == [2.0, 0.5, 0.0]
    owner = network.layout.blocks(network.buffers[OWNER])[0]
    assert owner[0, :, 0].tolist() == [0.0, 0.0, -1.0]
    assert owner[0, :, 1:].sum() == 0, "there are no units to prune there"
    assert network.layout.blocks(network.buffers["adam_second"])[0][0, :, 0].tolist() == [1.0, 1.0, 0.0]
    network.weights[0][0, 2, 0] = 5.0
    part.after_step(stage)
    assert network.weights[0][0, 2, 0] == 0.0
    part.prune(network, np.array([True]), np.array([2 / 3]))
    assert network.weights[0][0, :, 0].tolist() == [2.0, 0.0, 0.0]
    part.prune(network, np.array([False]), np.array([1.0]))
    assert network.weights[0][0, 0, 0] == 2.0


def test_every_weight_ends_with_one_owner_and_shares_are_equal() -> None:
    ours = started("cpg", minibatches=12)
    total = live_weights(ours.network, 0).sum(dim=(1, 2))
    for number in range(3):
        for _ in range(3):
            ours.train()
        ours.next_task(EVERYONE)
        count = (blocks(ours, OWNER)[0] == number + 1).sum(dim=(1, 2))
        assert (count - total / 4.0).abs().max() <= 2.0, "four tasks, a quarter each"
    for _ in range(3):
        ours.train()
    ours.finish_task(EVERYONE)
    for layer in range(2):
        owner, live = blocks(ours, OWNER)[layer], live_weights(ours.network, layer)
        assert (owner[live] > 0).all()
        assert (owner[~live] == 0).all()
        for number in range(4):
            uses = blocks(ours, used(number))[layer]
            assert (uses[owner == number + 1] == 1).all()
            assert (uses[owner > number + 1] == 0).all(), "nobody uses what later tasks own"


def test_later_tasks_pick_some_of_the_older_weights_and_not_others() -> None:
    ours = started("cpg", minibatches=25)
    for _ in range(3):
        ours.train()
    ours.next_task(EVERYONE)
    for _ in range(3):
        ours.train()
    owned = blocks(ours, OWNER)[0] == 1
    picked = blocks(ours, PICK)[0] > THRESHOLD
    for row in range(ROWS):
        share = float((picked & owned)[row].sum() / owned[row].sum())
        assert 0.2 < share < 1.0


def test_owned_weights_keep_their_values_whatever_trains_later() -> None:
    ours = started("cpg")
    train_task(ours, 0, [0, 0, 0])
    ours.next_task(EVERYONE)
    owned, values = blocks(ours, OWNER)[0] == 1, blocks(ours, KEPT)[0].clone()
    for _ in range(2):
        train_task(ours, 0, [0, 0, 0])
        ours.next_task(EVERYONE)
    order = [torch.sort(values[row][owned[row]]).values for row in range(ROWS)]
    for row in range(ROWS):
        now = blocks(ours, KEPT)[0][row][blocks(ours, OWNER)[0][row] == 1]
        assert torch.equal(torch.sort(now).values, order[row]), "inputs may come in another order, values stay"


def test_free_weights_start_a_task_at_random_and_the_same_in_any_layout() -> None:
    seeds, task, rows = np.array([5, 6], dtype=np.uint64), np.array([1, 1]), np.array([True, False])
    small, wide = StackedMLP(2, 30, 2, 3), StackedMLP(2, 30, 2, 3)
    for network, other in ((small, 4), (wide, 40)):
        network.reserve(0, np.array([4, other]))
        network.reserve(1, np.array([3, other]))
    one, two = (fresh_weights(network, 0, seeds, task, rows) for network in (small, wide))
    assert torch.equal(one[0, :, :4], two[0, :, :4])
    assert float(one[0, :-1, :4].square().mean()) == pytest.approx(2.0 / 30.0, rel=0.3)
    assert not one[0, -1].any() and not one[0, :, 4:].any() and not one[1].any()
    upper = fresh_weights(wide, 1, seeds, task, rows)[0]
    start = wide.layout.frozen[0]
    assert sorted(set(upper[:, :3].nonzero()[:, 0].tolist())) == list(range(start, start + 4))


def test_growth_is_asked_for_only_below_the_goal() -> None:
    hard, easy = started(CompactPickGrow(goal=1.0)), started(CompactPickGrow(goal=1e-9))
    for ours in (hard, easy):
        for _ in range(3):
            ours.train()
    assert hard.units[:, 0].tolist() == [[5 + 2 * 3, 4 + 2 * 2]] * ROWS
    assert easy.units[:, 0].tolist() == [[5, 4]] * ROWS


def test_units_with_owned_weights_must_stay_and_others_may_go() -> None:
    ours = started("cpg")
    ours.train()
    first = ours.protection.importance(ours.stage, 0)
    assert np.isfinite(first).sum(axis=1).tolist() == [5] * ROWS, "nothing is owned in the first task"
    row, weights = 0, ours.network.weights
    start = ours.network.layout.frozen[0]
    by_hand = weights[0][row, :, 2].abs().sum() + weights[1][row, start + 2].abs().sum()
    assert first[row, 2] == pytest.approx(float(by_hand), rel=1e-6)
    ours.train()
    ours.train()
    ours.next_task(EVERYONE)
    ours.grow(np.zeros(ROWS, dtype=np.int64), np.full(ROWS, 2))
    finite = np.isfinite(ours.protection.importance(ours.stage, 0))
    assert finite[:, 5:7].all()
    assert not finite[:, :5].any()
    assert not finite[:, 7:].any(), "there are no more units"


def test_units_that_nobody_owns_can_go_and_nothing_is_forgotten() -> None:
    ours = started("cpg")
    train_task(ours, 0, [0, 0, 0])
    ours.next_task(EVERYONE)
    before = logits(ours, 0)
    ours.grow(np.zeros(ROWS, dtype=np.int64), np.full(ROWS, 2))
    ours.train()
    prune(ours, np.zeros(ROWS, dtype=np.int64), np.full(ROWS, 2))
    assert ours.network.widths[:, 0].tolist() == [5] * ROWS
    ours.train()
    torch.testing.assert_close(logits(ours, 0), before, atol=1e-6, rtol=0)


def test_a_snapshot_brings_masks_and_owners_back() -> None:
    ours = started("cpg")
    train_task(ours, 0, [1, 2, 3])
    ours.next_task(np.array([True, True, False]))
    ours.train()
    kept = ours.snapshot()
    first = vars(ours.train())
    ours.next_task(EVERYONE)
    ours.train()
    ours.restore(kept)
    assert_same(vars(ours.train()), first)


def test_hidden_weights_count_biases_and_what_is_there_at_the_end_of_a_task() -> None:
    units = np.array([[[3, 2], [1, 0], [0, 2]]])
    shape = Architecture(4, units, np.array([[2, 2, 2]]), directed=False)
    counts = [hidden_weights(shape, task).tolist() for task in range(3)]
    assert counts == [[5 * 3 + 4 * 2], [5 * 4 + 5 * 2], [5 * 4 + 20]]


def test_memory_is_a_bit_for_every_weight_and_task_and_the_masks_of_the_current_one() -> None:
    units = np.array([[[3, 2], [1, 0], [0, 2]], [[3, 2], [0, 0], [0, 0]]])
    shape = Architecture(4, units, np.array([[2, 2, 2], [2, 0, 0]]), directed=False)
    # 5 * 3 + 4 * 2 = 23, then 5 * 4 + 5 * 2 = 30, then 5 * 4 + 5 * 4 = 40 weights and biases
    assert CompactPickGrow().memory(shape).tolist() == [3 + 4 + 5 + 4 * 30, 3]


def test_flags_options_and_scenarios_without_boundaries() -> None:
    for name in ("cpg", "cpg-growing"):
        part = PROTECTIONS.make(name)
        assert (part.name, part.directed, part.invariant, part.frees) == (name, False, True, True)
    for option, value in (("goal", 1.5), ("mask_rate", 0.0), ("share", 1.2), ("growth", -1.0)):
        with pytest.raises(ValueError, match=f"{option} above 0 .* got {value}"):
            CompactPickGrow(**{option: value})
    with pytest.raises(NotVisibleError, match="task-free"):
        started("cpg", scenario="task-free")
