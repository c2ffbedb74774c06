"""One network on the Mosaic fabric, as data for pictures and for text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Floorplan:
    """Who stands where on R x C neuron tiles at one moment, and how full the channels are.

    Tiles are numbered row by row, T = R * C. Tasks (which are generations) and layers count from 0. The fabric has
    (2R + 1) x (2C + 1) cells; those with two odd indices are neuron tiles, the others are routers.

    Attributes:
        fabric_shape: rows R and columns C of neuron tiles.
        slots: neurons that a tile can hold.
        inputs: relayed input values on every tile, int64 [T].
        hidden: hidden units of every generation and layer on every tile, int64 [T, G, L].
        outputs: outputs of every head that has begun on every tile, int64 [T, G].
        reserved: slots held free for heads to come, int64 [T].
        load: share of channels in use on the fullest port of every router, float64 [2R + 1, 2C + 1]; NaN on tiles.
        fan_in: share of channels in use on the fullest input port of every tile, float64 [T].
        memristors: memristors in use.
        energy_J: joules per inference.
        mean_hops: routers that a delivery crosses on average.
        latency_s: seconds per inference.

    Raises:
        ValueError: a shape, a type or a number that no fabric can have, or a tile that holds more than its slots.
    """

    fabric_shape: tuple[int, int]
    slots: int
    inputs: NDArray[np.int64]
    hidden: NDArray[np.int64]
    outputs: NDArray[np.int64]
    reserved: NDArray[np.int64]
    load: NDArray[np.float64]
    fan_in: NDArray[np.float64]
    memristors: int
    energy_J: float  # noqa: N815 - units are written as physicists write them
    mean_hops: float
    latency_s: float

    def __post_init__(self) -> None:
        if len(self.fabric_shape) != 2 or min(self.fabric_shape) < 1 or self.slots < 1:
            raise ValueError(
                f"expected at least one row, one column and one slot; "
                f"got fabric_shape={self.fabric_shape}, slots={self.slots}"
            )
        for name, axes in (("inputs", 1), ("hidden", 3), ("outputs", 2), ("reserved", 1)):
            _check_counts(name, getattr(self, name), axes, self.tiles)
        if self.hidden.shape[1] != self.outputs.shape[1] or 0 in self.hidden.shape[1:]:
            raise ValueError(
                f"hidden [T, G, L] and outputs [T, G] must agree on G, with G and L at least 1; "
                f"got {self.hidden.shape} and {self.outputs.shape}"
            )
        taken = self.occupied + self.reserved
        if taken.max() > self.slots:
            raise ValueError(
                f"a tile has {self.slots} slots, but tile {taken.argmax()} holds {self.occupied[taken.argmax()]} "
                f"neurons and reserves {self.reserved[taken.argmax()]} slots"
            )
        rows, columns = self.fabric_shape
        _check_shares("load", self.load, (2 * rows + 1, 2 * columns + 1), self.routers)
        _check_shares("fan_in", self.fan_in, (self.tiles,), np.ones(self.tiles, dtype=np.bool_))
        for name in ("memristors", "energy_J", "mean_hops", "latency_s"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be finite and not negative, got {getattr(self, name)}")

    @property
    def tiles(self) -> int:
        """Number of neuron tiles T."""
        return self.fabric_shape[0] * self.fabric_shape[1]

    @property
    def tasks(self) -> int:
        """Number of tasks G."""
        return int(self.hidden.shape[1])

    @property
    def layers(self) -> int:
        """Number of hidden layers L."""
        return int(self.hidden.shape[2])

    @property
    def occupied(self) -> NDArray[np.int64]:
        """Slots in use on every tile: inputs, hidden units and outputs, int64 [T]; reserved slots are not counted."""
        return np.asarray(self.inputs + self.hidden.sum(axis=(1, 2)) + self.outputs.sum(axis=1))

    @property
    def routers(self) -> NDArray[np.bool_]:
        """Which cells are routers, bool [2R + 1, 2C + 1]; the others are neuron tiles."""
        cells = np.ones((2 * self.fabric_shape[0] + 1, 2 * self.fabric_shape[1] + 1), dtype=np.bool_)
        cells[1::2, 1::2] = False
        return cells


def slots_in_use(floorplan: Floorplan) -> str:
    """How full the tiles are, for a line of text."""
    reserved = f", {floorplan.reserved.sum()} reserved" if floorplan.reserved.any() else ""
    return f"{floorplan.occupied.sum()} of {floorplan.tiles * floorplan.slots} slots in use{reserved}"


def costs(floorplan: Floorplan) -> str:
    """Mean hops, memristors, energy and latency, for a line of text."""
    return (
        f"mean hops {floorplan.mean_hops:.2f}  memristors {floorplan.memristors:,}  "
        f"energy {_number(1e12 * floorplan.energy_J)} pJ  latency {_number(1e9 * floorplan.latency_s)} ns"
    )


def tile_map(floorplan: Floorplan) -> list[str]:
    """Occupied slots of slots, a line for every row of tiles."""
    return [" ".join(row) for row in _filling(floorplan)]


def text(floorplan: Floorplan) -> str:
    """A floorplan as lines of plain text, without a newline at the end.

    The map shows every cell: a tile as occupied slots of slots, a router by its fullest port. A table then lists the
    tiles that hold or reserve something; "0:12 2:8" are 12 units of task 0 and 8 of task 2.
    """
    used, total = int((np.nan_to_num(floorplan.load) > 0).sum()), int(floorplan.routers.sum())
    head = [slots_in_use(floorplan), f"{used} of {total} routers in use", costs(floorplan)]
    key = "routers: . no channel in use, 0-9 tenths of the channels of the fullest port, # a port is full"
    return "\n".join(["  ".join(head), "", *_cells(floorplan), "", key, "", *_table(floorplan)])


def _check_counts(name: str, array: object, axes: int, tiles: int) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != np.int64 or array.ndim != axes or len(array) != tiles:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{name} must be int64 with {axes} dimensions, the first being {tiles} tiles; got {found}")
    if array.size and array.min() < 0:
        raise ValueError(f"{name} must not be negative, got {array.min()}")


def _check_shares(name: str, array: object, shape: tuple[int, ...], known: NDArray[np.bool_]) -> None:
    """Shares in 0..1 where `known`, NaN elsewhere."""
    if not isinstance(array, np.ndarray) or array.dtype != np.float64 or array.shape != shape:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{name} must be float64 {shape}, got {found}")
    wrong = ~((array >= 0) & (array <= 1)) if known.all() else np.where(known, ~((array >= 0) & (array <= 1)), False)
    if wrong.any():
        raise ValueError(f"{name} must be a share in 0..1 of the channels of a port, got {array[wrong][0]}")
    if not np.isnan(array[~known]).all():
        raise ValueError(f"{name} must be NaN on neuron tiles, which have no router; got {np.nanmax(array[~known])}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _filling(floorplan: Floorplan) -> list[list[str]]:
    """Every tile as "occupied/slots", all of one length."""
    width = len(str(floorplan.slots))
    rows = floorplan.occupied.reshape(floorplan.fabric_shape)
    return [[f"{occupied:{width}d}/{floorplan.slots}" for occupied in row] for row in rows]


def _cells(floorplan: Floorplan) -> list[str]:
    """The map of all cells, a line for every row of cells."""
    filling = _filling(floorplan)
    width = len(filling[0][0])
    lines = []
    for y, loads in enumerate(floorplan.load):
        signs = [
            filling[y // 2][x // 2] if np.isnan(load) else _sign(load).center(width if x % 2 else 1)
            for x, load in enumerate(loads)
        ]
        lines.append(" ".join(signs).rstrip())
    return lines


def _sign(load: float) -> str:
    if load >= 1:
        return "#"
    return str(int(10 * load)) if load > 0 else "."


def _table(floorplan: Floorplan) -> list[str]:
    """Who stands on every tile that holds or reserves something, as columns under a heading."""
    layers = [f"layer {layer}" for layer in range(floorplan.layers)]
    table = [["tile", "input", *layers, "head", "reserved", "free", "fan-in"]]
    occupied = floorplan.occupied
    for tile in np.flatnonzero(occupied + floorplan.reserved):
        row, column = divmod(int(tile), floorplan.fabric_shape[1])
        held = [_by_task(floorplan.hidden[tile, :, layer]) for layer in range(floorplan.layers)]
        reserved = int(floorplan.reserved[tile])
        free = floorplan.slots - int(occupied[tile]) - reserved
        table.append(
            [
                f"({row},{column})", str(floorplan.inputs[tile] or "-"), *held, _by_task(floorplan.outputs[tile]),
                str(reserved or "-"), str(free or "-"), f"{floorplan.fan_in[tile]:.2f}",
            ]
        )  # fmt: skip
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table]


def _by_task(counts: NDArray[np.int64]) -> str:
    """As "0:12 2:8" for 12 units of task 0 and 8 of task 2; "-" for none."""
    return " ".join(f"{task}:{count}" for task, count in enumerate(counts) if count) or "-"
