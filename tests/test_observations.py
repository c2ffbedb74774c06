"""What agents see: named, bounded, and right by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from growenv.actions import ActionTable
from growenv.config import GrowthConfig
from growenv.observations import ObservationEncoder
from growenv.vector_env import GrowthVectorEnv
from tests.rollouts import (
    SMALL,
    TASKS,
    Step,
    begin,
    context,
    play,
    random_actions,
    started,
    task,
    uneven_contexts,
    vector_of_three,
)


def feature(env: GrowthVectorEnv, step: Step, name: str) -> Any:
    """One named feature of all rows."""
    for group, names in env.feature_names.items():
        if name in names:
            return step.observations[group][:, names.index(name)]
    raise KeyError(name)


@pytest.mark.parametrize(("hidden", "amounts"), [((4, 4), (4, 16)), ((3,), (1,)), ((2, 3, 4), (1, 2, 5))])
def test_names_are_unique_and_as_many_as_there_are_features(hidden: tuple[int, ...], amounts: tuple[int, ...]) -> None:
    config = GrowthConfig(hidden=hidden, max_hidden=tuple(64 for _ in hidden), amounts=amounts)
    encoder = ObservationEncoder(config, ActionTable(len(hidden), amounts))
    names = [name for group in encoder.feature_names.values() for name in group]
    assert len(set(names)) == len(names)
    assert all(name and name == name.strip() for name in names)
    assert set(encoder.space) == {*encoder.feature_names, "action_mask"}
    for group, entries in encoder.feature_names.items():
        space = encoder.space[group]
        assert space.shape == (len(entries),)
        assert (space.low == -1).all()
        assert (space.high == 1).all()
        assert space.dtype == np.float32
    actions = 1 + len(hidden) * len(amounts)
    assert encoder.space["action_mask"].shape == (actions,)
    assert len(encoder.feature_names["budget"]) == 4 + actions - 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"protection": "finetune", "meter": "macs", "streams": "rotated"},
        {"optimizer": "sgd", "learning_rate": 1e12},
        {"learning_rate": 1e20, "divergence_penalty": 50.0},
        {"split": "ood", "price": 1000.0, "budget": 1.0},
        {"price": 0.0, "tasks": 1, "decisions": 1},
    ],
)
@pytest.mark.parametrize("mode", ["SAME_STEP", "DISABLED"])
def test_random_play_stays_within_the_bounds(options: dict[str, Any], mode: str) -> None:
    """Also while networks diverge."""
    env, rng = vector_of_three(mode, **options), np.random.default_rng(0)
    steps = [begin(env, seed=1)]
    for _ in range(8):
        steps += play(env, [random_actions(env, rng, legal=0.8)])
    for step in steps:
        for name, values in step.observations.items():
            assert np.isfinite(values).all(), name
            assert env.observation_space[name].contains(values), name  # type: ignore[index]
    assert ("learning_rate" not in options) or any(env.episodes.diverged) or mode == "SAME_STEP"


def test_features_at_the_begin_by_hand() -> None:
    env = vector_of_three(tasks=3, hidden=(4, 6), budget=1.0)
    given = [context(TASKS[:3], row, budget=0.5, price=10.0 ** (row - 2)) for row in range(3)]
    step = begin(env, options={"contexts": given})
    assert not step.observations["training"].any()
    assert feature(env, step, "width_0") == pytest.approx([4 / 24] * 3)
    assert feature(env, step, "width_1") == pytest.approx([6 / 24] * 3)
    assert feature(env, step, "grown_1") == pytest.approx([6 / 24] * 3), "the initial units are the first task's"
    assert not feature(env, step, "since_growth").any()
    used = (65 * 4 + 5 * 6 + 7 * 3) / (65 * 24 + 25 * 24 + 3 * 25 * 10)
    assert feature(env, step, "used") == pytest.approx([used] * 3)
    assert feature(env, step, "budget") == pytest.approx([0.5] * 3)
    assert feature(env, step, "budget_left") == pytest.approx([1 - used / 0.5] * 3)
    assert feature(env, step, "price") == pytest.approx([0.25, 0.5, 0.75])
    cost = 4 * (65 + 6) / (65 * 24 + 25 * 24 + 3 * 25 * 10)
    assert feature(env, step, "cost of grow layer 0 by 4") == pytest.approx([cost / (0.5 - used)] * 3)
    assert not feature(env, step, "task_progress").any()
    assert not feature(env, step, "stream_progress").any()
    assert feature(env, step, "tasks_left") == pytest.approx([2 / 3] * 3)
    assert feature(env, step, "classes") == pytest.approx([0.3] * 3)
    assert not feature(env, step, "familiarity").any()
    assert (feature(env, step, "first_task") == 1).all()


def test_features_after_decisions_equal_what_the_engine_measured() -> None:
    env = vector_of_three("DISABLED", tasks=3, budget=1.0, minibatches=8)
    begin(env, options={"contexts": uneven_contexts(3, budget=1.0)})
    *_, step = play(env, [np.array([1, 0, 4])])
    accuracy, report = step.infos["task_accuracy"], env.episodes
    chance = 1 / np.array([len(each.tasks[0].classes) for each in env.contexts])
    assert (feature(env, step, "measured") == 1).all()
    assert feature(env, step, "accuracy") == pytest.approx(accuracy)
    assert feature(env, step, "above_chance") == pytest.approx((accuracy - chance) / (1 - chance), abs=1e-6)
    assert feature(env, step, "accuracy_gain") == pytest.approx(accuracy), "the first gain is the whole"
    loss = report.validation_loss
    assert feature(env, step, "validation_loss") == pytest.approx(loss / (1 + loss))
    assert feature(env, step, "training_loss") == pytest.approx(report.late_loss / (1 + report.late_loss))
    drop = (report.early_loss - report.late_loss) / report.early_loss
    assert feature(env, step, "loss_drop") == pytest.approx(drop, abs=1e-6)
    assert feature(env, step, "confidence") == pytest.approx(report.confidence, abs=1e-6)
    gap = np.clip(loss - report.late_loss, -1, 1)
    assert feature(env, step, "generalisation_gap") == pytest.approx(gap, abs=1e-6)
    assert feature(env, step, "stream_accuracy") == pytest.approx(accuracy / np.array([1, 2, 3]), abs=1e-6)
    assert feature(env, step, "since_growth") == pytest.approx([0, 0.5, 0])
    assert feature(env, step, "task_progress") == pytest.approx([0.5] * 3)
    second, third = play(env, [np.zeros(3, dtype=int)] * 2)
    gain = second.infos["task_accuracy"][0] - accuracy[0]
    assert feature(env, second, "accuracy_gain")[0] == pytest.approx(gain, abs=1e-6)
    assert feature(env, second, "measured").tolist() == [1, 0, 0], "rows 1 and 2 have begun their next tasks"
    assert feature(env, second, "accuracy")[1:].tolist() == [0, 0]
    assert feature(env, second, "stream_progress") == pytest.approx([0, 1 / 2, 1 / 3])
    assert feature(env, second, "first_task").tolist() == [1, 0, 0]
    assert feature(env, second, "grown_0")[1:].tolist() == [0, 0]
    ended = env.episodes.accuracies[1, 0], 1 / len(env.contexts[1].tasks[0].classes)
    before = feature(env, third, "previous_above_chance")
    assert before[1] == pytest.approx((ended[0] - ended[1]) / (1 - ended[1]), abs=1e-6)
    assert before[0] == 0


def test_familiarity_is_observed_for_the_current_task() -> None:
    env = vector_of_three("DISABLED")
    streams = [
        [task(0, 1, permutation=1), task(2, 3, permutation=1)],
        [task(0, 1, permutation=1), task(2, 3, permutation=2)],
        [task(0, 1), task(0, 1)],
    ]
    begin(env, options={"contexts": [context(each, row) for row, each in enumerate(streams)]})
    *_, step = play(env, [np.zeros(3, dtype=int)] * 2)
    assert step.infos["task"].tolist() == [1, 1, 1]
    same, other, repeated = feature(env, step, "familiarity")
    assert repeated == pytest.approx(1.0)
    assert 1 > same > 0.3 > other


def test_the_agent_never_sees_inner_test_data() -> None:
    """Other inner-test samples change the final figures and nothing else."""
    few, many = (started("DISABLED", test_samples=count, minibatches=10) for count in (8, 200))
    for step in range(4):
        one, two = (play(env, [np.array([1, 0, 4]) if step == 1 else np.zeros(3, dtype=int)])[0] for env in (few, many))
        for name, values in one.observations.items():
            np.testing.assert_array_equal(values, two.observations[name])
        np.testing.assert_array_equal(one.rewards, two.rewards)
        for name in set(one.infos) - {"acc", "bwt", "fwt", "forgetting"}:
            np.testing.assert_array_equal(one.infos[name], two.infos[name], err_msg=name)
    assert (one.infos["acc"] != two.infos["acc"]).any()


def test_observations_of_default_size_are_small() -> None:
    """A network reads them all, so their number matters."""
    space = GrowthVectorEnv(1, **SMALL).single_observation_space
    assert sum(int(np.prod(each.shape)) for each in space.values()) == 11 + 5 + 8 + 6 + 5
