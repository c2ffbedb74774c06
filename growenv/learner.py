"""Trains a stack of networks on their rows' current tasks; the only place where gradient descent happens."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv import measuring
from growenv.config import GrowthConfig
from growenv.growth import (
    OPERATORS,
    Evidence,
    GrowthBatch,
    GrowthOperator,
    RandomGrowth,
    apply_proposal,
    checked_proposal,
)
from growenv.heads import Heads, head_kind
from growenv.losses import LOSSES
from growenv.minibatches import Minibatches
from growenv.networks import OPTIMIZERS, StackedMLP
from growenv.networks.removal import remove_units
from growenv.protection import PROTECTIONS, Batch, Protection
from growenv.protection.stage import Stage
from growenv.randomness import Purpose
from growenv.streams import SCENARIOS, Context, Dataset
from growenv.streams.any_task import AnyTask
from growenv.streams.row_data import RowData
from growenv.streams.scenarios import PERIOD
from growenv.training_report import TrainingReport, report
from growenv.wiring import layers_read

PROBE_SAMPLES = 128
"""Samples of a probe batch (released code of GradMax, Evci et al. 2022)."""
_HOOKS = ("rehearse", "on_logits", "after_backward", "after_step", "gates")  # of every minibatch
PROBES = 1 << 16  # probe batches between two minibatches of a row that have different samples


class Learner:
    """N growing networks, each at its own point of its own stream, trained in lock-step.

    Args:
        config: the environment's options.
        dataset: where all tasks come from.
        rows: number of networks N.
        tasks: most tasks of a stream T.
        dtype: float32, or float64 for reference computations.
        device: where networks and data live.

    Attributes:
        task: current task of each row, (N,).
        steps, task_steps: minibatches trained in the stream and in the current task, (N,).
        finished: tasks finished; without boundaries, periods of `PERIOD` minibatches, (N,).
        units: units by the task during which they grew, (N, T, L).
        inputs: work space for the inputs of a minibatch.
        admit: asked before a protection adds units: layer and amounts (N,) in, what the rows get out, (N,).
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
        self.scenario = SCENARIOS.make(config.scenario)
        self.protection = copy.deepcopy(PROTECTIONS.make(config.protection))
        kind = head_kind(self.scenario, self.protection.all_heads)
        outputs = self.classes * (tasks if kind == "wide" else 1)
        self.network = StackedMLP(
            rows, dataset.features, depth, outputs, bypassed=config.bypassed, dtype=dtype, device=device
        )
        self.optimizer = OPTIMIZERS.make(config.optimizer, self.network, config.learning_rate)
        self.operator, self.loss = OPERATORS.make(config.growth), LOSSES.make(config.loss)
        samples = config.validation_samples, config.test_samples
        by_class, apart = self.scenario.labels == "class", self.classes if kind == "wide" else 0
        self.data = RowData(dataset, rows, tasks, self.classes, *samples, device, dtype, by_class, apart)
        self.samples = AnyTask(self.data)
        self.minibatches = Minibatches(self)
        self.task: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)
        self.steps: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)
        self.task_steps: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)
        self.finished: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)
        self.units: NDArray[np.int64] = np.zeros((rows, tasks, depth), dtype=np.int64)
        # Heads are kept by layer that they read, the lowest first, and by birth index.
        most = [config.max_hidden[layer] for layer in reversed(layers_read(depth, config.bypassed))]
        starts = (0, *np.cumsum(most).tolist())
        self.heads = Heads(self.network, self.scenario, kind, tasks, self.classes, (*starts[:-1], 1 + starts[-1]))
        self.taking_part: NDArray[np.bool_] = np.ones((rows, outputs), dtype=np.bool_)
        self.absent = torch.zeros((rows, outputs, 1), dtype=dtype, device=device)
        self.admit: Callable[[int, NDArray[np.int64]], NDArray[np.int64]] | None = None
        self.validation: tuple[Tensor, Tensor, Tensor] | None = None
        self._space: dict[int, tuple[Tensor, Tensor]] = {}
        self.inputs = torch.empty((rows, config.batch_size, dataset.features + 1), dtype=dtype, device=device)
        self.stage = Stage(self)
        with torch.no_grad():
            self.protection.prepare(self.stage)

    @property
    def invariant(self) -> bool:
        """Whether the accuracy on a finished task can never change again."""
        return self.protection.invariant and self.heads.kind == "own" and self.scenario.by_identity

    def overrides(self, hook: str) -> bool:
        """Whether the protection does something there."""
        return getattr(type(self.protection), hook, None) is not getattr(Protection, hook)

    # -- streams -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def begin(self, rows: NDArray[np.bool_], contexts: Sequence[Context]) -> None:
        """Start new streams with small fresh networks in some rows.

        Args:
            rows: which rows, shape (N,).
            contexts: one context for each row; those of other rows are ignored.
        """
        self.data.begin(rows, contexts)
        self.samples.forget()
        self.network.clear(rows)
        for count in (self.task, self.steps, self.task_steps, self.finished, self.units):
            count[rows] = 0
        self.heads.begin(rows, contexts)
        self._add_units([np.where(rows, width, 0) for width in self.config.hidden], RandomGrowth())
        self.protection.begin(self.stage, rows)
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
        """Keep the heads of the current tasks of some rows and let the protection do its work.

        Nobody is told where the scenario hides boundaries.
        """
        if self.scenario.boundaries:
            self._consolidate(rows)

    def _consolidate(self, rows: NDArray[np.bool_]) -> None:
        self.heads.keep(rows, self.task)
        self.protection.finish_task(self.stage, rows)
        self.heads.put_back(rows)
        self.finished += rows

    def _enter(self, rows: NDArray[np.bool_]) -> None:
        self.data.enter(rows, self.task)
        told = rows if self.scenario.boundaries else rows & (self.task == 0)
        self.task_steps[rows] = 0
        self.optimizer.restart(told)
        self.heads.enter(rows, self.task, self.data.seeds)
        self.choose_outputs()
        self.validation = None
        if told.any():
            self.protection.enter(self.stage, told)

    def choose_outputs(self) -> None:
        """Outputs may have come to take part."""
        self.taking_part = self.heads.taking_part(self.task)
        self.absent = self.heads.absent(self.taking_part)[:, :, None]

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

    def grow_for_protection(
        self, layer: int, amounts: NDArray[np.int64], operator: GrowthOperator | None
    ) -> NDArray[np.int64]:
        """See `Stage.grow`."""
        room = self.config.max_hidden[layer] - self.network.widths[:, layer]
        got = np.where(amounts <= room, amounts, 0)
        if self.admit is not None and got.any():
            got = self.admit(layer, got)
        if got.any():
            none = np.zeros_like(got)
            every = [got if number == layer else none for number in range(self.network.depth)]
            self._add_units(every, operator or self.operator)
        return got

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
        if self.overrides("grown"):
            for batch in batches:
                self.protection.grown(self.stage, batch.layer, batch.first, batch.amounts)

    def reserve(self, layer: int, amounts: NDArray[np.int64]) -> GrowthBatch:
        """Make room for new units of one layer, without weights as yet; what an operator is then told.

        Args:
            layer: hidden layer that grows.
            amounts: new units of each row, shape (N,).
        """
        units = self.network.widths[:, layer].copy()
        outputs = self.data.task_classes[np.arange(self.rows), self.task]
        if self.heads.kind != "own":
            outputs = np.full_like(outputs, self.network.classes)
        first = self.network.reserve(layer, amounts)
        return GrowthBatch(layer, amounts, self.data.seeds, units, first, outputs, self.evidence)

    @torch.no_grad()
    def remove(self, layer: int, gone: NDArray[np.bool_]) -> None:
        """Take active units away, (N, active), from the network, its kept heads and the unit counts."""
        first = self.network.layout.frozen[layer]
        born, generation = self.network.birth_index(layer)[:, first:], self.generation(layer)[:, first:]
        gone = gone & (generation >= 0)
        self.heads.remove(layer, np.where(gone, born, -1))
        np.subtract.at(self.units[:, :, layer], (np.nonzero(gone)[0], generation[gone]), 1)
        remove_units(self.network, layer, gone)

    def generation(self, layer: int) -> NDArray[np.int64]:
        """Task during which every unit of a hidden layer grew, (N, frozen + active); -1 where there is none."""
        born = self.network.birth_index(layer)
        grown: NDArray[np.int64] = (born[:, :, None] > self.units[:, None, :, layer].cumsum(axis=2)).sum(axis=2)
        return np.where(born > 0, grown, -1)

    @torch.no_grad()
    def evidence(self, number: int = 0, samples: int = PROBE_SAMPLES) -> Evidence:
        """A probe batch of every row's current task, seen through its network as it is now.

        Args:
            number: which batch; equal numbers are equal samples until the network has trained on.
            samples: samples of the batch.
        """
        chosen, labels = self.data.minibatches(
            self.task, self.steps * PROBES + number, 1, samples, purpose=Purpose.PROBE
        )
        loss = self.loss.of_probe(labels[0], self.absent.transpose(1, 2))
        gates = self.protection.gates(self.stage, None) if self.overrides("gates") else None
        if gates is not None and any(gate.ndim == 3 for gate in gates):
            gates = None  # those of single samples are of training samples
        return Evidence(self.network, self.data.gather(chosen[0]), loss, gates)

    # -- training ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def train(self) -> TrainingReport:
        """Train every row on the next minibatches of its current task."""
        count, size = self.config.minibatches, self.config.batch_size
        chosen = torch.empty((count, self.rows, size), dtype=self.network.dtype, device=self.network.device)
        hooks = {
            name: self.overrides(name) for name in ("rehearse", "on_logits", "after_backward", "after_step", "gates")
        }
        batches = self.minibatches.coming()
        for number in range(count):
            batch = next(batches)
            if hooks["rehearse"]:
                batch = self.protection.rehearse(self.stage, batch)
            self._step(batch, hooks, chosen[number])
            self.steps += 1
            self.task_steps += 1
            due = self.steps % PERIOD == 0
            if due.any() and not (self.scenario.boundaries or self.scenario.together):
                self._consolidate(due)
        self.optimizer.settle()
        return report(chosen)

    def _step(self, batch: Batch, hooks: dict[str, bool], chosen: Tensor) -> None:
        """One step of gradient descent; writes the probabilities of the right outputs of the new samples, (N, B)."""
        network, protection, size = self.network, self.protection, self.config.batch_size
        gates = protection.gates(self.stage, None) if hooks["gates"] else None
        logits, grad = self._work(batch.inputs.shape[1])
        # Classes before samples: a softmax over a short last dimension is ten times slower.
        logits.copy_(network.forward(batch.inputs, gates=gates).transpose(1, 2)).add_(batch.absent)
        torch.softmax(logits, 1, out=grad)
        chosen.copy_(torch.gather(grad[:, :, :size], 1, batch.outputs[:, None, :size])[:, 0])
        self.loss.gradient(logits, grad, batch.targets, batch.absent, batch.share)
        if hooks["on_logits"]:
            protection.on_logits(self.stage, batch, logits, grad)
        network.backward(batch.inputs, grad.transpose(1, 2), gates)
        self.heads.mask_gradient()
        if hooks["after_backward"]:
            protection.after_backward(self.stage)
        self.optimizer.step()
        if hooks["after_step"]:
            protection.after_step(self.stage)

    def _work(self, samples: int) -> tuple[Tensor, Tensor]:
        if samples not in self._space:
            shape = (2, self.rows, self.network.classes, samples)
            logits, grad = torch.empty(shape, dtype=self.network.dtype, device=self.network.device)
            self._space[samples] = logits, grad
        return self._space[samples]

    # -- measuring ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def validate(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Validation accuracy and cross-entropy on the current tasks, two arrays of shape (N,).

        A row whose network has diverged has a loss that is not finite.
        """
        return measuring.validate(self)

    @torch.no_grad()
    def activity(self) -> NDArray[np.float64]:
        """Spikes per inference; see `measuring.activity`."""
        return measuring.activity(self)

    @torch.no_grad()
    def accuracy(self, split: str, task: NDArray[np.int64]) -> NDArray[np.float64]:
        """Accuracy on one task of each row, finished, current or still to come, shape (N,).

        Args:
            split: ``"validation"`` or ``"test"`` (of the data set).
            task: a task of each row, shape (N,). Tasks to come are read through their untrained heads.
        """
        return measuring.accuracy(self, split, task)

    @torch.no_grad()
    def logits(self, x: Tensor, task: NDArray[np.int64]) -> Tensor:
        """Logits for one task of each row by its own head, shape (N, V, C).

        Args:
            x: inputs of that task as `RowData.gather` gives them, shape (N, V, D + 1).
            task: a task of each row, shape (N,).
        """
        return measuring.logits(self, x, task, task) + self.heads.absent(self.heads.taking_part(task))[:, None, :]

    # -- saving ------------------------------------------------------------------------------------------------------

    _COUNTS = ("task", "steps", "task_steps", "finished", "units", "taking_part", "absent")

    def snapshot(self) -> dict[str, Any]:
        """A copy of everything that training and growth change."""
        return {
            "network": self.network.state(),
            "optimizer": copy.deepcopy({k: v for k, v in vars(self.optimizer).items() if k != "network"}),
            "protection": copy.deepcopy(self.protection),
            "data": self.data.state(),
            "heads": self.heads.state(),
            "own": copy.deepcopy({name: getattr(self, name) for name in self._COUNTS}),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a state that `snapshot` returned; it can be restored again."""
        self.network.load_state(snapshot["network"])
        vars(self.optimizer).update(copy.deepcopy(snapshot["optimizer"]))
        self.protection = copy.deepcopy(snapshot["protection"])
        self.data.load_state(snapshot["data"])
        self.samples.forget()
        self.heads.load_state(snapshot["heads"])
        vars(self).update(copy.deepcopy(snapshot["own"]))
        self.validation = None
