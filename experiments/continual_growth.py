"""When and how much networks grow in continual-learning experiments: schedules for `experiments.continual.Case`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agents.evaluation import action_table, play
from agents.learned import load_policy
from agents.rcl import Controller
from experiments.continual import ROOT, grow
from growenv.config import GrowthConfig
from growenv.learner import Learner

LEARNED = ROOT / "agents" / "default_policy"


class Fixed:
    """Every layer gets units when a task begins.

    Args:
        amounts: units of each layer, (L,).
        first: whether in the first task as well.
    """

    def __init__(self, amounts: list[int], first: bool = False) -> None:
        self.amounts, self.first = amounts, first

    def __call__(self, learner: Learner, task: int, decision: int) -> list[int]:
        """The amounts, or nothing."""
        due = decision == 0 and (task > 0 or self.first)
        return self.amounts if due else [0] * len(self.amounts)


class Gate:
    """Every layer gets units as long as the loss on the current task's validation samples is too large.

    Nothing is added when a task begins, because its head knows nothing yet.

    Args:
        amounts: units of each layer at a time, (L,).
        loss: mean cross-entropy above which they are added.

    Source: the rule by which DEN expands (Yoon et al. 2018, arXiv 1708.01547), on validation samples.
    """

    def __init__(self, amounts: list[int], loss: float) -> None:
        self.amounts, self.loss = amounts, loss

    def __call__(self, learner: Learner, task: int, decision: int) -> NDArray[np.int64]:
        """Amounts of every row, (N, L)."""
        if decision == 0:
            return np.zeros((learner.rows, len(self.amounts)), dtype=np.int64)
        asked: NDArray[np.int64] = (learner.validate()[1] > self.loss)[:, None] * np.array(self.amounts)
        return asked


class Search:
    """A controller searches the growth of each task but the first: the task is trained again and again, and undone.

    The reward is validation accuracy less a price of units. It costs `trials` times the training of a task besides.

    Args:
        trials: trials of a task.
        choices: units that a layer may get: 0 to one less.
        price: of one unit.

    Source: Xu and Zhu 2018 (RCL), arXiv 1805.12369: 50 trials, 30 choices, price 1e-4.
    """

    def __init__(self, trials: int, choices: int = 30, price: float = 1e-4) -> None:
        self.trials, self.choices, self.price = trials, choices, price

    def __call__(self, learner: Learner, task: int, decision: int) -> NDArray[np.int64]:
        """The best amounts that were tried, (N, L)."""
        layers = len(learner.config.hidden)
        best = np.zeros((learner.rows, layers), dtype=np.int64)
        if task == 0 or decision > 0:
            return best
        reward, before = np.full(learner.rows, -np.inf), learner.snapshot()
        controller = Controller(learner.data.seeds.astype(np.int64), task, layers, self.choices)
        for trial in range(self.trials):
            tried = controller.propose(trial)
            grow(learner, tried)
            for _ in range(learner.config.decisions):
                learner.train()
            earned = learner.validate()[0] - self.price * tried.sum(axis=1)
            learner.restore(before)
            controller.learn(tried, earned)
            better = earned > reward
            reward[better], best[better] = earned[better], tried[better]
        return best


class Learned:
    """What a learned policy asks for in the environment, on the same streams with the same networks.

    The policy plays whole episodes with its own observations when the first task begins; its requests are then repeated
    one by one. So it is measured as everything else is.

    Args:
        budget: share of the largest network that may be used.
        price: reward lost for each unit of share, as the policy is told.
        policy: folder of the policy, from the top of the repository; the shipped one if empty.
        amounts: units that its actions add; those that it was trained with if empty.
        meter: hardware on which it plays; that on which it was trained if empty.
    """

    def __init__(
        self, budget: float, price: float, policy: str = "", amounts: Sequence[int] = (), meter: str = ""
    ) -> None:
        self.budget, self.price, self.policy = budget, price, policy
        self.amounts, self.meter = tuple(amounts), meter
        self._plan: NDArray[np.int64] = np.zeros((0, 0, 0, 0), dtype=np.int64)

    def __call__(self, learner: Learner, task: int, decision: int) -> NDArray[np.int64]:
        """Its request of every row, (N, L)."""
        if not len(self._plan):
            self._plan = self._requests(learner)
        asked: NDArray[np.int64] = self._plan[task, decision]
        return asked

    def _requests(self, learner: Learner) -> NDArray[np.int64]:
        """Units that it asks for, (T, D, N, L)."""
        policy = load_policy(ROOT / self.policy if self.policy else LEARNED)
        own, mine = learner.config, GrowthConfig.from_json(policy.manifest["config"])
        amounts, meter = self.amounts or mine.amounts, self.meter or mine.meter
        config = replace(own, amounts=amounts, meter=meter, signals=mine.signals, tasks=learner.tasks, test_samples=32)
        contexts = [
            replace(context, budget=self.budget, price=self.price)
            for context in learner.data.contexts
            if context is not None
        ]
        records = play(policy.bind, config, contexts, rows=learner.rows)
        layer, amount = action_table(config).request(np.array([record.actions for record in records]))
        plan = np.where(layer[..., None] == np.arange(len(own.hidden)), amount[..., None], 0)
        return np.moveaxis(plan.reshape(learner.rows, learner.tasks, own.decisions, -1), 0, 2)
