from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.cache import SearchCache
from agents.families import gate_family, per_task_spec
from agents.policy import PolicySpec
from agents.search import (
    Scoreboard,
    SearchResult,
    affordable,
    best_fixed_schedule,
    cost,
    episode_budget,
    final_contexts,
    halve,
    rungs,
    tune,
    tuning_contexts,
)
from growenv.config import GrowthConfig
from growenv.streams.tasks import Context
from tests.agents.fake_env import CONFIG, FakeVectorEnv, make_contexts, with_tasks

SPECS = [per_task_spec(CONFIG, (4 * number, 0), (0, 0)) for number in range(8)]


def board(contexts: list[Context], budget: int = 10_000) -> Scoreboard:
    return Scoreboard(CONFIG, contexts, budget, make_env=FakeVectorEnv)


def test_rungs_and_their_cost_by_hand() -> None:
    plan = rungs(12, 8, 64)
    assert plan == [(12, 8), (6, 16), (3, 32), (2, 64)]
    assert cost(plan) == 12 * 8 + 6 * 8 + 3 * 16 + 2 * 32
    assert rungs(5, 8, 20) == [(5, 8), (3, 16), (2, 20)]
    assert rungs(3, 8, 4) == [(3, 4)]


@given(st.integers(0, 5000), st.integers(8, 128))
def test_affordable_is_the_largest_that_fits(budget: int, stop: int) -> None:
    count = affordable(budget, 8, stop)
    assert count == 0 or cost(rungs(count, 8, stop)) <= budget
    assert cost(rungs(count + 1, 8, stop)) > budget


def test_no_episode_is_played_twice() -> None:
    scores = board(make_contexts(32))
    scores.score(SPECS[:4], 8)
    assert scores.spent == 32
    scores.score(SPECS[:4], 8)
    assert scores.spent == 32
    scores.score(SPECS[:2], 16)
    assert scores.spent == 48
    assert scores.known(SPECS[0]) == 16
    assert scores.known(SPECS[3]) == 8


def test_halving_finds_the_best_and_pays_what_it_said() -> None:
    scores = board(make_contexts(64, price=0.2))
    winner = halve(scores, SPECS, 64)[0]
    # accuracy - price x used = 1/2 + W / (2 (W + 8)) - 0.2 W / 64 is largest near W = 27.8: among 0, 4, ... 28 at 28.
    assert winner == SPECS[7]
    assert scores.spent == cost(rungs(8, 8, 64))


def test_scores_are_compared_on_the_same_contexts() -> None:
    cheap, dear = make_contexts(8, price=0.0), make_contexts(8, price=2.0)
    scores = board([*cheap, *dear])
    small, large = SPECS[1], SPECS[7]
    scores.score([large], 16)
    assert scores.score([small, large], 8)[0] == large
    assert scores.score([small, large], 16)[0] == small


def test_best_fixed_schedule_beats_the_simple_ones_within_its_budget() -> None:
    contexts = make_contexts(128, price=0.3)
    result = best_fixed_schedule(CONFIG, contexts, episodes=1500, make_env=FakeVectorEnv)
    assert 1200 < result.episodes <= 1500
    assert result.trials[0].spec == result.best
    assert result.trials[0].contexts == 128
    # 1/2 + W / (2 (W + 8)) - 0.3 W / 64 over multiples of four: 20 is best, 1/2 + 20/56 - 0.09375.
    np.testing.assert_allclose(result.trials[0].mean, 0.5 + 20 / 56 - 0.09375, atol=0.001)
    simple = {trial.spec.policy: trial.mean for trial in result.trials if trial.spec.policy in ("never", "doubling")}
    assert all(mean < result.trials[0].mean for mean in simple.values())


def test_search_is_deterministic() -> None:
    contexts = make_contexts(64, price=0.3)
    one, two = (best_fixed_schedule(CONFIG, contexts, episodes=1000, make_env=FakeVectorEnv) for _ in range(2))
    assert one == two


def test_search_plays_without_the_accuracy_matrix() -> None:
    seen = []

    def make(config: GrowthConfig, rows: int) -> FakeVectorEnv:
        seen.append(config.accuracy_matrix)
        return FakeVectorEnv(config, rows)

    tune(SPECS, CONFIG, make_contexts(8), episodes=100, make_env=make)
    assert seen == [False]


