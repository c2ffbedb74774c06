"""Snapshots, deep copies and pickles of environments in mid-episode continue exactly."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from growenv.env import GrowthEnv
from growenv.hardware.mosaic import floorplan
from growenv.protection import Finetune
from growenv.streams import Context, draw_context
from growenv.vector_env import GrowthVectorEnv
from tests.rollouts import SMALL, Step, assert_same, begin, play

OPTIONS: dict[str, Any] = {**SMALL, "budget": 1.0}
ACTIONS = np.random.default_rng(1).integers(0, 5, (24, 3))
TILES = np.random.default_rng(1).integers(0, 37, (24, 3))
"""Actions where these name one of nine tiles."""
MODES = ["SAME_STEP", "NEXT_STEP", "DISABLED"]


def vector(mode: str = "SAME_STEP", **options: Any) -> GrowthVectorEnv:
    return GrowthVectorEnv(3, autoreset_mode=mode, **{**OPTIONS, **options})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ({}, 0),
        ({}, 1),
        ({}, 4),
        ({"protection": "finetune"}, 2),
        ({"where": "tile"}, 3),
        ({"meter": "parameters"}, 3),
    ],
)
def test_snapshots_continue_identically(mode: str, options: dict[str, Any], taken: int) -> None:
    """From the middle of a task, from between tasks and from between streams; over both kinds of boundaries.

    Hardware with places was not restored in an environment that had never begun.
    """
    env = vector(mode, **options)
    actions = TILES if options.get("where") else ACTIONS
    begin(env, seed=taken)
    play(env, actions[:taken])
    kept = env.snapshot()
    expected = play(env, actions[taken : taken + 7])
    assert env.action_masks().shape == (3, env.actions.size)
    fresh = vector(mode, **options)
    for target in (env, env, fresh):
        target.restore(kept)
        assert_same(play(target, actions[taken : taken + 7]), expected)
    used = vector(mode, **options)
    begin(used, seed=99)
    play(used, actions[10:13])
    used.restore(kept)
    fresh.restore(kept)
    assert used.contexts == fresh.contexts
    assert_same(play(used, actions[taken : taken + 7]), expected)


def test_a_snapshot_of_hardware_is_not_changed_by_growth_and_restores_every_place() -> None:
    env = vector("DISABLED", where="tile")
    begin(env, seed=0)
    play(env, TILES[:1])
    kept, seen = env.snapshot(), plans(env)
    play(env, TILES[1:4])
    assert plans(env) != seen
    for target in (env, vector("DISABLED", where="tile")):
        target.restore(kept)
        assert plans(target) == seen


def plans(env: GrowthVectorEnv) -> list[str]:
    """Where every network stands, as text."""
    assert env.admission.placed is not None
    now = env.admission.architecture(env.episodes)
    return [floorplan.text(env.admission.placed.floorplan(now, row)) for row in range(env.num_envs)]


def test_rows_reset_apart_are_restored_apart() -> None:
    env = vector("DISABLED")
    begin(env, seed=0)
    play(env, ACTIONS[:1])
    begin(env, options={"reset_mask": np.array([False, True, False])})
    play(env, ACTIONS[1:2])
    kept = env.snapshot()
    expected = play(env, ACTIONS[2:8])
    fresh = vector("DISABLED")
    fresh.restore(kept)
    assert_same(play(fresh, ACTIONS[2:8]), expected)


def test_a_snapshot_is_not_changed_by_what_follows() -> None:
    env = vector(render_mode="ansi")
    begin(env, seed=0)
    play(env, ACTIONS[:3])
    kept, frames = env.snapshot(), env.render()
    before = pickle.dumps(kept)
    for _ in range(2):
        play(env, ACTIONS[3:9])
        env.restore(kept)
        assert env.render() == frames
    assert pickle.dumps(kept) == before


def test_a_restored_familiarity_is_that_of_the_restored_stream() -> None:
    """It was left out of snapshots, so the next stream's was observed."""
    env = vector(tasks=3)
    begin(env, seed=0)
    kept, familiarity = env.snapshot(), env.learner.data.familiarity.copy()
    begin(env, seed=1)
    assert not np.array_equal(env.learner.data.familiarity, familiarity)
    env.restore(kept)
    np.testing.assert_array_equal(env.learner.data.familiarity, familiarity)


def test_single_environments_have_snapshots_too() -> None:
    env = GrowthEnv(**OPTIONS)
    begin(env, seed=3)
    play(env, [1, 3])
    kept = env.snapshot()

    def rest() -> list[Step]:
        end = play(env, [2, 0])
        return [*end, begin(env), *play(env, [4])]

    expected = rest()
    for _ in range(2):
        env.restore(kept)
        assert env.np_random is env.rows.source.generators[0]
        assert_same(rest(), expected)


DUPLICATES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
}


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
@pytest.mark.parametrize("protection", ["freeze", Finetune()], ids=["by name", "by object"])
def test_a_copy_in_mid_episode_goes_on_like_the_original(duplicate: Callable[[Any], Any], protection: Any) -> None:
    """Pickles failed on a cache, and weights came back as copies that no optimiser updated."""
    env = GrowthEnv(**{**OPTIONS, "protection": protection})
    begin(env, seed=2)
    play(env, [3, 1])
    twin = duplicate(env)
    assert twin.np_random is twin.rows.source.generators[0]
    for action in (0, 2):
        assert_same(play(twin, [action]), play(env, [action]))
    for _ in range(2):
        assert_same(begin(twin), begin(env))
        assert_same(play(twin, [4, 0, 1, 0]), play(env, [4, 0, 1, 0]))


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
@pytest.mark.parametrize("mode", MODES)
def test_a_copy_of_a_vector_goes_on_like_the_original(duplicate: Callable[[Any], Any], mode: str) -> None:
    env = vector(mode)
    begin(env, seed=2)
    play(env, ACTIONS[:3])
    twin = duplicate(env)
    assert_same(play(twin, ACTIONS[3:9]), play(env, ACTIONS[3:9]))
    assert_same(begin(twin, seed=5), begin(env, seed=5))


@pytest.mark.parametrize(("where", "actions"), [("auto", [1, 4, 0, 2]), ("tile", [2, 32, 0, 13])])
def test_configuration_context_and_actions_replay_an_episode(where: str, actions: list[int]) -> None:
    env = GrowthEnv(**OPTIONS, where=where)
    begin(env, seed=12)
    steps = play(env, actions)
    context = Context.from_json(env.context.to_json())
    again = GrowthEnv(type(env.config).from_json(env.config.to_json()))
    begin(again, options={"context": context})
    assert_same(play(again, actions), steps)
    assert [step.infos["invalid_action"] for step in steps] == [False] * 4
    assert plans(again.rows) == plans(env.rows)
    drawn = draw_context(
        "mixed",
        "digits",
        "train",
        context.index,
        tasks=2,
        budget=env.config.budget,
        price=env.config.price,
        inner_seed=context.inner_seed,
    )
    assert drawn == context
