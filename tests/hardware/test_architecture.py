"""Counts by hand, against networks written out unit by unit, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from growenv.hardware import Architecture, largest


def architecture(units, outputs, *, inputs=4, directed=True):
    return Architecture(inputs, np.array(units, dtype=np.int64), np.array(outputs, dtype=np.int64), directed)


@st.composite
def architectures(draw):
    rows, generations, layers = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    units = draw(npst.arrays(np.int64, (rows, generations, layers), elements=st.integers(0, 5)))
    outputs = draw(npst.arrays(np.int64, (rows, generations), elements=st.integers(0, 3)))
    bypassed = tuple(layer for layer in range(1, layers) if draw(st.booleans()))
    return Architecture(draw(st.integers(1, 6)), units, outputs, draw(st.booleans()), bypassed)


def counted_one_by_one(network: Architecture, row: int) -> list[int]:
    """Weights per layer of a row, by asking of every pair of units whether one reads the other."""
    born = [np.repeat(np.arange(network.generations), network.units[row, :, layer]) for layer in range(network.layers)]
    counts, heard = [network.inputs * len(born[0])], list(born[0])
    for layer, above in enumerate(born[1:], start=1):
        counts.append(sum(1 for b in above for a in heard if a <= b or not network.directed))
        heard = [*above, *heard] if layer in network.bypassed else list(above)
    heads = np.repeat(np.arange(network.generations), network.outputs[row])
    return [*counts, sum(1 for g in heads for a in heard if a <= g)]


def test_wires_by_hand():
    # 4 inputs, layer 0: 3 units, then 1; layer 1: none, then 2. Its 2 units read 4. The head of 2 reads the 3 units
    # alone, the head of 5 all 4 and the 2. One more unit of task 1 in layer 0 would read 4 inputs and be read by 2
    # units and 5 outputs; one in layer 1 would read 4 units and be read by 5 outputs.
    grown = replace(architecture([[[3, 0], [1, 2]]], [[2, 5]]), bypassed=(1,))
    assert grown.connections().tolist() == [[4 * 4, 2 * 4, 2 * 3 + 5 * 6]]
    assert grown.connections_per_unit(np.array([1])).tolist() == [[4 + 2 + 5, 4 + 5]]
    assert grown.biases().tolist() == [6 + 7]
    assert grown.read.tolist() == [[4, 6]]
    assert grown.grown(1, 1, 1).bypassed == (1,)


@pytest.mark.parametrize("bypassed", [(0,), (2,), (-1,)])
def test_wires_lead_around_hidden_layers_that_have_one_below(bypassed):
    with pytest.raises(ValueError, match=r"wires can lead around hidden layers 1\.\.1, got bypassed="):
        replace(architecture([[[3, 0]]], [[2]]), bypassed=bypassed)


def test_directed_counts_by_hand():
    # Layer 0: 3 units, then 1; layer 1: 2 units, then 2. Old units of layer 1 read 3 units, new ones 4.
    grown = architecture([[[3, 2], [1, 2]]], [[2, 5]])
    assert grown.widths.tolist() == [[4, 4]]
    assert grown.connections().tolist() == [[4 * 4, 2 * 3 + 2 * 4, 2 * 2 + 5 * 4]]
    assert grown.biases().tolist() == [8 + 7]


def test_undirected_hidden_layers_are_full_but_old_heads_still_read_old_units():
    grown = architecture([[[3, 2], [1, 2]]], [[2, 5]], directed=False)
    assert grown.connections().tolist() == [[4 * 4, 4 * 4, 2 * 2 + 5 * 4]]


@settings(max_examples=60, deadline=None)
@given(architectures())
def test_counts_equal_a_count_of_single_connections(network):
    assert network.connections().tolist() == [counted_one_by_one(network, row) for row in range(network.rows)]


def test_connections_of_one_more_unit_by_hand():
    # 4 inputs; layer 0 has 3 + 1 units, layer 1 has 2 + 2; heads of 2 and 5. A new unit of task 1 in layer 0 reads 4
    # inputs and is read by the 2 units of task 1 above; in layer 1 it reads 4 units and the head of task 1 reads it.
    grown = architecture([[[3, 2], [1, 2]]] * 2, [[2, 5]] * 2)
    assert grown.connections_per_unit(np.array([1, 0])).tolist() == [[4 + 2, 4 + 5], [4 + 4, 3 + 7]]
    full = architecture([[[3, 2], [1, 2]]] * 2, [[2, 5]] * 2, directed=False)
    assert full.connections_per_unit(np.array([1, 0])).tolist() == [[4 + 4, 4 + 5], [4 + 4, 4 + 7]]


@settings(max_examples=60, deadline=None)
@given(architectures(), st.data())
def test_connections_per_unit_are_those_that_any_number_of_new_units_adds(network, data):
    generation = data.draw(npst.arrays(np.int64, network.rows, elements=st.integers(0, network.generations - 1)))
    amount = data.draw(npst.arrays(np.int64, network.rows, elements=st.integers(0, 4)))
    each = network.connections_per_unit(generation)
    assert each.shape == (network.rows, network.layers)
    for layer in range(network.layers):
        added = network.grown(layer, amount, generation).connections() - network.connections()
        assert added.sum(axis=1).tolist() == (amount * each[:, layer]).tolist()


@settings(max_examples=40, deadline=None)
@given(architectures())
def test_rows_are_independent(network):
    for row in range(network.rows):
        alone = replace(network, units=network.units[row : row + 1], outputs=network.outputs[row : row + 1])
        assert np.array_equal(alone.connections()[0], network.connections()[row])
        assert alone.biases()[0] == network.biases()[row]
        assert alone.newest[0] == network.newest[row]


def test_newest_is_the_last_task_with_a_head():
    outputs = [[2, 0, 0], [2, 3, 0], [2, 3, 4], [0, 0, 0]]
    assert architecture(np.ones((4, 3, 1)), outputs).newest.tolist() == [0, 1, 2, -1]


def test_grown_adds_to_one_layer_and_generation_and_leaves_the_original():
    before = architecture([[[3, 2], [0, 0]], [[3, 2], [1, 0]]], [[2, 0], [2, 2]])
    after = before.grown(1, 4, np.array([0, 1]))
    assert after.units.tolist() == [[[3, 6], [0, 0]], [[3, 2], [1, 4]]]
    assert before.units.tolist() == [[[3, 2], [0, 0]], [[3, 2], [1, 0]]]
    assert after.directed is before.directed


def test_grown_takes_a_request_for_every_row_and_ignores_the_layer_of_an_empty_one():
    before = architecture(np.ones((3, 2, 2)), np.ones((3, 2)))
    after = before.grown(np.array([-1, 0, 1]), np.array([0, 4, 16]), np.array([9, 1, 1]))
    assert (after.units - before.units).tolist() == [[[0, 0], [0, 0]], [[0, 0], [4, 0]], [[0, 0], [0, 16]]]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ((2, 4, 0), "layer must be in 0..1, got 2"),
        ((-1, 4, 0), "layer must be in 0..1, got -1"),
        ((0, 4, 2), "generation must be in 0..1, got 2"),
        ((0, 4, -1), "generation must be in 0..1, got -1"),
        ((0, -4, 0), "amount must not be negative, got -4"),
    ],
)
def test_grown_refuses_what_does_not_exist(request_, message):
    with pytest.raises(ValueError, match=message):
        architecture(np.ones((1, 2, 2)), np.ones((1, 2))).grown(*request_)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": 0}, "inputs must be at least 1"),
        ({"units": np.ones((1, 2), dtype=np.int64)}, "units must be an int64 array with 3 dimensions"),
        ({"units": np.ones((1, 2, 1))}, "got float64"),
        ({"units": [[[1]]]}, "got list"),
        ({"units": np.full((1, 2, 1), -1)}, "units must not be negative, got -1"),
        ({"outputs": np.full((1, 2), -3)}, "outputs must not be negative, got -3"),
        ({"outputs": np.ones((1, 3), dtype=np.int64)}, "must agree on N and G"),
        ({"units": np.ones((1, 2, 0), dtype=np.int64)}, "G and L at least 1"),
    ],
)
def test_impossible_networks_are_refused(changes, message):
    good = {"inputs": 3, "units": np.ones((1, 2, 1), dtype=np.int64), "outputs": np.ones((1, 2), dtype=np.int64)}
    with pytest.raises(ValueError, match=message):
        Architecture(**{**good, **changes}, directed=True)


def test_largest_by_hand():
    network = largest(64, (32, 16), tasks=3, classes=10)
    assert network.rows == 1
    assert network.widths.tolist() == [[32, 16]]
    assert network.connections().tolist() == [[64 * 32, 32 * 16, 3 * 10 * 16]]
    assert network.biases().tolist() == [32 + 16 + 30]


@settings(max_examples=60, deadline=None)
@given(architectures())
def test_no_network_exceeds_the_largest_of_its_widths(network):
    greatest = np.maximum(network.widths.max(axis=0), 1)
    outputs = max(1, int(network.outputs.max()))
    most = largest(network.inputs, greatest.tolist(), network.generations, outputs, network.bypassed)
    assert (network.connections() <= most.connections()).all()
    assert (network.biases() <= most.biases()).all()


@pytest.mark.parametrize(
    "arguments", [(4, (), 2, 2), (4, (8, 0), 2, 2), (4, (8,), 0, 2), (4, (8,), 2, 0), (0, (8,), 2, 2)]
)
def test_largest_refuses_numbers_below_one(arguments):
    with pytest.raises(ValueError, match="at least"):
        largest(*arguments)
