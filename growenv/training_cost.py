"""Multiply-accumulates of one sample, as far as they are needed and as a dense engine executes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from growenv.hardware import Architecture


@dataclass(frozen=True)
class TrainingMacs:
    """Multiply-accumulates of one training step for one sample, biases aside, each int64 (N,).

    Attributes:
        forward: of the forward pass.
        weights: of the gradients of the trainable weights.
        inputs: of the gradients that are passed back to the units below, the inputs of the network excepted.
    """

    forward: NDArray[np.int64]
    weights: NDArray[np.int64]
    inputs: NDArray[np.int64]

    @property
    def total(self) -> NDArray[np.int64]:
        """All three together."""
        return self.forward + self.weights + self.inputs


def forward_macs(architecture: Architecture, task: int) -> NDArray[np.int64]:
    """Multiply-accumulates to answer one sample of a task, int64 (N,).

    Where units are `directed`, the task needs only those that existed when it was trained; its own head in all cases.

    Args:
        architecture: the networks.
        task: a task that has begun.

    Raises:
        ValueError: no such task.
    """
    return np.asarray(_of_task(architecture, task).connections().sum(axis=1))


def training_macs(architecture: Architecture, task: int, *, useful: bool) -> TrainingMacs:
    """Multiply-accumulates to train one sample of a task: forward, weight gradients, input gradients.

    Args:
        architecture: the networks as they are during that task.
        task: the newest task.
        useful: count only gradients of weights that train and what they need, where older units are frozen
            (`directed`); else what an engine executes that multiplies whole matrices.

    Raises:
        ValueError: no such task, or networks with wires around layers.
    """
    if architecture.bypassed:
        raise ValueError(f"wires lead around the layers {architecture.bypassed}; their gradients are not counted here")
    now = _of_task(architecture, task)
    each = now.connections()
    forward = each.sum(axis=1)
    if not (useful and architecture.directed):
        return TrainingMacs(forward, forward, each[:, 1:].sum(axis=1))
    new, all_ = now.units[:, task], now.units.sum(axis=1)
    sizes = np.concatenate((new, now.outputs[:, task, None]), axis=1)
    below = np.concatenate((np.full((now.rows, 1), now.inputs), all_), axis=1)
    return TrainingMacs(forward, (below * sizes).sum(axis=1), (new * sizes[:, 1:]).sum(axis=1))


def _of_task(architecture: Architecture, task: int) -> Architecture:
    """The networks with the head of one task only, and with its units only where older ones do not read newer ones."""
    if not 0 <= task < architecture.generations:
        raise ValueError(f"task {task} does not exist, expected 0..{architecture.generations - 1}")
    generation = np.arange(architecture.generations)
    units, outputs = architecture.units.copy(), architecture.outputs.copy()
    outputs[:, generation != task] = 0
    if architecture.directed:
        units[:, generation > task] = 0
    return replace(architecture, units=units, outputs=outputs)
