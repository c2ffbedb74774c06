"""Average accuracy against size after ten tasks: what growing, masks and penalties buy at equal parameters.

    python experiments/firefly_continual.py [--processes 2] [--seeds 3] [--only permuted] [--quick]

The form is that of figure 5a of Wu et al. 2020 (Firefly, arXiv 2102.08574): there a VGG-16 learns CIFAR-100 in ten
tasks, and Firefly's frozen sub-networks, chosen by masks and grown by its operator, are above EWC, DEN, RCL and CPG at
every size. Here networks of two hidden layers learn images averaged down to 14x14, in two streams of ten tasks:
Fashion-MNIST in ten pixel orders, and the twenty classes of MNIST and Fashion-MNIST together, two at a time in an order
of each seed's own. Every system has its own knob for size: units that each task adds, or widths of the whole network.

All systems train equally long on a task. Each task's units come in two halves, at its begin and after a third of it.

Writes cases/*.json, results.json, table.md, accuracy.png and size.png to docs/results/continual/firefly_continual.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments.continual import QUICK, RESULTS, Case, Part, Protocol, main
from experiments.continual_growth import Learned, Search
from experiments.continual_tables import logarithmic
from growenv.growth import OPERATORS
from growenv.learner import Learner
from growenv.streams import Dataset, pooled

NAME = "firefly_continual"
SIDE = 14
SEEDS = 3
TASK = "task-incremental"
AMOUNTS = (2, 4, 8, 16)
"""Units that each task adds to every layer."""
WIDTHS = (16, 32, 64, 128)
"""Of networks whose size is given beforehand; half of it as a start where a system grows by itself."""
TESTED = 200
"""Test images of each class, in all tasks the same ones: every task is measured after each one."""
SECOND_HALF = 2
"""Part of a task, of six, before which its second half of units comes."""


class Halves:
    """Every layer gets units in two halves: when a task begins, and after a third of it.

    Args:
        amount: units that a task adds to each layer, even.
        growth: the operator that makes them.
    """

    def __init__(self, amount: int, growth: str) -> None:
        if amount < 2 or amount % 2:
            raise ValueError(f"units come in two halves, so their number is even and at least 2; got {amount}")
        self.half = amount // 2
        self.operator = OPERATORS.make(growth)

    def __call__(self, learner: Learner, task: int, decision: int) -> NDArray[np.int64]:
        """Half of the amount, or nothing, (L,)."""
        learner.operator = self.operator
        due = decision in (0, SECOND_HALF)
        return np.full(len(learner.config.hidden), self.half if due else 0)


@functools.cache
def small(name: str) -> Dataset:
    """A data set averaged down, with few test images."""
    full = pooled(name, SIDE)
    labels = full.labels[full.test]
    chosen = torch.cat([full.test[labels == label][:TESTED] for label in range(full.classes)])
    return replace(full, name=f"{full.name}-few", test=chosen.sort().values)


@functools.cache
def both() -> Dataset:
    """MNIST and Fashion-MNIST as one data set of twenty classes; clothes are classes 10 to 19."""
    digits, clothes = small("mnist"), small("fashion-mnist")
    start = len(digits.labels)
    return replace(
        digits,
        name=f"mnist-and-fashion-{SIDE}x{SIDE}",
        inputs=torch.cat((digits.inputs, clothes.inputs)),
        labels=torch.cat((digits.labels, clothes.labels + digits.classes)),
        classes=digits.classes + clothes.classes,
        train=torch.cat((digits.train, clothes.train + start)),
        validation=torch.cat((digits.validation, clothes.validation + start)),
        test=torch.cat((digits.test, clothes.test + start)),
        shift=(digits.shift + clothes.shift) / 2.0,
        scale=2.0 / (1.0 / digits.scale + 1.0 / clothes.scale),  # the mean of both deviations
    )


@functools.cache
def protocols() -> dict[str, Protocol]:
    """The two streams; networks start as small as those of growenv's environments."""
    shared: dict[str, Any] = {
        "hidden": (4, 4),
        "minibatches": 240,
        "batch_size": 32,
        "optimizer": "adam",
        "learning_rate": 0.01,
        "tasks": 10,
        "max_hidden": (256, 256),
        "decisions": 6,
        "source": "the form of figure 5a of Wu et al. 2020, arXiv 2102.08574",
        "deviations": f"images of {SIDE}x{SIDE} instead of CIFAR-100; two hidden layers instead of VGG-16",
    }
    permuted = Protocol("permuted", small("fashion-mnist"), permuted=True, **shared)
    return {"permuted": permuted, "split": Protocol("split", both(), order="random", **shared)}


