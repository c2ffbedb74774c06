"""The reference against numbers worked out by hand: routes, trees, loads, costs and the growth example."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hardware.mosaic import reference as ref
from tests.hardware.mosaic.reference import Entry, Multicast, Network


def chip(rows=4, cols=4, neurons=32, **changes):
    """A chip whose ports all carry `neurons` channels, with the model's default constants."""
    fields = {
        "rows": rows,
        "cols": cols,
        "neurons_per_tile": neurons,
        "ports": (neurons,) * 4,
        "r1_channels": neurons,
        "r0_channels": neurons,
        "allow_uturn_cells": True,
        "recurrent_block": True,
        "devices_per_synapse": 1,
        "max_crossbar_side": None,
        "g_lrs_S": 1e-4,
        "g_hrs_S": 1e-6,
        "v_read_V": 0.15,
        "t_pulse_s": 1e-7,
        "energy_mode": "lumped",
        "e_hop_J": 0.3e-12,
        "e_neuron_J": 1e-12,
        "e_in_J": 0.0,
        "p_static_W": 0.0,
        "t_hop_s": 1e-7,
        "t_tile_s": 1e-7,
    }
    return SimpleNamespace(**{**fields, **changes})


DEMO = chip()


def first_layer(on_10, on_11):
    """32 inputs on (0,0), hidden units of generation 0 on (1,0) and (1,1), a head of 10 on (3,3)."""
    inputs = Network([]).and_also(32, "input", (0, 0))
    return inputs.and_also(on_10, "hidden", (1, 0)).and_also(on_11, "hidden", (1, 1)).and_also(10, "output", (3, 3))


def grown(network, tile):
    """The same with 8 hidden units and 5 outputs of generation 1."""
    return network.and_also(8, "hidden", tile, generation=1).and_also(5, "output", (3, 3), generation=1)


CASE_A, CASE_B = first_layer(20, 12), first_layer(16, 8)


def first_code(spec, network):
    found = ref.violations(spec, network)
    return found[0].code if found else ""


# --- geometry -------------------------------------------------------------------------------------------------------

GRIDS = [(2, 2), (3, 5), (4, 4), (5, 5)]
ROUTES = {  # from tile (1,1) of 4x4, that is cell (3,3): destination, routing cells, side of entry
    (1, 2): ([(3, 4)], "W"),
    (2, 0): ([(4, 3), (4, 2), (5, 2)], "E"),
    (3, 1): ([(3, 2), (4, 2), (5, 2), (6, 2), (7, 2)], "W"),
    (0, 3): ([(2, 3), (2, 4), (2, 5), (2, 6), (1, 6)], "W"),
}


def all_pairs(rows, cols):
    every = ref.tiles(chip(rows, cols))
    return [(source, target) for source in every for target in every if source != target]


@pytest.mark.parametrize(("target", "expected"), ROUTES.items())
def test_routes_of_the_worked_example_cell_by_cell(target, expected):
    cells, side = expected
    assert ref.route((1, 1), target) == cells
    assert ref.ports_of_route((1, 1), target)[-1] == Entry(ref.cell_of(target), "in", side)
    assert ref.hops((1, 1), target) == len(cells)


def test_union_of_the_worked_example_has_12_cells_13_router_outputs_and_17_inputs():
    multicast = Multicast((1, 1), frozenset(ROUTES))
    crossed = ref.routing_cells(multicast)
    assert Counter(ref.kind_of(cell) for cell in crossed) == {"R1": 8, "R0": 4}
    assert len(ref.router_outputs(multicast)) == 13
    assert sum(entry.direction == "in" for entry in ref.union(multicast)) == 17
    assert {entry.side for entry in ref.router_outputs(multicast) if entry.cell == (5, 2)} == {"W", "S"}
    into = {entry.side for entry in ref.union(multicast) if entry.cell == (4, 2) and entry.direction == "in"}
    assert into == {"N", "E"}, "the union reconverges in cell (4,2)"


