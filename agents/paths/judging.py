"""How far from the optimum a policy is: it plays every trial once, and the optimum is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.paths.orders import fixed_orders
from agents.policy import Policy
from growenv.paths import planning
from growenv.paths.objective import Objective
from growenv.paths.table import PathTable
from growenv.paths.vector_env import PathsVectorEnv

SPLITS = ("train", "test")
"""Trials that agents learn from, and trials that they never meet."""
ELSEWHERE = "elsewhere"
"""All trials of another table, which agents never meet either."""


@dataclass
class Judge:
    """Plays policies on all trials of both halves of a table, and of another table with the same lattice.

    Agents never see a judge: it knows the tables.

    Args:
        table: the table.
        objective: what a return is.
        elsewhere: another table; None for no other.

    Attributes:
        best: mean return that the best single path reaches, by split: ``train``, ``test`` and, where there is another
            table, ``elsewhere``.

    Raises:
        ValueError: the other table has other paths.
    """

    table: PathTable
    objective: Objective = field(default_factory=Objective)
    elsewhere: PathTable | None = None
    best: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self._places = {split: (self.table, split) for split in SPLITS}
        if self.elsewhere is not None:
            here, there = self.table.problem, self.elsewhere.problem
            if (here.steps, here.waits) != (there.steps, there.waits):
                raise ValueError(
                    f"the other table has steps={there.steps}, waits={there.waits}: expected the same paths as here, "
                    f"steps={here.steps}, waits={here.waits}"
                )
            self._places[ELSEWHERE] = (self.elsewhere, "all")
        self.best = {name: planning.optimal_return(*self._asked(name)) for name in self.splits}
        self._envs = {name: self.environment(self.trials(name), name, "DISABLED") for name in self.splits}

    @property
    def splits(self) -> tuple[str, ...]:
        """Where policies are judged."""
        return tuple(self._places)

    def trials(self, split: str) -> int:
        """Number of trials of a split."""
        table, trials = self._places[split]
        return len(table.trials_of(trials))

    def _asked(self, split: str) -> tuple[PathTable, Objective, str]:
        table, trials = self._places[split]
        return table, self.objective, trials

    def environment(self, rows: int, split: str = "train", autoreset_mode: str = "SAME_STEP") -> PathsVectorEnv:
        """An environment of this objective on the trials of a split."""
        table, trials = self._places[split]
        return PathsVectorEnv(
            rows,
            table=table,
            split=trials,
            objective=self.objective.kind,
            price=self.objective.price,
            metric=self.objective.metric,
            autoreset_mode=autoreset_mode,
        )

    def returns(self, policy: Callable[[int], Policy], split: str) -> NDArray[np.float64]:
        """The return of a policy in every trial of a split, (trials,).

        Args:
            policy: makes the policy for a number of rows.
            split: one of `splits`.
        """
        table, name = self._places[split]
        env, trials = self._envs[split], table.trials_of(name)
        player, total = policy(len(trials)), np.zeros(len(trials))
        observations, _ = env.reset(seed=0, options={"trials": trials.tolist()})
        player.reset(np.ones(len(trials), dtype=np.bool_))
        for _ in range(self.table.lattice.horizon):
            observations, rewards, *_ = env.step(player.act(observations, env.action_masks()))
            total += rewards
        return total

    def regret(self, policy: Callable[[int], Policy]) -> dict[str, float]:
        """The return of the best single path minus the policy's mean return, for each split.

        A policy that reacts to what it observes may have a negative regret: the best path is the best of those that do
        not react.
        """
        return {split: self.best[split] - float(self.returns(policy, split).mean()) for split in self.splits}

    def references(self) -> dict[str, Any]:
        """What to compare agents with, as plain types.

        Returns:
            ``optimum`` of each split; ``clairvoyant``, the regret (negative) of whoever knew the trial; ``chosen on
            train``, the regret of the path that is best on the trials of ``train``; ``random``, the mean regret of all
            paths; ``orders``, the regret of every fixed order; ``between paths``, the standard deviation of the paths'
            mean returns, and ``between trials``, that of one path's returns. By split each.
        """
        every = {split: planning.returns(*self._asked(split)) for split in self.splits}
        known = {split: planning.optimal_return(*self._asked(split), knowing="trial") for split in self.splits}
        return {
            "paths": self.table.lattice.paths,
            "optimum": dict(self.best),
            "clairvoyant": {split: self.best[split] - known[split] for split in self.splits},
            "chosen on train": self._regret_of(planning.optimal_actions(self.table, self.objective, "train")),
            "random": {split: self.best[split] - float(every[split].mean()) for split in self.splits},
            "orders": {name: self._regret_of(path) for name, path in fixed_orders(self.table.lattice).items()},
            "between paths": {split: float(every[split].mean(axis=0).std()) for split in self.splits},
            "between trials": {split: float(every[split].std(axis=0).mean()) for split in self.splits},
        }

    def _regret_of(self, actions: NDArray[np.int64]) -> dict[str, float]:
        asked = {split: self._asked(split) for split in self.splits}
        return {
            split: float(planning.regret(table, actions, objective, trials=trials))
            for split, (table, objective, trials) in asked.items()
        }
