"""Orthogonal growth (NORTH*): new units that are unlike the old ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from growenv.growth.low_rank import Across, awake, leading_pairs, with_random_rest
from growenv.growth.operators import OPERATORS, GrowthBatch, Proposal
from growenv.growth.random import random_fan_in
from growenv.growth.scaling import checked_scale, live_share, older_units
from growenv.networks import StackedMLP
from growenv.registry import unknown_name

CANDIDATES = 100
"""The source draws 1000 for dense layers. A tenth of them adds nine tenths as much, at a tenth of the cost."""
VARIANTS = ("select", "pre", "weight")
ROOM = 1e-3
"""A vector of which no more than this share is left is in the span of the others."""


class OrthogonalGrowth:
    """Outgoing weights zero; incoming weights that make the new units orthogonal to the layer's older ones.

    - ``select``: of many random units, one after the other, the one whose answers on the probe batch have the longest
      part that is orthogonal to the answers of all units so far, the constant one among them.
    - ``pre``: random units whose pre-activations are made orthogonal, over the probe batch, to those of all units so
      far. What has to go, ``Z c``, is a combination of old pre-activations ``Z = H W``, so ``W c`` goes from the
      incoming weights; of all units with these pre-activations, that is the one nearest to the random one.
    - ``weight``: random incoming weights, made orthogonal to those of all units so far, biases aside.

    A unit for which there is no room any more (for ``weight``, a layer with at least as many units as inputs) starts
    as in random growth. A unit that hardly any sample would wake is turned round; it stays as orthogonal.

    Args:
        variant: ``"select"``, ``"pre"`` or ``"weight"``.
        scale: length of the incoming vectors, above 0, relative to half the mean length of the layer's other ones.
        candidates: with ``select``, how many units are drawn, at least 1; 100 if None.

    Raises:
        ValueError: a variant that does not exist, a scale or a number of candidates out of range, or candidates for
            another variant.

    Source: Maile et al. 2022, arXiv 2202.08539 (NORTH-Select, -Pre and -Weight).
    """

    preserving = True

    def __init__(
        self,
        variant: Literal["select", "pre", "weight"] = "select",
        scale: float = 1.0,
        candidates: int | None = None,
    ) -> None:
        if variant not in VARIANTS:
            raise unknown_name("variant of orthogonal growth", variant, VARIANTS)
        if candidates is not None and (variant != "select" or candidates < 1):
            raise ValueError(f"candidates are for variant='select', at least 1; got {candidates} with {variant!r}")
        self.name = "orthogonal" if variant == "select" else f"orthogonal-{variant}"
        self.variant, self.scale = variant, checked_scale(self.name, scale)
        self.candidates = candidates or CANDIDATES

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        """Weights of the new units; see `GrowthOperator.propose`."""
        across = Across.of(network, batch, batch.evidence)
        if self.variant == "select":
            fan_in, found = selected(network, batch, across, self.candidates)
        else:
            fan_in, found = projected(network, batch, across, by_weight=self.variant == "weight")
        length = live_share(network, batch, "in")[across.rows] * self.scale
        fan_in = awake(across, across.scaled(fan_in, length))
        there = fan_in.any(dim=1) & fan_in.isfinite().all(dim=1)
        return with_random_rest(network, batch, across, found & there, fan_in, None)


def selected(network: StackedMLP, batch: GrowthBatch, across: Across, candidates: int) -> tuple[Tensor, Tensor]:
    """Random incoming weights (R, fan_in, K) whose answers add most to the span of all units, and which did, (R, K).

    Args:
        network: the stack.
        batch: what grows.
        across: what the probe batch shows.
        candidates: how many units are drawn for each row.
    """
    several = replace(batch, amounts=np.where(batch.amounts > 0, candidates, 0))
    drawn = random_fan_in(network, several, np.ones(network.rows), draw=1)[across.rows].double()
    answers = across.answers(drawn).clamp(min=0.0)
    basis = leading_pairs(across.units, across.units.shape[2]).incoming
    whole = answers.square().sum(dim=1)
    left = whole - torch.bmm(basis.transpose(1, 2), answers).square().sum(dim=1)
    row, picks, found = torch.arange(len(drawn), device=drawn.device), [], []
    for _ in range(batch.most):
        left = torch.where(left > ROOM**2 * whole, left, 0.0)
        most, best = left.max(dim=1)
        new = answers[row, :, best, None]
        for _ in range(2):  # once leaves rounding behind
            new = new - torch.bmm(basis, torch.bmm(basis.transpose(1, 2), new))
        new = new * torch.where(most > 0.0, 1.0 / new.norm(dim=1)[:, 0], 0.0)[:, None, None]
        basis = torch.cat((basis, new), dim=2)
        left = left - torch.bmm(new.transpose(1, 2), answers)[:, 0].square()
        left[row, best] = 0.0
        picks.append(drawn[row, :, best])
        found.append(most > 0.0)
    return torch.stack(picks, dim=2), torch.stack(found, dim=1)


def projected(network: StackedMLP, batch: GrowthBatch, across: Across, by_weight: bool) -> tuple[Tensor, Tensor]:
    """Random incoming weights (R, fan_in, K) made orthogonal to those of all units, and which could be, (R, K).

    Args:
        network: the stack.
        batch: what grows.
        across: what the probe batch shows.
        by_weight: make incoming weights orthogonal, or else pre-activations on the probe batch.
    """
    older = torch.from_numpy(older_units(network, batch)).to(network.device)
    old = (network.into(batch.layer) * older[:, None, :])[across.rows].double()
    old = torch.where(old.isfinite(), old, 0.0)
    new = random_fan_in(network, batch, np.ones(network.rows), draw=1)[across.rows].double()
    if by_weight:
        old[:, across.constant] = 0.0
    there, vectors = (old, new) if by_weight else (across.answers(old), across.answers(new))
    whole, pairs = vectors.norm(dim=1), leading_pairs(there, there.shape[2])
    # A basis of what is there, and the weights that give it.
    given = torch.bmm(old, pairs.outgoing / torch.where(pairs.found, pairs.values, torch.inf)[:, None])
    for _ in range(2):  # once leaves rounding behind
        part = torch.bmm(pairs.incoming.transpose(1, 2), vectors)
        vectors, new = vectors - torch.bmm(pairs.incoming, part), new - torch.bmm(given, part)
    found = []
    for unit in range(batch.most):
        before, own = vectors[:, :, :unit], vectors[:, :, unit : unit + 1]
        size = before.square().sum(dim=1)[:, :, None]
        part = torch.bmm(before.transpose(1, 2), own) / torch.where(size > 0.0, size, torch.inf)
        own -= torch.bmm(before, part)
        new[:, :, unit : unit + 1] -= torch.bmm(new[:, :, :unit], part)
        found.append(own[:, :, 0].norm(dim=1) > ROOM * whole[:, unit])
        own *= found[-1][:, None, None]
    return new, torch.stack(found, dim=1)


OPERATORS.register("orthogonal", OrthogonalGrowth)
OPERATORS.register("orthogonal-pre", lambda: OrthogonalGrowth("pre"))
OPERATORS.register("orthogonal-weight", lambda: OrthogonalGrowth("weight"))
