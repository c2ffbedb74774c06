"""Does the way to a target architecture matter? The report's experiment with enough paths and trials to say.

    python experiments/growth_paths.py [--processes 2] [--datasets mnist] [--starts random]
    python experiments/growth_paths.py --all --datasets mnist [--shards 0-3] [--processes 2]

Section 2.2 of the report "Growing networks on Mosaic": a network of two hidden layers grows from 10-10 to 100-100 in 20
steps of 9 neurons, 10 in each layer, in any of 184,756 orders, while it trains on 3 x 300 minibatches of 128 with Adam
at 5e-3 on the squared error. New neurons start by random growth or by GradMax. Root and target train as long without
growth.

By default 20 paths are drawn from each of ten strata of equal width in how far layer 1 leads; the extreme and the
alternating paths come beside them. Paths of one trial share the root's weights, the minibatches and the random numbers
of new neurons, so what differs between them is their order. ``--all`` trains every path, in shards: all paths that
share their first eight steps are one shard.

What is finished is a file in ``runs/growth-paths`` that holds its settings, so the same command goes on after an
interruption, and a file that was made with other settings is refused. Writes
``docs/results/growth-paths/runs/<dataset>-<start>.npz``; `experiments/growth_paths_analysis.py` reads them.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from numpy.typing import NDArray

from agents.arguments import option, run_script
from agents.parallel import processes, spread
from experiments.path_parts import about, is_kept, keep, keep_part, read
from growenv import GrowthConfig
from growenv.learner import Learner
from growenv.paths import Lattice, PathProblem
from growenv.paths.enumeration import count_right, prefixes, shard
from growenv.paths.training import PathTraining
from growenv.streams import data_note
from growenv.version import __version__

DATASETS = ("mnist", "fashion-mnist", "cifar-10")
STARTS = ("random", "gradmax")
STEPS, ROOT_WIDTH, AMOUNT = (10, 10), 10, 9
STRATA = 10
SHARD_LEVEL = 8
ROWS = 64
NAMED = {
    "layer 1 first": "1" * 10 + "2" * 10,
    "layer 2 first": "2" * 10 + "1" * 10,
    "1212": "12" * 10,
    "2121": "21" * 10,
}


@dataclass
class Args:
    """Options of the command line."""

    datasets: list[str] = option([], "some of mnist, fashion-mnist, cifar-10; all by default")
    starts: list[str] = option([], "how new neurons start: random, gradmax; both by default")
    paths: int = option(20, "paths that are drawn from each of the ten strata")
    trials: int = option(5, "trials")
    learning_rate: float = option(5e-3, "step size of Adam; files of another one have it in their name")
    processes: int = option(1, "processes, each with one thread")
    folder: str = option("runs/growth-paths", "finished pieces are kept here")
    all: bool = option(False, "train every path, in shards")
    shards: str = option("", "with --all: only these, for example 0-3 of 0-255")
    out: str = option("docs/results/growth-paths/runs", "folder of the results; of --all beside its shards instead")
    device: str = option("cpu", "where the networks live")


def problem(dataset: str, start: str, trials: int, learning_rate: float = 5e-3) -> PathProblem:
    """The report's experiment on some data."""
    target = ROOT_WIDTH + AMOUNT * STEPS[0]
    config = GrowthConfig(
        dataset=dataset,
        tasks=1,
        decisions=sum(STEPS),
        minibatches=45,
        batch_size=128,
        hidden=(ROOT_WIDTH, ROOT_WIDTH),
        max_hidden=(target, target),
        amounts=(AMOUNT,),
        learning_rate=learning_rate,
        loss="squared-error",
        protection="finetune",
        growth=start,
        meter="parameters",
        budget=(1.0, 1.0),
        price=(0.0, 0.0),
        validation_samples=2_000,
        test_samples=10_000,
    )
    return PathProblem(config, STEPS, 0, tuple(range(trials)))


