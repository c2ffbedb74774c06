"""Open-loop replay: written action sequences, one for each episode."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.policy import Actions, Interface, Mask, Observations, PolicyFactory, legal_or_wait
from agents.schedules import Clock
from growenv.actions import WAIT


class Replay(Clock):
    """Plays a written action at each decision of each episode; it looks at the clock and at the mask only.

    What is illegal when its time comes becomes a wait, and so do decisions after the end of a sequence. Rows beyond the
    last sequence wait: they pad a stack and are thrown away.

    Args:
        interface: the environment's interface.
        plan: action of each decision of each episode, shape (episodes, decisions), padded with waits. Row r plays that
            of episode ``interface.first_episode + r``.

    Raises:
        ValueError: an action that the environment does not have, or no sequence for the first row.
    """

    name = "replay"

    def __init__(self, interface: Interface, plan: NDArray[np.int64]) -> None:
        super().__init__(interface)
        size = interface.actions.size
        if plan.size and not 0 <= plan.min() <= plan.max() < size:
            raise ValueError(f"actions are numbers from 0 to {size - 1} here, got {plan.min()} to {plan.max()}")
        if interface.first_episode >= len(plan):
            raise ValueError(
                f"there are {len(plan)} sequences, but episode {interface.first_episode} is to be played (from 0 on); "
                "give one sequence for each context"
            )
        self.plan = plan

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """The written actions of the present decision."""
        episode, decision = self.episode, self.decision
        self.tick()
        written = (episode < len(self.plan)) & (decision < self.plan.shape[1])
        last = (len(self.plan) - 1, max(0, self.plan.shape[1] - 1))
        wanted = np.full(len(masks), WAIT, dtype=np.int64)
        if written.any():
            wanted = np.where(written, self.plan[np.minimum(episode, last[0]), np.minimum(decision, last[1])], WAIT)
        return legal_or_wait(wanted, masks)


def replay(sequences: Sequence[Sequence[int]] | NDArray[np.integer[Any]]) -> PolicyFactory:
    """A policy whose n-th episode plays the n-th sequence.

    `EpisodeRecord.actions` of a player, in the order of its contexts, replays that player.

    Args:
        sequences: action indices of each episode, as long as one likes; a shorter one ends with waits.

    Returns:
        A factory; see `Replay` for what is illegal, and for rows without a sequence.

    Raises:
        ValueError: a sequence holds something else than whole numbers.
    """
    rows = [np.asarray(sequence) for sequence in sequences]
    for number, row in enumerate(rows):
        if row.ndim != 1 or (row.size and not np.issubdtype(row.dtype, np.integer)):
            raise ValueError(f"sequence {number} should be a list of action indices, got {sequences[number]!r}")
    plan = np.full((len(rows), max(map(len, rows), default=0)), WAIT, dtype=np.int64)
    for number, row in enumerate(rows):
        plan[number, : len(row)] = row
    return partial(Replay, plan=plan)
