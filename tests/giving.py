"""Protections that let things happen: one that gives units back, one that asks for more."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from growenv.protection import Protection


class Giving(Protection):
    """Gives every unit back; the younger a unit, the less it matters.

    Args:
        oldest_first: the older a unit, the less it matters.
        keep: units of a layer, the oldest ones, that must stay.
    """

    name = "giving"
    frees = True

    def __init__(self, oldest_first: bool = False, keep: int = 0) -> None:
        self.oldest_first, self.keep = oldest_first, keep

    def importance(self, stage: Any, layer: int) -> NDArray[np.float64]:
        born = stage.network.birth_index(layer)[:, stage.network.layout.frozen[layer] :].astype(np.float64)
        matters = born if self.oldest_first else 1000.0 - born
        return np.where(born > self.keep, matters, np.inf)


class Asking(Protection):
    """Asks for units of a layer in the middle of every decision's training, and remembers what it got.

    Args:
        layer: hidden layer.
        amounts: units that each row asks for.
        every: minibatches between two requests.
    """

    name = "asking"

    def __init__(self, layer: int, amounts: list[int], every: int = 2) -> None:
        self.layer, self.amounts, self.every = layer, np.array(amounts), every
        self.got: list[list[int]] = []

    def after_step(self, stage: Any) -> None:
        if stage.steps[0] % self.every == 0:
            self.got.append(stage.grow(self.layer, self.amounts).tolist())


class Ending(Asking):
    """Asks when a task ends, and when the next one begins."""

    name = "ending"

    def after_step(self, stage: Any) -> None:
        return None

    def finish_task(self, stage: Any, rows: NDArray[np.bool_]) -> None:
        self.got.append(stage.grow(self.layer, np.where(rows, self.amounts, 0)).tolist())

    def enter(self, stage: Any, rows: NDArray[np.bool_]) -> None:
        self.got.append(stage.grow(self.layer, np.where(rows, self.amounts, 0)).tolist())


class Taking(Protection):
    """Takes the youngest unit of the first layer away after a decision's first minibatch."""

    name = "taking"

    def after_step(self, stage: Any) -> None:
        if (stage.steps[0] + 1) % 2 == 0:
            network = stage.network
            place = np.arange(network.layout.active[0])[None, :]
            last = network.active_units[:, 0, None] - 1
            stage.remove(0, (place == last) & (last > 0))
