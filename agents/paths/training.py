"""What `train_agent.py` needs for growth paths: evaluation on all trials, and a comparison with fixed orders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.policies import BasePolicy

from agents.learned import LearnedPolicy
from agents.paths.judging import SPLITS, Judge
from agents.training.validation import Evaluation
from growenv.paths.objective import Objective
from growenv.paths.table import PathTable


def judge_of(env_id: str, options: Mapping[str, Any]) -> Judge:
    """The judge for a registered environment of growth paths and the options it is made with.

    Raises:
        ValueError: it draws other trials than those of ``train``, so that nothing would be held out.
    """
    given = {**gym.registry[env_id].kwargs, **options}
    if given.get("split", "train") != "train":
        raise ValueError(f"split={given['split']!r}: agents learn from 'train' and are judged on 'test' too; leave it")
    table = given.get("table", "digits")
    words = {"kind": "objective", "price": "price", "metric": "metric"}
    objective = Objective(**{field: given[word] for field, word in words.items() if word in given})
    return Judge(table if isinstance(table, PathTable) else PathTable.load(table), objective)


class PathTrials:
    """Plays every trial that agents learn from; an evaluator, see `agents.training.validation`.

    Args:
        judge: knows the table.
    """

    played = "trials learned from"

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def __call__(self, module: BasePolicy, manifest: Mapping[str, Any]) -> Evaluation:
        """Returns of the policy's best actions, and their regret."""
        returns = self.judge.returns(lambda rows: LearnedPolicy(module, manifest), "train")
        lengths = np.full(len(returns), self.judge.table.lattice.horizon)
        return Evaluation(returns, lengths, {"regret": self.judge.best["train"] - float(returns.mean())})


def against_orders(policy: LearnedPolicy, judge: Judge) -> str:
    """A text of the regret of a policy, of fixed orders and of the average over all paths, in points; best first."""
    references = judge.references()
    rows = {policy.name: judge.regret(lambda rows: policy), **references["orders"]}
    rows["average over all paths"] = references["random"]
    ordered = sorted(rows.items(), key=lambda row: row[1]["train"])
    width = max(map(len, rows)) + 2
    cells = [(name, *(f"{100 * regret[split]:.2f}" for split in SPLITS)) for name, regret in ordered]
    head = ("regret in points", "trials learned from", "held-out trials")
    return "\n".join(name.ljust(width) + train.rjust(21) + test.rjust(17) for name, train, test in [head, *cells])
