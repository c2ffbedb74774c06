"""Which tiles growing networks get, against a search over all tiles by the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from growenv.hardware.mosaic import fabric
from growenv.hardware.mosaic.mapping import EXACT_TILES, OBSTACLES, Mapping
from growenv.hardware.mosaic.placement import Placement
from growenv.hardware.mosaic.strategies import STRATEGIES, RowMajor, head_tiles, input_tiles
from growenv.hardware.mosaic.survey import survey
from tests.hardware.mosaic import reference as ref
from tests.hardware.mosaic.placing import (
    CHIPS,
    architecture,
    chip,
    everyone,
    first_obstacle,
    network,
    numbers,
    put,
    with_more,
)

FULL = 2  # classes of a head


def started(spec, units=(2, 2), tasks=3, rows=1, inputs=4, directed=True, name="greedy", classes=FULL) -> tuple:
    """A mapping of new networks with the heads of all tasks, and their architecture."""
    first = np.zeros((rows, tasks, len(units)), dtype=np.int64)
    first[:, 0] = units
    begun = architecture(inputs, first, np.full((rows, tasks), classes), directed)
    mapping = Mapping(fabric(spec), STRATEGIES.make(name), begun)
    mapping.begin(everyone(begun), begun)
    return mapping, begun


def ask(mapping, layer, amount, generation, allowed=None):
    """The choice for one request of every row."""
    rows = np.arange(mapping.rows)
    mapping.survey(rows, np.full(mapping.rows, generation))
    amounts = np.broadcast_to(amount, mapping.rows)
    return mapping.choose(rows, np.full(mapping.rows, layer), amounts, allowed)


def fit_units(mapping, row=0):
    """No limit is broken, as the reference judges."""
    return first_obstacle(mapping.fabric.spec, network(mapping.placement, row)) == ""


# --- the documented rule, by brute force ------------------------------------------------------------------------------


def search(placement, row, klass, amount, allowed=None, rank=None):
    """Tile, obstacle and added hops by trying every tile.

    The best tile adds the least hops, and the lowest number wins. Without one, the obstacle is that of the tile that
    gets furthest in the order slots, fan-in, router, crossbar.
    """
    spec = placement.fabric.spec
    before, found = network(placement, row), []
    tree = ref.tree_cells(before)
    for tile in range(spec.tiles):
        if allowed is None or allowed[tile]:
            larger = with_more(placement, row, klass, tile, amount)
            found.append((first_obstacle(spec, larger), tile, ref.tree_cells(larger) - tree, larger))
    fitting = [
        (rank[tile] if rank is not None else hops, tile, hops, one) for code, tile, hops, one in found if not code
    ]
    if not fitting:
        return None, max((OBSTACLES.index(code) for code, *_ in found), default=1), 0, 0
    _, tile, hops, larger = min(fitting, key=lambda one: one[:2])
    return tile, 0, hops, ref.used_router_devices(larger) - ref.used_router_devices(before)


GROWN = ["3x3x8", "2x4x8", "4x4x6", "unequal ports", "thin corners", "thin edges", "short crossbars"]


@pytest.mark.parametrize("name", GROWN)
@pytest.mark.parametrize("directed", [True, False])
def test_every_request_gets_the_tile_or_the_obstacle_of_a_search(name, directed):
    spec = CHIPS[name]
    mapping, now = started(spec, rows=2, directed=directed)
    rng, refused = np.random.default_rng(spec.tiles + directed), 0
    for step in range(9):
        generation, layer = step // 3, int(rng.integers(0, 2))
        amount = rng.integers(1, 1 + spec.neurons_per_tile // 2, 2)
        allowed = rng.random((2, spec.tiles)) < (0.4 if step % 3 == 2 else 1.0)
        choice = ask(mapping, layer, amount, generation, allowed)
        klass = mapping.placement.classes.hidden(layer, generation)
        for row in range(2):
            tile, code, hops, branches = search(mapping.placement, row, klass, amount[row], allowed[row])
            assert choice.code[row] == code
            if not code:
                assert (choice.tile[row], choice.hops[row], choice.branches[row]) == (tile, hops, branches)
        kept = mapping.placement.counts.copy()
        fits = choice.code == 0
        now = now.grown(layer, np.where(fits, amount, 0), generation)
        mapping.follow(fits, now, allowed)
        added = np.zeros_like(kept)
        added[fits, klass, choice.tile[fits]] = amount[fits]
        assert np.array_equal(mapping.placement.counts - kept, added), "following takes the tile that was chosen"
        refused += (~fits).sum()
    assert all(fit_units(mapping, row) for row in range(2))
    assert refused < 18


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("3x3x8", (15, 9)),
        ("unequal ports", (11, 5)),
        ("4x4x6", (16, 4)),
        ("thin corners", (6, 12)),
        ("short crossbars", (7, 10)),
    ],
)
def test_whole_networks_are_placed_part_by_part_as_a_search_would(name, units):
    spec = CHIPS[name]
    mapping, begun = started(spec, units=units, inputs=9)
    other = Placement(fabric(spec), mapping.placement.classes, 1)
    for tile, amount in input_tiles(spec, 9):
        put(other, 0, tile, amount)
    for head in range(3):
        room = [tile for tile in head_tiles(spec) if other.occupied()[0, tile] + FULL <= spec.neurons_per_tile]
        put(other, other.classes.head(head), room[0], FULL)
    for layer, left in enumerate(units):
        part = min(left, spec.neurons_per_tile)
        while left:
            klass = other.classes.hidden(layer, 0)
            tile, code, _, _ = search(other, 0, klass, part)
            if code:
                part //= 2
                assert part
                continue
            put(other, klass, tile, part)
            left -= part
            part = min(part, left)
    assert np.array_equal(mapping.placement.counts, other.counts)
    assert np.array_equal(mapping.placement.load[:, :-1], other.load[:, :-1])
    assert fit_units(mapping)
    assert mapping.shows(begun)


@pytest.mark.parametrize("name", ["3x3x8", "4x4x6"])
def test_row_major_takes_the_first_tile_of_its_order_that_fits(name):
    spec = CHIPS[name]
    mapping, now = started(spec, name="row_major")
    for step, amount in enumerate((3, 4, 2, 5, 6, 4)):
        layer, generation = step % 2, step // 2
        rank = RowMajor().rank(
            mapping.fabric, np.zeros((1, spec.tiles)), np.array([layer]), 2, np.arange(spec.tiles)[None]
        )
        klass = mapping.placement.classes.hidden(layer, generation)
        tile, code, hops, _ = search(mapping.placement, 0, klass, amount, rank=rank[0])
        choice = ask(mapping, layer, amount, generation)
        assert choice.code[0] == code
        if not code:
            assert (choice.tile[0], choice.hops[0]) == (tile, hops)
            now = now.grown(layer, amount, generation)
            mapping.follow(everyone(now), now)


# --- rows, order, copies ----------------------------------------------------------------------------------------------


def story(seed, rows, tasks=3, steps=12):
    """Requests in the order of tasks, as (layer [N], amount [N], generation)."""
    rng = np.random.default_rng(seed)
    for step in range(steps):
        yield rng.integers(0, 2, rows), rng.integers(0, 5, rows), step * tasks // steps


@pytest.mark.parametrize("seed", range(4))
def test_rows_do_not_depend_on_each_other(seed):
    spec = chip(r0_port_channels=6)
    together, now = started(spec, rows=4, directed=bool(seed % 2))
    singles = [started(spec, directed=bool(seed % 2)) for _ in range(4)]
    for layer, amount, generation in story(seed, 4):
        everybody = np.arange(4)
        together.survey(everybody, np.full(4, generation))
        choice = together.choose(everybody, layer, np.maximum(amount, 1))
        fits = (choice.code == 0) & (amount > 0)
        now = now.grown(layer, np.where(fits, amount, 0), generation)
        together.follow(fits, now)
        for row, (alone, before) in enumerate(singles):
            same = ask(alone, layer[row], max(amount[row], 1), generation)
            assert same.code[0] == choice.code[row]
            if fits[row]:
                assert [value[0] for value in same] == [value[row] for value in choice]
                singles[row] = alone, before.grown(layer[row], amount[row], generation)
                alone.follow(np.array([True]), singles[row][1])
    for row, (alone, _) in enumerate(singles):
        assert np.array_equal(alone.placement.counts[0], together.placement.counts[row])
        assert np.array_equal(alone.placement.load[0, :-1], together.placement.load[row, :-1])


def test_rows_begin_anew_while_others_go_on():
    mapping, now = started(chip(), rows=3)
    fresh = mapping.snapshot()
    grown = now.grown(0, np.array([4, 3, 2]), 0)
    mapping.follow(everyone(now), grown)
    middle = np.array([False, True, False])
    mapping.begin(middle, now)
    after = mapping.snapshot()
    assert np.array_equal(after["placement"]["counts"][1], fresh["placement"]["counts"][1])
    assert after["networks"].units[:, 0, 0].tolist() == [6, 2, 4]
    assert not mapping.shows(grown)
    assert ask(mapping, 1, 2, 0).tile[1] == ask(started(chip())[0], 1, 2, 0).tile[0], "nothing old is remembered"


def test_growing_and_going_back_is_the_identity():
    mapping, now = started(chip(r0_port_channels=5), rows=2)
    kept, before = mapping.snapshot(), ask(mapping, 0, 3, 0)
    grown = now
    for layer, amount, generation in story(5, 2, steps=6):
        amount = np.where(ask(mapping, 0, 4, generation).code == 0, amount, 0) * (layer == 0)
        grown = grown.grown(0, amount, generation)
        mapping.follow(everyone(now), grown)
    assert not mapping.shows(now)
    mapping.restore(kept)
    assert mapping.shows(now)
    again = mapping.snapshot()
    for name, value in kept["placement"].items():
        assert np.array_equal(value, again["placement"][name])
    assert np.array_equal(kept["home"], again["home"])
    assert np.array_equal(ask(mapping, 0, 3, 0), before)


def test_a_copy_goes_its_own_way():
    mapping, now = started(chip(), rows=2)
    before = [ask(mapping, layer, 3, 1) for layer in (0, 1)]
    kept, twin = mapping.snapshot(), mapping.copy()
    twin.follow(everyone(now), now.grown(0, 5, 0))
    ask(twin, 0, 1, 0)
    ask(twin, 0, 1, 2)
    after = mapping.snapshot()
    assert all(np.array_equal(value, after["placement"][name]) for name, value in kept["placement"].items())
    for layer, expected in enumerate(before):
        assert np.array_equal(ask(mapping, layer, 3, 1), expected)


# --- heads to come ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GROWN)
@pytest.mark.parametrize("seed", range(2))
def test_heads_to_come_fit_even_when_nothing_else_does(name, seed):
    mapping, reserved = started(CHIPS[name], directed=bool(seed), tasks=3)
    rng = np.random.default_rng(seed)
    for generation in range(3):
        begun = np.arange(3) <= generation
        outputs = np.where(begun, 1, FULL)[None]  # every head turns out to be smaller than its reserve
        occupied = mapping.placement.occupied().sum()
        reserved = architecture(4, reserved.units, outputs, reserved.directed)
        mapping.follow(np.array([True]), reserved)
        assert mapping.placement.occupied().sum() == occupied - 1, "a smaller head frees a slot"
        for _ in range(60):
            layer = int(rng.integers(0, 2))
            if ask(mapping, layer, 1, generation).code[0] == 0:
                reserved = reserved.grown(layer, 1, generation)
                mapping.follow(np.array([True]), reserved)
        assert fit_units(mapping)


def test_heads_that_have_not_begun_are_not_present():
    mapping, reserved = started(chip(), tasks=3)
    now = architecture(4, reserved.units, [[FULL, 0, 0]])
    assert mapping.shows(now)
    assert mapping.present(now).sum() == 4 + 4 + FULL
    assert mapping.present(reserved).sum() == mapping.placement.counts.sum() == 4 + 4 + 3 * FULL
    mapping.follow(np.array([True]), now)
    assert np.array_equal(mapping.present(now)[0, mapping.placement.classes.head(1)], np.zeros(9))


def test_a_freed_slot_can_be_used():
    spec = chip(2, 1, 8)
    mapping, reserved = started(spec, units=(4,), tasks=2, inputs=4, classes=4)
    assert ask(mapping, 0, 1, 0).code[0] == OBSTACLES.index("slots")
    smaller = architecture(4, reserved.units, [[3, 4]])
    mapping.follow(np.array([True]), smaller)
    assert ask(mapping, 0, 1, 0).code[0] == 0


# --- what networks are shown, and what cannot be ----------------------------------------------------------------------


def test_networks_are_recognised():
    mapping, now = started(chip(), rows=2)
    assert mapping.hosts(now)
    assert mapping.shows(now)
    assert not mapping.shows(now.grown(0, np.array([0, 1]), 0))
    assert not mapping.shows(replace(now, outputs=now.outputs + 1))
    assert not mapping.hosts(replace(now, directed=False))
    assert not mapping.hosts(replace(now, inputs=5))
    assert not mapping.hosts(replace(now, units=now.units[:1], outputs=now.outputs[:1]))


def follow(spec, units, outputs, **changes):
    """A started network, followed to other numbers."""
    mapping, now = started(spec, **changes)
    mapping.follow(np.array([True]), architecture(now.inputs, units, outputs))


@pytest.mark.parametrize(
    ("units", "outputs", "message"),
    [
        ([[[1, 2]] + [[0, 0]] * 2], [[2, 2, 2]], "fewer units than before"),
        ([[[2, 2]] + [[0, 0]] * 2], [[2, 2, 3]], "head 2 has 3 outputs, but slots for 2 are held"),
        ([[[90, 2]] + [[0, 0]] * 2], [[2, 2, 2]], r"of 88 units of layer 0 do not fit on the fabric \((fan-in|router)"),
    ],
)
def test_networks_that_cannot_be_followed(units, outputs, message):
    with pytest.raises(ValueError, match=message):
        follow(chip(), units, outputs)


@pytest.mark.parametrize(
    ("spec", "changes", "message"),
    [
        (chip(), {"inputs": 25}, "25 inputs are too many .*input_pool.*mosaic-large"),
        (chip(), {"classes": 9}, "the heads do not fit: the 3 tiles of the last row have 8 slots each .* head 0"),
        (chip(), {"tasks": 13}, r"the heads do not fit.*head 12 with 2 outputs"),
        (chip(2, 2), {"units": (20, 4)}, "units of layer . do not fit .*larger|do not fit .*more tiles or channels"),
        (chip(max_crossbar_side=3), {"inputs": 4}, r"inputs or heads do not fit on the fabric \(crossbar\)"),
    ],
)
def test_networks_that_cannot_begin(spec, changes, message):
    with pytest.raises(ValueError, match=message):
        started(spec, **changes)


def test_a_head_without_a_reserve_must_find_its_channels():
    # A last layer on (1,0) and (1,2) fills the ports of (2,1) that a head needs; nothing was held for it.
    spec = chip(nt_port_channels=3)
    first = architecture(2, [[[8], [0]]], [[0, 0]])
    mapping = Mapping(fabric(spec), STRATEGIES.make("greedy"), first)
    mapping.begin(np.array([True]), first)
    with pytest.raises(ValueError, match=r"inputs or heads do not fit on the fabric \(fan-in\); begin with the heads"):
        mapping.follow(np.array([True]), architecture(2, first.units, [[2, 0]]))


def test_old_generations_do_not_grow_any_more():
    mapping, now = started(chip())
    mapping.follow(np.array([True]), now.grown(0, 1, 1))
    with pytest.raises(ValueError, match="only grow in the newest generation"):
        ask(mapping, 0, 1, 0)


def test_without_limits_only_slots_count():
    spec = chip(nt_port_channels=1, r1_port_channels=1, r0_port_channels=1, max_crossbar_side=1)
    now = architecture(12, [[[20, 20]]], [[8]])
    mapping = Mapping(fabric(spec), STRATEGIES.make("greedy"), now, limits=False)
    mapping.begin(np.array([True]), now)
    assert mapping.placement.occupied().sum() == 60
    assert ask(mapping, 0, 8, 0).code[0] in (0, OBSTACLES.index("slots"))


# --- large fabrics ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_on_large_fabrics_the_nearest_tiles_with_a_free_slot_are_searched(seed):
    spec = chip(9, 9, 8)
    mapping, now = started(spec, units=(3, 2), rows=2, inputs=10)
    rng = np.random.default_rng(seed)
    for step in range(6):
        layer, amount = step % 2, rng.integers(1, 3, 2)
        choice = ask(mapping, layer, amount, step // 2)
        klass = mapping.placement.classes.hidden(layer, step // 2)
        for row in range(2):
            near = nearest(mapping.placement, row, klass)
            assert np.array_equal(mapping._shortlist(*numbers(row, klass))[0], near)
            found = survey(mapping.placement, *numbers(row, klass), near[None])
            rooms = np.minimum.reduce([found.slots, found.fan_in, found.router, found.crossbar])[0]
            cost = np.where(rooms >= amount[row], found.hops_in[0] + amount[row] * found.hops_each[0], 10**9)
            assert choice.code[row] == 0
            assert choice.tile[row] == near[cost.argmin()]
            assert choice.hops[row] == cost.min()
        now = now.grown(layer, amount, step // 2)
        mapping.follow(everyone(now), now)
    assert all(fit_units(mapping, row) for row in range(2))


def nearest(placement, row, klass):
    """The tiles with a free slot that are nearest to all sources and readers, in rising order."""
    hops, counts = placement.fabric.hops.astype(int), placement.counts[row]
    ends = counts[placement.classes.reads[:, klass]].sum(axis=0) + placement.reached[row, klass]
    free = np.flatnonzero(counts.sum(axis=0) < placement.fabric.spec.neurons_per_tile)
    return np.sort([tile for _, tile in sorted(((hops[tile] * ends).sum(), tile) for tile in free)[:EXACT_TILES]])
