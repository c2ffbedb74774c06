from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agents import gates, schedules  # noqa: F401  (registers the policies)
from agents.evaluation import evaluation_contexts, play, play_together
from agents.policy import PolicySpec
from growenv.config import GrowthConfig
from growenv.streams.tasks import Context
from tests.agents.fake_env import CONFIG, FakeVectorEnv, make_contexts, with_tasks

SMALL = GrowthConfig(
    tasks=2,
    decisions=2,
    minibatches=2,
    batch_size=8,
    max_hidden=(32, 32),
    budget=(0.5, 1.0),
    validation_samples=16,
    test_samples=16,
)
GROW = PolicySpec("per-task", {"first": [[0, 16], [1, 4]]}, "grow")


def test_contexts_are_the_same_every_time_and_grouped_by_index() -> None:
    drawn = evaluation_contexts(SMALL, "val", 3, inner_seeds=2)
    assert [context.index for context in drawn] == [0, 0, 1, 1, 2, 2]
    assert len({context.inner_seed for context in drawn}) == 6
    assert drawn == evaluation_contexts(SMALL, "val", 3, inner_seeds=2)
    assert drawn[::2] == evaluation_contexts(SMALL, "val", 3)
    assert drawn[0].tasks == drawn[1].tasks
    assert drawn[0].price == drawn[1].price


def test_splits_share_no_stream() -> None:
    ids = {split: {c.stream_id for c in evaluation_contexts(SMALL, split, 20)} for split in ("train", "val", "test")}
    assert not ids["val"] & ids["test"]
    assert not ids["train"] & ids["test"]


def test_splits_share_no_inner_seed() -> None:
    seeds = [c.inner_seed for split in ("train", "val", "test", "ood") for c in evaluation_contexts(SMALL, split, 5, 2)]
    assert len(set(seeds)) == 40


@pytest.mark.parametrize(("count", "seeds"), [(0, 1), (1, 0)])
def test_no_contexts_are_refused(count: int, seeds: int) -> None:
    with pytest.raises(ValueError, match="at least one context"):
        evaluation_contexts(SMALL, "val", count, seeds)


def test_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="split"):
        evaluation_contexts(SMALL, "testing", 1)


def test_record_by_hand() -> None:
    record = play(GROW, CONFIG, make_contexts(1, price=0.2), make_env=FakeVectorEnv)[0]
    # 20 neurons: used 20/64, accuracy 1/2 + 1/2 * 20/28.
    assert record.cost == 20 / 64
    np.testing.assert_allclose(record.accuracy, 0.5 + 0.5 * 20 / 28)
    np.testing.assert_allclose(record.return_, record.accuracy - 0.2 * 20 / 64)
    assert record.actions == (2, 3, *[0] * 10)
    assert (record.policy, record.growth_events, record.invalid, record.diverged) == ("grow", 2, 0, False)
    np.testing.assert_allclose(record.acc, record.accuracy - 0.01)
    assert Context.from_json(json.loads(json.dumps(record.to_json()))["context"]) == make_contexts(1, price=0.2)[0]


@pytest.mark.parametrize("rows", [1, 3, 5, 64])
def test_batches_do_not_matter(rows: int) -> None:
    contexts = make_contexts(7, price=0.3)
    entries = [(PolicySpec("random"), contexts), (GROW, contexts[:2]), (PolicySpec("never"), contexts[2:])]
    played = play_together(entries, CONFIG, rows, make_env=FakeVectorEnv)
    alone = [play(spec, CONFIG, own, 64, make_env=FakeVectorEnv) for spec, own in entries]
    assert played == alone
    assert [[record.index for record in records] for records in played] == [list(range(7)), [0, 1], [2, 3, 4, 5, 6]]


def test_progress_counts_episodes() -> None:
    seen: list[tuple[int, int]] = []
    play(GROW, CONFIG, make_contexts(7), 3, lambda done, total: seen.append((done, total)), FakeVectorEnv)
    assert seen == [(3, 7), (6, 7), (7, 7)]


