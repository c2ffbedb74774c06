"""Experience replay: old samples beside the new ones in every minibatch."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.protection.base import LABEL_BYTES, NUMBER_BYTES, PROTECTIONS, Batch, Protection, joined
from growenv.protection.exemplars import Balanced, Exemplars, Reservoir, TaskEnd
from growenv.registry import Registry, unknown_name

if TYPE_CHECKING:
    from growenv.hardware import Architecture
    from growenv.protection.stage import Stage

WEIGHTS = ("1/t", "even")
_DRAWN = 128  # samples drawn at once when a task ends
_OFFERS = 4  # draws for each sample that is wanted, as some are drawn twice

FILLINGS: Registry[Exemplars] = Registry("filling")
FILLINGS.register("reservoir", Reservoir)
FILLINGS.register("balanced", Balanced)
FILLINGS.register("task-end", TaskEnd)


class Replay(Protection):
    """Keeps some samples and trains on as many stored ones as new ones in every minibatch.

    Stored samples are drawn uniformly with replacement. The loss of a row is

    * ``"1/t"``: L_new / t + (1 - 1/t) L_old in task t (van de Ven and Tolias 2019, arXiv 1904.07734, released code), so
      nothing is replayed in the first task. Where the scenario tells no boundaries, both weigh the same from the first
      period's end on.
    * ``"even"``: the mean over new and stored samples together (Chaudhry et al. 2019, arXiv 1902.10486), as soon as
      there is one stored.

    A row that replays nothing trains on its new samples alone. Stored are numbers of samples in the resident data; what
    counts as memory is the bytes of the samples themselves, for the whole capacity from the start.

    Args:
        capacity: samples that each row may keep.
        filling: which ones: ``"reservoir"`` (uniform over all training samples so far), ``"balanced"`` (the same in
            every output, shared equally) or ``"task-end"`` (an equal share of every finished task).
        weights: ``"1/t"`` or ``"even"``.
        name: how results call it; None for ``"replay"``, followed by a filling that is not ``"reservoir"``.

    Raises:
        ValueError: a capacity below 1, or an unknown filling or weights.
    """

    all_heads = True

    def __init__(
        self, capacity: int = 1000, filling: str = "reservoir", weights: str = "1/t", name: str | None = None
    ) -> None:
        if not isinstance(capacity, int) or capacity < 1:
            raise ValueError(f"capacity must be a whole number of samples, at least 1; got {capacity!r}")
        if filling not in FILLINGS.names():
            raise unknown_name("filling", filling, FILLINGS.names())
        if weights not in WEIGHTS:
            raise unknown_name("weights of replay", weights, WEIGHTS)
        self.capacity, self.filling, self.weights = capacity, filling, weights
        self.name = name or ("replay" if filling == "reservoir" else f"replay-{filling}")

    def prepare(self, stage: Stage) -> None:
        """Allocate the buffers."""
        self.exemplars = FILLINGS.make(self.filling, stage.rows, self.capacity, stage.outputs)

    def begin(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Empty the buffers."""
        self.exemplars.clear(rows)

    def rehearse(self, stage: Stage, batch: Batch) -> Batch:
        """The new samples and as many stored ones; then the new ones are offered to the buffer."""
        new, right = batch.samples.cpu().numpy(), batch.outputs.cpu().numpy()
        share = self._share_of_new(stage)
        if (share < 1).any():
            samples, outputs = self.exemplars.draw(new.shape[1], stage.seeds, stage.steps)
            # Rows that replay nothing are padded with samples that certainly exist.
            replays = (share < 1)[:, None]
            samples, outputs = np.where(replays, samples, new), np.where(replays, outputs, right)
            batch = beside(stage, batch, share, self._stored(stage, samples, outputs))
        self.exemplars.insert(new, right, stage.seeds, stage.steps)
        return batch

    def _stored(self, stage: Stage, samples: NDArray[np.int64], outputs: NDArray[np.int64]) -> Batch:
        tensors = (torch.from_numpy(each).to(stage.device) for each in (samples, outputs))
        return stage.batch(*tensors)

    def _share_of_new(self, stage: Stage) -> NDArray[np.float64]:
        """Weight of the new samples in each row's loss, (N,); 1 where nothing is replayed."""
        share = np.full(stage.rows, 0.5) if self.weights == "even" else share_of_new(stage)
        return np.where(self.exemplars.counts > 0, share, 1.0)

    def finish_task(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Where tasks fill the buffer when they end, draw from the one that ends."""
        if not isinstance(self.exemplars, TaskEnd):
            return
        draws = -(-np.minimum(self.exemplars.quota(rows), stage.sample_counts) * _OFFERS // _DRAWN)
        drawn = [stage.draw(number, _DRAWN) for number in range(int(draws.max()))]
        samples, outputs = (torch.cat(each, dim=1).cpu().numpy() for each in zip(*_tokens(drawn), strict=True))
        # What only others asked for is a repetition, which is not kept.
        own = np.arange(samples.shape[1]) < draws[:, None] * _DRAWN
        samples, outputs = np.where(own, samples, samples[:, :1]), np.where(own, outputs, outputs[:, :1])
        self.exemplars.keep(rows, samples, outputs)

    def memory(self, architecture: Architecture) -> NDArray[np.int64]:
        """Bytes of all samples that there is room for, int64 (N,)."""
        each = NUMBER_BYTES * architecture.inputs + LABEL_BYTES
        return np.full(architecture.rows, self.capacity * each, dtype=np.int64)


def _tokens(batches: list[Batch]) -> list[tuple[Tensor, Tensor]]:
    return [(batch.samples, batch.outputs) for batch in batches]


def share_of_new(stage: Stage) -> NDArray[np.float64]:
    """Weight of the new samples when 1/t of the loss is new in task t, (N,); without boundaries 1, then 1/2."""
    if stage.scenario.boundaries:
        return np.asarray(1.0 / (stage.finished + 1))
    return np.where(stage.finished > 0, 0.5, 1.0)


def beside(stage: Stage, new: Batch, share: NDArray[np.float64], old: Batch) -> Batch:
    """New and old samples as one minibatch.

    Args:
        stage: the stack.
        new: the new samples.
        share: weight of the mean loss of the new ones in each row's loss, (N,); that of the old ones has the rest.
        old: the old samples.
    """
    weight = torch.from_numpy(share).to(stage.device, stage.dtype)[:, None, None]
    batches = []
    for batch, part in ((new, weight), (old, 1.0 - weight)):
        count = batch.samples.shape[1]
        batches.append(replace(batch, share=(part / count).expand(-1, 1, count)))
    return joined(*batches)


PROTECTIONS.register("replay", Replay)
PROTECTIONS.register("replay-200", partial(Replay, capacity=200, name="replay-200"))
PROTECTIONS.register("replay-balanced", partial(Replay, filling="balanced"))
PROTECTIONS.register("replay-task-end", partial(Replay, filling="task-end", weights="even"))
