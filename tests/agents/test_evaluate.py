from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evaluate
from agents import learned
from evaluate import Args, check, environment_config, load_runs, main, registered_options

ROOT = Path(evaluate.__file__).parent
SMALL = ["tasks:2", "decisions:2", "minibatches:1", "batch_size:8", "budget:[0.6,1.0]", "validation_samples:16"]


class StubPolicy:
    """What `load_policy` returns, as far as the script is concerned."""

    def __init__(self, name: str, config: dict[str, Any] | None) -> None:
        self.name, self.manifest = name, {"config": config, "algorithm": "stub"}

    def bind(self, interface: Any) -> StubPolicy:
        return self

    def reset(self, rows: np.ndarray) -> None:
        pass

    def act(self, observations: Any, masks: np.ndarray) -> np.ndarray:
        return masks.shape[1] - 1 - masks[:, ::-1].argmax(axis=1)


def config(**options: Any) -> dict[str, Any]:
    return evaluate.GrowthConfig.from_options(**options).to_json()


def test_whole_job_in_a_small_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stub = StubPolicy("greedy", config(tasks=2))
    monkeypatch.setattr(evaluate, "load_policy", lambda path: stub)
    monkeypatch.setattr(evaluate.torch, "set_num_threads", lambda count: None)
    policies = ["never", "rate-matched-random"]
    args = Args(
        ["run"], env_kwargs=SMALL, contexts=4, policies=policies, search_episodes=400, out=str(tmp_path / "out")
    )
    main(args)
    shown = capsys.readouterr()
    assert "greedy (learned)" in shown.out
    assert "than the best fixed schedule" in shown.out or "no improvement" in shown.out
    assert "search of fixed schedules" in shown.err
    data = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {line["policy"] for line in data["policies"]} == {"greedy", "never", "rate-matched-random", "best-fixed"}
    assert data["policies"][0]["invalid"] == 0
    assert data["config"]["decisions"] == 2
    assert data["versions"]["numpy"] == np.__version__
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "results.json",
        "episodes.csv",
        "table.txt",
        "growth_timeline.png",
    }


def test_runs_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "load_policy", lambda path: StubPolicy("ppo" if "p" in path.name else "dqn", {}))
    assert list(load_runs(["a/p1", "b/p1", "q"])) == ["ppo a/p1", "ppo b/p1", "dqn"]
    with pytest.raises(ValueError, match="given twice"):
        load_runs(["a/p1", "a/p1"])


def test_baselines_play_alone_where_nothing_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluate, "SHIPPED", tmp_path)
    assert load_runs([]) == {}
    assert "playing the baselines alone" in capsys.readouterr().err


def test_environment_is_the_runs_unless_another_is_asked_for() -> None:
    runs: dict[str, Any] = {"a": StubPolicy("a", config(tasks=4)), "b": StubPolicy("b", config(tasks=4))}
    assert environment_config(Args(), runs).tasks == 4
    assert environment_config(Args(env_kwargs=["tasks:3"]), runs).tasks == 3
    assert environment_config(Args(env="growenv/SplitDigits-v1"), runs).streams == "split"
    assert environment_config(Args(), {}).streams == "mixed"
    runs["b"] = StubPolicy("b", config(tasks=5))
    with pytest.raises(ValueError, match="trained in different environments"):
        environment_config(Args(), runs)
    runs["b"] = StubPolicy("b", None)
    with pytest.raises(ValueError, match="'b' was not trained in a growenv environment"):
        environment_config(Args(), runs)


def test_other_environments_are_refused() -> None:
    with pytest.raises(ValueError, match="no growenv environment"):
        registered_options("CartPole-v1")


@pytest.mark.parametrize(
    "options", [{"contexts": 0}, {"inner_seeds": 0}, {"rows": 0}, {"threads": 0}, {"seed": -1}, {"search_episodes": 10}]
)
def test_bad_numbers_are_refused_at_once(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        check(Args(**options))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no/such/run"], "no/such/run"),
        (["--policies", "nevr"], "did you mean 'never'"),
        (["--env", "growenv/MixdDigits-v1"], "did you mean 'growenv/MixedDigits-v1'"),
    ],
)
def test_mistakes_end_with_one_line_and_code_2(words: list[str], message: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "evaluate.py"), *words, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ}, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")


def test_learned_policies_are_what_the_script_expects() -> None:
    assert evaluate.load_policy is learned.load_policy
