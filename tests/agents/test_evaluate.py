from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import evaluate
from agents import price_sweep
from agents.algorithms import build
from agents.environments import make_training_env
from agents.hyperparameters import hyperparameters
from agents.learned import describe, save_policy
from evaluate import Args, check, load, main

ROOT = Path(evaluate.__file__).parent
SMALL = {
    "tasks": 2,
    "decisions": 2,
    "minibatches": 1,
    "batch_size": 8,
    "budget": [0.6, 1.0],
    "validation_samples": 16,
    "test_samples": 16,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two untrained policies of a small environment."""
    return [str(untrained(tmp_path_factory.mktemp(f"run{seed}"), seed)) for seed in (0, 1)]


def untrained(folder: Path, seed: int) -> Path:
    env = make_training_env("growenv/MixedDigits-v1", 2, SMALL)
    options, architecture = hyperparameters("ppo", 2, 4)
    model = build("ppo", env, seed, options=options, architecture=architecture)
    save_policy(folder, (model.policy, describe("ppo", architecture, env)))
    env.close()
    return folder


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate.torch, "set_num_threads", lambda count: None)


def test_whole_job_in_a_small_environment_can_be_verified(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(price_sweep, "CANDIDATES", 8)
    monkeypatch.setattr(price_sweep, "CHOSEN_ON", 4)
    out = tmp_path / "out"
    args = Args(
        train_runs=folders,
        contexts=4,
        policies=["never", "controls"],
        search_steps=1600,
        prices=["0.3", "3"],
        cache=str(tmp_path / "cache"),
        out=str(out),
    )
    assert main(args) == 0
    shown = capsys.readouterr()
    assert "the best fixed schedule" in shown.out
    assert "search of fixed schedules" in shown.err
    data = json.loads((out / "results.json").read_text())
    names = {"ppo", "never", "best-fixed", "rate-matched-random", "shuffled-actions", "sampled-actions"}
    assert names <= {player["name"] for player in data["players"]}
    assert data["config"]["decisions"] == 2
    assert data["versions"]["numpy"] == np.__version__
    assert len(data["origins"]["ppo"]) == 2
    assert {"table.txt", "report.html", "growth_timeline.png", "episodes.csv.gz"} <= {
        path.name for path in out.iterdir()
    }

    before = (out / "results.json").read_bytes()
    (out / "report.html").unlink()
    assert main(Args(redraw=str(out))) == 0
    assert (out / "report.html").exists()
    assert (out / "results.json").read_bytes() == before
    capsys.readouterr()

    assert main(Args(verify=str(out), sample=0)) == 0
    assert "all figures are as published" in capsys.readouterr().out
    tamper(out / "episodes.csv.gz")
    assert main(Args(verify=str(out), sample=0)) == 1
    assert "was published as" in capsys.readouterr().out


def tamper(path: Path) -> None:
    """Make the first episode a better one."""
    import csv
    import gzip
    import io

    lines = list(csv.reader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))
    column = lines[0].index("return_")
    lines[1][column] = str(float(lines[1][column]) + 0.01)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    path.write_bytes(gzip.compress(text.getvalue().encode()))


def test_baselines_play_alone_where_nothing_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluate, "SHIPPED", tmp_path)
    assert load(Args()) == []
    assert "playing the baselines alone" in capsys.readouterr().err


def test_the_shipped_policy_is_what_plays_first() -> None:
    (evaluated,) = load(Args())
    assert evaluated.name == "ppo"
    assert evaluated.config == evaluate.growenv.GrowthConfig()
    assert evaluated.steps == evaluate.STEPS  # so that the searches that ship with it are used
    size = sum(path.stat().st_size for path in evaluate.SHIPPED.iterdir())
    assert size < 500_000


@pytest.mark.parametrize(
    "options",
    [
        {"contexts": 0},
        {"inner_seeds": 0},
        {"rows": 0},
        {"threads": 0},
        {"processes": 0},
        {"seed": -1},
        {"sample": -1},
        {"search_steps": -1},
    ],
)
def test_bad_numbers_are_refused_at_once(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        check(Args(**options))


def test_too_few_steps_for_a_search_are_refused_before_the_work(folders: list[str], tmp_path: Path) -> None:
    args = Args(folders[:1], search_steps=1599, out=str(tmp_path / "out"))  # 400 episodes of 4 steps are the least
    with pytest.raises(ValueError, match="--search-steps 1599: a schedule is not tuned with less than 1600"):
        main(args)
    assert not (tmp_path / "out").exists()


def test_bad_prices_are_refused_at_once() -> None:
    for prices in (["0"], ["cheap"], ["1", "sweep"]):
        with pytest.raises(ValueError, match="--prices takes numbers above 0"):
            check(Args(prices=prices))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no/such/run"], "no/such/run"),
        (["--policies", "nevr"], "did you mean 'never'"),
        (["--env", "growenv/MixdDigits-v1"], "did you mean 'growenv/MixedDigits-v1'"),
        (["--verify", "no/such/results"], "no/such/results"),
        (["--redraw", "no/such/results"], "no/such/results"),
    ],
)
def test_mistakes_end_with_one_line_and_code_2(words: list[str], message: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "evaluate.py"), *words, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ}, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
