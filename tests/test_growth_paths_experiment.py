"""The runner of the growth-path experiment, on a small lattice of digits."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import growth_paths
from experiments.growth_paths import Args, Sample
from experiments.growth_paths_runs import load
from growenv import GrowthConfig, GrowthVectorEnv
from growenv.paths import Lattice, PathProblem
from tests.tiny_paths import TINY, tiny

ROOT = Path(__file__).resolve().parent.parent
STEPS = (2, 2)
REAL_PROBLEM = growth_paths.problem


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The experiment with two steps in each layer: 6 paths; results go to a folder of their own."""

    def problem(dataset: str, start: str, trials: int, learning_rate: float = 5e-3) -> PathProblem:
        return tiny(REAL_PROBLEM(dataset, start, trials, learning_rate), STEPS)

    monkeypatch.setattr(growth_paths, "problem", problem)
    monkeypatch.setattr(growth_paths, "ROOT_WIDTH", 3)
    monkeypatch.setattr(growth_paths, "SHARD_LEVEL", 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(growth_paths, "NAMED", {"layer 1 first": "1122", "layer 2 first": "2211", "1212": "1212"})
    return tmp_path


def arguments(folder: Path, **options: Any) -> Args:
    given = {"datasets": ["mnist"], "starts": ["gradmax"], "paths": 1, "trials": 2, "folder": str(folder / "runs")}
    return Args(**{**given, "out": "results", **options})


# -- which paths ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report() -> Lattice:
    return Lattice(growth_paths.STEPS)


def test_the_problem_is_the_report_s() -> None:
    about = REAL_PROBLEM("mnist", "gradmax", 5)
    assert about.config.hidden == (10, 10) and about.target == (100, 100) and about.lattice.paths == 184_756
    assert about.config.minibatches * about.config.decisions == 900 and about.config.batch_size == 128
    assert (about.config.loss, about.config.growth, about.config.learning_rate) == ("squared-error", "gradmax", 5e-3)
    assert GrowthConfig.from_json(json.loads(json.dumps(about.config.to_json()))) == about.config


def test_every_stratum_gives_its_paths(report: Lattice) -> None:
    """Twenty of each, different ones; the four named paths besides, unless they were drawn."""
    sample = growth_paths.sampled(report, 20)
    drawn = ~sample.named
    assert np.bincount(sample.stratum[drawn]).tolist() == [20] * 10 and 1 <= sample.named.sum() <= 4
    assert len(set(sample.ends.tolist())) == len(sample.ends)
    assert sample.sizes.sum() == report.paths and (sample.sizes > 20).all()
    lead = report.lead()[sample.ends - report.leaves[0]]
    edges = np.linspace(-1, 1, 11)
    assert (lead >= edges[sample.stratum] - 1e-9).all() and (lead <= edges[sample.stratum + 1] + 1e-9).all()


def test_the_named_paths_are_there(report: Lattice) -> None:
    sample = growth_paths.sampled(report, 1)
    paths = {"".join(map(str, path)) for path in report.path(sample.ends).tolist()}
    assert set(growth_paths.NAMED.values()) <= paths
    added = {"".join(map(str, path)) for path in report.path(sample.ends[sample.named]).tolist()}
    assert added <= set(growth_paths.NAMED.values())


def test_draws_depend_on_nothing_but_the_seed(report: Lattice) -> None:
    one, two, other = (growth_paths.sampled(report, 3, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.ends, two.ends)
    assert not np.array_equal(one.ends, other.ends)


def test_paths_are_drawn_evenly_within_a_stratum() -> None:
    """Each of the paths of a stratum has the same chance; 400 draws of one of up to four paths."""
    lattice = Lattice((2, 3))
    count = np.zeros(lattice.paths)
    for seed in range(400):
        sample = growth_paths_sampled_without_names(lattice, seed)
        count[sample.ends - lattice.leaves[0]] += 1
        size = sample.sizes
    stratum = np.clip(((lattice.lead() + 1) / 2 * 10).astype(int), 0, 9)
    expected = 400 / size[stratum]
    assert size.max() >= 2 and (np.abs(count - expected) < 4 * np.sqrt(expected)).all()


def growth_paths_sampled_without_names(lattice: Lattice, seed: int) -> Sample:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growth_paths, "NAMED", {"first": "11222"})
        sample = growth_paths.sampled(lattice, 1, seed)
    keep = ~sample.named
    return Sample(sample.ends[keep], sample.stratum[keep], sample.sizes, sample.named[keep])


def test_small_strata_give_all_that_they_have() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growth_paths, "NAMED", {"first": "1122"})
        sample = growth_paths.sampled(Lattice(STEPS), 100)
    np.testing.assert_array_equal(np.sort(sample.ends), Lattice(STEPS).leaves)
    assert not sample.named.any() and np.array_equal(np.bincount(sample.stratum, minlength=10), sample.sizes)


