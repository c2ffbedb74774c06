"""Every option of an environment: typed, validated, JSON both ways."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from growenv.growth import GrowthOperator
from growenv.growth.signals import ALL, SIGNALS, Signal
from growenv.hardware import Meter
from growenv.protection import Protection
from growenv.registry import unknown_name
from growenv.streams import Dataset, StreamDistribution
from growenv.streams.scenarios import Scenario
from growenv.wiring import absent_at_first

SPLITS = ("train", "val", "test", "ood")
WHERE = ("auto", "tile")
PRECISIONS = ("float32", "float64")
COUNTS = (
    *("tasks", "decisions", "minibatches", "batch_size"),
    *("validation_samples", "test_samples", "signals_every"),
)


@dataclass(frozen=True)
class GrowthConfig:
    """The options of `GrowthEnv` and `GrowthVectorEnv`.

    Parts (data set, streams, protection, growth, meter, optimiser) are given by registered name or as objects; a
    configuration with objects cannot be written as JSON.

    Attributes:
        dataset: what is learned: ``digits``, ``mnist``, ``fashion-mnist``, ``cifar-10`` or a `Dataset`.
        input_pool: side to which grey images are averaged down, for hardware whose fan-in is small; None keeps them.
        streams: the stream distribution: ``mixed``, ``split``, ``permuted``, ``rotated`` or an object.
        split: which contexts are drawn: ``train``, ``val``, ``test`` or ``ood``.
        tasks: tasks of a stream; the ood split has more.
        decisions: decisions in each task.
        minibatches: minibatches that are trained after each decision.
        batch_size: samples in a minibatch.
        hidden: initial width of each hidden layer. A layer other than the first may be absent at first (0): its first
            growth deepens the network, and wires lead around it for ever; see docs/architecture.md.
        max_hidden: greatest width of each hidden layer.
        amounts: numbers of neurons that one action can add.
        prune: numbers of neurons that one action can take away, those that matter least first; none by default. Needs a
            protection that gives neurons back.
        optimizer: ``adam`` or ``sgd``.
        learning_rate: its step size.
        loss: ``cross-entropy``, or ``squared-error`` between outputs and one-hot targets. Losses that are observed and
            reported stay cross-entropies, so that they compare; what a protection adds stays as its paper has it.
        precision: ``float32``, or ``float64`` for runs that rounding must not change.
        protection: what guards old tasks: ``freeze`` or ``finetune``, or an object.
        scenario: who may know which task it is, and what counts as an answer: ``task-incremental``,
            ``domain-incremental``, ``class-incremental``, ``task-free``, another registered name, or an object. What it
            hides is hidden from the agent as well.
        growth: how new neurons start: ``random``, or an object.
        meter: what a network costs and where it fits: ``mosaic`` (the preset for digits), ``mosaic-<preset>``,
            ``crossbar``, ``parameters``, ``neurons``, ``macs``, ``bytes``, or an object.
        signals: evidence for when and where to grow that is observed besides, as names or `Signal` objects: ``all``,
            ``none``, or some of them, for example ``["rank", "loss"]``.
        signals_every: decisions from one look at the signals to the next within a task; in between, what was seen last
            is observed. With 2 they cost half.
        where: who chooses the tiles of new neurons on hardware with places: ``auto``, the meter's placement strategy,
            or ``tile``, the agent, whose actions then name a region.
        regions: with ``where="tile"``, rows and columns of regions into which the grid of tiles is cut; a grid that has
            fewer is cut into single tiles.
        budget: range from which a context's budget is drawn, as a share of what the largest network uses.
        price: range from which a context's price of that whole share is drawn (log-uniform); equal ends pin it.
        validation_samples: most validation samples of a task; the reward is measured on them.
        test_samples: most inner-test samples of a task; only the final figures are measured on them.
        accuracy_matrix: measure tasks before they are trained as well, which forward transfer needs. Without it a
            stream costs less and ``fwt`` is 0.
        divergence_penalty: taken from the reward when a network's loss stops being finite, which ends its stream.
    """

    dataset: str | Dataset = "digits"
    input_pool: int | None = None
    streams: str | StreamDistribution = "mixed"
    split: str = "train"
    tasks: int = 5
    decisions: int = 6
    minibatches: int = 20
    batch_size: int = 32
    hidden: tuple[int, ...] = (4, 4)
    max_hidden: tuple[int, ...] = (64, 64)
    amounts: tuple[int, ...] = (4, 16)
    prune: tuple[int, ...] = ()
    optimizer: str = "adam"
    learning_rate: float = 0.01
    loss: str = "cross-entropy"
    precision: str = "float32"
    protection: str | Protection = "freeze"
    scenario: str | Scenario = "task-incremental"
    growth: str | GrowthOperator = "random"
    meter: str | Meter = "mosaic"
    signals: str | tuple[str | Signal, ...] = ()
    signals_every: int = 1
    where: str = "auto"
    regions: tuple[int, ...] = (4, 4)
    budget: tuple[float, float] = (0.15, 0.6)
    price: tuple[float, float] = (0.15, 4.5)
    validation_samples: int = 128
    test_samples: int = 256
    accuracy_matrix: bool = True
    divergence_penalty: float = 1.0

    def __post_init__(self) -> None:
        for name in ("hidden", "max_hidden", "amounts", "prune", "regions"):
            object.__setattr__(self, name, _integers(name, getattr(self, name)))
        for name in ("budget", "price"):
            object.__setattr__(self, name, _range(name, getattr(self, name)))
        for name in COUNTS:
            value = getattr(self, name)
            _check(_is_integer(value) and value >= 1, name, value, "an integer >= 1")
            object.__setattr__(self, name, int(value))
        side = self.input_pool
        _check(side is None or (_is_integer(side) and side >= 1), "input_pool", side, "None, or an integer >= 1")
        object.__setattr__(self, "input_pool", None if side is None else int(side))
        self._check_parts()
        object.__setattr__(self, "signals", _signals(self.signals))
        _check(self.where in WHERE, "where", self.where, f"one of {', '.join(WHERE)}")
        two = len(self.regions) == 2 and min(self.regions) >= 1
        _check(two, "regions", self.regions, "two integers >= 1: rows and columns of regions")
        _check(self.split in SPLITS, "split", self.split, f"one of {', '.join(SPLITS)}")
        rate = self.learning_rate
        _check(_is_number(rate) and rate > 0, "learning_rate", rate, "a number above 0")
        penalty = self.divergence_penalty
        _check(_is_number(penalty) and penalty >= 0, "divergence_penalty", penalty, "a number >= 0")
        object.__setattr__(self, "learning_rate", float(rate))
        object.__setattr__(self, "divergence_penalty", float(penalty))
        _check(isinstance(self.accuracy_matrix, bool), "accuracy_matrix", self.accuracy_matrix, "true or false")
        some = len(self.hidden) > 0 and self.hidden[0] >= 1 and min(self.hidden) >= 0
        expected = "at least one layer; at least 1 neuron in the first, at least 0 (absent at first) in each other one"
        _check(some, "hidden", self.hidden, expected)
        fits = len(self.max_hidden) == len(self.hidden)
        fits = fits and all(max(1, small) <= most for small, most in zip(self.hidden, self.max_hidden, strict=True))
        expected = f"a width of at least 1 for each layer, at least hidden={self.hidden}"
        _check(fits, "max_hidden", self.max_hidden, expected)
        distinct = len(set(self.amounts)) == len(self.amounts) > 0 and min(self.amounts) >= 1
        _check(distinct, "amounts", self.amounts, "different numbers of neurons, each at least 1")
        distinct = len(set(self.prune)) == len(self.prune) and min(self.prune, default=1) >= 1
        _check(distinct, "prune", self.prune, "different numbers of neurons, each at least 1, or none")
        _check(self.budget[0] > 0 and self.budget[1] <= 1, "budget", self.budget, "shares with 0 < low <= high <= 1")
        low, high = self.price
        _check(low > 0 or low == high, "price", self.price, "prices with 0 < low <= high, or one price >= 0 for both")

    @property
    def bypassed(self) -> tuple[int, ...]:
        """The hidden layers that are absent at first, around which wires lead."""
        return absent_at_first(self.hidden)

    def _check_parts(self) -> None:
        kinds = {
            "dataset": Dataset,
            "streams": StreamDistribution,
            "protection": Protection,
            "scenario": Scenario,
            "growth": GrowthOperator,
            "meter": Meter,
        }
        for name in ("optimizer", "loss"):
            _check(isinstance(getattr(self, name), str), name, getattr(self, name), "a registered name")
        _check(self.precision in PRECISIONS, "precision", self.precision, f"one of {', '.join(PRECISIONS)}")
        for name, kind in kinds.items():
            part = getattr(self, name)
            known = isinstance(part, str) or (isinstance(part, kind) and not isinstance(part, type))
            _check(known, name, part, f"a registered name or a {kind.__name__} object")

    @property
    def dtype(self) -> torch.dtype:
        """`precision` as torch calls it."""
        return torch.float64 if self.precision == "float64" else torch.float32

    @classmethod
    def from_options(cls, config: GrowthConfig | None = None, **options: Any) -> GrowthConfig:
        """`config`, or the defaults, with some options replaced.

        Raises:
            ValueError: an option that does not exist, with the nearest one that does, or a value that is out of range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in options:
            if name not in known:
                raise unknown_name("option", name, known)
        return dataclasses.replace(config or cls(), **options)

    def to_json(self) -> dict[str, Any]:
        """The options as plain values.

        Raises:
            ValueError: a part was given as an object; name it and register it to have it in files.
        """
        plain: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, str | int | float | bool | tuple | None):
                raise ValueError(
                    f"the option {field.name!r} is an object ({type(value).__name__}) and cannot be written to a file; "
                    "register it under a name and use the name"
                )
            if isinstance(value, tuple) and any(not isinstance(each, str | int | float) for each in value):
                raise ValueError(
                    f"the option {field.name!r} holds an object and cannot be written to a file; register it under a "
                    "name and use the name"
                )
            plain[field.name] = list(value) if isinstance(value, tuple) else value
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> GrowthConfig:
        """The configuration that `to_json` wrote; raises `ValueError` as `from_options` does."""
        if not isinstance(plain, dict):
            raise ValueError(f"a configuration is a JSON object, got {type(plain).__name__}")
        return cls.from_options(**plain)


