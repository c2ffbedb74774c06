"""Who stands where in N networks, which channels they own, and what more units would need.

Units of one class (inputs, one hidden layer and generation, or one head) on one tile are a **group**: they have the
same readers, hence the same routes. A group owns one channel per unit on every link that the union of its routes
crosses. So all that has to be kept for N networks is a table of groups.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from growenv.hardware.mosaic.fabric import Fabric

Ints = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]

PLENTY = np.int64(2**40)
"""More units than any fabric holds."""
_STATE = ("counts", "group", "klass", "tile", "size", "links", "cells", "hops", "branches", "load", "reached")


@dataclass(frozen=True, eq=False)
class Classes:
    """The classes of units of a network, numbered: inputs, hidden units by layer and generation, heads.

    Attributes:
        layers: hidden layers L.
        generations: generations G, which is the number of tasks.
        directed: whether hidden units read only generations up to their own, see `Architecture.directed`.
        reads: reads[c, d] says that class d reads class c, bool [C, C].
    """

    layers: int
    generations: int
    directed: bool
    reads: Mask = field(init=False)

    def __post_init__(self) -> None:
        generation = np.arange(self.generations)
        older = generation[:, None] <= generation[None, :]
        reads = np.zeros((self.count, self.count), dtype=np.bool_)
        reads[0, self.hidden(0, generation)] = True
        for layer in range(self.layers - 1):
            block = np.ix_(self.hidden(layer, generation), self.hidden(layer + 1, generation))
            reads[block] = older if self.directed else True
        reads[np.ix_(self.hidden(self.layers - 1, generation), self.head(generation))] = older
        object.__setattr__(self, "reads", reads)

    @property
    def count(self) -> int:
        """Number of classes C."""
        return 1 + (self.layers + 1) * self.generations

    def hidden(self, layer: Any, generation: Any) -> Any:
        """Class of the units of a hidden layer that grew in a generation."""
        return 1 + layer * self.generations + generation

    def head(self, generation: Any) -> Any:
        """Class of the outputs of a head."""
        return 1 + self.layers * self.generations + generation


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


class Placement:
    """Where the units of N networks stand on N fabrics of one kind.

    Args:
        fabric: the hardware.
        classes: the classes of the networks' units.
        rows: number of networks N.

    Attributes:
        counts: units of each class on each tile, (N, C, T).
        reached: tiles on which some reader of a class stands, (N, C, T).
        load: channels in use on each link, (N, Q + 1); the last entry is padding.
        group: number of the group of a class on a tile, (N, C, T), -1 where there is none; heads have none.
        klass, tile, size: class (-1: no such group), tile and units of each group, (N, K).
        links: links that each group's routes cross, (N, K, Q + 1); padding is True.
        cells: routing cells that they cross, (N, K, Z + 1); padding is True.
        hops: number of these routing cells, (N, K).
        branches: router outputs among these links, which is a unit's number of routing devices, (N, K).
    """

    def __init__(self, fabric: Fabric, classes: Classes, rows: int) -> None:
        self.fabric, self.classes, self.rows = fabric, classes, rows
        tiles, groups = fabric.tiles, 4
        self.counts = np.zeros((rows, classes.count, tiles), dtype=np.int64)
        self.reached = np.zeros((rows, classes.count, tiles), dtype=np.bool_)
        self.load = np.zeros((rows, fabric.links + 1), dtype=np.int64)
        self.group = np.full((rows, classes.count, tiles), -1, dtype=np.int64)
        self.klass = np.full((rows, groups), -1, dtype=np.int64)
        self.tile, self.size, self.hops, self.branches = np.zeros((4, rows, groups), dtype=np.int64)
        self.links = np.zeros((rows, groups, fabric.links + 1), dtype=np.bool_)
        self.cells = np.zeros((rows, groups, fabric.cells + 1), dtype=np.bool_)
        self.links[:, :, -1] = self.cells[:, :, -1] = True
        self._channels = np.append(fabric.capacity.astype(np.int64), PLENTY)
        self._into_tile = np.append(fabric.into_tile, False)
        self._from_router = np.append(fabric.from_router, False)

    # -- changing ----------------------------------------------------------------------------------------------------

    def clear(self, rows: Mask) -> None:
        """Remove everything from some rows, (N,)."""
        self.counts[rows], self.reached[rows], self.load[rows] = 0, False, 0
        self.group[rows], self.klass[rows] = -1, -1
        for table in (self.tile, self.size, self.hops, self.branches):
            table[rows] = 0
        for flags in (self.links, self.cells):
            flags[rows] = False
            flags[rows, :, -1] = True

    def place(self, row: Ints, klass: Ints, tile: Ints, amount: Ints) -> None:
        """Put units of a class on a tile, in several rows at once; limits are not checked.

        Args:
            row: different rows, (n,).
            klass: class of the new units in each of them, (n,).
            tile: where they stand, (n,).
            amount: how many they are, (n,), at least 1.
        """
        self.counts[row, klass, tile] += amount
        source = self._sources(row, klass) & ~self._arrived(row, tile)
        at, group = np.nonzero(source)
        self._extend(row[at], group, tile[at])
        self.reached[row, :, tile] |= self.classes.reads[:, klass].T
        speaks = self.classes.reads[klass].any(axis=1)
        self._speak(row[speaks], klass[speaks], tile[speaks], amount[speaks])

    def _speak(self, row: Ints, klass: Ints, tile: Ints, amount: Ints) -> None:
        """Units that others read own the channels of their group's routes."""
        group, fresh = self._own_group(row, klass, tile)
        at, target = np.nonzero(self.reached[row, klass] & fresh[:, None])
        self._extend(row[at], group[at], target)
        self.size[row, group] += amount
        self.load[row] += amount[:, None] * self.links[row, group]

    def resize_head(self, row: Ints, klass: Ints, tile: Ints, outputs: Ints) -> None:
        """A head has another number of outputs than slots were held for; nothing reads it, so no channel changes."""
        self.counts[row, klass, tile] = outputs

    def _own_group(self, row: Ints, klass: Ints, tile: Ints) -> tuple[Ints, Mask]:
        """Number of each one's group, and which groups are new."""
        fresh = self.group[row, klass, tile] < 0
        new = np.asarray((self.klass[row] >= 0).sum(axis=1))
        if fresh.any() and new[fresh].max() >= self.klass.shape[1]:
            self._more_groups()
        group = np.where(fresh, new, self.group[row, klass, tile])
        self.group[row, klass, tile] = group
        self.klass[row, group], self.tile[row, group] = klass, tile
        return group, fresh

    def _more_groups(self) -> None:
        """Room for twice as many groups in every row."""
        for name in ("klass", "tile", "size", "hops", "branches", "links", "cells"):
            table = getattr(self, name)
            more = np.full_like(table, -1) if name == "klass" else np.zeros_like(table)
            if name in ("links", "cells"):
                more[:, :, -1] = True
            setattr(self, name, np.concatenate([table, more], axis=1))

    def _extend(self, row: Ints, group: Ints, target: Ints) -> None:
        """Lead routes of groups to further tiles. Groups that occur more than once must be empty yet."""
        links, cells = self.fabric.routes(self.tile[row, group], target)
        before = self.links[row, group]
        self.links[row[:, None], group[:, None], links] = True
        self.cells[row[:, None], group[:, None], cells] = True
        after = self.links[row, group]
        np.add.at(self.load, row, (after & ~before) * self.size[row, group][:, None])
        self.branches[row, group] = (after & self._from_router).sum(axis=1)
        self.hops[row, group] = self.cells[row, group, :-1].sum(axis=1)

    # -- asking ------------------------------------------------------------------------------------------------------

    def occupied(self) -> Ints:
        """Slots in use on each tile, those held for heads to come included, (N, T)."""
        return np.asarray(self.counts.sum(axis=1))

    def violations(self) -> tuple[Ints, Ints, Ints]:
        """Tiles with too many units, and links into tiles and into routers with too many channels, three of (N,)."""
        full = (self.occupied() > self.fabric.spec.neurons_per_tile).sum(axis=1)
        over = self.load > self._channels
        return full, (over & self._into_tile).sum(axis=1), (over & ~self._into_tile).sum(axis=1)

    def arrivals(self) -> Ints:
        """Crossbar rows in use on each tile: units of all classes that are read there, (N, T)."""
        return np.asarray((self.reached * self.counts.sum(axis=2)[:, :, None]).sum(axis=1))

    def survey(self, row: Ints, klass: Ints, tiles: Ints) -> Survey:
        """What more units of one class would need on some tiles; changes nothing.

        Args:
            row: rows, (n,); they may repeat.
            klass: class of the new units, (n,).
            tiles: tiles to look at, (n, M).
        """
        spec = self.fabric.spec
        extra = _Extra(self, row, tiles)
        hops_in, branches_in = extra.lead_in(self._sources(row, klass))
        hops_each, branches_each = extra.lead_out(self.reached[row, klass])
        slots = spec.neurons_per_tile - self.occupied()[row[:, None], tiles]
        crossbar = np.full(tiles.shape, PLENTY)
        if spec.max_crossbar_side is not None:
            crossbar = self._crossbar_room(row, klass, tiles, spec.max_crossbar_side)
        return Survey(
            slots, extra.fan_in, extra.router, crossbar, hops_in, branches_in, hops_each, branches_each
        )  # fmt: skip

    def _sources(self, row: Ints, klass: Ints) -> Mask:
        """Groups whose class is read by another class, (n, K)."""
        given = self.klass[row]
        return np.asarray((given >= 0) & self.classes.reads[given, klass[:, None]])

    def _arrived(self, row: Ints, tile: Ints) -> Mask:
        """Groups whose class is read on a tile already, (n, K)."""
        return np.asarray(self.reached[row[:, None], self.klass[row], tile[:, None]])

    def _crossbar_room(self, row: Ints, klass: Ints, tiles: Ints, side: int) -> Ints:
        """Units that may be added before a crossbar has more rows in use than `side`, (n, M)."""
        at = row[:, None]
        arrivals, total = self.arrivals(), self.counts.sum(axis=2)
        read = self.classes.reads[:, klass].T[:, None, :]
        new = read & ~self.reached[at, :, tiles]
        room = side - arrivals[at, tiles] - (new * total[row][:, None, :]).sum(axis=2)
        own = self.reached[row, klass]
        readers = np.where(own, side - arrivals[row], PLENTY).min(axis=1)
        here = np.where(self.reached[at, klass[:, None], tiles] | (room < 0), room, PLENTY)
        return np.asarray(np.minimum(here, readers[:, None]))

    # -- saving ------------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """A copy of everything that changes."""
        return {name: getattr(self, name).copy() for name in _STATE}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go back to a state that `snapshot` returned."""
        for name, value in state.items():
            setattr(self, name, value.copy())


class _Extra:
    """Channels that new units on each of n x M places would take, and how much room they leave."""

    def __init__(self, placement: Placement, row: Ints, tiles: Ints) -> None:
        self.placement, self.fabric, self.row, self.tiles = placement, placement.fabric, row, tiles
        self.places = tiles.size
        self.width = self.fabric.links + 1
        self.taken = np.zeros(self.places * self.width, dtype=np.int64)
        self.fan_in, self.router = np.full((2, *tiles.shape), PLENTY)

    def lead_in(self, source: Mask) -> tuple[Ints, Ints]:
        """Routes from source groups, (n, K), to the places: routing cells and devices that they add, two of (n, M)."""
        placement, row, tiles = self.placement, self.row, self.tiles
        known = placement.reached[row[:, None, None], placement.klass[row][:, None, :], tiles[:, :, None]]
        at, where, group = np.nonzero(source[:, None, :] & ~known)
        mine = row[at]
        links, cells = self.fabric.routes(placement.tile[mine, group], tiles[at, where])
        fresh = ~placement.links[mine[:, None], group[:, None], links]
        size = placement.size[mine, group]
        place = at * tiles.shape[1] + where
        flat = place[:, None] * self.width + links
        np.add.at(self.taken, flat, fresh * size[:, None])
        # A route that is there already takes nothing, so its links cannot refuse the newcomers.
        self._keep_room(place, flat, np.where(fresh, links, self.width - 1), mine, needs=0)
        new_cells = ~placement.cells[mine[:, None], group[:, None], cells]
        outputs = fresh & placement._from_router[links]
        return self._sum(place, size * new_cells.sum(axis=1)), self._sum(place, size * outputs.sum(axis=1))

    def lead_out(self, readers: Mask) -> tuple[Ints, Ints]:
        """Routes from the places to the readers' tiles, (n, T): cells and devices of each new unit, two of (n, M)."""
        at, target = np.nonzero(readers)
        count = self.tiles.shape[1]
        links, cells = self.fabric.routes(self.tiles[at], target[:, None])
        place = (at[:, None] * count + np.arange(count)).ravel()
        links, cells = links.reshape(len(place), -1), cells.reshape(len(place), -1)
        flat = place[:, None] * self.width + links
        self._keep_room(place, flat, links, np.repeat(self.row[at], count), needs=1)
        crossed = np.zeros((self.places, self.fabric.cells + 1), dtype=np.bool_)
        crossed[place[:, None], cells] = True
        owned = np.zeros((self.places, self.width), dtype=np.bool_)
        owned[place[:, None], links] = True
        owned &= self.placement._from_router
        shape = self.tiles.shape
        return crossed[:, :-1].sum(axis=1).reshape(shape), owned.sum(axis=1).reshape(shape)

    def _keep_room(self, place: Ints, flat: Ints, links: Ints, row: Ints, needs: int) -> None:
        """Lower the room of places to what some links leave: units if each needs a channel, else only whether."""
        channels = self.placement._channels
        room = channels[links] - self.placement.load[row[:, None], links] - self.taken[flat]
        if needs == 0:
            room = np.where(room < 0, room, PLENTY)
        into_tile = self.placement._into_tile[links]
        for most, chosen in ((self.fan_in, into_tile), (self.router, ~into_tile)):
            least = np.where(chosen, room, PLENTY).min(axis=1, initial=PLENTY)
            np.minimum.at(most.reshape(-1), place, least)

    def _sum(self, place: Ints, values: Ints) -> Ints:
        return np.bincount(place, values, self.places).astype(np.int64).reshape(self.tiles.shape)
