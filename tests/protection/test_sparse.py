"""Sparse connections: how many there are, who owns them, and that nothing else ever moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from growenv.hardware import Architecture
from growenv.learner import Learner
from growenv.networks import StackedMLP
from growenv.protection import PROTECTIONS
from growenv.protection.connections import (
    CANDIDATE,
    HISTORY,
    IMPORTANCE,
    OWNED,
    RESERVED,
    TRAINED,
    RowConnections,
    bias,
    blocks,
)
from growenv.protection.sparse import StaticSparse
from growenv.testing.learning import check_protection
from tests.rollouts import TASKS, assert_same, context, learner, task

ROWS = 2
EVERYONE = np.ones(ROWS, dtype=bool)
SPLIT = [task(2 * number, 2 * number + 1) for number in range(5)]
NAMES = ("static-sparse", "static-sparse-unreserved")


def started(protection: Any = "static-sparse", rows: int = ROWS, seed: int = 0, **options: Any) -> Learner:
    """Rows at the begin of five tasks of two classes each; their seeds count from `seed`."""
    chosen = {"hidden": (20, 20), "max_hidden": (60, 60), "optimizer": "sgd", "learning_rate": 0.05, **options}
    ours = learner(rows, tasks=5, protection=protection, **chosen)
    ours.begin(np.ones(rows, dtype=bool), [context(SPLIT, inner_seed=seed + row) for row in range(rows)])
    return ours


def connections(ours: Learner, row: int = 0, number: int = 0) -> RowConnections:
    return RowConnections(ours.network, row, row, number)


def counts(ours: Learner, row: int = 0) -> list[int]:
    """Connections of the current task into every layer and into the head."""
    return [int(connections(ours, row).connected(block).sum()) for block in range(ours.network.depth + 1)]


def owned(ours: Learner) -> list[torch.Tensor]:
    """Where finished tasks own weights, biases of reserved units included."""
    return [block == RESERVED for block in blocks(ours.network, OWNED)[: ours.network.depth]]


def toy() -> RowConnections:
    """Three inputs, two hidden layers of three units, two outputs, no connections."""
    network = StackedMLP(1, 3, 2, 2, dtype=torch.float64)
    for name in (OWNED, TRAINED, IMPORTANCE, HISTORY):
        network.add_buffer(name)
    network.active_units[:] = 3
    network.fit()
    return RowConnections(network, 0, seed=0, task=0)


def test_connections_are_open_between_candidates_where_no_task_owns_one() -> None:
    ours = toy()
    ours.states(0)[:] = torch.tensor([CANDIDATE, RESERVED, CANDIDATE], dtype=torch.float64)
    ours.states(1)[:] = torch.tensor([0.0, CANDIDATE, RESERVED], dtype=torch.float64)
    first = ours.network.layout.frozen[0]
    ours.part(OWNED, 1)[first + 2, 1] = 1.0
    assert ours.free(0).tolist() == [0, 2]
    assert ours.free(1).tolist() == [0, 1]
    assert [tuple(pair) for pair in ours.open(0).nonzero().tolist()] == [(i, j) for i in range(3) for j in (0, 2)]
    assert ours.open(1).nonzero().tolist() == [[first, 1]]
    ours.train_biases(2, np.array([1]))
    assert ours.open(2).nonzero().tolist() == [[first + 1, 1]]


def test_all_open_places_are_drawn_if_there_are_fewer_than_asked() -> None:
    ours = toy()
    ours.choose(0, 7)
    assert ours.candidates(0).tolist() == [0, 1, 2]
    source, column = ours.draw(0, ours.open(0), 100)
    assert sorted(zip(source.tolist(), column.tolist(), strict=True)) == [(i, j) for i in range(3) for j in range(3)]


def test_the_most_important_candidates_are_reserved() -> None:
    ours = toy()
    ours.states(0)[:] = torch.tensor([CANDIDATE, CANDIDATE, 0.0], dtype=torch.float64)
    # Biases do not count (9), and unit 2 is no candidate (5).
    ours.part(HISTORY, 0)[:, :3] = torch.tensor([[1.0, 2, 5], [1, 1, 5], [0, 0, 5], [9, 0, 5]], dtype=torch.float64)
    ours.reserve(0, 1)
    assert ours.states(0).tolist() == [CANDIDATE, RESERVED, 0.0]


def test_initial_weights_stay_within_xaviers_bound_and_fill_it() -> None:
    ours = toy()
    ours.choose(0, 3)
    weights = ours.initial(0, ours.draw(0, ours.open(0), 9))
    assert float(weights.abs().max()) <= 1.0, "sqrt(6 / (3 inputs + 3 units)) = 1"
    assert float(weights.abs().max()) > 0.5
    assert len(set(weights.tolist())) == 9


def test_a_task_of_the_published_network_has_the_published_number_of_connections() -> None:
    protection = StaticSparse()
    network = StackedMLP(1, 784, 2, 10)
    for name in (OWNED, TRAINED, IMPORTANCE, HISTORY):
        network.add_buffer(name)
    network.active_units[:] = 400
    network.fit()
    ours = RowConnections(network, 0, seed=3, task=0)
    for layer in range(2):
        ours.choose(layer, protection._candidates(400))
        assert len(ours.candidates(layer)) == 80
        assert protection._reserve(80) == 40
    ours.train_biases(2, np.array([4, 5]))
    for block, expected in enumerate((10_000, 1_640, 80)):
        protection._allocate(ours, block)
        assert int(ours.connected(block).sum()) == expected
        assert int((ours.part("weights", block) != 0).sum()) == expected


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_the_promises_of_protections(name: str) -> None:
    check_protection(name)


def test_numbers_of_connections_and_candidates_are_met_exactly() -> None:
    ours = started(StaticSparse(candidates=6, connections=(50, 11, 7), reserve=2))
    for _ in range(3):
        for row in range(ROWS):
            assert counts(ours, row) == [50, 11, 7]
            assert [len(connections(ours, row).candidates(layer)) for layer in range(2)] == [6, 6]
        ours.train()
        ours.next_task(EVERYONE)
    assert all((owned(ours)[layer][:, bias(layer)].sum(dim=1) == 6).all() for layer in range(2))


def test_shares_of_narrow_layers_are_at_least_eight_units() -> None:
    ours = started()
    assert [len(connections(ours).candidates(layer)) for layer in range(2)] == [8, 8]
    assert counts(ours) == [round(64 * 8 * 10_000 / 62_720), round(64 * 1_640 / 6_400), 8]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", ["static-sparse", "spacenet"])
def test_what_finished_tasks_own_never_changes_to_the_last_bit(name: str, optimizer: str) -> None:
    ours = started(name, optimizer=optimizer, minibatches=4, decisions=1)
    held: list[tuple[torch.Tensor, torch.Tensor]] = []
    for number in range(5):
        ours.train()
        for layer, (where, values) in enumerate(held):
            assert torch.equal(ours.network.weights[layer][where], values), f"layer {layer} in task {number}"
        if number < 4:
            ours.next_task(EVERYONE)
            now = owned(ours)
            for layer, (where, _) in enumerate(held):
                assert (now[layer] | ~where).all(), "what is owned stays owned"
                assert int(now[layer].sum()) > int(where.sum()), "and more is owned with every task"
            held = [(where, block[where].clone()) for where, block in zip(now, ours.network.weights, strict=False)]
    assert all(values.any() for _, values in held)


def test_only_connections_and_biases_of_free_units_train() -> None:
    ours = started()
    ours.train()
    ours.next_task(EVERYONE)
    before = [block.clone() for block in ours.network.weights]
    ours.train()
    for block, (old, new) in enumerate(zip(before, ours.network.weights, strict=True)):
        trained = blocks(ours.network, TRAINED)[block] > 0
        assert torch.equal(new[~trained], old[~trained])
        assert not torch.equal(new[trained], old[trained])
        own = blocks(ours.network, OWNED)[block] == RESERVED
        assert not (trained & own).any()
        assert not new[~trained & ~own & ~_biases(new, block)].any(), "everything else is zero"


def _biases(like: torch.Tensor, block: int) -> torch.Tensor:
    where = torch.zeros_like(like, dtype=torch.bool)
    where[:, bias(block)] = True
    return where


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_importance_is_the_sum_of_moves_times_gradients_and_history_the_sum_of_importances(optimizer: str) -> None:
    ours = started(optimizer=optimizer, minibatches=1)
    importance = history = torch.zeros_like(ours.network.buffers["weights"])
    for _ in range(3):
        before = ours.network.buffers["weights"].clone()
        ours.train()
        moved = ours.network.buffers["weights"] - before
        importance = importance + (moved * ours.network.gradient).abs()
        history = history + importance
    assert importance.any()
    torch.testing.assert_close(ours.network.buffers[IMPORTANCE], importance, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(ours.network.buffers[HISTORY], history, atol=1e-12, rtol=1e-9)


def test_without_reservation_all_units_stay_free() -> None:
    ours = started("static-sparse-unreserved")
    for _ in range(4):
        ours.train()
        ours.next_task(EVERYONE)
    assert [len(connections(ours).free(layer)) for layer in range(2)] == [20, 20]
    assert np.isfinite(ours.protection.importance(ours.stage, 0)[:, :20]).all()


def test_free_units_run_out_one_task_after_the_other_until_heads_read_reserved_units() -> None:
    ours = started(StaticSparse(candidates=8, reserve=6))
    free = []
    for _ in range(4):
        free.append(len(connections(ours).candidates(1)))
        ours.train()
        ours.next_task(EVERYONE)
    assert free == [8, 8, 8, 2], "20 units, of which every task reserves 6, and the last one all that are left"
    assert len(connections(ours).free(0)) == len(connections(ours).free(1)) == 0
    assert np.isinf(ours.protection.importance(ours.stage, 1)[:, :20]).all()
    assert counts(ours)[:2] == [0, 0]
    assert counts(ours)[2] == 20, "half of the pairs of 20 units and 2 outputs"
    before = ours.network.weights[-1].clone()
    ours.train()
    assert not torch.equal(ours.network.weights[-1], before)


def test_grown_units_are_candidates_of_the_current_task_as_densely_connected_as_the_others() -> None:
    ours = started(StaticSparse(candidates=10, connections=(0.25, 0.5, 0.5)))
    assert counts(ours) == [160, 50, 10]
    kept = [block.clone() for block in ours.network.weights]
    ours.grow(np.array([0, 1]), np.array([4, 6]))
    first, second = connections(ours, 0), connections(ours, 1)
    assert first.candidates(0).tolist()[-4:] == [20, 21, 22, 23]
    assert second.candidates(1).tolist()[-6:] == [20, 21, 22, 23, 24, 25]
    assert counts(ours, 0) == [160 + 64, 50 + 20, 10], "a quarter of 64 inputs, half of 10 readers, for 4 units"
    assert counts(ours, 1) == [160, 50 + 30, 10 + 6]
    new = ours.network.weights[0][0, :-1, 20:24]
    assert int((new != 0).sum()) == 64
    assert torch.equal(new != 0, first.connected(0)[:-1, 20:24])
    assert torch.equal(ours.network.weights[0][:, :, :20], kept[0][:, :, :20])
    ours.train()
    assert first.part("weights", 0)[-1, 20:24].any(), "their biases train"
    assert ours.protection.importance(ours.stage, 0)[0, 20:24].any()


def test_units_that_grow_when_all_are_reserved_are_the_next_ones_to_be_used() -> None:
    ours = started(StaticSparse(candidates=20, reserve=20))
    ours.train()
    ours.next_task(EVERYONE)
    assert counts(ours)[:2] == [0, 0]
    ours.grow(np.array([0, 0]), np.array([3, 0]))
    assert counts(ours, 0)[0] == round(64 * 3 * 10_000 / 62_720)
    assert counts(ours, 1)[0] == 0
    ours.grow(np.array([1, 0]), np.array([3, 0]))
    assert counts(ours, 0)[1] == round(9 * 1_640 / 6_400), "the new units of both layers"


def test_a_row_is_the_same_alone_and_among_others() -> None:
    together, alone = started("spacenet", rows=3), started("spacenet", rows=1, seed=1)
    together.grow(np.zeros(3, dtype=np.int64), np.array([30, 0, 2]))
    for ours in (together, alone):
        for _ in range(3):
            ours.train()
            ours.train()
            ours.next_task(np.ones(ours.rows, dtype=bool))
    columns = slice(0, 20)
    for name in (OWNED, TRAINED, HISTORY, "weights"):
        given, expected = (
            blocks(together.network, name)[0][1, :, columns],
            blocks(alone.network, name)[0][0, :, columns],
        )
        torch.testing.assert_close(given, expected, atol=1e-10, rtol=1e-8)


def test_begin_and_next_task_touch_their_own_rows_only() -> None:
    ours = started()
    ours.train()
    before = {name: [block[1].clone() for block in blocks(ours.network, name)] for name in (OWNED, TRAINED, "weights")}
    ours.next_task(np.array([True, False]))
    ours.begin(np.array([True, False]), [context(SPLIT, inner_seed=9), context(SPLIT, inner_seed=1)])
    assert not owned(ours)[0][0].any(), "row 0 has forgotten its finished task"
    for name, kept in before.items():
        assert all(torch.equal(block[1], old) for block, old in zip(blocks(ours.network, name), kept, strict=True))


@pytest.mark.parametrize("name", ["static-sparse", "spacenet"])
def test_a_restored_snapshot_goes_on_as_before(name: str) -> None:
    ours = started(name, optimizer="adam")
    ours.train()
    snapshot = ours.snapshot()
    futures = []
    for _ in range(2):
        ours.restore(snapshot)
        ours.train()
        ours.grow(np.array([0, 1]), np.array([3, 3]))
        ours.next_task(EVERYONE)
        ours.train()
        futures.append({key: flat.clone() for key, flat in ours.network.buffers.items()})
    assert_same(futures[0], futures[1])


def test_owners_follow_the_inputs_into_another_order() -> None:
    ours = learner(1, tasks=3, protection="static-sparse", hidden=(20, 20))
    ours.begin(np.ones(1, dtype=bool), [context(TASKS[:3])])
    ours.train()
    finished = ours.network.weights[0][0].clone() * connections(ours).connected(0)
    order = ours.data.order(np.array([0]), np.array([1]))[0]
    ours.next_task(np.ones(1, dtype=bool))
    moved = ours.network.weights[0][0] * (owned(ours)[0][0] & ~_biases(ours.network.weights[0], 0)[0])
    assert torch.equal(moved, finished[order])
    assert moved.any()


@pytest.mark.parametrize(
    "scenario",
    ["domain-incremental", "class-incremental", "class-incremental-restore", "class-incremental-max", "multitask"],
)
@pytest.mark.parametrize("name", ["static-sparse", "spacenet"])
def test_every_scenario_trains(name: str, scenario: str) -> None:
    ours = started(name, scenario=scenario, minibatches=30, decisions=1)
    for number in range(2):
        before = ours.network.weights[-1].clone()
        report = ours.train()
        assert (report.late_loss < report.early_loss).all()
        assert not torch.equal(ours.network.weights[-1], before)
        if number == 0:
            ours.next_task(EVERYONE)


@pytest.mark.parametrize("name", ["static-sparse", "spacenet", "static-sparse-rehearsal", "spacenet-rehearsal"])
def test_without_boundaries_every_period_is_a_task(name: str) -> None:
    ours = started(name, scenario="task-free", minibatches=99, decisions=1, batch_size=4)
    ours.train()
    assert not owned(ours)[0].any()
    mine = connections(ours).connected(0)
    ours.next_task(EVERYONE)
    assert torch.equal(connections(ours).connected(0), mine), "nobody tells that the task has ended"
    ours.train()
    held = connections(ours).part(OWNED, 0) == RESERVED
    assert (held | ~mine).all(), "the first period has ended after 100 minibatches"
    assert not (held & connections(ours).connected(0)).any()
    assert counts(ours)[0] == counts(ours, 1)[0] == round(64 * 8 * 10_000 / 62_720)


def test_in_a_shared_head_only_the_tasks_classes_train() -> None:
    ours = started(scenario="class-incremental-all")
    ours.train()
    ours.next_task(EVERYONE)
    before = ours.network.weights[-1].clone()
    ours.train()
    changed = (ours.network.weights[-1] != before).any(dim=1)
    assert changed.tolist() == [[output in (2, 3) for output in range(10)]] * ROWS


def test_its_memory_is_two_bits_a_weight_and_four_bytes_while_training() -> None:
    units = np.array([[[3, 2], [0, 0]]], dtype=np.int64)
    architecture = Architecture(4, units, np.array([[2, 0]], dtype=np.int64), directed=False)
    weights = 4 * 3 + 3 * 2 + 2 * 2
    packed = 6 + 2  # 2 * 22 bits, 2 * 5 bits
    assert StaticSparse().memory(architecture).tolist() == [packed + 4 * (weights + 5 + 4)]


@pytest.mark.parametrize("value", [0, -1, 0.0, 1.5, True, "many", None])
def test_amounts_are_shares_or_numbers(value: Any) -> None:
    with pytest.raises(ValueError, match="candidates of 'static-sparse' is .*expected a share above 0"):
        StaticSparse(candidates=value)
    with pytest.raises(ValueError, match="connections of 'static-sparse' is"):
        StaticSparse(connections=(0.5, value, 0.5))
    if value is not None:
        with pytest.raises(ValueError, match="reserve of 'static-sparse' is"):
            StaticSparse(reserve=value)


@pytest.mark.parametrize("value", [0.5, (0.5, 0.5), None])
def test_connections_are_given_for_first_middle_and_last_layer(value: Any) -> None:
    with pytest.raises(ValueError, match="expected three shares or numbers"):
        StaticSparse(connections=value)


def test_registered_names_are_those_of_results() -> None:
    for name in NAMES:
        assert PROTECTIONS.make(name).name == name
