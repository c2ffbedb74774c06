"""Plays everybody on the same contexts: learned policies, tuned baselines, controls, searches and the oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents import baselines, controls
from agents.baselines import (
    AVERAGE,
    DEFAULT_POLICIES,
    FINAL_SIZE,
    LOOK_AHEAD,
    LUCKY,
    MATCHED,
    PER_TASK,
    RCL,
    SAMPLED,
    SHUFFLED,
    TUNED,
)
from agents.cache import SearchCache
from agents.comparison import BEST_FIXED, ORACLE, Comparison, Player, Report, Trained
from agents.evaluation import (
    ROWS,
    EpisodeRecord,
    MakeEnv,
    action_table,
    evaluation_contexts,
    make_vector_env,
    play_together,
)
from agents.families import gate_family
from agents.look_ahead import look_ahead
from agents.oracle import hindsight_oracle
from agents.per_task_search import per_task_search
from agents.policy import PolicyFactory, PolicySpec, without_regions
from agents.rcl import rcl
from agents.replay import replay
from agents.search import STEPS, SearchResult, best_fixed_schedule, tune
from agents.transfer import transferred
from growenv.actions import ActionTable
from growenv.config import GrowthConfig
from growenv.streams.tasks import Context

AVERAGED = 64  # val contexts from which a learned policy's average schedule is taken

Runs = tuple[tuple[EpisodeRecord, ...], ...]


@dataclass(frozen=True)
class Contest:
    """What is played, and how.

    Attributes:
        config: the environment.
        split: split of the contexts.
        contexts: what everybody plays, contexts outermost.
        inner_seeds: inner seeds of each context.
        steps: environment steps that may be spent on tuning each baseline.
        rows: most rows of a stack.
        cache: keeps what searches found; None keeps nothing.
        report: called with the name of the present stage, the episodes done and the episodes in all.
        make_env: as in `agents.evaluation.play`.
    """

    config: GrowthConfig
    split: str
    contexts: tuple[Context, ...]
    inner_seeds: int
    steps: int = STEPS
    rows: int = ROWS
    cache: SearchCache | None = None
    report: Report | None = None
    make_env: MakeEnv = make_vector_env

    @classmethod
    def on(cls, config: GrowthConfig, split: str, contexts: int, inner_seeds: int = 1, **how: Any) -> Contest:
        """A contest on the first contexts of a split.

        Args:
            config: the environment.
            split: split of the contexts.
            contexts: contexts to play.
            inner_seeds: inner seeds of each context.
            how: further attributes.

        Raises:
            ValueError: as in `evaluation_contexts`.
        """
        return cls(config, split, tuple(evaluation_contexts(config, split, contexts, inner_seeds)), inner_seeds, **how)

    def stage(self, name: str) -> Callable[[int, int], None] | None:
        """The progress of one stage."""
        report = self.report
        return None if report is None else lambda done, total: report(name, done, total)

    def play(self, name: str, factories: Sequence[PolicyFactory], contexts: Sequence[Context] = ()) -> Runs:
        """The episodes of each policy on all contexts, or on other ones."""
        entries = [(factory, contexts or self.contexts) for factory in factories]
        played = play_together(entries, self.config, self.rows, self.stage(name), self.make_env)
        return tuple(map(tuple, played))


def compare(
    contest: Contest,
    trained: Sequence[Trained],
    policies: Sequence[str | PolicySpec] = DEFAULT_POLICIES,
    source: GrowthConfig | None = None,
) -> Comparison:
    """Play all policies on the contexts of a contest.

    The best fixed schedule is always among them, because the others are compared with it; it and the gates are tuned on
    train and val contexts, whatever is played. Controls are made of the first learned policy, once for each of its
    training seeds, and are left out if there is none.

    Args:
        contest: what is played, and how.
        trained: learned policies.
        policies: names of baselines (see `agents.baselines.known_policies`) or specs.
        source: the environment that the policies were trained in. If it is another one, what is tuned is tuned there as
            well, with as many steps as training took, and plays besides, as ``<name> of the source``.

    Raises:
        UnknownNameError: no such policy.
        ValueError: two policies of one name, or an oracle with one inner seed.
    """
    config, names = contest.config, baselines.expand(policies)
    baselines.check_different([*map(baselines.name_of, names), *(each.name for each in trained)])
    if ORACLE in names and contest.inner_seeds < 2:
        raise ValueError("the oracle chooses on one inner seed and is scored on another: it needs --inner-seeds 2")
    players = [_learned(contest, each) for each in trained]
    leader = next((player for player in players if player.kind == "learned"), None)
    specs, searches = _specs(contest, names)
    if source is not None and replace(source, split=config.split) != config:
        steps = max([contest.steps, *(each.steps for each in trained)])  # as many as training took there
        specs += _from_source(replace(contest, config=source, steps=steps), config, list(searches))
    played = contest.play("baselines", specs)
    for spec, run in zip(specs, played, strict=True):
        tuning = searches[spec.name].steps if spec.name in searches else 0
        players.append(Player(spec.name, baselines.kind_of(spec), (run,), steps=tuning))
    if leader is not None:
        policy = next(each for each in trained if each.name == leader.name)
        wanted = [str(name) for name in names if name in baselines.CONTROLS and (name != SAMPLED or policy.sampled)]
        players += [_control(contest, name, leader, policy) for name in wanted]
    for name in names:
        if name in (*baselines.SEARCHES, ORACLE):
            players += _searchers(contest, str(name))
    return Comparison(config, contest.split, contest.inner_seeds, tuple(players), searches)


def _learned(contest: Contest, trained: Trained) -> Player:
    """Every training seed of a learned policy."""
    runs = contest.play(trained.name, trained.factories)
    named = tuple(tuple(replace(record, policy=trained.name) for record in run) for run in runs)
    return Player(trained.name, trained.kind, named, steps=trained.steps, note=trained.note)


def _specs(contest: Contest, names: Sequence[str | PolicySpec]) -> tuple[list[PolicySpec], dict[str, SearchResult]]:
    """The baselines that are specs, and the searches that tuned some of them."""
    specs: list[PolicySpec] = []
    searches: dict[str, SearchResult] = {}
    for name in names:
        if isinstance(name, PolicySpec):
            specs.append(name)
        elif name == BEST_FIXED or name.endswith(TUNED):
            searches[name] = tuned(contest, name)
            specs.append(replace(searches[name].best, label=name))
        elif name not in (*baselines.CONTROLS, *baselines.SEARCHES, ORACLE):
            specs.append(PolicySpec(name))
    return specs, searches


def _from_source(there: Contest, target: GrowthConfig, names: Sequence[str]) -> list[PolicySpec]:
    """The tuned baselines, tuned where the learned policies were trained, with the target's amounts."""
    found = [(name, tuned(there, name).best) for name in names]
    return [replace(transferred(spec, there.config, target), label=f"{name} of the source") for name, spec in found]


