"""Plays learned policies and baselines on the same contexts and inner seeds; baselines are tuned on other contexts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents import schedules  # noqa: F401  (registers the policies)
from agents.evaluation import (
    ROWS,
    EpisodeRecord,
    MakeEnv,
    action_table,
    evaluation_contexts,
    make_vector_env,
    play,
    play_together,
)
from agents.families import gate_family
from agents.gates import GATES
from agents.policy import POLICIES, PolicyFactory, PolicySpec, without_regions
from agents.search import EPISODES, SearchResult, best_fixed_schedule, tune
from growenv.actions import ActionTable
from growenv.config import GrowthConfig
from growenv.registry import unknown_name

BEST_FIXED = "best-fixed"
ALL_GATES = "gates"
"""Stands for every gate, untuned and tuned."""
TUNED = "-tuned"
"""Added to a gate's name, it names the best of `gate_family`."""
MATCHED = "rate-matched-random"
DEFAULT_POLICIES = (
    "never",
    "static-large",
    "random",
    MATCHED,
    "periodic",
    "doubling",
    BEST_FIXED,
    "plateau",
    "plateau-tuned",
    "loss-gate",
    "loss-gate-tuned",
)

FEWEST_TUNING = 200  # episodes

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Comparison:
    """Episodes of several policies on the same contexts.

    Attributes:
        config: the environment.
        split: split of the contexts.
        records: episodes of each policy, in the order of the contexts.
        learned: names of the learned policies among them.
        searches: what was tuned, and for how many episodes.
    """

    config: GrowthConfig
    split: str
    records: Mapping[str, Sequence[EpisodeRecord]]
    learned: tuple[str, ...]
    searches: Mapping[str, SearchResult]


def known_policies() -> tuple[str, ...]:
    """Names that `compare` accepts."""
    needs_options = {"open-loop", "per-task"}
    tuned = {gate + TUNED for gate in GATES}
    return tuple(sorted((set(POLICIES.names()) - needs_options) | {ALL_GATES, BEST_FIXED, *tuned}))


def expand(policies: Sequence[str | PolicySpec]) -> list[str | PolicySpec]:
    """The policies with ``gates`` replaced by every gate, untuned and tuned, that is not named besides."""
    expanded: list[str | PolicySpec] = []
    for policy in policies:
        if policy == ALL_GATES:
            expanded += [name for gate in GATES for name in (gate, gate + TUNED) if name not in policies]
        else:
            expanded.append(policy)
    return expanded


def compare(
    config: GrowthConfig,
    learned: Mapping[str, PolicyFactory],
    *,
    split: str = "test",
    contexts: int = 128,
    inner_seeds: int = 1,
    policies: Sequence[str | PolicySpec] = DEFAULT_POLICIES,
    episodes: int = EPISODES,
    rows: int = ROWS,
    report: Report | None = None,
    make_env: MakeEnv = make_vector_env,
) -> Comparison:
    """Play all policies on the first contexts of a split.

    The best fixed schedule is always among them, because the others are compared with it. The rate-matched random
    policy takes its rates from the first learned policy, and is left out if there is none.

    Args:
        config: the environment.
        learned: learned policies by name, each a factory such as `LearnedPolicy.bind`.
        split: split of the contexts; the baselines are tuned on train and val whatever it is.
        contexts: contexts to play.
        inner_seeds: inner seeds of each context.
        policies: names of baselines (see `known_policies`) or specs; ``gates`` stands for all gates, untuned and tuned.
        episodes: most episodes of the search for the best fixed schedule; each gate's tuning has a tenth of it, at
            least 200.
        rows: most rows of the stack.
        report: called with the name of the present stage, the episodes done and the episodes in all.
        make_env: as in `agents.evaluation.play`.

    Raises:
        UnknownNameError: no such policy.
        ValueError: two policies of one name.
    """
    check_names(policies, learned)
    wanted = expand([*policies] if BEST_FIXED in policies else [*policies, BEST_FIXED])
    drawn = evaluation_contexts(config, split, contexts, inner_seeds)
    records: dict[str, Sequence[EpisodeRecord]] = {}
    for name, factory in learned.items():
        played = play(factory, config, drawn, rows, _stage(report, name), make_env)
        records[name] = [replace(record, policy=name) for record in played]
    options: dict[str, Any] = {"rows": rows, "make_env": make_env}
    specs, searches = _baselines(config, wanted, next(iter(records.values()), None), episodes, report, options)
    played_together = play_together(
        [(spec, drawn) for spec in specs], config, rows, _stage(report, "baselines"), make_env
    )
    records |= {spec.name: played for spec, played in zip(specs, played_together, strict=True)}
    return Comparison(config, split, records, tuple(learned), searches)


def check_names(policies: Sequence[str | PolicySpec], learned: Mapping[str, PolicyFactory]) -> None:
    """Refuse unknown and repeated names before anything is played; errors as in `compare`."""
    names = [policy if isinstance(policy, str) else policy.name for policy in expand(policies)]
    for policy in policies:
        if isinstance(policy, str) and policy not in known_policies():
            raise unknown_name("policy", policy, known_policies())
    twice = {name for name in [*names, *learned] if [*names, *learned].count(name) > 1}
    if twice:
        raise ValueError(f"every policy needs its own name; given twice: {', '.join(sorted(twice))}")


def _stage(report: Report | None, name: str) -> Callable[[int, int], None] | None:
    return None if report is None else lambda done, total: report(name, done, total)


def _baselines(
    config: GrowthConfig,
    policies: Sequence[str | PolicySpec],
    reference: Sequence[EpisodeRecord] | None,
    episodes: int,
    report: Report | None,
    options: Mapping[str, Any],
) -> tuple[list[PolicySpec], dict[str, SearchResult]]:
    """The baselines as specs, and the searches that tuned some of them."""
    specs: list[PolicySpec] = []
    searches: dict[str, SearchResult] = {}
    for policy in policies:
        if not isinstance(policy, str):
            specs.append(policy)
        elif policy == MATCHED:
            rates = None if reference is None else action_rates(reference, config).tolist()
            specs += [] if rates is None else [PolicySpec(policy, {"rates": rates})]
        elif policy == BEST_FIXED or policy.endswith(TUNED):
            searches[policy] = _search(policy, config, episodes, report, options)
            specs.append(replace(searches[policy].best, label=policy))
        else:
            specs.append(PolicySpec(policy))
    return specs, searches


def _search(
    policy: str, config: GrowthConfig, episodes: int, report: Report | None, options: Mapping[str, Any]
) -> SearchResult:
    """Tune one baseline on train and val contexts."""
    if policy == BEST_FIXED:
        progress = _stage(report, "search of fixed schedules")
        return best_fixed_schedule(config, episodes=episodes, progress=progress, **options)
    gate = policy.removesuffix(TUNED)
    progress = _stage(report, f"tuning of {gate}")
    return tune(
        gate_family(config, gate), config, episodes=max(FEWEST_TUNING, episodes // 10), progress=progress, **options
    )


def action_rates(records: Sequence[EpisodeRecord], config: GrowthConfig) -> NDArray[np.float64]:
    """Share of each (layer, amount) and of waiting among all decisions of the episodes, in the order of actions."""
    size = ActionTable(len(config.hidden), config.amounts).size
    taken = without_regions(np.concatenate([record.actions for record in records]), action_table(config))
    return np.bincount(taken, minlength=size) / len(taken)
