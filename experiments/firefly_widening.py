"""Accuracy against size, and against the time spent on growing: networks that widen step by step.

    python experiments/firefly_widening.py [--operators NAME...] [--dataset fashion-mnist] [--out docs/results/growth]

The form is that of figure 4 of Wu et al. 2020 (Firefly, arXiv 2102.08574), which widens a convolutional network on
CIFAR-10: there Firefly is above splitting, Net2Wider and random growth, and grows in much less time than splitting.
Here networks of two hidden layers learn all ten classes of images averaged down to 14x14. They train for so many steps,
are measured on inner-test data, then both layers grow; and so on. `scratch` are networks that had a size from the
beginning and trained for as many steps as the growing ones when they are measured with that size.

Two things are not as in the paper. Every layer gets equally many units, where Firefly chooses the best of all layers
together. And growth takes what it takes on probe batches, not epochs.

Rows are seeds; networks of one seed see the same minibatches under every operator, so differences are paired. Writes
widening.json and widening.png. Seconds are those of all rows together.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.statistics import mean_interval, paired_interval
from experiments.growing import (
    BASE,
    EVERY_TEST_SAMPLE,
    RATES,
    RESULTS,
    above_zero,
    chosen_operators,
    colours,
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

CORE = ("random", "net2wider", "splitting", "firefly")
SCRATCH = "scratch"
CLAIMS = (("firefly", "splitting"), ("firefly", "net2wider"), ("firefly", "random"), ("splitting", "net2wider"))
"""Pairs of which the first is above the second in the published figure."""


def widen(name: str, dataset: Dataset, args: argparse.Namespace) -> dict[str, Any]:
    """One operator from the smallest to the largest size: accuracy of every row at every size, seconds of growth."""
    learner = begun(name, dataset, args.small, args)
    amounts = steps_of_growth(args.small, args.large, args.sizes - 1)
    warm_up(learner, amounts)
    accuracy, seconds = [measured(learner)], [0.0]
    for _ in range(args.sizes - 1):
        seconds.append(seconds[-1] + grow_all(learner, amounts))
        accuracy.append(measured(learner))
    return {"accuracy": accuracy, "growth_seconds": seconds}


def from_scratch(dataset: Dataset, args: argparse.Namespace) -> dict[str, Any]:
    """A fresh network of every size, trained for as many steps as the growing ones up to that size."""
    accuracy = []
    for number, widths in enumerate(sizes(args)):
        learner = begun(BASE, dataset, widths, args)
        for _ in range(number):
            learner.train()
        accuracy.append(measured(learner))
    return {"accuracy": accuracy, "growth_seconds": [0.0] * args.sizes}


def begun(name: str, dataset: Dataset, widths: Sequence[int], args: argparse.Namespace) -> Learner:
    """Networks of these widths, not yet trained."""
    return single_task_learner(
        dataset,
        args.rows,
        name,
        widths,
        args.large,
        minibatches=args.interval,
        batch_size=args.batch_size,
        optimizer=args.optimizer,
        learning_rate=args.learning_rate,
        test_samples=EVERY_TEST_SAMPLE,
    )


def measured(learner: Learner) -> list[float]:
    """Accuracy of every row on inner-test data after one more interval of training."""
    learner.train()
    accuracy: list[float] = learner.accuracy("test", learner.task).tolist()
    return accuracy


def sizes(args: argparse.Namespace) -> list[list[int]]:
    """Widths at which networks are measured."""
    amounts = steps_of_growth(args.small, args.large, args.sizes - 1)
    return [[w + number * k for w, k in zip(args.small, amounts, strict=True)] for number in range(args.sizes)]


def verdict(lines: dict[str, dict[str, Any]]) -> list[str]:
    """In words: do the published orderings hold, at the largest size and in the mean over all but the first?"""
    words = []
    for better, worse in CLAIMS:
        if better not in lines or worse not in lines:
            continue
        one, two = (np.array(lines[name]["accuracy"]) for name in (better, worse))
        shown = [
            spread(vars(paired_interval(a, b)), 100.0, signed=True)
            for a, b in ((one[-1], two[-1]), (one[1:].mean(axis=0), two[1:].mean(axis=0)))
        ]
        end = paired_interval(one[-1], two[-1])
        agrees = "not told apart at the end" if end.covers_zero else "agrees" if end.mean > 0 else "DISAGREES"
        words.append(
            f"{better} minus {worse} (published: above 0; {agrees}): {shown[0]} at the end, {shown[1]} over all sizes"
        )
    if "firefly" in lines and "splitting" in lines:
        ratio = lines["firefly"]["growth_seconds"][-1] / lines["splitting"]["growth_seconds"][-1]
        agrees = "agrees" if ratio < 1 else "DISAGREES"
        words.append(
            f"growth takes {ratio:.2f} times as long with firefly as with splitting (published: less; {agrees})"
        )
    return words


def report(lines: dict[str, dict[str, Any]], args: argparse.Namespace) -> str:
    """Accuracy in per cent by size, and seconds of growth."""
    cells = []
    for name, line in lines.items():
        means = [f"{100.0 * np.mean(each):.2f}" for each in line["accuracy"]]
        minus = (
            ""
            if name == BASE
            else spread(vars(paired_interval(line["accuracy"][-1], lines[BASE]["accuracy"][-1])), 100.0, signed=True)
        )
        cells.append([name, *means, minus, f"{line['growth_seconds'][-1]:.2f}"])
    header = ["", *("-".join(map(str, each)) for each in sizes(args)), f"at the end, minus {BASE}", "s of growth"]
    return "\n".join([table(header, cells), *verdict(lines)])


def draw(lines: dict[str, dict[str, Any]], dataset: Dataset, args: argparse.Namespace, path: Path) -> None:
    """Accuracy against parameters, and against cumulated time of growth."""
    count = [parameters(dataset.features, widths, dataset.classes) for widths in sizes(args)]
    figure = Figure(figsize=(11.5, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    shades = {**colours([name for name in lines if name != SCRATCH]), SCRATCH: "0.4"}
    for name, line in lines.items():
        bands = [mean_interval(each) for each in line["accuracy"]]
        mean, low, high = (100.0 * np.array([getattr(each, end) for each in bands]) for end in ("mean", "low", "high"))
        colour = shades[name]
        style = "--" if name == SCRATCH else "-"
        left.plot(count, mean, style, color=colour, marker="o", markersize=3.5, label=name)
        left.fill_between(count, low, high, color=colour, alpha=0.13, linewidth=0)
        if name != SCRATCH:
            right.plot(line["growth_seconds"][1:], mean[1:], color=colour, marker="o", markersize=3.5, label=name)
    right.set_xscale("log")
    left.set(xlabel="parameters", ylabel="inner-test accuracy, %", title="against size (bands: 95 % over seeds)")
    right.set(xlabel="seconds of growth so far, all rows together", title="against time spent on growing")
    for axes in (left, right):
        axes.grid(color="0.93")
    left.legend(fontsize=8)
    widths = (f"{'-'.join(map(str, each))}" for each in (args.small, args.large))
    figure.suptitle(f"{args.dataset}, {args.rows} seeds, {' to '.join(widths)} in {args.sizes} sizes")
    figure.savefig(path, dpi=120)


def arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", default="fashion-mnist", choices=DATASETS.names())
    parser.add_argument("--pool", type=positive, default=14, help="side to which images are averaged down")
    parser.add_argument("--operators", nargs="+", type=operator_name, default=list(CORE), help='or "all"')
    parser.add_argument("--rows", type=seeds, default=20, help="seeds")
    parser.add_argument("--small", nargs=2, type=positive, default=[8, 8], help="smallest widths")
    parser.add_argument("--large", nargs=2, type=positive, default=[64, 64], help="largest widths")
    parser.add_argument("--sizes", type=positive, default=8, help="sizes that are measured")
    parser.add_argument("--interval", type=positive, default=400, help="steps of training at each size")
    parser.add_argument("--batch-size", type=positive, default=64)
    parser.add_argument("--optimizer", default="adam", choices=OPTIMIZERS.names())
    parser.add_argument("--learning-rate", type=above_zero, help="step size; by default what suits the optimiser")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of widening.json and widening.png")
    args = parser.parse_args()
    args.learning_rate = RATES[args.optimizer] if args.learning_rate is None else args.learning_rate
    try:
        pooled(args.dataset, args.pool)
        steps_of_growth(args.small, args.large, args.sizes - 1)
    except ValueError as error:
        parser.error(str(error))
    return args


def main() -> None:
    """Play, print, draw, write."""
    args = arguments()
    torch.set_num_threads(1)
    dataset = pooled(args.dataset, args.pool)
    lines: dict[str, dict[str, Any]] = {}
    for name in chosen_operators(args.operators):
        begun_at = time.perf_counter()
        lines[name] = widen(name, dataset, args)
        accuracy, seconds = 100.0 * np.mean(lines[name]["accuracy"][-1]), time.perf_counter() - begun_at
        growth = lines[name]["growth_seconds"][-1]
        print(f"{name}: {accuracy:.2f} % in {seconds:.0f} s, growth {growth:.1f} s", flush=True)
    lines[SCRATCH] = from_scratch(dataset, args)
    print(report(lines, args))
    write(args.out / "widening.json", args, {"sizes": sizes(args), "lines": lines, "verdict": verdict(lines)})
    draw(lines, dataset, args, args.out / "widening.png")


if __name__ == "__main__":
    main()
