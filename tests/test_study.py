"""The study behind the claim: its commands are those of this project, and it goes on where it was."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import evaluate
import train_agent
from agents.arguments import parse
from agents.baselines import expand
from agents.training.several_seeds import parse_seeds
from experiments import learning, study

SCRIPTS = {
    "train_agent.py": train_agent.Args,
    "evaluate.py": evaluate.Args,
    "experiments/learning.py": learning.Args,
}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would have run; those of which `codes` says so fail."""
    commands: list[list[str]] = []

    def run(words: list[str], **_: Any) -> SimpleNamespace:
        commands.append(words[1:])
        return SimpleNamespace(returncode=3 if "ood" in words else 0)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_every_command_is_one_of_this_project() -> None:
    for step in study.steps(study.Args(processes=2)):
        script, *words = step.words
        parsed: Any = parse(SCRIPTS[script], "", words)
        if script == "evaluate.py":
            evaluate.check(parsed)
            assert expand(parsed.policies)
            assert parsed.processes == 2
        if script == "train_agent.py":
            assert len(parse_seeds(parsed.seeds)) >= 3


def test_the_test_split_is_played_as_claimed() -> None:
    (step,) = (step for step in study.steps(study.Args()) if step.name == "test")
    parsed = parse(evaluate.Args, "", step.words[1:])
    assert (parsed.split, parsed.contexts, parsed.inner_seeds, parsed.search_steps) == ("test", 256, 2, 0)
    assert len(parse_seeds(study.SEEDS)) == 10


def test_it_stops_where_a_step_fails_and_goes_on_from_there(tmp_path: Path, ran: list[list[str]]) -> None:
    args = study.Args(runs=str(tmp_path), only=["curves", "ood"])
    assert study.main(args) == 3
    assert [words[0] for words in ran] == ["experiments/learning.py", "evaluate.py"]
    ran.clear()
    assert study.main(args) == 3
    assert [words[0] for words in ran] == ["evaluate.py"]
    ran.clear()
    assert study.main(study.Args(runs=str(tmp_path), only=["curves"], out="elsewhere")) == 0
    assert [words[0] for words in ran] == ["experiments/learning.py"]  # another command is another step


def test_the_number_of_processes_makes_no_other_step() -> None:
    one, two = ([step.key for step in study.steps(study.Args(processes=count))] for count in (1, 2))
    assert one == two
    assert len(set(one)) == len(one)


def test_dry_runs_run_nothing(tmp_path: Path, ran: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert study.main(study.Args(runs=str(tmp_path), dry=True)) == 0
    assert ran == []
    assert "test: python evaluate.py --train-runs" in capsys.readouterr().out


def test_patterns_become_folders_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        (tmp_path / f"run_{number}").mkdir()
    assert study.expanded(["a", f"{tmp_path}/*"]) == ["a", *(str(tmp_path / f"run_{n}") for n in (1, 2, 10))]
    assert study.expanded([f"{tmp_path}/none/*"]) == [f"{tmp_path}/none/*"]


def test_steps_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="no step is called tests; there are train, "):
        study.main(study.Args(only=["tests"]))
