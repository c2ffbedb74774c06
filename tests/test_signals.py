"""Signals inside the environment: they show evidence and change nothing else."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

from growenv.env import GrowthEnv
from growenv.growth.signals import ALL, SignalPanel
from growenv.testing import check_env
from growenv.vector_env import GrowthVectorEnv
from tests.rollouts import (
    SMALL,
    TASKS,
    WAIT,
    Step,
    assert_same,
    begin,
    context,
    play,
    row_of_step,
    started,
    uneven_contexts,
    vector_of_three,
)

ACTIONS = np.array([[1, 3, 0], [3, 1, 2], [0, 0, 4], [1, 0, 0], [3, 4, 1], [0, 2, 0]])


def without_signals(step: Step) -> dict[str, Any]:
    parts = dict(vars(step))
    parts["observations"] = {name: value for name, value in step.observations.items() if name != "signals"}
    parts["infos"] = {name: value for name, value in step.infos.items() if name.strip("_") != "final_obs"}
    return parts


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP"])
def test_signals_change_nothing_but_the_observation(mode: str) -> None:
    plain, shown = (vector_of_three(mode, signals=signals) for signals in ("none", "all"))
    for one, two in zip(
        [begin(plain, seed=0), *play(plain, ACTIONS)], [begin(shown, seed=0), *play(shown, ACTIONS)], strict=True
    ):
        assert "signals" not in one.observations
        values = two.observations["signals"]
        assert values.shape == (3, len(shown.feature_names["signals"]))
        assert np.isfinite(values).all() and (np.abs(values) <= 1.0).all()
        assert_same(without_signals(two), without_signals(one))


def test_signals_of_a_row_do_not_depend_on_the_others() -> None:
    contexts = uneven_contexts(3)
    together = vector_of_three("DISABLED", signals="all", budget=1.0, tasks=3)
    steps = [begin(together, options={"contexts": contexts}), *play(together, ACTIONS[:4])]
    for row in range(3):
        alone = GrowthVectorEnv(1, together.config, autoreset_mode="DISABLED")
        single = [begin(alone, options={"contexts": contexts[row : row + 1]}), *play(alone, ACTIONS[:4, [row]])]
        for one, two in zip(steps, single, strict=True):
            expected = row_of_step(one, row).observations["signals"]
            np.testing.assert_allclose(two.observations["signals"][0], expected, atol=1e-5)


def test_signals_go_on_after_a_snapshot_as_if_nothing_had_happened() -> None:
    env = started(signals="all")
    play(env, ACTIONS[:1])
    kept = env.snapshot()
    first = play(env, ACTIONS[1:4])
    env.restore(kept)
    assert_same(play(env, ACTIONS[1:4]), first)


def test_a_stream_that_ends_shows_its_last_signals_and_the_next_one_starts_afresh() -> None:
    env = vector_of_three(signals=["loss", "gap"], minibatches=3)
    begin(env, seed=0)
    last = play(env, ACTIONS[:4])[-1]
    assert last.terminated.all()
    slope = env.feature_names["signals"].index("loss_slope")
    final = np.stack([each["signals"] for each in last.infos["final_obs"]])
    assert (final[:, slope] != 0.0).all()
    assert (last.observations["signals"][:, slope] == 0.0).all(), "nothing has been trained in the new stream"


def test_rows_that_idle_keep_their_signals() -> None:
    env = vector_of_three("DISABLED", signals="all", budget=1.0)
    begin(env, options={"contexts": [context(inner_seed=1), *uneven_contexts(2)]})
    shown = [step.observations["signals"] for step in play(env, ACTIONS[:4])]
    assert (shown[2][1] == shown[1][1]).all() and (shown[3][1] == shown[1][1]).all(), "row 1 has a single task"
    assert (shown[3][0] != shown[1][0]).any()


def test_a_panel_refuses_features_of_one_name_and_arrays_of_another_shape() -> None:
    with pytest.raises(ValueError, match="given twice: loss_curvature, loss_slope"):
        SignalPanel(("loss", "loss"), 2, 2)
    assert set(ALL) == {"loss", "gap", "gradmax", "gradient", "rank", "dead", "senn", "noracl", "firefly", "gain"}


@pytest.mark.parametrize("check", [gymnasium_check, sb3_check], ids=["gymnasium", "stable-baselines3"])
def test_both_checkers_pass_with_all_signals(check: Any) -> None:
    env = gym.make("growenv/MixedDigits-v1", **{**SMALL, "signals": "all"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(env.unwrapped)


@pytest.mark.parametrize(
    "options",
    [{}, {"protection": "finetune", "meter": "parameters"}, {"hidden": (4, 0)}],
    ids=["", "finetune", "deeper"],
)
def test_our_own_checker_passes_with_all_signals(options: dict[str, Any]) -> None:
    check_env(**SMALL, **options, signals="all")


def test_every_feature_is_documented() -> None:
    text = GrowthEnv.__doc__ or ""
    for name in GrowthVectorEnv(1, **SMALL, signals="all").feature_names["signals"]:
        stem = name.removesuffix("_0").removesuffix("_1")
        assert stem in text or f"{stem}_l" in text, name


def test_a_new_task_is_seen_before_anything_has_been_trained() -> None:
    env = started("DISABLED", tasks=2, minibatches=3, signals="all")
    begin(env, options={"contexts": [context(TASKS[:2], row) for row in range(3)]})
    names = env.feature_names["signals"]
    _, switched, after = play(env, [np.full(3, 3), WAIT, WAIT])
    shown = {name: switched.observations["signals"][:, number] for number, name in enumerate(names)}
    for name in ("loss_slope", "accuracy_gap", "overfitting_risk", "plasticity_0", "plasticity_1"):
        assert not shown[name].any(), name
    for name in ("rank_ratio_0", "rank_ratio_1", "saturation_0", "saturation_1"):
        assert (shown[name] == 0.5).all(), name
    for name in ("sv_share_0", "gradient_ratio_0", "gradient_ratio_1", "weight_rank_0", "ff_gain_0", "senn_gain_0"):
        assert not shown[name].any(), f"{name}: everything is frozen, so nothing hears layer 0"
    for name in ("sv_share_1", "ff_gain_1", "senn_gain_1", "gradient_ratio_head", "rank_0", "rank_1"):
        assert shown[name].all(), name
    assert (after.observations["signals"][:, names.index("loss_slope")] != 0).all()


def test_looking_less_often_shows_the_last_look_in_between() -> None:
    sizes = {"tasks": 2, "decisions": 3, "budget": 1.0, "minibatches": 3, "signals": "all"}
    often, seldom = (started("DISABLED", **sizes, signals_every=every) for every in (1, 2))
    one, two = ([step.observations["signals"] for step in play(env, ACTIONS)] for env in (often, seldom))
    memoryless = [not name.startswith("plasticity") for name in often.feature_names["signals"]]
    for step in (1, 2, 4):  # after two decisions of a task, and when the next one begins
        np.testing.assert_array_equal(one[step][:, memoryless], two[step][:, memoryless])
    np.testing.assert_array_equal(two[3], two[2])
    assert (one[3] != one[2]).any(axis=1).all()


def test_a_row_that_diverges_leaves_the_signals_of_the_others_alone() -> None:
    env, healthy = (started("DISABLED", signals="all") for _ in range(2))
    env.learner.network.weights[0][1] = float("inf")
    one, two = (play(each, [WAIT])[0] for each in (env, healthy))
    assert env.observation_space.contains(one.observations)
    np.testing.assert_array_equal(one.observations["signals"][[0, 2]], two.observations["signals"][[0, 2]])


def test_a_snapshot_continues_in_an_environment_that_has_never_begun() -> None:
    env = started(signals="all")
    play(env, ACTIONS[:3])
    kept = env.snapshot()
    expected = play(env, ACTIONS[3:])
    fresh = vector_of_three(signals="all")
    fresh.restore(kept)
    assert_same(play(fresh, ACTIONS[3:]), expected)
