"""Joint training: all tasks so far in every minibatch, as if their data were kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from growenv.protection.base import PROTECTIONS, Batch, Protection
from growenv.randomness import Purpose, uniform

if TYPE_CHECKING:
    from growenv.protection.stage import Stage


class Joint(Protection):
    """Trains on the data of all tasks so far: the upper bracket of every comparison.

    Every sample of a minibatch is drawn from all training samples of tasks 1..t, so a task's share of the minibatch is
    its share of these samples. Where all tasks are in every minibatch anyway, nothing is left to do. The data are not
    charged as memory: this is a bound, and no way to learn on hardware.
    """

    name = "joint"
    all_heads = True

    def rehearse(self, stage: Stage, batch: Batch) -> Batch:
        """As many samples of all tasks so far, instead of the current task's."""
        if stage.scenario.together:
            return batch
        reached = stage.task_counts().cumsum(axis=1)
        position = np.arange(batch.samples.shape[1])
        draw = uniform(stage.seeds[:, None], Purpose.PROTECTION, stage.steps[:, None], position)
        place = draw * reached[:, -1:]
        return stage.draw_from(0, (place[:, :, None] >= reached[:, None, :]).sum(axis=2))


PROTECTIONS.register("joint", Joint)
