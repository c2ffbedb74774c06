"""What more units would need on every tile: slots, input ports, router channels, and the routing that they add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from growenv.hardware.mosaic.placement import PLENTY, Placement

Ints = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Survey:
    """What more units of one class would need on each of M tiles, every array of shape (n, M).

    Attributes:
        slots: units for which the tile has free slots.
        fan_in: units that the input ports of all tiles concerned can take; negative where not even the routes to
            the tile fit.
        router: the same for the ports of routers.
        crossbar: the same for the longest crossbar that is allowed.
        hops_in, branches_in: routing cells and programmed routing devices that routes from sources to the tile add,
            whatever the number of new units.
        hops_each, branches_each: those that every new unit's own routes add.
    """

    slots: Ints
    fan_in: Ints
    router: Ints
    crossbar: Ints
    hops_in: Ints
    branches_in: Ints
    hops_each: Ints
    branches_each: Ints


def survey(placement: Placement, row: Ints, klass: Ints, tiles: Ints) -> Survey:
    """What more units of one class would need on some tiles; changes nothing.

    Of tiles without a free slot only that is found out.

    Args:
        placement: N placed networks.
        row: rows, (n,); they may repeat.
        klass: class of the new units, (n,).
        tiles: tiles to look at, (n, M).
    """
    slots = placement.fabric.spec.neurons_per_tile - placement.occupied()[row[:, None], tiles]
    question = _Question(placement, row, klass, tiles)
    try:
        hops_in, branches_in = question.routes_in(slots > 0)
        hops_each, branches_each = question.routes_out()
        crossbar = question.crossbar()
    finally:
        question.taken[question.touched] = 0
    fan_in, router = (room.reshape(tiles.shape) for room in (question.fan_in, question.router))
    return Survey(slots, fan_in, router, crossbar, hops_in, branches_in, hops_each, branches_each)


class _Question:
    """n x M places where units could stand. Routes lie along the first axis: reducing over a short last one is slow."""

    def __init__(self, placement: Placement, row: Ints, klass: Ints, tiles: Ints) -> None:
        self.placement, self.fabric = placement, placement.fabric
        self.row, self.klass, self.tiles = row, klass, tiles
        self.width = self.fabric.links + 1
        self.slack = placement.channels - placement.load
        self.taken = placement.scratch(tiles.size * self.width)
        self.touched = np.zeros(0, dtype=np.int64)
        self.fan_in, self.router = np.full((2, tiles.size), PLENTY)

    def routes_in(self, wanted: Mask) -> tuple[Ints, Ints]:
        """Routes from all sources: routing cells and devices that they add for any number of units, (n, M) each."""
        placement, stands = self.placement, self.placement.stand_layer.shape[1]
        level = placement.stand_layer[self.row]
        source = placement.classes.hears[placement.classes.level[self.klass][:, None], level] & (level >= 0)
        at, where, stand = np.nonzero(source[:, None, :] & wanted[:, :, None])
        row, place = self.row[at], at * self.tiles.shape[1] + where
        start, end = placement.stand_tile[row, stand], self.tiles[at, where]
        links, cells = self._routes(start, end)
        number = row * stands + stand
        channels = placement.missing_links.reshape(-1).take(number * self.width + links)
        self.touched = (place * self.width + links).ravel()
        np.add.at(self.taken, self.touched, channels.ravel())  # along one axis it is several times faster
        # A link that all sources own already takes nothing more, so it cannot refuse the newcomers.
        room = np.where(channels > 0, self._room(row, place, links), 0)
        self._lower(place, np.where(room < 0, room, PLENTY), self.fabric.hops[start, end])
        crossed = placement.missing_cells.reshape(-1).take(number * (self.fabric.cells + 1) + cells).sum(axis=0)
        devices = (channels * placement.from_router[links]).sum(axis=0)
        return self._sum(place, crossed), self._sum(place, devices)

    def routes_out(self) -> tuple[Ints, Ints]:
        """Routes of one new unit to all its readers: routing cells and devices, (n, M) each."""
        readers, count = self.placement.reached[self.row, self.klass], self.tiles.shape[1]
        at, target = np.nonzero(readers)
        place = (at[:, None] * count + np.arange(count)).ravel()
        row, start, end = self.row[at].repeat(count), self.tiles[at].ravel(), target.repeat(count)
        links, _ = self._routes(start, end)
        self._lower(place, self._room(row, place, links), self.fabric.hops[start, end])
        hops, branches = np.zeros((2, *self.tiles.shape), dtype=np.int64)
        for mine, targets in _alike(readers):
            cells, outputs = self.fabric.multicast(targets)
            hops[mine], branches[mine] = cells[self.tiles[mine]], outputs[self.tiles[mine]]
        return hops, branches

    def crossbar(self) -> Ints:
        """Units that may be added before a side of a crossbar has more lines in use than are allowed, (n, M)."""
        side = self.fabric.spec.max_crossbar_side
        if side is None:
            return np.full(self.tiles.shape, PLENTY)
        return np.minimum(self._tile_lines(side), self._router_lines(side))

    def _tile_lines(self, side: int) -> Ints:
        """Units that the crossbars of tiles can take: a row for each arrival, a column for each unit."""
        placement, row, tiles, klass = self.placement, self.row, self.tiles, self.klass
        at = row[:, None]
        arrivals, total = placement.arrivals(), placement.counts.sum(axis=2)
        new = placement.classes.reads[:, klass].T[:, None, :] & ~placement.reached[at, :, tiles]
        room = side - arrivals[at, tiles] - (new * total[row][:, None, :]).sum(axis=2)
        own = placement.reached[row, klass]
        readers = np.where(own, side - arrivals[row], PLENTY).min(axis=1)
        here = np.where(placement.reached[at, klass[:, None], tiles] | (room < 0), room, PLENTY)
        columns = side - placement.occupied()[at, tiles]
        return np.asarray(np.minimum(np.minimum(here, readers[:, None]), columns))

    def _router_lines(self, side: int) -> Ints:
        """Units that routing crossbars can take: a line for each channel in use."""
        fabric, at_place = self.fabric, np.arange(self.tiles.shape[1])[:, None]
        at, target = np.nonzero(self.placement.reached[self.row, self.klass])
        links, _ = fabric.routes(self.tiles[at], target[:, None])
        owned = np.zeros((*self.tiles.shape, self.width), dtype=np.bool_)
        owned[at[:, None, None], at_place, links] = True
        owned[:, :, -1] = False
        each = owned[:, :, fabric.router_sides].sum(axis=3)
        more = self.taken[: owned.size].reshape(owned.shape)[:, :, fabric.router_sides].sum(axis=3)
        left = side - self.placement.router_lines()[self.row][:, None, :] - more
        given = np.where((more > 0) & (left < 0), left, PLENTY)  # whatever the number of units
        return np.asarray(np.where(each > 0, left // np.maximum(each, 1), given).min(axis=2))

    def _routes(self, source: Ints, target: Ints) -> tuple[Ints, Ints]:
        """Links and routing cells of m routes, (longest + 1, m) and (longest, m)."""
        links, cells = self.fabric.routes(source, target)
        return np.ascontiguousarray(links.T), np.ascontiguousarray(cells.T)

    def _room(self, row: Ints, place: Ints, links: Ints) -> Ints:
        """Channels that are left on the links of m routes, (longest + 1, m)."""
        left = self.slack.reshape(-1).take(row * self.width + links)
        return np.asarray(left - self.taken.take(place * self.width + links))

    def _lower(self, place: Ints, room: Ints, hops: Ints) -> None:
        """Lower the room of places, which may repeat, to what m routes leave; the last link enters a tile."""
        if not len(place):
            return
        entry = hops, np.arange(len(place))
        into_tile = np.where(hops > 0, room[entry], PLENTY)
        room[entry] = PLENTY
        first = np.flatnonzero(np.diff(place, prepend=-1))
        for most, found in ((self.fan_in, into_tile), (self.router, room.min(axis=0))):
            np.minimum.at(most, place[first], np.minimum.reduceat(found, first))

    def _sum(self, place: Ints, values: Ints) -> Ints:
        return np.bincount(place, values, self.tiles.size).astype(np.int64).reshape(self.tiles.shape)


def _alike(readers: Mask) -> list[tuple[Ints, tuple[int, ...]]]:
    """Rows of a mask, (n, T), sorted by the set of tiles that they mark: indices of the rows, and the tiles."""
    bits = np.packbits(readers, axis=1)
    keys: NDArray[Any] = bits
    if bits.shape[1] <= 8:  # then a set is one number, which is much faster to sort
        padded = np.zeros((len(bits), 8), dtype=np.uint8)
        padded[:, : bits.shape[1]] = bits
        keys = padded.view(np.uint64)[:, 0]
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return [
        (np.flatnonzero(inverse.reshape(-1) == number), tuple(np.flatnonzero(readers[row]).tolist()))
        for number, row in enumerate(first)
    ]