def test_progress_counts_against_the_budget() -> None:
    seen: list[tuple[int, int]] = []
    best_fixed_schedule(
        CONFIG,
        make_contexts(64),
        episodes=1000,
        progress=lambda done, total: seen.append((done, total)),
        make_env=FakeVectorEnv,
    )
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {1000}
    assert seen[-1][0] <= 1000


def test_tune_takes_what_the_budget_allows() -> None:
    # Two thirds of the budget explore, that is two candidates on eight contexts.
    result = tune(SPECS, CONFIG, make_contexts(8, price=0.2), episodes=24, make_env=FakeVectorEnv)
    assert len(result.trials) == 2
    assert result.episodes == 16
    assert result.best == SPECS[1]


@pytest.mark.parametrize("episodes", [64, 65, 90, 130, 400, 1000, 3000])
def test_tune_keeps_to_its_budget(episodes: int) -> None:
    result = tune(gate_family(CONFIG, "plateau"), CONFIG, make_contexts(64), episodes=episodes, make_env=FakeVectorEnv)
    assert result.episodes <= episodes
    assert result.trials[0].contexts == 64


def test_few_settings_play_on_more_contexts_and_are_refined() -> None:
    specs = gate_family(CONFIG, "loss-gate")[:6]
    result = tune(specs, CONFIG, make_contexts(256), steps=3000 * 12, make_env=FakeVectorEnv)
    on = {trial.spec.key: trial.contexts for trial in result.trials}
    assert all(on[spec.key] >= 64 for spec in specs), "the first rung has as many contexts as the budget allows"
    assert len(on) > len(specs)
    assert sum(contexts == 256 for contexts in on.values()) >= 8
    assert 2000 < result.episodes <= 3000


def test_refinement_finds_what_lies_between_the_values_of_a_range() -> None:
    # Growth by 4 while the loss is at least tau. The best number of neurons needs a tau that no range has.
    contexts = make_contexts(64, price=0.3)
    coarse = [PolicySpec("loss-gate", {"tau": tau, "rounds": 1, "amount": 4}) for tau in (0.5, 0.05)]
    result = tune(coarse, CONFIG, contexts, episodes=2000, make_env=FakeVectorEnv)
    assert result.best.options["tau"] not in (0.5, 0.05)
    scores = {trial.spec.key: trial.mean for trial in result.trials}
    assert scores[result.best.key] > max(scores[spec.key] for spec in coarse)


def test_steps_are_turned_into_episodes_of_this_environment() -> None:
    assert episode_budget(CONFIG, 12) == 1
    assert episode_budget(CONFIG, 13) == 2
    assert episode_budget(GrowthConfig(), 180_000) == 6000
    with pytest.raises(ValueError, match="at least one step, got 0"):
        episode_budget(CONFIG, 0)
    one, two = (
        best_fixed_schedule(CONFIG, make_contexts(64), **budget, make_env=FakeVectorEnv)
        for budget in ({"steps": 600 * 12}, {"episodes": 600})
    )
    assert one == two
    assert one.steps <= 600 * 12


def test_larger_budgets_bring_larger_finals() -> None:
    assert [final_contexts(budget) for budget in (1, 2559, 2560, 5119, 5120, 100_000)] == [64, 64, 128, 128, 256, 256]
    result = tune(SPECS[:2], CONFIG, steps=2560 * 12, make_env=FakeVectorEnv)
    assert [trial.contexts for trial in result.trials] == [128, 128]


class CountedEnv(FakeVectorEnv):
    """Counts how many have been built."""

    built = 0

    def __init__(self, config: GrowthConfig, rows: int) -> None:
        super().__init__(config, rows)
        CountedEnv.built += 1


