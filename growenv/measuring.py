"""What the networks of a learner know: accuracies, losses, activity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.growth.evidence import LEAST_PROBABILITY
from growenv.networks.layout import round_up, take
from growenv.networks.other_weights import activity as active_shares
from growenv.networks.other_weights import forward_with
from growenv.streams.row_data import EVALUATION_CHUNK

if TYPE_CHECKING:
    from growenv.learner import Learner

_NEVER = -1e30
"""Score of a class that no head has."""


def validate(learner: Learner) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Validation accuracy and cross-entropy on the current tasks, two arrays (N,).

    The accuracy is that of the scenario's answers; the loss is that of training.
    """
    if learner.validation is None:
        samples, labels, weights = learner.data.evaluation_set("validation", learner.task)
        learner.validation = learner.data.gather(samples), labels, weights
    x, labels, weights = learner.validation
    read = learner.logits(x, learner.task) if _special(learner) else learner.network.forward(x) + _absent(learner)
    found, loss = _scores(read, labels, weights)
    if learner.scenario.by_identity or (read.shape[2] == learner.classes and _scored_as_trained(learner)):
        return found, loss
    return accuracy(learner, "validation", learner.task), loss


def _absent(learner: Learner) -> Tensor:
    return learner.absent.transpose(1, 2)


def _special(learner: Learner) -> bool:
    return any(learner.overrides(hook) for hook in ("gates", "weights_of", "answer"))


def _scored_as_trained(learner: Learner) -> bool:
    """Whether the outputs that are scored are those that training chooses among."""
    if learner.heads.kind != "shared":
        return False
    return bool((learner.heads.scored(learner.task) == learner.taking_part).all())


def accuracy(learner: Learner, split: str, task: NDArray[np.int64]) -> NDArray[np.float64]:
    """Accuracy of the scenario's answers on one task of each row, (N,); see `Learner.accuracy`."""
    samples, labels, weights = learner.data.evaluation_set(split, task)
    if learner.scenario.scored in ("largest", "likeliest"):
        labels = _classes(learner, labels, task)
    total = np.zeros(learner.rows)
    for start in range(0, samples.shape[1], EVALUATION_CHUNK):
        part = slice(start, start + EVALUATION_CHUNK)
        x = learner.data.gather(samples[:, part])
        total += _scores(answers(learner, x, task), labels[:, part], weights[:, part])[0]
    return total


def answers(learner: Learner, x: Tensor, task: NDArray[np.int64]) -> Tensor:
    """Scores of the outputs that the scenario chooses among, (N, V, C); by class of the data set without identity.

    Args:
        learner: the networks.
        x: inputs of `task` as `RowData.gather` gives them, (N, V, D + 1).
        task: a task of each row, (N,). Only its transform is used where the scenario hides identities at test time.
    """
    heads = learner.heads
    if learner.scenario.scored in ("largest", "likeliest"):
        return _best_of_heads(learner, x, task)
    if heads.kind in ("own", "wide"):
        return learner.logits(x, task)
    head = heads.together(learner.task, learner.data.seeds) if heads.kind == "restored" else None
    found = logits(learner, x, learner.task, task, head)
    return found + heads.absent(heads.scored(task))[:, None, :]


def _best_of_heads(learner: Learner, x: Tensor, source: NDArray[np.int64]) -> Tensor:
    """Score of every class: its largest among the heads of tasks so far, each on its own sub-network."""
    heads, row = learner.heads, torch.arange(learner.rows)[:, None]
    best = torch.full((*x.shape[:2], learner.classes), _NEVER, dtype=x.dtype, device=x.device)
    for number in range(int(learner.task.max()) + 1):
        task = np.minimum(np.full(learner.rows, number), learner.task)
        found = logits(learner, x, task, source)
        if heads.kind == "wide":
            block = np.arange(learner.classes)[None, :] + (task * learner.classes)[:, None]
            found = take(found, torch.from_numpy(block).to(x.device), dim=2)
        classes = heads.classes_of[row[:, 0].numpy(), task]
        there = torch.from_numpy(classes >= 0).to(x.device)[:, None, :]
        found = found.masked_fill(~there, _NEVER)
        if learner.scenario.scored == "likeliest":
            found = torch.softmax(found, dim=2).masked_fill(~there, _NEVER)
        place = torch.from_numpy(np.maximum(classes, 0)).to(x.device)[:, None, :].expand_as(found)
        best.scatter_reduce_(2, place, found, reduce="amax")
    return best