@pytest.mark.parametrize(("rows", "cols"), GRIDS)
def test_a_route_is_a_shortest_walk_over_routing_cells(rows, cols):
    outside_tiles = {cell for cell in ref.cells(chip(rows, cols)) if ref.kind_of(cell) != "NT"}
    for source in ref.tiles(chip(rows, cols)):
        distance, frontier = {ref.cell_of(source): 0}, [ref.cell_of(source)]
        while frontier:
            y, x = frontier.pop(0)
            for dy, dx in ref.STEP.values():
                there = (y + dy, x + dx)
                if there in outside_tiles and there not in distance:
                    distance[there] = distance[y, x] + 1
                    frontier.append(there)
        for target in ref.tiles(chip(rows, cols)):
            path = ref.route(source, target)
            assert set(path) <= outside_tiles and len(set(path)) == len(path) == ref.hops(source, target)
            if path:
                y, x = ref.cell_of(target)
                assert len(path) == min(distance[y + dy, x + dx] for dy, dx in ref.STEP.values())


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (2, {1: 8, 3: 4}),
        (4, {1: 48, 3: 36, 5: 80, 7: 56, 9: 16, 11: 4}),
        (5, {1: 80, 3: 64, 5: 156, 7: 140, 9: 100, 11: 40, 13: 16, 15: 4}),
    ],
)
def test_hops_of_all_ordered_pairs(size, expected):
    assert Counter(len(ref.route(*pair)) for pair in all_pairs(size, size)) == expected


@pytest.mark.parametrize(("rows", "cols"), [(4, 4), (3, 5)])
def test_a_tile_hears_its_vertical_neighbours_from_n_and_s_and_everybody_else_from_the_side(rows, cols):
    for source, target in all_pairs(rows, cols):
        (from_row, from_col), (row, col) = source, target
        if from_col == col and abs(from_row - row) == 1:
            side = "N" if from_row < row else "S"
        else:
            side = "W" if from_col <= col else "E"
        assert ref.ports_of_route(source, target)[-1].side == side


def test_a_unicast_chain_enters_and_leaves_every_cell_once():
    for source, target in all_pairs(4, 4):
        entries = ref.ports_of_route(source, target)
        assert len(set(entries)) == len(entries) == 2 * (ref.hops(source, target) + 1)
        assert [ref.partner(entry) for entry in entries[::2]] == entries[1::2]
        assert [ref.partner(entry) for entry in entries[1::2]] == entries[::2]


# --- trees ----------------------------------------------------------------------------------------------------------

TILES_45 = ref.tiles(chip(4, 5))
trees = st.builds(Multicast, st.sampled_from(TILES_45), st.frozensets(st.sampled_from(TILES_45), min_size=1))


def inputs_per_cell(multicast):
    inputs = (entry for entry in ref.union(multicast) if entry.direction == "in")
    return Counter(entry.cell for entry in inputs if ref.kind_of(entry.cell) != "NT")


@settings(max_examples=150, deadline=None)
@given(trees, st.sampled_from(TILES_45))
def test_a_tree_is_between_its_longest_route_and_all_routes_and_only_grows(tree, another):
    reached = [ref.hops(tree.source, target) for target in tree.targets]
    size = len(ref.routing_cells(tree))
    assert max(reached) <= size <= sum(reached)
    if len(reached) == 1:
        assert size == reached[0]
    larger = tree._replace(targets=tree.targets | {another})
    assert len(ref.routing_cells(larger)) >= size
    assert ref.union(larger) >= ref.union(tree), "a new destination changes no channel that is already owned"


@settings(max_examples=150, deadline=None)
@given(trees)
def test_every_routing_cell_of_a_tree_is_entered_and_left_and_tiles_only_end_it(tree):
    entered = inputs_per_cell(tree)
    assert set(entered) == {entry.cell for entry in ref.router_outputs(tree)}
    tile_entries = [entry for entry in ref.union(tree) if ref.kind_of(entry.cell) == "NT"]
    heard = [entry.cell for entry in tile_entries if entry.direction == "in"]
    assert sorted(heard) == sorted(ref.cell_of(target) for target in tree.targets if target != tree.source)
    assert {entry.cell for entry in tile_entries if entry.direction == "out"} <= {ref.cell_of(tree.source)}
    if all(ref.hops(tree.source, target) <= 3 for target in tree.targets):
        assert set(entered.values()) <= {1}


def test_24_of_the_1112_cells_of_full_multicast_on_5x5_are_entered_more_than_once():
    every = ref.tiles(chip(5, 5))
    entered = [inputs for tile in every for inputs in inputs_per_cell(Multicast(tile, frozenset(every))).values()]
    assert (len(entered), sum(inputs > 1 for inputs in entered)) == (1112, 24)


