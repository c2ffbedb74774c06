"""Strengths of penalties: one for all rows, one for each, or the published one."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from growenv.streams.scenarios import Scenario

if TYPE_CHECKING:
    from growenv.protection.stage import Stage


def family(scenario: Scenario) -> str:
    """The scenario of the three by van de Ven and Tolias (arXiv 1904.07734) whose published strengths fit this one."""
    if scenario.heads == "task":
        return "task"
    return "domain" if scenario.labels == "place" else "class"


@overload
def checked_strength(name: str, given: None) -> None: ...
@overload
def checked_strength(name: str, given: ArrayLike) -> NDArray[np.float64]: ...
def checked_strength(name: str, given: ArrayLike | None) -> NDArray[np.float64] | None:
    """One number for all rows, or an array (N,); None stays.

    Raises:
        ValueError: more dimensions, or a number that is negative or not finite.
    """
    if given is None:
        return None
    strength = np.asarray(given, dtype=np.float64)
    if strength.ndim > 1 or not strength.size or not np.isfinite(strength).all() or strength.min() < 0:
        raise ValueError(f"{name}={given!r}: expected one number, or one for each row, finite and at least 0")
    return strength


def per_row(name: str, strength: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
    """A checked strength for every row, (N,).

    Raises:
        ValueError: an array for another number of rows.
    """
    if strength.ndim and strength.shape != (rows,):
        raise ValueError(f"{name} has {len(strength)} numbers for {rows} rows; give one number, or one for each row")
    every: NDArray[np.float64] = np.broadcast_to(strength, (rows,)).copy()
    return every


def row_strengths(given: NDArray[np.float64] | None, published: dict[str, float], stage: Stage) -> Tensor:
    """The strength of every row, (N, 1, 1).

    Args:
        given: what `checked_strength` answered; None for the published one.
        published: strengths by `family` of the scenario.
        stage: the stack.

    Raises:
        ValueError: an array for another number of rows.
    """
    strength = np.asarray(published[family(stage.scenario)]) if given is None else given
    every = per_row("strength", strength, stage.rows)
    return torch.from_numpy(every).to(stage.network.device, stage.network.dtype)[:, None, None]
