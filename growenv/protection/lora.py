"""Low-rank adapters: one for every task after the first, beside weights that stand still."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.growth.scaling import positions_read
from growenv.hardware.architecture import Architecture
from growenv.networks import StackedMLP
from growenv.networks.layout import Layout
from growenv.networks.live import index_of, live_inputs
from growenv.protection.base import NUMBER_BYTES, PROTECTIONS, Protection
from growenv.protection.row_adam import row_adam
from growenv.protection.stage import Stage
from growenv.randomness import Purpose, uniform
from growenv.wiring import layers_read

BASE = "lora_base"


class LowRankAdapters(Protection):
    """After the first task its weights W_0 stand still; each later task adds ``alpha / r * A B`` of its own to them.

    Every hidden layer has an A (fan_in, r), random, and a B (r, units), zero at first, so a new task starts from W_0.
    Biases are weights from the constant input, so they have adapters too. With G = dL/dW, ``dL/dA = alpha / r * G B^T``
    and ``dL/dB = alpha / r * A^T G``; A and B are trained by Adam with a rate of their own, whatever the optimiser. A
    finished task is answered with its own sum, the same to the last bit whatever grows and trains later.

    Units may grow. In a task after the first, the weights into and out of new units train in full; for the tasks to
    come they belong to W_0, and finished tasks do not hear them.

    Finished tasks' sums are stored whole, which is quicker; `memory` charges what would be enough, A and B.

    Args:
        rank: r, at least 1.
        alpha: scale of adapters, above 0.
        learning_rate: step size of Adam for A and B, above 0.

    Raises:
        ValueError: an argument is out of range.

    Source: Hu et al. 2021, arXiv 2106.09685. First values of A are uniform within 1 / sqrt(fan_in) (released code).
    """

    name = "lora"
    invariant = True

    def __init__(self, rank: int = 8, alpha: float = 8.0, learning_rate: float = 0.005) -> None:
        if not isinstance(rank, int) or rank < 1:
            raise ValueError(f"lora needs a rank of at least 1, got {rank!r}")
        if not alpha > 0.0 or not learning_rate > 0.0:
            raise ValueError(f"lora needs alpha and learning_rate above 0, got {alpha} and {learning_rate}")
        self.rank, self.scale, self.learning_rate = rank, alpha / rank, learning_rate
        self.number: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.counts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.widths: NDArray[np.int64] = np.zeros((0, 0), dtype=np.int64)
        self._layout: Layout | None = None
        # Of each hidden layer: A and B with their moments; where A has rows, B columns, and so weights stand still.
        self._inner: list[list[Tensor]] = []
        self._outer: list[list[Tensor]] = []
        self._adapted: list[tuple[Tensor, Tensor, Tensor]] = []

    # -- streams -----------------------------------------------------------------------------------------------------

    def prepare(self, stage: Stage) -> None:
        """Add the buffers; raises NotVisibleError where tasks have no visible ends."""
        _ = stage.task_length
        for name in (BASE, *(merged(task) for task in range(stage.tasks))):
            stage.network.add_buffer(name)
        self.number, self.counts = np.full(stage.rows, -1), np.zeros(stage.rows, dtype=np.int64)
        self.widths = np.zeros((stage.rows, stage.network.depth), dtype=np.int64)
        self._fit(stage.network)

    def begin(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """No adapters, and nothing stands still."""
        for name in (BASE, *(merged(task) for task in range(stage.tasks))):
            stage.network.clear_buffer(name, rows)
        self.number[rows], self.widths[rows] = -1, 0
        self._fit(stage.network)

    def enter(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """The new task's adapters: A random, B zero."""
        network = stage.network
        self.number[rows] += 1
        self.counts[rows] = 0
        later = rows & (self.number > 0)
        self.widths[later] = network.active_units[later]
        self._fit(network)
        index = index_of(later, network)
        began = index_of(rows, network)
        bases = network.layout.blocks(network.buffers[BASE])
        for layer in range(network.depth):
            for each in (*self._inner[layer], *self._outer[layer]):
                each[began] = 0.0
            first = first_inner(network, layer, stage.seeds, self.number, self.rank)
            self._inner[layer][0][index] = (first * self._adapted[layer][0])[index]
            network.weights[layer][index] = bases[layer][index]

    def finish_task(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Keep the sums of the task, and take weights of units that were new into W_0."""
        network = stage.network
        self._follow(network)
        blocks, bases = network.weights, network.layout.blocks(network.buffers[BASE])
        for row in map(int, np.flatnonzero(rows)):
            kept = network.layout.blocks(network.buffers[merged(int(self.number[row]))])
            for layer in range(network.depth):
                kept[layer][row] = blocks[layer][row]
                still = self._adapted[layer][2][row]
                bases[layer][row] = torch.where(still, bases[layer][row], blocks[layer][row])

    # -- training ----------------------------------------------------------------------------------------------------

    def after_backward(self, stage: Stage) -> None:
        """Train the adapters; weights that have one stand still."""
        self.counts += 1
        if not (self.number > 0).any():
            return
        self._follow(stage.network)
        for layer in range(stage.network.depth):
            gradient = stage.network.gradients[layer]
            rows, columns, still = self._adapted[layer]
            (a, *a_moments), (b, *b_moments) = self._inner[layer], self._outer[layer]
            for_a = torch.bmm(gradient, b.transpose(1, 2)).mul_(self.scale) * rows
            for_b = torch.bmm(a.transpose(1, 2), gradient).mul_(self.scale) * columns
            row_adam(a, for_a, a_moments[0], a_moments[1], self.counts, self.learning_rate)
            row_adam(b, for_b, b_moments[0], b_moments[1], self.counts, self.learning_rate)
            gradient.masked_fill_(still, 0.0)

    def after_step(self, stage: Stage) -> None:
        """The sum of what stands still and of the adapters."""
        if not (self.number > 0).any():
            return
        network = stage.network
        self._follow(network)
        bases = network.layout.blocks(network.buffers[BASE])
        for layer in range(network.depth):
            whole = torch.baddbmm(bases[layer], self._inner[layer][0], self._outer[layer][0], alpha=self.scale)
            network.weights[layer].copy_(torch.where(self._adapted[layer][2], whole, network.weights[layer]))

    def grown(self, stage: Stage, layer: int, first: NDArray[np.int64], amounts: NDArray[np.int64]) -> None:
        """Weights of new units train in full; operators that change older units must leave W_0 alone."""
        fresh = stage.finished == 0  # a new stream's first units come before `begin`
        self.number[fresh], self.widths[fresh] = np.minimum(self.number[fresh], 0), 0
        self._fit(stage.network)
        self.after_step(stage)

    def _follow(self, network: StackedMLP) -> None:
        # Another row's growth, or its new stream, changes the layout as well.
        if network.layout != self._layout:
            self._fit(network)

    def _fit(self, network: StackedMLP) -> None:
        """Follow the layout, and note where adapters are; units that grew after them have none."""
        layout, before = network.layout, self._layout
        if layout != before:
            shapes = [(layout.fan_in(layer), layout.active[layer]) for layer in range(network.depth)]
            inner = [[network.weights[0].new_zeros(network.rows, i, self.rank) for _ in range(3)] for i, _ in shapes]
            outer = [[network.weights[0].new_zeros(network.rows, self.rank, o) for _ in range(3)] for _, o in shapes]
            if before is not None:
                for layer in range(network.depth):
                    _move_rows(before, layout, layer, self._inner[layer], inner[layer])
                    for old, new in zip(self._outer[layer], outer[layer], strict=True):
                        count = min(old.shape[2], new.shape[2])
                        new[:, :, :count] = old[:, :, :count]
            self._inner, self._outer, self._layout = inner, outer, layout
        self._adapted = [adapted(network, layer, self.widths) for layer in range(network.depth)]

    # -- answers -----------------------------------------------------------------------------------------------------

    def weights_of(self, stage: Stage, task: NDArray[np.int64]) -> Tensor | None:
        """Flat weights with which each row answers a task."""
        network, old = stage.network, task < self.number
        if not old.any():
            return None
        flat = network.buffers["weights"].clone()
        blocks = network.layout.blocks(flat)
        for number in np.unique(task[old]):
            index = index_of(old & (task == number), network)
            kept = network.layout.blocks(network.buffers[merged(int(number))])
            for layer in range(network.depth):
                blocks[layer][index] = kept[layer][index]
        return flat

    def memory(self, architecture: Architecture) -> NDArray[np.int64]:
        """Bytes of the adapters of all later tasks that have begun, (N,)."""
        before = architecture.units.cumsum(axis=1) - architecture.units
        began = np.arange(architecture.generations) <= architecture.newest[:, None]
        total = np.zeros(architecture.rows, dtype=np.int64)
        for task in range(1, architecture.generations):
            widths = before[:, task]
            reads = np.array([_reads(architecture, widths, layer) for layer in range(architecture.layers)]).T
            total += np.where(began[:, task], NUMBER_BYTES * self.rank * (reads + widths).sum(axis=1), 0)
        return total


def merged(task: int) -> str:
    """Name of the buffer of a finished task's sums."""
    return f"lora_task_{task}"


def first_inner(
    network: StackedMLP, layer: int, seeds: NDArray[np.uint64], task: NDArray[np.int64], rank: int
) -> Tensor:
    """A of a layer when a task begins: uniform within 1 / sqrt(fan_in), (N, fan_in, r); zero where there is no unit."""
    live = live_inputs(network, layer)
    position, _ = positions_read(network, layer)
    draw = uniform(
        seeds[:, None, None],
        Purpose.PROTECTION,
        np.maximum(task, 0)[:, None, None],
        layer,
        position[:, :, None],
        np.arange(rank)[None, None, :],
    )
    within = 1.0 / np.sqrt(live.sum(axis=1))
    return torch.from_numpy((2.0 * draw - 1.0) * live[:, :, None] * within[:, None, None]).to(network.weights[0])


def adapted(network: StackedMLP, layer: int, widths: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
    """Where a layer has adapters: 1 where A has rows (N, fan_in, 1) and B has columns (N, 1, active), else 0.

    And True where a weight has an adapter and so stands still itself, (N, fan_in, active).

    Args:
        network: the stack.
        layer: hidden layer.
        widths: active units of each hidden layer that adapters know of, (N, L); rows without any have no adapters.
    """
    has = np.asarray(widths.any(axis=1))[:, None]
    rows = live_inputs(network, layer)
    rows[~has[:, 0]] = False
    if layer > 0:
        for span in network.layout.spans(layer):
            new = np.arange(span.active.stop - span.active.start) >= widths[:, span.source, None]
            rows[:, span.active] &= ~new
    columns = (np.arange(network.layout.active[layer]) < widths[:, layer, None]) & has
    still = torch.from_numpy(rows[:, :, None] & columns[:, None, :]).to(network.device)
    a, b = (torch.from_numpy(each).to(network.weights[0]) for each in (rows[:, :, None], columns[:, None, :]))
    return a, b, still


def _move_rows(before: Layout, now: Layout, layer: int, old: list[Tensor], new: list[Tensor]) -> None:
    for one, two in zip(before.spans(layer), now.spans(layer), strict=True):
        for source, target in ((one.frozen, two.frozen), (one.active, two.active)):
            count = min(source.stop - source.start, target.stop - target.start)
            for here, there in zip(old, new, strict=True):
                there[:, target.start : target.start + count] = here[:, source.start : source.start + count]


def _reads(architecture: Architecture, widths: NDArray[np.int64], layer: int) -> NDArray[np.int64]:
    """What a hidden layer reads, the constant unit included, (N,)."""
    if layer == 0:
        return np.full(architecture.rows, architecture.inputs + 1)
    below = list(layers_read(layer, architecture.bypassed))
    return np.asarray(1 + widths[:, below].sum(axis=1))


PROTECTIONS.register("lora", LowRankAdapters)
