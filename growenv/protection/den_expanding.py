"""Dynamically expandable networks that add their units themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from growenv.growth import RandomGrowth
from growenv.protection.base import PROTECTIONS
from growenv.protection.den import Den
from growenv.protection.den_split import grow_admitted
from growenv.protection.strengths import checked_strength

if TYPE_CHECKING:
    from growenv.protection.stage import Stage

LOSS_SAMPLES = 512
"""Training samples of the task on which the loss is compared with tau."""
_RANDOM = RandomGrowth()


class DenExpanding(Den):
    """DEN that adds its units itself: k to every layer where a task's loss after retraining is above tau.

    It adds what hardware and greatest widths admit, as random units. With `split`, which is on here, it splits too.

    Args:
        tau: mean cross-entropy on training samples from which units are added; one number, or one for each row. The
            published value was for sigmoid outputs.
        k: units that every layer gets at once.
        strengths: those of `Den`.

    Raises:
        ValueError: as `Den`, or k is below 1.
    """

    name = "den-expanding"

    def __init__(
        self, *, tau: float | Sequence[float] = 0.01, k: int = 10, split: bool = True, **strengths: object
    ) -> None:
        super().__init__(split=split, **strengths)  # type: ignore[arg-type]
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"k={k!r}: expected at least 1 unit for every layer; protection 'den' adds none")
        checked_strength("tau", tau)
        self.strengths["tau"], self.k = tau, k

    def _expand(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        batch = stage.draw(0, LOSS_SAMPLES)
        logits = stage.forward(batch.inputs).transpose(1, 2) + batch.absent
        loss = -(torch.log_softmax(logits, 1) * batch.targets).sum(dim=1).mean(dim=1)
        short = rows & (loss.double().cpu().numpy() > self._strength["tau"])
        for layer in range(stage.network.depth):
            grow_admitted(stage, layer, np.where(short, self.k, 0), _RANDOM)


PROTECTIONS.register("den-expanding", DenExpanding)
