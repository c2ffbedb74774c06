"""Every agent for growth paths by name."""

from __future__ import annotations

from typing import Any

from agents.algorithms import SEED_STRIDE
from agents.paths.judging import Judge
from agents.paths.learning import LEARNERS, MLP, Learner
from agents.paths.sampling import Agent, Sampler
from agents.paths.search import SEARCHES, search_agent
from agents.paths.tabular import TABULAR, tabular_agent
from growenv.registry import unknown_name

OPTIONS: dict[str, dict[str, Any]] = {**LEARNERS, **TABULAR, **SEARCHES}
"""Hyper-parameters by name: of networks, tables, searches."""
AGENTS = tuple(OPTIONS)
ROWS = {"ppo": 256, "a2c": 64, "dqn": 256}
"""Episodes that an agent plays at once; others play `FEW`."""
FEW = 32


def recipe(name: str) -> dict[str, Any]:
    """What an agent is made with besides its seed, plain types; two agents with equal recipes and seeds are equal."""
    made: dict[str, Any] = {"agent": name, "rows": ROWS.get(name, FEW), "options": OPTIONS[name]}
    return {**made, "network": MLP} if name in LEARNERS else made


def make_agent(name: str, judge: Judge, seed: int, rows: int = 0) -> Agent:
    """An agent that has learned nothing yet, with an environment of its own on the trials of ``train``.

    Args:
        name: one of `AGENTS`.
        judge: makes the environment; the agent does not get to know it.
        seed: seed of the agent and of its environment.
        rows: episodes that it plays at once; 0 for what suits it.

    Raises:
        UnknownNameError: no such agent.
    """
    if name not in AGENTS:
        raise unknown_name("agent", name, AGENTS)
    env = judge.environment(rows or ROWS.get(name, FEW))
    if name in LEARNERS:
        return Learner(name, env, seed)
    sampler = Sampler(env, seed * SEED_STRIDE)
    return (search_agent if name in SEARCHES else tabular_agent)(name, sampler, seed)
