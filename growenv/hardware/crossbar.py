"""Dense crossbars: the memristors of a chip that cuts every weight matrix into squares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from growenv.hardware.architecture import Architecture
from growenv.hardware.meter import METERS
from growenv.hardware.simple import CountingMeter

SIDE = 64
"""Rows and columns of a crossbar where nothing else is said."""


@dataclass(frozen=True)
class DenseCrossbars:
    """Counts the memristors of the square crossbars that hold a network; the ``count`` of a `CountingMeter`.

    A matrix from n to m units occupies ceil(n / side) * ceil(m / side) crossbars of side * side memristors each, used
    or not. So growth costs nothing until it needs another crossbar, and then a whole one.

    A matrix holds all connections into one layer: from the inputs into hidden layer 0, from hidden layer l into hidden
    layer l + 1, and from the last hidden layer into the heads that have begun. Units whose values come through wires
    have rows in it, too. All generations share it, because units of one layer share its
    rows, which carry their values; connections that do not exist are memristors that stay off. All heads share theirs
    for the same reason: they are further columns on the same rows. Hence it makes no difference who reads whom. Biases
    belong to the neurons and not to a crossbar, and a weight is one memristor; count twice as many where it is the
    difference of two.

    Attributes:
        side: rows and columns of a crossbar.

    Raises:
        ValueError: the side is no integer of at least 1.
    """

    side: int = SIDE

    def __post_init__(self) -> None:
        if isinstance(self.side, bool) or not isinstance(self.side, int | np.integer) or self.side < 1:
            raise ValueError(f"side is {self.side!r}, expected the rows and columns of a crossbar, an integer >= 1")

    def __call__(self, architecture: Architecture) -> NDArray[np.int64]:
        """Memristors of every row's crossbars, int64 [N]."""
        rows = architecture.rows
        first = np.full((rows, 1), architecture.inputs, dtype=np.int64)
        last = architecture.outputs.sum(axis=1, keepdims=True)
        down = -(-np.concatenate((first, architecture.read), axis=1) // self.side)
        across = -(-np.concatenate((architecture.widths, last), axis=1) // self.side)
        return np.asarray((down * across).sum(axis=1) * self.side**2)


METERS.register("crossbar", partial(CountingMeter, "crossbar", "memristors", DenseCrossbars()))
