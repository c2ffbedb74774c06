"""The fabric: neuron tiles in a mesh of routing cells, the links between cells, and the route between any two tiles."""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:  # the specification reports on its fabric, so it imports this module
    from growenv.hardware.mosaic.spec import MosaicSpec

# Cells (down, right) from a cell to its neighbour on each side: north, east, south, west.
_STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1))

# Routes of fabrics with more tiles are worked out on demand: a table of all pairs would be large.
_MOST_TILES_IN_TABLE = 64
_MOST_MULTICASTS = 4096


def hop_count(down: ArrayLike, right: ArrayLike) -> NDArray[np.int64]:
    """Routing cells that a spike crosses between two tiles.

    With d = |down| + |right|: 0 for d = 0, 1 for d = 1, 2 d + 1 in a straight line (a detour round the tiles in
    between), else 2 d - 1. It is the length of the shortest path that crosses no neuron tile.

    Args:
        down: rows of tiles from source to target, any shape.
        right: columns of tiles from source to target; broadcasts with `down`.

    Returns:
        Hops, int64 of the common shape.

    Source: public code of the authors of Mosaic, doi 10.1038/s41467-023-44365-x.
    """
    rows, columns = np.abs(np.asarray(down, dtype=np.int64)), np.abs(np.asarray(right, dtype=np.int64))
    distance = rows + columns
    straight = (rows == 0) | (columns == 0)
    return np.where(distance <= 1, distance, 2 * distance + np.where(straight, 1, -1))


def hop_histogram(rows: int, cols: int) -> dict[int, int]:
    """Ordered pairs of different tiles for every number of hops, in rising order of hops.

    An offset of (down, right) tiles occurs (rows - |down|) (cols - |right|) times.
    """
    down, right = np.arange(1 - rows, rows)[:, None], np.arange(1 - cols, cols)
    hops = hop_count(down, right)
    times = (rows - np.abs(down)) * (cols - np.abs(right))
    pairs = {int(number): int(times[hops == number].sum()) for number in np.unique(hops)}
    del pairs[0]
    return pairs


