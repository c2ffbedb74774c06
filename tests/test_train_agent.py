"""The training script: what it writes, how it goes on after a kill, and what it says when something is wrong."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import train_agent
from agents import saving
from agents.algorithms import known_algorithms
from agents.learned import load_module, load_policy
from agents.saving import read_tensors, write_json
from agents.training import checkpoints
from agents.training import recorder as training
from agents.training.progress import COLUMNS, read_progress
from agents.training.run_folder import RunFolder
from tests.scripted_env import ScriptedEnv

ROOT = Path(train_agent.__file__).parent
OPTIONS = ["tasks:2", "decisions:2", "minibatches:1", "validation_samples:16", "test_samples:16", "budget:0.9"]
SMALL = ["--n-envs", "4", "--env-kwargs", *OPTIONS]  # a roll-out is 16 steps


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Few val contexts, no closing comparison, and no trace in the global generators."""
    monkeypatch.setattr(train_agent, "VAL_EPISODES", 4)
    monkeypatch.setattr(train_agent, "compare", lambda run, steps: None)
    with torch.random.fork_rng(devices=[]):
        yield


def start(folder: Path, *words: str, code: int = 0) -> Path:
    """Train into `folder`; the newest run folder."""
    assert train_agent.command([*words, "--log-folder", str(folder)]) == code
    return max(folder.glob("*/*"), key=lambda path: path.stat().st_mtime_ns)


def tensors(run: Path) -> dict[str, Any]:
    """The policy in a run's checkpoint."""
    return dict(read_tensors(run / "checkpoint.pt")["policy"])


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def episodes(run: Path) -> list[tuple[str, ...]]:
    """The rows of the run's monitor file without their times."""
    with open(run / "monitor.csv") as file:
        assert file.readline().startswith("#")
        return [tuple(value for key, value in row.items() if key != "t") for row in csv.DictReader(file)]


# --- what a run writes -----------------------------------------------------------------------------------------------


def test_a_run_writes_what_it_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = start(tmp_path, "-n", "64", *SMALL)
    assert run == tmp_path / "ppo" / "growenv-MixedDigits-v1_1"
    expected = {"checkpoint.pt", "command.txt", "config.json", "evaluations.npz", "monitor.csv", "versions.json"}
    assert expected | {"policy.json", "policy.pt", "progress.csv", "finished.json"} <= {
        path.name for path in run.iterdir()
    }
    assert not [path for path in run.iterdir() if path.name.endswith((".tmp", ".new", ".zip", ".pkl"))]
    with np.load(run / "evaluations.npz", allow_pickle=False) as file:
        assert file["timesteps"].tolist() == [0, 16, 32, 48, 64]
        assert file["results"].shape == (5, 4)
        assert (file["ep_lengths"] == 4).all()
        best = file["results"].mean(axis=1).max()
    manifest = load_policy(run).manifest
    assert manifest["training"]["val_return"] == pytest.approx(best)
    assert manifest["config"]["accuracy_matrix"] is True  # training switches it off, the user did not
    assert manifest["environment"]["kwargs"]["budget"] == 0.9
    assert len(episodes(run)) == 16
    assert {"torch", "gymnasium", "growenv"} <= set(json.loads((run / "versions.json").read_text()))
    assert "-n 64" in (run / "command.txt").read_text()
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("48 / 64 steps ( 75%) | val: return", "entropy", "accuracy", "waits "))


def test_runs_are_numbered_and_never_share_a_folder(tmp_path: Path) -> None:
    claimed: list[Path] = []
    threads = [
        threading.Thread(target=lambda: claimed.append(RunFolder.claim(str(tmp_path), "ppo", "a/B-v0").path))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path.name for path in claimed} == {f"a-B-v0_{number}" for number in range(1, 13)}
    assert RunFolder.claim(str(tmp_path), "ppo", "a/B-v0").path.name == "a-B-v0_13"
    assert RunFolder.claim(str(tmp_path), "ppo", "a/B-v1").path.name == "a-B-v1_1"


