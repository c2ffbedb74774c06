from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.statistics import (
    Interval,
    bootstrap_means,
    context_means,
    crossed_interval,
    mean_interval,
    paired_interval,
    share_better,
)


def test_inner_seeds_are_averaged_first() -> None:
    np.testing.assert_allclose(context_means([1.0, 3.0, 10.0], ["a", "a", "b"]), [2.0, 10.0])


def test_contexts_keep_their_first_order() -> None:
    np.testing.assert_allclose(context_means([5.0, 1.0, 7.0], [9, 2, 9]), [6.0, 1.0])


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")]])
def test_bad_values_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"one value for each|finite"):
        context_means(values, ["a", "b"])


def test_interval_of_two_contexts_by_hand() -> None:
    # The bootstrap means of (0, 1) are 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
    means = bootstrap_means([0.0, 1.0], 20_000)
    shares = [(means == value).mean() for value in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.01)
    assert mean_interval([0.0, 1.0]) == Interval(0.5, 0.0, 1.0)
    assert mean_interval([0.0, 1.0], level=0.4) == Interval(0.5, 0.5, 0.5)


def test_equal_values_have_an_empty_interval() -> None:
    assert mean_interval([0.25] * 10) == Interval(0.25, 0.25, 0.25)


def test_one_context_says_nothing_about_others() -> None:
    interval = mean_interval([0.5])
    assert interval.mean == 0.5
    assert math.isnan(interval.low)
    assert interval.covers_zero


def test_interval_matches_the_normal_one_for_many_contexts() -> None:
    values = np.random.Generator(np.random.Philox(3)).normal(2.0, 1.0, 400)
    interval = mean_interval(values)
    half = 1.96 * values.std() / 20
    np.testing.assert_allclose([interval.low, interval.high], [values.mean() - half, values.mean() + half], atol=0.01)


def test_intervals_cover_the_truth_at_their_level() -> None:
    samples = np.random.Generator(np.random.Philox(102)).normal(0.0, 1.0, (1000, 60))
    covered = [mean_interval(sample, draws=500, seed=number).covers_zero for number, sample in enumerate(samples)]
    assert 0.92 < np.mean(covered) < 0.97  # percentile intervals are a little short at 60 contexts


def test_equal_seeds_give_equal_intervals_in_any_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(50.0)
    first = mean_interval(values, seed=4)
    assert mean_interval(values, seed=4) == first != mean_interval(values, seed=5)
    monkeypatch.setattr("agents.statistics._BLOCK", 1000)
    assert mean_interval(values, seed=4) == first


def test_pairing_removes_what_the_contexts_share() -> None:
    shared = np.random.Generator(np.random.Philox(2)).normal(0.0, 10.0, 50)
    interval = paired_interval(shared + 0.5, shared)
    np.testing.assert_allclose([interval.mean, interval.low, interval.high], 0.5, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=20), st.floats(-3, 3))
def test_shifting_the_values_shifts_the_interval(values: list[float], shift: float) -> None:
    plain, moved = (mean_interval(np.array(values) + by, draws=200) for by in (0.0, shift))
    assert plain.low <= plain.mean + 1e-12
    assert plain.mean <= plain.high + 1e-12
    np.testing.assert_allclose([moved.low, moved.high], [plain.low + shift, plain.high + shift], atol=1e-9)


def test_share_better_counts_ties_half() -> None:
    assert share_better([1.0, 2.0, 3.0, 0.0], [1.0, 1.0, 1.0, 1.0]) == (0.5 + 1 + 1 + 0) / 4


def test_zero_is_covered_only_inside() -> None:
    assert Interval(0.1, -0.1, 0.3).covers_zero
    assert Interval(0.1, 0.0, 0.3).covers_zero
    assert not Interval(0.1, 0.01, 0.3).covers_zero
    assert not Interval(-0.1, -0.3, -0.01).covers_zero


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="same contexts"):
        paired_interval([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="same contexts"):
        share_better([], [])
    with pytest.raises(ValueError, match="level must lie between"):
        mean_interval([1.0, 2.0], level=95)
    with pytest.raises(ValueError, match="finite values"):
        mean_interval([])


def test_crossed_interval_redraws_seeds_and_contexts() -> None:
    """With equal columns only seeds matter, with equal rows only contexts; a constant table has no spread."""
    rng = np.random.default_rng(0)
    seeds, contexts = rng.normal(size=5), rng.normal(size=40)
    by_seed = crossed_interval(np.broadcast_to(seeds[:, None], (5, 40)))
    expected = mean_interval(seeds)
    assert by_seed.mean == pytest.approx(expected.mean)
    assert (by_seed.low, by_seed.high) == pytest.approx((expected.low, expected.high), abs=0.05)
    by_context = crossed_interval(np.broadcast_to(contexts, (5, 40)))
    expected = mean_interval(contexts)
    assert (by_context.low, by_context.high) == pytest.approx((expected.low, expected.high), abs=0.03)
    both = crossed_interval(seeds[:, None] + contexts)
    assert both.high - both.low > max(by_seed.high - by_seed.low, by_context.high - by_context.low)
    assert crossed_interval(np.full((2, 3), 0.25)) == Interval(0.25, 0.25, 0.25)


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((1, 3)), np.zeros((3, 1)), np.full((2, 2), np.nan)])
def test_crossed_interval_refuses_what_is_no_table(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="at least 2 seeds by 2 contexts"):
        crossed_interval(values)
    with pytest.raises(ValueError, match="level must lie between"):
        crossed_interval(np.zeros((2, 2)), level=1.0)
