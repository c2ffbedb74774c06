"""Synaptic intelligence: a weight matters as much as its path has lowered the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from growenv.networks import StackedMLP
from growenv.networks.live import index_of
from growenv.protection.base import PROTECTIONS
from growenv.protection.quadratic import CENTRE, QuadraticPenalty, without_tiny

if TYPE_CHECKING:
    from growenv.protection.stage import Stage

PATH = "penalty_path"
"""Buffer: how much each weight's way through the current task has lowered the loss."""


class SynapticIntelligence(QuadraticPenalty):
    """Adds ``strength * sum_i omega_i (w_i - w_i^prev)^2`` to the loss, w^prev the weights at the last task's end.

    After every step ``path_i += -g_i * (change of w_i)``, g the gradient that the optimiser used, the penalty's share
    included (as in GMvandeVen/continual-learning). When a task ends, ``omega_i += path_i / ((w_i - w_i^prev)^2 +
    damping)``. New weights start with path zero where they grow. An omega may be negative, as published.

    The published strengths are those of van de Ven et al. 2022 for Split MNIST.

    Args:
        strength: the paper's c, at least 0, one for all rows or one for each, (N,); None for the published one.
        damping: the paper's xi, above 0.

    Raises:
        ValueError: a number out of range.

    Source: Zenke et al. 2017, arXiv 1703.04200.
    """

    name = "si"
    published: ClassVar[dict[str, float]] = {"task": 10.0, "domain": 5e4, "class": 5e3}
    copies: ClassVar[int] = 3

    def __init__(self, strength: ArrayLike | None = None, damping: float = 0.1) -> None:
        super().__init__(strength)
        if not 0 < damping < np.inf:
            raise ValueError(f"damping keeps omega finite where a weight has not moved, above 0; got {damping}")
        self.damping = damping

    def prepare(self, stage: Stage) -> None:
        """Add the buffers."""
        super().prepare(stage)
        stage.network.add_buffer(PATH)

    def enter(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Paths start here, at the weights of now."""
        self._start(stage.network, rows)

    def grown(self, stage: Stage, layer: int, first: NDArray[np.int64], amounts: NDArray[np.int64]) -> None:
        """Paths of the weights from and to new units start where they grew."""
        network = stage.network
        row, unit = np.nonzero(np.arange(amounts.max())[None, :] < amounts[:, None])
        n, position = (torch.from_numpy(each).to(network.device) for each in (row, first[row] + unit))
        centres, offset = network.layout.blocks(network.buffers[CENTRE]), network.layout.frozen[layer]
        centres[layer][n, :, position] = network.weights[layer][n, :, position]
        for block, start in network.layout.outlets(layer):
            at = start + offset + position
            centres[block][n, at] = network.weights[block][n, at]

    def after_backward(self, stage: Stage) -> None:
        """Add the derivative of the penalty; note g * w before the step."""
        super().after_backward(stage)
        buffers = stage.network.buffers
        # Minus g * w after the step this is -g * (change of w), without a copy of all weights.
        buffers[PATH].addcmul_(stage.network.gradient, buffers["weights"])

    def after_step(self, stage: Stage) -> None:
        """Take g * w after the step away."""
        buffers = stage.network.buffers
        buffers[PATH].addcmul_(stage.network.gradient, buffers["weights"], value=-1.0)

    def finish_task(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Add up what mattered for the task that ends."""
        network, index = stage.network, index_of(rows, stage.network)
        importances, centres = self._kept(network)
        paths = network.layout.blocks(network.buffers[PATH])
        for block in self._guarded(network):
            moved = (network.weights[block] - centres[block]).square()
            # Twice, because the importance has a factor of one half in the penalty.
            gained = 2.0 * self.strength * paths[block] / (moved + self.damping)
            importances[block][index] += without_tiny(gained)[index]
        self._start(network, rows)

    def _start(self, network: StackedMLP, rows: NDArray[np.bool_]) -> None:
        index = index_of(rows, network)
        for centre, weights in zip(self._kept(network)[1], network.weights, strict=True):
            centre[index] = weights[index]
        network.clear_buffer(PATH, rows)


PROTECTIONS.register("si", SynapticIntelligence)
