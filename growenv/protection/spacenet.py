"""SpaceNet: sparse connections for each task that move to where they matter while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.protection.base import PROTECTIONS
from growenv.protection.connections import HISTORY, IMPORTANCE, RowConnections, bias, unit_importance
from growenv.protection.sparse import CANDIDATES, CONNECTIONS, RESERVE, StaticSparse
from growenv.streams.scenarios import PERIOD

if TYPE_CHECKING:
    from growenv.protection.stage import Stage

REPLACED = 0.2
"""Share of a task's connections into each hidden layer that move at a time (published)."""
MOMENTS = (0.25, 0.5, 0.75)
"""When they move, as shares of a task: after the first three of four epochs (published)."""


class SpaceNet(StaticSparse):
    """`StaticSparse` whose connections gather between important units while a task trains.

    Several times in a task, in each hidden layer, the least important of the task's connections are dropped and as many
    are put, with weight zero, on the empty pairs of candidates with the largest product of unit importances. An input's
    importance is that of its outgoing connections. Places from which connections have just been dropped are empty as
    well. So the task ends in few units, and the others stay free for later tasks.

    Args:
        replaced: share of the connections that move, between 0 and 1.
        moments: when, as shares of a task between 0 and 1, both excluded.
        candidates, connections, reserve, name: as in `StaticSparse`.

    Raises:
        ValueError: an option out of range.

    Source: Sokar, Mocanu and Pechenizkiy 2021, arXiv 2007.07617.
    """

    def __init__(
        self,
        replaced: float = REPLACED,
        moments: Sequence[float] = MOMENTS,
        candidates: float = CANDIDATES,
        connections: Sequence[float] = CONNECTIONS,
        reserve: float | None = RESERVE,
        name: str = "spacenet",
    ) -> None:
        super().__init__(candidates, connections, reserve, name)
        for option, given in (("replaced", replaced), *(("moments", each) for each in moments)):
            if not isinstance(given, float | np.floating) or not 0 < given < 1:
                raise ValueError(f"{option} of {name!r} is {given!r}, expected a share between 0 and 1")
        self.replaced, self.moments = float(replaced), tuple(map(float, moments))
        self._steps: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def prepare(self, stage: Stage) -> None:
        """Add what follows the weights, and count steps."""
        super().prepare(stage)
        self._steps = np.zeros(stage.rows, dtype=np.int64)

    def enter(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Draw candidates and connections of some rows."""
        super().enter(stage, rows)
        self._steps[rows] = 0

    def after_step(self, stage: Stage) -> None:
        """Update importances; move connections where it is time."""
        super().after_step(stage)
        self._steps += 1
        length = stage.task_length if stage.scenario.boundaries else PERIOD
        due = np.isin(self._steps, [int(share * length) for share in self.moments])
        for row in map(int, np.flatnonzero(due)):
            connections = self._of(stage, row)
            for layer in range(stage.network.depth):
                rewire(connections, layer, self.replaced)


def rewire(connections: RowConnections, layer: int, share: float) -> None:
    """Move the least important connections of the current task into a hidden layer between its important units."""
    held = connections.connected(layer)
    number = int(share * int(held.sum()))
    if not number:
        return
    places = held | connections.open(layer)
    source, column = held.cpu().numpy().nonzero()
    worth = connections.part(IMPORTANCE, layer).cpu().numpy()[source, column]
    least = np.argsort(worth, kind="stable")[:number]
    connections.cut(layer, (source[least], column[least]))
    source, column = (places & ~connections.connected(layer)).cpu().numpy().nonzero()
    promise = (_read_importance(connections, layer)[:, None] * _importance(connections, layer)).cpu().numpy()
    best = np.argsort(-promise[source, column], kind="stable")[:number]
    connections.write(layer, (source[best], column[best]), 0.0)


def _importance(connections: RowConnections, layer: int) -> Tensor:
    """Importance of every active unit of a hidden layer, (active,)."""
    return unit_importance(connections.network, layer)[connections.row]


def _read_importance(connections: RowConnections, layer: int) -> Tensor:
    """Importance of everything that a hidden layer reads, (fan_in,); 0 for constants."""
    if layer == 0:
        inputs = connections.part(HISTORY, 0).sum(dim=1)
        inputs[bias(0)] = 0.0
        return inputs
    spans = connections.network.layout.spans(layer)
    found = torch.zeros(spans[-1].active.stop, dtype=connections.network.dtype, device=connections.network.device)
    for span in spans:
        found[span.active] = _importance(connections, span.source)
    return found


PROTECTIONS.register("spacenet", SpaceNet)
PROTECTIONS.register("spacenet-unreserved", partial(SpaceNet, reserve=None, name="spacenet-unreserved"))
