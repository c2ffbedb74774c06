"""Does GradMax learn faster than random growth where its authors say so? A student grows while a teacher is imitated.

    python experiments/gradmax_student_teacher.py [--operators NAME...] [--rows 32] [--out docs/results/growth]

The setting of Evci et al. 2022 (arXiv 2201.05125, section 4.1) as their released notebook has it: a teacher of 20
inputs, 10 hidden ReLU units and 10 outputs with weights ~ U(-1, 1) and no biases; 1000 Gaussian inputs; a student with
5 hidden units (Glorot-uniform) that grows by one unit every 200 steps until it has 10; mean squared error over samples
and outputs, gradient descent on all samples, step size 0.1; new vectors are as long as the mean of the older ones.

Differences: every row has a teacher, inputs and a student of its own, drawn from its seed, where the notebook has one
teacher; students have biases (`--without-biases` holds them still); random vectors are isotropic, where the notebook
draws them from U(0, 1). The notebook's inputs are 10-dimensional, the paper's 20-dimensional: see `--inputs`. "Random"
and "Opt" of the notebook start with zero incoming weights: they are `random-in` and `climbed-in` here, while `random`
and `gradmax-opt` start with zero outgoing weights. `variance-transfer` and `low-rank` need pairs of new units, and get
one at a time.

Rows of equal number share teacher, inputs and initial student, so differences are paired. Writes student_teacher.json
and student_teacher.png.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.statistics import Interval, paired_interval, share_better
from experiments.growing import (
    RESULTS,
    above_zero,
    chosen_operators,
    colours,
    compared,
    operator_name,
    positive,
    seeds,
    spread,
    table,
    write,
)
from growenv.growth import (
    OPERATORS,
    Evidence,
    GrowthBatch,
    GrowthOperator,
    Proposal,
    RandomGrowth,
    SquaredError,
    apply_proposal,
)
from growenv.growth.random import random_fan_out, spark
from growenv.growth.scaling import LIVE_SHARE, live_norms
from growenv.networks import StackedMLP, StackedSGD
from growenv.randomness import normal, uniform

SMALL, LARGE, OUTPUTS = 5, 10, 10
TEACHER, INPUTS, STUDENT = 101, 102, 103
"""What random numbers are for; beyond the purposes of growenv itself."""
BASE = "random-in"
"""What the paper calls random."""
CLIMBED = "climbed-in"
"""What the notebook calls Opt."""
BASELINES = {"small": "0.6", "large": "0.2"}
"""Students that do not grow, and the colours of their curves."""
CORE = ("random", "random-in", "gradmax", "gradmax-opt")
PUBLISHED = {"random-in": 0.261, "gradmax": 0.236, CLIMBED: 0.257}
"""Loss after the fifth growth in the released notebook, a single run."""
PAIRS = (
    ("gradmax", "random-in"),
    ("gradmax", CLIMBED),
    (CLIMBED, "random-in"),
    ("gradmax-opt", "random"),
    ("gradmax", "gradmax-opt"),
)
"""Pairs that are compared in words; the first should have the lower loss where both were published."""


class MeanSquaredError(SquaredError):
    """Squared error averaged over samples and outputs."""

    def value(self, logits: Tensor) -> Tensor:
        """Mean loss of every row, (N,)."""
        return super().value(logits) * (2.0 / self.targets.shape[2])

    def gradient(self, logits: Tensor) -> Tensor:
        """Derivative of the mean loss, (N, B, C)."""
        return super().gradient(logits) * (2.0 / self.targets.shape[2])


@dataclass(frozen=True)
class Problem:
    """What the students of all rows are to learn.

    Attributes:
        seeds: one for each row, (N,).
        x: inputs whose last value is one, (N, B, D + 1).
        y: what the teachers answer, (N, B, C).
    """

    seeds: NDArray[np.uint64]
    x: Tensor
    y: Tensor


def draw_problem(rows: int, inputs: int, samples: int) -> Problem:
    """Teachers and inputs of all rows."""
    seeds = np.arange(rows, dtype=np.uint64)
    x = np.ones((rows, samples, inputs + 1))
    counters = np.arange(samples)[None, :, None], np.arange(inputs)[None, None, :]
    x[:, :, :-1] = normal(seeds[:, None, None], INPUTS, *counters)
    first, second = _weights(seeds, TEACHER, (inputs, LARGE, OUTPUTS), (1.0, 1.0))
    answers = np.maximum(x[:, :, :-1] @ first, 0.0) @ second
    return Problem(seeds, torch.from_numpy(x).float(), torch.from_numpy(answers).float())


def _weights(
    seeds: NDArray[np.uint64], purpose: int, sizes: tuple[int, int, int], limits: tuple[float, float]
) -> list[NDArray[np.float64]]:
    """Weights ~ U(-limit, limit) between layers of these sizes, two arrays (N, fan_in, fan_out)."""
    blocks = []
    for block, limit in enumerate(limits):
        into, out_of = np.arange(sizes[block])[None, :, None], np.arange(sizes[block + 1])[None, None, :]
        blocks.append(limit * (2.0 * uniform(seeds[:, None, None], purpose, block, into, out_of) - 1.0))
    return blocks


def student(problem: Problem, width: int) -> StackedMLP:
    """A fresh network of each row, Glorot-uniform, biases zero."""
    rows, _, inputs = problem.x.shape
    network = StackedMLP(rows, inputs - 1, 1, OUTPUTS)
    first = network.reserve(0, np.full(rows, width))
    sizes = (inputs - 1, width, OUTPUTS)
    glorot = float(np.sqrt(6.0 / (inputs - 1 + width))), float(np.sqrt(6.0 / (width + OUTPUTS)))
    into, out_of = (torch.from_numpy(each) for each in _weights(problem.seeds, STUDENT, sizes, glorot))
    into = torch.nn.functional.pad(into, (0, 0, 0, 1))
    network.set_units(0, first, np.full(rows, width), into, out_of)
    return network


class ClimbedFanOut:
    """Incoming weights zero; outgoing ones climb the norm of the first gradient from a random start, 100 steps of Adam.

    `gradmax` has the summit in closed form.
    """

    name, preserving = CLIMBED, True

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        """Weights of the new units; see `GrowthOperator.propose`."""
        length = self.scale * LIVE_SHARE * live_norms(network, batch, "out")
        fan_out = random_fan_out(network, batch, length).requires_grad_()
        far, target = torch.from_numpy(length)[:, None, None], batch.evidence.across(batch.layer)
        optimizer = torch.optim.Adam([fan_out])
        for _ in range(100):
            optimizer.zero_grad()
            with torch.enable_grad():
                torch.autograd.backward(-torch.bmm(fan_out, target.transpose(1, 2)).flatten(1).norm(dim=1).sum())
            optimizer.step()
            with torch.no_grad():
                fan_out.mul_(far / fan_out.norm(dim=2, keepdim=True))
        return Proposal(spark(network, batch), fan_out.detach())


def started(name: str, length: float) -> GrowthOperator:
    """An operator; where its vectors have a length that can be chosen, it is `length` times that of older ones."""
    if name == CLIMBED:
        return ClimbedFanOut(length / LIVE_SHARE)
    operator: Any = RandomGrowth(length="live") if name == "random" else OPERATORS.make(name)
    if hasattr(operator, "scale"):
        operator.scale = length / LIVE_SHARE
    return cast(GrowthOperator, operator)


@dataclass
class Course:
    """How the students of all rows fared under one operator.

    Attributes:
        losses: before every step and after the last one, (steps + 1, N).
        new_norms: gradient norm of the new units' weights right after each growth, (events, N).
        all_norms: gradient norm of all weights then.
        seconds: of all growth events together.
    """

    losses: NDArray[np.float64]
    new_norms: NDArray[np.float64]
    all_norms: NDArray[np.float64]
    seconds: float


def play(problem: Problem, width: int, operator: GrowthOperator | None, args: argparse.Namespace) -> Course:
    """Train all rows, growing by one unit every so many steps if there is an operator."""
    network, loss = student(problem, width), MeanSquaredError(problem.y)
    optimizer = StackedSGD(network, args.learning_rate)
    events = args.interval * np.arange(1, 1 + LARGE - SMALL) if operator else np.array([])
    steps = args.interval * (LARGE - SMALL) + args.rest
    losses, new_norms, all_norms, seconds = np.empty((steps + 1, len(problem.seeds))), [], [], 0.0
    for step in range(steps + 1):
        if operator and step in events:
            begun = time.perf_counter()
            grow(network, operator, problem)
            seconds += time.perf_counter() - begun
        logits = network.forward(problem.x)
        losses[step] = loss.value(logits).numpy()
        network.backward(problem.x, loss.gradient(logits))
        if args.without_biases:
            network.gradients[0][:, -1] = 0.0
            network.gradients[1][:, 0] = 0.0
        if step in events:
            new_norms.append(gradient_norms(network, newest=True))
            all_norms.append(gradient_norms(network, newest=False))
        optimizer.step()
    return Course(losses, np.array(new_norms), np.array(all_norms), seconds)


def grow(network: StackedMLP, operator: GrowthOperator, problem: Problem) -> None:
    """One more unit in every row; a probe batch is all samples, or the next so many."""
    rows = network.rows
    one, outputs, units = np.ones(rows, dtype=np.int64), np.full(rows, OUTPUTS), network.widths[:, 0].copy()
    first = network.reserve(0, one)

    def probe(number: int, samples: int = problem.x.shape[1]) -> Evidence:
        chosen = torch.arange(number * samples, (number + 1) * samples) % problem.x.shape[1]
        return Evidence(network, problem.x[:, chosen], MeanSquaredError(problem.y[:, chosen]))

    batch = GrowthBatch(0, one, problem.seeds, units, first, outputs, probe)
    apply_proposal(network, batch, operator.propose(network, batch))


def gradient_norms(network: StackedMLP, newest: bool) -> NDArray[np.float64]:
    """Gradient norm of every row's weights, or of those into and out of its newest unit, (N,)."""
    into, out_of = network.gradients
    if newest:
        unit = int(network.active_units[0, 0]) - 1
        into, out_of = into[:, :, unit], out_of[:, network.layout.frozen[0] + unit]
    squares = [part.double().square().flatten(1).sum(dim=1) for part in (into, out_of)]
    return torch.sqrt(squares[0] + squares[1]).numpy()


