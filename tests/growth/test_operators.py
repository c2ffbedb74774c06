"""Growth operators, and growth as one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.growth import OPERATORS, GrowthBatch, GrowthOperator, Proposal, RandomGrowth
from growenv.learner import Learner
from growenv.networks import StackedMLP
from growenv.registry import UnknownNameError
from tests.reference import assert_equal_rows, check_padding, row_of
from tests.rollouts import TASKS, assert_same, context, learner

CONTEXTS = [context(TASKS[:3], 11), context(TASKS[1:4], 12), context(TASKS[2:5], 13)]
EVERYONE = np.ones(3, dtype=bool)


def begun(finished: int = 0, dtype: torch.dtype = torch.float64, **options: Any) -> Learner:
    """Three rows that have trained on `finished` tasks and on a part of the next."""
    ours = learner(3, dtype=dtype, **options)
    ours.begin(EVERYONE, CONTEXTS)
    for _ in range(finished):
        ours.train()
        ours.next_task(EVERYONE)
    ours.train()
    return ours


def logits(ours: Learner) -> Tensor:
    """Logits on the validation samples of every task, (T, N, V, C)."""
    every = []
    for number in range(ours.tasks):
        tasks = np.full(ours.rows, number)
        samples, _, _ = ours.data.evaluation_set("validation", tasks)
        every.append(ours.logits(ours.data.gather(samples), tasks).clone())
    return torch.nn.utils.rnn.pad_sequence([each.transpose(0, 1) for each in every], batch_first=True)


@pytest.mark.parametrize("finished", [0, 1, 2])
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("protection", ["freeze", "finetune"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_growth_preserves_the_function(
    finished: int, layer: int, protection: str, dtype: torch.dtype, tolerance: float
) -> None:
    """On finished tasks and on the current one; heads of tasks to come start afresh anyway."""
    ours = begun(finished, dtype, protection=protection)
    before = logits(ours)[: finished + 1]
    ours.grow(np.full(3, layer), np.array([3, 0, 20]))
    assert (ours.network.widths[:, layer] - ours.units[:, :, layer].sum(axis=1) == 0).all()
    torch.testing.assert_close(logits(ours)[: finished + 1], before, atol=tolerance, rtol=0)


@pytest.mark.parametrize("layer", [0, 1])
def test_new_units_learn_from_the_outgoing_side_first(layer: int) -> None:
    ours = begun(1)
    network = ours.network
    first = network.active_units[:, layer].copy()
    if layer == 0:  # something that trains must read them
        ours.grow(np.ones(3, dtype=np.int64), np.full(3, 2))
        ours.train()
    ours.grow(np.full(3, layer), np.full(3, 6))  # some of them may answer zero to all samples
    samples, labels = ours.data.minibatches(ours.task, ours.steps, 1, 16)
    x = ours.data.gather(samples[0])

    def gradients() -> tuple[Tensor, Tensor]:
        logits = network.forward(x) + ours.absent.transpose(1, 2)
        wanted = torch.nn.functional.one_hot(labels[0], ours.classes)
        network.backward(x, torch.softmax(logits, dim=2) - wanted)
        new = torch.from_numpy(first[:, None] + np.arange(6))
        row = torch.arange(3)[:, None]
        outgoing = network.gradients[layer + 1][row, network.layout.frozen[layer] + new]
        return network.gradients[layer][row, :, new].abs().sum(dim=(1, 2)), outgoing.abs().sum(dim=(1, 2))

    fan_in, fan_out = gradients()
    assert (fan_in == 0).all(), "nothing reads the new units yet"
    assert (fan_out > 0).all()
    ours.optimizer.step()
    fan_in, fan_out = gradients()
    assert (fan_in > 0).all()


def grown_by(ours: Learner, layers: list[int], amounts: list[int]) -> list[Any]:
    ours.grow(np.array(layers), np.array(amounts))
    ours.train()
    return [row_of(ours.network, row) for row in range(ours.rows)]


@pytest.mark.parametrize("finished", [0, 1])
def test_different_requests_in_one_call_equal_one_row_at_a_time(finished: int) -> None:
    """Row 0 grows layer 1, row 1 nothing, row 2 layer 0; then again."""
    together = begun(finished)
    first = grown_by(together, [1, 0, 0], [4, 0, 17])
    second = grown_by(together, [0, 1, 0], [9, 2, 1])
    for row in range(3):
        alone = learner(1)
        alone.begin(np.ones(1, dtype=bool), [CONTEXTS[row]])
        for _ in range(finished):
            alone.train()
            alone.next_task(np.ones(1, dtype=bool))
        alone.train()
        once = grown_by(alone, [[1, 0, 0][row]], [[4, 0, 17][row]])
        twice = grown_by(alone, [[0, 1, 0][row]], [[9, 2, 1][row]])
        assert_same(first[row].parts(), once[0].parts(), tolerance=1e-12)
        assert_same(second[row].parts(), twice[0].parts(), tolerance=1e-12)


class Failing(RandomGrowth):
    """Fails when layer 1 is asked for, after layer 0 has been proposed."""

    name = "failing"

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        self.calls.append(batch.layer)
        if batch.layer == 1:
            raise ArithmeticError("no more ideas")
        return super().propose(network, batch)


def broken(change: Callable[[Tensor], Any]) -> GrowthOperator:
    """An operator whose answer for layer 1 is spoiled."""

    class Broken(RandomGrowth):
        name = "broken"

        def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
            proposal = super().propose(network, batch)
            changed: Proposal = change(proposal.fan_in) if batch.layer == 1 else proposal
            return changed

    return Broken()


SPOILED: dict[str, Callable[[Tensor], Any]] = {
    "too few inputs": lambda fan_in: Proposal(fan_in[:, :-1]),
    "too few units": lambda fan_in: Proposal(fan_in[:, :, :-1]),
    "too many rows": lambda fan_in: Proposal(torch.cat((fan_in, fan_in))),
    "outgoing weights for too few outputs": lambda fan_in: Proposal(fan_in, torch.ones(3, fan_in.shape[2], 2)),
    "older weights of another shape": lambda fan_in: Proposal(fan_in, incoming=fan_in[:, :-1]),
    "parents without shares": lambda fan_in: Proposal(fan_in, parents=torch.zeros(3, fan_in.shape[2])),
    "rates that are not positive": lambda fan_in: Proposal(fan_in, rates=(torch.zeros(3), torch.ones(3))),
    "a lone tensor": lambda fan_in: fan_in,
}


@pytest.mark.parametrize("operator", [Failing(), *map(broken, SPOILED.values())], ids=["raises", *SPOILED])
def test_a_failing_operator_leaves_nothing_behind(operator: GrowthOperator) -> None:
    ours, untouched = begun(1, growth=operator), begun(1)
    state, units = ours.snapshot(), ours.units.copy()
    with pytest.raises((ArithmeticError, ValueError)):
        ours.grow(np.array([0, 1, 0]), np.array([9, 30, 0]))
    if isinstance(operator, Failing):
        assert operator.calls == [0, 1], "the failure must come after layer 0 was proposed"
    assert (ours.units == units).all()
    after = ours.snapshot()
    assert_same(after["network"]["buffers"], state["network"]["buffers"])
    assert_same(after["network"]["frozen"], state["network"]["frozen"])
    assert after["network"]["layout"] == state["network"]["layout"]
    assert_same(after["network"]["units"], state["network"]["units"])
    check_padding(ours.network)
    ours.train()
    untouched.train()
    for row in range(3):
        assert_equal_rows(row_of(ours.network, row), row_of(untouched.network, row))


def proposed(scale: float = 1.0, amounts: tuple[int, ...] = (400, 0, 400), finished: int = 0) -> tuple[Learner, Tensor]:
    ours = begun(finished, max_hidden=(500, 500))
    batch = ours.reserve(0, np.array(amounts))
    return ours, RandomGrowth(scale).propose(ours.network, batch).fan_in


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_random_growth_draws_isotropic_vectors_of_he_length_without_biases(scale: float) -> None:
    ours, fan_in = proposed(scale)
    assert fan_in.shape == (3, 65, 400)
    assert not fan_in[:, -1].any(), "biases start at zero"
    assert not fan_in[1].any(), "a row that does not grow gets nothing"
    lengths = fan_in[0].norm(dim=0)
    torch.testing.assert_close(lengths, torch.full_like(lengths, scale * 2**0.5), atol=1e-12, rtol=0)
    directions = fan_in[0, :-1] / lengths
    assert directions.mean(dim=1).abs().max() < 4 / (64 * 400) ** 0.5
    covariance = directions @ directions.T / 400 * 64
    assert (covariance - torch.eye(64, dtype=torch.float64)).abs().max() < 0.35
    assert not torch.equal(fan_in[0], fan_in[2]), "rows with other seeds draw other weights"


def test_random_growth_draws_a_unit_by_seed_layer_and_number() -> None:
    """The same units come out whether they grow at once or one by one, whatever else has grown."""
    _, at_once = proposed(amounts=(6, 0, 0))
    ours = learner(1)
    ours.begin(np.ones(1, dtype=bool), CONTEXTS[:1])
    ours.grow(np.zeros(1, dtype=np.int64), np.array([2]))
    ours.grow(np.ones(1, dtype=np.int64), np.array([3]))
    ours.grow(np.zeros(1, dtype=np.int64), np.array([4]))
    grown = row_of(ours.network, 0).trained[0][:, 5:]
    torch.testing.assert_close(grown, at_once[0], atol=1e-12, rtol=0)


def test_random_growth_reads_no_unit_that_does_not_exist() -> None:
    ours = begun(1)
    ours.grow(np.ones(3, dtype=np.int64), np.array([3, 30, 0]))
    check_padding(ours.network)
    for row, amount in enumerate((3, 30, 0)):
        lengths = row_of(ours.network, row).trained[1].norm(dim=0)
        torch.testing.assert_close(lengths, torch.full((amount,), 2**0.5, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_random_growth_refuses_a_scale_that_is_not_above_0(scale: float) -> None:
    with pytest.raises(ValueError, match="scale of random growth must be above 0"):
        RandomGrowth(scale)


def test_operators_by_name_and_by_object() -> None:
    assert isinstance(OPERATORS.make("random"), GrowthOperator)
    assert OPERATORS.make("random", scale=2.0).scale == 2.0
    mine = RandomGrowth(3.0)
    assert learner(1, growth=mine).operator is mine
    with pytest.raises(UnknownNameError, match="unknown growth operator 'randon'; did you mean 'random'"):
        learner(1, growth="randon")
