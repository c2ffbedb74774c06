"""Sparse connections for each task, between units that no earlier task has reserved."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.networks.inheritance import RATES
from growenv.networks.live import index_of, live_units
from growenv.protection.base import NUMBER_BYTES, PROTECTIONS, Protection
from growenv.protection.connections import (
    BUFFERS,
    CANDIDATE,
    HISTORY,
    IMPORTANCE,
    OWNED,
    RESERVED,
    TRAINED,
    RowConnections,
    bias,
    blocks,
    unit_importance,
)

if TYPE_CHECKING:
    from growenv.hardware import Architecture
    from growenv.networks import StackedMLP
    from growenv.protection.stage import Stage

CANDIDATES, RESERVE = 80 / 400, 40 / 80
CONNECTIONS = (10_000 / (784 * 80), 1_640 / (80 * 80), 80 / (80 * 2))
"""Published counts of Sokar et al. for 784-400-400-10 and two classes a task, as shares."""
LEAST_CANDIDATES = 8
"""A share of a narrow layer is at least this many units: fewer seldom learn anything."""
_DRAWS = 32  # samples looked at for each class: one that is there is missed with probability exp(-32)


class StaticSparse(Protection):
    """Every task trains a few connections of its own, which are drawn once; the rest of the network is zero or fixed.

    When a task begins, each hidden layer offers *candidates*: units drawn uniformly from the free ones. Connections are
    drawn uniformly between candidates of neighbouring layers, from all inputs and to the task's outputs, where no
    earlier task owns one. Only they train, and the biases of free units and of the task's outputs. When the task ends,
    it owns them for ever, and the candidates that were most important to it are *reserved*: no later task gives them a
    connection or moves their bias. Candidates that are not reserved are free again, so later tasks do change what they
    compute: this protection forgets, but little.

    The importance of a connection is the sum of ``|change of the weight * gradient|`` over the task's steps. A unit's
    is the sum over its incoming connections and over the steps of what their importance was after each step, so early
    steps count more, as in the released code.

    When free units run out, a task has fewer candidates, down to none when all units are reserved. Connections that
    lead away from a layer without candidates start at its reserved units, which changes no answer of an earlier task. A
    unit that grows is a candidate of the current task at once: of the weights that the growth operator gave it, it
    keeps those on connections that are drawn for it, as densely as the task's others lie. Operators that change older
    units (copies, halves) change what earlier tasks own.

    Args:
        candidates: units of each hidden layer that a task may use: a share of the layer, at least `LEAST_CANDIDATES`
            units, or a number of units.
        connections: connections of a task into the first hidden layer, into every other one and into the head: shares
            of the pairs of candidates, at least one for each unit that reads, or numbers.
        reserve: candidates of each hidden layer that are reserved when the task ends: a share of its candidates, at
            least one, or a number of units; None reserves nothing.

    Raises:
        ValueError: a share outside of 0..1, or a number below 1.

    Source: Sokar, Mocanu and Pechenizkiy 2021, arXiv 2007.07617 (there: Static-SparseNN). Whether that baseline
    reserves units is not stated, so there are both. The share of candidates of narrow layers and what happens when free
    units run out are additions.
    """

    frees = True

    def __init__(
        self,
        candidates: float = CANDIDATES,
        connections: Sequence[float] = CONNECTIONS,
        reserve: float | None = RESERVE,
        name: str = "static-sparse",
    ) -> None:
        if not isinstance(connections, Sequence) or len(connections) != 3:
            expected = "three shares or numbers: into the first hidden layer, into every other one, into the head"
            raise ValueError(f"connections of {name!r} are {connections!r}, expected {expected}")
        self.name = name
        self.candidates = _amount(name, "candidates", candidates)
        self.connections = tuple(_amount(name, "connections", each) for each in connections)
        self.reserved = None if reserve is None else _amount(name, "reserve", reserve)
        self._before: Tensor | None = None

    # -- tasks -------------------------------------------------------------------------------------------------------

    def prepare(self, stage: Stage) -> None:
        """Add what follows the weights: who owns them, which train, how important they are."""
        for name in BUFFERS:
            stage.network.add_buffer(name)
        self._task: NDArray[np.int64] = np.full(stage.rows, -1)

    def begin(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Fresh networks have no connections until a task draws some."""
        for name in ("weights", *BUFFERS):
            stage.network.clear_buffer(name, rows)
        self._task[rows] = -1

    def enter(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Draw candidates and connections of some rows."""
        network = stage.network
        for name in (IMPORTANCE, HISTORY):
            network.clear_buffer(name, rows)
        if stage.heads_apart and not stage.scenario.restore:
            blocks(network, OWNED)[-1][index_of(rows, network)] = 0.0  # the head is a new one
        self._task += rows
        outputs = self.outputs(stage)
        for row in map(int, np.flatnonzero(rows)):
            connections = self._of(stage, row)
            for layer in range(network.depth):
                connections.choose(layer, self._candidates(int(network.active_units[row, layer])))
            for block in range(network.depth + 1):
                connections.clear(block)
                connections.train_biases(block, outputs[row] if block == network.depth else connections.free(block))
                self._allocate(connections, block)
        index = index_of(rows, network)
        for name in {"adam_first", "adam_second"} & network.buffers.keys():
            for moments, trained in zip(blocks(network, name), blocks(network, TRAINED), strict=True):
                moments[index] *= trained[index]

    def outputs(self, stage: Stage) -> list[NDArray[np.int64]]:
        """The outputs that train in the current task of each row: those of its classes, all if no boundary is told."""
        if not stage.scenario.boundaries:
            return [np.arange(stage.outputs)] * stage.rows
        drawn = stage.draw(0, _DRAWS * stage.classes).outputs.cpu().numpy()
        return [np.unique(each) for each in drawn]

    def _of(self, stage: Stage, row: int) -> RowConnections:
        return RowConnections(stage.network, row, int(stage.seeds[row]), max(0, int(self._task[row])))

    def _candidates(self, width: int) -> int:
        if isinstance(self.candidates, int):
            return self.candidates
        return max(LEAST_CANDIDATES, round(self.candidates * width))

    def _allocate(self, connections: RowConnections, block: int) -> None:
        """Draw the connections of a task into a layer or into its outputs."""
        columns = len(connections.columns(block))
        share = self._share(block, connections.network.depth)
        pairs = len(connections.sources(block)) * columns
        count = share if isinstance(share, int) else max(columns, round(share * pairs))
        drawn = connections.draw(block, connections.open(block), count)
        connections.write(block, drawn, connections.initial(block, drawn))

    def _share(self, block: int, depth: int) -> int | float:
        return self.connections[0 if block == 0 else 2 if block == depth else 1]

    def finish_task(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """The finished task owns its connections; reserve the candidates that matter most to it."""
        for row in map(int, np.flatnonzero(rows)):
            connections = self._of(stage, row)
            for block in range(stage.network.depth + 1):
                connections.own(block)
            for layer in range(stage.network.depth):
                connections.reserve(layer, self._reserve(len(connections.candidates(layer))))
        if not stage.scenario.boundaries:
            self.enter(stage, rows)  # the next period begins, and nobody says so

    def _reserve(self, candidates: int) -> int:
        if self.reserved is None:
            return 0
        return self.reserved if isinstance(self.reserved, int) else max(1, round(self.reserved * candidates))

    # -- growth ------------------------------------------------------------------------------------------------------

    def grown(self, stage: Stage, layer: int, first: NDArray[np.int64], amounts: NDArray[np.int64]) -> None:
        """New units are candidates: draw their connections among the weights that the growth operator gave them."""
        network = stage.network
        for row in map(int, np.flatnonzero(amounts)):
            connections = self._of(stage, row)
            new = np.arange(first[row], first[row] + amounts[row])
            outlets = network.layout.outlets(layer)
            density = {block: self._density(connections, block) for block in (layer, *(each for each, _ in outlets))}
            connections.states(layer)[torch.from_numpy(new)] = CANDIDATE
            connections.train_biases(layer, new)
            fresh = torch.zeros_like(connections.part(OWNED, layer), dtype=torch.bool)
            fresh[:, torch.from_numpy(new)] = True
            _thin(connections, layer, fresh, density[layer])
            for block, start in outlets:
                fresh = torch.zeros_like(connections.part(OWNED, block), dtype=torch.bool)
                fresh[torch.from_numpy(start + network.layout.frozen[layer] + new)] = True
                _thin(connections, block, fresh, density[block])

    def _density(self, connections: RowConnections, block: int) -> float:
        """Connections of the current task as a share of the pairs between which they were drawn."""
        pairs = len(connections.sources(block)) * len(connections.columns(block))
        if pairs:
            return min(1.0, int(connections.connected(block).sum()) / pairs)
        share = self._share(block, connections.network.depth)
        return 1.0 if isinstance(share, int) else share

    def importance(self, stage: Stage, layer: int) -> NDArray[np.float64]:
        """Importance of every active unit to the current task, (N, active); infinite for reserved ones and padding."""
        found: NDArray[np.float64] = unit_importance(stage.network, layer).double().cpu().numpy()
        states = blocks(stage.network, OWNED)[layer][:, bias(layer)].cpu().numpy()
        return np.where(live_units(stage.network, layer) & (states != RESERVED), found, np.inf)

    # -- minibatches -------------------------------------------------------------------------------------------------

    def after_backward(self, stage: Stage) -> None:
        """Only the current task's connections train, and the biases of free units and of its outputs."""
        buffers = stage.network.buffers
        stage.network.gradient.mul_(self._trains(stage.network))
        # Plain gradient descent moves a weight by learning rate times gradient; of others, look how far they go.
        plain = "adam_first" not in buffers and RATES not in buffers
        self._before = None if plain else buffers["weights"].clone()

    def _trains(self, network: StackedMLP) -> Tensor:
        """1 where a weight trains, else 0, flat."""
        return network.buffers[TRAINED]

    def after_step(self, stage: Stage) -> None:
        """Add ``|change of the weight * gradient|`` to the importance of every connection."""
        network, importance = stage.network, stage.network.buffers[IMPORTANCE]
        if self._before is None:
            importance.addcmul_(network.gradient, network.gradient, value=stage.learning_rate)
        else:
            importance.add_((network.buffers["weights"] - self._before).mul_(network.gradient).abs_())
        self._before = None
        network.buffers[HISTORY].add_(importance)

    def memory(self, architecture: Architecture) -> NDArray[np.int64]:
        """Bytes that it keeps beside such networks, int64 (N,).

        One bit a weight for what finished tasks own and one for what trains, one bit a unit for what is reserved and
        one for what is a candidate, and while a task trains the importance of every weight, unit and input as float32.
        This is what the method needs; the stack keeps all of it as numbers of the size of its weights.
        """
        weights, units = architecture.connections().sum(axis=1), architecture.widths.sum(axis=1)
        packed = -(-(2 * weights) // 8) - (-(2 * units) // 8)
        return np.asarray(packed + NUMBER_BYTES * (weights + units + architecture.inputs))


def _thin(connections: RowConnections, block: int, fresh: Tensor, density: float) -> None:
    """Of the weights of new units, train a share of those that the current task may have, and zero all others."""
    among = fresh & connections.open(block)
    source, column = connections.draw(block, among, round(density * int(among.sum())))
    weights = connections.part("weights", block)
    given = weights[torch.from_numpy(source), torch.from_numpy(column)].clone()
    fresh = fresh.clone()
    fresh[bias(block)] = False
    weights.masked_fill_(fresh, 0.0)
    connections.write(block, (source, column), given)


def _amount(name: str, option: str, given: object) -> int | float:
    """A share or a number of units or connections, checked."""
    if isinstance(given, int | np.integer) and not isinstance(given, bool) and given >= 1:
        return int(given)
    if isinstance(given, float | np.floating) and 0 < given <= 1:
        return float(given)
    raise ValueError(f"{option} of {name!r} is {given!r}, expected a share above 0 and up to 1.0, or a number from 1")


PROTECTIONS.register("static-sparse", StaticSparse)
PROTECTIONS.register("static-sparse-unreserved", partial(StaticSparse, reserve=None, name="static-sparse-unreserved"))
