"""Which weights of a stack belong to units that exist."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.hardware.architecture import Architecture
from growenv.networks import StackedMLP


def live_inputs(network: StackedMLP, layer: int) -> NDArray[np.bool_]:
    """True where what a layer (L is the head) reads exists, the constant unit included, (N, fan_in)."""
    if layer == 0:
        return np.ones((network.rows, network.inputs + 1), dtype=bool)
    return network.read_index(layer) >= 0


def live_weights(network: StackedMLP, layer: int) -> Tensor:
    """True where a hidden layer's trainable block has a weight or a bias, (N, fan_in, active)."""
    units = np.arange(network.layout.active[layer]) < network.active_units[:, layer, None]
    return torch.from_numpy(live_inputs(network, layer)[:, :, None] & units[:, None, :]).to(network.device)


def hidden_weights(architecture: Architecture, task: int) -> NDArray[np.int64]:
    """Weights and biases of all hidden layers at the end of a task, int64 (N,)."""
    units = architecture.units.copy()
    units[:, task + 1 :] = 0
    then = replace(architecture, units=units)
    return np.asarray(then.connections()[:, :-1].sum(axis=1) + units.sum(axis=(1, 2)))
