from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.redrawing import student_quantile
from agents.statistics import (
    Interval,
    bootstrap_means,
    context_means,
    crossed_interval,
    gap_closed,
    gap_report,
    interquartile_mean,
    mean,
    mean_difference,
    mean_interval,
    paired_interval,
    performance_profile,
    probability_of_improvement,
    share_better,
    study_interval,
)
from growenv.registry import UnknownNameError


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


def ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def tables(seeds: int = 4, contexts: int = 12, inner: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """A learned policy and a baseline that share contexts and inner seeds."""
    generator = np.random.Generator(np.random.Philox(7))
    shared = generator.normal(size=(1, contexts, inner))
    return shared + generator.normal(0.3, 1.0, (seeds, contexts, inner)), shared


def test_means_by_hand() -> None:
    a, b = np.array([[1.0, 2.0], [3.0, 6.0]]), np.array([[1.0, 0.0]])
    assert mean(a) == 3.0
    assert mean_difference(a, b) == 2.5
    np.testing.assert_array_equal(mean(np.stack([a, a + 1])), [3.0, 4.0])


def test_interquartile_mean_leaves_a_quarter_out_at_either_end() -> None:
    assert interquartile_mean(np.array([[100.0, 1.0, 2.0, -100.0], [3.0, 4.0, 50.0, -50.0]])) == 2.5
    assert interquartile_mean(np.array([[9.0, 1.0, 2.0, 3.0, 4.0]])) == 3.0  # 1 of 5 is left out at either end


def test_probability_of_improvement_compares_all_pairs_of_seeds_in_a_context() -> None:
    a, b = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[2.0, 5.0], [0.0, 9.0], [1.0, 6.0]])
    # First context: 1 beats 0 and ties 1, 3 beats all: 4.5 of 6. Second: 5 ties 5 and loses twice, two times: 1 of 6.
    assert probability_of_improvement(a, b) == pytest.approx(5.5 / 12)
    assert probability_of_improvement(a[:1], b[:1]) == share_better(a[0], b[0])


def test_gap_closed_is_a_ratio_of_sums_that_is_not_clipped() -> None:
    fixed, oracle = np.array([[0.0, 1.0]]), np.array([[2.0, 1.0]])
    assert gap_closed(np.array([[1.0, 1.0], [0.0, 2.0]]), fixed, oracle) == 0.5
    assert gap_closed(np.array([[2.0, 3.0]]), fixed, oracle) == 2.0
    assert np.isnan(gap_closed(fixed, fixed, fixed))


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.7062), (2, 4.30265), (9, 2.26216), (49, 2.00958), (1e9, 1.96)]
)
def test_student_quantiles_are_those_of_the_tables(freedom: float, expected: float) -> None:
    assert student_quantile(0.95, freedom) == pytest.approx(expected, rel=3e-4)


def test_study_interval_of_seeds_alone_is_students() -> None:
    """If only training seeds differ, the exact interval is known: mean +- t standard errors."""
    scores = np.random.Generator(np.random.Philox(0)).normal(size=10)
    interval = study_interval(mean, [np.broadcast_to(scores[:, None, None], (10, 8, 2))], draws=20_000)
    half = 2.262 * scores.std(ddof=1) / np.sqrt(10)
    assert interval.mean == pytest.approx(scores.mean())
    assert ends(interval) == pytest.approx((scores.mean() - half, scores.mean() + half), abs=0.08 * half)


def test_study_interval_of_contexts_alone_is_nearly_the_paired_one() -> None:
    a, b = tables(seeds=1, contexts=200)
    expected = paired_interval(a.mean(axis=(0, 2)), b.mean(axis=(0, 2)))
    interval = study_interval(mean_difference, [a, b], draws=10_000)
    assert ends(interval) == pytest.approx(ends(expected), abs=0.01)


def test_study_interval_of_inner_seeds_alone_is_students() -> None:
    """Contexts that stay add no spread, however different they are: the standard error is that within them."""
    generator = np.random.Generator(np.random.Philox(1))
    scores = generator.normal(0.0, 50.0, (1, 30, 1)) + generator.normal(size=(1, 30, 3))
    interval = study_interval(mean, [scores], contexts="these", draws=20_000)
    half = 2.0003 * np.sqrt(scores.var(axis=2, ddof=1).mean() / 90)  # Student's quantile of 60 degrees of freedom
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.03)
    assert study_interval(mean, [scores]).high - interval.mean > 10 * half


