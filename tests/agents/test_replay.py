from __future__ import annotations

import pickle

import numpy as np
import pytest

from agents.evaluation import play, play_together
from agents.policy import PolicySpec
from agents.replay import Replay, replay
from tests.agents.fake_env import CONFIG, FakeVectorEnv, make_contexts, with_tasks
from tests.agents.scripted import interface, seen


def sequence(*actions: int) -> list[int]:
    """Twelve decisions (three tasks of four), those given first."""
    return [*actions, *[0] * (12 - len(actions))]


def test_each_episode_plays_its_own_sequence_however_the_contexts_are_cut() -> None:
    sequences = [sequence(1), sequence(0, 2), sequence(3, 0, 0, 1), sequence(), sequence(4)]
    for rows in (1, 2, 3, 128):
        records = play(replay(sequences), CONFIG, make_contexts(5), rows, make_env=FakeVectorEnv)
        assert [list(record.actions) for record in records] == sequences


def test_replayed_actions_of_a_player_give_its_returns() -> None:
    contexts = make_contexts(6)
    played = play(PolicySpec("random"), CONFIG, contexts, make_env=FakeVectorEnv)
    again = play(replay([record.actions for record in played]), CONFIG, contexts, make_env=FakeVectorEnv)
    assert [record.return_ for record in again] == [record.return_ for record in played]
    assert [record.actions for record in again] == [record.actions for record in played]


def test_two_replays_in_one_stack_count_their_own_episodes() -> None:
    entries = [
        (replay([sequence(1), sequence(2)]), make_contexts(2)),
        (replay([sequence(3)]), make_contexts(1)),
    ]
    one, two = play_together(entries, CONFIG, make_env=FakeVectorEnv)
    assert [record.actions[0] for record in (*one, *two)] == [1, 2, 3]


def test_what_is_illegal_and_what_is_not_written_is_a_wait() -> None:
    # The budget allows 0.125 x 64 = 8 neurons: the second action of 4 still fits, the third does not.
    contexts = with_tasks(make_contexts(1, budget=0.125), 4)
    (record,) = play(replay([[1, 1, 1, 0, 3]]), CONFIG, contexts, make_env=FakeVectorEnv)
    assert record.actions == (1, 1, *[0] * 14)
    assert record.invalid == 0


def test_rows_begin_again_at_their_own_time() -> None:
    player = replay([[1, 2], [3, 4], [2, 2]])(interface(rows=2))
    masks, looks = np.ones((2, 5), dtype=bool), seen(interface(), [{}, {}])
    player.reset(np.array([True, True]))
    assert player.act(looks, masks).tolist() == [1, 3]
    player.reset(np.array([True, False]))
    assert player.act(looks, masks).tolist() == [2, 4]
    assert player.act(looks, masks).tolist() == [2, 0]


def test_rows_without_a_sequence_wait() -> None:
    player = replay([[1, 1]])(interface(rows=2))
    player.reset(np.array([True, True]))
    assert player.act({}, np.ones((2, 5), dtype=bool)).tolist() == [1, 0]


def test_empty_sequences_wait() -> None:
    player = replay([[], []])(interface(rows=2))
    player.reset(np.array([True, True]))
    assert player.act({}, np.ones((2, 5), dtype=bool)).tolist() == [0, 0]


def test_replays_can_be_sent_to_other_processes() -> None:
    player = pickle.loads(pickle.dumps(replay([[1, 2]])))(interface())
    assert isinstance(player, Replay)
    assert player.plan.tolist() == [[1, 2]]


def test_what_is_no_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="sequence 1 should be a list of action indices"):
        replay([[1], [0.5]])
    with pytest.raises(ValueError, match=r"sequence 0 should be a list"):
        replay([[[1]]])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="actions are numbers from 0 to 4 here, got 0 to 5"):
        replay([[0, 5]])(interface())
    with pytest.raises(ValueError, match="numbers from 0 to 4 here, got -1 to 0"):
        replay([[0, -1]])(interface())
    with pytest.raises(ValueError, match=r"there are 2 sequences, but episode 2 is to be played"):
        play(replay([[0], [0]]), CONFIG, make_contexts(3), rows=1, make_env=FakeVectorEnv)
