"""What the meter of Mosaic remembers, what it measures networks by, and what it refuses to hear of."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest

from growenv.hardware import MosaicMeter, Requests, largest
from growenv.hardware.mosaic import PRESETS, fabric
from growenv.hardware.mosaic.floorplan import text
from growenv.hardware.mosaic.mapping import Mapping
from growenv.hardware.mosaic.strategies import STRATEGIES
from growenv.registry import UnknownNameError
from tests.hardware.mosaic import reference as ref
from tests.hardware.mosaic.placing import PLENTY, WHOLE_TABLE, Story, architecture, chip, everyone, network, only

# --- the unit of usage ------------------------------------------------------------------------------------------------


def costs(spec, placed):
    """Memristors and routing cells of a network that is placed greedily as if channels had no limit."""
    mapping = Mapping(fabric(spec), STRATEGIES.make("greedy"), placed, limits=False)
    mapping.begin(everyone(placed), placed)
    one = network(mapping.placement)
    return ref.synapses(spec, one) + ref.used_router_devices(one), ref.tree_cells(one)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_usage_is_the_weighted_share_of_the_reference(weight):
    spec = chip(devices_per_synapse=2)
    full, small = largest(4, (20, 9), 3, 3), architecture(4, [[[3, 2], [0, 0], [0, 0]]], [[2, 0, 0]])
    meter = MosaicMeter(spec, routing_weight=weight)
    meter.calibrate(full)
    assert meter.usage(full) == pytest.approx([1.0])
    (most, farthest), (devices, crossed) = costs(spec, full), costs(spec, small)
    assert meter.usage(small) == pytest.approx([(1 - weight) * devices / most + weight * crossed / farthest])


def test_the_unit_is_the_same_for_all_strategies():
    full, small = largest(4, (20, 9), 3, 3), architecture(4, [[[1, 1], [0, 0], [0, 0]]], [[1, 0, 0]])
    greedy, strips = (MosaicMeter(chip(), placement=name) for name in ("greedy", "row_major"))
    for meter in (greedy, strips):
        meter.calibrate(full)
    assert strips.usage(small)[0] > greedy.usage(small)[0] > 0
    assert greedy.snapshot()[0] == strips.snapshot()[0]


def test_a_reference_without_slots_is_narrowed_in_proportion():
    # 72 slots less 4 inputs and 6 outputs are 62; 100 and 50 units are narrowed to 41 and 20.
    meter, other = MosaicMeter(chip()), MosaicMeter(chip())
    meter.calibrate(largest(4, (100, 50), 2, 3))
    narrow = largest(4, (41, 20), 2, 3)
    assert meter.usage(narrow) == pytest.approx([1.0])
    other.calibrate(narrow)
    assert other.snapshot()[0] == meter.snapshot()[0]
    with pytest.raises(ValueError, match=r"38 of 100 units of layer 0 do not fit on the fabric \(slots\)"):
        meter.usage(largest(4, (100, 50), 2, 3))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (largest(25, (4, 4), 2, 2), "25 inputs are too many"),
        (largest(4, (4, 4), 13, 2), "the heads do not fit"),
        (largest(24, (1,) * 25, 12, 2), r"do not fit on the fabric \(slots\)"),
    ],
)
def test_a_reference_for_which_there_is_no_room(reference, message):
    meter = MosaicMeter(chip())
    before = meter.snapshot()
    with pytest.raises(ValueError, match=message):
        meter.calibrate(reference)
    assert meter.snapshot() == before


def test_usage_of_networks_that_are_not_placed_ignores_channels_and_changes_nothing():
    narrow, wide = chip(nt_port_channels=1, r1_port_channels=1, r0_port_channels=1), chip()
    other = architecture(9, [[[9, 9]], [[1, 1]]], [[2], [3]])
    meters = [MosaicMeter(spec, routing_weight=1.0) for spec in (narrow, wide)]
    assert meters[0].usage(other).tolist() == meters[1].usage(other).tolist()
    story = Story(meters[1], 2, 0).play()
    before, found = meters[1].usage(story.now), story.assess()
    assert meters[1].usage(other).tolist() == meters[0].usage(other).tolist()
    assert np.array_equal(meters[1].usage(story.now), before)
    assert all(np.array_equal(one, two) for one, two in zip(found, story.assess(), strict=True))


def test_usage_never_falls_while_networks_grow():
    meter = MosaicMeter(chip(), routing_weight=0.7)
    story = Story(meter, 6, 2)
    before = meter.usage(story.now)
    for step in range(12):
        if step in (4, 8):
            story.next_task()
        story.grow()
        after = meter.usage(story.now)
        assert (after >= before).all()
        before = after


# --- memory -----------------------------------------------------------------------------------------------------------


def answers(meter, story):
    """All that a meter says of a story's networks."""
    limits = np.full(story.rows, 0.5)
    found = meter.assess(story.now, story.reserved(), WHOLE_TABLE, story.generation(), limits)
    return [meter.usage(story.now), *found, meter.features(story.now), meter.figures(story.now)]


