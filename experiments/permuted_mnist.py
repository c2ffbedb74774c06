"""Permuted MNIST: penalties on a network of fixed size, and frozen networks that grow.

    python experiments/permuted_mnist.py [--processes 2] [--seeds 3] [--only search] [--quick]

Every task, the first one included, has a pixel order of its own. Widths beside accuracy: how much growth bought what.
Streams have ten tasks. Those of the learned policy, and of what is compared with it, have the five that its hardware
has room for.

Writes cases/*.json, results.json, table.md and accuracy.png to docs/results/continual/permuted_mnist.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments.continual import Case, Part, Protocol, main
from experiments.continual_growth import Fixed, Gate, Learned, Search
from experiments.split_mnist import TASK, E, line

R = Protocol(
    "R",
    "mnist",
    (312, 128),
    minibatches=300,
    batch_size=64,
    optimizer="adam-standard",
    learning_rate=1e-3,
    source="Xu and Zhu 2018 (RCL), arXiv 1805.12369: widths and step size",
    tasks=10,
    permuted=True,
    pixels="raw",
    held_out=100,
    decisions=4,
    deviations="300 minibatches of 64 a task instead of 15 passes in minibatches of 32; no weight decay",
)
GROWING = replace(R, max_hidden=(312 + 9 * 29, 128 + 9 * 29))
SMALL = replace(E, permuted=True)
SEEDS = 3
SEARCH = "3 trials a task instead of 50"


def cases() -> list[Case]:
    """All lines, in the order of the table."""
    fixed = [
        line(name, R, TASK, Part(part, options), note=note)
        for name, part, options, note in (
            ("finetune", "finetune", {}, ""),
            ("EWC", "ewc", {"strength": 500.0, "labels": "exact"}, "strength not tuned"),
            ("SI", "si", {"strength": 5.0}, "strength not tuned"),
            ("joint", "joint", {}, ""),
        )
    ]
    lines = [
        *fixed,
        line("freeze, never grows", R, TASK, "freeze"),
        line("freeze, +15/+15 a task", GROWING, TASK, "freeze", growth=Part(Fixed, {"amounts": [15, 15]})),
        line("freeze, +29/+29 a task", GROWING, TASK, "freeze", growth=Part(Fixed, {"amounts": [29, 29]})),
        line("freeze, gate", GROWING, TASK, "freeze", growth=Part(Gate, {"amounts": [10, 10], "loss": 0.2})),
        line("freeze, search", GROWING, TASK, "freeze", growth=Part(Search, {"trials": 3}), note=SEARCH),
        line("freeze, never grows", SMALL, TASK, "freeze"),
        line("freeze, +6/+6 a task", SMALL, TASK, "freeze", growth=Part(Fixed, {"amounts": [6, 6]})),
        line("freeze, search", SMALL, TASK, "freeze", growth=Part(Search, {"trials": 3}), note=SEARCH),
        line("freeze, learned policy", SMALL, TASK, "freeze", growth=Part(Learned, {"budget": 0.6, "price": 0.5})),
    ]
    return [replace(each, seeds=SEEDS) for each in lines]


if __name__ == "__main__":
    main("permuted_mnist", "Permuted MNIST", cases())