def test_equal_seeds_train_equally_and_other_seeds_do_not(tmp_path: Path) -> None:
    first, second = (start(tmp_path, "-n", "32", *SMALL) for _ in range(2))
    other = start(tmp_path, "-n", "32", "--seed", "1", *SMALL)
    assert_equal(tensors(first), tensors(second))
    assert episodes(first) == episodes(second)
    assert not set(episodes(first)) & set(episodes(other))


def test_evaluation_does_not_disturb_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_evaluations = start(tmp_path, "-n", "48", *SMALL)
    monkeypatch.setattr(train_agent, "make_evaluator", lambda setting: None)
    without = start(tmp_path, "-n", "48", *SMALL)
    assert_equal(tensors(with_evaluations), tensors(without))
    assert not (without / "evaluations.npz").exists()
    assert_equal(load_policy(without).module.state_dict(), tensors(without))


def test_it_ends_with_a_comparison_on_contexts_that_chose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(train_agent, "VAL_EPISODES", 4)
    searched: list[list[int]] = []
    played: list[list[int]] = []
    search, play = train_agent.best_fixed_schedule, train_agent.play_together

    def noted_search(config: Any, contexts: Any, **options: Any) -> Any:
        searched.append([context.index for context in contexts])
        return search(config, contexts, **options)

    def noted_play(entries: Any, config: Any) -> Any:
        played.extend([context.index for context in own] for _, own in entries)
        return play(entries, config)

    monkeypatch.setattr(train_agent, "best_fixed_schedule", noted_search)
    monkeypatch.setattr(train_agent, "play_together", noted_play)
    run = start(tmp_path, "-n", "16", *SMALL)
    assert searched == [list(range(4, 20))]
    assert played == [list(range(20, 36))] * 5
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("ppo", "best-fixed", "static-large", (run / "comparison.txt").read_text()))


# --- going on ------------------------------------------------------------------------------------------------------


