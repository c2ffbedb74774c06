"""Action index <-> request to grow or to prune, and the actions' names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

WAIT = 0


@dataclass(frozen=True, eq=False)
class ActionTable:
    """What each action index means: 0 keeps training, then every (layer, amount), layers outermost.

    Where the agent also chooses the place, every (layer, amount, region) is an action, regions innermost. Where it can
    also prune, these actions come last, layers outermost.

    Attributes:
        layers: number of hidden layers that can grow.
        amounts: neurons that one action can add.
        regions: regions of tiles that an action can name; 0 if none does.
        prune: neurons that one action can take away.
        layer: hidden layer of each action, shape (A,), -1 for waiting.
        amount: neurons of each action, shape (A,), 0 for waiting, negative where it takes some away.
        region: region of each action, shape (A,), -1 for waiting, for pruning, and where actions name none.
        names: a phrase for each action.
    """

    layers: int
    amounts: tuple[int, ...]
    regions: int = 0
    prune: tuple[int, ...] = ()
    layer: NDArray[np.int64] = field(init=False)
    amount: NDArray[np.int64] = field(init=False)
    region: NDArray[np.int64] = field(init=False)
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        places = range(self.regions) if self.regions else [-1]
        pairs = [(layer, amount) for layer in range(self.layers) for amount in self.amounts]
        growth = [(layer, amount, region) for layer, amount in pairs for region in places]
        pruning = [(layer, -amount, -1) for layer in range(self.layers) for amount in self.prune]
        columns = np.array([(-1, 0, -1), *growth, *pruning], dtype=np.int64).T
        for name, column in zip(("layer", "amount", "region"), columns, strict=True):
            object.__setattr__(self, name, column)
        names = [
            f"grow layer {layer} by {amount}" + (f" in region {region}" if self.regions else "")
            for layer, amount, region in growth
        ]
        names += [f"prune layer {layer} by {-amount}" for layer, amount, _ in pruning]
        object.__setattr__(self, "names", ("wait", *names))

    @property
    def size(self) -> int:
        """Number of actions A."""
        return len(self.layer)

    @property
    def growth(self) -> slice:
        """Where the actions that grow are."""
        return slice(1, self.size - self.layers * len(self.prune))

    @property
    def pruning(self) -> slice:
        """Where the actions that prune are."""
        return slice(self.size - self.layers * len(self.prune), self.size)

    def index(self, layer: int, amount: int, region: int = 0) -> int:
        """The action that grows `layer` by `amount` neurons, in `region` where actions name one.

        A negative amount is pruned, wherever the neurons are.

        Raises:
            ValueError: no action does that; the message lists those that exist.
        """
        if 0 <= layer < self.layers and -amount in self.prune:
            return self.size + (layer - self.layers) * len(self.prune) + self.prune.index(-amount)
        if not 0 <= layer < self.layers or amount not in self.amounts or not 0 <= region < max(1, self.regions):
            places = f"regions: 0..{self.regions - 1}" if self.regions else "no regions"
            where = f" in region {region}" if self.regions or region else ""
            raise ValueError(
                f"no action grows layer {layer} by {amount}{where}; layers: 0..{self.layers - 1}, amounts: "
                f"{self.amounts}, {places}" + (f", prune: {self.prune}" if self.prune else "")
            )
        return 1 + (layer * len(self.amounts) + self.amounts.index(amount)) * max(1, self.regions) + region

    def request(self, actions: Sequence[int] | NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Layer and amount that each row's action asks for, two arrays of shape (N,)."""
        chosen = np.asarray(actions, dtype=np.int64)
        return self.layer[chosen], self.amount[chosen]
