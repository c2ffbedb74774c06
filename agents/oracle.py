"""The hindsight oracle: how well open-loop growth can do in a context that has been played many times before.

For every context and every inner seed, action sequences are searched on that inner seed. The sequence that is chosen is
scored on the context's next inner seed, which it has never met: the maximum of many noisy returns is too high, and
choosing and scoring on one seed would count that as skill. What the oracle knows beyond a policy is the context; what
it lacks is a look at the network that it is scored on, so a policy that reacts may still beat it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from agents.cache import SearchCache, cached, request
from agents.evaluation import (
    ROWS,
    EpisodeRecord,
    MakeEnv,
    Progress,
    action_table,
    make_vector_env,
    play,
    play_together,
)
from agents.families import schedule_family
from agents.mutations import mutated
from agents.replay import replay
from growenv.actions import WAIT
from growenv.config import GrowthConfig
from growenv.streams.tasks import Context

EPISODES = 128  # of the search in each context with each inner seed
FAMILY = 48  # of these, schedules that every context begins with
ROUND = 8  # sequences that a round of local search tries in each context
PARENTS = 4  # sequences whose neighbours are tried
BLOCK = 32  # contexts that are searched and kept together

Actions = tuple[int, ...]


@dataclass(frozen=True)
class OracleResult:
    """What the oracle did and what it cost. Everything is in the order of the contexts that were given.

    Attributes:
        records: the scored episodes: on each inner seed, the sequence that was chosen on the one before it.
        actions: the sequence that was chosen on each inner seed.
        chosen_returns: its return on that same inner seed: too high, for information.
        episodes: episodes of the search.
        steps: steps of the environment in them.
    """

    records: tuple[EpisodeRecord, ...]
    actions: tuple[Actions, ...]
    chosen_returns: tuple[float, ...]
    episodes: int
    steps: int

    @property
    def steps_per_episode(self) -> float:
        """Steps of the search for each scored episode."""
        return self.steps / max(1, len(self.records))


def hindsight_oracle(
    config: GrowthConfig,
    contexts: Sequence[Context],
    inner_seeds: int,
    *,
    episodes_per_context: int = EPISODES,
    rows: int = ROWS,
    progress: Progress | None = None,
    make_env: MakeEnv = make_vector_env,
    cache: SearchCache | None = None,
) -> OracleResult:
    """Search action sequences in every context with hindsight, and score them on another inner seed.

    Deterministic in its arguments, and each context's result depends on that context alone. With a cache, blocks of
    contexts are kept as soon as they are done.

    Args:
        config: the environment.
        contexts: what `evaluation_contexts` returned: contexts outermost, inner seeds innermost.
        inner_seeds: inner seeds of each context, at least 2.
        episodes_per_context: episodes of the search in each context with each inner seed. The first 48 play schedules,
            the others change the best sequences.
        rows: most rows of the stack.
        progress: called with the episodes done and the episodes in all.
        make_env: as in `agents.evaluation.play`.
        cache: where blocks are kept; None: nowhere.

    Raises:
        ValueError: fewer than 2 inner seeds, contexts in another order or with equal inner seeds, or no episodes.
    """
    _check(contexts, inner_seeds, episodes_per_context)
    if not contexts:
        return OracleResult((), (), (), 0, 0)
    size = BLOCK * inner_seeds
    total = len(contexts) * episodes_per_context
    found: list[Found] = []
    for begun in range(0, len(contexts), size):
        block = contexts[begun : begun + size]
        part = _part(progress, begun * episodes_per_context, total)
        found += _block(config, block, episodes_per_context, rows, part, make_env, cache)
    actions = tuple(each.actions for each in found)
    chosen = _next_seed(actions, inner_seeds)
    records = play(replay(chosen), config, contexts, rows, make_env=make_env)
    return OracleResult(
        tuple(replace(record, policy="oracle") for record in records),
        actions,
        tuple(each.return_ for each in found),
        sum(each.episodes for each in found),
        sum(each.steps for each in found),
    )


def _check(contexts: Sequence[Context], inner_seeds: int, episodes: int) -> None:
    if inner_seeds < 2 or len(contexts) % inner_seeds:
        raise ValueError(
            f"the oracle is scored on another inner seed than it chose on: expected inner_seeds >= 2 that divides the "
            f"{len(contexts)} contexts, got {inner_seeds}"
        )
    if episodes < 1:
        raise ValueError(f"the oracle needs at least one episode in each context, got {episodes}")
    for start in range(0, len(contexts), inner_seeds):
        group = contexts[start : start + inner_seeds]
        same = len({replace(context, inner_seed=0) for context in group}) == 1
        if not same or len({context.inner_seed for context in group}) < inner_seeds:
            raise ValueError(
                f"contexts {start} to {start + inner_seeds - 1} should be one context with {inner_seeds} different "
                "inner seeds; give contexts outermost and inner seeds innermost"
            )


def _next_seed(actions: Sequence[Actions], inner_seeds: int) -> list[Actions]:
    """What each inner seed plays: the sequence that was chosen on the inner seed before it, the last one's at first."""
    before = [
        start + (seed - 1) % inner_seeds for start in range(0, len(actions), inner_seeds) for seed in range(inner_seeds)
    ]
    return [actions[each] for each in before]


def _part(progress: Progress | None, before: int, total: int) -> Progress | None:
    return None if progress is None else lambda done, _: progress(before + done, total)


