"""What a policy is: it maps the observations and action masks of N rows to N actions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from growenv.actions import WAIT, ActionTable
from growenv.registry import Registry, unknown_name

Observations = Mapping[str, NDArray[np.float32]]
Mask = NDArray[np.bool_]
Actions = NDArray[np.int64]


class Policy(Protocol):
    """Chooses the actions of N rows.

    Attributes:
        name: the name in tables and pictures.
    """

    name: str

    def reset(self, rows: Mask) -> None:
        """Forget what is known about the rows that begin a new episode.

        Args:
            rows: shape (N,), True for the rows that begin a new episode.
        """

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """The actions of all rows.

        Args:
            observations: groups of named features, each of shape (N, features of the group).
            masks: legal actions, shape (N, A).

        Returns:
            Action indices, shape (N,).
        """


@dataclass(frozen=True)
class Interface:
    """What a policy must know about the environment before it is built.

    Attributes:
        actions: meaning of the action indices.
        feature_names: names of the columns of each observation group.
        decisions: decisions in each task.
        tasks: tasks of the longest stream that will be played.
        rows: rows that `Policy.act` receives.
        hidden: initial widths of the hidden layers.
        max_hidden: largest widths of the hidden layers.
        first_episode: number of the first episode. A policy that draws random numbers keys them with the number of the
            episode, so a list of contexts gives the same numbers however it is cut into batches.
    """

    actions: ActionTable
    feature_names: Mapping[str, tuple[str, ...]]
    decisions: int
    tasks: int
    rows: int
    hidden: tuple[int, ...] = ()
    max_hidden: tuple[int, ...] = ()
    first_episode: int = 0

    @classmethod
    def of(cls, env: Any) -> Interface:
        """The interface of a `GrowthVectorEnv`, or of a `GrowthEnv`, which has one row."""
        env = getattr(env, "unwrapped", env)
        config = env.config
        return cls(
            actions=env.actions,
            feature_names=env.feature_names,
            decisions=config.decisions,
            tasks=config.tasks,
            rows=getattr(env, "num_envs", 1),
            hidden=tuple(config.hidden),
            max_hidden=tuple(config.max_hidden),
        )

    @cached_property
    def _columns(self) -> dict[str, tuple[str, int]]:
        return {
            name: (group, column) for group, names in self.feature_names.items() for column, name in enumerate(names)
        }

    def feature(self, observations: Observations, name: str) -> NDArray[np.float32]:
        """The feature called `name` of every row, shape (N,).

        Raises:
            UnknownNameError: the environment has no such feature.
        """
        if name not in self._columns:
            raise unknown_name("feature", name, self._columns)
        group, column = self._columns[name]
        return observations[group][:, column]

    def part(self, rows: int, first_episode: int) -> Interface:
        """The interface of a policy that plays some of the rows."""
        return replace(self, rows=rows, first_episode=first_episode)


PolicyFactory = Callable[[Interface], Policy]
POLICIES: Registry[Policy] = Registry("policy")


@dataclass(frozen=True)
class PolicySpec:
    """A registered policy and its options, JSON both ways; calling it with an interface builds the policy.

    Attributes:
        policy: registered name.
        options: what the factory takes besides the interface; plain JSON types.
        label: the name in tables; the registered name if empty.
    """

    policy: str
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    @property
    def name(self) -> str:
        """The name in tables."""
        return self.label or self.policy

    @property
    def key(self) -> str:
        """Equal for specs that build the same policy, whatever their labels."""
        return json.dumps([self.policy, dict(self.options)], sort_keys=True)

    def __call__(self, interface: Interface) -> Policy:
        """Build the policy; where actions name regions of tiles, it grows in the cheapest one.

        Raises:
            ValueError: no such policy, or it does not take these options.
        """
        policy = CheapestRegion(self._build, interface) if interface.actions.regions else self._build(interface)
        policy.name = self.name
        return policy

    def _build(self, interface: Interface) -> Policy:
        try:
            return POLICIES.make(self.policy, interface, **self.options)
        except TypeError as error:
            raise ValueError(f"policy {self.policy!r} cannot be built from {dict(self.options)}: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Plain types; `from_json` reads them back."""
        return {"policy": self.policy, "options": dict(self.options), "label": self.label}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PolicySpec:
        """The spec that `to_json` wrote.

        Raises:
            ValueError: a field is missing, unknown or of the wrong type.
        """
        if not isinstance(data, Mapping) or not {"policy"} <= set(data) <= {"policy", "options", "label"}:
            raise ValueError(f'a policy spec is {{"policy": name, "options": {{...}}, "label": text}}, got {data!r}')
        spec = cls(data["policy"], data.get("options", {}), data.get("label", ""))
        if not (isinstance(spec.policy, str) and isinstance(spec.options, Mapping) and isinstance(spec.label, str)):
            raise ValueError(f"policy and label are texts, options is an object with names; got {data!r}")
        return spec


