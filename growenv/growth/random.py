"""Random growth: the default, and what every other operator falls back on."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.growth.operators import OPERATORS, GrowthBatch, Proposal
from growenv.growth.scaling import LIVE_SHARE, SPARK, live_norms, positions_read
from growenv.networks import StackedMLP
from growenv.randomness import Purpose, normal

HE = float(np.sqrt(2.0))


class RandomGrowth:
    """Random vectors on one side, zero on the other: the function is unchanged and every new neuron can learn.

    With ``zero="out"`` the incoming weights are isotropic Gaussian vectors over everything that the layer reads except
    the constant unit (so new biases are zero), and the first gradient is that of the outgoing side. With ``zero="in"``
    it is the other way round; the incoming weights are then zero but for a bias too small to be seen, which puts the
    ReLU on its linear side. Where nothing that trains could hear the new units yet, the outgoing side stays zero: with
    both sides zero no unit ever learns. No gradient is asked, so the first step may put some of these units to sleep;
    `GradMax` chooses the sign that avoids it.

    Args:
        scale: length of the vectors, above 0; what it is relative to, `length` says.
        zero: which side starts at zero: ``"out"`` or ``"in"``.
        length: ``"he"``, the length sqrt(2) of a He-initialised unit for unit-variance inputs (He et al. 2015, arXiv
            1502.01852), for incoming weights only; or ``"live"``, half the mean length of the layer's other units on
            that side (Evci et al. 2022, arXiv 2201.05125, released constant).
    """

    preserving = True

    def __init__(
        self, scale: float = 1.0, zero: Literal["out", "in"] = "out", length: Literal["he", "live"] | None = None
    ) -> None:
        if not scale > 0:
            raise ValueError(f"the scale of random growth must be above 0, got {scale}")
        if zero not in ("out", "in"):
            raise ValueError(f"zero says which side of a random neuron starts at zero, 'out' or 'in'; got {zero!r}")
        chosen = length or ("he" if zero == "out" else "live")
        if chosen not in ("he", "live") or (chosen == "he" and zero == "in"):
            raise ValueError(f"length is 'he' (with zero='out') or 'live', got {length!r} with zero={zero!r}")
        self.name = "random" if zero == "out" else "random-in"
        self.scale, self.zero, self.length = scale, zero, chosen

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        """Weights of the new units; see `GrowthOperator.propose`."""
        if self.length == "he":
            return Proposal(random_fan_in(network, batch, np.full(network.rows, self.scale * HE)))
        fan_in = random_fan_in(network, batch, self.scale * LIVE_SHARE * live_norms(network, batch, "in"))
        if self.zero == "out":
            return Proposal(fan_in)
        fan_out = random_fan_out(network, batch, self.scale * LIVE_SHARE * live_norms(network, batch, "out"))
        heard = torch.from_numpy(batch.readers(network) > 0).to(network.device)[:, None, None]
        return Proposal(torch.where(heard, spark(network, batch), fan_in), fan_out)


def random_fan_in(network: StackedMLP, batch: GrowthBatch, length: NDArray[np.float64], draw: int = 0) -> Tensor:
    """Isotropic Gaussian incoming weights without biases, scaled to a length, (N, fan_in, K).

    Args:
        network: the stack.
        batch: what grows.
        length: length of the vectors of each row, (N,).
        draw: number of the draw, for operators that draw more than once.
    """
    counter, live = positions_read(network, batch.layer)
    row = np.flatnonzero(batch.amounts)
    return _isotropic(network, batch, counter[row], live[row], length, 2 * draw)


def random_fan_out(network: StackedMLP, batch: GrowthBatch, length: NDArray[np.float64], draw: int = 0) -> Tensor:
    """Isotropic Gaussian outgoing weights to the units that can train, scaled to a length, (N, K, fan_out).

    Arguments as in `random_fan_in`. Zero where nothing that trains could read the new units.
    """
    row = np.flatnonzero(batch.amounts)
    columns = np.arange(network.layout.fan_out(batch.layer + 1))[None, :]
    live = columns < batch.readers(network)[row, None]
    counter = np.broadcast_to(columns, live.shape)
    return _isotropic(network, batch, counter, live, length, 2 * draw + 1).transpose(1, 2)


def spark(network: StackedMLP, batch: GrowthBatch) -> Tensor:
    """Incoming weights that are zero but for a bias of `SPARK`, (N, fan_in, K)."""
    fan_in = torch.zeros((network.rows, network.layout.fan_in(batch.layer), batch.most), dtype=network.dtype)
    fan_in[:, -1 if batch.layer == 0 else 0] = SPARK
    return fan_in.to(network.device)


def _isotropic(
    network: StackedMLP,
    batch: GrowthBatch,
    counter: NDArray[np.int64],
    live: NDArray[np.bool_],
    length: NDArray[np.float64],
    stream: int,
) -> Tensor:
    """Vectors over the live positions of the growing rows, (N, positions, K); zero elsewhere."""
    row = np.flatnonzero(batch.amounts)
    new = batch.units[row, None] + np.arange(batch.most)[None, :]
    extra = (stream,) if stream else ()
    draw = normal(
        batch.seeds[row, None, None], Purpose.GROWTH, batch.layer, new[:, None, :], counter[:, :, None], *extra
    )
    draw *= live[:, :, None]
    norm = np.sqrt(np.square(draw).sum(axis=1, keepdims=True))
    draw *= length[row, None, None] / np.where(norm > 0.0, norm, 1.0)
    vectors = np.zeros((network.rows, *draw.shape[1:]))
    vectors[row] = draw
    return torch.from_numpy(vectors).to(network.device, network.dtype)


OPERATORS.register("random", RandomGrowth)
OPERATORS.register("random-in", lambda: RandomGrowth(zero="in"))
