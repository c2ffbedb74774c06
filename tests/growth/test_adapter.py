"""Low-rank adapters out of pairs of ReLU units."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from growenv.growth import OPERATORS, LowRankAdapter
from growenv.growth.scaling import LIVE_SHARE, live_norms
from tests.growth.hand_built import about_to_grow, across, normal, written
from tests.growth.test_operators import begun


def test_a_pair_with_opposite_outgoing_weights_is_one_linear_rank() -> None:
    """h -> u (v . h + b), on samples of any sign."""
    h, targets = normal(0, 1, 50, 4), normal(1, 1, 50, 3)
    network, batch = about_to_grow(h, targets, 4)
    proposal = LowRankAdapter().propose(network, batch)
    u = normal(2, 2, 3)
    fan_out = torch.stack((u[0], -u[0], u[1], -u[1]))[None]
    network.set_units(0, batch.first, batch.amounts, proposal.fan_in, fan_out)
    x = torch.cat((normal(3, 1, 200, 4), torch.ones((1, 200, 1), dtype=torch.float64)), dim=2)
    a = proposal.fan_in[0, :, ::2]
    torch.testing.assert_close(network.forward(x)[0], x[0] @ a @ u)
    assert torch.linalg.matrix_rank(a @ u) == 2


@pytest.mark.parametrize("layer", [0, 1])
def test_the_first_gradient_along_a_pair_is_as_large_as_it_can_be(layer: int) -> None:
    """The difference of a pair's outgoing gradients is E[g v . (h - mean h)]."""
    ours = begun(0, hidden=(9, 8))
    network, amounts = ours.network, np.array([2, 0, 4])
    evidence = ours.evidence()
    read, errors = evidence.below[layer], evidence.error(layer + 1)
    centred = (read - read.mean(dim=1, keepdim=True)).transpose(1, 2) @ errors
    batch = ours.reserve(layer, amounts)
    length = LIVE_SHARE * live_norms(network, batch, "in")
    proposal = LowRankAdapter().propose(network, batch)
    assert proposal.fan_out is None
    network.set_units(layer, batch.first, amounts, proposal.fan_in)
    gradient, frozen = ours.evidence().gradient(layer + 1), network.layout.frozen[layer]
    bias = -1 if layer == 0 else 0
    for row in (0, 2):
        first, k = frozen + int(batch.first[row]), int(amounts[row])
        outgoing = gradient[row, first : first + k]
        best = length[row] ** 2 * torch.linalg.svdvals(centred[row])[: k // 2].square().sum()
        torch.testing.assert_close((outgoing[::2] - outgoing[1::2]).square().sum(), best, atol=0, rtol=1e-6)
        fan_in = proposal.fan_in[row, :, :k]
        torch.testing.assert_close(fan_in[:, ::2], -fan_in[:, 1::2])
        directions = fan_in[:, ::2].clone()
        directions[bias] = 0.0
        expected = length[row] ** 2 * torch.eye(k // 2, dtype=torch.float64)
        torch.testing.assert_close(directions.T @ directions, expected)


def test_both_units_of_a_pair_are_above_zero_on_some_samples() -> None:
    """Units below are never negative, so v and -v without biases would often leave one of the pair asleep."""
    ours = begun(0, hidden=(5, 4))
    batch = ours.reserve(1, np.array([2, 2, 4]))  # as many pairs as there are directions
    seen = across(ours.network, batch)
    fan_in = LowRankAdapter().propose(ours.network, batch).fan_in
    answers = seen.answers(fan_in)
    asked = torch.arange(4) < torch.from_numpy(batch.amounts)[:, None]
    assert (answers.mean(dim=1)[asked].abs() < 1e-12).all()
    assert (answers > 0).any(dim=1)[asked].all()


def test_the_last_of_an_odd_number_is_random_whatever_the_neighbours_ask_for() -> None:
    h, targets = normal(0, 3, 50, 6), normal(1, 3, 50, 5)
    network, batch = about_to_grow(h, targets, (3, 4, 1))
    fan_in = LowRankAdapter().propose(network, batch).fan_in
    random = OPERATORS.make("random").propose(network, batch).fan_in
    torch.testing.assert_close(fan_in[0, :, 2].abs(), random[0, :, 2].abs())
    torch.testing.assert_close(fan_in[2, :, 0].abs(), random[2, :, 0].abs())
    torch.testing.assert_close(fan_in[1, :, 3], -fan_in[1, :, 2])
    torch.testing.assert_close(fan_in[0, :, 1], -fan_in[0, :, 0])


def test_twins_part_in_training() -> None:
    """It is an adapter at the start only; this is what its documentation says."""
    ours = begun(0, growth="low-rank", optimizer="sgd", minibatches=10)
    first = ours.network.active_units[:, 0].copy()
    ours.grow(np.zeros(3, dtype=np.int64), np.full(3, 4))
    ours.train()
    weights = ours.network.weights[1]
    for row in range(3):
        start = ours.network.layout.frozen[0] + int(first[row])
        twins = weights[row, start : start + 4]
        assert (twins[::2] + twins[1::2]).norm(dim=1).min() > 1e-6, "no longer opposite"
        assert (twins[::2] - twins[1::2]).norm(dim=1).min() > 1e-6, "nor the same"


def test_a_pair_past_the_rank_grows_at_random() -> None:
    """One output: one direction."""
    network, batch = about_to_grow(normal(0, 1, 50, 6), normal(1, 1, 50, 1), 4)
    fan_in = LowRankAdapter().propose(network, batch).fan_in
    torch.testing.assert_close(fan_in[0, :, 0], -fan_in[0, :, 1])
    random = OPERATORS.make("random").propose(network, batch).fan_in
    torch.testing.assert_close(fan_in[0, :, 2:].abs(), random[0, :, 2:].abs())


def test_growth_changes_no_logit_by_a_single_bit() -> None:
    network, batch = about_to_grow(
        normal(0, 2, 50, 6), normal(1, 2, 50, 3), 4, (normal(2, 2, 7, 3), normal(3, 2, 3, 3))
    )
    before = batch.probe(0).logits.clone()
    assert torch.equal(written(network, batch, LowRankAdapter().propose(network, batch)).logits, before)


def test_a_scale_is_above_zero() -> None:
    with pytest.raises(ValueError, match="scale of low-rank growth must be above 0"):
        LowRankAdapter(0.0)
