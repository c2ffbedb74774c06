"""What all gates share: which layer grows, by how much, and what of the observation they may read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agents.policy import POLICIES, Actions, Interface, Mask, Observations, PolicyFactory, PolicySpec
from agents.schedules import Clock
from growenv.actions import WAIT
from growenv.config import GrowthConfig

Floats = NDArray[np.float64]


class Gate(Clock, ABC):
    """A trigger that decides from the observation when and where to grow.

    Args:
        interface: the environment's interface.
        amount: neurons each time; 0 means the smallest amount.

    Attributes:
        signals: signals that the environment must be made with.
        features: features of these signals that the gate reads; those of layers without the layer's number.

    Raises:
        ValueError: an option out of range, or an environment without the signals that the gate reads.
    """

    name = "gate"
    signals: ClassVar[tuple[str, ...]] = ()
    features: ClassVar[tuple[str, ...]] = ()

    def __init__(self, interface: Interface, amount: int = 0) -> None:
        super().__init__(interface)
        self._check_signals()
        table = interface.actions
        self.layers, self.amounts = table.layers, np.array(table.amounts, dtype=np.int64)
        self.amount = amount or table.amounts[0]
        self.growths = np.array([table.index(layer, self.amount) for layer in range(table.layers)], dtype=np.int64)
        self.turn = np.zeros(interface.rows, dtype=np.int64)

    @classmethod
    def ranges(cls, config: GrowthConfig) -> dict[str, tuple[Any, ...]]:
        """Values of every option that is tuned, the published one first; `agents.families` combines them."""
        return {"amount": config.amounts}

    def _check_signals(self) -> None:
        shown = {name for names in self.interface.feature_names.values() for name in names}
        lacking = [name for name in self.features if not {name, f"{name}_0"} & shown]
        if lacking:
            raise ValueError(
                f"the gate {self.name!r} reads {', '.join(lacking)}, which this environment does not show; make it "
                f'with signals={list(self.signals)}, or with signals="all"'
            )

    def reset(self, rows: Mask) -> None:
        """Start the clock and the first layer's turn in the rows that begin an episode."""
        super().reset(rows)
        self.turn[rows] = 0

    @abstractmethod
    def act(self, observations: Observations, masks: Mask) -> Actions:
        """See `agents.policy.Policy.act`."""

    # -- what it sees ------------------------------------------------------------------------------------------------

    def feature(self, observations: Observations, name: str) -> Floats:
        """A feature of every row, (N,)."""
        return self.interface.feature(observations, name).astype(np.float64)

    def per_layer(self, observations: Observations, name: str) -> Floats:
        """The feature ``name_<layer>`` of every row and hidden layer, (N, L)."""
        return np.stack([self.feature(observations, f"{name}_{layer}") for layer in range(self.layers)], axis=1)

    def measured(self, observations: Observations) -> Mask:
        """Whether the present task has been trained and measured, (N,)."""
        return self.interface.feature(observations, "measured") > 0

    def widths(self, observations: Observations) -> Floats:
        """Units of every hidden layer, (N, L)."""
        return self.counts(observations, "width")

    def counts(self, observations: Observations, name: str) -> Floats:
        """A feature that shows units as a share of the greatest width, in units, (N, L)."""
        counts: Floats = np.rint(self.per_layer(observations, name) * np.array(self.interface.max_hidden))
        return counts

    def costs(self, observations: Observations) -> Floats:
        """Share of the budget left that each layer's growth would take, (N, L); infinite where it has no place.

        Where actions name regions it is the cheapest one, which is where the growth will happen.
        """
        columns = []
        for action in self.growths:
            start = f"cost of {self.interface.actions.names[action]}"
            names = [name for name in self.interface.feature_names["budget"] if _is_cost_of(name, start)]
            each = np.stack([self.feature(observations, name) for name in names], axis=1)
            columns.append(np.where(each > 0, each, np.inf).min(axis=1))  # what has no place shows no cost
        return np.stack(columns, axis=1)

    # -- what it does ------------------------------------------------------------------------------------------------

    def may_grow(self, masks: Mask) -> Mask:
        """Layers that may grow by the gate's amount, (N, L)."""
        return masks[:, self.growths]

    def grow_where(self, fires: Mask, masks: Mask, layers: Mask | None = None) -> Actions:
        """Grow the layers in turn, those that may not grow being passed over; wait where the trigger does not fire.

        Args:
            fires: rows that grow, (N,).
            masks: legal actions, (N, A).
            layers: layers that take part, (N, L); all if None.
        """
        open_layers = self.may_grow(masks) if layers is None else self.may_grow(masks) & layers
        order = (self.turn[:, None] + np.arange(self.layers)) % self.layers
        legal = np.take_along_axis(open_layers, order, axis=1)
        grows = fires & legal.any(axis=1)
        chosen = np.take_along_axis(order, legal.argmax(axis=1)[:, None], axis=1)[:, 0]
        self.turn = np.where(grows, (chosen + 1) % self.layers, self.turn)
        return np.where(grows, self.growths[chosen], WAIT).astype(np.int64)

    def grow_best(self, scores: Floats, masks: Mask) -> Actions:
        """Grow the layer with the highest score among those that may; the first of equals.

        Args:
            scores: (N, L); minus infinity for a layer that shall not grow.
            masks: legal actions, (N, A).
        """
        scores = np.where(self.may_grow(masks), scores, -np.inf)
        chosen = scores.argmax(axis=1)
        grows = scores.max(axis=1) > -np.inf
        return np.where(grows, self.growths[chosen], WAIT).astype(np.int64)

    def grow_by(self, needed: Floats, masks: Mask) -> Actions:
        """Grow the layer that needs most neurons by the legal amount that is nearest; layers that need none wait.

        Args:
            needed: neurons that each layer needs, (N, L); less than 1 is none.
            masks: legal actions, (N, A); of two amounts as near the smaller one is taken.
        """
        rows = np.arange(len(masks))
        legal = masks[:, 1:].reshape(len(masks), self.layers, len(self.amounts))
        wanted = np.where(legal.any(axis=2) & (needed >= 1), needed, -np.inf)
        layer = wanted.argmax(axis=1)
        distance = np.where(legal[rows, layer], np.abs(self.amounts - needed[rows, layer][:, None]), np.inf)
        smallest_first = np.argsort(self.amounts, kind="stable")
        nearest = smallest_first[distance[:, smallest_first].argmin(axis=1)]
        grows = wanted.max(axis=1) > -np.inf
        return np.where(grows, 1 + layer * len(self.amounts) + nearest, WAIT).astype(np.int64)


