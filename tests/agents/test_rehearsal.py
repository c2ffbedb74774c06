from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from agents.evaluation import evaluation_contexts, make_vector_env, play
from agents.policy import PolicySpec
from agents.rehearsal import Stack, decide
from growenv.config import GrowthConfig
from tests.agents.fake_env import CONFIG, FakeVectorEnv, make_contexts, with_tasks

ALL = np.ones(2, dtype=np.bool_)


def stack() -> Stack:
    return Stack(FakeVectorEnv(CONFIG, 2), make_contexts(2, price=0.2), CONFIG.decisions)


def plan(*actions: int, rows: int = 2) -> Any:
    return np.tile(np.array(actions, dtype=np.int64), (rows, 1))


def test_what_is_rehearsed_is_undone_and_counted() -> None:
    one = stack()
    first = one.rehearse(one.player(plan(2, 4)), 4, ALL)
    assert one.rehearse(one.player(plan(2, 4)), 4, np.array([True, False])).tolist() == first.tolist()
    assert one.rehearsed.tolist() == [8, 4]
    assert one.taken == []
    assert one.play(one.player(plan(2, 4)), 4).tolist() == first.tolist()
    assert [actions.tolist() for actions in one.taken] == [[2, 2], [4, 4], [0, 0], [0, 0]]
    assert one.rehearsed.tolist() == [8, 4]


def test_rewards_by_hand() -> None:
    one = stack()
    # After one of twelve decisions and 16 neurons: (1/2 + 1/2 x 16/24) / 12 - 0.2 x 16/64.
    expected = (0.5 + 16 / 48) / 12 - 0.05
    np.testing.assert_allclose(one.rehearse(one.player(plan(2)), 1, ALL), expected)
    one.play(one.player(plan(2)), 1)
    np.testing.assert_allclose(one.rehearse(one.player(plan(0)), 1, ALL), (0.5 + 16 / 48) / 12)


def test_a_rehearsal_ends_with_the_episode() -> None:
    one = stack()
    one.play(one.player(plan(0)), 10)
    one.rehearse(one.player(plan(0)), 5, ALL)
    assert one.rehearsed.tolist() == [2, 2]
    assert not one.done.any()
    one.play(one.player(plan(0)), 5)
    assert one.done.all()
    assert len(one.taken) == 12
    assert one.rehearse(one.player(plan(1)), 3, ALL).tolist() == [0, 0]
    assert one.rehearsed.tolist() == [2, 2]


class DivergingEnv(FakeVectorEnv):
    """Rows that grow by 16 in their second decision end there, as a diverged network does, and lose 1."""

    def step(self, actions: Any) -> Any:
        lost = (self.decision == 1) & (self.actions.amount[actions] == 16)
        self.decision[lost] = 1 + self._length()[lost]  # beyond the end
        observations, rewards, done, truncated, infos = super().step(actions)
        infos["diverged"] = self.decision > self._length()
        return observations, np.where(lost, -1.0, rewards), done, truncated, infos


def test_diverged_rows_idle_while_others_go_on() -> None:
    one = Stack(DivergingEnv(CONFIG, 2), make_contexts(2), CONFIG.decisions)
    one.play(one.player(plan(0)), 1)
    tried = one.rehearse(one.player(np.array([[2, 1], [0, 1]])), 3, ALL)
    assert tried[0] == -1.0
    assert tried[1] > 0
    assert one.rehearsed.tolist() == [1, 3]
    assert one.done.tolist() == [False, False]
    one.play(one.player(np.array([[2, 1], [0, 1]])), 11)
    assert one.done.tolist() == [True, True]
    assert [actions.tolist() for actions in one.taken[:4]] == [[0, 0], [2, 0], [0, 1], [0, 0]]


def follow(*actions: int) -> Callable[[Stack], None]:
    """A search that rehearses once and then plays these actions."""

    def search(stack: Stack) -> None:
        rows = len(stack.contexts)
        stack.rehearse(stack.player(plan(0, rows=rows)), 1, np.ones(rows, dtype=np.bool_))
        stack.play(stack.player(plan(*actions, rows=rows)), stack.tasks * stack.decisions)

    return search


@pytest.mark.parametrize("rows", [1, 2, 3, 128])
def test_decided_episodes_are_played_once_more_for_all_figures(rows: int) -> None:
    seen: list[tuple[int, int]] = []
    contexts = make_contexts(5)

    def note(done: int, total: int) -> None:
        seen.append((done, total))

    records, extra = decide(follow(1, 0, 4), "name", CONFIG, contexts, rows, note, FakeVectorEnv)
    assert [record.index for record in records] == [0, 1, 2, 3, 4]
    assert {record.policy for record in records} == {"name"}
    assert {record.actions[:4] for record in records} == {(1, 0, 4, 0)}
    assert extra == 1.0
    assert seen[-1] == (5, 5)


def test_streams_of_the_ood_split_are_longer() -> None:
    seen = []

    class Env(FakeVectorEnv):
        def __init__(self, config: GrowthConfig, rows: int) -> None:
            super().__init__(config, rows)
            seen.append(config.split)

    contexts = with_tasks(make_contexts(2, split="ood"), 5)
    records, _ = decide(follow(1), "name", CONFIG, contexts, 128, None, Env)
    assert set(seen) == {"ood"}
    assert [len(record.actions) for record in records] == [20, 20]


def test_searches_refuse_streams_of_different_lengths() -> None:
    mixed = [*make_contexts(1), *with_tasks(make_contexts(1), 5)]
    with pytest.raises(ValueError, match=r"streams of one length .* got lengths \[3, 5\]"):
        decide(follow(1), "name", CONFIG, mixed, 128, None, FakeVectorEnv)
    with pytest.raises(ValueError, match="rows 0"):
        decide(follow(1), "name", CONFIG, make_contexts(1), 0, None, FakeVectorEnv)
    assert decide(follow(1), "name", CONFIG, [], 128, None, FakeVectorEnv) == ([], 0.0)


def test_in_a_real_environment_a_rehearsal_tells_what_playing_brings() -> None:
    config = GrowthConfig(tasks=2, decisions=2, minibatches=1)
    contexts = evaluation_contexts(config, "val", 2)
    env = make_vector_env(config, 2)
    one = Stack(env, contexts, 2)
    whole = plan(1, 4, 0, 2)
    told = one.rehearse(one.player(whole), 4, ALL)
    assert one.play(one.player(whole), 4).tolist() == told.tolist()
    env.close()
    spec = PolicySpec(
        "open-loop",
        {
            "rules": [
                {"task": 0, "decision": 0, "layer": 0, "amount": 4},
                {"task": 0, "decision": 1, "layer": 1, "amount": 16},
                {"task": 1, "decision": 1, "layer": 0, "amount": 16},
            ]
        },
    )
    np.testing.assert_allclose([record.return_ for record in play(spec, config, contexts)], told)
