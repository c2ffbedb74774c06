"""SpaceNet moves the least important connections between the most important units, and keeps their number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from growenv.networks import StackedMLP
from growenv.protection import PROTECTIONS
from growenv.protection.connections import BUFFERS, CANDIDATE, HISTORY, IMPORTANCE, OWNED, TRAINED, RowConnections
from growenv.protection.spacenet import SpaceNet, rewire
from growenv.protection.sparse import StaticSparse
from growenv.testing.learning import check_protection
from tests.protection.test_sparse import EVERYONE, connections, counts, started

NAMES = ("spacenet", "spacenet-unreserved")


def network_of(inputs: int, *widths: int) -> RowConnections:
    """One network without connections, all units candidates."""
    network = StackedMLP(1, inputs, len(widths), 2, dtype=torch.float64)
    for name in (*BUFFERS, "adam_first", "adam_second"):
        network.add_buffer(name)
    network.active_units[:] = widths
    network.fit()
    ours = RowConnections(network, 0, seed=0, task=0)
    for layer in range(len(widths)):
        ours.states(layer)[:] = CANDIDATE
    return ours


def test_the_least_important_connection_moves_between_the_most_important_units() -> None:
    ours = network_of(3, 2)
    ours.write(0, (np.array([0, 1, 2]), np.array([0, 0, 1])), torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64))
    ours.part(IMPORTANCE, 0)[[0, 1, 2], [0, 0, 1]] = torch.tensor([5.0, 1.0, 2.0], dtype=torch.float64)
    ours.part(HISTORY, 0)[[0, 1, 2], [0, 0, 1]] = torch.tensor([7.0, 2.0, 4.0], dtype=torch.float64)
    ours.part("adam_second", 0)[1, 0] = 3.0
    rewire(ours, 0, 0.34)
    # Inputs matter (7, 2, 4) and units (9, 4). Empty: (0,1) 28, (1,0) 18, (1,1) 8, (2,0) 36.
    assert ours.connected(0).nonzero().tolist() == [[0, 0], [2, 0], [2, 1]]
    assert ours.part("weights", 0)[:3, :2].tolist() == [[0.1, 0.0], [0.0, 0.0], [0.0, 0.3]]
    assert ours.part(IMPORTANCE, 0)[1, 0] == 0.0
    assert ours.part("adam_second", 0)[1, 0] == 0.0


def test_between_hidden_layers_both_importances_are_those_of_incoming_connections() -> None:
    ours = network_of(1, 2, 2)
    first = ours.network.layout.frozen[0]
    ours.part(HISTORY, 0)[0, :2] = torch.tensor([1.0, 3.0], dtype=torch.float64)
    ours.write(1, (np.array([first, first]), np.array([0, 1])), torch.tensor([0.5, 0.6]))
    ours.part(HISTORY, 1)[first, :2] = torch.tensor([2.0, 1.0], dtype=torch.float64)
    ours.part(IMPORTANCE, 1)[first, :2] = torch.tensor([2.0, 1.0], dtype=torch.float64)
    rewire(ours, 1, 0.5)
    # Empty: (unit 0, 1) 1 * 1, (unit 1, 0) 3 * 2, (unit 1, 1) 3 * 1.
    assert ours.connected(1).nonzero().tolist() == [[first, 0], [first + 1, 0]]
    assert float(ours.part("weights", 1)[first, 1]) == 0.0


def test_nothing_moves_to_where_a_finished_task_owns_a_weight_or_beyond_the_candidates() -> None:
    ours = network_of(3, 3)
    ours.states(0)[2] = 0.0
    ours.part(OWNED, 0)[2, 0] = 1.0
    ours.part("weights", 0)[2, 0] = 0.7
    ours.write(0, (np.array([0, 1]), np.array([0, 1])), 0.1)
    ours.part(HISTORY, 0)[:3, :3] = torch.tensor([[3.0, 0, 0], [0, 2, 0], [9, 0, 9]], dtype=torch.float64)
    ours.part(IMPORTANCE, 0)[0, 0] = 1.0
    rewire(ours, 0, 0.5)
    # Inputs matter (3, 2, 18) and units (12, 2, 9): (2, 0) is owned, column 2 is no candidate, (2, 1) 36 = (1, 0) 24.
    assert ours.connected(0).nonzero().tolist() == [[0, 0], [2, 1]]
    assert float(ours.part("weights", 0)[2, 0]) == 0.7


def test_a_share_below_one_connection_moves_nothing() -> None:
    ours = network_of(3, 2)
    ours.write(0, (np.array([0, 1]), np.array([0, 1])), 0.1)
    before = ours.part("weights", 0).clone()
    rewire(ours, 0, 0.2)
    assert torch.equal(ours.part("weights", 0), before)
    assert int(ours.connected(0).sum()) == 2


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_the_promises_of_protections(name: str) -> None:
    check_protection(name)


def test_connections_move_after_each_quarter_but_the_last_and_their_number_stays() -> None:
    ours = started("spacenet", minibatches=1, decisions=8)
    before, expected = ours.network.buffers[TRAINED].clone(), counts(ours)
    moved = []
    for _ in range(8):
        ours.train()
        now = ours.network.buffers[TRAINED].clone()
        moved.append(not torch.equal(now, before))
        before = now
        assert counts(ours, 0) == counts(ours, 1) == expected
    assert moved == [False, True, False, True, False, True, False, False]


def test_one_move_takes_a_fifth_of_the_connections_of_hidden_layers_and_none_of_the_heads() -> None:
    ours = started(SpaceNet(moments=(0.5,)), minibatches=1, decisions=2)
    before = [connections(ours, 1).connected(block) for block in range(3)]
    held = counts(ours, 1)
    ours.train()
    lost = [int((old & ~connections(ours, 1).connected(block)).sum()) for block, old in enumerate(before)]
    # A connection may come back to where it was dropped.
    assert 0 < lost[0] <= int(0.2 * held[0])
    assert lost[1] <= int(0.2 * held[1])
    assert lost[2] == 0


def test_it_differs_from_static_connections_only_from_the_first_move_on() -> None:
    static, moving = (
        started("static-sparse", minibatches=1, decisions=4),
        started("spacenet", minibatches=1, decisions=4),
    )
    assert torch.equal(static.network.buffers["weights"], moving.network.buffers["weights"])
    static.train()
    moving.train()
    assert torch.equal(static.network.buffers[HISTORY], moving.network.buffers[HISTORY])
    assert not torch.equal(static.network.buffers[TRAINED], moving.network.buffers[TRAINED])


def test_a_new_stream_counts_its_steps_from_zero() -> None:
    ours = started("spacenet", minibatches=1, decisions=4)
    ours.train()
    ours.next_task(np.array([True, False]))
    before = ours.network.buffers[TRAINED].clone()
    ours.train()
    first, second = (ours.network.layout.blocks(flat)[0] for flat in (before, ours.network.buffers[TRAINED]))
    assert (first != second).any(dim=(1, 2)).all(), "row 0 after its first quarter, row 1 after its second"
    assert ours.protection._steps.tolist() == [1, 2]  # type: ignore[attr-defined]
    ours.next_task(EVERYONE)
    assert ours.protection._steps.tolist() == [0, 0]  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [0.0, 1.0, -0.2, 1, True, "half"])
def test_shares_that_move_and_moments_lie_between_nothing_and_everything(value: Any) -> None:
    with pytest.raises(ValueError, match="replaced of 'spacenet' is .*expected a share between 0 and 1"):
        SpaceNet(replaced=value)
    with pytest.raises(ValueError, match="moments of 'spacenet' is"):
        SpaceNet(moments=(0.5, value))


def test_registered_names_are_those_of_results() -> None:
    for name in NAMES:
        made = PROTECTIONS.make(name)
        assert made.name == name
        assert isinstance(made, StaticSparse)
        assert (made.reserved is None) == name.endswith("unreserved")
