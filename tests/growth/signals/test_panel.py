"""Signals side by side."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from growenv.growth.signals import ALL, SignalPanel
from growenv.registry import UnknownNameError
from tests.growth.signals.scenes import begun, everyone, scene_of


class Counting:
    """How often a row has been looked at since it began."""

    def __init__(self, name: str = "counting", columns: int = 1, value: float | None = None) -> None:
        self.name, self.columns, self.value, self.count = name, columns, value, np.zeros(3)

    def features(self, layers: int) -> tuple[str, ...]:
        return tuple(f"{self.name}_{number}" for number in range(layers))

    def begin(self, rows: Any) -> None:
        self.count[rows] = 0.0

    def measure(self, scene: Any, rows: Any) -> Any:
        self.count[rows] += 1.0
        values = self.count / 10.0 if self.value is None else np.full(3, self.value)
        return np.repeat(values[:, None], self.columns, axis=1)


def test_values_are_those_of_the_marked_rows_and_others_keep_theirs() -> None:
    panel, given = SignalPanel([Counting()], 3, 1), Counting()
    assert panel.feature_names == ("counting_0",)
    panel.begin(everyone(3))
    panel.measure(None, everyone(3))  # type: ignore[arg-type]
    panel.measure(None, np.array([True, False, True]))  # type: ignore[arg-type]
    assert panel.values[:, 0].tolist() == [0.2, 0.1, 0.2]
    panel.begin(np.array([True, False, False]))
    panel.measure(None, everyone(3))  # type: ignore[arg-type]
    assert panel.values[:, 0].tolist() == [0.1, 0.2, 0.3]
    assert given.count.tolist() == [0, 0, 0], "the panel has copies of its own"


@pytest.mark.parametrize(("value", "shown"), [(7.0, 1.0), (-np.inf, -1.0), (np.nan, 0.0), (0.25, 0.25)])
def test_values_are_bounded_whatever_a_signal_returns(value: float, shown: float) -> None:
    panel = SignalPanel([Counting(value=value)], 3, 1)
    panel.measure(None, everyone(3))  # type: ignore[arg-type]
    assert panel.values.tolist() == [[shown]] * 3


def test_a_panel_may_be_empty() -> None:
    assert not SignalPanel([], 3, 2)
    assert SignalPanel(["loss"], 3, 2)


def test_bad_signals() -> None:
    with pytest.raises(UnknownNameError, match="unknown signal 'lost'; did you mean 'loss'"):
        SignalPanel(["lost"], 3, 2)
    with pytest.raises(ValueError, match="features of different names; given twice: same_0, same_1"):
        SignalPanel([Counting("same"), Counting("same")], 3, 2)
    panel = SignalPanel([Counting(columns=3)], 3, 2)
    with pytest.raises(ValueError, match=r"'counting' measured an array of shape \(3, 3\), expected \(3, 2\)"):
        panel.measure(None, everyone(3))  # type: ignore[arg-type]


def test_a_state_brings_back_everything_and_can_be_used_again() -> None:
    ours, panel = begun(1), SignalPanel(ALL, 3, 2)
    panel.begin(everyone(3))
    panel.measure(scene_of(ours), everyone(3))
    kept, before = panel.state(), panel.values.copy()
    ours.train()
    panel.measure(scene_of(ours), everyone(3))
    after = panel.values.copy()
    assert (after != before).any()
    for restored in (panel, SignalPanel(ALL, 3, 2), copy.deepcopy(panel)):
        restored.load_state(kept)
        np.testing.assert_array_equal(restored.values, before)
        restored.measure(scene_of(ours), everyone(3))
        np.testing.assert_array_equal(restored.values, after)
