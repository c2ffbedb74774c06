"""The sparse connections of one network: who owns them, which of them train, and draws of new ones."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.networks import StackedMLP
from growenv.randomness import Purpose, uniform

OWNED, TRAINED = "sparse_owned", "sparse_trained"
IMPORTANCE, HISTORY = "sparse_importance", "sparse_history"
BUFFERS = (OWNED, TRAINED, IMPORTANCE, HISTORY)
"""Buffers of a network: 1 where a finished task owns a weight; 1 where a weight trains now; the importance of every
weight; its sum over the steps of the task. The biases' row of `OWNED` holds the state of every unit."""
RESERVED, CANDIDATE = 1.0, -1.0
"""States of a unit; a free unit that the current task does not use has 0."""
_UNITS, _PLACES, _VALUES = range(3)  # what is drawn

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Positions in a block: what is read, and who reads."""


def bias(block: int) -> int:
    """The row of a block that holds the biases."""
    return -1 if block == 0 else 0


def blocks(network: StackedMLP, name: str) -> list[Tensor]:
    """Views of a buffer, one for each layer and for the head, (N, fan_in, fan_out)."""
    return network.layout.blocks(network.buffers[name])


def unit_importance(network: StackedMLP, layer: int) -> Tensor:
    """Sum over steps and incoming connections of the importance so far, (N, active)."""
    history = blocks(network, HISTORY)[layer]
    return history.sum(dim=1) - history[:, bias(layer)]


class RowConnections:
    """The connections of one row.

    Args:
        network: the stack, with `BUFFERS`.
        row: which of its networks.
        seed: the row's seed.
        task: number of the current task, for draws.
    """

    def __init__(self, network: StackedMLP, row: int, seed: int, task: int) -> None:
        self.network, self.row, self.seed, self.task = network, row, seed, task

    def part(self, name: str, block: int) -> Tensor:
        """A view of one buffer, (fan_in, fan_out)."""
        return blocks(self.network, name)[block][self.row]

    # -- units -------------------------------------------------------------------------------------------------------

    def states(self, layer: int) -> Tensor:
        """A view of the states of the units of a hidden layer, (active units of the row,)."""
        return self.part(OWNED, layer)[bias(layer), : int(self.network.active_units[self.row, layer])]

    def free(self, layer: int) -> NDArray[np.int64]:
        """Active positions of the units that are not reserved, candidates among them."""
        return np.flatnonzero(self.states(layer).cpu().numpy() != RESERVED)

    def candidates(self, layer: int) -> NDArray[np.int64]:
        """Active positions of the units that the current task may connect."""
        return np.flatnonzero(self.states(layer).cpu().numpy() == CANDIDATE)

    def choose(self, layer: int, count: int) -> None:
        """Draw the candidates of a task from the free units, or take them all if there are fewer."""
        unused, states = self.free(layer), self.states(layer)
        draw = uniform(self.seed, Purpose.PROTECTION, self.task, _UNITS, layer, unused)
        states[_index(unused)] = 0.0
        states[_index(unused[np.argsort(draw, kind="stable")[:count]])] = CANDIDATE

    def reserve(self, layer: int, count: int) -> None:
        """Reserve the most important candidates of a hidden layer."""
        mine = self.candidates(layer)
        importance = unit_importance(self.network, layer)[self.row].cpu().numpy()[mine]
        self.states(layer)[_index(mine[np.argsort(-importance, kind="stable")[:count]])] = RESERVED

    # -- pairs of units ----------------------------------------------------------------------------------------------

    def sources(self, block: int) -> NDArray[np.int64]:
        """Rows of a block where new connections may start: all inputs, or the candidates of the layers read.

        Where a layer has none left, its reserved units: to be read changes nothing for them.
        """
        if block == 0:
            return np.arange(self.network.inputs)
        found = []
        for span in self.network.layout.spans(block):
            chosen = self.candidates(span.source)
            chosen = chosen if len(chosen) else np.arange(self.network.active_units[self.row, span.source])
            found.append(span.active.start + chosen)
        return np.concatenate(found)

    def columns(self, block: int) -> NDArray[np.int64]:
        """Columns of a block where new connections may end: candidates, or the outputs whose biases train."""
        if block < self.network.depth:
            return self.candidates(block)
        return np.flatnonzero(self.part(TRAINED, block)[0].cpu().numpy())

    def connected(self, block: int) -> Tensor:
        """Where the current task has connections, biases aside, bool (fan_in, fan_out)."""
        connected = self.part(TRAINED, block) > 0
        connected[bias(block)] = False
        return connected

    def open(self, block: int) -> Tensor:
        """Pairs that the current task may connect and that no finished task owns, bool (fan_in, fan_out)."""
        pairs = torch.zeros_like(self.part(OWNED, block), dtype=torch.bool)
        pairs[_index(self.sources(block))[:, None], _index(self.columns(block))] = True
        return pairs & (self.part(OWNED, block) == 0)

    def draw(self, block: int, among: Tensor, count: int) -> Pairs:
        """Draw places for connections uniformly from `among`, bool (fan_in, fan_out); all if there are fewer."""
        source, column = np.nonzero(among.cpu().numpy())
        draw = uniform(self.seed, Purpose.PROTECTION, self.task, _PLACES, block, self._names(block)[source], column)
        chosen = np.sort(np.argsort(draw, kind="stable")[:count])
        return source[chosen], column[chosen]

    def initial(self, block: int, pairs: Pairs) -> Tensor:
        """Initial weights, uniform within Xavier's bound for the dense layer, (len(pairs),)."""
        names = self._names(block)
        draw = uniform(self.seed, Purpose.PROTECTION, self.task, _VALUES, block, names[pairs[0]], pairs[1])
        read = self.network.inputs if block == 0 else int((names > 0).sum())
        last = block == self.network.depth
        width = self.network.classes if last else int(self.network.active_units[self.row, block])
        weights = (2.0 * draw - 1.0) * np.sqrt(6.0 / (read + width))
        return torch.from_numpy(weights).to(self.network.device, self.network.dtype)

    def _names(self, block: int) -> NDArray[np.int64]:
        """What each row of a block stands for, whatever the layout, (fan_in,); below 1 for constants and padding."""
        if block == 0:
            return np.arange(self.network.inputs + 1)
        return np.asarray(np.maximum(self.network.read_index(block)[self.row], 0))

    # -- changing ----------------------------------------------------------------------------------------------------

    def write(self, block: int, pairs: Pairs, weights: Tensor | float) -> None:
        """Connect pairs for the current task."""
        source, column = _index(pairs[0]), _index(pairs[1])
        value = torch.as_tensor(weights, dtype=self.network.dtype, device=self.network.device)
        self.part("weights", block)[source, column] = value
        self.part(TRAINED, block)[source, column] = 1.0

    def cut(self, block: int, pairs: Pairs) -> None:
        """Take connections from the current task: weights, importance and an optimiser's moments are zero there."""
        source, column = _index(pairs[0]), _index(pairs[1])
        for name in ("weights", TRAINED, IMPORTANCE, "adam_first", "adam_second"):
            if name in self.network.buffers:
                self.part(name, block)[source, column] = 0.0

    def clear(self, block: int) -> None:
        """Zero all weights of a block but its biases and those that finished tasks own; nothing trains there."""
        kept = self.part(OWNED, block) > 0
        kept[bias(block)] = True
        self.part("weights", block).mul_(kept)
        self.part(TRAINED, block).zero_()

    def train_biases(self, block: int, columns: NDArray[np.int64]) -> None:
        """Let the biases of free units, or of a task's outputs, train."""
        self.part(TRAINED, block)[bias(block), _index(columns)] = 1.0

    def own(self, block: int) -> None:
        """The current task owns its connections from now on."""
        self.part(OWNED, block)[self.connected(block)] = 1.0


def _index(positions: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(positions)
