"""What copies of units take over, and step sizes of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.growth import GrowthBatch, Proposal, RandomGrowth, apply_proposal
from growenv.growth.net2wider import copies, drawn_parents
from growenv.learner import Learner
from growenv.networks import StackedMLP
from growenv.networks.inheritance import RATES, inherit
from tests.reference import assert_equal_rows, check_padding, row_of
from tests.rollouts import TASKS, assert_same, context, learner

CONTEXTS = [context(TASKS[:3], 11), context(TASKS[1:4], 12), context(TASKS[2:5], 13)]
EVERYONE = np.ones(3, dtype=bool)
AMOUNTS = np.array([3, 0, 9])


class Copying:
    """Copies of given units with given shares."""

    name = "copying"
    preserving = True

    def __init__(self, share: float = 0.3) -> None:
        self.share = share

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        parents = drawn_parents(network, batch)
        siblings = (parents[:, :, None] == parents[:, None, :]).sum(dim=2)
        return copies(network, batch, parents, self.share / siblings)


class Rated(RandomGrowth):
    """Random growth whose units have step sizes of their own, the same in all rows."""

    def __init__(self, *rates: float) -> None:
        super().__init__()
        self.rates = rates

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        fan_in = super().propose(network, batch).fan_in
        inner, outer = (torch.full((network.rows,), rate, dtype=network.dtype) for rate in self.rates)
        return Proposal(fan_in, 0.01 * _heard(network, batch), rates=(inner, outer))


class Plain(Rated):
    """The same units with the optimiser's step size."""

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        rated = super().propose(network, batch)
        return Proposal(rated.fan_in, rated.fan_out)


def _heard(network: StackedMLP, batch: GrowthBatch) -> Tensor:
    """1 for outgoing weights of new units that can train, (N, K, fan_out)."""
    readers = torch.from_numpy(batch.readers(network))
    columns = torch.arange(network.layout.fan_out(batch.layer + 1)) < readers[:, None]
    return columns[:, None].repeat(1, batch.most, 1).to(network.dtype)


def begun(finished: int = 0, **options: Any) -> Learner:
    ours = learner(3, **{"minibatches": 5, **options})
    ours.begin(EVERYONE, CONTEXTS)
    for _ in range(finished):
        ours.train()
        ours.next_task(EVERYONE)
    return ours


def grown(ours: Learner, layer: int, amounts: Any = AMOUNTS) -> tuple[GrowthBatch, Proposal]:
    """Grow by hand, to see the batch and the proposal."""
    with torch.no_grad():
        batch = ours.reserve(layer, amounts)
        proposal = ours.operator.propose(ours.network, batch)
        apply_proposal(ours.network, batch, proposal)
    ours.units[np.arange(3), ours.task, layer] += amounts
    return batch, proposal


def blocks(network: StackedMLP, name: str) -> list[Tensor]:
    return network.layout.blocks(network.buffers[name])


# -- moments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [0, 1])
def test_copies_inherit_the_moments_that_a_network_with_both_would_have_had(layer: int) -> None:
    """One learner copies units before training and one after; their weights stand still meanwhile."""
    late, early = begun(growth=Copying()), begun(growth=Copying())
    for ours in (late, early):
        ours.optimizer.learning_rate = 0.0  # type: ignore[attr-defined]
    early_parents = grown(early, layer)[1].parents
    late.train()
    early.train()
    late_parents = grown(late, layer)[1].parents
    assert torch.equal(early_parents, late_parents)
    assert_same(late.network.weights, early.network.weights)
    for name in ("adam_first", "adam_second"):
        assert late.network.buffers[name].any()
        torch.testing.assert_close(late.network.buffers[name], early.network.buffers[name], atol=1e-12, rtol=1e-9)
    check_padding(late.network)


