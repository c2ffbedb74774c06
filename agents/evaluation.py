"""Plays policies on the same contexts and inner seeds and records every episode.

Policies and contexts of a call become the rows of one stack, so a hundred candidates on eight contexts cost little more
than one candidate on eight hundred. Policies that read signals have a stack of their own for each set of signals, in an
environment that shows them; signals never change training, so all records can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.gates import signals_of
from agents.parallel import process_count, spread
from agents.policy import Composite, Interface, PolicyFactory
from growenv.actions import WAIT, ActionTable
from growenv.config import GrowthConfig
from growenv.randomness import bits
from growenv.streams.distributions import draw_context
from growenv.streams.pooling import pooled
from growenv.streams.tasks import SPLITS, Context

ROWS = 128
FEWEST_ROWS = 32  # a stack is not cut into smaller ones than this, for several processes
_INNER_SEED = 101  # purpose of the hash that makes inner seeds; no purpose of growenv has this number

Progress = Callable[[int, int], None]
MakeEnv = Callable[[GrowthConfig, int], Any]


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode: who played what, and what came of it.

    Attributes:
        policy: name of the policy.
        context: the context as JSON; with the actions it is enough to replay the episode.
        index: index of the context in its split.
        inner_seed: seed of the networks' weights and minibatches.
        price: price of the hardware in the objective.
        budget: share of the capacity that may be used.
        return_: sum of the rewards.
        accuracy: validation accuracy at the end, mean over the stream's tasks.
        acc: accuracy on inner test data at the end, mean over tasks.
        bwt: backward transfer.
        fwt: forward transfer.
        forgetting: forgetting.
        cost: share of the capacity used at the end.
        growth_events: growth actions that were carried out.
        invalid: illegal actions.
        diverged: whether the training diverged.
        actions: the action of each decision.
        hardware: figures of hardware with places at the end, by name; none without places.
    """

    policy: str
    context: Mapping[str, Any]
    index: int
    inner_seed: int
    price: float
    budget: float
    return_: float
    accuracy: float
    acc: float
    bwt: float
    fwt: float
    forgetting: float
    cost: float
    growth_events: int
    invalid: int
    diverged: bool
    actions: tuple[int, ...]
    hardware: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        data = {field.name: getattr(self, field.name) for field in fields(self)}
        return data | {"context": dict(self.context), "actions": list(self.actions), "hardware": dict(self.hardware)}


def evaluation_contexts(config: GrowthConfig, split: str, count: int, inner_seeds: int = 1) -> list[Context]:
    """The first `count` contexts of a split, each with `inner_seeds` inner seeds; contexts outermost.

    The contexts depend on the stream distribution, the dataset, the ranges in the configuration and the split only.

    Raises:
        ValueError: a count below 1, or an unknown split.
    """
    if count < 1 or inner_seeds < 1:
        raise ValueError(f"at least one context and one inner seed are needed, got {count} and {inner_seeds}")
    options: dict[str, Any] = {"tasks": config.tasks, "budget": config.budget, "price": config.price}
    dataset = pooled(config.dataset, config.input_pool)
    return [
        draw_context(config.streams, dataset, split, index, inner_seed=_inner_seed(split, index, number), **options)
        for index in range(count)
        for number in range(inner_seeds)
    ]


def _inner_seed(split: str, index: int, number: int) -> int:
    """Seeds that no two contexts share, so that nothing is tuned on the networks that it is tested on."""
    place = SPLITS.index(split) if split in SPLITS else len(SPLITS)  # `draw_context` refuses an unknown split
    return int(bits(index, _INNER_SEED, number, place) >> np.uint64(1))


def make_vector_env(config: GrowthConfig, rows: int) -> Any:
    """A `GrowthVectorEnv` whose ended rows idle until they are reset."""
    from growenv.vector_env import GrowthVectorEnv

    return GrowthVectorEnv(rows, config, autoreset_mode="DISABLED")


def action_table(config: GrowthConfig) -> ActionTable:
    """The actions of an environment."""
    if config.where == "auto":
        return ActionTable(len(config.hidden), config.amounts, prune=config.prune)
    env = make_vector_env(config, 1)  # how many regions there are depends on its hardware
    env.close()
    table: ActionTable = env.actions
    return table


