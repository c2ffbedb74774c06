"""The training script: learning curves, what is hidden, tuned settings, trackers, and several seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import train_agent
from agents.learned import load_module, load_policy
from agents.saving import write_json
from agents.training.progress import read_progress
from agents.training.run_folder import RunFolder
from tests.agents.training.test_tracking import install
from tests.test_train_agent import SMALL, episodes, interrupt_at, quick, refused, start, tensors

__all__ = ["quick"]  # a fixture that every test here uses


def test_every_update_is_a_line_of_the_learning_curve(tmp_path: Path) -> None:
    run = start(tmp_path, "-n", "64", *SMALL)
    curve = read_progress(run)
    assert curve["timesteps"].tolist() == [0, 16, 32, 48, 64]
    with np.load(run / "evaluations.npz") as file:
        np.testing.assert_allclose(curve["val_return"], file["results"].mean(axis=1), rtol=1e-5)
    returns = [float(row[0]) for row in episodes(run)]
    np.testing.assert_allclose(curve["train_return"][1:], np.reshape(returns, (4, 4)).mean(axis=1), atol=1e-5)
    assert np.isnan(curve["entropy"][0])  # nothing was updated yet
    for column in ("entropy", "explained_variance", "approx_kl", "waits"):
        assert np.isfinite(curve[column][1:]).all()
    assert ((curve["waits"][1:] * 16) % 1 < 1e-4).all()  # shares of 16 decisions
    assert (curve["waits"][1:] <= 1).all()
    assert (np.diff(curve["seconds"]) > 0).all()
    assert (curve["training_seconds"] < curve["seconds"]).all()
    figures = json.loads((run / "finished.json").read_text())
    assert figures["timesteps"] == 64
    assert figures["val_return"] == pytest.approx(curve["val_return"].max(), rel=1e-5)
    assert figures["seconds"] >= curve["seconds"][-1] * 0.999


def test_value_based_algorithms_leave_empty_what_they_lack(tmp_path: Path) -> None:
    curve = read_progress(start(tmp_path, "--algo", "dqn", "-n", "64", *SMALL))
    assert curve["timesteps"].tolist() == list(range(0, 65, 4))
    assert np.isnan(curve["entropy"]).all()
    assert np.isfinite(curve["waits"][1:]).all()
    assert np.isfinite(curve["train_return"][1:]).sum() == 4


def test_what_is_hidden_is_noted_and_stays_hidden(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = start(tmp_path, "-n", "32", *SMALL)
    run = start(tmp_path, "-n", "32", "--hide", "price", "budget", *SMALL)
    assert json.loads((run / "config.json").read_text())["hide"] == ["budget", "price"]
    names = load_policy(run).manifest["hidden"]
    assert {"price", "budget", "used"} <= set(names)
    assert "hidden" not in load_policy(seen).manifest
    before = tensors(run)["mlp_extractor.policy_net.0.weight"]
    assert "was made with hide" in refused(capsys, "--resume", str(run), "--hide", "budget")
    assert train_agent.command(["--resume", str(run), "--hide", "price", "budget", "-n", "48"]) == 0
    module, manifest = load_module(run)
    assert manifest["hidden"] == names
    shown = [name for group in module.features_extractor.groups for name in manifest["feature_names"][group]]
    still = (tensors(run)["mlp_extractor.policy_net.0.weight"] == before).all(dim=0)
    assert still[[shown.index(name) for name in names]].all()  # nothing can be learned of what is always 0
    assert not still.all()
    assert "did you mean 'price'" in refused(capsys, "--hide", "prise", *SMALL)
    old = json.loads((seen / "config.json").read_text())
    del old["hide"]
    write_json(seen / "config.json", old)
    assert train_agent.command(["--resume", str(seen), "-n", "48"]) == 0


def test_tuned_hyperparameters_replace_the_built_in_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = tmp_path / "best.json"
    changes = {"learning_rate": 0.002, "minibatches": 2}
    write_json(best, {"algo": "ppo", "hyperparameters": changes, "architecture": {"net_arch": [8]}})
    run = start(tmp_path, "-n", "16", "--tuned", str(best), *SMALL)
    setting = json.loads((run / "config.json").read_text())
    assert setting["hyperparameters"]["learning_rate"] == 0.002
    assert setting["hyperparameters"]["batch_size"] == 8
    assert tensors(run)["mlp_extractor.policy_net.0.weight"].shape[0] == 8
    assert "tuned for 'ppo', not 'a2c'" in refused(capsys, "--algo", "a2c", "--tuned", str(best), *SMALL)
    assert "leave --tuned out" in refused(capsys, "--resume", str(run), "--tuned", str(best))
    write_json(best, {"algo": "ppo", "hyperparameters": {"learning_rat": 1}, "architecture": {}})
    assert "did you mean 'learning_rate'" in refused(capsys, "--tuned", str(best), *SMALL)


def test_a_tracker_gets_every_line_and_the_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = install(monkeypatch, "wandb")
    run = start(tmp_path, "-n", "48", "--track", "wandb", *SMALL)
    assert [options["step"] for _, options in package.of("log")] == [0, 16, 32, 48]
    assert "entropy" not in package.of("log")[0][0][0]  # what is empty is not logged
    assert package.of("log")[1][0][0]["val_return"] == pytest.approx(read_progress(run)["val_return"][1], rel=1e-5)
    assert [Path(arguments[0]).name for arguments, _ in package.of("add_file")] == ["policy.json", "policy.pt"]
    assert package.of("init")[0][1]["config"]["algo"] == "ppo"
    interrupt_at(16, monkeypatch)
    start(tmp_path, "-n", "48", "--track", "wandb", *SMALL, code=130)
    assert [options["exit_code"] for _, options in package.of("finish")] == [0, 1]


def test_a_folder_that_is_trained_into_is_not_trained_into_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(tmp_path, "-n", "16", *SMALL)
    with RunFolder(run).held():
        assert "another process trains into" in refused(capsys, "--resume", str(run), "-n", "32")
    assert train_agent.command(["--resume", str(run), "-n", "32"]) == 0


# --- several seeds ----------------------------------------------------------------------------------------------------


def test_a_study_is_trained_and_gone_on_with_by_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_agent, "VAL_EPISODES", 64)  # as in the processes that go on with it
    interrupt_at(16, monkeypatch)
    cut = start(tmp_path, "-n", "48", "--seed", "4", "--no-compare", *SMALL, code=130)
    words = ["--seeds", "3..4", "--jobs", "2", "-n", "48", *SMALL]
    capsys.readouterr()
    assert (start(tmp_path, *words) / "finished.json").exists()
    shown = capsys.readouterr().out
    assert "seed 3: begins" in shown
    assert f"seed 4: goes on, in {cut}" in shown
    assert "[seed 4] run folder:" in shown
    assert "comparing" not in shown
    runs = {json.loads((run / "config.json").read_text())["seed"]: run for run in tmp_path.glob("*/*")}
    assert sorted(runs) == [3, 4]
    assert shown.count(str(runs[3])) == 2  # its own line, and the summary
    before = (runs[3] / "checkpoint.pt").stat().st_mtime_ns
    assert train_agent.command([*words, "--log-folder", str(tmp_path)]) == 0
    assert f"seed 3: finished, in {runs[3]}" in capsys.readouterr().out
    assert (runs[3] / "checkpoint.pt").stat().st_mtime_ns == before


def test_what_children_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[Any] = []

    def noted(seeds: Any, setting: Any, root: Any, command: Any, **options: Any) -> int:
        told[:] = [seeds, command(7, None)[2:], command(7, RunFolder(tmp_path))[2:], options["jobs"]]
        return 0

    monkeypatch.setattr(train_agent, "train_seeds", noted)
    words = ["-n", "64", *SMALL, "--hide", "price", "budget"]
    assert train_agent.command([*words, "--seeds", "5,7", "--jobs", "3"]) == 0
    assert (told[0], told[3]) == ((5, 7), 3)
    own = train_agent.parse(train_agent.Args, "", told[1])
    whole = train_agent.parse(train_agent.Args, "", [*words, "--seed", "7", "--no-compare"])
    assert own == whole
    assert told[2] == ["--resume", str(tmp_path), "--no-compare"]
    assert train_agent.command([*words, "--seeds", "5,7", "--compare"]) == 0
    assert "--no-compare" not in told[1] + told[2]
    assert train_agent.command([*words, "--seeds", "5"]) == 0
    assert "--no-compare" not in told[1] + told[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0..x"], "--seeds '0..x': expected seeds like 0..9"),
        (["--seeds", "9..0"], "'9..0' is none"),
        (["--seeds", "1,1"], "every seed once"),
        (["--seeds", "0..3", "--jobs", "0"], "--jobs 0: at least one"),
        (["--jobs", "2"], "it needs --seeds"),
        (["--seeds", "0..3", "--seed", "0"], "give one of the two"),
        (["--seeds", "0..3", "--resume", "runs"], "leave --resume out"),
        (["--seeds", "0..3", "--algo", "pp"], "did you mean 'ppo'"),
        (["--hide", "prize"], "did you mean 'price'"),
        (["--track", "wandbb"], "did you mean 'wandb'"),
        (["--tuned", "nowhere.json"], "nowhere.json does not exist"),
    ],
)
def test_wrong_flags_of_studies_are_one_line_and_leave_nothing_behind(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, *words, "--log-folder", str(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--algo", "a2c"], "was made with algo 'ppo', not 'a2c'"),
        (["--env-kwargs", "tasks:3"], "was made with env_kwargs"),
        (["--seed", "5"], "was made with seed 0"),
    ],
)
def test_a_run_is_not_resumed_as_another(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start(tmp_path, "-n", "16", *SMALL)
    assert message in refused(capsys, "--resume", str(run), *words)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = start(tmp_path, "-n", "16", *SMALL)
    setting = json.loads((run / "config.json").read_text())
    write_json(run / "config.json", {**setting, "architecture": {"net_arch": [7], "activation": "tanh"}})
    assert "do not fit the network" in refused(capsys, "--resume", str(run), "-n", "32")
