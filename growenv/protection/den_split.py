"""Splitting of units that have drifted: the old one goes back, a duplicate keeps what was learned.

Source: Yoon, Yang, Lee and Hwang 2018, arXiv 1708.01547, algorithm 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.growth import GrowthBatch, GrowthOperator, Proposal
from growenv.networks import StackedMLP

if TYPE_CHECKING:
    from growenv.protection.stage import Stage


class Duplicates:
    """A growth operator: new units are copies of drifted ones, which get their old incoming weights back.

    The copies' outgoing weights are zero; `move_outgoing` gives them theirs.

    Args:
        parents: which active unit each new one copies, int64 (N, K), -1 for none; a row that may not add them all adds
            the first ones.
        before: name of the buffer with the weights to which the originals go back.
    """

    name = "den-duplicates"
    preserving = False

    def __init__(self, parents: NDArray[np.int64], before: str) -> None:
        self.parents, self.before = parents, before

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        """Weights of the new units; see `growenv.growth.GrowthOperator.propose`."""
        block = network.weights[batch.layer]
        past = network.layout.blocks(network.buffers[self.before])[batch.layer]
        parents = torch.from_numpy(self.parents[:, : batch.most]).to(network.device)
        source = parents.clamp(min=0)[:, None, :].expand(-1, block.shape[1], -1)
        copies = torch.gather(block, 2, source).masked_fill_((parents < 0)[:, None, :], 0.0)
        row, place = np.nonzero(_pairs(self.parents, batch.amounts))
        back = torch.zeros(block.shape[::2], dtype=torch.bool, device=network.device)
        back[row, self.parents[row, place]] = True
        return Proposal(copies, incoming=torch.where(back[:, None, :], past, block))


def most_drifted(drift: NDArray[np.float64], bound: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The units that have drifted further than a bound, the furthest first.

    Args:
        drift: of every unit, (N, units).
        bound: of each row, (N,).

    Returns:
        Their positions, int64 (N, K) with -1 after the last one, and how many they are, (N,).
    """
    chosen = drift > bound[:, None]
    amounts: NDArray[np.int64] = chosen.sum(axis=1)
    order = np.argsort(np.where(chosen, -drift, np.inf), axis=1, kind="stable")[:, : max(1, int(amounts.max()))]
    return np.where(np.arange(order.shape[1]) < amounts[:, None], order, -1), amounts


def move_outgoing(
    network: StackedMLP,
    layer: int,
    parents: NDArray[np.int64],
    first: NDArray[np.int64],
    amounts: NDArray[np.int64],
    readers: Sequence[Tensor],
) -> None:
    """Lead the outgoing weights of split units from their duplicates instead, where the reader belongs to this task.

    Older readers keep reading the original, as they did before the task.

    Args:
        network: the stack, with the duplicates.
        layer: hidden layer of the units.
        parents: active unit that each duplicate copies, (N, K).
        first: position of each row's first duplicate among the active units, (N,).
        amounts: duplicates of each row, (N,).
        readers: for each hidden layer and the head, which active units or outputs belong to this task, bool
            (N, fan_out).
    """
    row, place = np.nonzero(_pairs(parents, amounts))
    n, old = torch.from_numpy(row), torch.from_numpy(parents[row, place])
    new = torch.from_numpy(first[row] + place)
    for block, start in network.layout.outlets(layer):
        weights, at = network.weights[block], start + network.layout.frozen[layer]
        given, moves = weights[n, at + old], readers[block][n]
        weights[n, at + new] = given * moves
        weights[n, at + old] = given * ~moves


def grow_admitted(stage: Stage, layer: int, amounts: NDArray[np.int64], operator: GrowthOperator) -> NDArray[np.int64]:
    """Add as many units as greatest width and hardware let; where hardware refuses, half as many are asked for.

    Args:
        stage: where they are added.
        layer: hidden layer.
        amounts: units that each row wants, (N,).
        operator: how they start.

    Returns:
        Units that each row got, (N,).
    """
    asked = np.minimum(amounts, stage.max_hidden[layer] - stage.network.widths[:, layer])
    got = np.zeros_like(asked)
    while asked.any():
        added = stage.grow(layer, asked, operator)
        got += added
        asked = np.where(added < asked, asked // 2, 0)
    return got


def _pairs(parents: NDArray[np.int64], amounts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the columns of `parents` are duplicated."""
    pairs: NDArray[np.bool_] = (np.arange(parents.shape[1])[None, :] < amounts[:, None]) & (parents >= 0)
    return pairs