def legal_or_wait(wanted: Actions, masks: Mask) -> Actions:
    """`wanted` where it is legal, else the waiting action; shapes (N,) and (N, A)."""
    legal = masks[np.arange(len(wanted)), wanted]
    return np.where(legal, wanted, WAIT).astype(np.int64)


class Composite:
    """Several policies that each play a run of consecutive rows of one stack.

    Args:
        parts: policies and the rows they play, in row order; together they must cover the rows.
    """

    def __init__(self, parts: Sequence[tuple[Policy, slice]], name: str = "composite") -> None:
        self.parts = tuple(parts)
        self.name = name
        ends = [0, *(rows.stop for _, rows in self.parts)]
        if [rows.start for _, rows in self.parts] != ends[:-1]:
            raise ValueError(f"the parts must follow each other from row 0 on, got {[rows for _, rows in self.parts]}")

    def reset(self, rows: Mask) -> None:
        """Reset each part's own rows."""
        for policy, own in self.parts:
            policy.reset(rows[own])

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """Each part's actions in its own rows."""
        actions = np.empty(len(masks), dtype=np.int64)
        for policy, own in self.parts:
            actions[own] = policy.act({group: values[own] for group, values in observations.items()}, masks[own])
        return actions


class CheapestRegion:
    """Plays a policy that knows no regions in an environment whose actions name one: greedy placement.

    The policy sees one action for each (layer, amount), legal if it is legal in any region. What it chooses happens in
    the legal region where it costs least now, as the observation shows; among equals in the first one.

    Args:
        build: builds the policy.
        interface: the environment's interface, whose actions name regions.
    """

    def __init__(self, build: Callable[[Interface], Policy], interface: Interface) -> None:
        self.interface = interface
        self.regions = interface.actions.regions
        self.actions = ActionTable(interface.actions.layers, interface.actions.amounts)
        self.policy = build(replace(interface, actions=self.actions))
        self.name = self.policy.name

    def reset(self, rows: Mask) -> None:
        """Reset the policy."""
        self.policy.reset(rows)

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """The policy's choice, each in its cheapest region."""
        legal = masks[:, 1:].reshape(len(masks), -1, self.regions)
        wanted = self.policy.act(observations, np.concatenate([masks[:, :1], legal.any(axis=2)], axis=1))
        row, request = np.arange(len(masks)), np.maximum(wanted - 1, 0)
        costs = np.where(legal, self._costs(observations).reshape(legal.shape), np.inf)[row, request]
        return np.where(wanted == WAIT, WAIT, 1 + request * self.regions + costs.argmin(axis=1)).astype(np.int64)

    def _costs(self, observations: Observations) -> NDArray[np.float64]:
        """What every growth action would cost, shape (N, A - 1)."""
        names = (f"cost of {name}" for name in self.interface.actions.names[1:])
        return np.stack([self.interface.feature(observations, name) for name in names], axis=1).astype(np.float64)


def without_regions(taken: NDArray[np.int64], actions: ActionTable) -> NDArray[np.int64]:
    """Action indices as if no action named a region; they stay what they are where none does."""
    return np.where(taken == WAIT, WAIT, 1 + (taken - 1) // max(1, actions.regions))
