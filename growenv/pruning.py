"""Which units would leave a network that is pruned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from growenv.learner import Learner


def order_of_removal(learner: Learner, layer: int) -> NDArray[np.int64]:
    """Generations of a hidden layer's units in the order in which pruning would take them, (N, active).

    The least important come first, as in `Learner.prune`; -1 stands where the protection gives none back.
    """
    network = learner.network
    importance = learner.importance(layer)
    order = np.argsort(importance, axis=1, kind="stable")
    born = network.birth_index(layer)[:, network.layout.frozen[layer] :]
    born = np.where(np.isfinite(importance), born, 0)
    generation = (born[:, :, None] > learner.units[:, None, :, layer].cumsum(axis=2)).sum(axis=2)
    return np.asarray(np.take_along_axis(np.where(born > 0, generation, -1), order, axis=1))


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
