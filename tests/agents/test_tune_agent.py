"""Tuning of an agent: what is proposed, how it is scored, what is written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from agents import tune_agent
from agents.hyperparameters import ALGORITHMS, hyperparameters
from agents.training.tuned import changed, read_tuned
from agents.tune_agent import ACTOR_CRITIC, Args, Range, built_in, space

TINY = ["tasks:2", "decisions:2", "minibatches:1", "validation_samples:16", "test_samples:16", "budget:0.9"]
WORDS = ["--trials", "2", "-n", "16", "--n-envs", "4", "--contexts", "2", "--env-kwargs", *TINY]


@pytest.fixture
def optuna() -> Any:
    return pytest.importorskip("optuna")


@pytest.fixture(autouse=True)
def untouched() -> Any:
    """No trace in the global generators."""
    with torch.random.fork_rng(devices=[]):
        yield


def best_of(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "best.json").read_text())
    return data


def test_two_trials_write_the_better_setting_and_say_how_to_use_it(
    optuna: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--storage", f"journal:{tmp_path / 'study.log'}", "--out", str(tmp_path / "best.json")]
    assert tune_agent.command([*WORDS, *where]) == 0
    best = best_of(tmp_path)
    assert best["trials"] == {"complete": 2, "given_up": 0, "failed": 0}
    assert best["setting"]["seeds"] == 3
    assert set(best["hyperparameters"]) == set(space("ppo"))
    assert f"--algo ppo --tuned {tmp_path / 'best.json'}" in capsys.readouterr().out
    changes, network = read_tuned(tmp_path / "best.json", "ppo")
    assert changed(*hyperparameters("ppo", 4, 4), changes, network, 4)[1]["net_arch"] == network["net_arch"]
    with pytest.raises(SystemExit):
        tune_agent.command([*WORDS, *where, "--seeds", "4"])
    assert "was begun with seeds 3 instead of 4" in capsys.readouterr().err


def fake_score(monkeypatch: pytest.MonkeyPatch, score: Any) -> list[tuple[dict[str, Any], int]]:
    """Score without training; what was scored."""
    scored: list[tuple[dict[str, Any], int]] = []

    def noted(changes: dict[str, Any], network: dict[str, Any], seed: int) -> float:
        scored.append((changes, seed))
        return float(score(changes, seed))

    monkeypatch.setattr(tune_agent, "make_score", lambda args: noted)
    return scored


def test_the_built_in_setting_is_tried_first_and_equal_seeds_propose_equally(
    optuna: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scored = fake_score(monkeypatch, lambda changes, seed: -abs(changes["learning_rate"] - 1.7e-3) + 1e-6 * seed)
    tune_agent.main(Args(trials=4, out=str(tmp_path / "best.json")))
    first = list(scored)
    assert first[0][0] == {name: value for name, value in built_in("ppo").items() if name != "net_arch"}
    assert [seed for _, seed in first[:3]] == [1000, 1001, 1002]
    best = max(first, key=lambda each: -abs(each[0]["learning_rate"] - 1.7e-3))
    assert best_of(tmp_path)["hyperparameters"] == best[0]
    scored.clear()
    tune_agent.main(Args(trials=4, out=str(tmp_path / "best.json")))
    assert scored == first


def test_trials_below_the_median_are_given_up_after_their_first_seed(
    optuna: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[int] = []

    def worse_and_worse(changes: Any, seed: int) -> float:
        calls.append(seed)
        return -float(len(calls))

    fake_score(monkeypatch, worse_and_worse)
    tune_agent.main(Args(trials=7, out=str(tmp_path / "best.json")))
    assert len(calls) == 5 * 3 + 2  # five trials set the median
    assert best_of(tmp_path)["trials"] == {"complete": 5, "given_up": 2, "failed": 0}
    assert best_of(tmp_path)["trial"] == 0


def test_a_setting_that_diverges_is_a_failed_trial(
    optuna: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def diverges(changes: Any, seed: int) -> float:
        raise ValueError("nan")

    fake_score(monkeypatch, diverges)
    with pytest.raises(SystemExit):
        tune_agent.command(["--trials", "2", "--out", str(tmp_path / "best.json")])
    assert "all 2 trials failed" in capsys.readouterr().err
    assert not (tmp_path / "best.json").exists()


@pytest.mark.parametrize("algo", list(ALGORITHMS))
def test_the_built_in_values_can_be_proposed(algo: str) -> None:
    own = built_in(algo)
    for name, values in space(algo).items():
        if isinstance(values, Range):
            assert values.low <= own[name] <= values.high
        else:
            assert own[name] in values
    assert own["net_arch"] in ("64,64", "128,128")
    assert len(own) >= 5
    assert "learning_rate" in ACTOR_CRITIC


def test_minibatches_become_a_batch_size_that_divides_the_rollout() -> None:
    options, network = hyperparameters("ppo", 64, 30)
    for wanted, size in ((1, 1920), (4, 480), (7, 320), (8, 240)):
        assert changed(options, network, {"minibatches": wanted}, {}, 64)[0]["batch_size"] == size
    with pytest.raises(ValueError, match="minibatches=0"):
        changed(options, network, {"minibatches": 0}, {}, 64)
    with pytest.raises(ValueError, match="entry of the architecture"):
        changed(options, network, {}, {"net_arc": [3]}, 64)
    with pytest.raises(ValueError, match="hyper-parameter 'minibatches'"):
        changed(*hyperparameters("dqn", 64, 30), {"minibatches": 2}, {}, 64)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "2"], "3 training seeds"),
        (["--trials", "0"], "at least one trial"),
        (["--algo", "pp"], "did you mean 'ppo'"),
        (["--env", "growenv/MixedDigit-v1"], "did you mean 'growenv/MixedDigits-v1'"),
        (["--env", "CartPole-v1"], "only growth environments"),
        (["--contexts", "0"], "at least one context"),
        (["--storage", "journal:", *WORDS], "the file is missing"),
        (["--storage", "nosuchbase", *WORDS], "expected journal:FILE"),
    ],
)
def test_wrong_flags_are_one_line(
    optuna: Any, words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        tune_agent.command([*words, "--out", str(tmp_path / "best.json")])
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1


def test_without_the_package_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SystemExit):
        tune_agent.command([])
    assert "run: pip install optuna" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [("{}", "it has no hyperparameters"), ('{"algo": "dqn", "hyperparameters": {}, "architecture": {}}', "--algo dqn")],
)
def test_other_files_are_no_tuned_settings(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_tuned(tmp_path / "best.json", "ppo")
