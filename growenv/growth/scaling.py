"""How long new vectors are, and which positions count."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.growth.operators import GrowthBatch
from growenv.networks import StackedMLP

LIVE_SHARE = 0.5
"""New vectors are this long, relative to the mean of the live ones (released code of Evci et al. 2022)."""

SPARK = 1e-20
"""Bias of neurons whose incoming weights start at zero. The derivative of the ReLU at exactly zero is taken as zero, so
they would never learn; on any positive number it is one, and this one is too small to change a logit."""


def positions_read(network: StackedMLP, layer: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """What identifies each value that `layer` reads, whatever the stack's layout, and whether it is a live input.

    Returns:
        A counter for each position, shape (N, fan_in), and True where the position is live and not the constant unit.
    """
    if layer == 0:
        counter = np.broadcast_to(np.arange(network.inputs + 1), (network.rows, network.inputs + 1))
        return counter, counter < network.inputs
    born = network.read_index(layer)
    return np.maximum(born, 0), born > 0


def older_units(network: StackedMLP, batch: GrowthBatch) -> NDArray[np.bool_]:
    """Which frozen and active positions of the growing layer held units before growth, (N, units); not the constant."""
    born = network.birth_index(batch.layer)
    return (born > 0) & (born <= batch.units[:, None])


def live_norms(network: StackedMLP, batch: GrowthBatch, side: Literal["in", "out"]) -> NDArray[np.float64]:
    """Mean length of the layer's older vectors on one side, biases aside, (N,); where there are none, of fresh ones.

    Incoming vectors are those of frozen and active units. Outgoing ones are those that train: into the active units of
    the next layer, or into the head. A fresh incoming vector has He length, sqrt(2), and a fresh outgoing one is as
    long as a row of a fresh head, sqrt(readers / (3 units)).
    """
    there = older_units(network, batch)
    if side == "in":
        weights = network.into(batch.layer)
        bias = weights[:, -1:] if batch.layer == 0 else weights[:, :1]
        lengths = (weights.square().sum(dim=1) - bias[:, 0].square()).clamp(min=0.0).sqrt()
        fresh = np.full(network.rows, np.sqrt(2.0))
    else:
        lengths = network.weights[batch.layer + 1][:, : there.shape[1]].square().sum(dim=2).sqrt()
        fresh = np.sqrt(np.maximum(1, batch.readers(network)) / (3.0 * np.maximum(1, batch.units)))
    found = lengths.double().cpu().numpy() * there
    count = ((found > 0) & there).sum(axis=1)
    return np.where(count > 0, found.sum(axis=1) / np.maximum(count, 1), fresh)


def live_share(network: StackedMLP, batch: GrowthBatch, side: Literal["in", "out"]) -> Tensor:
    """How long new vectors on one side are, float64 (N,): `LIVE_SHARE` of the mean length of the older ones."""
    return torch.from_numpy(LIVE_SHARE * live_norms(network, batch, side)).to(network.device)


def checked_scale(operator: str, scale: float) -> float:
    """`scale`, if vectors can be that long.

    Raises:
        ValueError: it is not above 0, or not finite.
    """
    if not 0.0 < scale < float("inf"):
        raise ValueError(f"the scale of {operator} growth must be above 0 and finite, got {scale}")
    return float(scale)
