"""Counter-based random numbers: known values, independence of their arguments, and uniformity."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from growenv.randomness import Purpose, bits, integers, normal, uniform

SEEDS = st.integers(0, 2**63 - 1)
MASK = 2**64 - 1


def splitmix(state: int) -> int:
    """SplitMix64 in plain Python integers: one step of the generator from `state`."""
    state = (state + 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def test_the_published_first_number_of_splitmix64() -> None:
    """The reference implementation gives 0xe220a8397b1dcdaf for the seed 0."""
    assert splitmix(0) == 0xE220A8397B1DCDAF


@given(seed=SEEDS, purpose=st.integers(0, 20), counters=st.lists(st.integers(0, 2**40), max_size=4))
def test_bits_equal_plain_integers(seed: int, purpose: int, counters: list[int]) -> None:
    state = splitmix(splitmix(seed) ^ purpose)
    for counter in counters:
        state = splitmix(state ^ counter)
    assert int(bits(seed, purpose, *counters)) == state


def test_known_values_stay_as_they_are() -> None:
    """What an environment returns depends on these; a change is a new version of every id."""
    assert int(bits(1, Purpose.WEIGHTS, 2, 3)) == 0x6B360221EDD5A20A
    assert float(uniform(12345, Purpose.HEAD, 7)) == pytest.approx(0.6039062229331219, abs=1e-15)
    assert integers(10, 5, Purpose.MINIBATCH, np.arange(8)).tolist() == [5, 0, 1, 4, 1, 6, 9, 9]
    assert float(normal(9, Purpose.GROWTH, 1)) == pytest.approx(0.8635793380097793, abs=1e-12)


def test_arrays_hold_what_single_calls_give() -> None:
    seeds, counters = np.array([3, 2**62]), np.arange(5)
    table = uniform(seeds[:, None], Purpose.WEIGHTS, counters[None, :])
    assert table.shape == (2, 5)
    for row, seed in enumerate(seeds):
        for column in counters:
            assert table[row, column] == uniform(seed, Purpose.WEIGHTS, column)


def test_every_ingredient_matters() -> None:
    base = int(bits(1, 2, 3, 4))
    others = [bits(2, 2, 3, 4), bits(1, 3, 3, 4), bits(1, 2, 4, 4), bits(1, 2, 3, 5), bits(1, 2, 4, 3), bits(1, 2, 3)]
    assert len({base, *map(int, others)}) == 7


def test_purposes_have_numbers_of_their_own() -> None:
    drawn = {int(bits(7, purpose, counter)) for purpose in Purpose for counter in range(100)}
    assert len(drawn) == 100 * len(Purpose)
    assert len({int(purpose) for purpose in Purpose}) == len(Purpose)


COUNT = 100_000


def columns() -> dict[str, Any]:
    """Numbers along each ingredient: none may show a pattern."""
    line = np.arange(COUNT)
    return {
        "seeds": uniform(line, Purpose.WEIGHTS, 5),
        "counters": uniform(5, Purpose.WEIGHTS, line),
        "second counters": uniform(5, Purpose.WEIGHTS, 0, line),
        "large seeds": uniform(2**62 + line, Purpose.WEIGHTS, 0),
    }


@pytest.mark.parametrize("name", columns())
def test_uniform_numbers_are_uniform_and_independent(name: str) -> None:
    drawn = columns()[name]
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 5 / np.sqrt(12 * COUNT)
    counts = np.histogram(drawn, bins=64, range=(0, 1))[0]
    assert ((counts - COUNT / 64) ** 2 / (COUNT / 64)).sum() < 63 + 5 * np.sqrt(2 * 63)
    for lag in (1, 2, 64):
        assert abs(np.corrcoef(drawn[:-lag], drawn[lag:])[0, 1]) < 5 / np.sqrt(COUNT)


def test_normal_numbers_are_normal() -> None:
    drawn = normal(3, Purpose.GROWTH, np.arange(COUNT))
    assert np.isfinite(drawn).all()
    assert abs(drawn.mean()) < 5 / np.sqrt(COUNT)
    assert abs(drawn.var() - 1) < 5 * np.sqrt(2 / COUNT)
    assert abs((np.abs(drawn) < 1).mean() - 0.6827) < 0.01
    assert abs((drawn**4).mean() - 3) < 0.15


@given(bound=st.integers(1, 2**31 - 1), seed=SEEDS)
def test_integers_stay_below_their_bound(bound: int, seed: int) -> None:
    drawn = integers(bound, seed, Purpose.MINIBATCH, np.arange(50))
    assert drawn.dtype == np.int64
    assert drawn.min() >= 0
    assert drawn.max() < bound


def test_integers_are_uniform_for_every_bound_of_an_array() -> None:
    bounds = np.array([1, 2, 3, 10])
    drawn = integers(bounds[:, None], 4, Purpose.MINIBATCH, np.arange(30_000)[None, :])
    for bound, row in zip(bounds, drawn, strict=True):
        counts = np.bincount(row, minlength=bound)
        assert len(counts) == bound
        assert np.abs(counts - 30_000 / bound).max() < 5 * np.sqrt(30_000 / bound)


def test_no_global_generator_is_touched() -> None:
    before = np.random.get_state()[1].copy()
    normal(1, Purpose.WEIGHTS, np.arange(10))
    assert (np.random.get_state()[1] == before).all()
    assert all(one != two for one, two in pairwise(uniform(0, 0, np.arange(10))))
