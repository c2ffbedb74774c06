"""How should new neurons start? All growth operators at equal final size, schedule and training, on images.

    python experiments/growth_operators.py [--dataset fashion-mnist] [--operators all] [--out docs/results/growth]

Networks of two hidden layers learn all ten classes of images averaged down to 14x14. They grow from 16-16 to 64-64
units by equal events, both layers at each event, the lower one first; a first part and the longer last part of the
training are without growth. Only the operator differs: initial networks, minibatches, sizes and steps are the same for
all operators, seed by seed, so differences are paired by seed (the rows of one stack).

Baselines from scratch: `small` and `large` networks that never grow and train for as many steps, and `large` at equal
compute: stopped when its steps times parameters reach what the growing networks used (their growth events not counted;
the table gives the time of these).

Which side of new neurons starts at zero: `random-live` and `random-in` have equal lengths and differ in that side only;
`gradmax-opt` zeroes the outgoing side and `gradmax` the incoming one.

Writes operators-DATASET-OPTIMIZER.json and .png; accuracy is that on inner-test data after the last step.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.statistics import paired_interval
from experiments.growing import (
    ALL,
    BASE,
    EVERY_TEST_SAMPLE,
    RATES,
    RESULTS,
    above_zero,
    chosen_operators,
    colours,
    compared,
    grow_all,
    operator_name,
    parameters,
    positive,
    seeds,
    single_task_learner,
    spread,
    steps_of_growth,
    table,
    warm_up,
    write,
)
from growenv.learner import Learner
from growenv.networks import OPTIMIZERS
from growenv.streams import DATASETS, Dataset, pooled

BASELINES = ("small", "large", "large, equal compute")
SIDES = (("random-live", "random-in"), ("gradmax-opt", "gradmax"))
"""Pairs of operators of which the first zeroes the outgoing side and the second the incoming one."""


@dataclass
class Course:
    """How one line of the table was trained.

    Attributes:
        validation: accuracy on validation data after every interval, (intervals, N).
        accuracy: on inner-test data at the end, (N,).
        events: seconds of every growth event of all rows together.
        training: seconds of training.
        steps: minibatches that were trained.
        compute: steps times parameters, added up.
    """

    validation: list[list[float]] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    events: list[float] = field(default_factory=list)
    training: float = 0.0
    steps: int = 0
    compute: float = 0.0


def train_interval(learner: Learner, course: Course) -> None:
    """Train one interval, measure, take down what it took."""
    begun = time.perf_counter()
    learner.train()
    course.training += time.perf_counter() - begun
    widths = learner.network.widths[0].tolist()
    course.steps += learner.config.minibatches
    course.compute += learner.config.minibatches * parameters(learner.network.inputs, widths, learner.classes)
    course.validation.append(learner.validate()[0].tolist())


def play(
    name: str, dataset: Dataset, hidden: Sequence[int], intervals: int, events: int, args: argparse.Namespace
) -> Course:
    """Train all rows.

    Args:
        name: the operator.
        dataset: what is learned.
        hidden: widths at the beginning.
        intervals: how long to train.
        events: growth events; 0 for networks that keep their widths.
        args: the command line.
    """
    learner = single_task_learner(
        dataset,
        args.rows,
        name,
        hidden,
        args.large,
        minibatches=args.interval,
        batch_size=args.batch_size,
        optimizer=args.optimizer,
        learning_rate=args.learning_rate,
        test_samples=EVERY_TEST_SAMPLE,
        validation_samples=args.validation_samples,
    )
    course = Course()
    amounts = steps_of_growth(args.small, args.large, args.events)
    if events:
        warm_up(learner, amounts)
    for interval in range(intervals):
        if 0 <= interval - args.first < events:
            course.events.append(grow_all(learner, amounts))
        train_interval(learner, course)
    course.accuracy = learner.accuracy("test", learner.task).tolist()
    return course


def from_scratch(dataset: Dataset, compute: float, args: argparse.Namespace) -> dict[str, Course]:
    """The networks that never grow; the large one also as it was when it had used so much compute."""
    size = parameters(dataset.features, args.large, dataset.classes)
    matched = max(1, min(args.intervals, round(compute / size / args.interval)))
    return {
        "small": play(BASE, dataset, args.small, args.intervals, 0, args),
        "large": play(BASE, dataset, args.large, args.intervals, 0, args),
        "large, equal compute": play(BASE, dataset, args.large, matched, 0, args),
    }


def figures(courses: dict[str, Course]) -> dict[str, dict[str, Any]]:
    """Numbers of every line."""
    lines = {}
    for name, course in courses.items():
        validation = np.array(course.validation)
        lines[name] = {
            "accuracy": course.accuracy,
            "mean_validation": validation.mean(axis=0).tolist(),
            "validation_curve": validation.mean(axis=1).tolist(),
            "steps": course.steps,
            "relative_compute": course.compute / courses[BASE].compute,
            "events": len(course.events),
            "event_ms": float(np.median(course.events)) * 1e3 if course.events else None,
            "growth_seconds": float(np.sum(course.events)),
            "training_seconds": course.training,
        }
    return lines


def sides(lines: dict[str, dict[str, Any]]) -> list[str]:
    """In words: which side should start at zero?"""
    words = []
    for outgoing, incoming in SIDES:
        if outgoing in lines and incoming in lines:
            difference = paired_interval(lines[outgoing]["accuracy"], lines[incoming]["accuracy"])
            shown = spread(vars(difference), 100.0, signed=True)
            words.append(f"zero outgoing ({outgoing}) minus zero incoming side ({incoming}): {shown} points")
    return words


def report(lines: dict[str, dict[str, Any]]) -> str:
    """The table: accuracy in per cent, best first, differences to random growth in points."""
    known, course = compared(lines, "accuracy"), compared(lines, "mean_validation")
    cells = []
    for name in sorted(lines, key=lambda name: -known[name]["mean"]["mean"]):
        line = lines[name]
        shown = [
            spread(each[name][f"minus {BASE}"], 100.0, signed=True)
            if name != BASE and len(line["validation_curve"]) == len(lines[BASE]["validation_curve"])
            else ""
            for each in (known, course)
        ]
        event = f"{line['event_ms']:.0f}" if line["event_ms"] else ""
        mean = spread(known[name]["mean"], 100.0)
        cells.append([name, mean, *shown, f"{line['relative_compute']:.2f}", event, f"{line['training_seconds']:.1f}"])
    header = ["", "test accuracy, %", f"minus {BASE}", "validation in the mean over the course, likewise"]
    return "\n".join([table([*header, "compute", "ms for an event", "s of training"], cells), *sides(lines)])


def draw(lines: dict[str, dict[str, Any]], args: argparse.Namespace, path: Path) -> None:
    """Accuracy of all lines, their differences to random growth, and these while they were trained."""
    known = compared(lines, "accuracy")
    order = sorted(lines, key=lambda name: known[name]["mean"]["mean"])
    shades = {**colours([name for name in order if name not in BASELINES]), **dict.fromkeys(BASELINES, "0.5")}
    figure = Figure(figsize=(13, 0.34 * len(order) + 1.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.3))
    for number, name in enumerate(order):
        for axes, key in ((left, "mean"), (middle, f"minus {BASE}")):
            if key in known[name]:
                mean, low, high = (100.0 * known[name][key][end] for end in ("mean", "low", "high"))
                axes.errorbar(mean, number, xerr=[[mean - low], [high - mean]], fmt="o", color=shades[name], capsize=2)
    left.set(xlabel="inner-test accuracy, %")
    left.set_yticks(range(len(order)), order)
    middle.set_yticks(range(len(order)), [""] * len(order))
    middle.set(xlabel=f"minus {BASE}, points (paired by seed, 95 %)")
    middle.axvline(0.0, color="0.5", linewidth=0.8)
    base = np.array(lines[BASE]["validation_curve"])
    steps = args.interval * np.arange(1, 1 + len(base))
    styles = dict(zip(BASELINES, ("--", "-"), strict=False))
    for name in order:
        curve = np.array(lines[name]["validation_curve"])
        if len(curve) == len(base):
            right.plot(steps, 100.0 * (curve - base), styles.get(name, "-"), color=shades[name], linewidth=1.2)
    for event in range(args.events):
        right.axvline((args.first + event) * args.interval, color="0.88", linewidth=0.8, zorder=0)
    seen = np.concatenate([np.array(lines[name]["validation_curve"]) - base for name in order if name not in BASELINES])
    right.set(xlabel="step (growth at the grey lines)", ylabel=f"validation accuracy, minus {BASE}, points")
    right.set_ylim(100.0 * seen.min() - 0.5, 100.0 * seen.max() + 0.8)
    small, large = ("-".join(map(str, widths)) for widths in (args.small, args.large))
    figure.suptitle(f"{args.dataset}, {args.optimizer}, {args.rows} seeds, {small} to {large}")
    figure.savefig(path, dpi=120)


def arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", default="fashion-mnist", choices=DATASETS.names())
    parser.add_argument("--pool", type=positive, default=14, help="side to which images are averaged down")
    parser.add_argument("--operators", nargs="+", type=operator_name, default=[ALL], help='growth operators, or "all"')
    parser.add_argument("--rows", type=seeds, default=32, help="seeds")
    parser.add_argument("--small", nargs=2, type=positive, default=[16, 16], help="units before growth")
    parser.add_argument("--large", nargs=2, type=positive, default=[64, 64], help="units after growth")
    parser.add_argument("--events", type=positive, default=6, help="growth events")
    parser.add_argument("--interval", type=positive, default=200, help="steps between growth events")
    parser.add_argument("--first", type=positive, default=1, help="intervals before the first event")
    parser.add_argument("--intervals", type=positive, default=20, help="intervals of the whole training")
    parser.add_argument("--batch-size", type=positive, default=64)
    parser.add_argument("--optimizer", default="adam", choices=OPTIMIZERS.names())
    parser.add_argument("--learning-rate", type=above_zero, help="step size; by default what suits the optimiser")
    parser.add_argument("--validation-samples", type=positive, default=1000)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args()
    args.learning_rate = RATES[args.optimizer] if args.learning_rate is None else args.learning_rate
    try:
        pooled(args.dataset, args.pool)
        steps_of_growth(args.small, args.large, args.events)
    except ValueError as error:
        parser.error(str(error))
    if args.first + args.events > args.intervals:
        parser.error(f"{args.events} events from interval {args.first} on do not fit into {args.intervals} intervals")
    return args


def main() -> None:
    """Play, print, draw, write."""
    args = arguments()
    torch.set_num_threads(1)
    dataset = pooled(args.dataset, args.pool)
    courses: dict[str, Course] = {}
    for name in chosen_operators(args.operators):
        begun = time.perf_counter()
        courses[name] = play(name, dataset, args.small, args.intervals, args.events, args)
        accuracy, seconds = 100.0 * np.mean(courses[name].accuracy), time.perf_counter() - begun
        print(f"{name}: {accuracy:.2f} % in {seconds:.0f} s, growth {sum(courses[name].events):.1f} s", flush=True)
    courses |= from_scratch(dataset, courses[BASE].compute, args)
    lines = figures(courses)
    print(report(lines))
    path = args.out / f"operators-{args.dataset}-{args.optimizer}"
    write(path.with_suffix(".json"), args, {"lines": lines, "compared": compared(lines, "accuracy")})
    draw(lines, args, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
