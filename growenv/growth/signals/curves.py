"""Signals that need no network: what the loss does, and how far training is ahead of validation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from growenv.growth.signals.base import SIGNALS, Array, Scene

ALPHA = 4.0
"""Offset of FRAGrow's over-fitting risk level in points (Wu et al. 2024, arXiv 2401.03104, as released)."""


@SIGNALS.register("loss")
class LossCurve:
    """Slope and curvature of the training loss within the last decision.

    The minibatches are cut into three parts, early, middle and late, with mean losses a, b and c:

    | feature | meaning | range |
    | --- | --- | --- |
    | loss_slope | (c - a) / (a + c): negative while training helps, 0 on a plateau | [-1, 1] |
    | loss_curvature | (a - 2 b + c) / (a + 2 b + c): positive while the fall slows down | [-1, 1] |

    Both are 0 before anything has been trained on a task, and with fewer than three minibatches.
    """

    name = "loss"

    def features(self, layers: int) -> tuple[str, ...]:
        """Names of the features; see `Signal.features`."""
        return "loss_slope", "loss_curvature"

    def begin(self, rows: NDArray[np.bool_]) -> None:
        """Nothing is remembered."""

    def measure(self, scene: Scene, rows: NDArray[np.bool_]) -> Array:
        """See `Signal.measure`."""
        third = scene.losses.shape[1] // 3
        if third == 0:
            return np.zeros((len(rows), 2))
        early, late = scene.losses[:, :third].mean(axis=1), scene.losses[:, -third:].mean(axis=1)
        middle = scene.losses[:, third:-third].mean(axis=1)
        with np.errstate(invalid="ignore"):  # a network that has diverged
            slope = (late - early) / np.maximum(early + late, 1e-12)
            bend = (early - 2.0 * middle + late) / np.maximum(early + 2.0 * middle + late, 1e-12)
        return np.where(scene.trained[:, None], np.stack((slope, bend), axis=1), 0.0)


@SIGNALS.register("gap")
class AccuracyGap:
    """How much better the network is on the samples that it trains on than on others.

    | feature | meaning | range |
    | --- | --- | --- |
    | train_accuracy | accuracy on the probe batch of training samples | [0, 1] |
    | accuracy_gap | that, minus the validation accuracy | [-1, 1] |
    | overfitting_risk | 1 / (1 + exp(4 - gap in points)): FRAGrow's share of its longest interval | [0, 1] |

    The last two are 0 before anything has been trained on a task.
    """

    name = "gap"

    def features(self, layers: int) -> tuple[str, ...]:
        """Names of the features; see `Signal.features`."""
        return "train_accuracy", "accuracy_gap", "overfitting_risk"

    def begin(self, rows: NDArray[np.bool_]) -> None:
        """Nothing is remembered."""

    def measure(self, scene: Scene, rows: NDArray[np.bool_]) -> Array:
        """See `Signal.measure`."""
        evidence = scene.evidence
        accuracy = evidence.loss.accuracy(evidence.logits).double().cpu().numpy()
        gap = accuracy - scene.validation_accuracy
        risk = 1.0 / (1.0 + np.exp(ALPHA - 100.0 * gap))
        known = np.stack((gap, risk), axis=1) * scene.trained[:, None]
        return np.concatenate((accuracy[:, None], known), axis=1)
