"""What is shown of the rows beside observations: infos and frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from growenv.admission import Admission
from growenv.config import GrowthConfig
from growenv.episodes import Episodes
from growenv.learner import Learner
from growenv.rendering import Frame
from growenv.rewards import RewardTerms, objective

Info = dict[str, Any]


def infos(
    config: GrowthConfig,
    episodes: Episodes,
    learner: Learner,
    admission: Admission,
    refused: NDArray[np.int8],
    terms: RewardTerms | None = None,
) -> Info:
    """Infos of all rows: the same keys, shapes and types at every step, each with its ``_key`` mask.

    Keys that tell what the scenario hides are not there.

    Args:
        config: the environment's options.
        episodes: the course of the episodes.
        learner: the networks.
        admission: what fits.
        refused: why each row's last request was refused, (N,), 0 where it was not.
        terms: terms of the last reward; None at a reset.
    """
    rows = np.arange(episodes.rows)
    nothing = np.zeros(episodes.rows)
    terms = terms or RewardTerms(nothing, nothing, nothing)
    reached = objective(
        episodes.mean_accuracy,
        episodes.used,
        episodes.price,
        episodes.diverged,
        config.divergence_penalty,
        used_start=episodes.used_at_start,
    )
    logs = [episodes.growth_log(row) if episodes.ended[row] else "[]" for row in range(episodes.rows)]
    values: Info = {
        "action_mask": admission.masks.astype(np.int8),
        "context_id": np.array([context.id for context in episodes.contexts], dtype=object),
        "context_index": np.array([context.index for context in episodes.contexts], dtype=np.int64),
        "task": learner.task.copy(),
        "decision": episodes.decisions.copy(),
        "invalid_action": refused > 0,
        "refusal": np.array([admission.reasons[code] for code in refused], dtype=object),
        "reward_accuracy": terms.accuracy.copy(),
        "reward_cost": terms.cost.copy(),
        "reward_penalty": terms.penalty.copy(),
        "validation_accuracy": episodes.mean_accuracy,
        "task_accuracy": episodes.accuracies[rows, learner.task],
        "used": episodes.used.copy(),
        "protection_bytes": admission.architecture(episodes).kept_bytes(),
        "budget": episodes.budget,
        "price": episodes.price,
        "widths": learner.units.sum(axis=1),
        "diverged": episodes.diverged.copy(),
        **episodes.final_figures(),
        "objective": np.where(episodes.ended, reached, 0.0),
        "growth_log": np.array(logs, dtype=object),
        **{name: values.copy() for name, values in admission.figures.items()},
    }
    if not learner.scenario.boundaries:
        del values["task_accuracy"]
    if not (learner.scenario.boundaries and learner.scenario.identity):
        del values["task"]
    return {**values, **{f"_{name}": np.ones(episodes.rows, dtype=np.bool_) for name in values}}


def frame(
    config: GrowthConfig, episodes: Episodes, learner: Learner, admission: Admission, refusal: str, row: int
) -> Frame:
    """What a picture of one row shows; `refusal` says why its last request was refused, if it was."""
    placed = admission.placed
    context, task = episodes.contexts[row], int(learner.task[row])
    length = len(context.tasks)
    history = {
        f"task {number}": [accuracy if number == when else float("nan") for when, accuracy in episodes.history[row]]
        for number in range(task + 1)
    }
    return Frame(
        context_id=context.id,
        task=task,
        tasks=length,
        decision=int(episodes.decisions[row]),
        decisions=length * config.decisions,
        classes=tuple(each.classes for each in context.tasks),
        widths=learner.units[row].sum(axis=0),
        max_hidden=config.max_hidden,
        generations=learner.units[row, :length],
        accuracies=np.where(episodes.trained[row, :length], episodes.accuracies[row, :length], np.nan),
        used=float(episodes.used[row]),
        budget=context.budget,
        price=context.price,
        refused=refusal,
        growth=[(when, layer, amount) for when, _, layer, amount in episodes.growth[row]],
        history=history,
        floorplan=placed.floorplan(admission.architecture(episodes), row) if placed else None,
    )
