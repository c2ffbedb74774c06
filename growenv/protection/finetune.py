"""No protection: every weight keeps training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from growenv.networks import StackedMLP
from growenv.protection.base import PROTECTIONS


class Finetune:
    """Train on the current task and nothing else: the lower bracket of every comparison.

    Old heads stay as they were, so old tasks are forgotten only through the shared layers.
    """

    name = "finetune"
    directed = False
    invariant = False

    def begin(self, network: StackedMLP, rows: NDArray[np.bool_]) -> None:
        """Nothing is kept."""

    def after_backward(self, network: StackedMLP) -> None:
        """Nothing is changed."""

    def finish_task(self, network: StackedMLP, rows: NDArray[np.bool_]) -> None:
        """Nothing is guarded."""


PROTECTIONS.register("finetune", Finetune)
