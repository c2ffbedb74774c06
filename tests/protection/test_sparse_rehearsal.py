"""With rehearsal, the connections of a task lead to the outputs of stored samples as well."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from growenv.hardware import Architecture
from growenv.protection import PROTECTIONS, Replay
from growenv.protection.connections import OWNED, RESERVED, TRAINED, bias, blocks
from growenv.protection.sparse import StaticSparse
from growenv.protection.sparse_rehearsal import SpaceNetRehearsal, StaticSparseRehearsal
from growenv.testing.learning import check_protection
from tests.protection.test_sparse import EVERYONE, ROWS, started
from tests.rollouts import assert_same

NAMES = ("spacenet-rehearsal", "static-sparse-rehearsal")


def trained_outputs(ours: Any) -> list[list[int]]:
    """Outputs whose biases train, of each row."""
    return [np.flatnonzero(row[0]).tolist() for row in blocks(ours.network, TRAINED)[-1].numpy()]


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_the_promises_of_protections(name: str) -> None:
    check_protection(name)
    assert PROTECTIONS.make(name).name == name


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("fixed", [False, True])
def test_what_finished_tasks_own_trains_on_unless_it_is_fixed(fixed: bool, optimizer: str) -> None:
    protection = SpaceNetRehearsal(fixed=fixed)
    ours = started(protection, scenario="class-incremental", minibatches=10, decisions=1, optimizer=optimizer)
    assert trained_outputs(ours) == [[0, 1]] * ROWS
    ours.train()
    ours.next_task(EVERYONE)
    assert trained_outputs(ours) == [[0, 1, 2, 3]] * ROWS
    own = [block == RESERVED for block in blocks(ours.network, OWNED)]
    before = [block.clone() for block in ours.network.weights]
    ours.train()
    for block, (where, old, new) in enumerate(zip(own, before, ours.network.weights, strict=True)):
        assert where.any()
        assert torch.equal(new[where], old[where]) == fixed
        neither = ~where & (blocks(ours.network, TRAINED)[block] == 0)
        neither[:, bias(block)] = False
        assert not new[neither].any(), "there are no other connections"
    assert (ours.network.weights[-1] != before[-1]).any(dim=1).tolist() == [[k < 4 for k in range(10)]] * ROWS


def test_in_task_incremental_streams_heads_of_stored_samples_train_on() -> None:
    ours = started("static-sparse-rehearsal")
    ours.train()
    ours.next_task(EVERYONE)
    assert trained_outputs(ours) == [[0, 1, 10, 11]] * ROWS, "the heads are outputs of one matrix"


def test_rehearsal_forgets_less() -> None:
    last = []
    options: dict[str, Any] = {"minibatches": 60, "hidden": (40, 40), "optimizer": "adam", "learning_rate": 0.01}
    for protection in (StaticSparse(candidates=16), StaticSparseRehearsal(capacity=100, candidates=16)):
        ours = started(protection, scenario="class-incremental", **options)
        for _ in range(2):
            ours.train()
            ours.next_task(EVERYONE)
        ours.train()
        last.append(ours.accuracy("test", np.zeros(ROWS, dtype=np.int64)))
    assert (last[1] > last[0] + 0.2).all(), last


def test_a_restored_snapshot_goes_on_as_before() -> None:
    ours = started("spacenet-rehearsal", optimizer="adam")
    ours.train()
    ours.next_task(EVERYONE)
    snapshot = ours.snapshot()
    futures = []
    for _ in range(2):
        ours.restore(snapshot)
        ours.train()
        ours.next_task(EVERYONE)
        ours.train()
        futures.append({key: flat.clone() for key, flat in ours.network.buffers.items()})
    assert_same(futures[0], futures[1])


def test_a_new_stream_forgets_what_was_stored() -> None:
    ours = started("spacenet-rehearsal")
    ours.train()
    ours.next_task(EVERYONE)
    first: Any = ours.protection
    assert (first.replay.exemplars.counts > 0).all()
    first.begin(ours.stage, np.array([True, False]))
    assert (first.replay.exemplars.counts > 0).tolist() == [False, True]


def test_its_memory_is_that_of_masks_and_of_samples() -> None:
    units = np.array([[[3, 2]]], dtype=np.int64)
    architecture = Architecture(4, units, np.array([[2]], dtype=np.int64), directed=False)
    given = SpaceNetRehearsal(capacity=7).memory(architecture)
    assert (given == StaticSparse().memory(architecture) + Replay(7).memory(architecture)).all()


def test_options_of_all_parts_are_passed_on() -> None:
    made = SpaceNetRehearsal(capacity=7, filling="balanced", weights="1/t", replaced=0.3, candidates=5, reserve=None)
    assert (made.replay.capacity, made.replay.filling, made.replay.weights) == (7, "balanced", "1/t")
    assert (made.replaced, made.candidates, made.reserved) == (0.3, 5, None)
    with pytest.raises(ValueError, match="capacity must be"):
        StaticSparseRehearsal(capacity=0)
    with pytest.raises(ValueError, match="candidates of 'spacenet-rehearsal'"):
        SpaceNetRehearsal(candidates=0)
