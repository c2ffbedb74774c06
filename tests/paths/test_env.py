"""PathsEnv and its ids: what Gymnasium and Stable-Baselines3 demand, and what the docstring promises."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

import growenv  # noqa: F401 (registers the ids)
from growenv.paths import table as module
from growenv.paths.env import PathsEnv
from growenv.paths.vector_env import PathsVectorEnv
from growenv.registration import PATHS
from tests.paths.tables import random_table, worked_table

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tables under the names of those that come with growenv."""
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    for name in module.NAMES:
        random_table((2, 2), 1, trials=4).save(tmp_path / f"{name}.npz")


def both_checks(env: Any, render: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium_check(env.unwrapped, skip_render_check=not render)
        sb3_check(env.unwrapped, warn=True, skip_render_check=not render)


@pytest.mark.parametrize("env_id", PATHS)
@pytest.mark.parametrize("render_mode", [None, "rgb_array", "ansi"])
def test_both_checkers_pass_without_a_warning(env_id: str, render_mode: str | None, shipped: None) -> None:
    both_checks(gym.make(env_id, render_mode=render_mode), render_mode is not None)


@pytest.mark.parametrize("env_id", PATHS)
def test_the_checkers_pass_on_the_tables_that_come_with_growenv(env_id: str) -> None:
    both_checks(gym.make(env_id, objective="anytime", price=0.1), render=False)
    env = gym.make_vec(env_id, 64, split="test")
    env.reset(seed=0)
    assert 0 < env.unwrapped.optimal_return() <= env.unwrapped.optimal_return("trial") <= 1


@pytest.mark.parametrize("env_id", PATHS)
def test_ids_make_single_and_vector_environments(env_id: str, shipped: None) -> None:
    single, rows = gym.make(env_id, split="test", objective="anytime"), gym.make_vec(env_id, 3, price=0.2)
    assert isinstance(single.unwrapped, PathsEnv) and isinstance(rows.unwrapped, PathsVectorEnv)
    assert single.unwrapped.trials.tolist() == [2, 3] and single.unwrapped.objective.kind == "anytime"
    assert rows.num_envs == 3 and rows.unwrapped.objective.price == 0.2 and rows.unwrapped.trials.tolist() == [0, 1]


def test_a_missing_table_is_named_when_the_environment_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    for make in (lambda: gym.make("growenv/DigitsPaths-v0"), lambda: gym.make_vec("growenv/DigitsPaths-v0", 2)):
        with pytest.raises(FileNotFoundError, match=r"digits\.npz; it should have come with growenv"):
            make()


def test_importing_reads_no_table() -> None:
    code = """
import sys
read = []
sys.addaudithook(lambda event, args: read.append(args[0]) if event == "open" and "npz" in str(args[0]) else None)
import growenv, growenv.paths
print(read)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_path_from_a_file_worked_by_hand(tmp_path: Path) -> None:
    """Path 211 in trial 0: right answers 4, 6, 9 of 10."""
    worked_table().save(tmp_path / "mine.npz")
    env = PathsEnv(tmp_path / "mine.npz", split="all")
    observation, info = env.reset(options={"trial": 0})
    assert info["node"] == 0 and info["action_mask"].tolist() == [0, 1, 1] == env.action_masks().tolist()
    assert env.action_space.sample(info["action_mask"]) in (1, 2)
    rewards = []
    for action in (2, 2, 1):  # the second is not allowed, and 1 is taken
        observation, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
    np.testing.assert_allclose(rewards, [0.4, 0.2, 0.3], atol=1e-12)
    assert terminated and not truncated and info["actions"].tolist() == [2, 1, 1] and info["trial"] == 0
    assert info["objective"] == pytest.approx(0.9) and info["regret"] == pytest.approx(0.2)
    assert info["validation_accuracy"] == pytest.approx(0.9) and info["test_accuracy"] == 1.0
    assert type(info["regret"]) is float and type(info["trial"]) is int and type(info["invalid_action"]) is bool
    assert not env.action_masks().any() and observation["position"].tolist() == [1, 1, 0, 1]


def test_the_optimum_is_the_vector_environments() -> None:
    env = PathsEnv(worked_table(), split="all")
    assert env.optimal_return() == pytest.approx(0.8) and env.optimal_return("trial") == pytest.approx(0.9)
    assert env.optimal_actions().tolist() == [1, 1, 2] and env.optimal_actions("trial").shape == (2, 3)
    assert env.regret([1, 2, 1]) == pytest.approx(0.05) and env.lattice.paths == 3


def test_equal_seeds_make_equal_trials() -> None:
    table = random_table(trials=8)
    drawn = []
    for _ in range(2):
        env = PathsEnv(table, split="all")
        episodes = [env.reset(seed=4), *(env.reset() for _ in range(30))]
        drawn.append([float(observation["accuracy"][0]) for observation, _ in episodes])
    assert drawn[0] == drawn[1] and len(set(drawn[0])) > 4


def test_frames_are_those_of_the_row() -> None:
    env = PathsEnv(worked_table(), render_mode="ansi")
    env.reset(options={"trial": 1})
    assert env.render() == "decision 0 of 3, validation accuracy 0.000\nactions none\n. . .\n@ . ."
    picture = PathsEnv(worked_table(), render_mode="rgb_array")
    picture.reset()
    assert picture.render().shape == (48, 72, 3) and PathsEnv(worked_table()).render() is None


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda env: env.reset(options={"trial": 2}), "expected numbers from 0 to 1"),
        (lambda env: env.reset(options={"trails": 1}), "unknown reset option 'trails'; did you mean 'trial'"),
        (lambda env: env.reset(options={"trials": [1]}), "unknown reset option 'trials'; did you mean 'trial'"),
        (lambda env: env.reset(options={"trial": [0, 1]}), "numbers of trials"),
        (lambda env: env.step(3), "expected numbers from 0 to 2"),
        (lambda env: env.step(0.5), "expected 1 integers"),
        (lambda env: env.regret([1, 1]), "expected whole ones, of 3"),
        (lambda env: env.optimal_return("all"), "known: nothing, trial"),
    ],
)
def test_bad_input_is_refused(call: Any, said: str) -> None:
    env = PathsEnv(worked_table())
    env.reset()
    with pytest.raises(ValueError, match=said):
        call(env)


def test_a_step_needs_a_reset_first() -> None:
    with pytest.raises(RuntimeError, match=r"call reset\(\) first"):
        PathsEnv(worked_table()).step(1)
