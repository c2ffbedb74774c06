"""The weights of frozen units. These read frozen units only, so there are no rows for active ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.networks.layout import Layout, take_or_zero


def spread(layout: Layout, layer: int, weight: Tensor, whole: Tensor) -> None:
    """Write the weights of a layer's frozen units where they belong among all weights into the layer.

    Args:
        layout: where the units lie.
        layer: hidden layer.
        weight: weights of its frozen units, (N, frozen_in, frozen).
        whole: changed; at least (N, fan_in, frozen).
    """
    for span in layout.spans(layer):
        whole[:, span.frozen, : weight.shape[2]] = weight[:, span.packed]


def complete(layout: Layout, layer: int, frozen: Tensor, active: Tensor) -> Tensor:
    """The weights of a layer's frozen and active units side by side, (N, fan_in, frozen + active)."""
    whole = active.new_zeros((layout.rows, layout.fan_in(layer), layout.frozen[layer] + layout.active[layer]))
    spread(layout, layer, frozen, whole)
    whole[:, :, layout.frozen[layer] :] = active
    return whole


def places(born: NDArray[np.int64], units: NDArray[np.int64], room: int) -> Tensor:
    """Where each frozen unit stood before units were frozen, (N, room), -1 for padding.

    Args:
        born: birth index of every position then, (N, positions).
        units: frozen units now, the constant one not counted, (N,).
        room: positions of frozen units now.
    """
    now = np.arange(room)[None, :].repeat(len(units), axis=0)
    found = born[:, None, :] == np.where(now <= units[:, None], now, -2)[:, :, None]
    return torch.from_numpy(np.where(found.any(axis=2), found.argmax(axis=2), -1))


def rearranged(layout: Layout, layer: int, whole: Tensor, before: Sequence[Tensor]) -> Tensor:
    """The weights of a layer's frozen units, newly frozen ones among them, (N, frozen_in, frozen).

    Args:
        layout: where the units lay before.
        layer: hidden layer.
        whole: what `complete` said then.
        before: `places` of the frozen units of every hidden layer.
    """
    weight = take_or_zero(whole, before[layer], dim=2)
    if layer > 0:
        starts = [(before[span.source], span.frozen.start) for span in layout.spans(layer)]
        rows = torch.cat([torch.where(place < 0, place, place + start) for place, start in starts], dim=1)
        weight = take_or_zero(weight, rows, dim=1)
    return weight.contiguous()


def oldest(layout: Layout, layer: int, weight: Tensor, sizes: Sequence[int]) -> Tensor:
    """The rows of a matrix for the first frozen units that a layer, or the head, reads, contiguous.

    Args:
        layout: where the units lie.
        layer: hidden layer, whose matrix has no rows for active units, or L for the head, which has them.
        weight: the matrix, (N, frozen_in or fan_in, columns).
        sizes: frozen units of each layer, the constant one included.
    """
    if layer == 0:
        return weight.contiguous()
    starts = [(span.frozen if layer == layout.depth else span.packed).start for span in layout.spans(layer)]
    parts = [
        weight[:, start : start + sizes[span.source]] for start, span in zip(starts, layout.spans(layer), strict=True)
    ]
    return parts[0].contiguous() if len(parts) == 1 else torch.cat(parts, dim=1)


def first_active(layout: Layout, layer: int, weight: Tensor, sizes: Sequence[int] | None) -> Tensor:
    """A matrix for the first active units alone, contiguous; frozen units, or at least their constant one, stay.

    Args:
        layout: where the units lie.
        layer: hidden layer, whose matrix has columns for frozen and active units, or L for the head.
        weight: the matrix, (N, fan_in, columns).
        sizes: active units of each layer; None for all of them.
    """
    if sizes is None:
        return weight
    if layer < layout.depth:
        weight = weight[:, :, : layout.frozen[layer] + sizes[layer]]
    if layer > 0:
        parts = []
        for span in layout.spans(layer):
            start, stop = span.frozen.start, span.active.start + sizes[span.source]
            parts.append(weight[:, start:stop])
        weight = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    return weight.contiguous()
