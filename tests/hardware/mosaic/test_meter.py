"""The meter of Mosaic: usage, refusals, assessments and figures while networks grow, against the reference."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from growenv.hardware import METERS, MosaicMeter, PlacedMeter, Requests
from growenv.hardware.mosaic import PRESETS
from growenv.testing import check_meter
from tests.hardware.mosaic import reference as ref
from tests.hardware.mosaic.placing import (
    CHIPS,
    FULL,
    WHOLE_TABLE,
    Story,
    architecture,
    chip,
    first_obstacle,
    network,
    only,
)


def placement_of(meter):
    return meter.mapping.placement


# --- the whole way ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*CHIPS, "1x2x32", "device"])
@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize("deepens", [False, True])
def test_networks_that_have_grown_cost_what_the_reference_counts_and_break_no_limit(name, directed, deepens):
    spec = {**CHIPS, "1x2x32": chip(1, 2, 32), "device": chip(energy_mode="device", p_static_W=1e-6)}[name]
    meter = MosaicMeter(spec, routing_weight=0.25)
    now = Story(meter, 2, spec.tiles, directed, deepens=deepens).play().now
    rates = np.random.default_rng(0).uniform(0, 2, now.units.shape)
    figures, rated = meter.figures(now), meter.figures(now, rates)
    usage, features = meter.usage(now), meter.features(now)
    placement = placement_of(meter)
    by_class = np.ones((2, placement.classes.count))
    for layer, when in np.ndindex(2, 3):
        by_class[:, placement.classes.hidden(layer, when)] = rates[:, when, layer]
    for row in range(2):
        one = network(placement, row)
        for when, layer in np.ndindex(3, 2):
            found = sum(
                each.kind == "hidden" and (each.generation, each.layer) == (when, layer) for each in one.neurons
            )
            assert found == now.units[row, when, layer]
        assert first_obstacle(spec, one) == ""
        devices, crossed = ref.synapses(spec, one) + ref.used_router_devices(one), ref.tree_cells(one)
        tiles = len({neuron.tile for neuron in one.neurons})
        expected = [devices, ref.used_router_devices(one), ref.mean_hops(one), ref.energy(spec, one) * 1e12]
        assert figures[row] == pytest.approx([*expected, ref.latency(spec, one) * 1e9, tiles], rel=1e-9)
        energy = ref.energy(spec, network(placement, row, rates=by_class)) * 1e12
        assert rated[row, 3] == pytest.approx(energy, rel=1e-9)
        assert np.array_equal(np.delete(rated[row], 3), np.delete(figures[row], 3)), "rates change energy alone"
        routers = sum(ref.kind_of(cell) != "NT" for cell in ref.cells(spec))
        shares = devices / ref.provisioned(spec), crossed / (spec.neurons * routers)
        assert usage[row] == pytest.approx(0.75 * shares[0] + 0.25 * shares[1])
        assert features[row] == pytest.approx(_features(spec, one))


def _features(spec, one):
    used = ref.loads(one.multicasts())
    ports = [entry for entry in _outputs(spec) if ref.kind_of(ref.partner(entry).cell) == "NT"]
    others = [entry for entry in _outputs(spec) if entry not in ports]
    free = [
        1 - sum(used[port] for port in some) / sum(ref.capacity(spec, port) for port in some)
        for some in (ports, others)
    ]
    longest = max(ref.hops((0, 0), tile) for tile in ref.tiles(spec))
    return [1 - len(one.neurons) / spec.neurons, *free, ref.mean_hops(one) / longest]


def _outputs(spec):
    """The sending port of every link."""
    inside = set(ref.cells(spec))
    every = (ref.Entry(cell, "out", side) for cell in inside for side in ref.SIDES)
    return [entry for entry in every if ref.partner(entry).cell in inside]


@pytest.mark.parametrize("spec", [chip(), chip(9, 9, 4), chip(r0_port_channels=4)], ids=["3x3x8", "9x9x4", "thin"])
@pytest.mark.parametrize("masked", [False, True])
def test_assessments_are_refusals_and_usage_after_growth(spec, masked):
    meter = MosaicMeter(spec)
    story = Story(meter, 2, 3, units=1 if spec.tiles > 64 else 2)
    meter.calibrate(architecture(4, [[[6, 6], [0, 0], [0, 0]]], [[FULL] * 3]))
    table, seen = WHOLE_TABLE, set()
    if masked:
        halves = np.arange(spec.tiles) // spec.cols < 2
        table = Requests(np.tile(table.layer, 2), np.tile(table.amount, 2), np.repeat([halves, ~halves], 6, axis=0))
    for step in range(6):
        if step in (2, 4):
            story.next_task()
        limit = meter.usage(story.reserved()) + 0.3
        found, before = story.assess(table, limit), meter.usage(story.now)
        for action in range(len(table.layer)):
            layer, amount, tiles = table.layer[action], table.amount[action], None
            if masked:
                tiles = np.broadcast_to(table.tiles[action], (2, spec.tiles))
            else:
                refused = meter.refuse(story.reserved(), layer, amount, story.task, limit)
                assert np.array_equal(refused, found.codes[:, action])
            budget = meter.reasons.index("budget")
            room = (found.codes[:, action] == 0) | (found.codes[:, action] == budget)
            kept, counts = meter.snapshot(), placement_of(meter).counts.copy()
            after = story.now.grown(layer, np.where(room, amount, 0), story.task)
            meter.commit(room, after, tiles)
            assert meter.usage(after) == pytest.approx(found.usage[:, action], rel=1e-12)
            over = meter.usage(story.reserved(after)) > limit
            assert np.array_equal(over[room], (found.codes[:, action] == budget)[room])
            assert np.array_equal(found.usage[~room, action], before[~room]), "as before where it has no place"
            more = placement_of(meter).counts - counts
            assert np.array_equal((more.sum(axis=1) > 0).sum(axis=1), room), "all units of a request share a tile"
            assert tiles is None or not more.sum(axis=1)[~tiles].any()
            meter.restore(kept)
            seen |= set(found.codes[:, action].tolist())
        story.grow(table, limit)
    assert {0, meter.reasons.index("budget")} < seen


@pytest.mark.parametrize("placement", ["greedy", "row_major"])
@pytest.mark.parametrize("directed", [True, False])
def test_rows_do_not_depend_on_each_other(placement, directed):
    spec = chip(r0_port_channels=6)
    together = Story(MosaicMeter(spec, placement=placement), 4, 1, directed)
    alone = []
    for row in range(4):
        single = copy.copy(together)
        single.meter, single.rows = MosaicMeter(spec, placement=placement), 1
        single.now = only(together.now, row)
        single.meter.begin(np.array([True]), single.reserved())
        alone.append(single)

    def follow():
        for row, single in enumerate(alone):
            single.now, single.task = only(together.now, row), together.task
            single.meter.commit(np.array([True]), single.now)

    for step in range(9):
        if step in (3, 6):
            together.next_task()
            follow()
        found, features, figures = together.assess(), together.meter.features(together.now), together.figures()
        for row, single in enumerate(alone):
            one = single.assess()
            assert np.array_equal(one.codes[0], found.codes[row])
            assert np.array_equal(one.usage[0], found.usage[row])
            assert np.array_equal(single.meter.features(single.now)[0], features[row])
            assert single.figures()[0] == pytest.approx(figures[row], rel=1e-12)
        together.grow()
        follow()


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_every_reason_of_a_full_fabric_has_a_name():
    assert MosaicMeter.reasons == (
        "", "slots", "fan-in", "router", "crossbar", "memristors", "energy", "latency", "budget"
    )  # fmt: skip
    seen = set()
    for name in CHIPS:
        meter = MosaicMeter(CHIPS[name])
        story = Story(meter, 8, 2).play(12)
        codes = story.assess(limit=meter.usage(story.reserved()) + 1e-9).codes
        seen |= {meter.reasons[code] for code in codes.ravel()}
    assert seen == {"slots", "fan-in", "router", "crossbar", "budget"}


def test_a_request_for_nothing_always_fits():
    meter = MosaicMeter(chip())
    story = Story(meter, 3, 0).play()
    nothing, some = np.zeros(3, dtype=np.int64), np.array([0, 1, 0])
    assert not meter.refuse(story.now, 0, 0, 0, np.zeros(3)).any()
    assert not meter.refuse(story.now, np.array([-1, 5, 0]), nothing, np.array([9, -1, 0]), np.zeros(3)).any()
    assert (meter.refuse(story.now, 0, some, 2, np.zeros(3)) != 0).tolist() == [False, True, False]


def test_a_limit_of_zero_fits_nothing_and_a_higher_one_makes_nothing_unfit():
    meter = MosaicMeter(chip())
    story = Story(meter, 4, 6)
    fits = [story.assess(limit=limit).codes == 0 for limit in (0.0, 0.003, 0.01, 0.03, 1.0)]
    assert not fits[0].any()
    assert fits[-1].any()
    assert all((more | ~less).all() for less, more in zip(fits, fits[1:], strict=False))


def test_a_budget_that_is_used_up_exactly_fits():
    meter = MosaicMeter(chip())
    story = Story(meter, 1, 0)
    needed = story.assess().usage[0, 1]
    held = meter.usage(story.reserved()) - meter.usage(story.now)  # synapses of heads to come; growth adds to them
    exact = Requests(WHOLE_TABLE.layer[1:2], WHOLE_TABLE.amount[1:2])
    kept = meter.snapshot()
    grown = story.now.grown(0, 3, 0)
    meter.commit(np.array([True]), grown)
    full = meter.usage(story.reserved(grown))
    assert full >= needed + held
    meter.restore(kept)
    assert story.assess(exact, full[0]).codes.tolist() == [[0]]
    assert story.assess(exact, full[0] * (1 - 1e-6)).codes.tolist() == [[meter.reasons.index("budget")]]


# --- a meter among meters ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "meter",
    [
        MosaicMeter(chip(), placement="row_major"),
        MosaicMeter(chip(max_crossbar_side=30), routing_weight=0.0),
        MosaicMeter(chip(max_memristors=400, max_energy_J=1e-10, max_latency_s=3e-6)),
        MosaicMeter(chip(nt_port_channels=(6, 8, 7, 8), r0_port_channels=7), routing_weight=1.0),
        MosaicMeter(chip(9, 9, 8)),
        MosaicMeter(chip(1, 6, 8, energy_mode="device")),
    ],
    ids=["row_major", "crossbars", "limits", "ports", "9x9", "1x6"],
)
def test_keeps_the_protocol(meter):
    assert isinstance(meter, PlacedMeter)
    check_meter(meter, rows=3, rounds=2)


def test_presets_are_registered():
    assert METERS.make("mosaic").spec == PRESETS["digits"]
    for name, spec in PRESETS.items():
        meter = METERS.make(f"mosaic-{name}")
        assert (meter.name, meter.spec, meter.grid) == (f"mosaic-{name}", spec, (spec.rows, spec.cols))


def test_ten_thousand_random_requests_are_answered_twice_alike():
    def answers(seed):
        meter, found, rng = MosaicMeter(chip(r0_port_channels=6)), [], np.random.default_rng(seed)
        story = Story(meter, 40, seed, inputs=9)
        for step in range(18):
            if step in (6, 12):
                story.next_task()
            table = Requests(rng.integers(0, 2, 14), rng.integers(1, 12, 14), rng.random((14, 9)) < 0.8)
            found += [*story.assess(table, rng.uniform(0, 0.2)), meter.features(story.now), story.grow(table)]
        return found

    first, second = answers(0), answers(0)
    assert sum(codes.size for codes in first[::4]) > 10_000
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
