"""Annealed placement: moves what stands, so it serves whole networks, offline; growth never moves a unit.

`MosaicMeter` places online, with the strategies of `growenv.hardware.mosaic.strategies`, and annealing is none of them:
every unit that moves has its memristors programmed anew. It shows what a mapping tool could reach, and at which price.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from growenv.hardware.mosaic import resources
from growenv.hardware.mosaic.limits import check_limits
from growenv.hardware.mosaic.mapping import Mapping
from growenv.hardware.mosaic.placement import Placement

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]

# Temperature at the start, as a share of the mean difference between the start and its neighbours, and at the end, as
# a share of the former. Chosen by trial on networks of 4 to 16 groups.
_HOT, _COLD = 0.2, 0.01
# By how much a step changes the penalty, and how far from the given one at most: it rises while limits are broken.
_ADAPT, _FARTHEST = 1.03, 50.0


@dataclass(frozen=True, eq=False)
class Annealed:
    """A network that `anneal` has placed anew.

    Attributes:
        mapping: the network, N = 1; it keeps all limits of the chip, and may grow further.
        before, after: routing cells that one spike of every neuron crosses, see `resources.routing_events`.
        excess: units, channels and crossbar lines beyond the limits at the start; 0 where it kept them.
        moved: groups that units left; a group is the units of one class on one tile.
        rewritten: memristors that are programmed anew. These are the synapses from and to units that moved, the
            routing devices of these units, and those that lead other units to new tiles. Units of a class are alike,
            so as many as possible stay. Heads that are still to come count as if they had begun.
    """

    mapping: Mapping
    before: int
    after: int
    excess: int
    moved: int
    rewritten: int


def anneal(
    mapping: Mapping, row: int = 0, *, seed: int = 0, steps: int = 300, candidates: int = 32, penalty: float = 4.0
) -> Annealed:
    """Look for a placement of one whole network with less routing, by simulated annealing.

    This is offline: `MosaicMeter` cannot place growing networks so, since what stands on a chip would move.

    The cost is R + penalty E: R is the sum over all groups of units times routing cells of their route union, and E the
    sum of all units, channels and crossbar lines beyond the limits. A step draws changes at random, works out all their
    costs at once, as the rows of one `Placement`, and draws the next state among them and the present one with weights
    exp(-cost / T). T falls geometrically; the penalty rises while E > 0, and falls otherwise. A change moves a group of
    hidden units to another tile, or half of it, or swaps two groups; inputs and heads stay. The result is the best of
    all states tried that kept every limit.

    Args:
        mapping: placed networks; it stays as it is.
        row: which of them.
        seed: of the search's own generator; equal seeds give equal results.
        steps: states that are drawn, at least 1.
        candidates: changes that are tried in each step, at least 1.
        penalty: cost of a unit, channel or line beyond the limits at the start, in routing cells, above 0.

    Returns:
        A placement that keeps all limits, those of the whole chip included. It has no more routing than the start,
        unless that broke a limit: `Mapping(..., limits=False)` may, and then the search also repairs.

    Raises:
        ValueError: a number out of range, a row without a network, or a start that breaks limits and was not repaired.

    Source: Kirkpatrick, Gelatt and Vecchi 1983, "Optimization by simulated annealing".
    """
    for name, given, least in (("row", row, 0), ("seed", seed, 0), ("steps", steps, 1), ("candidates", candidates, 1)):
        _check_integer(name, given, least)
    if not (_is_number(penalty, Real) and 0 < penalty < math.inf):
        raise ValueError(f"penalty={penalty!r}: expected a finite number above 0")
    if row >= mapping.rows or not mapping.placement.counts[row].any():
        raise ValueError(f"row={row!r}: expected a placed network, 0..{mapping.rows - 1}; call begin first")
    search = _Search(mapping, int(row), int(candidates), float(penalty))
    search.run(np.random.default_rng(int(seed)), int(steps))
    if search.best is None:
        raise ValueError(
            f"no placement within all limits was found in {steps} steps from a start with {search.excess} units, "
            "channels and lines beyond them; take more steps, another seed, or more tiles or channels"
        )
    placed = _several(mapping, row, 1)
    _stand(placed.placement, search.best[None])
    old, new = mapping.placement.counts[row], search.best
    rewritten = _rewritten(mapping.placement, row, placed.placement)
    return Annealed(placed, search.routing, search.least, search.excess, int((old > new).sum()), rewritten)


class _Search:
    """The search for one network; states are units of each class on each tile, (C, T)."""

    def __init__(self, mapping: Mapping, row: int, candidates: int, penalty: float) -> None:
        self.trials = _several(mapping, row, candidates)
        self.candidates, self.penalty = candidates, penalty
        classes, spec = mapping.placement.classes, mapping.fabric.spec
        self.hidden = np.zeros((classes.count, 1), dtype=np.bool_)
        self.hidden[1 : classes.head(0)] = True
        self.limited = any(limit is not None for limit in spec.limits)
        self.state: Ints = mapping.placement.counts[row].copy()
        self.best: Ints | None = None
        self.least = 0
        routing, excess = self._judge(self.state[None])
        self.routing, self.excess = int(routing[0]), int(excess[0])

    def run(self, generator: np.random.Generator, steps: int) -> None:
        """Go so many steps, ever colder."""
        penalty, hot = self.penalty, 0.0
        now = self.routing, self.excess
        for step in range(steps):
            trials = self._draw(generator)
            if not len(trials):
                return
            routing, excess = (np.append(*values) for values in zip(self._judge(trials), now, strict=True))
            more = (routing - now[0]) + penalty * (excess - now[1])
            hot = hot or max(1.0, _HOT * float(np.abs(more[:-1]).mean()))
            temperature = hot * _COLD ** (step / steps)
            # The largest of these is a draw with weights exp(-cost / temperature).
            chosen = int((generator.gumbel(size=len(more)) - more / temperature).argmax())
            if chosen < len(trials):
                self.state, now = trials[chosen], (int(routing[chosen]), int(excess[chosen]))
            penalty *= _ADAPT if now[1] else 1.0 / _ADAPT
            penalty = min(max(penalty, self.penalty / _FARTHEST), self.penalty * _FARTHEST)

    def _draw(self, generator: np.random.Generator) -> Ints:
        """Neighbours of the state, (n, C, T); n is 0 where there are none."""
        changes, chance = _changes(self.state, self.hidden, self.trials.fabric.spec.neurons_per_tile)
        if len(changes) > self.candidates:
            changes = changes[generator.choice(len(changes), self.candidates, replace=False, p=chance)]
        trials, at = np.repeat(self.state[None], len(changes), axis=0), np.arange(len(changes))
        klass, source, target, amount, other, back = changes.T
        for who, here, there, units in ((klass, source, target, amount), (other, target, source, back)):
            trials[at, who, here] -= units
            trials[at, who, there] += units
        return trials

    def _judge(self, trials: Ints) -> tuple[Ints, Ints]:
        """Routing and excess of states, (n,) each; remembers the best valid one."""
        placement = self.trials.placement
        _stand(placement, trials)
        routing: Ints = resources.routing_events(placement)[: len(trials)].astype(np.int64)
        excess = _excess(placement)[: len(trials)]
        for number in np.argsort(routing, kind="stable"):
            if self.best is not None and routing[number] >= self.least:
                break
            if not excess[number] and self._keeps_limits(int(number)):
                self.best, self.least = trials[number], int(routing[number])
        return routing, excess

    def _keeps_limits(self, number: int) -> bool:
        """Whether one of the trials keeps the limits of the whole chip: memristors, energy, latency."""
        if not self.limited:
            return True
        trials = self.trials
        network = trials.networks(trials.units, trials.outputs)
        try:
            check_limits(trials, network, np.arange(self.candidates) == number)
        except ValueError:
            return False
        return True


def _several(mapping: Mapping, row: int, rows: int) -> Mapping:
    """One network of a mapping, so many times, with everybody still to be placed."""
    units, outputs = (np.repeat(table[[row]], rows, axis=0) for table in (mapping.units, mapping.outputs))
    several = Mapping(mapping.fabric, mapping.strategy, mapping.networks(units, outputs))
    several.units, several.outputs, several.home = units, outputs, np.repeat(mapping.home[[row]], rows, axis=0)
    return several


def _stand(placement: Placement, counts: Ints) -> None:
    """Clear a placement and put units on the tiles of its first n rows, (n, C, T); the other rows stay empty."""
    placement.clear(np.ones(placement.rows, dtype=np.bool_))
    # Classes have higher numbers than those that they read. So readers come first, and each route is led only once.
    row, back, tile = np.nonzero(counts[:, ::-1])
    klass = counts.shape[1] - 1 - back
    turn = np.arange(len(row)) - np.searchsorted(row, row)
    for each in range(int(turn.max(initial=-1)) + 1):
        now = turn == each
        where = row[now], klass[now], tile[now]
        placement.place(*where, counts[where])


def _excess(placement: Placement) -> Ints:
    """Units beyond slots, channels beyond ports and lines of the longest crossbar beyond what is allowed, (N,)."""
    spec = placement.fabric.spec
    excess = np.maximum(placement.occupied() - spec.neurons_per_tile, 0).sum(axis=1)
    excess += np.maximum(placement.load - placement.channels, 0).sum(axis=1)
    if spec.max_crossbar_side is not None:
        excess += np.maximum(placement.longest_side() - spec.max_crossbar_side, 0)
    return np.asarray(excess)


def _changes(counts: Ints, hidden: NDArray[np.bool_], slots: int) -> tuple[Ints, Floats]:
    """All changes of a state for which there are slots: groups move, halves of groups move, two groups swap.

    Args:
        counts: units of each class on each tile, (C, T).
        hidden: classes that may move, (C, 1).
        slots: of each tile.

    Returns:
        Class, tile, new tile and units of who moves, and class and units of who moves back (0 units where nobody
        does), (n, 6); and the chance of each, with which the three kinds of changes are equally likely, (n,).
    """
    free = slots - counts.sum(axis=0)
    klass, tile = np.nonzero(counts * hidden)
    size = counts[klass, tile]
    kinds = [
        _moves(klass, tile, np.repeat(size[:, None], len(free), axis=1), free),
        _moves(klass, tile, np.minimum(size[:, None] // 2, free), free),
        _swaps(klass, tile, size, free),
    ]
    kinds = [kind for kind in kinds if len(kind)]
    if not kinds:
        return np.zeros((0, 6), dtype=np.int64), np.zeros(0)
    chance = np.concatenate([np.full(len(kind), 1 / (len(kinds) * len(kind))) for kind in kinds])
    return np.concatenate(kinds), chance


def _moves(klass: Ints, tile: Ints, amount: Ints, free: Ints) -> Ints:
    """Moves of some units, (K, T), of each group to each other tile that has room for them."""
    elsewhere = tile[:, None] != np.arange(len(free))
    group, target = np.nonzero(elsewhere & (amount > 0) & (amount <= free))
    nobody = np.zeros_like(group)
    return np.stack([klass[group], tile[group], target, amount[group, target], nobody, nobody], axis=1)


def _swaps(klass: Ints, tile: Ints, size: Ints, free: Ints) -> Ints:
    """Swaps of two groups of different classes for which both tiles have room."""
    one, two = np.triu_indices(len(klass), 1)
    more = size[one] - size[two]
    room = (free[tile[two]] >= more) & (free[tile[one]] >= -more)
    fits = room & (klass[one] != klass[two]) & (tile[one] != tile[two])
    one, two = one[fits], two[fits]
    return np.stack([klass[one], tile[one], tile[two], size[one], klass[two], size[two]], axis=1)


def _rewritten(before: Placement, row: int, after: Placement) -> int:
    """Memristors that one network's new placement, N = 1, programs anew; see `Annealed`."""
    old, new = before.counts[row], after.counts[0]
    stays = np.minimum(old, new)
    kept, total = stays.sum(axis=1), new.sum(axis=1)
    reads = after.classes.reads.astype(np.int64)
    synapses = int(total @ reads @ total - kept @ reads @ kept)
    routing = 0
    for klass, tile in np.argwhere(after.group[0] >= 0):
        group, was = after.group[0, klass, tile], before.group[row, klass, tile]
        fresh = after.links[0, group] & after.from_router
        routing += int(fresh.sum() * (new - stays)[klass, tile])
        if was >= 0:
            routing += int((fresh & ~before.links[row, was]).sum() * stays[klass, tile])
    return after.fabric.spec.devices_per_synapse * synapses + routing


def _is_number(given: object, kind: type) -> bool:
    return isinstance(given, kind) and not isinstance(given, bool)


def _check_integer(name: str, given: int, least: int) -> None:
    if not _is_number(given, Integral) or given < least:
        raise ValueError(f"{name}={given!r}: expected an integer of at least {least}")