def interrupt_at(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of the roll-out that follows `steps` steps."""
    step = training.Recorder._on_step

    def on_step(recorder: Any) -> bool:
        if recorder.num_timesteps > steps + 4:
            monkeypatch.setattr(training.Recorder, "_on_step", step)
            raise KeyboardInterrupt
        return step(recorder)

    monkeypatch.setattr(training, "CAPTURE_SECONDS", 0.0)
    monkeypatch.setattr(training.Recorder, "_on_step", on_step)


@pytest.mark.parametrize("algo", [name for name in ("ppo", "recurrent-ppo") if name in known_algorithms()])
def test_ctrl_c_saves_everything_and_resuming_equals_never_having_stopped(
    algo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = start(tmp_path / "whole", "--algo", algo, "-n", "64", *SMALL)
    interrupt_at(32, monkeypatch)
    run = start(tmp_path / "cut", "--algo", algo, "-n", "64", *SMALL, code=130)
    assert f"python train_agent.py --resume {run}" in capsys.readouterr().out
    assert read_tensors(run / "checkpoint.pt")["counters"]["num_timesteps"] == 32
    load_policy(run)
    assert train_agent.command(["--resume", str(run)]) == 0
    assert read_tensors(run / "checkpoint.pt")["counters"]["num_timesteps"] == 64
    assert_equal(tensors(whole), tensors(run))
    assert episodes(whole) == episodes(run)  # none is missing, none is there twice
    with np.load(whole / "evaluations.npz") as left, np.load(run / "evaluations.npz") as right:
        assert left["timesteps"].tolist() == right["timesteps"].tolist()
        np.testing.assert_array_equal(left["results"], right["results"])
    curves = read_progress(whole), read_progress(run)
    for column in set(COLUMNS) - {"seconds", "training_seconds"}:
        np.testing.assert_array_equal(curves[0][column], curves[1][column])
    assert (np.diff(curves[1]["seconds"]) > 0).all()  # the time of the first session counts
    assert len((run / "command.txt").read_text().splitlines()) == 2


def test_the_counter_goes_on_and_the_exploration_rate_does_not_jump_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[tuple[int, float]] = []
    on_step = training.Recorder._on_step

    def noted(recorder: Any) -> bool:
        rates.append((recorder.num_timesteps, recorder.model.exploration_rate))
        return on_step(recorder)

    monkeypatch.setattr(training.Recorder, "_on_step", noted)
    run = start(tmp_path, "--algo", "dqn", "-n", "160", *SMALL)
    before = len(rates)
    kept = read_tensors(run / "checkpoint.pt")["replay"]
    assert train_agent.command(["--resume", str(run), "-n", "320"]) == 0
    assert [steps for steps, _ in rates[before:]] == list(range(164, 321, 4))
    assert json.loads((run / "config.json").read_text())["n"] == 320
    replay = read_tensors(run / "checkpoint.pt")["replay"]
    assert (kept["position"], replay["position"]) == (40, 80)
    assert torch.equal(kept["arrays"]["rewards"], replay["arrays"]["rewards"][:40])
    assert rates[before][1] == pytest.approx(rates[before - 1][1])


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    run = start(tmp_path, "-n", "16", *SMALL)
    files = ("policy.pt", "progress.csv", "finished.json")
    before = tensors(run), episodes(run), [(run / file).read_bytes() for file in files]
    assert train_agent.command(["--resume", str(run)]) == 0
    assert_equal(before[0], tensors(run))
    assert before[1:] == (episodes(run), [(run / file).read_bytes() for file in files])


def test_killed_at_any_moment_it_resumes(tmp_path: Path) -> None:
    code = """
import sys, train_agent
from agents.training import recorder as training
train_agent.prepare_process()
train_agent.VAL_EPISODES, train_agent.compare = 4, lambda *_: None
training.CHECKPOINT_SECONDS = training.CAPTURE_SECONDS = 0.0
training.LINE_SECONDS = 0.2
sys.exit(train_agent.command(sys.argv[1:]))
"""
    words = [sys.executable, "-c", code]
    where: dict[str, Any] = {"cwd": ROOT, "stdout": subprocess.PIPE, "text": True}
    train = [*words, "-n", "1000000", *SMALL, "--log-folder", str(tmp_path)]
    with subprocess.Popen(train, **where) as process:
        wait_for_steps(process, 64)
        process.send_signal(signal.SIGKILL)
    (run,) = tmp_path.glob("*/*")
    reached = read_tensors(run / "checkpoint.pt")["counters"]["num_timesteps"]
    assert reached >= 64
    load_policy(run)
    assert read_progress(run)["timesteps"].max() >= 64
    assert train_agent.command(["--resume", str(run), "-n", str(reached + 32)]) == 0
    assert read_progress(run)["timesteps"].tolist() == list(range(0, reached + 33, 16))
    assert read_tensors(run / "checkpoint.pt")["counters"]["num_timesteps"] == reached + 32
    assert len(set(episodes(run))) == len(episodes(run)) == (reached + 32) // 4


def wait_for_steps(process: subprocess.Popen[str], steps: int) -> None:
    """Read the progress until training has got beyond `steps`."""
    assert process.stdout is not None
    for line in process.stdout:
        if " steps (" in line and int(line.split("/")[0].replace(",", "")) > steps:
            return
    raise AssertionError("the process ended")


# --- other environments ----------------------------------------------------------------------------------------------


class Continuous(ScriptedEnv):
    """A user's environment: numbers as actions, a plain box as observation."""

    def __init__(self, reward: float = 1.0, render_mode: str | None = None) -> None:
        super().__init__(0)
        self.reward = reward
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)  # type: ignore[assignment]
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)  # type: ignore[assignment]

    def _observe(self) -> Any:
        return super()._observe()["task"]

    def step(self, action: Any) -> Any:
        observation, _, *rest = super().step(0)
        return observation, self.reward, *rest


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of a user's own that registers an environment."""
    (tmp_path / "their_module.py").write_text(
        "import gymnasium\nfrom tests.test_train_agent import Continuous\n"
        "gymnasium.register('Their/Own-v3', entry_point=Continuous)\n"
    )
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('half done')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "their_module:Their/Own-v3"
    gym.registry.pop("Their/Own-v3", None)
    sys.modules.pop("their_module", None)


