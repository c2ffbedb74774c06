"""Units that are taken away."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from growenv.networks.layout import take_or_zero
from growenv.networks.stacked_mlp import StackedMLP


def remove_units(network: StackedMLP, layer: int, gone: NDArray[np.bool_]) -> None:
    """Take active units away; the others close up in birth order. Everything that follows the weights follows.

    Args:
        network: the stack.
        layer: hidden layer.
        gone: which of its active units, (N, active), False for padding.
    """
    live = np.arange(gone.shape[1])[None, :] < network.active_units[:, layer, None]
    kept = live & ~gone
    order = np.argsort(~kept, axis=1, kind="stable")
    place = torch.from_numpy(np.where(np.take_along_axis(kept, order, axis=1), order, -1)).to(network.device)
    layout, frozen = network.layout, network.layout.frozen[layer]
    for flat in network.buffers.values():
        blocks = layout.blocks(flat)
        blocks[layer].copy_(take_or_zero(blocks[layer], place, dim=2))
        for block, start in layout.outlets(layer):
            read = blocks[block][:, start + frozen : start + frozen + gone.shape[1]]
            read.copy_(take_or_zero(read, place, dim=1))
    network.active_units[:, layer] = kept.sum(axis=1)
    network.fit()
