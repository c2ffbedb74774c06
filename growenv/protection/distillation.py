"""Learning without forgetting: go on answering new inputs as the old network does."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from growenv.heads import ABSENT
from growenv.networks.live import index_of
from growenv.protection.base import NUMBER_BYTES, PROTECTIONS, Batch, Protection
from growenv.protection.strengths import checked_strength, family, row_strengths

if TYPE_CHECKING:
    from growenv.hardware import Architecture
    from growenv.protection.stage import Stage

OLD = "old_weights"
"""Buffer: the weights at the end of the last task."""


def distillation_gradient(new: Tensor, old: Tensor, seen: Tensor, known: Tensor, temperature: float) -> Tensor:
    """Derivative of ``-sum_c q_c log p_c`` with respect to the new logits, of each sample and group of outputs.

    p is the softmax of the new logits over the seen outputs, q that of the old logits over the known ones, both divided
    by the temperature: the derivative is ``(p - q) / temperature``. It is not multiplied by the temperature's square.

    Args:
        new: logits of the network in training, (N, G, K, B).
        old: those of the old network, (N, G, K, B).
        seen: outputs among which the new network chooses, bool (N, G, K).
        known: outputs among which the old network chose, bool (N, G, K).
        temperature: above 0.

    Returns:
        Shape (N, G, K, B).

    Source: Hinton et al. 2015, arXiv 1503.02531, section 2, without the square.
    """
    # Outputs before samples: a softmax over a short last dimension is ten times slower.
    p = torch.softmax((new / temperature).masked_fill_(~seen[:, :, :, None], ABSENT), 2)
    q = torch.softmax((old / temperature).masked_fill_(~known[:, :, :, None], ABSENT), 2)
    return p.sub_(q).div_(temperature)


class LearningWithoutForgetting(Protection):
    """Adds a distillation loss KD on the current inputs, with the network of the last task's end as teacher.

    * A head for each task: the loss is ``CE + strength * (sum of KD over the heads of finished tasks)``, which is KD
      averaged over old heads and multiplied by their number.
    * A shared head whose outputs are places in a task: ``CE + strength * finished * KD``.
    * A shared head with an output for each class: ``CE + strength * KD`` over the outputs seen so far, where the
      teacher gives classes that it did not know probability zero.

    Units that grow later are no part of the teacher: their weights in it are zero. The published strength is 1.
    Scenarios that silence other outputs while they train ('class-incremental-restore') leave nothing to distil.

    Args:
        strength: factor of the distillation loss, at least 0, one for all rows or one for each, (N,); None for 1.
        temperature: above 0.

    Raises:
        ValueError: a number out of range.

    Source: Li and Hoiem 2016, arXiv 1606.09282; weights of the terms: van de Ven and Tolias 2019, arXiv 1904.07734.
    """

    name = "lwf"
    all_heads = True
    published: ClassVar[dict[str, float]] = {"task": 1.0, "domain": 1.0, "class": 1.0}

    def __init__(self, strength: ArrayLike | None = None, temperature: float = 2.0) -> None:
        self._given = checked_strength("strength", strength)
        if not 0 < temperature < np.inf:
            raise ValueError(f"a temperature divides logits, so it must be above 0 and finite; got {temperature}")
        self.temperature = temperature

    def prepare(self, stage: Stage) -> None:
        """Add the buffer."""
        self.strength = row_strengths(self._given, self.published, stage)[..., None]
        self._groups = stage.tasks if stage.scenario.heads == "task" else 1
        shape, device = (stage.rows, stage.outputs), stage.network.device
        self._seen, self._known = (torch.zeros(shape, dtype=torch.bool, device=device) for _ in range(2))
        self._apart = False
        stage.network.add_buffer(OLD)

    def begin(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Nothing is known yet."""
        index = index_of(rows, stage.network)
        self._seen[index] = self._known[index] = False

    def enter(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """See whether the loss of the new task leaves known outputs out."""
        self._apart = bool((self._known & (stage.absent[:, :, 0] != 0)).any())

    def on_logits(self, stage: Stage, batch: Batch, logits: Tensor, gradient: Tensor) -> None:
        """Add the derivative of the distillation loss."""
        self._seen |= self._taking_part(stage, batch)
        if not stage.finished.any():
            return
        shape = (stage.rows, self._groups, -1, logits.shape[2])
        old = stage.forward(batch.inputs, weights=stage.network.buffers[OLD]).transpose(1, 2).reshape(shape)
        # What is absent from the loss is lost in `logits`, to rounding.
        new = stage.forward(batch.inputs).transpose(1, 2) if self._apart else logits
        seen, known = self._seen.view(shape[:3]), self._known.view(shape[:3])
        if self._groups > 1:
            seen = known
        slope = distillation_gradient(new.reshape(shape), old, seen, known, self.temperature)
        slope.mul_(self.strength * self._terms(stage, known))
        gradient.add_(slope.view(gradient.shape).mul_(batch.share))

    def finish_task(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """The network of now is the next teacher."""
        network, index = stage.network, index_of(rows, stage.network)
        for old, weights in zip(network.layout.blocks(network.buffers[OLD]), network.weights, strict=True):
            old[index] = weights[index]
        self._known[index] = self._seen[index]

    def memory(self, architecture: Architecture) -> NDArray[np.int64]:
        """Bytes of the old network with all heads, int64 (N,)."""
        return np.asarray(NUMBER_BYTES * (architecture.connections().sum(axis=1) + architecture.biases()))

    def _taking_part(self, stage: Stage, batch: Batch) -> Tensor:
        """Outputs that stand for something that this batch shows, bool (N, C)."""
        if stage.scenario.loss != "all":
            return (batch.absent == 0).any(dim=2)
        return torch.zeros_like(self._seen).scatter_(1, batch.outputs, True)

    def _terms(self, stage: Stage, known: Tensor) -> Tensor:
        """How often the loss of each group of outputs counts, (N, G, 1, 1)."""
        finished = torch.from_numpy(stage.finished[:, None]).to(known.device)
        count = finished if family(stage.scenario) == "domain" else known.any(dim=2)
        return count.to(self.strength.dtype)[:, :, None, None]


PROTECTIONS.register("lwf", LearningWithoutForgetting)