@pytest.mark.parametrize("finished", [0, 1])
@pytest.mark.parametrize("layer", [0, 1])
def test_inheriting_equals_a_slow_reference(finished: int, layer: int) -> None:
    """Parents are frozen and active; some have several copies, and row 1 does not grow."""
    ours = begun(finished)
    if finished:
        for number in (0, 1):
            ours.grow(np.full(3, number), np.array([4, 2, 5]))
    ours.network.add_buffer("age")  # of degree 0: copies start at zero
    ours.train()
    network = ours.network
    blocks(network, "age")[layer].copy_(network.weights[layer] != 0)
    batch = ours.reserve(layer, AMOUNTS)
    born = network.birth_index(layer)
    rng = np.random.default_rng(finished)
    parents, shares = torch.full((3, 9), -1), torch.zeros((3, 9))
    for row in range(3):
        older = np.flatnonzero((born[row] > 0) & (born[row] <= batch.units[row]))
        parents[row] = torch.from_numpy(rng.choice(older, 9))
        shares[row] = torch.from_numpy(rng.uniform(0.01, 0.1, 9))
    parents[2, 4] = -1
    before = {name: [block.clone() for block in blocks(network, name)] for name in network.buffers}
    inherit(network, layer, batch.first, AMOUNTS, parents, shares)

    frozen = network.layout.frozen[layer]
    for name, degree in {"adam_first": 1, "adam_second": 2, "age": 0}.items():
        inner, outer = before[name][layer : layer + 2]
        for row in range(3) if degree else ():
            kept = torch.ones(born.shape[1], dtype=torch.float64)
            for unit in range(AMOUNTS[row]):
                parent, share = int(parents[row, unit]), shares[row, unit].double()
                if parent < 0:
                    continue
                new = int(batch.first[row]) + unit
                outer[row, frozen + new] = outer[row, parent]
                if parent >= frozen:
                    inner[row, :, new] = before[name][layer][row, :, parent - frozen] * share**degree
                kept[parent] -= share
            for unit in range(int(batch.first[row])):
                inner[row, :, unit] *= kept[frozen + unit] ** degree
        for given, expected in zip(blocks(network, name), before[name], strict=True):
            torch.testing.assert_close(given, expected, atol=1e-15, rtol=1e-12)
    assert not blocks(network, "age")[layer][0, :, batch.first[0] :].any()
    check_padding(network)


def test_a_copy_of_a_frozen_unit_has_no_moments_of_incoming_weights() -> None:
    """Its parent had no gradients there; the outgoing weights of both have seen the same ones."""
    ours = begun(1, growth=Copying())
    ours.train()
    network = ours.network
    batch, proposal = grown(ours, 1)
    assert proposal.parents is not None and (proposal.parents[0] <= network.frozen_units[0, 1]).all()
    inner, outer = blocks(network, "adam_first")[1:]
    assert not inner[0].any()
    first = network.layout.frozen[1] + batch.first[0]
    assert outer[0, first].any()
    assert torch.equal(outer[0, first], outer[0, proposal.parents[0, 0]])


# -- step sizes ---------------------------------------------------------------------------------------------------


def stepped(operator: RandomGrowth, optimizer: str, layer: int, steps: int = 1) -> tuple[Learner, list[Tensor]]:
    """Train, grow, and take some steps; the learner, and how far the weights went."""
    ours = begun(growth=operator, optimizer=optimizer, learning_rate=0.125, minibatches=steps)
    ours.train()
    grown(ours, layer)
    before = [block.clone() for block in ours.network.weights]
    ours.train()
    return ours, [after - old for after, old in zip(ours.network.weights, before, strict=True)]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("layer", [0, 1])
def test_rates_of_one_change_nothing_to_the_last_bit(optimizer: str, layer: int) -> None:
    rated, _ = stepped(Rated(1.0, 1.0), optimizer, layer, steps=6)
    plain, _ = stepped(Plain(1.0, 1.0), optimizer, layer, steps=6)
    assert RATES in rated.network.buffers and RATES not in plain.network.buffers
    assert_same(rated.network.weights, plain.network.weights)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("layer", [0, 1])
