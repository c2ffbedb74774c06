"""Optimisers for stacks: one fused call for all rows, a step count for each row."""

from __future__ import annotations

from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.networks.inheritance import RATES
from growenv.networks.stacked_mlp import StackedMLP
from growenv.registry import Registry

TINY = 1e-30
"""Moments below this are set to zero between decisions, long before they decay into denormals, which are slow."""


class StackedOptimizer(Protocol):
    """Updates `network.weights` from `network.gradients`."""

    def step(self) -> None:
        """One update of every row."""

    def restart(self, rows: NDArray[np.bool_]) -> None:
        """Forget the moments and step counts of some rows."""

    def settle(self) -> None:
        """House-keeping between decisions: no moment may decay into denormals."""


class StackedSGD:
    """Stochastic gradient descent, w <- w - lr * g.

    Args:
        network: the stack to train.
        learning_rate: lr, above 0.
    """

    def __init__(self, network: StackedMLP, learning_rate: float) -> None:
        self.network, self.learning_rate = network, learning_rate

    def step(self) -> None:
        """One update of every row."""
        weights, gradient = self.network.buffers["weights"], self.network.gradient
        weights.add_(gradient, alpha=-self.learning_rate)
        if RATES in self.network.buffers:
            weights.addcmul_(gradient, self.network.buffers[RATES], value=-self.learning_rate)

    def restart(self, rows: NDArray[np.bool_]) -> None:
        """Nothing to forget."""

    def settle(self) -> None:
        """No moments to settle."""


class StackedAdam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980) with a step count for each row.

    A row's count starts at zero with every task, so a network that begins a task has the bias correction of a fresh
    optimiser whatever its neighbours do. Neurons that grow in the middle of a task start with zero moments under their
    row's count. With the second decay at 0.99 their first steps under a steady gradient are then at most 2.13 times the
    learning rate (with 0.999 they would be up to 6.6 times).

    Args:
        network: the stack to train.
        learning_rate: step size, above 0.
        betas: decay rates of the moments.
        epsilon: added to the root of the second moment.
    """

    def __init__(
        self,
        network: StackedMLP,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.99),
        epsilon: float = 1e-8,
    ) -> None:
        self.network, self.learning_rate, self.betas, self.epsilon = network, learning_rate, betas, epsilon
        self.counts: NDArray[np.int64] = np.zeros(network.rows, dtype=np.int64)
        self._numbers: list[Tensor] = []
        network.add_buffer("adam_first", degree=1)
        network.add_buffer("adam_second", degree=2)

    def step(self) -> None:
        """One update of every row."""
        before = self.network.buffers["weights"].clone() if RATES in self.network.buffers else None
        self._update()
        if before is not None:
            weights = self.network.buffers["weights"]
            weights.addcmul_(weights - before, self.network.buffers[RATES])

    def _update(self) -> None:
        flats = [self.network.buffers["weights"], self.network.gradient]
        flats += [self.network.buffers["adam_first"], self.network.buffers["adam_second"]]
        self.counts += 1
        if (self.counts == self.counts[0]).all():
            groups, steps = [[flat] for flat in flats], [int(self.counts[0])]
        else:
            groups, steps = self._runs(flats)
        for number in range(len(self._numbers), max(steps)):
            self._numbers.append(torch.tensor(number + 1.0, device=self.network.device))
        weights, gradients, first, second = groups
        torch._fused_adam_(
            weights,
            gradients,
            first,
            second,
            [],
            [self._numbers[step - 1] for step in steps],
            lr=self.learning_rate,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=0.0,
            eps=self.epsilon,
            amsgrad=False,
            maximize=False,
        )

    def _runs(self, flats: list[Tensor]) -> tuple[list[list[Tensor]], list[int]]:
        """Split the buffers into runs of neighbouring rows that have the same count."""
        edges = [0, *(np.flatnonzero(np.diff(self.counts)) + 1), self.network.rows]
        spans = list(zip(edges[:-1], edges[1:], strict=True))
        groups = [
            [block[start:stop] for block in self.network.layout.blocks(flat) for start, stop in spans] for flat in flats
        ]
        return groups, [int(self.counts[start]) for start, _ in spans] * (self.network.depth + 1)

    def restart(self, rows: NDArray[np.bool_]) -> None:
        """Forget the moments and step counts of some rows."""
        self.counts[rows] = 0
        self.network.clear_buffer("adam_first", rows)
        self.network.clear_buffer("adam_second", rows)

    def settle(self) -> None:
        """Set moments that have all but vanished to zero."""
        for name in ("adam_first", "adam_second"):
            flat = self.network.buffers[name]
            torch.hardshrink(flat, TINY, out=flat)


OPTIMIZERS: Registry[StackedOptimizer] = Registry("optimizer")
OPTIMIZERS.register("sgd", StackedSGD)
OPTIMIZERS.register("adam", StackedAdam)
OPTIMIZERS.register("adam-standard", partial(StackedAdam, betas=(0.9, 0.999)))
