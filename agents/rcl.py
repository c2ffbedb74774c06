"""RCL: a fresh recurrent controller searches the expansion of every task, from noise (Xu and Zhu 2018)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.evaluation import ROWS, EpisodeRecord, MakeEnv, Progress, make_vector_env
from agents.per_task_search import expansions
from agents.rehearsal import Floats, Stack, decide
from growenv.config import GrowthConfig
from growenv.randomness import Purpose, uniform
from growenv.streams.tasks import Context

TRIALS = 50
CHOICES = 30
"""Expansions of a layer that the controller chooses among: 0 to 29 units in the paper."""
UNITS = 100
"""Units of each of the controller's two recurrent layers."""
NOISE = 30
"""Numbers in the controller's state."""
POLICY_RATE, BASELINE_RATE = 1e-3, 5e-3
_INITIAL = 0.08  # weights are drawn within it; an LSTM begins almost indifferent


def rcl(
    config: GrowthConfig,
    contexts: Sequence[Context],
    *,
    trials: int = TRIALS,
    rows: int = ROWS,
    progress: Progress | None = None,
    make_env: MakeEnv = make_vector_env,
) -> tuple[list[EpisodeRecord], float]:
    """Play each context as Reinforced Continual Learning does.

    At the start of every task each row gets a new `Controller` and a new state, which is noise. In each trial the
    controller chooses an expansion of every layer, the task is played with it on the network itself, as early in the
    task as one growth a decision allows, and undone. The controller learns from the sum of rewards. The best expansion
    of all trials is really played.

    Args:
        config: the environment.
        contexts: what to play; all streams have the same length.
        trials: trials of each task.
        rows: most rows of the stack.
        progress: called with the episodes that have been decided and those in all.
        make_env: as in `agents.evaluation.play`; its environments need snapshots.

    Returns:
        The records, in the order of the contexts, and the mean number of environment steps that an episode's trials
        took: trials times its decisions, less where training diverged.

    Raises:
        ValueError: fewer than one trial, or streams of different lengths.

    Source: Xu and Zhu 2018, arXiv 1805.12369: two LSTM layers of 100 units, 30 choices for each layer, 50 trials,
    Adam 1e-3, a linear baseline with step size 5e-3. Their reward is validation accuracy less 1e-4 for each unit; here
    it is the environment's own, which prices growth. Their network is wide enough for the first task, in which nothing
    is searched; here it begins small, so the first task is searched like the others. Their choices of 0 to 29 units
    are scaled: the last is as much as the actions of one task can add to a layer when the layers take turns.
    """
    if trials < 1:
        raise ValueError(f"each task needs at least one trial, got {trials}")
    choices = choices_of(config)

    def search(stack: Stack) -> None:
        """Train a controller in every task, then play the best that it found."""
        seeds = np.array([context.inner_seed for context in stack.contexts], dtype=np.int64)
        for task in range(stack.tasks):
            best, kept = np.full(len(seeds), -np.inf), np.zeros((len(seeds), stack.decisions), dtype=np.int64)
            controller = Controller(seeds, task, len(config.hidden), len(choices))
            for trial in range(trials):
                places = controller.propose(trial)
                plan = expansions(choices[places], config)
                value = stack.rehearse(stack.player(plan, regions=False), stack.decisions, ~stack.done)
                controller.learn(places, value)
                better = value > best
                best[better], kept[better] = value[better], plan[better]
            stack.play(stack.player(kept, regions=False), stack.decisions)

    return decide(search, "rcl", config, contexts, rows, progress, make_env)


