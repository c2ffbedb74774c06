"""Stream distributions, and contexts drawn from them in disjoint splits.

Streams are shared out by a hash of what they contain, so a stream belongs to one of train (70 %), val (15 %) and test
(15 %) whatever index drew it. The ood split is outside of all three: its streams are longer.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from growenv.registry import Registry
from growenv.streams.datasets import Dataset, load_dataset
from growenv.streams.fields import checked_integer
from growenv.streams.tasks import Context, Task, checked_budget, checked_price, checked_split, stream_id
from growenv.streams.transforms import Transform

OOD_LENGTHENING = 0.6  # ood streams have this share of tasks on top
OOD_BUDGET = 0.6  # ood budgets are multiplied by this
_SHARES = {"train": (0.0, 0.7), "val": (0.7, 0.85), "test": (0.85, 1.0)}
_DRAWS = 1000  # a split of 15 % is missed this often with probability 0.85**1000
_ANGLES = tuple(range(0, 360, 30))
_OOD_ANGLES = tuple(range(15, 360, 30))


@runtime_checkable
class StreamDistribution(Protocol):
    """Draws streams. Register a factory under a name in `DISTRIBUTIONS`, or hand the object over."""

    @property
    def name(self) -> str:
        """Part of every context; a variant with other settings should have another name."""

    def draw(self, rng: np.random.Generator, dataset: Dataset, tasks: int, ood: bool) -> tuple[Task, ...]:
        """Draw one stream.

        Args:
            rng: the only source of randomness.
            dataset: what the tasks are made of.
            tasks: how many tasks the stream must have.
            ood: whether the stream is for the ood split, where rarer transforms may be used.

        Raises:
            ValueError: the data set cannot carry such tasks.
        """


@dataclass(frozen=True)
class Split:
    """Pairs of classes: consecutive pairs of a shuffled class order, and of a new order when the pairs are used up.

    An odd class out sits out until the next order. Pairs can come back only in a later order.
    """

    name: str = "split"

    def draw(self, rng: np.random.Generator, dataset: Dataset, tasks: int, ood: bool) -> tuple[Task, ...]:
        """Draw one stream; see `StreamDistribution.draw`."""
        _need_classes(self, dataset, 2)
        pairs: list[tuple[int, ...]] = []
        while len(pairs) < tasks:
            order = _shuffled(rng, dataset.classes)
            pairs += [tuple(sorted(order[i : i + 2])) for i in range(0, dataset.classes - 1, 2)]
        return tuple(Task(Transform(), pair) for pair in pairs[:tasks])


@dataclass(frozen=True)
class Permuted:
    """All classes in every task, each task under a new permutation of the inputs."""

    name: str = "permuted"

    def draw(self, rng: np.random.Generator, dataset: Dataset, tasks: int, ood: bool) -> tuple[Task, ...]:
        """Draw one stream; see `StreamDistribution.draw`."""
        _need_classes(self, dataset, 2)
        classes = tuple(range(dataset.classes))
        return tuple(Task(_new_permutation(rng), classes) for _ in range(tasks))


@dataclass(frozen=True)
class Rotated:
    """Images turned by multiples of 30 degrees, in the ood split by 15 degrees more; all classes or five of them.

    No angle comes back before all twelve were used.
    """

    name: str = "rotated"

    def draw(self, rng: np.random.Generator, dataset: Dataset, tasks: int, ood: bool) -> tuple[Task, ...]:
        """Draw one stream; see `StreamDistribution.draw`."""
        _need_classes(self, dataset, 2)
        if not _turns(dataset):
            raise ValueError(
                f"stream distribution {self.name!r} needs square images, dataset {dataset.name!r} has "
                f"image_shape {dataset.image_shape}; use 'split', 'permuted' or 'mixed'"
            )
        angles = _OOD_ANGLES if ood else _ANGLES
        order: list[int] = []
        while len(order) < tasks:
            order += _shuffled(rng, len(angles))
        sizes = sorted({min(5, dataset.classes), dataset.classes})
        stream = []
        for number in order[:tasks]:
            classes = _subset(rng, dataset.classes, sizes[_below(rng, len(sizes))])
            stream.append(Task(Transform(rotation=angles[number]), classes))
        return tuple(stream)


@dataclass(frozen=True)
class Mixed:
    """Streams in which earlier inputs come back with other classes.

    The first task may be anything. Each later task takes, with probability `reuse`, the transform of an earlier task
    with other classes; else it brings a new permutation or (images) a new rotation. No task is an exact repeat of an
    earlier one. Rotations are multiples of 30 degrees, in the ood split 15 degrees more.

    Attributes:
        name: part of every context.
        reuse: probability that a later task takes an earlier task's transform.
        sizes: numbers of classes that a task can have; those above the data set's are left out.
    """

    name: str = "mixed"
    reuse: float = 0.5
    sizes: tuple[int, ...] = (2, 5, 10)

    def __post_init__(self) -> None:
        if not 0 <= self.reuse <= 1 or not self.sizes or min(self.sizes) < 1:
            raise ValueError(
                f"reuse is {self.reuse} and sizes {self.sizes}, expected a probability and positive integers"
            )

    def draw(self, rng: np.random.Generator, dataset: Dataset, tasks: int, ood: bool) -> tuple[Task, ...]:
        """Draw one stream; see `StreamDistribution.draw`."""
        _need_classes(self, dataset, min(self.sizes))
        angles = list((_OOD_ANGLES if ood else _ANGLES[1:]) if _turns(dataset) else ())
        stream = [self._first(rng, dataset, angles)]
        while len(stream) < tasks:
            task = self._again(rng, dataset, stream) if rng.random() < self.reuse else None
            stream.append(task or Task(_new_transform(rng, angles), self._classes(rng, dataset)))
        return tuple(stream)

    def _first(self, rng: np.random.Generator, dataset: Dataset, angles: list[int]) -> Task:
        plain = rng.random() < 1 / 3
        return Task(Transform() if plain else _new_transform(rng, angles), self._classes(rng, dataset))

    def _again(self, rng: np.random.Generator, dataset: Dataset, stream: list[Task]) -> Task | None:
        """A task with an earlier transform and other classes; None where that transform's class sets are used up."""
        transform = stream[_below(rng, len(stream))].transform
        for _ in range(32):
            task = Task(transform, self._classes(rng, dataset))
            if task not in stream:
                return task
        return None

    def _classes(self, rng: np.random.Generator, dataset: Dataset) -> tuple[int, ...]:
        sizes = [size for size in self.sizes if size <= dataset.classes]
        return _subset(rng, dataset.classes, sizes[_below(rng, len(sizes))])


