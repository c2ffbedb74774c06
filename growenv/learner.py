"""Trains a stack of networks on their rows' current tasks; the only place where gradient descent happens."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.config import GrowthConfig
from growenv.growth import (
    OPERATORS,
    CrossEntropy,
    Evidence,
    GrowthBatch,
    GrowthOperator,
    RandomGrowth,
    apply_proposal,
    checked_proposal,
)
from growenv.growth.evidence import LEAST_PROBABILITY
from growenv.networks import OPTIMIZERS, StackedMLP
from growenv.networks.inheritance import forget_head_rates
from growenv.networks.layout import round_up
from growenv.protection import PROTECTIONS
from growenv.randomness import Purpose, uniform
from growenv.streams import Context, Dataset
from growenv.streams.row_data import EVALUATION_CHUNK, RowData
from growenv.wiring import layers_read

ABSENT = -1e9
"""Added to the logits of classes that a task does not have: their probability is then exactly zero."""
PROBE_SAMPLES = 128
"""Samples of a probe batch (released code of GradMax, Evci et al. 2022)."""
_PROBES = 1 << 16  # probe batches between two minibatches of a row that have different samples


@dataclass(frozen=True)
class TrainingReport:
    """What one decision's training showed, every array of shape (N,).

    Attributes:
        loss: mean cross-entropy of all minibatches.
        early_loss: mean over the first quarter of the minibatches.
        late_loss: mean over the last quarter.
        confidence: mean probability of the right class in the last quarter.
        losses: mean cross-entropy of every minibatch, (N, minibatches).
    """

    loss: NDArray[np.float64]
    early_loss: NDArray[np.float64]
    late_loss: NDArray[np.float64]
    confidence: NDArray[np.float64]
    losses: NDArray[np.float64]


class Learner:
    """N growing networks, each at its own point of its own stream, trained in lock-step.

    Args:
        config: the environment's options.
        dataset: where all tasks come from.
        rows: number of networks N.
        tasks: most tasks of a stream T.
        dtype: float32, or float64 for reference computations.
        device: where networks and data live.
    """

    def __init__(
        self,
        config: GrowthConfig,
        dataset: Dataset,
        rows: int,
        tasks: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self.config, self.rows, self.tasks, self.classes = config, rows, tasks, dataset.classes
        depth = len(config.hidden)
        self.network = StackedMLP(
            rows, dataset.features, depth, self.classes, bypassed=config.bypassed, dtype=dtype, device=device
        )
        self.optimizer = OPTIMIZERS.make(config.optimizer, self.network, config.learning_rate)
        self.protection = copy.deepcopy(PROTECTIONS.make(config.protection))
        self.operator = OPERATORS.make(config.growth)
        self.data = RowData(
            dataset, rows, tasks, self.classes, config.validation_samples, config.test_samples, device, dtype
        )
        self.task: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)
        self.steps: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)
        self.units: NDArray[np.int64] = np.zeros((rows, tasks, depth), dtype=np.int64)
        # Heads are kept by layer that they read, the lowest first, and by birth index.
        most = [config.max_hidden[layer] for layer in reversed(layers_read(depth, config.bypassed))]
        self._starts = (0, *np.cumsum(most).tolist())
        self.heads = torch.zeros((rows, tasks, 1 + sum(most), self.classes), dtype=dtype, device=device)
        self._absent = torch.zeros((rows, self.classes, 1), dtype=dtype, device=device)
        self._validation: tuple[Tensor, Tensor, Tensor] | None = None
        batch = config.batch_size
        self._x = torch.empty((rows, batch, dataset.features + 1), dtype=dtype, device=device)
        self._logits, self._grad = torch.empty((2, rows, self.classes, batch), dtype=dtype, device=device)

    # -- streams -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def begin(self, rows: NDArray[np.bool_], contexts: Sequence[Context]) -> None:
        """Start new streams with small fresh networks in some rows.

        Args:
            rows: which rows, shape (N,).
            contexts: one context for each row; those of other rows are ignored.
        """
        self.data.begin(rows, contexts)
        self.network.clear(rows)
        self.task[rows], self.steps[rows], self.units[rows] = 0, 0, 0
        self.heads[_index(rows)] = 0.0
        self.protection.begin(self.network, rows)
        self._add_units([np.where(rows, width, 0) for width in self.config.hidden], RandomGrowth())
        self._enter(rows)

    @torch.no_grad()
    def next_task(self, rows: NDArray[np.bool_]) -> None:
        """Finish the current task of some rows and turn to the next one, which must exist."""
        if not rows.any():
            return
        self.finish_task(rows)
        following = self.task + rows
        order = self.data.order(self.task, following)
        self.network.reorder_inputs(order)
        self.task = following
        self._enter(rows)

    @torch.no_grad()
    def finish_task(self, rows: NDArray[np.bool_]) -> None:
        """Keep the heads of the current tasks of some rows and let the protection do its work."""
        kept = self.heads_read()
        row, position = np.nonzero((kept >= 0) & rows[:, None])
        self.heads[row, self.task[row], kept[row, position]] = self.network.weights[-1][row, position]
        self.protection.finish_task(self.network, rows)

    def heads_read(self) -> NDArray[np.int64]:
        """Where `heads` keeps the weights from every position that a head reads, (N, fan_in), -1 for padding."""
        return self.network.read_index(self.network.depth, self._starts)

    def _enter(self, rows: NDArray[np.bool_]) -> None:
        self.data.enter(rows, self.task)
        self.optimizer.restart(rows)
        index = _index(rows)
        self.network.weights[-1][index] = self._fresh_head(self.task)[index]
        forget_head_rates(self.network, rows)
        self._absent = self._absent_classes(self.task)[:, :, None]
        self._validation = None

    def _fresh_head(self, task: NDArray[np.int64]) -> Tensor:
        """Initial heads: uniform within 1 / sqrt(units), biases zero, shape (N, fan_in, C)."""
        read = self.heads_read()
        draw = uniform(
            self.data.seeds[:, None, None],
            Purpose.HEAD,
            task[:, None, None],
            np.maximum(read, 0)[:, :, None],
            np.arange(self.classes)[None, None, :],
        )
        width = np.maximum(1, (read > 0).sum(axis=1))[:, None, None]
        present = np.arange(self.classes) < self.data.task_classes[np.arange(self.rows), task][:, None]
        head = (2.0 * draw - 1.0) / np.sqrt(width) * (read > 0)[:, :, None] * present[:, None, :]
        return torch.from_numpy(head).to(self.network.device, self.network.dtype)

    def _absent_classes(self, task: NDArray[np.int64]) -> Tensor:
        count = self.data.task_classes[np.arange(self.rows), task]
        absent = np.where(np.arange(self.classes)[None, :] < count[:, None], 0.0, ABSENT)
        return torch.from_numpy(absent).to(self.network.device, self.network.dtype)

    # -- growing -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def grow(self, layer: NDArray[np.int64], amount: NDArray[np.int64]) -> None:
        """Add neurons to every row that asks for some: wholly, or not at all if the growth operator fails.

        Args:
            layer: hidden layer that each row grows, shape (N,); ignored where nothing grows.
            amount: neurons that each row adds, shape (N,).
        """
        depth = self.network.depth
        self._add_units([np.where(layer == number, amount, 0) for number in range(depth)], self.operator)

    def _add_units(self, amounts: Sequence[NDArray[np.int64]], operator: GrowthOperator) -> None:
        """Make all room first, then propose, then write: a failing operator leaves nothing behind."""
        network = self.network
        growing = [layer for layer, amount in enumerate(amounts) if amount.any()]
        batches = [self.reserve(layer, amounts[layer]) for layer in growing]
        try:
            proposals = [checked_proposal(network, batch, operator.propose(network, batch)) for batch in batches]
        except BaseException:
            for layer in growing:
                network.active_units[:, layer] -= amounts[layer]
            network.fit()
            raise
        for batch, proposal in zip(batches, proposals, strict=True):
            apply_proposal(network, batch, proposal)
            self.units[np.arange(self.rows), self.task, batch.layer] += batch.amounts

    def reserve(self, layer: int, amounts: NDArray[np.int64]) -> GrowthBatch:
        """Make room for new units of one layer, without weights as yet; what an operator is then told.

        Args:
            layer: hidden layer that grows.
            amounts: new units of each row, shape (N,).
        """
        units = self.network.widths[:, layer].copy()
        outputs = self.data.task_classes[np.arange(self.rows), self.task]
        first = self.network.reserve(layer, amounts)
        return GrowthBatch(layer, amounts, self.data.seeds, units, first, outputs, self.evidence)

    @torch.no_grad()
    def evidence(self, number: int = 0, samples: int = PROBE_SAMPLES) -> Evidence:
        """A probe batch of every row's current task, seen through its network as it is now.

        Args:
            number: which batch; equal numbers are equal samples until the network has trained on.
            samples: samples of the batch.
        """
        chosen, labels = self.data.minibatches(
            self.task, self.steps * _PROBES + number, 1, samples, purpose=Purpose.PROBE
        )
        return Evidence(
            self.network, self.data.gather(chosen[0]), CrossEntropy(labels[0], self._absent.transpose(1, 2))
        )

    # -- training ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def train(self) -> TrainingReport:
        """Train every row on the next minibatches of its current task."""
        count, size = self.config.minibatches, self.config.batch_size
        samples, labels = self.data.minibatches(self.task, self.steps, count, size)
        classes = torch.arange(self.classes, device=self.network.device)[:, None]
        targets = (labels[:, :, None, :] == classes).to(self.network.dtype)
        labels = labels[:, :, None, :]
        chosen = torch.empty(labels.shape, dtype=self.network.dtype, device=self.network.device)
        network, optimizer, protection = self.network, self.optimizer, self.protection
        logits, grad = self._logits, self._grad
        for number in range(count):
            x = self.data.gather(samples[number], out=self._x)
            # Classes before samples: a softmax over a short last dimension is ten times slower.
            logits.copy_(network.forward(x).transpose(1, 2)).add_(self._absent)
            torch.softmax(logits, 1, out=grad)
            torch.gather(grad, 1, labels[number], out=chosen[number])
            grad.sub_(targets[number]).mul_(1.0 / size)
            network.backward(x, grad.transpose(1, 2))
            protection.after_backward(network)
            optimizer.step()
        optimizer.settle()
        self.steps += count
        return _report(chosen[:, :, 0, :])

    # -- measuring ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def validate(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Validation accuracy and cross-entropy on the current tasks, two arrays of shape (N,).

        A row whose network has diverged has a loss that is not finite.
        """
        if self._validation is None:
            samples, labels, weights = self.data.evaluation_set("validation", self.task)
            self._validation = self.data.gather(samples), labels, weights
        x, labels, weights = self._validation
        logits = self.network.forward(x) + self._absent.transpose(1, 2)
        return _scores(logits, labels, weights)

    @torch.no_grad()
    def activity(self) -> NDArray[np.float64]:
        """Spikes per inference: how often units are above zero on the current task's validation samples, (N, T, L).

        Means over the units of every generation and hidden layer; 0 where there are none.
        """
        samples, _, weights = self.data.evaluation_set("validation", self.task)
        each = self.network.activity(self.data.gather(samples), weights)
        rates = np.zeros(self.units.shape)
        row = np.arange(self.rows)[:, None]
        for layer, active in enumerate(each):
            born = self.network.birth_index(layer)
            generation = (born[:, :, None] > self.units[:, None, :, layer].cumsum(axis=2)).sum(axis=2)
            there = born > 0
            flat = (row * self.tasks + generation)[there]
            total = np.bincount(flat, active.double().cpu().numpy()[there], self.rows * self.tasks)
            rates[:, :, layer] = total.reshape(self.rows, self.tasks)
        return rates / np.maximum(self.units, 1)

    @torch.no_grad()
    def accuracy(self, split: str, task: NDArray[np.int64]) -> NDArray[np.float64]:
        """Accuracy on one task of each row, finished, current or still to come, shape (N,).

        Args:
            split: ``"validation"`` or ``"test"`` (of the data set).
            task: a task of each row, shape (N,). Tasks to come are read through their untrained heads.
        """
        samples, labels, weights = self.data.evaluation_set(split, task)
        total = np.zeros(self.rows)
        for start in range(0, samples.shape[1], EVALUATION_CHUNK):
            part = slice(start, start + EVALUATION_CHUNK)
            logits = self.logits(self.data.gather(samples[:, part]), task)
            total += _scores(logits, labels[:, part], weights[:, part])[0]
        return total

    @torch.no_grad()
    def logits(self, x: Tensor, task: NDArray[np.int64]) -> Tensor:
        """Logits for one task of each row, shape (N, V, C).

        Args:
            x: inputs as `RowData.gather` gives them, shape (N, V, D + 1).
            task: a task of each row, shape (N,).
        """
        order = None if (task == self.task).all() else self.data.order(self.task, task)
        head = self._head(task)
        if self.protection.invariant and (task < self.task).all():
            reached = np.cumsum(self.units, axis=1)[np.arange(self.rows), task]
            sizes = [round_up(1 + int(width)) for width in reached.max(axis=0)]
            logits = self.network.forward_frozen(x, head, sizes, order)
        else:
            logits = self.network.forward(x, head, order)
        return logits + self._absent_classes(task)[:, None, :]

    def _head(self, task: NDArray[np.int64]) -> Tensor:
        """Heads of any tasks in the order in which the units that they read lie, shape (N, fan_in, C)."""
        read = self.heads_read()
        row = np.arange(self.rows)
        kept = self.heads[row[:, None], task[:, None], np.maximum(read, 0)]
        kept = kept.masked_fill(torch.from_numpy(read < 0).to(kept.device)[:, :, None], 0.0)
        choices = [(task == self.task, self.network.weights[-1]), (task > self.task, self._fresh_head(task))]
        for chosen, head in choices:
            if chosen.any():
                kept = torch.where(torch.from_numpy(chosen).to(kept.device)[:, None, None], head, kept)
        return kept

    # -- saving ------------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """A copy of everything that training and growth change."""
        return {
            "network": self.network.state(),
            "optimizer": copy.deepcopy({k: v for k, v in vars(self.optimizer).items() if k != "network"}),
            "protection": copy.deepcopy(self.protection),
            "data": self.data.state(),
            "own": copy.deepcopy((self.task, self.steps, self.units, self.heads, self._absent)),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a state that `snapshot` returned; it can be restored again."""
        self.network.load_state(snapshot["network"])
        vars(self.optimizer).update(copy.deepcopy(snapshot["optimizer"]))
        self.protection = copy.deepcopy(snapshot["protection"])
        self.data.load_state(snapshot["data"])
        self.task, self.steps, self.units, self.heads, self._absent = copy.deepcopy(snapshot["own"])
        self._validation = None


def _index(rows: NDArray[np.bool_]) -> Tensor:
    return torch.from_numpy(np.flatnonzero(rows))


def _report(chosen: Tensor) -> TrainingReport:
    """Summarise the probabilities of the right classes, shape (minibatches, N, B)."""
    loss = -chosen.clamp(min=LEAST_PROBABILITY).log().mean(dim=2, dtype=torch.float64).cpu().numpy()
    quarter = max(1, len(loss) // 4)
    confidence = chosen[-quarter:].mean(dim=(0, 2), dtype=torch.float64).cpu().numpy()
    early, late = loss[:quarter].mean(axis=0), loss[-quarter:].mean(axis=0)
    return TrainingReport(loss.mean(axis=0), early, late, confidence, loss.T)


def _scores(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted accuracy and cross-entropy of (N, V, C) logits, two arrays of shape (N,)."""
    by_class = logits.transpose(1, 2).contiguous()
    target = labels[:, None, :]
    chosen = torch.gather(by_class, 1, target)
    # Not logsumexp: over a middle dimension it is many times slower than softmax.
    probability = torch.gather(torch.softmax(by_class, 1), 1, target)[:, 0]
    loss = -probability.clamp_(min=LEAST_PROBABILITY).log_()
    # A tie is no right answer, so that a dead network, whose logits are all alike, knows nothing.
    right = (chosen > by_class.scatter_(1, target, -torch.inf).amax(dim=1, keepdim=True))[:, 0]
    accuracy = (right * weights).sum(dim=1, dtype=torch.float64).cpu().numpy()
    return accuracy, (loss * weights).sum(dim=1, dtype=torch.float64).cpu().numpy()
