"""Growth operators: how new neurons start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.networks import StackedMLP
from growenv.randomness import Purpose, normal
from growenv.registry import Registry


@dataclass(frozen=True)
class GrowthBatch:
    """Growth requests of all rows for one hidden layer.

    Attributes:
        layer: hidden layer that grows.
        amounts: new units of each row, shape (N,), 0 for rows that do not grow.
        seeds: inner seed of each row, shape (N,).
        units: units of the layer before growth, shape (N,): with the seed, the counter of a row's random numbers.
    """

    layer: int
    amounts: NDArray[np.int64]
    seeds: NDArray[np.uint64]
    units: NDArray[np.int64]


@runtime_checkable
class GrowthOperator(Protocol):
    """How new neurons start.

    Attributes:
        name: how results call it.
        preserving: True if growth leaves every logit unchanged, to 1e-5.
    """

    name: str
    preserving: bool

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> tuple[Tensor, Tensor | None]:
        """Weights of the new units; room for them has been made already, the network is not changed.

        Args:
            network: the stack.
            batch: what grows.

        Returns:
            Incoming weights, shape (N, fan_in, K) with K = max(amounts), in the order in which the layer reads, and
            outgoing weights, shape (N, K, fan_out of the next block), or None for zero.
        """


class RandomGrowth:
    """Random incoming weights, zero outgoing weights: the function is unchanged and every new neuron can learn.

    Incoming weights are isotropic Gaussian vectors over everything the layer reads except the constant unit (so new
    biases are zero), scaled to ``scale`` times the length of a He-initialised unit's, sqrt(2) for unit-variance inputs
    (He et al. 2015, arXiv 1502.01852). With zero outgoing weights their first gradient is that of the outgoing side.

    Args:
        scale: length of the new incoming vectors relative to He initialisation, above 0.
    """

    name = "random"
    preserving = True

    def __init__(self, scale: float = 1.0) -> None:
        if not scale > 0:
            raise ValueError(f"the scale of random growth must be above 0, got {scale}")
        self.scale = scale

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> tuple[Tensor, Tensor | None]:
        """Weights of the new units; see `GrowthOperator.propose`."""
        counter, live = fan_in_counters(network, batch.layer)
        row = np.flatnonzero(batch.amounts)
        new = batch.units[row, None] + np.arange(int(batch.amounts.max()))[None, :]
        seeds = batch.seeds[row, None, None]
        draw = normal(seeds, Purpose.GROWTH, batch.layer, new[:, None, :], counter[row][:, :, None])
        draw *= live[row][:, :, None]
        length = np.sqrt(np.square(draw).sum(axis=1, keepdims=True))
        draw *= self.scale * np.sqrt(2.0) / np.where(length > 0.0, length, 1.0)
        fan_in = np.zeros((network.rows, *draw.shape[1:]))
        fan_in[row] = draw
        return torch.from_numpy(fan_in).to(network.device, network.dtype), None


def fan_in_counters(network: StackedMLP, layer: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """What identifies each value that `layer` reads, whatever the stack's layout, and whether it is a live input.

    Returns:
        A counter for each position, shape (N, fan_in), and True where the position is live and not the constant unit.
    """
    if layer == 0:
        counter = np.broadcast_to(np.arange(network.inputs + 1), (network.rows, network.inputs + 1))
        return counter, counter < network.inputs
    born = network.birth_index(layer - 1)
    return np.maximum(born, 0), born > 0


def checked_proposal(
    network: StackedMLP, batch: GrowthBatch, proposal: tuple[Tensor, Tensor | None]
) -> tuple[Tensor, Tensor | None]:
    """What an operator proposed, if the network can take it.

    Raises:
        ValueError: it is no pair of weights, or they have other shapes than the layer needs.
    """
    if not isinstance(proposal, tuple) or len(proposal) != 2:
        raise ValueError(f"a growth operator proposes incoming and outgoing weights, got a {type(proposal).__name__}")
    units, layer = int(batch.amounts.max()), batch.layer
    shapes = {
        "incoming": (network.rows, network.layout.fan_in(layer), units),
        "outgoing": (network.rows, units, network.layout.fan_out(layer + 1)),
    }
    for (side, shape), weights in zip(shapes.items(), proposal, strict=True):
        if weights is None and side == "outgoing":
            continue
        if not isinstance(weights, Tensor) or tuple(weights.shape) != shape:
            given = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
            raise ValueError(f"{side} weights of new units in layer {layer} are {given}, expected a tensor of {shape}")
    return proposal


OPERATORS: Registry[GrowthOperator] = Registry("growth operator")
OPERATORS.register("random", RandomGrowth)