def alike(first, second):
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("other", [None, "fresh", "busy", "wider", "copy", "pickle"])
def test_a_snapshot_continues_in_any_meter_of_the_same_hardware(other):
    meter = MosaicMeter(chip())
    meter.calibrate(largest(4, (20, 9), 3, 3))
    story = Story(meter, 3, 4).play(6)
    kept, now, expected = meter.snapshot(), story.now, answers(meter, story)
    target = {None: meter, "copy": copy.deepcopy(meter)}.get(other) or MosaicMeter(chip())
    if other == "pickle":
        target = pickle.loads(pickle.dumps(meter))
    if other == "busy":
        Story(target, 3, 9).play()
    if other == "wider":
        Story(target, 5, 9).play()
    for _ in range(4):
        story.grow()
    later, after = answers(meter, story), story.now
    assert not alike(expected, later)
    target.restore(kept)
    story.now = now
    assert alike(answers(target, story), expected)
    rows = np.ones(3, dtype=np.bool_)
    target.commit(rows, target.mapping and now.grown(0, np.array([1, 0, 1]), 2))
    target.restore(kept)
    assert alike(answers(target, story), expected), "what is done after restore does not reach the snapshot"
    story.now = after


def test_a_new_meter_remembers_nothing():
    meter = MosaicMeter(chip())
    empty = meter.snapshot()
    story = Story(meter, 2, 0)
    meter.restore(empty)
    with pytest.raises(ValueError, match="other networks than those of the last begin and commit"):
        meter.features(story.now)
    with pytest.raises(RuntimeError, match="never began; call begin first"):
        meter.commit(everyone(story.now), story.now)


def test_features_are_those_of_the_networks_now():
    meter = MosaicMeter(chip())
    story = Story(meter, 2, 1)
    features = meter.features(story.now)
    features += 9  # what is returned belongs to the caller
    first = meter.features(story.now)
    assert (first <= 1).all()
    kept = meter.snapshot()
    story.grow()
    grown = meter.features(story.now)
    assert (grown[:, 0] < first[:, 0]).all()
    meter.restore(kept)
    story.now = replace(story.now, units=meter.mapping.units.copy())
    assert np.array_equal(meter.features(story.now), first)
    full = replace(story.now, outputs=np.where(story.now.outputs == 0, 3, story.now.outputs))
    assert not np.array_equal(meter.features(full), first), "heads that have begun have synapses"


def test_when_no_row_begins_nothing_changes():
    meter, begun = MosaicMeter(), largest(64, (4, 4), 2, 10)
    meter.begin(np.zeros(1, dtype=bool), begun)
    meter.begin(np.ones(1, dtype=bool), begun)
    usage = meter.usage(begun)
    meter.begin(np.zeros(1, dtype=bool), begun)
    assert np.array_equal(meter.usage(begun), usage)


def test_a_row_that_begins_anew_forgets_and_the_others_stay():
    meter = MosaicMeter(chip())
    story = Story(meter, 3, 5)
    start = story.now
    story.play()
    before = meter.usage(story.now)
    mixed = replace(
        story.now,
        units=np.where(np.arange(3)[:, None, None] == 1, start.units, story.now.units),
        outputs=np.where(np.arange(3)[:, None] == 1, start.outputs, story.now.outputs),
    )
    meter.begin(np.array([False, True, False]), story.reserved(mixed))
    assert np.array_equal(meter.usage(mixed)[[0, 2]], before[[0, 2]])
    alone = MosaicMeter(chip())
    alone.begin(np.array([True]), only(story.reserved(start), 1))
    assert meter.usage(mixed)[1] == alone.usage(only(start, 1))[0]


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "demo"])
def test_a_floorplan_shows_who_stands_where(name):
    meter = MosaicMeter(name)
    story = Story(meter, 2, 3, units=4)
    for _ in range(3):
        story.grow()
    plan = meter.floorplan(story.now, 1)
    figures = dict(zip(meter.figure_names, meter.figures(story.now)[1], strict=True))
    assert plan.fabric_shape == meter.grid
    assert np.array_equal(plan.hidden.sum(axis=0), story.now.units[1])
    assert np.array_equal(plan.outputs.sum(axis=0), story.now.outputs[1])
    assert (plan.inputs.sum(), plan.reserved.sum()) == (4, 2 * 3)
    assert (plan.memristors, plan.mean_hops) == (figures["memristors"], figures["mean_hops"])
    assert (plan.energy_J * 1e12, plan.latency_s * 1e9) == pytest.approx((figures["energy_pj"], figures["latency_ns"]))
    assert figures["tiles_in_use"] == (plan.occupied > 0).sum()
    assert "reserved" in text(plan)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"spec": "digit"}, UnknownNameError, "unknown Mosaic preset 'digit'.*digits"),
        ({"placement": "greddy"}, UnknownNameError, "unknown placement strategy 'greddy'.*greedy"),
        ({"placement": 3}, ValueError, "placement=3: expected greedy, row_major or a Strategy object"),
        ({"routing_weight": 1.5}, ValueError, r"routing_weight=1.5: expected a number from 0 to 1"),
        ({"routing_weight": -0.1}, ValueError, r"routing_weight=-0.1"),
        ({"routing_weight": float("nan")}, ValueError, r"routing_weight=nan"),
    ],
)
def test_meters_that_cannot_be(options, error, message):
    with pytest.raises(error, match=message):
        MosaicMeter(**options)


