"""Comparisons for tests: one with written returns, one that was really played in a tiny environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from agents.comparison import BEST_FIXED, Comparison, Player
from agents.evaluation import EpisodeRecord, evaluation_contexts, play_together
from agents.pareto import saving
from agents.policy import PolicySpec
from agents.price_sweep import Family, PriceSweep
from agents.search import SearchResult, Trial
from growenv.config import GrowthConfig
from tests.agents.fake_env import CONFIG, make_contexts

BEST = PolicySpec("per-task", {"first": [[0, 16]]}, "first task +16/0, later tasks +0/0")
SEARCH = SearchResult(BEST, (Trial(BEST, 64, 0.5), Trial(PolicySpec("never"), 8, 0.4)), 1234, 14808, ("train", "val"))
TINY = GrowthConfig(
    tasks=2, decisions=2, minibatches=1, validation_samples=16, test_samples=16, max_hidden=(40, 40), budget=(0.9, 1.0)
)


def episodes(name: str, returns: Sequence[float], inner_seeds: int = 1) -> tuple[EpisodeRecord, ...]:
    """Episodes with given returns that grew in the first decision by 4 and in the third by 16; prices 0.1, 0.2, ..."""
    made = []
    for number, value in enumerate(returns):
        index = number // inner_seeds
        context = make_contexts(index + 1, price=0.1 * (index + 1))[index]
        context = replace(context, inner_seed=7 + number)
        record = EpisodeRecord(
            policy=name,
            context=context.to_json(),
            index=index,
            inner_seed=context.inner_seed,
            price=context.price,
            budget=context.budget,
            return_=value,
            accuracy=value + 0.1,
            acc=0.8,
            bwt=0.0,
            fwt=0.0,
            forgetting=0.0,
            cost=0.25,
            growth_events=2,
            invalid=0,
            diverged=False,
            actions=(1, 0, 4, 0),
        )
        made.append(record)
    return tuple(made)


def player(name: str, kind: str, *returns: Sequence[float], inner_seeds: int = 1, **fields: object) -> Player:
    """A player with the given returns, one sequence for each training seed."""
    runs = tuple(episodes(name, run, inner_seeds) for run in returns)
    return Player(name, kind, runs, **fields)  # type: ignore[arg-type]


def compared(*players: Player, inner_seeds: int = 1) -> Comparison:
    """A comparison of players, whose best fixed schedule was searched."""
    return Comparison(CONFIG, "val", inner_seeds, players, {BEST_FIXED: SEARCH})


def two(ppo: Sequence[float], best: Sequence[float]) -> Comparison:
    """One learned policy and the best fixed schedule."""
    return compared(player("ppo", "learned", ppo, steps=900), player(BEST_FIXED, "schedule", best, steps=300))


def made_sweep() -> PriceSweep:
    """A learned policy at three prices, and three schedules that reach less with as much."""
    cost = np.linspace(0.1, 0.5, 3)[:, None, None, None] * np.ones((1, 1, 4, 1))
    learned = Family("ppo", ("price 4.5", "price 0.6", "price 0.15"), cost, 0.9 - 0.02 / cost)
    schedules = Family("fixed schedules", ("a", "b", "c"), cost, 0.9 - 0.05 / cost)
    savings = tuple(
        saving(c, a, schedules.cost[:, 0], schedules.accuracy[:, 0])
        for c, a in zip(learned.cost, learned.accuracy, strict=True)
    )
    return PriceSweep((learned, schedules), {"ppo": savings}, 0.05, 4)


@cache
def tiny_comparison() -> Comparison:
    """Two training seeds of a policy, schedules, a gate and a control, really played in 3 contexts x 2 inner seeds."""
    contexts = evaluation_contexts(TINY, "val", 3, 2)
    specs = {
        "ppo": PolicySpec("random"),
        "ppo again": PolicySpec("periodic"),
        BEST_FIXED: PolicySpec("never"),
        "plateau-tuned": PolicySpec("plateau"),
        "shuffled-actions": PolicySpec("doubling"),
    }
    played = dict(zip(specs, play_together([(spec, contexts) for spec in specs.values()], TINY), strict=True))
    first = {name: name.split()[0] for name in specs}
    runs = {name: tuple(replace(record, policy=first[name]) for record in own) for name, own in played.items()}
    players = (
        Player("ppo", "learned", (runs["ppo"], runs["ppo again"]), steps=4000),
        Player(BEST_FIXED, "schedule", (runs[BEST_FIXED],), steps=1000),
        Player("plateau-tuned", "gate", (runs["plateau-tuned"],), steps=1000),
        Player("shuffled-actions", "control", (runs["shuffled-actions"],), note="the actions of ppo, permuted"),
    )
    return Comparison(TINY, "val", 2, players, {BEST_FIXED: SEARCH})
