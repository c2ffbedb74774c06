"""The folder of a training run: claimed without races, with a note of how it was made."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.saving import SavedFileError, read_json, write_atomically, write_json

CONFIG, COMMAND, VERSIONS, CHECKPOINT = "config.json", "command.txt", "versions.json", "checkpoint.pt"
EVALUATIONS, MONITOR, COMPARISON = "evaluations.npz", "monitor.csv", "comparison.txt"
PROGRESS, FINISHED = "progress.csv", "finished.json"
SETTING = ["algo", "env", "env_flag", "env_kwargs", "n", "n_envs", "seed", "device", "hyperparameters", "architecture"]
PACKAGES = ("torch", "numpy", "gymnasium", "stable_baselines3", "sb3_contrib", "scikit-learn", "tensorboard")


@dataclass(frozen=True)
class RunFolder:
    """A run's files; the names are those that users of Stable-Baselines3's Zoo expect."""

    path: Path

    @classmethod
    def claim(cls, root: str, algo: str, env_id: str) -> RunFolder:
        """A new folder ``root/algo/env_k``; making it is the claim, so two runs never share one.

        Raises:
            ValueError: the folder cannot be made.
        """
        parent, name = Path(root) / algo, re.sub(r"[/\\:]+", "-", env_id)
        try:
            parent.mkdir(parents=True, exist_ok=True)
            number = 1 + max((_number(path.name, name) for path in parent.iterdir()), default=0)
            while True:
                try:
                    (parent / f"{name}_{number}").mkdir()
                    return cls(parent / f"{name}_{number}")
                except FileExistsError:
                    number += 1
        except OSError as error:
            raise ValueError(
                f"cannot make a run folder in {parent}: {error.strerror}; choose another --log-folder"
            ) from None

    @classmethod
    def existing(cls, path: str) -> RunFolder:
        """The folder of a run that was begun before.

        Raises:
            SavedFileError: it is no folder of a run.
        """
        run = cls(Path(path))
        if not (run.path / CONFIG).is_file():
            raise SavedFileError(f"{path} is no run of train_agent.py: it has no {CONFIG}")
        if not (run.path / CHECKPOINT).is_file():
            raise SavedFileError(f"{path} has no {CHECKPOINT}: the run was stopped before it began; start it anew")
        return run

    def file(self, name: str) -> Path:
        """The path of one of the run's files."""
        return self.path / name

    @contextmanager
    def held(self) -> Iterator[RunFolder]:
        """Keep other processes from training into the folder; a process that dies lets go of it.

        Raises:
            ValueError: another process trains into it.
        """
        try:
            import fcntl
        except ImportError:  # Windows has no such locks
            yield self
            return
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"another process trains into {self.path}; wait for it or stop it") from None
            except OSError:
                pass  # a file system without locks
            yield self
        finally:
            with suppress(OSError):  # processes that were forked meanwhile hold the descriptor, too
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def finish(self, timesteps: int, seconds: float, training_seconds: float, val_return: float | None) -> None:
        """Note that training has reached its last step, and what it took."""
        figures = {"timesteps": timesteps, "seconds": seconds, "training_seconds": training_seconds}
        write_json(self.file(FINISHED), {**figures, "val_return": val_return})

    def finished(self, timesteps: int) -> dict[str, Any] | None:
        """What `finish` wrote, if training has reached so many steps.

        Raises:
            SavedFileError: the file is damaged.
        """
        if not self.file(FINISHED).exists():
            return None
        figures = read_json(self.file(FINISHED))
        if not isinstance(figures.get("timesteps"), int):
            raise SavedFileError(f"{self.file(FINISHED)} is damaged: it has no number of timesteps")
        return figures if figures["timesteps"] >= timesteps else None

    def note(self, config: dict[str, Any], words: Sequence[str]) -> None:
        """Write what the run is made of: configuration, command line and versions."""
        write_json(self.file(CONFIG), config)
        write_json(self.file(VERSIONS), versions())
        self.note_command(words)

    def note_command(self, words: Sequence[str]) -> None:
        """Add a line to the commands that made the run."""
        file = self.file(COMMAND)
        before = file.read_bytes() if file.exists() else b""
        write_atomically(file, before + (shlex.join(words) + "\n").encode())

    def config(self) -> dict[str, Any]:
        """What `note` wrote.

        Raises:
            SavedFileError: the file is damaged or lacks an entry.
        """
        data = read_json(self.file(CONFIG))
        missing = set(SETTING) - set(data)
        if missing:
            raise SavedFileError(f"{self.file(CONFIG)} lacks {', '.join(sorted(missing))}")
        return {"hide": [], **data}  # runs of before features could be hidden saw them all


def _number(folder: str, name: str) -> int:
    match = re.fullmatch(re.escape(name) + r"_(\d+)", folder)
    return int(match.group(1)) if match else 0


def versions() -> dict[str, str]:
    """Versions of Python, of the packages that matter where they are installed, and of this checkout."""
    found = {"python": platform.python_version(), "growenv": _growenv_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    commit = _commit()
    return {**found, "commit": commit} if commit else found


def _growenv_version() -> str:
    import growenv

    return growenv.__version__


def _commit() -> str:
    """The commit of the checkout, empty where there is none."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
