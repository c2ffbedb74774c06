"""Growth operators: how new neurons start, and what they are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.growth.evidence import Evidence
from growenv.networks import StackedMLP
from growenv.networks.inheritance import inherit, set_rates
from growenv.registry import Registry


def _no_probes(number: int, samples: int = 0) -> Evidence:
    raise RuntimeError(f"probe batch {number} was asked for, but this growth has no data; use an operator without any")


@dataclass(frozen=True)
class GrowthBatch:
    """Growth requests of all rows for one hidden layer.

    Attributes:
        layer: hidden layer that grows.
        amounts: new units of each row, shape (N,), 0 for rows that do not grow.
        seeds: inner seed of each row, shape (N,).
        units: units of the layer before growth, shape (N,): with the seed, the counter of a row's random numbers.
        first: position of each row's first new unit among the layer's active ones, shape (N,). From there on the layer
            has units without any weights, which change nothing.
        outputs: classes of each row's current task, shape (N,): columns of the head that are in use.
        probe: gives the evidence of probe batch 0, 1, 2, ..., drawn from the current task's training samples; with a
            second argument, one of so many samples.
    """

    layer: int
    amounts: NDArray[np.int64]
    seeds: NDArray[np.uint64]
    units: NDArray[np.int64]
    first: NDArray[np.int64]
    outputs: NDArray[np.int64]
    probe: Callable[..., Evidence] = field(default=_no_probes, repr=False)

    @cached_property
    def evidence(self) -> Evidence:
        """Probe batch 0."""
        return self.probe(0)

    def readers(self, network: StackedMLP) -> NDArray[np.int64]:
        """What in the next layer can hear the new units and trains, (N,): active units, or outputs of the head.

        Those who hear them only through wires are not counted; weights through wires start at zero.
        """
        above = self.layer + 1
        return self.outputs if above == network.depth else network.active_units[:, above]

    @property
    def most(self) -> int:
        """K, the most units that a row adds."""
        return int(self.amounts.max())


@dataclass(frozen=True)
class Proposal:
    """What becomes of a layer: new units and, where an operator changes older ones, their new weights.

    Rows that do not grow, and columns or rows past a row's amount, are ignored.

    Attributes:
        fan_in: incoming weights of new units, (N, fan_in, K), in the order in which the layer reads, biases among them.
        fan_out: outgoing weights, (N, K, fan_out of the next block); None for zero. Those through wires are zero.
        incoming: new weights into all active units of the layer, (N, fan_in, active); None leaves them. Columns of
            new units are ignored.
        outgoing: new weights into the active units of the next layer, or into the head, (N, fan_in of it, fan_out of
            it); None leaves them. Rows of new units are ignored.
        parents: unit that each new one copies, as a position among frozen and active units, int64 (N, K), -1 for none;
            the copy inherits the optimiser's state.
        shares: share of its parent's outgoing weights that each copy has, (N, K).
        rates: step sizes of the new units' incoming and outgoing weights relative to the optimiser's, two tensors (N,).
    """

    fan_in: Tensor
    fan_out: Tensor | None = None
    incoming: Tensor | None = None
    outgoing: Tensor | None = None
    parents: Tensor | None = None
    shares: Tensor | None = None
    rates: tuple[Tensor, Tensor] | None = None


@runtime_checkable
class GrowthOperator(Protocol):
    """How new neurons start.

    Attributes:
        name: how results call it.
        preserving: True if growth leaves every logit unchanged, to 1e-5.
    """

    name: str
    preserving: bool

    def propose(self, network: StackedMLP, batch: GrowthBatch) -> Proposal:
        """Weights of the new units; room for them has been made already, and this must not change the network.

        The proposal for a row must not depend on its neighbours. Frozen units have no weights that could be changed.

        Args:
            network: the stack.
            batch: what grows.
        """


def checked_proposal(network: StackedMLP, batch: GrowthBatch, proposal: Proposal) -> Proposal:
    """What an operator proposed, if the network can take it.

    Raises:
        ValueError: it is no proposal, a tensor has another shape than the layer needs, or a rate is not above 0.
    """
    if not isinstance(proposal, Proposal):
        raise ValueError(f"a growth operator returns a Proposal, got a {type(proposal).__name__}")
    rows, units, layer = network.rows, batch.most, batch.layer
    below, above = network.layout.fan_in(layer), network.layout.fan_out(layer + 1)
    shapes = {
        "fan_in": (rows, below, units),
        "fan_out": (rows, units, above),
        "incoming": (rows, below, network.layout.active[layer]),
        "outgoing": (rows, network.layout.fan_in(layer + 1), above),
        "parents": (rows, units),
        "shares": (rows, units),
    }
    growing = torch.from_numpy(batch.amounts > 0).to(network.device)
    for name, shape in shapes.items():
        given = getattr(proposal, name)
        if given is None and name != "fan_in":
            continue
        if not isinstance(given, Tensor) or tuple(given.shape) != shape:
            what = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
            raise ValueError(f"{name} of a proposal for layer {layer} is {what}, expected a tensor of shape {shape}")
    if (proposal.parents is None) != (proposal.shares is None):
        raise ValueError("a proposal has both parents and shares, or neither")
    for rate in proposal.rates or ():
        if tuple(rate.shape) != (rows,) or not bool((rate[growing] > 0).all()):
            raise ValueError(f"rates of a proposal are positive and of shape {(rows,)}, got {rate}")
    return proposal


def apply_proposal(network: StackedMLP, batch: GrowthBatch, proposal: Proposal) -> None:
    """Write what a checked proposal says into the network and into what follows its weights.

    Args:
        network: the stack, with room for the new units.
        batch: what grows.
        proposal: what `checked_proposal` returned.
    """
    layer, first, amounts = batch.layer, batch.first, batch.amounts
    for block, weights in ((layer, proposal.incoming), (layer + 1, proposal.outgoing)):
        if weights is not None:
            network.replace(block, amounts > 0, weights)
    network.set_units(layer, first, amounts, proposal.fan_in, proposal.fan_out)
    if proposal.parents is not None and proposal.shares is not None:
        inherit(network, layer, first, amounts, proposal.parents, proposal.shares)
    if proposal.rates is not None:
        set_rates(network, layer, first, amounts, *proposal.rates)


OPERATORS: Registry[GrowthOperator] = Registry("growth operator")
