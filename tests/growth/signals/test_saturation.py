"""Signals of saturation, by hand and against a slow reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from growenv.growth.signals import SIGNALS
from growenv.growth.signals.products import CANDIDATES, FEW
from growenv.growth.signals.saturation import KAPPA, RIDGE, explained, participation
from growenv.randomness import Purpose, normal
from tests.growth.signals.scenes import (
    SCENES,
    Slow,
    advance,
    begun,
    everyone,
    measured,
    scene,
    scene_of,
    slow,
    slowly,
    squash,
)
from tests.growth.signals.test_gradients import SCALAR, hand_made


def candidates(seen: Slow, layer: int) -> np.ndarray:
    """What the candidates of a layer answer, (B, CANDIDATES)."""
    draws = np.array(
        [
            normal(0, Purpose.CANDIDATE, layer, source, number, np.arange(CANDIDATES // 2)) * (number > 0)
            for source, number in seen.ids[layer]
        ]
    )
    directions = np.concatenate((draws, -draws), axis=1)
    return np.maximum(seen.read[layer] @ (directions / np.linalg.norm(directions, axis=0)), 0.0)


# -- SENN ------------------------------------------------------------------------------------------------------------


def test_gains_by_hand() -> None:
    """Two samples; h is the constant alone, so Q = [[1, 1], [1, 1]] / 2 with an eigenvalue of 1 along (1, 1)."""
    kernel = torch.full((2, 2, 2), 0.5, dtype=torch.float64)
    offered = torch.zeros((2, 2, CANDIDATES), dtype=torch.float64)
    offered[:, 0, 0] = 1.0  # one candidate fires on the first sample only, the others never
    errors = torch.tensor([[[1.0], [-1.0]], [[3.0], [3.0]]], dtype=torch.float64)
    eta, gain = explained(kernel, offered, errors, np.ones(2, dtype=np.int64))
    left = RIDGE / (1 + RIDGE)  # what damped least squares leave of equal errors
    np.testing.assert_allclose(eta, [0.0, 1 - left], atol=1e-12)
    moment = 0.5 * (1 + RIDGE / CANDIDATES)
    np.testing.assert_allclose(gain, [0.5**2 / moment, (0.5 * left) ** 2 / moment])


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("row", range(3))
def test_senn_equals_a_slow_reference(name: str, row: int) -> None:
    seen, found = slowly(name, row), measured("senn", scene(name))
    for layer in range(seen.depth):
        g, h, a = seen.heard(layer)[:FEW], seen.read[layer + 1][:FEW], candidates(seen, layer)[:FEW]
        if not (g**2).sum():
            assert found[f"senn_ratio_{layer}"][row] == found[f"senn_gain_{layer}"][row] == 0.0
            continue
        inner, outer = (each.T @ each / FEW for each in (h, a))
        inner += RIDGE * np.trace(inner) / len(inner) * np.eye(len(inner))
        outer += RIDGE * np.trace(outer) / len(outer) * np.eye(len(outer))
        mixed = h.T @ g / FEW
        energy = (g**2).sum() / FEW
        eta = np.trace(mixed.T @ np.linalg.solve(inner, mixed)) / energy
        left = g - h @ np.linalg.solve(inner, mixed)
        new = a.T @ left / FEW
        gain = np.trace(new.T @ np.linalg.solve(outer, new)) / energy
        assert found[f"senn_ratio_{layer}"][row] == pytest.approx(squash(gain / eta))
        assert found[f"senn_gain_{layer}"][row] == pytest.approx(squash(gain))


# -- NORACL ----------------------------------------------------------------------------------------------------------


def test_effective_dimensions_by_hand() -> None:
    """Of two independent directions, one may be wider than the other; what is constant has none."""
    angles = np.arange(8) * np.pi / 4
    circle = np.stack((np.cos(angles), np.sin(angles)), axis=1)
    several = [circle, circle * [3.0, 1.0], circle * [1.0, 0.0], circle + np.array([5.0, -2.0]), np.full((8, 2), 7.3)]
    kernels = torch.stack([torch.from_numpy(each @ each.T) / 8 for each in several])
    expected = [2.0, (9 + 1) ** 2 / (81 + 1), 1.0, 2.0, 0.0]
    np.testing.assert_allclose(participation(kernels), expected, atol=1e-9)
    np.testing.assert_allclose(participation(kernels.float()), expected, atol=1e-3)
    assert not participation(torch.zeros((2, 8, 8))).any()


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("row", range(3))
def test_effective_dimensions_equal_a_slow_reference(name: str, row: int) -> None:
    seen = slowly(name, row)
    for layer, kernel in enumerate(scene(name).products.kernels):
        units = seen.units[layer][:FEW]
        eigenvalues = (
            np.linalg.eigvalsh(np.cov(units.T, bias=True).reshape(units.shape[1], -1)) if units.size else np.zeros(1)
        )
        expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum() if eigenvalues.any() else 0.0
        assert participation(kernel[row][None])[0] == pytest.approx(expected)


def test_saturation_is_relative_to_the_start_of_the_task() -> None:
    signal, ours = SIGNALS.make("noracl"), begun(0)
    signal.begin(everyone(3))
    start = participation(scene_of(ours).products.kernels[1])
    assert measured("noracl", scene_of(ours), signal)["saturation_1"].tolist() == [0.5] * 3
    for _ in range(3):
        advance(ours)
    now = participation(scene_of(ours).products.kernels[1])
    found = measured("noracl", scene_of(ours), signal)["saturation_1"]
    np.testing.assert_allclose(found, np.minimum(now / start, 2.0) / 2.0)
    ours.next_task(np.array([False, True, False]))
    assert measured("noracl", scene_of(ours), signal)["saturation_1"][1] == 0.5


def test_plasticity_by_hand() -> None:
    """F = E[h^2] E[g^2] = 4 x 1 for the weight, 0 for the bias; moved by w = 3 / sqrt(2), that is 9 nats."""
    assert measured("noracl", hand_made(**SCALAR))["plasticity_0"][0] == 0.5
    little = {**SCALAR, "targets": torch.tensor([[[3.0 + 1e-3]]])}
    assert KAPPA > 0.5 * 4 * (0.5e-3) ** 2 * 4.5
    assert measured("noracl", hand_made(**little))["plasticity_0"][0] == 0.0


@pytest.mark.parametrize("name", SCENES)
def test_plasticity_equals_a_slow_reference_over_several_looks(name: str) -> None:
    """While the network trains and grows, the means of both factors go over all looks since the task began."""
    ours, signal = begun(**SCENES[name]), SIGNALS.make("noracl")
    signal.begin(everyone(3))
    means: list[dict] = [{} for _ in range(3)]
    for look in range(3):
        if look:
            advance(ours)
        given = scene_of(ours)
        found = measured("noracl", given, signal)
        for row in range(3):
            expected = _plasticity(slow(given, row), means[row], look)
            for layer, share in enumerate(expected):
                assert found[f"plasticity_{layer}"][row] == pytest.approx(share, abs=1e-9)


def _plasticity(seen: Slow, means: dict, look: int) -> list[float]:
    shares = []
    for layer, active in enumerate(seen.active):
        pairs = [
            (seen.read[layer], [("read", layer, each) for each in seen.ids[layer]]),
            (seen.errors[layer], [("error", layer, number) for number in range(active)]),
        ]
        for values, keys in pairs:
            for key, square in zip(keys, (values[:FEW] ** 2).mean(axis=0), strict=True):
                means[key] = means.get(key, 0.0) + (square - means.get(key, 0.0)) / (look + 1)
        inner, outer = (np.array([means[key] for key in keys]) for _, keys in pairs)
        weights = seen.weights[layer]
        taken = 0.5 * np.outer(inner, outer) * (weights**2).mean() > KAPPA if active else np.zeros(1)
        shares.append(float(taken.mean()))
    return shares


def test_plasticity_is_unknown_before_training_and_starts_anew_with_a_task() -> None:
    signal, ours = SIGNALS.make("noracl"), begun(0, protection="finetune")
    signal.begin(everyone(3))
    assert not measured("noracl", scene_of(ours, trained=~everyone(3)), signal)["plasticity_1"].any()
    first = measured("noracl", scene_of(ours), signal)
    fresh = measured("noracl", scene_of(ours))
    np.testing.assert_array_equal(first["plasticity_1"], fresh["plasticity_1"])
    ours.next_task(everyone(3))
    advance(ours)
    np.testing.assert_array_equal(
        measured("noracl", scene_of(ours), signal)["plasticity_1"], measured("noracl", scene_of(ours))["plasticity_1"]
    )


def test_saturation_is_bounded_whatever_the_network() -> None:
    ours = begun(1)
    for scale in (0.0, 1e-8, 1.0, 1e8):
        for weights in ours.network.weights:
            weights.mul_(scale)
        for name in ("senn", "noracl"):
            for feature, values in measured(name, scene_of(ours)).items():
                assert ((values >= 0) & (values <= 1)).all(), feature
