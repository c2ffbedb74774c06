"""Observations: named features in groups, each bounded by construction."""

from __future__ import annotations

from itertools import compress

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from growenv.actions import ActionTable
from growenv.config import GrowthConfig
from growenv.episodes import Episodes
from growenv.streams.scenarios import SCENARIOS

Array = NDArray[np.float64]

TRAINING = (
    "measured",
    "accuracy",
    "above_chance",
    "accuracy_gain",
    "validation_loss",
    "training_loss",
    "loss_drop",
    "confidence",
    "generalisation_gap",
    "stream_accuracy",
    "previous_above_chance",
)
TASK = ("task_progress", "stream_progress", "tasks_left", "classes", "familiarity", "first_task")
OF_BOUNDARIES = (
    "measured",
    "accuracy",
    "above_chance",
    "accuracy_gain",
    "validation_loss",
    "generalisation_gap",
    "previous_above_chance",
    "since_growth",
    "task_progress",
)
"""Features from which one could tell when a task began; so could those of what grew in it."""
OF_IDENTITY = ("stream_accuracy", "previous_above_chance", *TASK)
"""Features from which one could tell which task it is, or which there are."""


class ObservationEncoder:
    """Turns the state of N episodes into observations.

    Every group is one float32 vector with values in [-1, 1]; `feature_names` says what each entry is. What is unbounded
    by nature goes through x / (1 + x). Figures of a task that has not been trained on yet are 0, and ``measured`` is 0.
    What the scenario hides from the learner is not there.

    Args:
        config: the environment's options.
        actions: the environment's actions.
        hardware: names of the features of hardware with places; there is no such group without any.
        signals: names of the features of signals; there is no such group without any.
    """

    def __init__(
        self,
        config: GrowthConfig,
        actions: ActionTable,
        hardware: tuple[str, ...] = (),
        signals: tuple[str, ...] = (),
    ) -> None:
        self.config = config
        scenario = SCENARIOS.make(config.scenario)
        self.boundaries, self.identity = scenario.boundaries, scenario.identity
        layers = range(len(config.hidden))
        every: dict[str, tuple[str, ...]] = {
            "training": TRAINING,
            "architecture": (
                *(f"width_{layer}" for layer in layers),
                *(f"grown_{layer}" for layer in layers),
                "since_growth",
            ),
            "budget": (
                "budget",
                "used",
                "budget_left",
                "price",
                *(f"cost of {name}" for name in actions.names[1:]),
            ),
            "task": TASK,
            **({"hardware": hardware} if hardware else {}),
            **({"signals": signals} if signals else {}),
        }
        hidden = set() if self.boundaries else {*OF_BOUNDARIES, *TASK, *(f"grown_{layer}" for layer in layers)}
        hidden |= set() if self.identity else set(OF_IDENTITY)
        self._shown = {group: [name not in hidden for name in names] for group, names in every.items()}
        self.feature_names: dict[str, tuple[str, ...]] = {
            group: tuple(compress(names, self._shown[group]))
            for group, names in every.items()
            if any(self._shown[group])
        }
        self.space = spaces.Dict(
            {
                **{
                    group: spaces.Box(-1.0, 1.0, (len(names),), np.float32)
                    for group, names in self.feature_names.items()
                },
                "action_mask": spaces.Box(0.0, 1.0, (actions.size,), np.float32),
            }
        )

    def encode(
        self,
        episodes: Episodes,
        task: NDArray[np.int64],
        units: NDArray[np.int64],
        familiarity: Array,
        costs: Array,
        masks: NDArray[np.bool_],
        hardware: Array,
        signals: Array,
    ) -> dict[str, NDArray[np.float32]]:
        """Observations of all rows, each group of shape (N, features).

        Args:
            episodes: the course of the episodes.
            task: current task of each row, (N,).
            units: units by generation and hidden layer, (N, T, L).
            familiarity: likeness of each task's mean input to the nearest earlier task's, (N, T), in [-1, 1].
            costs: share of capacity that each action would use, (N, A).
            masks: legal actions, (N, A).
            hardware: features of hardware with places, (N, F).
            signals: features of signals, (N, F).
        """
        groups = {
            "training": self._training(episodes, task),
            "architecture": self._architecture(episodes, task, units),
            "budget": self._budget(episodes, costs),
            "task": self._task(episodes, task, familiarity),
        }
        if "hardware" in self.feature_names:
            groups["hardware"] = list(hardware.T)
        if "signals" in self.feature_names:
            groups["signals"] = list(signals.T)
        encoded = {
            name: np.clip(np.nan_to_num(np.stack(shown, axis=1), nan=1.0), -1.0, 1.0).astype(np.float32)
            for name, columns in groups.items()
            if (shown := list(compress(columns, self._shown[name])))
        }
        return {**encoded, "action_mask": masks.astype(np.float32)}

    def _training(self, episodes: Episodes, task: NDArray[np.int64]) -> list[Array]:
        row = np.arange(len(task))
        measured = episodes.trained[row, task] if self.boundaries else episodes.decisions > 0
        accuracy = episodes.accuracies[row, task]
        earlier = np.maximum(task - 1, 0)
        before = _above_chance(episodes.accuracies[row, earlier], episodes.choices(earlier))
        drop = episodes.early_loss - episodes.late_loss
        columns = [
            np.ones(len(task)),
            accuracy,
            _above_chance(accuracy, episodes.choices(task)),
            episodes.gain,
            _squash(episodes.validation_loss),
            _squash(episodes.late_loss),
            drop / np.maximum(episodes.early_loss, 1e-12),
            episodes.confidence,
            episodes.validation_loss - episodes.late_loss,
        ]
        columns = [np.where(measured, column, 0.0) for column in columns]
        return [*columns, episodes.mean_accuracy, np.where(task > 0, before, 0.0)]

    def _architecture(self, episodes: Episodes, task: NDArray[np.int64], units: NDArray[np.int64]) -> list[Array]:
        most = np.array(self.config.max_hidden)
        width = units.sum(axis=1) / most
        grown = units[np.arange(len(task)), task] / most
        return [*width.T, *grown.T, episodes.since_growth / self.config.decisions]

    def _budget(self, episodes: Episodes, costs: Array) -> list[Array]:
        budget = episodes.budget
        left = budget - episodes.used
        shares = costs[:, 1:] / np.maximum(left, 1e-12)[:, None]
        # Prices differ by orders of magnitude: 0.001 and below is 0, 10 and above is 1.
        price = np.clip((np.log10(np.maximum(episodes.price, 1e-12)) + 3.0) / 4.0, 0.0, 1.0)
        return [budget, episodes.used, left / budget, price, *shares.T]

    def _task(self, episodes: Episodes, task: NDArray[np.int64], familiarity: Array) -> list[Array]:
        row = np.arange(len(task))
        to_come = episodes.lengths - task - 1
        return [
            episodes.task_decisions / self.config.decisions,
            task / episodes.lengths,
            _squash(to_come.astype(np.float64)),
            episodes.outputs[row, task] / episodes.classes,
            familiarity[row, task],
            (task == 0).astype(np.float64),
        ]


def _squash(value: Array) -> Array:
    """x / (1 + x): [0, inf] to [0, 1]."""
    with np.errstate(invalid="ignore"):
        squashed: Array = np.where(np.isfinite(value), value / (1.0 + value), 1.0)
    return squashed


def _above_chance(accuracy: Array, classes: NDArray[np.int64]) -> Array:
    """0 at the accuracy of guessing, 1 at perfection."""
    chance = 1.0 / np.maximum(classes, 1)
    above: Array = (accuracy - chance) / np.maximum(1.0 - chance, 1e-12)
    return above