def figures(courses: dict[str, Course], args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Numbers of every row: losses before each growth and after the last, and gradient norms at the first growth."""
    lines: dict[str, dict[str, Any]] = {}
    ends = [args.interval * (number + 1) for number in range(1, 1 + LARGE - SMALL)]
    for name, course in courses.items():
        ends_here = [min(step, len(course.losses) - 1) for step in ends]
        line: dict[str, Any] = {"loss": course.losses[ends_here[-1]].tolist(), "final": course.losses[-1].tolist()}
        line["after"] = [course.losses[step].tolist() for step in ends_here]
        if len(course.new_norms):
            line["new_norm"], line["all_norm"] = course.new_norms[0].tolist(), course.all_norms[0].tolist()
            line["seconds"] = course.seconds
        lines[name] = line
    return lines


def verdict(lines: dict[str, dict[str, Any]]) -> list[str]:
    """In words: do the published orderings hold?"""
    words = []
    for one, other in PAIRS:
        if one not in lines or other not in lines:
            continue
        difference = paired_interval(lines[one]["loss"], lines[other]["loss"])
        share = share_better(lines[other]["loss"], lines[one]["loss"])
        shown = spread(vars(difference), signed=True, digits=4)
        words.append(f"loss after growth 5, {one} minus {other}: {shown}, lower in {share:.0%} of rows")
        if one in PUBLISHED and other in PUBLISHED:
            words[-1] += f"; {agreement(difference)} with published {PUBLISHED[one]} against {PUBLISHED[other]}"
    for other in lines:
        if "gradmax" in lines and other != "gradmax" and "new_norm" in lines[other]:
            share = share_better(lines["gradmax"]["new_norm"], lines[other]["new_norm"])
            words.append(f"first gradient of the first new unit: gradmax above {other} in {share:.0%} of rows")
    return words


def agreement(difference: Interval) -> str:
    """What an interval says about a difference that was published as negative."""
    if difference.covers_zero:
        return "says nothing that agrees or disagrees"
    return "agrees" if difference.mean < 0 else "DISAGREES"


def report(lines: dict[str, dict[str, Any]]) -> str:
    """The table and the verdict."""
    loss, final = (compared(lines, key, BASE) for key in ("loss", "final"))
    cells = []
    for name, line in lines.items():
        norm = f"{np.mean(line['new_norm']):.3f}" if "new_norm" in line else ""
        minus = loss[name].get(f"minus {BASE}")
        shown = spread(minus, signed=True, digits=4) if minus else ""
        published = f"{PUBLISHED[name]:.3f}" if name in PUBLISHED else ""
        ends = (spread(each[name]["mean"], digits=4) for each in (loss, final))
        cells.append([name, norm, *ends, shown, published])
    header = ["", "first gradient", "loss after growth 5", "loss at the end", f"growth 5, minus {BASE}", "published"]
    return "\n".join([table(header, cells), "", *verdict(lines)])


def draw(courses: dict[str, Course], lines: dict[str, dict[str, Any]], args: argparse.Namespace, path: Path) -> None:
    """Loss curves, and differences to random growth of the same zero side."""
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    shades = {**colours([name for name in courses if name not in BASELINES]), **BASELINES}
    for name, course in courses.items():
        style = "--" if name in BASELINES else "-"
        left.plot(course.losses.mean(axis=1), style, label=name, linewidth=1.5, color=shades[name])
    for event in range(1, 1 + LARGE - SMALL):
        left.axvline(event * args.interval, color="0.85", linewidth=0.8, zorder=0)
    left.set(xlabel="step", ylabel="mean squared error, mean over rows", yscale="log")
    left.legend(fontsize=8, ncols=2)
    known = compared(lines, "loss", BASE)
    grown = [name for name in lines if name != BASE and name not in BASELINES]
    grown.sort(key=lambda name: known[name]["mean"]["mean"])
    for number, name in enumerate(grown):
        one = known[name][f"minus {BASE}"]
        sides = [[one["mean"] - one["low"]], [one["high"] - one["mean"]]]
        right.errorbar(one["mean"], number, xerr=sides, fmt="o", color=shades[name])
    right.axvline(0.0, color="0.5", linewidth=0.8)
    right.set_yticks(range(len(grown)), grown)
    right.invert_yaxis()
    right.set(xlabel=f"loss after growth 5, minus {BASE} (paired, 95 %)", title="lower is better")
    figure.suptitle(f"Student and teacher, {args.rows} rows; one unit grows at every grey line")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Play, print, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--operators", nargs="+", type=operator_name, default=list(CORE), help='growth operators, or "all"'
    )
    parser.add_argument("--rows", type=seeds, default=32, help="independent teachers and students")
    parser.add_argument("--inputs", type=positive, default=20)
    parser.add_argument("--samples", type=positive, default=1000)
    parser.add_argument("--interval", type=positive, default=200, help="steps before, between and after growths")
    parser.add_argument("--rest", type=positive, default=500, help="steps after the last growth")
    parser.add_argument("--learning-rate", type=above_zero, default=0.1)
    parser.add_argument("--length", type=above_zero, default=1.0, help="of new vectors, relative to older ones")
    parser.add_argument("--without-biases", action="store_true", help="biases of students do not train")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of student_teacher.json and .png")
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name in chosen_operators(args.operators, BASE) if name in OPERATORS.names()] + [CLIMBED]
    problem = draw_problem(args.rows, args.inputs, args.samples)
    courses = {"small": play(problem, SMALL, None, args), "large": play(problem, LARGE, None, args)}
    for name in names:
        courses[name] = play(problem, SMALL, started(name, args.length), args)
        print(f"{name}: loss {courses[name].losses[-1].mean():.4f}, growth {courses[name].seconds:.2f} s", flush=True)
    lines = figures(courses, args)
    print(report(lines))
    write(args.out / "student_teacher.json", args, {"lines": lines, "verdict": verdict(lines), "published": PUBLISHED})
    draw(courses, lines, args, args.out / "student_teacher.png")


if __name__ == "__main__":
    main()