def tuned(contest: Contest, name: str) -> SearchResult:
    """The best fixed schedule, or the best setting of ``<gate>-tuned``, found on train and val contexts."""
    gate = name.removesuffix(TUNED)
    if name == BEST_FIXED:
        search, stage = partial(best_fixed_schedule, contest.config), "search of fixed schedules"
    else:
        search, stage = partial(tune, gate_family(contest.config, gate), contest.config), f"tuning of {gate}"
    return search(
        steps=contest.steps,
        rows=contest.rows,
        progress=contest.stage(stage),
        make_env=contest.make_env,
        cache=contest.cache,
    )


def _control(contest: Contest, name: str, leader: Player, policy: Trained) -> Player:
    """A learned policy without its reactions, for every training seed."""
    config, sequences = contest.config, list[controls.Sequences]()
    made: list[PolicyFactory]
    if name == MATCHED:
        rates = [action_rates(run, config).tolist() for run in leader.runs]
        made = [PolicySpec(name, {"rates": each}) for each in rates]
        note = f"grows at random at the rates of {leader.name}"
    elif name == SHUFFLED:
        sequences = [controls.shuffled(run, config, seed) for seed, run in enumerate(leader.runs)]
        made = [replay(each) for each in sequences]
        note = f"the actions of {leader.name} in each context, their times permuted"
    elif name == AVERAGE:
        fresh = evaluation_contexts(config, "val", AVERAGED)
        learned = contest.play(f"{leader.name} on val", policy.factories, fresh)
        made = [controls.open_loop(run, config) for run in learned]
        note = f"the average schedule of {leader.name} on {AVERAGED} val contexts, replayed without looking"
    elif name == SAMPLED:
        made = list(policy.sampled)
        note = f"{leader.name} drawing its actions instead of taking the likeliest"
    else:
        assert name == FINAL_SIZE
        made = [controls.play_sequences(controls.static_final(run, config)) for run in leader.runs]
        note = f"has the final size of {leader.name} in each context from the start on"
    runs = contest.play(name, made)
    if sequences:
        note += f"; {controls.lost_growth([*chain(*sequences)], [*chain(*runs)])}"
    named = tuple(tuple(replace(record, policy=name) for record in run) for run in runs)
    return Player(name, "control", named, note=note)


def _oracles(contest: Contest) -> list[Player]:
    """What hindsight finds, scored on another inner seed; and the same where it was found, luck included."""
    found = hindsight_oracle(
        contest.config,
        contest.contexts,
        contest.inner_seeds,
        rows=contest.rows,
        progress=contest.stage(ORACLE),
        make_env=contest.make_env,
        cache=contest.cache,
    )
    (lucky,) = contest.play(LUCKY, [replay(found.actions)])
    notes = {
        ORACLE: "the best action sequence found for each context on one inner seed, played on the other",
        LUCKY: "the same sequences where they were found, with the luck that chose them: out of reach for any policy",
    }
    records = {ORACLE: found.records, LUCKY: lucky}
    return [_searcher(name, records[name], found.steps_per_episode, notes[name]) for name in (ORACLE, LUCKY)]


def _searchers(contest: Contest, name: str) -> list[Player]:
    """Players that try growth out before they act."""
    if name == ORACLE:
        return _oracles(contest)
    searches: dict[str, tuple[Callable[..., tuple[list[EpisodeRecord], float]], str]] = {
        LOOK_AHEAD: (look_ahead, "tries every action to the end of the task before each decision"),
        PER_TASK: (per_task_search, "tries expansions of each task, proposed by a controller, and keeps the best"),
        RCL: (rcl, "as per-task-search, with a fresh recurrent controller and 50 trials in each task, as published"),
    }
    search, note = searches[name]
    records, steps = search(
        contest.config, contest.contexts, rows=contest.rows, progress=contest.stage(name), make_env=contest.make_env
    )
    return [_searcher(name, records, steps, note)]


def _searcher(name: str, records: Sequence[EpisodeRecord], steps: float, note: str) -> Player:
    named = tuple(replace(record, policy=name) for record in records)
    return Player(name, baselines.kind_of(name), (named,), steps_per_episode=steps, note=note)


def action_rates(records: Sequence[EpisodeRecord], config: GrowthConfig) -> NDArray[np.float64]:
    """Share of each (layer, amount) and of waiting among all decisions of the episodes, in the order of actions."""
    size = ActionTable(len(config.hidden), config.amounts).size
    taken = without_regions(np.concatenate([record.actions for record in records]), action_table(config))
    return np.bincount(taken, minlength=size) / len(taken)
