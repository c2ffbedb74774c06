"""How well every node of a lattice of growth paths does, in every trial: the numbers behind the environments."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from growenv.paths.lattice import Lattice
from growenv.paths.problem import PathProblem
from growenv.registry import unknown_name
from growenv.streams.fields import checked_integer, checked_keys

METRICS = ("validation", "test")
SPLITS = ("train", "test", "all")
NAMES = ("digits", "fashion-mnist")
"""The tables that come with growenv."""
FOLDER = Path(__file__).parent / "tables"
FORMAT = "growenv growth paths, 1"
_FIELDS = ("format", "problem", "samples")
_ARRAYS = {"validation": np.uint16, "test": np.uint16, "work": np.float64}
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)


@dataclass(frozen=True, eq=False)
class PathTable:
    """Right answers at every node of a lattice, in every trial, after the decision that led there.

    Node 0 is the root: its numbers were counted before any training.

    Args:
        problem: what was trained.
        validation: right answers on validation samples, whole numbers, shape (trials, nodes).
        test: the same on inner-test samples.
        samples: how many samples there were, ``{"validation": n, "test": n}``, each from 1 to 65,535.
        work: cost of a minibatch at every node relative to the target's, shape (nodes,). The problem's own by default,
            which needs its data set; files hold it, so that a table is of use without any data.

    Raises:
        ValueError: numbers that do not fit the problem or each other.
    """

    problem: PathProblem
    validation: NDArray[np.uint16]
    test: NDArray[np.uint16]
    samples: Mapping[str, int]
    work: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        checked_keys("number of samples", self.samples, METRICS)
        samples = {name: checked_integer(f"samples[{name!r}]", self.samples[name], 1, 2**16) for name in METRICS}
        object.__setattr__(self, "samples", samples)
        shape = (len(self.problem.trials), self.lattice.nodes)
        for name in METRICS:
            object.__setattr__(self, name, _counts(name, getattr(self, name), shape, samples[name]))
        work = np.array(self.problem.work if self.work is None else self.work, dtype=np.float64)
        if work.shape != shape[1:] or not (np.isfinite(work) & (work > 0)).all():
            raise ValueError(f"work of shape {work.shape}: expected {shape[1]} numbers above 0, one for each node")
        work.setflags(write=False)
        object.__setattr__(self, "work", work)

    @property
    def lattice(self) -> Lattice:
        """The orders of growth."""
        return self.problem.lattice

    @property
    def trials(self) -> int:
        """Number of trials."""
        return len(self.problem.trials)

    def accuracy(self, metric: str = "validation", trials: str | ArrayLike | None = None) -> NDArray[np.float64]:
        """Share of right answers at every node, float64 (trials, nodes).

        Args:
            metric: ``"validation"`` or ``"test"``.
            trials: which trials, as in `trials_of`.

        Raises:
            ValueError: an unknown metric, or trials that do not exist.
        """
        if metric not in METRICS:
            raise unknown_name("metric", metric, METRICS)
        counts: NDArray[np.uint16] = getattr(self, metric)[self.trials_of(trials)]
        return counts / float(self.samples[metric])

    def trials_of(self, given: str | ArrayLike | None = None) -> NDArray[np.int64]:
        """Numbers of trials, (k,).

        Args:
            given: ``"train"``, the first half (rounded up); ``"test"``, the rest; ``"all"`` or None; or trial numbers.

        Raises:
            ValueError: an unknown name, no trial at all, or numbers that do not exist.
        """
        every = np.arange(self.trials)
        if given is None or isinstance(given, str):
            half = (self.trials + 1) // 2
            named = {"train": every[:half], "test": every[half:], "all": every}
            if given is not None and given not in named:
                raise unknown_name("split of trials", given, named)
            chosen = named[given or "all"]
            if not len(chosen):
                raise ValueError(f"no trials for {given!r}: the table has {self.trials}; use 'train' or 'all'")
            return chosen
        numbers = np.asarray(given)
        if numbers.ndim != 1 or not numbers.size or not np.issubdtype(numbers.dtype, np.integer):
            raise ValueError(f"trials={given!r}: expected one of {', '.join(SPLITS)}, or numbers of trials")
        if numbers.min() < 0 or numbers.max() >= self.trials:
            raise ValueError(f"trials={given!r}: expected numbers from 0 to {self.trials - 1}")
        return numbers.astype(np.int64)

    # -- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table to an .npz file, with its problem as JSON and a SHA-256 of everything.

        Raises:
            ValueError: the problem's configuration holds objects, or the name does not end with ``.npz``.
        """
        target = Path(path)
        if target.suffix != ".npz":
            raise ValueError(f"path={str(path)!r}: expected a name that ends with .npz")
        about = {"format": FORMAT, "problem": self.problem.to_json(), "samples": dict(self.samples)}
        text = json.dumps(about, sort_keys=True)
        arrays = {name: np.asarray(getattr(self, name)) for name in _ARRAYS}
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_suffix(".unfinished.npz")  # whoever reads meanwhile finds the old file or the new one
        everything: dict[str, Any] = {"about": np.array(text), "sha256": np.array(_digest(text, arrays)), **arrays}
        np.savez_compressed(unfinished, **everything)
        unfinished.replace(target)

    @classmethod
    def load(cls, source: str | os.PathLike[str]) -> PathTable:
        """The table that `save` wrote.

        Args:
            source: ``"digits"`` or ``"fashion-mnist"``, which come with growenv, or the path of an .npz file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: an unknown name, a damaged file, or one that holds something else.
            TypeError: neither a name nor a path.
        """
        if not isinstance(source, str | os.PathLike):
            raise TypeError(f"table={source!r}: expected a PathTable, one of {', '.join(NAMES)}, or the path of a file")
        path = _path(source)
        if not path.is_file():
            known = "it should have come with growenv: install growenv again" if path.parent == FOLDER else "check it"
            raise FileNotFoundError(f"there is no table of growth paths at {path}; {known}, or give another path")
        try:
            with zipfile.ZipFile(path):  # np.load takes other files as well
                file = np.load(path, allow_pickle=False)
            with file:
                read = {name: np.asarray(file[name]) for name in ("about", "sha256", *_ARRAYS)}
        except _DAMAGED as error:
            raise _refused(path, f"it cannot be read ({type(error).__name__}: {error})") from error
        text, arrays = str(read["about"]), {name: read[name] for name in _ARRAYS}
        if _digest(text, arrays) != str(read["sha256"]):
            raise _refused(path, "its SHA-256 is not that of its contents")
        if any(arrays[name].dtype != kind for name, kind in _ARRAYS.items()):
            raise _refused(path, f"its numbers are {', '.join(str(array.dtype) for array in arrays.values())}")
        try:
            about: Any = json.loads(text)
            checked_keys("table of growth paths", about, _FIELDS)
            if about["format"] != FORMAT:
                raise ValueError(f"its format is {about['format']!r}, this growenv reads {FORMAT!r}")
            return cls(PathProblem.from_json(about["problem"]), samples=about["samples"], **arrays)
        except (ValueError, TypeError) as error:
            raise _refused(path, str(error)) from error