# -- which paths -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """Paths that stand for all.

    Attributes:
        ends: their last nodes, (P,).
        stratum: stratum of each, (P,).
        sizes: paths of the whole lattice in each stratum, (H,).
        named: paths that were added on purpose and stand for nobody else, (P,).
    """

    ends: NDArray[np.int64]
    stratum: NDArray[np.int64]
    sizes: NDArray[np.int64]
    named: NDArray[np.bool_]


def sampled(lattice: Lattice, each: int, seed: int = 0) -> Sample:
    """Paths drawn uniformly within strata of equal width in the lead of layer 1, and the named ones."""
    stratum = np.clip(((lattice.lead() + 1) / 2 * STRATA).astype(np.int64), 0, STRATA - 1)
    generator = np.random.default_rng(seed)
    drawn = []
    for number in range(STRATA):
        members = np.flatnonzero(stratum == number)
        drawn.append(np.sort(generator.choice(members, min(each, len(members)), replace=False)))
    chosen = np.concatenate(drawn)
    ends = np.array([lattice.follow([int(digit) for digit in digits])[-1] for digits in NAMED.values()])
    added = np.setdiff1d(ends - lattice.leaves[0], chosen)
    every = np.concatenate([chosen, added])
    named = np.arange(len(every)) >= len(chosen)
    return Sample(lattice.leaves[every], stratum[every], np.bincount(stratum, minlength=STRATA), named)


# -- training --------------------------------------------------------------------------------------------------------


def train_trial(wanted: PathProblem, trial: int, sample: Sample, device: str) -> dict[str, Any]:
    """One trial of the sampled paths, and of root and target without growth."""
    started = time.perf_counter()
    training = PathTraining(wanted, device)
    counted = count_right(training, sample.ends, [trial], ROWS, test_everywhere=False)
    samples = {split: training.samples(split) for split in ("validation", "test")}
    column = np.searchsorted(counted.nodes, wanted.lattice.follow(wanted.lattice.path(sample.ends)))
    seconds = time.perf_counter() - started
    fixed: dict[str, Any] = {}
    for name, width in (("root", ROOT_WIDTH), ("target", wanted.target[0])):
        validation, test = train_fixed(wanted, trial, width, device)
        fixed |= {f"{name}_validation": validation, f"{name}_test": test}
    return {
        "validation": (counted.validation[0] / samples["validation"])[column[:, 1:]].astype(np.float32),
        "test": (counted.test[0] / samples["test"])[column[:, -1]].astype(np.float32),
        "seconds": seconds,
        "steps": (len(counted.nodes) - 1) * wanted.config.minibatches,
        **fixed,
    }


def train_fixed(wanted: PathProblem, trial: int, width: int, device: str) -> tuple[NDArray[np.float32], np.float32]:
    """Validation accuracy after every decision, and test accuracy, of a network that has its widths from the start."""
    config = replace(wanted.config, hidden=(width, width), max_hidden=(width, width))
    learner = Learner(config, wanted.dataset, 1, 1, dtype=config.dtype, device=device)
    learner.begin(np.ones(1, dtype=np.bool_), [wanted.contexts[trial]])
    validation = np.zeros(config.decisions, dtype=np.float32)
    for decision in range(config.decisions):
        learner.train()
        validation[decision] = learner.validate()[0][0]
    return validation, np.float32(learner.accuracy("test", learner.task)[0])


def train_shard(wanted: PathProblem, trial: int, prefix: int, device: str) -> dict[str, Any]:
    """One trial of all paths that begin with the path to a node."""
    started = time.perf_counter()
    training = PathTraining(wanted, device)
    counted = count_right(training, shard(wanted.lattice, prefix), [trial], ROWS, test_everywhere=False)
    seconds = time.perf_counter() - started
    return {"nodes": counted.nodes, "validation": counted.validation[0], "test": counted.test[0], "seconds": seconds}


# -- files -----------------------------------------------------------------------------------------------------------


def label(dataset: str, start: str, learning_rate: float) -> str:
    """How the files of a data set and start are called."""
    return f"{dataset}-{start}" + ("" if learning_rate == Args.learning_rate else f"-lr{learning_rate:g}")


def assemble(target: Path, wanted: PathProblem, sample: Sample, parts: list[dict[str, Any]]) -> None:
    """All trials of a data set and start in one file."""
    note = data_note(str(wanted.config.dataset))
    meta = {
        "growenv": __version__,
        "torch": torch.__version__,
        "problem": wanted.to_json(),
        "data_note": note,
        "seconds": [float(part["seconds"]) for part in parts],
        "threads": torch.get_num_threads(),
        "minibatch_steps": [int(part["steps"]) for part in parts],
    }
    fixed = [f"{which}_{split}" for which in ("root", "target") for split in ("validation", "test")]
    keep(
        target,
        {
            "paths": wanted.lattice.path(sample.ends).astype(np.int8),
            "validation": np.stack([part["validation"] for part in parts], axis=1),
            "test": np.stack([part["test"] for part in parts], axis=1),
            "stratum": sample.stratum.astype(np.int16),
            "stratum_sizes": sample.sizes,
            "named": sample.named.astype(np.int8),
            **{key: np.stack([part[key] for part in parts]) for key in fixed},
            "meta": np.array(json.dumps(meta, sort_keys=True)),
        },
    )


# -- the two jobs ----------------------------------------------------------------------------------------------------


def run_samples(args: Args, chosen: dict[str, PathProblem]) -> None:
    """Train the sampled paths, a trial at a time, data sets and starts in turn."""
    sample = sampled(next(iter(chosen.values())).lattice, args.paths)

    def place(name: str, trial: int) -> Path:
        return Path(args.folder) / f"{name}-{args.paths}" / f"{trial}.npz"

    def said(name: str, trial: int) -> str:
        return about(chosen[name], trial, ends=sample.ends.tolist())

    every = [(name, trial) for name in chosen for trial in range(args.trials)]
    jobs = [job for job in every if not is_kept(place(*job), said(*job))]

    def work(job: tuple[str, int]) -> float:
        name, trial = job
        result = train_trial(chosen[name], trial, sample, args.device)
        keep_part(place(*job), result, said(*job))
        return float(result["seconds"])

    started = time.perf_counter()
    for done, (number, seconds) in enumerate(spread(work, jobs), 1):
        name, trial = jobs[number]
        left = (time.perf_counter() - started) / done * (len(jobs) - done)
        say(f"{name}, trial {trial}: {seconds:.0f} s; {done} of {len(jobs)}, about {left / 60:.0f} min to go")
    for name, wanted in chosen.items():
        target = Path(args.out) / f"{name}.npz"
        assemble(target, wanted, sample, [read(place(name, trial)) for trial in range(args.trials)])
        say(f"wrote {target}")


def run_all(args: Args, chosen: dict[str, PathProblem]) -> None:
    """Train every path, a shard of a trial at a time."""
    lattice = next(iter(chosen.values())).lattice
    every = prefixes(lattice, SHARD_LEVEL)
    wanted = shard_numbers(args.shards, len(every))

    def place(name: str, trial: int, number: int) -> Path:
        return Path(args.folder) / f"{name}-all" / f"{trial}-{number}.npz"

    def said(name: str, trial: int, number: int) -> str:
        return about(chosen[name], trial, prefix=int(every[number]))

    jobs = [(name, trial, number) for name in chosen for trial in range(args.trials) for number in wanted]
    missing = [job for job in jobs if not is_kept(place(*job), said(*job))]
    weight = {number: len(shard(lattice, int(every[number]))) for number in wanted}

    def work(job: tuple[str, int, int]) -> float:
        result = train_shard(chosen[job[0]], job[1], int(every[job[2]]), args.device)
        keep_part(place(*job), result, said(*job))
        return float(result["seconds"])

    started, trained = time.perf_counter(), 0
    for done, (number, seconds) in enumerate(spread(work, missing), 1):
        name, trial, which = missing[number]
        trained += weight[which]
        speed = trained / (time.perf_counter() - started)
        left = sum(weight[job[2]] for job in missing) - trained
        whole = lattice.paths * args.trials * len(chosen) / speed
        say(
            f"{name}, trial {trial}, shard {which}: {weight[which]:,} paths in {seconds:.0f} s; {done} of "
            f"{len(missing)}, about {left / speed / 60:.0f} min to go; everything together {whole / 3600:.1f} h"
        )
    for name, each in chosen.items():
        parts = [(name, trial, number) for trial in range(args.trials) for number in range(len(every))]
        if all(is_kept(place(*part), said(*part)) for part in parts):
            say(f"wrote {assemble_all(name, each, args, len(every))}")


def assemble_all(name: str, wanted: PathProblem, args: Args, shards: int) -> Path:
    """The right answers at every node in one file, which stays beside the shards: it is large."""
    counts = {
        split: np.full((args.trials, wanted.lattice.nodes), -1, dtype=np.int32) for split in ("validation", "test")
    }
    folder = Path(args.folder) / f"{name}-all"
    for trial in range(args.trials):
        for number in range(shards):
            part = read(folder / f"{trial}-{number}.npz")
            for split, table in counts.items():
                table[trial, part["nodes"]] = part[split]
    keep(folder / "all.npz", {**counts, "problem": np.array(json.dumps(wanted.to_json(), sort_keys=True))})
    return folder / "all.npz"


def shard_numbers(text: str, count: int) -> list[int]:
    """Numbers from words such as ``3`` or ``0-7``; all where nothing is given."""
    first, dash, last = (text or f"0-{count - 1}").partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
        raise ValueError(f"--shards {text}: expected a number or a range such as 0-3")
    numbers = list(range(int(first), int(last if dash else first) + 1))
    if not numbers or numbers[-1] >= count:
        raise ValueError(f"--shards {text}: expected numbers from 0 to {count - 1}, in order")
    return numbers


def main(args: Args) -> int:
    """Train what is missing; returns the exit code."""
    for flag, given, known in (("datasets", args.datasets, DATASETS), ("starts", args.starts, STARTS)):
        for name in given:
            if name not in known:
                raise ValueError(f"--{flag} {name}: expected some of {', '.join(known)}")
    for flag, number in (("paths", args.paths), ("trials", args.trials), ("processes", args.processes)):
        if number < 1:
            raise ValueError(f"--{flag} {number}: expected at least 1")
    if args.shards and not args.all:
        raise ValueError(f"--shards {args.shards}: shards are of --all; add it")
    try:
        torch.device(args.device)  # nothing is put there yet: processes are forked first
    except RuntimeError as error:
        raise ValueError(f"--device {args.device}: {str(error).splitlines()[0]}") from error
    chosen = {
        label(dataset, start, args.learning_rate): problem(dataset, start, args.trials, args.learning_rate)
        for dataset in args.datasets or DATASETS
        for start in args.starts or STARTS
    }
    with processes(args.processes):
        (run_all if args.all else run_samples)(args, chosen)
    return 0


def say(line: str) -> None:
    """One line of progress."""
    print(line, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_script(main, Args, __doc__ or "")
