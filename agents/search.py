"""Tunes baselines on train and val contexts: a family of fixed schedules, and the settings of gates.

The search is successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943) inside a stated budget: all candidates
play a few contexts, the better half plays twice as many, and so on. A context once played is never played again. What
lies near the best candidates is tried as well, so that the best fixed schedule and the tuned gates are hard to beat.
Budgets are steps of the environment, the unit in which learning is paid for; every search has as many as the learner.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from agents.cache import SearchCache, cached, request
from agents.evaluation import ROWS, MakeEnv, Progress, evaluation_contexts, make_vector_env, play_together
from agents.families import neighbours, refinements, schedule_family
from agents.policy import PolicySpec
from growenv.config import GrowthConfig
from growenv.streams.tasks import Context

STEPS = 201_600
"""Steps of the environment for a search: as many as the default training takes, the evaluations on val that choose its
checkpoint included."""
FEWEST = 400  # episodes below which a search for the best fixed schedule means nothing
START = 8  # contexts of the first rung, the least
EXPLORED = 32  # contexts up to which schedules are halved before the final
MOST_EXPLORED = 64  # the same for settings of a gate, which are fewer
CONTEXTS = (64, 128, 256)  # of the final, as the budget allows
ROUNDS = 4  # of refinement: the last one tries sixteenths of the gap between two values of a range


@dataclass(frozen=True)
class Trial:
    """A candidate and its score.

    Attributes:
        spec: the candidate.
        contexts: contexts that it played.
        mean: mean return over them.
    """

    spec: PolicySpec
    contexts: int
    mean: float

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return {"spec": self.spec.to_json(), "contexts": self.contexts, "mean": self.mean}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trial:
        """The trial that `to_json` wrote; raises `KeyError` or `ValueError` for what is none."""
        return cls(PolicySpec.from_json(data["spec"]), int(data["contexts"]), float(data["mean"]))


@dataclass(frozen=True)
class SearchResult:
    """What a search found and what it cost.

    Attributes:
        best: the winner.
        trials: all candidates; those that got further come first, then the better ones.
        episodes: episodes played.
        steps: steps of the environment in them: decisions of one network.
        splits: splits of the contexts that were played.
    """

    best: PolicySpec
    trials: tuple[Trial, ...]
    episodes: int
    steps: int
    splits: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        trials = [trial.to_json() for trial in self.trials]
        played = {"episodes": self.episodes, "steps": self.steps, "splits": list(self.splits)}
        return {"best": self.best.to_json(), "trials": trials, **played}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SearchResult:
        """The result that `to_json` wrote; raises `KeyError` or `ValueError` for what is none."""
        trials = tuple(Trial.from_json(trial) for trial in data["trials"])
        counts = int(data["episodes"]), int(data["steps"])
        return cls(PolicySpec.from_json(data["best"]), trials, *counts, tuple(map(str, data["splits"])))


class Scoreboard:
    """The returns of all candidates on the first contexts of a fixed list, played only once each.

    Args:
        config: the environment.
        contexts: contexts of splits to tune on; a candidate's score on k contexts is taken on the first k.
        budget: episodes that may be played in all.
        rows: most rows of the stack.
        progress: called with the episodes done and the budget.
        make_env: as in `agents.evaluation.play`.
    """

    def __init__(
        self,
        config: GrowthConfig,
        contexts: Sequence[Context],
        budget: int,
        rows: int = ROWS,
        progress: Progress | None = None,
        make_env: MakeEnv = make_vector_env,
    ) -> None:
        if len(contexts) < START:
            raise ValueError(f"a search needs at least {START} contexts, got {len(contexts)}")
        # Only the reward matters here, so the search does not pay for the accuracy matrix.
        self.config = replace(config, accuracy_matrix=False)
        self.contexts, self.budget = tuple(contexts), budget
        self.rows, self.progress, self.make_env = rows, progress, make_env
        self.spent = self.steps = 0
        self._specs: dict[str, PolicySpec] = {}
        self._returns: dict[str, list[float]] = {}

    def __len__(self) -> int:
        """Candidates that have played."""
        return len(self._specs)

    @property
    def left(self) -> int:
        """Episodes left in the budget."""
        return self.budget - self.spent

    def known(self, spec: PolicySpec) -> int:
        """Contexts that the candidate has played."""
        return len(self._returns.get(spec.key, ()))

    def score(self, specs: Sequence[PolicySpec], contexts: int) -> list[PolicySpec]:
        """The candidates, best first by mean return on the first `contexts` contexts; plays what is missing."""
        unique = {spec.key: spec for spec in specs}
        self._specs.update({key: spec for key, spec in unique.items() if key not in self._specs})
        entries = [(spec, self.contexts[self.known(spec) : contexts]) for spec in unique.values()]
        missing = sum(len(own) for _, own in entries)
        played = play_together(entries, self.config, self.rows, self._report(), self.make_env)
        for key, records in zip(unique, played, strict=True):
            self._returns.setdefault(key, []).extend(record.return_ for record in records)
            self.steps += sum(len(record.actions) for record in records)
        self.spent += missing
        return sorted(unique.values(), key=lambda spec: -self.mean(spec, contexts))

    def _report(self) -> Progress | None:
        spent, progress = self.spent, self.progress
        return None if progress is None else lambda done, _: progress(spent + done, self.budget)

    def mean(self, spec: PolicySpec, contexts: int | None = None) -> float:
        """Mean return of a candidate on the first contexts, or on all that it played."""
        return float(np.mean(self._returns[spec.key][:contexts]))

    def result(self, best: PolicySpec) -> SearchResult:
        """All trials so far."""
        trials = [Trial(spec, self.known(spec), self.mean(spec)) for spec in self._specs.values()]
        trials.sort(key=lambda trial: (trial.spec.key != best.key, -trial.contexts, -trial.mean))
        furthest = max(trial.contexts for trial in trials)
        splits = tuple(dict.fromkeys(context.split for context in self.contexts[:furthest]))
        return SearchResult(best, tuple(trials), self.spent, self.steps, splits)


def rungs(candidates: int, start: int, stop: int) -> list[tuple[int, int]]:
    """Successive halving as (candidates, contexts) of each rung: half the candidates on twice the contexts.

    `rungs(12, 8, 64)` is ``[(12, 8), (6, 16), (3, 32), (2, 64)]``.
    """
    plan = [(candidates, min(start, stop))]
    while plan[-1][1] < stop:
        plan.append((-(-plan[-1][0] // 2), min(2 * plan[-1][1], stop)))
    return plan


def cost(plan: Iterable[tuple[int, int]]) -> int:
    """Episodes of a plan of rungs whose candidates are all new."""
    episodes, before = 0, 0
    for candidates, contexts in plan:
        episodes += candidates * (contexts - before)
        before = contexts
    return episodes


def affordable(budget: int, start: int, stop: int) -> int:
    """The most candidates whose halving from `start` to `stop` contexts fits into `budget` episodes."""
    count = 0
    while cost(rungs(count + 1, start, stop)) <= budget:
        count += 1
    return count


def halve(board: Scoreboard, specs: Sequence[PolicySpec], stop: int, start: int = START) -> list[PolicySpec]:
    """The candidates that reach the last rung of `stop` contexts, best first."""
    survivors = list(specs)
    for candidates, contexts in rungs(len(survivors), start, stop):
        survivors = board.score(survivors[:candidates], contexts)
    return survivors


def tuning_contexts(config: GrowthConfig, count: int) -> list[Context]:
    """The first contexts of the train split, for the early rungs, then the first ones of the val split, `count` in all.

    Halving explores on the former, so the final takes most of its evidence from contexts that chose no finalist.
    """
    explored = min(EXPLORED, count // 2)
    return [
        *evaluation_contexts(config, "train", explored),
        *evaluation_contexts(config, "val", count - explored),
    ]


def episode_budget(config: GrowthConfig, steps: int) -> int:
    """Episodes that hold this many steps of the environment, the last one begun included.

    Raises:
        ValueError: less than one step.
    """
    if steps < 1:
        raise ValueError(f"a search needs a budget of at least one step, got {steps}")
    return -(-steps // (config.decisions * config.tasks))


def _prepared(
    config: GrowthConfig, contexts: Sequence[Context] | None, steps: int, episodes: int | None
) -> tuple[list[Context], int]:
    """The contexts to tune on, and the episodes that may be played on them."""
    budget = episode_budget(config, steps) if episodes is None else episodes
    if contexts is not None:
        return list(contexts), budget
    return tuning_contexts(config, final_contexts(budget)), budget


def final_contexts(budget: int) -> int:
    """Contexts of the final for a budget of episodes: a twentieth of it, rounded down to one of `CONTEXTS`."""
    return max([CONTEXTS[0], *(count for count in CONTEXTS if 20 * count <= budget)])


def best_fixed_schedule(
    config: GrowthConfig,
    contexts: Sequence[Context] | None = None,
    *,
    steps: int = STEPS,
    episodes: int | None = None,
    rows: int = ROWS,
    progress: Progress | None = None,
    make_env: MakeEnv = make_vector_env,
    cache: SearchCache | None = None,
) -> SearchResult:
    """The best fixed schedule that a budget finds: explore a family, try neighbours of the best, a final.

    Deterministic in its arguments. Three fifths of the budget explore; the final puts the best candidates on all
    contexts; what is left between tries neighbours.

    Args:
        config: the environment.
        contexts: contexts to tune on, at least 64 for a choice that means something; 64 to 256 `tuning_contexts`, as
            the budget allows, if None.
        steps: most steps of the environment; an episode has ``decisions x tasks``.
        episodes: most episodes to play; given, it replaces `steps`.
        rows: most rows of the stack.
        progress: called with the episodes done and the budget in episodes.
        make_env: as in `agents.evaluation.play`.
        cache: where the result is kept; None: nowhere.

    Raises:
        ValueError: fewer than 8 contexts, or a budget that is too small.
    """
    chosen, budget = _prepared(config, contexts, steps, episodes)
    board = Scoreboard(config, chosen, budget, rows, progress, make_env)
    asked = request("best fixed schedule", config, chosen, make_env, episodes=budget)
    return cached(cache, asked, lambda: _search_schedules(board), SearchResult.to_json, SearchResult.from_json)


def _search_schedules(board: Scoreboard) -> SearchResult:
    config, budget, full = board.config, board.budget, len(board.contexts)
    explored = min(EXPLORED, full)
    finalists = max(2, min(8, budget // 500))
    final = rungs(finalists, min(2 * explored, full), full)
    # The finalists know the explored contexts already, but a neighbour may replace any of them: keep the full price.
    reserve = sum(count * contexts for count, contexts in final[:1]) + cost(final) - cost(final[:1])
    count = affordable(min(3 * budget // 5, budget - reserve), START, explored)
    if budget < FEWEST or count < 2:
        raise ValueError(f"{budget} episodes are too few for a search on {full} contexts; allow 1000")
    leaders = halve(board, schedule_family(config, count), explored)[:finalists]
    while (room := affordable(board.left - reserve, START, explored)) >= 2:
        more = [*neighbours(config, leaders[:4]), *schedule_family(config, len(board) + 32)]
        new = [spec for spec in more if not board.known(spec)][: min(room, 32)]
        if not new:
            break  # a small family has no more schedules
        leaders = board.score([*leaders, *halve(board, new, explored)], explored)[:finalists]
    for survivors, seen in final:
        leaders = board.score(leaders[:survivors], seen)
    return board.result(leaders[0])


def tune(
    specs: Sequence[PolicySpec],
    config: GrowthConfig,
    contexts: Sequence[Context] | None = None,
    *,
    steps: int = STEPS,
    episodes: int | None = None,
    rows: int = ROWS,
    progress: Progress | None = None,
    make_env: MakeEnv = make_vector_env,
    cache: SearchCache | None = None,
) -> SearchResult:
    """The best of the given policies, and of settings between them, that a budget finds.

    Deterministic in its arguments. As many are tried as two thirds of the budget allow, in their order, by successive
    halving that begins on as many contexts as possible. Then come settings halfway between the best ones and the next
    values of their options (see `agents.families.refinements`). The final puts as many of the best on all contexts as
    what is left allows. A few settings without options to refine may need less than the budget: the result says what
    was played.

    The first one also plays the final, so what was tuned is at least as good as it on the contexts of the search.
    Arguments and errors as in `best_fixed_schedule`.
    """
    chosen, budget = _prepared(config, contexts, steps, episodes)
    board = Scoreboard(config, chosen, budget, rows, progress, make_env)
    if not specs or budget < len(chosen):
        raise ValueError(
            f"{budget} episodes are too few for {len(chosen)} contexts and {len(specs)} policies; allow at least "
            f"{len(chosen)}, and one policy"
        )
    listed = [spec.to_json() for spec in specs]
    asked = request("tuning", config, chosen, make_env, episodes=budget, specs=listed)
    return cached(cache, asked, lambda: _tune(board, specs), SearchResult.to_json, SearchResult.from_json)


def _tune(board: Scoreboard, specs: Sequence[PolicySpec]) -> SearchResult:
    full = len(board.contexts)
    stop = min(full, max(START, min(MOST_EXPLORED, full // 4)))
    # A final of the first one, which may have left in the first rung, and of at least one other.
    reserve = min(board.budget - START, (full - START) + (full - stop))
    share = 2 * (board.budget - reserve) // 3
    count = max(1, min(len(specs), affordable(share, START, stop)))
    start = START
    while 2 * start <= stop and cost(rungs(count, 2 * start, stop)) <= share:
        start *= 2
    survivors, tried = halve(board, specs[:count], stop, start), list(specs)
    for _ in range(ROUNDS):
        more = [spec for spec in refinements(survivors[:2], tried) if not board.known(spec)]
        new = more[: affordable(board.left - reserve, start, stop)]
        if not new:
            break
        tried += new
        survivors = board.score([*survivors, *halve(board, new, stop, start)], stop)
    lacking = full - board.known(specs[0])
    count = max(1, (board.left - lacking) // (full - stop)) if full > stop else len(survivors)
    finalists = survivors[:count] if board.left >= lacking + full - stop else []
    return board.result(board.score([*finalists, specs[0]], full)[0])
