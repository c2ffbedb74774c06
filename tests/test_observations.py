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
        {"where": "tile", "regions": (2, 2)},
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
        if "hardware" in step.observations:
            assert (step.observations["hardware"] >= 0).all(), "shares"
    assert ("learning_rate" not in options) or any(env.episodes.diverged) or mode == "SAME_STEP"


def test_features_at_the_begin_by_hand() -> None:
    env = vector_of_three(tasks=3, hidden=(4, 6), budget=1.0, meter="parameters")
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


def test_features_of_hardware_by_hand() -> None:
    """On 3 x 3 tiles of 32 neurons everything can be read off.

    64 inputs fill the outer tiles of the first row, so only the tile between hears all of them; there stands layer 0.
    The head of three outputs stands in the middle of the last row, beside ten slots for the head to come. Between both
    stands layer 1. So every route crosses one edge router.
    """
    env = vector_of_three(hidden=(5, 4), budget=1.0)
    step = begin(env, options={"contexts": [context(TASKS[:2], row) for row in range(3)]})
    assert env.feature_names["hardware"] == ("free_slots", "free_fan_in", "free_channels", "mean_hops")
    assert env.admission.placed is not None
    floorplan = env.admission.placed.floorplan(env.admission.architecture(env.episodes), 0)
    assert floorplan.inputs.tolist() == [32, 0, 32, 0, 0, 0, 0, 0, 0]
    assert floorplan.hidden[:, 0, 0].tolist() == [0, 5, 0, 0, 0, 0, 0, 0, 0]
    assert floorplan.hidden[:, 0, 1].tolist() == [0, 0, 0, 0, 4, 0, 0, 0, 0]
    assert floorplan.outputs[:, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 3, 0]
    assert floorplan.reserved.tolist() == [0, 0, 0, 0, 0, 0, 0, 10, 0]
    assert feature(env, step, "free_slots") == pytest.approx([1 - (64 + 5 + 4 + 3 + 10) / (9 * 32)] * 3)
    channels = 64 + 5 + 4
    assert feature(env, step, "free_fan_in") == pytest.approx([1 - channels / (9 * 4 * 32)] * 3)
    # 24 edge and 16 corner routers have four inputs each, but 12 and 16 of these lie at the border, where nothing is.
    assert feature(env, step, "free_channels") == pytest.approx([1 - channels / ((24 * 4 - 12 + 16 * 4 - 16) * 32)] * 3)
    assert feature(env, step, "mean_hops") == pytest.approx([1 / 7] * 3), "the longest route crosses seven routers"


def test_growth_takes_from_what_the_hardware_has_free() -> None:
    env = vector_of_three("DISABLED", budget=1.0, max_hidden=(40, 40))
    before = begin(env, seed=0)
    *_, after = play(env, [np.array([0, 2, 4])])
    for name in ("free_slots", "free_fan_in", "free_channels"):
        fell = feature(env, after, name) < feature(env, before, name)
        assert not fell[0], f"{name} of a row that waits"
        assert fell[1:].all() or name == "free_fan_in"
    assert feature(env, before, "free_slots")[1:] - feature(env, after, "free_slots")[1:] == pytest.approx(
        [16 / 288] * 2, abs=1e-6
    )


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
    sizes = {}
    for options in ({}, {"meter": "parameters"}, {"where": "tile"}):
        space = GrowthVectorEnv(1, **SMALL, **options).single_observation_space
        sizes[str(options)] = sum(int(np.prod(each.shape)) for each in space.values())
    assert list(sizes.values()) == [11 + 5 + 8 + 6 + 4 + 5, 11 + 5 + 8 + 6 + 5, 11 + 5 + 40 + 6 + 4 + 37]
