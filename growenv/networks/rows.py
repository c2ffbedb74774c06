"""Rows of stacks as stacks of their own: what began alike can go different ways, and what meets can go on together."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.networks.layout import Layout
from growenv.networks.optimizers import StackedAdam, StackedOptimizer
from growenv.networks.stacked_mlp import StackedMLP

Parts = Sequence[tuple[StackedMLP, NDArray[np.int64]]]


def gathered(parts: Parts) -> StackedMLP:
    """One stack of copies of rows of others, in order; a row may be taken any number of times.

    All that follows the weights comes with them. The stacks must be allocated alike, as they are where all their rows
    have the same widths.

    Args:
        parts: stacks, and which of their rows to take, each (k,).

    Raises:
        ValueError: no part, or stacks that differ in allocation, precision or buffers.
    """
    if not parts:
        raise ValueError("no stack to take rows from; expected at least one")
    first = parts[0][0]
    shapes = {_shape(network.layout) for network, _ in parts}
    if len(shapes) > 1:
        raise ValueError(f"stacks of different shapes {sorted(map(str, shapes))} cannot be put together; expected one")
    kinds = {(str(network.dtype), *sorted(network.buffers)) for network, _ in parts}
    if len(kinds) > 1:
        raise ValueError(f"stacks with different buffers {sorted(kinds)} cannot be put together; expected the same")
    rows = sum(len(index) for _, index in parts)
    whole = copy.copy(first)
    whole.rows, whole.degrees = rows, dict(first.degrees)
    whole.layout = Layout(rows, *_shape(first.layout))
    whole.frozen_units = np.concatenate([network.frozen_units[index] for network, index in parts])
    whole.active_units = np.concatenate([network.active_units[index] for network, index in parts])
    whole.buffers = {name: _buffer(parts, name, whole.layout) for name in first.buffers}
    whole.frozen = [_rows([(network.frozen[layer], index) for network, index in parts]) for layer in range(first.depth)]
    whole.__setstate__({})  # views and work space anew
    return whole


def followed(parts: Sequence[tuple[StackedOptimizer, NDArray[np.int64]]], network: StackedMLP) -> StackedOptimizer:
    """The optimiser of a stack that `gathered` put together from the stacks of others.

    Args:
        parts: optimisers, and which of their rows were taken.
        network: the stack.
    """
    whole = copy.copy(parts[0][0])
    whole.network = network  # type: ignore[attr-defined]
    if isinstance(whole, StackedAdam):
        counts = [optimizer.counts[index] for optimizer, index in parts if isinstance(optimizer, StackedAdam)]
        whole.counts = np.concatenate(counts)
    return whole


def _shape(layout: Layout) -> tuple[int, tuple[int, ...], tuple[int, ...], int, tuple[int, ...]]:
    return layout.inputs, layout.frozen, layout.active, layout.classes, layout.bypassed


def _buffer(parts: Parts, name: str, layout: Layout) -> Tensor:
    first = parts[0][0].buffers[name]
    flat = torch.empty(layout.size, dtype=first.dtype, device=first.device)
    every = [network.layout.blocks(network.buffers[name]) for network, _ in parts]
    for number, target in enumerate(layout.blocks(flat)):
        _rows([(blocks[number], index) for blocks, (_, index) in zip(every, parts, strict=True)], out=target)
    return flat


def _rows(parts: Sequence[tuple[Tensor, NDArray[np.int64]]], out: Tensor | None = None) -> Tensor:
    """Rows of tensors in one tensor."""
    if out is None:
        first = parts[0][0]
        rows = sum(len(index) for _, index in parts)
        out = torch.empty((rows, *first.shape[1:]), dtype=first.dtype, device=first.device)
    start = 0
    for source, index in parts:
        stop = start + len(index)
        torch.index_select(source, 0, torch.from_numpy(index).to(source.device), out=out[start:stop])
        start = stop
    return out
