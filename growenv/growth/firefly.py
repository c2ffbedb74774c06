"""Firefly: more candidates than needed are trained for a moment, and the best are kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from growenv.growth.evidence import Evidence
from growenv.growth.operators import OPERATORS, GrowthBatch, Proposal
from growenv.growth.random import random_fan_in, random_fan_out
from growenv.growth.scaling import live_norms, older_units, positions_read
from growenv.growth.splitting import columns, most_negative, split
from growenv.networks import StackedMLP
from growenv.randomness import Purpose, uniform

SPLIT_WITHIN, OUTGOING_WITHIN = 0.1, 0.01
"""Entries of first perturbations, and of first outgoing weights, lie within these (released code)."""
PENALTY, PENALTY_NEW = 0.01, 0.01 * 0.01
"""Of squared perturbations, and of squared incoming weights of new units (released code)."""
DRAWS = 2
"""New candidates for each new unit; from 1 on there are always enough, whatever can be split."""
SAMPLES = 32
"""Samples of a minibatch that candidates train on."""
BETAS, EPSILON = (0.9, 0.99), 1e-8
"""Of Adam, as networks are trained."""
NODES = ((0.5 - 12**-0.5, 0.5), (0.5 + 12**-0.5, 0.5))
"""Gauss-Legendre quadrature over gates from 0 to 1: nodes and weights."""
_PERTURBATION = (1 << 16) + 2  # stream of random numbers


class Firefly:
    """Candidates of two kinds train for some minibatches, while everything older stands still; the best are kept.

    Every active unit may split into two with half the outgoing weights each, theta + d and theta - d, and there are
    twice as many new units as are asked for, with incoming weights Psi and outgoing weights Omega. First d, Psi and
    Omega are trained together by Adam, with penalties on d and Psi. Then each candidate i is given a gate y_i that
    multiplies d_i or Psi_i, and its score is the mean of dL/dy_i on fresh samples, while all gates open together from 0
    to 1. So the scores of all candidates sum to the change of the loss if all were used, but for the error of a
    quadrature. Of both kinds together, those with the most negative scores are used. Where fewer have negative scores
    than new units are asked for, the rest start at random with outgoing weights of zero. Frozen units cannot be split.

    The released code takes dL/dy at y = 1 alone, where a candidate that overshoots looks worse than it is. It trains by
    RMSprop for an epoch, hundreds of steps of 1e-3; here there are few steps, so they are larger. New candidates are as
    long as the layer's older units on average. The function changes, downhill on average.

    Args:
        minibatches: how many candidates train on, at least 1.
        learning_rate: of their training, above 0.

    Raises:
        ValueError: an argument is out of range.

    Source: Wu, Liu, Stone and Liu 2020, arXiv 2102.08574.
    """

    name = "firefly"
    preserving = False

    def __init__(self, minibatches: int = 20, learning_rate: float = 0.02) -> None:
        if minibatches < 1:
            raise ValueError(f"the candidates of firefly train on at least 1 minibatch, got {minibatches}")
        if not learning_rate > 0:
            raise ValueError(f"the learning rate of firefly must be above 0, got {learning_rate}")
        self.minibatches, self.learning_rate = minibatches, learning_rate

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        """Weights of the new units; see `GrowthOperator.propose`."""
        with torch.enable_grad():
            candidates = Candidates.drawn(network, batch)
            self._train(candidates, batch)
            scores = candidates.scores(batch.probe(self.minibatches))
        scores = torch.where(_valid(network, batch), scores, 0.0)
        order, chosen = most_negative(scores, batch)
        return candidates.apply(network, batch, order, chosen)

    def _train(self, candidates: Candidates, batch: GrowthBatch) -> None:
        parts = [candidates.moved, candidates.fan_in, candidates.fan_out]
        # Not torch.optim, whose first step imports a compiler and takes seconds.
        first, second = ([torch.zeros_like(part) for part in parts] for _ in range(2))
        for number in range(self.minibatches):
            loss = candidates.loss(batch.probe(number, SAMPLES)).sum()
            gradients = [gradient.contiguous() for gradient in torch.autograd.grad(loss, parts)]
            with torch.no_grad():
                gradients[0].add_(candidates.moved, alpha=2.0 * PENALTY)
                gradients[1].add_(candidates.fan_in, alpha=2.0 * PENALTY_NEW)
                step = torch.tensor(number + 1.0, device=loss.device)
                torch._fused_adam_(
                    parts,
                    gradients,
                    first,
                    second,
                    [],
                    [step] * len(parts),
                    lr=self.learning_rate,
                    beta1=BETAS[0],
                    beta2=BETAS[1],
                    weight_decay=0.0,
                    eps=EPSILON,
                    amsgrad=False,
                    maximize=False,
                )


@dataclass(frozen=True)
class Candidates:
    """What may become of a layer: its active units may split, and there may be new ones.

    Attributes:
        layer: the hidden layer.
        older: incoming weights of its active units, (N, fan_in, active).
        heard: their outgoing weights, (N, active, fan_out of the next block).
        moved: d, half the difference of what they would split into, (N, fan_in, active).
        fan_in: Psi of new units, (N, fan_in, DRAWS K).
        fan_out: Omega of new units, (N, DRAWS K, fan_out).
    """

    layer: int
    older: Tensor
    heard: Tensor
    moved: Tensor
    fan_in: Tensor
    fan_out: Tensor

    @classmethod
    def drawn(cls, network: StackedMLP, batch: GrowthBatch) -> Candidates:
        """Where training starts."""
        layer = batch.layer
        long = live_norms(network, batch, "in")
        short = OUTGOING_WITHIN * np.sqrt(batch.readers(network) / 3.0)  # as long as such a vector is on average
        inner = torch.cat([random_fan_in(network, batch, long, draw) for draw in range(DRAWS)], dim=2)
        outer = torch.cat([random_fan_out(network, batch, short, draw) for draw in range(DRAWS)], dim=1)
        own = _valid(network, batch)[:, -inner.shape[2] :]  # a row that adds fewer units has fewer candidates
        return cls(
            layer,
            network.weights[layer],
            network.weights[layer + 1][:, network.layout.frozen[layer] :][:, : network.layout.active[layer]],
            _perturbations(network, batch).requires_grad_(),
            (inner * own[:, None]).requires_grad_(),
            (outer * own[:, :, None]).requires_grad_(),
        )

    def loss(self, evidence: Evidence, gates: Tensor | None = None) -> Tensor:
        """Mean loss of every row with all candidates in use, (N,).

        Splitting changes what is heard of a unit by 1/2 [s(z + u) + s(z - u)] - s(z), which for the ReLU s is
        1/2 s(|u| - |z|).

        Args:
            evidence: a probe batch.
            gates: y, for active and new units, (N, 1, active + DRAWS K); None for all open.
        """
        read = evidence.below[self.layer]
        apart, new = torch.bmm(read, self.moved), torch.bmm(read, self.fan_in)
        if gates is not None:
            active = apart.shape[2]
            apart, new = apart * gates[:, :, :active], new * gates[:, :, active:]
        gained = 0.5 * torch.relu(apart.abs() - torch.bmm(read, self.older).abs())
        extra = torch.bmm(gained, self.heard) + torch.bmm(torch.relu(new), self.fan_out)
        return evidence.loss_with(self.layer, extra)

    def scores(self, evidence: Evidence) -> Tensor:
        """Mean of dL/dy of every candidate while all gates open, (N, active + DRAWS K)."""
        count = self.moved.shape[2] + self.fan_in.shape[2]
        total = torch.zeros((self.moved.shape[0], count), dtype=self.moved.dtype, device=self.moved.device)
        for node, weight in NODES:
            gates = torch.full_like(total, node)[:, None].requires_grad_()
            (slope,) = torch.autograd.grad(self.loss(evidence, gates).sum(), gates)
            total += weight * slope[:, 0]
        return total

    def apply(self, network: StackedMLP, batch: GrowthBatch, order: Tensor, chosen: Tensor) -> Proposal:
        """The proposal that uses some candidates.

        Args:
            network: the stack.
            batch: what grows.
            order: number of the candidate that each new unit comes from, (N, K): active units, then new ones.
            chosen: False where a new unit comes from none, (N, K).
        """
        active = self.moved.shape[2]
        splits, new = chosen & (order < active), chosen & (order >= active)
        number, frozen = (order - active).clamp(min=0), network.layout.frozen[self.layer]
        moved, fan_in, fan_out = self.moved.detach(), self.fan_in.detach(), self.fan_out.detach()
        apart = torch.where(splits[:, None], columns(moved, order.clamp(max=active - 1)), 0.0)
        halves = torch.where(splits, 0.5, 0.0)
        proposal = split(network, batch, torch.where(splits, frozen + order, -1), halves, apart)
        outgoing = columns(fan_out.transpose(1, 2), number).transpose(1, 2)
        assert proposal.fan_out is not None
        return replace(
            proposal,
            fan_in=torch.where(new[:, None], columns(fan_in, number), proposal.fan_in),
            fan_out=torch.where(new[:, :, None], outgoing, proposal.fan_out),
        )


def _perturbations(network: StackedMLP, batch: GrowthBatch) -> Tensor:
    """Uniform numbers for every live weight into older active units of growing rows, (N, fan_in, active)."""
    layer, row = batch.layer, np.flatnonzero(batch.amounts)
    frozen = network.layout.frozen[layer]
    older = older_units(network, batch)[row, None, frozen:]
    born = np.maximum(network.birth_index(layer)[row, None, frozen:], 0)
    counter, live = positions_read(network, layer)
    live = live[row]
    live[:, -1 if layer == 0 else 0] = True  # biases too
    draw = uniform(
        batch.seeds[row, None, None],
        Purpose.GROWTH,
        layer,
        batch.units[row, None, None],
        _PERTURBATION,
        born,
        counter[row, :, None],
    )
    moved = np.zeros((network.rows, *draw.shape[1:]))
    moved[row] = SPLIT_WITHIN * (2.0 * draw - 1.0) * live[:, :, None] * older
    return torch.from_numpy(moved).to(network.device, network.dtype)


def _valid(network: StackedMLP, batch: GrowthBatch) -> Tensor:
    """Which candidates a row has, (N, active + DRAWS K)."""
    older = older_units(network, batch)[:, network.layout.frozen[batch.layer] :]
    new = np.arange(batch.most)[None, :] < batch.amounts[:, None]
    return torch.from_numpy(np.concatenate([older, *[new] * DRAWS], axis=1)).to(network.device)


OPERATORS.register("firefly", Firefly)
