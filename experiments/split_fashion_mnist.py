"""Split Fashion-MNIST, five tasks of two classes, class-incremental: the short form of `split_mnist.py`.

    python experiments/split_fashion_mnist.py [--processes 2] [--seeds 3] [--only SpaceNet] [--quick]

No published numbers of these protocols are known to us, so the lines stand for themselves.

Writes cases/*.json, results.json, table.md and accuracy.png to docs/results/continual/split_fashion_mnist.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments.continual import Case, Part, main
from experiments.continual_growth import Fixed
from experiments.split_mnist import CLASS, MAX, ONCE, RESTORE, TASK, E, H, S, growing, line

DATA = "fashion-mnist"
SEEDS = 3


def cases() -> list[Case]:
    """All lines, in the order of the table."""
    h, s, small = (replace(protocol, dataset=DATA, pixels="own") for protocol in (H, S, E))
    lines = [
        line("finetune", s, CLASS, "finetune"),
        line("finetune + restore", s, RESTORE, "finetune"),
        line("static, reserved", s, RESTORE, "static-sparse"),
        line("SpaceNet", s, RESTORE, "spacenet"),
        line("joint", s, CLASS, "joint"),
        line("finetune", h, CLASS, "finetune"),
        line("finetune + restore", h, RESTORE, "finetune"),
        line("EWC", h, CLASS, Part("ewc", {"strength": 1200.0, "labels": "predicted"})),
        line("SI", h, CLASS, Part("si", {"strength": 600.0})),
        line("replay 1100", h, CLASS, Part("replay-task-end", {"capacity": 1100})),
        line("joint", h, CLASS, "joint"),
        line(
            "closed form 2000",
            replace(ONCE, dataset=DATA, hidden=(8, 200), max_hidden=(8, 400)),
            CLASS,
            Part("closed-form", {"per_unit": 5, "solver": "lda", "passes": 2.0}),
            growth=Part(Fixed, {"amounts": [0, 50]}),
        ),
        *growing("", TASK, "freeze", protocol=small),
        *growing("experts, ", MAX, "experts-routed", protocol=small),
        *growing("replay, ", CLASS, "replay-200", trained="class-incremental", protocol=small),
    ]
    return [replace(each, seeds=SEEDS) for each in lines]


if __name__ == "__main__":
    main("split_fashion_mnist", "Split Fashion-MNIST", cases())
