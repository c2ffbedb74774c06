"""Controls keep what they promise of a learned policy's growth, and change the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agents import schedules  # noqa: F401  (registers the policies)
from agents.controls import average_growth, lost_growth, open_loop, play_sequences, shuffled, static_final
from agents.evaluation import EpisodeRecord, play
from agents.policy import CheapestRegion, PolicySpec
from agents.replay import replay
from growenv.config import GrowthConfig
from tests.agents.fake_env import CONFIG, FakeVectorEnv, make_contexts, with_tasks
from tests.agents.scripted import interface

# CONFIG: 3 tasks of 4 decisions, 2 layers from 8 to at most 40 neurons, amounts 4 and 16.
# 0 wait, 1 layer 0 +4, 2 layer 0 +16, 3 layer 1 +4, 4 layer 1 +16
ONE_LAYER = replace(CONFIG, hidden=(8,), max_hidden=(40,), tasks=1)  # 0 wait, 1 +4, 2 +16


def record(actions: Sequence[int], number: int = 0, split: str = "val", **changes: Any) -> EpisodeRecord:
    """An episode with these actions."""
    context = make_contexts(number + 1, split=split)[number]
    fields = {"bwt": 0.0, "fwt": 0.0, "forgetting": 0.0, "cost": 0.2, "invalid": 0, "diverged": False}
    grown = sum(action != 0 for action in actions)
    values = {**fields, "return_": 0.5, "accuracy": 0.6, "acc": 0.6, "growth_events": grown, "actions": tuple(actions)}
    place = {"index": number, "inner_seed": context.inner_seed, "price": context.price, "budget": context.budget}
    return EpisodeRecord(policy="ppo", context=context.to_json(), **place, **(values | changes))


# --- shuffled --------------------------------------------------------------------------------------------------------


def test_shuffled_actions_keep_their_counts_and_lose_their_times() -> None:
    written = (2, 4, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0)
    records = [record(written, number) for number in range(40)]
    sequences = shuffled(records, CONFIG, seed=3)
    assert all(Counter(sequence) == Counter(written) for sequence in sequences)
    assert len(set(sequences)) == 40
    when = np.array([sequence.index(2) for sequence in sequences])
    assert 3.5 < when.mean() < 7.5  # uniform over 12 decisions: 5.5 +- 3.5 / sqrt(40)


def test_a_permutation_depends_on_seed_and_inner_seed_only() -> None:
    records = [record((2, 4, 0, 0, 1, 3, 0, 0, 0, 0, 0, 0), number) for number in range(6)]
    whole = shuffled(records, CONFIG, seed=3)
    assert whole[4:] == shuffled(records[4:], CONFIG, seed=3)
    assert whole != shuffled(records, CONFIG, seed=4)


def test_growth_that_does_not_fit_at_its_new_time_is_lost_and_counted() -> None:
    contexts = make_contexts(20, budget=0.3)  # 19 of 64 neurons: 4 + 4 fit, and so does 16, but not 4 and 16
    either = [(1, *(0,) * 10, 2), (2, *(0,) * 10, 1)] * 10
    played = play(replay(either), CONFIG, contexts, make_env=FakeVectorEnv)
    assert {taken.actions for taken in played} == {(1, *(0,) * 11), (2, *(0,) * 11)}
    lost = lost_growth(either, played)
    assert (lost.wanted, lost.lost) == (40, 20)
    assert str(lost) == "20 of 40 growths (50.0%) were illegal when they came, and were lost"


def test_shuffled_growth_that_fits_anywhere_is_carried_out() -> None:
    contexts = make_contexts(20)
    records = play(PolicySpec("periodic", {"every": 3}), CONFIG, contexts, make_env=FakeVectorEnv)
    sequences = shuffled(records, CONFIG)
    played = play(replay(sequences), CONFIG, contexts, make_env=FakeVectorEnv)
    assert lost_growth(sequences, played).lost == 0
    assert [taken.actions for taken in played] == list(sequences)
    assert [taken.cost for taken in played] == [taken.cost for taken in records]


def test_lost_growth_needs_an_episode_for_each_sequence() -> None:
    with pytest.raises(ValueError, match="got 2 and 1"):
        lost_growth([(0,), (1,)], [record((0,))])
    assert str(lost_growth([(0,)], [record((0,))])).startswith("0 of 0 growths (0.0%)")


# --- static network of the final size --------------------------------------------------------------------------------


def test_the_final_size_is_asked_for_at_once_largest_amounts_first_layers_in_turn() -> None:
    # layer 0 gains 5 x 4 = 20 = 16 + 4, layer 1 gains 16 + 4 + 4 = 24
    taken = (1, 1, 1, 1, 1, 0, 3, 0, 4, 3, 0, 0)
    assert static_final([record(taken)], CONFIG) == ((2, 4, 1, 3, 3),)


def test_the_final_sizes_agree_where_everything_fits() -> None:
    contexts = make_contexts(4)
    records = play(PolicySpec("periodic", {"every": 3}), CONFIG, contexts, make_env=FakeVectorEnv)
    sequences = static_final(records, CONFIG)
    played = play(play_sequences(sequences), CONFIG, contexts, make_env=FakeVectorEnv)
    assert [taken.cost for taken in played] == [taken.cost for taken in records] == [0.25] * 4
    assert lost_growth(sequences, played).lost == 0
    assert all(taken.actions[0] != 0 for taken in played)


def test_amounts_that_do_not_divide_each_other_keep_the_policys_own_requests() -> None:
    config = replace(ONE_LAYER, amounts=(4, 6))  # 4 + 4 = 8 is no sum of 6 and 4 with a 6 in it
    assert static_final([record((1, 0, 1))], config) == ((1, 1),)
    wide = replace(ONE_LAYER, amounts=(1, 15, 16), max_hidden=(60,))  # 30 = 15 + 15, not 16 and fourteen times 1
    assert static_final([record((2, 0, 2))], wide) == ((2, 2),)


def test_a_policy_that_never_grew_has_an_empty_sequence() -> None:
    assert static_final([record((0, 0, 0))], CONFIG) == ((),)


# --- average schedule ------------------------------------------------------------------------------------------------


def test_the_average_counts_neurons_for_each_task_decision_and_layer() -> None:
    average = average_growth([record((2, 0, 0, 0, 3)), record((1, 0, 0, 0, 4))], CONFIG)
    assert average.shape == (3, 4, 2)
    np.testing.assert_array_equal(average[0, 0], [10.0, 0.0])  # (16 + 4) / 2
    np.testing.assert_array_equal(average[1, 0], [0.0, 10.0])
    assert average.sum() == 20.0


def test_the_schedule_follows_the_cumulative_average_by_hand() -> None:
    # +4 in two of three episodes at decision 0, +16 in one of three at decision 1, +4 in all at decision 3.
    # Sums: 8/3, 8, 8, 12. Nearest: 4 (1.33 away, waiting 2.67), 8, wait, 12.
    records = [record((1, 2, 0, 1)), record((1, 0, 0, 1)), record((0, 0, 0, 1))]
    spec = open_loop(records, ONE_LAYER)
    rules = [(rule["task"], rule["decision"], rule["layer"], rule["amount"]) for rule in spec.options["rules"]]
    assert rules[:3] == [(0, 0, 0, 4), (0, 1, 0, 4), (0, 3, 0, 4)]


def test_a_tie_waits() -> None:
    spec = open_loop([record((1, 0, 0, 0)), record((0, 0, 0, 0))], ONE_LAYER)  # 2 of 4 neurons
    assert not [rule for rule in spec.options["rules"] if rule["task"] == 0]


def test_longer_streams_go_on_with_the_averages_of_the_last_task() -> None:
    one = replace(CONFIG, hidden=(8,), max_hidden=(400,), tasks=5)
    records = [record((0,) * 16 + (0, 1, 0, 0)), record((0,) * 16 + (0, 1, 0, 0))]
    rules = open_loop(records, one).options["rules"]
    assert [(rule["task"], rule["decision"]) for rule in rules] == [(4, 1), (5, 1), (6, 1), (7, 1)]  # ood: 8 tasks


def test_the_schedule_stays_within_the_largest_widths() -> None:
    tight = replace(ONE_LAYER, max_hidden=(22,))  # room for 14: 16 would be nearer to 12, but never fits
    records = [record((1, 1, 1, 0))]
    together = [rule["amount"] for rule in open_loop(records, tight).options["rules"]]
    assert together == [4, 4, 4]
    late = replace(ONE_LAYER, amounts=(16,), max_hidden=(22,))
    assert open_loop([record((0, 0, 0, 0))], late).options["rules"] == []


def test_the_schedule_plays_the_same_everywhere_in_longer_streams_too() -> None:
    contexts = make_contexts(6)
    records = play(PolicySpec("periodic", {"every": 3}), CONFIG, contexts, make_env=FakeVectorEnv)
    spec = open_loop(records, CONFIG, label="average-schedule")
    played = play(spec, CONFIG, with_tasks(contexts, 5), make_env=FakeVectorEnv)
    assert {taken.actions[:12] for taken in played} == {records[0].actions}  # a schedule is its own average
    assert len({taken.actions for taken in played}) == 1
    assert played[0].policy == "average-schedule"


def test_an_episode_that_ended_early_grows_no_further() -> None:
    average = average_growth([record((1,)), record((1, 1))], ONE_LAYER)
    np.testing.assert_array_equal(average[0, :, 0], [4.0, 2.0, 0.0, 0.0])


# --- regions ---------------------------------------------------------------------------------------------------------

TILED = GrowthConfig(
    tasks=2, decisions=2, minibatches=1, validation_samples=16, test_samples=16, max_hidden=(24, 24), where="tile",
    regions=(1, 2), budget=0.9,
)  # fmt: skip
# 0 wait, 1 layer 0 +4 in region 0, 2 the same in region 1, 3 and 4 layer 0 +16, ..., 8 layer 1 +16 in region 1


def test_shuffling_keeps_regions_and_counting_neurons_leaves_them_out() -> None:
    taken = record((2, 0, 6, 1))
    assert Counter(shuffled([taken], TILED)[0]) == Counter((2, 0, 6, 1))
    assert static_final([taken], TILED) == ((1, 3, 1),)  # layer 0 gains 8 in two requests, layer 1 gains 4
    assert average_growth([taken], TILED).sum() == 12.0


def test_sequences_without_regions_grow_in_the_cheapest_region() -> None:
    from agents.evaluation import evaluation_contexts

    contexts = evaluation_contexts(TILED, "val", 2)
    sequences = ((1, 3), (3, 1))
    played = play(play_sequences(sequences), TILED, contexts)
    assert lost_growth(sequences, played).lost == 0
    assert all({(action - 1) // 2 for action in taken.actions[:2]} == {0, 2} for taken in played)


def test_without_regions_a_replay_is_a_plain_one() -> None:
    assert not isinstance(play_sequences([(0,)])(interface()), CheapestRegion)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("control", [shuffled, static_final, open_loop])
def test_records_that_are_missing_or_of_another_environment_are_refused(control: Any) -> None:
    with pytest.raises(ValueError, match="got none"):
        control([], CONFIG)
    with pytest.raises(ValueError, match=r"hold action 5, but the environment has actions 0 to 4"):
        control([record((0, 5))], CONFIG)


@pytest.mark.parametrize("control", [static_final, open_loop])
def test_records_with_illegal_actions_are_refused(control: Any) -> None:
    with pytest.raises(ValueError, match=r"2 illegal actions .* of 'ppo'.* obeys the mask"):
        control([record((1, 1), invalid=2)], CONFIG)


def test_the_average_schedule_is_not_made_from_test_contexts() -> None:
    with pytest.raises(ValueError, match=r"from train or val contexts, got records of the split test"):
        open_loop([record((0, 1), split="test")], CONFIG)


def test_the_average_schedule_refuses_longer_streams() -> None:
    with pytest.raises(ValueError, match="at most 4 decisions in 1 tasks, got 5"):
        open_loop([record((0,) * 5)], ONE_LAYER)
