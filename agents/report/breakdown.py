"""Where a policy gains: mean returns and differences by the price and by the budget of the context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.comparison import BEST_FIXED, Comparison, Player
from agents.statistics import Interval, mean_difference, study_interval

BINS = 5
FIGURES = ("price", "budget")
"""What contexts are sorted by."""


@dataclass(frozen=True)
class Bin:
    """Contexts whose price, or budget, is alike.

    Attributes:
        low: least price (share of the capacity for a budget) in the bin.
        high: largest one.
        contexts: how many contexts are in it.
        returns: mean return, by the name of the player.
        differences: return minus the best fixed schedule's, by the name of the player.
    """

    low: float
    high: float
    contexts: int
    returns: Mapping[str, float]
    differences: Mapping[str, Interval]


def best_gate(comparison: Comparison) -> Player | None:
    """The gate with the highest mean return; None where no gate played."""
    gates = comparison.of_kind("gate")
    return max(gates, key=lambda gate: gate.mean("return_")) if gates else None


def protagonists(comparison: Comparison) -> tuple[Player, ...]:
    """The first learned policy, the best gate, the best fixed schedule and the oracle, as far as they played."""
    fixed, gate = comparison.player(BEST_FIXED), best_gate(comparison)
    return (*comparison.of_kind("learned")[:1], *([gate] if gate else []), fixed, *comparison.of_kind("oracle")[:1])


def quantile_bins(values: NDArray[np.float64], bins: int = BINS) -> NDArray[np.int64]:
    """The bin of each value when they are cut into `bins` equally full ones; equal values share a bin, none is empty.

    Args:
        values: shape (C,).
        bins: most bins.

    Returns:
        Numbers of bins, from 0 on, in the order of the values, shape (C,).

    Raises:
        ValueError: fewer than one bin, or no values.
    """
    if bins < 1 or values.ndim != 1 or len(values) == 0:
        raise ValueError(f"at least one bin and one value are needed, got {bins} bins and shape {values.shape}")
    ordered = np.sort(values)
    begins = np.unique(ordered[np.arange(bins) * len(values) // bins])
    place: NDArray[np.int64] = np.searchsorted(begins, values, side="right") - 1
    return place


def breakdown(comparison: Comparison, by: str, *, bins: int = BINS, seed: int = 0) -> tuple[Bin, ...]:
    """Returns of the `protagonists` in bins of contexts.

    Args:
        comparison: what was played.
        by: ``"price"`` or ``"budget"``.
        bins: most bins; each keeps at least two contexts where there are two, for its interval.
        seed: seed of the bootstrap.

    Raises:
        ValueError: contexts cannot be sorted by that.
    """
    if by not in FIGURES:
        raise ValueError(f"contexts are sorted by {' or '.join(FIGURES)}, got {by!r}")
    fixed = comparison.player(BEST_FIXED)
    sorted_by = fixed.values(by)[0, :, 0]
    place = quantile_bins(sorted_by, max(1, min(bins, len(sorted_by) // 2)))
    tables = {player.name: player.values("return_") for player in protagonists(comparison)}
    return tuple(_bin(tables, fixed.name, sorted_by, place == number, seed) for number in range(int(place.max()) + 1))


def _bin(
    tables: Mapping[str, NDArray[np.float64]],
    fixed: str,
    sorted_by: NDArray[np.float64],
    inside: NDArray[np.bool_],
    seed: int,
) -> Bin:
    kept = {name: table[:, inside] for name, table in tables.items()}
    return Bin(
        float(sorted_by[inside].min()),
        float(sorted_by[inside].max()),
        int(inside.sum()),
        {name: float(table.mean()) for name, table in kept.items()},
        {
            name: study_interval(mean_difference, (table, kept[fixed]), seed=seed)
            for name, table in kept.items()
            if name != fixed
        },
    )


def breakdown_text(by: str, bins: Sequence[Bin]) -> str:
    """A breakdown as lines of text: one line a bin, then each player's difference to the best fixed schedule."""
    lines = [f"minus best fixed, by {by}:"]
    for each in bins:
        differences = [f"{name} {_signed(interval)}" for name, interval in each.differences.items()]
        span = f"{each.low:.2f} to {each.high:.2f}"
        lines.append("  ".join([f"  {span} ({each.contexts} contexts)", *differences]))
    return "\n".join(lines)


def _signed(interval: Interval) -> str:
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
