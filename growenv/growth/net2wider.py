"""Net2Wider: new units are copies of older ones, and share their outgoing weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from growenv.growth.operators import OPERATORS, GrowthBatch, Proposal
from growenv.growth.random import HE, random_fan_in
from growenv.networks import StackedMLP
from growenv.randomness import Purpose, integers, uniform

_PARENT, _SHARE = 1 << 16, (1 << 16) + 1  # streams of random numbers, beyond those of drawn vectors


class Net2Wider:
    """Copies of units that were there before; the function is unchanged for any activation.

    For each new unit a parent is drawn among the layer's older units, frozen or active. The copy takes over the
    parent's incoming weights and a share of its outgoing ones: of those that train, into active units of the next layer
    or into the current head. A parent with one copy gives it a share ~ U(0.5 - spread, 0.5 + spread). With several
    copies each one counts alpha / (1 - alpha), alpha drawn alike, against the parent's 1.

    Equal halves would get equal gradients for ever and never become different units. Unequal ones differ from the first
    step of SGD on; Adam, which does not see how large a gradient is, separates them more slowly, through their outgoing
    weights. A layer without older units grows at random.

    Args:
        spread: how far shares lie from one half at most, above 0 and below 0.5.

    Raises:
        ValueError: the spread is not in that range.

    Source: Chen, Goodfellow and Shlens 2016, arXiv 1511.05641, without its noise, which would change the function.
    """

    name = "net2wider"
    preserving = True

    def __init__(self, spread: float = 0.25) -> None:
        if not 0 < spread < 0.5:
            raise ValueError(
                f"the spread of shares must be above 0 (equal halves stay equal) and below 0.5, got {spread}"
            )
        self.spread = spread

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        """Weights of the new units; see `GrowthOperator.propose`."""
        parents = drawn_parents(network, batch)
        return copies(network, batch, parents, self._shares(batch, parents))

    def _shares(self, batch: GrowthBatch, parents: Tensor) -> Tensor:
        """What part of its parent's outgoing weights each copy gets, (N, K); 0 without a parent."""
        new = batch.units[:, None] + np.arange(batch.most)[None, :]
        draw = uniform(batch.seeds[:, None], Purpose.GROWTH, batch.layer, new, 0, _SHARE)
        alpha = torch.from_numpy(0.5 + self.spread * (2.0 * draw - 1.0)).to(parents.device)
        parts = torch.where(parents >= 0, alpha / (1.0 - alpha), 0.0)
        siblings = (parents[:, :, None] == parents[:, None, :]) & (parents >= 0)[:, None, :]
        return parts / (1.0 + (siblings * parts[:, None, :]).sum(dim=2))


def drawn_parents(network: StackedMLP, batch: GrowthBatch) -> Tensor:
    """A random older unit for each new one, as a position among frozen and active units, (N, K).

    It is -1 where a row has no older unit, and past a row's amount.
    """
    unit = np.arange(batch.most)[None, :]
    older = batch.units[:, None]
    born = 1 + integers(
        np.maximum(older, 1), batch.seeds[:, None], Purpose.GROWTH, batch.layer, older + unit, 0, _PARENT
    )
    frozen = network.frozen_units[:, batch.layer, None]
    position = np.where(born <= frozen, born, network.layout.frozen[batch.layer] + born - 1 - frozen)
    position[(unit >= batch.amounts[:, None]) | (older == 0)] = -1
    return torch.from_numpy(position).to(network.device)


def copies(network: StackedMLP, batch: GrowthBatch, parents: Tensor, shares: Tensor) -> Proposal:
    """New units that copy their parents and share the parents' outgoing weights; random ones where there is no parent.

    Args:
        network: the stack.
        batch: what grows.
        parents: position of each new unit's parent among frozen and active units, int64 (N, K), -1 for none.
        shares: share of the parent's outgoing weights that each copy gets, (N, K); those of a parent's copies sum to
            less than 1.
    """
    copied, source = parents >= 0, parents.clamp(min=0)
    into, out_of = network.into(batch.layer), network.weights[batch.layer + 1]
    fan_in = torch.gather(into, 2, source[:, None, :].expand(-1, into.shape[1], -1))
    orphans = ~copied & (torch.arange(batch.most) < torch.from_numpy(batch.amounts)[:, None]).to(copied.device)
    fan_in.masked_fill_(~copied[:, None, :], 0.0)
    if orphans.any():
        fresh = random_fan_in(network, batch, np.full(network.rows, HE))
        fan_in = torch.where(orphans[:, None, :], fresh, fan_in)
    share = torch.where(copied, shares, 0.0).to(network.dtype)
    fan_out = torch.gather(out_of, 1, source[:, :, None].expand(-1, -1, out_of.shape[2])) * share[:, :, None]
    given = torch.zeros(out_of.shape[:2], dtype=network.dtype, device=network.device).scatter_add_(1, source, share)
    return Proposal(fan_in, fan_out, outgoing=out_of * (1.0 - given)[:, :, None], parents=parents, shares=shares)


OPERATORS.register("net2wider", Net2Wider)
