"""The analysis of growth paths finds the components that were put in, and calls nothing an effect that is none."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import growth_paths_analysis as analysis
from experiments.growth_paths_effects import correlation, holm, linear
from experiments.growth_paths_extremes import held_out_range, range_without_effect, shrunken_range
from experiments.growth_paths_figures import place_accuracy, places, scales
from experiments.growth_paths_runs import lead, load, load_all, name_of
from experiments.growth_paths_statistics import COMPONENTS, Components, Estimate, Sample, components, contrasts
from growenv.paths.lattice import Lattice
from tests.simulated_paths import SIZES, lead_variance, study, write_run

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "docs"))
try:
    import growth_paths as blocks
finally:
    sys.path.pop(0)

STUDIES, MANY_STUDIES = 80, 1000
NOBODY: dict[str, float] = {"top": 90.0, "path": 0.0, "cell": 0.4, "slope": 0.0}
SOMEBODY = {**NOBODY, "path": 0.4, "slope": 1.0}


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


# --- runs, pictures, pages --------------------------------------------------------------------------------------------


def test_leads_are_those_of_the_lattice() -> None:
    lattice = Lattice((3, 4), waits=1)
    np.testing.assert_allclose(lead(lattice.path(lattice.leaves)), lattice.lead(), atol=1e-12)


def test_paths_have_names() -> None:
    assert name_of([1, 1, 2, 2]) == "layer 1 first"
    assert name_of([2, 2, 1, 1]) == "layer 2 first"
    assert name_of([2, 1, 2, 1]) == "alternating, layer 2 first"
    assert name_of([1, 1, 0, 2, 1]) == "1x2 waitx1 2x1 1x1"


def test_a_named_path_that_was_drawn_anyway_is_shown_by_name(tmp_path: Path) -> None:
    write_run(tmp_path / "mnist-random.npz", 0, **SOMEBODY, each=6)
    run = load(tmp_path / "mnist-random.npz")
    (place,) = [place for name, place in run.called.items() if name == "layer 2 first"]
    anyway = replace(run, named=np.where(np.arange(len(run.named)) == place, False, run.named))
    assert anyway.called == run.called
    assert len(anyway.drawn.paths) == len(run.drawn.paths) + 1


def test_a_file_that_is_no_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mnist-random.npz"
    with pytest.raises(ValueError, match="no runs of growth paths"):
        load_all(tmp_path)
    path.write_bytes(b"PK damaged")
    with pytest.raises(ValueError, match="cannot be read as a run"):
        load(path)
    write_run(path, 0, **NOBODY, each=3)
    with np.load(path) as file:
        whole = dict(file)
    np.savez(path, **{name: array for name, array in whole.items() if name != "named"})
    with pytest.raises(ValueError, match="lacks named"):
        load(path)
    np.savez(path, **{**whole, "test": whole["test"][1:]})
    with pytest.raises(ValueError, match=r"test has shape \(33, 5\), expected \(34, 5\)"):
        load(path)
    np.savez(path, **{**whole, "paths": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="cannot be read"):
        load(path)


def test_places_are_averaged_with_the_weight_of_their_paths(tmp_path: Path) -> None:
    write_run(tmp_path / "run.npz", 0, **SOMEBODY, each=3)
    run = load(tmp_path / "run.npz")
    first, second = places(run)
    assert first[0, 0] == second[0, 0] == 0 and (first[:, -1] == 10).all() and (second[:, -1] == 10).all()
    shown = place_accuracy(run)
    assert np.isnan(shown[0, 0])
    drawn = run.drawn
    assert shown[10, 10] == pytest.approx(float(drawn.sample.mean(drawn.validation[:, :, -1].mean(axis=1))))
    beginning = drawn.paths[:, 0] == 1
    weights = drawn.sample.weights[beginning]
    assert shown[1, 0] == pytest.approx(weights @ drawn.validation[beginning, :, 0].mean(axis=1) / weights.sum())


def test_both_starts_share_their_colours(tmp_path: Path) -> None:
    write_run(tmp_path / "low.npz", 0, **SOMEBODY, each=3)
    write_run(tmp_path / "high.npz", 1, **{**SOMEBODY, "top": 95.0}, each=3)
    low, high = load(tmp_path / "low.npz"), load(tmp_path / "high.npz")
    both, alone = (scales(each)[1](np.array([90.0, 95.0])) for each in ([low, high], [low]))
    assert 0 < both[0] < both[1] < 1 < alone[1]


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("growth-paths")
    (folder / "runs").mkdir()
    for dataset, effects, seed in (("mnist", SOMEBODY, 0), ("cifar-10", NOBODY, 20)):
        for number, start in enumerate(("random", "gradmax") if effects is SOMEBODY else ("random",)):
            write_run(folder / "runs" / f"{dataset}-{start}.npz", seed + number, **effects, each=6)
    write_run(folder / "runs" / "mnist-random-lr0.001.npz", 5, **NOBODY, each=3)
    analysis.main(analysis.Args(results=str(folder)))
    return folder


def test_the_analysis_is_written_and_drawn(analysed: Path) -> None:
    found = json.loads((analysed / "analysis.json").read_text())
    run = found["runs"]["mnist"]["random"]
    assert (run["drawn"], run["paths"], run["trials"]) == (60, int(SIZES.sum()), 5)
    assert set(run["accuracy"]["named"]) >= {"layer 1 first", "layer 2 first"}
    assert run["extremes"]["observed"] > run["extremes"]["shrunken"]["mean"]
    assert set(found["gradmax minus random"]) == {"mnist"}
    assert found["gradmax minus random"]["mnist"]["correlation"]["mean"] > 0.5
    names = {"mnist-random", "mnist-gradmax", "cifar-10-random", "components", "lead"}
    assert {path.stem for path in analysed.glob("*.png")} == names


def test_pages_say_what_was_found(analysed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "RESULTS", analysed)
    answer = blocks.BLOCKS["growth-paths-answer"]()
    assert answer.startswith("The order of growth matters in 2 of 3 experiments.")
    assert "MNIST, GradMax start: the order of growth **matters** (p < 0.001)" in answer
    assert "CIFAR-10, random start: the order of growth **was not shown to matter**" in answer
    for name, block in blocks.BLOCKS.items():
        assert name == "growth-paths-answer" or "| MNIST |" in block()
    steps = blocks.BLOCKS["growth-paths-steps"]().splitlines()[2:]
    assert [line.split(" | ")[2:4] for line in steps] == [["0.005", "60 x 5"], ["0.001", "30 x 5"]]
    assert "Better to grow layer 1 first: MNIST" in blocks.BLOCKS["growth-paths-lead"]()
    assert "![MNIST random](results/growth-paths/mnist-random.png)" in blocks.BLOCKS["growth-paths-accuracies"]()


def test_pages_without_results_show_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "RESULTS", tmp_path)
    for block in blocks.BLOCKS.values():
        assert block() == "not run yet: `python experiments/growth_paths_analysis.py`"


def test_words_follow_from_numbers() -> None:
    assert blocks.verdict(0.049, 0.95) == "matters"
    assert blocks.verdict(0.05, 0.95) == "was not shown to matter"
    small, large = {"mean": 1.0, "low": 0.5, "high": 1.5}, {"mean": 3.0, "low": 2.0, "high": 4.0}
    assert blocks.compared(small, large) == "less than the trial does"
    assert blocks.compared(large, small) == "more than the trial does"
    assert blocks.compared(small, small) == "not distinguishable in size from what the trial does"
    assert blocks.difference(large) == "**+3.00 [+2.00, +4.00]**"
    assert blocks.difference({"mean": 0.0, "low": -1.0, "high": 1.0}) == "+0.00 [-1.00, +1.00]"


def test_starts_with_different_paths_are_not_compared(analysed: Path) -> None:
    runs = load_all(analysed / "runs")["mnist"]
    runs["random"].paths[0] = runs["random"].paths[0][::-1]
    with pytest.raises(ValueError, match="different paths"):
        analysis.analysis({"mnist": runs})


def test_trainings_that_learned_nothing_are_counted_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    write_run(tmp_path / "runs" / "cifar-10-random.npz", 3, **{**NOBODY, "top": 11.0}, each=6)
    run = load(tmp_path / "runs" / "cifar-10-random.npz")
    analysis.main(analysis.Args(results=str(tmp_path)))
    found = json.loads((tmp_path / "analysis.json").read_text())["runs"]["cifar-10"]["random"]["at chance"]
    drawn = run.drawn
    assert 0.2 < found < 0.8
    assert found == pytest.approx(float(drawn.sample.weights @ (drawn.test < 11.0).mean(axis=1)))
    monkeypatch.setattr(blocks, "RESULTS", tmp_path)
    assert f"CIFAR-10, random start: {found:.0%}" in blocks.BLOCKS["growth-paths-accuracies"]()
    assert f"{found:.0%} of its trainings end at chance" in blocks.BLOCKS["growth-paths-answer"]()


@pytest.mark.parametrize(
    ("slope", "bend", "said"),
    [
        ((-1.0, 1.0), (-9.0, -8.0), "Neither layer first was shown to be better"),
        ((1.0, 3.0), (-1.5, -0.5), "Better to grow layer 1 first"),
        ((-3.0, -1.0), (4.0, 9.0), "Better to grow layer 2 first"),
        ((-3.0, -1.0), (-9.0, 1.0), "Better to grow layer 2 first"),
        ((-3.0, -1.0), (-4.0, -3.0), "Better to have layer 2 ahead, but not wholly first"),
    ],
)
def test_a_layer_is_first_only_where_extremes_do_not_lose(
    slope: tuple[float, float], bend: tuple[float, float], said: str
) -> None:
    line = {name: {"low": a, "high": b, "mean": (a + b) / 2} for name, (a, b) in (("slope", slope), ("bend", bend))}
    assert blocks.better(line).startswith(said)
