"""Costs worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agents.amortised import HEAD, amortised, break_even
from agents.comparison import Player
from agents.evaluation import play
from agents.policy import PolicySpec
from tests.agents.fake_env import CONFIG, FakeVectorEnv, make_contexts


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        # Tuning anew takes 30 steps each time, training 100 once: 3 x 30 = 90 is less, 4 x 30 = 120 is more.
        ((100, 0.0, 0, 30.0), 4),
        ((90, 0.0, 0, 30.0), 4),  # three deployments cost the same, which is not less
        ((89, 0.0, 0, 30.0), 3),
        # A look-ahead that was tuned with 20 steps and takes 2.5 in each episode: 20 + 2.5 n > 100 from n = 33 on.
        ((100, 0.0, 20, 2.5), 33),
        ((100, 0.5, 20, 2.5), 41),  # 80 / 2 = 40 is a tie
        ((10, 0.0, 20, 0.0), 0),
        ((10, 1.0, 20, 1.0), 0),
        ((20, 0.0, 20, 0.0), None),
        ((30, 0.0, 20, 0.0), None),
        ((10, 2.0, 20, 1.0), None),  # cheaper at first, dearer in the end
        ((20, 0.0, 20, 1.0), 1),
        ((0, 0.0, 0, 0.1), 1),
    ],
)
def test_break_even_by_hand(costs: Any, expected: int | None) -> None:
    assert break_even(*costs) == expected


def test_from_the_break_even_on_it_always_costs_less_and_just_before_it_does_not() -> None:
    for fixed, each, other_fixed, other_each in [(1000, 0.0, 7, 0.3125), (12345, 1.5, 5, 2.25), (10, 0.0, 0, 0.125)]:
        first = break_even(fixed, each, other_fixed, other_each)
        assert first
        for uses in (first, first + 1, 10 * first):
            assert fixed + each * uses < other_fixed + other_each * uses
        before = first - 1
        assert fixed + each * before >= other_fixed + other_each * before


@pytest.mark.parametrize("costs", [(-1, 0.0), (1, -0.5), (1, float("nan")), (1, 0.0, -3), (1, 0.0, 0, float("inf"))])
def test_costs_that_are_none_are_refused(costs: Any) -> None:
    with pytest.raises(ValueError, match=r"expected a number of steps, at least 0"):
        break_even(*costs)


RECORDS = tuple(play(PolicySpec("never"), CONFIG, make_contexts(2), make_env=FakeVectorEnv))


def player(name: str, kind: str, value: float, steps: int = 0, each: float = 0.0, runs: int = 1) -> Player:
    """A player whose every return is `value`."""
    run = tuple(replace(record, return_=value) for record in RECORDS)
    return Player(name, kind, (run,) * runs, steps, each)


PLAYERS = (
    player("ppo", "learned", 0.5, 180_000, runs=3),
    player("best-fixed", "schedule", 0.45, 150_000),
    player("never", "schedule", 0.25),
    player("look-ahead", "search", 0.4375, 0, 120.0),
    player("big-search", "search", 0.5, 200_000, 30.0),
)


def test_the_table_by_hand() -> None:
    cells = [line.cells() for line in amortised(PLAYERS)]
    assert cells == [
        ("ppo", "180,000", "0", "0.500", "", "", ""),
        ("best-fixed", "150,000", "0", "0.450", "+0.0500", "never", "2"),
        ("never", "0", "0", "0.250", "+0.2500", "never", "never"),
        ("look-ahead", "0", "120", "0.438", "+0.0625", "1,501", "never"),  # 1,500 episodes are a tie
        ("big-search", "200,000", "30", "0.500", "+0.0000", "at once", "1"),
    ]
    assert all(len(line) == len(HEAD) for line in cells)


def test_the_learned_policy_to_compare_with_can_be_named() -> None:
    other = player("dqn", "learned", 0.3, 60)
    lines = amortised((*PLAYERS, other), "dqn")
    assert lines[-1].gain is None
    assert lines[0].gain == pytest.approx(-0.2)
    assert lines[3].episodes == 1


@pytest.mark.parametrize(("players", "name"), [(PLAYERS[1:], ""), (PLAYERS, "a2c"), ((), "")])
def test_without_a_learned_policy_there_is_nothing_to_amortise(players: Any, name: str) -> None:
    with pytest.raises(ValueError, match="no learned policy"):
        amortised(players, name)