def choices_of(config: GrowthConfig) -> NDArray[np.int64]:
    """Units that each choice adds to a layer, rising from 0, (M,), M at most 30.

    The choices of the paper, 0 to 29, are stretched over what the environment's actions can add to a layer in its share
    of a task's decisions, and rounded to multiples of the smallest amount; equal ones are one.
    """
    least = min(config.amounts)
    turns = max(1, config.decisions // len(config.hidden))
    most = max(least, turns * max(config.amounts))
    wanted = np.linspace(0, most, CHOICES)
    return np.unique((np.round(wanted / least) * least).astype(np.int64))


class Controller:
    """A recurrent policy for each row, which chooses an expansion of one layer after the other.

    The first input is the row's noise. Every further input is the choice before, one-hot. Both go through a linear map
    of their own into two LSTM layers; a linear map of the upper one's output gives the logits of the choices. REINFORCE
    trains it; the baseline is a linear function of the noise. Every row has weights of its own, trained by its own
    rewards, and all rows are computed together.

    Args:
        seeds: inner seed of each row's context, (N,); all that a row draws depends on it and on the task.
        task: number of the task.
        layers: layers L.
        choices: choices M.

    Source: Xu and Zhu 2018, arXiv 1805.12369; Hochreiter and Schmidhuber 1997 (LSTM); Williams 1992 (REINFORCE).
    """

    def __init__(self, seeds: NDArray[np.int64], task: int, layers: int, choices: int) -> None:
        self.seeds, self.task, self.layers, self.choices = seeds, task, layers, choices
        shapes = {
            "noise_in": (NOISE, UNITS),
            "choice_in": (choices, UNITS),
            "lower": (2 * UNITS + 1, 4 * UNITS),
            "upper": (2 * UNITS + 1, 4 * UNITS),
            "out": (UNITS, choices),
        }
        weights, first = {}, 0
        for name, shape in shapes.items():
            drawn = self._draw(first, *shape)
            weights[name] = torch.from_numpy(_INITIAL * drawn).float().requires_grad_()
            first += int(np.prod(shape))
        self.weights = weights
        self.noise = torch.from_numpy(self._draw(first, NOISE)).float()
        self.baseline = torch.zeros((len(seeds), NOISE + 1))
        self._optimizer = torch.optim.Adam(list(weights.values()), lr=POLICY_RATE)

    def _draw(self, first: int, *shape: int) -> Floats:
        """Uniform numbers in [-1, 1) for each row, (N, *shape), beginning with number `first`."""
        numbers = first + np.arange(int(np.prod(shape)))
        drawn: Floats = 2.0 * uniform(self.seeds[:, None], Purpose.POLICY, self.task, 0, numbers) - 1.0
        return drawn.reshape(len(self.seeds), *shape)

    @torch.no_grad()
    def propose(self, trial: int) -> NDArray[np.int64]:
        """Choices that are tried, (N, L)."""
        draw = uniform(self.seeds[:, None], Purpose.POLICY, self.task, 1 + trial, np.arange(self.layers))

        def choose(layer: int, shares: Tensor) -> NDArray[np.int64]:
            ladder = shares.double().numpy().cumsum(axis=1)[:, :-1]  # the last step is 1, whatever the rounding
            return np.asarray((ladder <= draw[:, layer, None]).sum(axis=1))

        return self._unroll(choose)[0]

    def log_probability(self, places: NDArray[np.int64]) -> Tensor:
        """Logarithm of the probability of such choices, (N, L) -> (N,)."""
        return self._unroll(lambda layer, _: places[:, layer])[1]

    def learn(self, places: NDArray[np.int64], rewards: Floats) -> None:
        """One step of REINFORCE for each row, and one of its baseline.

        Args:
            places: what was proposed, (N, L).
            rewards: what it brought, (N,).
        """
        state = torch.cat((self.noise, torch.ones_like(self.noise[:, :1])), dim=1)
        advantage = torch.from_numpy(np.asarray(rewards, dtype=np.float32)) - (state * self.baseline).sum(dim=1)
        self._optimizer.zero_grad()
        # A sum over the rows keeps them apart: no weight belongs to two rows, and Adam scales each by itself.
        loss = -(advantage * self.log_probability(places)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.baseline += BASELINE_RATE * advantage[:, None] * state

    def _unroll(self, choose: Callable[[int, Tensor], NDArray[np.int64]]) -> tuple[NDArray[np.int64], Tensor]:
        """Go through the layers; `choose` turns each one's probabilities, (N, M), into choices, (N,).

        Returns:
            The choices, (N, L), and the logarithms of their joint probabilities, (N,).
        """
        rows = torch.arange(len(self.seeds))
        nothing = torch.zeros((len(rows), UNITS))
        lower, upper = (nothing, nothing), (nothing, nothing)
        x, total = _times(self.noise, self.weights["noise_in"]), torch.zeros(len(rows))
        places = np.zeros((len(rows), self.layers), dtype=np.int64)
        for layer in range(self.layers):
            lower = _lstm(x, lower, self.weights["lower"])
            upper = _lstm(lower[0], upper, self.weights["upper"])
            logits = torch.log_softmax(_times(upper[0], self.weights["out"]), dim=1)
            places[:, layer] = choose(layer, logits.exp())
            chosen = torch.from_numpy(places[:, layer])
            total = total + logits[rows, chosen]
            x = self.weights["choice_in"][rows, chosen]
        return places, total


def _times(x: Tensor, weights: Tensor) -> Tensor:
    """Each row's vector times its own matrix, (N, I) and (N, I, O) -> (N, O)."""
    return torch.bmm(x[:, None, :], weights)[:, 0]


def _lstm(x: Tensor, state: tuple[Tensor, Tensor], weights: Tensor) -> tuple[Tensor, Tensor]:
    """Output and memory of a layer, (N, UNITS) each, after one more input; the last row of the weights is the bias."""
    output, memory = state
    gates = _times(torch.cat((x, output, torch.ones_like(x[:, :1])), dim=1), weights)
    enter, keep, show, value = gates.chunk(4, dim=1)
    memory = torch.sigmoid(keep) * memory + torch.sigmoid(enter) * torch.tanh(value)
    return torch.sigmoid(show) * torch.tanh(memory), memory
