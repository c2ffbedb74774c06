from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import agents.gates  # noqa: F401
from agents.policy import Interface, Policy, PolicySpec
from growenv.actions import ActionTable

TABLE = ActionTable(2, (4, 16))  # 0 wait, 1 layer 0 +4, 2 layer 0 +16, 3 layer 1 +4, 4 layer 1 +16
FEATURES = {"training": ("measured", "accuracy", "training_loss")}
INTERFACE = Interface(TABLE, FEATURES, decisions=6, tasks=2, rows=1, hidden=(8, 8), max_hidden=(64, 64))
EVERY = np.ones((1, 5), dtype=bool)


def play(policy: Policy, column: str, values: Sequence[float | None], masks: np.ndarray = EVERY) -> list[int]:
    """Actions of one row that sees these values of one feature; None means not measured."""
    policy.reset(np.array([True]))
    actions = []
    for value in values:
        shown = dict.fromkeys(FEATURES["training"], 0.0) | {"measured": float(value is not None), column: value or 0.0}
        observation = np.array([[shown[name] for name in FEATURES["training"]]], dtype=np.float32)
        actions.append(int(policy.act({"training": observation}, masks)[0]))
    return actions


def test_plateau_grows_the_layers_in_turn_when_the_accuracy_stops_rising() -> None:
    policy = PolicySpec("plateau", {"tau": 0.05})(INTERFACE)
    # Gains: 0.2 none; 0.02 fires and forgets; the next one only starts anew; 0.01 fires for the other layer.
    assert play(policy, "accuracy", [None, 0.5, 0.7, 0.72, 0.72, 0.73]) == [0, 0, 0, 1, 0, 3]


def test_plateau_forgets_at_a_task_border() -> None:
    policy = PolicySpec("plateau", {"tau": 0.05})(INTERFACE)
    curve = [None, 0.1, 0.3, 0.5, 0.7, 0.9, None, 0.5, 0.5]
    assert play(policy, "accuracy", curve) == [0, 0, 0, 0, 0, 0, 0, 0, 1]


def test_plateau_patience_takes_the_best_of_the_window() -> None:
    policy = PolicySpec("plateau", {"tau": 0.05, "patience": 2})(INTERFACE)
    # After 0.5, 0.4, 0.6 the best of the last two is 0.1 above the best before; after 0.61 it is 0.11; then 0.01.
    assert play(policy, "accuracy", [None, 0.5, 0.4, 0.6, 0.61, 0.61]) == [0, 0, 0, 0, 0, 1]


def test_plateau_counts_a_falling_accuracy_as_a_plateau() -> None:
    assert play(PolicySpec("plateau")(INTERFACE), "accuracy", [None, 0.5, 0.4]) == [0, 0, 1]


def test_loss_gate_goes_once_round_the_layers() -> None:
    policy = PolicySpec("loss-gate", {"tau": 1.0, "amount": 16})(INTERFACE)
    # A loss of 1 is seen as 0.5.
    assert play(policy, "training_loss", [None, 0.6, 0.6, 0.6, 0.6, 0.6]) == [0, 2, 4, 0, 0, 0]
    twice = PolicySpec("loss-gate", {"tau": 1.0, "rounds": 2, "amount": 4})(INTERFACE)
    assert play(twice, "training_loss", [None, 0.6, 0.4, 0.5, 0.6, 0.6]) == [0, 1, 0, 3, 1, 3]


def test_loss_gate_begins_a_new_round_in_each_task() -> None:
    policy = PolicySpec("loss-gate", {"tau": 1.0, "amount": 4})(INTERFACE)
    assert play(policy, "training_loss", [None, 0.6, 0.6, 0.6, 0.1, 0.1, None, 0.6, 0.1]) == [0, 1, 3, 0, 0, 0, 0, 1, 0]


def test_loss_gate_stays_shut_before_its_start() -> None:
    policy = PolicySpec("loss-gate", {"tau": 1.0, "start": 3, "amount": 4})(INTERFACE)
    assert play(policy, "training_loss", [None, 0.6, 0.6, 0.6]) == [0, 0, 0, 1]


def test_loss_gate_takes_the_amount_nearest_to_ten() -> None:
    near = Interface(ActionTable(1, (2, 8, 32)), FEATURES, 6, 2, 1, (8,), (64,))
    policy = PolicySpec("loss-gate")(near)
    assert policy.growths.tolist() == [2]  # type: ignore[attr-defined]


def test_gate_passes_a_layer_that_may_not_grow() -> None:
    masks = np.array([[True, False, False, True, True]])
    policy = PolicySpec("loss-gate", {"tau": 1.0, "rounds": 9, "amount": 4})(INTERFACE)
    assert play(policy, "training_loss", [None, 0.6, 0.6], masks) == [0, 3, 3]
    none = np.array([[True, False, False, False, False]])
    assert play(policy, "training_loss", [None, 0.6, 0.6], none) == [0, 0, 0]


def test_gate_rows_do_not_touch_each_other() -> None:
    two = Interface(TABLE, FEATURES, decisions=6, tasks=2, rows=2, hidden=(8, 8), max_hidden=(64, 64))
    policy = PolicySpec("plateau", {"tau": 0.05})(two)
    policy.reset(np.array([True, True]))
    curves = [[0, 0], [0.5, 0.5], [0.9, 0.5], [0.9, 0.5]]
    actions = []
    for number, pair in enumerate(curves):
        shown = np.array([[number > 0, level, 0.0] for level in pair], dtype=np.float32)
        actions.append(policy.act({"training": shown}, np.ones((2, 5), dtype=bool)).tolist())
    assert actions == [[0, 0], [0, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plateau", {"patience": 0}),
        ("plateau", {"amount": 5}),
        ("loss-gate", {"tau": -1.0}),
        ("loss-gate", {"rounds": 0}),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be at least|no action grows"):
        PolicySpec(name, options)(INTERFACE)
