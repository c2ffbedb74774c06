"""Orders of growth that have a name, uniformly random ones, and a policy that plays an order."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agents.policy import Interface
from agents.schedules import Timetable
from growenv.actions import WAIT, ActionTable
from growenv.paths.lattice import Lattice
from growenv.registry import unknown_name

Paths = NDArray[np.int64]
"""Actions of paths, (..., T)."""
WAITS = ("waits-last", "waits-first")


def fixed_orders(lattice: Lattice) -> dict[str, Paths]:
    """The orders that people would try, each of shape (T,).

    ``layer-2-first`` gives layer 2 all its steps, then the layers after it, then those before it;
    ``alternating-from-2`` grows the layers in turn by one step, beginning with layer 2; ``blocks-from-2`` does so in
    halves of each layer's steps. Layers are counted from 1. Where paths wait, every order comes with its waits at
    either end; an order that equals an earlier one is left out.
    """
    layers = range(1, lattice.actions)
    orders: dict[str, Paths] = {}
    for way, parts in (("layer-{}-first", 1), ("alternating-from-{}", max(lattice.limits)), ("blocks-from-{}", 2)):
        for first in layers:
            grown = _turns(lattice, first, parts)
            for place in WAITS if lattice.limits[WAIT] else WAITS[:1]:
                waits = [WAIT] * lattice.limits[WAIT]
                actions = waits + grown if place == "waits-first" else grown + waits
                name = way.format(first) + (f", {place}" if waits else "")
                if not any(np.array_equal(actions, known) for known in orders.values()):
                    orders[name] = np.array(actions, dtype=np.int64)
    return orders


def order(lattice: Lattice, name: str) -> Paths:
    """The actions of a named order, (T,).

    Raises:
        UnknownNameError: no such order.
    """
    orders = fixed_orders(lattice)
    if name not in orders:
        raise unknown_name("order of growth", name, orders)
    return orders[name]


def _turns(lattice: Lattice, first: int, parts: int) -> list[int]:
    """The growth steps of an order: the layers in turn, each a part of its steps, until all are used up."""
    left = list(lattice.limits)
    turns = [*range(first, lattice.actions), *range(1, first)]
    size = {layer: max(1, -(-left[layer] // parts)) for layer in turns}
    grown: list[int] = []
    while any(left[layer] for layer in turns):
        for layer in turns:
            count = min(size[layer], left[layer])
            grown += [layer] * count
            left[layer] -= count
    return grown


def random_paths(lattice: Lattice, count: int, generator: np.random.Generator) -> Paths:
    """Paths drawn uniformly from all, independent of each other, (count, T)."""
    one = np.repeat(np.arange(lattice.actions), lattice.limits)
    drawn: Paths = generator.permuted(np.tile(one, (count, 1)), axis=1)
    return drawn


def playing(lattice: Lattice, actions: ArrayLike, rows: int) -> Timetable:
    """A policy that plays one order in every row.

    Args:
        lattice: the lattice.
        actions: a path, (T,).
        rows: rows of the environment.

    Raises:
        ValueError: the actions are no whole path of this lattice.
    """
    path = np.asarray(actions)
    if path.shape != (lattice.horizon,):
        raise ValueError(f"actions of shape {path.shape}: expected a whole path of {lattice.horizon} actions")
    lattice.follow(path)
    table = ActionTable(lattice.actions - 1, (1,))
    return Timetable(Interface(table, {}, decisions=lattice.horizon, tasks=1, rows=rows), path[None].astype(np.int64))