def test_images_that_are_too_large_are_told_how_to_become_smaller():
    images = architecture(784, [[[8, 8]]], [[10]])
    for name in PRESETS:
        with pytest.raises(ValueError, match="784 inputs are too many.*input_pool=.*mosaic-large"):
            MosaicMeter(name).begin(np.array([True]), images)


@pytest.mark.parametrize(
    ("begun", "message"),
    [
        (architecture(4, [[[90, 1]]], [[2]]), r"of 90 units of layer 0 do not fit on the fabric"),
        (architecture(4, [[[1, 1]]], [[9]]), "the heads do not fit: the 3 tiles of the last row have 8 slots each"),
        (architecture(4, [[[1, 1]] + [[0, 0]] * 3], [[8] * 4]), "no room for head 3 with 8 outputs"),
    ],
)
def test_networks_that_have_no_place(begun, message):
    with pytest.raises(ValueError, match=message):
        MosaicMeter(chip()).begin(np.array([True]), begun)


def test_other_networks_than_those_that_are_placed():
    meter = MosaicMeter(chip())
    story = Story(meter, 2, 0)
    one = np.ones(2, dtype=np.int64)
    for other in (
        story.now.grown(0, 1, 0),
        replace(story.now, inputs=5),
        replace(story.now, directed=False),
        replace(story.now, outputs=np.full_like(story.now.outputs, 9)),
        only(story.now, 0),
    ):
        with pytest.raises(ValueError, match="other networks than those of the last begin and commit"):
            meter.refuse(other, 0, 1, 0, np.full(other.rows, PLENTY))
        with pytest.raises(ValueError, match="other networks"):
            meter.assess(other, other, Requests(one, one), 0 * one[: other.rows], np.full(other.rows, PLENTY))
        with pytest.raises(ValueError, match="other networks"):
            meter.figures(other)
        with pytest.raises(ValueError, match="other networks"):
            meter.floorplan(other, 0)
    for other in (replace(story.now, inputs=5), replace(story.now, directed=False), only(story.now, 0)):
        with pytest.raises(RuntimeError, match="never began"):
            meter.commit(everyone(other), other)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ((2, 1, 0), "layer must be in 0..1, got 2"),
        ((0, 1, 3), "generation must be in 0..2, got 3"),
        ((0, -1, 0), "amount must not be negative"),
    ],
)
def test_requests_that_mean_nothing(request_, message):
    meter = MosaicMeter(chip())
    story = Story(meter, 2, 0)
    with pytest.raises(ValueError, match=message):
        meter.refuse(story.now, *request_, np.full(2, PLENTY))


def test_growth_before_the_newest_generation():
    meter = MosaicMeter(chip())
    story = Story(meter, 1, 0).play()
    with pytest.raises(ValueError, match="only grow in the newest generation"):
        meter.refuse(story.now, 0, 1, 0, np.full(1, PLENTY))


def test_networks_that_lose_units_or_gain_outputs():
    meter = MosaicMeter(chip())
    story = Story(meter, 1, 0)
    fewer = replace(story.now, units=story.now.units * 0)
    with pytest.raises(ValueError, match="fewer units than before; networks only grow"):
        meter.commit(np.array([True]), fewer)
    more = replace(story.now, outputs=story.now.outputs + np.array([[0, 4, 0]]))
    with pytest.raises(ValueError, match="head 1 has 4 outputs, but slots for 3 are held"):
        meter.commit(np.array([True]), more)


@pytest.mark.parametrize(("amount", "tiles"), [(99, None), (1, np.zeros((1, 9), dtype=np.bool_))])
def test_growth_that_was_never_granted(amount, tiles):
    meter = MosaicMeter(chip())
    story = Story(meter, 1, 0)
    kept, before = meter.snapshot(), answers(meter, story)
    with pytest.raises(ValueError, match=r"of .* units of layer 0 do not fit on the fabric"):
        meter.commit(np.array([True]), story.now.grown(0, amount, 0), tiles)
    meter.restore(kept)  # it may have been half placed
    assert alike(answers(meter, story), before)
