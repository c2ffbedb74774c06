"""Policies before scripted observations: what they do when they see given values of given features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agents.policy import Interface, Policy, PolicySpec
from growenv.actions import ActionTable

TABLE = ActionTable(2, (4, 16))  # 0 wait, 1 layer 0 +4, 2 layer 0 +16, 3 layer 1 +4, 4 layer 1 +16
COSTS = tuple(f"cost of {name}" for name in TABLE.names[1:])
PLAIN = {
    "training": ("measured", "accuracy", "training_loss"),
    "architecture": ("width_0", "width_1", "grown_0", "grown_1"),
    "budget": ("budget", "used", "price", *COSTS),
    "task": ("tasks_left",),
}
UNITS = 64


def interface(signals: Sequence[str] = (), rows: int = 1, table: ActionTable = TABLE, **fields: Any) -> Interface:
    """Two hidden layers of at most 64 units, six decisions in each of two tasks; signals by the names of features."""
    names = {**PLAIN, **({"signals": tuple(signals)} if signals else {})}
    sizes = {"decisions": 6, "tasks": 2, "hidden": (8, 8), "max_hidden": (UNITS, UNITS)}
    return Interface(table, names, rows=rows, **{**sizes, **fields})


def seen(known: Interface, rows: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    """Observations of these rows: what is not given is 0, but `measured`, which is 1 where anything is given."""
    return {
        group: np.array(
            [[row.get(name, float(name == "measured" and bool(row))) for name in names] for row in rows],
            dtype=np.float32,
        )
        for group, names in known.feature_names.items()
    }


def play(
    policy: Policy | PolicySpec,
    known: Interface,
    script: Sequence[Mapping[str, float]],
    legal: Sequence[bool] = (True,) * 5,
) -> list[int]:
    """Actions of one row that sees this script; an empty entry is a task that has not been measured."""
    player = policy(known) if isinstance(policy, PolicySpec) else policy
    player.reset(np.array([True]))
    masks = np.array([legal])
    return [int(player.act(seen(known, [entry]), masks)[0]) for entry in script]
