"""Multiply-accumulates of a network small enough to count them by hand."""

from __future__ import annotations

import numpy as np
import pytest

from growenv.hardware import Architecture
from growenv.training_cost import forward_macs, training_macs


def growing(tasks: int = 2, directed: bool = True) -> Architecture:
    """4-3-2; with the second task the hidden layer gets one unit and the network a second head of two outputs."""
    units = np.array([[[3], [1 if tasks == 2 else 0]]])
    outputs = np.array([[2, 2 if tasks == 2 else 0]])
    return Architecture(4, units, outputs, directed)


def parameters(network: Architecture) -> int:
    return int(network.connections().sum() + network.biases()[0])


def test_parameters_of_the_example_are_those_counted_by_hand() -> None:
    assert parameters(growing(1)) == 12 + 3 + 6 + 2
    assert parameters(growing(2)) == 16 + 4 + (6 + 2) + (8 + 2)


def test_a_task_is_answered_by_the_units_that_it_was_trained_with() -> None:
    assert forward_macs(growing(1), 0).tolist() == [12 + 6]
    assert forward_macs(growing(2), 0).tolist() == [12 + 6]
    assert forward_macs(growing(2), 1).tolist() == [16 + 8]


def test_without_freezing_all_units_are_executed() -> None:
    assert forward_macs(growing(2, directed=False), 0).tolist() == [16 + 6]


def test_training_the_first_task_by_hand() -> None:
    for useful in (True, False):
        spent = training_macs(growing(1), 0, useful=useful)
        assert [int(part[0]) for part in (spent.forward, spent.weights, spent.inputs)] == [18, 18, 6]
        assert spent.total.tolist() == [42]


def test_training_the_second_task_by_hand() -> None:
    useful = training_macs(growing(2), 1, useful=True)
    assert [int(part[0]) for part in (useful.forward, useful.weights, useful.inputs)] == [24, 4 + 8, 2]
    assert useful.total.tolist() == [38]
    assert training_macs(growing(2), 1, useful=False).total.tolist() == [24 + 24 + 8]


def test_gradients_pass_from_new_units_to_new_units_only() -> None:
    # 4 inputs, layers 3 + 1 and 2 + 2, a head of 2: the second task's own weights.
    network = Architecture(4, np.array([[[3, 2], [1, 2]]]), np.array([[2, 2]]), directed=True)
    spent = training_macs(network, 1, useful=True)
    assert spent.forward.tolist() == [16 + (3 * 2 + 4 * 2) + 4 * 2]
    assert spent.weights.tolist() == [4 * 1 + 4 * 2 + 4 * 2]
    assert spent.inputs.tolist() == [1 * 2 + 2 * 2]


def test_a_task_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"task 2 does not exist, expected 0\.\.1"):
        forward_macs(growing(), 2)


def test_gradients_around_layers_are_refused() -> None:
    network = Architecture(4, np.array([[[3, 0]]]), np.array([[2]]), True, bypassed=(1,))
    with pytest.raises(ValueError, match=r"wires lead around the layers \(1,\)"):
        training_macs(network, 0, useful=True)
