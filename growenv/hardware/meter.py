"""The Meter protocol: what a network costs on some hardware, and whether a growth request still fits."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

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
        """The marked rows, bool [N], start an episode with the given networks; what they held before is forgotten.

        The networks have the heads of tasks to come, so that hardware with places can keep room for them.
        """

    def commit(self, rows: NDArray[np.bool_], architecture: Architecture) -> None:
        """The networks of the marked rows, bool [N], have become the given ones: growth, or a new task's head."""

    def snapshot(self) -> object:
        """The state of all rows; later calls do not change it."""

    def restore(self, state: object) -> None:
        """Go back to a state that `snapshot` returned."""


class Requests(NamedTuple):
    """A growth requests that every row may make.

    Attributes:
        layer: hidden layer that would grow, int64 [A].
        amount: units that would be added, int64 [A], each at least 1.
        tiles: tiles on which they may stand, bool [A, T]; None where any will do.
    """

    layer: NDArray[np.int64]
    amount: NDArray[np.int64]
    tiles: NDArray[np.bool_] | None = None


class Assessment(NamedTuple):
    """What a `PlacedMeter` says about A requests of every row.

    Attributes:
        codes: index into the meter's reasons, int8 [N, A]; 0 where the request fits.
        usage: what the row would use after it, in the meter's unit, float64 [N, A]; as before where it has no
            place.
    """

    codes: NDArray[np.int8]
    usage: NDArray[np.float64]


@runtime_checkable
class PlacedMeter(Meter, Protocol):
    """A meter of hardware on which it matters where units stand.

    It answers for all requests of a decision at once, says more about the hardware to those who decide, and takes the
    tiles on which new units may stand. The networks that it is asked about are those that `begin` and `commit` gave it.
    """

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles; tiles are numbered row by row."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the `features`."""

    @property
    def figure_names(self) -> tuple[str, ...]:
        """Names of the `figures`."""

    def calibrate(self, reference: Architecture) -> None:
        """Make the reference network (N = 1) the unit of `usage`: as well placed as the hardware can, it uses 1.

        Meters that differ only in how they place networks have the same unit, so its usage may then be about 1.

        Raises:
            ValueError: the hardware has no room for it, even if channels had no limit.
        """

    def assess(
        self,
        architecture: Architecture,
        reserved: Architecture,
        requests: Requests,
        generation: NDArray[np.int64],
        limit: NDArray[np.float64],
    ) -> Assessment:
        """Whether requests fit and what they would cost; changes nothing.

        Args:
            architecture: the networks as they are.
            reserved: the same with the heads of tasks to come, which must still fit below the limit.
            requests: what may be asked.
            generation: task during which the units would grow, int64 [N].
            limit: what every row may use, float64 [N].
        """

    def commit(
        self, rows: NDArray[np.bool_], architecture: Architecture, tiles: NDArray[np.bool_] | None = None
    ) -> None:
        """As in `Meter`; new hidden units stand on `tiles`, bool [N, T], or anywhere if None."""

    def features(self, architecture: Architecture) -> NDArray[np.float64]:
        """What an agent may know of the hardware, float64 [N, F], each in [0, 1]."""

    def figures(self, architecture: Architecture, rates: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """What a report says of the hardware, float64 [N, F].

        Args:
            architecture: the networks as they are.
            rates: spikes per inference of units by generation and layer, float64 [N, G, L]; one spike each where None.
        """

    def floorplan(self, architecture: Architecture, row: int) -> Any:
        """One network on the hardware, for pictures."""


ROUNDING = 1.0 + 1e-9
"""A limit is a share times a capacity, and rounding must not refuse what fits exactly (0.29 * 100 < 29)."""

METERS: Registry[Meter] = Registry("meter")
