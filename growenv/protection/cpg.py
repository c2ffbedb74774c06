"""Compacting, picking and growing: every weight belongs to one task, and later tasks pick among the older ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.growth import RandomGrowth
from growenv.growth.scaling import positions_read
from growenv.hardware.architecture import Architecture
from growenv.networks import StackedMLP
from growenv.networks.live import index_of, live_units, live_weights
from growenv.protection.base import NUMBER_BYTES, PROTECTIONS, Protection
from growenv.protection.row_adam import row_adam
from growenv.protection.stage import Stage
from growenv.randomness import Purpose, normal

PICKED = 1e-2
"""Where the real-valued mask of a weight begins: picked (released code)."""
THRESHOLD = 5e-3
"""A weight is picked while its mask is above this (released code)."""
PRUNE_EVERY = 10
"""Minibatches between two steps of gradual pruning."""
GOAL_SAMPLES = 256
"""Training samples on which the accuracy is compared with the goal."""
OWNER, PICK, FIRST, SECOND, KEPT = "cpg_owner", "cpg_pick", "cpg_pick_first", "cpg_pick_second", "cpg_kept"


class CompactPickGrow(Protection):
    """Train free weights, pick among owned ones, prune to leave room; old tasks are answered with their own weights.

    Every weight and bias of the hidden layers is free or owned by a finished task. During a task free ones train, and
    each owned one is multiplied by 0 or 1: by whether its real-valued mask is above a threshold. The mask learns by
    Adam from the straight-through gradient ``dL/d(masked weight) * weight``. In the last share of the task, the task's
    own weights are pruned by magnitude, layer by layer, and the rest is trained on; at its end they are frozen and the
    pruned ones are free again. They start the next task at random (He), with free biases at zero.

    With t the number of tasks to come, ``1 - 1/(t + 1)`` of the weights that were free are pruned, so that all tasks
    get equal shares; the released code stops at this ratio too, and earlier if accuracy suffers, which is not tried
    here. Tasks to come are counted as in the longest stream of the stack: in shorter ones the last task leaves weights
    unused. Sparsity rises as ``1 - (1 - progress)^3`` (Zhu and Gupta 2017, arXiv 1710.01878) over the first half of the
    share. A task that is left before that keeps more. A finished task's logits are the same to the last bit whatever
    grows and trains later.

    With a `goal`, layers grow by themselves: halfway to the first pruning and right before it, rows below that training
    accuracy ask for half as many units as a fresh network has. Without, growth is left to the agent.

    Args:
        goal: training accuracy below which layers grow, in (0, 1]; None never grows.
        mask_rate: step size of Adam for masks, above 0 (released code).
        share: last share of a task in which its weights are pruned and trained on, above 0, at most 1.
        growth: units that a layer asks for, relative to its initial ones, above 0 (released code).

    Raises:
        ValueError: an argument is out of range.

    Source: Hung et al. 2019, arXiv 1910.06562, and its code, ivclab/CPG.
    """

    invariant = True
    frees = True

    def __init__(
        self, goal: float | None = None, mask_rate: float = 5e-4, share: float = 0.5, growth: float = 0.5
    ) -> None:
        for name, value, most in (
            ("goal", 1.0 if goal is None else goal, 1.0),
            ("mask_rate", mask_rate, np.inf),
            ("share", share, 1.0),
            ("growth", growth, np.inf),
        ):
            if not 0.0 < value <= most:
                raise ValueError(f"cpg needs {name} above 0 and at most {most}, got {value}")
        self.name = "cpg" if goal is None else "cpg-growing"
        self.goal, self.mask_rate, self.share, self.growth = goal, mask_rate, share, growth
        self.number: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.counts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    # -- streams -----------------------------------------------------------------------------------------------------

    def prepare(self, stage: Stage) -> None:
        """Add the buffers; raises NotVisibleError where tasks have no visible ends."""
        _ = stage.task_length
        for name in (OWNER, PICK, FIRST, SECOND, KEPT, *(used(task) for task in range(stage.tasks))):
            stage.network.add_buffer(name)
        self.number, self.counts = np.full(stage.rows, -1), np.zeros(stage.rows, dtype=np.int64)

    def begin(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """All weights are free."""
        for name in (OWNER, PICK, FIRST, SECOND, KEPT, *(used(task) for task in range(stage.tasks))):
            stage.network.clear_buffer(name, rows)
        self.number[rows] = -1

    def enter(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """All owned weights are picked at first; free ones are drawn anew."""
        network = stage.network
        self.number[rows] += 1
        self.counts[rows] = 0
        later = rows & (self.number > 0)
        if not later.any():
            return
        for name in (FIRST, SECOND):
            network.clear_buffer(name, later)
        index = index_of(later, network)
        owners, picks, kept = (self._blocks(network, name) for name in (OWNER, PICK, KEPT))
        for layer in range(network.depth):
            owned = owners[layer][index] > 0
            picks[layer][index] = PICKED * owned.to(network.dtype)
            fresh = fresh_weights(network, layer, stage.seeds, self.number, later)[index]
            network.weights[layer][index] = torch.where(owned, kept[layer][index], fresh)

    def finish_task(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """The task owns what it trained and did not prune; what it uses is written down."""
        network = stage.network
        owners, picks, kept = (self._blocks(network, name) for name in (OWNER, PICK, KEPT))
        for row in map(int, np.flatnonzero(rows)):
            task = int(self.number[row])
            uses = self._blocks(network, used(task))
            for layer in range(network.depth):
                owner = owners[layer][row]
                uses[layer][row] = ((owner > 0) & (picks[layer][row] > THRESHOLD)).to(network.dtype)
                own = (owner == 0) & live_weights(network, layer)[row]
                uses[layer][row][own] = 1.0
                kept[layer][row][own] = network.weights[layer][row][own]
                owner.clamp_(min=0.0)[own] = float(task + 1)

    # -- training ----------------------------------------------------------------------------------------------------

    def after_backward(self, stage: Stage) -> None:
        """Train the masks; only free weights get gradients."""
        network = stage.network
        self.counts += 1
        names = (OWNER, PICK, FIRST, SECOND, KEPT)
        owners, picks, firsts, seconds, kept = (self._blocks(network, name) for name in names)
        picking = bool((self.number > 0).any())
        for layer in range(network.depth):
            gradient = network.gradients[layer]
            if picking:
                # Straight-through; weights that nobody owns are kept as zero, and so their masks stay.
                slope = gradient * kept[layer]
                row_adam(picks[layer], slope, firsts[layer], seconds[layer], self.counts, self.mask_rate)
            gradient.mul_(owners[layer] == 0)

    def after_step(self, stage: Stage) -> None:
        """Owned weights are as they were, times their masks; prune and grow when it is time."""
        self._restore(stage.network)
        length, step = stage.task_length, stage.task_steps + 1  # minibatches trained, this one included
        start, stop = int((1.0 - self.share) * length), int((1.0 - 0.5 * self.share) * length)
        if self.goal is not None:
            self._grow(stage, np.isin(step, (start // 2, start)))
        ahead = np.maximum(stage.tasks - 1 - self.number, 0)
        progress = np.clip((step - start) / max(1, stop - start), 0.0, 1.0)
        due = (ahead > 0) & (step > start) & (step <= stop) & (((step - start) % PRUNE_EVERY == 0) | (step == stop))
        if due.any():
            self.prune(stage.network, due, pruned_share(ahead, progress))

    def grown(self, stage: Stage, layer: int, first: NDArray[np.int64], amounts: NDArray[np.int64]) -> None:
        """Operators that change older units must leave owned and pruned weights alone."""
        self._restore(stage.network)

    def prune(self, network: StackedMLP, rows: NDArray[np.bool_], share: NDArray[np.float64]) -> None:
        """Release the smallest of the current task's weights in every hidden layer.

        Args:
            network: the stack.
            rows: which rows, (N,).
            share: share of the weights that no finished task owns that is to be released, those before included, (N,).
        """
        owners, flats = self._blocks(network, OWNER), ("adam_first", "adam_second")
        moments = [self._blocks(network, name) for name in flats if name in network.buffers]
        chosen = torch.from_numpy(rows).to(network.device)[:, None, None]
        for layer in range(network.depth):
            own = live_weights(network, layer) & (owners[layer] <= 0)
            out = chosen & own & ~largest(network.weights[layer].abs(), own, 1.0 - share)
            owners[layer].masked_fill_(out, -1.0)
            for block in (network.weights[layer], *(each[layer] for each in moments)):
                block.masked_fill_(out, 0.0)

    def _restore(self, network: StackedMLP) -> None:
        owners, picks, kept = (self._blocks(network, name) for name in (OWNER, PICK, KEPT))
        for layer in range(network.depth):
            weights, owner = network.weights[layer], owners[layer]
            masked = kept[layer] * (picks[layer] > THRESHOLD)  # zero where nobody owns a weight, as wanted if pruned
            weights.copy_(torch.where(owner == 0, weights, masked))

    def _grow(self, stage: Stage, asked: NDArray[np.bool_]) -> None:
        if not asked.any():
            return
        batch = stage.draw(0, GOAL_SAMPLES)
        best = (stage.forward(batch.inputs).transpose(1, 2) + batch.absent).argmax(dim=1)
        accuracy = (best == batch.outputs).double().mean(dim=1).cpu().numpy()
        asked = asked & (accuracy < self.goal)
        for layer in range(stage.network.depth):
            amounts = np.where(asked, int(np.ceil(self.growth * stage.hidden[layer])), 0)
            if amounts.any():
                stage.grow(layer, amounts, RandomGrowth())

    # -- answers -----------------------------------------------------------------------------------------------------

    def weights_of(self, stage: Stage, task: NDArray[np.int64]) -> Tensor | None:
        """Flat weights with which each row answers a task: its own and what it picked, zero elsewhere."""
        network, old = stage.network, task < self.number
        if not old.any():
            return None
        flat = network.buffers["weights"].clone()
        blocks, kept = network.layout.blocks(flat), self._blocks(network, KEPT)
        for number in np.unique(task[old]):
            index = index_of(old & (task == number), network)
            uses = self._blocks(network, used(int(number)))
            for layer in range(network.depth):
                blocks[layer][index] = kept[layer][index] * uses[layer][index]
        return flat

    def importance(self, stage: Stage, layer: int) -> NDArray[np.float64]:
        """Sum of the magnitudes of all weights into and out of every unit, (N, active).

        Infinite for units with a weight that a finished task owns, and where there is no unit.
        """
        network = stage.network
        owners, weights = self._blocks(network, OWNER), network.weights
        start, active = network.layout.frozen[layer], network.layout.active[layer]
        total, owned = weights[layer].abs().sum(dim=1), (owners[layer] > 0).any(dim=1)
        for block, at in network.layout.outlets(layer):
            rows = slice(at + start, at + start + active)
            total = total + weights[block][:, rows].abs().sum(dim=2)
            owned = owned | (owners[block][:, rows] > 0).any(dim=2)
        missing = torch.from_numpy(~live_units(network, layer)).to(network.device)
        found: NDArray[np.float64] = total.masked_fill(owned | missing, torch.inf).double().cpu().numpy()
        return found

    def memory(self, architecture: Architecture) -> NDArray[np.int64]:
        """Bytes of one bit a weight for every task, which owners follow from, and of the real-valued masks, (N,)."""
        newest, total = architecture.newest, np.zeros(architecture.rows, dtype=np.int64)
        for task in range(architecture.generations):
            count = hidden_weights(architecture, task)
            total += np.where(task <= newest, -(-count // 8), 0)
            total += np.where(task == newest - 1, NUMBER_BYTES * count, 0)
        return total

    def _blocks(self, network: StackedMLP, name: str) -> list[Tensor]:
        return network.layout.blocks(network.buffers[name])


def used(task: int) -> str:
    """Name of the buffer that is 1 where a task uses a weight, its own ones among them."""
    return f"cpg_used_{task}"


def hidden_weights(architecture: Architecture, task: int) -> NDArray[np.int64]:
    """Weights and biases of all hidden layers at the end of a task, int64 (N,)."""
    units = architecture.units.copy()
    units[:, task + 1 :] = 0
    then = replace(architecture, units=units)
    return np.asarray(then.connections()[:, :-1].sum(axis=1) + units.sum(axis=(1, 2)))


def pruned_share(ahead: NDArray[np.int64], progress: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of a task's weights that is pruned: ``(1 - 1 / (ahead + 1)) * (1 - (1 - progress)^3)``.

    Args:
        ahead: tasks to come.
        progress: from 0, before the first pruning, to 1.
    """
    return np.asarray((1.0 - 1.0 / (ahead + 1)) * (1.0 - (1.0 - progress) ** 3))


