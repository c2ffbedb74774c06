"""Units that are taken back: which ones can go, and which ones would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from growenv.learner import Learner


def importance(learner: Learner, layer: int) -> NDArray[np.float64]:
    """How much every active unit of a layer matters, (N, active); infinite where it must stay, or is none."""
    matters = learner.protection.importance(learner.stage, layer)
    there = np.arange(matters.shape[1])[None, :] < learner.network.active_units[:, layer, None]
    return np.where(there, matters, np.inf)


def removable(learner: Learner) -> NDArray[np.int64]:
    """Units of each hidden layer that the protection would give back, (N, L); one unit of a layer always stays."""
    counts = np.zeros((learner.rows, learner.network.depth), dtype=np.int64)
    if learner.protection.frees:
        for layer in range(learner.network.depth):
            free = np.isfinite(importance(learner, layer)).sum(axis=1)
            counts[:, layer] = np.minimum(free, np.maximum(learner.network.widths[:, layer] - 1, 0))
    return counts


@torch.no_grad()
def prune(learner: Learner, layer: NDArray[np.int64], amount: NDArray[np.int64]) -> None:
    """Take the least important units that the protection gives back from every row that asks.

    Args:
        learner: the networks.
        layer: hidden layer that each row prunes, (N,); ignored where nothing goes.
        amount: units to take, (N,), at most those that are `removable`.

    Raises:
        ValueError: more than can be taken.
    """
    for number in range(learner.network.depth):
        wanted = np.where(layer == number, amount, 0)
        if not wanted.any():
            continue
        matters = importance(learner, number)
        free = np.isfinite(matters).sum(axis=1)
        if (wanted > free).any():
            raise ValueError(f"asked to take {wanted} units from layer {number} of each row, but only {free} can go")
        rank = np.argsort(np.argsort(matters, axis=1, kind="stable"), axis=1)
        learner.remove(number, rank < wanted[:, None])


def order_of_removal(learner: Learner, layer: int) -> NDArray[np.int64]:
    """Generations of a hidden layer's units in the order in which `prune` would take them, (N, active).

    The least important come first; -1 stands where the protection gives none back.
    """
    matters = importance(learner, layer)
    order = np.argsort(matters, axis=1, kind="stable")
    generation = learner.generation(layer)[:, learner.network.layout.frozen[layer] :]
    free = np.where(np.isfinite(matters), generation, -1)
    return np.asarray(np.take_along_axis(free, order, axis=1))


def pruned(
    units: NDArray[np.int64], layer: int, order: NDArray[np.int64], amount: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Units by generation and layer after some have gone, (N, T, L).

    Args:
        units: units before, (N, T, L).
        layer: hidden layer.
        order: what `order_of_removal` says of it.
        amount: units that go, (N,), at most those that can.
    """
    goes = (np.arange(order.shape[1])[None, :] < amount[:, None]) & (order >= 0)
    left = np.array(units)
    np.subtract.at(left[:, :, layer], (np.nonzero(goes)[0], order[goes]), 1)
    return left