DISTRIBUTIONS: Registry[StreamDistribution] = Registry("stream distribution")
DISTRIBUTIONS.register("split", Split)
DISTRIBUTIONS.register("permuted", Permuted)
DISTRIBUTIONS.register("rotated", Rotated)
DISTRIBUTIONS.register("mixed", Mixed)


def stream_length(tasks: int, split: str) -> int:
    """Number of tasks of a stream: `tasks`, and 60 % more (at least one more) in the ood split."""
    tasks = checked_integer("tasks", tasks, 1, 2**31)
    return tasks + max(1, round(OOD_LENGTHENING * tasks)) if checked_split(split) == "ood" else tasks


def draw_context(
    distribution: str | StreamDistribution,
    dataset: str | Dataset,
    split: str,
    index: int,
    *,
    tasks: int,
    budget: tuple[float, float],
    price: tuple[float, float],
    inner_seed: int,
) -> Context:
    """Context number `index` of a split, always the same for the same arguments.

    The generator is keyed by the names of distribution and data set, the split and the index. The budget is uniform and
    the price log-uniform in its range; equal ends pin the value. Pinning does not change the stream.

    Args:
        distribution: name or object.
        dataset: name or object.
        split: ``"train"``, ``"val"``, ``"test"``, or ``"ood"``: longer streams (`stream_length`), budgets times 0.6.
        index: number of the context, at least 0.
        tasks: tasks of a stream outside the ood split.
        budget: lowest and highest share of capacity, 0 < low <= high <= 1.
        price: lowest and highest price, 0 < low <= high, or 0 twice.
        inner_seed: seed of the inner training.

    Raises:
        ValueError: impossible ranges, unknown names or split, a data set that cannot carry the streams, or so few
            different streams that none falls into the split.
    """
    drawn, data = DISTRIBUTIONS.make(distribution), load_dataset(dataset)
    length = stream_length(tasks, split)
    index = checked_integer("index", index, 0, 2**63)
    rng = _generator(drawn.name, data.name, split, index)
    share = _uniform(rng, budget) * (OOD_BUDGET if split == "ood" else 1.0)
    cost = _log_uniform(rng, price)
    stream = _draw_in_split(drawn, rng, data, split, length)
    return Context(drawn.name, data.name, split, index, stream, share, cost, inner_seed)


