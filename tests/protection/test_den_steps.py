"""Soft thresholds, selection, drift and duplicates, by hand."""

from __future__ import annotations

import numpy as np
import torch

from growenv.growth import GrowthBatch
from growenv.networks import StackedMLP
from growenv.protection.den_split import Duplicates, most_drifted, move_outgoing
from growenv.protection.den_steps import among, drifts, selected, shrink, shrink_units

NONE = np.zeros(1, dtype=np.int64)


def network(widths: tuple[int, ...], bypassed: tuple[int, ...] = ()) -> StackedMLP:
    """One network of two inputs and two outputs without any weights but zero."""
    net = StackedMLP(1, 2, len(widths), 2, bypassed=bypassed, dtype=torch.float64)
    for layer, width in enumerate(widths):
        net.reserve(layer, np.array([width]))
    return net


def source(net: StackedMLP, layer: int, unit: int) -> int:
    """Where the next layer reads a unit."""
    return net.layout.frozen[layer] + unit


def test_soft_threshold_moves_every_weight_towards_zero_by_its_own_amount() -> None:
    weights = torch.tensor([[3.0, -3.0, 0.5, -0.5], [3.0, -0.5, 0.0, 2.0]])
    shrink(weights, torch.tensor([[1.0, 1.0, 1.0, 0.25], [0.0, 0.0, 0.0, 2.0]]))
    assert weights.tolist() == [[2.0, -2.0, 0.0, -0.25], [3.0, -0.5, 0.0, 0.0]]


def test_group_threshold_shortens_whole_units() -> None:
    # Columns of length 5, 5, 0.5 and 0; the first is not asked for.
    block = torch.tensor([[[3.0, 3.0, 0.3, 0.0], [4.0, 4.0, 0.4, 0.0]]])
    shrink_units(block, torch.tensor([[0.0, 1.0, 1.0, 1.0]]))
    expected = torch.tensor([[[3.0, 2.4, 0.0, 0.0], [4.0, 3.2, 0.0, 0.0]]])
    torch.testing.assert_close(block, expected)
    assert torch.equal(block[..., 0], expected[..., 0]) and (block[..., 2:] == 0).all()


def test_drift_counts_weights_that_were_there_before() -> None:
    before = torch.zeros((1, 3, 2))
    block = torch.tensor([[[3.0, 0.0], [4.0, 1.0], [7.0, 7.0]]])
    older = torch.tensor([1.0, 1.0, 0.0])[None, :, None]
    assert drifts(block, before, older).tolist() == [[5.0, 1.0]]


def test_selection_goes_down_through_weights_that_are_not_zero() -> None:
    # Inputs a b -> units 0 1 2 -> units 0 1 -> outputs. Only output 1 counts.
    net = network((3, 2))
    net.weights[0][0, 0, 0] = 1.0  # a -> 0
    net.weights[0][0, 1, 1] = 1.0  # b -> 1
    net.weights[0][0, 1, 2] = 1.0  # b -> 2
    net.weights[1][0, source(net, 0, 0), 0] = -2.0
    net.weights[1][0, source(net, 0, 1), 1] = 1e-30
    net.weights[2][0, source(net, 1, 0), 0] = 1.0
    net.weights[2][0, source(net, 1, 1), 1] = 1.0
    inputs, first, second = selected(net.weights, net.layout, torch.tensor([[False, True]]))
    assert inputs[0].tolist() == [False, True, False]
    assert first[0, :3].tolist() == [False, True, False] and second[0, :2].tolist() == [False, True]
    inputs, first, second = selected(net.weights, net.layout, torch.tensor([[True, True]]))
    assert inputs[0].tolist() == [True, True, False]
    assert first[0, :3].tolist() == [True, True, False] and second[0, :2].tolist() == [True, True]
    assert not first[0, 3:].any() and not second[0, 2:].any(), "padding is never selected"


def test_selection_follows_wires_around_a_layer() -> None:
    net = network((2, 1), bypassed=(1,))
    wire = net.layout.spans(2)[1]
    net.weights[2][0, wire.active.start + 1, 0] = 1.0  # unit 1 of the first layer -> output 0, past the second layer
    _, first, second = selected(net.weights, net.layout, torch.tensor([[True, True]]))
    assert first[0, :2].tolist() == [False, True] and not second.any()


def test_weights_among_a_set_have_both_ends_in_it_and_biases_count() -> None:
    net = network((2, 2))
    inputs = torch.tensor([[True, False, False]])
    units = [torch.arange(8)[None] == 1, torch.arange(8)[None] == 0]
    blocks = net.layout.blocks(among(net.layout, inputs, units, torch.tensor([[False, True]])))
    ends = [
        [(0, 1), (2, 1)],  # input a and the bias into unit 1
        [(0, 0), (source(net, 0, 1), 0)],  # bias and unit 1 into unit 0
        [(0, 1), (source(net, 1, 0), 1)],
    ]
    for block, expected in zip(blocks, ends, strict=True):
        assert [tuple(place) for place in block[0].nonzero().tolist()] == expected
        assert set(block.unique().tolist()) == {0.0, 1.0}


def test_the_furthest_drifted_come_first() -> None:
    drift = np.array([[0.1, 0.9, 0.5, 0.7], [0.1, 0.2, 0.0, 0.0]])
    parents, amounts = most_drifted(drift, np.array([0.4, np.inf]))
    assert amounts.tolist() == [3, 0] and parents.tolist() == [[1, 3, 2], [-1, -1, -1]]
    assert most_drifted(drift, np.array([0.9, 0.2]))[1].tolist() == [0, 0], "the bound itself is not beyond the bound"


def test_a_split_unit_goes_back_and_its_duplicate_feeds_this_tasks_readers() -> None:
    net = network((2, 2))
    net.add_buffer("past")
    net.weights[0][0, :, 1] = torch.tensor([5.0, 6.0, 7.0])
    net.layout.blocks(net.buffers["past"])[0][0, :, 1] = torch.tensor([1.0, 2.0, 3.0])
    net.weights[1][0, source(net, 0, 1), :2] = torch.tensor([8.0, 9.0])
    first = net.reserve(0, np.array([1]))
    parents = np.array([[1, 0]])  # the second one was not admitted
    batch = GrowthBatch(0, np.array([1]), NONE.astype(np.uint64), np.array([2]), first, np.array([2]))
    proposal = Duplicates(parents, "past").propose(net, batch)
    assert proposal.fan_in[0, :, 0].tolist() == [5.0, 6.0, 7.0] and proposal.fan_out is None
    assert proposal.incoming is not None
    assert proposal.incoming[0, :, 1].tolist() == [1.0, 2.0, 3.0] and not proposal.incoming[0, :, 0].any()
    # Unit 1 of the second layer is of this task, unit 0 is older.
    readers = [torch.zeros((1, 8), dtype=torch.bool), torch.arange(8)[None] == 1, torch.ones((1, 2), dtype=torch.bool)]
    move_outgoing(net, 0, parents, first, np.array([1]), readers)
    assert net.weights[1][0, source(net, 0, 1), :2].tolist() == [8.0, 0.0], "older readers keep the original"
    assert net.weights[1][0, source(net, 0, 2), :2].tolist() == [0.0, 9.0], "new readers hear the duplicate"
