"""Which growth requests fit, and what they would cost."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from growenv.actions import ActionTable
from growenv.config import GrowthConfig
from growenv.episodes import Episodes
from growenv.hardware import METERS, Architecture, largest
from growenv.learner import Learner
from growenv.streams import Context
from growenv.streams.distributions import OOD_BUDGET


class Admission:
    """Meters the rows' networks and decides which requests fit their budgets.

    A request fits if its layer stays within `max_hidden` and the meter finds room for it beside the full heads of all
    tasks to come, so a stream never runs out of room for a head.

    Args:
        config: the environment's options.
        learner: the networks.
        actions: the requests to decide on.

    Attributes:
        reasons: why a request is refused, by code; code 0 means that it fits.
        capacity: what the largest network uses, in the meter's unit.
        codes: refusal code of every action, (N, A).
        costs: share of capacity that every action would use, (N, A).
    """

    def __init__(self, config: GrowthConfig, learner: Learner, actions: ActionTable) -> None:
        self.config, self.learner, self.actions = config, learner, actions
        self.meter = copy.deepcopy(METERS.make(config.meter))
        self.reasons = ("", "width", *self.meter.reasons[1:])
        self.inputs = learner.network.inputs
        full = largest(self.inputs, config.max_hidden, learner.tasks, learner.classes)
        self.capacity = float(self.meter.usage(full)[0])
        self._check_lowest_budget()
        self.codes = np.zeros((learner.rows, actions.size), dtype=np.int8)
        self.costs = np.zeros((learner.rows, actions.size))

    def _check_lowest_budget(self) -> None:
        """Refuse a configuration whose initial network would not fit into every budget that can be drawn."""
        config, learner = self.config, self.learner
        start = largest(self.inputs, config.hidden, learner.tasks, learner.classes)
        needed = float(self.meter.usage(start)[0])
        lowest = config.budget[0] * (OOD_BUDGET if config.split == "ood" else 1.0)
        if needed > lowest * self.capacity * (1.0 + 1e-9):
            raise ValueError(
                f"the initial network {config.hidden} with {learner.tasks} heads needs {needed:.0f} {self.meter.unit}, "
                f"but the lowest budget, {lowest:g} of the largest network's {self.capacity:.0f}, is "
                f"{lowest * self.capacity:.0f}; raise budget={config.budget} or max_hidden={config.max_hidden}, or "
                f"start with fewer neurons"
            )

    @property
    def masks(self) -> NDArray[np.bool_]:
        """Legal actions, (N, A)."""
        legal: NDArray[np.bool_] = self.codes == 0
        return legal

    def check(self, rows: NDArray[np.bool_], contexts: Sequence[Context]) -> None:
        """Refuse contexts whose budgets have no room for the initial network and the heads of all their tasks.

        Args:
            rows: which rows would start a stream, (N,).
            contexts: one context for each row; those of other rows are ignored.

        Raises:
            ValueError: an initial network does not fit its budget.
        """
        learner = self.learner
        units, outputs = np.zeros_like(learner.units), np.zeros(learner.units.shape[:2], dtype=np.int64)
        units[:, 0] = self.config.hidden
        for row in map(int, np.flatnonzero(rows)):
            outputs[row, : len(contexts[row].tasks)] = learner.classes
            outputs[row, 0] = len(contexts[row].tasks[0].classes)
        needed = self.meter.usage(Architecture(self.inputs, units, outputs, learner.protection.directed))
        for row in map(int, np.flatnonzero(rows)):
            room = contexts[row].budget * self.capacity
            if needed[row] > room * (1.0 + 1e-9):
                raise ValueError(
                    f"the initial network {self.config.hidden} with its heads needs {needed[row]:.0f} "
                    f"{self.meter.unit}, but the budget of context {contexts[row].id} is {room:.0f}; raise the budget "
                    "or start with fewer neurons"
                )

    def begin(self, rows: NDArray[np.bool_], episodes: Episodes) -> None:
        """Some rows start a stream with their initial networks."""
        self.meter.begin(rows, self.architecture(episodes))

    def begin_heads(self, rows: NDArray[np.bool_], episodes: Episodes) -> None:
        """Some rows have begun a new task, with a new head."""
        self.meter.commit(rows, self.architecture(episodes))

    def grow(self, layer: NDArray[np.int64], amount: NDArray[np.int64], episodes: Episodes) -> None:
        """Grow the networks of some rows and tell the meter: both, or neither if either fails.

        Args:
            layer: hidden layer that each row grows, (N,); without meaning where nothing grows.
            amount: neurons that each row adds, (N,); the requests must fit.
            episodes: the course of the episodes.
        """
        before = self.meter.snapshot()
        try:
            grown = self.architecture(episodes).grown(layer, amount, self.learner.task)
            self.meter.commit(amount > 0, grown)
            self.learner.grow(layer, amount)
        except BaseException:
            self.meter.restore(before)
            raise

    def used(self, episodes: Episodes) -> NDArray[np.float64]:
        """Share of capacity that every row uses, (N,)."""
        return self.meter.usage(self.architecture(episodes)) / self.capacity

    def refresh(self, episodes: Episodes) -> None:
        """Work out what every action would cost now and whether it fits."""
        learner = self.learner
        now, reserved = self.architecture(episodes), self.architecture(episodes, reserve=True)
        used = self.meter.usage(now)
        limit = episodes.budget * self.capacity
        widths, most = learner.units.sum(axis=1), self.config.max_hidden
        for action in range(1, self.actions.size):
            layer, amount = int(self.actions.layer[action]), int(self.actions.amount[action])
            too_wide = widths[:, layer] + amount > most[layer]
            refused = self.meter.refuse(reserved, layer, amount, learner.task, limit)
            self.codes[:, action] = np.where(too_wide, 1, np.where(refused > 0, refused + 1, 0))
            grown = self.meter.usage(now.grown(layer, amount, learner.task))
            self.costs[:, action] = (grown - used) / self.capacity

    def architecture(self, episodes: Episodes, reserve: bool = False) -> Architecture:
        """What a meter needs to know of the rows' networks.

        Args:
            episodes: the course of the episodes.
            reserve: count full heads for the streams' tasks that have not begun.
        """
        outputs = episodes.outputs
        if reserve:
            to_come = np.arange(episodes.tasks)[None, :] < episodes.lengths[:, None]
            outputs = np.where((outputs == 0) & to_come, episodes.classes, outputs)
        directed = self.learner.protection.directed
        return Architecture(self.inputs, self.learner.units.copy(), outputs.copy(), directed)

    def state(self) -> dict[str, Any]:
        """A copy of everything that changes."""
        return {"meter": self.meter.snapshot(), "codes": self.codes.copy(), "costs": self.costs.copy()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state` returned."""
        self.meter.restore(state["meter"])
        self.codes, self.costs = state["codes"].copy(), state["costs"].copy()
