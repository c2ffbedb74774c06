"""Who stands where and which channels they own, against the reference that counts every neuron."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growenv.hardware.mosaic import fabric
from growenv.hardware.mosaic.placement import Classes, Placement
from tests.hardware.mosaic import placing
from tests.hardware.mosaic import reference as ref
from tests.hardware.mosaic.placing import CHIPS, chip, link_loads, network, put, scattered
from tests.hardware.mosaic.reference import Entry, Multicast

SIZES = [(1, 1, True), (1, 3, True), (2, 2, False), (3, 2, True), (3, 3, False)]


# --- classes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "generations", "directed"), SIZES)
@pytest.mark.parametrize("bypassed", [(), (1,), (1, 2), (2,)])
def test_classes_read_each_other_as_the_neurons_of_the_reference_do(layers, generations, directed, bypassed):
    bypassed = tuple(layer for layer in bypassed if layer < layers)
    classes = Classes(layers, generations, directed, bypassed)
    one = ref.Network([], layers, directed, bypassed)
    for source in range(classes.count):
        for reader in range(classes.count):
            pair = [ref.Neuron(*_kind_first(classes, klass)) for klass in (reader, source)]
            assert classes.reads[source, reader] == one.reads(*pair)


def _kind_first(classes, klass):
    name, layer, generation = placing.kind(classes, klass)
    return name, (0, 0), layer, generation


@pytest.mark.parametrize(("layers", "generations", "directed"), SIZES)
def test_every_class_has_a_number_of_its_own(layers, generations, directed):
    classes = Classes(layers, generations, directed)
    hidden = [classes.hidden(layer, when) for layer in range(layers) for when in range(generations)]
    heads = [classes.head(when) for when in range(generations)]
    assert sorted([0, *hidden, *heads]) == list(range(classes.count))
    assert not classes.reads.diagonal().any()


# --- what single units own ------------------------------------------------------------------------------------------


def test_channels_of_the_worked_example():
    # An input on (1,1) of 4x4 and readers at hops 1, 3, 5 and 5: a union of 12 routing cells and 13 router outputs.
    placement = Placement(placing.DEMO, placing.FIRST, 1)
    put(placement, 0, 5, 3)
    for tile in (6, 8, 13, 3):
        put(placement, placing.FIRST.hidden(0, 0), tile, 1)
    group = placement.group[0, 0, 5]
    assert (placement.size[0, group], placement.hops[0, group], placement.branches[0, group]) == (3, 12, 13)
    assert np.unique(placement.load[0, :-1]).tolist() == [0, 3]
    assert (placement.load[0, :-1] == 3).sum() == 17, "13 router outputs, and 4 outputs of the tile itself"


def test_a_network_on_one_tile_owns_no_channel():
    placement = Placement(fabric(chip()), Classes(2, 1, True), 1)
    for klass, amount in ((0, 2), (1, 2), (2, 2), (3, 1)):
        put(placement, klass, 4, amount)
    assert not placement.load[0, :-1].any()
    assert not placement.hops.any()
    assert not placement.branches.any()
    assert placement.arrivals().tolist() == [[0, 0, 0, 0, 6, 0, 0, 0, 0]]


def test_a_second_reader_on_a_tile_costs_its_sources_nothing():
    placement = Placement(fabric(chip()), Classes(1, 2, True), 1)
    put(placement, 0, 0, 3)
    put(placement, 1, 8, 2)
    before = placement.load.copy()
    put(placement, 2, 8, 4)  # another generation, which reads the same inputs
    assert np.array_equal(placement.load[:, :-1], before[:, :-1])


def test_a_head_that_has_fewer_outputs_frees_slots_and_leaves_every_channel():
    placement = placing.case_b()
    load = placement.load.copy()
    placement.resize_head(*placing.numbers(0, placing.FIRST.head(0), 15, 4))
    assert placement.occupied()[0, 15] == 4
    assert np.array_equal(placement.load, load)


def test_case_a_forced_overfills_four_port_entries_on_two_links():
    # (6,6) out S and (7,6) in N are one link; (7,6) out E and the input W of tile (3,3) are the other.
    placement = placing.case_a_forced()
    hardware = placement.fabric
    over = np.flatnonzero(placement.load[0, :-1] > hardware.capacity)
    entries = [placing.link_entries(hardware)[link] for link in over]
    assert entries == [Entry((6, 6), "out", "S"), Entry((7, 6), "out", "E")]
    assert [ref.partner(entry) for entry in entries] == [Entry((7, 6), "in", "N"), Entry((7, 7), "in", "W")]
    assert placement.load[0, over].tolist() == [40, 40]
    assert [int(count[0]) for count in placement.violations()] == [0, 1, 1]


# --- everything, neuron by neuron -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("seed", range(8))
def test_loads_and_groups_are_those_of_the_reference(name, seed):
    placement, _ = scattered(CHIPS[name], seed, layers=1 + seed % 3, generations=1 + seed % 4)
    for row in range(placement.rows):
        check_row(placement, row)


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize(("layers", "bypassed"), [(2, (1,)), (3, (1,)), (3, (1, 2))])
def test_loads_and_groups_are_those_of_the_reference_where_wires_lead_around_layers(name, layers, bypassed):
    for seed in range(3):
        placement, _ = scattered(CHIPS[name], seed, layers=layers, bypassed=bypassed)
        for row in range(placement.rows):
            check_row(placement, row)


def check_row(placement, row):
    one, spec = network(placement, row), placement.fabric.spec
    assert placement.load[row, :-1].tolist() == link_loads(placement.fabric, one)
    tile_of = dict(enumerate(ref.tiles(spec)))
    multicasts = dict(zip(one.neurons, one.multicasts(), strict=True))
    grouped = {}
    for neuron, multicast in multicasts.items():
        if neuron.kind != "output":
            grouped.setdefault((neuron.kind, neuron.layer, neuron.generation, neuron.tile), []).append(multicast)
    found = np.flatnonzero(placement.klass[row] >= 0)
    assert len(found) == len(grouped)
    for group in found:
        klass, tile = int(placement.klass[row, group]), int(placement.tile[row, group])
        members = grouped[(*placing.kind(placement.classes, klass), tile_of[tile])]
        assert placement.group[row, klass, tile] == group
        assert placement.size[row, group] == len(members)
        assert placement.hops[row, group] == len(ref.routing_cells(members[0]))
        assert placement.branches[row, group] == len(ref.router_outputs(members[0]))
        assert [tile_of[t] for t in np.flatnonzero(placement.reached[row, klass])] == sorted(members[0].targets)
    sides = ref.crossbar_sides(spec, one)
    routing = [sides[cell] for cell in ref.cells(spec) if ref.kind_of(cell) != "NT"]
    assert placement.router_lines()[row].tolist() == [rows for rows, _ in routing] + [columns for _, columns in routing]
    assert placement.longest_side()[row] == max(max(both) for both in sides.values())
    assert placement.arrivals()[row].tolist() == [sides[ref.cell_of(tile)][0] for tile in ref.tiles(spec)]
    assert placement.occupied()[row].tolist() == [len(one.on(tile)) for tile in ref.tiles(spec)]


@pytest.mark.parametrize("name", ["3x3x8", "unequal ports", "thin corners"])
@pytest.mark.parametrize("seed", range(3))
def test_violations_are_counted_as_by_the_reference(name, seed):
    spec = CHIPS[name]
    placement, _ = scattered(spec, seed, units=24)
    for row in range(placement.rows):
        found = ref.violations(spec, network(placement, row))
        over = {ref.partner(one.place) if one.place.direction == "in" else one.place for one in found if _port(one)}
        into = {entry for entry in over if ref.kind_of(ref.partner(entry).cell) == "NT"}
        full = sum(one.code == "NO_SLOT" for one in found)
        assert [int(count[row]) for count in placement.violations()] == [full, len(into), len(over) - len(into)]


def _port(violation):
    return isinstance(violation.place, Entry)


# --- rows, order, time ----------------------------------------------------------------------------------------------

STATE = ("counts", "reached", "load", "group", "klass", "tile", "size", "links", "cells", "hops", "branches")


def same(one: Placement, other: Placement, rows=slice(None), others=slice(None)) -> bool:
    """Whether rows are equal to the last bit; tables of groups may be of different lengths."""
    for name in STATE:
        left, right = getattr(one, name)[rows], getattr(other, name)[others]
        if name in ("klass", "tile", "size", "links", "cells", "hops", "branches"):
            most = min(left.shape[1], right.shape[1])
            if (one.klass[rows][:, most:] >= 0).any() or (other.klass[others][:, most:] >= 0).any():
                return False
            left, right = left[:, :most], right[:, :most]
        if not np.array_equal(left, right):
            return False
    return True


@pytest.mark.parametrize("name", CHIPS)
def test_rows_do_not_depend_on_each_other(name):
    spec = CHIPS[name]
    together, calls = scattered(spec, 7, rows=4, units=30)
    for row in range(4):
        alone = Placement(fabric(spec), together.classes, 1)
        for rows, *rest in calls:
            if row in rows:
                put(alone, *(int(values[rows == row][0]) for values in rest))
        assert same(together, alone, rows=slice(row, row + 1))


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_growth_changes_no_load_and_no_tree(seed):
    placement, calls = scattered(CHIPS["3x3x8"], seed, rows=1, units=20)
    other = Placement(placement.fabric, placement.classes, 1)
    for call in np.random.default_rng(seed).permutation(len(calls)):
        other.place(*calls[call])
    assert np.array_equal(placement.load[:, :-1], other.load[:, :-1])
    assert np.array_equal(placement.reached, other.reached)
    for klass, tile in np.argwhere(placement.group[0] >= 0):
        here, there = placement.group[0, klass, tile], other.group[0, klass, tile]
        for name in ("size", "hops", "branches", "links", "cells"):
            assert np.array_equal(getattr(placement, name)[0, here], getattr(other, name)[0, there])


@pytest.mark.parametrize("seed", range(4))
def test_units_that_come_one_by_one_own_what_they_own_together(seed):
    placement, calls = scattered(CHIPS["4x4x6"], seed, rows=1)
    other = Placement(placement.fabric, placement.classes, 1)
    for row, klass, tile, amount in calls:
        for _ in range(amount[0] if len(row) else 0):
            other.place(row, klass, tile, np.ones_like(amount))
    assert same(placement, other)


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(0, 8), st.integers(0, 6), st.integers(1, 5))
def test_more_units_never_lower_a_load_or_a_tree(seed, tile, klass, amount):
    placement, _ = scattered(chip(), seed, rows=1)
    before = placement.snapshot()
    put(placement, klass, tile, amount)
    kept = before["klass"][0] >= 0
    for name in ("load", "reached", "counts"):
        assert (getattr(placement, name) >= before[name]).all()
    for name in ("size", "hops", "branches", "links", "cells"):
        assert (getattr(placement, name)[0, : len(kept)][kept] >= before[name][0, kept]).all()


@pytest.mark.parametrize("seed", range(4))
def test_growing_and_going_back_is_the_identity(seed):
    placement, _ = scattered(chip(), seed)
    before, untouched = placement.snapshot(), placement.snapshot()
    for klass in range(placement.classes.count):
        for tile in range(9):
            placement.place(np.array([0, 1]), np.array([klass, klass]), np.array([tile, 8 - tile]), np.array([1, 2]))
    assert all(np.array_equal(before[name], untouched[name]) for name in before), "a snapshot is a copy"
    placement.restore(before)
    after = placement.snapshot()
    assert all(np.array_equal(after[name], untouched[name]) for name in untouched)
    put(placement, 1, 0, 1)
    assert all(np.array_equal(before[name], untouched[name]) for name in before), "and so is what restore took from it"


def test_a_row_that_is_cleared_is_like_new_and_the_others_stay():
    placement, calls = scattered(chip(), 3, rows=3)
    kept = placement.snapshot()
    placement.clear(np.array([False, True, False]))
    empty = Placement(placement.fabric, placement.classes, 1)
    assert same(placement, empty, rows=slice(1, 2))
    assert all(np.array_equal(getattr(placement, name)[[0, 2]], kept[name][[0, 2]]) for name in STATE)
    for row, *rest in calls:
        if 1 in row:
            put(placement, *(int(values[row == 1][0]) for values in rest), row=1)
    assert all(np.array_equal(getattr(placement, name), kept[name]) for name in STATE), "placed again, it is as before"


# --- symmetry -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_reflecting_a_network_keeps_the_hops_of_every_pair(seed):
    placement, calls = scattered(CHIPS["3x3x8"], seed, rows=1)
    for mirrored in (
        np.arange(9).reshape(3, 3)[::-1],
        np.arange(9).reshape(3, 3)[:, ::-1],
        np.arange(9).reshape(3, 3).T,
    ):
        tiles = mirrored.ravel()
        other = Placement(placement.fabric, placement.classes, 1)
        for row, klass, tile, amount in calls:
            other.place(row, klass, tiles[tile], amount)
        assert ref.hop_weighted_pairs(network(placement)) == ref.hop_weighted_pairs(network(other))
        assert placement.arrivals()[0].tolist() == other.arrivals()[0, tiles].tolist()


def test_loads_are_not_mirror_symmetric():
    # A column detour leaves to the west, so the mirrored network uses other ports: only hops are invariant.
    loads = []
    for column in (0, 2):
        placement = Placement(fabric(chip()), Classes(1, 1, True), 1)
        put(placement, 0, column, 1)
        put(placement, 1, column + 6, 1)
        loads.append(placement.load[0, :-1].nonzero()[0].tolist())
    first, second = (sorted(placing.link_entries(fabric(chip()))[link].side for link in links) for links in loads)
    assert first == second == ["E", "S", "S", "S", "S", "W"]


def test_the_reference_sees_a_placement_as_it_was_made():
    placement = placing.case_b()
    one = network(placement)
    assert one.multicast(one.neurons[0]) == Multicast((0, 0), frozenset({(1, 0), (1, 1)}))
    assert len(one.neurons) == 32 + 24 + 10
