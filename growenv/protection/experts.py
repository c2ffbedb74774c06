"""A mixture of experts: a gate decides which group of neurons serves which task, and when new neurons get one."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.networks.other_weights import hidden_with
from growenv.protection.base import PROTECTIONS, Batch, Protection
from growenv.protection.class_sums import UNSEEN
from growenv.protection.densities import Densities
from growenv.protection.row_adam import row_adam
from growenv.registry import unknown_name

if TYPE_CHECKING:
    from growenv.hardware import Architecture
    from growenv.protection.stage import Stage

GATES = ("task", "soft", "density")
RESERVE, EVERY = -1, -2
"""Instead of the number of an expert: a unit that has no task as yet, and the constant unit, which all read."""
_CLOSED = -1e9
_LOOK = 10  # minibatches from one look at the evidence to the next


class Experts(Protection):
    """Units of the last hidden layer are divided among experts; a gate multiplies each expert's units by a factor.

    **When new neurons get a task.** New units of the last hidden layer are a reserve: their gate is closed and nothing
    trains them. At the start of a task, after growth and every ten minibatches, the gate looks at a minibatch. If its
    inputs lie further than `novelty` times the usual distance from what every expert knows (`Densities.surprise`), they
    are novel, and the reserve becomes the expert that serves them. Otherwise the nearest expert serves, with an output
    head of the task's own where heads are apart, and the reserve goes on waiting. While something novel finds no
    reserve, the nearest expert serves too. An expert that trains does so until the task ends (without boundaries, the
    period), and the gate does not look before. When a task ends, the units that it trained are frozen, as in
    `growenv.protection.freeze`; a reserve is not.

    **Which expert answers.**

    * ``task``: the one that serves the task, one-hot. It needs the task's identity at test time, or a head of each
      task that answers through its own expert.
    * ``soft``: a softmax of a linear map of the projected inputs, over all experts, trained with the loss by Adam. It
      needs no identity, and forgets: nothing guards its weights while later tasks train it.
    * ``density``: where identities are told, as ``task``. Where not, each sample goes to the expert under which its
      inputs are likeliest. It comes from sums over all samples seen, so it forgets nothing. It is wrong where tasks
      look alike.

    Gates act on the last hidden layer. Units below belong to nobody; as always under freezing, new ones read old ones
    and not the other way round, so experts build on what is there. A head that all tasks share has no bias under a
    one-hot gate, because no expert could own it.

    Args:
        gate: ``task``, ``soft`` or ``density``.
        novelty: see above; above 0. Samples of what an expert knows lie at about 1.
        directions: random directions on which inputs are projected.
        shrinkage: of the covariances, above 0, at most 1.
        learning_rate: of the soft gate.

    Attributes:
        experts: experts of each row, (N,).
        current: the one that serves, (N,); -1 before the first minibatch.
        serves: expert that serves each task, (N, T), -1 for none yet. Without boundaries, each period of a stream.
        since: minibatch of the stream from which on it does, (N, T), -1 for none yet.

    Raises:
        ValueError: an unknown gate, or a number out of range.

    Source: Aljundi et al. 2017, arXiv 1611.06194 (a gate that compares tasks with what each expert knows); Lee et al.
    2020, arXiv 2001.00689 (densities route samples and say when to add an expert). Gaussians of random projections
    instead of trained generators are our choice.
    """

    all_heads = True

    def __init__(
        self,
        gate: str = "task",
        *,
        novelty: float = 1.2,
        directions: int = 64,
        shrinkage: float = 0.05,
        learning_rate: float = 0.01,
    ) -> None:
        if gate not in GATES:
            raise unknown_name("gate", gate, GATES)
        if isinstance(directions, bool) or directions != int(directions) or directions < 1:
            raise ValueError(f"directions is {directions!r}, expected a whole number of at least 1")
        for name, number in (("novelty", novelty), ("shrinkage", shrinkage), ("learning_rate", learning_rate)):
            if not 0 < number < math.inf:
                raise ValueError(f"{name} is {number!r}, expected a number above 0")
        if shrinkage > 1:
            raise ValueError(f"shrinkage is {shrinkage!r}, expected at most 1, where only the mean variance is left")
        self.name = {"task": "experts", "soft": "experts-soft", "density": "experts-routed"}[gate]
        self.gate, self.novelty, self.directions = gate, novelty, directions
        self.shrinkage, self.learning_rate = shrinkage, learning_rate
        self._densities: Densities | None = None

    # -- streams -----------------------------------------------------------------------------------------------------

    def prepare(self, stage: Stage) -> None:
        """Allocate; raises where the gate's question cannot be asked."""
        network, rows, most = stage.network, stage.rows, stage.tasks
        if self.gate == "task" and stage.scenario.heads == "shared":
            raise stage.scenario.hidden("of which task a test sample is, which the gate 'task' asks for")
        if network.depth - 1 in network.bypassed:
            raise ValueError("experts gate the last hidden layer, but wires lead around it; begin with a unit in it")
        like = network.weights[-1]
        self._densities = Densities(rows, most, network.inputs, self.directions, stage.outputs, self.shrinkage, like)
        self.experts: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)
        self.current: NDArray[np.int64] = np.full(rows, -1)
        self.serves: NDArray[np.int64] = np.full((rows, most), -1)
        self.since: NDArray[np.int64] = np.full((rows, most), -1)
        self._owner: NDArray[np.int64] = np.full((rows, 1 + int(stage.max_hidden[-1])), RESERVE)
        self._training: NDArray[np.bool_] = np.zeros(rows, dtype=np.bool_)
        self._strange: NDArray[np.bool_] = np.zeros(rows, dtype=np.bool_)
        self._look: NDArray[np.bool_] = np.ones(rows, dtype=np.bool_)
        # The soft gate: weights from the projected inputs and a constant one, with the moments of Adam.
        self._map = [like.new_zeros((rows, 1 + self.directions, most)) for _ in range(3)]
        self._map_steps: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)
        self._seen = self._share = like.new_zeros(0)

    @property
    def densities(self) -> Densities:
        """What the inputs of each expert look like."""
        if self._densities is None:
            raise ValueError("experts know nothing before `prepare`; give the protection to a learner first")
        return self._densities

    def begin(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """All units of some rows are a reserve again."""
        self.densities.begin(rows, stage.seeds)
        self.experts[rows], self.current[rows], self._training[rows], self._look[rows] = 0, -1, False, True
        self.serves[rows], self.since[rows], self._owner[rows] = -1, -1, RESERVE
        self._owner[rows, 0] = EVERY
        for weights in self._map:
            weights[torch.from_numpy(np.flatnonzero(rows))] = 0.0
        self._map_steps[rows] = 0

    def enter(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Look at the new task's inputs with the first minibatch."""
        self._look |= rows

    def grown(self, stage: Stage, layer: int, first: NDArray[np.int64], amounts: NDArray[np.int64]) -> None:
        """New units join an expert that trains; else they are a reserve, and the gate looks anew."""
        if layer == stage.network.depth - 1:
            born = 1 + stage.network.frozen_units[:, layer] + first
            place = np.arange(self._owner.shape[1])[None, :]
            new = (place >= born[:, None]) & (place < (born + amounts)[:, None])
            self._owner = np.where(new, np.where(self._training, self.current, RESERVE)[:, None], self._owner)
            self._look |= amounts > 0

    def finish_task(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Freeze what was trained."""
        stage.network.freeze(rows & self._training)
        self._training &= ~rows
        self._look |= rows

    # -- training ----------------------------------------------------------------------------------------------------

    def rehearse(self, stage: Stage, batch: Batch) -> Batch:
        """Decide who serves the minibatch, which stays as it is, and remember what its inputs look like."""
        projected = self._projected(stage, batch.inputs)
        strange = self._assign(stage, projected)
        targets = batch.targets.transpose(1, 2)
        self.densities.add(projected, targets, self.current, ~strange)
        if self.gate == "soft":
            self._seen = projected
            self._share = self._shares(projected)
        return batch

    def _assign(self, stage: Stage, projected: Tensor) -> NDArray[np.bool_]:
        """Let the reserve serve what is novel; which rows see something that no expert of theirs should learn, (N,)."""
        due = ~self._training & (self._look | (stage.steps % _LOOK == 0))
        if due.any():
            surprise = self.densities.surprise(projected).cpu().numpy()
            nearest, least = surprise.argmin(axis=1), surprise.min(axis=1)
            novel = due & (least > self.novelty)
            reserve = self._reserve(stage)
            owned = novel & reserve.any(axis=1) & (self.experts < self.serves.shape[1])
            self._owner = np.where(owned[:, None] & reserve, self.experts[:, None], self._owner)
            self._note(stage, due, np.where(owned, self.experts, nearest))
            self.experts += owned
            self._training |= owned
            self._strange = np.where(due, novel & ~owned, self._strange)
            self._look &= ~due
        return self._strange & ~self._training

    def _reserve(self, stage: Stage) -> NDArray[np.bool_]:
        """Units that have no task, by birth index, (N, units)."""
        there = np.arange(self._owner.shape[1])[None, :] <= stage.network.widths[:, -1, None]
        return np.asarray(there & (self._owner == RESERVE))

    def _note(self, stage: Stage, rows: NDArray[np.bool_], expert: NDArray[np.int64]) -> None:
        row, number = np.arange(stage.rows), np.minimum(stage.finished, self.serves.shape[1] - 1)
        changed = rows & (self.serves[row, number] != expert)
        self.current = np.where(rows, expert, self.current)
        self.serves[row[changed], number[changed]] = expert[changed]
        self.since[row[changed], number[changed]] = stage.steps[changed]

    def on_logits(self, stage: Stage, batch: Batch, logits: Tensor, gradient: Tensor) -> None:
        """Train the soft gate."""
        if self.gate == "soft":
            slope = self.slope(stage, batch, gradient)
            self._map_steps += 1
            row_adam(self._map[0], slope, self._map[1], self._map[2], self._map_steps, self.learning_rate)

    def slope(self, stage: Stage, batch: Batch, gradient: Tensor) -> Tensor:
        """Derivative of the loss with respect to the soft gate's weights, (N, d + 1, E).

        With h_j the units of expert e, W the head and g the derivative with respect to the logits, the share of e has
        the derivative ``sum_j h_j (W g)_j``.

        Args:
            stage: what may be seen.
            batch: the minibatch that `rehearse` saw.
            gradient: derivative of the loss with respect to the logits, (N, C, B).
        """
        units = self._last_units(stage, batch.inputs)
        back = torch.bmm(gradient.transpose(1, 2), stage.network.weights[-1][:, : units.shape[2]].transpose(1, 2))
        owner = self._owners(stage)
        each = (units * back).masked_fill((owner < 0)[:, None, :], 0.0)
        index = owner.clamp(min=0)[:, None, :].expand_as(each)
        share = torch.zeros_like(self._share).scatter_add_(2, index, each)
        score = self._share * (share - (self._share * share).sum(dim=2, keepdim=True))
        return torch.bmm(_with_one(self._seen).transpose(1, 2), score)

    # -- gates -------------------------------------------------------------------------------------------------------

    def gates(self, stage: Stage, task: NDArray[np.int64] | None) -> list[Tensor] | None:
        """One for all units but those of other experts and of the reserve; of the last layer alone."""
        if task is None and self.gate == "soft":
            if self._share.ndim < 3:
                return None  # no minibatch has been gated yet
            return [*self._open(stage), self._factors(stage, self._share)]
        expert = self.current
        if task is not None:
            told = self.serves[np.arange(stage.rows), task]
            expert = np.where(told >= 0, told, expert)
        one = torch.from_numpy(expert[:, None] == np.arange(self.serves.shape[1])).to(stage.network.weights[-1])
        return [*self._open(stage), self._factors(stage, one[:, None, :])[:, 0]]

    def answer(self, stage: Stage, x: Tensor, task: NDArray[np.int64]) -> Tensor | None:
        """Logits by the gate's own routing; None where the task says who serves."""
        if self.gate == "task" or (self.gate == "density" and stage.scenario.by_identity):
            return None
        head = stage.network.weights[-1]
        if self.gate == "soft":
            share = self._shares(self._projected(stage, x))
            return torch.bmm(self._last_units(stage, x) * self._factors(stage, share), head)
        expert = self.route(stage, x)
        share = torch.nn.functional.one_hot(expert, self.serves.shape[1]).to(head)
        logits = torch.bmm(self._last_units(stage, x) * self._factors(stage, share), head)
        known = self.densities.outputs()
        index = expert[:, :, None].expand(-1, -1, known.shape[2])
        return logits.masked_fill_(~known.gather(1, index), UNSEEN)

    def route(self, stage: Stage, x: Tensor) -> Tensor:
        """The expert under which each sample's inputs are likeliest, int64 (N, B).

        Args:
            stage: what may be seen.
            x: inputs as the network reads them now, (N, B, D + 1).
        """
        return self.densities.likelihood(self._projected(stage, x)).argmax(dim=2)

    def unit_counts(self, stage: Stage) -> NDArray[np.int64]:
        """Units of the last hidden layer that belong to each expert and, last, to none as yet, (N, E + 1)."""
        there = np.arange(self._owner.shape[1])[None, :] <= stage.network.widths[:, -1, None]
        number = [*range(self.serves.shape[1]), RESERVE]
        return np.stack([(there & (self._owner == each)).sum(axis=1) for each in number], axis=1)

    def _projected(self, stage: Stage, x: Tensor) -> Tensor:
        return self.densities.project(stage.inputs_of(x)[:, :, :-1])

    def _shares(self, projected: Tensor) -> Tensor:
        """What the soft gate gives each expert, (N, B, E); nothing to those that do not exist."""
        score = torch.bmm(_with_one(projected), self._map[0])
        there = np.arange(self.serves.shape[1])[None, :] < self.experts[:, None]
        return torch.softmax(score.masked_fill_(~torch.from_numpy(there).to(score.device)[:, None, :], _CLOSED), dim=2)

    def _owners(self, stage: Stage) -> Tensor:
        """Whose each position of the last hidden layer is, (N, frozen + active); padding is a reserve."""
        born = stage.network.birth_index(stage.network.depth - 1)
        owner = np.take_along_axis(self._owner, np.maximum(born, 0), axis=1)
        return torch.from_numpy(np.where(born < 0, RESERVE, owner)).to(stage.network.device)

    def _factors(self, stage: Stage, share: Tensor) -> Tensor:
        """Factors of the last hidden layer, (N, B, frozen + active), from what each expert gets, (N, B, E)."""
        owner = self._owners(stage)
        index = owner.clamp(min=0)[:, None, :].expand(-1, share.shape[1], -1)
        factors = share.gather(2, index).masked_fill((owner == RESERVE)[:, None, :], 0.0)
        bias = 0.0 if stage.scenario.heads == "shared" and self.gate != "soft" else 1.0
        return factors.masked_fill((owner == EVERY)[:, None, :], bias)

    def _open(self, stage: Stage) -> list[Tensor]:
        """Factors of the lower hidden layers."""
        layout, like = stage.network.layout, stage.network.weights[-1]
        widths = [layout.frozen[layer] + layout.active[layer] for layer in range(layout.depth - 1)]
        return [like.new_ones((stage.rows, width)) for width in widths]

    def _last_units(self, stage: Stage, x: Tensor) -> Tensor:
        """Activations of the last hidden layer before its gate, (N, B, frozen + active)."""
        return hidden_with(stage.network, x, stage.network.buffers["weights"])[-1]

    def memory(self, architecture: Architecture) -> NDArray[np.int64]:
        """Bytes of the densities of all experts there may be, the soft gate, and a number for every unit."""
        if self._densities is None:
            return np.zeros(architecture.rows, dtype=np.int64)
        soft = sum(weights[0].numel() * weights.element_size() for weights in self._map) if self.gate == "soft" else 0
        each = self._densities.bytes() + soft + self._owner.shape[1] * self._owner.itemsize
        return np.full(architecture.rows, each, dtype=np.int64)


def _with_one(projected: Tensor) -> Tensor:
    return torch.cat((projected, torch.ones_like(projected[:, :, :1])), dim=2)


PROTECTIONS.register("experts", Experts)
PROTECTIONS.register("experts-soft", partial(Experts, "soft"))
PROTECTIONS.register("experts-routed", partial(Experts, "density"))
