"""Which rows, units and weights of a stack exist."""

from __future__ import annotations

import numpy as np

from growenv.networks import StackedMLP
from growenv.networks.live import index_of, live_inputs, live_units, live_weights


def ragged() -> StackedMLP:
    """Two networks of three inputs, with two and one units below one and three."""
    network = StackedMLP(2, 3, 2, 2)
    network.reserve(0, np.array([2, 1]))
    network.reserve(1, np.array([1, 3]))
    return network


def test_rows_units_and_inputs_by_hand() -> None:
    network = ragged()
    assert index_of(np.array([False, True]), network).tolist() == [1]
    assert live_units(network, 0).tolist() == [[True] * 2 + [False] * 6, [True] + [False] * 7]
    assert live_inputs(network, 0).all()
    # The constant unit, seven places of padding, then active units.
    assert live_inputs(network, 1)[0].tolist() == [True] + [False] * 7 + [True] * 2 + [False] * 6
    assert np.flatnonzero(live_inputs(network, 2)[1]).tolist() == [0, 8, 9, 10]


def test_live_weights_are_those_of_units_that_exist() -> None:
    network = ragged()
    first, second = live_weights(network, 0), live_weights(network, 1)
    assert first.sum(dim=(1, 2)).tolist() == [4 * 2, 4 * 1], "three inputs and a bias each"
    assert second.sum(dim=(1, 2)).tolist() == [3 * 1, 2 * 3], "units below and a bias each"
    assert second[0].nonzero().tolist() == [[0, 0], [8, 0], [9, 0]], "frozen unit 0 is the constant one"
