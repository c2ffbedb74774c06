"""What one decision's training showed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.growth.evidence import LEAST_PROBABILITY


@dataclass(frozen=True)
class TrainingReport:
    """What one decision's training showed, every array of shape (N,).

    Attributes:
        loss: mean cross-entropy of all minibatches.
        early_loss: mean over the first quarter of the minibatches.
        late_loss: mean over the last quarter.
        confidence: mean probability of the right class in the last quarter.
        losses: mean cross-entropy of every minibatch, (N, minibatches).
    """

    loss: NDArray[np.float64]
    early_loss: NDArray[np.float64]
    late_loss: NDArray[np.float64]
    confidence: NDArray[np.float64]
    losses: NDArray[np.float64]


def report(chosen: Tensor) -> TrainingReport:
    """Summarise the probabilities of the right classes, shape (minibatches, N, B)."""
    loss = -chosen.clamp(min=LEAST_PROBABILITY).log().mean(dim=2, dtype=torch.float64).cpu().numpy()
    quarter = max(1, len(loss) // 4)
    confidence = chosen[-quarter:].mean(dim=(0, 2), dtype=torch.float64).cpu().numpy()
    early, late = loss[:quarter].mean(axis=0), loss[-quarter:].mean(axis=0)
    return TrainingReport(loss.mean(axis=0), early, late, confidence, loss.T)
