"""Signals that need no network, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from growenv.growth.signals.base import Scene
from tests.growth.signals.scenes import everyone, measured


class Answers:
    """Evidence with a given accuracy."""

    def __init__(self, accuracy: list[float]) -> None:
        self.loss, self.logits, self.given = self, None, accuracy
        self.network = type("Network", (), {"depth": 2})

    def accuracy(self, logits: Any) -> torch.Tensor:
        return torch.tensor(self.given)


def scene(**given: Any) -> Scene:
    rows = len(next(iter(given.values())))
    nothing = np.zeros(rows)
    plain: dict[str, Any] = {
        **{"evidence": Answers([0.0] * rows), "units": nothing, "task": nothing, "outputs": nothing},
        **{"trained": everyone(rows), "losses": np.ones((rows, 6)), "validation_accuracy": nothing},
        **{"validation_loss": nothing, "unit_cost": nothing},
    }
    return Scene(**{**plain, **given})


@pytest.mark.parametrize(
    ("losses", "slope", "bend"),
    [
        ([1, 1, 1, 1, 1, 1], 0.0, 0.0),
        ([3, 3, 2, 2, 1, 1], -0.5, 0.0),
        ([3, 1, 1, 1, 1, 1], -1 / 3, 0.2),  # thirds of 2, 1 and 1
        ([1, 1, 1, 1, 0, 0], -1.0, -1 / 3),
        ([4, 2, 0], -1.0, 0.0),
        ([1, 2, 2, 9], 0.8, (1 - 4 + 9) / 14),  # one, two and one minibatches
        ([0, 0, 0], 0.0, 0.0),
        ([1, 5], 0.0, 0.0),
    ],
)
def test_slope_and_curvature_of_the_loss(losses: list[float], slope: float, bend: float) -> None:
    found = measured("loss", scene(losses=np.array([losses], dtype=float)))
    assert found["loss_slope"][0] == pytest.approx(slope)
    assert found["loss_curvature"][0] == pytest.approx(bend)


def test_nothing_is_known_of_a_task_that_has_not_been_trained_on() -> None:
    losses = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    given = scene(losses=losses, trained=np.array([True, False]), evidence=Answers([0.75, 0.25]))
    found = {**measured("loss", given), **measured("gap", given)}
    assert found["loss_slope"].tolist() == [-0.5, 0.0]
    assert found["train_accuracy"].tolist() == [0.75, 0.25]
    assert found["accuracy_gap"].tolist() == [0.75, 0.0]
    assert found["overfitting_risk"][1] == 0.0


def test_gap_between_training_and_validation() -> None:
    given = scene(validation_accuracy=np.array([0.71, 0.75, 0.9]), evidence=Answers([0.75, 0.75, 0.75]))
    found = measured("gap", given)
    np.testing.assert_allclose(found["accuracy_gap"], [0.04, 0.0, -0.15])
    np.testing.assert_allclose(found["overfitting_risk"], [0.5, 1 / (1 + np.e**4), 1 / (1 + np.e**19)], rtol=1e-6)


def test_curves_are_bounded_whatever_the_losses() -> None:
    losses = 10.0 ** np.random.default_rng(0).uniform(-30, 30, (200, 9))
    for values in measured("loss", scene(losses=losses)).values():
        assert (np.abs(values) <= 1.0).all()
