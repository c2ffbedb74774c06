"""PathsVectorEnv: rows that behave as single environments do, ends of paths, and exact returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from growenv.paths import planning
from growenv.paths.env import PathsEnv
from growenv.paths.objective import Objective
from growenv.paths.table import PathTable
from growenv.paths.vector_env import PathsVectorEnv
from growenv.sb3 import as_vec_env
from tests.paths.tables import random_table, worked_table

TABLE = random_table((2, 2), 1, trials=6)
PATHS = TABLE.lattice.path(TABLE.lattice.leaves)


def made(rows: int = 2, table: PathTable | None = None, **options: Any) -> PathsVectorEnv:
    return PathsVectorEnv(rows, table or worked_table(), **{"split": "all", **options})


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_an_episode_worked_by_hand() -> None:
    """Row 0 takes 121 in trial 0 (right answers 1; 2, 5, 8), row 1 takes 211 in trial 1 (0; 4, 2, 3)."""
    env = made()
    observations, infos = env.reset(options={"trials": [0, 1]})
    np.testing.assert_array_equal(observations["position"], np.zeros((2, 4)))
    np.testing.assert_allclose(observations["accuracy"], [[0.1, 0.0, 0.1], [0.0, 0.0, 0.0]], atol=1e-7)
    np.testing.assert_array_equal(observations["action_mask"], [[0, 1, 1], [0, 1, 1]])
    assert infos["node"].tolist() == [0, 0] and not infos["invalid_action"].any() and "actions" not in infos
    observations, rewards, terminated, truncated, infos = env.step(np.array([1, 2]))
    np.testing.assert_allclose(rewards, [0.2, 0.4], atol=1e-12)
    np.testing.assert_allclose(observations["position"], [[0.5, 0, 0, 1 / 3], [0, 1, 0, 1 / 3]], atol=1e-7)
    np.testing.assert_allclose(observations["accuracy"], [[0.2, 0.1, 0.2], [0.4, 0.4, 0.4]], atol=1e-7)
    np.testing.assert_array_equal(observations["action_mask"], [[0, 1, 1], [0, 1, 0]])
    assert infos["node"].tolist() == [1, 2] and not terminated.any() and not truncated.any()
    observations, rewards, *_ = env.step(np.array([2, 1]))
    np.testing.assert_allclose(rewards, [0.3, -0.2], atol=1e-12)
    np.testing.assert_allclose(observations["accuracy"], [[0.5, 0.3, 0.5], [0.2, -0.2, 0.4]], atol=1e-7)
    observations, rewards, terminated, truncated, infos = env.step(np.array([1, 1]))
    np.testing.assert_allclose(rewards, [0.3, 0.1], atol=1e-12)
    assert terminated.all() and not truncated.any() and rewards.dtype == np.float64
    final = infos["final_info"]
    assert final["actions"].tolist() == [[1, 2, 1], [2, 1, 1]] and final["trial"].tolist() == [0, 1]
    assert final["node"].tolist() == [7, 8] and not final["action_mask"].any()
    np.testing.assert_allclose(final["validation_accuracy"], [0.8, 0.3], atol=1e-12)
    np.testing.assert_allclose(final["test_accuracy"], [7 / 8, 0.0], atol=1e-12)
    np.testing.assert_allclose(final["objective"], [0.8, 0.3], atol=1e-12)
    np.testing.assert_allclose(final["regret"], [0.05, 0.2], atol=1e-12)  # mean returns are 0.8, 0.75, 0.6
    np.testing.assert_allclose(infos["final_obs"][1]["position"], [1, 1, 0, 1], atol=1e-7)
    np.testing.assert_allclose(infos["final_obs"][0]["accuracy"], [0.8, 0.3, 0.8], atol=1e-7)
    assert infos["node"].tolist() == [0, 0] and "actions" not in infos
    np.testing.assert_array_equal(observations["position"], np.zeros((2, 4)))


def test_the_environment_knows_the_optimum() -> None:
    env = made()
    assert env.optimal_return() == pytest.approx(0.8) and env.optimal_return("trial") == pytest.approx(0.9)
    assert env.optimal_actions().tolist() == [1, 1, 2]
    np.testing.assert_allclose(env.regret([[1, 1, 2], [2, 1, 1]]), [0.0, 0.2], atol=1e-12)
    assert made(split="train").optimal_actions().tolist() == [2, 1, 1]
    assert made(split="train").regret([1, 1, 2]) == pytest.approx(0.2)
    assert made(split="test", metric="test").optimal_return() == pytest.approx(0.25)
    assert made(split=[1], metric="test").optimal_actions().tolist() == [1, 1, 2]


def test_an_action_that_is_not_allowed_becomes_the_lowest_that_is() -> None:
    env = made(3)
    env.reset(options={"trials": [0, 0, 0]})
    _, _, _, _, infos = env.step(np.array([0, 1, 2]))
    assert infos["invalid_action"].tolist() == [True, False, False] and infos["node"].tolist() == [1, 1, 2]
    _, rewards, _, _, infos = env.step(np.array([1, 0, 2]))
    assert infos["invalid_action"].tolist() == [False, True, True] and infos["node"].tolist() == [3, 3, 5]
    np.testing.assert_allclose(rewards, [0.1, 0.1, 0.2], atol=1e-12)
    *_, infos = env.step(np.array([1, 2, 1]))
    assert infos["final_info"]["actions"].tolist() == [[1, 1, 2], [1, 1, 2], [2, 1, 1]]
    assert infos["final_info"]["invalid_action"].tolist() == [True, False, False]


# -- invariants --------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["final", "anytime"]),
    price=st.sampled_from([0.0, 0.7]),
    metric=st.sampled_from(["validation", "test"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_returns_are_what_planning_says_whatever_is_done(kind: str, price: float, metric: str, seed: int) -> None:
    """Any actions, allowed or not, make whole paths; rewards sum to the objective, and regrets agree."""
    env = PathsVectorEnv(20, TABLE, split="test", objective=kind, price=price, metric=metric)
    objective, rng, total = Objective(kind, price, metric), np.random.default_rng(seed), np.zeros(20)
    env.reset(seed=seed)
    for _ in range(TABLE.lattice.horizon):
        _, rewards, terminated, _, infos = env.step(rng.integers(0, 3, 20))
        total += rewards
    final = infos["final_info"]
    assert terminated.all() and (final["trial"] >= 3).all()
    path = planning.path_numbers(TABLE.lattice, final["actions"])
    np.testing.assert_allclose(total, planning.returns(TABLE, objective)[final["trial"], path], atol=1e-9)
    np.testing.assert_allclose(final["objective"], total, atol=1e-9)
    regrets = planning.regret(TABLE, final["actions"], objective, "test")
    np.testing.assert_allclose(final["regret"], regrets, atol=1e-12)
    np.testing.assert_allclose(env.regret(PATHS), planning.regret(TABLE, PATHS, objective, "test"), atol=1e-12)
    assert (env.regret(PATHS) >= 0).all() and env.regret(env.optimal_actions()) == pytest.approx(0.0, abs=1e-12)
    assert env.optimal_return("trial") >= env.optimal_return() - 1e-12


@pytest.mark.parametrize("steps", [((2, 1), 0), ((1, 1, 1), 1), ((3,), 2)])
def test_observations_stay_in_their_space_at_every_node(steps: tuple[tuple[int, ...], int]) -> None:
    table = random_table(*steps, trials=2)
    env = PathsVectorEnv(table.lattice.paths, table)
    every = table.lattice.path(table.lattice.leaves)
    observations, _ = env.reset(seed=0)
    for place in range(table.lattice.horizon):
        assert env.observation_space.contains(observations)
        np.testing.assert_array_equal(observations["action_mask"], env.action_masks())
        done = [(every[:, :place] == layer + 1).sum(axis=1) / step for layer, step in enumerate(steps[0])]
        np.testing.assert_allclose(observations["position"][:, : len(done)].T, done, atol=1e-7)
        observations, _, terminated, _, infos = env.step(every[:, place])
        assert not infos["invalid_action"].any()
    assert terminated.all() and all(env.single_observation_space.contains(last) for last in infos["final_obs"])
    assert {name: len(names) for name, names in env.feature_names.items()} == {
        name: observations[name].shape[1] for name in ("position", "accuracy")
    }


def test_every_row_is_a_single_environment_with_its_own_seed() -> None:
    rng, env = np.random.default_rng(3), PathsVectorEnv(4, TABLE, price=0.2)
    singles = [PathsEnv(TABLE, price=0.2) for _ in range(4)]
    together, _ = env.reset(seed=11)
    alone = [single.reset(seed=11 + row)[0] for row, single in enumerate(singles)]
    seen = set()
    for _ in range(40):
        for row, own in enumerate(alone):
            assert set(own) == set(together)
            for name in own:
                np.testing.assert_array_equal(together[name][row], own[name])
        actions = rng.integers(0, 3, 4)
        together, rewards, terminated, _, infos = env.step(actions)
        for row, single in enumerate(singles):
            alone[row], reward, ended, cut, info = single.step(actions[row])
            assert (reward, ended, cut) == (rewards[row], terminated[row], False)
            told = infos["final_info"] if ended else infos
            assert set(info) == {name for name in told if name[0] != "_" and not name.startswith("final")}
            for name, value in info.items():
                np.testing.assert_array_equal(value, told[name][row])
            if ended:
                seen.add(info["trial"])
                alone[row], _ = single.reset()
    assert seen == {0, 1, 2}  # the train split


def test_trials_are_drawn_evenly_and_again_for_every_episode() -> None:
    env = PathsVectorEnv(3000, TABLE)
    env.reset(seed=0)
    first = env._trial.copy()
    env.reset()
    counts = np.bincount(env._trial, minlength=6)
    assert (counts[3:] == 0).all() and (abs(counts[:3] - 1000) < 120).all()  # 4.6 standard deviations
    assert 800 < (first == env._trial).sum() < 1200
    env.reset(seed=0)
    np.testing.assert_array_equal(env._trial, first)


def test_what_is_written_into_results_reaches_no_later_step() -> None:
    dirty, clean = (PathsVectorEnv(3, TABLE) for _ in range(2))
    dirty.reset(seed=5), clean.reset(seed=5)
    for action in [1, 2, 0, 1, 2] * 2:
        got, want = (env.step(np.full(3, action)) for env in (dirty, clean))
        np.testing.assert_array_equal(got[1], want[1])
        for name in want[0]:
            np.testing.assert_array_equal(got[0][name], want[0][name])
            got[0][name][:] = -7.0
        for results in (got[4], got[4].get("final_info", {})):
            for values in results.values():
                if isinstance(values, np.ndarray) and values.dtype != object:
                    values[:] = 0
        got[1][:] = got[2][:] = 1


# -- ends and resets ---------------------------------------------------------------------------------------------------


def finish(env: PathsVectorEnv) -> Any:
    env.reset(options={"trials": [0, 1]})
    for actions in ([1, 2], [1, 1]):
        env.step(np.array(actions))
    return env.step(np.array([2, 1]))


def test_next_step_ignores_the_action_after_the_end() -> None:
    env = made(autoreset_mode="NEXT_STEP")
    observations, _, terminated, _, infos = finish(env)
    assert terminated.all() and infos["actions"].tolist() == [[1, 1, 2], [2, 1, 1]] and infos["_actions"].all()
    assert "final_obs" not in infos and (observations["position"][:, -1] == 1).all()
    observations, rewards, terminated, _, infos = env.step(np.array([2, 2]))
    assert rewards.tolist() == [0.0, 0.0] and not terminated.any() and infos["node"].tolist() == [0, 0]
    assert not infos["invalid_action"].any() and "actions" not in infos
    assert env.step(np.array([2, 2]))[4]["node"].tolist() == [2, 2]


def test_disabled_rows_idle_until_they_are_reset() -> None:
    env = made(autoreset_mode=AutoresetMode.DISABLED)
    finish(env)
    _, rewards, terminated, _, infos = env.step(np.array([2, 2]))
    assert rewards.tolist() == [0.0, 0.0] and not terminated.any() and infos["node"].tolist() == [6, 8]
    _, infos = env.reset(options={"reset_mask": np.array([False, True]), "trials": [1, 1]})
    assert infos["node"].tolist() == [6, 0] and env._trial.tolist() == [0, 1]
    _, rewards, _, _, infos = env.step(np.array([1, 1]))
    np.testing.assert_allclose(rewards, [0.0, 0.6], atol=1e-12)
    assert infos["node"].tolist() == [6, 1]


def test_rows_that_end_at_different_times_are_told_apart() -> None:
    env = made()
    env.reset(options={"trials": [0, 1]})
    env.step(np.array([1, 1]))
    env.reset(options={"reset_mask": np.array([True, False]), "trials": [0, 0]})
    env.step(np.array([1, 1]))
    observations, rewards, terminated, _, infos = env.step(np.array([0, 2]))
    assert terminated.tolist() == [False, True] and infos["node"].tolist() == [3, 0]
    np.testing.assert_allclose(rewards, [0.1, 0.3], atol=1e-12)
    assert infos["final_obs"][0] is None and infos["_final_obs"].tolist() == [False, True]
    final = infos["final_info"]
    assert final["_actions"].tolist() == final["_node"].tolist() == [False, True]
    assert final["actions"].tolist() == [[0, 0, 0], [1, 1, 2]]
    assert infos["invalid_action"].tolist() == [True, False]
    np.testing.assert_allclose(observations["position"][:, -1], [2 / 3, 0], atol=1e-7)


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP", "DISABLED"])
def test_the_mode_is_in_the_metadata(mode: str) -> None:
    assert made(autoreset_mode=mode).metadata["autoreset_mode"] == AutoresetMode[mode]


def test_seeds_may_be_given_row_by_row() -> None:
    env, other = PathsVectorEnv(3, TABLE), PathsVectorEnv(3, TABLE)
    env.reset(seed=[7, 8, 9]), other.reset(seed=7)
    np.testing.assert_array_equal(env._trial, other._trial)
    env.reset(seed=[None, 8, None]), other.reset()
    assert env._episodes.tolist() == [2, 1, 2] and env._trial[[0, 2]].tolist() == other._trial[[0, 2]].tolist()


def test_pinning_a_trial_does_not_move_those_that_are_drawn_later() -> None:
    env, other = PathsVectorEnv(50, TABLE), PathsVectorEnv(50, TABLE)
    env.reset(seed=1, options={"trials": np.full(50, 5)}), other.reset(seed=1)
    assert (env._trial == 5).all()
    env.reset(), other.reset()
    np.testing.assert_array_equal(env._trial, other._trial)


def test_stable_baselines_reads_the_infos_of_ended_paths() -> None:
    env = as_vec_env(made())
    env.reset()
    for actions in ([1, 2], [1, 1]):
        assert not env.step(np.array(actions))[2].any()
    _, _, dones, infos = env.step(np.array([2, 1]))
    assert dones.all() and infos[0]["actions"].tolist() == [1, 1, 2] and infos[1]["regret"] == pytest.approx(0.2)
    assert infos[0]["terminal_observation"]["position"].tolist() == [1, 1, 0, 1]
    np.testing.assert_array_equal(np.stack(env.env_method("action_masks")), [[0, 1, 1], [0, 1, 1]])


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_text_shows_the_path_on_its_lattice() -> None:
    env = made(render_mode="ansi")
    env.reset(options={"trials": [0, 1]})
    env.step(np.array([1, 2]))
    env.step(np.array([2, 1]))
    first, second = env.render() or ()
    assert first == "decision 2 of 3, validation accuracy 0.500\nactions 1 2\n. @ .\no o ."
    assert second == "decision 2 of 3, validation accuracy 0.200\nactions 2 1\no @ .\no . ."


@pytest.mark.parametrize("steps", [((2, 1), 0), ((1, 1, 1), 1), ((3,), 2)])
def test_pictures_keep_their_size_and_change_with_every_step(steps: tuple[tuple[int, ...], int]) -> None:
    env = PathsVectorEnv(1, random_table(*steps), render_mode="rgb_array", autoreset_mode="DISABLED")
    env.reset(seed=0)
    frames = [(env.render() or ())[0]]
    for _ in range(sum(steps[0]) + steps[1]):
        env.step(np.array([1]))
        frames.append((env.render() or ())[0])
    assert all(frame.dtype == np.uint8 and frame.shape == frames[0].shape for frame in frames)
    assert frames[0].shape == (24 * (1 + sum(steps[0][1:])), 24 * (1 + steps[0][0]), 3)
    assert any((before != after).any() for before, after in zip(frames, frames[1:], strict=False))


def test_without_a_render_mode_nothing_is_rendered() -> None:
    assert made().render() is None


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rows": 0}, "num_envs=0: expected an integer >= 1"),
        ({"rows": 2.0}, "num_envs=2.0"),
        ({"rows": True}, "num_envs=True"),
        ({"split": "val"}, "unknown split of trials 'val'"),
        ({"split": [2]}, "expected numbers from 0 to 1"),
        ({"objective": "last"}, "unknown objective 'last'"),
        ({"metric": "train"}, "unknown metric 'train'"),
        ({"price": -1.0}, "price is -1.0"),
        ({"autoreset_mode": "SAME"}, "unknown autoreset mode 'SAME'"),
        ({"render_mode": "human"}, "unknown render mode 'human'"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made(**options)


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown table of growth paths 'digit'; did you mean 'digits'"):
        PathsVectorEnv(1, "digit")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trial": [0, 0]}, "unknown reset option 'trial'; did you mean 'trials'"),
        ({"trials": [0]}, "expected one for each of the 2 rows"),
        ({"trials": "test"}, "expected one for each of the 2 rows"),
        ({"trials": [0, 2]}, "expected numbers from 0 to 1"),
        ({"trials": [0.0, 1.0]}, "numbers of trials"),
        ({"reset_mask": [True]}, "expected 2 booleans"),
        ({"reset_mask": [False, False]}, "at least one True"),
        ({"reset_mask": [1, 0]}, "expected 2 booleans"),
    ],
)
def test_bad_reset_options_are_refused_and_change_nothing(options: dict[str, Any], said: str) -> None:
    env = made()
    env.reset(seed=0)
    env.step(np.array([1, 1]))
    before = env._node.copy(), env._trial.copy(), env._episodes.copy()
    with pytest.raises(ValueError, match=said):
        env.reset(seed=3, options=options)
    for now, then in zip((env._node, env._trial, env._episodes), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize(
    ("seed", "said"),
    [(-1, "seed is -1"), ([1], "expected one for each"), ([1, 0.5], "expected an integer"), ("7", "expected one")],
)
def test_bad_seeds_are_refused(seed: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made().reset(seed=seed)


@pytest.mark.parametrize("actions", [[1], [1, 3], [-1, 1], [1.0, 1.0], 1, [[1, 1]]])
def test_bad_actions_are_refused(actions: Any) -> None:
    env = made()
    env.reset()
    with pytest.raises(ValueError, match="expected"):
        env.step(np.array(actions))


def test_nothing_happens_before_the_first_reset() -> None:
    env = made(render_mode="ansi")
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(np.array([1, 1]))
    with pytest.raises(RuntimeError, match="call reset"):
        env.render()
    with pytest.raises(RuntimeError, match="without a reset_mask first"):
        env.reset(options={"reset_mask": np.array([True, False])})
