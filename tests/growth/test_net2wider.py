"""Net2Wider: copies that share their parents' outgoing weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.growth import GrowthBatch, Net2Wider, Proposal, RandomGrowth, apply_proposal
from growenv.growth.net2wider import copies, drawn_parents
from growenv.learner import Learner
from growenv.networks import StackedMLP
from tests.growth.test_operators import EVERYONE, begun, logits
from tests.reference import check_padding, row_of


def one_layer(units: int = 2) -> tuple[StackedMLP, GrowthBatch]:
    """One row with two inputs, `units` units whose weights count up, two outputs, and room for two more units."""
    network = StackedMLP(1, 2, 1, 2, dtype=torch.float64)
    if units:
        fan_in = torch.arange(3.0 * units).view(1, 3, units)
        fan_out = torch.arange(2.0 * units).view(1, units, 2) + 1.0
        network.set_units(0, network.reserve(0, np.array([units])), np.array([units]), fan_in, fan_out)
    amounts, outputs = np.array([2]), np.array([2])
    older = network.widths[:, 0].copy()
    seeds = np.array([7], dtype=np.uint64)
    return network, GrowthBatch(0, amounts, seeds, older, network.reserve(0, amounts), outputs)


def grown(ours: Learner, layer: int, amounts: Any) -> tuple[GrowthBatch, Proposal]:
    with torch.no_grad():
        batch = ours.reserve(layer, np.array(amounts))
        proposal = ours.operator.propose(ours.network, batch)
        apply_proposal(ours.network, batch, proposal)
    ours.units[np.arange(ours.rows), ours.task, layer] += batch.amounts
    return batch, proposal


def test_shares_worked_out_by_hand() -> None:
    """The first new unit copies unit 1 and gets a quarter; the second is random."""
    network, batch = one_layer()
    position = network.layout.frozen[0] + 1
    proposal = copies(network, batch, torch.tensor([[position, -1]]), torch.tensor([[0.25, 0.9]]))
    assert proposal.fan_out is not None and proposal.outgoing is not None
    assert proposal.fan_in[0, :, 0].tolist() == [1.0, 3.0, 5.0]
    assert proposal.fan_out[0].tolist() == [[0.75, 1.0], [0.0, 0.0]]
    assert proposal.outgoing[0, position].tolist() == [2.25, 3.0]
    assert proposal.outgoing[0, position - 1].tolist() == [1.0, 2.0]
    random = RandomGrowth().propose(network, batch).fan_in
    assert torch.equal(proposal.fan_in[0, :, 1], random[0, :, 1])


def test_two_copies_of_one_unit_share_with_it() -> None:
    network, batch = one_layer()
    position = network.layout.frozen[0]
    shares = Net2Wider()._shares(batch, torch.tensor([[position, position]]))
    alone = [float(Net2Wider()._shares(batch, torch.tensor([pair]))[0, n]) for n, pair in enumerate([[9, 8], [8, 9]])]
    parts = [alpha / (1.0 - alpha) for alpha in alone]
    assert shares[0].tolist() == pytest.approx([part / (1.0 + sum(parts)) for part in parts])


@pytest.mark.parametrize("finished", [0, 1, 2])
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("protection", ["freeze", "finetune"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_several_copies_of_every_unit_preserve_the_function(
    finished: int, layer: int, protection: str, dtype: torch.dtype, tolerance: float
) -> None:
    ours = begun(finished, dtype, protection=protection, growth="net2wider")
    before = logits(ours)[: finished + 1]
    _, proposal = grown(ours, layer, [3, 0, 30])
    assert proposal.parents is not None
    assert np.bincount(proposal.parents[2]).max() > 2
    torch.testing.assert_close(logits(ours)[: finished + 1], before, atol=tolerance, rtol=0)
    check_padding(ours.network)


def test_frozen_parents_keep_what_they_are() -> None:
    """Under freezing all units of a new task are frozen: only what the current head hears of them is shared out."""
    ours = begun(1, growth="net2wider")
    network = ours.network
    before = [weight.clone() for weight in network.frozen]
    head, known = network.weights[-1].clone(), logits(ours)[:1]
    _, proposal = grown(ours, 1, [3, 0, 2])
    assert proposal.parents is not None and proposal.shares is not None
    for weight, old in zip(network.frozen, before, strict=True):
        assert torch.equal(weight, old)
    assert torch.equal(logits(ours)[:1], known), "finished tasks to the last bit"
    frozen = network.layout.frozen[1]
    for row, amount in enumerate([3, 0, 2]):
        for unit in range(amount):
            parent = int(proposal.parents[row, unit])
            assert 1 <= parent <= network.frozen_units[row, 1]
            incoming = network.weights[1][row, :, unit]
            assert torch.equal(incoming[: network.layout.frozen[0]], network.frozen[1][row, :, parent])
            assert not incoming[network.layout.frozen[0] :].any(), "a frozen unit reads frozen ones only"
            share = proposal.shares[row, unit]
            torch.testing.assert_close(network.weights[2][row, frozen + unit], share * head[row, parent])
    ours.train()
    assert network.weights[1][0].abs().sum() > 0
    assert torch.equal(logits(ours)[:1], known)


def test_parents_are_drawn_evenly_and_never_the_constant_unit() -> None:
    ours = begun(1, max_hidden=(4000, 40))
    ours.grow(np.zeros(3, dtype=np.int64), np.array([5, 0, 3]))
    batch = ours.reserve(0, np.array([3000, 0, 3000]))
    network = ours.network
    parents, again = (drawn_parents(network, batch) for _ in range(2))
    assert torch.equal(parents, again)
    assert (parents[1] == -1).all(), "a row that does not grow"
    assert not torch.equal(parents[0], parents[2])
    born = network.birth_index(0)
    for row, older in ((0, 10), (2, 8)):
        drawn = born[row][parents[row].numpy()]
        assert drawn.min() == 1 and drawn.max() == older, "frozen ones first, then active ones"
        counts = np.bincount(drawn)[1:]
        assert np.abs(counts / 3000 - 1 / older).max() < 0.03


@pytest.mark.parametrize("spread", [0.25, 0.05])
def test_shares_of_single_copies_are_uniform_about_one_half(spread: float) -> None:
    ours = begun(growth="net2wider")
    batch = ours.reserve(0, np.array([400, 0, 400]))
    distinct = 8 + torch.arange(400).expand(3, -1).clone()
    shares = Net2Wider(spread)._shares(batch, distinct)[[0, 2]]
    assert shares.min() > 0.5 - spread and shares.max() < 0.5 + spread
    assert shares.mean() == pytest.approx(0.5, abs=spread / 10)
    assert shares.std() == pytest.approx(2 * spread / 12**0.5, rel=0.05)


class EqualHalves(Net2Wider):
    """Copies of the first units, one each, with a share that is the same for all."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        first = network.layout.frozen[batch.layer] + torch.arange(batch.most)
        return copies(network, batch, first.expand(3, -1).clone(), torch.full((3, batch.most), self.share))


