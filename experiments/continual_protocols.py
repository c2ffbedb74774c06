"""Protocols of published experiments, and the cases that are run under them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from typing import Protocol as Interface

import numpy as np
import torch
from numpy.typing import ArrayLike

from growenv.learner import Learner
from growenv.randomness import bits, uniform
from growenv.streams import Dataset, Task, Transform, load_dataset
from growenv.streams.pooling import pooled

CLASS_ORDER, PIXEL_ORDER = 1001, 1002
"""What streams draw random numbers for; the numbers of `Purpose` are those of training."""
PIXELS = {
    "raw": (0.0, 1 / 255),
    "normalised": (0.1307 * 255, 1 / (0.3081 * 255)),
    "padded": (0.1000 * 255, 1 / (0.2752 * 255)),
}
"""Shift and scale of 8-bit pixels: to [0, 1], with the mean and deviation of MNIST that most code writes out, and with
those of its images padded to 32 x 32."""


@dataclass(frozen=True)
class Protocol:
    """How a paper trains, whatever the system.

    Attributes:
        name: letter or word in tables.
        dataset: name of a data set of 8-bit images, or any `Dataset`, which is taken as it is.
        hidden: width of each hidden layer at the start.
        minibatches: minibatches of each task.
        batch_size: samples in each.
        optimizer, learning_rate: as in `GrowthConfig`; moments start anew with every task.
        source: where it is written down.
        tasks: tasks of the stream.
        order: ``fixed``: classes 0, 1, 2, ...; ``random``: drawn for every seed but seed 0, which keeps the fixed one.
        permuted: every task has all classes and a pixel order of its own, instead of classes of its own.
        pixels: ``raw``, ``normalised`` or ``padded``, see `PIXELS`, or ``own``: as the data set has them.
        side: height and width to which images are averaged down; None keeps them. Pooled pixels are standardised anew.
        held_out: training images of each class that are kept for validation; a `Dataset` needs some. What is not held
            out is trained on, all 60,000 images less these.
        max_hidden: greatest widths where something grows; `hidden` where None.
        decisions: parts of a task after which growth is asked for.
        deviations: what is not as the source has it.
    """

    name: str
    dataset: str | Dataset
    hidden: tuple[int, ...]
    minibatches: int
    batch_size: int
    optimizer: str
    learning_rate: float
    source: str
    tasks: int = 5
    order: str = "fixed"
    permuted: bool = False
    pixels: str = "own"
    side: int | None = None
    held_out: int = 1
    max_hidden: tuple[int, ...] | None = None
    decisions: int = 4
    deviations: str = ""

    def __post_init__(self) -> None:
        if self.minibatches % self.decisions:
            raise ValueError(f"protocol {self.name}: {self.minibatches} minibatches in {self.decisions} equal parts")
        if self.order not in ("fixed", "random"):
            raise ValueError(f"protocol {self.name}: order={self.order!r}, expected 'fixed' or 'random'")
        if self.pixels not in (*PIXELS, "own"):
            raise ValueError(f"protocol {self.name}: pixels={self.pixels!r}, expected {', '.join(PIXELS)} or own")

    def data(self) -> Dataset:
        """The data set as the protocol reads it."""
        if isinstance(self.dataset, Dataset):
            return self.dataset
        return pooled(_variant(self.dataset, self.pixels, self.held_out), self.side)

    def drawn(self, seed: int) -> tuple[Task, ...]:
        """The tasks of one seed."""
        return stream(self, seed)

    def settings(self) -> dict[str, Any]:
        """Everything that changes results, as plain types."""
        plain = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("source", "deviations")
        }
        return {**plain, "dataset": self.data().fingerprint[:16]}


@functools.cache
def _variant(name: str, pixels: str, held_out: int) -> Dataset:
    """A data set of images whose official training part is trained on, but for a few images of each class."""
    dataset = load_dataset(name)
    kept, labels = dataset.validation, dataset.labels[dataset.validation]
    chosen = torch.cat([kept[labels == label][:held_out] for label in range(dataset.classes)])
    rest = kept[~torch.isin(kept, chosen)]
    shift, scale = PIXELS.get(pixels, (dataset.shift, dataset.scale))
    train = torch.cat((dataset.train, rest)).sort().values
    return replace(
        dataset, name=f"{name}-{pixels}", train=train, validation=chosen.sort().values, shift=shift, scale=scale
    )


class Schedule(Interface):
    """Says how much every layer grows."""

    def __call__(self, learner: Learner, task: int, decision: int) -> ArrayLike:
        """Units that each layer adds before part `decision` of a task: (L,) for all rows, or (N, L)."""


@dataclass(frozen=True)
class Part:
    """Something that a case builds: a factory and its options, which are part of the case's settings.

    Attributes:
        factory: a registered name, or what makes the thing.
        options: its keyword arguments, plain types.
    """

    factory: str | Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self, make: Callable[..., Any] | None = None) -> Any:
        """The thing itself; a registry's `make` builds what has a name."""
        if isinstance(self.factory, str):
            assert make is not None, f"{self.factory!r} is a name, and nothing is registered there"
            return make(self.factory, **self.options)
        return self.factory(**self.options)

    def settings(self) -> dict[str, Any]:
        """Factory and options as plain types."""
        made = self.factory
        name = made if isinstance(made, str) else f"{made.__module__}.{made.__qualname__}"
        return {"factory": name, "options": dict(self.options)}


@dataclass(frozen=True)
class Case:
    """One line of a table.

    Attributes:
        name: name of the line and, together with protocol and scenario, of its file.
        protocol: how it is trained.
        scenario: what is known when.
        protection: what guards old tasks.
        seeds: the seeds 0, 1, ... are run.
        growth: builds a `Schedule`; None: nothing grows.
        system: name in published tables; "" if nothing was published.
        note: what a reader must know beside the line.
    """

    name: str
    protocol: Protocol
    scenario: str
    protection: Part
    seeds: int = 10
    growth: Part | None = None
    system: str = ""
    note: str = ""

    @property
    def key(self) -> str:
        """Names the case within an experiment, and its file."""
        words = re.findall(r"[A-Za-z0-9.']+", f"{self.protocol.name} {self.scenario} {self.name}")
        return "-".join(words)

    def settings(self) -> dict[str, Any]:
        """Everything that changes results, as plain types."""
        return {
            "protocol": self.protocol.settings(),
            "scenario": self.scenario,
            "protection": self.protection.settings(),
            "growth": self.growth.settings() if self.growth else None,
            "seeds": self.seeds,
        }


def stream(protocol: Protocol, seed: int) -> tuple[Task, ...]:
    """The tasks of one seed.

    Raises:
        ValueError: the classes cannot be split into so many tasks.
    """
    classes, tasks = protocol.data().classes, protocol.tasks
    if protocol.permuted:
        orders = [int(bits(seed, PIXEL_ORDER, task)) >> 11 for task in range(tasks)]
        return tuple(Task(Transform(permutation=order), tuple(range(classes))) for order in orders)
    if classes % tasks:
        raise ValueError(f"{classes} classes cannot be split into {tasks} equal tasks")
    order = np.arange(classes)
    if protocol.order == "random" and seed > 0:
        order = np.argsort(uniform(seed, CLASS_ORDER, np.arange(classes)), kind="stable")
    return tuple(Task(Transform(), tuple(sorted(map(int, part)))) for part in np.split(order, tasks))