def _path(source: str | os.PathLike[str]) -> Path:
    """Where a table lies: shipped ones by name, others by their path."""
    if not isinstance(source, str) or source.endswith(".npz") or os.sep in source or "/" in source:
        return Path(source)
    if source not in NAMES:
        raise unknown_name("table of growth paths", source, (*NAMES, "the path of an .npz file"))
    return FOLDER / f"{source}.npz"


def _refused(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is no intact table of growth paths: {why}; get the file again, or save it anew")


def _counts(name: str, given: ArrayLike, shape: tuple[int, int], most: int) -> NDArray[np.uint16]:
    """Numbers of right answers as read-only uint16."""
    counts = np.asarray(given)
    if counts.shape != shape or not np.issubdtype(counts.dtype, np.integer):
        raise ValueError(
            f"{name} of shape {counts.shape} and type {counts.dtype}: expected whole numbers, shape {shape}: "
            "trials of the problem, nodes of its lattice"
        )
    if counts.min() < 0 or counts.max() > most:
        raise ValueError(f"{name} holds {counts.min()} to {counts.max()} right answers of {most}: expected 0 to {most}")
    whole = counts.astype(np.uint16)
    whole.setflags(write=False)
    return whole


def _digest(text: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of a table: its JSON, then name, type, shape and numbers of each array."""
    digest = hashlib.sha256(text.encode())
    for name, array in arrays.items():
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
