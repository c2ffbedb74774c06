"""Memristors, hops, energy, latency and the smallest chip, against the reference and against numbers by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growenv.hardware import Architecture
from growenv.hardware.mosaic import fabric, resources
from growenv.hardware.mosaic.placement import Classes, Placement
from tests.hardware.mosaic import placing
from tests.hardware.mosaic import reference as ref
from tests.hardware.mosaic.placing import CHIPS, chip, crowded, network, put, scattered
from tests.hardware.mosaic.reference import Entry

PRICED = {  # chips whose constants are all different from 0, 1 and each other
    "lumped": chip(energy_mode="lumped", e_hop_J=0.7e-12, e_neuron_J=1.3e-12, e_in_J=0.2e-12, p_static_W=3e-6),
    "device": chip(energy_mode="device", e_in_J=0.4e-12, r0_port_channels=5, r1_port_channels=7, p_static_W=1e-6),
    "slow": chip(2, 4, t_hop_s=3e-8, t_tile_s=7e-7, devices_per_synapse=2, recurrent_block=False, g_lrs_S=2e-4),
    "ports": chip(2, 3, nt_port_channels=(3, 8, 5, 6), v_read_V=0.3, t_pulse_s=2e-7, g_hrs_S=2e-6),
}


def close(value):
    """Equal but for rounding; the default tolerance of approx is as large as a spike."""
    return pytest.approx(value, rel=1e-12, abs=0)


# --- the growth example ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "tree", "devices", "rows", "synapses", "weighted", "energy_pj", "latency_ns", "chip_size", "fullest"),
    [
        (placing.case_a, 360, 392, 1344, 1344, 4432, 302.712, 1200, 1_114_112, 32),
        (placing.case_b, 296, 328, 1008, 1008, 3280, 237.334, 1200, 1_114_112, 32),
        (placing.case_a_forced, 576, 608, 1880, 1800, 7312, 441.415, 1400, 1_522_688, 40),
    ],
    ids=["A", "B", "A forced on (2,0)"],
)
def test_the_growth_example(case, tree, devices, rows, synapses, weighted, energy_pj, latency_ns, chip_size, fullest):
    placement = case()
    counts = placement.counts
    histogram = resources.hop_histogram(placement, counts)[0]
    assert resources.routing_events(placement).tolist() == [tree]
    assert resources.routing_devices(placement).tolist() == [devices]
    assert resources.row_cells(placement, counts).tolist() == [rows]
    assert (histogram.sum(), histogram @ np.arange(len(histogram))) == (synapses, weighted)
    assert resources.mean_hops(placement, counts)[0] == close(weighted / synapses)
    assert resources.energy(placement, counts)[0] == pytest.approx(energy_pj * 1e-12, rel=0, abs=5e-16)
    assert resources.latency(placement, counts)[0] == close(latency_ns * 1e-9)
    assert resources.minimum_chip(placement).tolist() == [chip_size]
    assert placement.load[:, :-1].max() == fullest


# --- neuron by neuron -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRICED)
@pytest.mark.parametrize("seed", range(8))
def test_every_cost_is_that_of_the_reference(name, seed):
    placement, _ = scattered(PRICED[name], seed, layers=1 + seed % 3, generations=1 + seed % 2)
    check_costs(placement, seed)


@pytest.mark.parametrize("name", PRICED)
@pytest.mark.parametrize(("layers", "bypassed"), [(2, (1,)), (3, (1,)), (3, (1, 2))])
def test_every_cost_is_that_of_the_reference_where_wires_lead_around_layers(name, layers, bypassed):
    for seed in range(2):
        check_costs(scattered(PRICED[name], seed, layers=layers, bypassed=bypassed)[0], seed)


def test_costs_of_wires_by_hand():
    # 3 inputs on (0,0), 2 units of layer 0 on (0,1), nothing in layer 1, a head of 2 on (0,2): each input crosses the
    # router to (0,1), each unit the one to (0,2), as if there were no layer 1. Then a unit of layer 1 on (0,1) hears
    # the 2 units of its own tile, and its spike crosses to the head, too.
    classes = Classes(2, 1, True, (1,))
    placement = Placement(fabric(chip(1, 3)), classes, 1)
    for klass, tile, amount in ((0, 0, 3), (classes.hidden(0, 0), 1, 2), (classes.head(0), 2, 2)):
        put(placement, klass, tile, amount)
    small = Architecture(3, np.array([[[2, 0]]]), np.array([[2]]), True, (1,))
    assert resources.routing_events(placement).tolist() == [3 + 2]
    assert resources.memristors(placement, small)[0] == 3 * 2 + 2 * 2 + resources.routing_devices(placement)[0]
    put(placement, classes.hidden(1, 0), 1, 1)
    assert resources.routing_events(placement).tolist() == [3 + 2 + 1]
    grown = small.grown(1, 1, 0)
    assert resources.memristors(placement, grown)[0] == 6 + 4 + 2 + 2 + resources.routing_devices(placement)[0]


def check_costs(placement, seed):
    spec = placement.fabric.spec
    rates = np.random.default_rng(seed).uniform(0, 3, (2, placement.classes.count))
    counts = placement.counts
    histogram = resources.hop_histogram(placement, counts)
    for row in range(2):
        one, rated = network(placement, row), network(placement, row, rates=rates)
        hops = Counter(ref.hops(source.tile, reader.tile) for source, reader in ref.pairs(one))
        assert histogram[row].tolist() == [hops[number] for number in range(placement.fabric.longest + 1)]
        assert resources.mean_hops(placement, counts)[row] == close(ref.mean_hops(one))
        assert resources.routing_events(placement)[row] == ref.tree_cells(one)
        assert resources.routing_devices(placement)[row] == ref.used_router_devices(one)
        assert resources.row_cells(placement, counts)[row] == ref.row_cells(one)
        assert resources.latency(placement, counts)[row] == close(ref.latency(spec, one))
        assert resources.minimum_chip(placement)[row] == ref.minimum_chip(spec, ref.loads(one.multicasts()))
        assert resources.energy(placement, counts)[row] == close(ref.energy(spec, one))
        assert resources.energy(placement, counts, rates)[row] == close(ref.energy(spec, rated))
        events = sum(neuron.rate * len(ref.routing_cells(rated.multicast(neuron))) for neuron in rated.neurons)
        assert resources.routing_events(placement, rates)[row] == close(events)


@pytest.mark.parametrize("name", CHIPS)
def test_shares_of_channels_in_use_are_those_of_the_reference(name):
    spec = CHIPS[name]
    placement = crowded(spec, 5)
    cells, fan_in = resources.cell_load(placement, 0)
    used = ref.loads(network(placement).multicasts())
    for cell in ref.cells(spec):
        into = [entry for entry in used if entry.cell == cell and entry.direction == "in"]
        if ref.kind_of(cell) == "NT":
            assert np.isnan(cells[cell])
            tile = (cell[0] // 2) * spec.cols + cell[1] // 2
            assert fan_in[tile] == close(_fullest(spec, used, into))
        else:
            assert cells[cell] == close(_fullest(spec, used, [entry for entry in used if entry.cell == cell]))
    assert np.nanmax(cells) <= 1, "every limit is kept"


def _fullest(spec, used, entries):
    return max((used[entry] / ref.capacity(spec, entry) for entry in entries), default=0.0)


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("seed", range(3))
def test_what_fits_uses_no_more_memristors_than_there_are(name, seed):
    for spec in (CHIPS[name], replace(CHIPS[name], allow_uturn_cells=False, devices_per_synapse=2)):
        placement = crowded(spec, seed)
        synapses = spec.devices_per_synapse * resources.hop_histogram(placement, placement.counts).sum()
        assert synapses + resources.routing_devices(placement)[0] <= spec.provisioned_memristors()


def test_rows_do_not_depend_on_each_other():
    together, calls = scattered(PRICED["device"], 4, rows=3, units=20)
    rates = np.random.default_rng(0).uniform(0, 2, (3, together.classes.count))
    for row in range(3):
        alone = Placement(together.fabric, together.classes, 1)
        for rows, *rest in calls:
            if row in rows:
                put(alone, *(int(values[rows == row][0]) for values in rest))
        for cost in (resources.hop_histogram, resources.row_cells, resources.energy, resources.latency):
            assert cost(alone, alone.counts)[0] == close(cost(together, together.counts)[row])
        for cost in (resources.routing_events, resources.routing_devices, resources.minimum_chip):
            assert cost(alone)[0] == cost(together)[row]
        given = resources.energy(alone, alone.counts, rates[[row]])
        assert given[0] == close(resources.energy(together, together.counts, rates)[row])


# --- energy -----------------------------------------------------------------------------------------------------------

NO_LEAK = {"p_static_W": 0.0}


def energy_on(spec, seed=3, rates=None):
    placement, _ = scattered(spec, seed)
    return resources.energy(placement, placement.counts, rates)


@pytest.mark.parametrize("name", PRICED)
def test_energy_is_linear_in_rates(name):
    spec = replace(PRICED[name], **NO_LEAK)
    rng = np.random.default_rng(1)
    first, second = rng.uniform(0, 2, (2, 2, scattered(spec, 3)[0].classes.count))
    total = energy_on(spec, rates=3 * first + second)
    assert total == close(3 * energy_on(spec, rates=first) + energy_on(spec, rates=second))
    assert energy_on(spec, rates=np.ones_like(first)) == close(energy_on(spec))
    assert not energy_on(spec, rates=np.zeros_like(first)).any()


@pytest.mark.parametrize("name", PRICED)
def test_doubling_all_prices_doubles_energy(name):
    spec = PRICED[name]
    prices = {
        field: 2 * getattr(spec, field) for field in ("e_hop_J", "e_neuron_J", "e_in_J", "t_pulse_s", "p_static_W")
    }
    assert energy_on(replace(spec, **prices)) == close(2 * energy_on(spec))
    prices["t_pulse_s"], prices["v_read_V"] = spec.t_pulse_s, spec.v_read_V * 2**0.5
    assert energy_on(replace(spec, **prices)) == close(2 * energy_on(spec))


def test_static_power_is_paid_for_as_long_as_the_inference_takes():
    spec = replace(PRICED["lumped"], p_static_W=5e-6)
    placement, _ = scattered(spec, 3)
    static = 9 * 5e-6 * resources.latency(placement, placement.counts)
    assert energy_on(spec) - energy_on(replace(spec, **NO_LEAK)) == close(static)


def chain(spec):
    """Every unit has readers on one tile only, so no route branches."""
    placement = Placement(fabric(spec), Classes(2, 1, True), 1)
    for klass, tile in enumerate((0, 4, 5, 7)):
        put(placement, klass, tile, 3)
    return placement


def test_without_branches_device_energy_is_lumped_energy_at_the_price_of_a_device_row():
    device = chip(energy_mode="device")
    row = 0.15**2 * 1e-7 * (1e-4 + 31 * 1e-6)  # one of 4 x 8 outputs is on
    placement, other = chain(device), chain(chip(e_hop_J=row))
    expected = resources.energy(other, other.counts)
    assert resources.energy(placement, placement.counts) == close(expected)
    branching = Placement(fabric(device), Classes(1, 1, True), 1)
    for klass, tile in ((0, 0), (1, 1), (1, 4), (1, 3)):
        put(branching, klass, tile, 1)
    cheaper = Placement(fabric(chip(e_hop_J=row)), branching.classes, 1)
    for klass, tile in ((0, 0), (1, 1), (1, 4), (1, 3)):
        put(cheaper, klass, tile, 1)
    assert resources.energy(branching, branching.counts) > resources.energy(cheaper, cheaper.counts)


@pytest.mark.parametrize("mode", ["lumped", "device"])
def test_a_smallon_one_tile_pays_for_no_routing(mode):
    spec = chip(energy_mode=mode, e_hop_J=1.0)
    placement = Placement(fabric(spec), Classes(1, 1, True), 1)
    for klass, amount in ((0, 3), (1, 4), (2, 1)):
        put(placement, klass, 4, amount)
    counts = placement.counts
    assert resources.routing_devices(placement).tolist() == [0]
    assert resources.mean_hops(placement, counts).tolist() == [0.0]
    # Rows: 3 inputs and 4 hidden units drive 8 cells each; 5 units spike for 1 pJ, inputs for nothing.
    assert resources.row_cells(placement, counts).tolist() == [56]
    assert resources.energy(placement, counts)[0] == close(5e-12 + 56 * 0.113625e-12)
    assert resources.latency(placement, counts)[0] == close(200e-9)


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_an_empty_fabric_costs_nothing():
    placement = Placement(fabric(chip()), Classes(2, 2, True), 2)
    counts = placement.counts
    for cost in (resources.mean_hops, resources.row_cells, resources.energy, resources.latency):
        assert cost(placement, counts).tolist() == [0, 0]
    assert resources.minimum_chip(placement).tolist() == [9 * 64 + 24 * 16**2] * 2  # own blocks; edges face tiles


def test_outputs_that_are_only_held_spike_in_no_inference():
    placement = placing.case_b()
    held = placement.counts.copy()
    put(placement, placing.FIRST.head(1), 15, 5)
    assert (resources.energy(placement, placement.counts) - resources.energy(placement, held))[0] == close(
        5e-12 + 24 * 5 * 0.113625e-12  # 5 spikes, and 5 more cells in each of 24 rows
    )
    assert resources.latency(placement, held) == resources.latency(placement, placement.counts)
    assert resources.mean_hops(placement, held) == resources.mean_hops(placing.case_b(), held)


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(0, 5), st.integers(0, 6), st.integers(1, 4))
def test_more_units_never_lower_a_cost(seed, tile, klass, amount):
    placement, _ = scattered(PRICED["ports"], seed, rows=1)
    before = _costs(placement)
    put(placement, klass, tile, amount)
    assert all(now >= then * (1 - 1e-12) for now, then in zip(_costs(placement), before, strict=True))


def _costs(placement):
    counts = placement.counts
    priced = [cost(placement, counts)[0] for cost in (resources.row_cells, resources.energy, resources.latency)]
    plain = (resources.routing_events, resources.routing_devices, resources.minimum_chip)
    return priced + [cost(placement)[0] for cost in plain] + resources.hop_histogram(placement, counts)[0].tolist()


def test_the_minimum_chip_does_not_depend_on_the_limits_of_the_chip():
    wide, _ = scattered(chip(neurons=8), 2)
    narrow, _ = scattered(chip(neurons=8, nt_port_channels=1, r1_port_channels=1, r0_port_channels=1), 2)
    assert resources.minimum_chip(wide).tolist() == resources.minimum_chip(narrow).tolist()


def test_the_fullest_port_of_case_a_is_full():
    cells, fan_in = resources.cell_load(placing.case_a(), 0)
    assert cells.shape == (9, 9)
    assert np.nanmax(cells) == 1.0
    assert fan_in.reshape(4, 4)[3, 3] == 1.0, "the head hears 32 channels from the west"
    assert (fan_in > 0).sum() == 3
    entry = Entry(ref.cell_of((3, 3)), "in", "W")
    assert ref.loads(network(placing.case_a()).multicasts())[entry] == 32
