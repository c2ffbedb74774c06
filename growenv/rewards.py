"""The reward of a decision, as named terms whose sums over an episode are the episode's objective.

Every term is a difference of a quantity after and before the decision, so that the sum over an episode telescopes:

    sum of totals = (A_end - A_start) - price * (U_end - U_start) - penalty if the row diverged

with A the validation accuracy and U the share of capacity in use. A diverged network answers nothing: its A_end is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class RewardTerms:
    """The named terms of one decision's reward.

    Attributes:
        accuracy: gain in validation accuracy, float64 [N].
        cost: minus the price of what was added, float64 [N].
        penalty: minus the penalty of a row that diverged, else 0, float64 [N].
    """

    accuracy: NDArray[np.float64]
    cost: NDArray[np.float64]
    penalty: NDArray[np.float64]

    @property
    def total(self) -> NDArray[np.float64]:
        """The reward, float64 [N]."""
        return self.accuracy + self.cost + self.penalty


def decision_reward(
    accuracy_before: ArrayLike,
    accuracy_after: ArrayLike,
    used_before: ArrayLike,
    used_after: ArrayLike,
    price: ArrayLike,
    diverged: ArrayLike,
    divergence_penalty: ArrayLike,
) -> RewardTerms:
    """Reward terms of one decision. All arguments broadcast to shape (N,).

    Args:
        accuracy_before: validation accuracy before the decision.
        accuracy_after: validation accuracy after it; not read where the row diverged.
        used_before: share of capacity in use before the decision.
        used_after: share in use after it.
        price: objective lost per unit of share.
        diverged: whether the row diverged in this decision, which ends its episode.
        divergence_penalty: what diverging costs, not negative.
    """
    lost = np.asarray(diverged, dtype=bool)
    before, used_start = np.asarray(accuracy_before, dtype=np.float64), np.asarray(used_before, dtype=np.float64)
    accuracy, cost, penalty = np.broadcast_arrays(
        np.where(lost, 0.0, accuracy_after) - before,
        -np.asarray(price, dtype=np.float64) * (np.asarray(used_after, dtype=np.float64) - used_start),
        np.where(lost, -np.asarray(divergence_penalty, dtype=np.float64), 0.0),
    )
    return RewardTerms(accuracy.copy(), cost.copy(), penalty.copy())


def objective(
    accuracy: ArrayLike,
    used: ArrayLike,
    price: ArrayLike,
    diverged: ArrayLike,
    divergence_penalty: ArrayLike,
    *,
    accuracy_start: ArrayLike = 0.0,
    used_start: ArrayLike = 0.0,
) -> NDArray[np.float64]:
    """What the rewards of an episode sum to, in closed form. All arguments broadcast to shape (N,).

    Args:
        accuracy: validation accuracy at the end; not read where the row diverged.
        used: share of capacity in use at the end.
        price: objective lost per unit of share.
        diverged: whether the row diverged.
        divergence_penalty: what diverging costs.
        accuracy_start: the `accuracy_before` of the first decision.
        used_start: the `used_before` of the first decision.

    Returns:
        Accuracy gained minus priced cost minus the penalty, float64 [N].
    """
    return decision_reward(accuracy_start, accuracy, used_start, used, price, diverged, divergence_penalty).total
