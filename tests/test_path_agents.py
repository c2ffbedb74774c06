"""The study of agents on growth paths: it runs, goes on, and its block says what its numbers say."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.paths.by_name import AGENTS, OPTIONS
from experiments import path_agents
from tests.agents.paths.synthetic import made_up

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "docs"))
import growth_paths_agents as block


@pytest.fixture(autouse=True)
def own_generator() -> Iterator[None]:
    """Stable-Baselines3 seeds the global generator."""
    with torch.random.fork_rng(devices=[]):
        yield


def arguments(folder: Path, **changes: Any) -> path_agents.Args:
    """A study of two seeds that takes a second."""
    made_up((2, 2), 1, noise=0.002).save(folder / "small.npz")
    given = {"table": str(folder / "small.npz"), "seeds": "0..1", "episodes": 1024, "agents": ["ppo", "thompson"]}
    return path_agents.Args(**{**given, "runs": str(folder / "runs"), "out": str(folder / "out"), **changes})


def test_the_study_writes_curves_and_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path_agents.main(arguments(tmp_path, agents=["thompson"]))
    assert capsys.readouterr().out.count("regret in points") == 2
    path_agents.main(arguments(tmp_path))
    assert capsys.readouterr().out.count("regret in points") == 2  # thompson's runs are kept
    found = json.loads((tmp_path / "out" / "small-final.json").read_text())
    assert set(found["agents"]) == {"ppo", "thompson"}
    assert found["agents"]["thompson"]["points"][-1]["episodes"] == 1024
    assert found["agents"]["ppo"]["points"][0]["episodes"] == 256
    assert len(found["references"]["orders"]) == 8  # blocks of half of two steps alternate
    assert found["settings"]["trials"] == {"train": 2, "test": 2}
    assert (tmp_path / "out" / "small-final.png").is_file()
    monkeypatch.setattr(block, "RESULTS", tmp_path / "out")
    shown = block.path_agents()
    assert "| thompson | " in shown and "| PPO | " in shown and "1,024 episodes" in shown


def test_agents_are_judged_on_another_table_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up((2, 2), 1, trials=6, noise=0.01).save(tmp_path / "other.npz")
    path_agents.main(arguments(tmp_path, elsewhere=str(tmp_path / "other.npz")))
    path_agents.main(arguments(tmp_path, seeds="0", out=str(tmp_path / "without")))
    assert len(list((tmp_path / "runs").iterdir())) == 2, "a run without the other table is another one"
    found, alone = (json.loads((tmp_path / out / "small-final.json").read_text()) for out in ("out", "without"))
    assert found["settings"]["elsewhere"] == "other" and found["settings"]["trials"]["elsewhere"] == 6
    for agent in ("ppo", "thompson"):
        final = found["agents"][agent]["final"]
        assert len(final["elsewhere"]) == 2
        assert {split: final[split][:1] for split in alone["agents"][agent]["final"]} == alone["agents"][agent]["final"]
    monkeypatch.setattr(block, "RESULTS", tmp_path / "out")
    shown = block.path_agents()
    assert "| on `other` |" in shown and "On `other`, where it never learned, PPO regrets " in shown


def test_another_objective_is_another_run(tmp_path: Path) -> None:
    for changes in ({}, {"objective": "anytime"}, {"price": 0.5}):
        path_agents.main(arguments(tmp_path, agents=["thompson"], seeds="0", episodes=32, **changes))
    assert len(list((tmp_path / "runs").iterdir())) == 3
    names = {path.name for path in (tmp_path / "out").glob("*.json")}
    assert names == {"small-final.json", "small-anytime.json", "small-final-price-0.5.json"}


@pytest.mark.parametrize("name", AGENTS)
def test_another_hyper_parameter_is_another_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = path_agents.Run(name, 0, 32)
    files = {run.file(tmp_path, "table")}
    for option, value in OPTIONS[name].items():
        with monkeypatch.context() as changed:
            changed.setitem(OPTIONS[name], option, f"not {value}")
            files.add(run.file(tmp_path, "table"))
    assert len(files) == 1 + len(OPTIONS[name]) > 1


def test_unknown_agents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'evolution'"):
        path_agents.main(arguments(tmp_path, agents=["evoltion"]))


def test_without_results_the_block_shows_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "RESULTS", tmp_path)
    assert block.path_agents() == block.verdict() == f"not run yet: `{block.COMMAND}`"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        ([9.6, 20.2], "Every seed of PPO ends below .* 10 to 20 s"),
        ([9.6, None], "1 of 2 seeds of PPO ends below the best fixed order on .* .0.50.; .* 10 s"),
        ([None, None], "No seed of PPO ends below the best fixed order on .* .0.50."),
    ],
)
def test_the_sentence_follows_from_the_numbers(seconds: list[float | None], words: str) -> None:
    below = [None if end is None else {"seconds": end, "episodes": 1} for end in seconds]
    orders = {"one": {"train": 0.005, "test": 0.03}, "other": {"train": 0.02, "test": 0.01}}
    last = {"test": {"mean": 0.04, "low": 0.035, "high": 0.045}}
    ppo = {"below": {"train": below}, "points": [last], "final": {"test": [0.025, 0.03 - 1e-15, 0.065]}}
    text = block.sentence({"ppo": ppo}, {"orders": orders})
    assert re.search(words, text)
    assert text.endswith(
        "On held-out trials, PPO regrets 4.00 [3.50, 4.50], and that order 3.00; 1 of 3 seeds regret less than it. "
        "The best fixed order in hindsight regrets 1.00 there."
    )


def test_points_have_no_negative_zero() -> None:
    assert [block.points(share) for share in (-1e-9, 0.01234, -0.01)] == ["0.00", "1.23", "-1.00"]
