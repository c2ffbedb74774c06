"""Experts that grow: when new neurons get a task, where a gate sends samples, and what wrong turns cost.

    python experiments/experts.py [--processes 2] [--seeds 3] [--only routed] [--quick]

Two hidden layers get units at the start of every task, and the gate decides what the last layer's are for. Three
questions, each with lines that share their training:

* What does routing cost? Told the task, the right expert answers; not told, densities, a soft gate or the largest logit
  decide. The difference between such lines is the price of routing, not of capacity.
* Where do samples go? For each task, the share of its test samples that each expert gets.
* When do new neurons get a task? On a stream of digits in which pixel orders return, units grow in every task. They
  are to be used where something is new, and to wait where it is not.

Writes cases/*.json, results.json, table.md and accuracy.png, and routing.json, routing.md and routing.png, to
docs/results/continual/experts. About 7 minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.saving import write_atomically, write_json
from agents.training.run_folder import versions
from experiments.continual import QUICK, RESULTS, Case, Part, Protocol, begun, grow, main, quick
from experiments.continual_growth import Fixed
from growenv.config import GrowthConfig
from growenv.learner import Learner
from growenv.protection import Experts
from growenv.streams import Context, Task, Transform, load_dataset

TITLE = "Experts: told the task, or finding the expert"
TASK, DOMAIN, CLASS, FREE = "task-incremental", "domain-incremental", "class-incremental", "task-free"
MAX = f"{CLASS}-max"
SPLIT = Protocol(
    "split",
    "mnist",
    (32, 16),
    minibatches=300,
    batch_size=64,
    optimizer="adam-standard",
    learning_rate=1e-3,
    source="ours: five tasks of two digits, 16 units for each layer with every task",
    pixels="raw",
    max_hidden=(96, 80),
    decisions=3,
)
PERMUTED = replace(
    SPLIT, name="permuted", permuted=True, source="ours: ten digits in five pixel orders, growth as in split"
)
RETURNING = (0, 1, 0, 2, 2, 1)
"""Pixel orders of the tasks of digits."""


def line(name: str, protocol: Protocol, scenario: str, protection: str, note: str = "") -> Case:
    """Five seeds with 16 units for each layer at the start of every later task."""
    return Case(name, protocol, scenario, Part(protection), 5, Part(Fixed, {"amounts": [16, 16]}), note=note)


def cases() -> list[Case]:
    """All lines, in the order of the table."""
    told = "the true expert answers"
    largest = "every head answers through its own expert, and the largest logit wins"
    return [
        line("freeze", SPLIT, TASK, "freeze"),
        line("freeze", SPLIT, MAX, "freeze"),
        line("experts, task gate", SPLIT, TASK, "experts", told),
        line("experts, task gate", SPLIT, MAX, "experts", largest),
        line("experts, routed", SPLIT, TASK, "experts-routed", told),
        line("experts, routed", SPLIT, MAX, "experts-routed", "trained as the line above; densities choose the expert"),
        line("experts, routed", SPLIT, CLASS, "experts-routed", "one head for all, without biases"),
        line("experts, routed", SPLIT, FREE, "experts-routed", "an expert trains at least until its period ends"),
        line("experts, soft gate", SPLIT, TASK, "experts-soft", "the head is told, the gate is not"),
        line("experts, soft gate", SPLIT, MAX, "experts-soft", "the gate forgets"),
        line("experts, task gate", PERMUTED, TASK, "experts", told),
        line("experts, routed", PERMUTED, DOMAIN, "experts-routed", "densities choose the expert"),
        line("experts, soft gate", PERMUTED, DOMAIN, "experts-soft", "the gate and the shared head forget"),
    ]


# -- where samples go --------------------------------------------------------------------------------------------------


def routing(case: Case) -> dict[str, Any]:
    """Train a case, then say which expert gets the test samples of each task.

    Returns:
        ``share`` (N, T, E), ``right`` (N,), the share of all samples that the task's own expert gets, and ``serves``
        and ``since`` of `Experts`, (N, T).
    """
    learner, everyone = begun(case), np.ones(case.seeds, dtype=bool)
    schedule = case.growth.build() if case.growth else None
    for task in range(case.protocol.tasks):
        for decision in range(case.protocol.decisions):
            if schedule is not None:
                grow(learner, schedule(learner, task, decision))
            learner.train()
        if task < case.protocol.tasks - 1:
            learner.next_task(everyone)
    part = _experts(learner)
    share = np.stack([shares(learner, task) for task in range(case.protocol.tasks)], axis=1)
    own = np.take_along_axis(share, part.serves[:, :, None], axis=2)[:, :, 0]
    return {
        "share": share.tolist(),
        "right": own.mean(axis=1).tolist(),
        "serves": part.serves.tolist(),
        "since": part.since.tolist(),
    }


def shares(learner: Learner, task: int) -> NDArray[np.float64]:
    """Share of a task's test samples that each expert gets, (N, E)."""
    tasks = np.full(learner.rows, task)
    samples, _, weights = learner.data.evaluation_set("test", tasks)
    total = np.zeros((learner.rows, learner.tasks))
    back = torch.argsort(learner.data.order(learner.task, tasks), dim=1)
    for part in torch.split(torch.arange(samples.shape[1]), 512):
        x = learner.data.gather(samples[:, part])
        x = torch.gather(x, 2, back[:, None, :].expand_as(x))  # as the network reads inputs now
        sent = torch.nn.functional.one_hot(_experts(learner).route(learner.stage, x), learner.tasks)
        total += _weighted(sent, weights[:, part])
    return total


