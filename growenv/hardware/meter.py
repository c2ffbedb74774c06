"""The Meter protocol: what a network costs on some hardware, and whether a growth request still fits."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from growenv.hardware.architecture import Architecture
from growenv.registry import Registry


@runtime_checkable
class Meter(Protocol):
    """Costs of N networks, analytic and deterministic: nothing is measured by a clock.

    A meter whose answer depends only on the architecture keeps no state. A meter that also has to remember where units
    were placed keeps one entry per row: `begin` starts it, `commit` advances it, `snapshot` and `restore` carry it.

    """

    @property
    def name(self) -> str:
        """The name under which it is registered."""

    @property
    def unit(self) -> str:
        """Unit of `usage`, for example "parameters"."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why a request can be refused; ``reasons[0] == ""`` means that it fits."""

    def usage(self, architecture: Architecture) -> NDArray[np.float64]:
        """What every row uses of the resource, in `unit`, float64 [N]; finite, and never less after growth."""

    def refuse(
        self,
        architecture: Architecture,
        layer: ArrayLike,
        amount: ArrayLike,
        generation: ArrayLike,
        limit: NDArray[np.float64],
    ) -> NDArray[np.int8]:
        """Whether growing would break a limit. Changes nothing, so all candidates of a decision can be tried.

        Args:
            architecture: the networks as they are, with the heads of tasks to come where growth must leave them room.
            layer: hidden layer that would grow, an int or int64 [N].
            amount: units that would be added, an int or int64 [N]; a request for 0 units always fits.
            generation: task during which they would grow, an int or int64 [N].
            limit: what every row may use, in `unit`, float64 [N].

        Returns:
            Index into `reasons` for every row, int8 [N]; 0 where the request fits.
        """

    def begin(self, rows: NDArray[np.bool_], architecture: Architecture) -> None:
        """The marked rows, bool [N], start an episode with the given networks; what they held before is forgotten."""

    def commit(self, rows: NDArray[np.bool_], architecture: Architecture) -> None:
        """The networks of the marked rows, bool [N], have become the given ones: growth, or a new task's head."""

    def snapshot(self) -> object:
        """The state of all rows; later calls do not change it."""

    def restore(self, state: object) -> None:
        """Go back to a state that `snapshot` returned."""


METERS: Registry[Meter] = Registry("meter")
