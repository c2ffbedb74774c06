"""Layers that are about to grow, built by hand, with a squared error as the loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from growenv.growth import Evidence, GrowthBatch, Proposal, SquaredError
from growenv.growth.low_rank import Across
from growenv.networks import StackedMLP


def about_to_grow(
    h: Tensor,
    targets: Tensor,
    amounts: int | Sequence[int],
    older: tuple[Tensor, Tensor] | None = None,
    constant: float = 1.0,
    held_out: Tensor | None = None,
) -> tuple[StackedMLP, GrowthBatch]:
    """Networks of one hidden layer, and the request to widen it.

    Args:
        h: inputs, (N, B, D).
        targets: what the outputs should be, (N, B, C).
        amounts: new units of each network, or of all.
        older: incoming (N, D + 1, M) and outgoing weights (N, M, C) of units that are there already.
        constant: the input that carries the biases; 0 takes them away.
        held_out: targets of the second probe batch, whose inputs are the same; None for the same as the first.
    """
    rows, _, inputs = h.shape
    network = StackedMLP(rows, inputs, 1, targets.shape[2], dtype=torch.float64)
    if older is not None:
        several = np.full(rows, older[0].shape[2])
        network.set_units(0, network.reserve(0, several), several, *older)
    units, new = network.widths[:, 0].copy(), np.broadcast_to(np.asarray(amounts), rows).copy()
    first = network.reserve(0, new)
    x = torch.cat((h, torch.full((*h.shape[:2], 1), constant)), dim=2).double()
    losses = [SquaredError(each.double()) for each in (targets, targets if held_out is None else held_out)]
    seeds, outputs = np.arange(rows, dtype=np.uint64), np.full(rows, targets.shape[2])

    def probe(number: int, samples: int = 0) -> Evidence:
        return Evidence(network, x, losses[min(number, 1)])

    return network, GrowthBatch(0, new, seeds, units, first, outputs, probe)


def written(network: StackedMLP, batch: GrowthBatch, proposal: Proposal) -> Evidence:
    """The first probe batch after growth."""
    network.set_units(batch.layer, batch.first, batch.amounts, proposal.fan_in, proposal.fan_out)
    return batch.probe(0)


def across(network: StackedMLP, batch: GrowthBatch) -> Across:
    return Across.of(network, batch, batch.evidence)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TWO_SAMPLES = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
THEIR_TARGETS = torch.tensor([[[-2.0, -6.0], [-6.0, -2.0]]], dtype=torch.float64)
"""With an output of zero, G = [[1, 3], [3, 1]]: singular values 4 and 2, first vectors (1, 1) / sqrt(2) on both sides,
second ones (1, -1) / sqrt(2) up to a sign. The loss is 20."""
