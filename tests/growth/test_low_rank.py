"""The best low-rank match, and what becomes of units without one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from growenv.growth import OPERATORS
from growenv.growth.low_rank import Across, awake, leading_pairs, with_random_rest
from tests.growth.hand_built import THEIR_TARGETS, TWO_SAMPLES, about_to_grow, across, normal
from tests.growth.test_operators import begun
from tests.rollouts import context, learner, task

OURS = ("gradmax", "gradmax-opt", "low-rank", "orthogonal", "orthogonal-pre", "orthogonal-weight", "tiny")


def rebuilt(values: Tensor, incoming: Tensor, outgoing: Tensor) -> Tensor:
    return (incoming * values[:, None]) @ outgoing.transpose(1, 2)


def test_the_pairs_of_a_matrix_that_can_be_read_off_by_eye() -> None:
    pairs = leading_pairs(torch.tensor([[[1.0, 3.0], [3.0, 1.0]]], dtype=torch.float64), 2)
    torch.testing.assert_close(pairs.values, torch.tensor([[4.0, 2.0]], dtype=torch.float64))
    half = torch.full((2,), 0.5**0.5, dtype=torch.float64)
    for first in (pairs.incoming[0, :, 0], pairs.outgoing[0, :, 0]):
        torch.testing.assert_close(first.abs(), half)
    torch.testing.assert_close(rebuilt(pairs.values, pairs.incoming, pairs.outgoing)[0, 0, 1].item(), 3.0)


@given(
    rows=st.integers(1, 4), shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), rank=st.integers(1, 9),
    count=st.integers(0, 12), seed=st.integers(0, 999),
)  # fmt: skip
def test_pairs_equal_a_singular_value_decomposition_of_each_row(
    rows: int, shape: tuple[int, int], rank: int, count: int, seed: int
) -> None:
    fan_in, fan_out = shape
    target = normal(seed, rows, fan_in, rank) @ normal(seed + 1, rows, rank, fan_out)
    pairs = leading_pairs(target, count)
    assert pairs.incoming.shape == (rows, fan_in, count)
    assert pairs.outgoing.shape == (rows, fan_out, count)
    for row in range(rows):
        values = torch.linalg.svdvals(target[row])
        kept = min(count, int((values > 1e-6 * values[0]).sum()))
        assert pairs.found[row].sum() == kept
        best = values[:kept].square().sum()
        reached = (target[row] @ pairs.outgoing[row]).square().sum()
        torch.testing.assert_close(reached, best, atol=1e-12, rtol=1e-9)
        torch.testing.assert_close(pairs.values[row, :kept], values[:kept], atol=1e-7, rtol=1e-4)
        for side in (pairs.incoming[row], pairs.outgoing[row]):
            identity = torch.diag((pairs.found[row]).double())
            torch.testing.assert_close(side.T @ side, identity, atol=1e-6, rtol=0)
            assert not side[:, kept:].any(), "nothing past the rank"


@pytest.mark.parametrize("shape", [(12, 5), (5, 12)])
def test_singular_values_are_told_apart_over_six_orders(shape: tuple[int, int]) -> None:
    left, _ = torch.linalg.qr(normal(0, 3, shape[0], 5))
    right, _ = torch.linalg.qr(normal(1, 3, shape[1], 5))
    values = torch.tensor([1.0, 1e-3, 1e-5, 1e-7, 0.0], dtype=torch.float64)
    pairs = leading_pairs(rebuilt(values.expand(3, 5), left, right), 5)
    torch.testing.assert_close(pairs.values[0, :3], values[:3], atol=0, rtol=1e-5)
    assert not pairs.values[:, 3:].any(), "1e-7 of the first counts as zero"


def test_pairs_under_a_metric_are_those_of_the_whitened_target() -> None:
    target, read = normal(0, 2, 6, 4), normal(1, 2, 40, 6)
    metric = read.transpose(1, 2) @ read / 40
    squares, vectors = torch.linalg.eigh(metric)
    root = vectors @ torch.diag_embed(squares**-0.5) @ vectors.transpose(1, 2)
    u, values, v = torch.linalg.svd(root @ target, full_matrices=False)
    pairs = leading_pairs(target, 3, torch.linalg.solve(metric, target))
    torch.testing.assert_close(pairs.values, values[:, :3])
    expected = (root @ u)[:, :, :3] @ v[:, :3]  # the product does not depend on signs
    torch.testing.assert_close(pairs.incoming @ pairs.outgoing.transpose(1, 2), expected)


def test_padding_gets_nothing_and_changes_nothing() -> None:
    target = normal(0, 2, 5, 7)
    padded = torch.zeros((2, 8, 16), dtype=torch.float64)
    padded[:, 2:7, 3:10] = target
    small, large = leading_pairs(target, 6), leading_pairs(padded, 6)
    assert small.found.sum() == large.found.sum() == 10
    torch.testing.assert_close(large.values, small.values)
    product = small.incoming @ small.outgoing.transpose(1, 2)
    torch.testing.assert_close((large.incoming @ large.outgoing.transpose(1, 2))[:, 2:7, 3:10], product)
    outside = torch.ones(8, dtype=torch.bool)
    outside[2:7] = False
    assert not large.incoming[:, outside].any()
    assert not large.outgoing[:, :3].any() and not large.outgoing[:, 10:].any()


def test_a_target_of_zero_has_no_pairs() -> None:
    pairs = leading_pairs(torch.zeros((2, 3, 4), dtype=torch.float64), 2)
    assert not pairs.found.any() and not pairs.incoming.any() and not pairs.outgoing.any()


# -- what operators see ----------------------------------------------------------------------------------------------


def test_both_sides_of_the_layer_that_grows() -> None:
    network, batch = about_to_grow(TWO_SAMPLES, THEIR_TARGETS, 1)
    seen = across(network, batch)
    expected = torch.tensor([[[1.0, 3.0], [3.0, 1.0], [4.0, 4.0]]], dtype=torch.float64)
    torch.testing.assert_close(seen.target, expected, msg="the last row is that of the bias")
    torch.testing.assert_close(batch.evidence.across(0), seen.target)
    torch.testing.assert_close(seen.without_constant().target[:, :2], expected[:, :2])
    assert not seen.without_constant().target[:, 2].any()


def test_only_growing_rows_are_looked_at_in_double_precision() -> None:
    ours = begun(0, torch.float32)
    batch = ours.reserve(1, np.array([2, 0, 3]))
    seen = across(ours.network, batch)
    assert seen.rows.tolist() == [0, 2]
    assert seen.target.dtype == torch.float64
    plain = batch.evidence.across(1)[[0, 2]].double()
    torch.testing.assert_close(seen.target, plain, atol=1e-6, rtol=1e-4)


def test_the_errors_of_one_layer_are_those_of_all_layers() -> None:
    ours = begun(1, torch.float32, protection="finetune")
    evidence, again = ours.evidence().double(), ours.evidence().double()
    for layer in (1, 2, 0):
        assert torch.equal(evidence.error(layer), again.errors[layer])
    assert evidence.double() is evidence


@pytest.mark.parametrize("spoiled", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", OURS)
def test_a_row_that_has_diverged_does_not_stop_its_neighbours(name: str, spoiled: float) -> None:
    h, targets, older = normal(0, 2, 20, 4), normal(1, 2, 20, 3), (normal(2, 2, 5, 3), normal(3, 2, 3, 3))
    sound, diverged = (about_to_grow(h, targets, 2, older) for _ in range(2))
    diverged[0].weights[0][0, 0, 0] = spoiled
    expected, given = (OPERATORS.make(name).propose(*each) for each in (sound, diverged))
    torch.testing.assert_close(given.fan_in[1], expected.fan_in[1], atol=1e-9, rtol=0)
    assert given.fan_in.isfinite().all()
    assert given.fan_out is None or not given.fan_out[0].any(), "it grows at random"


def test_a_head_for_two_classes_has_rank_one_however_well_it_is_trained() -> None:
    """In single precision, errors that ought to sum to zero do not, and noise passed for a second direction."""
    ours = learner(2, dtype=torch.float32, hidden=(12, 12), minibatches=60)
    ours.begin(np.ones(2, dtype=bool), [context([task(0, 1)], 3), context([task(4, 7)], 4)])
    ours.train()
    seen = across(ours.network, ours.reserve(1, np.array([4, 4])))
    assert leading_pairs(seen.target, 4).found.sum(dim=1).tolist() == [1, 1]


# -- units without a match -------------------------------------------------------------------------------------------


def test_units_without_a_match_start_as_in_random_growth() -> None:
    ours = begun(0, torch.float64)
    batch = ours.reserve(0, np.array([4, 0, 4]))
    seen = across(ours.network, batch)
    random = OPERATORS.make("random").propose(ours.network, batch).fan_in
    matched = torch.tensor([[True, False, True, False]]).repeat(2, 1)
    mine = torch.ones((2, 65, 4), dtype=torch.float64)
    proposal = with_random_rest(ours.network, batch, seen, matched, mine, torch.ones((2, 4, 8), dtype=torch.float64))
    assert proposal.fan_out is not None
    assert (proposal.fan_in[[0, 2]][:, :, [0, 2]] == 1).all() and (proposal.fan_out[[0, 2]][:, [0, 2]] == 1).all()
    torch.testing.assert_close(proposal.fan_in[[0, 2]][:, :, [1, 3]].abs(), random[[0, 2]][:, :, [1, 3]].abs())
    assert not proposal.fan_out[:, [1, 3]].any()
    assert not proposal.fan_in[1].any()


def test_a_unit_that_no_sample_would_wake_is_turned_round() -> None:
    read = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]], dtype=torch.float64)
    seen = Across(1, torch.tensor([0]), read, read, read)
    fan_in = torch.tensor([[[-1.0, 1.0, -1.5], [-1.0, 0.0, 1.0]]], dtype=torch.float64)
    expected = torch.tensor([[[1.0, 1.0, -1.5], [1.0, 0.0, 1.0]]], dtype=torch.float64)
    assert torch.equal(awake(seen, fan_in), expected), "the last one is above zero on one sample of three"


@pytest.mark.parametrize("layer", [0, 1])
def test_lengths_leave_biases_aside(layer: int) -> None:
    read = torch.ones((1, 1, 3), dtype=torch.float64)
    seen = Across(layer, torch.tensor([0]), read, read, read)
    fan_in = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    fan_in = (fan_in if layer == 0 else fan_in.flip(1))[:, :, None].transpose(0, 2)  # the bias is last, or first
    fan_in[:, seen.constant] = 2.0
    scaled = seen.scaled(fan_in, torch.tensor([10.0], dtype=torch.float64))
    torch.testing.assert_close(scaled, 2.0 * fan_in * torch.tensor([1.0, 0.0])[None, None, :].double())
