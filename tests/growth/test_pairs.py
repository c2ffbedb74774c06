"""Variance transfer: twins that cancel, and step sizes of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.growth import GrowthBatch, Proposal, VarianceTransfer
from growenv.growth.scaling import older_units
from growenv.learner import Learner
from tests.growth.test_net2wider import grown, one_layer
from tests.growth.test_operators import begun, logits
from tests.reference import check_padding, row_of

AMOUNTS = [3, 0, 20]


def proposed(ours: Learner, layer: int) -> tuple[GrowthBatch, Proposal]:
    with torch.no_grad():
        batch = ours.reserve(layer, np.array(AMOUNTS))
        return batch, ours.operator.propose(ours.network, batch)


@pytest.mark.parametrize("finished", [0, 1, 2])
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("protection", ["freeze", "finetune"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_growth_preserves_the_function(
    finished: int, layer: int, protection: str, dtype: torch.dtype, tolerance: float
) -> None:
    ours = begun(finished, dtype, protection=protection, growth="variance-transfer")
    before = logits(ours)[: finished + 1]
    grown(ours, layer, AMOUNTS)
    torch.testing.assert_close(logits(ours)[: finished + 1], before, atol=tolerance, rtol=0)
    check_padding(ours.network)


@pytest.mark.parametrize("layer", [0, 1])
def test_twins_have_equal_incoming_and_opposite_outgoing_weights(layer: int) -> None:
    ours = begun(growth="variance-transfer")
    batch, proposal = proposed(ours, layer)
    fan_in, fan_out = proposal.fan_in, proposal.fan_out
    assert fan_out is not None
    for row in (0, 2):
        last = AMOUNTS[row] // 2 * 2
        assert torch.equal(fan_in[row, :, 0:last:2], fan_in[row, :, 1:last:2])
        assert torch.equal(fan_out[row, 0:last:2], -fan_out[row, 1:last:2])
        assert fan_out[row, :last].abs().sum(dim=1).all()
        directions = fan_in[row, :, 0 : AMOUNTS[row] : 2]
        assert len(np.unique(directions.sum(dim=0).numpy())) == -(-AMOUNTS[row] // 2), (
            "every pair has a direction of its own"
        )
    assert not fan_out[0, 2].any(), "the last of three has no twin"
    assert fan_in[0, :, 2].any()
    assert torch.equal(proposal.fan_in[0], proposed(begun(growth="variance-transfer"), layer)[1].fan_in[0])


@pytest.mark.parametrize("finished", [0, 1])
def test_vectors_are_half_as_long_as_the_older_ones(finished: int) -> None:
    ours = begun(finished, growth="variance-transfer")
    if finished:
        ours.grow(np.ones(3, dtype=np.int64), np.array([5, 5, 5]))
        ours.train()
    batch, proposal = proposed(ours, 1)
    network, there = ours.network, older_units(ours.network, batch)
    assert proposal.fan_out is not None
    for row in (0, 2):
        inner, outer = network.into(1)[row, 1:][:, there[row]], network.weights[2][row][there[row]]
        expected = 0.5 * inner.norm(dim=0).mean(), 0.5 * outer.norm(dim=1).mean()
        lengths = proposal.fan_in[row, :, : AMOUNTS[row]].norm(dim=0), proposal.fan_out[row, :2].norm(dim=1)
        for given, wanted in zip(lengths, expected, strict=True):
            torch.testing.assert_close(given, wanted.expand_as(given), atol=0, rtol=1e-5)


@pytest.mark.parametrize("layer", [0, 1])
def test_the_first_gradients_of_twins_are_opposite_so_that_they_separate_at_once(layer: int) -> None:
    ours = begun(growth="variance-transfer", optimizer="sgd", minibatches=1)
    batch, _ = grown(ours, layer, [4, 2, 2])
    gradient = ours.evidence().gradient(layer)
    for row in range(3):
        first = int(batch.first[row])
        one, two = gradient[row, :, first], gradient[row, :, first + 1]
        assert one.any()
        torch.testing.assert_close(one, -two, atol=1e-15, rtol=1e-9)
    ours.train()
    weights = ours.network.weights[layer]
    for row in range(3):
        first = int(batch.first[row])
        assert (weights[row, :, first] - weights[row, :, first + 1]).norm() > 1e-5


def test_where_nothing_that_trains_reads_the_layer_every_unit_has_a_vector_of_its_own() -> None:
    """After a task switch the units of the next layer are all frozen."""
    ours = begun(1, growth="variance-transfer")
    batch, proposal = proposed(ours, 0)
    assert proposal.fan_out is not None and not proposal.fan_out.any()
    assert len(np.unique(proposal.fan_in[2, 0].numpy())) == 20
    assert proposal.rates is not None
    assert (proposal.rates[1] == 1.0).all(), "there is nothing to compare with"
    assert ((proposal.rates[0] > 0) & (proposal.rates[0] < 2)).all()


def slow_rates(ours: Learner, layer: int, row: int, amount: int, lengths: tuple[Tensor, Tensor]) -> list[float]:
    """||W_new|| / ||W_0|| over all older units of a row, frozen or active, biases left out."""
    network = ours.network
    weights = row_of(network, row)
    width, frozen = int(network.frozen_units[row, layer]), weights.frozen[layer]
    trained = weights.trained[layer][:, : network.active_units[row, layer] - amount]
    if layer == 0:
        frozen, trained = frozen[:-1], trained[:-1]
    else:
        frozen, trained = frozen[1:], trained[1:]
    inner = (frozen.square().sum() + trained.square().sum()).sqrt()
    outer = weights.trained[layer + 1][1 : 1 + width + trained.shape[1]].norm()
    return [float(amount**0.5 * length / norm) for length, norm in zip(lengths, (inner, outer), strict=True)]


@pytest.mark.parametrize(("finished", "layer"), [(0, 0), (0, 1), (1, 1)])
def test_rates_equal_a_slow_reference(finished: int, layer: int) -> None:
    ours = begun(finished, growth="variance-transfer")
    if finished:
        ours.grow(np.ones(3, dtype=np.int64), np.array([5, 5, 5]))
        ours.train()
    batch, proposal = proposed(ours, layer)
    assert proposal.rates is not None and proposal.fan_out is not None
    for row in (0, 2):
        lengths = proposal.fan_in[row, :, 0].norm(), proposal.fan_out[row, 0].norm()
        expected = slow_rates(ours, layer, row, AMOUNTS[row], lengths)
        assert [float(rate[row]) for rate in proposal.rates] == pytest.approx(expected, rel=1e-9)


def test_rates_worked_out_by_hand() -> None:
    """Two units: incoming (0, 2), (1, 3) and biases 4, 5; outgoing (1, 2), (3, 4)."""
    network, batch = one_layer()
    rates = VarianceTransfer().propose(network, batch).rates
    assert rates is not None
    inner = 2**0.5 * 0.5 * (2 + 10**0.5) / 2 / 14**0.5
    outer = 2**0.5 * 0.5 * (5**0.5 + 5) / 2 / 30**0.5
    assert [float(rate[0]) for rate in rates] == pytest.approx([inner, outer])


def test_the_learner_trains_new_units_at_their_rates() -> None:
    """One step of SGD; in row 0 the third unit has no twin."""
    ours = begun(growth="variance-transfer", optimizer="sgd", minibatches=1, learning_rate=0.5)
    batch, proposal = grown(ours, 0, [3, 2, 2])
    assert proposal.rates is not None
    before, width = [block.clone() for block in ours.network.weights], ours.network.layout.frozen[0]
    ours.train()
    for row in range(3):
        new = slice(int(batch.first[row]), int(batch.first[row] + batch.amounts[row]))
        for layer, rate in ((0, proposal.rates[0][row]), (1, proposal.rates[1][row])):
            step = (ours.network.weights[layer] - before[layer])[row]
            full = -0.5 * ours.network.gradients[layer][row]
            step, full = (each[:, new] if layer == 0 else each[width:][new] for each in (step, full))
            assert full.any() and 0 < rate < 1
            torch.testing.assert_close(step, rate * full, atol=1e-15, rtol=1e-9)


def test_rates_can_be_left_out() -> None:
    ours, rated = begun(growth=VarianceTransfer(adapt_rates=False)), begun(growth="variance-transfer")
    _, proposal = proposed(ours, 1)
    assert proposal.rates is None
    assert torch.equal(proposal.fan_in, proposed(rated, 1)[1].fan_in)


@pytest.mark.parametrize("finished", [0, 1])
def test_rescaling_shrinks_what_is_heard_of_older_units_and_nothing_else(finished: int) -> None:
    operator = VarianceTransfer(rescale=True)
    assert (operator.name, operator.preserving) == ("variance-transfer-rescaled", False)
    assert VarianceTransfer().preserving
    ours = begun(finished, growth=operator)
    network, known = ours.network, logits(ours)[:finished]
    before = [row_of(network, row) for row in range(3)]
    ours.grow(np.ones(3, dtype=np.int64), np.array(AMOUNTS))
    for row, amount in enumerate(AMOUNTS):
        after, old = row_of(network, row), before[row]
        factor = (4 / (4 + amount)) ** 0.5
        torch.testing.assert_close(after.trained[-1][1:5], factor * old.trained[-1][1:5], atol=0, rtol=1e-12)
        assert torch.equal(after.trained[-1][0], old.trained[-1][0]), "biases stay"
        assert torch.equal(after.trained[1][:, : old.trained[1].shape[1]], old.trained[1])
        assert all(torch.equal(one, two) for one, two in zip(after.frozen, old.frozen, strict=True))
    assert torch.equal(logits(ours)[:finished], known), "finished tasks to the last bit"
    check_padding(network)


def test_rates_compare_with_rescaled_weights() -> None:
    plain, rescaled = (proposed(begun(growth=VarianceTransfer(rescale=on)), 1)[1].rates for on in (False, True))
    assert plain is not None and rescaled is not None
    factor = torch.tensor([4 / (4 + amount) for amount in AMOUNTS], dtype=torch.float64).sqrt()
    grew = torch.tensor(AMOUNTS) > 0
    torch.testing.assert_close(rescaled[1][grew], (plain[1] / factor)[grew], atol=0, rtol=1e-9)
    assert torch.equal(rescaled[0], plain[0])
