"""Hard limits of a chip on memristors, energy and latency, against the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from growenv.hardware import MosaicMeter
from growenv.hardware.mosaic import fabric, resources
from growenv.hardware.mosaic.limits import LIMITS, over_limits
from growenv.hardware.mosaic.mapping import OBSTACLES, Mapping
from growenv.hardware.mosaic.strategies import STRATEGIES
from tests.hardware.mosaic import reference as ref
from tests.hardware.mosaic.placing import architecture, chip, everyone, network, with_more

FIELDS = {"memristors": "max_memristors", "energy": "max_energy_J", "latency": "max_latency_s"}
PLENTY = np.full(1, 1e9)


def small(rows=1, outputs=(2, 2)):
    """4 inputs, 3 and 2 hidden units, 2 tasks."""
    return architecture(4, [[[3, 2], [0, 0]]] * rows, [list(outputs)] * rows)


def needs(spec, one):
    """What the reference says that a network needs of each limited resource."""
    devices = ref.synapses(spec, one) + ref.used_router_devices(one)
    return {"memristors": devices, "energy": ref.energy(spec, one), "latency": ref.latency(spec, one)}


def placed(spec, network_):
    """The networks on the chip."""
    mapping = Mapping(fabric(spec), STRATEGIES.make("greedy"), network_)
    mapping.begin(everyone(network_), network_)
    return mapping


def meter_of(spec, begun):
    """A meter at which networks have begun."""
    meter = MosaicMeter(spec)
    meter.begin(everyone(begun), begun)
    return meter


def code_of(name):
    """The code of a limit; the order is that of the specification."""
    return len(OBSTACLES) + LIMITS.index(name)


BASE = chip(devices_per_synapse=2, p_static_W=1e-6)
START = needs(BASE, network(placed(BASE, small()).placement))


@pytest.mark.parametrize("name", LIMITS)
def test_an_initial_network_must_keep_each_limit(name):
    exact = replace(BASE, **{FIELDS[name]: START[name]})
    meter_of(exact, small())
    less = replace(BASE, **{FIELDS[name]: int(START[name] - 1) if name == "memristors" else START[name] * 0.999})
    with pytest.raises(ValueError, match=f"all its heads needs .* \\({name}, SI units\\), but the chip's limit is"):
        meter_of(less, small())


@pytest.mark.parametrize("name", LIMITS)
def test_nothing_fits_below_a_limit_of_zero(name):
    with pytest.raises(ValueError, match=f"{name}, SI units"):
        meter_of(replace(BASE, **{FIELDS[name]: 0}), small())


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("factor", [1.3, 1.6, 2.2])
def test_growth_is_refused_exactly_where_the_reference_finds_the_limit_broken(name, factor):
    limit = int(START[name] * factor) if name == "memristors" else START[name] * factor
    spec = replace(BASE, **{FIELDS[name]: limit})
    meter, mapping = meter_of(spec, small()), placed(BASE, small())
    now, codes = small(), set()
    for step, amount in enumerate((1, 3, 2, 6, 1, 4, 2, 8)):
        layer, generation = step % 2, step // 4
        mapping.survey(np.arange(1), np.array([generation]))
        choice = mapping.choose(np.arange(1), np.array([layer]), np.array([amount]))
        code = int(meter.refuse(now, layer, amount, generation, PLENTY)[0])
        if choice.code[0]:
            assert code == choice.code[0], "slots and channels are asked first"
            continue
        klass = mapping.placement.classes.hidden(layer, generation)
        larger = with_more(mapping.placement, 0, klass, int(choice.tile[0]), amount)
        broken = needs(spec, larger)[name] > limit * (1 + 1e-9)
        assert code == (code_of(name) if broken else 0)
        codes.add(code)
        if not code:
            now = now.grown(layer, amount, generation)
            for part in (meter.commit, mapping.follow):
                part(everyone(now), now)
    assert 0 in codes
    if name != "latency":  # it rises in steps of a route
        assert code_of(name) in codes


@pytest.mark.parametrize("name", LIMITS)
def test_a_request_that_reaches_the_limit_exactly_fits(name):
    mapping = placed(BASE, small())
    mapping.survey(np.arange(1), np.zeros(1, dtype=np.int64))
    tile = int(mapping.choose(np.arange(1), np.zeros(1, dtype=np.int64), np.array([4])).tile[0])
    after = needs(BASE, with_more(mapping.placement, 0, 1, tile, 4))[name]
    assert meter_of(replace(BASE, **{FIELDS[name]: after}), small()).refuse(small(), 0, 4, 0, PLENTY)[0] == 0
    if after > START[name]:
        short = after - 1 if name == "memristors" else after * (1 - 1e-6)
        refused = meter_of(replace(BASE, **{FIELDS[name]: short}), small()).refuse(small(), 0, 4, 0, PLENTY)
        assert refused[0] == code_of(name)


def test_of_several_limits_the_first_is_named_and_the_budget_comes_last():
    exact = {"max_memristors": START["memristors"], "max_energy_J": START["energy"]}
    nothing = np.zeros(1)
    for spec, limit, expected in (
        (replace(BASE, **exact), PLENTY, "memristors"),
        (replace(BASE, **exact), nothing, "memristors"),
        (replace(BASE, max_energy_J=START["energy"]), nothing, "energy"),
        (BASE, nothing, "budget"),
        (BASE, PLENTY, ""),
    ):
        meter = meter_of(spec, small())
        assert meter.reasons[meter.refuse(small(), 0, 1, 0, limit)[0]] == expected


def test_a_longer_route_to_an_output_is_too_slow():
    # Two tiles in a row of five: inputs, hidden units and head start on the middle tile. When it is full, growth must
    # go next door, and the answer takes two hops more.
    spec = chip(1, 5, 8)
    begun = architecture(3, [[[2]]], [[2]])
    start = needs(spec, network(placed(spec, begun).placement))["latency"]
    assert start == pytest.approx(2e-7)
    meter = meter_of(replace(spec, max_latency_s=start), begun)
    assert meter.refuse(begun, 0, 1, 0, PLENTY)[0] == 0
    assert meter.refuse(begun, 0, 2, 0, PLENTY)[0] == code_of("latency")
    roomy = meter_of(replace(spec, max_latency_s=2 * start), begun)
    assert roomy.refuse(begun, 0, 2, 0, PLENTY)[0] == 0


@pytest.mark.parametrize("name", LIMITS)
def test_limits_count_full_heads_of_tasks_to_come(name):
    one_head = needs(BASE, network(placed(BASE, small(outputs=(2, 0))).placement))[name]
    if name == "latency":
        assert one_head == START[name], "two heads on one tile are as quick as one"
        return
    limit = int((one_head + START[name]) / 2) if name == "memristors" else (one_head + START[name]) / 2
    with pytest.raises(ValueError, match=name):
        meter_of(replace(BASE, **{FIELDS[name]: limit}), small())


def test_only_the_rows_that_begin_are_checked():
    # Row 0 is over the limit, since it began as a larger network than it may; the others must not suffer from that.
    begun = small(rows=2)
    spec = replace(BASE, max_memristors=int(START["memristors"]))
    meter = meter_of(spec, begun)
    larger = architecture(4, [[[8, 8], [0, 0]], [[3, 2], [0, 0]]], [[2, 2]] * 2)
    meter.begin(np.array([False, True]), larger)
    with pytest.raises(ValueError, match="memristors"):
        meter.begin(np.array([True, False]), larger)


def test_a_higher_limit_makes_nothing_unfit():
    amounts = range(1, 9)
    for name in LIMITS:
        fits = []
        for factor in (1.0, 1.2, 1.6, 3.0):
            limit = int(START[name] * factor) if name == "memristors" else START[name] * factor
            meter = meter_of(replace(BASE, **{FIELDS[name]: limit}), small())
            fits.append([meter.refuse(small(), 1, amount, 0, PLENTY)[0] == 0 for amount in amounts])
        assert (np.diff(np.array(fits, dtype=int), axis=0) >= 0).all()


def test_rows_and_requests_are_judged_one_by_one():
    spec = replace(BASE, max_memristors=int(START["memristors"] * 1.6), max_energy_J=START["energy"] * 1.4)
    begun = architecture(4, [[[3, 2], [0, 0]], [[1, 1], [0, 0]], [[2, 2], [0, 0]]], [[2, 2]] * 3)
    mapping = placed(spec, begun)
    rng = np.random.default_rng(0)
    layer, amount = rng.integers(0, 2, (3, 7)), rng.integers(0, 6, (3, 7))
    tile, generation = rng.integers(3, 9, (3, 7)), np.array([0, 1, 0])
    wanted = rng.random((3, 7)) < 0.8
    kept = mapping.snapshot()
    codes = over_limits(mapping, begun, tile, layer, amount, generation, wanted)
    for row, action in np.ndindex(3, 7):
        klass = mapping.placement.classes.hidden(layer[row, action], generation[row])
        larger = with_more(mapping.placement, row, klass, tile[row, action], amount[row, action])
        over = needs(spec, larger)
        expected = 0
        if wanted[row, action] and amount[row, action]:
            limits = {"memristors": spec.max_memristors, "energy": spec.max_energy_J}
            expected = next((code_of(name) for name, limit in limits.items() if over[name] > limit), 0)
        assert codes[row, action] == expected
    assert len(np.unique(codes)) == 3
    assert all(
        np.array_equal(value, mapping.snapshot()["placement"][name]) for name, value in kept["placement"].items()
    )


def test_without_limits_nothing_is_asked():
    mapping = placed(BASE, small())
    asked = np.ones((1, 2), dtype=np.int64)
    assert not over_limits(mapping, small(), asked, asked, asked * 99, np.zeros(1, dtype=np.int64), asked > 0).any()


def test_memristors_are_synapses_and_routing_devices():
    mapping = placed(BASE, small())
    one = network(mapping.placement)
    assert resources.memristors(mapping.placement, small()).tolist() == [
        ref.synapses(BASE, one) + ref.used_router_devices(one)
    ]
    fewer = small(outputs=(2, 0))  # the second head has not begun: no synapses yet, but its channels are programmed
    assert (
        resources.memristors(mapping.placement, fewer)[0]
        == resources.memristors(mapping.placement, small())[0] - 2 * 2 * 2
    )
