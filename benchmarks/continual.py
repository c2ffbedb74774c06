"""Ten seeds of a continual-learning system: in one stack, one after another, and elsewhere.

    python benchmarks/continual.py [--quick] [--seeds 10] [--out FILE.json]

A stream of three tasks with two classes each is learned class-incrementally by networks with two hidden layers: 784
inputs, 400-400 or 64-64 units and minibatches of 128, as in papers; and 64 inputs, 64-64 units and minibatches of 32,
as in the environments of 8 x 8 digits. Adam, without any protection (``finetune``), with elastic weight consolidation
(``ewc``) and with experience replay (``replay``, 1000 samples kept, as many old samples as new ones in a
minibatch). Everything that a protection does counts, also when a task ends. The inputs are random numbers, since time
does not depend on them, so no data are needed. For every protection four ways are timed in the same process:

* ``stack``: all seeds as the rows of one `Learner`;
* ``in turn``: a `Learner` of one row for each seed;
* ``plain``: a loop in plain PyTorch for each seed, written here, with tensors in memory and without any framework;
* ``avalanche``: ContinualAI's Avalanche for each seed, with its own strategies, where the package is installed:
  ``pip install avalanche-lib torchvision``. Its data loaders run in this process.

All use the same numbers of minibatches, threads (one) and stored samples. EWC estimates its importances from all
training samples of a task with the right labels: here from the gradient of every sample, in Avalanche and in the plain
loop from those of minibatches, which is less work and not the Fisher information. Processor time is counted, from when
the networks have their initial weights; the seeds take turns among the ways, so whatever else the machine does matters
little.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from growenv.config import GrowthConfig
from growenv.learner import Learner
from growenv.protection import EWC, Finetune, Protection, Replay
from growenv.streams import Context, Dataset, Task, Transform

TASKS, RATE = 3, 1e-3
PROTECTIONS = ("finetune", "ewc", "replay")
STORED, STRENGTH = 1000, 1.0
Run = Callable[[Sequence[int]], float]


@dataclass(frozen=True)
class Shape:
    """What is trained on what.

    Attributes:
        inputs: values of a sample.
        widths: hidden layers.
        batch: samples of a minibatch.
    """

    inputs: int
    widths: tuple[int, ...]
    batch: int


SHAPES = (Shape(784, (400, 400), 128), Shape(784, (64, 64), 128), Shape(64, (64, 64), 32))


class Stream:
    """Random samples of three tasks, and how each way learns them.

    Args:
        shape: what is trained on what.
        minibatches: minibatches of a task.
    """

    def __init__(self, shape: Shape, minibatches: int) -> None:
        self.shape, self.minibatches = shape, minibatches
        rng = np.random.default_rng(0)
        each = minibatches * shape.batch // 2  # training samples of a class; a sixth more are for validation
        labels = np.repeat(np.arange(2 * TASKS), each * 6 // 5)
        held = np.arange(2 * TASKS).repeat(8)
        inputs, others = (rng.normal(size=(len(y), shape.inputs)).astype(np.float32) for y in (labels, held))
        self.dataset = Dataset.from_arrays(inputs, labels, name="noise", test=(others, held))
        self.tasks = []
        for number in range(TASKS):
            mine = [np.flatnonzero(labels == label)[:each] for label in (2 * number, 2 * number + 1)]
            chosen = np.concatenate(mine)
            self.tasks.append((torch.from_numpy(inputs[chosen]), torch.from_numpy(labels[chosen])))

    # -- here --------------------------------------------------------------------------------------------------------

    def learn(self, protection: str, seeds: Sequence[int]) -> float:
        """Processor seconds in which a stack learns the stream, one row for each seed."""
        learner = Learner(self._config(protection), self.dataset, len(seeds), TASKS)
        tasks = tuple(Task(Transform(), (2 * number, 2 * number + 1)) for number in range(TASKS))
        contexts = [
            Context("split", "noise", "train", seed, tasks, budget=1.0, price=0.0, inner_seed=seed) for seed in seeds
        ]
        rows = np.ones(len(seeds), dtype=np.bool_)
        learner.begin(rows, contexts)
        begun = time.process_time()
        for number in range(TASKS):
            learner.train()
            if number < TASKS - 1:
                learner.next_task(rows)
            else:
                learner.finish_task(rows)
        return time.process_time() - begun

    def _config(self, protection: str) -> GrowthConfig:
        samples = self.minibatches * self.shape.batch
        parts: dict[str, Protection] = {
            "finetune": Finetune(),
            "ewc": EWC(STRENGTH, labels="true", samples=samples),
            "replay": Replay(STORED, weights="even"),
        }
        return GrowthConfig(
            dataset=self.dataset,
            streams="split",
            scenario="class-incremental-all",
            protection=parts[protection],
            decisions=1,
            minibatches=self.minibatches,
            batch_size=self.shape.batch,
            hidden=self.shape.widths,
            max_hidden=self.shape.widths,
            optimizer="adam-standard",
            learning_rate=RATE,
        )

    # -- plain PyTorch -----------------------------------------------------------------------------------------------

    def network(self, seed: int) -> nn.Module:
        """A network of PyTorch."""
        torch.manual_seed(seed)
        sizes = (self.shape.inputs, *self.shape.widths)
        layers: list[nn.Module] = []
        for below, above in zip(sizes[:-1], sizes[1:], strict=True):
            layers += [nn.Linear(below, above), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], 2 * TASKS))

    def plain(self, protection: str, seeds: Sequence[int]) -> float:
        """Processor seconds in which loops in plain PyTorch learn the stream, one network after another."""
        loops = [PlainLoop(self.network(seed), protection, self.shape.batch) for seed in seeds]
        begun = time.process_time()
        for loop in loops:
            loop.learn(self.tasks)
        return time.process_time() - begun

    # -- Avalanche ---------------------------------------------------------------------------------------------------

    def avalanche(self, protection: str, seeds: Sequence[int]) -> float:
        """Processor seconds in which strategies of Avalanche learn the stream, one network after another."""
        benchmarks = importlib.import_module("avalanche.benchmarks")
        supervised = importlib.import_module("avalanche.training.supervised")
        plugins = importlib.import_module("avalanche.training.plugins")
        parts = [[inputs, labels] for inputs, labels in self.tasks]
        stream = benchmarks.tensors_benchmark(
            train_tensors=parts, test_tensors=[[x[:8], y[:8]] for x, y in parts], task_labels=[0] * TASKS
        )
        makers: dict[str, tuple[Any, dict[str, Any]]] = {
            "finetune": (supervised.Naive, {}),
            "ewc": (supervised.EWC, {"ewc_lambda": STRENGTH}),
            "replay": (supervised.Replay, {"mem_size": STORED}),
        }
        make, options = makers[protection]
        warnings.filterwarnings("ignore", module="avalanche")
        models = [self.network(seed) for seed in seeds]
        begun = time.process_time()
        for model in models:
            strategy = make(
                model=model,
                optimizer=torch.optim.Adam(model.parameters(), lr=RATE),
                criterion=nn.CrossEntropyLoss(),
                train_mb_size=self.shape.batch,
                train_epochs=1,
                evaluator=plugins.EvaluationPlugin(),
                **options,
            )
            for experience in stream.train_stream:
                strategy.train(experience, num_workers=0)
            expected = TASKS * self.minibatches
            if strategy.clock.train_iterations != expected:
                raise RuntimeError(f"Avalanche trained {strategy.clock.train_iterations} minibatches, not {expected}")
        return time.process_time() - begun


class PlainLoop:
    """One network that learns tasks with a protection, in plain PyTorch.

    Args:
        network: what is trained.
        protection: one of `PROTECTIONS`.
        batch: samples of a minibatch.
    """

    def __init__(self, network: nn.Module, protection: str, batch: int) -> None:
        self.network, self.protection, self.batch = network, protection, batch
        self.parameters = list(network.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=RATE)
        self.loss = nn.CrossEntropyLoss()
        self.kept: list[tuple[list[Tensor], list[Tensor]]] = []
        self.stored: tuple[Tensor, Tensor] | None = None

    def learn(self, tasks: Sequence[tuple[Tensor, Tensor]]) -> None:
        """One pass over each task."""
        for number, (inputs, labels) in enumerate(tasks):
            for chosen in torch.split(torch.randperm(len(labels)), self.batch):
                self._step(inputs[chosen], labels[chosen])
            if self.protection == "ewc":
                self._remember(inputs, labels)
            if self.protection == "replay":
                self._store(tasks[: number + 1])

    def _step(self, inputs: Tensor, labels: Tensor) -> None:
        if self.stored is not None:
            old = torch.randint(len(self.stored[1]), (self.batch,))
            inputs, labels = torch.cat((inputs, self.stored[0][old])), torch.cat((labels, self.stored[1][old]))
        self.optimizer.zero_grad()
        loss = self.loss(self.network(inputs), labels)
        for importances, centres in self.kept:
            for weight, importance, centre in zip(self.parameters, importances, centres, strict=True):
                loss = loss + 0.5 * STRENGTH * (importance * (weight - centre) ** 2).sum()
        loss.backward()
        self.optimizer.step()

    def _remember(self, inputs: Tensor, labels: Tensor) -> None:
        """Squared gradients of minibatches, as Avalanche takes them."""
        importances = [torch.zeros_like(weight) for weight in self.parameters]
        parts = list(zip(torch.split(inputs, self.batch), torch.split(labels, self.batch), strict=True))
        for x, y in parts:
            self.network.zero_grad()
            self.loss(self.network(x), y).backward()
            for importance, weight in zip(importances, self.parameters, strict=True):
                assert weight.grad is not None
                importance += weight.grad**2 / len(parts)
        self.kept.append((importances, [weight.detach().clone() for weight in self.parameters]))

    def _store(self, tasks: Sequence[tuple[Tensor, Tensor]]) -> None:
        chosen = [(x[order], y[order]) for x, y in tasks for order in [torch.randperm(len(y))[: STORED // len(tasks)]]]
        self.stored = torch.cat([x for x, _ in chosen]), torch.cat([y for _, y in chosen])


def avalanche_version() -> str | None:
    """The version of Avalanche that can be used, or None."""
    if importlib.util.find_spec("avalanche") is None:
        return None
    spec = importlib.util.find_spec("torchvision")
    operators: Any = torch.ops
    for place in (spec.submodule_search_locations or []) if spec else []:
        try:
            operators.load_library(str(Path(place) / "_C.so"))
        except OSError:
            # Its compiled operators want another PyTorch. Nothing here uses them, but torchvision describes two of them
            # whenever it is imported, which fails unless they have a signature.
            library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
            _KEPT.append(library)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("avalanche.training.supervised")
    return importlib.metadata.version("avalanche-lib")


_KEPT: list[Any] = []  # a library that is forgotten takes its signatures along


def measure(shape: Shape, minibatches: int, seeds: int, with_avalanche: bool, repeats: int) -> list[Any]:
    """Processor seconds of every protection and way."""
    stream = Stream(shape, minibatches)
    lines = []
    for protection in PROTECTIONS:
        ways: dict[str, Run] = {
            "in turn": lambda chosen, name=protection: stream.learn(name, chosen),  # type: ignore[misc]
            "plain": lambda chosen, name=protection: stream.plain(name, chosen),  # type: ignore[misc]
        }
        if with_avalanche:
            ways["avalanche"] = lambda chosen, name=protection: stream.avalanche(name, chosen)  # type: ignore[misc]
        for run in ways.values():
            run([seeds])  # once for nothing
        stack = [stream.learn(protection, range(seeds))]
        seconds = dict.fromkeys(ways, 0.0)
        for seed in range(seeds):
            for way, run in ways.items():
                seconds[way] += run([seed])
            if len(stack) <= repeats and seed % max(1, seeds // repeats) == 0:
                stack.append(stream.learn(protection, range(seeds)))
        lines.append(
            {
                "inputs": shape.inputs,
                "widths": list(shape.widths),
                "batch": shape.batch,
                "protection": protection,
                "minibatches": TASKS * minibatches,
                "seconds": {"stack": float(np.median(stack[1:])), **seconds},
            }
        )
    return lines


def report(results: dict[str, Any]) -> str:
    """The table."""
    ways = list(results["lines"][0]["seconds"])
    others = [way for way in ways if way != "stack"]
    header = ["network", "protection", *(f"{way}, s" for way in ways), *(f"{way} / stack" for way in others)]
    cells = [header]
    for line in results["lines"]:
        seconds = line["seconds"]
        ratios = [f"{seconds[way] / seconds['stack']:.1f}" for way in others]
        name = "-".join(map(str, (line["inputs"], *line["widths"]))) + f", batch {line['batch']}"
        cells.append([name, line["protection"], *(f"{seconds[way]:.2f}" for way in ways), *ratios])
    sizes = [max(len(row[column]) for row in cells) for column in range(len(header))]
    words = ["  ".join(cell.rjust(size) for cell, size in zip(row, sizes, strict=True)) for row in cells]
    first = f"{results['seeds']} seeds, {results['lines'][0]['minibatches']} minibatches each, one thread"
    if results["avalanche"] is None:
        words.append("Avalanche is not installed, so it is not compared: pip install avalanche-lib torchvision")
    else:
        words.append(f"avalanche-lib {results['avalanche']}")
    return "\n".join([first, *words])


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the small networks, four minibatches a task, three seeds")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--minibatches", type=int, default=30, help="of each of the three tasks")
    parser.add_argument("--repeats", type=int, default=3, help="runs of the stack of which the median counts")
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "continual.json"))
    args = parser.parse_args()
    for name in ("seeds", "minibatches", "repeats"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} {getattr(args, name)}: expected at least 1")
    torch.set_num_threads(1)
    version = avalanche_version()
    seeds, minibatches = (min(3, args.seeds), 4) if args.quick else (args.seeds, args.minibatches)
    shapes = SHAPES[1:] if args.quick else SHAPES
    lines = [
        line
        for shape in shapes
        for line in measure(shape, minibatches, seeds, version is not None, 1 if args.quick else args.repeats)
    ]
    processor = platform.processor() or platform.machine()
    results = {
        "machine": {"processor": processor, "threads": 1, "torch": torch.__version__},
        "avalanche": version,
        "seeds": seeds,
        "tasks": TASKS,
        "lines": lines,
    }
    print(report(results))
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    Path(args.out).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
