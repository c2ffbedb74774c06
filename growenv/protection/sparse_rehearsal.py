"""Sparse connections for each task, trained on stored samples of earlier tasks beside the new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.protection.base import PROTECTIONS, Batch
from growenv.protection.connections import OWNED, TRAINED
from growenv.protection.replay import Replay
from growenv.protection.spacenet import SpaceNet
from growenv.protection.sparse import StaticSparse

if TYPE_CHECKING:
    from growenv.hardware import Architecture
    from growenv.networks import StackedMLP
    from growenv.protection.stage import Stage


class StaticSparseRehearsal(StaticSparse):
    """`StaticSparse` with `Replay`: stored samples guard earlier tasks, so that everything connected may train.

    In every minibatch there are as many stored samples as new ones. The connections of a task lead to the outputs of
    stored samples as well, and those of finished tasks and the biases of reserved units train on, unless they are
    `fixed`. New connections still avoid reserved units, and only the task's own ones are ever replaced.

    Args:
        capacity: samples that each row may keep. The published size is not known.
        filling: which ones, as in `Replay`.
        weights: how new and stored samples share the loss, as in `Replay`.
        fixed: whether what finished tasks own stays as it is, to the last bit.
        name: how results call it.
        options: those of `StaticSparse`.

    Raises:
        ValueError: an option out of range.

    Source: Sokar, Mocanu and Pechenizkiy 2021, arXiv 2007.07617 (there: SpaceNet-Rehearsal); which samples are kept,
    and which connections they train, are choices of this package.
    """

    all_heads = True

    def __init__(
        self,
        capacity: int = 1000,
        filling: str = "task-end",
        weights: str = "even",
        fixed: bool = False,
        name: str = "static-sparse-rehearsal",
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        self.replay, self.fixed = Replay(capacity, filling, weights), fixed

    def prepare(self, stage: Stage) -> None:
        """Add what follows the weights; allocate the buffer of samples."""
        super().prepare(stage)
        self.replay.prepare(stage)

    def begin(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Fresh networks have no connections, and fresh streams no stored samples."""
        super().begin(stage, rows)
        self.replay.begin(stage, rows)

    def outputs(self, stage: Stage) -> list[NDArray[np.int64]]:
        """The outputs that train in the current task of each row: those of its classes and of stored samples."""
        held = self.replay.exemplars
        stored = [outputs[:count] for outputs, count in zip(held.outputs, held.counts, strict=True)]
        return [np.union1d(new, old) for new, old in zip(super().outputs(stage), stored, strict=True)]

    def rehearse(self, stage: Stage, batch: Batch) -> Batch:
        """The new samples and as many stored ones."""
        return self.replay.rehearse(stage, batch)

    def _trains(self, network: StackedMLP) -> Tensor:
        """1 where a weight trains, else 0, flat."""
        trained = network.buffers[TRAINED]
        # What a task owns is marked by 1 as well, and so are reserved units.
        return trained if self.fixed else torch.maximum(trained, network.buffers[OWNED])

    def finish_task(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Keep samples of the task; it owns its connections; reserve its most important candidates."""
        self.replay.finish_task(stage, rows)
        super().finish_task(stage, rows)

    def memory(self, architecture: Architecture) -> NDArray[np.int64]:
        """Bytes of masks and importances, as in `StaticSparse`, and of all samples that there is room for, (N,)."""
        return super().memory(architecture) + self.replay.memory(architecture)


class SpaceNetRehearsal(StaticSparseRehearsal, SpaceNet):
    """`SpaceNet` with `Replay`, as `StaticSparseRehearsal`; takes the options of both."""

    def __init__(self, name: str = "spacenet-rehearsal", **options: Any) -> None:
        super().__init__(name=name, **options)


PROTECTIONS.register("static-sparse-rehearsal", StaticSparseRehearsal)
PROTECTIONS.register("spacenet-rehearsal", SpaceNetRehearsal)
