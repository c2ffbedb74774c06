"""Splitting steepest descent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from growenv.growth import Evidence, GrowthBatch, RandomGrowth, Splitting, SquaredError
from growenv.growth import splitting as module
from growenv.growth.splitting import curvature, lanczos, least_eigenpairs, slopes
from growenv.learner import Learner
from growenv.networks import StackedMLP
from tests.growth.test_net2wider import grown
from tests.growth.test_operators import begun, logits
from tests.reference import check_padding, row_of

AMOUNTS = [3, 0, 6]


def at_work(finished: int = 0, **options: Any) -> Learner:
    """Three rows that have trained; in a later task, with a few active units in both layers."""
    ours = begun(finished, **{"growth": "random", "minibatches": 10, **options})
    if finished:
        for layer in (1, 0):
            ours.grow(np.full(3, layer), np.array([5, 3, 9]))
            ours.train()
    ours.operator = Splitting(epsilon=0.1)
    return ours


# -- the search for eigenvectors ------------------------------------------------------------------------------------


def dense(x: Tensor, c: Tensor) -> Tensor:
    return torch.einsum("rbi,rmb,rbj->rmij", x, c, x)


def problem(seed: int, samples: int, width: int, units: int = 3, rows: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    x, c, start = (
        rng.normal(size=(rows, samples, width)),
        rng.normal(size=(rows, units, samples)),
        rng.normal(size=(rows, width)),
    )
    return torch.from_numpy(x), torch.from_numpy(c), torch.from_numpy(start)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), samples=st.integers(1, 40), width=st.integers(1, 12))
def test_least_eigenpairs_equal_those_of_the_whole_matrix(seed: int, samples: int, width: int) -> None:
    """More samples than dimensions, or fewer: then S has a null space."""
    x, c, start = problem(seed, samples, width)
    values, vectors = lanczos(x, c, start)
    spectrum, basis = torch.linalg.eigh(dense(x, c))
    scale = spectrum.abs().amax(dim=2)
    torch.testing.assert_close(values / scale, spectrum[:, :, 0].clamp(max=0.0) / scale, atol=1e-8, rtol=0)
    down = values < -1e-6 * scale
    torch.testing.assert_close(vectors[down].norm(dim=1), torch.ones(int(down.sum()), dtype=torch.float64))
    residual = (dense(x, c) @ vectors[..., None])[..., 0] - values[..., None] * vectors
    assert residual.abs().max() < 1e-5 * scale.max()
    assert ((vectors * start[:, None]).sum(dim=2) >= 0).all(), "the sign is that of the start"


def test_a_value_belongs_to_its_vector_even_where_the_search_has_not_converged() -> None:
    """A spectrum without any gaps, in more dimensions than the search takes steps."""
    x, c, start = problem(3, 200, 60)
    values, vectors = lanczos(x, c, start)
    quotient = torch.einsum("rmi,rmij,rmj->rm", vectors, dense(x, c), vectors)
    torch.testing.assert_close(values, quotient)
    least = torch.linalg.eigvalsh(dense(x, c))[:, :, 0]
    assert (values >= least - 1e-9).all() and (values < 0.9 * least).all()


def test_eigenpairs_worked_out_by_hand() -> None:
    """S = diag(-8, 3): one sample at (2, 0) counts -2, one at (0, 1) counts 3."""
    x = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    c = torch.tensor([[[-2.0, 3.0], [2.0, 3.0], [0.0, 0.0]]], dtype=torch.float64)
    values, vectors = lanczos(x, c, torch.tensor([[-1.0, 1.0]], dtype=torch.float64))
    torch.testing.assert_close(values, torch.tensor([[-8.0, 0.0, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(vectors[0, 0], torch.tensor([-1.0, 0.0], dtype=torch.float64))
    assert not vectors[0, 1:].any(), "no way down for the other two"


# -- the formula ------------------------------------------------------------------------------------------------------


def softplus(z: Tensor, beta: float) -> Tensor:
    return torch.log1p(torch.exp(beta * z)) / beta


def smooth_loss(theta: Tensor, omega: Tensor, x: Tensor, y: Tensor, beta: float) -> Tensor:
    return 0.5 * (softplus(x @ theta, beta) @ omega - y).square().sum(dim=1).mean()


@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_the_loss_of_a_smooth_network_changes_by_half_epsilon_squared_times_the_eigenvalue(beta: float) -> None:
    """And the error of that is of fourth order: halving epsilon makes it sixteen times smaller."""
    rng = np.random.default_rng(0)
    x, theta, omega, y = (torch.from_numpy(rng.normal(size=s)) for s in ((50, 4), (4, 5), (5, 2), (50, 2)))
    hidden = softplus(x @ theta, beta).requires_grad_()
    loss = 0.5 * (hidden @ omega - y).square().sum(dim=1).mean()
    (by_output,) = torch.autograd.grad(loss, hidden)
    curved = curvature(x @ theta, by_output, beta)
    values, vectors = lanczos(x[None], curved.T[None], torch.ones((1, 4), dtype=torch.float64))
    split = 0
    for unit in range(5):
        if values[0, unit] == 0:
            continue
        split, errors = split + 1, []
        for epsilon in (0.1, 0.05):
            moved = epsilon * vectors[0, unit]
            others = [number for number in range(5) if number != unit]
            apart = torch.stack([*theta.T[others], theta[:, unit] + moved, theta[:, unit] - moved], dim=1)
            halves = torch.cat([omega[others], omega[unit : unit + 1] / 2, omega[unit : unit + 1] / 2])
            change = smooth_loss(apart, halves, x, y, beta) - smooth_loss(theta, omega, x, y, beta)
            predicted = 0.5 * epsilon**2 * values[0, unit]
            assert float(change) == pytest.approx(float(predicted), rel=0.03)
            errors.append(abs(float(change - predicted)))
        assert errors[0] / errors[1] == pytest.approx(16, rel=0.1)
    assert split >= 2


@pytest.mark.parametrize(("finished", "layer"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_values_equal_those_of_a_slow_reference(finished: int, layer: int) -> None:
    """S is summed up sample by sample, from derivatives by autograd of each row's network without padding."""
    ours = at_work(finished)
    network, evidence = ours.network, ours.evidence()
    batch = ours.reserve(layer, np.array([3, 2, 6]))
    values, _ = least_eigenpairs(
        network, batch, evidence.below[layer], curvature(*slopes(network, evidence, layer), 3.0)
    )
    checked = 0
    for row in range(3):
        expected = slow_values(ours, evidence, layer, row, int(batch.first[row]))
        found = values[row, : batch.first[row]].numpy()
        assert not values[row, batch.first[row] :].any()
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, np.minimum(expected, 0), atol=1e-3 * scale)
        assert found.min() == pytest.approx(expected.min(), rel=1e-6), "what matters most is exact"
        checked += int((found < 0).sum())
    assert checked > 6


