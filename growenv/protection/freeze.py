"""Freezing: a finished task's neurons and their incoming weights never change again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from growenv.protection.base import PROTECTIONS, Protection
from growenv.protection.stage import Stage


class Freeze(Protection):
    """Freeze all units when a task ends; old units never read new ones, new units read everything older.

    A finished task's head reads the units that existed when it was trained, so its logits are the same to the last bit
    whatever grows and trains later. This is the masking of progressive networks (Rusu et al. 2016, arXiv 1606.04671)
    with lateral connections, at the granularity of single neurons.
    """

    name = "freeze"
    directed = True
    invariant = True

    def finish_task(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Freeze the active units of some rows."""
        stage.network.freeze(rows)


PROTECTIONS.register("freeze", Freeze)
