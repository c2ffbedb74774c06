"""Annealing: optima worked out by hand or by trying everything, what it keeps, and what it rewrites."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from growenv.hardware.architecture import Architecture
from growenv.hardware.mosaic import fabric, resources
from growenv.hardware.mosaic.anneal import anneal
from growenv.hardware.mosaic.mapping import Mapping
from growenv.hardware.mosaic.strategies import STRATEGIES
from growenv.registry import UnknownNameError
from tests.hardware.mosaic import reference as ref
from tests.hardware.mosaic.placing import CHIPS, architecture, chip, everyone, first_obstacle, network

SHORT = {"steps": 25, "candidates": 8}


def placed(spec, one: Architecture, limits=True, name="greedy") -> Mapping:
    """A mapping of whole networks."""
    mapping = Mapping(fabric(spec), STRATEGIES.make(name), one, limits)
    mapping.begin(everyone(one), one)
    return mapping


def chain(*widths, tasks=1) -> Architecture:
    """Inputs, hidden layers of generation 0, outputs of each head."""
    units = np.zeros((1, tasks, len(widths) - 2), dtype=np.int64)
    units[0, 0] = widths[1:-1]
    return architecture(widths[0], units, np.full((1, tasks), widths[-1]))


def on(annealed, klass) -> dict[int, int]:
    """Units of a class by tile."""
    counts = annealed.mapping.placement.counts[0, klass]
    return {int(tile): int(counts[tile]) for tile in np.flatnonzero(counts)}


# --- worked out by hand -----------------------------------------------------------------------------------------------

# 3x3 tiles of 8: 8 inputs fill (0,1), 8 outputs fill (2,1). Greedy puts layer 0, of 4 units, on (0,0), the first of
# three tiles beside the inputs, and layer 1, of 4 units, on (1,0): 8 x 1 + 4 x 1 + 4 x 3 = 24 cells. Inputs and
# layer 1 cannot stand with their readers or sources, so 8 x 1 + 4 x 1 = 12 is the least: both layers on (1,1).
GREEDY_FAILS = chain(8, 4, 4, 8)


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_optimum_that_greedy_misses(seed):
    start = placed(chip(), GREEDY_FAILS)
    assert np.argwhere(start.placement.counts[0]).tolist() == [[0, 1], [1, 0], [2, 3], [3, 7]]
    found = anneal(start, seed=seed, steps=100)
    assert (found.before, found.after, found.excess) == (24, 12, 0)
    assert (on(found, 1), on(found, 2)) == ({4: 4}, {4: 4})


def test_what_moves_and_what_is_rewritten_are_counted():
    found = anneal(placed(chip(), GREEDY_FAILS), steps=100)
    # Each synapse has an end that moved: 8 x 4 + 4 x 4 + 4 x 8. The inputs stay, but their way to (1,1) is new: one
    # router output each. So is that of layer 1.
    assert (found.moved, found.rewritten) == (2, 80 + 8 + 4)
    paired = replace(chip(), devices_per_synapse=2)
    assert anneal(placed(paired, GREEDY_FAILS), steps=100).rewritten == 2 * 80 + 8 + 4


def test_half_a_group_moves_where_the_whole_has_no_room():
    # 2x2 tiles of 8: inputs fill (0,0), the head leaves 4 slots on (1,0). The 8 hidden units on (0,1) cost 8 + 24.
    # With 4 of them beside the head, the others on (0,1) cost 16 + 12, or on (1,1) 24 + 4.
    found = anneal(placed(chip(2, 2), chain(8, 8, 4)), steps=100)
    assert (found.before, found.after) == (32, 28)
    assert on(found, 1) in ({1: 4, 2: 4}, {2: 4, 3: 4})


def test_full_tiles_swap():
    # Every tile is full, so nothing moves alone. Layer 0 on (1,1) and layer 1 on (0,1) cost 8 x (3 + 1 + 3), and the
    # ways to (1,1) and to (1,0) meet in the corner router between them; swapped, they cost 8 x 3.
    empty, full = chain(8, 0, 0, 8), chain(8, 8, 8, 8)
    start = placed(chip(2, 2), empty, limits=False)
    for layer, tile in ((0, 3), (1, 1)):
        units = full.units * (np.arange(2) <= layer)
        start.follow(everyone(full), Architecture(8, units, full.outputs, True), np.arange(4)[None] == tile)
    found = anneal(start, steps=1, candidates=1)
    assert (found.before, found.after, found.moved) == (56, 24, 2)
    assert (on(found, 1), on(found, 2)) == ({1: 8}, {3: 8})


def test_a_network_that_cannot_move_stays():
    start = placed(chip(2, 2), chain(8, 8, 8, 8))
    found = anneal(start, steps=3)
    assert (found.before, found.after, found.moved, found.rewritten) == (24, 24, 0, 0)
    none = anneal(placed(chip(2, 2), chain(8, 0, 8)))
    assert (none.before, none.after) == (0, 0)


# --- tried one by one -------------------------------------------------------------------------------------------------


def spread(units: int, room: list[int]) -> list[tuple[int, ...]]:
    """All ways to put alike units on tiles with some room."""
    ways = itertools.product(*(range(min(units, free) + 1) for free in room))
    return [way for way in ways if sum(way) == units]


def least_routing(spec, start: Mapping) -> int:
    """The least routing of all placements of two hidden layers that keep every limit, by the reference."""
    counts = start.placement.counts.copy()
    one, two = counts[0, 1].sum(), counts[0, 2].sum()
    counts[0, 1:3] = 0
    room = (spec.neurons_per_tile - counts[0].sum(axis=0)).tolist()
    costs = []
    for first, second in itertools.product(spread(one, room), spread(two, room)):
        counts[0, 1], counts[0, 2] = first, second
        trial = network(start.placement, 0, counts)
        if not first_obstacle(spec, trial):
            costs.append(ref.tree_cells(trial))
    return min(costs)


@pytest.mark.parametrize(
    "spec",
    [
        chip(2, 2, 4),
        chip(2, 2, 4, r0_port_channels=1),
        chip(2, 2, 4, nt_port_channels=(4, 2, 2, 3)),
        chip(2, 2, 4, max_crossbar_side=7),
        chip(1, 4, 4, r1_port_channels=3),
    ],
    ids=["all channels", "thin corners", "thin tiles", "short crossbars", "a strip"],
)
def test_it_finds_the_optimum_among_all_placements_of_small_networks(spec):
    start = placed(spec, chain(3, 3, 2, 3), limits=False)
    found = anneal(start, steps=120)
    assert first_obstacle(spec, network(found.mapping.placement)) == ""
    assert found.after == least_routing(spec, start)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_placement_that_breaks_limits_is_repaired():
    spec = chip(3, 3, 8, r0_port_channels=2)
    start = placed(spec, chain(8, 6, 6, 6), limits=False, name="row_major")
    assert first_obstacle(spec, network(start.placement)) == "router"
    found = anneal(start, steps=100)
    over = np.maximum(start.placement.load[0, :-1] - start.fabric.capacity, 0)
    assert found.excess == over.sum() > 0
    assert first_obstacle(spec, network(found.mapping.placement)) == ""
    assert found.mapping.limits


def test_a_start_that_cannot_be_repaired_is_refused():
    spec = chip(2, 2, 8, nt_port_channels=2)
    start = placed(spec, chain(8, 8, 8), limits=False)
    with pytest.raises(ValueError, match=r"no placement within all limits was found in 5 steps .* more steps"):
        anneal(start, steps=5)


# The optimum of GREEDY_FAILS drives 64 + 32 + 32 crossbar cells, greedy places 32 + 16 + 32; in pJ, with 16 spikes:
# 16 + 12 x 0.3 + 128 x 0.113625 = 34.1, and 16 + 24 x 0.3 + 80 x 0.113625 = 32.3. So less routing can cost energy.
@pytest.mark.parametrize(
    ("limits", "least"),
    [
        ({}, 12),
        ({"max_energy_J": 35e-12}, 12),
        ({"max_energy_J": 33e-12}, 13),
        # 80 synapses; greedy has 24 routing devices more, the optimum 12.
        ({"max_memristors": 104}, 12),
        # Three tiles and 2 cells take 500 ns, with 5 cells 800.
        ({"max_latency_s": 500e-9}, 12),
    ],
)
def test_limits_of_the_whole_chip_are_kept(limits, least):
    spec = replace(chip(), **limits)
    found = anneal(placed(spec, GREEDY_FAILS, limits=False), steps=100)
    placement = found.mapping.placement
    assert least <= found.after <= (12 if least == 12 else 24)
    energy = resources.energy(placement, placement.counts)[0]
    assert energy <= limits.get("max_energy_J", 1.0)
    assert energy == pytest.approx(ref.energy(spec, network(placement)))


def test_a_start_beyond_a_limit_of_the_whole_chip_is_repaired_or_refused():
    start = placed(replace(chip(), max_latency_s=500e-9), GREEDY_FAILS)
    assert resources.latency(start.placement, start.placement.counts)[0] == pytest.approx(800e-9)
    assert anneal(start, steps=100).after == 12
    with pytest.raises(ValueError, match="no placement within all limits"):
        anneal(placed(replace(chip(), max_memristors=91), GREEDY_FAILS), steps=20)


# --- properties -------------------------------------------------------------------------------------------------------


@st.composite
def networks(draw):
    """A chip, and two networks with up to three tasks and two layers."""
    tasks, layers = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    units, outputs = rng.integers(0, 5, (2, tasks, layers)), rng.integers(1, 3, (2, tasks))
    units[:, 0] += 1
    return draw(st.sampled_from(sorted(CHIPS))), Architecture(int(rng.integers(1, 7)), units, outputs, bool(seed % 2))


def devices(one: ref.Network) -> list[set]:
    """Routing devices of each neuron."""
    return [set(ref.router_outputs(multicast)) for multicast in one.multicasts()]


def rewritten(start: Mapping, row: int, end: Mapping) -> int:
    """Memristors that are programmed anew, neuron by neuron: as many neurons of each class as possible stay."""
    old, new = network(start.placement, row).neurons, []
    wanted = Counter((one.kind, one.layer, one.generation, one.tile) for one in network(end.placement).neurons)
    staying = []
    for one in old:
        key = (one.kind, one.layer, one.generation, one.tile)
        staying.append(wanted[key] > 0)
        wanted[key] -= wanted[key] > 0
    left = [key for key, count in wanted.items() for _ in range(count)]
    for one, stays in zip(old, staying, strict=True):
        tile = one.tile
        if not stays:
            key = next(key for key in left if key[:3] == (one.kind, one.layer, one.generation))
            left.remove(key)
            tile = key[3]
        new.append(replace(one, tile=tile))
    layers, directed = start.placement.classes.layers, start.placement.classes.directed
    before, after = ref.Network(old, layers, directed), ref.Network(new, layers, directed)
    stays_of = dict(zip(new, staying, strict=True))
    synapses = sum(not (stays_of[source] and stays_of[reader]) for source, reader in ref.pairs(after))
    routing = sum(
        len(now - was if stays else now)
        for was, now, stays in zip(devices(before), devices(after), staying, strict=True)
    )
    return start.fabric.spec.devices_per_synapse * synapses + routing


def assert_the_same(one, two) -> None:
    for name, value in one.mapping.placement.snapshot().items():
        assert np.array_equal(value, two.mapping.placement.snapshot()[name]), name
    for name in ("before", "after", "excess", "moved", "rewritten"):
        assert getattr(one, name) == getattr(two, name)


@settings(max_examples=40)
@example(("3x3x8", chain(8, 4, 4, 8)), True)
@given(networks(), st.booleans())
def test_results_are_valid_never_worse_and_conserve_units(given_network, limits):
    name, one = given_network
    row = one.rows - 1
    try:
        start = placed(CHIPS[name], one, limits)
    except ValueError:
        assume(False)
    before = start.snapshot()
    try:
        found = anneal(start, row, **SHORT)
    except ValueError:
        assert first_obstacle(CHIPS[name], network(start.placement, row))
        return
    after, klass = found.mapping.placement, start.placement.classes
    assert first_obstacle(CHIPS[name], network(after)) == ""
    assert found.before == ref.tree_cells(network(start.placement, row))
    assert found.after == ref.tree_cells(network(after)) == resources.routing_events(after)[0]
    assert found.excess or found.after <= found.before
    old, new = start.placement.counts[row], after.counts[0]
    assert np.array_equal(old.sum(axis=1), new.sum(axis=1))
    assert np.array_equal(old[0], new[0]) and np.array_equal(old[klass.head(0) :], new[klass.head(0) :])
    assert found.moved == (old > new).sum()
    assert found.rewritten == rewritten(start, row, found.mapping)
    for key, value in start.snapshot()["placement"].items():
        assert np.array_equal(value, before["placement"][key]), f"the start has changed: {key}"


@settings(max_examples=10)
@given(networks(), st.integers(0, 100))
def test_equal_seeds_give_equal_results_whatever_the_row_and_its_neighbours(given_network, seed):
    name, one = given_network
    try:
        both = placed(CHIPS[name], one)
    except ValueError:
        assume(False)
    state = np.random.get_state()[1].copy()
    found = anneal(both, one.rows - 1, seed=seed, **SHORT)
    assert_the_same(found, anneal(both, one.rows - 1, seed=seed, **SHORT))
    alone = placed(CHIPS[name], Architecture(one.inputs, one.units[-1:], one.outputs[-1:], one.directed))
    assert_the_same(found, anneal(alone, seed=seed, **SHORT))
    assert np.array_equal(np.random.get_state()[1], state), "the global generator was used"


def test_the_network_may_grow_further_from_where_it_stands_now():
    one = chain(8, 4, 4, 6, tasks=2)
    found = anneal(placed(chip(), one, limits=False), **SHORT)
    grown = one.grown(0, 3, 1)
    assert found.mapping.shows(one)
    found.mapping.follow(everyone(one), grown)
    assert found.mapping.shows(grown)
    assert first_obstacle(chip(), network(found.mapping.placement)) == ""


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"row": 1}, r"row=1: expected a placed network, 0\.\.0"),
        ({"row": -1}, r"row=-1: expected an integer of at least 0"),
        ({"row": 0.0}, r"row=0\.0: expected an integer of at least 0"),
        ({"seed": -1}, "seed=-1: expected an integer of at least 0"),
        ({"seed": None}, "seed=None: expected an integer"),
        ({"steps": 0}, "steps=0: expected an integer of at least 1"),
        ({"steps": True}, "steps=True: expected an integer"),
        ({"candidates": 0}, "candidates=0: expected an integer of at least 1"),
        ({"penalty": 0}, "penalty=0: expected a finite number above 0"),
        ({"penalty": float("nan")}, "penalty=nan: expected a finite number above 0"),
        ({"penalty": float("inf")}, "penalty=inf: expected a finite number above 0"),
        ({"penalty": "4"}, "penalty='4': expected a finite number above 0"),
    ],
)
def test_wrong_numbers_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        anneal(placed(chip(), GREEDY_FAILS), **options)


def test_a_row_that_never_began_is_refused():
    with pytest.raises(ValueError, match="row=0: expected a placed network"):
        anneal(Mapping(fabric(chip()), STRATEGIES.make("greedy"), GREEDY_FAILS))


def test_annealing_is_no_strategy_for_growing_networks():
    with pytest.raises(UnknownNameError, match="unknown placement strategy 'anneal'"):
        STRATEGIES.make("anneal")