GATES: dict[str, type[Gate]] = {}
"""The gates by name, in the order in which they were registered."""

G = TypeVar("G", bound=type[Gate])


def gate(name: str) -> Callable[[G], G]:
    """A decorator that registers a gate as a policy, to be tuned over its `ranges` and played with its `signals`.

    Raises:
        ValueError: the name is empty or taken.
    """

    def register(kind: G) -> G:
        """Enter the class under the name."""
        POLICIES.register(name, kind)
        kind.name = name
        GATES[name] = kind
        return kind

    return register


def signals_of(policy: PolicyFactory) -> tuple[str, ...]:
    """Signals that an environment must show for this policy: those of a registered gate, or its own ``signals``."""
    kind: Any = GATES.get(policy.policy) if isinstance(policy, PolicySpec) else policy
    return tuple(getattr(kind, "signals", ()))


class RecentGain:
    """Best accuracy of the last `patience` measurements minus the best one before them, for N rows.

    Args:
        rows: number of rows N.
        patience: measurements J in the window.

    Raises:
        ValueError: a window of less than one measurement.
    """

    def __init__(self, rows: int, patience: int) -> None:
        check(patience >= 1, "patience", patience, "at least 1 decision")
        self.patience = patience
        self.recent = np.full((rows, patience), -np.inf)  # newest first
        self.best_before = np.full(rows, -np.inf)
        self.seen = np.zeros(rows, dtype=np.int64)

    def add(self, accuracy: Floats, measured: Mask) -> None:
        """Take note of the accuracies, (N,), of the rows that were measured, (N,)."""
        moved = np.concatenate([accuracy[:, None], self.recent[:, :-1]], axis=1)
        self.best_before = np.where(measured, np.maximum(self.best_before, self.recent[:, -1]), self.best_before)
        self.recent = np.where(measured[:, None], moved, self.recent)
        self.seen = self.seen + measured

    def forget(self, rows: Mask) -> None:
        """Begin anew in some rows, (N,)."""
        self.recent[rows] = -np.inf
        self.best_before[rows] = -np.inf
        self.seen[rows] = 0

    def value(self) -> Floats:
        """The gain of every row, (N,); infinite before there is a measurement to compare with."""
        known = self.seen > self.patience
        return np.where(known, self.recent.max(axis=1) - np.where(known, self.best_before, 0.0), np.inf)


def check(holds: bool, name: str, given: object, expected: str) -> None:
    """Refuse an option of a gate.

    Raises:
        ValueError: it is not what was expected.
    """
    if not holds:
        raise ValueError(f"{name} must be {expected}, got {given!r}")


def unsquash(value: ArrayLike) -> Floats:
    """The x of which an observation shows x / (1 + x); 1 shows infinity."""
    shown = np.asarray(value, dtype=np.float64)
    with np.errstate(divide="ignore"):
        plain: Floats = shown / (1.0 - shown)
    return plain


def _is_cost_of(feature: str, start: str) -> bool:
    """Whether a feature is the cost of a growth, in any region: ``cost of grow layer 0 by 4 in region 2``."""
    return feature == start or feature.startswith(f"{start} in region ")
