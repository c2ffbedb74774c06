"""TINY: new units that take the step which the old ones cannot."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from growenv.growth.evidence import Evidence
from growenv.growth.low_rank import Across, awake, leading_pairs, of_all_rows, with_random_rest
from growenv.growth.operators import OPERATORS, GrowthBatch, Proposal
from growenv.growth.scaling import live_share
from growenv.networks import StackedMLP

STEPS = (2.0, 8.0, 32.0)
"""Steps that are tried beside zero. Of small classifiers in training, most do best with one of 4 to 64."""


class Tiny:
    """New units move the next layer as far as they can along the negative gradient that older units cannot follow.

    The residual R is the negative gradient ``-g`` at the next layer less its least-squares fit on the older units.
    With ``S = E[h h^T]`` and ``N = E[h R^T]`` over what the layer reads, the best linear fit of R by k units is that of
    the singular pairs of ``S^(-1/2) N = U Lambda V^T``: ``Psi = sqrt(gamma) S^(-1/2) U Lambda^(1/2)`` and ``Omega =
    sqrt(gamma) V Lambda^(1/2)``. Linear units would gain ``E[R . dz] = gamma sum_i Lambda_i^2``. A ReLU gives one half
    of a linear unit and its opposite the other; the half with the larger part of that gain is taken.

    The step gamma is the one with the least loss on a second probe batch, zero included. Where zero wins, the units
    start with these directions, half as long as the layer's other vectors, and outgoing weights of zero. Units past the
    rank of N, and all of a row without gradient, start as in random growth.

    Args:
        steps: values of gamma that are tried beside 0, above 0.
        ridge: added to the diagonal of S, and of its counterpart in the fit on older units, relative to the mean square
            of their inputs, above 0.

    Source: Verbockhaven et al. 2024, arXiv 2405.19816.
    """

    name = "tiny"
    preserving = False

    def __init__(self, steps: Sequence[float] = STEPS, ridge: float = 0.3) -> None:
        self.steps, self.ridge = tuple(steps), ridge
        if not self.steps or not all(0.0 < step < float("inf") for step in self.steps):
            raise ValueError(f"steps of tiny growth are numbers above 0, got {steps}")
        if not 0.0 < ridge < float("inf"):
            raise ValueError(f"the ridge of tiny growth must be above 0, got {ridge}")

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        """Weights of the new units; see `GrowthOperator.propose`."""
        across = Across.of(network, batch, batch.evidence)
        fan_in, fan_out, found = best_fit(across, batch.most, self.ridge)
        added = torch.arange(batch.most) < torch.from_numpy(batch.amounts)[across.rows.cpu(), None]
        gamma = self._step(network, batch, across, fan_in, fan_out * added.to(fan_out)[:, :, None])
        length = live_share(network, batch, "in")[across.rows]
        alone = awake(across, across.scaled(fan_in, length))
        root = gamma.sqrt()[:, None, None]
        fan_in = torch.where(root > 0.0, root * fan_in, alone)
        return with_random_rest(network, batch, across, found & fan_in.any(dim=1), fan_in, root * fan_out)

    def _step(self, network: StackedMLP, batch: GrowthBatch, across: Across, fan_in: Tensor, fan_out: Tensor) -> Tensor:
        """The best step of every row, (R,); 0 where no step is better than none."""
        other: Evidence = batch.probe(1).double()
        given = torch.bmm(torch.bmm(other.below[batch.layer][across.rows], fan_in).clamp(min=0.0), fan_out)
        extra = of_all_rows(network, across, given).double()
        steps = torch.tensor((0.0, *self.steps), dtype=given.dtype, device=given.device)
        losses = torch.stack([other.loss_with(batch.layer, step * extra)[across.rows] for step in steps])
        return steps[torch.where(losses.isfinite(), losses, torch.inf).argmin(dim=0)]


def best_fit(across: Across, count: int, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
    """Incoming (R, fan_in, K) and outgoing weights (R, K, fan_out) for gamma = 1, and which there are, (R, K).

    Args:
        across: what the probe batch shows.
        count: number of units K.
        ridge: as in `ridge_fit`.
    """
    wanted = residual(across.units, -across.errors * across.samples, ridge)
    target = torch.bmm(across.read.transpose(1, 2), wanted) / across.samples
    pairs = leading_pairs(target, count, ridge_fit(across.read, wanted, ridge))
    answers, hoped = across.answers(pairs.incoming), torch.bmm(wanted, pairs.outgoing)
    gains = [(hoped * half).sum(dim=1) for half in (answers.clamp(min=0.0), answers.clamp(max=0.0))]
    root = (pairs.values.sqrt() * torch.where(gains[0] >= gains[1], 1.0, -1.0))[:, None]
    return pairs.incoming * root, (pairs.outgoing * root).transpose(1, 2), pairs.found


def ridge_fit(read: Tensor, wanted: Tensor, ridge: float) -> Tensor:
    """Coefficients ``(E[h h^T] + r I)^-1 E[h y^T]`` of the least-squares fit of `wanted` by `read`, (R, F, O).

    Args:
        read: h, (R, B, F).
        wanted: y, (R, B, O).
        ridge: r relative to the mean square of those columns of `read` that are not zero.
    """
    samples = read.shape[1]
    columns = (read != 0.0).any(dim=1).sum(dim=1)
    added = ridge * read.square().sum(dim=(1, 2)) / (samples * columns.clamp(min=1))
    added = torch.where(added > 0.0, added, 1.0)[:, None]
    many = read.shape[2] > samples
    gram = torch.bmm(read, read.transpose(1, 2)) if many else torch.bmm(read.transpose(1, 2), read)
    gram = gram / samples
    gram.diagonal(dim1=1, dim2=2).add_(added)
    lower = torch.linalg.cholesky(gram)
    if many:
        return torch.bmm(read.transpose(1, 2), torch.cholesky_solve(wanted, lower)) / samples
    return torch.cholesky_solve(torch.bmm(read.transpose(1, 2), wanted), lower) / samples


def residual(read: Tensor, wanted: Tensor, ridge: float) -> Tensor:
    """What the least-squares fit of `wanted` by `read` leaves over, (R, B, O); arguments as in `ridge_fit`."""
    return wanted - torch.bmm(read, ridge_fit(read, wanted, ridge))


OPERATORS.register("tiny", Tiny)
