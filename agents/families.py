"""The candidates that the searches try: a family of fixed schedules, and settings of the gates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement, product
from typing import Any

import numpy as np

from agents.gates import GATES
from agents.policy import PolicySpec
from agents.schedules import interleave, split_amount
from growenv.config import GrowthConfig
from growenv.randomness import Purpose, uniform
from growenv.registry import unknown_name

Totals = tuple[int, ...]


def per_task_spec(config: GrowthConfig, first: Totals, later: Totals) -> PolicySpec:
    """A per-task schedule that adds the given neurons to each layer as early as it can, as far as a task has time.

    Args:
        config: the environment.
        first: neurons for each layer in the first task.
        later: neurons for each layer in every later task.
    """
    requests = []
    for totals in (first, later):
        wanted = interleave([split_amount(total, config.amounts) for total in totals])[: config.decisions]
        requests.append([list(request) for request in wanted])
    added = ["/".join(map(str, _totals(config, wanted))) for wanted in requests]
    label = f"first task +{added[0]}, later tasks +{added[1]}"
    return PolicySpec("per-task", {"first": requests[0], "later": requests[1]}, label)


def levels(config: GrowthConfig) -> tuple[int, ...]:
    """Neurons that a task may add to a layer: all sums of at most three amounts."""
    sums = {sum(parts) for count in range(4) for parts in combinations_with_replacement(config.amounts, count)}
    return tuple(sorted(sums))


def anchors(config: GrowthConfig) -> list[PolicySpec]:
    """Schedules that every search tries: never, static, doubling, periodic ones, and even growth in every task."""
    specs = [PolicySpec("never"), PolicySpec("static-large"), PolicySpec("doubling")]
    layers = len(config.hidden)
    specs += [
        per_task_spec(config, (first,) * layers, (later,) * layers)
        for later in levels(config)[:3]
        for first in levels(config)[:4]
        if first or later
    ]
    every = sorted({1, max(1, config.decisions // 2), config.decisions})
    specs += [_named("periodic", every=period, amount=amount) for amount in config.amounts for period in every]
    return specs


def _named(policy: str, **options: Any) -> PolicySpec:
    return PolicySpec(policy, options, f"{policy}({', '.join(f'{name}={value}' for name, value in options.items())})")


def schedule_family(config: GrowthConfig, count: int, seed: int = 0) -> list[PolicySpec]:
    """The first `count` candidates of a fixed sequence: the anchors, then random per-task schedules, without repeats.

    A per-task schedule is drawn as one level for each layer, for the first task and for the later ones. Small levels
    are drawn more often, because what every task adds sums up: the place in the list of levels is a squared uniform
    number.
    """
    choices, layers = levels(config), len(config.hidden)
    specs = {spec.key: spec for spec in anchors(config)}
    for number in range(50 * count):  # repeats are skipped, so a small family ends before `count`
        if len(specs) >= count:
            break
        draws = uniform(seed, Purpose.POLICY, number, np.arange(2 * layers))
        totals = tuple(choices[int(len(choices) * place**2)] for place in draws)
        spec = per_task_spec(config, totals[:layers], totals[layers:])
        specs.setdefault(spec.key, spec)
    return list(specs.values())[:count]


def neighbours(config: GrowthConfig, specs: Sequence[PolicySpec]) -> list[PolicySpec]:
    """Per-task schedules one level away in one place, of the first spec first; schedules of other kinds have none."""
    choices = levels(config)
    found: dict[str, PolicySpec] = {}
    for spec in specs:
        if spec.policy != "per-task":
            continue
        totals = [*_totals(config, spec.options["first"]), *_totals(config, spec.options["later"])]
        for place, total in enumerate(totals):
            at = min(range(len(choices)), key=lambda level: abs(choices[level] - total))
            for level in (at - 1, at + 1):
                if 0 <= level < len(choices):
                    moved = (*totals[:place], choices[level], *totals[place + 1 :])
                    near = per_task_spec(config, moved[: len(config.hidden)], moved[len(config.hidden) :])
                    found.setdefault(near.key, near)
    return list(found.values())


def _totals(config: GrowthConfig, requests: Sequence[Sequence[int]]) -> Totals:
    return tuple(sum(amount for at, amount in requests if at == layer) for layer in range(len(config.hidden)))


def gate_family(config: GrowthConfig, policy: str) -> list[PolicySpec]:
    """Settings of a gate: the published one first, then all other combinations of its `Gate.ranges`.

    The others follow in a fixed random order, so that a search which cannot afford all tries a fair sample.

    Args:
        config: the environment.
        policy: name of a registered gate.

    Raises:
        UnknownNameError: no gate has this name.
    """
    if policy not in GATES:
        raise unknown_name("gate", policy, GATES)
    ranges = GATES[policy].ranges(config)
    settings = [dict(zip(ranges, values, strict=True)) for values in product(*ranges.values())]
    order = np.argsort(uniform(0, Purpose.POLICY, np.arange(1, len(settings))), kind="stable")
    return [_named(policy, **options) for options in (settings[0], *(settings[1 + place] for place in order))]


FINEST = 1.05  # nearer values of an option than this ratio are not told apart


def refinements(specs: Sequence[PolicySpec], known: Sequence[PolicySpec]) -> list[PolicySpec]:
    """Settings between those that were tried: one option halfway to the next value of it, of the first spec first.

    Halfway is the geometric mean of two values of the same sign, else the arithmetic one. Options that are whole
    numbers, truth values or texts stay, because `Gate.ranges` lists what they can be.

    Args:
        specs: the settings to refine.
        known: settings of the same policies that say which values have been tried.
    """
    found: dict[str, PolicySpec] = {}
    for spec in specs:
        family = [other.options for other in known if other.policy == spec.policy]
        for name, value in spec.options.items():
            if not isinstance(value, float):
                continue
            tried = sorted({float(options[name]) for options in family if name in options} | {value})
            at = tried.index(value)
            for other in (*tried[max(0, at - 1) : at], *tried[at + 1 : at + 2]):
                between = _halfway(value, other)
                if between is not None:
                    near = _named(spec.policy, **{**spec.options, name: between})
                    found.setdefault(near.key, near)
    return list(found.values())


def _halfway(one: float, other: float) -> float | None:
    """The middle of two values with three digits; None if they are too near each other to have one."""
    if one * other > 0:
        if max(one / other, other / one) < FINEST:
            return None
        middle = float(np.sign(one) * np.sqrt(one * other))
    else:
        middle = (one + other) / 2
    rounded = float(f"{middle:.3g}")
    return None if rounded in (one, other) else rounded