# -- sampled paths -------------------------------------------------------------------------------------------------


def test_the_experiment_writes_what_its_analysis_reads(small: Path) -> None:
    assert growth_paths.main(arguments(small, starts=[], paths=2)) == 0
    for start in ("random", "gradmax"):
        path = small / "results" / f"mnist-{start}.npz"
        run = load(path)
        assert run.paths.shape == (6, 4) and run.validation.shape == (6, 2, 4) and run.root_validation.shape == (2, 4)
        with np.load(path, allow_pickle=False) as file:
            kinds = {name: str(file[name].dtype) for name in file.files}
            meta = json.loads(str(file["meta"]))
        integers = {"paths": "int8", "stratum": "int16", "stratum_sizes": "int64", "named": "int8"}
        assert {name: kinds[name] for name in integers} == integers
        assert {kind for name, kind in kinds.items() if name.endswith(("test", "validation"))} == {"float32"}
        assert {"problem", "seconds", "threads", "data_note", "growenv", "torch"} <= meta.keys()
        assert PathProblem.from_json(meta["problem"]) == growth_paths.problem("mnist", start, 2)
        assert meta["minibatch_steps"] == [180, 180] and len(meta["seconds"]) == 2


def test_its_accuracies_are_those_of_the_environment(small: Path) -> None:
    growth_paths.main(arguments(small))
    run, about = load(small / "results" / "mnist-gradmax.npz"), growth_paths.problem("mnist", "gradmax", 2)
    for trial, context in enumerate(about.contexts):
        env = GrowthVectorEnv(len(run.paths), about.config, autoreset_mode="DISABLED")
        env.reset(options={"contexts": [context] * len(run.paths)})
        for place, actions in enumerate(run.paths.T):
            *_, infos = env.step(actions)
            np.testing.assert_allclose(run.validation[:, trial, place], 100 * infos["validation_accuracy"], atol=2.1)
        np.testing.assert_allclose(run.test[:, trial], 100 * infos["acc"], atol=100 / 60 + 0.1)


def test_root_and_target_train_as_long_without_growth(small: Path) -> None:
    about = growth_paths.problem("mnist", "random", 2)
    for width in (3, 7):
        validation, test = growth_paths.train_fixed(about, 1, width, "cpu")
        config = replace(about.config, hidden=(width, width), max_hidden=(width, width))
        env = GrowthVectorEnv(1, config, autoreset_mode="DISABLED")
        env.reset(options={"contexts": [about.contexts[1]]})
        for place in range(4):
            *_, infos = env.step(np.zeros(1, dtype=np.int64))
            assert validation[place] == pytest.approx(infos["validation_accuracy"][0])
        assert test == pytest.approx(infos["acc"][0])


