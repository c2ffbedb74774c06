"""Runs of the growth-path experiment as they lie in files, and the paths in them by name."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.growth_paths_statistics import Array, Sample
from growenv.paths.lattice import Lattice
from growenv.paths.planning import path_numbers

DATASETS = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar-10": "CIFAR-10"}
STARTS = {"random": "random start", "gradmax": "GradMax start"}
ARRAYS = (
    *("paths", "validation", "test", "stratum", "stratum_sizes", "named"),
    *("root_test", "target_test", "root_validation", "target_validation"),
)
AGAIN = "make it with python experiments/growth_paths.py"


@dataclass(frozen=True)
class Run:
    """All paths of one data set and one start. Accuracies are in percent.

    Attributes:
        paths: actions, (P, T).
        validation: accuracy after every decision, (P, trials, T).
        test: final accuracy, (P, trials).
        stratum: stratum of each path, (P,).
        stratum_sizes: number of all paths in each stratum, (H,).
        named: whether a path was added on purpose, (P,).
        root_test, target_test: the root and the target network, never grown, (trials,).
        root_validation, target_validation: the same after every decision, (trials, T).
        note: what the data says about itself; often nothing.
    """

    paths: NDArray[np.int64]
    validation: Array
    test: Array
    stratum: NDArray[np.int64]
    stratum_sizes: NDArray[np.int64]
    named: NDArray[np.bool_]
    root_test: Array
    target_test: Array
    root_validation: Array
    target_validation: Array
    note: str = ""

    @property
    def drawn(self) -> Run:
        """Only the paths that were drawn at random: those that speak for all."""
        keep = ~self.named
        fields = ("paths", "validation", "test", "stratum", "named")
        return replace(self, **{name: getattr(self, name)[keep] for name in fields})

    @property
    def called(self) -> dict[str, int]:
        """Paths that are shown by name, and where they lie: those added on purpose, and drawn ones whose name is words.

        An extreme path may have been drawn anyway; then it was not added.
        """
        names = {name_of(path): place for place, path in enumerate(self.paths)}
        return {name: place for name, place in names.items() if self.named[place] or name.startswith(WORDS)}

    @property
    def sample(self) -> Sample:
        """How all paths were drawn; for `drawn`."""
        return Sample(self.stratum, self.stratum_sizes)


def load(path: Path) -> Run:
    """The run in a file.

    Raises:
        ValueError: no such file, damaged, without an array, or with shapes that do not fit each other.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in ARRAYS if name in file.files}
            note = str(json.loads(str(file["meta"])).get("data_note", "")) if "meta" in file.files else ""
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as a run of growth paths ({error}); {AGAIN}") from error
    if lacking := [name for name in ARRAYS if name not in found]:
        raise ValueError(f"{path} lacks {', '.join(lacking)}; {AGAIN}")
    rates = {name: 100 * found[name].astype(np.float64) for name in ARRAYS if name.endswith(("test", "validation"))}
    whole = {name: found[name].astype(np.int64) for name in ("paths", "stratum", "stratum_sizes")}
    run = Run(**whole, **rates, named=found["named"].astype(np.bool_), note=note)
    if run.validation.ndim != 3:
        raise ValueError(f"{path}: validation of shape {run.validation.shape}, expected (paths, trials, decisions)")
    paths, trials, decisions = run.validation.shape
    expected = {"paths": (paths, decisions), "test": (paths, trials), "stratum": (paths,), "named": (paths,)}
    expected |= {"root_test": (trials,), "target_test": (trials,), "root_validation": (trials, decisions)}
    for name, shape in {**expected, "target_validation": (trials, decisions)}.items():
        if getattr(run, name).shape != shape:
            raise ValueError(f"{path}: {name} has shape {getattr(run, name).shape}, expected {shape}; {AGAIN}")
    return run


def title(dataset: str, note: str) -> str:
    """What a data set is called where its results are shown: with the beginning of what it says about itself."""
    said = note.partition(" (")[0]
    return f"{DATASETS[dataset]} ({said})" if said else DATASETS[dataset]


def load_all(folder: Path) -> dict[str, dict[str, Run]]:
    """The runs that there are, by data set and start.

    Raises:
        ValueError: there are none, or what `load` refuses.
    """
    found: dict[str, dict[str, Run]] = {}
    for dataset in DATASETS:
        for start in STARTS:
            path = folder / f"{dataset}-{start}.npz"
            if path.is_file():
                found.setdefault(dataset, {})[start] = load(path)
    if not found:
        raise ValueError(f"no runs of growth paths in {folder}; {AGAIN}")
    return found


def load_other_steps(folder: Path) -> dict[tuple[str, str, str], Run]:
    """Runs with other step sizes, by data set, start and step size; raises what `load` refuses."""
    found = {}
    for dataset in DATASETS:
        for start in STARTS:
            for path in sorted(folder.glob(f"{dataset}-{start}-lr*.npz")):
                found[dataset, start, path.stem.removeprefix(f"{dataset}-{start}-lr")] = load(path)
    return found


def lead(paths: ArrayLike) -> Array:
    """`Lattice.lead` of some paths, (P, T) to (P,): how far layer 1 is ahead of layer 2, from -1 to 1."""
    actions = np.asarray(paths)
    waits, first, second = np.bincount(actions[0], minlength=3).tolist()
    lattice, leads = _leads(waits, first, second)
    return leads[path_numbers(lattice, actions)]


@cache
def _leads(waits: int, first: int, second: int) -> tuple[Lattice, Array]:
    """A lattice and the leads of all its paths."""
    lattice = Lattice((first, second), waits)
    return lattice, lattice.lead()


WORDS = ("layer", "alternating")
"""How names of paths begin that are words; others list growth steps."""


def name_of(path: ArrayLike) -> str:
    """What a path is called: what it does first, or its growth steps by layer, such as ``1x3 2x10 1x7``."""
    actions = [int(action) for action in np.asarray(path)]
    blocks = [(action, len(list(group))) for action, group in groupby(actions)]
    if len(blocks) == 2 and blocks[0][0] and blocks[1][0]:
        return f"layer {blocks[0][0]} first"
    if all(length == 1 for _, length in blocks) and set(actions) == {1, 2}:
        return f"alternating, layer {actions[0]} first"
    return " ".join(f"{action or 'wait'}x{length}" for action, length in blocks)
