"""Which actions are legal, what they cost, and that nobody can spend more than the budget."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growenv.hardware import METERS
from growenv.vector_env import GrowthVectorEnv
from tests.rollouts import WAIT, begin, play, random_actions, started, vector_of_three

COUNTING = [name for name in METERS.names() if not name.startswith("mosaic")]


def wide_enough(meter: str) -> dict[str, Any]:
    """One crossbar holds any layer of our usual sizes, so that growth would cost nothing."""
    return {"max_hidden": (128, 128)} if meter == "crossbar" else {}


def refused_by_hand(env: GrowthVectorEnv, row: int, action: int) -> str:
    """Width, then the meter, on the network that the action would give, with heads for all tasks to come."""
    if action == 0:
        return ""
    layer, amount = int(env.actions.layer[action]), int(env.actions.amount[action])
    if env.learner.units[row, :, layer].sum() + amount > env.config.max_hidden[layer]:
        return "width"
    meter, limit = env.admission.meter, env.contexts[row].budget * env.admission.capacity
    reserved = env.admission.architecture(env.episodes, reserve=True)
    code = meter.refuse(reserved, layer, amount, env.learner.task, np.full(env.num_envs, limit))[row]
    return meter.reasons[code]


@pytest.mark.parametrize("meter", [*COUNTING, "mosaic"])
@pytest.mark.parametrize("protection", ["freeze", "finetune"])
def test_a_masked_action_is_one_that_is_too_wide_or_that_the_meter_refuses(meter: str, protection: str) -> None:
    parts = {"meter": meter, "protection": protection, "budget": (0.45, 0.8), "tasks": 3, **wide_enough(meter)}
    env, rng = vector_of_three("DISABLED", **parts), np.random.default_rng(0)
    step, seen = begin(env, seed=0), set()
    for _ in range(6):
        reasons = [[refused_by_hand(env, row, action) for action in range(5)] for row in range(3)]
        legal = np.array([[reason == "" for reason in row] for row in reasons])
        masks = env.action_masks()
        assert masks.dtype == np.bool_
        np.testing.assert_array_equal(masks, legal)
        np.testing.assert_array_equal(step.observations["action_mask"], legal)
        np.testing.assert_array_equal(step.infos["action_mask"], legal)
        assert legal[:, 0].all()
        actions, widths = random_actions(env, rng, legal=0.5), step.infos["widths"]
        step = play(env, [actions])[0]
        wanted = [reasons[row][action] for row, action in enumerate(actions)]
        assert step.infos["refusal"].tolist() == wanted
        assert step.infos["invalid_action"].tolist() == [reason != "" for reason in wanted]
        added = np.where([reason == "" for reason in wanted], env.actions.amount[actions], 0)
        assert ((step.infos["widths"] - widths).sum(axis=1) == added).all()
        seen.update(*reasons)
    assert step.terminated.all()
    assert {"", "budget"} <= seen or meter == "crossbar"


def test_a_layer_can_be_filled_but_not_overfilled() -> None:
    env = started("DISABLED", hidden=(4, 4), max_hidden=(8, 24), amounts=(4, 5), budget=1.0)
    assert env.action_masks()[0].tolist() == [True, True, False, True, True]
    play(env, [np.full(3, env.actions.index(0, 4))])
    assert env.action_masks()[0].tolist() == [True, False, False, True, True]
    assert (env.learner.units.sum(axis=1) == [8, 4]).all()


@pytest.mark.parametrize("meter", ["parameters", "mosaic"])
def test_an_illegal_action_is_waiting(meter: str) -> None:
    """It grows nothing and costs nothing; the network trains on as if the action had been to wait."""
    bad, good = (started("DISABLED", max_hidden=(4, 24), budget=1.0, meter=meter) for _ in range(2))
    illegal = np.full(3, bad.actions.index(0, 4))
    assert not bad.action_masks()[:, 1].any()
    for _ in range(3):
        given, expected = play(bad, [illegal])[0], play(good, [WAIT])[0]
        np.testing.assert_array_equal(given.rewards, expected.rewards)
        for name, values in expected.observations.items():
            np.testing.assert_array_equal(given.observations[name], values)
        for name in set(expected.infos) - {"invalid_action", "refusal"}:
            np.testing.assert_array_equal(given.infos[name], expected.infos[name], err_msg=name)
        assert given.infos["invalid_action"].all()
        assert (given.infos["refusal"] == "width").all()


def test_a_head_that_is_still_to_come_keeps_its_room() -> None:
    """Growth that would fit today is refused where a later head could then not be had."""
    env = started("DISABLED", budget=(0.32, 0.32), tasks=3, meter="parameters")
    while env.action_masks()[:, 1:].any() and not env.episodes.ended.any():
        play(env, [np.array([max(np.flatnonzero(mask)) for mask in env.action_masks()])])
    used = env.episodes.used.copy()
    reserved = env.admission.architecture(env.episodes, reserve=True)
    assert (env.admission.meter.usage(reserved) / env.admission.capacity <= 0.32 * (1 + 1e-9)).all()
    assert (used < 0.32 - 4 * 65 / env.admission.capacity).any(), "4 more units would fit if no head were to come"


@pytest.mark.parametrize("options", [*({"meter": meter} for meter in [*COUNTING, "mosaic"]), {"where": "tile"}])
@pytest.mark.parametrize("protection", ["freeze", "finetune"])
def test_an_action_costs_what_was_said_before(options: dict[str, Any], protection: str) -> None:
    """Of what is refused, only what would have a place costs something."""
    sizes = {**wide_enough(options.get("meter", "")), "budget": (0.6, 1.0), "tasks": 3, "decisions": 3}
    env, rng = vector_of_three("DISABLED", protection=protection, **{**sizes, **options}), np.random.default_rng(1)
    begin(env, seed=0)
    grown = 0
    for number in range(8):
        costs, used, codes = env.admission.costs.copy(), env.episodes.used.copy(), env.admission.codes.copy()
        assert (costs >= 0).all()
        assert (costs[:, 0] == 0).all()
        placed = np.isin(codes, [env.admission.reasons.index(reason) for reason in ("", "width", "budget")])
        assert (costs[:, 1:][~placed[:, 1:]] == 0).all()
        actions = random_actions(env, rng)
        play(env, [actions])
        if number % 3 < 2:  # else a new head has begun as well
            np.testing.assert_allclose(env.episodes.used - used, costs[np.arange(3), actions], atol=1e-12)
            grown += int((actions > 0).sum())
    assert grown > 6


@settings(max_examples=20)
@given(
    seed=st.integers(0, 1000),
    low=st.floats(0.42, 1.0),
    meter=st.sampled_from(["mosaic", "mosaic, where=tile", "parameters", "neurons", "macs", "bytes"]),
    protection=st.sampled_from(["freeze", "finetune"]),
    streams=st.sampled_from(["mixed", "split", "permuted", "rotated"]),
    legal=st.sampled_from([0.0, 0.8, 1.0]),
)
def test_random_play_keeps_the_budget_and_rewards_sum_to_the_objective(
    seed: int, low: float, meter: str, protection: str, streams: str, legal: float
) -> None:
    name, _, tile = meter.partition(", where=")
    parts = {"meter": name, "where": tile or "auto", "protection": protection, "streams": streams}
    env = vector_of_three("DISABLED", **{**parts, "budget": (low, 1.0), "minibatches": 1})
    step, rng, total = begin(env, seed=seed), np.random.default_rng(seed), np.zeros(3)
    start = step.infos["used"]
    for number in range(5):
        step = play(env, [random_actions(env, rng, legal)])[0]
        assert (step.infos["used"] <= step.infos["budget"] * (1 + 1e-9)).all()
        assert (step.infos["widths"] <= env.config.max_hidden).all()
        assert env.observation_space.contains(step.observations)
        terms = sum(step.infos[name] for name in ("reward_accuracy", "reward_cost", "reward_penalty"))
        np.testing.assert_allclose(step.rewards, terms, atol=1e-12)
        total += step.rewards
        assert (step.infos["objective"] != 0).any() == (number >= 3)
    np.testing.assert_allclose(total, step.infos["objective"], atol=1e-6)
    infos = step.infos
    expected = infos["validation_accuracy"] - infos["price"] * (infos["used"] - start)
    np.testing.assert_allclose(total, expected, atol=1e-6)
