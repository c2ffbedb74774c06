"""Fixed schedules: policies that look at the clock and at the mask, never at the network.

A schedule writes its wishes into a timetable of shape (tasks, decisions) when it is built; a wish that is illegal in a
row when its time comes becomes a wait. A timetable knows every stream's rhythm but reacts to nothing, so a learned
policy that does not beat the best one has not shown that reacting helps.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.policy import POLICIES, Actions, Interface, Mask, Observations, Policy, legal_or_wait
from growenv.actions import WAIT
from growenv.randomness import Purpose, uniform

Request = tuple[int, int]  # (layer, amount)


class Clock:
    """Counts each row's decisions; the base of the policies in this package that need to know the time."""

    name = "clock"

    def __init__(self, interface: Interface) -> None:
        self.interface = interface
        self.decision = np.zeros(interface.rows, dtype=np.int64)
        self.episode = np.zeros(interface.rows, dtype=np.int64)
        self._begun = interface.first_episode

    def reset(self, rows: Mask) -> None:
        """Start the clock of the rows that begin an episode; episodes are numbered in row order."""
        count = int(np.count_nonzero(rows))
        self.decision[rows] = 0
        self.episode[rows] = self._begun + np.arange(count)
        self._begun += count

    def tick(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Task and decision within the task of every row, each of shape (N,); then moves the clock on."""
        task, within = np.divmod(self.decision, self.interface.decisions)
        self.decision = self.decision + 1
        return task, within


class Timetable(Clock):
    """Asks for what is written for this task and decision; what is illegal becomes a wait.

    Args:
        interface: the environment's interface.
        plan: action wanted in each decision of each task, shape (tasks, decisions). Tasks beyond the last
            row repeat it.
    """

    name = "timetable"

    def __init__(self, interface: Interface, plan: NDArray[np.int64]) -> None:
        super().__init__(interface)
        if plan.ndim != 2 or plan.shape[1] != interface.decisions:
            raise ValueError(f"a plan has shape (tasks, {interface.decisions} decisions), got {plan.shape}")
        self.plan = plan

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """The written actions of the present decision."""
        task, within = self.tick()
        return legal_or_wait(self.plan[np.minimum(task, len(self.plan) - 1), within], masks)


def _empty(interface: Interface) -> NDArray[np.int64]:
    return np.full((interface.tasks, interface.decisions), WAIT, dtype=np.int64)


def _queue(interface: Interface, requests: Iterable[tuple[int, Sequence[Request]]]) -> NDArray[np.int64]:
    """A plan that issues batches of requests, one a decision, each batch not before its time in decisions."""
    flat = _empty(interface).reshape(-1)
    free = 0
    for time, batch in requests:
        for moment, (layer, amount) in enumerate(batch, start=max(free, time)):
            if moment < len(flat):
                flat[moment] = interface.actions.index(layer, amount)
        free = max(free, time) + len(batch)
    return flat.reshape(interface.tasks, interface.decisions)


def never(interface: Interface) -> Policy:
    """Never grows."""
    return Timetable(interface, _empty(interface))


def periodic(
    interface: Interface, every: int = 0, amount: int = 0, order: Sequence[int] = (), start: int = 0
) -> Policy:
    """Grows one layer every so many decisions, in turn (GradMax's schedule: round robin over the layers).

    Args:
        interface: the environment's interface.
        every: decisions from one growth to the next; 0 means half of a task, at least one.
        amount: neurons each time; 0 means the smallest amount.
        order: layers in the order of growth; empty means from the first to the last.
        start: decision of the first growth.

    Source: Evci et al. 2022, arXiv 2201.05125, experiments.
    """
    period = every or max(1, interface.decisions // 2)
    _whole("every", period, 1)
    _whole("start", start, 0)
    turns = itertools.cycle(tuple(order) or tuple(range(interface.actions.layers)))
    times = range(start, interface.tasks * interface.decisions, period)
    size = amount or interface.actions.amounts[0]
    return Timetable(interface, _queue(interface, [(time, [(next(turns), size)]) for time in times]))


def doubling(interface: Interface, times: Sequence[int] = ()) -> Policy:
    """Doubles the width of every layer at preset times, one request a decision, up to the largest width.

    A layer that is absent at first begins with the smallest amount.

    Args:
        interface: the environment's interface.
        times: decisions at which a doubling begins; empty means the start of every other task from the first on.

    Source: Dong et al. 2020 (LipGrow) and the doubling rows of growth schedules; the times are this project's.
    """
    moments = list(times) or [task * interface.decisions for task in range(0, interface.tasks, 2)]
    widths, batches, least = list(interface.hidden), [], min(interface.actions.amounts)
    for moment in moments:
        _whole("times", moment, 0)
        needs = [min(width or least, top - width) for width, top in zip(widths, interface.max_hidden, strict=True)]
        widths = [width + need for width, need in zip(widths, needs, strict=True)]
        batches.append((moment, interleave([split_amount(need, interface.actions.amounts) for need in needs])))
    return Timetable(interface, _queue(interface, batches))


def per_task(interface: Interface, first: Sequence[Request] = (), later: Sequence[Request] = ()) -> Policy:
    """The same requests in every task but the first, which has its own; one a decision from each task's start.

    Args:
        interface: the environment's interface.
        first: requests (layer, amount) of the first task.
        later: requests of each later task.
    """
    plan = _empty(interface)
    for name, requests, tasks in (("first", first, plan[:1]), ("later", later, plan[1:])):
        if len(requests) > interface.decisions:
            raise ValueError(f"{name} has {len(requests)} requests, but a task has {interface.decisions} decisions")
        tasks[:, : len(requests)] = [interface.actions.index(layer, amount) for layer, amount in requests]
    return Timetable(interface, plan)


def open_loop(interface: Interface, rules: Sequence[Mapping[str, Any]]) -> Policy:
    """Any written schedule.

    Args:
        interface: the environment's interface.
        rules: objects ``{"task": t, "decision": d, "layer": l, "amount": k}``; `t` is a number, ``"*"`` (every task) or
            ``"later"`` (every task but the first). Of two rules for the same time the last one holds.

    Raises:
        ValueError: a rule has other fields, or names a time or a growth that does not exist.
    """
    plan = _empty(interface)
    for rule in rules:
        if not isinstance(rule, Mapping) or set(rule) != {"task", "decision", "layer", "amount"}:
            raise ValueError(f'a rule is {{"task", "decision", "layer", "amount"}}, got {rule!r}')
        _whole("decision", rule["decision"], 0, interface.decisions - 1)
        action = interface.actions.index(rule["layer"], rule["amount"])
        plan[_tasks(rule["task"], interface.tasks), rule["decision"]] = action
    return Timetable(interface, plan)


def _tasks(task: object, count: int) -> slice:
    if task == "*":
        return slice(None)
    if task == "later":
        return slice(1, None)
    _whole("task", task, 0)
    assert isinstance(task, int)
    return slice(task, min(task + 1, count))  # a rule for a task beyond the end of the stream never applies


def _whole(name: str, value: object, low: int, high: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        expected = f"from {low} to {high}" if high is not None else f"of at least {low}"
        raise ValueError(f"{name} must be a whole number {expected}, got {value!r}")


def split_amount(total: int, amounts: Sequence[int]) -> list[int]:
    """`total` neurons as a list of amounts, the largest first; a rest smaller than every amount is left out."""
    parts: list[int] = []
    for amount in sorted(amounts, reverse=True):
        parts += [amount] * ((total - sum(parts)) // amount)
    return parts


def interleave(amounts: Sequence[Sequence[int]]) -> list[Request]:
    """One list of requests that takes the layers in turn; `amounts` holds a list for each layer."""
    longest = max((len(own) for own in amounts), default=0)
    return [(layer, own[turn]) for turn in range(longest) for layer, own in enumerate(amounts) if turn < len(own)]


class StaticLarge(Clock):
    """Grows as wide as fits from the first decisions on: in turn over the layers, the largest amount that is legal."""

    name = "static-large"

    def __init__(self, interface: Interface) -> None:
        super().__init__(interface)
        table = interface.actions
        # Actions in order of preference when it is each layer's turn, shape (layers, A - 1).
        self.preference = np.stack(
            [
                sorted(range(1, table.size), key=lambda a: ((table.layer[a] - turn) % table.layers, -table.amount[a]))
                for turn in range(table.layers)
            ]
        )

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """The first legal growth in order of preference, else wait."""
        ordered = self.preference[self.decision % self.interface.actions.layers]
        self.tick()
        legal = np.take_along_axis(masks, ordered, axis=1)
        chosen = np.take_along_axis(ordered, legal.argmax(axis=1)[:, None], axis=1)[:, 0]
        return np.where(legal.any(axis=1), chosen, WAIT).astype(np.int64)


class UniformRandom(Clock):
    """Every legal action with the same probability.

    Args:
        interface: the environment's interface.
        seed: non-negative seed of the policy's own random numbers.
    """

    name = "random"

    def __init__(self, interface: Interface, seed: int = 0) -> None:
        super().__init__(interface)
        self.seed = seed

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """A draw from the legal actions of each row."""
        draw = uniform(self.seed, Purpose.POLICY, self.episode, self.decision, 0)
        self.tick()
        return _choose(masks.astype(np.float64), draw)


class RateMatchedRandom(Clock):
    """Grows at given rates whatever happens: the control that separates *how much* from *when and where*.

    In each decision it grows with the sum of the rates as its probability; the growth is drawn from the legal ones in
    proportion to their rates. It waits where no growth with a rate is legal.

    Args:
        interface: the environment's interface.
        rates: probability of each action, A numbers (the one of waiting is not used), or one number, the probability
            of growing at all, shared equally between the growth actions.
        seed: non-negative seed of the policy's own random numbers.
    """

    name = "rate-matched-random"

    def __init__(self, interface: Interface, rates: float | Sequence[float] = 0.1, seed: int = 0) -> None:
        super().__init__(interface)
        size = interface.actions.size
        given = np.asarray(rates, dtype=np.float64)
        self.rates = np.full(size, given / max(1, size - 1)) if given.ndim == 0 else given.copy()
        if self.rates.shape != (size,) or not np.all(self.rates >= 0) or self.rates[1:].sum() > 1 + 1e-9:
            raise ValueError(f"rates are {size} numbers, or one, that are >= 0 and sum to at most 1; got {rates!r}")
        self.rates[WAIT] = 0.0
        self.seed = seed

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """A draw for each row."""
        grow = uniform(self.seed, Purpose.POLICY, self.episode, self.decision, 1) < self.rates.sum()
        draw = uniform(self.seed, Purpose.POLICY, self.episode, self.decision, 2)
        self.tick()
        return np.where(grow, _choose(masks * self.rates, draw), WAIT).astype(np.int64)


def _choose(weights: NDArray[np.float64], draw: NDArray[np.float64]) -> Actions:
    """An index for each row, drawn in proportion to `weights` (N, A) with uniform numbers (N,); 0 if all are zero."""
    ladder = np.cumsum(weights, axis=1)
    # `draw` is below 1, so the product is below the last step unless rounding lifts it; then the last one is meant.
    chosen = (ladder <= (draw * ladder[:, -1])[:, None]).sum(axis=1)
    last = weights.shape[1] - 1 - (weights[:, ::-1] > 0).argmax(axis=1)
    return np.where(ladder[:, -1] > 0, np.minimum(chosen, last), WAIT).astype(np.int64)


POLICIES.register("never", never)
POLICIES.register("periodic", periodic)
POLICIES.register("doubling", doubling)
POLICIES.register("per-task", per_task)
POLICIES.register("open-loop", open_loop)
POLICIES.register("static-large", StaticLarge)
POLICIES.register("random", UniformRandom)
POLICIES.register("rate-matched-random", RateMatchedRandom)
