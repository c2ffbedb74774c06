"""What vector environments and their single twins share: reset masks, actions, autoreset modes, one row of many."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from growenv.registry import unknown_name


def autoreset_of(mode: str | AutoresetMode) -> AutoresetMode:
    """The autoreset mode that a mode or its name stands for.

    Raises:
        UnknownNameError: no such mode.
    """
    if isinstance(mode, AutoresetMode):
        return mode
    names = {member.name: member for member in AutoresetMode}
    if mode not in names:
        raise unknown_name("autoreset mode", mode, names)
    return names[mode]


def checked_count(num_envs: Any) -> int:
    """A number of rows.

    Raises:
        ValueError: it is no integer >= 1.
    """
    if isinstance(num_envs, bool) or not isinstance(num_envs, int | np.integer) or num_envs < 1:
        raise ValueError(f"num_envs={num_envs!r}: expected an integer >= 1")
    return int(num_envs)


def checked_mask(mask: Any, rows: int, begun: bool) -> NDArray[np.bool_]:
    """Which rows a reset mask asks for, (N,); all of them for None.

    Args:
        mask: booleans (N,), or None.
        rows: number of rows N.
        begun: whether all rows have been reset before.

    Raises:
        ValueError: no such mask.
        RuntimeError: some rows have never been reset.
    """
    if mask is None:
        return np.ones(rows, dtype=np.bool_)
    chosen = np.array(mask)
    if chosen.dtype != np.bool_ or chosen.shape != (rows,) or not chosen.any():
        raise ValueError(f"reset_mask={mask!r}: expected {rows} booleans with at least one True")
    if not begun:
        raise RuntimeError("some rows have never been reset; call reset() without a reset_mask first")
    return chosen


def checked_actions(given: Any, rows: int, size: int) -> NDArray[np.int64]:
    """Actions of N rows, int64 (N,).

    Args:
        given: one action index for each row.
        rows: number of rows N.
        size: number of actions.

    Raises:
        ValueError: actions of another shape, or outside the action space.
    """
    chosen = np.asarray(given)
    if chosen.shape != (rows,) or not np.issubdtype(chosen.dtype, np.integer):
        raise ValueError(f"actions={given!r}: expected {rows} integers, one for each row")
    if chosen.min() < 0 or chosen.max() >= size:
        raise ValueError(f"actions={given!r}: expected numbers from 0 to {size - 1}")
    return chosen.astype(np.int64)


def first_observation(observations: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Row 0 of vector observations, as its own arrays."""
    return {name: values[0].copy() for name, values in observations.items()}


def first_info(infos: dict[str, Any]) -> dict[str, Any]:
    """Row 0 of vector infos: Python scalars, and arrays where a row has several numbers; not what the row lacks."""
    first = {name: values[0] for name, values in infos.items() if name[0] != "_" and infos[f"_{name}"][0]}
    return {
        name: value.copy() if isinstance(value, np.ndarray) else value.item() if hasattr(value, "item") else value
        for name, value in first.items()
    }
