"""Low-rank matching: which incoming and outgoing vectors fit a target best, and random growth for all others.

Several growth operators ask the same question. G = E[h g^T] is the gradient across the layer that grows: what the layer
reads, times the error at what hears it. Which k pairs of an incoming and an outgoing vector match G, or a residual of
it, best? The answer is a truncated singular value decomposition, under a metric of the incoming side where one is
given. An operator then chooses which side of its new units starts at zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from growenv.growth.evidence import Evidence
from growenv.growth.operators import GrowthBatch, Proposal
from growenv.growth.random import HE, random_fan_in
from growenv.networks import StackedMLP

RANK_TOLERANCE = 1e-6
"""Singular values up to this, relative to the first, count as zero."""
LEAST_FIRING = 0.05
"""A new unit that is above zero on fewer of the probe samples is as good as dead."""


@dataclass(frozen=True)
class Across:
    """What a probe batch shows on both sides of the layer that grows, for the rows that grow, in float64.

    Single precision would hide small singular values behind rounding. A row whose numbers are not finite is all zero.

    Attributes:
        layer: the layer that grows.
        rows: the rows that grow, int64 (R,).
        read: what the layer reads, the constant one included, (R, B, fan_in).
        units: what its older units answer, the constant one included, (R, B, units).
        errors: derivative of the mean loss at what hears the layer, (R, B, fan_out); zero where nothing that trains
            hears it.
    """

    layer: int
    rows: Tensor
    read: Tensor
    units: Tensor
    errors: Tensor

    @classmethod
    def of(cls, network: StackedMLP, batch: GrowthBatch, evidence: Evidence) -> Across:
        """The two sides of `batch.layer` in one piece of evidence."""
        evidence = evidence.double()
        rows = torch.from_numpy(np.flatnonzero(batch.amounts)).to(network.device)
        seen = [*evidence.below[batch.layer : batch.layer + 2], evidence.error(batch.layer + 1)]
        if len(rows) < network.rows:
            seen = [each[rows] for each in seen]
        # Any number that is not finite spoils a sum in which all of them take part.
        finite = torch.isfinite(torch.stack([each.sum(dim=(1, 2)) for each in seen]).sum(dim=0))
        if not finite.all():
            seen = [torch.where(finite[:, None, None], each, 0.0) for each in seen]
        return cls(batch.layer, rows, *seen)

    @property
    def samples(self) -> int:
        """Samples in the batch B."""
        return self.read.shape[1]

    @cached_property
    def target(self) -> Tensor:
        """G = E[h g^T], the gradient across the layer, (R, fan_in, fan_out)."""
        return torch.bmm(self.read.transpose(1, 2), self.errors)

    def answers(self, fan_in: Tensor) -> Tensor:
        """Pre-activations of units with these incoming weights (R, fan_in, K) on the batch, (R, B, K)."""
        return torch.bmm(self.read, fan_in)

    def alive(self, fan_in: Tensor) -> Tensor:
        """Which units with these incoming weights are above zero on more than hardly any sample, (R, K)."""
        return fires(self.answers(fan_in))

    @property
    def constant(self) -> int:
        """Where the layer reads the constant one."""
        return -1 if self.layer == 0 else 0

    def without_constant(self) -> Across:
        """The same without the constant input, for operators whose new units have no biases."""
        read = self.read.clone()
        read[:, :, self.constant] = 0.0
        return replace(self, read=read)

    def scaled(self, fan_in: Tensor, length: Tensor) -> Tensor:
        """Incoming weights (R, fan_in, K), each vector multiplied so that it is `length` (R,) long, biases aside."""
        size = (fan_in.square().sum(dim=1) - fan_in[:, self.constant].square()).clamp(min=0.0).sqrt()
        return fan_in * torch.where(size > 0.0, length[:, None] / size, 0.0)[:, None]


@dataclass(frozen=True)
class Pairs:
    """Leading singular pairs of R targets in falling order, exactly zero past a target's rank.

    Attributes:
        values: singular values, (R, K).
        incoming: one vector of each pair over what the layer reads, (R, fan_in, K).
        outgoing: the other over what hears the layer, (R, fan_out, K), of length 1.
    """

    values: Tensor
    incoming: Tensor
    outgoing: Tensor

    @property
    def found(self) -> Tensor:
        """Which pairs there are, (R, K)."""
        return self.values > 0.0


def leading_pairs(target: Tensor, count: int, solved: Tensor | None = None) -> Pairs:
    """The pairs of vectors that match each target best.

    Without a metric these are the first `count` singular pairs, ``G = sum_i values_i incoming_i outgoing_i^T``. With a
    metric A of the incoming side they are those of ``A^(-1/2) G``, and the incoming vectors are ``A^(-1/2) u_i``. Only
    ``A^-1 G`` is needed for that: ``G^T A^-1 G = V Lambda^2 V^T`` and ``A^(-1/2) U = A^-1 G V Lambda^-1``.

    Worked out from the eigenvectors of the smaller Gram matrix, which is several times faster than a singular value
    decomposition; in double precision it tells singular values apart down to 1e-8 of the first.

    Args:
        target: G, float64 (R, fan_in, fan_out), finite.
        count: number of pairs K; those past the rank are zero.
        solved: ``A^-1 G``, same shape; None for no metric.
    """
    known = target if solved is None else solved
    narrow = solved is None and target.shape[1] < target.shape[2]
    gram = torch.bmm(target, target.transpose(1, 2)) if narrow else torch.bmm(target.transpose(1, 2), known)
    squares, vectors = torch.linalg.eigh(0.5 * (gram + gram.transpose(1, 2)))
    kept = min(count, gram.shape[1])
    near = vectors.flip(2)[:, :, :kept]
    far = torch.bmm(target.transpose(1, 2) if narrow else known, near)
    # The length of the other side is more exact than the root of a small eigenvalue.
    values = far.norm(dim=1) if solved is None else squares.flip(1)[:, :kept].clamp(min=0.0).sqrt()
    found = values > RANK_TOLERANCE * values[:, :1]
    values = torch.where(found, values, 0.0)
    near, far = torch.where(found[:, None], near, 0.0), far / torch.where(found, values, torch.inf)[:, None]
    missing = (0, count - kept)
    incoming, outgoing = (near, far) if narrow else (far, near)
    pad = torch.nn.functional.pad
    return Pairs(pad(values, missing), pad(incoming, missing), pad(outgoing, missing))


def with_random_rest(
    network: StackedMLP, batch: GrowthBatch, across: Across, matched: Tensor, fan_in: Tensor, fan_out: Tensor | None
) -> Proposal:
    """A proposal in which units without a match start as in random growth: random incoming weights, zero outgoing.

    That is so for units past the rank of the target, and for all units of a row without any gradient, for example
    because nothing that trains reads the layer yet.

    Args:
        network: the stack.
        batch: what grows.
        across: what the operator saw.
        matched: which units have weights of their own, (R, K).
        fan_in: their incoming weights, (R, fan_in, K).
        fan_out: their outgoing weights, (R, K, fan_out); None for zero.
    """
    if not matched.all():
        random = random_fan_in(network, batch, np.full(network.rows, HE))[across.rows].double()
        fan_in = torch.where(matched[:, None], fan_in, awake(across, random))
        fan_out = None if fan_out is None else torch.where(matched[:, :, None], fan_out, 0.0)
    return Proposal(
        of_all_rows(network, across, fan_in), None if fan_out is None else of_all_rows(network, across, fan_out)
    )


def fires(answers: Tensor) -> Tensor:
    """Which units (R, K) are above zero on more than hardly any sample, from their answers (R, B, K)."""
    return (answers > 0.0).double().mean(dim=1) >= LEAST_FIRING


def awake(across: Across, fan_in: Tensor) -> Tensor:
    """Incoming weights (R, fan_in, K), those turned round whose unit would be above zero on hardly any sample.

    The opposite vector is as random, as long and as orthogonal to others, and its unit is above zero on the others.
    """
    return fan_in * torch.where(across.alive(fan_in), 1.0, -1.0)[:, None]


def of_all_rows(network: StackedMLP, across: Across, weights: Tensor) -> Tensor:
    """Weights of the growing rows among those of all rows, in the network's precision."""
    everyone = torch.zeros((network.rows, *weights.shape[1:]), dtype=network.dtype, device=network.device)
    everyone[across.rows] = weights.to(network.dtype)
    return everyone
