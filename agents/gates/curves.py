"""Gates that watch one curve of each row: accuracy, loss, or the gap between training and validation."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.gates.base import Floats, Gate, RecentGain, check, gate
from agents.policy import Actions, Interface, Mask, Observations
from growenv.actions import WAIT
from growenv.config import GrowthConfig


@gate("plateau")
class Plateau(Gate):
    """Grows when the validation accuracy of the present task has stopped rising.

    The gain is the best accuracy of the last `patience` decisions minus the best one before them, within the present
    task and since the last growth. The gate fires when the gain is below `tau`, and grows the layers in turn.

    Args:
        interface: the environment's interface.
        tau: smallest gain, as a share of 1, that counts as progress; 0.0005 = 0.05 points is AutoGrow's value. Tuned:
            0.0005 to 0.2.
        patience: decisions J over which the gain is taken; the paper waits 200 epochs, longer than a task here. Tuned:
            1, 2.
        amount: neurons each time; 0 means the smallest amount. Tuned: every amount.

    Source: Wen et al. 2020 (AutoGrow), arXiv 1906.02909, convergent growth.
    """

    def __init__(self, interface: Interface, tau: float = 0.0005, patience: int = 1, amount: int = 0) -> None:
        super().__init__(interface, amount)
        self.tau, self.gain = tau, RecentGain(interface.rows, patience)

    @classmethod
    def ranges(cls, config: GrowthConfig) -> dict[str, tuple[Any, ...]]:
        """See `Gate.ranges`."""
        return {"tau": (0.0005, 0.005, 0.02, 0.05, 0.1, 0.2), "patience": (1, 2), **super().ranges(config)}

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """Grow the rows on a plateau."""
        _, within = self.tick()
        self.gain.forget(within == 0)
        self.gain.add(self.feature(observations, "accuracy"), self.measured(observations))
        actions = self.grow_where(self.gain.value() < self.tau, masks)
        self.gain.forget(actions != WAIT)
        return actions


@gate("loss-gate")
class LossGate(Gate):
    """Grows every layer once while the training loss of the present task stays above a threshold (DEN).

    DEN grows every layer at once, by k = 10 units, when the loss is still at or above tau after training on the task.
    One decision grows one layer, so a round over the layers takes as many decisions as there are layers; a round goes
    on while the loss stays high. DEN then deletes idle units and splits those that have drifted; networks here never
    shrink, and what is frozen does not drift.

    Args:
        interface: the environment's interface.
        tau: loss (natural logarithm, mean over samples) from which on the gate fires; DEN's value is 0.01. Tuned: 0.01
            to 1.
        rounds: rounds over the layers in each task; DEN has one. Tuned: 1, 2.
        start: decisions of each task in which the gate stays shut, so that the loss is that of a trained network.
        amount: neurons each time; 0 means the amount nearest to DEN's 10. Tuned: every amount.

    Source: Yoon et al. 2018 (DEN), arXiv 1708.01547, section 3.2; constants of the released code.
    """

    def __init__(
        self, interface: Interface, tau: float = 0.01, rounds: int = 1, start: int = 1, amount: int = 0
    ) -> None:
        super().__init__(interface, amount or min(interface.actions.amounts, key=lambda size: abs(size - 10)))
        check(tau >= 0, "tau", tau, "at least 0")
        check(rounds >= 1, "rounds", rounds, "at least 1")
        self.start = start
        self.threshold = tau / (1.0 + tau)  # the observation shows a loss x as x / (1 + x)
        self.limit = rounds * self.layers
        self.growths_in_task = np.zeros(interface.rows, dtype=np.int64)

    @classmethod
    def ranges(cls, config: GrowthConfig) -> dict[str, tuple[Any, ...]]:
        """See `Gate.ranges`."""
        amounts = tuple(sorted(config.amounts, key=lambda size: abs(size - 10)))
        return {"tau": (0.01, 0.1, 0.2, 0.5, 1.0), "rounds": (1, 2), "amount": amounts}

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """Grow the rows whose loss is high."""
        _, within = self.tick()
        self.growths_in_task[within == 0] = 0
        high = self.interface.feature(observations, "training_loss") >= self.threshold
        fires = high & self.measured(observations) & (within >= self.start) & (self.growths_in_task < self.limit)
        actions = self.grow_where(fires, masks)
        self.growths_in_task += actions != WAIT
        return actions


@gate("autogrow")
class AutoGrow(Gate):
    """Grows the layers in turn at a steady pace; a layer whose growth brought nothing leaves.

    Every K decisions of a task: if the best validation accuracy of the last J decisions is not at least `tau` above the
    best one before them, the layer that grew last leaves for the rest of the task; then the next layer that has not
    left grows. Nothing grows before the first measurement of a task.

    AutoGrow adds residual blocks to the stages of a network; here neurons are added to layers. It learns one data set
    and a stage leaves for good; here every layer comes back with the next task, which is another problem. Its K = 3
    and J = 200 (30 on ImageNet) epochs are longer than a task, so K is 1 and J is 2 decisions by default.

    Args:
        interface: the environment's interface.
        every: decisions K from one growth to the next. Tuned: 1, 2, 3.
        tau: smallest gain as a share of 1; 0.0005 = 0.05 points is the published value. Tuned: 0.0005 to 0.2.
        patience: decisions J over which the gain is taken. Tuned: 1, 2.
        amount: neurons each time; 0 means the smallest amount. Tuned: every amount.

    Source: Wen et al. 2020, arXiv 1906.02909, periodic growth; the stopping rule is that of the released code.
    """

    def __init__(
        self, interface: Interface, every: int = 1, tau: float = 0.0005, patience: int = 2, amount: int = 0
    ) -> None:
        super().__init__(interface, amount)
        check(every >= 1, "every", every, "at least 1 decision")
        self.every, self.tau, self.gain = every, tau, RecentGain(interface.rows, patience)
        self.stays = np.ones((interface.rows, self.layers), dtype=bool)
        self.last = np.full(interface.rows, -1, dtype=np.int64)

    @classmethod
    def ranges(cls, config: GrowthConfig) -> dict[str, tuple[Any, ...]]:
        """See `Gate.ranges`."""
        times = {"every": (1, 2, 3), "tau": (0.0005, 0.02, 0.05, 0.1, 0.2), "patience": (2, 1)}
        return {**times, **super().ranges(config)}

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """Grow the rows whose time has come."""
        _, within = self.tick()
        begins = within == 0
        self.gain.forget(begins)
        self.stays[begins], self.last[begins] = True, -1
        measured = self.measured(observations)
        self.gain.add(self.feature(observations, "accuracy"), measured)
        due = measured & (within % self.every == 0)
        leaves = np.flatnonzero(due & (self.last >= 0) & (self.gain.value() < self.tau))
        self.stays[leaves, self.last[leaves]] = False
        actions = self.grow_where(due, masks, self.stays)
        self.last = np.where(actions != WAIT, self.interface.actions.layer[actions], self.last)
        return actions


@gate("fragrow")
class FRAGrow(Gate):
    """Grows fast while the network under-fits and slowly while it over-fits.

    The next growth comes ``I_max / (1 + exp(alpha - gap))`` decisions after the last one, or after the start of the
    task; the gap is training minus validation accuracy in points. Every task has a fixed number of growths n, layer by
    layer from the front, and ``I_max = decisions / n``, so that even the slowest pace has time for all.

    FRAGrow appends blocks to the stages of a network until it has a shape that was chosen beforehand, and takes I_max
    from the epochs left beside a shortest fine-tuning. Here the planned shape is `each` growths of every layer in every
    task, and the decision that grows also trains, so nothing is put aside for fine-tuning.

    Args:
        interface: the environment's interface.
        alpha: gap in points at which the pace is half of the slowest; 4 is the published value. Tuned:
            -4 to 16.
        each: planned growths of every layer in a task. Tuned: 1, 2.
        amount: neurons each time; 0 means the smallest amount. Tuned: every amount.

    Source: Wu et al. 2024 (FRAGrow), arXiv 2401.03104.
    """

    signals = ("gap",)
    features = ("accuracy_gap",)

    def __init__(self, interface: Interface, alpha: float = 4.0, each: int = 1, amount: int = 0) -> None:
        super().__init__(interface, amount)
        check(each >= 1, "each", each, "at least 1 growth")
        self.alpha, self.each = alpha, each
        self.planned = each * self.layers
        self.longest = interface.decisions / self.planned
        self.grown, self.last = np.zeros((2, interface.rows), dtype=np.int64)

    @classmethod
    def ranges(cls, config: GrowthConfig) -> dict[str, tuple[Any, ...]]:
        """See `Gate.ranges`."""
        return {"alpha": (4.0, -4.0, 0.0, 8.0, 16.0), "each": (1, 2), **super().ranges(config)}

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """Grow the rows whose interval is over."""
        _, within = self.tick()
        self.grown[within == 0], self.last[within == 0] = 0, 0
        gap = 100.0 * self.feature(observations, "accuracy_gap")
        interval = self.longest / (1.0 + np.exp(self.alpha - gap))
        due = self.measured(observations) & (within - self.last >= interval) & (self.grown < self.planned)
        layer = np.arange(self.layers)
        ahead = due[:, None] & (layer >= (self.grown // self.each)[:, None])
        actions = self.grow_best(np.where(ahead, -layer.astype(np.float64), -np.inf), masks)
        self.last = np.where(actions != WAIT, within, self.last)
        self.grown += actions != WAIT
        return actions


@gate("cpg-goal")
class CPGGoal(Gate):
    """Grows while the present task misses its goal, up to a share of the width at the task's start.

    The gate fires unless the training accuracy exceeds 0.95 and the validation accuracy reaches `goal`. It grows the
    layers in turn, each as long as it is narrower than `cap` times what it was when the task began; amounts are coarse,
    so the last growth may go past that.

    CPG trains a task for 100 epochs before it asks, widens every layer by half of the original network at once, starts
    again, and stops at 1.5 times the original width whatever the accuracy; it then prunes, which is not done here. Its
    goal for every task is the accuracy of a separate network that was trained on that task alone. A policy here sees no
    task's name, so there is one goal for all; tuning chooses it and pays for it in environment steps. To measure it
    instead, play ``static-large`` in ``replace(config, tasks=1)`` and take the mean accuracy of the records; these
    steps then belong to the budget of the gate.

    Args:
        interface: the environment's interface.
        goal: validation accuracy, as a share of 1, to be reached; the default is this project's. Tuned: 0.6 to 1.
        cap: largest width as a multiple of that at the task's start; 1.5 is the published value. Tuned: 1.5 to 4.
        start: decisions of each task in which the gate stays shut. Tuned: 1, 2.
        amount: neurons each time; 0 means the smallest amount. Tuned: every amount.

    Source: Hung et al. 2019 (CPG), arXiv 1910.06562; constants of the released code.
    """

    signals = ("gap",)
    features = ("train_accuracy",)
    TRAINED = 0.95
    """Training accuracy below which a network counts as too small (released code)."""

    def __init__(
        self, interface: Interface, goal: float = 0.95, cap: float = 1.5, start: int = 1, amount: int = 0
    ) -> None:
        super().__init__(interface, amount)
        check(0 <= goal <= 1, "goal", goal, "an accuracy from 0 to 1")
        check(cap > 1, "cap", cap, "above 1")
        self.goal, self.cap, self.start = goal, cap, start
        self.begun: Floats = np.zeros((interface.rows, self.layers))

    @classmethod
    def ranges(cls, config: GrowthConfig) -> dict[str, tuple[Any, ...]]:
        """See `Gate.ranges`."""
        ranges = {"goal": (0.95, 0.6, 0.7, 0.8, 0.9, 1.0), "cap": (1.5, 2.0, 4.0), "start": (1, 2)}
        return {**ranges, **super().ranges(config)}

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """Grow the rows that miss their goal."""
        _, within = self.tick()
        widths = self.widths(observations)
        self.begun = np.where((within == 0)[:, None], widths, self.begun)
        trained = self.feature(observations, "train_accuracy") > self.TRAINED
        reached = trained & (self.feature(observations, "accuracy") >= self.goal)
        fires = self.measured(observations) & (within >= self.start) & ~reached
        return self.grow_where(fires, masks, widths < self.cap * self.begun)
