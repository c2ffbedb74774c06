"""Gates whose times are a schedule's or a budget's, and whose layers come from evidence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents.policy import PolicySpec
from agents.schedules import periodic
from tests.agents.scripted import COSTS, interface, play, seen

SHARES = interface(("sv_share_0", "sv_share_1"))
GAINS = interface(("ff_gain_0", "ff_gain_1"))
PRICES = interface(("gain_per_cost_0", "gain_per_cost_1", "shadow_price"))
EVEN = dict.fromkeys(COSTS, 0.1)


def when(actions: list[int]) -> list[bool]:
    return [action > 0 for action in actions]


@pytest.mark.parametrize("options", [{}, {"every": 2}, {"every": 5, "start": 3}, {"every": 1, "amount": 16}])
@pytest.mark.parametrize(
    ("name", "known"), [("random-where", interface()), ("gradmax-where", SHARES), ("firefly-where", GAINS)]
)
def test_they_grow_at_the_times_of_the_periodic_schedule(name: str, known: Any, options: dict[str, int]) -> None:
    script = [EVEN] * 12
    assert when(play(PolicySpec(name, options), known, script)) == when(play(periodic(known, **options), known, script))


def test_random_where_draws_layers_that_may_grow_with_equal_chance() -> None:
    known = interface(rows=4000)
    policy = PolicySpec("random-where", {"every": 1})(known)
    policy.reset(np.ones(4000, dtype=bool))
    observations, masks = seen(known, [{}] * 4000), np.ones((4000, 5), dtype=bool)
    masks[2000:, 1] = False
    first, second = (policy.act(observations, masks) for _ in range(2))
    assert set(first) == {1, 3}
    assert abs((first[:2000] == 1).mean() - 0.5) < 0.04
    assert (first[2000:] == 3).all()
    assert 0.45 < (first[:2000] == second[:2000]).mean() < 0.55


def test_random_where_draws_do_not_depend_on_the_batch() -> None:
    spec, known = PolicySpec("random-where", {"every": 1}), interface(rows=6)
    whole = spec(known)
    whole.reset(np.ones(6, dtype=bool))
    masks = np.ones((6, 5), dtype=bool)
    actions = [whole.act(seen(known, [{}] * 6), masks) for _ in range(5)]
    part = spec(known.part(2, 4))
    part.reset(np.ones(2, dtype=bool))
    again = [part.act(seen(known.part(2, 4), [{}] * 2), masks[:2]) for _ in range(5)]
    assert np.array(again).tolist() == np.array(actions)[:, 4:].tolist()
    other = PolicySpec("random-where", {"every": 1, "seed": 1})(known)
    other.reset(np.ones(6, dtype=bool))
    assert any((other.act(seen(known, [{}] * 6), masks) != before).any() for before in actions)


def test_gradmax_takes_the_largest_share_for_its_cost() -> None:
    costs = dict(zip(COSTS, (0.1, 0.4, 0.3, 0.9), strict=True))
    script = [{**costs, "sv_share_0": 0.3, "sv_share_1": 0.7}]  # 3 against 2.33 for each unit of cost
    assert play(PolicySpec("gradmax-where"), SHARES, script) == [1]
    assert play(PolicySpec("gradmax-where", {"per_cost": False}), SHARES, script) == [3]
    assert play(PolicySpec("gradmax-where", {"amount": 16}), SHARES, script) == [4]  # 0.75 against 0.78
    assert play(PolicySpec("gradmax-where"), SHARES, script, (True, False, True, True, True)) == [3]


def test_firefly_grows_the_best_layer_several_times_in_a_row() -> None:
    script = [{"ff_gain_0": a, "ff_gain_1": b} for a, b in [(0.1, 0.5), (0.4, 0.2), (0.9, 0.2), (0.2, 0.3), (0.5, 0.1)]]
    assert play(PolicySpec("firefly-where", {"every": 3}), GAINS, script) == [3, 0, 0, 3, 0]
    assert play(PolicySpec("firefly-where", {"every": 3, "top": 2}), GAINS, script) == [3, 1, 0, 3, 1]
    assert play(PolicySpec("firefly-where", {"every": 1, "top": 2}), GAINS, script) == [3, 1, 1, 3, 1]


def market(share_0: float, share_1: float, shadow: float, **more: float) -> dict[str, float]:
    """Cost 0.1 of the budget left each, a budget of 0.5 of which 0.1 is used, one task to come."""
    shown = {"gain_per_cost_0": share_0, "gain_per_cost_1": share_1, "shadow_price": shadow / (1 + shadow)}
    return {**EVEN, "budget": 0.5, "used": 0.1, "tasks_left": 0.5, **shown, **more}


def test_knapsack_grows_the_best_gain_per_cost() -> None:
    script = [market(0.4, 0.6, 1.0), market(0.7, 0.3, 1.0), market(0.0, 0.0, 0.0)]
    assert play(PolicySpec("knapsack"), PRICES, script) == [3, 1, 0]
    assert play(PolicySpec("knapsack"), PRICES, [market(0.4, 0.6, 1.0)], (True, True, False, False, False)) == [1]


def test_knapsack_keeps_to_the_budget_of_the_tasks_that_have_begun() -> None:
    # The first of two tasks may use 0.1 + 0.4 / 2 = 0.3. At 0.25 a growth costs 0.1 x 0.25; at 0.28 it costs 0.022.
    script = [market(0.4, 0.6, 1.0), market(0.4, 0.6, 1.0, used=0.25), market(0.4, 0.6, 1.0, used=0.28)]
    assert play(PolicySpec("knapsack"), PRICES, script) == [3, 3, 0]
    assert play(PolicySpec("knapsack", {"pace": 0.0}), PRICES, script) == [3, 3, 3]
    assert play(PolicySpec("knapsack", {"pace": 0.5}), PRICES, script) == [3, 3, 3]  # 0.1 + 0.4 x 0.71 = 0.38
    last = [market(0.4, 0.6, 1.0, used=0.28, tasks_left=0.0) for _ in range(7)]
    assert play(PolicySpec("knapsack"), PRICES, [*script, *last][:7])[-1] == 3


def test_knapsack_takes_the_second_best_if_the_best_does_not_fit() -> None:
    dear = {COSTS[2]: 0.6}  # layer 1 by 4 would use 0.1 + 0.6 x 0.4 = 0.34
    assert play(PolicySpec("knapsack"), PRICES, [market(0.4, 0.6, 1.0, **dear)]) == [1]


def test_knapsack_leaves_out_what_gains_too_little() -> None:
    script = [market(0.5, 0.25, 2.0), market(0.5, 0.25, 1.0)]
    assert play(PolicySpec("knapsack", {"threshold": 1.5}), PRICES, script) == [1, 0]
    only_second = (True, False, False, True, True)  # its gain per cost is half of the best one
    assert play(PolicySpec("knapsack", {"threshold": 0.9}), PRICES, script, only_second) == [3, 0]


def test_knapsack_may_limit_the_growths_of_a_layer_in_a_task() -> None:
    script = [market(0.4, 0.6, 1.0)] * 8
    assert play(PolicySpec("knapsack", {"each": 1}), PRICES, script) == [3, 1, 0, 0, 0, 0, 3, 1]
    assert play(PolicySpec("knapsack", {"each": 2}), PRICES, script) == [3, 3, 1, 1, 0, 0, 3, 3]


def test_knapsack_may_compare_with_the_price() -> None:
    cheap, dear = market(0.5, 0.25, 2.0, price=0.75), market(0.5, 0.25, 2.0, price=1.0)  # prices of 1 and of 10
    policy = PolicySpec("knapsack", {"threshold": 1.0, "priced": True})
    assert play(policy, PRICES, [cheap, dear]) == [1, 0]


@pytest.mark.parametrize(
    ("name", "options", "known"),
    [
        ("random-where", {"every": -1}, SHARES),
        ("gradmax-where", {"start": -1}, SHARES),
        ("firefly-where", {"top": 0}, GAINS),
        ("knapsack", {"threshold": -1.0}, PRICES),
        ("knapsack", {"pace": -1.0}, PRICES),
        ("knapsack", {"each": -1}, PRICES),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any], known: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        PolicySpec(name, options)(known)
