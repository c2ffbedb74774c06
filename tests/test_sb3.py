"""The Stable-Baselines3 adaptor: every known pitfall, each with the test that reveals it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from growenv.env import GrowthEnv
from growenv.sb3 import GrowthVecEnv, as_vec_env, rows_of
from growenv.vector_env import GrowthVectorEnv
from tests.scripted_env import ACTIONS, LENGTHS, ScriptedEnv, ScriptedVectorEnv

ROWS = len(LENGTHS)


def scripted(**options: Any) -> GrowthVecEnv:
    """The adaptor over the batch that re-uses its buffers."""
    return as_vec_env(ScriptedVectorEnv(**options))


def wait(steps: int, env: GrowthVecEnv) -> list[tuple[Any, ...]]:
    """`steps` decisions without growth."""
    return [env.step(np.zeros(env.num_envs, dtype=np.int64)) for _ in range(steps)]


def single(row: int) -> Callable[[], gym.Env[Any, Any]]:
    """A constructor of one row."""
    return lambda: ScriptedEnv(row, LENGTHS[row])


# --- the summary test ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", ["in place", "gymnasium"])
def test_equals_dummy_vec_env_over_singles(batch: str) -> None:
    singles = [single(row) for row in range(ROWS)]
    vector = ScriptedVectorEnv() if batch == "in place" else SyncVectorEnv(singles, autoreset_mode="SameStep")
    ours, theirs = as_vec_env(vector), DummyVecEnv(singles)
    ours.seed(7), theirs.seed(7)
    assert_same(ours.reset(), theirs.reset())
    generator = np.random.default_rng(0)
    for _ in range(25):
        actions = generator.integers(ACTIONS, size=ROWS)
        mine, other = ours.step(actions), theirs.step(actions)
        assert_same(mine[0], other[0])
        np.testing.assert_array_equal(mine[1], other[1])
        np.testing.assert_array_equal(mine[2], other[2])
        assert_same(mine[3], other[3])
        assert_same(ours.reset_infos, theirs.reset_infos)


def assert_same(left: Any, right: Any) -> None:
    """Equal values, in dicts, lists and arrays alike."""
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list):
        assert len(left) == len(right)
        for mine, other in zip(left, right, strict=True):
            assert_same(mine, other)
    elif isinstance(left, np.ndarray):
        np.testing.assert_array_equal(left, right)
    else:
        assert left == right


# --- 1 to 3: observations and rewards are the caller's own -----------------------------------------------------------


def test_terminal_observation_is_no_view_of_a_buffer_that_is_written_again() -> None:
    env = scripted()
    env.reset()
    ended: list[tuple[int, dict[str, Any], dict[str, Any]]] = []
    for _ in range(20):
        _, _, dones, infos = env.step(np.zeros(ROWS, dtype=np.int64))
        for row in np.flatnonzero(dones):
            last = infos[row]["terminal_observation"]
            ended.append((row, last, copy.deepcopy(last)))
    for row, last, then in ended:
        assert_same(last, then)
        assert last["task"][1] == np.float32(row / 10)
    assert [round(10 * float(last["task"][0])) for row, last, _ in ended if row == 0] == [3, 5, 3, 5, 3]


def test_time_limit_is_reported_where_an_outside_limit_cuts_and_nowhere_else() -> None:
    env = scripted(cut=True)
    env.reset()
    for _, _, dones, infos in wait(20, env):
        for row, info in enumerate(infos):
            finished_episode = int(info["context_id"].split()[-1])
            assert info["TimeLimit.truncated"] is bool(dones[row] and finished_episode % 2 == 1)


def rollout_of_constant_critic(cut: bool) -> tuple[Any, np.ndarray]:
    """A PPO roll-out buffer filled with a critic that values every observation at 1, and its rewards as sent."""
    env = scripted(cut=cut)
    model = PPO("MultiInputPolicy", env, n_steps=16, batch_size=16, gamma=0.5, gae_lambda=1.0, seed=0, device="cpu")
    torch.nn.init.zeros_(model.policy.value_net.weight)
    torch.nn.init.ones_(model.policy.value_net.bias)
    sent: list[np.ndarray] = []
    step = env.step_wait

    def recorded() -> Any:
        result = step()
        sent.append(result[1].copy())
        return result

    env.step_wait = recorded  # type: ignore[method-assign]
    _, callback = model._setup_learn(16)
    model.collect_rollouts(env, callback, model.rollout_buffer, 16)
    return model.rollout_buffer, np.stack(sent)


def test_value_function_of_one_adds_nothing_past_the_end_of_a_stream() -> None:
    buffer, sent = rollout_of_constant_critic(cut=False)
    np.testing.assert_array_equal(buffer.rewards, sent)
    ends = np.roll(buffer.episode_starts, -1, axis=0)[:-1] == 1
    np.testing.assert_allclose(buffer.returns[:-1][ends], sent[:-1][ends], rtol=1e-6)  # a last return is its reward
    assert ends.sum() >= 8


def test_value_function_of_one_adds_gamma_where_an_outside_limit_cuts() -> None:
    buffer, sent = rollout_of_constant_critic(cut=True)
    added = buffer.rewards - sent
    expected = np.zeros_like(added)
    for row, lengths in enumerate(LENGTHS):
        step = -1
        for episode in range(20):
            step += lengths[episode % len(lengths)]
            if step < len(added) and episode % 2 == 1:
                expected[step, row] = 0.5
    np.testing.assert_allclose(added, expected, atol=1e-6)
    assert expected.any()


def test_rollout_buffer_holds_the_observation_before_the_step() -> None:
    buffer, _ = rollout_of_constant_critic(cut=False)
    decisions = np.round(10 * buffer.observations["task"][:, :, 0]).astype(int)
    for row, lengths in enumerate(LENGTHS):
        script = [step for episode in range(20) for step in range(lengths[episode % len(lengths)])]
        assert decisions[:, row].tolist() == script[: len(decisions)]


def test_observations_are_new_arrays_every_step() -> None:
    env = scripted()
    first = env.reset()
    kept = copy.deepcopy(first)
    results = wait(3, env)
    assert_same(first, kept)
    assert not np.shares_memory(results[0][0]["task"], results[1][0]["task"])
    assert not np.shares_memory(results[0][0]["task"], env.env.observations["task"])


def test_rewards_are_an_own_writeable_float32_array() -> None:
    env = scripted()
    env.reset()
    _, rewards, _, _ = env.step(np.zeros(ROWS, dtype=np.int64))
    rewards += 100
    np.testing.assert_array_equal(env.env.rewards, np.ones(ROWS))


# --- 5 and 6: resets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_another_autoreset_mode_is_refused_with_what_to_pass(mode: AutoresetMode) -> None:
    with pytest.raises(ValueError, match='autoreset_mode="SAME_STEP"'):
        scripted(mode=mode)


def test_transitions_are_as_many_as_the_decisions_of_the_streams() -> None:
    env = VecMonitor(scripted(), info_keywords=("context_id",))
    env.reset()
    lengths: dict[int, list[int]] = {row: [] for row in range(ROWS)}
    for _, _, dones, infos in wait(30, env):
        for row in np.flatnonzero(dones):
            lengths[row].append(int(infos[row]["episode"]["l"]))
    for row, script in enumerate(LENGTHS):
        assert lengths[row] == [script[episode % len(script)] for episode in range(len(lengths[row]))]


def test_info_at_the_end_is_of_the_stream_that_ended() -> None:
    env = scripted()
    env.reset()
    assert [info["context_id"] for info in env.reset_infos] == [f"row {row} episode 0" for row in range(ROWS)]
    _, _, dones, infos = wait(3, env)[-1]
    assert dones.tolist() == [True, False, False]
    assert infos[0]["context_id"] == "row 0 episode 0"
    assert infos[0]["decision"] == 3
    assert env.reset_infos[0]["context_id"] == "row 0 episode 1"
    assert env.reset_infos[1]["context_id"] == "row 1 episode 0"


def test_episode_statistics_of_gymnasium_reach_the_finished_info() -> None:
    vector = SyncVectorEnv([single(row) for row in range(ROWS)], autoreset_mode="SameStep")
    env = as_vec_env(gym.wrappers.vector.RecordEpisodeStatistics(vector))
    env.reset()
    _, _, dones, infos = wait(3, env)[-1]
    assert dones[0]
    assert infos[0]["episode"]["r"] == pytest.approx(6.0)
    assert infos[0]["episode"]["l"] == 3
    assert "episode" not in infos[1]


# --- 7: seeds and options ------------------------------------------------------------------------------------------


def test_seed_applies_once_and_equal_seeds_are_equal() -> None:
    env, other = scripted(), scripted()
    env.seed(3), other.seed(3)
    first, second = env.reset(), env.reset()
    assert_same(first["budget"], other.reset()["budget"])
    assert not np.array_equal(first["budget"], second["budget"])


def test_seed_without_a_number_leaves_the_global_generator_alone() -> None:
    env = scripted()
    before = np.random.get_state()[1].copy()
    env.seed()
    env.reset()
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_options_are_used_once() -> None:
    env = scripted()
    env.set_options({"split": "val", "contexts": [np.zeros(2)] * ROWS})
    env.reset()
    assert env.env.rows[0].options["split"] == "val"
    env.reset()
    assert env.env.rows[0].options is None


def test_options_that_differ_between_rows_are_refused() -> None:
    env = scripted()
    env.set_options([{"index": row} for row in range(ROWS)])
    with pytest.raises(ValueError, match=r"contexts=\[\.\.\.\]"):
        env.reset()


# --- 8 to 12: attributes and methods -------------------------------------------------------------------------------


def test_unknown_attribute_is_an_attribute_error() -> None:
    env = scripted()
    assert env.has_attr("action_masks")
    assert not env.has_attr("nonsense")
    with pytest.raises(AttributeError):
        env.get_attr("nonsense")


@pytest.mark.filterwarnings("error")
def test_construction_and_render_mode_warn_about_nothing() -> None:
    assert scripted().render_mode is None
    env = scripted(render_mode="rgb_array")
    env.reset()
    assert env.get_attr("render_mode") == ["rgb_array"] * ROWS
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert set(np.unique(picture)) == {0, 1, 2}


def test_action_masks_are_computed_once_for_all_rows() -> None:
    env = scripted()
    env.reset()
    masks = env.env_method("action_masks")
    assert env.env.mask_calls == 1
    assert len(masks) == ROWS
    assert all(mask.shape == (ACTIONS,) and mask.dtype == bool for mask in masks)


@pytest.mark.parametrize(
    ("indices", "expected"), [(None, [0, 1, 2]), (1, [1]), ([2, 0], [2, 0]), (np.int64(2), [2]), (range(2), [0, 1])]
)
def test_indices_address_the_rows_they_name(indices: Any, expected: list[int]) -> None:
    env = scripted()
    env.reset()
    env.env.rows[1].decision = 1
    masks = env.env_method("action_masks", indices=indices)
    assert_same(masks, [env.env.rows[row].action_masks() for row in expected])
    assert env.get_attr("num_envs", indices) == [ROWS] * len(expected)
    assert env.env_is_wrapped(Monitor, indices) == [False] * len(expected)
    assert env.env_method("batch_name", indices=indices) == ["scripted"] * len(expected)


def test_index_of_no_row_is_refused() -> None:
    with pytest.raises(IndexError, match=r"rows 0\.\.2"):
        scripted().get_attr("num_envs", [3])


def test_attributes_are_set_for_all_rows_or_not_at_all() -> None:
    env = scripted()
    env.set_attr("mark", 5)
    assert env.get_attr("mark", 1) == [5]
    with pytest.raises(ValueError, match="share one environment"):
        env.set_attr("mark", 6, indices=1)


# --- 13: types ---------------------------------------------------------------------------------------------------


def test_types_and_identity_of_what_a_step_returns() -> None:
    env = scripted()
    env.reset()
    observations, rewards, dones, infos = env.step(np.zeros(ROWS, dtype=np.int64))
    assert rewards.dtype == np.float32
    assert rewards.shape == (ROWS,)
    assert dones.dtype == bool
    assert dones.shape == (ROWS,)
    assert all(type(value) is np.ndarray and value.dtype == np.float32 for value in observations.values())
    assert len({id(info) for info in infos}) == ROWS
    assert all(type(info) is dict for info in infos)
    assert type(infos[0]["decision"]) is int
    assert type(infos[0]["used"]) is float
    assert not np.shares_memory(infos[0]["action_mask"], infos[1]["action_mask"])
    infos[0]["action_mask"][:] = 9
    assert (infos[1]["action_mask"] <= 1).all()


def test_rows_of_respects_masks_and_nesting() -> None:
    infos = {
        "a": np.array([1, 2]),
        "_a": np.array([True, False]),
        "inner": {"b": np.array([0.5, 0.0]), "_b": np.array([True, False])},
        "_inner": np.array([True, False]),
        "c": np.array(["x", "y"], dtype=object),
    }
    assert rows_of(infos, 2) == [{"a": 1, "inner": {"b": 0.5}, "c": "x"}, {"c": "y"}]


def test_close_twice_closes_once() -> None:
    env = scripted()
    env.close()
    env.close()
    assert env.env.closed_times == 1


def test_something_else_than_an_environment_is_refused() -> None:
    with pytest.raises(TypeError, match="GrowthVectorEnv"):
        as_vec_env(DummyVecEnv([single(0)]))


TINY = {"tasks": 2, "decisions": 2, "minibatches": 2, "validation_samples": 16, "test_samples": 16, "budget": 0.9}


def test_growth_rows_equal_dummy_vec_env_over_growth_envs() -> None:
    ours = as_vec_env(GrowthVectorEnv(3, **TINY))
    theirs = DummyVecEnv([lambda: GrowthEnv(**TINY)] * 3)
    ours.seed(5)
    theirs.seed(5)
    assert_same(ours.reset(), theirs.reset())
    generator = np.random.default_rng(0)
    for _ in range(9):
        actions = generator.integers(ours.action_space.n, size=3)
        mine, other = ours.step(actions), theirs.step(actions)
        for left, right in zip(mine, other, strict=True):
            assert_same(left, right)
        assert_same(ours.reset_infos, theirs.reset_infos)
        assert_same(ours.env_method("action_masks"), theirs.env_method("action_masks"))
        assert not any(info["TimeLimit.truncated"] for info in mine[3])


def test_a_single_growth_environment_becomes_one_row() -> None:
    env = as_vec_env(GrowthEnv(**TINY, render_mode="rgb_array"))
    env.set_options({"split": "val", "indices": [3]})
    env.reset()
    assert env.num_envs == 1
    assert env.reset_infos[0]["context_index"] == 3
    assert env.render().shape[2] == 3
    with pytest.raises(TypeError, match="DummyVecEnv"):
        as_vec_env(ScriptedEnv())


@pytest.mark.parametrize("algorithm", [PPO, DQN])
def test_algorithms_learn_on_it(algorithm: Any) -> None:
    options: dict[str, Any] = {"n_steps": 8, "batch_size": 8} if algorithm is PPO else {"learning_starts": 10}
    model = algorithm("MultiInputPolicy", VecMonitor(scripted()), seed=0, device="cpu", **options)
    model.learn(60)
    assert len(model.ep_info_buffer) > 5