def _classes(learner: Learner, labels: Tensor, task: NDArray[np.int64]) -> Tensor:
    """Classes of the data set from labels within the task, (N, V)."""
    places = learner.heads.classes_of[np.arange(learner.rows), task]
    start = task * learner.classes if learner.heads.kind == "wide" else np.zeros_like(task)
    place = labels - torch.from_numpy(start).to(labels.device)[:, None]
    return torch.gather(torch.from_numpy(np.maximum(places, 0)).to(labels.device), 1, place.clamp_(min=0))


def logits(
    learner: Learner, x: Tensor, task: NDArray[np.int64], source: NDArray[np.int64], head: Tensor | None = None
) -> Tensor:
    """Logits of the sub-networks and heads of `task` for inputs of `source`, (N, V, C), all outputs taking part.

    Args:
        learner: the networks.
        x: inputs as `RowData.gather` gives them, (N, V, D + 1).
        task: whose sub-networks and heads answer, (N,).
        source: whose transforms the inputs have, (N,).
        head: outgoing weights instead of the heads of `task`.
    """
    protection, stage, network = learner.protection, learner.stage, learner.network
    order = None if (source == learner.task).all() else learner.data.order(learner.task, source)
    if learner.overrides("answer"):
        # What is stored reads inputs as the network does now.
        now = x if order is None else take(x, torch.argsort(order, dim=1), dim=2)
        found = protection.answer(stage, now, task)
        if found is not None:
            return found
    head = learner.heads.of(task, learner.task, learner.data.seeds) if head is None else head
    past = bool((task < learner.task).all()) and learner.heads.kind == "own" and protection.invariant
    gates = protection.gates(stage, task) if learner.overrides("gates") else None
    flat = protection.weights_of(stage, task) if learner.overrides("weights_of") else None
    reached = np.cumsum(learner.units, axis=1)[np.arange(learner.rows), task]
    if flat is not None:
        sizes = [round_up(int(width)) for width in reached.max(axis=0)] if past else None
        return forward_with(network, x, flat, head, sizes, gates, order)
    if past:
        sizes = [round_up(1 + int(width)) for width in reached.max(axis=0)]
        return network.forward_frozen(x, head, sizes, order, gates)
    return network.forward(x, head, order, gates)


def activity(learner: Learner) -> NDArray[np.float64]:
    """Spikes per inference: how often units are above zero on the current task's validation samples, (N, T, L).

    Means over the units of every generation and hidden layer; 0 where there are none.
    """
    samples, _, weights = learner.data.evaluation_set("validation", learner.task)
    gates = learner.protection.gates(learner.stage, learner.task) if learner.overrides("gates") else None
    flat = learner.protection.weights_of(learner.stage, learner.task) if learner.overrides("weights_of") else None
    each = active_shares(learner.network, learner.data.gather(samples), weights, flat, gates)
    rates = np.zeros(learner.units.shape)
    row = np.arange(learner.rows)[:, None]
    for layer, active in enumerate(each):
        generation = learner.generation(layer)
        there = generation >= 0
        place = (row * learner.tasks + generation)[there]
        total = np.bincount(place, active.double().cpu().numpy()[there], learner.rows * learner.tasks)
        rates[:, :, layer] = total.reshape(learner.rows, learner.tasks)
    return rates / np.maximum(learner.units, 1)


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