def test_what_the_tables_share_cancels() -> None:
    a, b = tables()
    shared = 100.0 * np.random.Generator(np.random.Philox(9)).normal(size=b.shape)
    for contexts in ("new", "these"):
        plain = study_interval(mean_difference, [a, b], contexts=contexts)
        moved = study_interval(mean_difference, [a + shared, b + shared], contexts=contexts)
        assert ends(moved) == pytest.approx(ends(plain), abs=1e-9)


@pytest.mark.parametrize("contexts", ["new", "these"])
@pytest.mark.parametrize("inner", [1, 2])
def test_weights_and_redrawn_tables_give_the_same_interval(contexts: str, inner: int) -> None:
    """Statistics of means are found from weights; the same statistic under another name redraws the tables."""
    a, b = tables(inner=inner)
    fast = study_interval(mean_difference, [a, b], contexts=contexts, draws=300)
    slow = study_interval(lambda x, y: mean_difference(x, y), [a, b], contexts=contexts, draws=300)
    assert ends(fast) == pytest.approx(ends(slow))
    several = study_interval(lambda x: mean(x[..., 1]), [np.stack([a - b, a], axis=3)], contexts=contexts, draws=300)
    assert ends(several) == pytest.approx(ends(study_interval(mean, [a], contexts=contexts, draws=300)))


def test_learned_policies_are_redrawn_independently() -> None:
    """Two policies with the same scores still differ by their training seeds, by the root of 2 of one alone."""
    scores = np.broadcast_to(np.random.Generator(np.random.Philox(2)).normal(size=(10, 1, 1)), (10, 6, 1))
    both = study_interval(mean_difference, [scores, scores], draws=10_000)
    alone = study_interval(mean, [scores], draws=10_000)
    assert both.mean == 0.0
    # More training seeds in all also mean more degrees of freedom: Student's quantiles are 2.101 and 2.262.
    expected = np.sqrt(2) * 2.101 / 2.262
    assert (both.high - both.low) / (alone.high - alone.low) == pytest.approx(expected, rel=0.04)


def test_study_interval_does_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = tables()
    found = [study_interval(statistic, [a, b]) for statistic in (mean_difference, probability_of_improvement)]
    monkeypatch.setattr("agents.redrawing._BLOCK", 500)
    again = [study_interval(statistic, [a, b]) for statistic in (mean_difference, probability_of_improvement)]
    assert [ends(interval) for interval in again] == [pytest.approx(ends(interval)) for interval in found]
    assert study_interval(mean_difference, [a, b], seed=1) != found[0]


@pytest.mark.parametrize(("shape", "contexts"), [((1, 1, 2), "new"), ((5, 1, 2), "new"), ((1, 6, 1), "these")], ids=str)
def test_without_repetition_the_ends_are_unknown(shape: tuple[int, ...], contexts: str) -> None:
    interval = study_interval(mean, [np.arange(float(np.prod(shape))).reshape(shape)], contexts=contexts)
    assert np.isnan(ends(interval)).all() and interval.covers_zero


@pytest.mark.parametrize("contexts", ["new", "these"])
def test_scores_without_spread_have_an_empty_interval(contexts: str) -> None:
    assert study_interval(mean, [np.full((3, 4, 2), 0.25)], contexts=contexts) == Interval(0.25, 0.25, 0.25)


@pytest.mark.parametrize("statistic", [mean, interquartile_mean])
@settings(max_examples=15, deadline=None)
@given(shift=st.floats(-3, 3), scale=st.floats(0.1, 4), contexts=st.sampled_from(["new", "these"]))
def test_intervals_move_with_the_scores(statistic: object, shift: float, scale: float, contexts: str) -> None:
    scores, _ = tables()
    plain = study_interval(statistic, [scores], contexts=contexts, draws=100)  # type: ignore[arg-type]
    moved = study_interval(statistic, [scale * scores + shift], contexts=contexts, draws=100)  # type: ignore[arg-type]
    assert ends(moved) == pytest.approx([scale * end + shift for end in ends(plain)], abs=1e-9)


