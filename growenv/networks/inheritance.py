"""What new units take over from others: an optimiser's moments, and step sizes of their own."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.networks.live import live_inputs
from growenv.networks.stacked_mlp import StackedMLP

RATES = "rates"
"""Buffer of each weight's step size relative to the others', minus one; there once some operator has set it."""


def inherit(
    network: StackedMLP,
    layer: int,
    first: NDArray[np.int64],
    amounts: NDArray[np.int64],
    parents: Tensor,
    shares: Tensor,
) -> None:
    """Give copies of units what the buffers know of the units that they copy.

    If the outgoing weights of a unit are divided among itself and its copies, its incoming gradient is divided in the
    same shares, while the gradients of outgoing weights are the same for all of them. A mean of gradients (degree 1)
    divides like the gradient, a mean of squares (degree 2) like its square.

    Outgoing weights into the next layer are what the growth operator proposed; those through wires are divided here.

    Args:
        network: the stack; the new units have been written.
        layer: hidden layer of the units.
        first: position of each row's first new unit among the active ones, shape (N,).
        amounts: new units of each row, shape (N,).
        parents: position of each new unit's parent among frozen and active units, int64 (N, K); -1 for none.
        shares: share of the parent's outgoing weights that the copy got, (N, K).
    """
    new = torch.arange(parents.shape[1], device=network.device)[None, :]
    copied = (parents >= 0) & (new < torch.from_numpy(amounts).to(network.device)[:, None])
    n, k = copied.nonzero(as_tuple=True)
    source, share = parents[n, k], shares[n, k].to(network.dtype)
    frozen, active = network.layout.frozen[layer], network.layout.active[layer]
    target = frozen + torch.from_numpy(first).to(network.device)[n] + k
    given = torch.zeros((network.rows, frozen + active), dtype=network.dtype, device=network.device)
    given.index_put_((n, source), share, accumulate=True)
    nearest, *through_wires = network.layout.outlets(layer)
    for block, start in through_wires:
        outer = network.weights[block]
        taken = outer[n, start + source] * share[:, None]
        outer[:, start : start + frozen + active].mul_(1.0 - given[:, :, None])
        outer[n, start + target] = taken
    trains = source >= frozen  # a frozen parent has no incoming gradients
    row, old, new = n[trains], source[trains] - frozen, target[trains] - frozen
    for name, degree in network.degrees.items():
        if degree == 0:
            continue
        blocks = network.layout.blocks(network.buffers[name])
        inner = blocks[layer]
        taken = inner[row, :, old] * share[trains, None] ** degree
        inner.mul_((1.0 - given[:, None, frozen:]) ** degree)
        inner[row, :, new] = taken
        for block, start in (nearest, *through_wires):
            blocks[block][n, start + target] = blocks[block][n, start + source]


def set_rates(
    network: StackedMLP, layer: int, first: NDArray[np.int64], amounts: NDArray[np.int64], inner: Tensor, outer: Tensor
) -> None:
    """Give the weights of new units step sizes of their own, relative to the optimiser's.

    Args:
        network: the stack.
        layer: hidden layer of the units.
        first: position of each row's first new unit among the active ones, shape (N,).
        amounts: new units of each row, shape (N,).
        inner: step size of incoming weights, shape (N,), above 0.
        outer: step size of outgoing weights, shape (N,), above 0.
    """
    if RATES not in network.buffers:
        network.add_buffer(RATES)
    blocks = network.layout.blocks(network.buffers[RATES])
    into = blocks[layer]
    row, unit = np.nonzero(np.arange(int(amounts.max()))[None, :] < amounts[:, None])
    n, position = (torch.from_numpy(each).to(network.device) for each in (row, first[row] + unit))
    into[n, :, position] = inner.to(network.dtype)[n, None] - 1.0
    # Everything beyond a row's own units stays zero in every buffer.
    there = torch.from_numpy(live_inputs(network, layer)).to(network.device, network.dtype)
    into.mul_(there[:, :, None])
    for block, start in network.layout.outlets(layer):
        out_of = blocks[block]
        out_of[n, start + network.layout.frozen[layer] + position] = outer.to(network.dtype)[n, None] - 1.0
        if block < network.depth:
            readers = torch.from_numpy(network.active_units[:, block]).to(network.device)
            out_of.mul_(torch.arange(out_of.shape[2], device=network.device)[None, None, :] < readers[:, None, None])


def forget_head_rates(network: StackedMLP, rows: NDArray[np.bool_]) -> None:
    """The heads of some rows are new: their weights have the optimiser's step size."""
    if RATES in network.buffers:
        index = torch.from_numpy(np.flatnonzero(rows)).to(network.device)
        network.layout.blocks(network.buffers[RATES])[-1][index] = 0.0
