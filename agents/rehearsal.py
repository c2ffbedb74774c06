"""Stacks of episodes whose next decisions can be tried out and undone, for policies that search while they play.

A rehearsal trains the real networks, from a snapshot that is restored afterwards. A real system could do that too, at
the price of the training steps, which are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.evaluation import FEWEST_ROWS, EpisodeRecord, MakeEnv, Progress, play
from agents.parallel import process_count, spread
from agents.policy import CheapestRegion, Interface, Mask, Policy
from agents.replay import Replay, replay
from growenv.actions import ActionTable
from growenv.config import GrowthConfig
from growenv.streams.tasks import Context

Floats = NDArray[np.float64]
Plan = NDArray[np.int64]


class Stack:
    """Episodes of equal length that are played in lock-step, one a row.

    Args:
        env: a vector environment with snapshots, whose ended rows idle.
        contexts: one for each row.
        decisions: decisions in each task.

    Attributes:
        contexts: one for each row.
        done: rows whose episode has ended, (N,).
        rehearsed: environment steps of each row that were undone, (N,).
        taken: what was really carried out, one array (N,) for each decision.
    """

    def __init__(self, env: Any, contexts: Sequence[Context], decisions: int) -> None:
        self.env, self.contexts = env, tuple(contexts)
        self.decisions, self.tasks = decisions, len(contexts[0].tasks)
        self.table: ActionTable = env.actions
        self.interface = replace(Interface.of(env), tasks=self.tasks)
        self.done = np.zeros(len(contexts), dtype=np.bool_)
        self.rehearsed = np.zeros(len(contexts), dtype=np.int64)
        self.taken: list[NDArray[np.int64]] = []
        self.observations, _ = env.reset(options={"contexts": list(contexts)})
        self._kept: tuple[Any, ...] | None = None

    def masks(self) -> Mask:
        """Legal actions, (N, A)."""
        return np.asarray(self.env.action_masks(), dtype=np.bool_)

    def player(self, plan: Plan, regions: bool = True) -> Policy:
        """A policy that plays these actions from now on and waits where they are illegal.

        Args:
            plan: actions of each row, shape (N, decisions).
            regions: whether the actions name regions, where the environment's do; if not, growth happens in the
                cheapest one.
        """

        def build(interface: Interface) -> Policy:
            return Replay(interface, plan)

        return build(self.interface) if regions or not self.table.regions else CheapestRegion(build, self.interface)

    def play(self, player: Policy, decisions: int) -> Floats:
        """Really play so many decisions; the sum of their rewards, (N,)."""
        self._kept = None
        rewards, taken, _ = self._run(player, decisions)
        self.taken += taken
        return rewards

    def rehearse(self, player: Policy, decisions: int, rows: Mask) -> Floats:
        """The sum of the rewards that so many decisions would bring, (N,); the stack stays where it is.

        Args:
            player: what to try.
            decisions: for how long.
            rows: rows that want to know, (N,); the steps of the others are not counted.
        """
        if self._kept is None:
            self._kept = (self.env.snapshot(), self.observations, self.done)
        rewards, _, steps = self._run(player, decisions)
        self.rehearsed += np.where(rows, steps, 0)
        snapshot, self.observations, self.done = self._kept
        self.env.restore(snapshot)
        return rewards

    def _run(self, player: Policy, decisions: int) -> tuple[Floats, list[NDArray[np.int64]], NDArray[np.int64]]:
        """Rewards, actions and steps of all rows; those that have ended idle."""
        rewards, steps, taken = np.zeros(len(self.done)), np.zeros(len(self.done), dtype=np.int64), []
        player.reset(np.ones(len(self.done), dtype=np.bool_))
        for _ in range(decisions):
            if self.done.all():
                break
            actions = np.where(self.done, 0, player.act(self.observations, self.masks()))
            going = ~self.done
            self.observations, gained, terminated, truncated, _ = self.env.step(actions)
            rewards += np.where(going, gained, 0.0)
            steps += going
            taken.append(actions)
            self.done = self.done | terminated | truncated
        return rewards, taken, steps


def decide(
    search: Callable[[Stack], None],
    name: str,
    config: GrowthConfig,
    contexts: Sequence[Context],
    rows: int,
    progress: Progress | None,
    make_env: MakeEnv,
) -> tuple[list[EpisodeRecord], float]:
    """Search while playing in every context, then play what was done once more, for all figures.

    Args:
        search: plays a stack to its end.
        name: name of the policy in the records.
        config: the environment.
        contexts: what to play; all streams have the same length.
        rows: most rows of a stack.
        progress: called with the episodes that have been decided and those in all.
        make_env: as in `agents.evaluation.play`; its environments need snapshots.

    Returns:
        The records, in the order of the contexts, and the mean number of environment steps that an episode's search
        took besides the episode's own.

    Raises:
        ValueError: streams of different lengths, or fewer than one row.
    """
    lengths = sorted({len(context.tasks) for context in contexts})
    if len(lengths) > 1 or rows < 1:
        raise ValueError(f"{name} needs streams of one length and at least one row, got lengths {lengths}, rows {rows}")
    if not contexts:
        return [], 0.0
    beyond = any(context.split == "ood" for context in contexts)
    # Neither signals nor the accuracy matrix change training, so the search does not pay for them.
    plain = replace(config, signals=(), accuracy_matrix=False, split="ood" if beyond else config.split)
    batches = max(-(-len(contexts) // rows), min(process_count(), -(-len(contexts) // FEWEST_ROWS)))
    size = -(-len(contexts) // batches)
    cut = [contexts[begun : begun + size] for begun in range(0, len(contexts), size)]

    def work(batch: Sequence[Context]) -> tuple[list[list[int]], int]:
        return _decide_batch(search, plain, batch, size, make_env)

    sequences: list[list[list[int]]] = [[] for _ in cut]
    steps, done = 0, 0
    for number, (actions, rehearsed) in spread(work, cut):
        sequences[number] = actions
        steps, done = steps + rehearsed, done + len(actions)
        if progress is not None:
            progress(done, len(contexts))
    flat = [actions for batch in sequences for actions in batch]
    records = play(replay(flat), config, contexts, rows, make_env=make_env)
    return [replace(record, policy=name) for record in records], steps / len(contexts)


def _decide_batch(
    search: Callable[[Stack], None], config: GrowthConfig, batch: Sequence[Context], rows: int, make_env: MakeEnv
) -> tuple[list[list[int]], int]:
    """What was done in each context of a batch, and the steps that were rehearsed for it."""
    env = make_env(config, rows)
    try:
        stack = Stack(env, [*batch, *[batch[-1]] * (rows - len(batch))], config.decisions)
        search(stack)
    finally:
        env.close()
    actions = np.stack(stack.taken, axis=1)[: len(batch)].tolist()
    return actions, int(stack.rehearsed[: len(batch)].sum())
