"""Greedy look-ahead: try every action for a while, take the best one, and pay for the tries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.evaluation import ROWS, EpisodeRecord, MakeEnv, Progress, make_vector_env
from agents.rehearsal import Stack, decide
from growenv.actions import WAIT
from growenv.config import GrowthConfig
from growenv.streams.tasks import Context

TASK = "task"


def look_ahead(
    config: GrowthConfig,
    contexts: Sequence[Context],
    *,
    horizon: int | str = TASK,
    rows: int = ROWS,
    progress: Progress | None = None,
    make_env: MakeEnv = make_vector_env,
) -> tuple[list[EpisodeRecord], float]:
    """Play each context by greedy look-ahead.

    At each decision every legal action is tried on the network itself, followed by waiting until the horizon; the one
    with the largest sum of rewards is taken, the first of equals. It reads rewards that only training brings, which a
    real system could have by trying and undoing; so its price is the training in all tries. It is no upper bound: it
    looks no further than its horizon, and never at two growths together.

    Args:
        config: the environment.
        contexts: what to play; all streams have the same length.
        horizon: decisions for which an action is tried, itself included; ``"task"``: until the present task ends.
        rows: most rows of the stack.
        progress: called with the episodes that have been decided and those in all.
        make_env: as in `agents.evaluation.play`; its environments need snapshots.

    Returns:
        The records, in the order of the contexts, and the mean number of environment steps that an episode's tries
        took. A decision at which nothing but waiting is legal costs none.

    Raises:
        ValueError: a horizon that is neither ``"task"`` nor at least 1, or streams of different lengths.
    """
    number = isinstance(horizon, int) and not isinstance(horizon, bool) and horizon >= 1
    if horizon != TASK and not number:
        raise ValueError(f'horizon is "task" or a number of decisions of at least 1, got {horizon!r}')

    def search(stack: Stack) -> None:
        """Decide every decision by trying."""
        whole = stack.tasks * stack.decisions
        for decision in range(whole):
            left = stack.decisions - decision % stack.decisions
            _take_best(stack, left if isinstance(horizon, str) else min(horizon, whole - decision))

    return decide(search, "look-ahead", config, contexts, rows, progress, make_env)


def _take_best(stack: Stack, ahead: int) -> None:
    """Try every action that is legal in some row, then take each row's best one."""
    masks = stack.masks() & ~stack.done[:, None]
    masks[:, WAIT] = masks[:, 1:].any(axis=1)  # nothing is tried where there is no choice
    best = np.full(len(masks), -np.inf)
    chosen = np.full((len(masks), 1), WAIT, dtype=np.int64)
    for action in np.flatnonzero(masks.any(axis=0)):
        plan = np.full((len(masks), 1), action, dtype=np.int64)
        value = stack.rehearse(stack.player(plan), ahead, masks[:, action])
        better = masks[:, action] & (value > best)
        best[better], chosen[better] = value[better], action
    stack.play(stack.player(chosen), 1)