def _signals(given: Any) -> tuple[str | Signal, ...]:
    """Signals by name or object; ``all`` and ``none`` stand for their lists."""
    named = {"all": ALL, "none": ()}
    if isinstance(given, str) and given in named:
        return named[given]
    signals = tuple(given) if isinstance(given, list | tuple) else (given,)
    for signal in signals:
        _check(isinstance(signal, str | Signal), "signals", given, "all, none, or names of signals, or Signal objects")
        if isinstance(signal, str) and signal not in SIGNALS.names():
            raise unknown_name("signal", signal, (*SIGNALS.names(), *named))
    names = [signal if isinstance(signal, str) else signal.name for signal in signals]
    _check(len(set(names)) == len(names), "signals", given, "each signal once")
    return signals


def _check(holds: bool, name: str, given: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"option {name}={given!r}: expected {expected}")


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def _integers(name: str, given: Any) -> tuple[int, ...]:
    values = tuple(given) if isinstance(given, list | tuple | np.ndarray) else (given,)
    _check(all(_is_integer(value) for value in values), name, given, "integers")
    return tuple([int(value) for value in values])


def _range(name: str, given: Any) -> tuple[float, float]:
    values = tuple(given) if isinstance(given, list | tuple | np.ndarray) else (given, given)
    _check(len(values) == 2 and all(_is_number(v) for v in values), name, given, "a number, or two: low and high")
    low, high = (float(value) for value in values)
    _check(0 <= low <= high, name, given, "0 <= low <= high")
    return low, high
