"""Controls that show whether a learned policy reacts: its own growth without its reasons.

Each is made from the learned policy's records and keeps something of them: the same actions at other times, the average
schedule, the final size from the start. A policy that its own controls equal has learned how much to grow, or when on
average, but not to react to what it sees. Controls are made for each training seed from that seed's own records.

Where actions name regions of tiles, `shuffled` keeps them, because it moves actions in time only. `open_loop` and
`static_final` count neurons and name no region: what they ask for grows in the region where it costs least at that
moment, as with all policies that know no regions (see `agents.policy.CheapestRegion`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.evaluation import EpisodeRecord, action_table
from agents.policy import CheapestRegion, Interface, Policy, PolicyFactory, PolicySpec, without_regions
from agents.replay import replay
from agents.schedules import interleave, split_amount
from growenv.actions import WAIT, ActionTable
from growenv.config import GrowthConfig
from growenv.randomness import Purpose, bits
from growenv.streams.distributions import stream_length

Sequences = tuple[tuple[int, ...], ...]
"""Action indices of each episode."""


def shuffled(records: Sequence[EpisodeRecord], config: GrowthConfig, seed: int = 0) -> Sequences:
    """The actions of each episode in the same counts, their times permuted within the episode.

    What is left of the policy is how much it grows, and which layers, in each context. A growth may be illegal at its
    new time; the replay then waits, and `lost_growth` counts it.

    Args:
        records: the learned policy's episodes.
        config: the environment.
        seed: seed of the permutations, for example the number of the training seed. An episode's permutation depends on
            `seed` and on the episode's inner seed, not on the other episodes.

    Returns:
        A sequence for each record, for `agents.replay.replay`.

    Raises:
        ValueError: no records, or actions that the environment does not have.
    """
    _check(records, action_table(config))
    orders = [
        np.argsort(bits(seed, Purpose.POLICY, record.inner_seed, np.arange(len(record.actions))), kind="stable")
        for record in records
    ]
    return tuple(tuple(record.actions[place] for place in order) for record, order in zip(records, orders, strict=True))


def static_final(records: Sequence[EpisodeRecord], config: GrowthConfig) -> Sequences:
    """A static network of the policy's final size: the same neurons for each layer, from the first decisions on.

    The largest amounts come first and layers take turns. Where larger amounts do not sum up to what a layer has gained,
    the policy's own requests are taken. Neurons of one generation read each other, those of different generations only
    from later to earlier ones, so the same neurons can cost more when they come together, and some may not fit:
    `lost_growth` counts them.

    Args:
        records: the learned policy's episodes; illegal actions must not be among them.
        config: the environment.

    Returns:
        A sequence for each record, without regions; play it with `play_sequences`.

    Raises:
        ValueError: no records, actions that the environment does not have, or illegal actions, of which a record does
            not say which they were.
    """
    table = ActionTable(len(config.hidden), config.amounts)
    sequences = []
    for taken in _without_regions(records, config):
        own = [taken[table.layer[taken] == layer] for layer in range(table.layers)]
        parts = [_largest_first(table.amount[actions].tolist(), config.amounts) for actions in own]
        sequences.append(tuple(table.index(layer, amount) for layer, amount in interleave(parts)))
    return tuple(sequences)


def _largest_first(wanted: Sequence[int], amounts: Sequence[int]) -> list[int]:
    """As few requests for the sum of `wanted` as the largest amounts give, else `wanted` itself, largest first."""
    parts = split_amount(sum(wanted), amounts)
    exact = sum(parts) == sum(wanted) and len(parts) <= len(wanted)
    return parts if exact else sorted(wanted, reverse=True)


def open_loop(val_records: Sequence[EpisodeRecord], config: GrowthConfig, label: str = "open-loop") -> PolicySpec:
    """The learned policy's average schedule: the same growth in every context, whatever happens.

    Let A[t, l] be the neurons that layer l has gained after decision t, the mean over the episodes. At each decision
    the schedule asks for the action that brings its own sum nearest to A[t] (Euclidean distance over the layers), and
    waits if none brings it nearer. Streams with more tasks than those of the records go on with the averages of their
    last task.

    Args:
        val_records: the learned policy's episodes on contexts of the train or val split, so that nothing is learned
            from those that it is tested on; illegal actions must not be among them.
        config: the environment.
        label: name in tables.

    Returns:
        A schedule as ``{"task", "decision", "layer", "amount"}`` rules.

    Raises:
        ValueError: no records, records of another split, of longer streams or with illegal actions, or actions that the
            environment does not have.
    """
    foreign = sorted({str(record.context["split"]) for record in val_records} - {"train", "val"})
    if foreign:
        raise ValueError(
            f"the average schedule is made from train or val contexts, got records of the split {', '.join(foreign)}; "
            "play the policy on val contexts first"
        )
    table = ActionTable(len(config.hidden), config.amounts)
    average = average_growth(val_records, config)
    longer = stream_length(config.tasks, "ood") - config.tasks
    average = np.concatenate([average, np.repeat(average[-1:], longer, axis=0)])
    room = np.array(config.max_hidden) - np.array(config.hidden)
    actions = _rounded(average.reshape(-1, table.layers).cumsum(axis=0), table, room)
    rules = [
        {
            "task": time // config.decisions,
            "decision": time % config.decisions,
            "layer": int(table.layer[action]),
            "amount": int(table.amount[action]),
        }
        for time, action in enumerate(actions)
        if action != WAIT
    ]
    return PolicySpec("open-loop", {"rules": rules}, label)


def average_growth(records: Sequence[EpisodeRecord], config: GrowthConfig) -> NDArray[np.float64]:
    """Mean neurons that are added to each layer in each decision, shape (tasks, decisions, layers).

    An episode that ended early counts as one that grows no further.

    Raises:
        ValueError: as in `open_loop`, but of any split.
    """
    table = ActionTable(len(config.hidden), config.amounts)
    length = config.tasks * config.decisions
    added = np.zeros((length, table.layers))
    for taken in _without_regions(records, config):
        if len(taken) > length:
            raise ValueError(f"an episode has at most {length} decisions in {config.tasks} tasks, got {len(taken)}")
        when = np.flatnonzero(taken != WAIT)
        added[when, table.layer[taken[when]]] += table.amount[taken[when]]
    return (added / len(records)).reshape(config.tasks, config.decisions, table.layers)


def _rounded(target: NDArray[np.float64], table: ActionTable, room: NDArray[np.int64]) -> list[int]:
    """Actions whose cumulative growth stays nearest to `target`, (T, L); at most `room`, (L,), neurons in all."""
    step = np.zeros((table.size, table.layers), dtype=np.int64)
    step[np.arange(1, table.size), table.layer[1:]] = table.amount[1:]
    sums = np.zeros(table.layers, dtype=np.int64)
    actions = []
    for wanted in target:
        reached = sums + step
        distance = np.where((reached <= room).all(axis=1), ((reached - wanted) ** 2).sum(axis=1), np.inf)
        # Waiting comes first, so it wins ties; averages are inexact, so what counts as a tie has a margin.
        chosen = int(np.where(distance <= distance.min() + 1e-9)[0][0])
        actions.append(chosen)
        sums = reached[chosen]
    return actions


def play_sequences(sequences: Sequence[Sequence[int]]) -> PolicyFactory:
    """A factory that plays sequences without regions, each growth in its cheapest region where actions name one."""
    factory = replay(sequences)

    def build(interface: Interface) -> Policy:
        return CheapestRegion(factory, interface) if interface.actions.regions else factory(interface)

    return build


@dataclass(frozen=True)
class Lost:
    """Growth that a sequence asked for when it was illegal.

    Attributes:
        wanted: growth actions in the sequences.
        lost: those that were not carried out.
    """

    wanted: int
    lost: int

    def __str__(self) -> str:
        share = self.lost / self.wanted if self.wanted else 0.0
        return f"{self.lost:,} of {self.wanted:,} growths ({share:.1%}) were illegal when they came, and were lost"


def lost_growth(sequences: Sequence[Sequence[int]], played: Sequence[EpisodeRecord]) -> Lost:
    """How much of what the sequences ask for did not happen.

    Args:
        sequences: what was to be played in each episode.
        played: the episodes, in the same order.

    Raises:
        ValueError: different numbers of sequences and episodes.
    """
    if len(sequences) != len(played):
        raise ValueError(f"one episode for each sequence is needed, got {len(sequences)} and {len(played)}")
    wanted = sum(action != WAIT for sequence in sequences for action in sequence)
    return Lost(wanted, wanted - sum(record.growth_events for record in played))


def _without_regions(records: Sequence[EpisodeRecord], config: GrowthConfig) -> list[NDArray[np.int64]]:
    """The actions of each episode as if none named a region."""
    table = action_table(config)
    _check(records, table)
    illegal = sum(record.invalid for record in records)
    if illegal:
        raise ValueError(
            f"{illegal} illegal actions are among the records of {records[0].policy!r}, and a record does not say "
            "which; take records of a policy that obeys the mask"
        )
    return [without_regions(np.array(record.actions, dtype=np.int64), table) for record in records]


def _check(records: Sequence[EpisodeRecord], table: ActionTable) -> None:
    if not records:
        raise ValueError("a control is made from the learned policy's episodes, got none")
    highest = max(max(record.actions, default=0) for record in records)
    if highest >= table.size:
        raise ValueError(
            f"the records of {records[0].policy!r} hold action {highest}, but the environment has actions 0 to "
            f"{table.size - 1}; give the configuration that they were played in"
        )
