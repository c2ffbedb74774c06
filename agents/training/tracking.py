"""Experiment trackers beside the run folder: Weights & Biases, MLflow.

Both are optional and told the same: the setting, every line of ``progress.csv``, at the end the policy's files. Neither
asks for anything: Weights & Biases writes to the disk unless ``WANDB_MODE`` says otherwise, MLflow writes where
``MLFLOW_TRACKING_URI`` says or else where it is used to. Training does not depend on them: after the first error a
tracker is left alone. A run that is resumed appears as another one of the same name.
"""

from __future__ import annotations

import importlib
import netrc
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from growenv.registry import unknown_name

PROJECT = "growenv"


class Tracker(Protocol):
    """Where the figures of a run go."""

    def log(self, figures: Mapping[str, float]) -> None:
        """Note figures by name; ``timesteps`` is among them."""

    def finish(self, files: Sequence[Path], *, complete: bool) -> None:
        """Keep files with the run and end it; whether training reached its last step."""


class Wandb:
    """A run of Weights & Biases.

    Args:
        module: the package.
        name: name of the run.
        setting: what the run is made of.
        folder: where it writes while it is offline.

    Raises:
        ValueError: it would ask for a login.
    """

    def __init__(self, module: Any, name: str, setting: Mapping[str, Any], folder: Path) -> None:
        mode = os.environ.get("WANDB_MODE", "offline")
        if mode == "online" and not _knows_login():
            raise ValueError("WANDB_MODE=online needs WANDB_API_KEY or an earlier `wandb login`; neither is there")
        self._wandb = module
        self._run = module.init(project=PROJECT, name=name, config=dict(setting), dir=str(folder), mode=mode)

    def log(self, figures: Mapping[str, float]) -> None:
        """Log the figures at their step."""
        self._run.log(dict(figures), step=int(figures["timesteps"]))

    def finish(self, files: Sequence[Path], *, complete: bool) -> None:
        """Log the files as an artifact of type policy and end the run."""
        if files:
            artifact = self._wandb.Artifact("policy", type="policy")
            for file in files:
                artifact.add_file(str(file))
            self._run.log_artifact(artifact)
        self._run.finish(exit_code=0 if complete else 1)


class Mlflow:
    """A run of MLflow.

    Args:
        module: the package.
        name: name of the run.
        setting: what the run is made of.
        folder: not used: the tracking URI says where it writes.
    """

    def __init__(self, module: Any, name: str, setting: Mapping[str, Any], folder: Path) -> None:
        self._mlflow = module
        module.set_experiment(PROJECT)
        module.start_run(run_name=name)
        module.log_params(_flat(setting))

    def log(self, figures: Mapping[str, float]) -> None:
        """Log the figures at their step."""
        self._mlflow.log_metrics(dict(figures), step=int(figures["timesteps"]))

    def finish(self, files: Sequence[Path], *, complete: bool) -> None:
        """Log the files under policy and end the run."""
        for file in files:
            self._mlflow.log_artifact(str(file), artifact_path="policy")
        self._mlflow.end_run("FINISHED" if complete else "KILLED")


TRACKERS: dict[str, Callable[[Any, str, Mapping[str, Any], Path], Tracker]] = {"wandb": Wandb, "mlflow": Mlflow}


class Careful:
    """A tracker whose errors end the tracking, not the training.

    Args:
        name: name of the tracker, for the warning.
        begin: begins the run.
        say: prints a line.
    """

    def __init__(self, name: str, begin: Callable[[], Tracker], say: Callable[[str], None] = print) -> None:
        self.name, self.say = name, say
        self._tracker: Tracker | None = None
        self._attempt(lambda: setattr(self, "_tracker", begin()))

    def log(self, figures: Mapping[str, float]) -> None:
        """As in `Tracker`."""
        if (tracker := self._tracker) is not None:
            self._attempt(lambda: tracker.log(figures))

    def finish(self, files: Sequence[Path], *, complete: bool) -> None:
        """As in `Tracker`."""
        if (tracker := self._tracker) is not None:
            self._attempt(lambda: tracker.finish(files, complete=complete))

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # whatever goes wrong there, training goes on
            self._tracker = None
            text = " ".join(str(error).split())
            self.say(f"warning: --track {self.name} failed and is off: {type(error).__name__}: {text}")


def tracker_module(name: str) -> Any:
    """The package of a tracker.

    Raises:
        UnknownNameError: no such tracker.
        ValueError: the package is not installed.
    """
    if name not in TRACKERS:
        raise unknown_name("tracker", name, TRACKERS)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"--track {name} needs the package {name}; run: pip install {name}") from error


def track(name: str, run: str, setting: Mapping[str, Any], folder: Path, say: Callable[[str], None] = print) -> Tracker:
    """A tracker that has begun a run and cannot stop training.

    Args:
        name: a key of `TRACKERS`.
        run: name of the run.
        setting: what the run is made of, plain types.
        folder: the run's folder.
        say: prints a line.

    Raises:
        UnknownNameError: no such tracker.
        ValueError: the package is not installed.
    """
    module = tracker_module(name)
    return Careful(name, lambda: TRACKERS[name](module, run, setting, folder), say)


def _knows_login() -> bool:
    """Whether Weights & Biases can log in without asking."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc(os.environ.get("NETRC")).hosts)
    except (OSError, netrc.NetrcParseError):
        return False


def _flat(setting: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested entries as ``outer.inner``."""
    flat: dict[str, Any] = {}
    for name, value in setting.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat
