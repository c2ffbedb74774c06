"""Signals: evidence for when and where to grow, from one probe batch for all rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from growenv.growth.evidence import Evidence
from growenv.growth.signals.products import Products
from growenv.registry import Registry

Array = NDArray[np.float64]

LEAST, MOST = 64, 128
"""Samples of a probe batch. Ranks need as many as a layer has units. On 64, the features of networks in training are
ordered as on 2048 with rank correlations of about 0.9; on 32 of about 0.87, on 128 of about 0.95."""


@dataclass(frozen=True)
class Scene:
    """What a signal may look at: N networks after a decision, before the next one.

    Attributes:
        evidence: a probe batch of training samples of the current task.
        units: units by generation and hidden layer, (N, T, L).
        task: current task of each row, (N,).
        outputs: classes of the current task, (N,).
        trained: whether anything has been trained on the current task, (N,). Where not, a new task has just begun.
        losses: mean training loss of every minibatch of the last decision, (N, M); meaningless where not `trained`.
        validation_accuracy: on the current task, (N,); meaningless where not `trained`.
        validation_loss: likewise.
        unit_cost: share of capacity that one more neuron of each layer would cost, by the cheapest request that fits,
            (N, L); NaN where none fits.
    """

    evidence: Evidence
    units: NDArray[np.int64]
    task: NDArray[np.int64]
    outputs: NDArray[np.int64]
    trained: NDArray[np.bool_]
    losses: Array
    validation_accuracy: Array
    validation_loss: Array
    unit_cost: Array

    @property
    def widths(self) -> NDArray[np.int64]:
        """Units of each hidden layer, (N, L)."""
        widths: NDArray[np.int64] = self.units.sum(axis=1)
        return widths

    @cached_property
    def products(self) -> Products:
        """What signals share; worked out when first asked for."""
        return Products(self.evidence, self.outputs)


@runtime_checkable
class Signal(Protocol):
    """Named features of N rows, each in [-1, 1] by construction.

    A signal may remember things of every row, in arrays whose first dimension is the rows; `begin` forgets them. It is
    copied, so it may hold nothing that refers to networks.

    Attributes:
        name: how a configuration calls it.
    """

    name: str

    def features(self, layers: int) -> tuple[str, ...]:
        """Names of the F features of a network with that many hidden layers."""

    def begin(self, rows: NDArray[np.bool_]) -> None:
        """Some rows, (N,), begin a new stream."""

    def measure(self, scene: Scene, rows: NDArray[np.bool_]) -> Array:
        """The features of all rows, (N, F); only those of the marked rows, (N,), are used and may be remembered."""


SIGNALS: Registry[Signal] = Registry("signal")


def probe_samples(max_hidden: Sequence[int]) -> int:
    """Samples of a probe batch: `LEAST`, or as many as the widest layer may have units, but no more than `MOST`."""
    return min(MOST, max(LEAST, *max_hidden))


class TaskClock:
    """Notices when a row's task is new."""

    def __init__(self) -> None:
        self._task: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def begin(self, rows: NDArray[np.bool_]) -> None:
        """Some rows, (N,), begin a new stream."""
        if len(self._task) != len(rows):
            self._task = np.full(len(rows), -1)
        self._task[rows] = -1

    def entered(self, task: NDArray[np.int64], rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of the marked rows, (N,), are at a task, (N,), at which they have not been seen before."""
        new: NDArray[np.bool_] = rows & (task != self._task)
        self._task[new] = task[new]
        return new


def ratio(value: Array, reference: Array) -> Array:
    """value / reference: 0 where the value is 0, infinite where only the reference is."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        divided: Array = np.where(value == 0.0, 0.0, value / reference)
    return divided


def relative(value: Array, start: Array) -> Array:
    """value / start, at most 2, halved: 1/2 where nothing has changed. 0 / 0 is no change."""
    return np.where(value == start, 0.5, np.minimum(ratio(value, start), 2.0) / 2.0)


def squash(value: Array) -> Array:
    """x / (1 + x): [0, inf] to [0, 1]; what is not a number becomes 1."""
    with np.errstate(invalid="ignore"):
        squashed: Array = np.where(np.isfinite(value), value / (1.0 + value), 1.0)
    return squashed


def per_layer(name: str, layers: int) -> tuple[str, ...]:
    """``name_0``, ``name_1``, ..."""
    return tuple(f"{name}_{layer}" for layer in range(layers))
