"""The analysis of growth paths finds the components that were put in, and calls nothing an effect that is none."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

from experiments.growth_paths_effects import correlation, holm, linear
from experiments.growth_paths_extremes import held_out_range, range_without_effect, shrunken_range
from experiments.growth_paths_statistics import COMPONENTS, Components, Estimate, Sample, components, contrasts
from tests.simulated_paths import lead_variance, study

STUDIES, MANY_STUDIES = 80, 1000


def covers(estimate: Estimate, truth: float) -> bool:
    return estimate.low - 1e-9 <= truth <= estimate.high + 1e-9


def found_in(seed: int, studies: int = STUDIES, **effects: float) -> list[tuple[Components, Estimate]]:
    """Components and slope over lead in many simulated studies."""
    generator, found = np.random.default_rng(seed), []
    for _ in range(studies):
        sample, values, ahead = study(generator, **effects)  # type: ignore[arg-type]
        slope = linear(sample, values, np.column_stack([np.ones(len(ahead)), ahead]))[1]
        found.append((components(sample, values, draws=1500), slope))
    return found


# --- all paths from a sample ------------------------------------------------------------------------------------------


def test_over_all_samples_the_covariance_is_that_of_all_paths() -> None:
    values = np.random.default_rng(0).normal(size=(7, 2)) + np.array([[0.0, 0.0]] * 3 + [[5.0, -2.0]] * 4)
    estimates = []
    for one, other in product(combinations(range(3), 2), combinations(range(3, 7), 3)):
        sample = Sample(np.array([0, 0, 1, 1, 1]), np.array([3, 4]))
        estimates.append(sample.covariance(values[[*one, *other]]))
    np.testing.assert_allclose(np.mean(estimates, axis=0), np.cov(values.T, bias=True), atol=1e-12)


def test_all_paths_together_are_no_sample() -> None:
    values = np.random.default_rng(1).normal(size=(9, 3))
    sample = Sample(np.repeat([0, 1], [4, 5]), np.array([4, 5]))
    np.testing.assert_allclose(sample.covariance(values), np.cov(values.T, bias=True), atol=1e-12)
    np.testing.assert_allclose(sample.error(values), 0.0, atol=1e-12)
    np.testing.assert_allclose(sample.mean(values), values.mean(axis=0))


def test_weights_stand_for_all_paths() -> None:
    sample = Sample(np.array([0, 0, 1, 1, 1, 1]), np.array([30, 10]))
    np.testing.assert_allclose(sample.weights, [0.375, 0.375, 0.0625, 0.0625, 0.0625, 0.0625])
    assert sample.effective == pytest.approx(1 / (2 * 0.375**2 + 4 * 0.0625**2))


def test_a_stratum_with_a_single_path_is_joined_to_its_neighbour() -> None:
    sample = Sample(np.array([1, 2, 2, 3, 3, 4]), np.array([0, 5, 50, 60, 7]))
    assert sample.sizes.tolist() == [55, 67]
    assert sample.stratum.tolist() == [0, 0, 0, 1, 1, 1]
    assert Sample(np.array([0, 1, 1]), np.array([1, 9])).sizes.tolist() == [1, 9]


@pytest.mark.parametrize(
    ("stratum", "sizes"), [([0], [5]), ([0, 2], [5, 5]), ([-1, 0], [5, 5]), ([0, 0, 1, 1, 1], [5, 2])]
)
def test_a_sample_that_cannot_be_is_refused(stratum: list[int], sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="expected at"):
        Sample(np.array(stratum), np.array(sizes))


def test_a_stratified_sample_gives_the_variance_of_all_paths_not_its_own() -> None:
    # the strata are drawn equally often, but most paths have a lead near 0
    own, found = [], []
    for _, (sample, values, _) in enumerate(study(np.random.default_rng(k), slope=1.0, cell=0.0) for k in range(30)):
        own.append(float(values.mean(axis=1).var()))
        found.append(components(sample, values, draws=10).variance["path"])
    assert np.mean(own) > 4 * lead_variance()
    assert np.mean(found) == pytest.approx(lead_variance(), rel=0.02)


# --- components -------------------------------------------------------------------------------------------------------


EFFECTS = {
    "independent": {"path": 0.3, "trial": 0.5, "cell": 0.4},
    "lead": {"path": 0.2, "trial": 0.5, "cell": 0.4, "slope": 1.0},
    "trials differ in lead": {"path": 0.2, "trial": 0.5, "cell": 0.4, "slope": 1.0, "shared": 0.5},
}


def coverage(effects: dict[str, float], studies: int) -> list[float]:
    """How often intervals of standard deviations, shares and the slope hold the truth; estimates must be unbiased."""
    spread = lead_variance()
    truth = {
        "path": effects["path"] ** 2 + effects.get("slope", 0.0) ** 2 * spread,
        "interaction": effects["cell"] ** 2 + effects.get("shared", 0.0) ** 2 * spread,
        "trial": effects["trial"] ** 2,
    }
    found = found_in(2, studies, **effects)
    rates = [np.mean([covers(slope, effects.get("slope", 0.0)) for _, slope in found])]
    for name in COMPONENTS:
        estimates = np.array([each.variance[name] for each, _ in found])
        error = float(estimates.std()) / studies**0.5
        assert abs(estimates.mean() - truth[name]) < 3.5 * error
        rates.append(np.mean([covers(each.sd(name), truth[name] ** 0.5) for each, _ in found]))
        rates.append(np.mean([covers(each.share(name), truth[name] / sum(truth.values())) for each, _ in found]))
    return [float(rate) for rate in rates]


@pytest.mark.parametrize("effects", EFFECTS.values(), ids=EFFECTS)
def test_components_are_unbiased_and_covered(effects: dict[str, float]) -> None:
    # 80 studies leave a standard error of 0.024; the slow test below is sharper
    assert min(coverage(effects, STUDIES)) >= 0.85


@pytest.mark.slow
@pytest.mark.parametrize("effects", EFFECTS.values(), ids=EFFECTS)
def test_intervals_cover_at_their_level(effects: dict[str, float]) -> None:
    rates = coverage(effects, MANY_STUDIES)
    assert min(rates) >= 0.91
    assert max(rates) <= 0.99


@pytest.mark.parametrize("shared", [0.0, 1.0, 3.0], ids=["independent", "partly shared", "all shared"])
def test_chance_is_not_called_an_effect(shared: float) -> None:
    found = found_in(3, path=0.0, cell=0.6 if shared < 3 else 0.1, shared=shared)
    either = np.mean([2 * min(each.p, float(slope.p or 0.0)) < 0.05 for each, slope in found])
    assert either <= 0.125
    assert np.mean([each.sd("path").low > 0 for each, _ in found]) <= 0.075


def test_an_effect_is_found() -> None:
    assert np.mean([each.p < 0.05 for each, _ in found_in(4, path=0.3, cell=0.5)]) > 0.95


def test_directions_are_one_if_trials_differ_in_lead_only_and_many_if_noise_is_independent() -> None:
    generator = np.random.default_rng(5)
    sample, values, _ = study(generator, cell=0.0, shared=1.0)
    assert components(sample, values).directions == pytest.approx(1.0)
    sample, values, _ = study(generator, cell=1.0)
    assert components(sample, values).directions > 20


def test_values_without_any_noise_are_exact() -> None:
    sample = Sample(np.repeat([0, 1], [2, 3]), np.array([2, 3]))
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])[:, None] + np.array([0.0, 1.0, 2.0])
    found = components(sample, values)
    assert found.variance == pytest.approx({"path": 2.0, "interaction": 0.0, "trial": 1.0}, abs=1e-9)
    assert found.p < 1e-6
    assert found.share("path").mean == pytest.approx(2 / 3)


@pytest.mark.parametrize("values", [np.zeros((4, 2)), np.zeros((3, 5)), np.full((4, 5), np.nan), np.zeros(4)])
def test_values_that_do_not_fit_are_refused(values: Any) -> None:
    with pytest.raises(ValueError, match="expected finite numbers for 4 paths"):
        components(Sample(np.zeros(4, dtype=np.int64), np.array([9])), values)


def test_contrasts_are_orthonormal_and_know_no_mean() -> None:
    basis = contrasts(5)
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(basis.sum(axis=0), 0.0, atol=1e-12)


# --- effects and extremes ---------------------------------------------------------------------------------------------


def test_a_line_is_found() -> None:
    sample, _, ahead = study(np.random.default_rng(6))
    values = (2.0 + 3.0 * ahead)[:, None] + np.array([-1.0, 0.0, 1.0])
    mean, slope = linear(sample, values, np.column_stack([np.ones(len(ahead)), ahead]))
    assert mean.mean == pytest.approx(2.0) and slope.mean == pytest.approx(3.0)
    assert slope.low == pytest.approx(3.0) == slope.high
    assert mean.high - mean.mean == pytest.approx(4.3027 / 3**0.5, rel=1e-3)  # t with 2 degrees of freedom


def test_correlations_are_freed_from_noise() -> None:
    generator, inside, means = np.random.default_rng(7), [], []
    for _ in range(15):
        sample, one, _ = study(generator, path=0.4, cell=0.0)
        other = 0.6 * one + 0.8 * study(generator, path=0.4, cell=0.0)[1]
        one, other = (each + 0.5 * generator.standard_normal(each.shape) for each in (one, other))
        found = correlation(sample, one, other, draws=30)
        inside.append(covers(found, 0.6))
        means.append(found.mean)
    assert np.mean(inside) > 0.8
    assert np.mean(means) == pytest.approx(0.6, abs=0.1)


def test_holm_corrects_by_rank() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})


def test_the_range_of_noise_is_that_of_normal_means() -> None:
    sample, values, ahead = study(np.random.default_rng(8), cell=1.0, each=10)
    expected, high = range_without_effect(values, ahead)
    assert expected == pytest.approx(5.015 / 5**0.5, rel=0.08)  # expected range of 100 normals: 5.015 SD
    assert high > expected


def test_the_best_is_shrunk_to_what_it_is_worth() -> None:
    generator = np.random.default_rng(9)
    for effects in ({"path": 0.3, "cell": 0.6}, {"path": 0.2, "slope": 1.0, "cell": 0.4}):
        inside, errors, flattery = [], [], []
        for _ in range(50):
            _, truth, ahead = study(generator, **{**effects, "cell": 0.0})  # type: ignore[arg-type]
            values = truth + effects["cell"] * generator.standard_normal(truth.shape)
            means = values.mean(axis=1)
            true = truth[means.argmax(), 0] - truth[means.argmin(), 0]
            found = shrunken_range(values, ahead)
            inside.append(covers(found, true))
            errors.append(found.mean - true)
            flattery.append(np.ptp(means) - true)
        assert np.mean(inside) >= 0.88
        assert abs(np.mean(errors)) < 0.1 < 0.2 < np.mean(flattery)


def test_held_out_trials_are_not_flattered() -> None:
    generator = np.random.default_rng(10)
    found = [held_out_range(values, values) for _, values, _ in (study(generator, cell=1.0) for _ in range(STUDIES))]
    assert abs(np.mean([each.mean for each in found])) < 0.25
    assert np.mean([covers(each, 0.0) for each in found]) >= 0.88


def test_held_out_by_hand() -> None:
    # without trial 0 path 0 is best and path 1 worst; without 1 or 2, path 1 is best and path 0 worst
    validation = np.array([[0.0, 6.0, 6.0], [9.0, 5.0, 5.0]])
    test = np.array([[1.0, 2.0, 4.0], [3.0, 8.0, 5.0]])
    assert held_out_range(validation, test).mean == pytest.approx(((1 - 3) + (8 - 2) + (5 - 4)) / 3)