def test_an_interrupted_run_goes_on_where_it_was(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growth_paths.main(arguments(small))
    result = small / "results" / "mnist-gradmax.npz"
    whole = load(result)
    result.unlink()
    second = small / "runs" / "mnist-gradmax-1" / "1.npz"
    second.rename(second.with_suffix(".unfinished.npz"))  # killed while it was written
    second.with_suffix(".unfinished.npz").write_bytes(b"half of a file")
    trained, train = [], growth_paths.train_trial

    def stopped(wanted: PathProblem, trial: int, sample: Sample, device: str) -> dict[str, Any]:
        trained.append(trial)
        if len(trained) == 1:
            raise KeyboardInterrupt
        return train(wanted, trial, sample, device)

    monkeypatch.setattr(growth_paths, "train_trial", stopped)
    with pytest.raises(KeyboardInterrupt):
        growth_paths.main(arguments(small))
    assert not result.exists()
    growth_paths.main(arguments(small))
    assert trained == [1, 1], "the finished trial is not trained again"
    again = load(result)
    np.testing.assert_array_equal(again.validation, whole.validation)
    np.testing.assert_array_equal(again.root_test, whole.root_test)


def test_two_processes_find_the_same(small: Path) -> None:
    results = []
    for count in (1, 2):
        growth_paths.main(arguments(small / str(count), processes=count))
        results.append(load(small / "results" / "mnist-gradmax.npz"))
    np.testing.assert_array_equal(results[0].validation, results[1].validation)
    np.testing.assert_array_equal(results[0].test, results[1].test)


def test_another_step_size_has_files_of_its_own(small: Path) -> None:
    growth_paths.main(arguments(small, learning_rate=0.02, trials=1))
    assert [path.name for path in (small / "results").iterdir()] == ["mnist-gradmax-lr0.02.npz"]
    assert (small / "runs" / "mnist-gradmax-lr0.02-1" / "0.npz").exists()


def test_finished_trials_serve_a_run_with_more_of_them(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growth_paths.main(arguments(small, trials=1))
    trained, train = [], growth_paths.train_trial

    def watched(wanted: PathProblem, trial: int, sample: Sample, device: str) -> dict[str, Any]:
        trained.append(trial)
        return train(wanted, trial, sample, device)

    monkeypatch.setattr(growth_paths, "train_trial", watched)
    growth_paths.main(arguments(small))
    assert trained == [1]


@pytest.mark.parametrize("options", [{}, {"all": True}])
def test_what_was_made_with_other_settings_is_refused(
    small: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    growth_paths.main(arguments(small, trials=1, **options))
    monkeypatch.setitem(TINY, "minibatches", 11)
    with pytest.raises(ValueError, match="npz was made with other settings; remove it, or give another --folder"):
        growth_paths.main(arguments(small, trials=1, **options))


def test_what_was_made_of_other_paths_is_refused(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growth_paths.main(arguments(small, trials=1))
    monkeypatch.setattr(growth_paths, "STRATA", 2)
    with pytest.raises(ValueError, match="0.npz was made with other settings"):
        growth_paths.main(arguments(small, trials=1))


@pytest.mark.parametrize("cut", [0, 300])
def test_a_damaged_piece_is_refused(small: Path, cut: int) -> None:
    growth_paths.main(arguments(small, trials=1))
    path = small / "runs" / "mnist-gradmax-1" / "0.npz"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match="0.npz cannot be read .*; remove it"):
        growth_paths.main(arguments(small, trials=1))


# -- all paths -------------------------------------------------------------------------------------------------------


def test_all_paths_shard_by_shard(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """11, 12, 21, 22 begin the four shards; what they share is equal, and sampled paths are the same."""
    growth_paths.main(arguments(small, all=True, shards="0-1"))
    assert "wrote" not in capsys.readouterr().out, "not all shards are there"
    growth_paths.main(arguments(small, all=True, shards="3"))
    growth_paths.main(arguments(small, all=True))
    said = capsys.readouterr().out
    assert "everything together" in said and "wrote" in said
    growth_paths.main(arguments(small))
    folder = small / "runs" / "mnist-gradmax-all"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["all.npz", *(f"{trial}-{number}.npz" for trial in range(2) for number in range(4))]
    )
    whole, run = growth_paths.read(folder / "all.npz"), load(small / "results" / "mnist-gradmax.npz")
    about = PathProblem.from_json(json.loads(str(whole["problem"])))
    assert about == growth_paths.problem("mnist", "gradmax", 2) and (whole["validation"] >= 0).all()
    visited = about.lattice.follow(run.paths)[:, 1:]
    np.testing.assert_allclose(100 * whole["validation"][:, visited].swapaxes(0, 1) / 50, run.validation, atol=2.1)
    np.testing.assert_allclose(100 * whole["test"][:, visited[:, -1]].T / 60, run.test, atol=100 / 60 + 0.1)
    assert (whole["test"][:, : about.lattice.leaves[0]] == -1).all()


def test_shards_that_are_there_are_not_trained_again(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growth_paths.main(arguments(small, all=True, shards="1-2", trials=1))
    trained, train = [], growth_paths.train_shard

    def watched(wanted: PathProblem, trial: int, prefix: int, device: str) -> dict[str, Any]:
        trained.append(prefix)
        return train(wanted, trial, prefix, device)

    monkeypatch.setattr(growth_paths, "train_shard", watched)
    growth_paths.main(arguments(small, all=True, trials=1))
    assert trained == [3, 6], "the first and the last node of level 2"


# -- flags -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"datasets": ["mnst"]}, "--datasets mnst: expected some of mnist, fashion-mnist, cifar-10"),
        ({"starts": ["gradmx"]}, "--starts gradmx: expected some of random, gradmax"),
        ({"paths": 0}, "--paths 0: expected at least 1"),
        ({"trials": 0}, "--trials 0: expected at least 1"),
        ({"processes": 0}, "--processes 0: expected at least 1"),
        ({"shards": "0-3"}, "--shards 0-3: shards are of --all; add it"),
        ({"all": True, "shards": "x"}, "--shards x: expected a number or a range such as 0-3"),
        ({"all": True, "shards": "1-"}, "--shards 1-: expected a number or a range"),
        ({"all": True, "shards": "-1"}, "--shards -1: expected a number or a range"),
        ({"all": True, "shards": "3-1"}, "--shards 3-1: expected numbers from 0 to 3, in order"),
        ({"all": True, "shards": "4"}, "--shards 4: expected numbers from 0 to 3, in order"),
        ({"device": "gpu"}, "--device gpu: Expected one of cpu"),
        ({"learning_rate": -1.0}, "option learning_rate=-1.0: expected a number above 0"),
    ],
)
def test_flags_that_make_no_sense_are_refused(small: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        growth_paths.main(arguments(small, **options))
    assert not any(small.rglob("*.npz"))


def test_an_error_is_one_line() -> None:
    words = [sys.executable, "experiments/growth_paths.py", "--datasets", "mnst"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: --") and len(done.stderr.splitlines()) == 1
