"""Trains growth paths: what paths have in common is trained once, and rows of one trial share their minibatches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.growth import Evidence, GrowthBatch, apply_proposal, checked_proposal
from growenv.learner import PROBE_SAMPLES, PROBES, Learner
from growenv.networks import StackedMLP, StackedOptimizer
from growenv.networks.rows import followed, gathered
from growenv.paths.lattice import WAIT
from growenv.paths.problem import PathProblem
from growenv.randomness import Purpose

EVALUATED = 1 << 14
"""Answers that are worked out at once: few enough that a fresh stack's work space costs little to fetch."""

TAKING_PART = ("rehearse", "on_logits", "after_backward", "after_step", "gates", "grown", "weights_of", "answer")
"""Hooks by which a protection takes part in training, growth or answers before any task is finished."""


@dataclass
class Front:
    """Networks at one place of the lattice, which therefore have the same widths.

    Attributes:
        network: the stack, N rows.
        optimizer: its optimiser.
        nodes: node of the lattice at which each row stands, (N,).
        trials: number of each row's trial, (N,).
    """

    network: StackedMLP
    optimizer: StackedOptimizer
    nodes: NDArray[np.int64]
    trials: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.nodes)


class PathTraining:
    """Trains, grows and measures fronts as `GrowthEnv` does with the problem's configuration.

    Each decision of a path gives the same networks as in that environment, to rounding. It takes less time: paths with
    a common beginning are trained once as far as they agree, networks of the same widths lie in one stack without
    padding, and the networks of one trial see the same minibatches, which are fetched once.

    Args:
        problem: what is trained.
        device: where networks and data live.

    Raises:
        ValueError: a protection or a scenario that makes training differ within a single task.
    """

    def __init__(self, problem: PathProblem, device: str = "cpu") -> None:
        self.problem, config = problem, problem.config
        rows = len(problem.trials)
        self.learner = Learner(config, problem.dataset, rows, 1, dtype=config.dtype, device=device)
        if any(self.learner.overrides(hook) for hook in TAKING_PART):
            raise ValueError(f"protection={config.protection!r}: paths are trained without one; use 'finetune'")
        if not self.learner.scenario.boundaries:
            raise ValueError(
                f"scenario={config.scenario!r}: minibatches of paths are of one task; use 'task-incremental'"
            )
        self.learner.begin(np.ones(rows, dtype=np.bool_), problem.contexts)
        self.data, self.operator, self.loss = self.learner.data, self.learner.operator, self.learner.loss
        self._task: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)

    # -- fronts ------------------------------------------------------------------------------------------------------

    def roots(self, trials: Sequence[int] | None = None) -> Front:
        """The root networks of some trials, or of all."""
        chosen = np.arange(len(self.problem.trials)) if trials is None else np.array(trials, dtype=np.int64)
        every = np.arange(len(self.problem.trials))
        return _taken(Front(self.learner.network, self.learner.optimizer, np.zeros_like(every), every), chosen)

    def grown(self, front: Front, action: int, rows: NDArray[np.int64]) -> Front:
        """Copies of some rows of a front after an action that all of them take; nothing is trained yet.

        Args:
            front: where they come from; it stays as it is.
            action: 0 waits, l + 1 grows hidden layer l by one step.
            rows: which rows, (k,).
        """
        fresh = _taken(front, rows)
        fresh.nodes = self.problem.lattice.children[fresh.nodes, action].astype(np.int64)
        if action != WAIT:
            self._grow(fresh, action - 1)
        return fresh

    def _grow(self, front: Front, layer: int) -> None:
        network, config = front.network, self.problem.config
        amounts = np.full(len(front), config.amounts[0])
        units = network.widths[:, layer].copy()
        outputs = np.full(len(front), self.learner.classes)
        decision = int(self.problem.lattice.depth[front.nodes[0]]) - 1

        def probe(number: int, samples: int = PROBE_SAMPLES) -> Evidence:
            steps = np.full(len(self.problem.trials), decision * config.minibatches)
            chosen, labels = self.data.minibatches(
                self._task, steps * PROBES + number, 1, samples, purpose=Purpose.PROBE
            )
            seen, place = np.unique(front.trials, return_inverse=True)
            x, right = _spread(self.data.gather(chosen[0][seen]), place), labels[0][front.trials]
            return Evidence(network, x, self.loss.of_probe(right, self._absent(len(front)).transpose(1, 2)))

        first = network.reserve(layer, amounts)
        batch = GrowthBatch(layer, amounts, self.data.seeds[front.trials], units, first, outputs, probe)
        apply_proposal(network, batch, checked_proposal(network, batch, self.operator.propose(network, batch)))

    def _absent(self, rows: int) -> Tensor:
        """All outputs take part."""
        network = self.learner.network
        return torch.zeros((rows, network.classes, 1), dtype=network.dtype, device=network.device)

    # -- training and measuring ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def train(self, front: Front) -> None:
        """Train a front on the minibatches of the decision that led to its nodes."""
        config, network = self.problem.config, front.network
        decision = int(self.problem.lattice.depth[front.nodes[0]]) - 1
        rows, count, size = len(self.problem.trials), config.minibatches, config.batch_size
        steps = np.full(rows, decision * count)
        samples, labels = self.data.minibatches(self._task, steps, count, size)
        absent = self._absent(len(front))
        logits = torch.empty((len(front), network.classes, size), dtype=network.dtype, device=network.device)
        grad, classes = torch.empty_like(logits), torch.arange(network.classes, device=network.device)[:, None]
        seen, place = np.unique(front.trials, return_inverse=True)
        for number in range(count):
            inputs = self.data.gather(samples[number][seen])
            targets = (labels[number][seen][:, None, :] == classes).to(network.dtype)
            x, wanted = _spread(inputs, place), _spread(targets, place)
            logits.copy_(network.forward(x).transpose(1, 2))
            torch.softmax(logits, 1, out=grad)
            self.loss.gradient(logits, grad, wanted, absent, 1.0 / size)
            network.backward(x, grad.transpose(1, 2))
            front.optimizer.step()
        front.optimizer.settle()

    @torch.no_grad()
    def right_answers(self, front: Front, split: str) -> NDArray[np.int64]:
        """Samples of the ``validation`` or ``test`` part that each network of a front gets right, (N,).

        A tie is no right answer, as in `growenv.measuring`.
        """
        samples, labels, weights = self.data.evaluation_set(split, self._task)
        seen, place = np.unique(front.trials, return_inverse=True)
        found = torch.zeros(len(front), dtype=torch.int64, device=samples.device)
        size = max(16, EVALUATED // len(front))
        for start in range(0, samples.shape[1], size):
            part = slice(start, start + size)
            x = _spread(self.data.gather(samples[seen][:, part]), place)
            wanted = labels[front.trials][:, part]
            answers = front.network.forward(x).transpose(1, 2).contiguous()
            chosen = torch.gather(answers, 1, wanted[:, None, :])[:, 0]
            others = answers.scatter_(1, wanted[:, None, :], -torch.inf).amax(dim=1)
            found += ((chosen > others) & (weights[front.trials][:, part] > 0)).sum(dim=1)
        return found.cpu().numpy()

    def samples(self, split: str) -> int:
        """Samples on which `right_answers` counts, as many for every trial."""
        return int((self.data.evaluation_set(split, self._task)[2][0] > 0).sum())

    # -- walking -------------------------------------------------------------------------------------------------------

    def walk(self, nodes: NDArray[np.int64], trials: Sequence[int], most_rows: int = 64) -> Iterator[Front]:
        """Train all that leads to some nodes, each beginning of paths once, and yield every front when it is trained.

        The roots come first, untrained. A front is yielded once and goes on from there, so do not change it.

        Args:
            nodes: where to go, (k,); what lies on the way is trained and yielded as well.
            trials: which trials.
            most_rows: rows of a front. More are faster where networks are small, fewer stay in the processor's cache.

        Raises:
            ValueError: no nodes, or nodes that do not exist.
        """
        if not len(nodes):
            raise ValueError("no nodes to go to; expected at least one")
        lattice, wanted = self.problem.lattice, np.zeros(self.problem.lattice.nodes, dtype=np.bool_)
        wanted[lattice.below(nodes)] = True
        fronts = [self.roots(trials)]
        yield fronts[0]
        for _ in range(int(lattice.depth[nodes].max())):
            pieces = self._next_pieces(fronts, wanted)
            fronts = []
            for place in sorted(pieces):
                for front in _rearranged(pieces.pop(place), most_rows):
                    self.train(front)
                    yield front
                    fronts.append(front)

    def _next_pieces(self, fronts: list[Front], wanted: NDArray[np.bool_]) -> dict[tuple[int, ...], list[Front]]:
        """What becomes of fronts by every action, by place; the fronts are let go."""
        lattice, pieces = self.problem.lattice, dict[tuple[int, ...], list[Front]]()
        while fronts:
            front = fronts.pop()
            for action in range(lattice.actions):
                child = lattice.children[front.nodes, action]
                rows = np.flatnonzero((child >= 0) & wanted[child])
                if len(rows):
                    place = tuple(lattice.counts[child[rows[0]]].tolist())
                    pieces.setdefault(place, []).append(self.grown(front, action, rows))
        return pieces


def _taken(front: Front, rows: NDArray[np.int64]) -> Front:
    return _together([(front, rows)])


def _together(parts: Sequence[tuple[Front, NDArray[np.int64]]]) -> Front:
    """Copies of rows of fronts at one place as one front."""
    network = gathered([(front.network, rows) for front, rows in parts])
    optimizer = followed([(front.optimizer, rows) for front, rows in parts], network)
    nodes, trials = (
        np.concatenate([getattr(front, name)[rows] for front, rows in parts]) for name in ("nodes", "trials")
    )
    return Front(network, optimizer, nodes, trials)


def _rearranged(pieces: Sequence[Front], most_rows: int) -> Iterator[Front]:
    """The rows of some fronts at one place as fronts of at most so many rows, by trial and node."""
    piece = np.repeat(np.arange(len(pieces)), [len(front) for front in pieces])
    row = np.concatenate([np.arange(len(front)) for front in pieces])
    nodes, trials = (np.concatenate([getattr(front, name) for front in pieces]) for name in ("nodes", "trials"))
    order = np.lexsort((nodes, trials))
    for start in range(0, len(order), most_rows):
        chosen = order[start : start + most_rows]
        members = [(number, row[chosen][piece[chosen] == number]) for number in np.unique(piece[chosen])]
        yield _together([(pieces[number], rows) for number, rows in members])


def _spread(of_trials: Tensor, place: NDArray[np.int64]) -> Tensor:
    """What each row sees, from what each trial sees; not copied where all rows see the same."""
    if len(of_trials) == 1:
        return of_trials.expand(len(place), *of_trials.shape[1:])
    return of_trials[torch.from_numpy(place).to(of_trials.device)]
