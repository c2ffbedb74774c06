"""Gates that watch a curve, and what all gates share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from agents.gates import GATES, Gate, gate, signals_of
from agents.gates.base import RecentGain, unsquash
from agents.policy import POLICIES, PolicySpec
from growenv.actions import ActionTable
from tests.agents.fake_env import CONFIG
from tests.agents.scripted import COSTS, interface, play, seen

INTERFACE = interface()
GAP = interface(("train_accuracy", "accuracy_gap"))


def curve(policy: PolicySpec, column: str, values: Sequence[float | None], legal: Sequence[bool] = (True,) * 5) -> Any:
    """Actions of a row that sees these values of one feature; None means not measured."""
    return play(policy, INTERFACE, [{} if value is None else {column: value} for value in values], legal)


# -- plateau -----------------------------------------------------------------------------------------------------------


def test_plateau_grows_the_layers_in_turn_when_the_accuracy_stops_rising() -> None:
    policy = PolicySpec("plateau", {"tau": 0.05})
    # Gains: 0.2 none; 0.02 fires and forgets; the next one only starts anew; 0.01 fires for the other layer.
    assert curve(policy, "accuracy", [None, 0.5, 0.7, 0.72, 0.72, 0.73]) == [0, 0, 0, 1, 0, 3]


def test_plateau_forgets_at_a_task_border() -> None:
    policy = PolicySpec("plateau", {"tau": 0.05})
    values = [None, 0.1, 0.3, 0.5, 0.7, 0.9, None, 0.5, 0.5]
    assert curve(policy, "accuracy", values) == [0, 0, 0, 0, 0, 0, 0, 0, 1]


def test_plateau_patience_takes_the_best_of_the_window() -> None:
    policy = PolicySpec("plateau", {"tau": 0.05, "patience": 2})
    # After 0.5, 0.4, 0.6 the best of the last two is 0.1 above the best before; after 0.61 it is 0.11; then 0.01.
    assert curve(policy, "accuracy", [None, 0.5, 0.4, 0.6, 0.61, 0.61]) == [0, 0, 0, 0, 0, 1]


def test_plateau_counts_a_falling_accuracy_as_a_plateau() -> None:
    assert curve(PolicySpec("plateau"), "accuracy", [None, 0.5, 0.4]) == [0, 0, 1]


# -- loss-gate ---------------------------------------------------------------------------------------------------------


def test_loss_gate_goes_once_round_the_layers() -> None:
    policy = PolicySpec("loss-gate", {"tau": 1.0, "amount": 16})
    # A loss of 1 is seen as 0.5.
    assert curve(policy, "training_loss", [None, 0.6, 0.6, 0.6, 0.6, 0.6]) == [0, 2, 4, 0, 0, 0]
    twice = PolicySpec("loss-gate", {"tau": 1.0, "rounds": 2, "amount": 4})
    assert curve(twice, "training_loss", [None, 0.6, 0.4, 0.5, 0.6, 0.6]) == [0, 1, 0, 3, 1, 3]


def test_loss_gate_begins_a_new_round_in_each_task() -> None:
    policy = PolicySpec("loss-gate", {"tau": 1.0, "amount": 4})
    values = [None, 0.6, 0.6, 0.6, 0.1, 0.1, None, 0.6, 0.1]
    assert curve(policy, "training_loss", values) == [0, 1, 3, 0, 0, 0, 0, 1, 0]


def test_loss_gate_stays_shut_before_its_start() -> None:
    policy = PolicySpec("loss-gate", {"tau": 1.0, "start": 3, "amount": 4})
    assert curve(policy, "training_loss", [None, 0.6, 0.6, 0.6]) == [0, 0, 0, 1]


def test_loss_gate_takes_the_amount_nearest_to_ten() -> None:
    near = interface(table=ActionTable(1, (2, 8, 32)), hidden=(8,), max_hidden=(64,))
    policy = PolicySpec("loss-gate")(near)
    assert policy.growths.tolist() == [2]  # type: ignore[attr-defined]


# -- autogrow ----------------------------------------------------------------------------------------------------------


def test_autogrow_grows_in_turn_as_long_as_the_accuracy_rises() -> None:
    policy = PolicySpec("autogrow", {"tau": 0.01, "amount": 4})
    assert curve(policy, "accuracy", [None, 0.1, 0.2, 0.3, 0.4, 0.5, None, 0.1]) == [0, 1, 3, 1, 3, 1, 0, 3]
    slow = PolicySpec("autogrow", {"every": 2, "tau": 0.01, "amount": 4})
    assert curve(slow, "accuracy", [None, 0.1, 0.2, 0.3, 0.4, 0.5]) == [0, 0, 1, 0, 3, 0]


def test_autogrow_sends_away_the_layer_that_grew_last_when_the_gain_is_small() -> None:
    policy = PolicySpec("autogrow", {"tau": 0.05, "patience": 1, "amount": 4})
    # Growth of layer 0 brings 0.2; that of layer 1 brings 0.01, so it leaves; layer 0 brings 0.2, then 0.01: none left.
    # In the next task both are back, and it is layer 1's turn.
    values = [None, 0.3, 0.5, 0.51, 0.71, 0.72, None, 0.3, 0.3]
    assert curve(policy, "accuracy", values) == [0, 1, 3, 1, 1, 0, 0, 3, 1]


def test_autogrow_compares_the_best_of_its_window() -> None:
    policy = PolicySpec("autogrow", {"tau": 0.05, "patience": 2, "amount": 4})
    # Nothing is known before three measurements; max(0.6, 0.5) - 0.5 is enough; max(0.5, 0.5) - 0.6 is not.
    assert curve(policy, "accuracy", [None, 0.5, 0.6, 0.5, 0.5, 0.5]) == [0, 1, 3, 1, 3, 0]


# -- fragrow -----------------------------------------------------------------------------------------------------------


def test_fragrow_grows_at_once_while_it_under_fits_front_to_back() -> None:
    policy = PolicySpec("fragrow", {"amount": 4})
    fits = {"accuracy_gap": -0.5}
    assert play(policy, GAP, [{}, fits, fits, fits, fits, fits]) == [0, 1, 3, 0, 0, 0]
    twice = PolicySpec("fragrow", {"amount": 4, "each": 2})
    assert play(twice, GAP, [{}, fits, fits, fits, fits, fits, {}, fits]) == [0, 1, 1, 3, 3, 0, 0, 1]


def test_fragrow_waits_for_its_longest_interval_while_it_over_fits() -> None:
    over = {"accuracy_gap": 0.9}  # 90 points: the interval is 6 decisions / 2 growths
    assert play(PolicySpec("fragrow", {"amount": 4}), GAP, [{}, over, over, over, over, over]) == [0, 0, 0, 1, 0, 0]


def test_fragrow_interval_by_hand() -> None:
    middle = {"accuracy_gap": 0.04}  # as many points as alpha: half of 3 decisions, so at 2, then at 4
    assert play(PolicySpec("fragrow", {"amount": 4}), GAP, [{}, *[middle] * 5]) == [0, 0, 1, 0, 3, 0]
    assert play(PolicySpec("fragrow", {"amount": 4, "alpha": 50.0}), GAP, [{}, *[middle] * 3]) == [0, 1, 3, 0]


def test_fragrow_passes_a_layer_that_is_full() -> None:
    legal = (True, False, False, True, True)
    fits = {"accuracy_gap": -0.5}
    assert play(PolicySpec("fragrow", {"amount": 4}), GAP, [{}, fits, fits, fits], legal) == [0, 3, 3, 0]


# -- cpg-goal ----------------------------------------------------------------------------------------------------------


def widths(first: int, second: int, **more: float) -> dict[str, float]:
    return {"width_0": first / 64, "width_1": second / 64, **more}


def test_cpg_grows_until_the_goal_is_reached_and_the_training_data_are_learned() -> None:
    policy = PolicySpec("cpg-goal", {"goal": 0.9, "cap": 9.0})
    missed = widths(8, 8, accuracy=0.8, train_accuracy=1.0)
    untrained = widths(8, 8, accuracy=0.95, train_accuracy=0.95)
    reached = widths(8, 8, accuracy=0.91, train_accuracy=0.96)
    begins = widths(8, 8, measured=0.0)
    assert play(policy, GAP, [begins, missed, untrained, reached, missed]) == [0, 1, 3, 0, 1]


def test_cpg_stops_at_half_more_than_the_width_at_the_start_of_the_task() -> None:
    policy = PolicySpec("cpg-goal", {"goal": 0.9})
    begins = widths(8, 20, measured=0.0)
    # The caps are 12 and 30: layer 0 may grow at 8, both at 11 and 24; then neither.
    script = [begins, widths(8, 20), widths(11, 24), widths(12, 28), widths(12, 32), widths(11, 28)]
    assert play(policy, GAP, script) == [0, 1, 3, 3, 0, 1]
    assert play(policy, GAP, [*script, widths(12, 32, measured=0.0), widths(12, 32)])[-2:] == [0, 3]


# -- the base ----------------------------------------------------------------------------------------------------------


def test_gate_passes_a_layer_that_may_not_grow() -> None:
    policy = PolicySpec("loss-gate", {"tau": 1.0, "rounds": 9, "amount": 4})
    assert curve(policy, "training_loss", [None, 0.6, 0.6], (True, False, False, True, True)) == [0, 3, 3]
    assert curve(policy, "training_loss", [None, 0.6, 0.6], (True, False, False, False, False)) == [0, 0, 0]


@pytest.mark.parametrize("name", ["plateau", "autogrow"])
def test_gate_rows_do_not_touch_each_other(name: str) -> None:
    known, policy = interface(rows=3), PolicySpec(name, {"tau": 0.05, "patience": 1, "amount": 4})
    curves = [[None, 0.5, 0.9, 0.9, 0.9], [None, 0.5, 0.5, 0.5, 0.5], [None, 0.1, 0.9, 0.2, 0.3]]
    together = policy(known)
    together.reset(np.ones(3, dtype=bool))
    actions = [
        together.act(seen(known, [{} if v is None else {"accuracy": v} for v in step]), np.ones((3, 5), dtype=bool))
        for step in zip(*curves, strict=True)
    ]
    alone = [curve(policy, "accuracy", values) for values in curves]
    assert np.array(actions).T.tolist() == alone
    assert len(set(map(tuple, alone))) > 1


class Probe(Gate):
    """Only there to call what gates inherit."""

    def act(self, observations: Any, masks: np.ndarray) -> np.ndarray:
        raise NotImplementedError


def test_the_best_legal_layer_grows() -> None:
    probe = Probe(interface(rows=4), 16)
    scores = np.array([[1.0, 2.0], [1.0, 2.0], [3.0, 3.0], [-np.inf, -np.inf]])
    masks = np.ones((4, 5), dtype=bool)
    masks[1, 4] = False
    assert probe.grow_best(scores, masks).tolist() == [4, 2, 2, 0]


def test_the_neediest_layer_grows_by_the_nearest_legal_amount() -> None:
    needed = np.array([[1.0, 0.0], [0.0, 9.0], [10.0, 11.0], [90.0, 3.0], [0.5, -3.0], [20.0, 30.0], [2.0, 2.0]])
    masks = np.ones((7, 5), dtype=bool)
    masks[3, 2] = False  # no room for 16
    masks[5, 3:] = False  # no room in layer 1
    assert Probe(interface(rows=7)).grow_by(needed, masks).tolist() == [1, 3, 4, 1, 0, 2, 1]
    large_first = ActionTable(2, (16, 4))
    probe = Probe(interface(rows=1, table=large_first))
    assert probe.grow_by(np.array([[10.0, 0.0]]), np.ones((1, 5), dtype=bool)).tolist() == [2]  # of equals the smaller


def test_costs_are_those_of_the_gates_amount_and_infinite_without_a_place() -> None:
    known = interface()
    shown = seen(known, [dict(zip(COSTS, (0.1, 0.2, 0.0, 0.4), strict=True))])
    np.testing.assert_allclose(Probe(known).costs(shown), [[0.1, np.inf]], rtol=1e-6)
    np.testing.assert_allclose(Probe(known, 16).costs(shown), [[0.2, 0.4]], rtol=1e-6)


def test_costs_are_those_of_the_cheapest_region() -> None:
    placed = ActionTable(1, (4, 16), 3)
    names = tuple(f"cost of {name}" for name in placed.names[1:])
    known = interface(table=ActionTable(1, (4, 16)), hidden=(8,), max_hidden=(64,))
    known = type(known)(**{**vars(known), "feature_names": {"budget": names}})
    shown = {"budget": np.array([[0.3, 0.0, 0.2, 0.6, 0.5, 0.7]], dtype=np.float32)}
    np.testing.assert_allclose(Probe(known).costs(shown), [[0.2]], rtol=1e-6)
    np.testing.assert_allclose(Probe(known, 16).costs(shown), [[0.5]], rtol=1e-6)


def test_gain_is_unknown_before_there_is_something_to_compare_with() -> None:
    gain = RecentGain(2, 1)
    for accuracy in (0.2, 0.5):
        assert gain.value().tolist() == [np.inf, np.inf]
        gain.add(np.full(2, accuracy), np.array([True, False]))
    np.testing.assert_allclose(gain.value(), [0.3, np.inf])
    gain.forget(np.array([True, False]))
    assert gain.value().tolist() == [np.inf, np.inf]


def test_unsquash_is_the_inverse_of_what_observations_show() -> None:
    np.testing.assert_allclose(unsquash([0.0, 0.5, 0.75, 1.0]), [0.0, 1.0, 3.0, np.inf])


def test_a_gate_that_lacks_its_signals_says_what_to_do() -> None:
    with pytest.raises(
        ValueError, match=r"'fragrow' reads accuracy_gap, .* signals=\['gap'\], or with signals=\"all\""
    ):
        PolicySpec("fragrow")(INTERFACE)


def test_signals_of_gates_by_name_and_by_object() -> None:
    assert signals_of(PolicySpec("fragrow")) == signals_of(GATES["fragrow"]) == ("gap",)
    assert signals_of(PolicySpec("plateau")) == signals_of(PolicySpec("never")) == signals_of(lambda known: None) == ()


def test_a_gate_of_ones_own_is_registered_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(POLICIES, "_factories", dict(POLICIES._factories))
    monkeypatch.setattr("agents.gates.base.GATES", dict(GATES))
    mine = gate("mine")(type("Mine", (Probe,), {"signals": ("loss",)}))
    assert signals_of(PolicySpec("mine")) == ("loss",)
    assert PolicySpec("mine")(INTERFACE).name == "mine" == mine.name
    with pytest.raises(ValueError, match="'mine' is taken"):
        gate("mine")(Probe)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plateau", {"patience": 0}),
        ("plateau", {"amount": 5}),
        ("loss-gate", {"tau": -1.0}),
        ("loss-gate", {"rounds": 0}),
        ("autogrow", {"every": 0}),
        ("fragrow", {"each": 0}),
        ("cpg-goal", {"goal": 1.5}),
        ("cpg-goal", {"cap": 1.0}),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be|no action grows"):
        PolicySpec(name, options)(GAP)


def test_every_gate_documents_its_source_and_what_is_tuned() -> None:
    for name, kind in GATES.items():
        text = " ".join((kind.__doc__ or "").split())
        assert name == kind.name
        assert "arXiv" in text or name == "random-where"
        for option in kind.ranges(CONFIG):
            described = text.split(f" {option}: ", 1)
            assert len(described) == 2 and "Tuned" in described[1], f"{name}: {option}"