class Fabric:
    """Cells, links and routes of one `MosaicSpec`; all arrays are read-only.

    R x C tiles stand in (2R+1) x (2C+1) cells. Cell (y, x) has the number y * (2C+1) + x; tile (r, c) has the number
    r * C + c and is cell (2r+1, 2c+1). Every other cell routes: an edge router (R1) lies beside a tile or between two,
    a corner router (R0) has four edge routers around it. Neighbouring cells are joined by one link in each direction.

    Attributes:
        spec: what the fabric is built from.
        tiles: neuron tiles T.
        shape: rows and columns of cells, (2R+1, 2C+1).
        cells: cells Z.
        tile_cells: cell number of every tile, int64 [T].
        edge_routers: R1 cells, R (C+1) + C (R+1).
        corner_routers: R0 cells, (R+1) (C+1).
        links: directed links Q, in the order of the sending cell and its side.
        link_from: cell that sends, int64 [Q].
        link_to: cell that receives, int64 [Q].
        link_side: side of the sending cell through which the link leaves, int64 [Q]: 0 north, 1 east, 2 south, 3 west.
        capacity: channels of every link, int32 [Q]: the smaller of the two ports that it joins.
        into_tile: the link ends in a neuron tile, bool [Q].
        from_router: the link begins in a routing cell, bool [Q].
        output_channels: output channels of all four ports of a routing cell, int64 [Z]; 0 for tiles.
        longest: most routing cells on any route.

    Sources: public code of the authors of Mosaic (cells, hops, routing rule, port limits).
    """

    def __init__(self, spec: MosaicSpec) -> None:
        rows, cols = spec.rows, spec.cols
        self.spec = spec
        self.tiles = rows * cols
        self.shape = (2 * rows + 1, 2 * cols + 1)
        self.cells = self.shape[0] * self.shape[1]
        self.edge_routers = spec.edge_routers
        self.corner_routers = spec.corner_routers
        self.longest = int(hop_count(np.arange(rows)[:, None], np.arange(cols)).max())
        row, col = np.divmod(np.arange(self.tiles), cols)
        self.tile_cells = _fixed((2 * row + 1) * self.shape[1] + 2 * col + 1)
        self._multicasts: dict[tuple[int, ...], tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        self._lay_links()
        self._fit_ports()

    def _lay_links(self) -> None:
        """Join all neighbouring cells in both directions."""
        height, width = self.shape
        y, x = (axis.reshape(-1, 1) for axis in np.divmod(np.arange(self.cells), width))
        down, right = np.array(_STEPS).T
        inside = (y + down >= 0) & (y + down < height) & (x + right >= 0) & (x + right < width)  # [Z, 4]
        start, side = np.nonzero(inside)
        end = start + down[side] * width + right[side]
        self.links = len(start)
        self.link_from, self.link_to, self.link_side = _fixed(start), _fixed(end), _fixed(side)
        self._link_at = np.full((self.cells, 4), self.links, dtype=np.int32)
        self._link_at[start, side] = np.arange(self.links)
        _fixed(self._link_at)

    def _fit_ports(self) -> None:
        """Say which ports each link joins, and how many channels they leave it."""
        y, x = np.divmod(np.arange(self.cells), self.shape[1])
        kind = y % 2 + x % 2  # odd coordinates: 2 for a tile, 1 for an edge router, 0 for a corner router
        start, end = kind[self.link_from], kind[self.link_to]
        self.into_tile, self.from_router = _fixed(end == 2), _fixed(start != 2)
        channels = np.array([self.spec.r0_channels, self.spec.r1_channels, self.spec.neurons_per_tile])
        fan_in = np.array(self.spec.ports)[(self.link_side + 2) % 4]  # what leaves northward enters from the south
        inputs = np.where(self.into_tile, fan_in, channels[end])
        self.capacity = _fixed(np.minimum(channels[start], inputs).astype(np.int32))
        self.output_channels = _fixed(np.where(kind == 2, 0, 4 * channels[kind]))

    @cached_property
    def hops(self) -> NDArray[np.int16]:
        """Routing cells between every two tiles, int16 [T, T]; symmetric, 0 on the diagonal."""
        row, col = np.divmod(np.arange(self.tiles), self.spec.cols)
        return _fixed(hop_count(row[:, None] - row, col[:, None] - col).astype(np.int16))

    @cached_property
    def router_sides(self) -> NDArray[np.int64]:
        """Links of both sides of every routing crossbar: all its inputs, then all its outputs, int64 [S, 4].

        Ports that lead nowhere are padded with Q.
        """
        inputs = np.full((self.cells, 4), self.links)
        inputs[self.link_to, (self.link_side + 2) % 4] = np.arange(self.links)
        routing = np.ones(self.cells, dtype=np.bool_)
        routing[self.tile_cells] = False
        return _fixed(np.concatenate([inputs[routing], self._link_at[routing].astype(np.int64)]))

    def multicast(self, targets: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The union of the routes from each tile to some tiles: routing cells and router outputs, int64 [T] each.

        What several routes share counts once.
        """
        if targets not in self._multicasts:
            cells, outputs = np.zeros((self.tiles, self.cells + 1), bool), np.zeros((self.tiles, self.links + 1), bool)
            every = np.arange(self.tiles)
            for target in targets:
                links, crossed = self.routes(every, target)
                cells[every[:, None], crossed] = True
                outputs[every[:, None], links] = True
            counts = cells[:, :-1].sum(axis=1), (outputs[:, :-1] & self.from_router).sum(axis=1)
            if len(self._multicasts) >= _MOST_MULTICASTS:
                self._multicasts.clear()
            self._multicasts[targets] = counts
        return self._multicasts[targets]

    def __deepcopy__(self, memo: dict[int, Any]) -> Fabric:
        """Nothing of a fabric changes, so a copy is the fabric itself."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return fabric, (self.spec,)

    def routes(self, source: ArrayLike, target: ArrayLike) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The routes from tiles to tiles under the one-turn rule.

        1. Adjacent tiles: through the one edge router between them.
        2. Same column, further: leave west, go along that router column to the row of the target, enter from the west.
        3. Otherwise: leave south if the target lies in a lower row, else north. Go to the router column beside the
           target on the near side, turn once, go to its row, enter from the side of the source.

        Args:
            source: numbers of sending tiles, any shape.
            target: numbers of receiving tiles; broadcasts with `source`.

        Returns:
            Links in order, int32 [..., longest + 1], padded with `links`; and routing cells in order,
            int32 [..., longest], padded with `cells`. A route has hops + 1 links and hops cells; a tile has no route to
            itself, so all is padding.

        Raises:
            ValueError: a number that no tile has.

        Source: public code of the authors of Mosaic.
        """
        start, end = self._tile_numbers("source", source), self._tile_numbers("target", target)
        if self.tiles > _MOST_TILES_IN_TABLE:
            return self._trace(start, end)
        links, cells = self._table
        return links[start, end], cells[start, end]

    def _tile_numbers(self, name: str, given: ArrayLike) -> NDArray[np.int64]:
        numbers = np.asarray(given)
        if numbers.size and (numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() >= self.tiles):
            raise ValueError(f"{name} is {given!r}, expected numbers of tiles, 0..{self.tiles - 1}")
        return numbers.astype(np.int64, copy=False)

    @cached_property
    def _table(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The routes of all pairs, [T, T, ...]."""
        every = np.arange(self.tiles)
        links, cells = self._trace(every[:, None], every)
        return _fixed(links), _fixed(cells)

    def _trace(
        self, source: NDArray[np.int64], target: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Walk all routes at once; arguments and results as in `routes`."""
        cols, width = self.spec.cols, self.shape[1]
        down, right = target // cols - source // cols, target % cols - source % cols
        legs = _legs(down, right)
        lengths = np.abs(legs)
        step = np.arange(self.longest + 2)  # a route visits up to longest + 2 cells, tiles included
        begun = np.concatenate([np.zeros_like(lengths[:1]), lengths.cumsum(axis=0)[:-1]])
        walked = np.sign(legs)[..., None] * np.clip(step - begun[..., None], 0, lengths[..., None])
        y = (2 * (source // cols) + 1)[..., None] + walked[0] + walked[2]
        x = (2 * (source % cols) + 1)[..., None] + walked[1] + walked[3]
        visited = y * width + x
        downward, rightward = np.diff(y), np.diff(x)
        side = np.where(downward != 0, 1 + downward, 2 - rightward)
        hops = lengths.sum(axis=0)[..., None] - 1
        links = np.where(step[:-1] <= hops, self._link_at[visited[..., :-1], side], self.links)
        cells = np.where(step[1:-1] <= hops, visited[..., 1:-1], self.cells)
        return links.astype(np.int32), cells.astype(np.int32)


def _legs(down: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Every route is four straight legs: lengths in cells of south, east, south, east, int64 [4, ...].

    A negative length leads north or west. The arguments are rows and columns from source to target, in tiles.
    """
    none = np.zeros_like(down + right)
    down, right = down + none, right + none
    leave, toward = np.where(down > 0, 1, -1), np.sign(right)
    straight = np.stack([2 * down, 2 * right, none, none])
    column = np.stack([none, none - 1, 2 * down, none + 1])
    one_turn = np.stack([leave, 2 * right - toward, 2 * down - leave, toward])
    return np.where(np.abs(down) + np.abs(right) <= 1, straight, np.where(right == 0, column, one_turn))


def _fixed(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array


@cache
def fabric(spec: MosaicSpec) -> Fabric:
    """The one `Fabric` of a specification; equal specifications share it."""
    return Fabric(spec)
