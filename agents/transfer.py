"""Baselines that were tuned in one environment, played in another one with other amounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agents.policy import PolicySpec
from growenv.config import GrowthConfig


def transferred(spec: PolicySpec, source: GrowthConfig, target: GrowthConfig) -> PolicySpec:
    """The spec with every number of neurons replaced by the amount of the same rank.

    A schedule that adds the smaller amount of the source adds the smaller amount of the target, and so on: what a
    learned policy does that knows its actions by their place.

    Args:
        spec: a schedule or gate for the source.
        source: the environment in which it was tuned.
        target: the environment in which it shall play.

    Raises:
        ValueError: the two differ in the number of layers, amounts, or decisions of a task.
    """
    for name in ("hidden", "amounts"):
        if len(getattr(source, name)) != len(getattr(target, name)):
            raise ValueError(
                f"a schedule for {name}={getattr(source, name)} cannot play with {name}={getattr(target, name)}: "
                "both need equally many"
            )
    if source.decisions != target.decisions:
        raise ValueError(f"a schedule for {source.decisions} decisions a task cannot play with {target.decisions}")
    ranked = dict(zip(sorted(source.amounts), sorted(target.amounts), strict=True))
    return replace(spec, options={name: _mapped(name, value, ranked) for name, value in spec.options.items()})


def _mapped(name: str, value: Any, ranked: Mapping[int, int]) -> Any:
    """An option with its amounts replaced; 0 stands for a default amount and stays."""
    if name == "amount":
        return ranked.get(value, value)
    if name in ("first", "later"):
        return [[layer, ranked[amount]] for layer, amount in value]
    if name == "rules":
        return [{**rule, "amount": ranked[rule["amount"]]} for rule in value]
    return value
