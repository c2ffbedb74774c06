from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.policy import Interface, Policy, PolicySpec
from agents.schedules import Timetable, interleave, split_amount
from growenv.actions import ActionTable

TABLE = ActionTable(2, (4, 16))  # 0 wait, 1 layer 0 +4, 2 layer 0 +16, 3 layer 1 +4, 4 layer 1 +16
SIZES = {"decisions": 4, "tasks": 3, "hidden": (8, 8), "max_hidden": (64, 64)}


def interface(rows: int = 1, **options: Any) -> Interface:
    return Interface(TABLE, {}, rows=rows, **{**SIZES, **options})


def course(policy: Policy, steps: int, masks: np.ndarray | None = None) -> np.ndarray:
    """Actions of one episode, shape (steps, rows)."""
    rows = len(policy.decision)  # type: ignore[attr-defined]
    legal = np.ones((rows, TABLE.size), dtype=bool) if masks is None else masks
    policy.reset(np.ones(rows, dtype=bool))
    return np.stack([policy.act({}, legal) for _ in range(steps)])


def plan_of(name: str, **options: Any) -> list[list[int]]:
    """The plan of a schedule as one list for each task."""
    return course(PolicySpec(name, options)(interface()), 12)[:, 0].reshape(3, 4).tolist()


def test_never_waits() -> None:
    assert plan_of("never") == [[0] * 4] * 3


def test_periodic_goes_round_the_layers() -> None:
    assert plan_of("periodic", every=3, amount=16) == [[2, 0, 0, 4], [0, 0, 2, 0], [0, 4, 0, 0]]
    assert plan_of("periodic", every=4, order=[1], start=2) == [[0, 0, 3, 0]] * 3


def test_doubling_counts_widths() -> None:
    # 8 -> 16 takes two fours in each layer; 16 -> 32 takes one sixteen in each.
    assert plan_of("doubling", times=[0, 8]) == [[1, 3, 1, 3], [0] * 4, [2, 4, 0, 0]]


def test_doubling_stops_at_the_largest_width() -> None:
    policy = PolicySpec("doubling", {"times": [0, 4]})(interface(max_hidden=(16, 12)))
    assert course(policy, 12)[:, 0].tolist() == [1, 3, 1, 0] + [0] * 8


def test_doubling_begins_an_absent_layer_with_the_smallest_amount() -> None:
    # 8 -> 16 -> 32 in layer 0 and 0 -> 4 -> 8 in layer 1.
    policy = PolicySpec("doubling", {"times": [0, 4]})(interface(hidden=(8, 0)))
    assert course(policy, 8)[:, 0].tolist() == [1, 3, 1, 0, 2, 3, 0, 0]


def test_doublings_that_overlap_queue_up() -> None:
    assert plan_of("doubling", times=[0, 1]) == [[1, 3, 1, 3], [2, 4, 0, 0], [0] * 4]


def test_per_task_has_its_own_first_task() -> None:
    assert plan_of("per-task", first=[[0, 16], [1, 16]], later=[[1, 4]]) == [[2, 4, 0, 0], [3, 0, 0, 0], [3, 0, 0, 0]]


def test_per_task_refuses_more_requests_than_decisions() -> None:
    with pytest.raises(ValueError, match="later has 5 requests, but a task has 4 decisions"):
        plan_of("per-task", later=[[0, 4]] * 5)