def slow_values(ours: Learner, evidence: Evidence, layer: int, row: int, older: int) -> Any:
    weights = row_of(ours.network, row)
    frozen = everything = evidence.x[row]
    ones, chosen = torch.ones((evidence.samples, 1), dtype=torch.float64), torch.empty(0)
    read = before = chosen
    for number, (old, new) in enumerate(zip(weights.frozen, weights.trained[:-1], strict=True)):
        active = torch.relu(everything @ new)
        if number == layer:
            read, before = everything, everything @ new
            active = chosen = active.detach().requires_grad_()
        frozen = torch.cat((ones, torch.relu(frozen @ old)), dim=1)
        everything = torch.cat((frozen, active), dim=1)
    output = everything @ weights.trained[-1] + evidence.loss.absent[row]  # type: ignore[attr-defined]
    labels = evidence.loss.labels[row]  # type: ignore[attr-defined]
    (slopes,) = torch.autograd.grad(torch.nn.functional.cross_entropy(output, labels), chosen)
    least = []
    for unit in range(older):
        matrix = np.zeros((read.shape[1], read.shape[1]))
        for x, z, slope in zip(read.numpy(), before[:, unit].detach().numpy(), slopes[:, unit].numpy(), strict=True):
            gate = 1 / (1 + np.exp(-3.0 * z))
            matrix += slope * 3.0 * gate * (1 - gate) * np.outer(x, x)
        least.append(np.linalg.eigvalsh(matrix)[0])
    return np.array(least)


# -- the operator -----------------------------------------------------------------------------------------------------


