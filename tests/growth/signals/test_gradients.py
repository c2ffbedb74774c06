"""Signals from gradients, by hand and against a slow reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from growenv.growth import Evidence, SquaredError
from growenv.growth.signals import Scene
from growenv.networks import StackedMLP
from tests.growth.hand_built import THEIR_TARGETS, TWO_SAMPLES
from tests.growth.signals.scenes import SCENES, begun, measured, scene, scene_of, slowly, squash


def hand_made(h: torch.Tensor, targets: torch.Tensor, fan_in: float | None = None, fan_out: float = 0.0) -> Scene:
    """One network of one hidden layer without biases; with one unit, or none, and a squared error."""
    network = StackedMLP(1, h.shape[2], 1, targets.shape[2], dtype=torch.float64)
    if fan_in is not None:
        first = network.reserve(0, np.ones(1, dtype=np.int64))
        inner = torch.full((1, h.shape[2] + 1, 1), fan_in, dtype=torch.float64)
        inner[:, -1] = 0.0
        network.set_units(0, first, np.ones(1, dtype=np.int64), inner, torch.full((1, 1, targets.shape[2]), fan_out))
    x = torch.cat((h, torch.zeros((*h.shape[:2], 1))), dim=2).double()
    one, nothing = np.ones(1), np.zeros(1, dtype=np.int64)
    return Scene(
        evidence=Evidence(network, x, SquaredError(targets.double())),
        units=network.widths[:, None],
        task=nothing,
        outputs=np.array([targets.shape[2]]),
        trained=np.ones(1, dtype=bool),
        losses=np.ones((1, 6)),
        validation_accuracy=one,
        validation_loss=one,
        unit_cost=np.full((1, 1), 0.005),
    )


SCALAR = {"h": torch.tensor([[[2.0]]]), "targets": torch.tensor([[[1.0]]]), "fan_in": 3.0, "fan_out": 0.5}
"""x = 2, a unit that answers 6, an output of 3 where 1 is wanted: a loss of 2 and an error of 2. The gradients are
2 x 0.5 x 2 = 2 into the unit and 2 x 6 = 12 out of it; across the layer it is 2 x 2 = 4."""


def test_gradmax_by_hand() -> None:
    """G = [[1, 3], [3, 1]] has singular values 4 and 2; the loss is 20."""
    found = measured("gradmax", hand_made(TWO_SAMPLES, THEIR_TARGETS))
    assert found["sv_share_0"][0] == 1.0
    assert found["sv_strength_0"][0] == pytest.approx(squash(20.0 / 20.0**2))
    scalar = measured("gradmax", hand_made(**SCALAR))
    assert scalar["sv_strength_0"][0] == pytest.approx(squash(16.0 / 4.0))


def test_gradients_by_hand() -> None:
    found = measured("gradient", hand_made(**SCALAR))
    assert found["gradient_ratio_0"][0] == pytest.approx(squash(2.0 / 3.0))
    assert found["gradient_ratio_head"][0] == pytest.approx(squash(12.0 / 0.5))
    assert found["grad_excess_0"][0] == pytest.approx(squash(4.0 / (0.5 * (2.0 + 12.0))))


def test_a_perfect_network_has_nothing_to_learn() -> None:
    perfect = hand_made(**{**SCALAR, "targets": torch.tensor([[[3.0]]])})
    for name in ("gradmax", "gradient", "firefly", "gain", "senn"):
        for feature, values in measured(name, perfect).items():
            assert values[0] == 0.0, feature


def test_where_only_a_new_neuron_would_learn_its_gradient_exceeds_all() -> None:
    found = measured("gradient", hand_made(TWO_SAMPLES, THEIR_TARGETS))
    assert found["gradient_ratio_0"][0] == 0.0
    assert found["grad_excess_0"][0] == 1.0


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("row", range(3))
def test_gradmax_equals_a_slow_reference(name: str, row: int) -> None:
    seen, found = slowly(name, row), measured("gradmax", scene(name))
    gains = [float((np.linalg.svd(seen.across(layer), compute_uv=False)[:4] ** 2).sum()) for layer in range(seen.depth)]
    # More than twelve columns are decomposed approximately.
    tolerance = {"rel": 0.02 if max(seen.heard(layer).shape[1] for layer in range(seen.depth)) > 12 else 1e-9}
    for layer, gain in enumerate(gains):
        assert found[f"sv_share_{layer}"][row] == pytest.approx(gain / sum(gains), **tolerance)
        assert found[f"sv_strength_{layer}"][row] == pytest.approx(squash(gain / seen.loss**2), **tolerance)


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("row", range(3))
def test_gradients_equal_a_slow_reference(name: str, row: int) -> None:
    seen, found = slowly(name, row), measured("gradient", scene(name))
    gradients = [seen.gradient(block) for block in range(seen.depth + 1)]
    for block, (gradient, weights) in enumerate(zip(gradients, seen.weights, strict=True)):
        feature = "gradient_ratio_head" if block == seen.depth else f"gradient_ratio_{block}"
        size = np.linalg.norm(gradient)
        assert found[feature][row] == pytest.approx(squash(size / np.linalg.norm(weights)) if size else 0.0), feature
    for layer, active in enumerate(seen.active):
        strongest = np.linalg.norm(seen.across(layer), 2) if seen.heard(layer).size else 0.0
        out = np.sqrt(sum((part**2).sum(axis=1) for part in seen.outgoing(layer, gradients)))
        threshold = 0.5 * (np.linalg.norm(gradients[layer], axis=0).sum() + out[len(out) - active :].sum())
        expected = 0.0 if strongest == 0 else squash(strongest / threshold if threshold else np.inf)
        assert found[f"grad_excess_{layer}"][row] == pytest.approx(expected, rel=0.01)


def test_right_after_a_task_switch_lower_layers_have_no_gradients() -> None:
    ours = begun(0)
    ours.next_task(np.ones(3, dtype=bool))
    found = {**measured("gradmax", scene_of(ours)), **measured("gradient", scene_of(ours))}
    for feature in ("sv_share_0", "sv_strength_0", "gradient_ratio_0", "gradient_ratio_1", "grad_excess_0"):
        assert not found[feature].any(), feature
    for feature in ("sv_share_1", "sv_strength_1", "gradient_ratio_head", "grad_excess_1"):
        assert found[feature].all(), feature


def test_scaling_all_errors_changes_no_share_and_no_excess() -> None:
    """A loss with other units has gradients in proportion."""
    h, targets = torch.randn((1, 9, 4), generator=torch.Generator().manual_seed(0)), torch.zeros((1, 9, 3))
    one, two = (hand_made(h * 1.0, targets + scale, 0.3, 0.0) for scale in (1.0, 10.0))
    for name, features in (
        ("gradmax", ("sv_share_0",)),
        ("gradient", ("grad_excess_0",)),
        ("senn", ("senn_ratio_0", "senn_gain_0")),
    ):
        for feature in features:
            assert measured(name, one)[feature][0] == pytest.approx(measured(name, two)[feature][0])