def test_open_loop_rules_override_in_order() -> None:
    rules = [
        {"task": "*", "decision": 0, "layer": 0, "amount": 4},
        {"task": "later", "decision": 0, "layer": 1, "amount": 4},
        {"task": 2, "decision": 3, "layer": 1, "amount": 16},
        {"task": 9, "decision": 3, "layer": 1, "amount": 16},
    ]
    assert plan_of("open-loop", rules=rules) == [[1, 0, 0, 0], [3, 0, 0, 0], [3, 0, 0, 4]]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"task": 0, "decision": 0, "layer": 0}, "a rule is"),
        ("grow", "a rule is"),
        ({"task": "first", "decision": 0, "layer": 0, "amount": 4}, "task must be a whole number"),
        ({"task": -1, "decision": 0, "layer": 0, "amount": 4}, "task must be a whole number of at least 0"),
        ({"task": True, "decision": 0, "layer": 0, "amount": 4}, "task must be a whole number"),
        ({"task": 0, "decision": 4, "layer": 0, "amount": 4}, "decision must be a whole number from 0 to 3"),
        ({"task": 0, "decision": 0, "layer": 2, "amount": 4}, "no action grows layer 2 by 4"),
        ({"task": 0, "decision": 0, "layer": 0, "amount": 5}, "no action grows layer 0 by 5"),
    ],
)
def test_bad_rule_is_refused(rule: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_of("open-loop", rules=[rule])


@pytest.mark.parametrize("options", [{"every": -1}, {"every": 1.5}, {"start": -1}, {"amount": 7}])
def test_bad_periodic_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be a whole number|no action grows"):
        plan_of("periodic", **options)


def test_illegal_wishes_become_waits_row_by_row() -> None:
    masks = np.ones((2, 5), dtype=bool)
    masks[1, 2] = False
    policy = PolicySpec("per-task", {"first": [[0, 16]]})(interface(rows=2))
    assert course(policy, 1, masks).tolist() == [[2, 0]]


def test_rows_keep_their_own_clocks() -> None:
    policy = PolicySpec("per-task", {"first": [[0, 16], [1, 16]]})(interface(rows=2))
    every = np.ones((2, 5), dtype=bool)
    policy.reset(np.array([True, True]))
    policy.act({}, every)
    policy.reset(np.array([False, True]))
    assert policy.act({}, every).tolist() == [4, 2]


def test_tasks_beyond_the_plan_repeat_its_last_row() -> None:
    policy = PolicySpec("per-task", {"later": [[1, 4]]})(interface())
    assert course(policy, 20)[16:, 0].tolist() == [3, 0, 0, 0]


def test_timetable_refuses_another_shape() -> None:
    with pytest.raises(ValueError, match=r"shape \(tasks, 4 decisions\)"):
        Timetable(interface(), np.zeros((3, 5), dtype=np.int64))


@given(st.integers(0, 200), st.sets(st.integers(1, 40), min_size=1))
def test_split_amount_leaves_less_than_the_smallest(total: int, amounts: set[int]) -> None:
    parts = split_amount(total, tuple(amounts))
    assert 0 <= total - sum(parts) < min(amounts)
    assert parts == sorted(parts, reverse=True)


def test_interleave_takes_layers_in_turn() -> None:
    assert interleave([[16, 4, 4], [], [4]]) == [(0, 16), (2, 4), (0, 4), (0, 4)]


def test_static_large_fills_the_layers_in_turn_and_falls_back() -> None:
    policy = PolicySpec("static-large")(interface())
    assert course(policy, 4)[:, 0].tolist() == [2, 4, 2, 4]
    only_small = np.array([[True, True, False, True, False]])
    assert course(policy, 2, only_small)[:, 0].tolist() == [1, 3]
    only_first = np.array([[True, True, True, False, False]])
    assert course(policy, 2, only_first)[:, 0].tolist() == [2, 2]
    assert course(policy, 2, np.array([[True, False, False, False, False]]))[:, 0].tolist() == [0, 0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.booleans(), min_size=4, max_size=4))
def test_random_policies_stay_legal(seed: int, legal: list[bool]) -> None:
    masks = np.tile(np.array([True, *legal]), (16, 1))
    for name in ("random", "rate-matched-random"):
        options = {"seed": seed} | ({"rates": 1.0} if name == "rate-matched-random" else {})
        actions = course(PolicySpec(name, options)(interface(rows=16)), 5, masks)
        assert masks[0, actions].all()


def test_random_is_uniform_over_legal_actions() -> None:
    masks = np.tile(np.array([True, True, False, False, True]), (2000, 1))
    actions = course(PolicySpec("random")(interface(rows=2000)), 10, masks)
    shares = np.bincount(actions.reshape(-1), minlength=5) / actions.size
    np.testing.assert_allclose(shares, [1 / 3, 1 / 3, 0, 0, 1 / 3], atol=0.015)


def test_rates_are_kept() -> None:
    rates = [0.0, 0.1, 0.05, 0.0, 0.15]
    actions = course(PolicySpec("rate-matched-random", {"rates": rates})(interface(rows=2000)), 10)
    shares = np.bincount(actions.reshape(-1), minlength=5) / actions.size
    np.testing.assert_allclose(shares, [0.7, 0.1, 0.05, 0.0, 0.15], atol=0.01)


def test_illegal_growths_pass_their_rate_to_the_legal_ones() -> None:
    masks = np.tile(np.array([True, False, True, False, True]), (4000, 1))
    policy = PolicySpec("rate-matched-random", {"rates": [0, 0.3, 0.1, 0.1, 0.1]})(interface(rows=4000))
    shares = np.bincount(course(policy, 5, masks).reshape(-1), minlength=5) / 20000
    np.testing.assert_allclose(shares, [0.4, 0, 0.3, 0, 0.3], atol=0.015)


def test_one_rate_is_the_probability_of_growing() -> None:
    actions = course(PolicySpec("rate-matched-random", {"rates": 0.2})(interface(rows=4000)), 5)
    assert abs(float((actions > 0).mean()) - 0.2) < 0.01


@pytest.mark.parametrize(
    "rates", [[0.5, 0.5], [0, 0.5, 0.6, 0, 0], [0, -0.1, 0, 0, 0], [0, float("nan"), 0, 0, 0], 1.5]
)
def test_bad_rates_are_refused(rates: object) -> None:
    with pytest.raises(ValueError, match="rates are 5 numbers"):
        PolicySpec("rate-matched-random", {"rates": rates})(interface())


def test_random_numbers_follow_the_episode_and_not_the_batch() -> None:
    whole = course(PolicySpec("random")(interface(rows=6)), 8)
    parts = [course(PolicySpec("random")(interface(rows=2, first_episode=first)), 8) for first in (0, 2, 4)]
    np.testing.assert_array_equal(whole, np.concatenate(parts, axis=1))
    again = PolicySpec("random")(interface(rows=3))
    twice = np.concatenate([course(again, 8), course(again, 8)], axis=1)
    np.testing.assert_array_equal(whole, twice)


def test_seeds_differ() -> None:
    one, two = (course(PolicySpec("random", {"seed": seed})(interface(rows=6)), 8) for seed in (0, 1))
    assert not np.array_equal(one, two)
