from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agents.comparison import BEST_FIXED
from agents.evaluation import evaluation_contexts, play
from agents.policy import PolicySpec
from agents.report.showcase import Showcase, mean_matrix, replay_course, showcase, typical
from growenv.vector_env import GrowthVectorEnv
from tests.agents.report.played import TINY, compared, player, tiny_comparison


@pytest.fixture(scope="module")
def shown() -> Showcase:
    return showcase(tiny_comparison(), 4)


def test_replays_give_the_recorded_returns(shown: Showcase) -> None:
    assert shown.replayed == 4
    assert shown.deviation < 1e-9
    comparison = tiny_comparison()
    for name, course in shown.courses.items():
        recorded = [each.return_ for each in comparison.player(name).records if each.index == shown.context.index]
        np.testing.assert_allclose(course.return_, recorded[0], atol=1e-9)


def test_another_recorded_return_is_noticed() -> None:
    records = tiny_comparison().player("ppo").records[:2]
    wrong = [records[0], replace(records[1], return_=records[1].return_ + 0.25)]
    _, deviation = mean_matrix(TINY, wrong)
    np.testing.assert_allclose(deviation, 0.25, atol=1e-9)


def test_the_mean_matrix_agrees_with_the_recorded_metrics() -> None:
    records = tiny_comparison().player("ppo").records
    matrix, _ = mean_matrix(TINY, records)
    assert matrix.shape == (2, 2)
    np.testing.assert_allclose(matrix[-1].mean(), np.mean([record.acc for record in records]), atol=1e-9)


def test_tasks_that_nobody_measured_stay_unknown() -> None:
    config = replace(TINY, tasks=3)
    records = play(PolicySpec("never"), config, evaluation_contexts(config, "val", 2))
    matrix, _ = mean_matrix(config, records)
    np.testing.assert_array_equal(np.isnan(matrix), [[False, False, True], [False] * 3, [False] * 3])


def test_a_course_shows_what_happened_in_each_decision() -> None:
    config = replace(TINY, tasks=2, decisions=3, price=0.1, budget=1.0)
    (record,) = play(PolicySpec("never"), config, evaluation_contexts(config, "val", 1))
    course = replay_course(config, replace(record, actions=(0, 1, 0, 3, 0, 0)))
    np.testing.assert_array_equal(course.task, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(course.widths, [[4, 4], [8, 4], [8, 4], [8, 8], [8, 8], [8, 8]])
    assert course.growth == ((1, 0, 0, 4), (3, 1, 1, 4))
    assert (np.diff(course.used) >= 0).all()
    assert course.used[1] > course.used[0]
    assert course.picture.dtype == np.uint8
    assert course.picture.ndim == 3


def test_streams_of_the_ood_split_are_replayed_whole() -> None:
    records = play(PolicySpec("periodic"), TINY, evaluation_contexts(TINY, "ood", 1))
    length = len(records[0].context["tasks"])
    assert length > TINY.tasks
    matrix, deviation = mean_matrix(TINY, records)
    assert matrix.shape == (length, length)
    assert deviation < 1e-9
    assert len(replay_course(TINY, records[0]).task) == len(records[0].actions)


def test_the_context_shown_is_the_median_of_those_with_an_advantage() -> None:
    policy, fixed = np.array([0.9, 0.6, 0.1, 0.7, 0.8]), np.full(5, 0.5)
    place, words = typical(policy, fixed)  # advantages 0.4, 0.1, 0.2 and 0.3: the lower one in the middle is 0.2
    assert place == 3
    assert "higher than the best fixed schedule's in 4 of 5 contexts" in words
    assert "the median difference of these, +0.200" in words


def test_without_an_advantage_the_median_of_all_is_shown() -> None:
    place, words = typical(np.array([0.1, 0.2, 0.3]), np.full(3, 0.5))
    assert place == 1
    assert "in 0 of 3 contexts" in words
    assert "the median difference of all, -0.300" in words


def test_the_replays_are_played_without_signals() -> None:
    made = []

    def make_env(config, rows):
        made.append(config.signals)
        return GrowthVectorEnv(rows, config, autoreset_mode="DISABLED")

    comparison = tiny_comparison()
    showcase(replace(comparison, config=replace(TINY, signals=("loss",))), 1, make_env)
    assert made == [(), ()]


def test_nothing_to_show_is_refused() -> None:
    with pytest.raises(ValueError, match="a showcase needs a learned policy and an episode, got 0 and 4"):
        showcase(compared(player(BEST_FIXED, "schedule", [0.5])), 4)
    with pytest.raises(ValueError, match="got 1 and 0"):
        showcase(tiny_comparison(), 0)
