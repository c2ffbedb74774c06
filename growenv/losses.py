"""What networks are trained to make small: the gradient of a minibatch, and the loss of a probe batch."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from growenv.growth.evidence import CrossEntropy, Loss, SquaredError
from growenv.registry import Registry


class TrainingLoss(Protocol):
    """A mean loss over the samples of a minibatch, for all rows at once."""

    def gradient(self, logits: Tensor, grad: Tensor, targets: Tensor, absent: Tensor, share: Tensor | float) -> None:
        """Write the derivative of the loss into `grad`.

        Args:
            logits: answers, hugely negative where an output does not take part, (N, C, B).
            grad: holds the softmax of the logits, and afterwards the derivative, (N, C, B).
            targets: one for the right output and zero for all others, (N, C, B).
            absent: what was added to the answers, 0 for outputs that take part, (N, C, 1) or (N, C, B).
            share: what each sample counts, a number or a tensor that broadcasts.
        """

    def of_probe(self, labels: Tensor, absent: Tensor) -> Loss:
        """The loss of a probe batch.

        Args:
            labels: right output of every sample, (N, B).
            absent: added to the answers, (N, 1, C).
        """


class SoftmaxCrossEntropy:
    """Cross-entropy of the softmax over the outputs that take part."""

    def gradient(self, logits: Tensor, grad: Tensor, targets: Tensor, absent: Tensor, share: Tensor | float) -> None:
        """``(softmax - target) * share``; see `TrainingLoss.gradient`."""
        grad.sub_(targets).mul_(share)

    def of_probe(self, labels: Tensor, absent: Tensor) -> Loss:
        """See `TrainingLoss.of_probe`."""
        return CrossEntropy(labels, absent)


class MeanSquaredError:
    """Squared distance to the one-hot targets, the mean over the outputs that take part, as torch's `MSELoss`."""

    def gradient(self, logits: Tensor, grad: Tensor, targets: Tensor, absent: Tensor, share: Tensor | float) -> None:
        """``2 / outputs * (answer - target) * share``; see `TrainingLoss.gradient`."""
        part = absent >= 0
        torch.sub(logits, targets, out=grad)
        grad.mul_(part * (2.0 / part.sum(dim=1, keepdim=True, dtype=grad.dtype))).mul_(share)

    def of_probe(self, labels: Tensor, absent: Tensor) -> Loss:
        """See `TrainingLoss.of_probe`."""
        return _ClassSquaredError(labels, absent)


class _ClassSquaredError(SquaredError):
    """`MeanSquaredError` of a probe batch."""

    def __init__(self, labels: Tensor, absent: Tensor) -> None:
        self.labels, self.part = labels, absent >= 0
        classes = torch.arange(absent.shape[2], device=labels.device)
        super().__init__((labels[:, :, None] == classes).to(absent.dtype))

    def _weights(self, logits: Tensor) -> Tensor:
        return self.part * (1.0 / self.part.sum(dim=2, keepdim=True, dtype=logits.dtype))

    def value(self, logits: Tensor) -> Tensor:
        return ((logits - self.targets).square() * self._weights(logits)).sum(dim=2).mean(dim=1)

    def gradient(self, logits: Tensor) -> Tensor:
        return (logits - self.targets) * self._weights(logits) * (2.0 / self.targets.shape[1])

    def accuracy(self, logits: Tensor) -> Tensor:
        """Share of right answers, (N,); a tie is none."""
        answers = torch.where(self.part, logits, -torch.inf)
        right = self.labels[:, :, None]
        others = answers.scatter(2, right, -torch.inf).amax(dim=2)
        return (torch.gather(answers, 2, right)[:, :, 0] > others).to(logits.dtype).mean(dim=1)


LOSSES: Registry[TrainingLoss] = Registry("loss")
LOSSES.register("cross-entropy", SoftmaxCrossEntropy)
LOSSES.register("squared-error", MeanSquaredError)
