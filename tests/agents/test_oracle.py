from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.cache import SearchCache
from agents.evaluation import evaluation_contexts, play
from agents.oracle import Found, Hindsight, OracleResult, hindsight_oracle
from agents.replay import replay
from growenv.config import GrowthConfig
from growenv.streams.tasks import Context
from tests.agents.fake_env import CONFIG, FakeVectorEnv, make_contexts, with_tasks


class NoisyEnv(FakeVectorEnv):
    """Each inner seed has its own taste: a reward for every growth of layer ``inner_seed % 2`` in its last decision.

    Counts how many have been built.
    """

    built = 0

    def __init__(self, config: GrowthConfig, rows: int) -> None:
        super().__init__(config, rows)
        NoisyEnv.built += 1

    def step(self, actions: Any) -> Any:
        last = self.decision == self._length() - 1
        liked = np.array([context.inner_seed % 2 for context in self.contexts]) == self.actions.layer[actions]
        observations, rewards, done, truncated, infos = super().step(actions)
        return observations, rewards + 5.0 * (last & liked), done, truncated, infos


def seeded(count: int, seeds: int = 2, **options: Any) -> list[Context]:
    """Contexts outermost, inner seeds innermost; the inner seeds of a context are even and odd in turn."""
    return [
        replace(context, inner_seed=10 * context.index + seed)
        for context in make_contexts(count, **options)
        for seed in range(seeds)
    ]


def oracle(contexts: list[Context], seeds: int = 2, **options: Any) -> OracleResult:
    return hindsight_oracle(CONFIG, contexts, seeds, **{"make_env": FakeVectorEnv, **options})


def test_it_finds_nearly_the_best_growth_of_every_context() -> None:
    contexts = seeded(2, price=0.3) + [replace(c, index=5) for c in seeded(1, price=2.0)]
    result = oracle(contexts)
    for context, record in zip(contexts, result.records, strict=True):
        best = max(0.5 + w / (2 * (w + 8)) - context.price * w / 64 for w in range(0, 65, 4))
        assert best - 0.01 < record.return_ <= best + 1e-9


def test_search_improves_on_the_family() -> None:
    contexts = seeded(3, price=0.3)
    few, many = (np.mean(oracle(contexts, episodes_per_context=n, make_env=NoisyEnv).chosen_returns) for n in (20, 96))
    assert many > few + 1.0


def test_what_one_inner_seed_chose_is_scored_on_the_next_one() -> None:
    contexts = seeded(2, seeds=3)
    result = oracle(contexts, 3, episodes_per_context=60)
    carried_out = [record.actions for record in result.records]
    a = result.actions
    assert carried_out == [a[2], a[0], a[1], a[5], a[3], a[4]]
    again = play(replay([a[2], a[0], a[1], a[5], a[3], a[4]]), CONFIG, contexts, make_env=FakeVectorEnv)
    assert [record.return_ for record in again] == [record.return_ for record in result.records]
    assert {record.policy for record in result.records} == {"oracle"}


def test_the_taste_of_an_inner_seed_is_no_skill() -> None:
    result = oracle(seeded(2, price=0.3), make_env=NoisyEnv)
    assert min(result.chosen_returns) > 5
    assert max(record.return_ for record in result.records) < 1


def test_all_episodes_are_counted() -> None:
    contexts = seeded(2)
    for episodes in (5, 48, 50, 61):
        result = oracle(contexts, episodes_per_context=episodes)
        assert result.episodes == 4 * episodes
        assert result.steps == 4 * episodes * 12
        assert result.steps_per_episode == episodes * 12


def test_a_small_space_is_searched_and_left() -> None:
    tiny = replace(CONFIG, decisions=1, amounts=(8,), hidden=(8,), max_hidden=(16,))
    contexts = with_tasks(seeded(1), 2)
    result = hindsight_oracle(tiny, contexts, 2, episodes_per_context=500, make_env=FakeVectorEnv)
    assert result.episodes < 100