# --- networks -------------------------------------------------------------------------------------------------------


def test_who_reads_whom():
    kinds = [("input", 0, 0), ("hidden", 0, 0), ("hidden", 0, 1), ("hidden", 1, 0), ("hidden", 1, 1)]
    kinds += [("output", 0, 0), ("output", 0, 1)]
    for directed in (True, False):
        network = Network([], layers=2, directed=directed)
        for kind, layer, generation in kinds:
            network = network.and_also(1, kind, (0, 0), layer, generation)
        found = [[network.neurons.index(one) for one in network.sources(neuron)] for neuron in network.neurons]
        assert found == [[], [0], [0], [1] if directed else [1, 2], [1, 2], [3], [3, 4]]


@st.composite
def networks(draw):
    """Small networks on 2x3 tiles of four neurons."""
    network = Network([], layers=draw(st.integers(1, 2)), directed=draw(st.booleans()))
    tile = st.sampled_from(ref.tiles(chip(2, 3)))
    for kind in ("input", "hidden", "hidden", "hidden", "output", "output"):
        count, generation = draw(st.integers(1, 3)), 0 if kind == "input" else draw(st.integers(0, 1))
        layer = draw(st.integers(0, network.layers - 1)) if kind == "hidden" else 0
        network = network.and_also(count, kind, draw(tile), layer, generation)
    return network


@settings(max_examples=60, deadline=None)
@given(networks(), st.sampled_from(ref.tiles(chip(2, 3))), st.integers(0, 1))
def test_another_hidden_unit_lowers_no_cost_and_no_load(network, tile, generation):
    spec = chip(2, 3, neurons=4)
    larger = network.and_also(1, "hidden", tile, 0, generation)
    counts = (ref.tree_cells, ref.unicast_hops, ref.used_router_devices, ref.row_cells, ref.hop_weighted_pairs)
    assert all(count(larger) >= count(network) for count in counts)
    priced = (ref.synapses, ref.latency, ref.energy)
    assert all(price(spec, larger) >= price(spec, network) * (1 - 1e-12) for price in priced)
    before, after = ref.loads(network.multicasts()), ref.loads(larger.multicasts())
    assert all(after[entry] >= load for entry, load in before.items())
    assert ref.minimum_chip(spec, after) >= ref.minimum_chip(spec, before)


@settings(max_examples=100, deadline=None)
@given(networks())
def test_what_fits_uses_no_more_devices_than_there_are(network):
    for spec in (chip(2, 3, neurons=4), chip(2, 3, neurons=12), chip(2, 3, neurons=12, r1_channels=5, r0_channels=3)):
        if not ref.violations(spec, network):
            assert ref.synapses(spec, network) + ref.used_router_devices(network) <= ref.provisioned(spec)


@settings(max_examples=60, deadline=None)
@given(networks())
def test_the_fan_in_of_a_tile_needs_no_routing(network):
    used = ref.loads(network.multicasts())
    for row, col in ref.tiles(chip(2, 3)):
        heard = dict.fromkeys(ref.SIDES, 0)
        for (y, x), targets in network.multicasts():
            if (row, col) in targets and (y, x) != (row, col):
                vertical = x == col and abs(y - row) == 1
                heard[("N" if y < row else "S") if vertical else ("W" if x <= col else "E")] += 1
        assert all(used[Entry((2 * row + 1, 2 * col + 1), "in", side)] == heard[side] for side in ref.SIDES)


def test_a_network_on_one_tile_needs_no_routing():
    network = Network([]).and_also(3, "input", (1, 1)).and_also(4, "hidden", (1, 1)).and_also(2, "output", (1, 1))
    assert ref.used_router_devices(network) == ref.tree_cells(network) == ref.mean_hops(network) == 0
    assert not ref.loads(network.multicasts())
    # Rows: 3 inputs and 4 hidden units drive 9 columns each. Two tile delays; 6 units spike for 1 pJ each.
    assert (ref.row_cells(network), ref.synapses(DEMO, network)) == (7 * 9, 3 * 4 + 4 * 2)
    assert ref.latency(DEMO, network) == pytest.approx(200e-9)
    for spec in (DEMO, chip(e_hop_J=1.0), chip(energy_mode="device")):
        assert ref.energy(spec, network) == pytest.approx(6e-12 + 63 * 0.113625e-12, rel=1e-12)


