"""A vector environment with growenv's spaces and infos whose learning curves are formulas that can be solved by eye."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from growenv.actions import ActionTable
from growenv.config import GrowthConfig
from growenv.growth.signals import SIGNALS
from growenv.streams.tasks import Context, Task
from growenv.streams.transforms import Transform

CONFIG = GrowthConfig(tasks=3, decisions=4, hidden=(8, 8), max_hidden=(40, 40), budget=(0.5, 1.0), price=(0.1, 0.1))


def make_contexts(count: int, *, split: str = "val", price: float = 0.1, budget: float = 1.0) -> list[Context]:
    """Contexts without any data behind them."""
    tasks = tuple(Task(Transform(permutation=number), (0, 1)) for number in range(CONFIG.tasks))
    return [Context("mixed", "digits", split, index, tasks, budget, price, 7 + index) for index in range(count)]


class FakeVectorEnv:
    """N rows; a task's accuracy is half + half of (share trained) x W / (W + 8), with W = neurons that were added.

    Each task begun counts 1 / tasks of it; the share of the capacity used is W / 64 of at most `budget`. The loss is
    1 - accuracy, shown as x / (1 + x). So the best growth depends on the price alone. Features of signals differ from
    layer to layer and with the time.

    Args:
        config: sizes of the environment.
        rows: number of rows N.
    """

    def __init__(self, config: GrowthConfig, rows: int) -> None:
        self.config, self.num_envs = config, rows
        self.actions = ActionTable(len(config.hidden), config.amounts)
        self.feature_names = {
            "training": ("measured", "accuracy", "training_loss"),
            "architecture": tuple(f"{n}_{layer}" for n in ("width", "grown") for layer in range(len(config.hidden))),
            "budget": ("budget", "used", "price", *(f"cost of {name}" for name in self.actions.names[1:])),
            "task": ("tasks_left",),
        }
        signals = [SIGNALS.make(signal).features(len(config.hidden)) for signal in config.signals]
        if signals:
            self.feature_names["signals"] = tuple(name for names in signals for name in names)
        self.closed = False
        self.resets = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        assert options is not None
        assert len(options["contexts"]) == self.num_envs
        self.contexts: list[Context] = options["contexts"]
        self.resets += 1
        self.decision = np.zeros(self.num_envs, dtype=np.int64)
        self.widths = np.tile(np.array(self.config.hidden), (self.num_envs, 1))
        self.invalid = np.zeros(self.num_envs, dtype=bool)
        return self._observe(), self._infos()

    def step(self, actions: NDArray[np.int64]) -> tuple[Any, NDArray[np.float64], Any, Any, Any]:
        going = self.decision < self._length()
        before = self._objective()
        legal = self.action_masks()[np.arange(self.num_envs), actions]
        self.invalid = going & ~legal
        layer, amount = self.actions.request(actions)
        grows = going & legal & (amount > 0)
        self.widths[np.flatnonzero(grows), layer[grows]] += amount[grows]
        self.decision += going
        done = self.decision >= self._length()
        rewards = np.where(going, self._objective() - before, 0.0)
        return self._observe(), rewards, done, np.zeros(self.num_envs, dtype=bool), self._infos()

    def action_masks(self) -> NDArray[np.bool_]:
        grown = self.widths[:, np.maximum(self.actions.layer, 0)] + self.actions.amount
        fits = grown <= np.array(self.config.max_hidden)[np.maximum(self.actions.layer, 0)]
        budget = np.array([context.budget for context in self.contexts])
        return fits & (self._used()[:, None] + self.actions.amount / 64 <= budget[:, None]) | (self.actions.layer < 0)

    def snapshot(self) -> dict[str, Any]:
        return copy.deepcopy({name: getattr(self, name) for name in ("contexts", "decision", "widths", "invalid")})

    def restore(self, snapshot: dict[str, Any]) -> None:
        for name, value in copy.deepcopy(snapshot).items():
            setattr(self, name, value)

    def close(self) -> None:
        self.closed = True

    def _length(self) -> NDArray[np.int64]:
        return np.array([len(context.tasks) for context in self.contexts]) * self.config.decisions

    def _used(self) -> NDArray[np.float64]:
        return (self.widths.sum(axis=1) - sum(self.config.hidden)) / 64.0

    def _skill(self) -> NDArray[np.float64]:
        return 0.5 + 0.5 * self._used() / (self._used() + 8 / 64)

    def _accuracy(self) -> NDArray[np.float64]:
        return self._skill() * self.decision / self._length()

    def _objective(self) -> NDArray[np.float64]:
        return self._accuracy() - np.array([context.price for context in self.contexts]) * self._used()

    def _observe(self) -> dict[str, NDArray[np.float32]]:
        skill, one = self._skill(), np.ones(self.num_envs)
        measured = self.decision % self.config.decisions > 0
        price, budget = np.array([(context.price, context.budget) for context in self.contexts]).T
        costs = (
            np.tile(self.actions.amount[1:] / 64, (self.num_envs, 1)) / np.maximum(budget - self._used(), 1e-9)[:, None]
        )
        to_come = np.maximum(self._length() - 1 - self.decision, 0) // self.config.decisions
        signals = self.feature_names.get("signals", ())
        moment = (1 + self.decision % self.config.decisions)[:, None] / self.config.decisions
        shown = {
            "training": np.stack([measured, skill, (one - skill) / (2 * one - skill)], axis=1),
            "architecture": np.tile(self.widths / np.array(self.config.max_hidden), 2),
            "budget": np.column_stack([budget, self._used(), price, np.clip(costs, 0.0, 1.0)]),
            "task": (to_come / (1 + to_come))[:, None],
            **({"signals": moment * (1 + np.arange(len(signals))) / len(signals)} if signals else {}),
        }
        return {
            **{group: values.astype(np.float32) for group, values in shown.items()},
            "action_mask": self.action_masks().astype(np.float32),
        }

    def _infos(self) -> dict[str, Any]:
        accuracy, zero = self._accuracy(), np.zeros(self.num_envs)
        infos = {
            "invalid_action": self.invalid.copy(),
            "validation_accuracy": accuracy,
            "used": self._used(),
            "diverged": np.zeros(self.num_envs, dtype=bool),
            "acc": accuracy - 0.01,
            "bwt": zero,
            "fwt": zero,
            "forgetting": zero,
        }
        return infos | {f"_{name}": np.ones(self.num_envs, dtype=bool) for name in infos}


def with_tasks(contexts: Sequence[Context], tasks: int) -> list[Context]:
    """The same contexts with streams of another length."""
    longer = tuple(Task(Transform(permutation=number), (0, 1)) for number in range(tasks))
    return [replace(context, tasks=longer) for context in contexts]
