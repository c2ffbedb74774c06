"""Signals from activations, by hand and against a slow reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from growenv.growth.signals import SIGNALS, Scene
from growenv.growth.signals.activity import activation_ranks, weight_ranks
from growenv.learner import Learner
from tests.growth.hand_built import THEIR_TARGETS, TWO_SAMPLES
from tests.growth.signals.scenes import SCENES, advance, begun, everyone, measured, scene, scene_of, slowly
from tests.growth.signals.test_gradients import hand_made


def by_hand(*columns: tuple[float, float]) -> Scene:
    """Units with the given incoming weights see the samples (1, 0) and (0, 1), so these are their activations, too."""
    made = hand_made(TWO_SAMPLES, THEIR_TARGETS)
    network, count = made.evidence.network, np.array([len(columns)])
    weights = torch.zeros((1, 3, len(columns)), dtype=torch.float64)
    weights[0, :2] = torch.tensor(columns, dtype=torch.float64).T
    network.set_units(0, network.reserve(0, count), count, weights)
    return made


def test_ranks_by_hand() -> None:
    """Of H / sqrt(2), singular values above 0.01 count; of W, those of W itself."""
    assert measured("rank", by_hand((1.0, 0.0), (0.0, 0.015)))["rank_0"][0] == 1.0
    found = measured("rank", by_hand((1.0, 0.0), (0.0, 0.013)))
    assert found["rank_0"][0] == 0.5, "0.013 / sqrt(2) is less than 0.01"
    assert found["weight_rank_0"][0] == 1.0
    assert measured("rank", by_hand((1.0, 0.0), (0.0, 0.009)))["weight_rank_0"][0] == 0.5
    twins = measured("rank", by_hand((1.0, 2.0), (1.0, 2.0), (-1.0, -2.0), (0.0, 1.0)))
    assert twins["rank_0"][0] == 0.5
    assert twins["weight_rank_0"][0] == 0.5


def test_dead_units_by_hand() -> None:
    assert measured("dead", by_hand((1.0, -1.0), (-1.0, -2.0), (0.0, 0.0), (-1.0, 1e-20)))["dead_0"][0] == 0.5


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("row", range(3))
def test_ranks_and_dead_units_equal_a_slow_reference(name: str, row: int) -> None:
    seen, found = slowly(name, row), {**measured("rank", scene(name)), **measured("dead", scene(name))}
    for layer, units in enumerate(seen.units):
        count = max(1, units.shape[1])
        values = np.linalg.svd(units / np.sqrt(len(units)), compute_uv=False)
        assert found[f"rank_{layer}"][row] == (values > 0.01).sum() / count
        assert found[f"dead_{layer}"][row] == pytest.approx((units.max(axis=0, initial=0.0) == 0).sum() / count)
        biases = len(seen.weights[layer]) - 1 if layer == 0 else 0
        weights = np.delete(seen.weights[layer], biases, axis=0)
        rank = (np.linalg.svd(weights, compute_uv=False) > 0.01).sum() if seen.active[layer] else 0
        assert found[f"weight_rank_{layer}"][row] == rank / max(1, seen.active[layer])
        assert found[f"rank_ratio_{layer}"][row] == 0.5, "it has just been seen for the first time"


def test_single_precision_counts_as_double_does() -> None:
    for finished in range(3):
        one, two = (
            measured("rank", scene_of(begun(finished, dtype=dtype))) for dtype in (torch.float32, torch.float64)
        )
        for feature, values in one.items():
            np.testing.assert_allclose(values, two[feature], atol=0.06, err_msg=feature)


def test_only_ranks_that_are_wanted_are_worked_out() -> None:
    given, wanted = scene("second task"), np.array([[True, False], [False, False], [True, True]])
    every = activation_ranks(given.products, np.ones((3, 2), dtype=bool))
    assert (every > 0).all()
    np.testing.assert_array_equal(activation_ranks(given.products, wanted), every * wanted)
    assert not activation_ranks(given.products, np.zeros((3, 2), dtype=bool)).any()
    active = given.evidence.network.active_units
    assert (weight_ranks(given.evidence.network) <= active).all()
    assert (weight_ranks(given.evidence.network)[active > 0] > 0).all()


def test_ranks_relative_to_the_start_of_the_task() -> None:
    """Halved, and no more than doubled; a new task has a new start."""
    signal, ours = SIGNALS.make("rank"), begun(0)
    signal.begin(everyone(3))
    first = measured("rank", scene_of(ours), signal)
    for _ in range(3):
        advance(ours)
    second = measured("rank", scene_of(ours), signal)
    assert (first["rank_1"] != second["rank_1"]).any()
    for layer in range(2):
        expected = np.minimum(second[f"rank_{layer}"] / first[f"rank_{layer}"], 2.0) / 2.0
        np.testing.assert_allclose(second[f"rank_ratio_{layer}"], expected)
    ours.next_task(np.array([True, False, False]))
    third = measured("rank", scene_of(ours), signal)
    assert third["rank_ratio_1"][0] == 0.5
    np.testing.assert_allclose(third["rank_ratio_1"][1:], second["rank_ratio_1"][1:])


def test_a_layer_without_units_that_train_keeps_its_rank() -> None:
    signal, ours = SIGNALS.make("rank"), begun(0)
    signal.begin(everyone(3))
    ours.next_task(everyone(3))
    first = measured("rank", scene_of(ours), signal)
    second = measured("rank", scene_of(ours, 7), signal)  # too few samples for the same rank
    np.testing.assert_array_equal(first["rank_1"], second["rank_1"])
    ours.grow(np.full(3, 1), np.array([2, 0, 0]))
    third = measured("rank", scene_of(ours, 7), signal)
    assert third["rank_1"][0] != first["rank_1"][0]
    np.testing.assert_array_equal(third["rank_1"][1:], first["rank_1"][1:])


def test_rows_that_are_not_looked_at_are_not_remembered() -> None:
    signal, ours = SIGNALS.make("rank"), begun(0)
    signal.begin(everyone(3))
    signal.measure(scene_of(ours), np.array([True, False, True]))
    _grown(ours)
    values = dict(zip(signal.features(2), signal.measure(scene_of(ours), everyone(3)).T, strict=True))
    assert values["rank_ratio_1"][1] == 0.5
    assert (values["rank_ratio_1"][[0, 2]] != 0.5).all()


def _grown(ours: Learner) -> None:
    for _ in range(2):
        advance(ours)
    ours.grow(np.full(3, 1), np.full(3, 20))


def test_ranks_and_dead_shares_are_bounded_whatever_the_network() -> None:
    ours = begun(1)
    for scale in (0.0, 1e-8, 1.0, 1e8):
        for weights in ours.network.weights:
            weights.mul_(scale)
        for name in ("rank", "dead"):
            for feature, values in measured(name, scene_of(ours)).items():
                assert ((values >= 0) & (values <= 1)).all(), feature
