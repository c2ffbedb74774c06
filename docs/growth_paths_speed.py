"""The block of docs/growth-paths.md on speed; `docs/figures.py` writes it. Without results it shows the command."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from claim import table

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results" / "growth_paths.json"
COMMAND = "python benchmarks/growth_paths.py"
DATASETS = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar-10": "CIFAR-10", "digits": "digits"}
STARTS = {"random": "random", "gradmax": "GradMax"}
Line = Mapping[str, Any]


def path_speed() -> str:
    """Training and environments."""
    if not RESULTS.is_file():
        return f"not run yet: `{COMMAND}`"
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    return "\n\n".join([trained(results), why(results["training"]), *whole(results["training"]), stepped(results)])


def trained(results: Line) -> str:
    """Paths one at a time and together."""
    found = results["training"]
    titles = [f"{DATASETS[found['dataset']]}, 10-10 to 100-100", "digits, 4-4 to 28-28"]
    lines = [found["sample"], found["table"]]
    rows = [
        ["paths; decisions on them; different ones", *map(counts, lines)],
        ["one at a time, ms a path (wall)", *(spent(line["plain"]) for line in lines)],
        ["together, ms a path (wall)", *(spent(line["walk"]) for line in lines)],
        ["µs of a minibatch step, one at a time", *(f"{line['plain']['step_microseconds']:.0f}" for line in lines)],
        ["µs of a minibatch step, together", *(f"{line['walk']['step_microseconds']:.0f}" for line in lines)],
        ["**times faster**", *(f"**{line['times_faster']['whole']:.1f}**" for line in lines)],
        ["training alone", *(f"{line['times_faster']['training']:.1f}" for line in lines)],
        ["… by stacks", *(f"{line['times_faster']['by_stacks']:.2f}" for line in lines)],
        ["… by sharing", *(f"{line['times_faster']['by_sharing']:.2f}" for line in lines)],
        ["matrix products, share of training", *(f"{line['products_share']:.0%}" for line in lines)],
    ]
    return table(["", *titles], rows)


def counts(line: Line) -> str:
    """How much is trained, and how much of it is different."""
    return f"{line['paths']:,}; {line['decisions']:,}; {line['nodes']:,}"


def spent(way: Line) -> str:
    """Processor and wall time of a path."""
    each = way["path"]
    return f"{each['processor'] * 1e3:.1f} ({each['wall'] * 1e3:.1f})"


def why(found: Line) -> str:
    """How it was measured, in words."""
    sample, small = found["sample"], found["table"]
    adams = " and ".join(dict.fromkeys(line["adam"]["fastest"] for line in (sample, small)))
    return (
        "Processor time, one thread, growth and counting right answers included. One at a time is plain PyTorch with "
        f"its {adams} Adam, from {sample['plain']['measured_paths']} and {small['plain']['measured_paths']} paths that "
        f"stand for all; of {sample['minibatches']} minibatches a decision {sample['measured_minibatches']} were "
        f"measured on {DATASETS[found['dataset']]}."
    )


def whole(found: Line) -> list[str]:
    """What all paths of the lattice take."""
    words = []
    for start, line in found["all"].items():
        hours = line["trial_processor_hours"] / 2
        words.append(
            f"{STARTS[start]} {line['path']['processor'] * 1e3:.0f} ms a path, {hours:.1f} h a trial, "
            f"{found['trials'] * hours:.0f} h for {found['trials']} trials"
        )
    first = next(iter(found["all"].values()))
    return [
        f"All {first['all_paths']:,} paths on {DATASETS[found['dataset']]} with two cores, projected from a shard of "
        f"{first['paths']}: {'; '.join(words)}."
    ]


def stepped(results: Line) -> str:
    """Steps of the environment."""
    environment = results["environment"]
    rows = [
        [f"{line['rows']:,}", f"{line['steps_per_second']:,.0f}", f"{line['two_processes']:,.0f}"]
        for line in environment["rows"]
    ]
    first, load = environment["first_step"], results["machine"]["load_before"]
    busy = f" The machine was busy (load {load:.1f} before)." if load is not None and load > 1 else ""
    words = (
        f"Steps a second of processor time, table {environment['table']}, infos and new episodes included. From "
        f"importing growenv to the end of the first step: {first['processor']:.1f} s ({first['wall']:.1f} s wall). The "
        f"fastest of {results['repeats']} runs counts; torch {results['machine']['torch']}.{busy}"
    )
    return "\n".join([table(["rows", "one core", "two processes"], rows), "", words])


BLOCKS: dict[str, Callable[[], str]] = {"growth-paths-speed": path_speed}