def largest(magnitude: Tensor, among: Tensor, share: NDArray[np.float64]) -> Tensor:
    """Which entries are the ``ceil(share * entries)`` largest of each row; of equal ones the first.

    Args:
        magnitude: not negative, (N, rows, columns).
        among: which of them count, bool, like `magnitude`.
        share: of each row, (N,).
    """
    flat, valid = magnitude.flatten(1), among.flatten(1)
    order = torch.where(valid, flat, -1.0).argsort(dim=1, descending=True, stable=True)
    count = np.ceil(np.round(share * valid.sum(dim=1).cpu().numpy(), 6))
    first = torch.arange(flat.shape[1], device=flat.device) < torch.from_numpy(count).to(flat.device)[:, None]
    return torch.zeros_like(valid).scatter_(1, order, first).view_as(among)


def fresh_weights(
    network: StackedMLP,
    layer: int,
    seeds: NDArray[np.uint64],
    task: NDArray[np.int64],
    rows: NDArray[np.bool_],
) -> Tensor:
    """Independent normal weights of variance 2 / inputs for a layer's live units, biases zero, (N, fan_in, active).

    Args:
        network: the stack.
        layer: hidden layer.
        seeds: of each row, (N,).
        task: counter of each row's draw, (N,).
        rows: rows to draw for; others get zeros.
    """
    position, live = positions_read(network, layer)
    units = np.arange(network.layout.active[layer])
    row = np.flatnonzero(rows)
    draw = normal(
        seeds[row, None, None],
        Purpose.PROTECTION,
        task[row, None, None],
        layer,
        position[row, :, None],
        units[None, None, :],
    )
    there = live[:, :, None] & live_units(network, layer)[:, None, :]
    length = np.sqrt(2.0 / np.maximum(1, live.sum(axis=1)))
    drawn = np.zeros(there.shape)
    drawn[row] = draw * there[row] * length[row, None, None]
    return torch.from_numpy(drawn).to(network.device, network.dtype)


PROTECTIONS.register("cpg", CompactPickGrow)
PROTECTIONS.register("cpg-growing", lambda: CompactPickGrow(goal=0.95))