def test_progress_counts_to_all_episodes() -> None:
    seen: list[tuple[int, int]] = []
    oracle(seeded(2), episodes_per_context=60, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (240, 240)


def test_a_context_is_searched_alike_in_any_company() -> None:
    contexts = seeded(40, price=0.3)
    all_of_them = oracle(contexts, episodes_per_context=56)
    last = oracle(contexts[-4:], episodes_per_context=56, rows=3)
    assert all_of_them.actions[-4:] == last.actions
    assert all_of_them.records[-4:] == last.records


def test_signals_and_the_accuracy_matrix_are_not_paid_for_in_the_search() -> None:
    seen = []

    class Env(FakeVectorEnv):
        def __init__(self, config: GrowthConfig, rows: int) -> None:
            super().__init__(config, rows)
            seen.append((config.signals, config.accuracy_matrix))

    config = replace(CONFIG, signals=("gap",))
    hindsight_oracle(config, seeded(1), 2, episodes_per_context=49, make_env=Env)
    assert set(seen[:-1]) == {((), False)}
    assert seen[-1] == (("gap",), True)


def test_blocks_are_kept_and_a_killed_search_goes_on(tmp_path: Path) -> None:
    cache, contexts = SearchCache(tmp_path), seeded(40)
    first = oracle(contexts, episodes_per_context=50, make_env=NoisyEnv, cache=cache)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    built = NoisyEnv.built
    assert oracle(contexts, episodes_per_context=50, make_env=NoisyEnv, cache=cache) == first
    assert NoisyEnv.built == built + 1, "only the score is played"
    files[0].unlink()
    assert oracle(contexts, episodes_per_context=50, make_env=NoisyEnv, cache=cache) == first


def test_what_was_found_is_json() -> None:
    found = Found((0, 1), 0.5, 3, 6)
    assert Found.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_rounds_try_new_neighbours_of_the_best_only() -> None:
    search = Hindsight(CONFIG, seeded(1), make_env=FakeVectorEnv)
    search.begin(20)
    before = set(search.known[0])
    assert search.improve(8)
    new = set(search.known[0]) - before
    assert 0 < len(new) <= 8
    assert search.episodes == 28
    ranked = search.ranked(0)
    assert [search.known[0][actions] for actions in ranked] == sorted(search.known[0].values(), reverse=True)


def test_known_sequences_are_what_was_carried_out() -> None:
    contexts = seeded(1, price=0.0, budget=0.125)
    search = Hindsight(CONFIG, contexts, make_env=FakeVectorEnv)
    search.begin(48)
    assert len(search.known[0]) < 48, "beyond the budget many schedules are the same"
    assert max(np.count_nonzero(actions) for actions in search.known[0]) == 2


def test_impossible_oracles_are_refused() -> None:
    with pytest.raises(ValueError, match="inner_seeds >= 2 that divides the 4 contexts, got 1"):
        oracle(seeded(4, 1), 1)
    with pytest.raises(ValueError, match="divides the 3 contexts, got 2"):
        oracle(seeded(3, 1), 2)
    with pytest.raises(ValueError, match="contexts 0 to 1 should be one context with 2 different inner seeds"):
        oracle(make_contexts(4), 2)
    with pytest.raises(ValueError, match="2 different inner seeds"):
        oracle([*seeded(1), *seeded(1, 1) * 2], 2)
    with pytest.raises(ValueError, match="at least one episode"):
        oracle(seeded(1), 2, episodes_per_context=0)
    assert oracle([], 2) == OracleResult((), (), (), 0, 0)
    assert oracle([], 2).steps_per_episode == 0


def test_it_plays_real_networks() -> None:
    config = GrowthConfig(tasks=2, decisions=2, minibatches=1)
    contexts = evaluation_contexts(config, "val", 1, 2)
    result = hindsight_oracle(config, contexts, 2, episodes_per_context=16)
    assert result.steps == 2 * 16 * 4
    assert result.records[0].actions == result.actions[1]
