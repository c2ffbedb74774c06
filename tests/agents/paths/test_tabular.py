"""Tables learn what hand-worked episodes say, explore what is allowed, and find the best path."""

from __future__ import annotations

import numpy as np
import pytest

from agents.paths.judging import Judge
from agents.paths.sampling import Sampler
from agents.paths.tabular import TABULAR, QLearning, ThompsonSampling, legal, places, tabular_agent
from growenv.paths.lattice import Lattice
from growenv.registry import UnknownNameError
from tests.agents.paths.synthetic import made_up

JUDGE = Judge(made_up((3, 3), 1))
SMALL = Judge(made_up((1, 1)))
"""Nodes: root 0; layer 1 first 1, layer 2 first 2; the whole paths 3 (1 then 2) and 4 (2 then 1)."""
NEITHER = -np.inf


def sampler(judge: Judge, rows: int = 10, seed: int = 0) -> Sampler:
    return Sampler(judge.environment(rows), seed)


def test_places_are_equal_where_counts_are() -> None:
    lattice = Lattice((1, 1), 1)
    place = places(lattice)
    end = lattice.leaves
    assert len(set(place.tolist())) == 8
    assert len(set(place[end].tolist())) == 1
    for first in range(lattice.nodes):
        for second in range(first):
            same = (lattice.counts[first] == lattice.counts[second]).all()
            assert (place[first] == place[second]) == same


def test_values_of_forbidden_actions_are_never_the_largest() -> None:
    lattice = Lattice((1, 1))
    assert legal(lattice, np.array([0, 1]), np.ones((2, 3))).tolist() == [[NEITHER, 1, 1], [NEITHER, NEITHER, 1]]


def test_q_learning_replays_an_episode_backwards() -> None:
    agent = QLearning(sampler(SMALL, rows=1), 0)
    agent.update(np.array([[0, 2, 4]]), np.array([[0.5, 0.25]]))
    assert agent.q[2, 1] == 0.25  # the first visit is believed
    assert agent.q[0, 2] == 0.75  # and what follows is known at once
    agent.update(np.array([[0, 2, 4]]), np.array([[0.5, 0.0]]))
    rate = 2**-0.8
    assert agent.q[2, 1] == pytest.approx(0.25 - 0.25 * rate)
    assert agent.q[0, 2] == pytest.approx(0.75 - rate * 0.25 * rate)


def test_q_learning_takes_equal_steps_of_one_batch_together() -> None:
    agent = QLearning(sampler(SMALL, rows=2), 0)
    agent.update(np.array([[0, 1, 3], [0, 1, 3]]), np.array([[0.0, 0.4], [0.0, 0.2]]))
    assert agent.visits[1, 2] == 2
    assert agent.q[1, 2] == pytest.approx(0.3)  # two first visits: a rate of 2 / 2^0.8 is at most 1


def test_places_share_what_was_learned() -> None:
    judge = Judge(made_up((2, 1)))
    agent = QLearning(sampler(judge, rows=1), 0, states="place")
    lattice = agent.lattice
    first, second = (lattice.follow(path) for path in ([1, 2, 1], [2, 1, 1]))
    agent.update(first[None], np.array([[0.0, 0.0, 1.0]]))
    assert agent.values(second[2:3])[0, 1] == 1.0
    assert QLearning(sampler(judge, rows=1), 0).values(second[2:3])[0, 1] < 0


def test_q_learning_explores_less_and_less() -> None:
    agent = QLearning(sampler(SMALL, rows=1), 0, epsilon=1.0)
    agent.update(np.array([[0, 2, 4]]), np.array([[0.5, 0.25]]))
    many = np.zeros(4000, dtype=np.int64)
    share = []
    for agent.progress in (0.0, 0.5, 1.0):
        share.append((agent.explore(many) == 1).mean())
    assert share == pytest.approx([0.5, 0.25, 0.0], abs=0.04)


def test_beliefs_are_means_with_one_imagined_episode_of_the_parent() -> None:
    agent = ThompsonSampling(sampler(SMALL, rows=2), 0)
    agent.update(np.array([[0, 1, 3], [0, 2, 4]]), np.array([[0.0, 0.4], [0.5, 0.1]]))
    assert agent.values(np.array([0]))[0, 1:].tolist() == pytest.approx([(0.4 + 0.5) / 2, (0.6 + 0.5) / 2])
    agent.update(np.array([[0, 1, 3], [0, 1, 3]]), np.array([[0.0, 0.4], [0.0, 0.2]]))
    assert agent.values(np.array([0]))[0, 1:].tolist() == pytest.approx([(1.0 + 0.4) / 4, (0.6 + 0.4) / 2])


def test_thompson_sampling_without_spread_takes_the_believed_best() -> None:
    agent = ThompsonSampling(sampler(SMALL, rows=2), 0, temper=0.0)
    agent.update(np.array([[0, 1, 3], [0, 2, 4]]), np.array([[0.0, 0.4], [0.5, 0.1]]))
    assert agent.explore(np.array([0, 1, 2])).tolist() == [2, 2, 1]


@pytest.mark.parametrize("name", TABULAR)
def test_a_table_finds_the_best_path(name: str) -> None:
    agent = tabular_agent(name, sampler(JUDGE), 0)
    agent.learn(4000, lambda episodes, policy: None)
    assert JUDGE.regret(agent.policy)["train"] < 0.002  # the average path has 0.02
    assert agent.sampler.episodes == 4000


@pytest.mark.parametrize("name", TABULAR)
def test_a_policy_exists_before_anything_was_learned(name: str) -> None:
    assert JUDGE.regret(tabular_agent(name, sampler(JUDGE), 0).policy)["train"] > 0


@pytest.mark.parametrize("name", TABULAR)
def test_equal_seeds_learn_equally(name: str) -> None:
    def rewards(seed: int) -> list[float]:
        agent = tabular_agent(name, sampler(JUDGE, seed=seed), seed)
        agent.learn(200, lambda episodes, policy: None)
        return [float(value) for value in agent.values(np.arange(20)).ravel()]

    assert rewards(1) == rewards(1) != rewards(2)


def test_wrong_options_are_refused() -> None:
    own = sampler(SMALL)
    with pytest.raises(UnknownNameError, match="did you mean 'node'"):
        QLearning(own, 0, states="nodes")
    with pytest.raises(ValueError, match="epsilon=1.5"):
        QLearning(own, 0, epsilon=1.5)
    with pytest.raises(ValueError, match="rate_power=0.5: expected a power above 0.5"):
        QLearning(own, 0, rate_power=0.5)
    with pytest.raises(ValueError, match="temper=-1"):
        ThompsonSampling(own, 0, temper=-1)
    with pytest.raises(UnknownNameError, match="q-learning-places"):
        tabular_agent("q-learning-place", own, 0)