def saddle() -> tuple[StackedMLP, GrowthBatch]:
    """One unit with weights of zero is to be |x|: it cannot move, but two can."""
    network = StackedMLP(1, 1, 1, 1, dtype=torch.float64)
    one = np.array([1])
    network.set_units(0, network.reserve(0, one), one, torch.zeros(1, 2, 1), torch.ones(1, 1, 1))
    x = torch.tensor([[[-2.0, 1.0], [2.0, 1.0], [-1.0, 1.0], [1.0, 1.0]]], dtype=torch.float64)
    loss = SquaredError(x[:, :, :1].abs())
    seeds, first = np.array([5], dtype=np.uint64), network.reserve(0, one)
    return network, GrowthBatch(0, one, seeds, one, first, one, lambda number: Evidence(network, x, loss))


def test_a_unit_at_a_saddle_is_split_the_right_way() -> None:
    """S = -beta / 4 E[|x| (x, 1) (x, 1)^T] = -3 / 4 diag(4.5, 1.5): the way down is along x, and biases stay."""
    network, batch = saddle()
    assert batch.evidence.gradient(0).abs().max() == 0, "gradients see no way down"
    proposal = Splitting(epsilon=0.1).propose(network, batch)
    assert proposal.incoming is not None and proposal.outgoing is not None and proposal.fan_out is not None
    assert proposal.incoming[0, :, 0].abs().tolist() == pytest.approx([0.1, 0.0], abs=1e-12)
    assert torch.equal(proposal.fan_in[0, :, 0], -proposal.incoming[0, :, 0])
    position = network.layout.frozen[0]
    assert (proposal.fan_out[0, 0, 0], proposal.outgoing[0, position, 0]) == (0.5, 0.5)
    values, _ = least_eigenpairs(
        network, batch, batch.evidence.below[0], curvature(*slopes(network, batch.evidence, 0), 3.0)
    )
    assert float(values[0, 0]) == pytest.approx(-3 / 4 * 4.5)