def _weighted(sent: Tensor, weights: Tensor) -> NDArray[np.float64]:
    share: NDArray[np.float64] = torch.einsum("nbe,nb->ne", sent.double(), weights.double()).numpy()
    return share


def _experts(learner: Learner) -> Experts:
    assert isinstance(learner.protection, Experts)
    return learner.protection


# -- when new neurons get a task ---------------------------------------------------------------------------------------


def assignments(minibatches: int, seeds: int = 5) -> dict[str, Any]:
    """Grow 4 units in the last layer half way through every task of a stream in which pixel orders return.

    Returns:
        ``orders``, the pixel order of each task; ``serves`` and ``since`` of `Experts`, (N, T); ``units``, after every
        quarter of a task how many units of the first row belong to each expert and, last, to none.
    """
    config = GrowthConfig.from_options(
        dataset="digits",
        protection="experts",
        hidden=(16, 8),
        max_hidden=(16, 64),
        tasks=len(RETURNING),
        minibatches=max(1, minibatches // 4),
        batch_size=32,
    )
    learner = Learner(config, load_dataset("digits"), seeds, len(RETURNING))
    everyone = np.ones(seeds, dtype=bool)
    tasks = tuple(Task(Transform(permutation=order), tuple(range(10))) for order in RETURNING)
    contexts = [
        Context("returning", "digits", "train", seed, tasks, 1.0, 0.0, inner_seed=seed) for seed in range(seeds)
    ]
    learner.begin(everyone, contexts)
    units = []
    for number in range(len(RETURNING)):
        for quarter in range(4):
            if quarter == 2:
                learner.grow(np.full(seeds, 1), np.full(seeds, 4))
            learner.train()
            units.append(_experts(learner).unit_counts(learner.stage)[0].tolist())
        if number < len(RETURNING) - 1:
            learner.next_task(everyone)
    part = _experts(learner)
    return {
        "orders": list(RETURNING),
        "minibatches": 4 * config.minibatches,
        "serves": part.serves.tolist(),
        "since": part.since.tolist(),
        "units": units,
    }


# -- pages -------------------------------------------------------------------------------------------------------------


def page(found: dict[str, Any]) -> str:
    """What was found, as Markdown."""
    told = found["assignments"]
    parts = ["# Where samples go and when new neurons get a task"]
    for name, each in found["routing"].items():
        share = 100 * np.mean(each["share"], axis=0)
        head = ["task", *(f"expert {number}" for number in range(share.shape[1]))]
        rows = [[str(task), *(f"{value:.1f}" for value in row)] for task, row in enumerate(share)]
        right = 100 * np.array(each["right"])
        parts.append(
            f"## {name}\n\nShare of each task's test samples that each expert gets, %, mean over {len(right)} seeds. "
            f"The right expert gets {right.mean():.2f} ± {right.std(ddof=1):.2f} %.\n\n" + _table(head, rows)
        )
    head = ["task", "pixel order", "expert that serves it at its end", "since minibatch of the task"]
    length = told["minibatches"]
    serves, since = np.array(told["serves"]), np.array(told["since"])
    rows = [
        [str(task), str(order), _set(serves[:, task]), _set(since[:, task] - task * length)]
        for task, order in enumerate(told["orders"])
    ]
    parts.append(
        f"## Pixel orders that return\n\n4 units grow half way through every task of {length} minibatches; values of "
        f"{len(serves)} seeds.\n\n" + _table(head, rows)
    )
    return "\n\n".join(parts) + "\n"


def _set(values: NDArray[np.int64]) -> str:
    return ", ".join(map(str, sorted(set(values.tolist()))))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def draw(found: dict[str, Any], path: Path) -> None:
    """Routing as squares of shares, and the units of every expert over the stream."""
    routed, told = found["routing"], found["assignments"]
    figure = Figure(figsize=(3.4 * (len(routed) + 1.6), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(routed) + 1, width_ratios=[1] * len(routed) + [1.6])
    for place, (name, each) in zip(axes, routed.items(), strict=False):
        share = 100 * np.mean(each["share"], axis=0)
        place.imshow(share, cmap="Blues", vmin=0, vmax=100)
        for (row, column), value in np.ndenumerate(share):
            colour = "white" if value > 50 else "black"
            place.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)
        place.set(xlabel="expert", ylabel="task", xticks=range(len(share)), yticks=range(len(share)))
        place.set_title(f"{name}: samples, %", fontsize=9)
    units, last = np.array(told["units"]), axes[-1]
    used = units[:, :-1].any(axis=0)
    time = np.arange(1, len(units) + 1) / 4
    labels = [*(f"expert {number}" for number in np.flatnonzero(used)), "waiting"]
    colours = [*("#1f4e79", "#2e8b57", "#c0504d", "#8064a2", "#d99a29", "#4bacc6")[: used.sum()], "#cccccc"]
    last.stackplot(
        time, np.concatenate((units[:, :-1][:, used], units[:, -1:]), axis=1).T, labels=labels, colors=colours
    )
    for task, order in enumerate(told["orders"]):
        last.axvline(task, color="white", linewidth=1)
        last.text(task + 0.5, 1.0, f"order {order}", ha="center", fontsize=7, color="white")
    last.set(xlabel="tasks", ylabel="units of the last layer", xlim=(time[0], len(told["orders"])))
    last.set_title("pixel orders that return", fontsize=9)
    last.legend(fontsize=7, loc="upper left")
    figure.savefig(path, dpi=120)


def watch(arguments: Sequence[str] | None = None) -> None:
    """The table of all lines, and then routing and assignments, as the command line says."""
    main("experts", TITLE, cases(), arguments)
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--out", type=Path)
    args, _ = parser.parse_known_args(arguments)
    if args.list:
        return
    routed = [
        case for case in cases() if case.protection.factory == "experts-routed" and case.scenario in (MAX, DOMAIN)
    ]
    routed = [quick(case) for case in routed] if args.quick else routed
    found = {
        "routing": {case.protocol.name: routing(case) for case in routed},
        "assignments": assignments(8 if args.quick else 120, 2 if args.quick else 5),
        "versions": versions(),
    }
    folder = args.out or (QUICK if args.quick else RESULTS) / "experts"
    write_json(folder / "routing.json", found)
    write_atomically(folder / "routing.md", page(found).encode())
    draw(found, folder / "routing.png")
    print(page(found))


if __name__ == "__main__":
    watch()
