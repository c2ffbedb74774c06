"""How the trainable weights of a stack lie in one flat buffer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STEP = 8
"""Widths are rounded up to this, so that they change seldom and fill vector registers."""


def round_up(count: int, step: int = STEP) -> int:
    """The least multiple of `step` that is at least `count` and at least `step`."""
    return max(step, -(-count // step) * step)


@dataclass(frozen=True)
class Layout:
    """Shapes of the trainable blocks: one block a hidden layer, then the head.

    The block of hidden layer l holds the weights *into* its active units from everything they read: the inputs for
    l = 0, otherwise the frozen and then the active units of the layer below. Biases are the weights from the constant
    unit, which is frozen unit 0 of every layer (and the last input).

    Attributes:
        rows: number of networks N.
        inputs: input values including the constant one, D + 1.
        frozen: allocated frozen units of each hidden layer, the constant unit included.
        active: allocated active units of each hidden layer.
        classes: outputs of the head.
    """

    rows: int
    inputs: int
    frozen: tuple[int, ...]
    active: tuple[int, ...]
    classes: int

    @property
    def depth(self) -> int:
        """Number of hidden layers L."""
        return len(self.active)

    def fan_in(self, layer: int) -> int:
        """Units that the active units of `layer` can read; `layer` = L is the head."""
        return self.inputs if layer == 0 else self.frozen[layer - 1] + self.active[layer - 1]

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
            if layer == 0:
                new_block[:, :, :columns] = old_block[:, :, :columns]
                continue
            below = layer - 1
            frozen = min(self.frozen[below], new.frozen[below])
            active = min(self.active[below], new.active[below])
            new_block[:, :frozen, :columns] = old_block[:, :frozen, :columns]
            old_start, new_start = self.frozen[below], new.frozen[below]
            new_block[:, new_start : new_start + active, :columns] = old_block[
                :, old_start : old_start + active, :columns
            ]
        return target
