"""GradMax: new units whose first gradient is as large as it can be."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from growenv.growth.low_rank import RANK_TOLERANCE, Across, awake, fires, leading_pairs, with_random_rest
from growenv.growth.operators import OPERATORS, GrowthBatch, Proposal
from growenv.growth.random import random_fan_in, spark
from growenv.growth.scaling import checked_scale, live_share
from growenv.networks import StackedMLP

BETAS = (0.9, 0.999)  # Adam's usual ones, Kingma and Ba 2015, arXiv 1412.6980
EPSILON = 0.1
"""Added to the root of Adam's second moment. It is large, for slopes that are about one: a component that is no more
than rounding would else move as far as the others, and equal networks would go different ways."""
NEGLIGIBLE = 1e-10
"""Share of the most active unit's squared answers that stands for none at all."""


class GradMax:
    """Incoming weights zero; outgoing weights that make the gradient of the incoming ones as large as possible.

    With ``Psi = 0`` the first gradient of the incoming weights is ``G Omega``, with ``G = E[h g^T]`` across the layer.
    Among orthogonal vectors of one length c, its norm is largest where the outgoing weights are the leading right
    singular vectors of G, ``|| G Omega ||^2 = c^2 sum_i sigma_i^2``. Units past the rank of G start as in random
    growth: more outgoing vectors from the same few dimensions would give gradients that are copies of each other but
    for their size, which Adam does not see. So do all units of a layer that nothing trainable reads yet.

    Two details decide whether the units live. Their bias is `SPARK`, so that the ReLU is on its linear side. And a
    singular vector may be turned round: after one step of gradient descent a unit answers ``-eta c sigma_i v_i . h``,
    so each is turned such that ``v_i . h`` is negative on most of the probe batch.

    Args:
        scale: length of the outgoing vectors, above 0, relative to half the mean length of the layer's other ones.

    Source: Evci et al. 2022, arXiv 2201.05125, section 3.
    """

    name = "gradmax"
    preserving = True

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = checked_scale(self.name, scale)

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        """Weights of the new units; see `GrowthOperator.propose`."""
        across = Across.of(network, batch, batch.evidence)
        pairs = leading_pairs(across.target, batch.most)
        outgoing = pairs.outgoing * downhill(across, pairs.incoming)[:, None]
        length = live_share(network, batch, "out")[across.rows] * self.scale
        fan_in = spark(network, batch)[across.rows].double()
        fan_out = (outgoing * length[:, None, None]).transpose(1, 2)
        return with_random_rest(network, batch, across, pairs.found, fan_in, fan_out)


def downhill(across: Across, incoming: Tensor) -> Tensor:
    """Signs of singular pairs, (R, K), with which units that start at zero are above zero after one step of training.

    Gradient descent moves incoming weights along ``-v``. So the sign is the one for which ``v . h`` has more of its
    squared size below zero than above, over the probe batch. Adam's first step goes along ``-sign(v)`` instead: where
    that would leave a unit above zero on hardly any sample, and the other sign on some in both cases, it is that one.

    Args:
        across: what the probe batch shows.
        incoming: v, the pairs' vectors over what the layer reads, (R, fan_in, K).
    """
    along, first = across.answers(incoming), across.answers(incoming.sign())
    above, below = along.clamp(min=0.0).square().sum(dim=1), along.clamp(max=0.0).square().sum(dim=1)
    sign = torch.where(above > below, -1.0, 1.0).to(along.dtype)
    lives, turned = (
        torch.stack([fires(way * sign[:, None] * answers) for answers in (along, first)]).all(dim=0)
        for way in (-1.0, 1.0)
    )
    return torch.where(~lives & turned, -sign, sign)