def cases() -> list[Case]:
    """All systems at all sizes on both streams; the size comes last in a case's name."""
    return [case for protocol in protocols().values() for case in [*grown(protocol), *fixed(protocol), *own(protocol)]]


def grown(protocol: Protocol) -> list[Case]:
    """A schedule adds units to frozen networks."""
    systems = {
        "firefly-masks, firefly": ("firefly-masks", "firefly"),
        "freeze, firefly": ("freeze", "firefly"),
        "freeze, random": ("freeze", "random"),
    }
    return [
        _case(f"{name} +{amount}", protocol, Part(part), Part(Halves, {"amount": amount, "growth": growth}))
        for name, (part, growth) in systems.items()
        for amount in AMOUNTS
    ]


def fixed(protocol: Protocol) -> list[Case]:
    """Networks as wide from the beginning as they will ever be."""
    systems = {"EWC": Part("ewc", {"strength": 500.0, "labels": "exact"}), "CPG": Part("cpg")}
    return [
        _case(f"{name} {width}", replace(protocol, hidden=(width, width)), part)
        for name, part in systems.items()
        for width in WIDTHS
    ]


def own(protocol: Protocol) -> list[Case]:
    """Systems that decide themselves how much they grow."""
    found = []
    for width, amount in zip(WIDTHS, AMOUNTS, strict=True):
        start = replace(protocol, hidden=(width // 2, width // 2))
        den, cpg = Part("den-expanding", {"k": amount, "tau": 0.3, "sigma": 1.0}), Part("cpg-growing")
        search = Part(Search, {"trials": 6, "choices": amount + 1})
        note = "6 trials a task instead of 50"
        found += [
            _case(f"DEN {amount}", start, den, note="strengths of the published code but for tau and sigma, not tuned"),
            _case(f"CPG, growing {width // 2}", start, cpg),
            _case(f"RCL-like 0..{amount}", replace(start, hidden=(16, 16)), Part("freeze"), search, note=note),
        ]
    narrow = replace(protocol, max_hidden=(64, 64))
    for budget in (0.2, 0.4, 0.6):
        policy = Part(Learned, {"budget": budget, "price": 0.5, "meter": "mosaic-large"})
        note = "the shipped policy, which was trained on 8x8 digits in streams of five tasks"
        found.append(_case(f"learned policy {budget}", narrow, Part("freeze"), policy, note=note))
    return found


def _case(name: str, protocol: Protocol, part: Part, growth: Part | None = None, note: str = "") -> Case:
    return Case(name, protocol, TASK, part, SEEDS, growth, note=note)


def _system(name: str) -> str:
    """A case's name without the size."""
    return name.rsplit(" ", 1)[0]


def draw(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Accuracy against parameters, a curve for each system, a panel for each stream."""
    streams = list(dict.fromkeys(line["protocol"] for line in lines))
    systems = list(dict.fromkeys(_system(line["system"]) for line in lines))
    figure = Figure(figsize=(5.8 * len(streams), 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(streams), squeeze=False)[0]
    for axes, stream in zip(panels, streams, strict=True):
        for number, system in enumerate(systems):
            own_lines = [each for each in lines if each["protocol"] == stream and _system(each["system"]) == system]
            own_lines.sort(key=lambda each: each["parameters"])
            size = [each["parameters"] for each in own_lines]
            mean = [each["acc"]["mean"] for each in own_lines]
            spread = [each["acc"]["sd"] or 0.0 for each in own_lines]
            axes.errorbar(size, mean, spread, color=f"C{number}", marker="o", markersize=3.5, capsize=2, label=system)
        logarithmic(axes)
        axes.set(xlabel="weights and biases after ten tasks, heads included", title=stream)
        axes.grid(color="0.93")
    panels[0].set_ylabel("accuracy on all ten tasks, % (bar: standard deviation)")
    panels[-1].legend(fontsize=8)
    figure.savefig(path, dpi=120)


def folder_of(arguments: Sequence[str]) -> Path:
    """Where a command line has its results written."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true")
    known, _ = parser.parse_known_args(arguments)
    return known.out or (QUICK if known.quick else RESULTS) / NAME


def play(arguments: Sequence[str]) -> None:
    """Run what the command line asks for, then draw accuracy against size; the smallest sizes alone if quick."""
    every = cases()
    if "--quick" in arguments:
        every = list({(case.protocol.name, _system(case.name)): case for case in reversed(every)}.values())[::-1]
    main(NAME, "Accuracy against size after ten tasks", every, arguments)
    if "--list" in arguments:
        return
    folder = folder_of(arguments)
    draw(json.loads((folder / "results.json").read_text())["lines"], folder / "size.png")


if __name__ == "__main__":
    play(sys.argv[1:])
