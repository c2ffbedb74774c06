"""A classifier that is solved, not trained: sums over fixed features, in which no old task can be forgotten."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.networks.live import index_of
from growenv.protection.base import PROTECTIONS, Batch, Protection
from growenv.protection.class_sums import UNSEEN, ClassSums, lda, ridge, sums_bytes
from growenv.randomness import Purpose, normal, uniform
from growenv.registry import unknown_name

if TYPE_CHECKING:
    from growenv.hardware import Architecture
    from growenv.protection.stage import Stage

FEATURES = ("fourier", "random-network", "first-task-network")
SOLVERS = ("ridge", "lda")
_PHASES = 1 << 32  # a counter that no frequency has


def fourier_bank(seeds: NDArray[np.uint64], inputs: int, features: int) -> tuple[Tensor, Tensor]:
    """Frequencies and phases of random Fourier features, drawn so that fewer features are the first of more.

    Args:
        seeds: a seed for each row, (N,).
        inputs: input values D.
        features: how many.

    Returns:
        Standard normal frequencies (N, D, features) and phases in [0, 2 pi), (N, 1, features), in float32.
    """
    frequencies = torch.empty((len(seeds), inputs, features))
    phases = torch.empty((len(seeds), 1, features))
    number = np.arange(features)
    counters = np.arange(inputs)[:, None] + inputs * number[None, :]
    for row, seed in enumerate(seeds):
        frequencies[row] = torch.from_numpy(normal(seed, Purpose.PROTECTION, counters).astype(np.float32))
        turn = uniform(seed, Purpose.PROTECTION, _PHASES, number)
        phases[row, 0] = torch.from_numpy((2.0 * math.pi * turn).astype(np.float32))
    return frequencies, phases


class ClosedForm(Protection):
    """Ridge regression or linear discriminant analysis on fixed features, from sums over every sample seen.

    Sums do not depend on the order of samples. So whatever the stream, the answer is that of joint training, without
    stored samples, task identities or boundaries. Only the features must never change:

    * ``fourier``: ``sqrt(2) cos(x Omega + u)`` of the task's real inputs, with Omega normal of variance
      ``2 / (inputs * Var x)``; Var x is that of a row's first minibatch. Bank and sums hold ``per_unit`` features
      for every unit that the last hidden layer may have, from the first sample on. A unit *unlocks* its features: they
      take part in the answer from then on, exactly as if they always had, since the sums of the first features are the
      corner of the sums of all. The network itself says nothing but how many that are.
    * ``random-network``: activations of the last hidden layer, which keeps its initial weights.
    * ``first-task-network``: the same after it has learned the first task (without boundaries, the first period).
      Samples of that task are then drawn once more for the sums.

    Growing a network adds features whose past is unknown: what they would have been on samples already counted is taken
    as zero. That is an approximation, and only Fourier features do without it. Units that exist never read units that
    a lower layer gets later, so features stay what they are.

    Minibatches are drawn with replacement; a sample counts as often as it is drawn. `passes` bounds the cost: counting
    a minibatch of B samples in D features takes 2 B D^2 operations.

    Args:
        features: which features.
        solver: ``ridge`` or ``lda``.
        per_unit: Fourier features of each unit of the last hidden layer.
        penalty: of ridge regression, relative to the mean square of a sample's features; see `class_sums.ridge`.
        shrinkage: of the covariance in discriminant analysis.
        passes: minibatches of a task count until they hold as many samples as this many passes over it; None for all.
            Where boundaries are hidden all count.
        block: samples whose features are kept before they are added to the sums together, which is faster.

    Raises:
        ValueError: unknown features or solver, or a number out of range.

    Source: McDonnell et al. 2023, arXiv 2307.02251 (sums over random features); Prabhu et al. 2024, arXiv 2402.08823
    (random Fourier features in continual learning); Rahimi and Recht 2007 (the features).
    """

    all_heads = True

    def __init__(
        self,
        features: str = "fourier",
        solver: str = "ridge",
        *,
        per_unit: int = 8,
        penalty: float = 1e-2,
        shrinkage: float = 1e-3,
        passes: float | None = 1.0,
        block: int = 512,
    ) -> None:
        if features not in FEATURES:
            raise unknown_name("kind of features", features, FEATURES)
        if solver not in SOLVERS:
            raise unknown_name("solver", solver, SOLVERS)
        for name, number in (("per_unit", per_unit), ("block", block)):
            if isinstance(number, bool) or number != int(number) or number < 1:
                raise ValueError(f"{name} is {number!r}, expected a whole number of at least 1")
        for name, size in (("penalty", penalty), ("shrinkage", shrinkage), ("passes", passes)):
            if size is not None and not 0 < size < math.inf:
                raise ValueError(f"{name} is {size!r}, expected a number above 0")
        if shrinkage > 1:
            raise ValueError(f"shrinkage is {shrinkage!r}, expected at most 1, where only the mean variance is left")
        self.name = "closed-form" if features == "fourier" else f"closed-form-{features}"
        self.features, self.solver, self.per_unit = features, solver, per_unit
        self.penalty, self.shrinkage, self.passes, self.block = penalty, shrinkage, passes, block
        self._size = 0

    # -- streams -----------------------------------------------------------------------------------------------------

    def prepare(self, stage: Stage) -> None:
        """Allocate sums for the widest last layer that there may be."""
        rows, most, outputs = stage.rows, int(stage.max_hidden[-1]), stage.outputs
        self._size = self.per_unit * most if self.features == "fourier" else 1 + most
        self._outputs, like = outputs, stage.network.weights[-1]
        self._sums = ClassSums.zeros(rows, self._size, outputs, like)
        room = -(-max(self.block, stage.batch_size) // stage.batch_size) * stage.batch_size
        self._waiting = like.new_zeros((rows, room, self._size)), like.new_zeros((rows, room, outputs))
        self._filled = 0
        self._weights, self._bias = like.new_zeros((rows, self._size, outputs)), like.new_zeros((rows, outputs))
        self._solved_for: NDArray[np.int64] = np.full(rows, -1)
        self._fixed: NDArray[np.bool_] = np.ones(rows, dtype=np.bool_)
        self._scale = like.new_zeros(rows)
        if self.features == "fourier":
            self._frequencies = like.new_zeros((rows, stage.network.inputs, self._size))
            self._phases = like.new_zeros((rows, 1, self._size))

    def begin(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Forget all sums of some rows, and draw their features."""
        index = index_of(rows, stage.network)
        self._sums.clear(index)
        for kept in self._waiting:
            kept[index] = 0.0
        self._solved_for[rows] = -1
        self._fixed[rows] = self.features != "first-task-network"
        if self.features == "fourier":
            self._scale[index] = 0.0
            frequencies, phases = fourier_bank(stage.seeds[rows], stage.network.inputs, self._size)
            self._frequencies[index] = frequencies.to(self._frequencies)
            self._phases[index] = phases.to(self._phases)

    def rehearse(self, stage: Stage, batch: Batch) -> Batch:
        """Count the samples of a minibatch, which itself stays as it is."""
        counted = self._fixed & self._within_passes(stage)
        if counted.any():
            self._count(stage, batch, counted)
        return batch

    def after_backward(self, stage: Stage) -> None:
        """Hidden layers do not train where they are features; nor where nobody reads them."""
        trains = torch.from_numpy(~self._fixed).to(stage.network.weights[0])[:, None, None]
        for gradient in stage.network.gradients[:-1]:
            gradient.mul_(trains)

    def grown(self, stage: Stage, layer: int, first: NDArray[np.int64], amounts: NDArray[np.int64]) -> None:
        """Units that are there do not read the new ones, so that they stay the features that they are."""
        layout = stage.network.layout
        place = np.arange(layout.active[layer])[None, :]
        protected = self._fixed & (stage.steps > 0)  # initial units come together
        new = (place >= first[:, None]) & (place < (first + amounts)[:, None]) & protected[:, None]
        kept = torch.from_numpy(~new).to(stage.network.weights[0])[:, :, None]
        for block, start in layout.outlets(layer):
            if block < layout.depth:
                begin = start + layout.frozen[layer]
                stage.network.weights[block][:, begin : begin + layout.active[layer]].mul_(kept)

    def finish_task(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Where features were still learned, fix them and count the task's samples."""
        learned = rows & ~self._fixed
        if not learned.any():
            return
        self._fixed |= learned
        stage.restart(learned)  # moments would go on moving the weights
        passes, size = self.passes or 1.0, stage.batch_size
        needed = np.where(learned, np.ceil(passes * stage.sample_counts / size), 0).astype(np.int64)
        for number in range(int(needed.max())):
            self._count(stage, stage.draw(number, size), needed > number)

    # -- counting ----------------------------------------------------------------------------------------------------

    def _within_passes(self, stage: Stage) -> NDArray[np.bool_]:
        if self.passes is None or not stage.scenario.boundaries:
            return np.ones(stage.rows, dtype=np.bool_)
        return np.asarray(stage.task_steps * stage.batch_size < self.passes * stage.sample_counts)

    def _count(self, stage: Stage, batch: Batch, rows: NDArray[np.bool_]) -> None:
        """Put the samples of some rows into the block that waits for being added."""
        if self.features == "fourier":
            self._set_scale(stage.inputs_of(batch.inputs)[:, :, :-1])
        features, targets = self._waiting
        samples = batch.inputs.shape[1]
        if self._filled + samples > features.shape[1]:
            self._settle()
        part = slice(self._filled, self._filled + samples)
        features[:, part] = self._features_of(stage, batch.inputs, self._size)
        counted = torch.from_numpy(rows).to(targets)[:, None, None]
        targets[:, part] = batch.targets.transpose(1, 2) * counted
        self._filled += samples
        self._solved_for[rows] = -1

    def _set_scale(self, real: Tensor) -> None:
        """The first samples that a row counts say how far apart samples are; those that are only answered never do."""
        fresh = self._scale == 0
        if bool(fresh.any()):
            variance = real.flatten(1).var(dim=1).clamp(min=1e-12)
            self._scale = torch.where(fresh, (2.0 / (real.shape[2] * variance)).sqrt(), self._scale)

    def _settle(self) -> None:
        """Add the waiting samples to the sums."""
        if self._filled:
            features, targets = self._waiting
            self._sums.add(features[:, : self._filled], targets[:, : self._filled])
            self._filled = 0

    def _features_of(self, stage: Stage, x: Tensor, count: int) -> Tensor:
        """The first features of network inputs, (N, B, count)."""
        if self.features != "fourier":
            read = stage.read(x)[-1]
            born = torch.from_numpy(stage.network.birth_index(stage.network.depth - 1).clip(min=0)).to(read.device)
            read = read[:, :, : born.shape[1]]
            # Padding computes zero, so it may be added to the constant unit.
            whole = read.new_zeros((*read.shape[:2], self._size))
            return whole.scatter_add_(2, born[:, None, :].expand_as(read), read)[:, :, :count]
        real = stage.inputs_of(x)[:, :, :-1]
        angle = torch.bmm(real * self._scale[:, None, None], self._frequencies[:, :, :count])
        return angle.add_(self._phases[:, :, :count]).cos_().mul_(math.sqrt(2.0))

    # -- answering ---------------------------------------------------------------------------------------------------

    def unlocked(self, stage: Stage) -> NDArray[np.int64]:
        """Features that take part in each row's answer, (N,); the constant unit of a network is one of them."""
        width = stage.network.widths[:, -1]
        return np.minimum(width * self.per_unit if self.features == "fourier" else 1 + width, self._size)

    def answer(self, stage: Stage, x: Tensor, task: NDArray[np.int64]) -> Tensor | None:
        """Scores of all outputs, whatever the task; until features are fixed, the network's own."""
        unlocked = self.unlocked(stage)
        self._solve(unlocked)
        most = int(unlocked.max())
        scores = torch.bmm(self._features_of(stage, x, most), self._weights[:, :most]) + self._bias[:, None, :]
        if self._fixed.all():
            return scores
        fixed = torch.from_numpy(self._fixed).to(scores.device)[:, None, None]
        return torch.where(fixed, scores, stage.forward(x))

    def _solve(self, unlocked: NDArray[np.int64]) -> None:
        """Solve the rows whose sums or features have changed since they were solved last."""
        self._settle()
        solve = (
            partial(ridge, penalty=self.penalty) if self.solver == "ridge" else partial(lda, shrinkage=self.shrinkage)
        )
        for row in map(int, np.flatnonzero(self._solved_for != unlocked)):
            counts, size = self._sums.counts[row], int(unlocked[row])
            self._weights[row], self._bias[row] = 0.0, UNSEEN
            if bool(counts.sum() > 0) and size:
                weights, bias = solve(self._sums.second[row, :size, :size], self._sums.first[row, :size], counts)
                self._weights[row, :size], self._bias[row] = weights.to(self._weights), bias.to(self._bias)
            self._solved_for[row] = size

    def memory(self, architecture: Architecture) -> NDArray[np.int64]:
        """Bytes of the sums, the waiting block and the solution.

        Sums are charged for all features that may ever be unlocked, because they are counted from the first sample on.
        Random features come from the row's seed and are not charged.
        """
        if not self._size:
            return np.zeros(architecture.rows, dtype=np.int64)
        number = self._weights.element_size()
        waiting = sum(kept[0].numel() for kept in self._waiting)
        solution = (self._size + 1) * self._outputs
        each = sums_bytes(self._size, self._outputs, number) + number * (waiting + solution)
        return np.full(architecture.rows, each, dtype=np.int64)


PROTECTIONS.register("closed-form", ClosedForm)
PROTECTIONS.register("closed-form-network", partial(ClosedForm, "random-network"))
