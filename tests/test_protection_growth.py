"""Growth that a protection asks for must fit as an agent's does."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from growenv.vector_env import GrowthVectorEnv
from tests.giving import Asking, Ending, Taking
from tests.rollouts import SMALL, WAIT, assert_same, begin, play, random_actions, started


def asking(amounts: list[int], layer: int = 0, **options: Any) -> GrowthVectorEnv:
    return started("DISABLED", protection=Asking(layer, amounts), **{"decisions": 3, **options})


@pytest.mark.parametrize("meter", ["mosaic", "parameters"])
def test_growth_is_admitted_wholly_or_not_at_all_as_an_action_would_be(meter: str) -> None:
    env = asking([4, 16, 0], meter=meter, budget=(0.45, 0.5), max_hidden=(32, 32))
    legal = env.action_masks()
    used = env.episodes.used.copy()
    expected = [4 if legal[0, 1] else 0, 16 if legal[1, 2] else 0, 0]
    costs = env.admission.costs[np.arange(3), [1, 2, 0]]
    step = play(env, [WAIT])[0]
    protection: Any = env.learner.protection
    assert protection.got == [expected]
    assert step.infos["widths"][:, 0].tolist() == [4 + amount for amount in expected]
    np.testing.assert_allclose(env.episodes.used - used, np.where(expected, costs, 0.0), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(step.infos["reward_cost"], -env.episodes.price * (env.episodes.used - used), atol=1e-15)


@pytest.mark.parametrize("meter", ["mosaic", "parameters"])
def test_a_budget_ends_it_and_the_log_has_it(meter: str) -> None:
    env = asking([4, 4, 4], layer=1, meter=meter, budget=(0.45, 0.6), minibatches=8)
    while True:
        step = play(env, [WAIT])[0]
        assert (env.episodes.used <= env.episodes.budget * (1 + 1e-9)).all()
        if step.terminated.all():
            break
    protection: Any = env.learner.protection
    got = np.array(protection.got)
    assert (got == 0).any()
    assert (got == 4).any()
    for row in range(3):
        log = json.loads(step.infos["growth_log"][row])
        assert [entry[3] for entry in log] == [amount for amount in got[:, row].tolist() if amount]
        assert {entry[2] for entry in log} <= {1}
        assert [entry[0] for entry in log] == sorted(entry[0] for entry in log)


def test_layers_stay_within_their_widths() -> None:
    env = asking([21, 20, 1], budget=1.0, meter="neurons", max_hidden=(24, 24))
    step = play(env, [WAIT])[0]
    assert step.infos["widths"][:, 0].tolist() == [4, 24, 5]


def test_growth_of_actions_and_protections_in_one_decision_adds_up() -> None:
    env = asking([4, 4, 4], budget=1.0)
    step = play(env, [np.full(3, env.actions.index(0, 4))])[0]
    assert step.infos["widths"][:, 0].tolist() == [12, 12, 12]
    assert env.episodes.since_growth.tolist() == [0, 0, 0]


def test_the_end_of_a_task_and_the_beginning_of_the_next_can_grow() -> None:
    env = started("DISABLED", protection=Ending(0, [2, 2, 2]), budget=1.0, decisions=2)
    protection: Any = env.learner.protection
    assert protection.got == [[0, 0, 0]], "the initial network is what the options say"
    steps = play(env, [WAIT] * 4)
    assert protection.got[1:] == [[2, 2, 2], [2, 2, 2]]
    assert json.loads(steps[-1].infos["growth_log"][0]) == [[2, 0, 0, 2], [2, 1, 0, 2]]
    assert env.learner.units[0, :, 0].tolist() == [6, 2]
    assert (env.episodes.used <= env.episodes.budget).all()


def test_idle_rows_get_nothing_and_new_streams_begin_small() -> None:
    env = started("DISABLED", protection=Asking(0, [2, 2, 2]), budget=1.0, tasks=1, decisions=1)
    play(env, [WAIT])
    widths = env.learner.network.widths.copy()
    play(env, [WAIT])
    np.testing.assert_array_equal(env.learner.network.widths, widths)
    step = begin(env, options={"reset_mask": np.array([True, False, False])})
    assert step.infos["widths"][:, 0].tolist() == [4, 6, 6]


def test_units_that_a_protection_takes_away_leave_the_hardware_too() -> None:
    env = started("DISABLED", protection=Taking(), hidden=(8, 8), budget=1.0, decisions=3, minibatches=2)
    used = env.episodes.used.copy()
    step = play(env, [WAIT])[0]
    assert step.infos["widths"][:, 0].tolist() == [7, 7, 7]
    assert (env.episodes.used < used).all()
    step = play(env, [np.full(3, env.actions.index(1, 4))])[0]
    assert step.infos["widths"].tolist() == [[6, 12]] * 3


def test_rows_and_snapshots_are_kept_apart() -> None:
    options = {**SMALL, "protection": Asking(0, [4]), "decisions": 3, "max_hidden": (24, 24), "budget": (0.4, 0.6)}
    many = GrowthVectorEnv(3, autoreset_mode="DISABLED", **{**options, "protection": Asking(0, [4, 4, 4])})
    many.reset(seed=0)
    rng = np.random.default_rng(0)
    kept, actions = many.snapshot(), []
    for _ in range(4):
        actions.append(random_actions(many, rng))
        last = play(many, [actions[-1]])[0]
    many.restore(kept)
    assert_same(play(many, actions)[-1], last)
    alone = GrowthVectorEnv(1, autoreset_mode="DISABLED", **options)
    alone.reset(options={"contexts": many.contexts[1:2]})
    end = play(alone, [action[1:2] for action in actions])[-1]
    assert end.infos["widths"].tolist() == last.infos["widths"][1:2].tolist()
    assert end.infos["used"][0] == pytest.approx(last.infos["used"][1])
