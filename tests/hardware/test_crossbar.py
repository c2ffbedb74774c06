"""Dense crossbars: counts by hand, against matrices that are cut up, and as a meter."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from growenv import GrowthVectorEnv
from growenv.hardware import METERS, Architecture, CountingMeter, DenseCrossbars, largest
from growenv.testing import check_meter


def architecture(units: Any, outputs: Any, *, inputs: int = 4, directed: bool = True) -> Architecture:
    return Architecture(inputs, np.array(units, dtype=np.int64), np.array(outputs, dtype=np.int64), directed)


def cut_up(rows: int, columns: int, side: int) -> int:
    """Memristors of a matrix, by walking over it in steps of a crossbar."""
    return sum(side * side for _ in range(0, rows, side) for _ in range(0, columns, side))


def test_pooled_mnist_by_hand() -> None:
    # 196 inputs -> 70 -> 65 -> heads of 10 and 10; sides in crossbars of 64: 4, 2, 2, 1.
    # 4 * 2 + 2 * 2 + 2 * 1 = 14 crossbars of 4096 memristors.
    network = architecture([[[64, 60], [6, 5]]], [[10, 10]], inputs=196)
    assert METERS.make("crossbar").usage(network).tolist() == [14 * 4096]


def test_small_crossbars_by_hand() -> None:
    # 5 inputs -> 4 -> 3 -> 2 outputs, side 2: 3 * 2 + 2 * 2 + 2 * 1 = 12 crossbars of 4.
    # The second row grew one unit in layer 0 and has another head: 3 * 3 + 3 * 2 + 2 * 2 = 19.
    network = architecture([[[4, 3], [0, 0]], [[4, 3], [1, 0]]], [[2, 0], [2, 1]], inputs=5)
    assert DenseCrossbars(2)(network).tolist() == [12 * 4, 19 * 4]


def test_one_by_one_crossbars_hold_every_weight_and_no_more() -> None:
    network = architecture([[[3, 2], [1, 2]]], [[2, 5]], directed=False)
    # Heads share their rows, so the old head's column has a memristor for each new unit as well: 7 * 4.
    assert DenseCrossbars(1)(network).tolist() == [4 * 4 + 4 * 4 + 7 * 4]


def test_wires_have_rows_in_the_matrices_of_those_who_read_through_them() -> None:
    # 5 inputs -> 4 -> none -> 2 outputs, side 2: 3 * 2 + 2 * 0 + 2 * 1 = 8 crossbars. With 3 units in the layer that
    # was absent the outputs read 3 + 4 = 7: 3 * 2 + 2 * 2 + 4 * 1 = 14.
    network = replace(architecture([[[4, 0]], [[4, 3]]], [[2], [2]], inputs=5), bypassed=(1,))
    assert DenseCrossbars(2)(network).tolist() == [8 * 4, 14 * 4]


def test_heads_share_crossbars() -> None:
    one = architecture([[[8], [0]]], [[10, 0]])
    two = architecture([[[8], [0]]], [[10, 10]])
    many = architecture([[[8], [0]]], [[40, 30]])
    meter = METERS.make("crossbar")
    assert [meter.usage(network)[0] / 4096 for network in (one, two, many)] == [2, 2, 3]


def test_a_network_without_a_head_has_no_crossbar_for_it() -> None:
    assert METERS.make("crossbar").usage(architecture([[[8], [0]]], [[0, 0]])).tolist() == [4096]


def test_growth_costs_nothing_until_a_crossbar_is_full() -> None:
    network = architecture([[[60, 8]]], [[10]], inputs=64)
    meter = METERS.make("crossbar")
    full = meter.usage(network)
    assert full.tolist() == [3 * 4096]
    assert meter.usage(network.grown(0, 4, 0)).tolist() == full.tolist()
    # One more opens a column of crossbars (64 -> 65) and a row of them (65 -> 8).
    assert meter.usage(network.grown(0, 5, 0)).tolist() == [5 * 4096]
    assert meter.refuse(network, 0, 4, 0, full).tolist() == [0]
    assert meter.refuse(network, 0, 5, 0, full).tolist() == [1]


@given(
    st.integers(1, 9),
    st.lists(st.lists(st.integers(0, 7), min_size=2, max_size=2), min_size=1, max_size=3),
    st.lists(st.integers(0, 5), min_size=2, max_size=2),
    st.integers(1, 9),
    st.booleans(),
)
def test_counts_equal_matrices_that_are_cut_up(
    inputs: int, layers: list[list[int]], outputs: list[int], side: int, directed: bool
) -> None:
    network = architecture([np.transpose(layers)], [outputs], inputs=inputs, directed=directed)
    sizes = [inputs, *map(sum, layers), sum(outputs)]
    expected = sum(cut_up(n, m, side) for n, m in zip(sizes, sizes[1:], strict=False))
    assert DenseCrossbars(side)(network).tolist() == [expected]
    assert expected >= network.connections().sum()


@pytest.mark.parametrize("side", [1, 3, 64])
def test_it_keeps_the_protocol(side: int) -> None:
    check_meter(CountingMeter("crossbar", "memristors", DenseCrossbars(side)), rounds=4)


def test_the_registered_meter() -> None:
    check_meter("crossbar", rounds=4)
    meter = METERS.make("crossbar")
    assert (meter.name, meter.unit, meter.reasons) == ("crossbar", "memristors", ("", "budget"))
    assert meter.usage(largest(784, (128, 128), 5, 10)).tolist() == [(13 * 2 + 2 * 2 + 2 * 1) * 4096]


def test_copies_are_equal() -> None:
    meter = CountingMeter("crossbar", "memristors", DenseCrossbars(32))
    assert copy.deepcopy(meter) == pickle.loads(pickle.dumps(meter)) == meter
    assert meter != CountingMeter("crossbar", "memristors", DenseCrossbars(16))


@pytest.mark.parametrize("side", [0, -64, 64.0, "64", None, True])
def test_a_side_that_no_crossbar_has(side: Any) -> None:
    with pytest.raises(ValueError, match="side is .*, expected the rows and columns of a crossbar, an integer >= 1"):
        DenseCrossbars(side)


def test_an_environment_is_charged_for_crossbars() -> None:
    # 64 inputs, crossbars of side 8: hidden (4, 4) -> (8, 4) stays within 8 + 1 + 2 crossbars, for heads of 2 x 5.
    meter = CountingMeter("crossbar", "memristors", DenseCrossbars(8))
    env = GrowthVectorEnv(1, meter=meter, streams="split", tasks=1, decisions=3, minibatches=1, price=1.0, budget=1.0)
    env.reset(seed=0)
    *_, infos = env.step(np.array([1]))
    assert infos["reward_cost"].tolist() == [0.0]
    *_, infos = env.step(np.array([1]))
    most = 8 * 8 + 8 * 8 + 8 * 2  # crossbars of the largest network
    assert infos["reward_cost"].tolist() == pytest.approx([-(8 + 1) / most])
