"""Networks on fabrics: follows the architectures of N growing networks and chooses tiles for their units."""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from growenv.hardware.architecture import Architecture
from growenv.hardware.mosaic.fabric import Fabric
from growenv.hardware.mosaic.placement import PLENTY, Classes, Placement
from growenv.hardware.mosaic.strategies import Strategy, head_tiles, input_tiles
from growenv.hardware.mosaic.survey import Survey, survey

Ints = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]

FITS, SLOTS, FAN_IN, ROUTER, CROSSBAR = range(5)
OBSTACLES = ("", "slots", "fan-in", "router", "crossbar")
"""Why units do not fit on a tile, in the order in which it is asked."""
_COLUMNS = ("tiles", *(each.name for each in fields(Survey)))
EXACT_TILES = 64
"""On larger fabrics only so many of the nearest tiles with a free slot are looked at, so that costs stay linear."""


class Choice(NamedTuple):
    """Where a request would stand, every array of shape (n,).

    Attributes:
        tile: the chosen tile; without meaning where the request does not fit.
        code: 0 where it fits, else the obstacle: of all tiles' obstacles the one that is asked for last.
        hops: routing cells that one spike of every neuron crosses more than before.
        branches: routing devices that are programmed.
    """

    tile: Ints
    code: Ints
    hops: Ints
    branches: Ints


