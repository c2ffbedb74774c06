"""Which rows, units and weights of a stack exist."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.networks.stacked_mlp import StackedMLP


def index_of(rows: NDArray[np.bool_], network: StackedMLP) -> Tensor:
    """Numbers of the chosen rows, int64, where the network lives."""
    return torch.from_numpy(np.flatnonzero(rows)).to(network.device)


def live_units(network: StackedMLP, layer: int) -> NDArray[np.bool_]:
    """True where a hidden layer has an active unit, (N, active)."""
    return np.arange(network.layout.active[layer])[None, :] < network.active_units[:, layer, None]


def live_inputs(network: StackedMLP, layer: int) -> NDArray[np.bool_]:
    """True where what a layer (L is the head) reads exists, the constant unit included, (N, fan_in)."""
    if layer == 0:
        return np.ones((network.rows, network.inputs + 1), dtype=bool)
    return network.read_index(layer) >= 0


def live_weights(network: StackedMLP, layer: int) -> Tensor:
    """True where a hidden layer's trainable block has a weight or a bias, (N, fan_in, active)."""
    there = live_inputs(network, layer)[:, :, None] & live_units(network, layer)[:, None, :]
    return torch.from_numpy(there).to(network.device)
