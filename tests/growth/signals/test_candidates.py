"""Signals from candidates, by hand and against a slow reference."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.growth.signals.scenes import SCENES, begun, measured, scene, scene_of, slowly, squash
from tests.growth.signals.test_gradients import SCALAR, hand_made
from tests.growth.signals.test_saturation import candidates


def test_firefly_by_hand() -> None:
    """In one dimension half of the candidates answer 2 sqrt(2), the others 0; the error is 2, the loss 2."""
    found = measured("firefly", hand_made(**SCALAR))
    score = 0.5 * 0.5 * 2 * np.sqrt(2) * 2  # outgoing weights half as long as 0.5, answer, error
    assert found["ff_gain_0"][0] == pytest.approx(squash(4 * score / 2))


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("row", range(3))
def test_firefly_equals_a_slow_reference(name: str, row: int) -> None:
    seen, found = slowly(name, row), measured("firefly", scene(name))
    for layer, units in enumerate(seen.units):
        g = seen.heard(layer)
        outgoing = sum((part**2).sum() for part in seen.outgoing(layer, seen.weights))
        length = 0.5 * np.sqrt((outgoing or g.shape[1] / 3) / max(1, units.shape[1]))
        scores = length * np.sqrt(2) * np.linalg.norm(candidates(seen, layer).T @ g / len(g), axis=1)
        assert found[f"ff_gain_{layer}"][row] == pytest.approx(squash(np.sort(scores)[-4:].sum() / seen.loss))


def test_gain_per_cost_by_hand() -> None:
    """The gradient across the layer is 4, a neuron costs 0.005 of the capacity: 16 / 0.005 for all, 32 for 0.01."""
    found = measured("gain", hand_made(**SCALAR))
    assert found["gain_per_cost_0"][0] == 1.0
    assert found["shadow_price"][0] == pytest.approx(squash(32.0))


@pytest.mark.parametrize("name", SCENES)
def test_gain_per_cost_follows_from_gains_and_costs(name: str) -> None:
    given = scene(name)
    gains = given.products.top.sum(axis=2)
    cost = given.unit_cost.copy()
    cost[1] = np.nan  # nothing fits in row 1, and in row 2 only the last layer grows
    cost[2, :-1] = np.nan
    found = measured("gain", dataclasses.replace(given, unit_cost=cost))
    each = gains[0] / cost[0]
    for layer, value in enumerate(each):
        assert found[f"gain_per_cost_{layer}"][0] == pytest.approx(value / each.sum())
    assert found["shadow_price"][0] == pytest.approx(squash(0.01 * each.max()))
    assert not any(values[1] for values in found.values())
    assert found[f"gain_per_cost_{gains.shape[1] - 1}"][2] == 1.0
    assert found["shadow_price"][2] == pytest.approx(squash(0.01 * gains[2, -1] / cost[2, -1]))


def test_what_nothing_trainable_hears_gains_nothing() -> None:
    ours = begun(0)
    ours.next_task(np.ones(3, dtype=bool))
    found = {**measured("firefly", scene_of(ours)), **measured("gain", scene_of(ours))}
    assert not found["ff_gain_0"].any()
    assert not found["gain_per_cost_0"].any()
    assert found["ff_gain_1"].all()
    assert (found["gain_per_cost_1"] == 1.0).all()
