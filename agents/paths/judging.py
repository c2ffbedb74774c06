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


@dataclass
class Judge:
    """Plays policies on all trials of both halves of a table.

    Agents never see a judge: it knows the table.

    Args:
        table: the table.
        objective: what a return is.

    Attributes:
        best: mean return over the trials of each half that the best single path reaches.
    """

    table: PathTable
    objective: Objective = field(default_factory=Objective)
    best: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self.best = {split: planning.optimal_return(self.table, self.objective, split) for split in SPLITS}
        self._envs = {split: self.environment(len(self.table.trials_of(split)), split, "DISABLED") for split in SPLITS}

    def environment(self, rows: int, split: str = "train", autoreset_mode: str = "SAME_STEP") -> PathsVectorEnv:
        """An environment of this table and objective."""
        return PathsVectorEnv(
            rows,
            table=self.table,
            split=split,
            objective=self.objective.kind,
            price=self.objective.price,
            metric=self.objective.metric,
            autoreset_mode=autoreset_mode,
        )

    def returns(self, policy: Callable[[int], Policy], split: str) -> NDArray[np.float64]:
        """The return of a policy in every trial of a half, (trials,).

        Args:
            policy: makes the policy for a number of rows.
            split: ``"train"`` or ``"test"``.
        """
        env, trials = self._envs[split], self.table.trials_of(split)
        player, total = policy(len(trials)), np.zeros(len(trials))
        observations, _ = env.reset(seed=0, options={"trials": trials.tolist()})
        player.reset(np.ones(len(trials), dtype=np.bool_))
        for _ in range(self.table.lattice.horizon):
            observations, rewards, *_ = env.step(player.act(observations, env.action_masks()))
            total += rewards
        return total

    def regret(self, policy: Callable[[int], Policy]) -> dict[str, float]:
        """The return of the best single path minus the policy's mean return, for each half.

        A policy that reacts to what it observes may have a negative regret: the best path is the best of those that do
        not react.
        """
        return {split: self.best[split] - float(self.returns(policy, split).mean()) for split in SPLITS}

    def references(self) -> dict[str, Any]:
        """What to compare agents with, as plain types.

        Returns:
            ``optimum`` of each half; ``clairvoyant``, the regret (negative) of whoever knew the trial; ``chosen on
            train``, the regret of the path that is best on the trials of ``train``; ``random``, the mean regret of all
            paths; ``orders``, the regret of every fixed order; ``between paths``, the standard deviation of the paths'
            mean returns, and ``between trials``, that of one path's returns. By half each.
        """
        every = {split: planning.returns(self.table, self.objective, split) for split in SPLITS}
        known = {split: planning.optimal_return(self.table, self.objective, split, knowing="trial") for split in SPLITS}
        return {
            "paths": self.table.lattice.paths,
            "optimum": dict(self.best),
            "clairvoyant": {split: self.best[split] - known[split] for split in SPLITS},
            "chosen on train": self._regret_of(planning.optimal_actions(self.table, self.objective, "train")),
            "random": {split: self.best[split] - float(every[split].mean()) for split in SPLITS},
            "orders": {name: self._regret_of(path) for name, path in fixed_orders(self.table.lattice).items()},
            "between paths": {split: float(every[split].mean(axis=0).std()) for split in SPLITS},
            "between trials": {split: float(every[split].std(axis=0).mean()) for split in SPLITS},
        }

    def _regret_of(self, actions: NDArray[np.int64]) -> dict[str, float]:
        return {split: float(planning.regret(self.table, actions, self.objective, trials=split)) for split in SPLITS}