def play(
    policy: PolicyFactory,
    config: GrowthConfig,
    contexts: Sequence[Context],
    rows: int = ROWS,
    progress: Progress | None = None,
    make_env: MakeEnv = make_vector_env,
) -> list[EpisodeRecord]:
    """Play one policy once on each context; the records are in the order of the contexts.

    Args:
        policy: builds the policy for an interface, for example a `PolicySpec` or `LearnedPolicy.bind`.
        config: the environment.
        contexts: what to play.
        rows: most rows of the stack.
        progress: called with the episodes done and the episodes in all.
        make_env: builds the vector environment; autoreset must be disabled.
    """
    return play_together([(policy, contexts)], config, rows, progress, make_env)[0]


def play_together(
    entries: Sequence[tuple[PolicyFactory, Sequence[Context]]],
    config: GrowthConfig,
    rows: int = ROWS,
    progress: Progress | None = None,
    make_env: MakeEnv = make_vector_env,
) -> list[list[EpisodeRecord]]:
    """Play each policy on its own contexts; those that read the same signals are rows of one stack.

    Args:
        entries: policies and the contexts that each plays.
        config: the environment; the signals that a policy reads are added to it for that policy.
        rows: most rows of the stack.
        progress: called with the episodes done and the episodes in all.
        make_env: as in `play`.

    Returns:
        The records of each entry, in the order of its contexts.
    """
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    stacks: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for entry, (policy, contexts) in enumerate(entries):
        added = _lacking(config, signals_of(policy))
        stacks.setdefault(added, []).extend((entry, position) for position in range(len(contexts)))
    records: list[list[Any]] = [[None] * len(contexts) for _, contexts in entries]  # filled in as batches end
    done, total = 0, sum(map(len, stacks.values()))
    for added, jobs in stacks.items():
        for batch in _play_stack(entries, with_signals(config, added), jobs, rows, make_env):
            for entry, place, record in batch:
                records[entry][place] = record
            done += len(batch)
            if progress is not None:
                progress(done, total)
    return records


def with_signals(config: GrowthConfig, names: Sequence[str]) -> GrowthConfig:
    """The environment with these signals shown besides its own."""
    lacking = _lacking(config, names)
    return replace(config, signals=(*config.signals, *lacking)) if lacking else config


def _lacking(config: GrowthConfig, names: Sequence[str]) -> tuple[str, ...]:
    shown = [signal if isinstance(signal, str) else signal.name for signal in config.signals]
    return tuple(name for name in names if name not in shown)


