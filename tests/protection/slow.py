"""One network trained the slow way, with autograd: what penalties are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from growenv.learner import Learner
from growenv.protection import Batch, Protection, Stage
from tests.reference import Row, check_padding, logits_of, row_of
from tests.rollouts import context, learner, task

CLASSES = ((0, 1), (4, 5, 6), (2, 3))
"""Of three tasks, more in the middle one than before and after it."""


class Slow:
    """A protection of one network, as its paper has it; this one does nothing."""

    def begin(self, net: SlowNet) -> None:
        """The network is fresh."""

    def loss(self, net: SlowNet, x: Tensor, logits: Tensor) -> Tensor:
        """What is added to the loss, from inputs (B, D + 1) and logits without `absent`, (B, C)."""
        return torch.zeros((), dtype=torch.float64)

    def stepped(self, gradients: list[Tensor], moved: list[Tensor]) -> None:
        """A step was made."""

    def widened(self, net: SlowNet) -> None:
        """Units have come."""

    def finished(self, net: SlowNet, drawn: list[Batch], row: int) -> None:
        """A task has ended."""

    def entered(self, net: SlowNet) -> None:
        """Another one begins, and its head is there."""


class SlowNet:
    """Parameters of one row in float64, as `tests.reference.Row` has them, trained with SGD or Adam.

    Args:
        weights: where it starts.
        rate: learning rate.
        adam: Adam with decays 0.9 and 0.99 rather than SGD.
    """

    def __init__(self, weights: Row, rate: float, adam: bool) -> None:
        self.weights, self.rate, self.adam = weights, rate, adam
        self.restart()

    @property
    def parameters(self) -> list[Tensor]:
        return self.weights.trained

    def restart(self) -> None:
        self.count = 0
        self.moments = [[torch.zeros_like(each) for _ in range(2)] for each in self.parameters]

    def widen(self, now: Row) -> None:
        """Take new units, which come last, from the learner; what was there is the same."""
        for old, new in zip(self.parameters, now.trained, strict=True):
            assert torch.equal(new[: old.shape[0], : old.shape[1]], old)
        self.weights = now
        self.moments = [
            [padded(moment, each) for moment in pair] for pair, each in zip(self.moments, now.trained, strict=True)
        ]

    def step(self, batch: Batch, row: int, slow: Slow) -> None:
        """One minibatch."""
        for each in self.parameters:
            each.requires_grad_(True)
        logits = logits_of(self.weights, batch.inputs[row])
        answer = torch.log_softmax(logits + batch.absent[row].T, dim=1)
        loss = -(batch.targets[row].T * answer).sum(dim=1).mean() + slow.loss(self, batch.inputs[row], logits)
        gradients = [each.detach() for each in torch.autograd.grad(loss, self.parameters)]
        for each in self.parameters:
            each.requires_grad_(False)
        before = [each.clone() for each in self.parameters]
        self._descend(gradients)
        slow.stepped(gradients, [now - then for now, then in zip(self.parameters, before, strict=True)])

    def _descend(self, gradients: list[Tensor]) -> None:
        self.count += 1
        for each, gradient, (first, second) in zip(self.parameters, gradients, self.moments, strict=True):
            if not self.adam:
                each -= self.rate * gradient
                continue
            first.mul_(0.9).add_(0.1 * gradient)
            second.mul_(0.99).add_(0.01 * gradient**2)
            root = (second / (1 - 0.99**self.count)).sqrt() + 1e-8
            each -= self.rate * first / (1 - 0.9**self.count) / root


def padded(matrix: Tensor, like: Tensor) -> Tensor:
    """A matrix with zeros for rows and columns that came since."""
    wider = torch.zeros_like(like)
    wider[: matrix.shape[0], : matrix.shape[1]] = matrix
    return wider


def slow_fisher(weights: Row, x: Tensor, absent: Tensor, labels: str, right: Tensor) -> list[Tensor]:
    """Mean over samples of squared gradients of log p(label), sample by sample and label by label.

    Args:
        weights: the network.
        x: inputs, (B, D + 1).
        absent: added to the logits, (B, C).
        labels: "exact", "true" or "predicted".
        right: right outputs, int64 (B,).
    """
    total = [torch.zeros_like(each) for each in weights.trained]
    for each in weights.trained:
        each.requires_grad_(True)
    for number in range(len(x)):
        logs = torch.log_softmax(logits_of(weights, x[number : number + 1]) + absent[number], dim=1)[0]
        p = logs.detach().exp()
        shares = {
            "exact": enumerate(p.tolist()),
            "true": [(int(right[number]), 1.0)],
            "predicted": [(int(p.argmax()), 1.0)],
        }[labels]
        for label, share in shares:
            if share == 0.0:
                continue
            for kept, part in zip(
                total, torch.autograd.grad(logs[label], weights.trained, retain_graph=True), strict=True
            ):
                kept += share * part**2 / len(x)
    for each in weights.trained:
        each.requires_grad_(False)
    return total


def recording(kind: type[Protection], **options: Any) -> Protection:
    """A protection that keeps every minibatch in `batches`."""

    class Recording(kind):  # type: ignore[misc, valid-type]
        batches: list[Batch]

        def on_logits(self, stage: Stage, batch: Batch, logits: Tensor, gradient: Tensor) -> None:
            kept = {name: getattr(batch, name).clone() for name in ("inputs", "targets", "absent")}
            self.batches.append(replace(batch, **kept))
            super().on_logits(stage, batch, logits, gradient)

    part = Recording(**options)
    part.batches = []
    return part


def assert_follows(kind: type[Protection], slow: Sequence[Slow], draws: Sequence[int] = (), **options: Any) -> Learner:
    """Three networks and as many slow ones go through three tasks and grow in the middle of each.

    Args:
        kind: the protection.
        slow: what it is compared with, one for each row.
        draws: samples of every draw at a task's end.
        options: those of the protection, in `protection`, and those of the learner.
    """
    part = recording(kind, **options.pop("protection"))
    ours = learner(3, protection=part, minibatches=3, dtype=torch.float64, **options)
    everyone, rate, adam = np.ones(3, dtype=bool), ours.config.learning_rate, ours.config.optimizer == "adam"
    ours.begin(everyone, [context([task(*classes) for classes in CLASSES], seed) for seed in range(3)])
    nets = [SlowNet(row_of(ours.network, row), rate, adam) for row in range(3)]
    for net, each in zip(nets, slow, strict=True):
        each.begin(net)
    for number in range(3):
        _train(ours, nets, slow)
        ours.grow(np.array([0, 1, 0]), np.array([3, 9, 0]))
        for row, net in enumerate(nets):
            net.widen(row_of(ours.network, row))
            slow[row].widened(net)
        _train(ours, nets, slow)
        if number < 2:
            drawn = [ours.stage.draw(chunk, count) for chunk, count in enumerate(draws)]
            ours.next_task(everyone)
            for row, net in enumerate(nets):
                slow[row].finished(net, drawn, row)
                net.weights.trained[-1] = row_of(ours.network, row).trained[-1]
                net.restart()
                slow[row].entered(net)
    return ours


def _train(ours: Learner, nets: list[SlowNet], slow: Sequence[Slow]) -> None:
    batches: list[Batch] = ours.protection.batches  # type: ignore[attr-defined]
    batches.clear()
    ours.train()
    check_padding(ours.network)
    for row, net in enumerate(nets):
        for batch in batches:
            net.step(batch, row, slow[row])
        for given, expected in zip(row_of(ours.network, row).trained, net.parameters, strict=True):
            torch.testing.assert_close(given, expected, atol=1e-8, rtol=1e-6)
        # Where nothing but a penalty pulls, Adam makes a full step of a difference in the last bit.
        net.weights = row_of(ours.network, row)
