"""What a scenario hides from the learner is not in the agent's view either."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from growenv.streams import SCENARIOS, Scenario
from growenv.vector_env import GrowthVectorEnv
from tests.rollouts import SMALL, TASKS, WAIT, Step, assert_same, begin, context, play, started, task

HIDDEN_WITHOUT_BOUNDARIES = {
    *("measured", "accuracy", "above_chance", "accuracy_gain", "validation_loss", "generalisation_gap"),
    *("previous_above_chance", "since_growth", "grown_0", "grown_1"),
}
HIDDEN_WITHOUT_IDENTITY = {"stream_accuracy", "previous_above_chance"}
OF_TASKS = {"task_progress", "stream_progress", "tasks_left", "classes", "familiarity", "first_task"}
SAME = tuple(name for name in SCENARIOS.names() if name not in ("task-free", "domain-incremental", "multitask"))
SIZES: dict[str, Any] = {**SMALL, "tasks": 3, "decisions": 3, "budget": 1.0, "protection": "finetune"}


def names(env: GrowthVectorEnv) -> set[str]:
    return {name for group in env.feature_names.values() for name in group}


def made(scenario: str | Scenario, **options: Any) -> GrowthVectorEnv:
    return GrowthVectorEnv(2, scenario=scenario, autoreset_mode="DISABLED", **{**SIZES, **options})


def begun(scenario: str, **options: Any) -> tuple[GrowthVectorEnv, Step]:
    env = made(scenario, **options)
    return env, begin(env, seed=0)


@pytest.mark.parametrize("scenario", SAME)
def test_who_knows_tasks_and_boundaries_sees_all_features(scenario: str) -> None:
    env, first = begun(scenario)
    assert env.feature_names == made("task-incremental").feature_names
    assert {"task", "task_accuracy"} <= set(first.infos)


def test_without_boundaries_and_identity_neither_is_seen() -> None:
    every = names(made("task-incremental"))
    env, first = begun("task-free")
    assert every - names(env) == HIDDEN_WITHOUT_BOUNDARIES | HIDDEN_WITHOUT_IDENTITY | OF_TASKS
    assert "task" not in env.feature_names
    assert env.feature_names["training"] == ("training_loss", "loss_drop", "confidence")
    assert env.feature_names["architecture"] == ("width_0", "width_1")
    assert set(env.encoder.space) == {*env.feature_names, "action_mask"} == set(first.observations)
    hidden = {"task", "_task", "task_accuracy", "_task_accuracy"}
    assert set(begun("task-incremental")[1].infos) - set(first.infos) == hidden


def test_boundaries_without_identity_say_when_but_not_which() -> None:
    env, first = begun("domain-incremental")
    assert names(made("task-incremental")) - names(env) == HIDDEN_WITHOUT_IDENTITY | OF_TASKS
    assert "task" not in env.feature_names
    assert "task" not in first.infos
    assert "task_accuracy" in first.infos


def test_all_tasks_at_once_have_no_boundaries() -> None:
    env, first = begun("multitask")
    assert names(made("task-incremental")) - names(env) == HIDDEN_WITHOUT_BOUNDARIES | OF_TASKS
    assert not {"task", "task_accuracy"} & set(first.infos)
    place = env.feature_names["training"].index("stream_accuracy")
    step = play(env, [WAIT[:2]])[0]
    np.testing.assert_allclose(step.observations["training"][:, place], step.infos["validation_accuracy"], rtol=1e-6)
    assert (env.episodes.accuracies > 0).sum() > 2, "tasks are measured that are not current"


def assert_alike_until(scenario: str | Scenario, one: Any, two: Any, decisions: int, **options: Any) -> None:
    """Two streams bring the same for so many decisions, and something else at some time after."""
    seen = []
    for stream in (one, two):
        env = made(scenario, **options)
        first = begin(env, options={"contexts": [stream, stream]})
        actions = [np.full(2, number % 2) for number in range(9)]
        seen.append([first, *play(env, actions)])
    for before, after in zip(seen[0][: decisions + 1], seen[1][: decisions + 1], strict=True):
        assert_same(after.observations, before.observations)
    with pytest.raises(AssertionError):
        assert_same([step.observations for step in seen[1]], [step.observations for step in seen[0]])


@pytest.mark.parametrize("scenario", ["task-incremental", "class-incremental", "domain-incremental"])
def test_tasks_to_come_cannot_be_seen(scenario: str) -> None:
    one, two = (context((task(0, 1), later, TASKS[2])) for later in (task(2, 3), task(4, 5)))
    assert_alike_until(scenario, one, two, decisions=2)


@pytest.mark.parametrize("meter", ["mosaic", "parameters"])
def test_task_free_streams_are_alike_as_far_as_their_data_are(meter: str) -> None:
    """Samples of the second task come in from the last quarter of the first, which is its third decision."""
    one, two = (context((task(0, 1), later, TASKS[2])) for later in (task(2, 3), task(4, 5)))
    assert_alike_until("task-free", one, two, decisions=2, meter=meter)
    # The same data go on in one of them; that a task ended cannot be seen as long as its successor brings none.
    crisp = replace(SCENARIOS.make("task-free"), name="crisp", fuzzy=1e-9)
    longer, shorter = context((task(0, 1), task(0, 1), task(2, 3))), context((task(0, 1), task(2, 3), task(0, 1)))
    assert_alike_until(crisp, longer, shorter, decisions=3, meter=meter)


@pytest.mark.parametrize("protection", ["finetune", "freeze", "ewc", "replay"])
def test_a_task_that_goes_on_looks_like_a_longer_one(protection: str) -> None:
    """The same data under boundaries at other places: two tasks of three decisions, or one of six."""
    crisp = replace(SCENARIOS.make("task-free"), name="crisp", fuzzy=1e-9)
    short = made(crisp, protection=protection, decisions=3)
    long = made(crisp, protection=protection, decisions=6)
    parts = (task(0, 1), task(0, 1), task(0, 1))
    first = begin(short, options={"contexts": [context(parts)] * 2})
    assert_same(begin(long, options={"contexts": [context(parts)] * 2}).observations, first.observations)
    hidden = {"validation_accuracy", "reward_accuracy"}  # they belong to the reward, which knows the tasks
    for number in range(5):
        action = np.full(2, 1 + 2 * (number % 2))
        one, two = play(short, [action])[0], play(long, [action])[0]
        assert_same(two.observations, one.observations)
        shown = {name for name in one.infos if name not in hidden}
        assert_same({name: two.infos[name] for name in shown}, {name: one.infos[name] for name in shown})


def test_signals_are_refused_where_the_current_task_is_hidden() -> None:
    with pytest.raises(ValueError, match="the scenario 'task-free' does not tell when tasks begin, and signals look"):
        made("task-free", signals=["gap"])


def test_chance_is_one_among_the_classes_seen_where_answers_are_chosen_among_them() -> None:
    for scenario, choices in (("class-incremental", 4), ("class-incremental-max", 4), ("task-incremental", 2)):
        env = made(scenario, decisions=1, minibatches=30, validation_samples=128)
        begin(env, options={"contexts": [context((task(0, 1), task(2, 3), task(4, 5)))] * 2})
        play(env, [WAIT[:2]])
        step = play(env, [WAIT[:2]])[0]  # the second task has ended, the third has begun
        place = env.feature_names["training"].index("previous_above_chance")
        chance = 1 / (6 if choices == 4 else 2)
        accuracy = env.episodes.accuracies[:, 1]
        expected = (accuracy - chance) / (1 - chance)
        np.testing.assert_allclose(step.observations["training"][:, place], expected, rtol=1e-6)
        assert env.episodes.choices(np.array([1, 1])).tolist() == [round(1 / chance)] * 2


def test_old_tasks_are_measured_again_where_they_can_change() -> None:
    """Frozen networks keep their answers for ever where the task is told, but not where classes compete."""
    for scenario, fixed in (("task-incremental", True), ("class-incremental-max", False)):
        env = made(scenario, protection="freeze", decisions=2, minibatches=30)
        begin(env, options={"contexts": [context((task(0, 1), task(2, 3), task(4, 5)))] * 2})
        play(env, [WAIT[:2]] * 2)
        ended = env.episodes.accuracies[:, 0].copy()
        play(env, [np.full(2, 2), np.full(2, 4), WAIT[:2]])
        assert (env.episodes.accuracies[:, 0] == ended).all() == fixed
        measured = env.learner.accuracy("validation", np.zeros(2, dtype=np.int64))
        if fixed:
            np.testing.assert_allclose(measured, ended)


@pytest.mark.parametrize("scenario", ["class-incremental", "domain-incremental", "task-free"])
@pytest.mark.parametrize("meter", ["mosaic", "parameters"])
def test_one_shared_head_needs_nothing_in_reserve(scenario: str, meter: str) -> None:
    env = started("DISABLED", scenario=scenario, protection="finetune", meter=meter, tasks=3)
    now, reserved = (env.admission.architecture(env.episodes, reserve=each) for each in (False, True))
    assert now.outputs.tolist() == reserved.outputs.tolist() == [[0, 0, 10]] * 3
    used = env.episodes.used.copy()
    play(env, [WAIT] * 4)
    np.testing.assert_array_equal(env.episodes.used, used)
    if meter == "parameters":
        # 64 inputs, 24 + 24 units, 10 outputs at most.
        assert env.admission.capacity == 65 * 24 + 25 * 24 + 25 * 10
        np.testing.assert_allclose(used * env.admission.capacity, 65 * 4 + 5 * 4 + 5 * 10)
