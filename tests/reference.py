"""Slow, plain versions of what stacks do: one row at a time, without padding, with autograd."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.config import GrowthConfig
from growenv.networks import StackedMLP
from growenv.streams import Context, Dataset


@dataclass
class Row:
    """One quantity of one row's network (weights, gradients, a moment), units in birth order, no padding.

    Attributes:
        frozen: numbers into the frozen units of each layer from what they can read, (D + 1 or 1 + f, f).
        trained: numbers into the active units of each layer and into the head, (D + 1 or 1 + f + a, a or C).
        bypassed: layers around which wires lead; what these bring comes last in what is read.
    """

    frozen: list[Tensor]
    trained: list[Tensor]
    bypassed: tuple[int, ...] = ()

    def parts(self) -> list[Tensor]:
        return [*self.frozen, *self.trained]


def live(network: StackedMLP, layer: int, row: int) -> Tensor:
    """Positions of the units of a layer that a row has, the constant one included, in birth order."""
    return torch.from_numpy(np.flatnonzero(network.birth_index(layer)[row] >= 0))


def row_of(network: StackedMLP, row: int, blocks: list[Tensor] | None = None) -> Row:
    """The weights of one row, or what else the given blocks hold."""
    blocks = network.weights if blocks is None else blocks
    frozen, trained = [], []
    for layer, block in enumerate(blocks):
        source = slice(None) if layer == 0 else torch.from_numpy(np.flatnonzero(network.read_index(layer)[row] >= 0))
        if layer == network.depth:
            trained.append(block[row][source].clone())
            continue
        width, active = int(network.frozen_units[row, layer]), int(network.active_units[row, layer])
        below = torch.from_numpy(np.flatnonzero(_frozen_read(network, layer)[row]))
        frozen.append(network.frozen[layer][row, below, 1 : 1 + width].clone())
        trained.append(block[row][source][:, :active].clone())
    return Row(frozen, trained, network.bypassed)


def _frozen_read(network: StackedMLP, layer: int) -> NDArray[np.bool_]:
    """Which rows of a layer's frozen weights belong to a unit that is there, (N, frozen_in)."""
    if layer == 0:
        return np.ones((network.rows, network.inputs + 1), dtype=bool)
    there = []
    for number, span in enumerate(network.layout.spans(layer)):
        at = np.arange(span.packed.stop - span.packed.start)
        there.append((at <= network.frozen_units[:, span.source, None]) & (at >= min(number, 1)))
    return np.concatenate(there, axis=1)


def logits_of(weights: Row, x: Tensor) -> Tensor:
    """Logits of one row's network, shape (B, C), for inputs (B, D + 1) whose last value is one."""
    ones = torch.ones((len(x), 1), dtype=x.dtype)
    frozen = everything = x
    for layer, (old, new) in enumerate(zip(weights.frozen, weights.trained[:-1], strict=True)):
        brought = (
            (frozen[:, 1:], everything[:, 1:]) if layer in weights.bypassed else (frozen[:, :0], everything[:, :0])
        )
        active = torch.relu(everything @ new)
        frozen = torch.cat((ones, torch.relu(frozen @ old)), dim=1)
        everything = torch.cat((frozen, active, brought[1]), dim=1)
        frozen = torch.cat((frozen, brought[0]), dim=1)
    return everything @ weights.trained[-1]


def assert_equal_rows(given: Row, expected: Row) -> None:
    """Two networks are the same to the last bit."""
    for one, two in zip(given.parts(), expected.parts(), strict=True):
        assert torch.equal(one, two)


def check_padding(network: StackedMLP) -> None:
    """Everything that belongs to no unit is exactly zero, and the constant units are one."""
    flats = {**network.buffers, "gradient": network.gradient}
    for name, flat in flats.items():
        for layer, block in enumerate(network.layout.blocks(flat)):
            where = f"{name}, block {layer}"
            if layer > 0:
                dead = torch.from_numpy(network.read_index(layer) < 0)
                assert not block[dead].any(), where
            if layer < network.depth:
                units = torch.from_numpy(network.active_units[:, layer])
                missing = torch.arange(block.shape[2])[None, :] >= units[:, None]
                assert not block.transpose(1, 2)[missing].any(), where
    for layer, weight in enumerate(network.frozen):
        units = torch.from_numpy(network.frozen_units[:, layer])
        missing = torch.arange(weight.shape[2])[None, :] > units[:, None]
        assert not weight.transpose(1, 2)[missing].any(), f"frozen {layer}"
        constant = torch.zeros(weight.shape[:2], dtype=weight.dtype)
        constant[:, -1 if layer == 0 else 0] = 1.0
        assert torch.equal(weight[:, :, 0], constant), f"constant unit of layer {layer}"
        missing = torch.from_numpy(~_frozen_read(network, layer))
        assert not weight[missing].any(), f"frozen {layer}"


