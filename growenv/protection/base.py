"""Protections: what guards old tasks while new ones are learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.registry import Registry

if TYPE_CHECKING:
    from growenv.hardware import Architecture
    from growenv.protection.stage import Stage


NUMBER_BYTES, LABEL_BYTES = 4, 8
"""Bytes of a number that a protection keeps (float32), and of a label (int64)."""


@dataclass
class Batch:
    """One minibatch of every row, as training sees it.

    The loss of a row is the sum over its samples of ``share * cross_entropy(softmax(logits + absent), targets)``.

    Attributes:
        inputs: network inputs whose last value is one, (N, B, D + 1).
        targets: wanted probabilities of the outputs, (N, C, B).
        absent: added to the logits, 0 or hugely negative for outputs that do not take part, (N, C, 1) or (N, C, B).
        share: weight of each sample in its row's loss, (N, 1, B), or one number for all.
        samples: which samples these are, for `Stage.gather`, int64 (N, B); of the current data only.
        outputs: the right output of each of them, int64 (N, B).
    """

    inputs: Tensor
    targets: Tensor
    absent: Tensor
    share: Tensor | float
    samples: Tensor
    outputs: Tensor


class Protection:
    """Guards old tasks; every method treats all rows of a stack at once. The methods here do nothing.

    Keep what must follow the weights in buffers of the network (`StackedMLP.add_buffer`), which grow, shrink and are
    saved with them, and everything else in attributes: snapshots copy them. Keep no reference to the stage.

    Attributes:
        name: how results call it.
        directed: True if old units never read new ones, so that those connections need no hardware.
        invariant: True if a finished task's logits can never change again, as long as every task has its own head.
        all_heads: True if heads of finished tasks train on, so that all heads must be outputs of one matrix.
        frees: True if it can give units back (`importance`).
    """

    name: str = ""
    directed: bool = False
    invariant: bool = False
    all_heads: bool = False
    frees: bool = False

    def prepare(self, stage: Stage) -> None:
        """Once, before the first stream: add buffers, allocate."""

    def begin(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Some rows start a new stream with fresh networks; forget what was kept for them."""

    def enter(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Some rows turn to a task whose head is ready, the first one of a stream included."""

    def rehearse(self, stage: Stage, batch: Batch) -> Batch:
        """The minibatch to train on instead, for example with old samples beside the new ones."""
        return batch

    def on_logits(self, stage: Stage, batch: Batch, logits: Tensor, gradient: Tensor) -> None:
        """Add to the derivative of the loss with respect to the logits, both (N, C, B); logits include `absent`."""

    def after_backward(self, stage: Stage) -> None:
        """Change `network.gradients` before the optimiser uses them."""

    def after_step(self, stage: Stage) -> None:
        """Change `network.weights` after the optimiser has changed them."""

    def grown(self, stage: Stage, layer: int, first: NDArray[np.int64], amounts: NDArray[np.int64]) -> None:
        """A hidden layer has got new active units: `amounts` from position `first`, both (N,)."""

    def finish_task(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Some rows have finished a task, whose head is saved already."""

    def gates(self, stage: Stage, task: NDArray[np.int64] | None) -> list[Tensor] | None:
        """Factors of all units of each hidden layer, each (N, frozen + active) or (N, B, frozen + active).

        Args:
            stage: what may be seen.
            task: the task of each row to be answered, (N,); None while training on the current one.
        """
        return None

    def weights_of(self, stage: Stage, task: NDArray[np.int64]) -> Tensor | None:
        """Flat weights (hidden layers) with which each row answers a task, like ``buffers["weights"]``; None for those.

        The head's part is not used.
        """
        return None

    def answer(self, stage: Stage, x: Tensor, task: NDArray[np.int64]) -> Tensor | None:
        """Logits for a task of each row, (N, V, C), if they do not come from the network's head; else None."""
        return None

    def importance(self, stage: Stage, layer: int) -> NDArray[np.float64]:
        """How much every active unit of a layer matters, (N, active); infinite where it must stay."""
        raise NotImplementedError(f"the protection {self.name!r} gives no units back")

    def memory(self, architecture: Architecture) -> NDArray[np.int64]:
        """Bytes that it keeps beside such networks and their heads, int64 (N,)."""
        return np.zeros(architecture.rows, dtype=np.int64)


PROTECTIONS: Registry[Protection] = Registry("protection")


def joined(first: Batch, second: Batch) -> Batch:
    """One batch of the samples of two, each with its own share of the loss."""

    def wide(batch: Batch, value: Tensor | float) -> Tensor:
        count = batch.inputs.shape[1]
        tensor = value if isinstance(value, Tensor) else batch.targets.new_full((batch.inputs.shape[0], 1, 1), value)
        return tensor.expand(-1, -1, count)

    return Batch(
        torch.cat((first.inputs, second.inputs), dim=1),
        torch.cat((first.targets, second.targets), dim=2),
        torch.cat((wide(first, first.absent), wide(second, second.absent)), dim=2),
        torch.cat((wide(first, first.share), wide(second, second.share)), dim=2),
        torch.cat((first.samples, second.samples), dim=1),
        torch.cat((first.outputs, second.outputs), dim=1),
    )
