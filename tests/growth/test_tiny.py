"""TINY: new units that take the step which the old ones cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.growth import Evidence, Tiny
from growenv.growth.scaling import LIVE_SHARE, live_norms
from growenv.growth.tiny import STEPS, best_fit, residual, ridge_fit
from tests.growth.hand_built import THEIR_TARGETS, TWO_SAMPLES, about_to_grow, across, normal, written
from tests.growth.test_operators import begun

SMALL_STEP = 1e-4


def layers(rows: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Inputs, targets, and four older units."""
    return (
        normal(seed, rows, 60, 5),
        normal(seed + 1, rows, 60, 3),
        (normal(seed + 2, rows, 6, 4), normal(seed + 3, rows, 4, 3)),
    )


def whitened(read: Tensor, wanted: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """S^(-1/2) and S^(-1/2) N of one row, the slow way."""
    samples, width = read.shape
    added = ridge * read.square().sum() / samples / width
    squares, vectors = torch.linalg.eigh(read.T @ read / samples + added * torch.eye(width, dtype=read.dtype))
    root = vectors @ torch.diag(squares**-0.5) @ vectors.T
    return root, root @ (read.T @ wanted / samples)


# -- the fit ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [5, 80])
def test_the_ridge_fit_solves_the_normal_equations(width: int) -> None:
    """With more columns than samples it is worked out from the other side."""
    read, wanted = normal(0, 2, 40, width), normal(1, 2, 40, 3)
    for row in range(2):
        added = 0.3 * read[row].square().mean()
        gram = read[row].T @ read[row] / 40 + added * torch.eye(width, dtype=torch.float64)
        expected = torch.linalg.solve(gram, read[row].T @ wanted[row] / 40)
        torch.testing.assert_close(ridge_fit(read, wanted, 0.3)[row], expected)


def test_columns_of_zeros_do_not_change_the_fit() -> None:
    read, wanted = normal(0, 2, 40, 6), normal(1, 2, 40, 3)
    padded = torch.cat((read[:, :, :2], torch.zeros((2, 40, 10), dtype=torch.float64), read[:, :, 2:]), dim=2)
    given = ridge_fit(padded, wanted, 0.3)
    torch.testing.assert_close(torch.cat((given[:, :2], given[:, 12:]), dim=1), ridge_fit(read, wanted, 0.3))
    assert not given[:, 2:12].any()


def test_nothing_is_left_of_what_older_units_can_express() -> None:
    read = normal(0, 2, 40, 6)
    left = residual(read, read @ normal(1, 2, 6, 3), 1e-9)
    assert left.abs().max() < 1e-6
    other = normal(2, 2, 40, 3)
    torch.testing.assert_close(
        read.transpose(1, 2) @ residual(read, other, 1e-9), torch.zeros(2, 6, 3).double(), atol=1e-6, rtol=0
    )


# -- the match -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ridge", [1e-6, 0.3])
def test_the_gain_of_linear_units_is_the_sum_of_squared_singular_values(ridge: float) -> None:
    """E[R . dz] = sum_i Lambda_i^2 for dz = Omega Psi h, whichever half of each linear unit is taken."""
    h, targets, older = layers()
    seen = across(*about_to_grow(h, targets, 2, older))
    fan_in, fan_out, found = best_fit(seen, 2, ridge)
    assert found.all()
    left = residual(seen.units, -seen.errors * 60, ridge)
    moved = seen.read @ fan_in @ fan_out
    for row in range(4):
        root, whole = whitened(seen.read[row], left[row], ridge)
        u, values, vt = torch.linalg.svd(whole, full_matrices=False)
        gain = (left[row] * moved[row]).sum() / 60
        torch.testing.assert_close(gain, values[:2].square().sum(), atol=0, rtol=1e-9)
        torch.testing.assert_close(fan_in[row] @ fan_out[row], root @ u[:, :2] @ torch.diag(values[:2]) @ vt[:2])
        torch.testing.assert_close(fan_in[row].norm(dim=0), (root @ u)[:, :2].norm(dim=0) * values[:2].sqrt())
        torch.testing.assert_close(fan_out[row].norm(dim=1), values[:2].sqrt())


def test_the_half_with_the_larger_gain_is_taken() -> None:
    h, targets, older = layers(20)
    seen = across(*about_to_grow(h, targets, 1, older))
    fan_in, fan_out, _ = best_fit(seen, 1, 0.3)
    left = residual(seen.units, -seen.errors * 60, 0.3)
    gains = [
        (left * ((sign * seen.read @ fan_in).clamp(min=0.0) @ (sign * fan_out))).sum(dim=(1, 2)) for sign in (1.0, -1.0)
    ]
    assert (gains[0] >= gains[1]).all() and (gains[0] > 0).all()


def test_the_loss_falls_as_predicted_where_older_units_have_done_their_part() -> None:
    """No older units: the fit is that of the biases. A small step along the negative gradient must lower the loss."""
    h, targets, _ = layers(20)
    network, batch = about_to_grow(h, targets, 3)
    before = batch.evidence.loss.value(batch.evidence.logits)
    evidence = written(network, batch, Tiny((SMALL_STEP,)).propose(network, batch))
    assert (evidence.loss.value(evidence.logits) < before).all()


# -- the step --------------------------------------------------------------------------------------------------------


def test_the_best_step_on_the_second_probe_batch_is_taken() -> None:
    """Its targets lie behind the outputs, or less or more far ahead of them."""
    h, targets, older = layers(8)
    now, steps = about_to_grow(h, targets, 2, older)[1].evidence.logits, (1.0, 2.0, 4.0, 8.0)
    held_out = now + torch.linspace(-0.5, 2.0, 8).double()[:, None, None] * (targets - now)
    network, batch = about_to_grow(h, targets, 2, older, held_out=held_out)
    fan_in, fan_out, _ = best_fit(across(network, batch), 2, 0.3)
    proposal = Tiny(steps).propose(network, batch)
    losses = []
    for step in (0.0, *steps):
        other, request = about_to_grow(h, targets, 2, older)
        other.set_units(0, request.first, request.amounts, step**0.5 * fan_in, step**0.5 * fan_out)
        after = Evidence(other, batch.probe(1).x, batch.probe(1).loss)
        losses.append(after.loss.value(after.logits))
    best = torch.tensor((0.0, *steps), dtype=torch.float64)[torch.stack(losses).argmin(dim=0)]
    assert len(best.unique()) > 2, "the rows differ, or this tests little"
    torch.testing.assert_close(proposal.fan_out, best.sqrt()[:, None, None] * fan_out)
    moved = best > 0
    torch.testing.assert_close(proposal.fan_in[moved], (best.sqrt()[:, None, None] * fan_in)[moved])


def test_where_no_step_is_better_than_none_the_function_stays_and_units_can_learn() -> None:
    """What is held out wants the opposite."""
    h, targets, older = layers()
    network, batch = about_to_grow(h, targets, 2, older)
    before = batch.evidence.logits.clone()
    network, batch = about_to_grow(h, targets, 2, older, held_out=2.0 * before - targets)
    proposal = Tiny().propose(network, batch)
    assert proposal.fan_out is not None and not proposal.fan_out.any()
    length = torch.from_numpy(LIVE_SHARE * live_norms(network, batch, "in"))
    torch.testing.assert_close(proposal.fan_in[:, :-1].norm(dim=1), length[:, None].expand(4, 2))
    evidence = written(network, batch, proposal)
    torch.testing.assert_close(evidence.logits, before)
    new = network.layout.frozen[0] + torch.arange(4, 6)
    assert evidence.gradient(1)[:, new].any(dim=2).all()


def test_units_that_a_row_does_not_ask_for_have_no_part_in_its_step() -> None:
    """Their neighbour asks for five."""
    h, targets, older = layers(2)
    alone = Tiny().propose(*about_to_grow(h[:1], targets[:1], 1, (older[0][:1], older[1][:1])))
    both = Tiny().propose(*about_to_grow(h, targets, (1, 3), older))
    assert alone.fan_out is not None and both.fan_out is not None
    torch.testing.assert_close(both.fan_in[:1, :, :1], alone.fan_in, atol=1e-12, rtol=0)
    torch.testing.assert_close(both.fan_out[:1, :1], alone.fan_out, atol=1e-12, rtol=0)


@pytest.mark.parametrize("layer", [0, 1])
def test_growth_improves_networks_in_training_on_samples_that_it_did_not_see(layer: int) -> None:
    """A function-improving operator: thousands of samples that are in neither probe batch say so."""
    ours = begun(0, hidden=(6, 6), minibatches=30)
    fresh = ours.evidence(7, 1024)
    before = fresh.loss.value(fresh.logits)
    ours.operator = Tiny()
    ours.grow(np.full(3, layer), np.full(3, 4))
    fresh = ours.evidence(7, 1024)
    after = fresh.loss.value(fresh.logits)
    assert (after <= before + 1e-3).all()
    assert (before - after).mean() > 0.02


def test_units_past_the_rank_grow_at_random() -> None:
    network, batch = about_to_grow(TWO_SAMPLES, THEIR_TARGETS, 4)
    proposal = Tiny().propose(network, batch)
    assert proposal.fan_out is not None
    assert not proposal.fan_out[0, 2:].any()
    assert (proposal.fan_in[0].norm(dim=0) > 0.1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": ()}, "steps of tiny growth are numbers above 0"),
        ({"steps": (0.0, 1.0)}, "steps of tiny growth are numbers above 0"),
        ({"ridge": 0.0}, "ridge of tiny growth must be above 0"),
        ({"ridge": float("nan")}, "ridge of tiny growth must be above 0"),
    ],
)
def test_steps_and_ridge_are_above_zero(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tiny(**options)
    assert Tiny().steps == STEPS
