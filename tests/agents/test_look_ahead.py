from __future__ import annotations

import numpy as np
import pytest

from agents.evaluation import evaluation_contexts, play
from agents.look_ahead import look_ahead
from agents.policy import PolicySpec
from growenv.config import GrowthConfig
from tests.agents.fake_env import CONFIG, FakeVectorEnv, make_contexts
from tests.agents.test_rehearsal import DivergingEnv


def test_with_the_whole_stream_ahead_it_adds_what_is_best() -> None:
    # accuracy - price x used = 1/2 + W / (2 (W + 8)) - 0.4 W / 64 at the end. By 16: 0.833 - 0.1; by 4: 0.667 - 0.025.
    # From 16 on, 4 more bring 20/56 - 16/48 - 0.025 < 0 at once, so growth stops at 16 unless less was taken before.
    records, _ = look_ahead(CONFIG, make_contexts(2, price=0.4), horizon=12, make_env=FakeVectorEnv)
    assert {record.actions for record in records} == {(2, *[0] * 11)}
    np.testing.assert_allclose([record.return_ for record in records], 0.5 + 16 / 48 - 0.1)


def test_a_near_horizon_does_not_see_what_growth_will_bring() -> None:
    # At once 4 neurons bring 1/6 / 12 = 0.014 and cost 0.4 x 4/64 = 0.025; later the accuracy counts for more.
    near, _ = look_ahead(CONFIG, make_contexts(1, price=0.4), horizon=1, make_env=FakeVectorEnv)
    task, _ = look_ahead(CONFIG, make_contexts(1, price=0.4), make_env=FakeVectorEnv)
    assert near[0].actions[0] == 0
    assert near[0].growth_events > 0
    assert task[0].actions[0] == 1


def test_tries_are_counted() -> None:
    # Free growth: five actions are tried while all are legal. Three tasks of four decisions: 4 + 3 + 2 + 1 each.
    contexts = make_contexts(3, price=50.0)
    _, steps = look_ahead(CONFIG, contexts, make_env=FakeVectorEnv)
    assert steps == 5 * 3 * (4 + 3 + 2 + 1)
    _, steps = look_ahead(CONFIG, contexts, horizon=3, make_env=FakeVectorEnv)
    assert steps == 5 * (10 * 3 + 2 + 1)
    # Nothing fits: there is nothing to try.
    _, steps = look_ahead(CONFIG, make_contexts(3, budget=0.05), make_env=FakeVectorEnv)
    assert steps == 0


def test_only_legal_actions_are_tried() -> None:
    # 8 of 64 neurons fit, so only amounts of 4 do: waiting and two growths, until the budget is used up.
    records, steps = look_ahead(CONFIG, make_contexts(2, price=0.0, budget=0.125), horizon=1, make_env=FakeVectorEnv)
    assert {record.actions for record in records} == {(1, 1, *[0] * 10)}
    assert {record.invalid for record in records} == {0}
    assert steps == 2 * 3


def test_rows_decide_for_themselves() -> None:
    cheap, dear = make_contexts(1, price=0.0), make_contexts(1, price=5.0)
    (rich, poor), _ = look_ahead(CONFIG, [*cheap, *dear], horizon=12, make_env=FakeVectorEnv)
    assert poor.growth_events == 0
    assert rich.growth_events > 0
    for context, record in ((cheap, rich), (dear, poor)):
        (alone,), _ = look_ahead(CONFIG, context, horizon=12, make_env=FakeVectorEnv)
        assert alone == record


def test_what_diverges_when_tried_is_not_done() -> None:
    records, _ = look_ahead(CONFIG, make_contexts(2, price=0.0), make_env=DivergingEnv)
    assert not any(record.diverged for record in records)
    assert {record.actions[1] for record in records} <= {0, 1, 3}
    assert {len(record.actions) for record in records} == {12}


def test_horizons_that_are_none_are_refused() -> None:
    for horizon in (0, -1, "stream", True, 1.5):
        with pytest.raises(ValueError, match='horizon is "task" or a number of decisions'):
            look_ahead(CONFIG, make_contexts(1), horizon=horizon, make_env=FakeVectorEnv)  # type: ignore[arg-type]


def test_it_plays_real_networks_and_never_loses_to_waiting_in_their_last_decision() -> None:
    config = GrowthConfig(tasks=1, decisions=1, minibatches=2, price=0.15)
    contexts = evaluation_contexts(config, "val", 3)
    records, steps = look_ahead(config, contexts)
    never = play(PolicySpec("never"), config, contexts)
    assert all(record.return_ >= other.return_ for record, other in zip(records, never, strict=True))
    assert 0 < steps <= 5
