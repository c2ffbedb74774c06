"""What the return of a growth path is: rewards of its decisions that sum to a figure with a meaning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from growenv.paths.table import METRICS, PathTable
from growenv.registry import unknown_name
from growenv.streams.fields import checked_number

KINDS = ("final", "anytime")


@dataclass(frozen=True)
class Objective:
    """What a path is good for.

    With A the accuracy at a node, w the work there and T the decisions of a path:

    | kind | reward of the decision that leads from parent to node | return of a path |
    | --- | --- | --- |
    | final | A(node) - A(parent) - price * w(node) / T, with A(root) = 0 | final accuracy - price * mean work |
    | anytime | (A(node) - price * w(node)) / T | mean accuracy - price * mean work |

    The work is that of training the network on a minibatch, relative to the target's: to grow late is cheap. The root's
    accuracy counts as 0, so that a return is an accuracy and not a gain over a draw of weights.

    Args:
        kind: ``"final"`` or ``"anytime"``.
        price: accuracy lost if all decisions trained the target, at least 0.
        metric: samples that accuracies are measured on, ``"validation"`` or ``"test"``.

    Raises:
        ValueError: an unknown name, or a price that is no finite number >= 0.
    """

    kind: str = "final"
    price: float = 0.0
    metric: str = "validation"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown_name("objective", self.kind, KINDS)
        if self.metric not in METRICS:
            raise unknown_name("metric", self.metric, METRICS)
        price = checked_number("price", self.price)
        if price < 0:
            raise ValueError(f"price is {price}, expected a number >= 0")
        object.__setattr__(self, "price", price)

    def rewards(self, table: PathTable, trials: str | ArrayLike | None = None) -> NDArray[np.float64]:
        """Reward of the decision that leads to each node, float64 (trials, nodes); 0 at the root.

        Args:
            table: accuracies and work.
            trials: which trials, as in `PathTable.trials_of`.
        """
        lattice, accuracy = table.lattice, table.accuracy(self.metric, trials)
        if self.kind == "anytime":
            rewards = accuracy / lattice.horizon
        else:
            before = accuracy[:, lattice.parents]
            before[:, lattice.level(1)] = 0.0
            rewards = accuracy - before
        rewards -= self.price / lattice.horizon * np.asarray(table.work)
        rewards[:, 0] = 0.0
        return rewards
