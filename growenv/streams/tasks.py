"""Tasks, and contexts: all that an episode depends on besides the actions."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from growenv.registry import unknown_name
from growenv.streams.datasets import Dataset
from growenv.streams.fields import checked_integer, checked_keys, checked_number
from growenv.streams.transforms import Transform

SPLITS = ("train", "val", "test", "ood")
_FIELDS = ("distribution", "dataset", "split", "index", "tasks", "budget", "price", "inner_seed")


@dataclass(frozen=True)
class Task:
    """A data set seen through a transform, restricted to a subset of its classes.

    Attributes:
        transform: how inputs are rotated and permuted.
        classes: labels of the task, sorted and distinct; output k of the task's head stands for ``classes[k]``.
    """

    transform: Transform
    classes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.transform, Transform):
            raise ValueError(f"transform is {self.transform!r}, expected a Transform")
        if not isinstance(self.classes, (tuple, list)):
            raise ValueError(f"classes is {self.classes!r}, expected a tuple of labels")
        classes = tuple([checked_integer("classes", label, 0, 2**31) for label in self.classes])
        if not classes or list(classes) != sorted(set(classes)):
            raise ValueError(f"classes is {classes}, expected at least one label, sorted and distinct")
        object.__setattr__(self, "classes", classes)

    def check(self, dataset: Dataset) -> None:
        """Raise where the task does not fit the data set.

        Raises:
            ValueError: a class that the data set does not have, or a rotation that it does not allow.
        """
        if self.classes[-1] >= dataset.classes:
            raise ValueError(
                f"a task has the classes {self.classes}, dataset {dataset.name!r} has 0..{dataset.classes - 1}"
            )
        self.transform.check(dataset)

    def to_json(self) -> dict[str, Any]:
        """The task as plain types."""
        return {"transform": self.transform.to_json(), "classes": list(self.classes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Task:
        """The task that `to_json` described.

        Raises:
            ValueError: unknown, missing or wrong fields; the message names the field.
        """
        checked_keys("task", data, ("transform", "classes"))
        return cls(Transform.from_json(data["transform"]), data["classes"])


@dataclass(frozen=True)
class Context:
    """All that an episode depends on besides the actions.

    Attributes:
        distribution: name of the stream distribution that drew the stream.
        dataset: name of the data set.
        split: ``"train"``, ``"val"``, ``"test"`` or ``"ood"``.
        index: number of the context within its split, at least 0.
        tasks: the stream, at least one task.
        budget: share of the largest network that may be used, 0 < budget <= 1.
        price: reward lost for each unit of share that is used, at least 0.
        inner_seed: seed of the inner training (weights, minibatches), 0 <= inner_seed < 2**63.
    """

    distribution: str
    dataset: str
    split: str
    index: int
    tasks: tuple[Task, ...]
    budget: float
    price: float
    inner_seed: int

    def __post_init__(self) -> None:
        for name in ("distribution", "dataset"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected a non-empty name")
        checked_split(self.split)
        if (
            not isinstance(self.tasks, (tuple, list))
            or not all(isinstance(task, Task) for task in self.tasks)
            or not self.tasks
        ):
            raise ValueError(f"tasks is {self.tasks!r}, expected a tuple of at least one Task")
        values = {
            "index": checked_integer("index", self.index, 0, 2**63),
            "tasks": tuple(self.tasks),
            "budget": checked_budget("budget", self.budget),
            "price": checked_price("price", self.price),
            "inner_seed": checked_integer("inner_seed", self.inner_seed, 0, 2**63),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @functools.cached_property
    def id(self) -> str:
        """16 hexadecimal digits that name the context: the start of the SHA-256 of its canonical JSON."""
        return digest(self.to_json())

    @functools.cached_property
    def stream_id(self) -> str:
        """16 hexadecimal digits that name the stream: as `id`, of the tasks alone."""
        return stream_id(self.tasks)

    def check(self, dataset: Dataset) -> None:
        """Raise where the context does not fit the data set.

        Raises:
            ValueError: another data set's name, a class it does not have, or a rotation it does not allow.
        """
        if self.dataset != dataset.name:
            raise ValueError(f"context {self.id} is for dataset {self.dataset!r}, got dataset {dataset.name!r}")
        for task in self.tasks:
            task.check(dataset)

    def to_json(self) -> dict[str, Any]:
        """The context as plain types."""
        fields = {name: getattr(self, name) for name in _FIELDS}
        return {**fields, "tasks": [task.to_json() for task in self.tasks]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Context:
        """The context that `to_json` described.

        Raises:
            ValueError: unknown, missing or wrong fields; the message names the field.
        """
        checked_keys("context", data, _FIELDS)
        if not isinstance(data["tasks"], (tuple, list)):
            raise ValueError(f"tasks is {data['tasks']!r}, expected a list of tasks")
        return cls(**{**data, "tasks": tuple(Task.from_json(task) for task in data["tasks"])})


def stream_id(tasks: Sequence[Task]) -> str:
    """16 hexadecimal digits that name a stream, whatever its context."""
    return digest([task.to_json() for task in tasks])


def digest(data: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the canonical JSON of plain data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def checked_split(split: Any) -> str:
    """`split` as it is, if it is the name of a split.

    Raises:
        UnknownNameError: it is not; the message lists those there are.
    """
    if not isinstance(split, str) or split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    return split


def checked_budget(name: str, value: Any) -> float:
    """`value` as a share of capacity.

    Raises:
        ValueError: it is not in (0, 1].
    """
    budget = checked_number(name, value)
    if not 0 < budget <= 1:
        raise ValueError(f"{name} is {budget}, expected a share of capacity, 0 < {name} <= 1")
    return budget


def checked_price(name: str, value: Any) -> float:
    """`value` as a price of capacity.

    Raises:
        ValueError: it is negative or not finite.
    """
    price = checked_number(name, value)
    if price < 0:
        raise ValueError(f"{name} is {price}, expected {name} >= 0")
    return price