@dataclass(frozen=True)
class Found:
    """The sequence chosen in a context with one inner seed.

    Attributes:
        actions: the sequence as it was carried out.
        return_: its return where it was chosen.
        episodes: episodes of the search.
        steps: steps of the environment in them.
    """

    actions: Actions
    return_: float
    episodes: int
    steps: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Found:
        """What `to_json` wrote; raises `KeyError`, `TypeError` or `ValueError` for what is none."""
        counts = int(data["episodes"]), int(data["steps"])
        return cls(tuple(map(int, data["actions"])), float(data["return"]), *counts)

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return {
            "actions": list(self.actions),
            "return": self.return_,
            "episodes": self.episodes,
            "steps": self.steps,
        }


def _block(
    config: GrowthConfig,
    contexts: Sequence[Context],
    episodes: int,
    rows: int,
    progress: Progress | None,
    make_env: MakeEnv,
    cache: SearchCache | None,
) -> list[Found]:
    """What is found in some contexts, kept together."""
    plain = replace(config, accuracy_matrix=False, signals=())  # neither changes a reward

    def search() -> list[Found]:
        """Schedules first, then local search until the episodes are spent."""
        hindsight = Hindsight(plain, contexts, rows, progress, make_env)
        hindsight.begin(min(episodes, FAMILY))
        while hindsight.episodes < episodes and hindsight.improve(min(ROUND, episodes - hindsight.episodes)):
            pass
        return hindsight.found()

    asked = request("hindsight oracle", plain, contexts, make_env, episodes=episodes)
    return cached(
        cache,
        asked,
        search,
        lambda found: [each.to_json() for each in found],
        lambda data: [Found.from_json(each) for each in data],
    )


class Hindsight:
    """Sequences and their returns in each of some contexts, all of which are searched at the same time.

    Args:
        config: the environment.
        contexts: where sequences are searched.
        rows: most rows of the stack.
        progress: called with the episodes done.
        make_env: as in `agents.evaluation.play`.

    Attributes:
        episodes: episodes played in each context.
        known: return of every sequence that was carried out in each context.
    """

    def __init__(
        self,
        config: GrowthConfig,
        contexts: Sequence[Context],
        rows: int = ROWS,
        progress: Progress | None = None,
        make_env: MakeEnv = make_vector_env,
    ) -> None:
        self.config, self.contexts, self.table = config, tuple(contexts), action_table(config)
        self.rows, self.progress, self.make_env = rows, progress, make_env
        self.episodes = 0
        self.known: list[dict[Actions, float]] = [{} for _ in contexts]
        self._asked: list[set[Actions]] = [set() for _ in contexts]
        self._played, self._steps = np.zeros((2, len(contexts)), dtype=np.int64)
        self._generators = [np.random.default_rng([context.index, context.inner_seed]) for context in contexts]

    def begin(self, count: int) -> None:
        """Play the first `count` schedules of `schedule_family` in every context."""
        specs = schedule_family(self.config, count)
        entries = [(spec, self.contexts) for spec in specs]
        for records in play_together(entries, self.config, self.rows, self._report(), self.make_env):
            for place, record in enumerate(records):
                self._add(place, record)
        self.episodes += count

    def improve(self, count: int) -> bool:
        """Play up to `count` new neighbours of the best sequences in every context; False if there are none."""
        proposals = [(place, plan) for place in range(len(self.contexts)) for plan in self._propose(place, count)]
        if not proposals:
            return False
        contexts = [self.contexts[place] for place, _ in proposals]
        player = replay([plan for _, plan in proposals])
        (records,) = play_together([(player, contexts)], self.config, self.rows, self._report(), self.make_env)
        for (place, _), record in zip(proposals, records, strict=True):
            self._add(place, record)
        self.episodes += count
        return True

    def found(self) -> list[Found]:
        """The choice in each context."""
        chosen = [self.ranked(place)[0] for place in range(len(self.contexts))]
        counts = zip(self._played.tolist(), self._steps.tolist(), strict=True)
        return [
            Found(actions, self.known[place][actions], *count)
            for place, (actions, count) in enumerate(zip(chosen, counts, strict=True))
        ]

    def ranked(self, place: int) -> list[Actions]:
        """The sequences of a context, best first by return; of equals the one that was found first.

        Choosing by returns that a Gaussian process smooths over similar sequences was no better on val contexts.
        """
        known = self.known[place]
        return sorted(known, key=lambda actions: -known[actions])

    def _propose(self, place: int, count: int) -> list[Actions]:
        """New sequences for a context; fewer than `count` if nearly all neighbours are known."""
        parents = self.ranked(place)[:PARENTS]
        proposals: list[Actions] = []
        for attempt in range(10 * count):
            if len(proposals) == count:
                break
            plan = np.array(parents[attempt % len(parents)]).reshape(-1, self.config.decisions)
            near = tuple(mutated(plan, self.table, self._generators[place]).ravel().tolist())
            if near not in self._asked[place] and near not in self.known[place]:
                self._asked[place].add(near)
                proposals.append(near)
        return proposals

    def _add(self, place: int, record: EpisodeRecord) -> None:
        whole = len(self.contexts[place].tasks) * self.config.decisions
        ended = (*record.actions, *[WAIT] * (whole - len(record.actions)))  # a diverged episode is shorter
        self.known[place][ended] = record.return_  # schedules and replays wait where a wish is illegal
        self._played[place] += 1
        self._steps[place] += len(record.actions)

    def _report(self) -> Progress | None:
        before, progress = int(self._played.sum()), self.progress
        return None if progress is None else lambda done, total: progress(before + done, total)
