from __future__ import annotations

import numpy as np
import pytest

from agents.evaluation import evaluation_contexts
from agents.families import levels
from agents.per_task_search import Controller, expansions, per_task_search
from growenv.config import GrowthConfig
from tests.agents.fake_env import CONFIG, FakeVectorEnv, make_contexts, with_tasks
from tests.agents.test_rehearsal import DivergingEnv


def test_expansions_take_the_layers_in_turn_as_early_as_they_can() -> None:
    plan = expansions(np.array([[0, 0], [20, 4], [48, 48]]), CONFIG)
    # 1 layer 0 +4, 2 layer 0 +16, 3 layer 1 +4, 4 layer 1 +16; four decisions in a task.
    assert plan.tolist() == [[0, 0, 0, 0], [2, 3, 1, 0], [2, 4, 2, 4]]


def test_the_controller_begins_with_small_levels() -> None:
    controller = Controller(np.array([1, 2]), 2, 4)
    # P(place < k) = sqrt(k / 4).
    ladder = [0.5, np.sqrt(0.5), np.sqrt(0.75), 1.0]
    np.testing.assert_allclose(controller.probabilities().cumsum(axis=2), np.tile(ladder, (2, 2, 1)))


def test_proposals_depend_on_the_row_alone() -> None:
    both, alone = Controller(np.array([7, 8]), 2, 10), Controller(np.array([8]), 2, 10)
    for trial in range(5):
        assert both.propose(1, trial)[1].tolist() == alone.propose(1, trial)[0].tolist()
    drawn = np.array([both.propose(task, trial) for task in range(20) for trial in range(20)])
    share = (drawn == 0).mean()
    assert abs(share - np.sqrt(0.1)) < 0.05
    assert drawn.min() == 0
    assert drawn.max() == 9


def test_one_update_by_hand() -> None:
    controller = Controller(np.array([1]), 1, 2)
    start = controller.logits.copy()
    first = controller.probabilities()[0, 0]
    controller.learn(np.array([[1]]), np.array([0.5]))  # the first reward is the baseline
    np.testing.assert_array_equal(controller.logits, start)
    controller.learn(np.array([[1]]), np.array([0.7]))
    # Advantage 0.2 over its moving size 0.2 x 0.2 is more than 1, so the step is the rate, 0.3.
    np.testing.assert_allclose(controller.logits - start, [[[-0.3 * first[0], 0.3 * (1 - first[1])]]])
    np.testing.assert_allclose(controller.baseline, 0.8 * 0.5 + 0.2 * 0.7)


def test_the_controller_learns_what_is_rewarded_in_each_row() -> None:
    controller = Controller(np.arange(2), 1, 4)
    for trial in range(200):
        places = controller.propose(0, trial)
        controller.learn(places, (places[:, 0] == np.array([0, 3])).astype(float))
    assert controller.probabilities()[0, 0].argmax() == 0
    assert controller.probabilities()[1, 0].argmax() == 3
    assert controller.probabilities().max(axis=2).min() > 0.8


def test_trials_are_counted_and_ended_ones_are_not() -> None:
    _, steps = per_task_search(CONFIG, make_contexts(3), trials=5, make_env=FakeVectorEnv)
    assert steps == 5 * 12
    longer = with_tasks(make_contexts(2, split="ood"), 5)
    records, steps = per_task_search(CONFIG, longer, trials=5, make_env=FakeVectorEnv)
    assert steps == 5 * 20
    assert {len(record.actions) for record in records} == {20}


def test_more_trials_find_more_in_the_first_task() -> None:
    config = GrowthConfig(**{**CONFIG.to_json(), "tasks": 1})
    contexts = with_tasks(make_contexts(16, price=0.1), 1)
    few, many = (
        np.mean([r.return_ for r in per_task_search(config, contexts, trials=trials, make_env=FakeVectorEnv)[0]])
        for trials in (1, 32)
    )
    # The best is 1/2 + W / (2 (W + 8)) - 0.1 W / 64 at 40 neurons: 0.8542.
    best = max(0.5 + w / (2 * (w + 8)) - 0.1 * w / 64 for w in range(0, 65, 4))
    assert few < many - 0.02
    assert best - 0.005 < many <= best + 1e-9


def test_without_a_price_that_pays_nothing_grows() -> None:
    records, _ = per_task_search(CONFIG, make_contexts(4, price=50.0), trials=32, make_env=FakeVectorEnv)
    assert sum(record.growth_events for record in records) == 0


def test_rows_search_for_themselves_and_alike_however_they_are_cut() -> None:
    contexts = [*make_contexts(2, price=0.0), *make_contexts(2, price=5.0)]
    together, _ = per_task_search(CONFIG, contexts, trials=4, make_env=FakeVectorEnv)
    apart, _ = per_task_search(CONFIG, contexts, trials=4, rows=1, make_env=FakeVectorEnv)
    assert together == apart
    assert {record.policy for record in together} == {"per-task-search"}


def test_diverged_trials_are_left_behind() -> None:
    records, steps = per_task_search(CONFIG, make_contexts(4, price=0.0), trials=12, make_env=DivergingEnv)
    assert not any(record.diverged for record in records)
    assert steps < 12 * 12


def test_no_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one trial, got 0"):
        per_task_search(CONFIG, make_contexts(1), trials=0, make_env=FakeVectorEnv)


@pytest.mark.parametrize("where", ["auto", "tile"])
def test_it_plays_real_networks(where: str) -> None:
    config = GrowthConfig(tasks=2, decisions=2, minibatches=1, where=where, budget=1.0, price=0.15)
    contexts = evaluation_contexts(config, "val", 2)
    records, steps = per_task_search(config, contexts, trials=3)
    assert steps == 3 * 4
    assert sum(record.growth_events for record in records) > 0
    assert all(len(record.actions) == 4 for record in records)
    assert len(levels(config)) == 10
