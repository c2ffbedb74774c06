"""The shape of every row's network, as far as hardware cares: who exists, since when, and who reads whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from growenv.wiring import layers_read, readers


@dataclass(frozen=True, eq=False)
class Architecture:
    """Widths of N multilayer perceptrons with one head per task, split by generation.

    A generation is the index of the task during which a unit grew; the initial units are generation 0. All units of one
    (layer, generation) have the same connections, which is all that a meter needs to know about them.

    Attributes:
        inputs: features of the network input.
        units: units that generation g added to hidden layer l, int64 [N, G, L].
        outputs: classes of task g's head, int64 [N, G]; 0 while that task has not begun.
        directed: True where units of generation b read only generations a <= b of the layer below (old units never read
            new ones, as under freezing); False where every unit of a layer reads every unit of the layer below. Head g
            reads last-layer units of generations <= g in both cases.
        bypassed: hidden layers around which wires lead, in rising order, never layer 0. Who reads such a layer also
            reads all that it reads itself, so it may have no units; wires are neither units nor weights.
        keeper: bytes that the protection keeps beside such networks (statistics, masks, samples), int64 [N]; None if it
            keeps none. Only meters of memory ask.

    Raises:
        ValueError: a shape or a number that no network can have.
    """

    inputs: int
    units: NDArray[np.int64]
    outputs: NDArray[np.int64]
    directed: bool
    bypassed: tuple[int, ...] = ()
    keeper: Callable[[Architecture], NDArray[np.int64]] | None = None

    def __post_init__(self) -> None:
        for name, dimensions in (("units", 3), ("outputs", 2)):
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != np.int64 or array.ndim != dimensions:
                found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
                raise ValueError(f"{name} must be an int64 array with {dimensions} dimensions, got {found}")
            if array.size and array.min() < 0:
                raise ValueError(f"{name} must not be negative, got {array.min()}")
        if self.units.shape[:2] != self.outputs.shape or 0 in self.units.shape[1:]:
            raise ValueError(
                f"units [N, G, L] and outputs [N, G] must agree on N and G, with G and L at least 1; "
                f"got {self.units.shape} and {self.outputs.shape}"
            )
        if self.inputs < 1:
            raise ValueError(f"inputs must be at least 1, got {self.inputs}")
        if any(layer not in range(1, self.layers) for layer in self.bypassed):
            raise ValueError(f"wires can lead around hidden layers 1..{self.layers - 1}, got bypassed={self.bypassed}")

    @property
    def rows(self) -> int:
        """Number of rows N."""
        return int(self.units.shape[0])

    @property
    def generations(self) -> int:
        """Number of generations G, which is the number of tasks."""
        return int(self.units.shape[1])

    @property
    def layers(self) -> int:
        """Number of hidden layers L."""
        return int(self.units.shape[2])

    @property
    def widths(self) -> NDArray[np.int64]:
        """Width of every hidden layer, int64 [N, L]."""
        return np.asarray(self.units.sum(axis=1))

    @property
    def newest(self) -> NDArray[np.int64]:
        """The newest task that has begun, int64 [N]; -1 where none has."""
        last = self.generations - 1 - (self.outputs[:, ::-1] > 0).argmax(axis=1)
        return np.where(self.outputs.any(axis=1), last, -1)

    def grown(self, layer: ArrayLike, amount: ArrayLike, generation: ArrayLike) -> Architecture:
        """The architecture after one growth request per row; this one stays as it is.

        Args:
            layer: hidden layer that grows, an int or int64 [N]; without meaning where the amount is 0.
            amount: units to add, an int or int64 [N]; 0 leaves a row as it is.
            generation: task during which the units grow, an int or int64 [N].

        Raises:
            ValueError: a negative amount, or a layer or generation that does not exist.
        """
        amounts = np.broadcast_to(np.asarray(amount, dtype=np.int64), self.rows)
        if amounts.size and amounts.min() < 0:
            raise ValueError(f"amount must not be negative, got {amounts.min()}; units are only ever added")
        asked = amounts > 0
        layers = np.where(asked, layer, 0)
        generations = np.where(asked, generation, 0)
        _check_index("layer", layers, self.layers)
        _check_index("generation", generations, self.generations)
        units = self.units.copy()
        units[np.arange(self.rows), generations, layers] += amounts
        return replace(self, units=units)

    def connections(self) -> NDArray[np.int64]:
        """Weights of every layer without biases, int64 [N, L + 1]; all heads together come last.

        With u_l[g] units of generation g in layer l, hidden layer l >= 1 has sum_b u_l[b] * sum_{a <= b} u_{l-1}[a]
        weights where `directed`, else the product of both widths. With u the units of the last hidden layer, the heads
        have sum_g outputs[g] * sum_{a <= g} u[a]. Where wires lead around a layer, its readers have such weights from
        units of the layers below as well.
        """
        read = self._read()
        so_far = read.cumsum(axis=1)
        weights = np.empty((self.rows, self.layers + 1), dtype=np.int64)
        weights[:, 0] = self.inputs * self.units[:, :, 0].sum(axis=1)
        if self.directed:
            weights[:, 1:-1] = (self.units[:, :, 1:] * so_far[:, :, :-1]).sum(axis=1)
        else:
            weights[:, 1:-1] = self.widths[:, 1:] * so_far[:, -1, :-1]
        weights[:, -1] = (self.outputs * so_far[:, :, -1]).sum(axis=1)
        return weights

    def _read(self) -> NDArray[np.int64]:
        """Units of each generation that hidden layers 1, 2, ... and heads read, int64 [N, G, L]."""
        if not self.bypassed:
            return self.units
        layers = [list(layers_read(layer, self.bypassed)) for layer in range(1, self.layers + 1)]
        return np.stack([self.units[:, :, read].sum(axis=2) for read in layers], axis=2)

    @property
    def read(self) -> NDArray[np.int64]:
        """How many units each hidden layer above the first reads, and last the newest head, int64 [N, L]."""
        return np.asarray(self._read().sum(axis=1))

    def connections_per_unit(self, generation: NDArray[np.int64]) -> NDArray[np.int64]:
        """Weights that one more unit in each hidden layer would add, its own and those of its readers, int64 [N, L].

        Args:
            generation: task during which it would grow, int64 [N].
        """
        when = np.arange(self.generations)[None, :]
        older, newer = when <= generation[:, None], when >= generation[:, None]
        if not self.directed:
            older, newer = np.ones_like(older), np.ones_like(newer)
        weights = np.empty((self.rows, self.layers), dtype=np.int64)
        weights[:, 0] = self.inputs
        weights[:, 1:] = (self._read()[:, :, :-1] * older[:, :, None]).sum(axis=1)
        above = (self.units * newer[:, :, None]).sum(axis=1)
        heads = (self.outputs * (when >= generation[:, None])).sum(axis=1, keepdims=True)
        above = np.concatenate((above, heads), axis=1)
        for layer in range(self.layers):
            weights[:, layer] += above[:, list(readers(layer, self.layers, self.bypassed))].sum(axis=1)
        return weights

    def kept_bytes(self) -> NDArray[np.int64]:
        """Bytes that the protection keeps beside the networks, int64 [N].

        Raises:
            ValueError: the keeper gives no non-negative integers of shape (N,).
        """
        if self.keeper is None:
            return np.zeros(self.rows, dtype=np.int64)
        kept = np.asarray(self.keeper(self))
        right = kept.shape == (self.rows,) and np.issubdtype(kept.dtype, np.integer)
        if not right or kept.min() < 0:
            raise ValueError(
                f"a protection keeps {kept!r} bytes beside {self.rows} networks, expected {self.rows} integers >= 0; "
                "correct its method memory"
            )
        return kept.astype(np.int64)

    def biases(self) -> NDArray[np.int64]:
        """Biases of hidden units and heads, int64 [N]."""
        return np.asarray(self.units.sum(axis=(1, 2)) + self.outputs.sum(axis=1))


def largest(
    inputs: int,
    max_hidden: Sequence[int],
    tasks: int,
    classes: int,
    bypassed: tuple[int, ...] = (),
    keeper: Callable[[Architecture], NDArray[np.int64]] | None = None,
) -> Architecture:
    """The largest network that an episode can reach: what a budget is a share of (N = 1).

    All units are of generation 0 and every task has a full head, so no order of growth reaches more connections.

    Args:
        inputs: features of the network input.
        max_hidden: greatest width of every hidden layer, length L.
        tasks: tasks in the stream, which is the number of generations.
        classes: classes of a full head.
        bypassed: hidden layers around which wires lead.
        keeper: bytes that the protection keeps beside it.

    Raises:
        ValueError: a number below 1, or no hidden layer.
    """
    if not max_hidden or min(max_hidden) < 1 or tasks < 1 or classes < 1:
        raise ValueError(
            f"expected at least one hidden layer, and widths, tasks and classes of at least 1; "
            f"got max_hidden={tuple(max_hidden)}, tasks={tasks}, classes={classes}"
        )
    units = np.zeros((1, tasks, len(max_hidden)), dtype=np.int64)
    units[0, 0] = max_hidden
    outputs = np.full((1, tasks), classes, dtype=np.int64)
    return Architecture(inputs, units, outputs, directed=False, bypassed=bypassed, keeper=keeper)


def _check_index(name: str, given: NDArray[np.int64], bound: int) -> None:
    if given.size and (given.min() < 0 or given.max() >= bound):
        wrong = given.min() if given.min() < 0 else given.max()
        raise ValueError(f"{name} must be in 0..{bound - 1}, got {wrong}")
