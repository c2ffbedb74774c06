"""Quadratic penalties: weights that mattered for old tasks are drawn back to where these left them (L2, EWC)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from growenv.growth.evidence import CrossEntropy, Evidence
from growenv.networks import StackedMLP
from growenv.networks.layout import Layout
from growenv.networks.live import index_of, live_inputs, live_weights
from growenv.networks.optimizers import TINY
from growenv.protection.base import NUMBER_BYTES, PROTECTIONS, Protection
from growenv.protection.fisher import check_labels, drawn_labels, squared_gradients
from growenv.protection.strengths import checked_strength, family, row_strengths
from growenv.randomness import Purpose, uniform

if TYPE_CHECKING:
    from growenv.hardware import Architecture
    from growenv.protection.stage import Stage

IMPORTANCE, CENTRE = "penalty_importance", "penalty_centre"
"""Buffers: importance of every weight, the strength included, and where the penalty draws it to."""
FISHER_SAMPLES = 1024
"""Samples of a Fisher estimate: the error of a mean is then 1/32 of the spread among samples."""
_PIECE = 1 << 16  # numbers treated at once, so that what lies between two operations stays in the cache
_CHUNK = 256  # samples seen at once


def without_tiny(importance: Tensor) -> Tensor:
    """Zero for what matters to nobody: later it would make denormals, which are slow."""
    return torch.hardshrink(importance, TINY)


class QuadraticPenalty(Protection):
    """Adds ``1/2 sum_i importance_i (w_i - centre_i)^2`` to every row's loss; a derived class says what matters.

    Weights that grow later have importance zero, and so have heads that belong to one task only, which are put aside
    with it. A growth operator that divides a unit's outgoing weights among copies moves these weights away from
    their centre, and the penalty draws them back.

    Args:
        strength: factor of the penalty, at least 0, one for all rows or one for each, (N,); None for `published`.

    Raises:
        ValueError: no such strength.

    Attributes:
        published: the strengths that a paper's code uses for Split MNIST, by `family` of the scenario.
        copies: numbers kept for each guarded weight.
    """

    published: ClassVar[dict[str, float]] = {}
    copies: ClassVar[int] = 2

    def __init__(self, strength: ArrayLike | None = None) -> None:
        self._given = checked_strength("strength", strength)
        self._shared = True

    def prepare(self, stage: Stage) -> None:
        """Add the buffers."""
        self._shared = not stage.heads_apart
        self.strength = row_strengths(self._given, self.published, stage)
        stage.network.add_buffer(IMPORTANCE)
        stage.network.add_buffer(CENTRE)

    def after_backward(self, stage: Stage) -> None:
        """Add the derivative of the penalty."""
        if not stage.finished.any():
            return
        network = stage.network
        flats = [network.gradient, *(network.buffers[name] for name in (IMPORTANCE, "weights", CENTRE))]
        for gradient, importance, weights, centre in zip(*(torch.split(flat, _PIECE) for flat in flats), strict=True):
            gradient.addcmul_(importance, weights - centre)

    def penalty(self, network: StackedMLP) -> Tensor:
        """What is added to the loss of each row, (N,)."""
        parts = zip(network.weights, *self._kept(network), strict=True)
        return torch.stack([0.5 * (f * (w - c).square()).sum(dim=(1, 2)) for w, f, c in parts]).sum(dim=0)

    def memory(self, architecture: Architecture) -> NDArray[np.int64]:
        """Bytes of the numbers kept for each guarded weight, int64 (N,)."""
        numbers = architecture.connections()[:, :-1].sum(axis=1) + architecture.units.sum(axis=(1, 2))
        if self._shared:
            numbers = architecture.connections().sum(axis=1) + architecture.biases()
        return np.asarray(self.copies * NUMBER_BYTES * numbers, dtype=np.int64)

    def _kept(self, network: StackedMLP) -> tuple[list[Tensor], list[Tensor]]:
        layout: Layout = network.layout
        return layout.blocks(network.buffers[IMPORTANCE]), layout.blocks(network.buffers[CENTRE])

    def _guarded(self, network: StackedMLP) -> range:
        """Blocks that later tasks train as well."""
        return range(network.depth + self._shared)


class L2(QuadraticPenalty):
    """Every weight is drawn to where the last task left it: ``strength/2 sum_i (w_i - w_i^prev)^2``.

    Of a shared head, outputs that took part in no loss so far are free. The published strengths are twice the
    coefficients of Hsu et al.'s code (GT-RIPL/Continual-Learning-Benchmark), which has no factor of one half.

    Source: the baseline of Kirkpatrick et al. 2017, arXiv 1612.00796, and Hsu et al. 2018, arXiv 1810.12488.
    """

    name = "l2"
    published: ClassVar[dict[str, float]] = {"task": 0.02, "domain": 1.0, "class": 200.0}

    def finish_task(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """All weights that are there now matter alike."""
        network, index = stage.network, index_of(rows, stage.network)
        importances, centres = self._kept(network)
        for block in self._guarded(network):
            there = live_weights(network, block) if block < network.depth else self._live_head(stage)
            importances[block][index] = torch.maximum(importances[block], self.strength * there)[index]
            centres[block][index] = network.weights[block][index]

    def _live_head(self, stage: Stage) -> Tensor:
        """True where the head has a weight whose output takes part in the loss, (N, fan_in, C)."""
        read = torch.from_numpy(live_inputs(stage.network, stage.network.depth)).to(stage.network.device)
        return read[:, :, None] & (stage.absent == 0).transpose(1, 2)


class EWC(QuadraticPenalty):
    """Elastic weight consolidation with a penalty for each finished task.

    Adds ``strength/2 sum_s sum_i F_i^s (w_i - w_i^s)^2`` over the finished tasks s, w^s the weights at their ends. F^s
    is the mean over samples of task s of the squared gradients of log p(label | sample), sample by sample.

    A sum of quadratics is one quadratic, up to a constant: its importance is ``F = sum_s F^s`` and its centre the mean
    of the w^s weighted by F^s. So two numbers are kept for a weight, however many tasks have ended, with the gradient
    of all separate penalties.

    The published strengths are those of van de Ven et al. 2022 (GMvandeVen/continual-learning) with exact labels. They
    are for Adam: plain gradient descent diverges where learning rate times importance passes 2.

    Args:
        strength: as in `QuadraticPenalty`.
        labels: ``"exact"``, every label weighted by its probability; ``"sampled"``, one drawn from the network's
            answer; ``"true"``, the right one; ``"predicted"``, the likeliest one.
        samples: samples of an estimate, at least 1, drawn with replacement from the task's training samples.

    Raises:
        ValueError: a number out of range, or unknown labels.

    Source: Kirkpatrick et al. 2017, arXiv 1612.00796.
    """

    name = "ewc"
    published: ClassVar[dict[str, float]] = {"task": 1e5, "domain": 1e10, "class": 1e9}

    def __init__(self, strength: ArrayLike | None = None, labels: str = "exact", samples: int = FISHER_SAMPLES) -> None:
        super().__init__(strength)
        check_labels(labels)
        if samples < 1:
            raise ValueError(f"a Fisher estimate needs at least 1 sample, got {samples}")
        self.labels, self.samples = labels, samples

    def finish_task(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Measure what mattered for the task that ends."""
        network, index = stage.network, index_of(rows, stage.network)
        importances, centres = self._kept(network)
        fisher = self.fisher(stage)
        for block in self._guarded(network):
            new = without_tiny(self.strength * fisher[block])[index]
            kept = importances[block][index], centres[block][index]
            importances[block][index], centres[block][index] = self._joined(*kept, new, network.weights[block][index])

    def _joined(self, old: Tensor, centre: Tensor, new: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Importance and centre of an old and a new penalty together."""
        total = old + new
        share = torch.where(total > 0, new / total, 0.0)
        return total, torch.lerp(centre, weights, share)

    def fisher(self, stage: Stage) -> list[Tensor]:
        """The diagonal of the Fisher information on the current task, L + 1 blocks (N, fan_in, fan_out)."""
        total: list[Tensor] = []
        for chunk, start in enumerate(range(0, self.samples, _CHUNK)):
            part = self._squares(stage, chunk, min(_CHUNK, self.samples - start))
            total = [one.add_(two) for one, two in zip(total, part, strict=True)] if total else part
        return [each.div_(self.samples) for each in total]

    def _squares(self, stage: Stage, chunk: int, count: int) -> list[Tensor]:
        batch = stage.draw(chunk, count)
        absent = batch.absent.transpose(1, 2)
        seen = Evidence(stage.network, batch.inputs, CrossEntropy(batch.outputs, absent))
        # Outputs before samples: a softmax over a short last dimension is ten times slower.
        answer = torch.softmax((seen.logits + absent).transpose(1, 2).contiguous(), 1).transpose(1, 2)
        labels = None
        if self.labels == "sampled":
            counters = stage.steps[:, None], np.uint64(chunk), np.arange(count)
            draws = uniform(stage.seeds[:, None], Purpose.PROTECTION, *counters)
            labels = drawn_labels(answer, torch.from_numpy(draws).to(answer.device))
        elif self.labels != "exact":
            labels = batch.outputs if self.labels == "true" else answer.argmax(dim=2)
        return squared_gradients(seen, answer, labels)


class OnlineEWC(EWC):
    """Elastic weight consolidation with one running penalty: ``F <- gamma F + F^t`` about the last task's weights.

    Van de Ven's code multiplies by gamma once more inside the penalty; this does not. Its strengths and decays are the
    published ones here.

    Args:
        strength, labels, samples: as in `EWC`.
        gamma: what is left of older importances after a task, in (0, 1]; None for the published one.

    Raises:
        ValueError: a number out of range, or unknown labels.

    Source: Schwarz et al. 2018, arXiv 1805.06370.
    """

    name = "online-ewc"
    published: ClassVar[dict[str, float]] = {"task": 1e8, "domain": 1e8, "class": 1e9}
    published_gamma: ClassVar[dict[str, float]] = {"task": 0.8, "domain": 0.7, "class": 0.8}

    def __init__(
        self,
        strength: ArrayLike | None = None,
        gamma: float | None = None,
        labels: str = "exact",
        samples: int = FISHER_SAMPLES,
    ) -> None:
        super().__init__(strength, labels, samples)
        if gamma is not None and not 0 < gamma <= 1:
            raise ValueError(f"gamma is the share of importance that is left after a task, in (0, 1]; got {gamma}")
        self._given_gamma = gamma

    def prepare(self, stage: Stage) -> None:
        """Add the buffers."""
        super().prepare(stage)
        published = self.published_gamma[family(stage.scenario)]
        self.gamma = published if self._given_gamma is None else self._given_gamma

    def _joined(self, old: Tensor, centre: Tensor, new: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        return self.gamma * old + new, weights


PROTECTIONS.register("l2", L2)
PROTECTIONS.register("ewc", EWC)
PROTECTIONS.register("online-ewc", OnlineEWC)
