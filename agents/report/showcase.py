"""Recorded episodes played again with everything on show: accuracy matrices, and one context decision by decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.comparison import BEST_FIXED, Comparison
from agents.evaluation import EpisodeRecord, MakeEnv, make_vector_env
from growenv.actions import WAIT
from growenv.config import GrowthConfig
from growenv.streams.tasks import Context
from growenv.vector_env import GrowthVectorEnv


@dataclass(frozen=True, eq=False)
class Course:
    """One episode, decision by decision; D decisions, L hidden layers.

    Attributes:
        task: task that was trained, from 0 on, shape (D,).
        accuracy: validation accuracy on that task after the decision, shape (D,).
        widths: widths of the hidden layers after the decision, shape (D, L).
        used: share of the capacity used after the decision, shape (D,).
        growth: growth that was carried out: decision, task, layer and neurons.
        return_: sum of the rewards.
        picture: the frame at the end, with the fabric where the hardware has places, uint8 (height, width, 3).
    """

    task: NDArray[np.int64]
    accuracy: NDArray[np.float64]
    widths: NDArray[np.int64]
    used: NDArray[np.float64]
    growth: tuple[tuple[int, int, int, int], ...]
    return_: float
    picture: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Showcase:
    """What replaying has shown of the first learned policy and of the best fixed schedule.

    Attributes:
        matrices: mean inner-test accuracy on task j after task i, by player, each of shape (T, T); NaN where it was
            not measured.
        replayed: episodes in each of these means.
        deviation: greatest difference of a replayed return from the recorded one; 0 on the same platform.
        context: the context shown in detail.
        choice: the rule that chose it, in words.
        courses: the episode in that context, by player.
    """

    matrices: Mapping[str, NDArray[np.float64]]
    replayed: int
    deviation: float
    context: Context
    choice: str
    courses: Mapping[str, Course]


def showcase(comparison: Comparison, episodes: int, make_env: MakeEnv = make_vector_env) -> Showcase:
    """Play episodes of the first learned policy and of the best fixed schedule again.

    The context shown in detail is not picked by hand; see `typical`. All episodes are those of the first training seed.

    Args:
        comparison: what was played; one of the players has learned.
        episodes: the first so many episodes are replayed for the matrices.
        make_env: as in `agents.evaluation.play`.

    Raises:
        ValueError: no learned policy, or fewer than one episode.
    """
    learned = comparison.of_kind("learned")
    if not learned or episodes < 1:
        raise ValueError(f"a showcase needs a learned policy and an episode, got {len(learned)} and {episodes}")
    players = (learned[0], comparison.player(BEST_FIXED))
    config = replace(comparison.config, signals=(), accuracy_matrix=True)  # signals never change training
    matrices, deviation, count = {}, 0.0, min(episodes, len(players[0].records))
    for player in players:
        matrix, away = mean_matrix(config, player.records[:count], make_env)
        matrices[player.name], deviation = matrix, max(deviation, away)
    place, choice = typical(*(player.values("return_")[0, :, 0] for player in players))
    chosen = {player.name: player.records[place * comparison.inner_seeds] for player in players}
    courses = {name: replay_course(config, record) for name, record in chosen.items()}
    context = Context.from_json(chosen[BEST_FIXED].context)
    return Showcase(matrices, count, deviation, context, choice, courses)


def typical(policy: NDArray[np.float64], fixed: NDArray[np.float64]) -> tuple[int, str]:
    """The context in which the policy's advantage is the median of those in which it has one, and this rule in words.

    Of an even number the lower one of the two in the middle; where it has no advantage anywhere, the median of all.

    Args:
        policy: return of the policy in each context, shape (C,).
        fixed: the same of the best fixed schedule.
    """
    difference = policy - fixed
    better = np.flatnonzero(difference > 0)
    among = better if len(better) else np.arange(len(difference))
    place = int(among[np.argsort(difference[among], kind="stable")[(len(among) - 1) // 2]])
    share = (
        f"The policy's return is higher than the best fixed schedule's in {len(better)} of {len(difference)} contexts"
    )
    rule = "the median difference of these" if len(better) else "the median difference of all"
    return place, f"{share} (first inner seed); shown is the one with {rule}, {difference[place]:+.3f}."


def mean_matrix(
    config: GrowthConfig, records: Sequence[EpisodeRecord], make_env: MakeEnv = make_vector_env
) -> tuple[NDArray[np.float64], float]:
    """Mean accuracy matrix of recorded episodes, and the greatest difference of a return from the recorded one.

    Args:
        config: the environment.
        records: the episodes.
        make_env: as in `agents.evaluation.play`.

    Returns:
        The mean over episodes, shape (T, T), NaN where it was not measured; and the difference.
    """
    contexts = [Context.from_json(record.context) for record in records]
    env = make_env(_with_room(config, contexts), len(records))
    env.reset(options={"contexts": contexts})
    returns = np.zeros(len(records))
    for decision in range(max(len(record.actions) for record in records)):
        _, rewards, _, _, _ = env.step(_actions(records, decision))
        returns += rewards
    length = max(len(context.tasks) for context in contexts)
    matrix = env.episodes.matrix[:, :length, :length]
    env.close()
    measured = np.isfinite(matrix)
    count = measured.sum(axis=0)
    mean = np.where(measured, matrix, 0.0).sum(axis=0) / np.maximum(count, 1)
    deviation = float(np.abs(returns - [record.return_ for record in records]).max())
    return np.where(count > 0, mean, np.nan), deviation


def _with_room(config: GrowthConfig, contexts: Sequence[Context]) -> GrowthConfig:
    """Streams of the ood split are longer, and an environment has room for the streams of its own split only."""
    return replace(config, split="ood") if any(context.split == "ood" for context in contexts) else config


def _actions(records: Sequence[EpisodeRecord], decision: int) -> NDArray[np.int64]:
    """The recorded actions of one decision; an episode that diverged is over before."""
    return np.array([record.actions[decision] if decision < len(record.actions) else WAIT for record in records])


def replay_course(config: GrowthConfig, record: EpisodeRecord) -> Course:
    """One recorded episode in detail.

    Args:
        config: the environment.
        record: the episode.
    """
    context = Context.from_json(record.context)
    settled = _with_room(config, [context])
    env = GrowthVectorEnv(1, settled, autoreset_mode="DISABLED", render_mode="rgb_array")
    env.reset(options={"contexts": [context]})
    seen: dict[str, list[Any]] = {name: [] for name in ("task", "accuracy", "widths", "used", "reward")}
    for action in record.actions:
        task = int(env.learner.task[0])  # the decision that ends a task moves on to the next one
        _, reward, _, _, infos = env.step(np.array([action]))
        now = (task, env.episodes.accuracies[0, task], infos["widths"][0].copy(), infos["used"][0], reward[0])
        for name, value in zip(seen, now, strict=True):
            seen[name].append(value)
    frames = env.render()
    assert frames is not None
    growth = tuple(env.episodes.growth[0])
    env.close()
    return Course(
        np.array(seen["task"]),
        np.array(seen["accuracy"]),
        np.array(seen["widths"]),
        np.array(seen["used"]),
        growth,
        float(sum(seen["reward"])),
        frames[0],
    )
