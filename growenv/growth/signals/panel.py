"""The signals of an environment, side by side."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from growenv.growth.signals.base import SIGNALS, Scene, Signal


class SignalPanel:
    """Measures several signals and keeps their last values.

    Args:
        signals: registered names or objects.
        rows: number of rows N.
        layers: hidden layers L.

    Attributes:
        feature_names: names of all features, signal by signal.
        values: their last values, (N, F), in [-1, 1].

    Raises:
        ValueError: a signal was given twice, or two features have one name.
    """

    def __init__(self, signals: Sequence[str | Signal], rows: int, layers: int) -> None:
        self.signals = [copy.deepcopy(SIGNALS.make(signal)) for signal in signals]
        self._names = [signal.features(layers) for signal in self.signals]
        self.feature_names = tuple(name for names in self._names for name in names)
        twice = {name for name in self.feature_names if self.feature_names.count(name) > 1}
        if twice:
            raise ValueError(f"signals must have features of different names; given twice: {', '.join(sorted(twice))}")
        self.values = np.zeros((rows, len(self.feature_names)))

    def __bool__(self) -> bool:
        """Whether there are any signals."""
        return bool(self.signals)

    def begin(self, rows: NDArray[np.bool_]) -> None:
        """Some rows, (N,), begin a new stream."""
        for signal in self.signals:
            signal.begin(rows)

    def measure(self, scene: Scene, rows: NDArray[np.bool_]) -> None:
        """Take the signals of some rows, (N,); the others keep their values.

        Raises:
            ValueError: a signal returned another number of features than it names.
        """
        columns = []
        for signal, names in zip(self.signals, self._names, strict=True):
            given = np.asarray(signal.measure(scene, rows), dtype=np.float64)
            expected = len(rows), len(names)
            if given.shape != expected:
                raise ValueError(
                    f"signal {signal.name!r} measured an array of shape {given.shape}, expected {expected}"
                )
            columns.append(given)
        self.values[rows] = np.clip(np.nan_to_num(np.concatenate(columns, axis=1), nan=0.0), -1.0, 1.0)[rows]

    def state(self) -> dict[str, Any]:
        """A copy of everything that changes."""
        return copy.deepcopy({"signals": self.signals, "values": self.values})

    def load_state(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state` returned."""
        kept = copy.deepcopy(state)
        self.signals, self.values = kept["signals"], kept["values"]
