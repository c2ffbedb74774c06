"""Sub-networks chosen by masks: a new task uses some of the frozen units, and whatever grows for it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.hardware.architecture import Architecture
from growenv.networks import StackedMLP
from growenv.networks.other_weights import forward_with
from growenv.protection.base import PROTECTIONS, Batch
from growenv.protection.freeze import Freeze
from growenv.protection.row_adam import row_adam
from growenv.protection.stage import Stage

IMPORTANCE_BATCHES = 4
"""Draws over which importance is averaged."""


class UnitMasks(Freeze):
    """Freeze all units when a task ends; every task reads a share of the older ones, chosen by their importance.

    The whole network is a union of overlapping sub-networks, one a task: older units that the task's mask lets through
    and units that grew for the task. When a task begins, its head trains for some minibatches on the answers of all
    older units, which stand still. Then a unit matters by ``mean over samples of |h * dL/dh|``, the first-order change
    of the loss if it were silent, and in every layer the most important share is kept. A silenced unit changes what
    frozen units above it compute, so every task's answers are worked out under that task's own mask, and are the same
    to the last bit whatever grows and trains later.

    Firefly descent is applied to continual learning in this form: frozen sub-networks chosen by masks plus new units
    that its growth operator makes. How masks are chosen here is not taken from that paper: the criterion is that of
    Molchanov et al. 2017. Units are grown by the agent, with any operator.

    Args:
        keep: share of each layer's older units that a new task uses, above 0 and at most 1.
        minibatches: how many a new head trains on before units are ranked, at least 0.
        learning_rate: step size of that training, above 0.

    Attributes:
        used: by task, layer and birth index, which older units are let through, (N, T, L, units + 1).
        older: units that were there when each task began, (N, T, L).

    Raises:
        ValueError: an argument is out of range.

    Source: Wu, Liu, Stone and Liu 2020, arXiv 2102.08574; importance: Molchanov et al. 2017, arXiv 1611.06440.
    """

    name = "firefly-masks"

    def __init__(self, keep: float = 0.5, minibatches: int = 40, learning_rate: float = 0.02) -> None:
        if not 0.0 < keep <= 1.0:
            raise ValueError(f"firefly-masks keeps a share of older units above 0 and at most 1, got keep={keep}")
        if minibatches < 0 or not learning_rate > 0.0:
            raise ValueError(
                "firefly-masks trains a head on at least 0 minibatches with a step size above 0, "
                f"got minibatches={minibatches}, learning_rate={learning_rate}"
            )
        self.keep, self.minibatches, self.learning_rate = keep, minibatches, learning_rate
        self.used: NDArray[np.bool_] = np.zeros((0, 0, 0, 0), dtype=bool)
        self.older: NDArray[np.int64] = np.zeros((0, 0, 0), dtype=np.int64)
        self.current: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._gates: list[Tensor] | None = None

    def prepare(self, stage: Stage) -> None:
        """Allocate masks for every unit that there can be; raises NotVisibleError where tasks have no visible ends."""
        _ = stage.task_length
        depth = stage.network.depth
        self.used = np.zeros((stage.rows, stage.tasks, depth, 1 + max(stage.max_hidden)), dtype=bool)
        self.older = np.zeros((stage.rows, stage.tasks, depth), dtype=np.int64)
        self.current = np.full(stage.rows, -1)

    def begin(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Some rows start a new stream."""
        self.used[rows], self.older[rows], self.current[rows] = False, 0, -1
        self._gates = None

    def enter(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Choose the older units that the new task of some rows uses."""
        self.current[rows] = np.minimum(self.current[rows] + 1, stage.tasks - 1)
        row, task = np.flatnonzero(rows), self.current[rows]
        self.older[row, task] = stage.network.frozen_units[rows]
        self._gates = None
        if not self.older[row, task].any():
            return
        head = trained_head(stage, self.minibatches, self.learning_rate)
        for layer, importance in enumerate(taylor_importance(stage, head, self.minibatches)):
            chosen = top_share(importance, self.older[np.arange(stage.rows), self.current, layer], self.keep)
            self.used[row, task, layer, : chosen.shape[1]] = chosen[rows]

    def grown(self, stage: Stage, layer: int, first: NDArray[np.int64], amounts: NDArray[np.int64]) -> None:
        """New units are let through; there are other positions now."""
        self._gates = None

    def finish_task(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Freeze the active units of some rows."""
        super().finish_task(stage, rows)
        self._gates = None

    def gates(self, stage: Stage, task: NDArray[np.int64] | None) -> list[Tensor] | None:
        """1 where a task lets a unit through, else 0, each (N, frozen + active); None if no task hides anything."""
        if not self.older.any():
            return None
        if task is not None:
            return self._gates_of(stage, np.minimum(task, self.current))
        layout = stage.network.layout
        fits = self._gates is not None and all(
            gate.shape[1] == f + a for gate, f, a in zip(self._gates, layout.frozen, layout.active, strict=True)
        )
        if not fits:
            self._gates = self._gates_of(stage, self.current)
        return self._gates

    def _gates_of(self, stage: Stage, task: NDArray[np.int64]) -> list[Tensor]:
        network, row = stage.network, np.arange(stage.rows)
        until = stage.units.cumsum(axis=1)[row, task]
        found = []
        for layer in range(network.depth):
            born = network.birth_index(layer)
            older = self.older[row, task, layer, None]
            chosen = self.used[row[:, None], task[:, None], layer, np.maximum(born, 0)]
            own = (born > older) & (born <= until[:, layer, None])
            open_ = (born == 0) | own | ((born > 0) & (born <= older) & chosen)
            found.append(torch.from_numpy(open_).to(network.device, network.dtype))
        return found

    def memory(self, architecture: Architecture) -> NDArray[np.int64]:
        """One bit for every older unit of every later task that has begun, in bytes, (N,)."""
        before = architecture.units.cumsum(axis=1) - architecture.units
        begun = np.arange(architecture.generations) <= architecture.newest[:, None]
        bits = (before.sum(axis=2) * begun).sum(axis=1)
        return np.asarray(-(-bits // 8))


def trained_head(stage: Stage, minibatches: int, learning_rate: float) -> Tensor:
    """The current head after some steps of Adam on draws of the current task, (N, fan_in, C); hidden layers stay.

    Args:
        stage: what may be seen; its own head is not changed.
        minibatches: draws 0, 1, ... of the task to train on.
        learning_rate: step size.
    """
    network = stage.network
    head = network.weights[-1].clone()
    first, second = torch.zeros_like(head), torch.zeros_like(head)
    for number in range(minibatches):
        batch = stage.draw(number, stage.batch_size)
        read = stage.read(batch.inputs)[-1]
        logits = torch.bmm(read, head).transpose(1, 2) + batch.absent
        error = (torch.softmax(logits, 1) - batch.targets) * batch.share
        gradient = torch.bmm(read.transpose(1, 2), error.transpose(1, 2))
        row_adam(head, gradient, first, second, np.full(stage.rows, number + 1), learning_rate)
    return head


def taylor_importance(stage: Stage, head: Tensor, first_draw: int) -> list[Tensor]:
    """Mean over samples of |h * dL/dh| of every unit, for each hidden layer (N, frozen + active).

    Args:
        stage: what may be seen.
        head: weights of the head, (N, fan_in, C).
        first_draw: number of the first of `IMPORTANCE_BATCHES` draws of the current task.
    """
    total: list[Tensor] = []
    for number in range(first_draw, first_draw + IMPORTANCE_BATCHES):
        batch = stage.draw(number, stage.batch_size)
        with torch.enable_grad():
            # The derivative by a factor of one is h * dL/dh.
            factors = [
                torch.ones((*batch.inputs.shape[:2], f + a), dtype=head.dtype, device=head.device, requires_grad=True)
                for f, a in zip(stage.network.layout.frozen, stage.network.layout.active, strict=True)
            ]
            slopes = torch.autograd.grad(_loss(stage.network, batch, head, factors), factors)
        means = [slope.abs().sum(dim=1) / IMPORTANCE_BATCHES for slope in slopes]
        total = [one + two for one, two in zip(total, means, strict=True)] if total else means
    return total


def top_share(importance: Tensor, units: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Which of the oldest units are among the most important ones, by position, (N, positions).

    Of a row's units, ``ceil(share * units)`` are chosen; of equally important ones the oldest. Position 0 is the
    constant unit, which is no candidate.

    Args:
        importance: of every position, (N, positions).
        units: candidates of each row, at positions 1 to `units`, (N,).
        share: above 0 and at most 1.
    """
    score = importance.double().cpu().numpy().copy()
    position = np.arange(score.shape[1])[None, :]
    candidate = (position > 0) & (position <= units[:, None])
    score[~candidate] = -1.0
    rank = np.argsort(np.argsort(-score, axis=1, kind="stable"), axis=1, kind="stable")
    # Rounded first, or a share of 0.1 of 30 units would be four of them.
    chosen: NDArray[np.bool_] = candidate & (rank < np.ceil(np.round(share * units, 9))[:, None])
    return chosen


def _loss(network: StackedMLP, batch: Batch, head: Tensor, factors: list[Tensor]) -> Tensor:
    """Loss of all rows together."""
    logits = forward_with(network, batch.inputs, network.buffers["weights"], head, gates=factors)
    logits = logits.transpose(1, 2) + batch.absent
    return -(batch.targets * torch.log_softmax(logits, 1) * batch.share).sum()


PROTECTIONS.register("firefly-masks", UnitMasks)
