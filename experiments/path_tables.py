"""The tables of growth paths that come with growenv: trained, put together, checked.

    python experiments/path_tables.py [--tables digits] [--processes 2]
    python experiments/path_tables.py --check 20 [--live]

Every table is the report's experiment in miniature: one task, two hidden layers, Adam at 5e-3 on the squared error, six
growth steps of four neurons in each layer in any order, and one decision at which nothing grows. All 12,012 paths are
trained in every trial, in double precision, so that rounding changes no answer. The configurations below are all that
there is to know; every table holds its own.

A trial of a table is a file in ``runs/path-tables`` that holds its settings, so that an interrupted run goes on where
it was, and a file that was made with other settings is refused. The tables go to
``growenv/paths/tables``. ``--check`` trains some paths of each table again and says how far they are from its numbers;
with ``--live`` it does so in the environment that the table is a table of, which is slower.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.arguments import option, run_script
from agents.parallel import processes, spread
from experiments.path_parts import about, is_kept, keep_part, read
from growenv import GrowthConfig
from growenv.paths import PathProblem, PathTable
from growenv.paths.enumeration import count_everywhere, count_right
from growenv.paths.live import play_live
from growenv.paths.table import FOLDER
from growenv.paths.training import PathTraining

STEPS, WAITS, ROOT_WIDTH, AMOUNT = (6, 6), 1, 4, 4
ROWS = 256
SHARED = 2
"""Decisions that shards have in common; one shard of Fashion-MNIST's networks takes up to 3 GB, all take 10."""


def problem(dataset: str, trials: int, **options: Any) -> PathProblem:
    """The report's experiment in miniature on some data."""
    target = ROOT_WIDTH + AMOUNT * STEPS[0]
    shared: dict[str, Any] = {
        "dataset": dataset,
        "tasks": 1,
        "decisions": sum(STEPS) + WAITS,
        "minibatches": 10,
        "hidden": (ROOT_WIDTH, ROOT_WIDTH),
        "max_hidden": (target, target),
        "amounts": (AMOUNT,),
        "learning_rate": 5e-3,
        "loss": "squared-error",
        "precision": "float64",
        "protection": "finetune",
        "meter": "parameters",
        "budget": 1.0,
        "price": 0.0,
        "validation_samples": 1_000,
        "test_samples": 1_000,
    }
    return PathProblem(GrowthConfig.from_options(**{**shared, **options}), STEPS, WAITS, tuple(range(trials)))


def problems() -> dict[str, PathProblem]:
    """What the tables are tables of."""
    return {
        "digits": problem("digits", 40),
        "fashion-mnist": problem("fashion-mnist", 24, input_pool=14, minibatches=20),
    }


@dataclass
class Args:
    """Options of the command line."""

    tables: list[str] = option([], "names of tables; all by default")
    processes: int = option(1, "processes, each with one thread")
    folder: str = option("runs/path-tables", "finished trials are kept here")
    check: int = option(0, "train so many paths of each table again and compare, instead of making tables")
    live: bool = option(False, "with --check: in GrowthVectorEnv itself, which shares nothing between paths")
    seed: int = option(0, "with --check: which paths")


def main(args: Args) -> int:
    """Make tables, or check them; returns the exit code."""
    known = problems()
    for name in args.tables:
        if name not in known:
            raise ValueError(f"--tables {name}: expected some of {', '.join(known)}")
    if args.check < 0 or args.seed < 0:
        raise ValueError(f"--check {args.check} --seed {args.seed}: expected at least 0")
    if args.live and not args.check:
        raise ValueError("--live: it says how --check trains; add --check 20")
    chosen = {name: known[name] for name in args.tables or known}
    with processes(args.processes):
        if args.check:
            return max(check(name, args.check, args.seed, args.live) for name in chosen)
        for name, each in chosen.items():
            make(name, each, Path(args.folder) / name)
    return 0


def make(name: str, wanted: PathProblem, folder: Path) -> None:
    """Train what is missing of a table and put it together."""
    files = [folder / f"{trial}.npz" for trial in range(len(wanted.trials))]
    missing = [trial for trial, file in enumerate(files) if not is_kept(file, about(wanted, trial))]
    started = time.perf_counter()

    def work(trial: int) -> None:
        counted = count_everywhere(PathTraining(wanted), [trial], ROWS, level=SHARED)
        found = {"validation": counted.validation[0], "test": counted.test[0]}
        keep_part(files[trial], found, about(wanted, trial))

    for done, (number, _) in enumerate(spread(work, missing), 1):
        say(f"{name}: trial {missing[number]}, {done} of {len(missing)} after {time.perf_counter() - started:.0f} s")
    parts = [read(file) for file in files]
    validation, test = (np.stack([part[split] for part in parts]).astype(np.uint16) for split in ("validation", "test"))
    training = PathTraining(wanted)
    samples = {split: training.samples(split) for split in ("validation", "test")}
    target = FOLDER / f"{name}.npz"
    PathTable(wanted, validation, test, samples).save(target)
    say(f"{name}: {target}, {target.stat().st_size / 1e6:.2f} MB")


def check(name: str, paths: int, seed: int, live: bool = False) -> int:
    """Train some paths again and compare; 1 if an accuracy differs by more than 1e-4."""
    table, generator = PathTable.load(FOLDER / f"{name}.npz"), np.random.default_rng(seed)
    if paths > table.lattice.paths:
        raise ValueError(f"--check {paths}: the table {name!r} has {table.lattice.paths:,} paths")
    trial, lattice = int(generator.integers(table.trials)), table.lattice
    ends = generator.choice(lattice.leaves, paths, replace=False)
    nodes = lattice.follow(lattice.path(ends))[:, 1:]
    if live:
        validation, test = (each[0] for each in play_live(table.problem, lattice.path(ends), [trial]))
    else:
        counted = count_right(PathTraining(table.problem), ends, [trial], ROWS)
        column = np.searchsorted(counted.nodes, nodes)
        validation = counted.validation[0][column] / table.samples["validation"]
        test = counted.test[0][column[:, -1]] / table.samples["test"]
    worst = max(
        float(np.abs(validation - table.accuracy("validation")[trial, nodes]).max()),
        float(np.abs(test - table.accuracy("test")[trial, ends]).max()),
    )
    say(f"{name}: {paths} paths of trial {trial} differ from the table by at most {worst:.1e}")
    return int(worst > 1e-4)


def say(line: str) -> None:
    """One line of progress."""
    print(line, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_script(main, Args, __doc__ or "")
