"""Checks for authors of protections and growth operators: both act on a stack of growing networks in training."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.config import GrowthConfig
from growenv.growth import OPERATORS, GrowthOperator, checked_proposal
from growenv.learner import Learner
from growenv.networks import StackedMLP
from growenv.protection import PROTECTIONS, Protection
from growenv.pruning import prune, removable
from growenv.streams import Context, Dataset, NotVisibleError, draw_context, load_dataset
from growenv.testing.require import own_randomness, require

_TASKS, _ROWS, _TOLERANCE = 3, 3, 1e-5


def check_protection(protection: str | Protection, dataset: str | Dataset = "digits") -> None:
    """Check that a protection keeps its promises while three networks grow over three tasks.

    In every scenario it must train, or say with `NotVisibleError` that it needs what is hidden there.

    Args:
        protection: a registered name or an object.
        dataset: what the networks learn.

    Raises:
        AssertionError: what is wrong with it.
    """
    part, data = PROTECTIONS.make(protection), load_dataset(dataset)
    where = f"protection {part.name!r}"
    named = isinstance(part.name, str) and part.name
    flags = isinstance(part.directed, bool) and isinstance(part.invariant, bool)
    require(named and flags, f"{where} needs a name, and booleans directed and invariant")
    contexts = _contexts(data, _ROWS)
    with own_randomness(where):
        learner = _learner(data, _ROWS, protection=protection)
        fresh = _play(learner, contexts, where)
        again = _play(learner, contexts, where)
        require(_near(again, fresh), f"{where}: begin does not forget; the same stream differs the second time")
        alone = _play(_learner(data, 1, protection=protection), contexts[1:2], where)
        require(_near(alone, fresh[:, 1:2]), f"{where}: a row learns otherwise among other rows than alone")
        _check_partial_begin(learner, contexts, where)
        _check_snapshot(learner, where)
        _check_pruning(_learner(data, _ROWS, protection=protection), contexts, where)
        for scenario in ("domain-incremental", "class-incremental", "task-free"):
            _check_scenario(data, protection, scenario, contexts, where)


def check_operator(operator: str | GrowthOperator, dataset: str | Dataset = "digits") -> None:
    """Check that a growth operator proposes usable weights, and that it preserves the function if it says so.

    The networks have two hidden layers, or begin with one, so that growth in the second deepens them.

    Args:
        operator: a registered name or an object.
        dataset: what the networks learn.

    Raises:
        AssertionError: what is wrong with it.
    """
    part, data = OPERATORS.make(operator), load_dataset(dataset)
    where = f"growth operator {part.name!r}"
    named = isinstance(part.name, str) and part.name and isinstance(part.preserving, bool)
    require(named, f"{where} needs a name and a boolean preserving")
    contexts, amounts = _contexts(data, _ROWS), np.array([3, 0, 2])
    with own_randomness(where):
        for hidden, layer, finished in itertools.product(((5, 4), (5, 0)), range(2), range(2)):
            learner = _learner(data, _ROWS, growth=operator, hidden=hidden)
            grown = _grow(learner, contexts, finished, layer, amounts, where)
            for row in (0, 2):
                single = _learner(data, 1, growth=operator, hidden=hidden)
                alone = _grow(single, contexts[row : row + 1], finished, layer, amounts[row : row + 1], where)
                require(_near(alone, grown[[row]]), f"{where}: a row grows otherwise among other rows than alone")


def _contexts(data: Dataset, rows: int) -> list[Context]:
    pinned: dict[str, Any] = {"tasks": _TASKS, "budget": (1.0, 1.0), "price": (0.0, 0.0)}
    return [draw_context("permuted", data, "train", row, inner_seed=10 + row, **pinned) for row in range(rows)]


def _learner(data: Dataset, rows: int, **parts: Any) -> Learner:
    small: dict[str, Any] = {"hidden": (5, 4), "max_hidden": (24, 24), "minibatches": 4, "batch_size": 16}
    config = GrowthConfig.from_options(dataset=data, validation_samples=32, test_samples=32, **{**small, **parts})
    return Learner(config, data, rows, _TASKS)


def _near(given: Tensor, expected: Tensor) -> bool:
    return torch.allclose(given, expected, atol=_TOLERANCE, rtol=_TOLERANCE)


def _logits(learner: Learner, task: int | NDArray[np.int64]) -> Tensor:
    """Logits on the validation samples of one task of each row, shape (N, V, C)."""
    tasks = np.array(np.broadcast_to(task, learner.rows))
    samples, _, _ = learner.data.evaluation_set("validation", tasks)
    return learner.logits(learner.data.gather(samples), tasks).clone()


def _check_weights(network: StackedMLP, where: str) -> None:
    """Weights are finite, and zero where there is no unit."""
    blocks = [network.layout.blocks(flat) for flat in network.buffers.values()]
    for layer, units in enumerate(network.active_units.T):
        live = torch.from_numpy(network.read_index(layer + 1) >= 0)
        missing = torch.from_numpy(np.arange(network.layout.active[layer]) >= units[:, None])
        for block in blocks:
            require(torch.isfinite(block[layer]).all(), f"{where}: a number of layer {layer} is not finite")
            padding = block[layer].transpose(1, 2)[missing], block[layer + 1][~live]
            zero = not padding[0].any() and not padding[1].any()
            require(zero, f"{where}: weights of units that do not exist are no longer zero in layer {layer}")


def _play(learner: Learner, contexts: Sequence[Context], where: str) -> Tensor:
    """Grow and train over all tasks; logits on every task at the end, shape (T, N, V, C)."""
    everyone = np.ones(learner.rows, dtype=bool)
    learner.begin(everyone, contexts)
    finished: list[Tensor] = []
    for task in range(_TASKS):
        learner.train()
        learner.grow(np.full(learner.rows, task % 2), np.full(learner.rows, 2))
        learner.train()
        _check_weights(learner.network, where)
        if task < _TASKS - 1:
            finished.append(_finish(learner, task, where))
    final = torch.stack([_logits(learner, task) for task in range(_TASKS)])
    for task, logits in enumerate(finished):
        same = not learner.invariant or torch.equal(logits, final[task])
        require(same, f"{where} says invariant, but later training or growth changed the logits of task {task}")
    return final


def _finish(learner: Learner, task: int, where: str) -> Tensor:
    """Go to the next task; logits on the one that was left, shape (N, V, C)."""
    trained = _logits(learner, task)
    learner.next_task(np.ones(learner.rows, dtype=bool))
    logits = _logits(learner, task)
    kept = not learner.invariant or _near(logits, trained)
    require(kept, f"{where} says invariant, but the end of task {task} changed its logits; freeze what they read")
    new = learner.units[np.arange(learner.rows), learner.task]
    guarded = not learner.protection.directed or (learner.network.active_units == new).all()
    require(guarded, f"{where} says directed, but leaves finished units free to read new ones; freeze them")
    return logits


def _check_partial_begin(learner: Learner, contexts: Sequence[Context], where: str) -> None:
    before = _logits(learner, learner.task)[1:]
    learner.begin(np.arange(learner.rows) == 0, contexts)
    after = _logits(learner, learner.task)[1:]
    require(_near(after, before), f"{where}: the begin of one row changed what the others answer")


def _check_snapshot(learner: Learner, where: str) -> None:
    kept = learner.snapshot()
    learner.train()
    first = _logits(learner, learner.task)
    learner.restore(kept)
    learner.train()
    same = torch.equal(_logits(learner, learner.task), first)
    require(same, f"{where}: training after restore differs; keep no reference to the network and no hidden state")


def _check_pruning(learner: Learner, contexts: Sequence[Context], where: str) -> None:
    """Where units are given back, they go, and training goes on."""
    if not learner.protection.frees:
        return
    everyone = np.ones(learner.rows, dtype=bool)
    learner.begin(everyone, contexts)
    learner.train()
    learner.next_task(everyone)
    learner.grow(np.zeros(learner.rows, dtype=np.int64), np.full(learner.rows, 4))
    learner.train()
    for layer in range(learner.network.depth):
        before = learner.network.widths.copy()
        shape = learner.protection.importance(learner.stage, layer).shape
        expected = (learner.rows, learner.network.layout.active[layer])
        require(shape == expected, f"{where}: importance of layer {layer} has shape {shape}, expected {expected}")
        wanted = np.minimum(removable(learner)[:, layer], 2)
        prune(learner, np.full(learner.rows, layer), wanted)
        gone = (before - learner.network.widths)[:, layer]
        require((gone == wanted).all(), f"{where}: asked to take {wanted} units of layer {layer}, {gone} went")
        learner.train()
        _check_weights(learner.network, where)


def _check_scenario(
    data: Dataset, protection: str | Protection, scenario: str, contexts: Sequence[Context], where: str
) -> None:
    """Two tasks and a growth; no number may be lost on the way."""
    everyone = np.ones(_ROWS, dtype=bool)
    try:
        learner = _learner(data, _ROWS, protection=protection, scenario=scenario, minibatches=60)
        learner.begin(everyone, contexts)
        for _ in range(2):
            learner.train()
            learner.grow(np.ones(_ROWS, dtype=np.int64), np.full(_ROWS, 2))
            learner.train()
            learner.next_task(everyone)
        learner.train()
        accuracy = learner.accuracy("validation", learner.task)
    except NotVisibleError:
        return
    _check_weights(learner.network, f"{where} in scenario {scenario!r}")
    require(np.isfinite(accuracy).all(), f"{where}: an accuracy in scenario {scenario!r} is not finite")


def _grow(
    learner: Learner, contexts: Sequence[Context], finished: int, layer: int, amounts: NDArray[np.int64], where: str
) -> Tensor:
    """Grow one layer after some finished tasks, then train; logits on the current task, shape (N, V, C)."""
    everyone = np.ones(learner.rows, dtype=bool)
    learner.begin(everyone, contexts)
    learner.train()
    for _ in range(finished):
        learner.next_task(everyone)
        learner.train()
    _check_proposal(learner, layer, amounts, where)
    first, network = learner.network.active_units[:, layer].copy(), learner.network
    before = torch.stack([_logits(learner, task) for task in range(finished + 1)])
    learner.grow(np.full(learner.rows, layer), amounts)
    after = torch.stack([_logits(learner, task) for task in range(finished + 1)])
    still = torch.from_numpy(amounts == 0)
    require(_near(after[:, still], before[:, still]), f"{where} changed the logits of a row that does not grow")
    change = float((after - before).abs().max())
    preserved = not learner.operator.preserving or change <= _TOLERANCE
    require(preserved, f"{where} says preserving, but growth in layer {layer} changed logits by {change:.2g}")
    learner.train()
    _check_weights(network, where)
    _check_part_taken(network, layer, first, amounts, where)
    return _logits(learner, learner.task)


def _check_proposal(learner: Learner, layer: int, amounts: NDArray[np.int64], where: str) -> None:
    """Shapes and repeatability of the operator's own answer, on a network that is put back afterwards."""
    network, kept = learner.network, learner.snapshot()
    batch = learner.reserve(layer, amounts)
    weights = network.buffers["weights"].clone()
    with torch.no_grad():
        answer, again = (learner.operator.propose(network, batch) for _ in range(2))
    require(torch.equal(network.buffers["weights"], weights), f"{where}: propose changed the network")
    try:
        checked_proposal(network, batch, answer)
    except ValueError as error:
        raise AssertionError(f"{where}: {error}") from error
    live = torch.from_numpy(np.arange(batch.most) < amounts[:, None])
    for name in ("fan_in", "fan_out"):
        one, two = (_new_units(getattr(each, name), name, live) for each in (answer, again))
        require(torch.isfinite(one).all(), f"{where}: {name} is not finite")
        same = torch.equal(one, two)
        require(same, f"{where}: two proposals for one growth differ; draw from the seeds and counters")
    learner.restore(kept)


def _new_units(weights: Tensor | None, name: str, live: Tensor) -> Tensor:
    """The weights of the units that do grow, (units, fan-in or fan-out)."""
    if weights is None:
        return torch.zeros(0)
    return (weights.transpose(1, 2) if name == "fan_in" else weights)[live]


def _check_part_taken(
    network: StackedMLP, layer: int, first: NDArray[np.int64], amounts: NDArray[np.int64], where: str
) -> None:
    """Some new unit of every row that grew is read after training, and reads something."""
    for row in np.flatnonzero(amounts):
        if layer + 1 < network.depth and network.active_units[row, layer + 1] == 0:
            continue  # every unit above is frozen, so nothing can read the new ones yet
        new = slice(int(first[row]), int(first[row] + amounts[row]))
        incoming = network.weights[layer][row][:, new].abs().sum(dim=0)
        outgoing = network.weights[layer + 1][row][network.layout.frozen[layer] :][new].abs().sum(dim=1)
        alive = bool(((incoming > 0) & (outgoing > 0)).any())
        require(alive, f"{where}: no new unit of layer {layer} takes part after training; break the symmetry of zeros")
