"""What one probe batch shows of every layer: activations, back-propagated errors, gradients of weights to come."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from growenv.networks import StackedMLP
from growenv.networks.layout import with_wires

LEAST_PROBABILITY = 1e-12
"""Of a right class, so that a cross-entropy stays finite."""
_relu_backward = torch.ops.aten.threshold_backward


class Loss(Protocol):
    """A mean loss over the samples of a probe batch, for all rows at once; built with the batch's targets."""

    def value(self, logits: Tensor) -> Tensor:
        """Mean loss of every row, (N,), from logits (N, B, C); differentiable."""

    def gradient(self, logits: Tensor) -> Tensor:
        """Derivative of the mean loss with respect to the logits, (N, B, C)."""

    def accuracy(self, logits: Tensor) -> Tensor:
        """Share of samples whose largest logit is the right one, (N,); 0 where there are no classes."""


class CrossEntropy:
    """Softmax cross-entropy.

    Args:
        labels: right class of every sample, int64 (N, B).
        absent: added to the logits before the softmax, (N, 1, C): hugely negative for classes that a task lacks.
    """

    def __init__(self, labels: Tensor, absent: Tensor) -> None:
        self.labels, self.absent = labels, absent
        self._last: tuple[Tensor, Tensor] | None = None

    def _probabilities(self, logits: Tensor) -> Tensor:
        """(N, C, B): a softmax over a short last dimension is ten times slower."""
        if self._last is not None and self._last[0] is logits:
            return self._last[1]
        found = torch.softmax((logits + self.absent).transpose(1, 2).contiguous(), 1)
        if not found.requires_grad:
            self._last = logits, found
        return found

    def value(self, logits: Tensor) -> Tensor:
        """Mean loss of every row, (N,)."""
        chosen = torch.gather(self._probabilities(logits), 1, self.labels[:, None, :])[:, 0]
        return -chosen.clamp(min=LEAST_PROBABILITY).log().mean(dim=1)

    def gradient(self, logits: Tensor) -> Tensor:
        """Derivative of the mean loss, (N, B, C)."""
        error = self._probabilities(logits).clone()
        error.scatter_add_(1, self.labels[:, None, :], -torch.ones_like(error[:, :1]))
        return error.div_(self.labels.shape[1]).transpose(1, 2)

    def accuracy(self, logits: Tensor) -> Tensor:
        """Share of right answers, (N,); a tie is none."""
        probabilities, labels = self._probabilities(logits), self.labels[:, None, :]
        others = probabilities.scatter(1, labels, -1.0).amax(dim=1)
        return (torch.gather(probabilities, 1, labels)[:, 0] > others).to(logits.dtype).mean(dim=1)


class SquaredError:
    """Half the squared distance to the targets, summed over outputs.

    Args:
        targets: shape (N, B, C).
    """

    def __init__(self, targets: Tensor) -> None:
        self.targets = targets

    def value(self, logits: Tensor) -> Tensor:
        """Mean loss of every row, (N,)."""
        return 0.5 * (logits - self.targets).square().sum(dim=2).mean(dim=1)

    def gradient(self, logits: Tensor) -> Tensor:
        """Derivative of the mean loss, (N, B, C)."""
        return (logits - self.targets) / self.targets.shape[1]

    def accuracy(self, logits: Tensor) -> Tensor:
        """There are no classes."""
        return torch.zeros_like(logits[:, 0, 0])