class GradMaxOpt:
    """Outgoing weights zero; incoming weights that make the gradient of the outgoing ones as large as possible.

    With ``Omega = 0`` the first gradient of a unit's outgoing weights is ``E[g relu(psi . h)]``. There is no closed
    form for its largest norm over psi of one length, so units climb it by Adam and are brought back to their length
    after every step. The units below and the errors stay as the probe batch shows them. Units begin at the singular
    vectors of ``E[h g^T]``, which would be best for linear units, and at their opposites, and further ones at random.
    New biases are zero.

    Climbing alone, nearly all units of a layer find the same summit, and equal units stay equal for ever. So a unit
    climbs the gradient due to that part of its answers which the new units before it do not give already. This takes
    the place of the orthogonality that the closed form of `GradMax` has, and is not in the source.

    Args:
        scale: length of the incoming vectors, above 0, relative to half the mean length of the layer's other ones.
        steps: steps of Adam, at least 1.
        step_size: its first step size, for vectors of length 1, above 0; it falls to zero evenly.

    Source: Evci et al. 2022, arXiv 2201.05125, section 3 (GradMax-Opt; 100 steps in the released code).
    """

    name = "gradmax-opt"
    preserving = True

    def __init__(self, scale: float = 1.0, steps: int = 100, step_size: float = 0.03) -> None:
        self.scale = checked_scale(self.name, scale)
        if steps < 1 or not 0.0 < step_size < float("inf"):
            raise ValueError(f"gradmax-opt takes at least 1 step of a size above 0, got {steps} steps of {step_size}")
        self.steps, self.step_size = steps, step_size

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        """Weights of the new units; see `GrowthOperator.propose`."""
        across = Across.of(network, batch, batch.evidence).without_constant()
        found = climbed(across, self._start(network, batch, across), self.steps, self.step_size)
        size = own_gradients(across, found).norm(dim=1)
        matched = (size > RANK_TOLERANCE * size.amax(dim=1, keepdim=True)) & across.alive(found)
        length = live_share(network, batch, "in")[across.rows] * self.scale
        return with_random_rest(network, batch, across, matched, found * length[:, None, None], None)

    def _start(self, network: StackedMLP, batch: GrowthBatch, across: Across) -> Tensor:
        """Where the units begin, (R, fan_in, K), of length 1."""
        pairs = leading_pairs(across.target, -(-batch.most // 2))
        ahead = across.answers(pairs.incoming)
        half = [torch.bmm(across.errors.transpose(1, 2), side.clamp(min=0.0)).norm(dim=1) for side in (ahead, -ahead)]
        # Singular vectors come with any sign; the better one comes first.
        first = pairs.incoming * torch.where(half[0] >= half[1], 1.0, -1.0)[:, None]
        both = torch.stack((first, -first), dim=3).flatten(2)[:, :, : batch.most]
        random = random_fan_in(network, batch, np.ones(network.rows), draw=1)[across.rows].double()
        return torch.where(across.alive(both)[:, None], both, awake(across, random))


def climbed(across: Across, start: Tensor, steps: int, step_size: float) -> Tensor:
    """Incoming weights of length 1, (R, fan_in, K), after some steps of Adam up the log of every `own_gradients`.

    Args:
        across: what the probe batch shows.
        start: where the units begin, of length 1, same shape.
        steps: steps of Adam.
        step_size: its first step size, which falls to zero evenly.
    """
    now, first, second = start, torch.zeros_like(start), torch.zeros_like(start)
    least = torch.finfo(now.dtype).tiny
    for step in range(1, steps + 1):
        slope = log_slope(across, now)
        first = torch.lerp(slope, first, BETAS[0])
        second = torch.lerp(slope.square(), second, BETAS[1])
        size = (second / (1.0 - BETAS[1] ** step)).sqrt_().add_(EPSILON)
        rate = step_size * (1.0 - (step - 1) / steps) / (1.0 - BETAS[0] ** step)
        now = now + rate * first / size
        now = now / now.norm(dim=1, keepdim=True).clamp(min=least)
    return now


def own_gradients(across: Across, fan_in: Tensor) -> Tensor:
    """``E[g x_i]``, (R, fan_out, K), x_i being what unit i answers and none of the new units before it does.

    That is, its answers ``relu(psi_i . h)`` less their projection on the answers of the units before.
    """
    answers = across.answers(fan_in).clamp(min=0.0)
    return torch.bmm(across.errors.transpose(1, 2), answers - _before(_basis(answers), answers))


def log_slope(across: Across, fan_in: Tensor) -> Tensor:
    """Derivative of the log of the norm of every `own_gradients`, across psi_i, (R, fan_in, K); 0 for dead units.

    The units before are held where they are. The part along psi_i is left out: it is always one.
    """
    before = across.answers(fan_in)
    answers = before.clamp(min=0.0)
    basis = _basis(answers)
    own = answers - _before(basis, answers)
    given = torch.bmm(across.errors.transpose(1, 2), own)
    slope = torch.bmm(across.errors, given)
    slope = (slope - _before(basis, slope)).mul_(before > 0.0)
    size = given.square().sum(dim=1, keepdim=True)
    slope = torch.bmm(across.read.transpose(1, 2), slope) / torch.where(size > 0.0, size, torch.inf)
    return slope - fan_in * (fan_in * slope).sum(dim=1, keepdim=True)


def _basis(answers: Tensor) -> Tensor:
    """Orthonormal vectors, the first i of which span the first i columns of `answers`, (R, B, K)."""
    gram = torch.bmm(answers.transpose(1, 2), answers)
    diagonal = gram.diagonal(dim1=1, dim2=2)
    least = NEGLIGIBLE * diagonal.amax(dim=1, keepdim=True) + torch.finfo(gram.dtype).tiny
    lower = torch.linalg.cholesky(gram + torch.diag_embed(least.expand_as(diagonal)))
    basis: Tensor = torch.linalg.solve_triangular(lower, answers.transpose(1, 2), upper=False).transpose(1, 2)
    return basis


def _before(basis: Tensor, columns: Tensor) -> Tensor:
    """Projection of each column i on the first i vectors of a basis, (R, B, K)."""
    return torch.bmm(basis, torch.bmm(basis.transpose(1, 2), columns).triu(1))


OPERATORS.register("gradmax", GradMax)
OPERATORS.register("gradmax-opt", GradMaxOpt)
