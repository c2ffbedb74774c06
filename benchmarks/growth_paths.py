"""How fast are growth paths trained, and how fast are their environments?

    python benchmarks/growth_paths.py [--quick] [--dataset mnist] [--repeats 2] [--out FILE.json]

Training: the sampled paths of `experiments/growth_paths.py` (10-10 to 100-100, minibatches of 128, squared error,
Adam), and a shard of a table of `experiments/path_tables.py`, two ways:

* one at a time: a torch module that grows and a ``torch.optim.Adam`` (`benchmarks/plain_paths.py`), with the fastest
  way of updating. Some paths are trained, evenly spaced among all, and their mean stands for all.
* together: `PathTraining.walk`, common beginnings once, networks of the same widths in one stack.

Both train, grow and count right answers on as many samples. Of the report's 45 minibatches a decision, 9 are trained,
and the seconds of training stand for all. What the walk spends is kept for every node, so the ratio splits into its
causes: without sharing, each path would pay for all nodes on its way, in full stacks. The matrix products alone, on the
shapes that the walk met, are the least that stacks can take. A shard of ``--all``, with both starts, says what all
paths take.

Environments: steps a second of `PathsVectorEnv`, and the seconds from importing growenv to the end of the first step.

Where two ways are compared they take turns, and the fastest run of each counts. Ratios are of processor time; what else
the machine does matters less to it than to wall time, which stands beside it, but slows both. One thread a process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.path_environments import environments
from benchmarks.path_training import Job, compared, projected
from experiments import growth_paths, path_tables
from growenv.paths.enumeration import shard

EACH, TRIALS = 20, 5
"""Paths of a stratum and trials, as `experiments/growth_paths.py` has them by default."""
MINIBATCHES = 9
"""Minibatches of a decision that are measured of the report's 45."""
SHARD = (2, 2, 2, 1, 2, 2, 2, 2)
"""All paths of the report's lattice that begin so: 220, with layers of 19 to 100 and of 73 to 100 neurons."""
TABLE_SHARD = (1, 2)
"""All paths of the table that begin so: 2,772."""


# -- the whole -------------------------------------------------------------------------------------------------------


def training(dataset: str, quick: bool, repeats: int) -> dict[str, Any]:
    """All measurements of training."""
    wanted = {start: growth_paths.problem(dataset, start, 1) for start in growth_paths.STARTS}
    table = path_tables.problem("digits", 1)
    lattice = wanted["random"].lattice
    sample = growth_paths.sampled(lattice, EACH).ends
    ends = shard(table.lattice, int(table.lattice.follow(TABLE_SHARD)[-1]))
    part = shard(lattice, int(lattice.follow(SHARD)[-1]))
    measured, rows = MINIBATCHES, growth_paths.ROWS
    if quick:
        sample, ends, part, measured = sample[::50], ends[::500], part[:4], 1
    return {
        "dataset": dataset,
        "sample": compared(Job(wanted["random"], sample, rows, False, measured), 10, repeats),
        "table": compared(Job(table, ends, path_tables.ROWS, True, 1 if quick else 10), 40, repeats),
        "all": {start: projected(Job(each, part, rows, False, measured), repeats) for start, each in wanted.items()},
        "trials": TRIALS,
    }


def report(results: dict[str, Any]) -> str:
    """The tables."""
    found, environment = results["training"], results["environment"]
    words = [f"sample of {found['dataset']}", *comparison(found["sample"])]
    words += ["shard of the table of digits", *comparison(found["table"])]
    for start, line in found["all"].items():
        hours = line["trial_processor_hours"] / 2
        words.append(
            f"--all, {start}: {line['paths']} paths of a shard take {line['path']['processor']:.3f} s each; all "
            f"{line['all_paths']:,} on two cores {hours:.1f} h a trial, {found['trials'] * hours:.1f} h for "
            f"{found['trials']}"
        )
    words.append(f"environment with the table {environment['table']}, steps a second")
    for line in environment["rows"]:
        words.append(
            f"  {line['rows']:>6} rows: {line['steps_per_second']:>12,.0f} on one core, "
            f"{line['two_processes']:>12,.0f} in two processes"
        )
    first = environment["first_step"]
    words.append(f"  from import to first step: {first['processor']:.2f} s processor, {first['wall']:.2f} s wall")
    return "\n".join(words)


def comparison(line: dict[str, Any]) -> list[str]:
    """Lines on paths that were trained both ways."""
    plain, walk, times = line["plain"], line["walk"], line["times_faster"]
    lines = [f"  {line['paths']:,} paths, {line['decisions']:,} decisions, {line['nodes']:,} of them different"]
    for name, each in ((f"one at a time ({line['adam']['fastest']} Adam)", plain), ("together", walk)):
        lines.append(
            f"  {name}: {each['path']['processor']:.4f} s processor, {each['path']['wall']:.4f} s wall a path; "
            f"{each['step_microseconds']:.0f} us a minibatch step"
        )
    return [
        *lines,
        f"  {times['whole']:.1f} times faster with all that belongs to it; training alone {times['training']:.1f} = "
        f"{times['by_stacks']:.2f} by stacks x {times['by_sharing']:.2f} by sharing; matrix products are "
        f"{line['products_share']:.0%} of training together",
    ]


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few paths of digits, one minibatch a decision")
    parser.add_argument("--dataset", default="mnist", choices=[*growth_paths.DATASETS, "digits"])
    parser.add_argument("--repeats", type=int, default=2, help="runs of which the fastest counts")
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "growth_paths.json"))
    args = parser.parse_args(words)
    if args.repeats < 1:
        parser.error(f"--repeats {args.repeats}: expected at least 1")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dataset, repeats = ("digits", 1) if args.quick else (args.dataset, args.repeats)
    processor = platform.processor() or platform.machine()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    results = {
        "machine": {"processor": processor, "threads": 1, "torch": torch.__version__, "load_before": load},
        "repeats": repeats,
        "training": training(dataset, args.quick, repeats),
        "environment": environments(args.quick, repeats),
    }
    print(report(results))
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    Path(args.out).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