def test_a_kept_search_plays_nothing(tmp_path: Path) -> None:
    options: dict[str, Any] = {"make_env": CountedEnv, "cache": SearchCache(tmp_path)}

    def search() -> tuple[SearchResult, SearchResult]:
        schedule = best_fixed_schedule(CONFIG, make_contexts(64), episodes=500, **options)
        return schedule, tune(SPECS, CONFIG, make_contexts(8), episodes=100, **options)

    first, built = search(), CountedEnv.built
    assert search() == first
    assert CountedEnv.built == built
    tune(SPECS[1:], CONFIG, make_contexts(8), episodes=100, **options)
    assert CountedEnv.built > built


def test_steps_are_the_decisions_that_were_played() -> None:
    scores = board([*make_contexts(8), *with_tasks(make_contexts(8), 5)])
    scores.score(SPECS[:3], 8)
    assert scores.steps == 3 * 8 * 12
    scores.score(SPECS[:2], 16)
    assert scores.steps == 3 * 8 * 12 + 2 * 8 * 20
    assert scores.result(SPECS[0]).steps == scores.steps


def test_tuning_explores_on_train_contexts_and_decides_on_val_contexts() -> None:
    contexts = tuning_contexts(CONFIG, 128)
    assert [context.split for context in contexts] == ["train"] * 32 + ["val"] * 96
    assert [context.split for context in tuning_contexts(CONFIG, 10)] == ["train"] * 5 + ["val"] * 5
    few, many = (tune(SPECS, CONFIG, episodes=episodes, make_env=FakeVectorEnv) for episodes in (64, 500))
    assert few.splits == many.splits == ("train", "val")
    assert few.trials[0].contexts == many.trials[0].contexts == 64
    assert tune(SPECS, CONFIG, make_contexts(8), episodes=64, make_env=FakeVectorEnv).splits == ("val",)


def test_gates_are_tuned_with_their_signals_and_schedules_without() -> None:
    seen = []

    def make(config: GrowthConfig, rows: int) -> FakeVectorEnv:
        seen.append(config.signals)
        return FakeVectorEnv(config, rows)

    tune(gate_family(CONFIG, "fragrow"), CONFIG, make_contexts(8), episodes=100, make_env=make)
    tune(SPECS, CONFIG, make_contexts(8), episodes=100, make_env=make)
    assert set(seen[:-1]) == {("gap",)}
    assert seen[-1] == ()


def test_the_first_candidate_is_in_the_final() -> None:
    # On the eight contexts of the first rung large growth costs nothing, later on it is dear.
    cheap, dear = make_contexts(8, price=0.0), make_contexts(56, price=3.0)
    specs = [SPECS[1], *SPECS[4:]]
    result = tune(specs, CONFIG, [*cheap, *dear], episodes=500, make_env=FakeVectorEnv)
    assert result.best == SPECS[1]
    assert [trial.contexts for trial in result.trials if trial.spec == SPECS[1]] == [64]
    assert result.episodes <= 500


def test_result_is_json() -> None:
    result = tune(SPECS[:2], CONFIG, make_contexts(8), episodes=100, make_env=FakeVectorEnv)
    data = json.loads(json.dumps(result.to_json()))
    assert SearchResult.from_json(data) == result
    assert PolicySpec.from_json(data["best"]) == result.best
    assert [trial["contexts"] for trial in data["trials"]] == [8, 8]
    assert (data["episodes"], data["steps"], data["splits"]) == (16, 16 * 12, ["val"])


def test_impossible_searches_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 contexts"):
        best_fixed_schedule(CONFIG, make_contexts(7), make_env=FakeVectorEnv)
    with pytest.raises(ValueError, match="too few for a search on 64 contexts"):
        best_fixed_schedule(CONFIG, make_contexts(64), episodes=100, make_env=FakeVectorEnv)
    with pytest.raises(ValueError, match="too few for 64 contexts"):
        tune(SPECS, CONFIG, make_contexts(64), episodes=10, make_env=FakeVectorEnv)
    with pytest.raises(ValueError, match="and 0 policies"):
        tune([], CONFIG, make_contexts(64), make_env=FakeVectorEnv)


def test_a_family_that_is_used_up_ends_the_search() -> None:
    tiny = replace(CONFIG, hidden=(8,), max_hidden=(16,), amounts=(8,), decisions=1)
    result = best_fixed_schedule(tiny, make_contexts(64), episodes=5000, make_env=FakeVectorEnv)
    assert result.episodes < 2000
