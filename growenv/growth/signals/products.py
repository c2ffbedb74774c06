"""What several signals need of one probe batch, worked out once."""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.growth.evidence import Evidence
from growenv.growth.signals.spectra import largest_squares
from growenv.randomness import Purpose, normal

TOP = 4
"""Singular values, and candidates, that count: as many neurons as the smallest growth of the default environment."""
FEW = 32
"""Samples that are enough where something is damped, or averaged over several batches."""
CANDIDATES = 16
"""Fixed random neurons that each layer is offered: half as many directions, with both signs."""


class Products:
    """Gradients, spectra and candidates of N networks with L hidden layers, each worked out when first asked for.

    Args:
        evidence: the probe batch.
        outputs: classes of each row's current task, (N,).
    """

    def __init__(self, evidence: Evidence, outputs: NDArray[np.int64]) -> None:
        self.evidence, self.network, self.outputs = evidence, evidence.network, outputs
        self.depth, self._errors = self.network.depth, dict[int, Tensor]()

    # -- who hears whom ----------------------------------------------------------------------------------------------

    def outgoing(self, layer: int) -> list[tuple[int, slice]]:
        """The blocks that read a hidden layer, and where its units but the constant one lie in them."""
        layout = self.network.layout
        size = layout.frozen[layer] + layout.active[layer]
        return [(block, slice(start + 1, start + size)) for block, start in layout.outlets(layer)]

    def readers(self, layer: int) -> NDArray[np.int64]:
        """What hears a hidden layer and trains, (N,): active units of later layers, outputs of the head."""
        active = self.network.active_units
        blocks = [block for block, _ in self.network.layout.outlets(layer)]
        count: NDArray[np.int64]
        count = np.sum([self.outputs if block == self.depth else active[:, block] for block in blocks], axis=0)
        return count

    def reads(self, layer: int) -> NDArray[np.int64]:
        """How many values a layer (L is the head) reads, the constant one included, (N,)."""
        if layer == 0:
            return np.full(self.network.rows, self.network.inputs + 1)
        sources = [span.source for span in self.network.layout.spans(layer)]
        count: NDArray[np.int64] = 1 + self.network.widths[:, sources].sum(axis=1)
        return count

    def errors(self, layer: int) -> Tensor:
        """Errors at everything that hears a hidden layer, (N, B, what hears it), what a row has first, then zeros."""
        if layer not in self._errors:
            blocks = [block for block, _ in self.network.layout.outlets(layer)]
            parts = [self.evidence.error(block) for block in blocks]
            self._errors[layer] = parts[0] if len(parts) == 1 else self._compact(blocks, torch.cat(parts, dim=2))
        return self._errors[layer]

    def _compact(self, blocks: list[int], errors: Tensor) -> Tensor:
        """Errors of several blocks without the gaps that rows have between these."""
        active = self.network.active_units
        there = np.concatenate(
            [
                np.arange(self.network.layout.fan_out(block))[None, :]
                < (self.outputs if block == self.depth else active[:, block])[:, None]
                for block in blocks
            ],
            axis=1,
        )
        order = np.argsort(~there, axis=1, kind="stable")[:, : int(there.sum(axis=1).max())]
        index = torch.from_numpy(order).to(errors.device)[:, None, :].expand(-1, errors.shape[1], -1)
        return torch.gather(errors, 2, index)

    def units(self, layer: int) -> Tensor:
        """What the units of a hidden layer answer, the constant one first, (N, B, frozen + active)."""
        layout = self.network.layout
        return self.evidence.below[layer + 1][:, :, : layout.frozen[layer] + layout.active[layer]]

    # -- gradients ---------------------------------------------------------------------------------------------------

    @cached_property
    def loss(self) -> NDArray[np.float64]:
        """Mean loss, (N,)."""
        return numbers(self.evidence.loss.value(self.evidence.logits))

    @cached_property
    def gradients(self) -> list[Tensor]:
        """Derivatives with respect to the weights into every layer and into the head, (N, fan_in, fan_out)."""
        return [self.evidence.gradient(layer) for layer in range(self.depth + 1)]

    @cached_property
    def weight_norms(self) -> NDArray[np.float64]:
        """Norms of the weights that train into every layer and into the head, (N, L + 1)."""
        norms = [torch.linalg.vector_norm(weights, dim=(1, 2)) for weights in self.network.weights]
        return numbers(torch.stack(norms, dim=1))

    @cached_property
    def top(self) -> NDArray[np.float64]:
        """The largest squared singular values of the gradient across each hidden layer, (N, L, TOP), descending."""
        each = []
        for layer, below in enumerate(self.evidence.below[:-1]):
            across = torch.bmm(below.transpose(1, 2), self.errors(layer))
            each.append(largest_squares(across, self.readers(layer), TOP))
        return np.stack(each, axis=1)

    # -- candidates --------------------------------------------------------------------------------------------------

    @cached_property
    def candidates(self) -> Tensor:
        """What the candidates of every hidden layer answer, (L, N, B, CANDIDATES); their fan-in has length 1."""
        evidence, rows = self.evidence, self.network.rows
        answers = evidence.x.new_empty((self.depth, rows, evidence.samples, CANDIDATES))
        for layer, below in enumerate(evidence.below[:-1]):
            torch.matmul(below, self._fan_in(layer), out=answers[layer])
        return answers.clamp_(min=0.0)

    def _fan_in(self, layer: int) -> Tensor:
        """Incoming weights of the candidates, (D + 1, CANDIDATES) or (N, fan_in, CANDIDATES)."""
        x, inputs = self.evidence.x, self.network.inputs
        if layer == 0:
            table, squares = directions(0, 0, inputs, x.dtype, x.device)
            # The constant input is the last one here.
            return table.roll(-1, 0) / torch.from_numpy(np.sqrt(squares[inputs])).to(x)
        parts, length = [], np.zeros((self.network.rows, CANDIDATES))
        for span in self.network.layout.spans(layer):
            born = self.network.birth_index(span.source)
            table, squares = directions(layer, 1 + span.source, _room(int(born.max())), x.dtype, x.device)
            chosen = torch.from_numpy(np.maximum(born, 0).ravel()).to(x.device)
            parts.append(table.index_select(0, chosen).view(*born.shape, CANDIDATES))
            length += squares[self.network.widths[:, span.source]]
        fan_in = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return fan_in.mul_(torch.from_numpy(1.0 / np.sqrt(length + (length == 0.0))).to(x)[:, None, :])

    @cached_property
    def offers(self) -> list[Tensor]:
        """Derivatives with respect to the outgoing weights of every hidden layer's candidates, (N, CANDIDATES, ...)."""
        return [torch.bmm(a.transpose(1, 2), self.errors(layer)) for layer, a in enumerate(self.candidates)]

    # -- samples -----------------------------------------------------------------------------------------------------

    @property
    def few(self) -> int:
        """S, the number of the first few samples."""
        return min(FEW, self.evidence.samples)

    @cached_property
    def kernels(self) -> Tensor:
        """Inner products h h^T / S of the first few samples, for the units of every hidden layer, (L, N, S, S)."""
        kernels = self.evidence.x.new_empty((self.depth, self.network.rows, self.few, self.few))
        for layer, kernel in enumerate(kernels):
            units = self.units(layer)[:, : self.few, 1:]
            torch.bmm(units, units.transpose(1, 2), out=kernel)
        return kernels.div_(self.few)

    def kernels_read(self) -> Tensor:
        """The same of everything that the next layer reads, the constant unit among it, (L, N, S, S); a copy."""
        kernels = self.kernels + 1.0 / self.few
        for layer in self.network.bypassed:
            read = self.evidence.below[layer + 1][:, : self.few]
            kernels[layer] = torch.bmm(read, read.transpose(1, 2)).div_(self.few)
        return kernels

    def errors_of_few(self) -> Tensor:
        """Errors of each of the first few samples at what hears every hidden layer, (L, N, S, most that hear one)."""
        errors = [self.errors(layer)[:, : self.few] for layer in range(self.depth)]
        padded = errors[0].new_zeros((self.depth, *errors[0].shape[:2], max(error.shape[2] for error in errors)))
        for stacked, error in zip(padded, errors, strict=True):
            torch.mul(error, self.evidence.samples, out=stacked[:, :, : error.shape[2]])
        return padded

    def mean_squares(self, layer: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean squares over the first few samples of what a layer reads, and of the errors at its active units.

        Two arrays (N, fan_in) and (N, active); what is not finite counts as zero.
        """
        read, error = self.evidence.below[layer][:, : self.few], self.evidence.error(layer)[:, : self.few]
        squares = numbers(read.square().mean(dim=1)), numbers(error.square().mean(dim=1)) * self.evidence.samples**2
        return np.nan_to_num(squares[0], posinf=0.0), np.nan_to_num(squares[1], posinf=0.0)


def _room(count: int) -> int:
    """The least power of two that is at least `count`, and at least 16: few tables are needed."""
    return max(16, 1 << (count - 1).bit_length())


@lru_cache(maxsize=64)
def directions(
    layer: int, source: int, count: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, NDArray[np.float64]]:
    """Gaussian numbers for the values 1 to `count` of one source, in their order of birth; 0 for the constant.

    They are constants of the package: the same for all rows, streams and seeds. The second half of the candidates is
    the first half with the other sign.

    Args:
        layer: hidden layer that reads.
        source: what it reads: 0 for the inputs, otherwise the number of a hidden layer plus one.
        count: values of the source.
        dtype: of the answer.
        device: of the answer.

    Returns:
        The numbers, and the sums of their squares over the first 0, 1, 2, ... values; both (1 + count, CANDIDATES).
    """
    half = np.arange(CANDIDATES // 2)
    draw = normal(0, Purpose.CANDIDATE, layer, source, np.arange(1 + count)[:, None], half)
    draw[0] = 0.0
    both = np.concatenate((draw, -draw), axis=1)
    return torch.from_numpy(both).to(device, dtype), np.square(both).cumsum(axis=0)


def numbers(values: Tensor) -> NDArray[np.float64]:
    """A small tensor as float64 array."""
    array: NDArray[np.float64] = values.cpu().numpy().astype(np.float64)
    return array
