"""Progressive networks: a new column of units for every task."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from growenv.growth import RandomGrowth
from growenv.protection.base import PROTECTIONS
from growenv.protection.freeze import Freeze
from growenv.protection.stage import Stage


class Progressive(Freeze):
    """Freeze all units when a task ends, and give each later task a column as wide as the network of the first one.

    A column is as many new units in every hidden layer as there were at the end of the first task, what grew during it
    included. They start as fresh networks do, whatever the growth operator. New units read everything older, which are
    the lateral connections; the paper passes those through an adapter with a non-linearity of its own, here they are
    plain weights. Weights grow with the square of the number of tasks.

    A column is asked for like any growth, so where hardware or the greatest width has no room, a task gets less of it
    or nothing (`columns`), and trains on what it has. Growth by an agent comes on top.

    Attributes:
        columns: units of each task's column that were granted, (N, T, L); 0 for the first task.

    Source: Rusu et al. 2016, arXiv 1606.04671.
    """

    name = "progressive"

    def __init__(self) -> None:
        self.columns: NDArray[np.int64] = np.zeros((0, 0, 0), dtype=np.int64)

    def prepare(self, stage: Stage) -> None:
        """Nothing was granted yet; raises NotVisibleError where tasks have no visible ends."""
        _ = stage.task_length
        self.columns = np.zeros((stage.rows, stage.tasks, stage.network.depth), dtype=np.int64)

    def begin(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Some rows start a new stream."""
        self.columns[rows] = 0

    def enter(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Grow a column in the rows whose first task is behind them."""
        later = rows & (stage.finished > 0)
        number = np.minimum(stage.finished, stage.tasks - 1)
        for layer in range(stage.network.depth):
            # From below upwards, so that the new units of a layer read the new ones below.
            wanted = np.where(later, stage.units[:, 0, layer], 0)
            if wanted.any():
                granted = stage.grow(layer, wanted, RandomGrowth())
                self.columns[later, number[later], layer] = granted[later]


PROTECTIONS.register("progressive", Progressive)
