"""Small changes of action sequences: what local search over open-loop growth tries next."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from growenv.actions import WAIT, ActionTable

Plan = NDArray[np.int64]
"""An action for each decision of each task, shape (tasks, decisions)."""

Move = Callable[[Plan, ActionTable, Generator], None]


def mutated(plan: Plan, table: ActionTable, generator: Generator) -> Plan:
    """A copy of a plan after one or two random moves of `MOVES`; it may equal the plan.

    Args:
        plan: actions, shape (tasks, decisions).
        table: what they mean.
        generator: draws the moves.
    """
    changed: Plan = plan.copy()
    for _ in range(1 + int(generator.integers(2))):
        MOVES[generator.integers(len(MOVES))](changed, table, generator)
    return changed


def change(plan: Plan, table: ActionTable, generator: Generator) -> None:
    """Another action at one decision."""
    plan.flat[generator.integers(plan.size)] = generator.integers(table.size)


def shift(plan: Plan, table: ActionTable, generator: Generator) -> None:
    """A growth one decision earlier or later, also into the next task; it changes places with what is there."""
    grown = np.flatnonzero(plan)
    if not len(grown):
        return add(plan, table, generator)
    one = int(generator.choice(grown))
    other = min(max(one + int(generator.choice((-1, 1))), 0), plan.size - 1)
    plan.flat[[one, other]] = plan.flat[[other, one]]
    return None


def drop(plan: Plan, table: ActionTable, generator: Generator) -> None:
    """One growth less."""
    grown = np.flatnonzero(plan)
    if len(grown):
        plan.flat[generator.choice(grown)] = WAIT


def add(plan: Plan, table: ActionTable, generator: Generator) -> None:
    """One growth more."""
    waits = np.flatnonzero(plan == WAIT)
    if len(waits) and table.size > 1:
        plan.flat[generator.choice(waits)] = generator.integers(1, table.size)


def copy_task(plan: Plan, table: ActionTable, generator: Generator) -> None:
    """What one task does, in another one too."""
    source, target = generator.integers(len(plan), size=2)
    plan[target] = plan[source]


def copy_onwards(plan: Plan, table: ActionTable, generator: Generator) -> None:
    """What one task does, in all tasks after it too."""
    source = int(generator.integers(len(plan)))
    plan[source:] = plan[source]


def resize(plan: Plan, table: ActionTable, generator: Generator) -> None:
    """Another amount of one growth, of the same layer and in the same region."""
    grown = np.flatnonzero(plan)
    if not len(grown):
        return
    place = generator.choice(grown)
    old = plan.flat[place]
    like = (table.layer == table.layer[old]) & (table.region == table.region[old])
    plan.flat[place] = generator.choice(np.flatnonzero(like))


MOVES: tuple[Move, ...] = (change, shift, drop, add, copy_task, copy_onwards, resize)