class SlowRow:
    """One row of a learner, trained the slow way in float64.

    Images are permuted rather than weights, a layer is one plain matrix whose rows are units in birth order (input 0 is
    the constant one), gradients come from autograd, and frozen units are a mask on gradients.
    """

    def __init__(self, config: GrowthConfig, dataset: Dataset, context: Context, freezes: bool) -> None:
        self.config, self.dataset, self.context, self.freezes = config, dataset, context, freezes
        self.task = 0
        below = (dataset.features, *(0 for _ in config.hidden[1:]))
        self.weights = [torch.zeros((0, 1 + units), dtype=torch.float64) for units in below]
        self.frozen = [0] * len(config.hidden)
        self.heads: dict[int, Tensor] = {}
        self._forget()

    def _forget(self) -> None:
        self.count = 0
        self.moments = [[torch.zeros_like(each) for _ in range(2)] for each in self.parameters]

    @property
    def parameters(self) -> list[Tensor]:
        return [*self.weights, *([self.heads[self.task]] if self.task in self.heads else [])]

    @property
    def order(self) -> Tensor:
        return torch.from_numpy(self.context.tasks[self.task].transform.pixel_order(self.dataset))

    # -- following a learner ---------------------------------------------------------------------------------------

    def adopt(self, network: StackedMLP, row: int, head: bool) -> None:
        """Take the incoming weights of units that are new in row `row`, and with `head` its head; widen the rest."""
        theirs = row_of(network, row)
        for layer, block in enumerate(theirs.trained[:-1]):
            columns = block.T[self.weights[layer].shape[0] - self.frozen[layer] :]
            if layer == 0:  # the learner's weights read samples, ours read the transformed images
                columns = torch.cat((columns[:, -1:], columns[:, :-1][:, self.order]), dim=1)
            self.weights[layer] = torch.cat((_widened(self.weights[layer], columns.shape[1]), columns))
        if head:
            self.heads[self.task] = theirs.trained[-1].T[: len(self.context.tasks[self.task].classes)].clone()
            self._forget()
        else:
            self.heads[self.task] = _widened(self.heads[self.task], theirs.trained[-1].shape[0])
            self.moments = [
                [_padded(moment, each) for moment in pair]
                for pair, each in zip(self.moments, self.parameters, strict=True)
            ]

    def next_task(self) -> None:
        if self.freezes:
            self.frozen = [len(each) for each in self.weights]
        self.task += 1

    # -- computing -------------------------------------------------------------------------------------------------

    def inputs(self, samples: Tensor, task: int) -> Tensor:
        transform = self.context.tasks[task].transform
        images = self.dataset.bank(transform.base)[samples].double()
        images = (images - self.dataset.shift) * self.dataset.scale
        images = images[:, torch.from_numpy(transform.pixel_order(self.dataset))]
        return torch.cat((torch.ones((len(images), 1), dtype=torch.float64), images), dim=1)

    def logits(self, samples: Tensor, task: int) -> Tensor:
        hidden = self.inputs(samples, task)
        for weight in self.weights:
            hidden = torch.cat((hidden[:, :1], torch.relu(hidden[:, : weight.shape[1]] @ weight.T)), dim=1)
        head = self.heads[task]
        return hidden[:, : head.shape[1]] @ head.T

    def activity(self, samples: Tensor, task: int) -> list[Tensor]:
        """How often every unit of every hidden layer is above zero."""
        hidden, active = self.inputs(samples, task), []
        for weight in self.weights:
            units = torch.relu(hidden[:, : weight.shape[1]] @ weight.T)
            active.append(torch.stack([(unit > 0).double().mean() for unit in units.T]))
            hidden = torch.cat((hidden[:, :1], units), dim=1)
        return active

    def labels(self, samples: Tensor, task: int) -> Tensor:
        classes = list(self.context.tasks[task].classes)
        return torch.tensor([classes.index(int(label)) for label in self.dataset.labels[samples]])

    def scores(self, samples: Tensor, task: int) -> tuple[float, float]:
        """Accuracy and cross-entropy."""
        with torch.no_grad():
            logits, labels = self.logits(samples, task), self.labels(samples, task)
            right = (logits.argmax(dim=1) == labels).double().mean()
            return float(right), float(torch.nn.functional.cross_entropy(logits, labels))

    def train(self, samples: Tensor) -> tuple[float, float]:
        """One minibatch; its loss and the mean probability of the right class, both before the step."""
        for each in self.parameters:
            each.requires_grad_(True)
        logits, labels = self.logits(samples, self.task), self.labels(samples, self.task)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        gradients = list(torch.autograd.grad(loss, self.parameters))
        for each in self.parameters:
            each.requires_grad_(False)
        for gradient, frozen in zip(gradients, self.frozen, strict=False):
            gradient[:frozen] = 0.0
        self._step(gradients)
        chosen = torch.softmax(logits, dim=1)[torch.arange(len(labels)), labels]
        return float(loss.detach()), float(chosen.mean().detach())

    def _step(self, gradients: list[Tensor]) -> None:
        rate, (beta1, beta2) = self.config.learning_rate, (0.9, 0.99)
        self.count += 1
        for each, gradient, (first, second) in zip(self.parameters, gradients, self.moments, strict=True):
            if self.config.optimizer == "sgd":
                each -= rate * gradient
                continue
            first.mul_(beta1).add_((1 - beta1) * gradient)
            second.mul_(beta2).add_((1 - beta2) * gradient**2)
            corrected = first / (1 - beta1**self.count), second / (1 - beta2**self.count)
            each -= rate * corrected[0] / (corrected[1].sqrt() + 1e-8)


def _widened(matrix: Tensor, columns: int) -> Tensor:
    """More columns, of zeros."""
    return torch.cat((matrix, torch.zeros((matrix.shape[0], columns - matrix.shape[1]), dtype=matrix.dtype)), dim=1)


def _padded(moment: Tensor, like: Tensor) -> Tensor:
    wider = torch.zeros_like(like)
    wider[: moment.shape[0], : moment.shape[1]] = moment
    return wider