def split_of(stream: tuple[Task, ...]) -> str:
    """The split among train, val and test that a stream belongs to, by the hash of its tasks."""
    place = int(stream_id(stream), 16) / 2.0**64
    return next((split for split, (low, high) in _SHARES.items() if low <= place < high), "test")


def _draw_in_split(
    distribution: StreamDistribution, rng: np.random.Generator, dataset: Dataset, split: str, length: int
) -> tuple[Task, ...]:
    for _ in range(_DRAWS):
        stream = distribution.draw(rng, dataset, length, split == "ood")
        if len(stream) != length:
            raise ValueError(f"stream distribution {distribution.name!r} drew {len(stream)} tasks, expected {length}")
        if split == "ood" or split_of(stream) == split:
            return stream
    raise ValueError(
        f"stream distribution {distribution.name!r} has too few different streams of {length} tasks on dataset "
        f"{dataset.name!r}: none of {_DRAWS} draws belongs to the split {split!r}; use more tasks or classes"
    )


def _generator(*key: object) -> np.random.Generator:
    hashed = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(hashed[:16], dtype="<u8")))


def _range(name: str, given: Any) -> tuple[Any, Any]:
    if isinstance(given, str) or not hasattr(given, "__len__") or len(given) != 2:
        raise ValueError(f"{name} is {given!r}, expected a range (low, high)")
    return given[0], given[1]


def _uniform(rng: np.random.Generator, budget: tuple[float, float]) -> float:
    low, high = (checked_budget("budget", end) for end in _range("budget", budget))
    if low > high:
        raise ValueError(f"budget is ({low}, {high}), expected low <= high")
    return min(low + (high - low) * rng.random(), high)


def _log_uniform(rng: np.random.Generator, price: tuple[float, float]) -> float:
    low, high = (checked_price("price", end) for end in _range("price", price))
    where = rng.random()  # drawn even where the price is pinned, so that pinning does not change the stream
    if low == high:
        return low
    if not 0 < low < high:
        raise ValueError(f"price is ({low}, {high}), expected 0 < low <= high (log-uniform), or (0, 0) for no price")
    # Mathematical libraries differ in the last digit; rounding keeps the context's id the same on every machine.
    drawn = float(f"{math.exp(math.log(low) + (math.log(high) - math.log(low)) * where):.12g}")
    return min(max(drawn, low), high)


# The helpers below use nothing of the generator but uniform numbers, whose sequence NumPy keeps over versions; they are
# also several times faster than `choice` and `permutation` on a handful of classes.


def _below(rng: np.random.Generator, bound: int) -> int:
    return int(rng.random() * bound)


def _shuffled(rng: np.random.Generator, count: int) -> list[int]:
    order: list[int] = np.argsort(rng.random(count), kind="stable").tolist()
    return order


def _subset(rng: np.random.Generator, classes: int, size: int) -> tuple[int, ...]:
    return tuple(sorted(_shuffled(rng, classes)[:size]))


def _new_permutation(rng: np.random.Generator) -> Transform:
    return Transform(permutation=_below(rng, 2**53))


def _new_transform(rng: np.random.Generator, angles: list[int]) -> Transform:
    """A permutation or an unused angle, evenly; the angle is taken off the list."""
    if angles and rng.random() < 0.5:
        return Transform(rotation=angles.pop(_below(rng, len(angles))))
    return _new_permutation(rng)


def _turns(dataset: Dataset) -> bool:
    return dataset.image_shape is not None and dataset.image_shape[0] == dataset.image_shape[1]


def _need_classes(distribution: StreamDistribution, dataset: Dataset, classes: int) -> None:
    if dataset.classes < classes:
        raise ValueError(
            f"stream distribution {distribution.name!r} needs {classes} classes or more, dataset {dataset.name!r} "
            f"has {dataset.classes}"
        )
