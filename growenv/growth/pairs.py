"""Variance transfer: new units in pairs whose outgoing weights cancel, with step sizes of their own."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.growth.operators import OPERATORS, GrowthBatch, Proposal
from growenv.growth.random import random_fan_in, random_fan_out
from growenv.growth.scaling import LIVE_SHARE, live_norms, older_units
from growenv.networks import StackedMLP


class VarianceTransfer:
    """Pairs of twins with equal incoming and opposite outgoing weights: the function is unchanged, both sides learn.

    The fan-in of the new units is [V; V] and their fan-out [Z, -Z], with isotropic Gaussian vectors that are half as
    long as the layer's other ones on their side. The first gradients of twins are opposite, so they separate at once.
    The last unit of an odd number has a vector of its own and no outgoing weights. So have all new units of a row in
    which nothing that trains reads the layer: there is nothing to cancel there, and twins would only be fewer
    directions.

    Two more parts of the method are options:

    - New weights learn with eta = eta_0 ||W_new||_F / ||W_0||_F, so that parts of different sizes change at comparable
      relative speeds. Each of the two blocks of weights that growth enlarges has its own ratio, fixed when the units
      grow. W_0 are the older weights of that block: into all older units of the layer, also those that are frozen by
      now, and from them into whatever trains. Biases do not count. Where there are no such weights, the rate is 1. All
      new vectors of a side count with the length that they have by construction, also the one that starts at zero.
    - Older outgoing weights are multiplied by sqrt(M / M'), where M units become M'. This changes the function.

    Args:
        adapt_rates: whether new weights have step sizes of their own.
        rescale: whether older outgoing weights shrink.

    Source: Yuan, Savarese and Maire 2023, arXiv 2306.12700.
    """

    def __init__(self, adapt_rates: bool = True, rescale: bool = False) -> None:
        self.name = "variance-transfer-rescaled" if rescale else "variance-transfer"
        self.preserving = not rescale
        self.adapt_rates, self.rescale = adapt_rates, rescale

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        """Weights of the new units; see `GrowthOperator.propose`."""
        inner = LIVE_SHARE * live_norms(network, batch, "in")
        outer = LIVE_SHARE * live_norms(network, batch, "out")
        older = self._older_outgoing(network, batch)
        rates = self._rates(network, batch, older, inner, outer) if self.adapt_rates else None
        return Proposal(
            _twin_fan_in(network, batch, inner),
            _opposite_fan_out(network, batch, outer),
            outgoing=older if self.rescale else None,
            rates=rates,
        )

    def _older_outgoing(self, network: StackedMLP, batch: GrowthBatch) -> Tensor:
        """Outgoing weights of the layer as they are to be, biases of the next layer among them, (N, units, fan_out)."""
        weights = network.weights[batch.layer + 1]
        if not self.rescale:
            return weights
        factor = np.sqrt(batch.units / np.maximum(1, batch.units + batch.amounts))
        each = np.where(older_units(network, batch), factor[:, None], 1.0)
        return weights * torch.from_numpy(each).to(weights)[:, :, None]

    def _rates(
        self,
        network: StackedMLP,
        batch: GrowthBatch,
        outgoing: Tensor,
        inner: NDArray[np.float64],
        outer: NDArray[np.float64],
    ) -> tuple[Tensor, Tensor]:
        """Step sizes of new incoming and outgoing weights relative to the optimiser's, two tensors (N,)."""
        incoming = network.into(batch.layer).double()
        bias = -1 if batch.layer == 0 else 0
        squares = incoming.square().sum(dim=1) - incoming[:, bias].square(), outgoing.double().square().sum(dim=2)
        older = torch.from_numpy(older_units(network, batch)).to(network.device)
        norms = [
            torch.where(older, each[:, : older.shape[1]], 0.0).sum(dim=1).clamp(min=0.0).sqrt().cpu().numpy()
            for each in squares
        ]
        pairs = zip((inner, outer), norms, strict=True)
        ratio = [np.sqrt(batch.amounts) * length / np.where(norm > 0, norm, np.inf) for length, norm in pairs]
        fan_in, fan_out = (torch.from_numpy(np.where(each > 0, each, 1.0)) for each in ratio)
        return fan_in.to(network.device), fan_out.to(network.device)


def _twin_fan_in(network: StackedMLP, batch: GrowthBatch, length: NDArray[np.float64]) -> Tensor:
    """[V; V], (N, fan_in, K); vectors of their own where nothing reads the units."""
    own = random_fan_in(network, batch, length)
    unit = torch.arange(batch.most, device=network.device)
    heard = torch.from_numpy(batch.readers(network) > 0).to(network.device)
    return torch.where(heard[:, None, None], own[:, :, unit - unit % 2], own)


def _opposite_fan_out(network: StackedMLP, batch: GrowthBatch, length: NDArray[np.float64]) -> Tensor:
    """[Z, -Z], (N, K, fan_out); zero for an odd last unit."""
    own = random_fan_out(network, batch, length)
    unit = np.arange(batch.most)[None, :]
    sign = np.where(unit % 2 == 0, 1.0, -1.0) * (unit < batch.amounts[:, None] // 2 * 2)
    return own[:, (unit - unit % 2)[0]] * torch.from_numpy(sign).to(own)[:, :, None]


OPERATORS.register("variance-transfer", VarianceTransfer)
