"""What several signals need of one probe batch, worked out once."""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.growth.evidence import Evidence
from growenv.growth.signals.spectra import largest
from growenv.randomness import Purpose, normal

TOP = 4
"""Singular values, and candidates, that count: as many neurons as the smallest growth of the default environment."""
CANDIDATES = 16
"""Fixed random neurons that each layer is offered: half as many directions, with both signs."""
RIDGE = 1e-2
"""Added to second moments before they are inverted, relative to their mean eigenvalue."""


class Products:
    """Gradients, spectra and candidates of N networks with L hidden layers, each worked out when first asked for.

    Args:
        evidence: the probe batch.
        outputs: classes of each row's current task, (N,).
    """

    def __init__(self, evidence: Evidence, outputs: NDArray[np.int64]) -> None:
        self.evidence, self.network, self.outputs = evidence, evidence.network, outputs
        self.depth = self.network.depth

    def readers(self, layer: int) -> NDArray[np.int64]:
        """What hears hidden layer `layer` and trains, (N,): active units of the next one, or outputs."""
        above = layer + 1
        return self.outputs if above == self.depth else self.network.active_units[:, above]

    @cached_property
    def loss(self) -> NDArray[np.float64]:
        """Mean loss, (N,)."""
        return numbers(self.evidence.loss.value(self.evidence.logits))

    @cached_property
    def gradients(self) -> list[Tensor]:
        """Derivatives with respect to the weights into every layer and into the head, (N, fan_in, fan_out)."""
        return [self.evidence.gradient(layer) for layer in range(self.depth + 1)]

    @cached_property
    def top(self) -> NDArray[np.float64]:
        """The largest squared singular values of the gradient across each hidden layer, (N, L, TOP), descending."""
        each = []
        for layer in range(self.depth):
            across = self.evidence.across(layer)
            each.append(largest(torch.bmm(across.transpose(1, 2), across), self.readers(layer), TOP))
        return np.stack(each, axis=1)

    @cached_property
    def candidates(self) -> Tensor:
        """What the candidates of every hidden layer answer, (L, N, B, CANDIDATES); their fan-in has length 1."""
        evidence, half = self.evidence, CANDIDATES // 2
        both = evidence.x.new_empty((self.depth, self.network.rows, evidence.samples, CANDIDATES))
        for layer, below in enumerate(evidence.below[:-1]):
            both[layer, :, :, :half] = self._projections(layer, below)
        torch.neg(both[..., :half], out=both[..., half:])
        return both.clamp_(min=0.0)

    def _projections(self, layer: int, below: Tensor) -> Tensor:
        """What a layer reads, along each random direction, (N, B, CANDIDATES / 2)."""
        if layer == 0:
            inputs = self.network.inputs
            table, lengths = directions(0, inputs, below.dtype, below.device)
            # The constant input is the last one here, and no direction has a part in it.
            return torch.matmul(below, table.roll(-1, 0) / lengths[inputs])
        born = self.network.birth_index(layer - 1)
        table, lengths = directions(layer, size(int(born.max())), below.dtype, below.device)
        chosen = torch.from_numpy(np.maximum(born, 0)).to(below.device)
        fan_in = table.index_select(0, chosen.view(-1)).view(*born.shape, -1)
        return torch.bmm(below, fan_in.div_(lengths[born.max(axis=1)][:, None, :]))

    @cached_property
    def offers(self) -> list[Tensor]:
        """Derivative with respect to the outgoing weights of the candidates, (N, CANDIDATES, fan_out), each layer."""
        errors = self.evidence.errors[1:]
        return [torch.bmm(a.transpose(1, 2), e) for a, e in zip(self.candidates, errors, strict=True)]

    @property
    def half(self) -> int:
        """Samples of the first half of the batch, at least one: enough for what is accumulated or damped."""
        return max(1, self.evidence.samples // 2)

    @cached_property
    def half_errors(self) -> Tensor:
        """Errors of each sample at what reads every hidden layer, over the half batch, (L, N, S, most readers)."""
        errors = [error[:, : self.half] for error in self.evidence.errors[1:]]
        padded = errors[0].new_zeros((self.depth, *errors[0].shape[:2], max(error.shape[2] for error in errors)))
        for stacked, error in zip(padded, errors, strict=True):
            torch.mul(error, self.evidence.samples, out=stacked[:, :, : error.shape[2]])
        return padded

    @cached_property
    def kernels(self) -> Tensor:
        """Inner products of the samples' activations in each hidden layer, over the half batch: h h^T / S, (L, N, S, S)."""
        kernels = self.evidence.x.new_empty((self.depth, self.network.rows, self.half, self.half))
        for kernel, below in zip(kernels, self.evidence.below[1:], strict=True):
            torch.bmm(below[:, : self.half], below[:, : self.half].transpose(1, 2), out=kernel)
        return kernels.div_(self.half)


def size(count: int) -> int:
    """The least power of two that is at least `count`, and at least 16: few tables are needed."""
    return max(16, 1 << (count - 1).bit_length())


@lru_cache(maxsize=64)
def directions(layer: int, count: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Gaussian numbers for the values 1 to `count` that a layer reads, in their order of birth; 0 for the constant.

    They are constants of the package: the same for all rows, streams and seeds.

    Returns:
        The numbers, and the lengths of the directions over the first 0, 1, 2, ... values; both (1 + count,
        CANDIDATES / 2).
    """
    draw = normal(0, Purpose.CANDIDATE, layer, np.arange(1 + count)[:, None], np.arange(CANDIDATES // 2))
    draw[0] = 0.0
    lengths = np.sqrt(np.square(draw).cumsum(axis=0))
    lengths[0] = 1.0
    return tuple(torch.from_numpy(each).to(device, dtype) for each in (draw, lengths))  # type: ignore[return-value]


def numbers(values: Tensor) -> NDArray[np.float64]:
    """A small tensor as float64 array."""
    array: NDArray[np.float64] = values.cpu().numpy().astype(np.float64)
    return array
