"""The figures of a training run as it goes on: ``progress.csv`` has a line for every roll-out and its update.

A line is written in one piece after the update, so a killed run leaves a file that can be read; a line that was not
ended is not read. Fields that an algorithm or an environment lacks are empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.saving import SavedFileError
from agents.training.run_folder import PROGRESS
from growenv.actions import WAIT

COLUMNS = (
    "timesteps",
    "seconds",
    "training_seconds",
    "train_return",
    "entropy",
    "waits",
    "explained_variance",
    "approx_kl",
    "val_return",
)
"""Environment steps; wall-clock seconds in all and without the evaluations, earlier sessions included; mean return of
the episodes that ended since the line before; entropy of the policy; share of these decisions that were to wait; how
much of the returns' variance the value function explains; divergence of the updated policy from the one before; mean
return on val, where it was measured."""

ROWS_PLANNED = 1000  # value-based algorithms, which update after single steps, get a line for each thousandth of a run


@dataclass
class Tally:
    """What happened since the last line.

    Attributes:
        decisions: decisions of all rows.
        waits: how many of them were to wait.
        episodes: episodes that ended.
        returns: sum of their returns.
    """

    decisions: int = 0
    waits: int = 0
    episodes: int = 0
    returns: float = 0.0

    def add(
        self, actions: NDArray[Any], dones: NDArray[Any], infos: Sequence[Mapping[str, Any]], *, growth: bool
    ) -> int:
        """Count one step of all rows; how many episodes ended.

        Args:
            actions: what was done, shape (N,).
            dones: whose episode ended, shape (N,).
            infos: infos of the rows, with the returns that `VecMonitor` notes in them.
            growth: whether an action can be to wait.
        """
        if growth:
            self.decisions += len(actions)
            self.waits += len(actions) - int(np.count_nonzero(actions))
        if not dones.any():
            return 0
        ended = np.flatnonzero(dones).tolist()
        self.episodes += len(ended)
        self.returns += sum([float(infos[row]["episode"]["r"]) for row in ended])
        return len(ended)

    @property
    def share_of_waits(self) -> float | None:
        """Share of the decisions that were to wait; None without decisions."""
        return self.waits / self.decisions if self.decisions else None

    @property
    def mean_return(self) -> float | None:
        """Mean return of the episodes; None without episodes."""
        return self.returns / self.episodes if self.episodes else None

    def to_json(self) -> dict[str, Any]:
        """Plain types, for a checkpoint."""
        return asdict(self)


assert WAIT == 0  # `Tally.add` counts what is not zero


def figures_of_update(values: Mapping[str, Any]) -> dict[str, float]:
    """The figures that Stable-Baselines3 logged during an update, by their names in `COLUMNS`; value-based: none."""
    entropy = values.get("train/entropy_loss")
    found = {
        "entropy": None if entropy is None else -entropy,
        "explained_variance": values.get("train/explained_variance"),
        "approx_kl": values.get("train/approx_kl"),
    }
    return {name: float(value) for name, value in found.items() if value is not None and np.isfinite(value)}


class ProgressFile:
    """The file that lines are appended to.

    Args:
        path: the file; it is cut where the checkpoint was taken.
        size: bytes that it then had, 0 for a run that begins.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self.path = path
        if path.exists():
            with open(path, "r+b") as file:
                file.truncate(min(size, path.stat().st_size))
        if self.size == 0:
            path.write_text(",".join(COLUMNS) + "\n", encoding="ascii")
        steps = read_progress(path.parent)["timesteps"]
        self.timesteps = int(steps[-1]) if len(steps) else -1
        """Environment steps of the last line, -1 without lines."""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size if self.path.exists() else 0

    def append(self, row: Mapping[str, float | None]) -> None:
        """Add a line; what is not given, or None, stays empty."""
        fields = ["" if (value := row.get(name)) is None else f"{value:.6g}" for name in COLUMNS]
        fields[0] = str(int(row["timesteps"] or 0))  # all digits
        with open(self.path, "ab") as file:
            file.write((",".join(fields) + "\n").encode("ascii"))
        self.timesteps = int(fields[0])


def read_progress(run: str | Path) -> dict[str, NDArray[np.float64]]:
    """The columns of a run's ``progress.csv`` by name, each of shape (lines,); what is empty is NaN.

    Raises:
        SavedFileError: the file is missing or damaged.
    """
    path = Path(run) / PROGRESS
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise SavedFileError(f"{path} does not exist; is {run} the folder of a run of train_agent.py?") from None
    except (OSError, ValueError) as error:
        raise SavedFileError(f"{path} is damaged: {error}") from None
    whole = text[: text.rfind("\n") + 1].splitlines()  # the process may have died in the last line
    if not whole or tuple(whole[0].split(",")) != COLUMNS:
        raise SavedFileError(f"{path} is damaged: its first line should be {','.join(COLUMNS)}")
    try:
        rows = [[float(field or "nan") for field in line.split(",")] for line in whole[1:]]
        table = np.array(rows, dtype=np.float64).reshape(len(rows), len(COLUMNS))
    except ValueError as error:
        raise SavedFileError(f"{path} is damaged: {error}") from None
    return {name: table[:, column] for column, name in enumerate(COLUMNS)}
