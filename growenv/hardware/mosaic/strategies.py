"""Where new units stand: fixed places for inputs and heads, and strategies that rank tiles for hidden units."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from growenv.hardware.mosaic.fabric import Fabric
from growenv.hardware.mosaic.spec import MosaicSpec
from growenv.registry import Registry

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]

MOST_INPUT_TILES = 3
"""A tile hears input tiles of row 0 from west, east and north; no more than three port-fulls of inputs can meet."""


@runtime_checkable
class Strategy(Protocol):
    """Ranks the tiles on which a growth request would fit; among equals the lower tile number is taken."""

    def rank(self, fabric: Fabric, cost: Floats, layer: Ints, layers: int, tiles: Ints) -> Floats:
        """The lower, the better, for every one of M tiles.

        Args:
            fabric: the hardware.
            cost: routing cells that the new units add, times spikes, (n, M).
            layer: hidden layer of the new units, (n,).
            layers: hidden layers L of the networks.
            tiles: the tiles in question, (n, M).
        """


class Greedy:
    """The tile that adds the least routing now: run-time mapping, which never moves what stands."""

    def rank(self, fabric: Fabric, cost: Floats, layer: Ints, layers: int, tiles: Ints) -> Floats:
        """The cost itself."""
        return cost


class RowMajor:
    """Strips: inputs in the north, layer after layer southwards, heads in the south; tiles fill row by row."""

    def rank(self, fabric: Fabric, cost: Floats, layer: Ints, layers: int, tiles: Ints) -> Floats:
        """Distance of the tile's row from the layer's strip; within a distance, tiles in their order."""
        strip = np.rint((layer + 1) * (fabric.spec.rows - 1) / (layers + 1))
        distance = np.abs(tiles // fabric.spec.cols - strip[:, None])
        return np.asarray(distance * fabric.tiles + tiles, dtype=np.float64)


STRATEGIES: Registry[Strategy] = Registry("placement strategy")
STRATEGIES.register("greedy", Greedy)
STRATEGIES.register("row_major", RowMajor)


def input_tiles(spec: MosaicSpec, inputs: int) -> list[tuple[int, int]]:
    """Tiles of row 0 that relay the inputs, one slot for each input, as (tile, inputs).

    A fully connected reader needs a channel of every input at one tile. So the inputs stand evenly on one tile in the
    middle, or with a gap on two, whose column between hears both, or on three in a row.

    Raises:
        ValueError: there are more inputs than any tile could hear.
    """
    needed = -(-inputs // spec.neurons_per_tile)
    if needed > min(MOST_INPUT_TILES, spec.cols):
        most = min(MOST_INPUT_TILES, spec.cols) * spec.neurons_per_tile
        raise ValueError(
            f"{inputs} inputs are too many for {spec.rows}x{spec.cols} tiles of {spec.neurons_per_tile} neurons: a "
            f"fully connected neuron hears at most {most} of them. Pool the images (input_pool=SIDE, for example "
            f"input_pool={max(1, int(min(most, 2 * spec.neurons_per_tile) ** 0.5))}), or take a preset with larger "
            'tiles (meter="mosaic-large" hears images of up to 16x16)'
        )
    first = (spec.cols - 1) // 2
    if needed == 2 and spec.cols >= 3:
        columns = [max(0, first - 1), max(0, first - 1) + 2]
    else:
        first = min(max(0, (spec.cols - needed) // 2), first)
        columns = list(range(first, first + needed))
    share = [inputs // needed + (each < inputs % needed) for each in range(needed)]
    return list(zip(columns, share, strict=True))


def head_tiles(spec: MosaicSpec) -> NDArray[np.int64]:
    """Tiles of the last row in the order in which heads fill them, from the middle outwards."""
    column = np.arange(spec.cols)
    middle = (spec.cols - 1) // 2
    order = column[np.argsort(np.abs(column - middle), kind="stable")]
    return np.asarray((spec.rows - 1) * spec.cols + order)