def test_a_users_own_environment_is_trained_too(user_module: str, tmp_path: Path) -> None:
    words = ["--env", user_module, "--env-kwargs", "reward:2", "-n", "512", "--n-envs", "2"]
    run = start(tmp_path / "runs", *words)
    assert run.name == "Their-Own-v3_1"
    with np.load(run / "evaluations.npz") as file:
        assert (file["results"] == 2.0 * file["ep_lengths"]).all()
    module, manifest = load_module(run)
    assert manifest["config"] is None
    assert module.predict(np.zeros((3, 2), np.float32))[0].shape == (3, 1)
    assert train_agent.command(["--resume", str(run), "-n", "1024"]) == 0
    assert read_tensors(run / "checkpoint.pt")["counters"]["num_timesteps"] == 1024


# --- what is wrong ---------------------------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a command line is refused with."""
    with pytest.raises(SystemExit) as ended:
        train_agent.command([*words])
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    return line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--algo", "pp"], "did you mean 'ppo'"),
        (["--env", "growenv/MixedDigit-v1"], "did you mean 'growenv/MixedDigits-v1'"),
        (["--env", "no_such_module:A/B-v0"], "cannot import 'no_such_module'"),
        (["--env", "broken_module:A/B-v0"], "RuntimeError: half done"),
        (["--env", "their_module:Their/Won-v3"], "did you mean 'Their/Own-v3'"),
        (["--env", "their_module:Their/Own-v3", "--env-kwargs", "spam:1"], "does not take these --env-kwargs"),
        (["--env-kwargs", "taks:3"], "did you mean 'tasks'"),
        (["--env-kwargs", "tasks"], "name:value"),
        (["--env-kwargs", "tasks:many"], "tasks='many'"),
        (["--env-kwargs", "dataset:digit"], "did you mean 'digits'"),
        (["--seeed", "1"], "--seeed"),
        (["-n", "soon"], "-n"),
        (["-n", "-5"], "n >= 0"),
        (["--n-envs", "0"], "n-envs >= 1"),
        (["--device", "abacus"], "--device abacus"),
        (["--resume", "nowhere"], "no run of train_agent.py"),
        (["--env", "their_module:Their/Own-v3", "--hide", "price"], "no feature_names"),
    ],
)
def test_wrong_flags_are_one_line_and_leave_nothing_behind(
    words: list[str], message: str, user_module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, *words, "--log-folder", str(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_a_log_folder_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").write_text("")
    assert "cannot make a run folder" in refused(capsys, *SMALL, "--log-folder", str(tmp_path / "runs"))


def test_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sync, calls = os.fsync, []

    def filling_up(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 9:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(saving.os, "fsync", filling_up)
    assert "No space left on device" in refused(capsys, *SMALL, "-n", "64", "--log-folder", str(tmp_path))
    monkeypatch.undo()
    (run,) = tmp_path.glob("*/*")
    load_policy(run)
    checkpoints.read(run / "checkpoint.pt")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "checkpoint.pt").write_bytes(b"garbage"), "is damaged"),
        (lambda run: (run / "checkpoint.pt").unlink(), "stopped before it began"),
        (lambda run: (run / "config.json").write_text("{"), "config.json is damaged"),
        (lambda run: write_json(run / "config.json", {"algo": "ppo"}), "config.json lacks"),
        (lambda run: (run / "evaluations.npz").write_bytes(b"PK"), "evaluations.npz is damaged"),
        (lambda run: (run / "checkpoint.pt").write_bytes(saving.tensor_bytes({"format": 7})), "is no checkpoint"),
    ],
)
def test_a_damaged_run_is_not_resumed(
    damage: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(tmp_path, "-n", "16", *SMALL)
    damage(run)
    assert message in refused(capsys, "--resume", str(run), "-n", "32")
