"""Search at the start of every task: a controller proposes expansions, the best of K trials is kept (RCL)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agents.evaluation import ROWS, EpisodeRecord, MakeEnv, Progress, make_vector_env
from agents.families import levels
from agents.rehearsal import Floats, Plan, Stack, decide
from agents.schedules import interleave, split_amount
from growenv.actions import WAIT, ActionTable
from growenv.config import GrowthConfig
from growenv.randomness import Purpose, uniform
from growenv.streams.tasks import Context

TRIALS = 16
RATE = 0.3  # of the controller, per unit of advantage
MEMORY = 0.8  # share of the baseline that stays from trial to trial


def per_task_search(
    config: GrowthConfig,
    contexts: Sequence[Context],
    *,
    trials: int = TRIALS,
    rows: int = ROWS,
    progress: Progress | None = None,
    make_env: MakeEnv = make_vector_env,
) -> tuple[list[EpisodeRecord], float]:
    """Play each context as RCL does: search every task's expansion by playing the task again and again.

    At the start of each task a `Controller` proposes an expansion: neurons for every layer, added as early in the task
    as one growth a decision allows. The task is played with it on the network itself, and undone. After K trials, from
    whose rewards the controller learns, the expansion with the largest sum of rewards in the task is really played.
    A whole task is replayed for every trial, so an episode costs K times its own training besides.

    Args:
        config: the environment.
        contexts: what to play; all streams have the same length.
        trials: trials K of each task.
        rows: most rows of the stack.
        progress: called with the episodes that have been decided and those in all.
        make_env: as in `agents.evaluation.play`; its environments need snapshots.

    Returns:
        The records, in the order of the contexts, and the mean number of environment steps that an episode's trials
        took: K times its decisions, less where training diverged.

    Raises:
        ValueError: fewer than one trial, or streams of different lengths.

    Source: Xu and Zhu 2018 (RCL), arXiv 1805.12369. Theirs trains an LSTM controller by policy gradient, and its reward
    is accuracy less a price of the neurons added; here the reward is the environment's own.
    """
    if trials < 1:
        raise ValueError(f"each task needs at least one trial, got {trials}")
    choices = np.array(levels(config))

    def search(stack: Stack) -> None:
        """Try expansions of every task, then play the best."""
        seeds = np.array([context.inner_seed for context in stack.contexts], dtype=np.int64)
        controller = Controller(seeds, len(config.hidden), len(choices))
        for task in range(stack.tasks):
            best, kept = np.full(len(seeds), -np.inf), np.zeros((len(seeds), stack.decisions), dtype=np.int64)
            for trial in range(trials):
                places = controller.propose(task, trial)
                plan = expansions(choices[places], config)
                value = stack.rehearse(stack.player(plan, regions=False), stack.decisions, ~stack.done)
                controller.learn(places, value)
                better = value > best
                best[better], kept[better] = value[better], plan[better]
            stack.play(stack.player(kept, regions=False), stack.decisions)

    return decide(search, "per-task-search", config, contexts, rows, progress, make_env)


def expansions(totals: NDArray[np.int64], config: GrowthConfig) -> Plan:
    """Growth actions of a task that add these neurons as early as they can; what finds no time is left out.

    Args:
        totals: neurons for each layer, shape (N, L).
        config: the environment.

    Returns:
        Actions that name no regions, shape (N, decisions).
    """
    table = ActionTable(len(config.hidden), config.amounts)
    plan = np.full((len(totals), config.decisions), WAIT, dtype=np.int64)
    for row, wanted in enumerate(totals.tolist()):
        requests = interleave([split_amount(total, config.amounts) for total in wanted])[: config.decisions]
        plan[row, : len(requests)] = [table.index(layer, amount) for layer, amount in requests]
    return plan


class Controller:
    """Proposes a level for each layer of each row: independent softmaxes, trained by REINFORCE with a moving baseline.

    RCL's controller is an LSTM, because its actions are a sequence over the layers. With a handful of layers and trials
    there is nothing for a recurrence to learn from, so each layer has logits of its own here. They are kept from task
    to task. Advantages are divided by their moving size, because rewards shrink as a stream goes on.

    Args:
        seeds: inner seed of each row's context, (N,); a row's proposals depend on nothing else but its rewards.
        layers: layers L.
        choices: levels M. At first the place in the list is a squared uniform number, so small levels are likelier.

    Source: Williams 1992 (REINFORCE); its use as a controller: Xu and Zhu 2018, arXiv 1805.12369.
    """

    def __init__(self, seeds: NDArray[np.int64], layers: int, choices: int) -> None:
        self.seeds, self.layers = seeds, layers
        first = np.diff(np.sqrt(np.arange(choices + 1) / choices))
        self.logits = np.tile(np.log(first), (len(seeds), layers, 1))
        self.baseline = np.zeros(len(seeds))
        self.size = np.zeros(len(seeds))
        self._begun = False

    def probabilities(self) -> Floats:
        """Of each level, (N, L, M)."""
        weights = np.exp(self.logits - self.logits.max(axis=2, keepdims=True))
        shares: Floats = weights / weights.sum(axis=2, keepdims=True)
        return shares

    def propose(self, task: int, trial: int) -> NDArray[np.int64]:
        """Places of the levels that are tried, (N, L)."""
        draw = uniform(self.seeds[:, None], Purpose.POLICY, task, trial, np.arange(self.layers))
        ladder = self.probabilities().cumsum(axis=2)[..., :-1]  # the last step is 1, whatever the rounding
        places: NDArray[np.int64] = (ladder <= draw[..., None]).sum(axis=2)
        return places

    def learn(self, places: NDArray[np.int64], rewards: Floats) -> None:
        """Make what was better than the baseline likelier, in each row by itself.

        Args:
            places: what was proposed, (N, L).
            rewards: what it brought, (N,).
        """
        if not self._begun:
            self.baseline, self._begun = rewards.copy(), True
        advantage = rewards - self.baseline
        self.size = np.maximum(MEMORY * self.size + (1 - MEMORY) * np.abs(advantage), 1e-12)
        step = RATE * np.clip(advantage / self.size, -1.0, 1.0)
        taken = places[..., None] == np.arange(self.logits.shape[2])
        self.logits += step[:, None, None] * (taken - self.probabilities())
        self.baseline = MEMORY * self.baseline + (1 - MEMORY) * rewards
