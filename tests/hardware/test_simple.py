"""The counting meters: published numbers by hand, and what the Meter protocol promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growenv.hardware import METERS, Architecture, CountingMeter, Meter, largest
from growenv.registry import UnknownNameError

NAMES = ("bytes", "macs", "neurons", "parameters")


def two_tasks() -> Architecture:
    """Row 0: an MLP 4-3-2 during task 0; row 1: the same during task 1, with a unit grown and a second head."""
    units = np.array([[[3], [0]], [[3], [1]]], dtype=np.int64)
    outputs = np.array([[2, 0], [2, 2]], dtype=np.int64)
    return Architecture(4, units, outputs, directed=True)


def networks(seed: int, rows: int = 8) -> tuple[Architecture, np.ndarray]:
    """Random networks that grew in order, and the current task of each."""
    rng = np.random.default_rng(seed)
    generation = rng.integers(0, 4, rows)
    begun = np.arange(4) <= generation[:, None]
    units = rng.integers(0, 6, (rows, 4, 2)) * begun[:, :, None]
    units[:, 0] += 1
    outputs = rng.integers(1, 5, (rows, 4)) * begun
    return Architecture(5, units, outputs, bool(seed % 2)), generation


@pytest.mark.parametrize(
    ("name", "expected"), [("parameters", [23, 38]), ("bytes", [92, 152]), ("macs", [18, 24]), ("neurons", [3, 4])]
)
def test_worked_example(name, expected):
    usage = METERS.make(name).usage(two_tasks())
    assert usage.dtype == np.float64
    assert usage.tolist() == expected


def test_macs_count_only_the_newest_head():
    # 4 inputs, layers of 3 + 1 and 2 + 2 units, heads of 2 and 5: 16 + 14 hidden, and 5 * 4 for the newest head.
    units, outputs = np.array([[[3, 2], [1, 2]]]), np.array([[2, 5]])
    assert METERS.make("macs").usage(Architecture(4, units, outputs, True)).tolist() == [16 + 14 + 20]
    assert METERS.make("macs").usage(Architecture(4, units, outputs, False)).tolist() == [16 + 16 + 20]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("parameters", [23, 35]), ("bytes", [92, 140]), ("macs", [18, 28]), ("neurons", [3, 5])],
)
def test_wires_cost_what_is_read_through_them(name, expected):
    # 4 inputs -> 3 -> none -> 2: 12 + 6 weights and 5 biases, as without the second layer. With 2 units in it, these
    # read 3, and the outputs read 2 + 3: 12 + 6 + 10 weights and 7 biases.
    network = Architecture(4, np.array([[[3, 0]], [[3, 2]]]), np.array([[2], [2]]), True, (1,))
    assert METERS.make(name).usage(network).tolist() == expected


def test_macs_of_a_network_without_a_head_are_its_hidden_layers():
    network = Architecture(4, np.array([[[3], [0]]]), np.zeros((1, 2), dtype=np.int64), True)
    assert METERS.make("macs").usage(network).tolist() == [12]


@pytest.mark.parametrize("name", NAMES)
def test_keeps_the_protocol(name):
    meter = METERS.make(name)
    assert isinstance(meter, Meter)
    assert meter.name == name
    assert meter.unit
    assert meter.reasons == ("", "budget")


def test_refuse_by_hand():
    # A unit in task 1 adds 4 weights in, 1 bias and 2 weights of head 1: 7 parameters on top of 38.
    meter, network = METERS.make("parameters"), two_tasks().grown(0, 0, 0)
    limits = [[1000, 38], [1000, 44.9], [1000, 45], [1000, 52]]
    answers = [meter.refuse(network, 0, 1, np.array([0, 1]), np.array(limit))[1] for limit in limits]
    assert answers == [1, 1, 0, 0]
    assert meter.refuse(network, 0, 2, np.array([0, 1]), np.array([1000, 52])).tolist() == [0, 0]
    assert meter.refuse(network, 0, 3, np.array([0, 1]), np.array([1000, 52])).tolist() == [0, 1]
    assert meter.refuse(network, 0, 1, np.array([0, 1]), np.array([0.0, 0.0])).dtype == np.int8


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.integers(0, 1), st.integers(0, 9), st.floats(0.3, 3.0))
def test_refuse_is_usage_after_growth_compared_with_the_limit(name, seed, layer, amount, slack):
    meter = METERS.make(name)
    network, generation = networks(seed)
    units = network.units.copy()
    limit = meter.usage(network) * slack
    refused = meter.refuse(network, layer, amount, generation, limit)
    after = meter.usage(network.grown(layer, amount, generation))
    assert (after >= meter.usage(network)).all()
    assert np.array_equal(refused == 1, (after > limit * (1 + 1e-9)) & (amount > 0))
    assert np.array_equal(network.units, units)


@pytest.mark.parametrize("name", NAMES)
def test_a_request_per_row_answers_as_one_request_for_all(name):
    meter = METERS.make(name)
    network, generation = networks(3)
    limit = meter.usage(network) * 1.2
    layers, amounts = np.arange(8) % 2, np.arange(8) * 2
    each = [
        meter.refuse(network, layer, amount, generation, limit) for layer, amount in zip(layers, amounts, strict=True)
    ]
    assert meter.refuse(network, layers, amounts, generation, limit).tolist() == [each[n][n] for n in range(8)]


def test_asking_for_nothing_always_fits_even_when_a_new_head_broke_the_budget():
    meter, network = METERS.make("parameters"), two_tasks()
    assert meter.refuse(network, np.array([-1, -1]), np.array([0, 0]), 1, np.array([1.0, 1.0])).tolist() == [0, 0]


def test_rounding_of_a_share_does_not_refuse_what_fits_exactly():
    assert 0.29 * 100 < 29
    network = Architecture(1, np.array([[[28]]]), np.array([[1]]), True)
    meter = METERS.make("neurons")
    assert meter.refuse(network, 0, 1, 0, np.array([0.29 * 100])).tolist() == [0]
    assert meter.refuse(network, 0, 2, 0, np.array([0.29 * 100])).tolist() == [1]


@pytest.mark.parametrize("name", NAMES)
def test_usage_is_a_share_of_the_largest_network(name):
    meter = METERS.make(name)
    for seed in range(20):
        network, _ = networks(seed)
        assert (meter.usage(network) <= meter.usage(largest(5, (25, 25), 4, 4))).all()


@pytest.mark.parametrize("name", NAMES)
def test_episodes_leave_no_state(name):
    meter = METERS.make(name)
    network, _ = networks(1)
    before, state = meter.usage(network), meter.snapshot()
    meter.begin(np.ones(8, dtype=bool), network)
    meter.commit(np.arange(8) < 3, network)
    meter.restore(state)
    assert meter.snapshot() is None
    assert np.array_equal(meter.usage(network), before)


def test_restoring_a_foreign_snapshot_is_refused():
    with pytest.raises(ValueError, match="'bytes' keeps no state, got dict"):
        METERS.make("bytes").restore({"occupied": [1, 2]})


def test_an_unknown_meter_names_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'parameters'"):
        METERS.make("paramters")


def test_a_meter_of_ones_own_is_used_as_it_is():
    mine = CountingMeter("layers", "hidden layers", lambda network: (network.widths > 0).sum(axis=1))
    assert METERS.make(mine) is mine
    assert mine.usage(two_tasks()).tolist() == [1, 1]
