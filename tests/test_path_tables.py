"""The maker of the tables that come with growenv, on small lattices of digits; and a sample of what it made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import path_tables
from growenv.paths import PathProblem, PathTable
from growenv.paths.table import FOLDER
from tests.tiny_paths import TINY, tiny

REAL_TABLE = path_tables.problem


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Tables of 2 + 1 steps and a wait, 12 paths, in a folder of their own."""

    def problems() -> dict[str, PathProblem]:
        return {
            "digits": tiny(REAL_TABLE("digits", 2), (2, 1), 1),
            "digits-gradmax": tiny(REAL_TABLE("digits", 3, growth="gradmax"), (2, 1), 1),
        }

    monkeypatch.setattr(path_tables, "problems", problems)
    monkeypatch.setattr(path_tables, "FOLDER", tmp_path / "tables")
    return tmp_path


def make(folder: Path, **options: Any) -> int:
    return path_tables.main(path_tables.Args(**{"folder": str(folder / "runs"), **options}))


@pytest.mark.parametrize("live", [False, True])
def test_tables_are_made_and_checked(tables: Path, capsys: pytest.CaptureFixture[str], live: bool) -> None:
    assert make(tables) == 0
    for name, trials in (("digits", 2), ("digits-gradmax", 3)):
        table = PathTable.load(tables / "tables" / f"{name}.npz")
        assert table.problem == path_tables.problems()[name] and table.trials == trials
        assert dict(table.samples) == {"validation": 50, "test": 60} and table.validation.shape == (trials, 35)
        assert table.accuracy("test")[:, table.lattice.leaves].mean() > 0.15
    assert make(tables, check=12, live=live) == 0
    said = capsys.readouterr().out.splitlines()[-2:]
    assert said[0].startswith("digits: 12 paths of trial ") and said[1].startswith("digits-gradmax: 12 paths of trial ")
    assert max(float(line.rsplit(" ", 1)[1]) for line in said) < 1e-12


def test_a_table_that_is_off_by_one_answer_is_found(tables: Path) -> None:
    make(tables, tables=["digits"])
    path = tables / "tables" / "digits.npz"
    table = PathTable.load(path)
    for metric in ("validation", "test"):
        counts = {name: getattr(table, name).copy() for name in ("validation", "test")}
        changed = counts[metric][:, table.lattice.leaves[5]]
        counts[metric][:, table.lattice.leaves[5]] = np.where(changed > 0, changed - 1, 1)
        PathTable(table.problem, samples=table.samples, **counts).save(path)
        assert make(tables, tables=["digits"], check=12) == 1


def test_an_interrupted_table_goes_on_where_it_was(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tables, tables=["digits"])
    path = tables / "tables" / "digits.npz"
    whole = PathTable.load(path)
    (tables / "runs" / "digits" / "1.npz").unlink()
    (tables / "runs" / "digits" / "1.unfinished.npz").write_bytes(b"half of a file")
    trained, count = [], path_tables.count_everywhere

    def watched(training: Any, trials: list[int], *rest: Any, **options: Any) -> Any:
        trained.extend(trials)
        return count(training, trials, *rest, **options)

    monkeypatch.setattr(path_tables, "count_everywhere", watched)
    make(tables, tables=["digits"])
    assert trained == [1]
    np.testing.assert_array_equal(PathTable.load(path).validation, whole.validation)


def test_a_trial_of_another_table_is_refused(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was made with other options, or before files said what they are."""
    make(tables, tables=["digits"])
    with monkeypatch.context() as patch:
        patch.setitem(TINY, "minibatches", 11)
        with pytest.raises(ValueError, match="0.npz was made with other settings"):
            make(tables, tables=["digits"])
    np.savez(tables / "runs" / "digits" / "1.npz", validation=np.zeros(35), test=np.zeros(35))
    with pytest.raises(ValueError, match="1.npz was made with other settings"):
        make(tables, tables=["digits"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tables": ["digit"]}, "--tables digit: expected some of digits, digits-gradmax"),
        ({"check": -1}, "--check -1"),
        ({"check": 3, "seed": -1}, "--seed -1"),
        ({"live": True}, "--live: it says how --check trains"),
        ({"processes": 0}, "at least one process"),
    ],
)
def test_flags_of_tables_that_make_no_sense_are_refused(tables: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make(tables, **options)


def test_more_paths_than_there_are_cannot_be_checked(tables: Path) -> None:
    make(tables, tables=["digits"])
    with pytest.raises(ValueError, match="--check 13: the table 'digits' has 12 paths"):
        make(tables, tables=["digits"], check=13)


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.npz") if "unfinished" not in path.name))
def test_paths_of_shipped_tables_trained_again_are_as_accurate(name: str, request: pytest.FixtureRequest) -> None:
    """To 1e-4: not one answer of a sample of paths may change."""
    if name.startswith("fashion"):
        request.getfixturevalue("real_data")
    assert path_tables.problems()[name] == PathTable.load(FOLDER / f"{name}.npz").problem, "made with other options"
    assert path_tables.check(name, 6, 0) == 0