def test_new_weights_step_as_far_as_their_rate_says_and_others_as_before(optimizer: str, layer: int) -> None:
    rated, quick = stepped(Rated(2.0, 0.25), optimizer, layer)
    plain, steps = stepped(Plain(2.0, 0.25), optimizer, layer)
    frozen, first = rated.network.layout.frozen[layer], 5 if layer == 0 else 4
    for row, amount in enumerate(AMOUNTS):
        new = slice(first, first + amount)
        assert not amount or (steps[layer][row, :, new].any() and steps[layer + 1][row, frozen:][new].any())
        steps[layer][row, :, new] *= 2.0
        steps[layer + 1][row, frozen:][new] *= 0.25
    for given, expected in zip(quick, steps, strict=True):
        torch.testing.assert_close(given, expected, atol=1e-15, rtol=0)
    assert not torch.equal(rated.network.weights[layer], plain.network.weights[layer])
    untouched = [block for number, block in enumerate(quick) if number not in (layer, layer + 1)]
    for block in untouched:
        assert block.any()


@pytest.mark.parametrize("layer", [0, 1])
def test_rates_are_kept_of_live_weights_only(layer: int) -> None:
    """Rows of different widths; row 1 has no rates at all."""
    ours = begun(growth=Rated(2.0, 0.25))
    ours.grow(np.full(3, 1 - layer), np.array([1, 12, 0]))
    ours.network.clear_buffer(RATES, EVERYONE)
    batch, _ = grown(ours, layer)
    check_padding(ours.network)
    for row, amount in enumerate(AMOUNTS):
        rates = row_of(ours.network, row, blocks(ours.network, RATES)).trained
        new = slice(int(batch.first[row]), int(batch.first[row]) + amount)
        assert (rates[layer][:, new] == 1.0).all()
        assert (rates[layer + 1][1:][new] == -0.75).all()
        rates[layer][:, new], rates[layer + 1][1:][new] = 0.0, 0.0
        assert not any(block.any() for block in rates)
    for _ in range(10):
        ours.train()
    check_padding(ours.network)


def test_a_second_growth_leaves_the_rates_of_the_first() -> None:
    ours = begun(growth=Rated(2.0, 0.25))
    grown(ours, 0)
    ours.operator = Rated(4.0, 0.5)
    grown(ours, 1)
    grown(ours, 0)
    rates = row_of(ours.network, 0, blocks(ours.network, RATES)).trained
    assert (rates[0][:, 5:8] == 1.0).all() and (rates[0][:, 8:] == 3.0).all()
    heard = rates[1][1 + 5 : 1 + 8]
    assert (heard[:, :4] == -0.75).all(), "what older units hear"
    assert (heard[:, 4:] == 3.0).all(), "what newer units hear is theirs"
    assert (rates[1][1 + 8 :] == -0.5).all()


@pytest.mark.parametrize("protection", ["freeze", "finetune"])
def test_a_new_head_steps_at_the_optimisers_rate(protection: str) -> None:
    ours = begun(growth=Rated(2.0, 0.25), protection=protection)
    grown(ours, 1)
    assert blocks(ours.network, RATES)[2].any()
    ours.next_task(np.array([True, False, False]))
    hidden, head = blocks(ours.network, RATES)[1:]
    assert not head[0].any()
    assert hidden[0].any() == (protection == "finetune"), "frozen units train no more"
    assert head[2].any() and hidden[2].any(), "the task of other rows goes on"
    ours.begin(np.array([False, False, True]), CONTEXTS)
    assert not any(block[2].any() for block in blocks(ours.network, RATES))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_snapshots_carry_rates_into_a_learner_without_any_and_back(optimizer: str) -> None:
    options: dict[str, Any] = {"growth": Rated(2.0, 0.25), "optimizer": optimizer}
    with_rates, without = begun(**options), begun(**options)
    plain = without.snapshot()
    grown(with_rates, 0)
    rated = with_rates.snapshot()
    with_rates.train()
    assert RATES not in without.network.buffers
    without.restore(rated)
    without.train()
    assert_same(without.network.buffers, with_rates.network.buffers)
    for ours in (with_rates, without):
        ours.restore(plain)
        assert RATES not in ours.network.buffers
        ours.train()
        grown(ours, 0)
        ours.train()
    fresh = begun(**options)
    fresh.train()
    grown(fresh, 0)
    fresh.train()
    for ours in (with_rates, without):
        for row in range(3):
            assert_equal_rows(row_of(ours.network, row), row_of(fresh.network, row))