def distances(ours: Learner, layer: int, batch: GrowthBatch, proposal: Proposal) -> Tensor:
    """Between the incoming weights of copies and of their parents, (N, K)."""
    assert proposal.parents is not None
    units = torch.from_numpy(batch.first)[:, None] + torch.arange(batch.most)
    into, row = ours.network.into(layer), torch.arange(3)[:, None]
    return (into[row, :, ours.network.layout.frozen[layer] + units] - into[row, :, proposal.parents.clamp(min=0)]).norm(
        dim=2
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("layer", [0, 1])
def test_equal_halves_never_separate_and_unequal_ones_do(optimizer: str, layer: int) -> None:
    for share in (0.5, 0.3):
        ours = begun(growth=EqualHalves(share), optimizer=optimizer, minibatches=200)
        batch, proposal = grown(ours, layer, [3, 3, 3])
        assert not distances(ours, layer, batch, proposal).any()
        ours.train()
        apart = distances(ours, layer, batch, proposal)
        assert apart.max() < 1e-9 if share == 0.5 else (apart > 1e-4).double().mean() > 0.6  # some units are dead


@pytest.mark.parametrize("layer", [0, 1])
def test_copies_have_their_share_of_the_incoming_gradient_and_all_of_the_outgoing_one(layer: int) -> None:
    ours = begun(growth="net2wider")
    before = [ours.evidence().gradient(number) for number in range(3)]
    width = ours.network.layout.frozen[layer]
    batch, proposal = grown(ours, layer, [3, 1, 2])
    assert proposal.parents is not None and proposal.shares is not None
    after = [ours.evidence().gradient(number) for number in range(3)]
    for row in range(3):
        for unit in range(batch.amounts[row]):
            parent, new = int(proposal.parents[row, unit]), int(batch.first[row]) + unit
            old = before[layer][row, :, parent - width] * proposal.shares[row, unit]
            torch.testing.assert_close(after[layer][row, :, new], old, atol=1e-12, rtol=1e-9)
            heard = after[layer + 1][row, width + new]
            torch.testing.assert_close(heard, before[layer + 1][row, parent], atol=1e-12, rtol=1e-9)
            assert bool(heard.any()) == bool((ours.evidence().below[layer + 1][row, :, parent] > 0).any())


def test_a_layer_without_older_units_grows_at_random() -> None:
    network, batch = one_layer(0)
    proposal = Net2Wider().propose(network, batch)
    assert torch.equal(proposal.fan_in, RandomGrowth().propose(network, batch).fan_in)
    assert proposal.fan_in.any() and proposal.fan_out is not None and not proposal.fan_out.any()
    assert proposal.parents is not None and (proposal.parents == -1).all()


def test_a_row_draws_by_its_seed_and_by_the_number_of_a_unit() -> None:
    """Whatever its neighbours add."""
    wide, narrow = begun(growth="net2wider"), begun(growth="net2wider")
    grown(wide, 0, [6, 30, 1])
    grown(narrow, 0, [6, 0, 0])
    for one, two in zip(row_of(wide.network, 0).parts(), row_of(narrow.network, 0).parts(), strict=True):
        assert torch.equal(one, two)
    other = begun(growth="net2wider")
    other.begin(EVERYONE, other.data._contexts[1:] + other.data._contexts[:1])  # type: ignore[arg-type]
    assert not torch.equal(grown(other, 0, [6, 6, 6])[1].parents[0], grown(narrow, 0, [6, 6, 6])[1].parents[0])


@pytest.mark.parametrize("spread", [0.0, 0.5, -0.1, float("nan")])
def test_a_spread_without_unequal_shares_is_refused(spread: float) -> None:
    with pytest.raises(ValueError, match=r"spread of shares must be above 0 .* and below 0.5"):
        Net2Wider(spread)
