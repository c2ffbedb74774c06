"""Search for a path by playing whole paths: at random, by regularised evolution, and by climbing hills."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.paths.orders import Paths, playing, random_paths
from agents.paths.sampling import Sampler, Watch
from agents.policy import Policy
from growenv.paths.planning import path_numbers
from growenv.registry import unknown_name


class Notes:
    """What a search has seen of every path: plays and returns.

    Args:
        paths: number of all paths.
        prior: imagined plays of every path with the mean return of all, so that one lucky play does not make a path the
            best.

    Raises:
        ValueError: a negative number of plays.
    """

    def __init__(self, paths: int, prior: float) -> None:
        if not prior >= 0.0:
            raise ValueError(f"prior={prior!r}: expected a number of plays of at least 0")
        self.prior = prior
        self.plays = np.zeros(paths)
        self.totals = np.zeros(paths)

    def add(self, numbers: NDArray[np.int64], returns: NDArray[np.float64]) -> None:
        """Note returns of paths by number, both (N,); a number may come several times."""
        np.add.at(self.plays, numbers, 1.0)
        np.add.at(self.totals, numbers, returns)

    def score(self, numbers: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        """Mean returns of paths by number, drawn towards the mean of all plays by `prior` plays of it."""
        middle = self.totals.sum() / max(self.plays.sum(), 1.0)
        shrunk: NDArray[np.float64] = (self.totals[numbers] + self.prior * middle) / (self.plays[numbers] + self.prior)
        return shrunk

    def best(self) -> int:
        """Number of the path with the highest score among those played."""
        return int(np.where(self.plays > 0, self.score(), -np.inf).argmax())


class PathSearch:
    """Plays batches of paths that `propose` makes, and would play the path of the highest score.

    Args:
        sampler: plays the episodes.
        seed: seed of what is proposed.
        prior: see `Notes`.
    """

    def __init__(self, sampler: Sampler, seed: int, prior: float = 4.0) -> None:
        self.sampler, self.lattice = sampler, sampler.lattice
        self.generator = np.random.default_rng(seed)
        self.notes = Notes(self.lattice.paths, prior)

    def learn(self, episodes: int, watch: Watch) -> None:
        """Play batches until so many episodes have been played; see `agents.paths.sampling.Agent`."""
        while self.sampler.episodes < episodes:
            paths = self.propose()
            numbers = path_numbers(self.lattice, paths)
            returns = self.sampler.play(paths)
            self.notes.add(numbers, returns)
            self.take(paths, numbers, returns)
            watch(self.sampler.episodes, self.policy)

    def policy(self, rows: int) -> Policy:
        """Plays the path with the highest score."""
        return playing(self.lattice, self.lattice.path(self.lattice.leaves[self.notes.best()]), rows)

    def propose(self) -> Paths:
        """The next paths to play, (N, T)."""
        raise NotImplementedError

    def take(self, paths: Paths, numbers: NDArray[np.int64], returns: NDArray[np.float64]) -> None:
        """Learn from paths (N, T), their numbers (N,) and their returns (N,); by default nothing but the notes."""


class RandomSearch(PathSearch):
    """Plays paths drawn uniformly from all."""

    def propose(self) -> Paths:
        """New random paths."""
        return random_paths(self.lattice, self.sampler.rows, self.generator)


class RegularisedEvolution(PathSearch):
    """A population that ages: the best of a sample has a child, and the oldest member dies.

    As many children as there are rows are played at once. A child is its parent with two different actions exchanged.
    Members are compared by their score, which knows all plays of a path, because returns are noisy.

    Args:
        sampler: plays the episodes.
        seed: seed of population, samples and mutations.
        population: members P.
        sample: members that compete to be the parent of a child S.
        prior: see `Notes`.

    Source: Real et al. 2019, arXiv 1802.01548, algorithm 1, with its P = 100 and S = 25.

    Raises:
        ValueError: a sample or a population of impossible size.
    """

    def __init__(
        self, sampler: Sampler, seed: int, population: int = 100, sample: int = 25, prior: float = 4.0
    ) -> None:
        if not 1 <= sample <= population:
            raise ValueError(f"sample={sample}, population={population}: expected 1 <= sample <= population")
        super().__init__(sampler, seed, prior)
        self.sample = sample
        self.members: deque[tuple[Paths, int]] = deque(maxlen=population)

    def propose(self) -> Paths:
        """Random paths until the population is whole, then children."""
        if len(self.members) < (self.members.maxlen or 0):
            return random_paths(self.lattice, self.sampler.rows, self.generator)
        scores = self.notes.score(np.array([number for _, number in self.members]))
        rivals = self.generator.random((self.sampler.rows, len(self.members))).argsort(axis=1)[:, : self.sample]
        parents = rivals[np.arange(len(rivals)), scores[rivals].argmax(axis=1)]
        return exchanged(np.stack([self.members[parent][0] for parent in parents]), self.generator)

    def take(self, paths: Paths, numbers: NDArray[np.int64], returns: NDArray[np.float64]) -> None:
        """The children join, the oldest leave."""
        self.members.extend(zip(paths, numbers.tolist(), strict=True))


class HillClimbing(PathSearch):
    """Plays the best path known, and neighbours of it that differ in one exchange of two actions.

    One path of every batch is the best known itself, so that its score becomes more certain and luck does not last.
    """

    def propose(self) -> Paths:
        """Random paths first, then the best path and its neighbours."""
        if not self.notes.plays.any():
            return random_paths(self.lattice, self.sampler.rows, self.generator)
        best = self.lattice.path(self.lattice.leaves[self.notes.best()])
        paths = exchanged(np.tile(best, (self.sampler.rows, 1)), self.generator)
        paths[0] = best
        return paths


def exchanged(paths: Paths, generator: np.random.Generator) -> Paths:
    """Paths with two decisions exchanged whose actions differ, each pair equally likely, (N, T) to (N, T)."""
    row = np.arange(len(paths))
    first, second = np.triu_indices(paths.shape[1], 1)
    differs = paths[:, first] != paths[:, second]
    pair = np.where(differs, generator.random(differs.shape), -1.0).argmax(axis=1)
    changed: Paths = paths.copy()
    changed[row, first[pair]], changed[row, second[pair]] = paths[row, second[pair]], paths[row, first[pair]]
    return changed


_KINDS: dict[str, type[PathSearch]] = {
    "random-search": RandomSearch,
    "evolution": RegularisedEvolution,
    "hill-climbing": HillClimbing,
}
SEARCHES: dict[str, dict[str, Any]] = {
    "random-search": {"prior": 4.0},
    "evolution": {"population": 100, "sample": 25, "prior": 4.0},
    "hill-climbing": {"prior": 4.0},
}
"""Hyper-parameters by name."""


def search_agent(name: str, sampler: Sampler, seed: int) -> PathSearch:
    """The search called `name`.

    Raises:
        UnknownNameError: no such search.
    """
    if name not in SEARCHES:
        raise unknown_name("search", name, SEARCHES)
    return _KINDS[name](sampler, seed, **SEARCHES[name])