def test_units_without_sources_still_need_a_tile_delay():
    assert ref.latency(DEMO, Network([])) == 0.0
    assert ref.latency(DEMO, Network([]).and_also(1, "input", (0, 0))) == 0.0
    assert ref.latency(DEMO, Network([]).and_also(1, "output", (0, 0))) == pytest.approx(100e-9)


# --- what does not fit ----------------------------------------------------------------------------------------------


def test_a_link_is_as_narrow_as_the_smaller_of_its_ports():
    network = Network([]).and_also(3, "input", (0, 0)).and_also(1, "hidden", (1, 0))
    assert not ref.violations(chip(2, 2, neurons=3), network)
    narrow = chip(2, 2, neurons=3, ports=(2, 3, 3, 3))  # the reader hears its inputs from the north
    out_of_router, into_tile = Entry((2, 1), "out", "S"), Entry((3, 1), "in", "N")
    assert ref.violations(narrow, network) == [("NT_FANIN", into_tile, 3, 2), ("ROUTER_PORT", out_of_router, 3, 2)]
    thin_router = chip(2, 2, neurons=3, r1_channels=2)
    crossed = [into_tile, Entry((1, 1), "out", "S"), Entry((2, 1), "in", "N"), out_of_router]
    assert [found.place for found in ref.violations(thin_router, network)] == crossed
    assert not ref.violations(chip(2, 2, neurons=3, r0_channels=0), network)


def test_all_reasons_come_in_the_order_of_the_codes():
    network = Network([]).and_also(4, "input", (0, 0)).and_also(2, "hidden", (1, 1))
    spec = chip(2, 2, neurons=3, max_crossbar_side=3)
    codes = [found.code for found in ref.violations(spec, network)]
    # One slot too few; 4 channels on 8 entries of the route; 4 rows in each of its 3 routers, and in both tiles.
    assert codes == ["NO_SLOT", "NT_FANIN"] + ["ROUTER_PORT"] * 7 + ["CROSSBAR_SIDE"] * 5
    sides = ref.crossbar_sides(spec, network)
    assert (sides[1, 1], sides[2, 1], sides[2, 2], sides[3, 3]) == ((0, 4), (4, 4), (4, 4), (4, 2))


def test_dense_readers_of_full_input_tiles_run_out_of_channels():
    spec = chip(neurons=1)  # one neuron fills a tile, one channel a port

    def fits(columns, readers):
        network = Network([])
        for column in columns:
            network = network.and_also(1, "input", (0, column))
        for tile in readers:
            network = network.and_also(1, "hidden", tile)
        return not ref.violations(spec, network)

    free = [tile for tile in ref.tiles(spec) if tile[0] > 0]
    assert fits([0], free)
    assert fits([0, 2], [(row, 1) for row in range(4)])
    assert fits([0, 3], [(row, column) for row in range(1, 4) for column in (0, 2)])
    assert [tile for tile in free if fits([0, 1, 2], [tile])] == [(1, 1)]
    assert not any(fits([0, 1, 2, 3], [tile]) for tile in free)


# --- costs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "cols", "neurons", "corner", "with_uturns", "without"),
    [
        (2, 2, 8, 8, 22_784, 17_408),
        (4, 4, 32, 32, 1_146_880, 880_640),
        (5, 5, 32, 8, 1_147_904, 892_928),
        (8, 8, 32, 32, 4_014_080, 3_092_480),
        (8, 8, 128, 128, 64_225_280, 49_479_680),
    ],
)
def test_provisioned_memristors_of_the_preset_chips(rows, cols, neurons, corner, with_uturns, without):
    for allowed, expected in ((True, with_uturns), (False, without)):
        assert ref.provisioned(chip(rows, cols, neurons, r0_channels=corner, allow_uturn_cells=allowed)) == expected