class Evidence:
    """One probe batch seen through N networks; nothing is worked out before it is asked for.

    With L hidden layers, layer l reads `below[l]`, so ``below[0]`` is the input and ``below[L]`` what the head reads;
    `errors[l]` belongs to the pre-activations of layer l, ``errors[L]`` to the logits. Everything is
    exactly zero where a row has no unit. Frozen units and the constant unit (column `frozen` 0, or the last input) are
    among those that are read, but only active units have errors.

    Args:
        network: the stack; what it computes must not change while the evidence is in use.
        x: inputs whose last value is one, (N, B, D + 1).
        loss: the loss of this batch.
        gates: factors of the units of each hidden layer, (N, frozen + active); None for ones.
    """

    def __init__(self, network: StackedMLP, x: Tensor, loss: Loss, gates: Sequence[Tensor] | None = None) -> None:
        self.network, self.x, self.loss, self.gates = network, x, loss, gates

    def double(self) -> Evidence:
        """The same in double precision, where small singular values are more than rounding."""
        if self.x.dtype == torch.float64:
            return self
        gates = None if self.gates is None else [gate.double() for gate in self.gates]
        return Evidence(self.network, self.x.double(), self.loss, gates)

    def _gated(self, layer: int, units: Tensor, first: int = 0) -> Tensor:
        """Answers of the units of a hidden layer from position `first` on, times their gates."""
        if self.gates is None:
            return units
        return units * self.gates[layer][:, None, first : first + units.shape[2]].to(units.dtype)

    @property
    def samples(self) -> int:
        """Samples in the batch B."""
        return self.x.shape[1]

    @cached_property
    def below(self) -> list[Tensor]:
        """What every layer and the head read, L + 1 tensors (N, B, fan_in), the constant one included."""
        read = [self.x]
        for layer in range(self.network.depth):
            units = torch.bmm(read[-1], self.network.into(layer).to(self.x.dtype)).clamp_(min=0.0)
            read.append(self._passed_on(layer, self._gated(layer, units), read[-1]))
        return read

    def _passed_on(self, layer: int, units: Tensor, below: Tensor) -> Tensor:
        """What the readers of a hidden layer read: its units and, where wires lead around it, what it reads itself."""
        return with_wires(units, below) if layer in self.network.bypassed else units

    def _weights(self, block: int) -> Tensor:
        return self.network.weights[block].to(self.x.dtype)

    @cached_property
    def logits(self) -> Tensor:
        """Shape (N, B, C)."""
        return torch.bmm(self.below[-1], self._weights(self.network.depth))

    def with_gradient(self, gradient: Tensor) -> Evidence:
        """The same activations under another derivative of the loss with respect to the logits, (N, B, C)."""
        other = copy.copy(self)
        vars(other).pop("errors", None)
        vars(other)["_errors"] = [gradient]
        return other

    @cached_property
    def errors(self) -> list[Tensor]:
        """Derivative of the mean loss with respect to pre-activations of active units and logits, L + 1 tensors."""
        return [self.error(layer) for layer in range(self.network.depth + 1)]

    @cached_property
    def _errors(self) -> list[Tensor]:
        """Those known by now, from the logits downwards."""
        return [self.loss.gradient(self.logits)]

    def error(self, layer: int) -> Tensor:
        """`errors[layer]`, without those of the layers below."""
        depth, known = self.network.depth, self._errors
        for lower in range(depth - len(known), layer - 1, -1):
            start, active = self.network.layout.frozen[lower], self.network.layout.active[lower]
            units = self.below[lower + 1][:, :, start : start + active]
            known.append(self._gated(lower, _relu_backward(self.by_answer(lower), units, 0), start))
        return known[depth - layer]

    def by_answer(self, layer: int) -> Tensor:
        """Derivative of the mean loss with respect to what active units of a layer answer, (N, B, active)."""
        layout = self.network.layout
        start, stop = layout.frozen[layer], layout.frozen[layer] + layout.active[layer]
        parts = [
            torch.bmm(self.error(block), self._weights(block)[:, at + start : at + stop].transpose(1, 2))
            for block, at in layout.outlets(layer)
        ]
        return functools.reduce(torch.Tensor.add_, parts)

    def gradient(self, layer: int) -> Tensor:
        """Derivative with respect to the weights into `layer` (L is the head), (N, fan_in, fan_out)."""
        return torch.bmm(self.below[layer].transpose(1, 2), self.error(layer))

    def across(self, layer: int) -> Tensor:
        """G = E[h_{l-1} g_{l+1}^T], the gradient across hidden layer l, (N, fan_in of l, fan_out of l + 1).

        The transpose of the G of Evci et al. 2022, arXiv 2201.05125, with fan-in first as in `StackedMLP.weights`.
        """
        return torch.bmm(self.below[layer].transpose(1, 2), self.error(layer + 1))

    def loss_with(self, layer: int, extra: Tensor) -> Tensor:
        """Mean loss of every row, (N,), if `extra` were added to the pre-activations of layer + 1.

        Args:
            layer: hidden layer l that gets new units; layer l + 1 (the head for l = L - 1) hears them.
            extra: what its active units (or the logits) would hear besides, (N, B, fan_out of l + 1); differentiable.
        """
        network, above = self.network, layer + 1
        if above == network.depth:
            return self.loss.value(self.logits + extra)
        frozen = network.layout.frozen[above]
        active = (torch.bmm(self.below[above], self._weights(above)) + extra).clamp(min=0.0)
        units = torch.cat((self.below[above + 1][:, :, :frozen], self._gated(above, active, frozen)), dim=2)
        read = self._passed_on(above, units, self.below[above])
        for upper in range(above + 1, network.depth):
            units = torch.bmm(read, network.into(upper).to(self.x.dtype)).clamp(min=0.0)
            read = self._passed_on(upper, self._gated(upper, units), read)
        return self.loss.value(torch.bmm(read, self._weights(network.depth)))