class Mapping:
    """N networks, placed.

    Args:
        fabric: the hardware.
        strategy: ranks tiles.
        architecture: says how many rows, inputs, layers and generations there are, and who reads whom.
        limits: whether ports and crossbars have limits; slots always have.
    """

    def __init__(self, fabric: Fabric, strategy: Strategy, architecture: Architecture, limits: bool = True) -> None:
        self.fabric, self.strategy, self.limits = fabric, strategy, limits
        self.inputs, self.rows = architecture.inputs, architecture.rows
        classes = Classes(architecture.layers, architecture.generations, architecture.directed, architecture.bypassed)
        self.placement = Placement(fabric, classes, architecture.rows)
        self.units = np.zeros_like(architecture.units)
        self.outputs = np.zeros_like(architecture.outputs)
        self.home = np.zeros_like(architecture.outputs)
        self.generation = np.full(self.rows, -1, dtype=np.int64)
        self._known = np.zeros(self.rows, dtype=np.bool_)
        self._table = np.zeros((0, 0, 0, 0), dtype=np.int64)  # surveys, (N, L, columns, M)

    def copy(self) -> Mapping:
        """The same networks once more, to try something."""
        twin = copy.copy(self)
        twin.placement, twin.generation = copy.copy(self.placement), self.generation.copy()
        twin._table = np.zeros((0, 0, 0, 0), dtype=np.int64)  # nothing is known of the copies
        twin.restore(self.snapshot())
        return twin

    def hosts(self, architecture: Architecture) -> bool:
        """Whether networks like these can be placed here: the same numbers of everything, and the same readers."""
        classes = self.placement.classes
        same = self.units.shape == architecture.units.shape and self.inputs == architecture.inputs
        readers = classes.directed == architecture.directed and classes.bypassed == architecture.bypassed
        return bool(same and readers)

    def networks(self, units: NDArray[np.int64], outputs: NDArray[np.int64]) -> Architecture:
        """Networks that can be placed here, with such units and outputs."""
        classes = self.placement.classes
        return Architecture(self.inputs, units, outputs, classes.directed, classes.bypassed)

    def shows(self, architecture: Architecture) -> bool:
        """Whether these are the networks that are placed; heads that have not begun may have slots already."""
        grown = self.hosts(architecture) and np.array_equal(self.units, architecture.units)
        return bool(grown and (architecture.outputs <= self.outputs).all())

    def present(self, architecture: Architecture) -> Ints:
        """Units that are there, (N, C, T): without the outputs of heads that have not begun."""
        counts: Ints = np.array(self.placement.counts)
        row = np.arange(self.rows)[:, None]
        heads = self.placement.classes.head(np.arange(self.units.shape[1]))[None, :]
        counts[row, heads, self.home] = np.where(self.outputs > 0, architecture.outputs, 0)
        return counts

    # -- following the networks --------------------------------------------------------------------------------------

    def begin(self, rows: Mask, architecture: Architecture) -> None:
        """Place whole networks in some rows, (N,); heads that are still to come get what the architecture gives them.

        Equal networks stand alike, so each kind is placed once.

        Raises:
            ValueError: there are too many inputs, or something does not fit.
        """
        relays = input_tiles(self.fabric.spec, self.inputs)
        if not rows.any():
            return
        row = np.flatnonzero(rows)
        networks = np.concatenate([architecture.units[row].reshape(len(row), -1), architecture.outputs[row]], axis=1)
        _, first, kind = np.unique(networks, axis=0, return_index=True, return_inverse=True)
        once = row[first]
        self.placement.clear(rows)
        self.units[rows], self.outputs[rows], self.home[rows] = 0, 0, 0
        self._known[rows] = False
        nothing = np.zeros_like(once)
        for tile, amount in relays:
            self.placement.place(once, nothing, nothing + tile, nothing + amount)
        self.follow(np.isin(np.arange(self.rows), once), architecture)
        self.survey(once, self._newest(once))
        self._repeat(once[kind.reshape(-1)], row)

    def _newest(self, row: Ints) -> Ints:
        """The newest generation of hidden units, (n,); 0 where there are none."""
        grown = self.units[row].sum(axis=2) > 0
        return np.asarray(np.where(grown, np.arange(self.units.shape[1]), 0).max(axis=1))

    def _repeat(self, source: Ints, row: Ints) -> None:
        """Let some rows be like others."""
        self.placement.repeat(source, row)
        for values in (self.units, self.outputs, self.home, self.generation, self._known, self._table):
            values[row] = values[source]

    def follow(self, rows: Mask, architecture: Architecture, allowed: Mask | None = None) -> None:
        """Place what some rows' networks have more than before.

        Args:
            rows: which rows, (N,).
            architecture: the networks now.
            allowed: tiles on which new hidden units may stand, (N, T); any where None.

        Raises:
            ValueError: something does not fit, or a network has lost units.
        """
        self._follow_heads(rows, architecture.outputs)
        new = np.where(rows[:, None, None], architecture.units - self.units, 0)
        if new.min() < 0:
            raise ValueError("a network has fewer units than before; networks only grow, so begin it anew")
        for generation, layer in np.argwhere(new.any(axis=0)):
            self._add(new[:, generation, layer], int(layer), int(generation), allowed)

    def _follow_heads(self, rows: Mask, outputs: Ints) -> None:
        placement, placed = self.placement, False
        for head in np.flatnonzero((rows[:, None] & (outputs > 0) & (outputs != self.outputs)).any(axis=0)):
            now, held = outputs[:, head], self.outputs[:, head]
            klass = placement.classes.head(head)
            row = np.flatnonzero(rows & (now > 0) & (held == 0))
            if len(row):
                self.home[row, head] = tile = self._head_home(row, now[row], int(head))
                placement.place(row, np.full_like(row, klass), tile, now[row])
                placed = True
            row = np.flatnonzero(rows & (now > 0) & (held > 0))
            if (now[row] > held[row]).any():
                raise ValueError(f"head {head} has {now[row].max()} outputs, but slots for {held[row].min()} are held")
            placement.resize_head(row, np.full_like(row, klass), self.home[row, head], now[row])
            changed = rows & (now > 0)
            self.outputs[changed, head] = now[changed]
            self._known[changed] = False
        if placed:
            self._check_heads(rows)

    def _head_home(self, row: Ints, amount: Ints, head: int) -> Ints:
        """A tile with room for a new head in each row, (n,)."""
        order = head_tiles(self.fabric.spec)
        slots = self.fabric.spec.neurons_per_tile
        fits = slots - self.placement.occupied()[row][:, order] >= amount[:, None]
        if not fits.any(axis=1).all():
            raise ValueError(
                f"the heads do not fit: the {self.fabric.spec.cols} tiles of the last row have {slots} slots each and "
                f"no room for head {head} with {amount.max()} outputs; use larger or more tiles, or fewer tasks"
            )
        return np.asarray(order[fits.argmax(axis=1)])

    def _check_heads(self, rows: Mask) -> None:
        """Inputs and heads have fixed places, for which only slots were counted; hidden units are asked one by one."""
        if not self.limits:
            return
        _, fan_in, router = self.placement.violations()
        over = {FAN_IN: fan_in > 0, ROUTER: router > 0}
        if self.fabric.spec.max_crossbar_side is not None:
            over[CROSSBAR] = self.placement.longest_side() > self.fabric.spec.max_crossbar_side
        for obstacle, found in over.items():
            if found[rows].any():
                raise ValueError(
                    f"the inputs or heads do not fit on the fabric ({OBSTACLES[obstacle]}); begin with the heads of "
                    "all tasks, use more tiles or channels, or fewer inputs or classes"
                )

    def _add(self, amount: Ints, layer: int, generation: int, allowed: Mask | None) -> None:
        """Place new units of one layer and generation, whole or, where that does not fit, in parts."""
        left = amount.copy()
        part = np.minimum(left, self.fabric.spec.neurons_per_tile)
        while left.any():
            row = np.flatnonzero(left)
            self.survey(row, np.full_like(row, generation))
            some = None if allowed is None else allowed[row]
            choice = self.choose(row, np.full_like(row, layer), part[row], some)
            fits = choice.code == FITS
            self._place(row[fits], layer, generation, choice.tile[fits], part[row[fits]])
            left[row[fits]] -= part[row[fits]]
            part[row[~fits]] //= 2
            if (part[row] == 0).any():
                stuck = int(np.flatnonzero(part[row] == 0)[0])
                raise ValueError(
                    f"{left[row[stuck]]} of {amount[row[stuck]]} units of layer {layer} do not fit on the fabric "
                    f"({OBSTACLES[choice.code[stuck]]}); use more tiles or channels, smaller layers, or fewer inputs"
                )
            part = np.minimum(part, left)

    def _place(self, row: Ints, layer: int, generation: int, tile: Ints, amount: Ints) -> None:
        klass = np.full_like(row, self.placement.classes.hidden(layer, generation))
        if len(row):
            self.placement.place(row, klass, tile, amount)
            self.units[row, generation, layer] += amount
            self._known[row] = False

    # -- choosing tiles ----------------------------------------------------------------------------------------------

    def survey(self, row: Ints, generation: Ints) -> None:
        """Learn what new units of every layer would need, where that is not known yet.

        Args:
            row: different rows, (n,).
            generation: when the units would grow in each of them, (n,).
        """
        stale = row[~self._known[row] | (self.generation[row] != generation)]
        if not len(stale):
            return
        if (generation < self._newest(row)).any():
            raise ValueError("units can only grow in the newest generation, but later ones have units already")
        self.generation[row] = generation
        classes, layers = self.placement.classes, self.units.shape[2]
        row = np.repeat(stale, layers)
        klass = classes.hidden(np.tile(np.arange(layers), len(stale)), self.generation[row])
        tiles = self._shortlist(row, klass)
        found = survey(self.placement, row, klass, tiles)
        values = {"tiles": tiles, **{field.name: getattr(found, field.name) for field in fields(Survey)}}
        if not self.limits:
            values["fan_in"] = values["router"] = values["crossbar"] = np.full(tiles.shape, PLENTY)
        if not self._table.size:
            self._table = np.zeros((self.rows, layers, len(_COLUMNS), tiles.shape[1]), dtype=np.int64)
        for column, name in enumerate(_COLUMNS):
            self._table[stale, :, column] = values[name].reshape(len(stale), layers, -1)
        self._known[stale] = True

    def choose(self, row: Ints, layer: Ints, amount: Ints, allowed: Mask | None = None) -> Choice:
        """Where requests would stand, one tile for each; `survey` must have been called for their generation.

        Args:
            row, layer, amount: the requests, (n,) each.
            allowed: tiles on which they may stand, (n, T); any where None.
        """
        table = dict(zip(_COLUMNS, self._table[row, layer].transpose(1, 0, 2), strict=True))
        wanted = np.asarray(amount)[:, None]
        code = np.zeros(table["tiles"].shape, dtype=np.int8)
        for number, name in ((CROSSBAR, "crossbar"), (ROUTER, "router"), (FAN_IN, "fan_in"), (SLOTS, "slots")):
            code[wanted > table[name]] = number
        if allowed is not None:
            permitted = np.take_along_axis(allowed, table["tiles"], axis=1)
            code[~permitted] = -1
        crossed = table["hops_in"] + wanted * table["hops_each"]
        rank = self.strategy.rank(self.fabric, crossed.astype(np.float64), layer, self.units.shape[2], table["tiles"])
        best = np.where(code == FITS, rank, np.inf).argmin(axis=1)[:, None]
        branches = table["branches_in"] + wanted * table["branches_each"]
        fits = (code == FITS).any(axis=1)
        obstacle = np.where(fits, FITS, np.maximum(code.max(axis=1), SLOTS))

        def chosen(values: Ints) -> Ints:
            return np.asarray(np.take_along_axis(values, best, axis=1)[:, 0])

        return Choice(chosen(table["tiles"]), obstacle, chosen(crossed), chosen(branches))

    def _shortlist(self, row: Ints, klass: Ints) -> Ints:
        """Tiles to look at for units of a class, (n, M), in rising order."""
        tiles = self.fabric.tiles
        if tiles <= EXACT_TILES:
            return np.broadcast_to(np.arange(tiles), (len(row), tiles))
        placement = self.placement
        source = placement.klass[row]
        heard = (source >= 0) & placement.classes.reads[source, klass[:, None]]
        way = self.fabric.hops[placement.tile[row]] * (placement.size[row] * heard)[:, :, None]
        readers, target = np.nonzero(placement.reached[row, klass])
        cost = way.sum(axis=1)
        np.add.at(cost, readers, self.fabric.hops[target].astype(cost.dtype))
        free = self.fabric.spec.neurons_per_tile - placement.occupied()[row]
        cost = np.where(free > 0, cost, PLENTY)
        return np.sort(np.argsort(cost, axis=1, kind="stable")[:, :EXACT_TILES], axis=1)

    # -- saving ------------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """A copy of everything that changes."""
        networks = self.networks(self.units.copy(), self.outputs.copy())
        return {"placement": self.placement.snapshot(), "networks": networks, "home": self.home.copy()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state that `snapshot` returned."""
        self.placement.restore(state["placement"])
        networks: Architecture = state["networks"]
        self.units, self.outputs, self.home = networks.units.copy(), networks.outputs.copy(), state["home"].copy()
        self._known = np.zeros(self.rows, dtype=np.bool_)