def test_device_energy_counts_the_on_and_the_off_cells_of_a_router_row():
    one_branch = Network([]).and_also(1, "input", (0, 0)).and_also(1, "hidden", (0, 1))
    two_routes = one_branch.and_also(1, "hidden", (1, 1))  # over (1,2), and over (2,1), (2,2), (3,2): nothing shared
    rows = 0.113625e-12
    spec = chip(energy_mode="device", e_neuron_J=0.0)
    one, two = 2.25e-9 * (1e-4 + 127e-6), 2.25e-9 * (2e-4 + 126e-6)
    assert (one, two) == pytest.approx((0.51e-12, 0.73e-12), rel=0.01)
    assert ref.energy(spec, one_branch) == pytest.approx(one + rows)
    assert ref.energy(spec, two_routes) == pytest.approx(4 * one + 2 * rows)
    branching = Network([]).and_also(1, "input", (0, 0)).and_also(1, "hidden", (1, 1)).and_also(1, "hidden", (1, 0))
    assert ref.energy(spec, branching) == pytest.approx(two + 2 * one + 2 * rows), "(2,1) sends south and east"
    assert ref.energy(chip(e_hop_J=one, e_neuron_J=0.0), two_routes) == pytest.approx(4 * one + 2 * rows)


# --- the growth example ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "tree", "router", "rows", "synapses", "weighted", "energy_pJ", "latency_ns", "chip_size", "fullest"),
    [
        (CASE_A, 360, 392, 1344, 1344, 4432, 302.712, 1200, 1_114_112, 32),
        (CASE_B, 296, 328, 1008, 1008, 3280, 237.334, 1200, 1_114_112, 32),
        (grown(CASE_A, (2, 0)), 576, 608, 1880, 1800, 7312, 441.415, 1400, 1_522_688, 40),
    ],
    ids=["A", "B", "A forced on (2,0)"],
)
def test_costs_of_the_growth_example(
    network, tree, router, rows, synapses, weighted, energy_pJ, latency_ns, chip_size, fullest
):
    used = ref.loads(network.multicasts())
    assert (ref.tree_cells(network), ref.used_router_devices(network), ref.row_cells(network)) == (tree, router, rows)
    assert (ref.synapses(DEMO, network), ref.hop_weighted_pairs(network)) == (synapses, weighted)
    assert ref.mean_hops(network) == pytest.approx(weighted / synapses)
    assert ref.energy(DEMO, network) == pytest.approx(energy_pJ * 1e-12, abs=5e-16)
    assert ref.latency(DEMO, network) == pytest.approx(latency_ns * 1e-9)
    assert (ref.minimum_chip(DEMO, used), max(used.values())) == (chip_size, fullest)


def test_case_a_forced_on_20_overfills_four_port_entries():
    found = ref.violations(DEMO, grown(CASE_A, (2, 0)))
    assert [(violation.code, violation.place) for violation in found] == [
        ("NT_FANIN", Entry(ref.cell_of((3, 3)), "in", "W")),
        ("ROUTER_PORT", Entry((6, 6), "out", "S")),
        ("ROUTER_PORT", Entry((7, 6), "in", "N")),
        ("ROUTER_PORT", Entry((7, 6), "out", "E")),
    ]
    assert {(violation.used, violation.limit) for violation in found} == {(40, 32)}


def test_growth_of_case_a_fits_on_no_tile_although_fifteen_have_room():
    assert not ref.violations(DEMO, CASE_A)
    reasons = {tile: first_code(DEMO, grown(CASE_A, tile)) for tile in ref.tiles(DEMO)}
    assert reasons.pop((0, 0)) == "NO_SLOT"
    assert reasons.pop((2, 3)) == "ROUTER_PORT"
    assert len(reasons) == 14 and set(reasons.values()) == {"NT_FANIN"}
    assert sum(not CASE_A.on(tile) for tile in ref.tiles(DEMO)) == 12


def test_growth_of_case_b_fits_on_thirteen_tiles_and_is_best_beside_its_sources():
    reasons = {tile: first_code(DEMO, grown(CASE_B, tile)) for tile in ref.tiles(DEMO)}
    refused = {tile: reason for tile, reason in reasons.items() if reason}
    assert refused == {(0, 0): "NO_SLOT", (2, 3): "ROUTER_PORT", (3, 3): "NT_FANIN"}
    costs = sorted((ref.tree_cells(grown(CASE_B, tile)), tile) for tile in reasons if tile not in refused)
    assert costs[:2] == [(352, (1, 1)), (368, (1, 0))] and len(costs) == 13
