"""What a table of growth paths is a table of: a configuration, a lattice of paths, and trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from growenv.config import GrowthConfig
from growenv.paths.lattice import Lattice
from growenv.streams import Context, Dataset, Task, Transform, pooled
from growenv.streams.fields import checked_integer, checked_keys

FIELDS = ("config", "steps", "waits", "trials")


@dataclass(frozen=True)
class PathProblem:
    """One task, one root network, one target network, and every order of growth from the one to the other.

    The environment is `GrowthEnv` with `config`: an action of a path is an action of its environment (0 waits, l + 1
    grows layer l), and a trial is a context whose inner seed draws the root's weights, the minibatches and how new
    neurons start. Paths of one trial differ in nothing but their order.

    Args:
        config: the environment; one task, one amount, decisions of a path.
        steps: growth steps of each hidden layer.
        waits: decisions of each path at which nothing grows.
        trials: inner seeds.

    Raises:
        ValueError: the configuration does not fit the lattice; the message names the option.
    """

    config: GrowthConfig
    steps: tuple[int, ...]
    waits: int
    trials: tuple[int, ...]

    def __post_init__(self) -> None:
        waits, *steps = self.lattice.limits
        object.__setattr__(self, "steps", tuple(steps))
        object.__setattr__(self, "waits", waits)
        object.__setattr__(self, "trials", tuple([checked_integer("trials", each, 0, 2**63) for each in self.trials]))
        config, wanted = self.config, self.lattice.horizon
        if not self.trials or len(set(self.trials)) != len(self.trials):
            raise ValueError(f"trials={self.trials}: expected different inner seeds, at least one")
        if len(self.steps) != len(config.hidden):
            raise ValueError(
                f"steps={self.steps}: expected a number for each of the {len(config.hidden)} hidden layers"
            )
        if config.bypassed:
            raise ValueError(
                f"hidden={config.hidden}: paths have no layers that are absent at first; expected widths >= 1"
            )
        if config.tasks != 1 or config.split == "ood":
            raise ValueError(f"tasks={config.tasks}, split={config.split!r}: paths lead through one task; use tasks=1")
        if config.decisions != wanted:
            raise ValueError(
                f"decisions={config.decisions}: paths of steps={self.steps}, waits={self.waits} have {wanted}"
            )
        if len(config.amounts) != 1 or config.prune:
            raise ValueError(f"amounts={config.amounts}, prune={config.prune}: expected one amount, and no pruning")
        if config.where != "auto":
            raise ValueError(f"where={config.where!r}: actions of paths name no region; use where='auto'")
        if config.max_hidden != self.target:
            raise ValueError(f"max_hidden={config.max_hidden}: the paths lead from {config.hidden} to {self.target}")
        if config.budget[1] < 1.0:
            raise ValueError(f"budget={config.budget}: all paths end in the largest network; use budget=1.0")

    @cached_property
    def lattice(self) -> Lattice:
        """The orders of growth."""
        return Lattice(self.steps, self.waits)

    @property
    def target(self) -> tuple[int, ...]:
        """Widths of the hidden layers at the end of every path."""
        amount = self.config.amounts[0]
        return tuple([width + amount * steps for width, steps in zip(self.config.hidden, self.steps, strict=True)])

    @property
    def dataset(self) -> Dataset:
        """What is learned, as the networks read it."""
        return pooled(self.config.dataset, self.config.input_pool)

    @cached_property
    def contexts(self) -> tuple[Context, ...]:
        """One context for each trial: all classes, no transform, the whole budget."""
        dataset, config = self.dataset, self.config
        task = Task(Transform(), tuple(range(dataset.classes)))
        name = config.streams if isinstance(config.streams, str) else type(config.streams).__name__
        budget, price = config.budget[1], config.price[0]
        return tuple(
            [
                Context(name, dataset.name, config.split, number, (task,), budget, price, seed)
                for number, seed in enumerate(self.trials)
            ]
        )

    @cached_property
    def widths(self) -> NDArray[np.int64]:
        """Widths of the hidden layers at every node, (nodes, L)."""
        grown = self.lattice.counts[:, 1:].astype(np.int64) * self.config.amounts[0]
        widths: NDArray[np.int64] = np.array(self.config.hidden) + grown
        return widths

    @cached_property
    def work(self) -> NDArray[np.float64]:
        """What it costs to train the network of every node on a minibatch, relative to the target's, (nodes,).

        Multiply-accumulates of a forward pass, biases included; training is proportional to them but for the first
        layer, whose inputs need no gradient.
        """
        features, classes = self.dataset.features, self.dataset.classes
        sizes = np.concatenate(
            [np.full((len(self.widths), 1), features), self.widths, np.full((len(self.widths), 1), classes)], axis=1
        )
        macs = ((sizes[:, :-1] + 1) * sizes[:, 1:]).sum(axis=1)
        relative: NDArray[np.float64] = macs / macs[-1]
        return relative

    def to_json(self) -> dict[str, Any]:
        """The problem as plain types; raises `ValueError` where the configuration holds objects."""
        lists = {"steps": list(self.steps), "waits": self.waits, "trials": list(self.trials)}
        return {"config": self.config.to_json(), **lists}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> PathProblem:
        """The problem that `to_json` wrote.

        Raises:
            ValueError: unknown or missing fields, or values that do not fit.
        """
        checked_keys("growth paths", plain, FIELDS)
        return cls(GrowthConfig.from_json(plain["config"]), plain["steps"], plain["waits"], plain["trials"])
