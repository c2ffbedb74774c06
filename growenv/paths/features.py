"""What is observed on growth paths: named features in groups, tabulated once for all nodes and trials."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from growenv.paths.table import PathTable


class PathFeatures:
    """Observations by trial and node, float32 with values in [-1, 1]; `names` says what each entry is.

    Args:
        table: accuracies; observed are those on validation samples.

    Attributes:
        names: entries of each group.
        space: the observation space.
    """

    def __init__(self, table: PathTable) -> None:
        lattice = table.lattice
        self.names: dict[str, tuple[str, ...]] = {
            "position": (*(f"done_{layer}" for layer in range(lattice.actions - 1)), "waits_left", "time"),
            "accuracy": ("accuracy", "change", "best"),
        }
        limits = np.maximum(np.array(lattice.limits), 1)
        shares = lattice.counts / limits
        left = (lattice.limits[0] - lattice.counts[:, :1]) / limits[0]
        time = lattice.depth[:, None] / lattice.horizon
        self._position = np.concatenate([shares[:, 1:], left, time], axis=1).astype(np.float32)
        self._allowed = (lattice.children >= 0).astype(np.float32)
        self._accuracy = _accuracies(table).astype(np.float32)
        boxes = {group: spaces.Box(-1.0, 1.0, (len(names),), np.float32) for group, names in self.names.items()}
        self.space = spaces.Dict({**boxes, "action_mask": spaces.Box(0.0, 1.0, (lattice.actions,), np.float32)})

    def observe(self, trial: NDArray[np.int64], node: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """Observations at some nodes, each group of shape (N, features).

        Args:
            trial: trial of each row, (N,).
            node: node of each row, (N,).
        """
        return {
            "position": self._position[node],
            "accuracy": self._accuracy[trial, node],
            "action_mask": self._allowed[node],
        }


def _accuracies(table: PathTable) -> NDArray[np.float64]:
    """Accuracy at every node, its change by the last decision, and the best so far, (trials, nodes, 3)."""
    lattice, accuracy = table.lattice, table.accuracy("validation")
    change, best = np.zeros(accuracy.shape), accuracy.copy()
    change[:, 1:] = accuracy[:, 1:] - accuracy[:, lattice.parents[1:]]
    for number in range(1, lattice.horizon + 1):
        level = lattice.level(number)
        best[:, level] = np.maximum(best[:, level], best[:, lattice.parents[level]])
    return np.stack([accuracy, change, best], axis=-1)
