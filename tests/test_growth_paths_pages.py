"""Runs of the growth-path experiment as files, pictures and words: what is shown is what was found."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments import growth_paths_analysis as analysis
from experiments.growth_paths_figures import place_accuracy, places, scales
from experiments.growth_paths_runs import lead, load, load_all, name_of
from growenv.paths.lattice import Lattice
from tests.simulated_paths import NOBODY, SIZES, SOMEBODY, write_run

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "docs"))
try:
    import growth_paths as blocks
finally:
    sys.path.pop(0)


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
