"""GradMax in closed form, and by climbing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.growth import OPERATORS, Evidence, GradMax, GradMaxOpt, GrowthBatch
from growenv.growth.gradmax import climbed, downhill, log_slope, own_gradients
from growenv.growth.low_rank import leading_pairs
from growenv.growth.scaling import LIVE_SHARE, SPARK, live_norms
from growenv.networks import StackedMLP
from tests.growth.hand_built import THEIR_TARGETS, TWO_SAMPLES, about_to_grow, across, normal, written
from tests.growth.test_operators import begun

UNIT = 2.0 * 1.5**0.5  # a scale for vectors of length 1: without older units they have half of sqrt(2 readers / 3)


def loss_after_a_step(evidence: Evidence, rate: float) -> tuple[float, Tensor]:
    """Loss after one step of gradient descent on the incoming weights alone, and their gradient, (fan_in, K)."""
    network, gradient = evidence.network, evidence.gradient(0)[0]
    network.weights[0][0] -= rate * gradient
    after = Evidence(network, evidence.x, evidence.loss)
    return float(after.loss.value(after.logits)), gradient


# -- the closed form -------------------------------------------------------------------------------------------------


def test_the_hand_case() -> None:
    """|| G Omega ||^2 = 3 * 16 with the bias, whose row of G is (4, 4)."""
    network, batch = about_to_grow(TWO_SAMPLES, THEIR_TARGETS, 1)
    proposal = GradMax(UNIT).propose(network, batch)
    assert proposal.fan_out is not None
    half = torch.full((1, 1, 2), 0.5**0.5, dtype=torch.float64)
    torch.testing.assert_close(proposal.fan_out, -half, msg="v is positive, so -u is what gradient descent can use")
    evidence = written(network, batch, proposal)
    assert float(evidence.loss.value(evidence.logits)) == pytest.approx(20.0, abs=1e-12)
    _, gradient = loss_after_a_step(evidence, 0.0)
    torch.testing.assert_close(gradient[:, 0], torch.tensor([4.0, 4.0, 8.0], dtype=torch.float64) * -(0.5**0.5))


@pytest.mark.parametrize(("sign", "expected"), [(-1.0, 19.8404), (1.0, 20.0)])
def test_a_step_of_the_hand_case_without_biases(sign: float, expected: float) -> None:
    """Worked by hand: Psi = 0.04 (1, 1) / sqrt(2), or its opposite, with which the unit stays off."""
    network, batch = about_to_grow(TWO_SAMPLES, THEIR_TARGETS, 1, constant=0.0)
    proposal = GradMax(UNIT).propose(network, batch)
    assert proposal.fan_out is not None
    evidence = written(network, batch, proposal)
    network.weights[1].mul_(-sign)  # the operator's own sign is -1
    slope = across(network, batch).target[0] @ network.weights[1][0, network.layout.frozen[0]]
    assert float(slope.norm()) == pytest.approx(4.0)
    network.weights[0][0, :, 0] -= 0.01 * slope
    after = Evidence(network, evidence.x, evidence.loss)
    assert float(after.loss.value(after.logits)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("layer", [0, 1])
def test_the_first_gradient_is_as_large_as_orthogonal_vectors_allow(layer: int) -> None:
    ours = begun(0, hidden=(7, 9))  # row 0 has three classes, so two directions
    network, amounts = ours.network, np.array([2, 0, 3])
    values = [torch.linalg.svdvals(each) for each in ours.evidence().across(layer)]
    batch = ours.reserve(layer, amounts)
    length = LIVE_SHARE * live_norms(network, batch, "out")
    proposal = GradMax().propose(network, batch)
    assert proposal.fan_out is not None
    network.set_units(layer, batch.first, amounts, proposal.fan_in, proposal.fan_out)
    gradient, bias = ours.evidence().gradient(layer), -1 if layer == 0 else 0
    for row in (0, 2):
        k, first = int(amounts[row]), int(batch.first[row])
        out, new = proposal.fan_out[row, :k], gradient[row, :, first : first + k]
        torch.testing.assert_close(out @ out.T, length[row] ** 2 * torch.eye(k, dtype=torch.float64))
        best = length[row] ** 2 * values[row][:k].square().sum()
        torch.testing.assert_close(new.square().sum(), best, atol=0, rtol=1e-6)
        assert not out[:, int(batch.readers(network)[row]) :].any(), "nothing reaches padding or absent classes"
        fan_in = proposal.fan_in[row, :, :k].clone()
        assert (fan_in[bias] == SPARK).all()
        fan_in[bias] = 0.0
        assert not fan_in.any()


def test_the_scale_is_that_of_the_outgoing_vectors() -> None:
    one, three = (GradMax(scale).propose(*about_to_grow(TWO_SAMPLES, THEIR_TARGETS, 1)).fan_out for scale in (1, 3))
    assert one is not None and three is not None
    torch.testing.assert_close(three, 3.0 * one)


def test_units_past_the_rank_read_at_random() -> None:
    """Two outputs: two directions, and four units."""
    network, batch = about_to_grow(TWO_SAMPLES, THEIR_TARGETS, 4)
    proposal = GradMax().propose(network, batch)
    assert proposal.fan_out is not None
    assert proposal.fan_out[0].any(dim=1).tolist() == [True, True, False, False]
    assert (proposal.fan_in[0].norm(dim=0) > 0.1).tolist() == [False, False, True, True]


def random_layers(count: int, seed: int) -> tuple[StackedMLP, GrowthBatch]:
    """Layers that read what ReLUs answer, not below zero, and already have five units."""
    h = normal(seed, count, 64, 6).clamp(min=0.0)
    older = normal(seed + 1, count, 7, 5), normal(seed + 2, count, 5, 4)
    return about_to_grow(h, 3.0 * normal(seed + 3, count, 64, 4), 2, older)


@pytest.mark.parametrize(("turn", "low", "high"), [(1.0, 0.85, 1.0), (-1.0, 0.0, 0.15)])
def test_the_first_step_gains_what_it_should_with_the_sign_rule_and_hardly_anything_against_it(
    turn: float, low: float, high: float
) -> None:
    rate, (network, batch) = 1e-3, random_layers(50, 7)
    proposal = GradMax().propose(network, batch)
    assert proposal.fan_out is not None
    evidence = written(network, batch, proposal)
    network.weights[1][:, network.layout.frozen[0] + 5 :].mul_(turn)
    before = Evidence(network, evidence.x, evidence.loss)
    loss, gradient = before.loss.value(before.logits), before.gradient(0)[:, :, 5:7]
    network.weights[0][:, :, 5:7] -= rate * gradient
    after = Evidence(network, evidence.x, evidence.loss)
    gained = (loss - after.loss.value(after.logits)) / (rate * gradient.square().sum(dim=(1, 2)))
    assert low <= gained.mean() <= high


def test_a_unit_that_the_first_step_of_adam_would_put_to_sleep_is_turned_round() -> None:
    """v = (1, -3): its ranks of samples answer -1 and 1 along v, but 1 and 3 along sign(v) = (1, -1)."""
    network, batch = about_to_grow(torch.tensor([[[2.0, 1.0]] * 15 + [[4.0, 1.0]] * 5]), normal(0, 1, 20, 2), 1)
    v = torch.tensor([1.0, -3.0, 0.0], dtype=torch.float64)[None, :, None]
    assert downhill(across(network, batch), v).item() == -1.0, "gradient descent alone would have 15 to 5 for v"
    network, batch = about_to_grow(torch.tensor([[[2.0, 1.0]] * 20]), normal(0, 1, 20, 2), 1)
    assert downhill(across(network, batch), v).item() == 1.0, "the other way it would sleep in any case"


# -- by climbing -----------------------------------------------------------------------------------------------------


def objective(seen: Any, fan_in: Tensor) -> Tensor:
    return own_gradients(seen, fan_in).norm(dim=1)


def test_the_first_unit_mostly_finds_the_best_direction_of_the_plane() -> None:
    """Of forty random layers with two inputs; climbing can end on a lower summit."""
    network, batch = about_to_grow(normal(3, 40, 30, 2), normal(4, 40, 30, 3), 1)
    seen = across(network, batch).without_constant()
    angle = torch.linspace(0.0, 2.0 * torch.pi, 1000, dtype=torch.float64)
    circle = torch.stack((angle.cos(), angle.sin(), torch.zeros_like(angle)))
    answers = seen.answers(circle.expand(40, 3, 1000)).clamp(min=0.0)
    best = (seen.errors.transpose(1, 2) @ answers).norm(dim=1).amax(dim=1)
    fan_in = GradMaxOpt().propose(network, batch).fan_in
    found = objective(seen, fan_in / fan_in.norm(dim=1, keepdim=True))[:, 0]
    assert (found > 0.999 * best).double().mean() > 0.7
    assert (found > 0.8 * best).all()


def test_the_slope_is_that_of_the_log_of_the_objective() -> None:
    network, batch = about_to_grow(normal(3, 2, 40, 4), normal(4, 2, 40, 3), 3)
    seen = across(network, batch).without_constant()
    fan_in = torch.nn.functional.normalize(normal(5, 2, 5, 3), dim=1)
    fan_in[:, 4] = 0.0
    fan_in = torch.nn.functional.normalize(fan_in, dim=1)
    for unit in range(3):
        mine = fan_in[:, :, unit].clone().requires_grad_(True)
        units = torch.cat((fan_in[:, :, :unit], mine[:, :, None], fan_in[:, :, unit + 1 :]), dim=2)
        (slope,) = torch.autograd.grad(objective(seen, units)[:, unit].log().sum(), mine)
        radial = (slope * mine).sum(dim=1, keepdim=True)
        torch.testing.assert_close(radial, torch.ones_like(radial), atol=1e-8, rtol=0)
        torch.testing.assert_close(
            log_slope(seen, fan_in)[:, :, unit], slope - radial * mine.detach(), atol=1e-8, rtol=0
        )


def test_climbing_gains_and_no_two_units_find_the_same_summit() -> None:
    ours = begun(0, hidden=(12, 12))
    batch = ours.reserve(0, np.array([8, 8, 8]))
    seen = across(ours.network, batch).without_constant()
    start = GradMaxOpt()._start(ours.network, batch, seen)
    found = climbed(seen, start, 100, 0.03)
    pairs = leading_pairs(seen.target, 4)
    for row in range(3):
        opposite = start[row, :, 0] @ start[row, :, 1]
        assert float(opposite) == pytest.approx(-1.0) and float(
            (start[row, :, 0] @ pairs.incoming[row, :, 0]).abs()
        ) == pytest.approx(1.0)
    assert (objective(seen, found).square().sum(dim=1) > 1.3 * objective(seen, start).square().sum(dim=1)).all()
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3, 8, dtype=torch.float64))
    alike = (found.transpose(1, 2) @ found).triu(1)
    assert alike.max() < 0.95


def test_climbed_vectors_have_no_bias_and_half_the_length_of_the_others() -> None:
    ours = begun(1, protection="finetune")
    for layer in (0, 1):
        batch = ours.reserve(layer, np.array([3, 0, 2]))
        proposal = GradMaxOpt(scale=2.0).propose(ours.network, batch)
        length = torch.from_numpy(live_norms(ours.network, batch, "in"))  # scale 2, a half of it
        assert proposal.fan_out is None
        assert not proposal.fan_in[:, -1 if layer == 0 else 0].any()
        for row, k in ((0, 3), (2, 2)):
            torch.testing.assert_close(proposal.fan_in[row, :, :k].norm(dim=0), length[[row]].expand(k))


@pytest.mark.parametrize(
    ("name", "options"),
    [("gradmax", {"scale": 0.0}), ("gradmax-opt", {"scale": float("nan")}), ("gradmax", {"scale": float("inf")})],
)
def test_a_scale_is_above_zero(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"scale of {name} growth must be above 0"):
        OPERATORS.make(name, **options)


@pytest.mark.parametrize("options", [{"steps": 0}, {"step_size": 0.0}, {"step_size": float("nan")}])
def test_climbing_takes_steps(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least 1 step of a size above 0"):
        GradMaxOpt(**options)
