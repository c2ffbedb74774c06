"""The literature's growth triggers as policies: they watch one curve of each row and grow its layers in turn.

Both triggers were published for training that is measured in epochs; here their unit of time is the decision. Their
constants are the published ones by default and can be tuned with `agents.search`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.policy import POLICIES, Actions, Interface, Mask, Observations
from agents.schedules import Clock
from growenv.actions import WAIT


class Gate(Clock):
    """Grows the layers in turn whenever a trigger fires.

    Args:
        interface: the environment's interface.
        amount: neurons each time; 0 means the smallest amount.
    """

    name = "gate"

    def __init__(self, interface: Interface, amount: int = 0) -> None:
        super().__init__(interface)
        table = interface.actions
        size = amount or table.amounts[0]
        self.growths = np.array([table.index(layer, size) for layer in range(table.layers)], dtype=np.int64)
        self.turn = np.zeros(interface.rows, dtype=np.int64)

    def reset(self, rows: Mask) -> None:
        """Start the clock and the first layer's turn in the rows that begin an episode."""
        super().reset(rows)
        self.turn[rows] = 0

    def grow_where(self, fires: Mask, masks: Mask) -> Actions:
        """Grow the layer whose turn it is, or the next one that may grow, where the trigger fires; wait elsewhere."""
        layers = len(self.growths)
        order = (self.turn[:, None] + np.arange(layers)) % layers
        legal = np.take_along_axis(masks[:, self.growths], order, axis=1)
        grows = fires & legal.any(axis=1)
        chosen = np.take_along_axis(order, legal.argmax(axis=1)[:, None], axis=1)[:, 0]
        self.turn = np.where(grows, (chosen + 1) % layers, self.turn)
        return np.where(grows, self.growths[chosen], WAIT).astype(np.int64)


@POLICIES.register("plateau")
class Plateau(Gate):
    """Grows when the validation accuracy of the present task has stopped rising.

    The gain is the best accuracy of the last `patience` decisions minus the best one before them, within the present
    task and since the last growth. The gate fires when the gain is below `tau`.

    Args:
        interface: the environment's interface.
        tau: smallest gain, as a share of 1, that counts as progress; 0.0005 = 0.05 points is AutoGrow's value.
        patience: decisions J over which the gain is taken.
        amount: neurons each time; 0 means the smallest amount.

    Source: Wen et al. 2020 (AutoGrow), arXiv 1906.02909, convergent growth.
    """

    name = "plateau"

    def __init__(self, interface: Interface, tau: float = 0.0005, patience: int = 1, amount: int = 0) -> None:
        super().__init__(interface, amount)
        if patience < 1:
            raise ValueError(f"patience must be at least 1 decision, got {patience!r}")
        self.tau, self.patience = tau, patience
        self.recent = np.full((interface.rows, patience), -np.inf)  # newest first
        self.best_before = np.full(interface.rows, -np.inf)
        self.seen = np.zeros(interface.rows, dtype=np.int64)

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """Grow the rows on a plateau."""
        _, within = self.tick()
        self._forget(within == 0)
        accuracy = self.interface.feature(observations, "accuracy").astype(np.float64)
        self._remember(accuracy, self.interface.feature(observations, "measured") > 0)
        waited = self.seen > self.patience
        gain = np.where(waited, self.recent.max(axis=1) - np.where(waited, self.best_before, 0.0), np.inf)
        actions = self.grow_where(gain < self.tau, masks)
        self._forget(actions != WAIT)
        return actions

    def _remember(self, accuracy: NDArray[np.float64], measured: Mask) -> None:
        moved = np.concatenate([accuracy[:, None], self.recent[:, :-1]], axis=1)
        self.best_before = np.where(measured, np.maximum(self.best_before, self.recent[:, -1]), self.best_before)
        self.recent = np.where(measured[:, None], moved, self.recent)
        self.seen = self.seen + measured

    def _forget(self, rows: Mask) -> None:
        self.recent[rows] = -np.inf
        self.best_before[rows] = -np.inf
        self.seen[rows] = 0


@POLICIES.register("loss-gate")
class LossGate(Gate):
    """Grows every layer once while the training loss of the present task stays above a threshold.

    DEN grows every layer at once, by k = 10 units, when the loss is still at or above tau after training on the task.
    One decision grows one layer, so a round over the layers takes as many decisions as there are layers; a round goes
    on while the loss stays high.

    Args:
        interface: the environment's interface.
        tau: loss (natural logarithm, mean over samples) from which on the gate fires; DEN's value is 0.01.
        rounds: rounds over the layers in each task; DEN has one.
        start: decisions of each task in which the gate stays shut, so that the loss is that of a trained network.
        amount: neurons each time; 0 means the amount nearest to DEN's 10.

    Source: Yoon et al. 2018 (DEN), arXiv 1708.01547, section 3.2 and its released constants.
    """

    name = "loss-gate"

    def __init__(
        self, interface: Interface, tau: float = 0.01, rounds: int = 1, start: int = 1, amount: int = 0
    ) -> None:
        super().__init__(interface, amount or min(interface.actions.amounts, key=lambda size: abs(size - 10)))
        if tau < 0 or rounds < 1:
            raise ValueError(f"tau must be at least 0 and rounds at least 1, got tau={tau!r} and rounds={rounds!r}")
        self.start = start
        self.threshold = tau / (1.0 + tau)  # the observation shows a loss x as x / (1 + x)
        self.limit = rounds * interface.actions.layers
        self.growths_in_task = np.zeros(interface.rows, dtype=np.int64)

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """Grow the rows whose loss is high."""
        _, within = self.tick()
        self.growths_in_task[within == 0] = 0
        high = self.interface.feature(observations, "training_loss") >= self.threshold
        measured = self.interface.feature(observations, "measured") > 0
        fires = high & measured & (within >= self.start) & (self.growths_in_task < self.limit)
        actions = self.grow_where(fires, masks)
        self.growths_in_task += actions != WAIT
        return actions
