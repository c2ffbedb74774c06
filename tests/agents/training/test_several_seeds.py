"""Several training seeds: which there are, which are done, and processes side by side."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agents.training.run_folder import SETTING, RunFolder
from agents.training.several_seeds import Processes, find_run, parse_seeds, summary, train_seeds

BASE: dict[str, Any] = {**dict.fromkeys(SETTING, 0), "algo": "ppo", "n": 100, "hide": []}


def write_run(root: Path, seed: int, *, value: float | None = None, checkpoint: bool = True, **other: Any) -> RunFolder:
    """A run folder as training leaves it; finished if it has a value."""
    run = RunFolder.claim(str(root), "ppo", "A/B-v0")
    run.note({**BASE, "seed": seed, **other}, ["train"])
    if checkpoint:
        run.file("checkpoint.pt").write_bytes(b"")
    if value is not None:
        run.finish(100, 12.0, 10.0, value)
    return run


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0..3", (0, 1, 2, 3)), ("0,3,5", (0, 3, 5)), ("4", (4,)), ("8..9, 2", (8, 9, 2)), ("7..7", (7,))],
)
def test_seeds_are_single_ones_and_ranges(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "3..", "..3", "5..2", "1,,2", "-1", "0...3", "1.5", "2147483648", "0-9"])
def test_other_texts_are_no_seeds(text: str) -> None:
    with pytest.raises(ValueError, match="expected seeds like"):
        parse_seeds(text)


def test_a_seed_is_given_once_and_there_are_not_too_many() -> None:
    with pytest.raises(ValueError, match="every seed once"):
        parse_seeds("1..3,2")
    with pytest.raises(ValueError, match="more than 1000"):
        parse_seeds("0..2000000000")
    assert len(parse_seeds("1..1000")) == 1000


def test_a_run_is_found_by_its_whole_setting(tmp_path: Path) -> None:
    first = write_run(tmp_path, 0)
    write_run(tmp_path, 1, checkpoint=False)
    write_run(tmp_path, 2, n=50)
    (tmp_path / "ppo" / "notes").mkdir()
    (tmp_path / "ppo" / "notes" / "config.json").write_text("{")
    assert find_run(tmp_path, {**BASE, "seed": 0}) == first
    assert find_run(tmp_path, {**BASE, "seed": 1}) is None  # it died before its first checkpoint
    assert find_run(tmp_path, {**BASE, "seed": 2}) is None  # it is of another length
    assert find_run(tmp_path / "nowhere", {**BASE, "seed": 0}) is None
    finished = write_run(tmp_path, 0, value=0.5)
    write_run(tmp_path, 0)
    assert find_run(tmp_path, {**BASE, "seed": 0}) == finished


def test_what_is_finished_is_skipped_and_the_rest_is_told_where_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done, begun = write_run(tmp_path, 0, value=0.5), write_run(tmp_path, 1)
    asked: dict[int, RunFolder | None] = {}

    def command(seed: int, run: RunFolder | None) -> list[str]:
        asked[seed] = run
        return [sys.executable, "-c", f"print('hello'); raise SystemExit({seed - 1})"]

    assert train_seeds((0, 1, 2), BASE, tmp_path, command) == 1
    assert asked == {1: begun, 2: None}
    shown = capsys.readouterr().out
    assert f"seed 0: finished, in {done.path}" in shown
    assert "[seed 1] hello" in shown
    assert "seed 2 ended with code 1" in shown
    assert "seed 1 ended" not in shown
    assert train_seeds((0,), BASE, tmp_path, command) == 0


def test_the_summary_has_a_line_for_each_seed_and_the_mean(tmp_path: Path) -> None:
    write_run(tmp_path, 0, value=0.25)
    write_run(tmp_path, 1, value=0.75)
    write_run(tmp_path, 2)
    lines = summary((0, 1, 2, 3), BASE, tmp_path).splitlines()
    assert lines[1].split()[:3] == ["0", "0.2500", "12"]
    assert "not finished" in lines[3]
    assert lines[3].endswith("A-B-v0_3")
    assert lines[4].endswith("-")
    assert lines[5].split() == ["mean", "0.5000", "(standard", "deviation", "0.3536)"]


def test_no_more_processes_run_at_a_time_than_asked_for(tmp_path: Path) -> None:
    code = "import os, sys, time; d = sys.argv[1]; open(f'{d}/{sys.argv[2]}', 'w').close(); print(len(os.listdir(d)));"
    code += "time.sleep(0.15); os.remove(f'{d}/{sys.argv[2]}')"
    lines: list[str] = []
    processes = Processes(2, lines.append)
    processes.run({seed: [sys.executable, "-c", code, str(tmp_path), str(seed)] for seed in range(5)})
    assert processes.codes == dict.fromkeys(range(5), 0)
    assert {int(line.split()[-1]) for line in lines} <= {1, 2}
    with pytest.raises(ValueError, match="--jobs 0"):
        Processes(0, lines.append)


def test_stopping_lets_every_process_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        "try:\n  print('ready', flush=True)\n  time.sleep(60)\n"
        "except KeyboardInterrupt:\n  print('saved', flush=True)\n  raise SystemExit(130)"
    )
    lines: list[str] = []
    ready = threading.Semaphore(0)

    def say(line: str) -> None:
        lines.append(line)
        if line.endswith("ready"):
            ready.release()

    collect = Processes._collect

    def interrupted(processes: Any) -> None:
        monkeypatch.setattr(Processes, "_collect", collect)
        assert ready.acquire(timeout=20)
        assert ready.acquire(timeout=20)
        raise KeyboardInterrupt

    monkeypatch.setattr(Processes, "_collect", interrupted)
    began = time.monotonic()
    command = lambda seed, run: [sys.executable, "-c", code]  # noqa: E731
    assert train_seeds((0, 1, 2), BASE, tmp_path, command, jobs=2, say=say) == 130
    assert time.monotonic() - began < 30
    assert {"[seed 0] saved", "[seed 1] saved"} <= set(lines)
    assert not any(line.startswith("[seed 2]") for line in lines)
    assert lines[-1].startswith("stopped; the same command")
