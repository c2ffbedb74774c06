"""Counter-based random numbers: a number is a hash of (seed, purpose, counter).

Every random number of a row depends on the row's own seed, on what it is for and on a counter, and on nothing that
was drawn before. So a row's numbers do not depend on its neighbours, growing a network does not shift later
minibatches, and whole arrays are drawn for all rows at once. The mixing function is SplitMix64's finaliser (Steele, Lea
and Flood 2014, "Fast splittable pseudorandom number generators"), applied once per ingredient.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


class Purpose(IntEnum):
    """What a random number is for; purposes never share numbers."""

    WEIGHTS = 1
    HEAD = 2
    MINIBATCH = 3
    GROWTH = 4
    VALIDATION = 5
    POLICY = 6
    TRANSFORM = 7
    PROTECTION = 8
    PROBE = 9
    CANDIDATE = 10
    BOUNDARY = 11
    REHEARSAL = 12
    TRIAL = 13


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = value + _GOLDEN
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    mixed: NDArray[np.uint64] = value ^ (value >> np.uint64(31))
    return mixed


def bits(seed: ArrayLike, purpose: int, *counters: ArrayLike) -> NDArray[np.uint64]:
    """64 random bits for every combination of seed and counters.

    Args:
        seed: non-negative seeds, any shape.
        purpose: what the numbers are for, a `Purpose` or any other non-negative number.
        counters: non-negative counters; they broadcast against `seed`.

    Returns:
        Random bits, shape of the broadcast arguments.
    """
    with np.errstate(over="ignore"):
        state = _mix(_mix(np.asarray(seed, dtype=np.uint64)) ^ np.uint64(purpose))
        for counter in counters:
            state = _mix(state ^ np.asarray(counter, dtype=np.uint64))
    return np.asarray(state)


def uniform(seed: ArrayLike, purpose: int, *counters: ArrayLike) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) with 53 random bits; arguments as in `bits`."""
    drawn: NDArray[np.float64] = (bits(seed, purpose, *counters) >> np.uint64(11)) * 2.0**-53
    return drawn


def integers(bound: ArrayLike, seed: ArrayLike, purpose: int, *counters: ArrayLike) -> NDArray[np.int64]:
    """Integers in [0, bound); the bias of the multiplication is below bound / 2**32.

    Args:
        bound: exclusive upper bounds, 1 <= bound < 2**31, broadcast against the rest.
        seed, purpose, counters: as in `bits`.
    """
    high = bits(seed, purpose, *counters) >> np.uint64(32)
    drawn: NDArray[np.int64] = ((high * np.asarray(bound, dtype=np.uint64)) >> np.uint64(32)).astype(np.int64)
    return drawn


def normal(seed: ArrayLike, purpose: int, *counters: ArrayLike) -> NDArray[np.float64]:
    """Standard normal numbers (Box-Muller, one of the pair); arguments as in `bits`."""
    word = bits(seed, purpose, *counters)
    radius = ((word >> np.uint64(32)) + np.uint64(1)) * 2.0**-32  # in (0, 1], so that the logarithm is finite
    angle = (word & np.uint64(0xFFFFFFFF)) * (2.0**-32 * 2.0 * np.pi)
    drawn: NDArray[np.float64] = np.sqrt(-2.0 * np.log(radius)) * np.cos(angle)
    return drawn
