"""The heads of N networks: which outputs a task has, which of them take part, and where their weights are."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.networks import StackedMLP
from growenv.networks.inheritance import forget_head_rates
from growenv.randomness import Purpose, uniform
from growenv.streams import Context, Scenario

ABSENT = -1e9
"""Added to the logits of outputs that do not take part: their probability is then exactly zero."""
_STATE = ("kept", "seen", "classes_of", "_trains")


def head_kind(scenario: Scenario, all_heads: bool) -> str:
    """How heads lie: ``"own"``, ``"restored"``, ``"wide"`` or ``"shared"``; see `Heads`.

    Args:
        scenario: who may see what.
        all_heads: whether heads of other tasks train too.

    Raises:
        ValueError: a scenario whose other outputs are silent in training, and a protection that trains them.
    """
    if scenario.restore and all_heads:
        raise ValueError(
            f"scenario {scenario.name!r} keeps the outputs of other tasks silent in training, but the protection "
            "trains them; use 'class-incremental' or 'class-incremental-all' with it"
        )
    if scenario.heads == "shared":
        return "shared"
    if scenario.restore:
        return "restored"
    return "wide" if all_heads or scenario.together else "own"


class Heads:
    """Heads of all tasks of N rows, of one kind.

    | kind | outputs of the network's head | heads of finished tasks |
    | --- | --- | --- |
    | own | the current task's | kept here |
    | restored | all classes; only the current task's train, others are constant (their biases) | kept here |
    | wide | those of all tasks, one task after the other | train on |
    | shared | the same for all tasks | the same |

    Args:
        network: the stack.
        scenario: who may see what.
        kind: what `head_kind` says.
        tasks: most tasks of a stream T.
        classes: classes of the data set.
        starts: where units of each hidden layer begin among kept weights, as `StackedMLP.read_index` wants them.

    Attributes:
        kept: weights of heads by birth index of the unit, (N, T, units, C).
        seen: classes of tasks so far, bool (N, classes).
        classes_of: class of each place of a task, (N, T, classes), -1 for none.
    """

    def __init__(
        self, network: StackedMLP, scenario: Scenario, kind: str, tasks: int, classes: int, starts: Sequence[int]
    ) -> None:
        self.network, self.scenario, self.kind = network, scenario, kind
        self.tasks, self.classes, self.starts = tasks, classes, starts
        rows = network.rows
        slots = tasks if kind in ("own", "restored") else 1
        shape = (rows, slots, starts[-1], network.classes)
        self.kept = torch.zeros(shape, dtype=network.dtype, device=network.device)
        self.seen: NDArray[np.bool_] = np.zeros((rows, classes), dtype=np.bool_)
        self.classes_of: NDArray[np.int64] = np.full((rows, tasks, classes), -1)
        self._trains = torch.ones((rows, 1, network.classes), dtype=network.dtype, device=network.device)

    # -- streams -----------------------------------------------------------------------------------------------------

    def begin(self, rows: NDArray[np.bool_], contexts: Sequence[Context]) -> None:
        """Some rows start new streams; their networks have initial units only."""
        self.kept[_index(rows)] = 0.0
        self.seen[rows], self.classes_of[rows] = False, -1
        for row in map(int, np.flatnonzero(rows)):
            for number, task in enumerate(contexts[row].tasks):
                self.classes_of[row, number, : len(task.classes)] = task.classes

    def enter(self, rows: NDArray[np.bool_], task: NDArray[np.int64], seeds: NDArray[np.uint64]) -> None:
        """Some rows turn to a task.

        Args:
            rows: which rows, (N,).
            task: the task of every row, (N,).
            seeds: seed of every row, (N,).
        """
        if self.scenario.boundaries:
            self.see(rows, task)
        index, first = _index(rows), rows & (task == 0)
        head = self.network.weights[-1]
        if self.kind == "own":
            head[index] = self.fresh(task, seeds)[index]
        elif self.kind == "restored":
            head[index] = self._silenced(task, seeds)[index]
            self._trains[index] = self._columns(self._of_task(task)).to(head.dtype)[index, None]
        elif self.kind == "shared" and first.any():
            head[_index(first)] = self.fresh(np.zeros_like(task), seeds)[_index(first)]
        elif self.kind == "wide":
            for number in range(self.tasks):
                these = first | (rows & (task == number) & (not self.scenario.together))
                if these.any():
                    block = slice(number * self.classes, (number + 1) * self.classes)
                    drawn = self.fresh(np.full_like(task, number), seeds)
                    head[_index(these), :, block] = drawn[_index(these)][:, :, block]
        if self.kind in ("own", "restored"):
            forget_head_rates(self.network, rows)

    def see(self, rows: NDArray[np.bool_], task: NDArray[np.int64]) -> None:
        """The classes of a task of some rows are known from now on."""
        self.seen |= rows[:, None] & self._of_task(task)

    def keep(self, rows: NDArray[np.bool_], task: NDArray[np.int64]) -> None:
        """Remember the head of some rows: that of their task, or the one there is."""
        read = self.read()
        row, position = np.nonzero((read >= 0) & rows[:, None])
        slot = task[row] if self.kind in ("own", "restored") else np.zeros_like(row)
        self.kept[row, slot, read[row, position]] = self.network.weights[-1][row, position]

    def put_back(self, rows: NDArray[np.bool_]) -> None:
        """Write a head that trains on, for some rows, where the units lie now."""
        if self.kind in ("shared", "wide") and rows.any():
            index = _index(rows)
            self.network.weights[-1][index] = self._kept(np.zeros(self.network.rows, dtype=np.int64))[index]

    def mask_gradient(self) -> None:
        """Outputs that are silent in training do not train."""
        if self.kind == "restored":
            self.network.gradients[-1].mul_(self._trains)

    def remove(self, layer: int, born: NDArray[np.int64]) -> None:
        """Units of a hidden layer go; later ones take over their birth indices.

        Args:
            layer: hidden layer; nothing is kept of layers that no head reads.
            born: birth indices that go, (N, units), -1 for none.
        """
        sources = [span.source for span in self.network.layout.spans(self.network.depth)]
        if layer not in sources:
            return
        number = layer - sources[-1]
        start, last = self.starts[number] + 1, number == len(self.starts) - 2
        stop = self.starts[-1] if last else self.starts[number + 1] + 1
        for row in np.flatnonzero((born >= 0).any(axis=1)):
            gone = np.isin(np.arange(1, 1 + stop - start), born[row])
            left = self.kept[row, :, start:stop][:, torch.from_numpy(~gone)]
            self.kept[row, :, start:stop] = 0.0
            self.kept[row, :, start : start + left.shape[1]] = left

    # -- weights -----------------------------------------------------------------------------------------------------

    def read(self) -> NDArray[np.int64]:
        """Where `kept` has the weights from every position that a head reads, (N, fan_in), -1 for padding."""
        return self.network.read_index(self.network.depth, self.starts)

    def fresh(self, task: NDArray[np.int64], seeds: NDArray[np.uint64]) -> Tensor:
        """Initial heads: uniform within 1 / sqrt(units), biases zero, shape (N, fan_in, C)."""
        read = self.read()
        draw = uniform(
            seeds[:, None, None],
            Purpose.HEAD,
            task[:, None, None],
            np.maximum(read, 0)[:, :, None],
            np.arange(self.classes)[None, None, :],
        )
        width = np.maximum(1, (read > 0).sum(axis=1))[:, None, None]
        drawn = (2.0 * draw - 1.0) / np.sqrt(width) * (read > 0)[:, :, None]
        if self.kind == "wide":
            drawn = np.tile(drawn, (1, 1, self.tasks))
        head = drawn if self.kind == "shared" else drawn * self._outputs_of(task)[:, None, :]
        return torch.from_numpy(head).to(self.network.device, self.network.dtype)

    def of(self, task: NDArray[np.int64], now: NDArray[np.int64], seeds: NDArray[np.uint64]) -> Tensor:
        """Heads of any tasks in the order in which the units that they read lie, (N, fan_in, C).

        Args:
            task: a task of each row, (N,); heads of tasks to come are untrained.
            now: current task of each row, (N,).
            seeds: seed of every row, (N,).
        """
        current = self.network.weights[-1]
        if self.kind in ("shared", "wide"):
            return current
        kept = self._kept(task)
        choices = [(task == now, current)]
        if (task > now).any():
            choices.append((task > now, self.fresh(task, seeds)))
        for chosen, head in choices:
            if chosen.any():
                kept = torch.where(torch.from_numpy(chosen).to(kept.device)[:, None, None], head, kept)
        return kept

    def together(self, now: NDArray[np.int64], seeds: NDArray[np.uint64]) -> Tensor:
        """Restored heads: every class's weights from the last task that it was in, (N, fan_in, C)."""
        head = torch.zeros_like(self.network.weights[-1])
        for number in range(int(now.max()) + 1):
            task = np.minimum(np.full_like(now, number), now)
            columns = self._columns(self._of_task(task))[:, None, :]
            head = torch.where(columns, self.of(task, now, seeds), head)
        return head

    def _kept(self, task: NDArray[np.int64]) -> Tensor:
        read, row = self.read(), np.arange(self.network.rows)
        kept = self.kept[row[:, None], task[:, None], np.maximum(read, 0)]
        return kept.masked_fill(torch.from_numpy(read < 0).to(kept.device)[:, :, None], 0.0)

    def _silenced(self, task: NDArray[np.int64], seeds: NDArray[np.uint64]) -> Tensor:
        """The task's classes as they were left, or fresh; of all others the biases alone."""
        before, silent = self.fresh(task, seeds), torch.zeros_like(self.network.weights[-1])
        constant = torch.from_numpy(self.read() == 0).to(silent.device)[:, :, None]
        for number in range(int(task.max())):
            earlier = np.minimum(np.full_like(task, number), np.maximum(task - 1, 0))
            known = self._of_task(earlier) & (number < task)[:, None]
            columns, kept = self._columns(known)[:, None, :], self._kept(earlier)
            before = torch.where(columns, kept, before)
            silent = torch.where(columns & constant, kept, silent)
        return torch.where(self._columns(self._of_task(task))[:, None, :], before, silent)

    # -- outputs -----------------------------------------------------------------------------------------------------

    def _columns(self, chosen: NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(chosen).to(self.network.device)

    def _of_task(self, task: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which classes a task of each row has, (N, classes)."""
        classes = self.classes_of[np.arange(self.network.rows), task]
        return np.asarray((classes[:, :, None] == np.arange(self.classes)).any(axis=1))

    def _outputs_of(self, task: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which outputs a task of each row has, (N, C)."""
        if self.scenario.labels == "class":
            return self._of_task(task)
        if self.kind == "shared":  # the same for all tasks of a stream
            counts = (self.classes_of >= 0).sum(axis=2).max(axis=1)
        else:
            counts = (self.classes_of[np.arange(self.network.rows), task] >= 0).sum(axis=1)
        first = task * self.classes if self.kind == "wide" else np.zeros_like(task)
        place = np.arange(self.network.classes)[None, :] - first[:, None]
        return np.asarray((place >= 0) & (place < counts[:, None]))

    def taking_part(self, task: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Outputs among which the loss of a sample of `task` (N,) chooses, (N, C)."""
        if self.scenario.labels == "place" or self.scenario.loss == "task":
            return self._outputs_of(task)
        return self.seen.copy() if self.scenario.loss == "seen" else np.ones_like(self.seen)

    def scored(self, task: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Outputs among which the answer to a sample of `task` (N,) is chosen, (N, C)."""
        return self.seen.copy() if self.scenario.scored == "seen" else self._outputs_of(task)

    def absent(self, taking_part: NDArray[np.bool_]) -> Tensor:
        """What to add to logits so that only some outputs take part, of the same shape."""
        return torch.from_numpy(np.where(taking_part, 0.0, ABSENT)).to(self.network.device, self.network.dtype)

    def in_use(self, outputs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Outputs of heads as hardware sees them, int64 (N, T), from the classes of the tasks that have begun.

        Head g is one that reads all units of tasks up to g, so a head that all tasks share stands as the last one.
        """
        if self.kind in ("own", "wide"):
            return outputs
        whole = np.zeros_like(outputs)
        whole[:, -1] = self.classes
        return whole

    def state(self) -> dict[str, Any]:
        """A copy of everything that streams and training change."""
        return copy.deepcopy({name: getattr(self, name) for name in _STATE})

    def load_state(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state` returned."""
        vars(self).update(copy.deepcopy(state))


def _index(rows: NDArray[np.bool_]) -> Tensor:
    return torch.from_numpy(np.flatnonzero(rows))
