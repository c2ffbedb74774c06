"""Which requests to grow or to prune are legal, and what they would cost."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from growenv.actions import ActionTable
from growenv.config import GrowthConfig
from growenv.episodes import Episodes
from growenv.hardware import METERS, Architecture, PlacedMeter, Requests, largest
from growenv.hardware.meter import ROUNDING
from growenv.learner import Learner
from growenv.pruning import order_of_removal, prune, pruned, removable
from growenv.streams import Context
from growenv.streams.distributions import OOD_BUDGET

_STATE = ("codes", "costs", "features", "figures")


class Admission:
    """Meters the rows' networks and decides which requests fit their budgets.

    A request fits if its layer stays within `max_hidden` and the meter finds room for it beside the full heads of all
    tasks to come, so a stream never runs out of room for a head. Where the scenario hides when tasks begin, hardware is
    not told either: all units are of one generation.

    A request to prune is legal if the protection gives so many neurons back, one stays, and the smaller network, which
    hardware with places places anew, has a place within the budget.

    Args:
        config: the environment's options.
        learner: the networks.

    Attributes:
        meter: what networks cost.
        placed: the meter again, where it knows places, else None.
        actions: the requests to decide on.
        reasons: why a request is refused, by code; code 0 means that it fits. The last two are for pruning.
        capacity: what the largest network uses, in the meter's unit.
        codes: refusal code of every action, (N, A).
        costs: share of capacity that every action would use, (N, A).
        features: what an agent may know of hardware with places, (N, F); F is 0 without.
        feature_names: their names.
        figures: what such hardware says of a stream's last network, by name, (N,) each; 0 while a stream runs.
    """

    def __init__(self, config: GrowthConfig, learner: Learner) -> None:
        self.config, self.learner = config, learner
        self.meter = copy.deepcopy(METERS.make(config.meter))
        self.placed = self.meter if isinstance(self.meter, PlacedMeter) else None
        self.feature_names = self.placed.feature_names if self.placed else ()
        self.reasons = ("", "width", *self.meter.reasons[1:])
        if config.prune:
            if not learner.protection.frees:
                raise ValueError(
                    f"option prune={config.prune}: the protection {learner.protection.name!r} gives no neurons back; "
                    "use prune=(), or a protection whose attribute frees is true"
                )
            self.reasons += ("kept", "placement")
        self.inputs = learner.network.inputs
        self._regions = self._cut_regions()
        places = 0 if self._regions is None else len(self._regions)
        self.actions = ActionTable(len(config.hidden), config.amounts, places, config.prune)
        self._keeper = self._kept_by_protection if learner.overrides("memory") else None
        full = largest(self.inputs, config.max_hidden, learner.tasks, learner.classes, config.bypassed, self._keeper)
        full = replace(full, outputs=learner.heads.in_use(full.outputs))
        if self.placed:
            self.placed.calibrate(full)
        self.capacity = 1.0 if self.placed else float(self.meter.usage(full)[0])
        self._needs: dict[bytes, float] = {}
        self._check_lowest_budget()
        self.codes = np.zeros((learner.rows, self.actions.size), dtype=np.int8)
        self.costs = np.zeros((learner.rows, self.actions.size))
        self.features = np.zeros((learner.rows, len(self.feature_names)))
        names = self.placed.figure_names if self.placed else ()
        self.figures = {name: np.zeros(learner.rows) for name in names}
        self._told = np.zeros_like(learner.units)  # units by generation of which the meter knows

    def _cut_regions(self) -> NDArray[np.bool_] | None:
        """Tiles of every region that an action can name, (R, T); None if actions name none."""
        if self.config.where == "auto":
            return None
        if self.placed is None:
            raise ValueError(
                f'option where="tile": the meter {self.meter.name!r} knows no tiles; use where="auto", or hardware '
                'with places such as meter="mosaic"'
            )
        rows, columns = (
            np.arange(length) * min(parts, length) // length
            for length, parts in zip(self.placed.grid, self.config.regions, strict=True)
        )
        region = (rows[:, None] * (columns.max() + 1) + columns[None, :]).ravel()
        return np.asarray(np.arange(region.max() + 1)[:, None] == region[None, :])

    def _check_lowest_budget(self) -> None:
        """Refuse a configuration whose initial network has no place, or would not fit into every budget."""
        config, learner = self.config, self.learner
        needed = self._start_usage(np.full((1, learner.tasks), learner.classes, dtype=np.int64))
        lowest = config.budget[0] * (OOD_BUDGET if config.split == "ood" else 1.0)
        if needed > lowest * self.capacity * ROUNDING:
            raise ValueError(
                f"the initial network {config.hidden} with {learner.tasks} heads needs {needed:.6g} "
                f"({self.meter.unit}), but the lowest budget, {lowest:g} of the largest network's {self.capacity:.6g}, "
                f"is {lowest * self.capacity:.6g}; raise budget={config.budget} or max_hidden={config.max_hidden}, or "
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
        for row in map(int, np.flatnonzero(rows)):
            needed, room = self._needed(contexts[row]), contexts[row].budget * self.capacity
            if needed > room * ROUNDING:
                raise ValueError(
                    f"the initial network {self.config.hidden} with its heads needs {needed:.6g} "
                    f"({self.meter.unit}), but the budget of context {contexts[row].id} is {room:.6g}; raise the "
                    "budget or start with fewer neurons"
                )

    def _needed(self, context: Context) -> float:
        """What the initial network of a context uses with full heads for the tasks to come."""
        learner = self.learner
        outputs = np.zeros((1, learner.tasks), dtype=np.int64)
        outputs[0, : len(context.tasks)] = learner.classes
        outputs[0, 0] = len(context.tasks[0].classes)
        return self._start_usage(outputs)

    def _start_usage(self, outputs: NDArray[np.int64]) -> float:
        """What the initial network uses with such heads, (1, T), where it would stand; tried once on a copy."""
        if outputs.tobytes() not in self._needs:
            units = np.zeros((1, self.learner.tasks, len(self.config.hidden)), dtype=np.int64)
            units[:, 0] = self.config.hidden
            start = self._networks(units, outputs)
            trial = copy.deepcopy(self.meter)
            trial.begin(np.ones(1, dtype=np.bool_), start)
            self._needs[outputs.tobytes()] = float(trial.usage(start)[0])
        return self._needs[outputs.tobytes()]

    def begin(self, rows: NDArray[np.bool_], episodes: Episodes) -> None:
        """Some rows start a stream with their initial networks; the meter hears of the heads to come as well."""
        self._tell(rows, self.architecture(episodes, reserve=True))
        for values in self.figures.values():
            values[rows] = 0.0

    def begin_heads(self, rows: NDArray[np.bool_], episodes: Episodes) -> None:
        """Some rows have begun a new task, with a new head."""
        self.meter.commit(rows, self.architecture(episodes))

    def grow(
        self, layer: NDArray[np.int64], amount: NDArray[np.int64], episodes: Episodes, region: NDArray[np.int64]
    ) -> None:
        """Grow the networks of some rows and tell the meter: both, or neither if either fails.

        Args:
            layer: hidden layer that each row grows, (N,); without meaning where nothing grows.
            amount: neurons that each row adds, (N,); the requests must fit.
            episodes: the course of the episodes.
            region: region of tiles in which they stand, (N,); -1 for the meter's choice.
        """
        before = self.meter.snapshot()
        try:
            grown = self.architecture(episodes).grown(layer, amount, self.generation)
            if self.placed and self._regions is not None:
                self.placed.commit(amount > 0, grown, self._regions[region])
            else:
                self.meter.commit(amount > 0, grown)
            self.learner.grow(layer, amount)
        except BaseException:
            self.meter.restore(before)
            raise
        self._told = grown.units

    def admit(self, layer: int, amounts: NDArray[np.int64], episodes: Episodes) -> NDArray[np.int64]:
        """Let a protection grow some rows as far as their budgets go, and tell the meter of what is let.

        Args:
            layer: hidden layer that it would grow.
            amounts: units that it asks for, (N,).
            episodes: the course of the episodes; rows whose stream has ended or not begun get nothing.

        Returns:
            Units that each row gets: all it asked for, or none, (N,). They must be added.
        """
        wide = self.learner.units[:, :, layer].sum(axis=1) + amounts > self.config.max_hidden[layer]
        asked = np.where(wide | episodes.ended, 0, amounts)
        if not asked.any():
            return asked
        self.follow(episodes)
        now, reserved = self.architecture(episodes), self.architecture(episodes, reserve=True)
        limit = episodes.budget * self.capacity
        if self.placed:
            each = np.unique(asked[asked > 0])
            requests = Requests(np.full(len(each), layer), each)
            codes = self.placed.assess(now, reserved, requests, self.generation, limit).codes
            refused = codes[np.arange(len(asked)), np.searchsorted(each, asked) % len(each)] > 0
        else:
            refused = self.meter.refuse(reserved, layer, asked, self.generation, limit) > 0
        admitted = np.where(refused, 0, asked)
        grown = now.grown(layer, admitted, self.generation)
        self.meter.commit(admitted > 0, grown)
        self._told = grown.units
        return admitted

    def follow(self, episodes: Episodes) -> None:
        """Place networks anew whose protection has taken units away since the meter heard of them.

        Raises:
            ValueError: such a network has no place.
        """
        if self.placed is None:
            return
        fewer = (self._generations(self.learner.units) != self._told).any(axis=(1, 2))
        if fewer.any():
            self._tell(fewer, self.architecture(episodes, reserve=True))

    def prune(self, layer: NDArray[np.int64], amount: NDArray[np.int64], episodes: Episodes) -> None:
        """Take the least important neurons of some rows and place these rows' networks anew.

        Args:
            layer: hidden layer that each row prunes, (N,); without meaning where nothing goes.
            amount: neurons that each row gives back, (N,); the requests must be legal.
            episodes: the course of the episodes.
        """
        prune(self.learner, layer, amount)
        self.follow(episodes)

    def _tell(self, rows: NDArray[np.bool_], reserved: Architecture) -> None:
        """Let the meter begin the networks of some rows."""
        self.meter.begin(rows, reserved)
        self._told = np.where(rows[:, None, None], reserved.units, self._told)

    def used(self, episodes: Episodes) -> NDArray[np.float64]:
        """Share of capacity that every row uses, (N,)."""
        return self.meter.usage(self.architecture(episodes)) / self.capacity

    def refresh(self, episodes: Episodes) -> None:
        """Work out what every action would cost now and whether it fits; `episodes.used` must be up to date."""
        learner, actions, growth = self.learner, self.actions, self.actions.growth
        now, reserved = self.architecture(episodes), self.architecture(episodes, reserve=True)
        limit = episodes.budget * self.capacity
        if self.placed:
            tiles = None if self._regions is None else self._regions[actions.region[growth]]
            requests = Requests(actions.layer[growth], actions.amount[growth], tiles)
            refused, usage = self.placed.assess(now, reserved, requests, self.generation, limit)
            self.features = self.placed.features(now)
        else:
            refused, usage = self._assess(now, reserved, limit)
        self.costs[:, growth] = usage / self.capacity - episodes.used[:, None]
        widths, most = learner.units.sum(axis=1), np.array(self.config.max_hidden)
        too_wide = widths[:, actions.layer[growth]] + actions.amount[growth] > most[actions.layer[growth]]
        self.codes[:, growth] = np.where(too_wide, 1, np.where(refused > 0, refused + 1, 0))
        if self.config.prune:
            self._refresh_pruning(episodes, limit)

    def _refresh_pruning(self, episodes: Episodes, limit: NDArray[np.float64]) -> None:
        """What every pruning action would give back, and whether it is legal."""
        learner, actions = self.learner, self.actions
        kept, misplaced = len(self.reasons) - 2, len(self.reasons) - 1
        free = removable(learner)
        orders = [order_of_removal(learner, layer) for layer in range(actions.layers)]
        for action in range(actions.pruning.start, actions.size):
            layer, amount = int(actions.layer[action]), -int(actions.amount[action])
            can = (free[:, layer] >= amount) & ~episodes.ended
            units = pruned(learner.units, layer, orders[layer], np.where(can, amount, 0))
            placed, usage = self._smaller(can, units, episodes, limit)
            self.codes[:, action] = np.where(can, np.where(placed, 0, misplaced), kept)
            self.costs[:, action] = np.where(can & placed, usage / self.capacity - episodes.used, 0.0)

    def _smaller(
        self, rows: NDArray[np.bool_], units: NDArray[np.int64], episodes: Episodes, limit: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Whether smaller networks of some rows would have a place within their limits, and what they would use."""
        now, reserved = self._heads(episodes), self._heads(episodes, reserve=True)
        if self.placed is None:
            return rows.copy(), self.meter.usage(self._networks(units, now))
        before, fits = self.meter.snapshot(), rows.copy()
        usage = np.zeros(len(rows))
        for row in np.flatnonzero(rows):
            one = np.arange(len(rows)) == row
            mixed = np.where(one[:, None, None], units, self.learner.units)
            try:
                self.meter.begin(one, self._networks(mixed, reserved))
            except ValueError:
                fits[row] = False
            else:
                held = self.meter.usage(self._networks(mixed, reserved))[row]
                fits[row] = held <= limit[row] * ROUNDING
                usage[row] = self.meter.usage(self._networks(mixed, now))[row]
            self.meter.restore(before)
        return fits, usage

    def cost_of_a_neuron(self) -> NDArray[np.float64]:
        """Share of capacity that a neuron of each layer costs by its cheapest request, (N, L); NaN if none fits."""
        actions = self.actions
        each = np.where(self.masks & (actions.amount > 0), self.costs / np.maximum(actions.amount, 1), np.inf)
        best = [each[:, actions.layer == layer].min(axis=1) for layer in range(actions.layers)]
        cheapest = np.stack(best, axis=1)
        return np.where(np.isfinite(cheapest), cheapest, np.nan)

    def _assess(
        self, now: Architecture, reserved: Architecture, limit: NDArray[np.float64]
    ) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
        """Refusals and usage after each of G growth actions, two arrays of shape (N, G), asked one by one."""
        task, actions = self.generation, self.actions
        growing = range(actions.growth.start, actions.growth.stop)
        asked = [(int(actions.layer[action]), int(actions.amount[action])) for action in growing]
        refused = [self.meter.refuse(reserved, layer, amount, task, limit) for layer, amount in asked]
        usage = [self.meter.usage(now.grown(layer, amount, task)) for layer, amount in asked]
        return np.stack(refused, axis=1), np.stack(usage, axis=1)

    def finish(self, rows: NDArray[np.bool_], episodes: Episodes) -> None:
        """Streams of some rows have just ended; their networks must still be those that ended them."""
        if self.placed is None or not rows.any():
            return
        rates, units = self.learner.activity(), self.learner.units
        if self._one_generation:
            total = (rates * units).sum(axis=1) / np.maximum(units.sum(axis=1), 1)
            rates = np.zeros_like(rates)
            rates[:, 0] = total
        values = self.placed.figures(self.architecture(episodes), rates)
        for name, column in zip(self.placed.figure_names, values.T, strict=True):
            self.figures[name][rows] = column[rows]

    def architecture(self, episodes: Episodes, reserve: bool = False) -> Architecture:
        """What a meter needs to know of the rows' networks.

        Args:
            episodes: the course of the episodes.
            reserve: count full heads for the streams' tasks that have not begun.
        """
        return self._networks(self.learner.units, self._heads(episodes, reserve))

    def _heads(self, episodes: Episodes, reserve: bool = False) -> NDArray[np.int64]:
        """Classes of the tasks that have begun, or with those of tasks to come, (N, T)."""
        outputs = episodes.outputs
        if reserve:
            to_come = np.arange(episodes.tasks)[None, :] < episodes.lengths[:, None]
            outputs = np.where((outputs == 0) & to_come, episodes.classes, outputs)
        return np.array(outputs)

    @property
    def _one_generation(self) -> bool:
        """Whether hardware is told nothing of when units grew: nobody knows, or all heads read all units anyway."""
        learner = self.learner
        every = learner.heads.kind == "wide" and not learner.protection.directed
        return every or not learner.scenario.boundaries

    @property
    def generation(self) -> NDArray[np.int64]:
        """Generation of units that grow now, as hardware is told, (N,)."""
        task = self.learner.task
        return np.zeros_like(task) if self._one_generation else task

    def _generations(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Units by generation and layer as hardware is told, (N, T, L)."""
        if not self._one_generation:
            return np.array(units)
        told = np.zeros_like(units)
        told[:, 0] = units.sum(axis=1)
        return told

    def _networks(self, units: NDArray[np.int64], outputs: NDArray[np.int64]) -> Architecture:
        """Networks with such units, (n, T, L), and heads for tasks with so many classes, (n, T)."""
        directed, bypassed = self.learner.protection.directed, self.config.bypassed
        heads = self.learner.heads.in_use(outputs)
        return Architecture(self.inputs, self._generations(units), heads, directed, bypassed, self._keeper)

    def _kept_by_protection(self, architecture: Architecture) -> NDArray[np.int64]:
        return self.learner.protection.memory(architecture)

    def state(self) -> dict[str, Any]:
        """A copy of everything that changes."""
        own = {name: copy.deepcopy(getattr(self, name)) for name in _STATE}
        return {"meter": self.meter.snapshot(), **own}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state` returned."""
        self.meter.restore(state["meter"])
        self._told = self._generations(self.learner.units)
        for name in _STATE:
            setattr(self, name, copy.deepcopy(state[name]))