@pytest.mark.parametrize(("finished", "layer"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_halves_lie_on_both_sides_of_their_unit_and_share_what_is_heard(finished: int, layer: int) -> None:
    ours = at_work(finished)
    network, known = ours.network, logits(ours)[:finished]
    before = [row_of(network, row) for row in range(3)]
    batch, proposal = grown(ours, layer, AMOUNTS)
    assert proposal.parents is not None
    frozen, splits = network.layout.frozen[layer], 0
    for row, amount in enumerate(AMOUNTS):
        after, old = row_of(network, row), before[row]
        older, width = int(batch.first[row]), int(network.frozen_units[row, layer])
        incoming, heard = old.trained[layer].clone(), old.trained[layer + 1].clone()
        parents = proposal.parents[row, :amount] - frozen
        assert len(set(parents[parents >= 0].tolist())) == int((parents >= 0).sum()), "no unit is split twice"
        for unit, parent in enumerate(parents.tolist()):
            new_in, new_out = after.trained[layer][:, older + unit], after.trained[layer + 1][1 + width + older + unit]
            if parent < 0:
                assert not new_out.any()
                continue
            splits += 1
            middle = (after.trained[layer][:, parent] + new_in) / 2
            torch.testing.assert_close(middle, old.trained[layer][:, parent], atol=1e-12, rtol=0)
            moved = (after.trained[layer][:, parent] - new_in) / 2
            assert float(moved.norm()) == pytest.approx(0.1)
            assert moved[-1 if layer == 0 else 0] != 0, "biases move too"
            incoming[:, parent] += moved
            heard[1 + width + parent] /= 2
            torch.testing.assert_close(new_out, heard[1 + width + parent], atol=1e-15, rtol=0)
        torch.testing.assert_close(after.trained[layer][:, :older], incoming, atol=1e-12, rtol=0)
        torch.testing.assert_close(after.trained[layer + 1][: len(heard)], heard, atol=1e-15, rtol=0)
        assert all(torch.equal(one, two) for one, two in zip(after.frozen, old.frozen, strict=True))
    assert splits >= 5
    assert torch.equal(logits(ours)[:finished], known), "finished tasks to the last bit"
    check_padding(network)


def test_units_with_the_most_negative_eigenvalues_are_split_first_and_no_others() -> None:
    ours = at_work(1)
    batch = ours.reserve(1, np.array([2, 2, 30]))
    evidence, network = batch.evidence, ours.network
    values, _ = least_eigenpairs(network, batch, evidence.below[1], curvature(*slopes(network, evidence, 1), 3.0))
    proposal = Splitting().propose(network, batch)
    assert proposal.parents is not None and proposal.fan_out is not None
    random = RandomGrowth().propose(network, batch).fan_in
    for row, amount in enumerate(batch.amounts):
        order = np.argsort(values[row].numpy())
        order = [int(unit) for unit in order if values[row, unit] < 0][:amount]
        expected = [network.layout.frozen[1] + unit for unit in order] + [-1] * (amount - len(order))
        assert proposal.parents[row, :amount].tolist() == expected
        rest = slice(len(order), int(amount))
        assert torch.equal(proposal.fan_in[row, :, rest], random[row, :, rest])
        assert not proposal.fan_out[row, rest].any()
    assert (proposal.parents[2] < 0).sum() > 15, "there are not that many older units"


@pytest.mark.parametrize("layer", [0, 1])
def test_frozen_units_are_not_split(layer: int) -> None:
    """At the beginning of a task there are no others: all new units start at random."""
    ours, plain = begun(1, growth=Splitting()), begun(1)
    for each in (ours, plain):
        each.grow(np.full(3, layer), np.array(AMOUNTS))
    for row in range(3):
        for one, two in zip(row_of(ours.network, row).parts(), row_of(plain.network, row).parts(), strict=True):
            assert torch.equal(one, two)


@pytest.mark.parametrize("layer", [0, 1])
def test_splitting_goes_downhill_on_average(layer: int) -> None:
    ours = at_work(max_hidden=(60, 60))
    probe = ours.evidence(1, 512)
    before = probe.loss.value(probe.logits)
    ours.grow(np.full(3, layer), np.array([4, 4, 4]))
    after = ours.evidence(1, 512)
    assert (after.loss.value(after.logits) - before).mean() < -1e-5


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_halves_stay_apart_and_separate_further(optimizer: str) -> None:
    ours = at_work(optimizer=optimizer, learning_rate={"sgd": 0.1, "adam": 0.01}[optimizer])
    batch, proposal = grown(ours, 0, [3, 3, 3])
    assert proposal.parents is not None
    units = torch.from_numpy(batch.first)[:, None] + torch.arange(3)
    row, parents = torch.arange(3)[:, None], proposal.parents - ours.network.layout.frozen[0]

    def apart() -> Tensor:
        weights = ours.network.weights[0]
        return (weights[row, :, units] - weights[row, :, parents]).norm(dim=2)

    torch.testing.assert_close(apart(), torch.full((3, 3), 0.2, dtype=torch.float64))
    for _ in range(20):
        ours.train()
    assert apart().min() > 0.1 and apart().mean() > 0.22


def test_memory_is_bounded_by_working_on_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for chunk in (1 << 24, 1):
        monkeypatch.setattr(module, "_CHUNK", chunk)
        ours = at_work()
        ours.grow(np.zeros(3, dtype=np.int64), np.array(AMOUNTS))
        results.append([row_of(ours.network, row).trained for row in range(3)])
    for one, two in zip(*results, strict=True):
        for weights, expected in zip(one, two, strict=True):
            torch.testing.assert_close(weights, expected, atol=1e-12, rtol=0)


def test_a_row_that_has_diverged_harms_no_other() -> None:
    ours, sound = at_work(), at_work()
    ours.network.weights[0][1] = torch.nan
    for each in (ours, sound):
        each.grow(np.zeros(3, dtype=np.int64), np.array([3, 3, 6]))
    for row in (0, 2):
        for one, two in zip(row_of(ours.network, row).parts(), row_of(sound.network, row).parts(), strict=True):
            torch.testing.assert_close(one, two, atol=1e-12, rtol=0)


@pytest.mark.parametrize("options", [{"epsilon": 0.0}, {"epsilon": -0.01}, {"beta": 0.0}, {"beta": float("nan")}])
def test_steps_and_sharpness_must_be_above_0(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="epsilon and beta of splitting must be above 0"):
        Splitting(**options)