def _play_stack(
    entries: Sequence[tuple[PolicyFactory, Sequence[Context]]],
    config: GrowthConfig,
    jobs: Sequence[tuple[int, int]],
    rows: int,
    make_env: MakeEnv,
) -> Iterator[list[tuple[int, int, EpisodeRecord]]]:
    """Play jobs (entry, position of its context) in equal environments; entry, position and record, batch by batch."""
    if not jobs:
        return
    batches = max(-(-len(jobs) // rows), min(process_count(), -(-len(jobs) // FEWEST_ROWS)))
    size = -(-len(jobs) // batches)  # equal batches leave few idle rows in the last one
    # Streams of the ood split are longer, and an environment has room for the streams of its own split only.
    beyond = any(entries[entry][1][position].split == "ood" for entry, position in jobs)
    settled = replace(config, split="ood") if beyond else config
    made: list[Any] = []  # one environment in each process, for all its batches

    def play_batch(batch: Sequence[tuple[int, int]]) -> list[EpisodeRecord]:
        if not made:
            made.append(make_env(settled, size))
        return _play_batch(made[0], entries, batch)

    cut = [jobs[begun : begun + size] for begun in range(0, len(jobs), size)]
    try:
        for number, played in spread(play_batch, cut):
            yield [(*job, record) for job, record in zip(cut[number], played, strict=True)]
    finally:
        for env in made:
            env.close()


def _play_batch(
    env: Any, entries: Sequence[tuple[PolicyFactory, Sequence[Context]]], batch: Sequence[tuple[int, int]]
) -> list[EpisodeRecord]:
    """Play one stack of episodes; rows beyond the batch repeat its last episode and are thrown away."""
    padded = [*batch, *[batch[-1]] * (env.num_envs - len(batch))]
    contexts = [entries[entry][1][position] for entry, position in padded]
    observations, infos = env.reset(options={"contexts": contexts})
    policy = _composite(env, entries, padded, max(len(context.tasks) for context in contexts))
    policy.reset(np.ones(len(padded), dtype=bool))
    tally = _Tally(len(padded), getattr(env, "figure_names", ()))
    while not tally.done.all():
        masks = np.asarray(env.action_masks(), dtype=bool)
        actions = policy.act(observations, masks)
        observations, rewards, terminated, truncated, infos = env.step(actions)
        tally.add(actions, rewards, terminated | truncated, infos)
    names = [part.name for part, own in policy.parts for _ in range(own.stop - own.start)]
    return [tally.record(row, names[row], contexts[row]) for row in range(len(batch))]


def _composite(
    env: Any,
    entries: Sequence[tuple[PolicyFactory, Sequence[Context]]],
    padded: Sequence[tuple[int, int]],
    tasks: int,
) -> Composite:
    """The policies of a batch, each built for the run of rows that it plays."""
    interface = replace(Interface.of(env), tasks=tasks)
    starts = [row for row, (entry, _) in enumerate(padded) if row == 0 or entry != padded[row - 1][0]]
    parts = []
    for start, stop in zip(starts, [*starts[1:], len(padded)], strict=True):
        entry, position = padded[start]
        parts.append((entries[entry][0](interface.part(stop - start, position)), slice(start, stop)))
    return Composite(parts)


class _Tally:
    """What has happened so far in each row of a batch."""

    def __init__(self, rows: int, figures: Sequence[str] = ()) -> None:
        self.figures = tuple(figures)
        self.done = np.zeros(rows, dtype=bool)
        self.return_ = np.zeros(rows)
        self.invalid = np.zeros(rows, dtype=np.int64)
        self.grown = np.zeros(rows, dtype=np.int64)
        self.length = np.zeros(rows, dtype=np.int64)
        self.actions: list[NDArray[np.int64]] = []
        self.final: list[dict[str, Any]] = [{} for _ in range(rows)]

    def add(
        self, actions: NDArray[np.int64], rewards: NDArray[np.float64], ended: NDArray[np.bool_], infos: dict[str, Any]
    ) -> None:
        """Count one decision of the rows that have not ended before it."""
        going = ~self.done
        self.return_ += np.where(going, rewards, 0.0)
        self.length += going
        invalid = np.asarray(infos["invalid_action"], dtype=bool)
        self.invalid += going & invalid
        self.grown += going & ~invalid & (actions != WAIT)
        self.actions.append(actions.copy())
        for row in np.flatnonzero(going & ended):
            self.final[row] = {name: infos[name][row] for name in (*_FINAL, *self.figures)}
        self.done |= ended

    def record(self, row: int, policy: str, context: Context) -> EpisodeRecord:
        """The record of one row, whose episode has ended."""
        final = self.final[row]
        return EpisodeRecord(
            policy=policy,
            context=context.to_json(),
            index=context.index,
            inner_seed=context.inner_seed,
            price=context.price,
            budget=context.budget,
            return_=float(self.return_[row]),
            accuracy=float(final["validation_accuracy"]),
            acc=float(final["acc"]),
            bwt=float(final["bwt"]),
            fwt=float(final["fwt"]),
            forgetting=float(final["forgetting"]),
            cost=float(final["used"]),
            growth_events=int(self.grown[row]),
            invalid=int(self.invalid[row]),
            diverged=bool(final["diverged"]),
            actions=tuple(int(step[row]) for step in self.actions[: self.length[row]]),
            hardware={name: float(final[name]) for name in self.figures},
        )


_FINAL = ("validation_accuracy", "acc", "bwt", "fwt", "forgetting", "used", "diverged")
