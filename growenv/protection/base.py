"""The Protection protocol: what guards old tasks while new ones are learned."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from growenv.networks import StackedMLP
from growenv.registry import Registry


@runtime_checkable
class Protection(Protocol):
    """Guards old tasks; every method treats all rows of a stack at once.

    Attributes:
        name: how results call it.
        directed: True if old units never read new ones, so that those connections need no hardware.
        invariant: True if a finished task's logits can never change again; they are then measured once.
    """

    name: str
    directed: bool
    invariant: bool

    def begin(self, network: StackedMLP, rows: NDArray[np.bool_]) -> None:
        """Some rows start a new stream; forget what was kept for them."""

    def after_backward(self, network: StackedMLP) -> None:
        """Change `network.gradients` before the optimiser uses them."""

    def finish_task(self, network: StackedMLP, rows: NDArray[np.bool_]) -> None:
        """Some rows have finished a task, whose head is saved already."""


PROTECTIONS: Registry[Protection] = Registry("protection")
