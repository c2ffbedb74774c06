"""Seconds in which growth paths are trained, one at a time and together; a part of `benchmarks/growth_paths.py`."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.plain_paths import ADAMS, PlainNetwork, Samples, he_vectors
from growenv.networks import Layout
from growenv.paths import PathProblem
from growenv.paths.enumeration import count_right
from growenv.paths.training import Front, PathTraining

PARTS = ("training", "growth", "validation", "test")
Seconds = dict[str, float]


def clocks() -> NDArray[np.float64]:
    """Processor time of this process and wall time, in seconds."""
    return np.array([time.process_time(), time.perf_counter()])


def both(spent: NDArray[np.float64]) -> Seconds:
    """A difference of `clocks` by name."""
    return {"processor": float(spent[0]), "wall": float(spent[1])}


@dataclass(frozen=True)
class Job:
    """What is trained, and how much of it is measured.

    Attributes:
        problem: what is trained.
        ends: last nodes of the paths, (P,).
        rows: rows of a stack.
        test_everywhere: count right answers on the test part at every node, not only at ends.
        minibatches: minibatches of a decision that are trained; the seconds of training stand for those of all.
    """

    problem: PathProblem
    ends: NDArray[np.int64]
    rows: int
    test_everywhere: bool
    minibatches: int

    @property
    def times(self) -> float:
        """How many times the measured minibatches a decision has."""
        return self.problem.config.minibatches / self.minibatches

    @property
    def measured(self) -> PathProblem:
        """The problem with as many minibatches as are measured."""
        problem = self.problem
        config = replace(problem.config, minibatches=self.minibatches)
        return PathProblem(config, problem.steps, problem.waits, problem.trials)


# -- one at a time ---------------------------------------------------------------------------------------------------


class OneAtATime:
    """Trains paths of a job in plain PyTorch.

    Args:
        job: what is trained.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.problem = job, job.measured
        self.samples = Samples(self.problem)
        self.adam = "fused"

    def fresh(self, hidden: Sequence[int]) -> PlainNetwork:
        """An untrained network."""
        data, config = self.problem.dataset, self.problem.config
        return PlainNetwork((data.features, *hidden, data.classes), config.learning_rate, config.dtype, self.adam)

    def choose_adam(self, repeats: int, steps: int) -> dict[str, float]:
        """Take the fastest way of updating; returns microseconds of a minibatch at half-way widths for each."""
        ends = zip(self.problem.config.hidden, self.problem.target, strict=True)
        hidden = [(root + target) // 2 for root, target in ends]
        found = dict.fromkeys(ADAMS, np.inf)
        for _ in range(repeats + 1):
            for self.adam in ADAMS:
                network = self.fresh(hidden)
                begun = clocks()
                for batch in self.samples.minibatches(steps, self.problem.config.batch_size):
                    network.step(*batch)
                found[self.adam] = min(found[self.adam], float((clocks() - begun)[0]) / steps * 1e6)
        self.adam = min(found, key=lambda name: found[name])
        return found

    def train(self, path: Sequence[int]) -> dict[str, NDArray[np.float64]]:
        """Processor and wall seconds of a whole path by part, each (2,)."""
        config, spent = self.problem.config, {part: np.zeros(2) for part in PARTS}
        network = self.fresh(config.hidden)
        for decision, action in enumerate(path):
            marks = [clocks()]
            if action:
                fan_in = network.linear(action - 1).in_features
                network.grow(action - 1, he_vectors(config.amounts[0], fan_in, config.dtype))
            marks.append(clocks())
            for inputs, targets in self.samples.minibatches(config.minibatches, config.batch_size):
                network.step(inputs, targets)
            marks.append(clocks())
            self._measure(network, "validation")
            marks.append(clocks())
            if self.job.test_everywhere or decision == len(path) - 1:
                self._measure(network, "test")
            marks.append(clocks())
            for part, took in zip(("growth", "training", "validation", "test"), np.diff(marks, axis=0), strict=True):
                spent[part] += took
        spent["training"] *= self.job.times
        return spent

    def _measure(self, network: PlainNetwork, split: str) -> int:
        return network.right_answers(self.samples.inputs[split], self.samples.labels[split])


# -- together --------------------------------------------------------------------------------------------------------


class TimedTraining(PathTraining):
    """`PathTraining` that keeps what every node costs.

    Attributes:
        spent: processor seconds by part and node, (nodes,); a front's are shared evenly by its rows.
        layouts: shapes of the stacks that were trained, and how many times a decision.
        company: rows of the stack in which every node was trained, (nodes,).
    """

    def __init__(self, problem: PathProblem) -> None:
        super().__init__(problem)
        self.spent = {part: np.zeros(problem.lattice.nodes) for part in PARTS}
        self.layouts: Counter[Layout] = Counter()
        self.company: NDArray[np.int64] = np.zeros(problem.lattice.nodes, dtype=np.int64)

    def _note(self, part: str, nodes: NDArray[np.int64], begun: float) -> None:
        self.spent[part][nodes] += (time.process_time() - begun) / len(nodes)

    def grown(self, front: Front, action: int, rows: NDArray[np.int64]) -> Front:
        """See `PathTraining.grown`."""
        begun = time.process_time()
        fresh = super().grown(front, action, rows)
        self._note("growth", fresh.nodes, begun)
        return fresh

    def train(self, front: Front) -> None:
        """See `PathTraining.train`."""
        begun = time.process_time()
        super().train(front)
        self._note("training", front.nodes, begun)
        self.layouts[front.network.layout] += 1
        self.company[front.nodes] = len(front)

    def right_answers(self, front: Front, split: str) -> NDArray[np.int64]:
        """See `PathTraining.right_answers`."""
        begun = time.process_time()
        found = super().right_answers(front, split)
        self._note(split, front.nodes, begun)
        return found


@dataclass(frozen=True)
class Walk:
    """What one trial of a job took, as the experiments train it.

    Attributes:
        job: what was trained.
        seconds: processor and wall seconds, (2,).
        training: what kept the cost of every node.
        spent: processor seconds by part and node, (nodes,).
    """

    job: Job
    seconds: NDArray[np.float64]
    training: TimedTraining
    spent: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, job: Job) -> Walk:
        """Train one trial."""
        training = TimedTraining(job.measured)
        begun = clocks()
        count_right(training, job.ends, [0], job.rows, test_everywhere=job.test_everywhere)
        seconds, trained = clocks() - begun, training.spent["training"].sum()
        spent = {**training.spent, "training": training.spent["training"] * job.times}
        return cls(job, seconds * (1.0 + (job.times - 1.0) * trained / seconds[0]), training, spent)

    @property
    def nodes(self) -> NDArray[np.int64]:
        """Nodes that were trained, (k,)."""
        return np.flatnonzero(self.spent["training"])

    def without_sharing(self) -> float:
        """Processor seconds of training if each path paid for all nodes on its way.

        Stacks would then be full everywhere, so a node costs what the line through the nodes of full stacks says.
        """
        lattice, company = self.job.problem.lattice, self.training.company
        full = np.flatnonzero(company > company.max() // 2)
        line = fitted(self.job.problem.work, self.spent["training"], full)
        return float(line[lattice.follow(lattice.path(self.job.ends))[:, 1:]].sum())

    def products(self, repeats: int) -> float:
        """Processor seconds of its matrix products, and of nothing else."""
        config, total = self.job.problem.config, 0.0
        for layout, decisions in self.training.layouts.items():
            calls, best = product_calls(layout, config.batch_size, config.dtype), np.inf
            for _ in range(repeats):
                begun = time.process_time()
                for left, right, out in calls:
                    torch.bmm(left, right, out=out)
                best = min(best, time.process_time() - begun)
            total += best * decisions * config.minibatches
        return total


def fitted(work: NDArray[np.float64], cost: NDArray[np.float64], nodes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The cost of every node by a line in its work, fitted to some nodes; at least nothing."""
    if len(np.unique(work[nodes])) < 2:
        return np.full(len(work), cost[nodes].mean())
    slope, level = np.polyfit(work[nodes], cost[nodes], 1)
    line: NDArray[np.float64] = np.maximum(level + slope * work, 0.0)
    return line


def product_calls(layout: Layout, batch: int, dtype: torch.dtype) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Operands and targets of the products of one minibatch that all rows share."""
    calls: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(left: Tensor, right: Tensor) -> None:
        calls.append((left, right, torch.empty(layout.rows, left.shape[1], right.shape[2], dtype=dtype)))

    for layer in range(layout.depth + 1):
        read, trained = layout.fan_in(layer), layout.fan_out(layer)
        frozen = layout.frozen[layer] if layer < layout.depth else 0
        source = torch.randn(layout.rows if layer else 1, batch, read, dtype=dtype).expand(layout.rows, -1, -1)
        delta = torch.randn(layout.rows, batch, trained, dtype=dtype)
        add(source, torch.randn(layout.rows, read, frozen + trained, dtype=dtype))
        add(source.transpose(1, 2), delta)
        if layer:
            add(delta, torch.randn(layout.rows, trained, read, dtype=dtype))
    return calls


# -- compared --------------------------------------------------------------------------------------------------------


def compared(job: Job, plain: int, repeats: int) -> dict[str, Any]:
    """The same paths one at a time and together.

    Args:
        job: what is trained.
        plain: paths that are trained one at a time; their mean stands for all.
        repeats: runs of which the fastest counts.
    """
    single, lattice, count = OneAtATime(job), job.problem.lattice, len(job.ends)
    adams = single.choose_adam(repeats, 100 if repeats > 1 else 5)
    evenly = np.linspace(0, count - 1, 2 * min(plain, count) + 1).astype(np.int64)[1::2]
    paths = lattice.path(job.ends[evenly])
    walks: list[Walk] = []
    alone: list[list[dict[str, NDArray[np.float64]]]] = [[] for _ in paths]
    for _ in range(repeats):
        for number, path in enumerate(paths):
            if number == len(paths) // 2:
                walks.append(Walk.of(job))
            alone[number].append(single.train(path.tolist()))
    best = [min(each, key=lambda spent: sum(spent[part][0] for part in PARTS)) for each in alone]
    mean = {part: np.mean([spent[part] for spent in best], axis=0) for part in PARTS}
    walk = min(walks, key=lambda each: each.seconds[0])
    parts = {part: float(walk.spent[part].sum()) for part in PARTS}
    path_training, apart, products = float(mean["training"][0]), walk.without_sharing(), walk.products(3)
    whole = np.sum(list(mean.values()), axis=0)
    return {
        "paths": count,
        "decisions": count * lattice.horizon,
        "nodes": len(walk.nodes),
        "minibatches": job.problem.config.minibatches,
        "measured_minibatches": job.minibatches,
        "rows": job.rows,
        "adam": {"fastest": single.adam, "microseconds": adams},
        "plain": {
            "measured_paths": len(paths),
            "path": both(whole),
            "parts": {part: float(seconds[0]) for part, seconds in mean.items()},
            "step_microseconds": path_training / lattice.horizon / job.problem.config.minibatches * 1e6,
        },
        "walk": {
            "path": both(walk.seconds / count),
            "parts": {part: seconds / count for part, seconds in parts.items()},
            "step_microseconds": parts["training"] / len(walk.nodes) / job.problem.config.minibatches * 1e6,
        },
        "times_faster": {
            "whole": float(whole[0] * count / walk.seconds[0]),
            "training": path_training * count / parts["training"],
            "by_stacks": path_training * count / apart,
            "by_sharing": apart / parts["training"],
        },
        "products_share": products / parts["training"],
    }


def projected(job: Job, repeats: int) -> dict[str, Any]:
    """What a trial of all paths of the lattice takes, from the paths of one shard.

    The seconds of a node, its last test aside, are fitted as a line in the work of its widths.
    """
    walk = min([Walk.of(job) for _ in range(repeats)], key=lambda each: each.seconds[0])
    lattice, work, test = job.problem.lattice, job.problem.work, walk.spent["test"]
    cost: NDArray[np.float64] = np.sum([walk.spent[part] for part in PARTS if part != "test"], axis=0)
    inside = walk.nodes[lattice.completions(walk.nodes) < len(job.ends)]  # the way to the shard is no part of it
    line = fitted(work, cost, inside)
    # Putting fronts together takes its time between nodes; it is in proportion to them.
    between = walk.seconds[0] / (cost.sum() + test.sum())
    seconds = between * (line[1:].sum() + test[job.ends].mean() * lattice.paths)
    return {
        "paths": len(job.ends),
        "nodes": len(walk.nodes),
        "path": both(walk.seconds / len(job.ends)),
        "fit_error": float((cost - line)[inside].std() / cost[inside].mean()),
        "all_paths": lattice.paths,
        "trial_processor_hours": float(seconds) / 3600,
    }
