"""What was played: players, their episodes on the same contexts, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agents.evaluation import EpisodeRecord
from agents.policy import PolicyFactory
from agents.search import SearchResult
from growenv.config import GrowthConfig

BEST_FIXED = "best-fixed"
ORACLE = "oracle"

KINDS = ("learned", "ablation", "control", "schedule", "gate", "search", "oracle")
"""What players are: policies that learned; the same without some observations; what takes their reactions away;
schedules; triggers of the literature; what tries actions out before it acts; what knows the future."""

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Player:
    """One line of the table: who played, and every episode.

    Attributes:
        name: name in tables.
        kind: one of `KINDS`.
        runs: episodes for each training seed, at least one; baselines have one. Contexts outermost, inner seeds
            innermost, the same for all players of a comparison.
        steps: environment steps spent on training one run or on tuning, before the first of these episodes.
        steps_per_episode: environment steps simulated for each episode beyond the episode's own.
        note: a sentence about it.
    """

    name: str
    kind: str
    runs: tuple[tuple[EpisodeRecord, ...], ...]
    steps: int = 0
    steps_per_episode: float = 0.0
    note: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"player {self.name!r} has kind {self.kind!r}, expected one of {', '.join(KINDS)}")
        if not self.runs or len({len(run) for run in self.runs}) != 1 or not self.runs[0]:
            raise ValueError(f"player {self.name!r} needs equally many episodes for each of at least one training seed")

    @property
    def records(self) -> tuple[EpisodeRecord, ...]:
        """The episodes of the first training seed."""
        return self.runs[0]

    @property
    def inner_seeds(self) -> int:
        """Episodes in each context."""
        return sum(record.index == self.records[0].index for record in self.records)

    def values(self, name: str) -> NDArray[np.float64]:
        """A figure of every episode, shape (training seeds, contexts, inner seeds).

        Args:
            name: a number of `EpisodeRecord`, or a figure of its hardware.
        """
        flat = [[_figure(record, name) for record in run] for run in self.runs]
        return np.array(flat, dtype=np.float64).reshape(len(self.runs), -1, self.inner_seeds)

    def mean(self, name: str) -> float:
        """Mean of a figure over all episodes."""
        return float(self.values(name).mean())


def _figure(record: EpisodeRecord, name: str) -> float:
    return float(record.hardware[name] if name in record.hardware else getattr(record, name))


@dataclass(frozen=True)
class Comparison:
    """Episodes of several players on the same contexts.

    Attributes:
        config: the environment.
        split: split of the contexts.
        inner_seeds: episodes in each context.
        players: who played; one of them is called `BEST_FIXED`.
        searches: what was tuned, by the name of the player, and at what cost.
    """

    config: GrowthConfig
    split: str
    inner_seeds: int
    players: tuple[Player, ...]
    searches: Mapping[str, SearchResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [player.name for player in self.players]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"every player needs its own name; given twice: {', '.join(twice)}")
        played = {tuple((r.index, r.inner_seed) for r in run) for player in self.players for run in player.runs}
        if len(played) != 1:
            raise ValueError("the players of a comparison must have played the same contexts and inner seeds")

    def player(self, name: str) -> Player:
        """The player of this name.

        Raises:
            KeyError: nobody has this name.
        """
        return {player.name: player for player in self.players}[name]

    def of_kind(self, *kinds: str) -> tuple[Player, ...]:
        """The players of some kinds, in their order."""
        return tuple(player for player in self.players if player.kind in kinds)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all players."""
        return tuple(player.name for player in self.players)

    @property
    def contexts(self) -> int:
        """How many contexts were played."""
        return len(self.players[0].records) // self.inner_seeds


@dataclass(frozen=True)
class Trained:
    """Learned policies that differ in their training seed only.

    Attributes:
        name: name in tables.
        factories: one for each training seed, such as `LearnedPolicy.bind`.
        steps: environment steps of the training of one.
        kind: ``learned``, or ``ablation`` for policies that were trained with less.
        note: a sentence about it.
        sampled: the same policies drawing from their distributions, where they have any.
    """

    name: str
    factories: tuple[PolicyFactory, ...]
    steps: int = 0
    kind: str = "learned"
    note: str = ""
    sampled: tuple[PolicyFactory, ...] = ()
