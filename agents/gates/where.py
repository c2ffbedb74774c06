"""Gates that say where: the layer is chosen by evidence, the time by a schedule or by the budget."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.gates.base import Floats, Gate, check, gate, unsquash
from agents.policy import Actions, Interface, Mask, Observations
from growenv.actions import WAIT
from growenv.config import GrowthConfig
from growenv.randomness import Purpose, uniform

_LAYER = 3  # number of the draws of `RandomWhere`; the random schedules use 0, 1 and 2


class Scheduled(Gate):
    """Grows at the times of the schedule ``periodic``, a layer that a subclass chooses.

    Args:
        interface: the environment's interface.
        every: decisions from one growth to the next; 0 means half of a task, at least one.
        start: decision of the first growth.
        amount: neurons each time; 0 means the smallest amount.
    """

    def __init__(self, interface: Interface, every: int = 0, start: int = 0, amount: int = 0) -> None:
        super().__init__(interface, amount)
        check(every >= 0, "every", every, "at least 0 decisions")
        check(start >= 0, "start", start, "at least 0")
        self.every, self.start = every or max(1, interface.decisions // 2), start

    @classmethod
    def ranges(cls, config: GrowthConfig) -> dict[str, tuple[Any, ...]]:
        """See `Gate.ranges`."""
        periods = tuple(dict.fromkeys((max(1, config.decisions // 2), 1, 2, config.decisions)))
        return {"every": periods, **super().ranges(config)}

    def since_due(self) -> NDArray[np.int64]:
        """Decisions since the last time of the schedule, (N,); -1 before the first one. Moves the clock on."""
        task, within = self.tick()
        time = task * self.interface.decisions + within - self.start
        return np.where(time >= 0, time % self.every, -1)


@gate("random-where")
class RandomWhere(Scheduled):
    """Grows a random layer of those that may grow: the control of the gates that choose the layer by evidence.

    Args:
        interface: the environment's interface.
        every: decisions from one growth to the next; 0 means half of a task, at least one. Tuned: 1 to a whole task.
        start: decision of the first growth.
        amount: neurons each time; 0 means the smallest amount. Tuned: every amount.
        seed: non-negative seed of the policy's own random numbers.
    """

    def __init__(self, interface: Interface, every: int = 0, start: int = 0, amount: int = 0, seed: int = 0) -> None:
        super().__init__(interface, every, start, amount)
        self.seed = seed

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """Grow a random layer at the times of the schedule."""
        numbers = self.episode[:, None], self.decision[:, None], _LAYER, np.arange(self.layers)
        draws = uniform(self.seed, Purpose.POLICY, *numbers)
        due = self.since_due() == 0
        return self.grow_best(np.where(due[:, None], draws, -np.inf), masks)


@gate("gradmax-where")
class GradMaxWhere(Scheduled):
    """Grows the layer with the largest squared singular values of the gradient across it, for what it costs.

    GradMax proposes the singular values as a criterion of when and where, and leaves its test to others; its own
    experiments grow all layers at preset times, or one after the other. The cost is this project's addition, since
    neurons of different layers differ in price here.

    Args:
        interface: the environment's interface.
        every: decisions from one growth to the next; 0 means half of a task, at least one. Tuned: 1 to a whole task.
        start: decision of the first growth.
        amount: neurons each time; 0 means the smallest amount. Tuned: every amount.
        per_cost: divide by the cost of the growth. Tuned: yes, no.

    Source: Evci et al. 2022 (GradMax), arXiv 2201.05125.
    """

    signals = ("gradmax",)
    features = ("sv_share",)

    def __init__(
        self, interface: Interface, every: int = 0, start: int = 0, amount: int = 0, per_cost: bool = True
    ) -> None:
        super().__init__(interface, every, start, amount)
        self.per_cost = per_cost

    @classmethod
    def ranges(cls, config: GrowthConfig) -> dict[str, tuple[Any, ...]]:
        """See `Gate.ranges`."""
        return {**super().ranges(config), "per_cost": (True, False)}

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """Grow the layer with the best score at the times of the schedule."""
        score = self.per_layer(observations, "sv_share")
        if self.per_cost:
            score = score / self.costs(observations)
        due = self.since_due() == 0
        return self.grow_best(np.where(due[:, None], score, -np.inf), masks)


@gate("firefly-where")
class FireflyWhere(Scheduled):
    """Grows the layer whose candidate neurons promise the largest fall of the loss, several times in a row.

    Firefly trains candidates in every layer, scores each by a first-order Taylor term of the loss, and keeps the best
    of all layers together. The observation shows the score of the best candidates of each layer, untrained; from every
    time of the schedule on, `top` decisions in a row each grow the layer that is best then, which may be the same one.

    Args:
        interface: the environment's interface.
        every: decisions from one round to the next; 0 means half of a task, at least one. Tuned: 1 to a whole task.
        start: decision of the first growth.
        amount: neurons each time; 0 means the smallest amount. Tuned: every amount.
        top: growths in a round; as many as `every` grow in every decision. Firefly keeps 0.35 x the width (released
            code). Tuned: 1, 2.

    Source: Wu et al. 2020 (Firefly), arXiv 2102.08574.
    """

    signals = ("firefly",)
    features = ("ff_gain",)

    def __init__(self, interface: Interface, every: int = 0, start: int = 0, amount: int = 0, top: int = 1) -> None:
        super().__init__(interface, every, start, amount)
        check(top >= 1, "top", top, "at least 1 growth")
        self.top = top

    @classmethod
    def ranges(cls, config: GrowthConfig) -> dict[str, tuple[Any, ...]]:
        """See `Gate.ranges`."""
        return {**super().ranges(config), "top": (1, 2)}

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """Grow the best layer in the first decisions of every round."""
        gain = self.per_layer(observations, "ff_gain")
        since = self.since_due()
        due = (since >= 0) & (since < self.top)
        return self.grow_best(np.where(due[:, None], gain, -np.inf), masks)


@gate("knapsack")
class Knapsack(Gate):
    """Grows the layer that gains most for its cost, while that is worth it and the budget of the tasks so far has room.

    Energy-aware splitting chooses what to grow by a linear programme: the largest gain under a budget of energy. With
    one budget its solution is greedy by gain per cost, up to what each layer may take. A stream does not show the gains
    to come, so the budget is paced: when t of T tasks have begun, growth may use ``(t / T) ** pace`` of what the budget
    leaves beside the network at the start. A growth that gains less per cost than a threshold is left out, as if the
    budget had that price.

    The gain of a layer is the sum of the four largest squared singular values of the gradient across it; its cost is
    counted in hundredths of the capacity, as the signal shows it.

    Args:
        interface: the environment's interface.
        threshold: gain per cost that a growth must exceed; 0, as in the paper, where the budget alone limits. Tuned: 0
            to 10.
        pace: exponent; 0 gives the whole budget to the first task, 1 the same to each. Tuned: 0, 1.
        priced: multiply the threshold by the context's price of the whole capacity. Tuned: no, yes.
        each: growths of a layer in a task, at most; 0 for no limit. The paper limits layers, too. Tuned: 0, 1, 2.
        amount: neurons each time; 0 means the smallest amount. Tuned: every amount.

    Source: Wang et al. 2019 (energy-aware splitting), arXiv 1910.03103; pace, threshold and price are this project's.
    """

    signals = ("gain",)
    features = ("gain_per_cost", "shadow_price")

    def __init__(
        self,
        interface: Interface,
        threshold: float = 0.0,
        pace: float = 1.0,
        priced: bool = False,
        each: int = 0,
        amount: int = 0,
    ) -> None:
        super().__init__(interface, amount)
        check(threshold >= 0, "threshold", threshold, "at least 0")
        check(pace >= 0, "pace", pace, "at least 0")
        check(each >= 0, "each", each, "at least 0 growths")
        self.threshold, self.pace, self.priced = threshold, pace, priced
        self.most = each or interface.decisions
        self.begun: Floats = np.zeros(interface.rows)
        self.grown = np.zeros((interface.rows, self.layers), dtype=np.int64)

    @classmethod
    def ranges(cls, config: GrowthConfig) -> dict[str, tuple[Any, ...]]:
        """See `Gate.ranges`."""
        limits = {"threshold": (0.0, 0.1, 0.3, 1.0, 3.0, 10.0), "pace": (1.0, 0.0), "priced": (False, True)}
        return {**limits, "each": (0, 1, 2), **super().ranges(config)}

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """Grow the layer with the best gain per cost that the paced budget allows."""
        begins = self.decision == 0
        task, within = self.tick()
        self.grown[within == 0] = 0
        used, budget = self.feature(observations, "used"), self.feature(observations, "budget")
        self.begun = np.where(begins, used, self.begun)
        to_come = np.rint(unsquash(self.feature(observations, "tasks_left")))
        paced = ((task + 1) / (task + 1 + to_come)) ** self.pace
        room = self.begun + (budget - self.begun) * paced - used
        fits = self.costs(observations) * (budget - used)[:, None] <= room[:, None] + 1e-6  # seven digits are shown
        share = self.per_layer(observations, "gain_per_cost")
        known = share > 0
        best = np.where(known, share, 1.0) / np.maximum(share.max(axis=1), 1e-12)[:, None]
        value = unsquash(self.feature(observations, "shadow_price"))[:, None] * best
        worth = known & (value > self._threshold(observations)[:, None]) & (self.grown < self.most)
        actions = self.grow_best(np.where(fits & worth, share, -np.inf), masks)
        grows = np.flatnonzero(actions != WAIT)
        self.grown[grows, self.interface.actions.layer[actions[grows]]] += 1
        return actions

    def _threshold(self, observations: Observations) -> Floats:
        """The gain per cost that a growth must exceed, (N,)."""
        price = 10.0 ** (4.0 * self.feature(observations, "price") - 3.0)  # the observation shows its logarithm
        return self.threshold * (price if self.priced else np.ones_like(price))
