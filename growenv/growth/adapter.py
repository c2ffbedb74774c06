"""Low-rank adapters out of ReLU units, beside the units that are there."""

from __future__ import annotations

from dataclasses import replace

import torch

from growenv.growth.low_rank import Across, leading_pairs, with_random_rest
from growenv.growth.operators import OPERATORS, GrowthBatch, Proposal
from growenv.growth.scaling import checked_scale, live_share
from growenv.networks import StackedMLP


class LowRankAdapter:
    """Pairs of opposite units beside the layer's frozen and active ones: k units start as an adapter of rank k // 2.

    Two ReLU units with opposite incoming and opposite outgoing weights are one linear rank,
    ``u relu(v . h + b) - u relu(-v . h - b) = u (v . h + b)``. So a pair is one rank of an adapter ``B A`` from what
    the layer reads to what hears it, parallel to the layer itself. A starts at directions v, B at zero: nothing
    changes. The first gradient of B along ``(u, -u)`` is ``v^T E[(h - mean h) g^T]``, and over orthogonal v of one
    length it is largest at the leading singular vectors of that matrix. Biases put both units of a pair to work,
    ``b = -v . mean h``; what the mean of h can do, the biases of the next layer can do as well.

    What this is not: low-rank adaptation proper. There the product B A is bound to be linear and everything else to
    stand still. Here only the start is so. The two units of a pair get different gradients and are free to part, which
    makes two neurons of them, and other active units, the weights from frozen units into active ones and the head train
    on. Units in excess of a pair, past the rank, or in a row without gradient start as in random growth.

    Args:
        scale: length of the incoming vectors, above 0, relative to half the mean length of the layer's other ones.

    Source: Hu et al. 2021, arXiv 2106.09685 (a product of low rank, one factor zero); He et al. 2022, arXiv 2110.04366
    (parallel to a layer); Wang et al. 2024, arXiv 2407.05000 (singular vectors of the gradient). Pairs of ReLU units,
    biases and centring are ours.
    """

    name = "low-rank"
    preserving = True

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = checked_scale(self.name, scale)

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        """Weights of the new units; see `GrowthOperator.propose`."""
        across = Across.of(network, batch, batch.evidence)
        mean = across.read.mean(dim=1, keepdim=True)
        pairs = leading_pairs(replace(across, read=across.read - mean).target, -(-batch.most // 2))
        length = live_share(network, batch, "in")[across.rows] * self.scale
        directions = pairs.incoming * length[:, None, None]
        directions[:, across.constant] = -torch.bmm(mean, directions)[:, 0]
        fan_in = torch.stack((directions, -directions), dim=3).flatten(2)[:, :, : batch.most]
        unit = torch.arange(batch.most, device=network.device)
        amounts = torch.from_numpy(batch.amounts).to(network.device)[across.rows, None]
        paired = pairs.found.repeat_interleave(2, dim=1)[:, : batch.most] & (unit < amounts - amounts % 2)
        return with_random_rest(network, batch, across, paired, fan_in, None)


OPERATORS.register("low-rank", LowRankAdapter)
