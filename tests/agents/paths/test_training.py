"""The training script on growth paths: it trains, resumes, and compares with fixed orders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import train_agent
from agents.environments import episode_length, is_growth, is_paths, make_training_env
from agents.evaluated import registered_options
from agents.learned import load_policy
from agents.paths.training import PathTrials, against_orders, judge_of
from tests.agents.paths.synthetic import made_up

ID = "growenv/DigitsPaths-v0"
TABLE = made_up((2, 2), 1, noise=0.002)


@pytest.fixture(autouse=True)
def own_generator() -> Iterator[None]:
    """Stable-Baselines3 seeds the global generator."""
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Flags for a short run on a table in a file."""
    TABLE.save(tmp_path / "table.npz")
    options = [f"table:{tmp_path / 'table.npz'}", "price:0.1"]
    return ["--env", ID, "--n-envs", "8", "--env-kwargs", *options, "--log-folder", str(tmp_path)]


def test_paths_are_told_from_streams() -> None:
    assert is_paths(ID) and not is_growth(ID)
    assert is_growth("growenv/MixedDigits-v1") and not is_paths("growenv/MixedDigits-v1")
    with pytest.raises(ValueError, match="no schedules to compare with"):
        registered_options(ID)


def test_rollouts_hold_whole_paths() -> None:
    env = make_training_env(ID, 3, {"table": TABLE})
    assert (env.num_envs, episode_length(env)) == (3, 5)


def test_a_wrong_option_is_refused() -> None:
    with pytest.raises(ValueError, match="does not take these --env-kwargs: .*tabel"):
        make_training_env(ID, 3, {"tabel": TABLE})


def test_the_judge_has_the_options_of_the_environment() -> None:
    judge = judge_of(ID, {"table": TABLE, "objective": "anytime", "price": 0.25, "metric": "test"})
    assert judge.table is TABLE
    objective = judge.objective
    assert (objective.kind, objective.price, objective.metric) == ("anytime", 0.25, "test")


def test_held_out_trials_are_not_trained_on(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Figures of held-out trials would not be what they are called."""
    for split in ("test", "all"):
        with pytest.raises(ValueError, match=f"split='{split}': agents learn from 'train'"):
            judge_of(ID, {"table": TABLE, "split": split})
    place = words.index("price:0.1")
    with pytest.raises(SystemExit):
        train_agent.command([*words[:place], "split:test", *words[place:], "-n", "40"])
    shown = capsys.readouterr()
    assert "split='test'" in shown.err and "steps" not in shown.out, "nothing was trained"


def test_a_run_trains_compares_and_resumes(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_agent.command([*words, "-n", "80"]) == 0
    (run,) = (tmp_path / "ppo").iterdir()
    shown = capsys.readouterr().out
    assert "80 / 80 steps (100%) | trials learned from: return" in shown and "val" not in shown.split("regret in")[0]
    assert "best return on trials learned from: 0." in shown
    assert "regret 0.0" in shown and "average over all paths" in shown and "layer-2-first, waits-last" in shown
    assert (run / "comparison.txt").read_text() in shown
    assert train_agent.command(["--resume", str(run), "-n", "160", "--no-compare"]) == 0
    shown = capsys.readouterr().out
    assert "from 80 steps on" in shown and "average over all paths" not in shown
    judge = judge_of(ID, {"table": TABLE, "price": 0.1})
    policy = load_policy(run)
    found = PathTrials(judge)(policy.module, policy.manifest)
    assert found.results.mean() == pytest.approx(judge.best["train"] - found.figures["regret"])
    assert found.lengths.tolist() == [5, 5]
    lines = [line.rsplit(maxsplit=2) for line in against_orders(policy, judge).splitlines()[1:]]
    assert [float(line[1]) for line in lines] == sorted(float(line[1]) for line in lines)
    assert "ppo" in {line[0].strip() for line in lines}


@pytest.mark.parametrize("algo", ["a2c", "dqn"])
def test_other_algorithms_train_too(words: list[str], algo: str) -> None:
    assert train_agent.command([*words, "-n", "40", "--algo", algo]) == 0
