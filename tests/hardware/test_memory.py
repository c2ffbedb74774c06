"""Bytes that a protection keeps beside the weights, by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from growenv.hardware import METERS, Architecture, largest
from growenv.protection import PROTECTIONS, Finetune, Replay
from growenv.vector_env import GrowthVectorEnv
from tests.rollouts import SMALL

Keeper = Callable[[Architecture], np.ndarray]


def two_tasks(keeper: Keeper | None = None) -> Architecture:
    """Row 0: an MLP 4-3-2 during task 0; row 1: the same during task 1, with a unit grown and a second head."""
    units = np.array([[[3], [0]], [[3], [1]]], dtype=np.int64)
    outputs = np.array([[2, 0], [2, 2]], dtype=np.int64)
    return Architecture(4, units, outputs, directed=True, keeper=keeper)


def importance_and_centre(network: Architecture) -> np.ndarray:
    """Two numbers of four bytes for each of the 23 parameters of the first task."""
    return np.full(network.rows, 2 * 23 * 4)


def packed_mask(network: Architecture) -> np.ndarray:
    """A bit for each weight of hidden layer and head."""
    return -(-network.connections().sum(axis=1) // 8)


def ten_samples(network: Architecture) -> np.ndarray:
    """Four numbers of four bytes and a label of eight."""
    return np.full(network.rows, 10 * (network.inputs * 4 + 8))


@pytest.mark.parametrize(
    ("keeper", "kept"),
    [(None, [0, 0]), (importance_and_centre, [184, 184]), (packed_mask, [3, 4]), (ten_samples, [240, 240])],
)
def test_worked_example(keeper, kept):
    # 4-3-2 has 23 parameters, 92 bytes, and 18 weights; the second task 38 parameters and 30 weights.
    network = two_tasks(keeper)
    assert network.kept_bytes().tolist() == kept
    assert METERS.make("bytes").usage(network).tolist() == [92 + kept[0], 152 + kept[1]]
    assert METERS.make("parameters").usage(network).tolist() == [23, 38]


def test_growth_takes_the_keeper_along():
    # A unit of task 1 reads 4 inputs and is read by 2 outputs: 30 + 6 weights are 5 bytes of bits.
    grown = two_tasks(packed_mask).grown(0, 1, np.array([0, 1]))
    assert grown.kept_bytes().tolist() == [3, 5]
    assert METERS.make("bytes").usage(grown).tolist() == [92 + 28 + 3, 152 + 28 + 5]


def test_requests_are_refused_for_what_is_kept_as_well():
    meter, network = METERS.make("bytes"), two_tasks(packed_mask)
    limits = np.array([92 + 28 + 3, 152 + 28 + 5.0])
    assert meter.refuse(network, 0, 1, np.array([0, 1]), limits).tolist() == [0, 0]
    assert meter.refuse(network, 0, 1, np.array([0, 1]), limits - 1).tolist() == [1, 1]


def test_the_largest_network_keeps_as_much_as_it_would():
    full = largest(4, (8,), 2, 2, keeper=packed_mask)
    assert full.kept_bytes().tolist() == [(32 + 32) // 8]


@pytest.mark.parametrize("wrong", [[1.5, 2.0], [1], [-1, 2], 3])
def test_impossible_answers_of_a_protection_are_refused(wrong):
    with pytest.raises(ValueError, match="beside 2 networks, expected 2 integers >= 0; correct its method memory"):
        two_tasks(lambda _: np.array(wrong)).kept_bytes()


def test_replay_and_ewc_of_the_package_agree_with_the_example():
    assert two_tasks(Replay(10).memory).kept_bytes().tolist() == [240, 240]
    # One shared head: 4-3-2 has an importance and a centre of four bytes for each of its 23 parameters.
    assert two_tasks(PROTECTIONS.make("ewc").memory).kept_bytes()[0] == 2 * 23 * 4


class Keeping(Finetune):
    """Keeps a byte for each parameter of a network and its heads."""

    name = "keeping"

    def memory(self, architecture: Architecture) -> np.ndarray:
        return architecture.connections().sum(axis=1) + architecture.biases()


def test_the_environment_meters_and_shows_what_is_kept():
    env = GrowthVectorEnv(2, protection=Keeping(), meter="bytes", autoreset_mode="DISABLED", budget=1.0, **SMALL)
    plain = GrowthVectorEnv(2, protection="finetune", meter="bytes", autoreset_mode="DISABLED", budget=1.0, **SMALL)
    contexts = {"contexts": (env.reset(seed=0), env.contexts)[1]}
    _, infos = env.reset(options=contexts)
    _, without = plain.reset(options=contexts)
    parameters = plain.episodes.used * plain.admission.capacity / 4
    np.testing.assert_array_equal(infos["protection_bytes"], parameters.round())
    assert without["protection_bytes"].tolist() == [0, 0]
    assert env.admission.capacity == plain.admission.capacity * 5 / 4
    np.testing.assert_allclose(infos["used"], without["used"])
    env.step(np.array([1, 2]))
    *_, infos = env.step(np.array([3, 0]))
    architecture = env.admission.architecture(env.episodes)
    np.testing.assert_array_equal(infos["protection_bytes"], Keeping().memory(architecture))
    np.testing.assert_allclose(infos["used"] * env.admission.capacity, 5 * infos["protection_bytes"])
