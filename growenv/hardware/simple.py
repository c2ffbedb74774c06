"""Meters that count: parameters, neurons, multiply-accumulates and bytes.

Their answers depend on the architecture alone, so they keep no state, and the only limit is the budget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from growenv.hardware.architecture import Architecture
from growenv.hardware.meter import METERS, ROUNDING

BYTES_PER_PARAMETER = 4  # 32-bit floats


def parameters(architecture: Architecture) -> NDArray[np.int64]:
    """Weights and biases of hidden layers and heads, int64 [N]."""
    return np.asarray(architecture.connections().sum(axis=1) + architecture.biases())


def parameter_bytes(architecture: Architecture) -> NDArray[np.int64]:
    """Bytes of all weights and biases as 32-bit floats, and of what the protection keeps besides, int64 [N]."""
    return BYTES_PER_PARAMETER * parameters(architecture) + architecture.kept_bytes()


def neurons(architecture: Architecture) -> NDArray[np.int64]:
    """Hidden units, int64 [N]; the outputs of heads are not counted, since no action adds them."""
    return np.asarray(architecture.units.sum(axis=(1, 2)))


def multiply_accumulates(architecture: Architecture) -> NDArray[np.int64]:
    """Multiply-accumulates of one inference on the newest task that has begun, int64 [N].

    They are the weights of all hidden layers and of that task's head; additions of biases are not counted. Units grow
    during a task that has begun, so the newest task reads all of them.
    """
    hidden = architecture.connections()[:, :-1].sum(axis=1)
    classes = architecture.outputs[np.arange(architecture.rows), architecture.newest]
    return np.asarray(hidden + classes * architecture.read[:, -1])


@dataclass(frozen=True)
class CountingMeter:
    """A `Meter` of one count, which only a budget limits.

    Attributes:
        name: the name under which it is registered.
        unit: what is counted.
        count: the count for every row of an architecture, int64 [N]; growth must never lower it.
        reasons: why a request can be refused.
    """

    name: str
    unit: str
    count: Callable[[Architecture], NDArray[np.int64]]
    reasons: tuple[str, ...] = ("", "budget")

    def usage(self, architecture: Architecture) -> NDArray[np.float64]:
        """The count for every row, float64 [N]."""
        return self.count(architecture).astype(np.float64)

    def refuse(
        self,
        architecture: Architecture,
        layer: ArrayLike,
        amount: ArrayLike,
        generation: ArrayLike,
        limit: NDArray[np.float64],
    ) -> NDArray[np.int8]:
        """1 ("budget") where the grown network would use more than `limit`; arguments as in `Meter.refuse`."""
        over = self.usage(architecture.grown(layer, amount, generation)) > np.asarray(limit) * ROUNDING
        return (over & (np.asarray(amount) > 0)).astype(np.int8)

    def begin(self, rows: NDArray[np.bool_], architecture: Architecture) -> None:
        """Nothing to remember."""

    def commit(self, rows: NDArray[np.bool_], architecture: Architecture) -> None:
        """Nothing to remember."""

    def snapshot(self) -> None:
        """There is no state."""

    def restore(self, state: object) -> None:
        """Accept the empty state.

        Raises:
            ValueError: the state is that of another meter.
        """
        if state is not None:
            raise ValueError(
                f"the meter {self.name!r} keeps no state, got {type(state).__name__}; use its own snapshot"
            )


METERS.register("parameters", partial(CountingMeter, "parameters", "parameters", parameters))
METERS.register("neurons", partial(CountingMeter, "neurons", "neurons", neurons))
METERS.register("macs", partial(CountingMeter, "macs", "multiply-accumulates", multiply_accumulates))
METERS.register("bytes", partial(CountingMeter, "bytes", "bytes", parameter_bytes))
