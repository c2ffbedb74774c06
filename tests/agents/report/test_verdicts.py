from __future__ import annotations

import pytest

from agents.comparison import BEST_FIXED, Comparison
from agents.report.tables import rows
from agents.report.verdicts import verdict, verdicts
from agents.statistics import Interval
from tests.agents.report.played import compared, player, two

NAN = float("nan")
UP = [0.60, 0.62, 0.58, 0.61, 0.59, 0.60]
MIDDLE = [0.50, 0.52, 0.48, 0.51, 0.49, 0.50]
LOW = [0.40, 0.42, 0.38, 0.41, 0.39, 0.40]
LOWEST = [0.30, 0.32, 0.28, 0.31, 0.29, 0.30]


def said(comparison: Comparison) -> str:
    return "\n".join(verdicts(comparison, rows(comparison)))


def study(policy: list[float] = UP, gate: list[float] = MIDDLE, matched: list[float] = LOWEST, **controls: list[float]):
    return compared(
        player("ppo", "learned", policy),
        player("plateau-tuned", "gate", gate),
        player(BEST_FIXED, "schedule", LOW),
        player("rate-matched-random", "control", matched),
        *(player(name.replace("_", "-"), "control", returns) for name, returns in controls.items()),
    )


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (Interval(0.1, 0.05, 0.2), "better than the best fixed schedule in contexts like these"),
        (Interval(-0.1, -0.2, -0.05), "worse than the best fixed schedule in contexts like these"),
        (Interval(0.1, -0.05, 0.2), "no improvement over the best fixed schedule was shown"),
        (Interval(0.1, NAN, NAN), "no improvement over the best fixed schedule was shown"),
    ],
)
def test_verdicts(interval: Interval, words: str) -> None:
    assert verdict(interval) == words


def test_a_tie_with_the_best_fixed_schedule_is_said_in_words() -> None:
    assert "ppo: no improvement over the best fixed schedule was shown (difference" in said(
        two([0.4, 0.6, 0.5, 0.5], [0.5] * 4)
    )


def test_the_order_holds_when_every_step_is_shown() -> None:
    text = said(study())
    order = "ppo > plateau-tuned > best-fixed > rate-matched-random"
    assert f"ppo: the order {order} holds, each step with an interval above zero." in text
    assert "ppo: better than plateau-tuned, the best gate, in contexts like these (difference +0.1000 [" in text


def test_steps_of_the_order_that_were_not_shown_are_named() -> None:
    gate = [0.9, 0.1, 0.2, 0.8, 0.4, 0.5]
    assert "holds in the means, but was not shown for ppo > plateau-tuned and plateau-tuned > best-fixed." in said(
        study(gate=gate)
    )


def test_another_order_is_told_with_the_means() -> None:
    text = said(study(policy=LOWEST))
    assert "does not hold (mean returns: ppo 0.300, plateau-tuned 0.500, best-fixed 0.400" in text
    assert "ppo: worse than the best fixed schedule" in text


def test_controls_that_do_as_well_mean_that_the_policy_does_not_react() -> None:
    text = said(study(shuffled_actions=UP, average_schedule=LOW))
    assert "ppo: the policy does not react, as far as was shown: as well as it does shuffled-actions (" in text
    assert "average-schedule" not in text


def test_controls_that_fall_behind_mean_that_it_reacts() -> None:
    text = said(study(shuffled_actions=LOW, average_schedule=MIDDLE))
    assert "ppo: the policy reacts: it is better than average-schedule (+0.1000 [" in text
    assert "and shuffled-actions (+0.2000 [" in text


def test_permuted_times_alone_do_not_show_that_it_reacts() -> None:
    text = said(study(shuffled_actions=LOW))
    assert "ppo: when it grows matters, it is better than shuffled-actions (+0.2000 [" in text
    assert "the policy reacts" not in text


def test_one_context_tells_nothing() -> None:
    text = said(
        compared(
            player("ppo", "learned", [0.6]),
            player(BEST_FIXED, "schedule", [0.5]),
            player("shuffled-actions", "control", [0.4]),
            player("oracle", "oracle", [0.9]),
        )
    )
    assert "whether it reacts cannot be told" in text
    assert "whether there is a gap to close cannot be told" in text
    assert "Only 1 context was played; a claim needs at least 50." in text


def test_the_share_of_the_gap_closed_by_hand() -> None:
    comparison = compared(
        player("ppo", "learned", MIDDLE), player(BEST_FIXED, "schedule", LOW), player("oracle", "oracle", UP)
    )
    assert "ppo: closes 0.500 [0.500, 0.500] of the gap to the oracle" in said(comparison)
    assert "no gap in 0 of 6 contexts" in said(comparison)


def test_without_a_gap_there_is_nothing_to_close() -> None:
    comparison = compared(
        player("ppo", "learned", MIDDLE),
        player(BEST_FIXED, "schedule", LOW),
        player("oracle", "oracle", [0.1, 0.7, 0.4, 0.3, 0.5, 0.4]),
    )
    assert "ppo: no gap to close (oracle minus best fixed" in said(comparison)


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (1, "one training seed: the interval is for this trained policy alone"),
        (3, "only 3 training seeds, a claim needs at least 10"),
        (10, "10 training seeds; the intervals cover training seeds and contexts"),
    ],
)
def test_few_training_seeds_are_warned_of(seeds: int, words: str) -> None:
    comparison = compared(player("ppo", "learned", *[UP] * seeds), player(BEST_FIXED, "schedule", LOW))
    assert f"ppo: {words}" in said(comparison)


def test_a_stronger_baseline_is_named() -> None:
    comparison = compared(
        player("ppo", "learned", MIDDLE), player(BEST_FIXED, "schedule", LOW), player("look-ahead", "search", UP)
    )
    words = "ppo: worse than look-ahead, the strongest baseline here, in contexts like these (difference -0.1000"
    assert words in said(comparison)


def test_an_ablation_is_compared_with_the_whole_policy() -> None:
    comparison = compared(
        player("ppo", "learned", UP),
        player("blind ppo", "ablation", MIDDLE),
        player("deaf ppo", "ablation", UP[::-1]),
        player(BEST_FIXED, "schedule", LOW),
    )
    assert "blind ppo: worse than ppo (ppo minus this one +0.1000" in said(comparison)
    assert "deaf ppo: no loss against ppo was shown" in said(comparison)


def test_baselines_alone_are_not_judged() -> None:
    assert said(compared(player(BEST_FIXED, "schedule", LOW))) == (
        "No learned policy played, so there is nothing to judge."
    )