def test_a_probability_stays_between_0_and_1() -> None:
    a, b = tables(seeds=3, contexts=6)
    interval = study_interval(probability_of_improvement, [a + 0.5, b])
    assert 0.0 < interval.low < interval.mean < interval.high == 1.0


def test_undefined_draws_count_against_both_ends() -> None:
    scores = np.arange(40.0).reshape(1, 40, 1)
    often = study_interval(lambda a: np.where(mean(a) > 21, np.nan, mean(a)), [scores])
    assert np.isnan(ends(often)).all()
    seldom = study_interval(lambda a: np.where(mean(a) > 26, np.nan, mean(a)), [scores])
    assert np.isfinite(ends(seldom)).all()


def test_gap_report_by_hand() -> None:
    fixed = np.zeros((1, 30, 2))
    oracle = np.where(np.arange(30)[:, None] < 10, 0.0, 0.6) + fixed
    policy = np.stack([0.25 * oracle[0], 0.75 * oracle[0]])
    report = gap_report(policy, fixed, oracle)
    assert report.ratio is not None and report.ratio.mean == pytest.approx(0.5)
    assert report.gap.mean == pytest.approx(0.4) and report.gap.low > 0.0
    assert (report.without_gap, report.contexts) == (10, 30)
    # The policy's share of the gap is the same in every context, so only its training seeds matter. The mean of two
    # redrawn seeds is an end in half of the draws; Student's t of one degree of freedom stretches it: 12.7 / 1.96.
    half = np.sqrt(2) * 12.706 / 1.96 * 0.25
    assert report.ratio.high - report.ratio.low == pytest.approx(2 * half, rel=0.03)
    assert str(report) == str(report.ratio)


def test_without_a_gap_there_is_nothing_to_close() -> None:
    generator = np.random.Generator(np.random.Philox(4))
    fixed = generator.normal(size=(1, 40, 2))
    oracle = fixed + generator.normal(0.0, 1.0, (1, 40, 1))
    report = gap_report(fixed + 1.0, fixed, oracle)
    assert report.ratio is None and report.gap.covers_zero and str(report) == "no gap to close"
    assert report.without_gap == int(((oracle - fixed).mean(axis=2) <= 0).sum())


def test_performance_profile_by_hand() -> None:
    # Inner seeds are averaged first: the four scores are -1, 0, 1 and 2.
    differences = np.array([[[-2.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [5.0, -1.0]]])
    profile = performance_profile(differences, [-2.0, 0.0, 0.5, 2.0])
    np.testing.assert_allclose(profile.share, [1.0, 0.5, 0.5, 0.0])
    assert (profile.low[0], profile.high[0], profile.low[3], profile.high[3]) == (1.0, 1.0, 0.0, 0.0)
    assert profile.low[1] == 0.0 and profile.high[1] == 1.0


def test_a_point_of_the_band_is_the_interval_of_its_share() -> None:
    a, b = tables(seeds=6, contexts=40)
    profile = performance_profile(a - b, [-0.2, 0.4], seed=2)
    alone = study_interval(lambda d: (d > 0.4).mean(axis=(-2, -1)), [a - b], seed=2)
    assert (profile.low[1], profile.high[1]) == pytest.approx(ends(alone))
    assert profile.low[0] > profile.low[1] and profile.high[0] > profile.high[1]


def test_wrong_studies_are_refused() -> None:
    a, b = tables()
    with pytest.raises(ValueError, match="same contexts and inner seeds"):
        study_interval(mean_difference, [a, b[:, 1:]])
    for wrong in ([], [a[0]], [a[:0]]):
        with pytest.raises(ValueError, match="training seeds x contexts x inner seeds"):
            study_interval(mean, wrong)
    with pytest.raises(ValueError, match="must be finite"):
        study_interval(mean, [np.full((1, 2, 2), np.nan)])
    with pytest.raises(ValueError, match="level must lie between"):
        study_interval(mean, [a], level=95)
    with pytest.raises(ValueError, match="at least 2 draws"):
        study_interval(mean, [a], draws=1)
    with pytest.raises(UnknownNameError, match="did you mean 'these'"):
        study_interval(mean, [a], contexts="those")
    with pytest.raises(ValueError, match="thresholds must be finite"):
        performance_profile(a, [])
