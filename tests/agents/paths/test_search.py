"""Searches find good paths, count what they play, and exchange what they say they exchange."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from agents.paths.judging import Judge
from agents.paths.sampling import Sampler
from agents.paths.search import SEARCHES, Notes, RandomSearch, RegularisedEvolution, exchanged, search_agent
from growenv.paths.lattice import Lattice
from growenv.registry import UnknownNameError
from tests.agents.paths.synthetic import made_up

JUDGE = Judge(made_up((3, 3), 1))  # 140 paths


def sampler(rows: int = 10, seed: int = 0) -> Sampler:
    return Sampler(JUDGE.environment(rows), seed)


def test_a_sampler_plays_the_paths_it_is_given_and_counts() -> None:
    table, env = JUDGE.table, JUDGE.environment(2)
    own = Sampler(env, 0)
    paths = np.array([[1, 1, 1, 2, 2, 2, 0], [0, 2, 2, 2, 1, 1, 1]])
    returns = own.play(paths)
    leaves = table.lattice.follow(paths)[:, -1]
    assert all(returns[row] in table.accuracy("validation", "train")[:, leaf] for row, leaf in enumerate(leaves))
    assert own.episodes == 2


def test_a_walk_notes_nodes_and_rewards() -> None:
    own = sampler(3)
    lattice = own.lattice
    nodes, rewards = own.walk(lambda at: (lattice.children[at] >= 0).argmax(axis=1))
    assert (nodes == lattice.follow([0, 1, 1, 1, 2, 2, 2])).all()
    assert rewards.shape == (3, 7)
    found = JUDGE.table.accuracy("validation", "train")[:, nodes[0, -1]]
    assert all(np.isclose(total, found).any() for total in rewards.sum(axis=1))


def test_scores_are_drawn_towards_the_mean_of_all_plays() -> None:
    notes = Notes(3, prior=3.0)
    notes.add(np.array([0, 0, 2]), np.array([1.0, 1.0, 4.0]))  # mean 2
    assert notes.score().tolist() == pytest.approx([(2 + 3 * 2) / (2 + 3), 2.0, (4 + 3 * 2) / (1 + 3)])
    assert notes.score(np.array([2, 2])).tolist() == pytest.approx([2.5, 2.5])
    assert notes.best() == 2


def test_a_path_that_was_never_played_is_not_the_best() -> None:
    notes = Notes(2, prior=4.0)
    notes.add(np.array([1, 1]), np.array([-1.0, -3.0]))
    assert notes.best() == 1


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_finds_the_best_path_and_stops_at_its_budget(name: str) -> None:
    seen: list[int] = []
    search = search_agent(name, sampler(), 0)
    search.learn(3000, lambda episodes, policy: seen.append(episodes))
    assert seen == list(range(10, 3001, 10))
    assert JUDGE.regret(search.policy)["train"] < 0.002  # the average path has 0.02


@pytest.mark.parametrize("name", SEARCHES)
def test_equal_seeds_search_equally(name: str) -> None:
    def totals(seed: int) -> list[float]:
        search = search_agent(name, sampler(seed=seed), seed)
        search.learn(300, lambda episodes, policy: None)
        return list(search.notes.totals)

    assert totals(1) == totals(1) != totals(2)


def test_the_oldest_members_of_a_population_leave() -> None:
    search = RegularisedEvolution(sampler(), 0, population=30, sample=5)
    for batch in range(4):
        paths = search.propose()
        search.take(paths, np.full(10, batch), np.zeros(10))
    assert [number for _, number in search.members] == [1] * 10 + [2] * 10 + [3] * 10


def test_the_best_of_the_whole_population_is_the_parent_where_all_compete() -> None:
    search = RegularisedEvolution(sampler(), 0, population=10, sample=10)
    paths, numbers = search.propose(), np.arange(10)
    search.notes.add(numbers, np.where(numbers == 7, 1.0, 0.0))
    search.take(paths, numbers, np.zeros(10))
    assert ((search.propose() != paths[7]).sum(axis=1) == 2).all()


@pytest.mark.parametrize(("population", "sample"), [(5, 6), (5, 0)])
def test_a_sample_fits_into_its_population(population: int, sample: int) -> None:
    with pytest.raises(ValueError, match=f"sample={sample}, population={population}"):
        RegularisedEvolution(sampler(), 0, population, sample)


def test_exchanges_keep_the_counts_and_are_all_equally_likely() -> None:
    path = np.array([1, 1, 2, 0])
    changed = exchanged(np.tile(path, (10_000, 1)), np.random.default_rng(0))
    assert (np.sort(changed, axis=1) == [0, 1, 1, 2]).all()
    found = Counter(map(tuple, changed.tolist()))
    assert set(found) == {(2, 1, 1, 0), (0, 1, 2, 1), (1, 2, 1, 0), (1, 0, 2, 1), (1, 1, 0, 2)}
    assert all(abs(count - 2000) < 250 for count in found.values())


def test_exchanged_paths_are_paths() -> None:
    lattice = Lattice((3, 3), 1)
    paths = lattice.path(lattice.leaves)
    ends = lattice.follow(exchanged(paths, np.random.default_rng(0)))[:, -1]  # refuses what is no path
    assert np.isin(ends, lattice.leaves).all() and (ends != lattice.leaves).all()


def test_wrong_priors_and_names_are_refused() -> None:
    with pytest.raises(ValueError, match="prior=-1: expected a number of plays of at least 0"):
        RandomSearch(sampler(), 0, prior=-1)
    with pytest.raises(UnknownNameError, match="did you mean 'evolution'"):
        search_agent("evoltion", sampler(), 0)
