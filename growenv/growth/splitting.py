"""Splitting steepest descent: units at a saddle are split along the direction in which the loss curves down most."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from growenv.growth.evidence import Evidence
from growenv.growth.net2wider import copies
from growenv.growth.operators import OPERATORS, GrowthBatch, Proposal
from growenv.growth.scaling import older_units, positions_read
from growenv.networks import StackedMLP
from growenv.randomness import Purpose, normal

_START = (1 << 16) + 3  # stream of the random numbers that a search for eigenvectors starts from
_STEPS = 12  # of a search; the most negative eigenvalues, which matter, have converged by then
_ROUNDING = 1e-9  # relative; a smaller negative eigenvalue may be zero
_CHUNK = 1 << 24  # numbers in the bases of a search that are held at once


class Splitting:
    """Splits active units into theta + epsilon v and theta - epsilon v, each with half the outgoing weights.

    With S = E[dL/dh s''(theta . x) x x^T] of a unit, x being all that it reads and the constant one, such a split
    changes the loss by 1/2 epsilon^2 v^T S v + O(epsilon^4). So v is the eigenvector of the least eigenvalue, units
    with the most negative eigenvalues are split first, and only those with negative ones. The second derivative of the
    ReLU vanishes; instead, that of softplus(beta z) / beta is used, which approaches it for large beta.

    Frozen units cannot be split. Where fewer units can be split than new ones are asked for, the rest start at random
    with outgoing weights of zero. The function changes a little.

    Args:
        epsilon: how far the two halves move, above 0 (default of the released code).
        beta: sharpness of the softplus, above 0 (default of the released code).

    Raises:
        ValueError: one of them is not above 0.

    Source: Wu, Wang and Liu 2019, arXiv 1910.02366.
    """

    name = "splitting"
    preserving = False

    def __init__(self, epsilon: float = 0.01, beta: float = 3.0) -> None:
        if not (epsilon > 0 and beta > 0):
            raise ValueError(f"epsilon and beta of splitting must be above 0, got {epsilon} and {beta}")
        self.epsilon, self.beta = epsilon, beta

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        """Weights of the new units; see `GrowthOperator.propose`."""
        layer, frozen = batch.layer, network.layout.frozen[batch.layer]
        read = batch.evidence.below[layer]
        curved = curvature(*slopes(network, batch.evidence, layer), self.beta)
        values, vectors = least_eigenpairs(network, batch, read, curved)
        older = torch.from_numpy(older_units(network, batch)[:, frozen:]).to(network.device)
        order, chosen = most_negative(torch.where(older, values, 0.0), batch)
        parents = torch.where(chosen, frozen + order, -1)
        halves = torch.where(chosen, 0.5, 0.0)
        moved = self.epsilon * torch.where(chosen[:, None, :], columns(vectors, order), 0.0).to(network.dtype)
        return split(network, batch, parents, halves, moved)


def slopes(network: StackedMLP, evidence: Evidence, layer: int) -> tuple[Tensor, Tensor]:
    """Pre-activations of a layer's active units, and the loss's derivatives by their outputs, each (N, B, active)."""
    before = torch.bmm(evidence.below[layer], network.weights[layer])
    return before, evidence.by_answer(layer)


def curvature(before: Tensor, by_output: Tensor, beta: float) -> Tensor:
    """dL/dh times the second derivative of softplus(beta z) / beta, float64 of the arguments' shape.

    Args:
        before: pre-activations z.
        by_output: derivatives dL/dh of the mean loss.
        beta: sharpness.
    """
    gate = torch.sigmoid(beta * before.double())
    # A row that has diverged has nothing to split.
    return torch.nan_to_num(by_output.double() * beta * gate * (1.0 - gate), 0.0, 0.0, 0.0)


def least_eigenpairs(network: StackedMLP, batch: GrowthBatch, read: Tensor, curved: Tensor) -> tuple[Tensor, Tensor]:
    """Least eigenvalue of S = sum_b c_b x_b x_b^T for every active unit of the growing rows, and its eigenvector.

    S is never formed, since it has (fan-in)^2 entries for every unit: Lanczos' method needs products with it only, and
    finds eigenvalues at the ends of the spectrum first. A value is v^T S v of the vector that comes with it, so it
    holds for that vector even where the search has not converged. Both are zero unless the value is clearly negative.

    Args:
        network: the stack.
        batch: what grows.
        read: x, what the units read, (N, B, fan_in).
        curved: c, weight of each sample, (N, B, active).

    Returns:
        Values (N, active) and unit vectors (N, fan_in, active), float64. A vector's sign is random.
    """
    rows, _, fan_in = read.shape
    units = int(batch.first[batch.amounts > 0].max())
    counter, _ = positions_read(network, batch.layer)
    draw = normal(batch.seeds[:, None], Purpose.GROWTH, batch.layer, batch.units[:, None], counter, _START)
    start = torch.from_numpy(draw).to(read.device)
    values = torch.zeros((rows, curved.shape[2]), dtype=torch.float64, device=read.device)
    vectors = torch.zeros((rows, fan_in, curved.shape[2]), dtype=torch.float64, device=read.device)
    growing = torch.from_numpy(np.flatnonzero(batch.amounts)).to(read.device)
    for part in torch.split(growing, max(1, _CHUNK // max(1, _STEPS * fan_in * units))):
        x = torch.nan_to_num(read[part].double(), 0.0, 0.0, 0.0)
        least, along = lanczos(x, curved[part, :, :units].transpose(1, 2).contiguous(), start[part])
        values[part, :units], vectors[part, :, :units] = least, along.transpose(1, 2)
    return values, vectors


def lanczos(x: Tensor, c: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Least eigenpair of every S = sum_b c_b x_b x_b^T, as `least_eigenpairs` says.

    Args:
        x: samples, (R, B, D).
        c: their weights for each unit, (R, M, B).
        start: where to search from, also what a vector's sign is positive along, (R, D).

    Returns:
        Values (R, M) and vectors (R, M, D).
    """
    samples, shape = x.transpose(1, 2), (*c.shape[:2], x.shape[2])

    def times(vector: Tensor) -> Tensor:
        return torch.bmm(c * torch.bmm(vector, samples), x)

    bound = (c.abs() * x.square().sum(dim=2)[:, None]).sum(dim=2)  # no eigenvalue is larger
    basis = torch.zeros((*shape[:2], _STEPS, shape[2]), dtype=x.dtype, device=x.device)
    projected = torch.zeros((*shape[:2], _STEPS, _STEPS), dtype=x.dtype, device=x.device)
    new = times(start[:, None].expand(shape))  # S times anything has no part in what S cannot see
    for step in range(_STEPS):
        length = new.norm(dim=2)
        # Once the basis spans all that S sees, only rounding is left.
        going_on = length > _ROUNDING * bound * (start.norm(dim=1, keepdim=True) if step == 0 else 1.0)
        basis[:, :, step] = torch.where(going_on[:, :, None], new / length[:, :, None], 0.0)
        new = times(basis[:, :, step])
        seen = basis[:, :, : step + 1]
        for _ in range(2):  # twice, since rounding would let the basis lose its right angles
            part = torch.matmul(seen, new[:, :, :, None])
            projected[:, :, : step + 1, step] += part[:, :, :, 0]
            new = new - torch.matmul(part.transpose(2, 3), seen)[:, :, 0]
    ritz = torch.linalg.eigh(projected, UPLO="U").eigenvectors[:, :, :, 0]
    vectors = torch.matmul(ritz[:, :, None, :], basis)[:, :, 0]
    vectors = vectors / vectors.norm(dim=2, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    values = (vectors * times(vectors)).sum(dim=2)
    down = values < -_ROUNDING * bound
    along = torch.where(torch.bmm(vectors, start[:, :, None])[:, :, 0] < 0, -1.0, 1.0)
    return torch.where(down, values, 0.0), torch.where(down, along, 0.0)[:, :, None] * vectors


def most_negative(scores: Tensor, batch: GrowthBatch) -> tuple[Tensor, Tensor]:
    """Which candidates come first, (N, K), and True where such a one is negative and within the row's amount.

    Args:
        scores: what each candidate changes, (N, candidates).
        batch: what grows.
    """
    least, order = torch.sort(scores, dim=1, stable=True)
    least, order = least[:, : batch.most], order[:, : batch.most]
    amounts = torch.from_numpy(batch.amounts).to(scores.device)
    return order, (least < 0) & (torch.arange(batch.most, device=scores.device) < amounts[:, None])


def split(network: StackedMLP, batch: GrowthBatch, parents: Tensor, halves: Tensor, moved: Tensor) -> Proposal:
    """Parents go one way, their copies the other; new units without a parent start at random.

    Args:
        network: the stack.
        batch: what grows.
        parents: position of each new unit's parent among frozen and active units, (N, K), -1 for none; never a frozen
            one, never one twice in a row.
        halves: share of the outgoing weights that copies get, (N, K).
        moved: what is added to a parent's incoming weights and taken from the copy's, (N, fan_in, K).
    """
    proposal = copies(network, batch, parents, halves)
    incoming = network.weights[batch.layer].clone()
    active = (parents - network.layout.frozen[batch.layer]).clamp(min=0)
    incoming.scatter_add_(2, active[:, None, :].expand_as(moved), moved)
    return Proposal(proposal.fan_in - moved, proposal.fan_out, incoming, proposal.outgoing, parents, halves)


def columns(matrices: Tensor, index: Tensor) -> Tensor:
    """Some columns of every matrix of a stack; index has shape (N, K)."""
    return torch.gather(matrices, 2, index[:, None, :].expand(-1, matrices.shape[1], -1))


OPERATORS.register("splitting", Splitting)
