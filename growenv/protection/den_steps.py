"""The steps of dynamically expandable networks, as functions of stacked weights.

Source: Yoon, Yang, Lee and Hwang 2018, arXiv 1708.01547.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from growenv.networks.layout import Layout


def shrink(weights: Tensor, amount: Tensor) -> None:
    """Soft threshold in place: ``w <- sign(w) max(|w| - a, 0)``, the proximal step of an l1 penalty.

    Args:
        weights: any shape.
        amount: how much each weight shrinks, at least 0; broadcasts against the weights.
    """
    weights.sub_(torch.minimum(torch.maximum(weights, -amount), amount))


def shrink_units(block: Tensor, amount: Tensor) -> None:
    """Group soft threshold in place: ``w_g <- w_g max(1 - a / |w_g|, 0)``, one group for each unit.

    A group is everything that leads into a unit, its bias too, so that a unit whose group is zero answers zero.

    Args:
        block: weights into the units of a layer, (N, fan_in, units).
        amount: how much the length of each unit's group shrinks, at least 0, (N, units).
    """
    length = block.norm(dim=1)
    factor = torch.where(length > 0, 1.0 - amount / length, 0.0).clamp_(min=0.0)
    # Where nothing shrinks every bit stays.
    block.mul_(torch.where(amount > 0, factor, 1.0)[:, None, :])


def drifts(block: Tensor, before: Tensor, older: Tensor) -> Tensor:
    """How far the incoming weights of every unit have moved since the task began, (N, units).

    Args:
        block: weights into the units of a layer, (N, fan_in, units).
        before: the same at the beginning.
        older: 1 for weights that were there then, else 0. Weights from newer units are not counted: older tasks do
            not feel them.
    """
    moved: Tensor = ((block - before) * older).norm(dim=1)
    return moved


def selected(blocks: Sequence[Tensor], layout: Layout, outputs: Tensor) -> list[Tensor]:
    """What leads to some outputs through weights that are not zero, found from the head downwards.

    Args:
        blocks: the weights into each hidden layer and into the head, (N, fan_in, fan_out).
        layout: where the units lie.
        outputs: which outputs of the head count, bool (N, C).

    Returns:
        Which inputs are selected, bool (N, D + 1), then which active units of each hidden layer, bool (N, active).
    """
    reached = [torch.zeros_like(block[:, 0], dtype=torch.bool) for block in blocks[:-1]] + [outputs]
    for layer in range(layout.depth, 0, -1):
        heard = _heard(blocks[layer], reached[layer])
        for span in layout.spans(layer):
            reached[span.source] |= heard[:, span.active]
    return [_heard(blocks[0], reached[0]), *reached[:-1]]


def _heard(block: Tensor, readers: Tensor) -> Tensor:
    """Who has a weight other than zero to one of the readers, bool (N, fan_in)."""
    return ((block != 0) & readers[:, None, :]).any(dim=2)


def among(
    layout: Layout, inputs: Tensor, units: Sequence[Tensor], outputs: Tensor, dtype: torch.dtype = torch.float32
) -> Tensor:
    """1 for every weight whose two ends are in a set, else 0; as a flat buffer.

    The constant unit is in every set: a unit of the set has its bias.

    Args:
        layout: where the units lie.
        inputs: which inputs are in the set, bool (N, D + 1).
        units: which active units of each hidden layer, bool (N, active) each.
        outputs: which outputs of the head, bool (N, C).
        dtype: type of the buffer.
    """
    flat = torch.zeros(layout.size, dtype=dtype, device=outputs.device)
    for layer, (block, readers) in enumerate(zip(layout.blocks(flat), (*units, outputs), strict=True)):
        read = torch.zeros(block.shape[:2], dtype=torch.bool, device=outputs.device)
        if layer == 0:
            read |= inputs
        else:
            for span in layout.spans(layer):
                read[:, span.active] = units[span.source]
        read[:, constant(layer)] = True
        block.copy_(read[:, :, None] & readers[:, None, :])
    return flat


def constant(layer: int) -> int:
    """Position of the constant one among all that a layer reads."""
    return -1 if layer == 0 else 0
