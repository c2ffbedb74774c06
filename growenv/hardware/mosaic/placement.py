"""Who stands where in N networks, and which channels they own.

Units of one class (inputs, one hidden layer and generation, or one head) on one tile are a **group**: they have the
same readers, hence the same routes. A group owns one channel per unit on every link that the union of its routes
crosses. So all that has to be kept for N networks is a table of groups.

All groups of one layer on one tile are a **stand**. New readers hear all of them, and from a stand to a reader's tile
leads one route. So for new readers it is enough to know how many units of a stand do not own each link yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from growenv.hardware.mosaic.fabric import Fabric
from growenv.wiring import layers_read

Ints = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]

PLENTY = np.int64(2**40)
"""More units than any fabric holds."""
_GROUPS = ("klass", "tile", "size", "hops", "branches", "links", "cells")
_STANDS = ("stand_layer", "stand_tile", "missing_links", "missing_cells")
_STATE = ("counts", "reached", "load", "group", "stand", *_GROUPS, *_STANDS)


@dataclass(frozen=True, eq=False)
class Classes:
    """The classes of units of a network, numbered: inputs, hidden units by layer and generation, heads.

    Attributes:
        layers: hidden layers L.
        generations: generations G, which is the number of tasks.
        directed: whether hidden units read only generations up to their own, see `Architecture.directed`.
        bypassed: hidden layers around which wires lead, see `Architecture.bypassed`.
        reads: reads[c, d] says that class d reads class c, bool [C, C].
        level: 0 for inputs, 1 + l for hidden layer l, 1 + L for heads; int64 [C].
        hears: hears[k, j] says that units of level k read units of level j, bool [L + 2, L + 2].
    """

    layers: int
    generations: int
    directed: bool
    bypassed: tuple[int, ...] = ()
    reads: Mask = field(init=False)
    level: Ints = field(init=False)
    hears: Mask = field(init=False)

    def __post_init__(self) -> None:
        generation = np.arange(self.generations)
        older = generation[:, None] <= generation[None, :]
        reads = np.zeros((self.count, self.count), dtype=np.bool_)
        hears = np.zeros((self.layers + 2, self.layers + 2), dtype=np.bool_)
        reads[0, self.hidden(0, generation)] = hears[1, 0] = True
        for layer in range(1, self.layers + 1):
            for source in layers_read(layer, self.bypassed):  # classes of heads follow those of the last hidden layer
                block = np.ix_(self.hidden(source, generation), self.hidden(layer, generation))
                reads[block] = older if self.directed or layer == self.layers else True
                hears[1 + layer, 1 + source] = True
        object.__setattr__(self, "reads", reads)
        object.__setattr__(self, "hears", hears)
        object.__setattr__(self, "level", -(-np.arange(self.count) // self.generations))

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
        stand: number of the stand of a level on a tile, (N, L + 1, T), -1 where there is none.
        stand_layer, stand_tile: level (-1: no such stand) and tile of each stand, (N, S).
        changes: how often anything has changed, for those who keep what they worked out.
        missing_links, missing_cells: units of each stand that do not own a link or cross a routing cell, (N, S, Q + 1)
            and (N, S, Z + 1).
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
        self.stand = np.full((rows, classes.layers + 1, tiles), -1, dtype=np.int64)
        self.stand_layer = np.full((rows, groups), -1, dtype=np.int64)
        self.stand_tile = np.zeros((rows, groups), dtype=np.int64)
        self.missing_links = np.zeros((rows, groups, fabric.links + 1), dtype=np.int64)
        self.missing_cells = np.zeros((rows, groups, fabric.cells + 1), dtype=np.int64)
        self.changes = 0
        self._scratch = np.zeros(0, dtype=np.int64)
        self.channels = np.append(fabric.capacity.astype(np.int64), PLENTY)
        self.into_tile = np.append(fabric.into_tile, False)
        self.from_router = np.append(fabric.from_router, False)

    # -- changing ----------------------------------------------------------------------------------------------------

    def clear(self, rows: Mask) -> None:
        """Remove everything from some rows, (N,)."""
        self.changes += 1
        self.counts[rows], self.reached[rows], self.load[rows] = 0, False, 0
        self.group[rows], self.klass[rows], self.stand[rows], self.stand_layer[rows] = -1, -1, -1, -1
        for name in (*_GROUPS[1:], *_STANDS[1:]):
            getattr(self, name)[rows] = 0
        self.links[rows, :, -1] = self.cells[rows, :, -1] = True

    def place(self, row: Ints, klass: Ints, tile: Ints, amount: Ints) -> None:
        """Put units of a class on a tile, in several rows at once; limits are not checked.

        Args:
            row: different rows, (n,).
            klass: class of the new units in each of them, (n,).
            tile: where they stand, (n,).
            amount: how many they are, (n,), at least 1.
        """
        self.changes += 1
        self.counts[row, klass, tile] += amount
        source = self.sources(row, klass) & ~self._arrived(row, tile)
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
        more = amount[:, None]
        self.load[row] += more * self.links[row, group]
        stand = self.stand[row, self.classes.level[klass], tile]
        self.missing_links[row, stand] += more * ~self.links[row, group]
        self.missing_cells[row, stand] += more * ~self.cells[row, group]

    def resize_head(self, row: Ints, klass: Ints, tile: Ints, outputs: Ints) -> None:
        """A head has another number of outputs than slots were held for; nothing reads it, so no channel changes."""
        self.changes += 1
        self.counts[row, klass, tile] = outputs

    def _own_group(self, row: Ints, klass: Ints, tile: Ints) -> tuple[Ints, Mask]:
        """Number of each one's group, and which groups are new; a new group may need a stand."""
        fresh = self.group[row, klass, tile] < 0
        group = np.where(fresh, (self.klass[row] >= 0).sum(axis=1), self.group[row, klass, tile])
        level = self.classes.level[klass]
        stand = np.where(
            self.stand[row, level, tile] < 0, (self.stand_layer[row] >= 0).sum(axis=1), self.stand[row, level, tile]
        )
        self._make_room(_GROUPS, group)
        self._make_room(_STANDS, stand)
        self.group[row, klass, tile], self.stand[row, level, tile] = group, stand
        self.klass[row, group], self.tile[row, group] = klass, tile
        self.stand_layer[row, stand], self.stand_tile[row, stand] = level, tile
        return group, fresh

    def _make_room(self, tables: tuple[str, ...], number: Ints) -> None:
        """Double the tables of groups or of stands if a number lies beyond them; the first one says which are used."""
        if len(number) and number.max() >= getattr(self, tables[0]).shape[1]:
            for name in tables:
                table = getattr(self, name)
                more = np.full_like(table, -1 if name == tables[0] else 0)
                if name in ("links", "cells"):
                    more[:, :, -1] = True
                setattr(self, name, np.concatenate([table, more], axis=1))

    def _extend(self, row: Ints, group: Ints, target: Ints) -> None:
        """Lead routes of groups to further tiles. Groups that occur more than once must be empty yet."""
        links, cells = self.fabric.routes(self.tile[row, group], target)
        stand = self.stand[row, self.classes.level[self.klass[row, group]], self.tile[row, group]]
        size, number = self.size[row, group][:, None], row * self.klass.shape[1] + group
        post = row * self.stand_layer.shape[1] + stand
        for owned, crossed, missing in (
            (self.links, links, self.missing_links),
            (self.cells, cells, self.missing_cells),
        ):
            width = owned.shape[2]
            at = (number * width)[:, None] + crossed
            fresh = np.where(owned.reshape(-1)[at], 0, size).ravel()
            owned.reshape(-1)[at] = True
            # np.add.at is several times faster along one axis.
            np.subtract.at(missing.reshape(-1), ((post * width)[:, None] + crossed).ravel(), fresh)
            if owned is self.links:
                np.add.at(self.load.reshape(-1), ((row * width)[:, None] + crossed).ravel(), fresh)
        self.branches[row, group] = (self.links[row, group] & self.from_router).sum(axis=1)
        self.hops[row, group] = self.cells[row, group, :-1].sum(axis=1)

    # -- asking ------------------------------------------------------------------------------------------------------

    def occupied(self) -> Ints:
        """Slots in use on each tile, those held for heads to come included, (N, T)."""
        return np.asarray(self.counts.sum(axis=1))

    def violations(self) -> tuple[Ints, Ints, Ints]:
        """Tiles with too many units, and links into tiles and into routers with too many channels, three of (N,)."""
        full = (self.occupied() > self.fabric.spec.neurons_per_tile).sum(axis=1)
        over = self.load > self.channels
        return full, (over & self.into_tile).sum(axis=1), (over & ~self.into_tile).sum(axis=1)

    def arrivals(self) -> Ints:
        """Crossbar rows in use on each tile: units of all classes that are read there, (N, T)."""
        return np.asarray((self.reached * self.counts.sum(axis=2)[:, :, None]).sum(axis=1))

    def router_lines(self) -> Ints:
        """Lines in use on both sides of every routing crossbar, (N, S), in the order of `Fabric.router_sides`."""
        load = np.where(self.channels < PLENTY, self.load, 0)
        return np.asarray(load[:, self.fabric.router_sides].sum(axis=2))

    def longest_side(self) -> Ints:
        """Lines in use on the longest side of any crossbar, (N,): a tile has a row per arrival, a column per unit."""
        sides = (self.router_lines(), self.arrivals(), self.occupied())
        return np.asarray(np.concatenate(sides, axis=1).max(axis=1))

    def sources(self, row: Ints, klass: Ints) -> Mask:
        """Groups whose class is read by another class, (n, K)."""
        given = self.klass[row]
        return np.asarray((given >= 0) & self.classes.reads[given, klass[:, None]])

    def _arrived(self, row: Ints, tile: Ints) -> Mask:
        """Groups whose class is read on a tile already, (n, K)."""
        return np.asarray(self.reached[row[:, None], self.klass[row], tile[:, None]])

    def scratch(self, size: int) -> Ints:
        """A buffer of zeros to work in; whoever writes into it must set it to zero again. Fresh ones are slow."""
        if len(self._scratch) < size:
            self._scratch = np.zeros(size, dtype=np.int64)
        return self._scratch

    # -- saving ------------------------------------------------------------------------------------------------------

    def repeat(self, source: Ints, row: Ints) -> None:
        """Let some rows be like others, both (n,)."""
        self.changes += 1
        for name in _STATE:
            table = getattr(self, name)
            table[row] = table[source]

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """A copy of everything that changes."""
        return {name: getattr(self, name).copy() for name in _STATE}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go back to a state that `snapshot` returned."""
        self.changes += 1
        for name, value in state.items():
            setattr(self, name, value.copy())
