"""One setting trained with several seeds: each in a process and a run folder of its own.

The state of a study is on the disk, in runs whose configuration holds the setting and the seed. So a study that was
killed goes on by the same call.
"""

from __future__ import annotations

import json
import os
import queue
import re
import statistics
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.saving import SavedFileError
from agents.training.run_folder import CHECKPOINT, CONFIG, RunFolder

MOST = 1000
STOPPED = 130  # exit code of a process that Ctrl-C ended

Say = Callable[[str], None]
Command = Callable[[int, RunFolder | None], Sequence[str]]


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds that a text names: single ones and ranges, both ends included, for example ``0..3,7``.

    Raises:
        ValueError: the text is none of this, names a seed twice, or more than a thousand.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,10})(?:\.\.(\d{1,10}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last >= 2**31:
            raise ValueError(f"--seeds {text!r}: expected seeds like 0..9 or 0,3,5 or 4; {part!r} is none")
        if len(seeds) + last - first >= MOST:
            raise ValueError(f"--seeds {text!r}: these are more than {MOST} seeds")
        seeds.extend(range(first, last + 1))
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds {text!r}: every seed once, please")
    return tuple(seeds)


def find_run(root: str | Path, setting: Mapping[str, Any]) -> RunFolder | None:
    """The run of exactly this setting, its seed included; a finished one if there is one, else the latest.

    Runs that died before their first checkpoint do not count. Folders that are no runs are passed over.

    Args:
        root: the folder of run folders.
        setting: what ``config.json`` would hold.
    """
    wanted = json.loads(json.dumps(setting))
    found = []
    for file in sorted((Path(root) / str(setting["algo"])).glob(f"*/{CONFIG}")):
        run = RunFolder(file.parent)
        try:
            if run.file(CHECKPOINT).is_file() and run.config() == wanted:
                finished = run.finished(wanted["n"]) is not None
                found.append((finished, run.file(CHECKPOINT).stat().st_mtime_ns, run))
        except SavedFileError:
            continue
    return max(found, key=lambda each: each[:2])[2] if found else None


def train_seeds(
    seeds: Sequence[int],
    setting: Mapping[str, Any],
    root: str | Path,
    command: Command,
    *,
    jobs: int = 1,
    say: Say = print,
) -> int:
    """Train every seed that is not finished, then say what came of all of them.

    Args:
        seeds: the seeds.
        setting: what every ``config.json`` holds, but for the seed.
        root: the folder of run folders.
        command: the command line that trains a seed, or goes on with the run given.
        jobs: processes at a time.
        say: prints a line.

    Returns:
        Exit code: 0 if all are finished, 130 after Ctrl-C, 1 if a process failed.
    """
    commands = {}
    for seed in seeds:
        run = find_run(root, {**setting, "seed": seed})
        if run is not None and run.finished(setting["n"]):
            say(f"seed {seed}: finished, in {run.path}")
        else:
            say(f"seed {seed}: " + (f"goes on, in {run.path}" if run else "begins"))
            commands[seed] = command(seed, run)
    processes = Processes(jobs, say)
    try:
        processes.run(commands)
    except KeyboardInterrupt:
        processes.stop()
    say("\n" + summary(seeds, setting, root))
    failed = {seed: code for seed, code in processes.codes.items() if code != 0}
    if processes.stopped:
        say("stopped; the same command goes on with what is not finished")
        return STOPPED
    for seed, code in failed.items():
        say(f"seed {seed} ended with code {code}; the same command tries it again")
    return 1 if failed else 0


def summary(seeds: Sequence[int], setting: Mapping[str, Any], root: str | Path) -> str:
    """A table of the seeds: best return on val, seconds, folder; and the mean of the finished ones."""
    lines, best = [f"{'seed':>10}  {'best val return':>15}  {'seconds':>8}  folder"], []
    for seed in seeds:
        run = find_run(root, {**setting, "seed": seed})
        figures = run.finished(setting["n"]) if run else None
        if figures is None:
            lines.append(f"{seed:>10}  {'not finished':>15}  {'':>8}  {run.path if run else '-'}")
            continue
        value = figures["val_return"]
        best += [] if value is None else [value]
        shown = "-" if value is None else f"{value:.4f}"
        lines.append(f"{seed:>10}  {shown:>15}  {figures['seconds']:>8.0f}  {run.path if run else ''}")
    if len(best) > 1:
        lines.append(f"{'mean':>10}  {statistics.mean(best):>15.4f}  (standard deviation {statistics.stdev(best):.4f})")
    return "\n".join(lines)


class Processes:
    """Processes, some at a time, whose output is shown line by line.

    They have a session of their own: Ctrl-C reaches this process alone, which hands it on once. What they print is
    preceded by their seed.

    Args:
        jobs: processes at a time.
        say: prints a line.

    Attributes:
        codes: exit codes of those that ended, by seed.
        stopped: whether `stop` was called.
    """

    def __init__(self, jobs: int, say: Say) -> None:
        if jobs < 1:
            raise ValueError(f"--jobs {jobs}: at least one process is needed")
        self.jobs, self.say = jobs, say
        self.codes: dict[int, int] = {}
        self.stopped = False
        self._running: dict[int, subprocess.Popen[str]] = {}
        self._ended: queue.Queue[int] = queue.Queue()

    def run(self, commands: Mapping[int, Sequence[str]]) -> None:
        """Run a command line for each seed until all have ended."""
        waiting = list(commands)
        while waiting or self._running:
            while waiting and len(self._running) < self.jobs:
                seed = waiting.pop(0)
                self._start(seed, commands[seed])
            self._collect()

    def stop(self) -> None:
        """End all, so that each saves what it has; Ctrl-C meanwhile kills them.

        They get SIGTERM, which `train_agent.py` takes as Ctrl-C: what was begun in the background ignores SIGINT.
        """
        self.stopped = True
        for process in self._running.values():
            process.terminate()
        try:
            while self._running:
                self._collect()
        except KeyboardInterrupt:
            for process in self._running.values():
                process.kill()
            while self._running:
                self._collect()

    def _start(self, seed: int, words: Sequence[str]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
        )
        self._running[seed] = process
        threading.Thread(target=self._show, args=(seed, process), daemon=True).start()

    def _show(self, seed: int, process: subprocess.Popen[str]) -> None:
        """Print what a process prints until it ends."""
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self.say(f"[seed {seed}] {line.rstrip()}")
        process.wait()
        self._ended.put(seed)

    def _collect(self) -> None:
        """Wait until one has ended."""
        seed = self._ended.get()
        self.codes[seed] = self._running.pop(seed).returncode
