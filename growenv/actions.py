"""Action index <-> growth request, and the actions' names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

WAIT = 0


@dataclass(frozen=True, eq=False)
class ActionTable:
    """What each action index means: index 0 keeps training, then every (layer, amount) pair, layers outermost.

    Attributes:
        layers: number of hidden layers that can grow.
        amounts: neurons that one action can add.
        layer: hidden layer of each action, shape (A,), -1 for waiting.
        amount: neurons of each action, shape (A,), 0 for waiting.
        names: a phrase for each action.
    """

    layers: int
    amounts: tuple[int, ...]
    layer: NDArray[np.int64] = field(init=False)
    amount: NDArray[np.int64] = field(init=False)
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        pairs = [(-1, 0), *((layer, amount) for layer in range(self.layers) for amount in self.amounts)]
        object.__setattr__(self, "layer", np.array([layer for layer, _ in pairs], dtype=np.int64))
        object.__setattr__(self, "amount", np.array([amount for _, amount in pairs], dtype=np.int64))
        names = ["wait", *(f"grow layer {layer} by {amount}" for layer, amount in pairs[1:])]
        object.__setattr__(self, "names", tuple(names))

    @property
    def size(self) -> int:
        """Number of actions A."""
        return len(self.layer)

    def index(self, layer: int, amount: int) -> int:
        """The action that grows `layer` by `amount` neurons.

        Raises:
            ValueError: no action does that; the message lists those that exist.
        """
        if not 0 <= layer < self.layers or amount not in self.amounts:
            raise ValueError(
                f"no action grows layer {layer} by {amount}; layers: 0..{self.layers - 1}, amounts: {self.amounts}"
            )
        return 1 + layer * len(self.amounts) + self.amounts.index(amount)

    def request(self, actions: Sequence[int] | NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Layer and amount that each row's action asks for, two arrays of shape (N,)."""
        chosen = np.asarray(actions, dtype=np.int64)
        return self.layer[chosen], self.amount[chosen]
