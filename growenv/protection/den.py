"""Dynamically expandable networks: retrain what a task needs, add units where that is not enough, split what drifts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.networks.live import index_of
from growenv.protection.base import NUMBER_BYTES, PROTECTIONS, Batch, Protection
from growenv.protection.den_split import Duplicates, grow_admitted, most_drifted, move_outgoing
from growenv.protection.den_steps import among, constant, drifts, selected, shrink, shrink_units
from growenv.protection.strengths import checked_strength, per_row

if TYPE_CHECKING:
    from growenv.hardware import Architecture
    from growenv.protection.stage import Stage

FIRST, HEAD, RETRAIN, EXPAND, DRIFT, SETTLE = range(6)
"""What is trained: all of a first task; then a later task's head, what it selects, new units, all, all once more."""
BEFORE, SELECTED, TRAINS, SHRINKS, PULLS = "den_before", "den_selected", "den_trains", "den_shrinks", "den_pulls"
"""Buffers: weights as the task found them; 1 where selected; 1 where trained; thresholds of l1; strengths of decay."""


class Den(Protection):
    """Dynamically expandable networks (DEN) whose units somebody else adds: the agent, or a schedule.

    The first task trains everything with an l1 penalty. A later task goes through phases:

    1. *Head*: only the task's head trains, with l1.
    2. *Retraining*: the units that lead to the task's outputs through weights other than zero are selected, and only
       weights among them train, with l2.
    3. *Expansion*: if the row has new units, only weights from or to them train, with l1 and a group lasso on what
       leads into each of them. At the end units whose group is zero go.
    4. *Drift* (with `split`): everything trains, pulled back to where the task found it. Then older units whose
       incoming weights are further than sigma from there get their old weights back, and a duplicate has the new ones.
    5. *Settling* (with `split`): as 4, to join them. Without `split` phase 2 goes on instead of 4 and 5.

    New units train, with l1 and group lasso, from the moment they are added. Every phase starts with a fresh optimiser.
    A unit answers only for the task during which it was added and for later ones, so answers need the identity of the
    task, and phases need boundaries. Shared units do change under older tasks: nothing is kept to the last bit.

    Both lasso terms are proximal steps after each step of the optimiser, by the strength itself and not times the
    learning rate, as in the paper's code. Its other strengths are the defaults here. They were published for thousands
    of minibatches a task and sigmoid outputs; here the loss is the scenario's softmax cross-entropy, and few
    minibatches need stronger terms before any weight is zero. Biases are spared by l1, but are part of a unit's group.
    In a head that tasks share, outputs read as older units do.

    Every strength is one number, or one for each row.

    Args:
        l1: threshold of the l1 penalty, a step.
        l2: strength of ``l2 |w|^2`` in phase 2.
        group: threshold of the group lasso, a step.
        pull: strength of ``pull |w - w_before|^2`` in phases 4 and 5; not used without `split`.
        sigma: drift from which a unit is split; not used without `split`.
        shares: of a task's minibatches, of the five phases; they sum to 1.
        split: whether this protection splits units, which adds units that nobody asked for.

    Raises:
        ValueError: a strength is negative or not finite, or the shares are no shares.

    Source: Yoon, Yang, Lee and Hwang 2018, arXiv 1708.01547; strengths from github.com/jaehong31/DEN.
    """

    name = "den"
    frees = True

    def __init__(
        self,
        *,
        l1: float | Sequence[float] = 1e-5,
        l2: float | Sequence[float] = 1e-4,
        group: float | Sequence[float] = 1e-3,
        pull: float | Sequence[float] = 0.5,
        sigma: float | Sequence[float] = 0.05,
        shares: Sequence[float] = (0.1, 0.25, 0.15, 0.25, 0.25),
        split: bool = False,
    ) -> None:
        self.strengths = {"l1": l1, "l2": l2, "group": group, "pull": pull, "sigma": sigma}
        self.split = split
        for name, given in self.strengths.items():
            checked_strength(name, given)
        if len(shares) != 5 or min(shares) < 0 or abs(sum(shares) - 1.0) > 1e-6:
            raise ValueError(f"shares={tuple(shares)!r}: expected five shares of a task's minibatches that sum to 1")
        self._ends = np.cumsum(shares)[:-1]

    # -- hooks -------------------------------------------------------------------------------------------------------

    def prepare(self, stage: Stage) -> None:
        """Add the buffers; see `Protection.prepare`."""
        if stage.scenario.together or not stage.scenario.boundaries:
            raise stage.scenario.hidden(f"when a task begins, which protection {self.name!r} needs")
        self._strength = {
            name: per_row(name, checked_strength(name, given), stage.rows) for name, given in self.strengths.items()
        }
        for name in (BEFORE, SELECTED, TRAINS, SHRINKS, PULLS):
            stage.network.add_buffer(name)
        self.phase: NDArray[np.int64] = np.full(stage.rows, -1)
        self.older: NDArray[np.int64] = np.zeros((stage.rows, stage.network.depth), dtype=np.int64)

    def begin(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """See `Protection.begin`; the network has cleared the buffers."""
        self.phase[rows], self.older[rows] = -1, 0

    def enter(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Remember what the task finds; see `Protection.enter`."""
        network, later = stage.network, rows & (stage.finished > 0)
        self.older[rows] = np.where(later[:, None], network.active_units, 0)[rows]
        self._write(stage, BEFORE, rows, network.buffers["weights"])
        self.phase[rows] = np.where(later, HEAD, FIRST)[rows]
        self._aim(stage, rows)

    def rehearse(self, stage: Stage, batch: Batch) -> Batch:
        """Turn to the next phase where one begins with this minibatch."""
        ended = np.ceil(self._ends * stage.task_length - 1e-9)[None, :] <= stage.task_steps[:, None]
        due = np.where(self.phase == FIRST, FIRST, HEAD + ended.sum(axis=1))
        for phase in range(RETRAIN, SETTLE + 1):
            rows = (self.phase < phase) & (due >= phase) & (self.phase >= HEAD)
            if rows.any():
                self._turn(stage, rows, phase)
        return batch

    def after_backward(self, stage: Stage) -> None:
        """Add the gradients of l2 and of the pull, and drop those of weights that do not train."""
        network = stage.network
        if (self.phase == FIRST).all():
            return
        if (self.phase >= RETRAIN).any():
            back = torch.from_numpy(self._apart(self.phase)).to(network.device, network.dtype)[:, None, None]
            before, pulls = (network.layout.blocks(network.buffers[name]) for name in (BEFORE, PULLS))
            for gradient, weight, past, strength in zip(network.gradients, network.weights, before, pulls, strict=True):
                gradient.addcmul_(torch.addcmul(weight, past, back, value=-1.0), strength)
        network.gradient.mul_(network.buffers[TRAINS])

    def after_step(self, stage: Stage) -> None:
        """Proximal steps of l1 and of the group lasso."""
        if (self.phase <= EXPAND).any() or not self.split:
            shrink(stage.network.buffers["weights"], stage.network.buffers[SHRINKS])
        lasso = np.where((self.phase > FIRST) & ~self._apart(self.phase), self._strength["group"], 0.0)
        for block, new in zip(stage.network.weights[:-1], self._new(stage), strict=True):
            amount = lasso[:, None] * new
            if amount.any():
                shrink_units(block, torch.from_numpy(amount).to(block.device, block.dtype))

    def grown(self, stage: Stage, layer: int, first: NDArray[np.int64], amounts: NDArray[np.int64]) -> None:
        """New units train; see `Protection.grown`."""
        rows = self.phase >= FIRST
        if rows.any():
            self._aim(stage, rows)

    def gates(self, stage: Stage, task: NDArray[np.int64] | None) -> list[Tensor] | None:
        """No unit that was added during a later task; see `Protection.gates`."""
        if task is None:
            return None
        network = stage.network
        reached = stage.units.cumsum(axis=1)[np.arange(stage.rows), task]
        if (reached >= network.widths).all():
            return None
        born = [network.birth_index(layer) for layer in range(network.depth)]
        open_ = [(each >= 0) & (each <= most[:, None]) for each, most in zip(born, reached.T, strict=True)]
        return [torch.from_numpy(each).to(network.device, network.dtype) for each in open_]

    def importance(self, stage: Stage, layer: int) -> NDArray[np.float64]:
        """Length of incoming times length of outgoing weights, (N, active); infinite but for this task's units."""
        network = stage.network
        frozen, active = network.layout.frozen[layer], network.layout.active[layer]
        outgoing = sum(
            network.weights[block][:, start + frozen : start + frozen + active].square().sum(dim=2)
            for block, start in network.layout.outlets(layer)
        )
        matter = network.weights[layer].norm(dim=1) * torch.as_tensor(outgoing).sqrt()
        free = self._new(stage)[layer]
        return np.where(free, matter.double().cpu().numpy(), np.inf)

    def memory(self, architecture: Architecture) -> NDArray[np.int64]:
        """A copy of the hidden layers' weights and biases at 4 bytes, and two bits for each; (N,)."""
        hidden = architecture.connections()[:, :-1].sum(axis=1) + architecture.widths.sum(axis=1)
        kept: NDArray[np.int64] = hidden * NUMBER_BYTES + -(-hidden * 2 // 8)
        return kept

    # -- phases ------------------------------------------------------------------------------------------------------

    def _turn(self, stage: Stage, rows: NDArray[np.bool_], phase: int) -> None:
        """Some rows begin a later task's next phase."""
        if phase == RETRAIN:
            self._select(stage, rows)
        elif phase == EXPAND:
            self._expand(stage, rows)
        elif phase == DRIFT:
            self._remove_useless(stage, rows)
        elif self.split:
            self._duplicate(stage, rows)
        self.phase[rows] = phase
        stage.restart(rows)
        self._aim(stage, rows)

    def _select(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        network, outputs = stage.network, torch.from_numpy(stage.known_outputs).to(stage.device)
        inputs, *units = selected(network.weights, network.layout, outputs)
        chosen = among(network.layout, inputs, units, outputs, network.dtype)
        self._write(stage, SELECTED, rows, chosen)

    def _expand(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Somebody else adds units."""

    def _remove_useless(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        for layer in range(stage.network.depth):
            zero = (stage.network.weights[layer] == 0).all(dim=1).cpu().numpy()
            gone = zero & self._new(stage)[layer] & rows[:, None]
            if gone.any():
                stage.remove(layer, gone)

    def _duplicate(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Split from the top down, so that whoever reads a split unit is known to be old or new."""
        network, bound = stage.network, np.where(rows, self._strength["sigma"], np.inf)
        for layer in reversed(range(network.depth)):
            before = network.layout.blocks(network.buffers[BEFORE])[layer]
            older = network.layout.blocks(self._among_older(stage))[layer]
            moved = drifts(network.weights[layer], before, older).double().cpu().numpy()
            parents, amounts = most_drifted(moved, bound)
            if not amounts.any():
                continue
            first = network.active_units[:, layer].copy()
            added = grow_admitted(stage, layer, amounts, Duplicates(parents, BEFORE))
            outputs = torch.full((stage.rows, network.classes), stage.heads_apart, device=network.device)
            new = [torch.from_numpy(each).to(network.device) for each in self._new(stage)]
            move_outgoing(network, layer, parents, first, added, [*new, outputs])

    # -- who trains, and how -----------------------------------------------------------------------------------------

    def _apart(self, phase: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Rows in which everything trains and is pulled back to where the task found it."""
        return (phase >= DRIFT) & self.split

    def _new(self, stage: Stage) -> list[NDArray[np.bool_]]:
        """Units of the current task in each hidden layer, (N, active)."""
        return [
            (np.arange(active) >= old[:, None]) & (np.arange(active) < live[:, None])
            for active, old, live in zip(
                stage.network.layout.active, self.older.T, stage.network.active_units.T, strict=True
            )
        ]

    def _among_older(self, stage: Stage) -> Tensor:
        """1 for weights among units that the task found, from all inputs and to all outputs; flat."""
        return self._all_among(stage, self.older)

    def _all_among(self, stage: Stage, counts: NDArray[np.int64]) -> Tensor:
        """1 for weights among the first so many units of each layer, (N, L), from all inputs and to all outputs."""
        network, layout = stage.network, stage.network.layout
        inputs = torch.ones((stage.rows, layout.inputs), dtype=torch.bool, device=network.device)
        outputs = torch.ones((stage.rows, network.classes), dtype=torch.bool, device=network.device)
        units = [np.arange(active) < count[:, None] for active, count in zip(layout.active, counts.T, strict=True)]
        return among(
            layout, inputs, [torch.from_numpy(each).to(network.device) for each in units], outputs, network.dtype
        )

    def _aim(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Set which weights of some rows train, shrink and are pulled, and how much."""
        network, layout = stage.network, stage.network.layout
        live, older = self._all_among(stage, network.active_units), self._among_older(stage)
        new, chosen = live - older, network.buffers[SELECTED]
        head = torch.zeros_like(live)
        layout.blocks(head)[-1].copy_(layout.blocks(live)[-1])
        some = (network.active_units > self.older).any(axis=1)
        apart, expanding = self._apart(self.phase), (self.phase == EXPAND) & some
        retraining = (self.phase >= RETRAIN) & ~apart & ~expanding
        trains = self._pick(stage, [(self.phase == FIRST, live), (self.phase == HEAD, torch.maximum(head, new))])
        trains += self._pick(stage, [(retraining, torch.maximum(chosen, new)), (expanding, new), (apart, live)])
        self._write(stage, TRAINS, rows, trains)
        shrinks = self._pick(stage, [(self.phase <= HEAD, trains), ((self.phase > HEAD) & ~apart, new)], "l1")
        for layer, block in enumerate(layout.blocks(shrinks)):
            block[:, constant(layer)] = 0.0
        self._write(stage, SHRINKS, rows, shrinks)
        if stage.heads_apart:
            layout.blocks(older)[-1].zero_()  # this task's head was not there before
        pulls = self._pick(stage, [(retraining, trains)], "l2") + self._pick(stage, [(apart, older)], "pull")
        self._write(stage, PULLS, rows, pulls.mul_(2.0))

    def _pick(
        self, stage: Stage, cases: Sequence[tuple[NDArray[np.bool_], Tensor]], strength: str | None = None
    ) -> Tensor:
        """Each row's buffer where it is in a case, times a strength; zero elsewhere; flat."""
        network, factor = stage.network, self._strength[strength] if strength else np.ones(stage.rows)
        picked = torch.zeros_like(network.buffers["weights"])
        for rows, flat in cases:
            scale = torch.from_numpy(factor * rows).to(network.device, network.dtype)[:, None, None]
            for target, block in zip(network.layout.blocks(picked), network.layout.blocks(flat), strict=True):
                target.addcmul_(block, scale)
        return picked

    def _write(self, stage: Stage, name: str, rows: NDArray[np.bool_], flat: Tensor) -> None:
        """Overwrite a buffer in some rows."""
        network = stage.network
        index = index_of(rows, network)
        blocks = network.layout.blocks
        for target, block in zip(blocks(network.buffers[name]), blocks(flat), strict=True):
            target[index] = block[index]


PROTECTIONS.register("den", Den)