def test_nothing_to_play() -> None:
    assert play_together([(GROW, [])], CONFIG) == [[]]


def test_streams_of_unequal_length_end_on_their_own() -> None:
    contexts = [*make_contexts(2), *with_tasks(make_contexts(1), 5)]
    records = play(PolicySpec("periodic", {"every": 4}), CONFIG, contexts, make_env=FakeVectorEnv)
    assert [len(record.actions) for record in records] == [12, 12, 20]
    assert [record.growth_events for record in records] == [3, 3, 5]


class _Illegal:
    """Always asks for the last action."""

    name = "illegal"

    def reset(self, rows: np.ndarray) -> None:
        pass

    def act(self, observations: Any, masks: np.ndarray) -> np.ndarray:
        return np.full(len(masks), masks.shape[1] - 1)


def test_illegal_actions_are_counted_and_no_growth() -> None:
    record = play(lambda interface: _Illegal(), CONFIG, make_contexts(1), make_env=FakeVectorEnv)[0]
    assert (record.growth_events, record.invalid) == (2, 10)  # 8 + 2 * 16 = 40 neurons, the most


def test_environment_is_closed_even_after_an_error() -> None:
    made: list[FakeVectorEnv] = []

    def make(config: GrowthConfig, rows: int) -> FakeVectorEnv:
        made.append(FakeVectorEnv(config, rows))
        return made[-1]

    with pytest.raises(ValueError, match="unknown policy"):
        play(PolicySpec("nobody"), CONFIG, make_contexts(1), make_env=make)
    assert made[0].closed


def test_real_environment_replays_from_the_record() -> None:
    contexts = evaluation_contexts(SMALL, "val", 3)
    records = play(PolicySpec("random"), SMALL, contexts, 2)
    assert records == play(PolicySpec("random"), SMALL, contexts, 3)
    record = records[1]
    rules = [
        {"task": step // 2, "decision": step % 2, "layer": (action - 1) // 2, "amount": (4, 16)[(action - 1) % 2]}
        for step, action in enumerate(record.actions)
        if action
    ]
    again = play(PolicySpec("open-loop", {"rules": rules}, "random"), SMALL, [Context.from_json(record.context)])
    assert again == [record]


def test_policies_that_read_signals_play_in_an_environment_that_shows_them() -> None:
    made: list[tuple[tuple[str, ...], int]] = []

    def make(config: GrowthConfig, rows: int) -> FakeVectorEnv:
        made.append((config.signals, rows))
        return FakeVectorEnv(config, rows)

    contexts = make_contexts(3)
    entries = [(PolicySpec(name), contexts) for name in ("fragrow", "never", "cpg-goal", "periodic")]
    seen: list[tuple[int, int]] = []
    records = play_together(entries, CONFIG, 4, lambda *counts: seen.append(counts), make)
    assert made == [(("gap",), 3), ((), 3)]
    assert seen == [(3, 12), (6, 12), (9, 12), (12, 12)]
    assert [own[0].policy for own in records] == ["fragrow", "never", "cpg-goal", "periodic"]
    play(PolicySpec("fragrow"), replace(CONFIG, signals=("loss", "gap")), contexts, make_env=make)
    play(PolicySpec("fragrow"), replace(CONFIG, signals=("loss",)), contexts, make_env=make)
    assert [signals for signals, _ in made[2:]] == [("loss", "gap")] * 2


def test_signals_change_no_record_of_the_real_environment() -> None:
    contexts = evaluation_contexts(SMALL, "val", 3)
    plain, shown = (play(GROW, config, contexts) for config in (SMALL, replace(SMALL, signals="all")))
    assert plain == shown


def test_ood_streams_are_longer() -> None:
    contexts = evaluation_contexts(replace(SMALL, budget=(1.0, 1.0)), "ood", 2)
    records = play(PolicySpec("never"), replace(SMALL, budget=(1.0, 1.0)), contexts)
    assert [len(record.actions) for record in records] == [6, 6]
    assert all(record.acc > 0 for record in records)
