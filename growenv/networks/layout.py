"""How the trainable weights of a stack lie in one flat buffer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from growenv.wiring import layers_read, readers

STEP = 8
"""Widths are rounded up to this, so that they change seldom and fill vector registers."""


def round_up(count: int, step: int = STEP) -> int:
    """The least multiple of `step` that is at least `count` and at least `step`."""
    return max(step, -(-count // step) * step)


class Span(NamedTuple):
    """Where the units of one hidden layer lie among all that a layer above reads.

    Attributes:
        source: the hidden layer; -1 for the inputs, which count as frozen.
        frozen, active: positions of its frozen and of its active units.
        packed: positions of its frozen units where only frozen ones are counted.
    """

    source: int
    frozen: slice
    active: slice
    packed: slice


@dataclass(frozen=True)
class Layout:
    """Shapes of the trainable blocks: one block a hidden layer, then the head.

    The block of hidden layer l holds the weights *into* its active units from everything they read: the inputs for
    l = 0, otherwise the frozen and then the active units of the layer below. Biases are the weights from the constant
    unit, which is frozen unit 0 of every layer (and the last input).

    Where wires lead around the layer below, everything that it reads comes after its own units, in the same order. The
    constant units among that are zero.

    Attributes:
        rows: number of networks N.
        inputs: input values including the constant one, D + 1.
        frozen: allocated frozen units of each hidden layer, the constant unit included.
        active: allocated active units of each hidden layer.
        classes: outputs of the head.
        bypassed: hidden layers around which wires lead.
    """

    rows: int
    inputs: int
    frozen: tuple[int, ...]
    active: tuple[int, ...]
    classes: int
    bypassed: tuple[int, ...] = ()

    @property
    def depth(self) -> int:
        """Number of hidden layers L."""
        return len(self.active)

    @cached_property
    def _spans(self) -> tuple[tuple[Span, ...], ...]:
        every = []
        for layer in range(self.depth + 1):
            spans, start, packed = [], 0, 0
            for source in layers_read(layer, self.bypassed) or (-1,):
                frozen, active = (self.frozen[source], self.active[source]) if layer else (self.inputs, 0)
                middle, stop = start + frozen, start + frozen + active
                span = Span(source, slice(start, middle), slice(middle, stop), slice(packed, packed + frozen))
                spans.append(span)
                start, packed = stop, packed + frozen
            every.append(tuple(spans))
        return tuple(every)

    def spans(self, layer: int) -> tuple[Span, ...]:
        """What `layer` (L is the head) reads, the nearest layer first; layer 0 reads the inputs."""
        return self._spans[layer]

    def outlets(self, layer: int) -> list[tuple[int, int]]:
        """The blocks that read the units of a hidden layer, the nearest first, and where its units begin in them."""
        blocks = readers(layer, self.depth, self.bypassed)
        return [(block, span.frozen.start) for block in blocks for span in self.spans(block) if span.source == layer]

    def fan_in(self, layer: int) -> int:
        """Units that the active units of `layer` can read; `layer` = L is the head."""
        return int(self._spans[layer][-1].active.stop)

    def frozen_in(self, layer: int) -> int:
        """Units that the frozen units of `layer` can read."""
        return int(self._spans[layer][-1].packed.stop)

    def fan_out(self, layer: int) -> int:
        """Columns of a block."""
        return self.active[layer] if layer < self.depth else self.classes

    @property
    def size(self) -> int:
        """Numbers in a flat buffer."""
        return self.rows * sum(self.fan_in(layer) * self.fan_out(layer) for layer in range(self.depth + 1))

    def blocks(self, flat: Tensor) -> list[Tensor]:
        """Views of `flat` as L + 1 contiguous blocks of shape (N, fan_in, fan_out)."""
        views, start = [], 0
        for layer in range(self.depth + 1):
            shape = (self.rows, self.fan_in(layer), self.fan_out(layer))
            stop = start + shape[0] * shape[1] * shape[2]
            views.append(flat[start:stop].view(shape))
            start = stop
        return views

    def repack(self, flat: Tensor, new: Layout) -> Tensor:
        """A copy of `flat` laid out as `new`: units keep their index, new entries are zero.

        Entries that the new layout has no room for are dropped; they must belong to no unit.
        """
        target = torch.zeros(new.size, dtype=flat.dtype, device=flat.device)
        for layer, (old_block, new_block) in enumerate(zip(self.blocks(flat), new.blocks(target), strict=True)):
            columns = min(self.fan_out(layer), new.fan_out(layer))
            for old, fresh in zip(self.spans(layer), new.spans(layer), strict=True):
                for one, two in ((old.frozen, fresh.frozen), (old.active, fresh.active)):
                    copy_first(old_block[:, one, :columns], new_block[:, two, :columns])
        return target


def copy_first(old: Tensor, new: Tensor) -> None:
    """Copy as many rows of matrices as both have, of shapes (N, rows, columns) with equal columns."""
    rows = min(old.shape[1], new.shape[1])
    new[:, :rows] = old[:, :rows]


def take(source: Tensor, index: Tensor, dim: int) -> Tensor:
    """Rows (dim 1) or columns (dim 2) of every matrix of a stack; index has shape (N, count)."""
    if dim == 1:
        return torch.gather(source, 1, index[:, :, None].expand(-1, -1, source.shape[2]))
    return torch.gather(source, 2, index[:, None, :].expand(-1, source.shape[1], -1))


def take_or_zero(source: Tensor, index: Tensor, dim: int) -> Tensor:
    """`take`, with zeros where the index is -1."""
    taken = take(source, index.clamp(min=0), dim)
    missing = (index < 0)[:, :, None] if dim == 1 else (index < 0)[:, None, :]
    return taken.masked_fill_(missing, 0.0)


def each_sample(gate: Tensor) -> Tensor:
    """Factors of units, (N, units) or (N, B, units), so that they multiply activations (N, B, units)."""
    return gate[:, None, :] if gate.ndim == 2 else gate


def with_wires(units: Tensor, below: Tensor, out: Tensor | None = None) -> Tensor:
    """What the readers of a layer with wires around it read: its units, then all that it reads but the constant unit.

    Args:
        units: activations of its units, (N, B, units).
        below: what the layer reads, (N, B, fan_in); the constant unit is the first.
        out: where the answer goes, (N, B, units + fan_in).
    """
    read = torch.cat((units, below), dim=2, out=out)
    read[:, :, units.shape[2]] = 0.0
    return read
