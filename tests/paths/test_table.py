"""Tables of growth paths: counts, trials, and files that are checked before they are believed."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from growenv.growth.operators import OPERATORS
from growenv.paths import table as module
from growenv.paths.table import PathTable
from growenv.registry import UnknownNameError
from tests.paths.tables import problem, random_table, worked_table


def changed(path: Path, **arrays: Any) -> Path:
    """A file with some of its arrays replaced."""
    with np.load(path) as file:
        read = {name: file[name] for name in file.files}
    np.savez(path, **{**read, **arrays})
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "worked.npz"
    worked_table().save(path)
    return path


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_accuracies_are_shares_of_the_samples() -> None:
    table = worked_table()
    np.testing.assert_array_equal(table.accuracy()[0], np.arange(1, 10)[[0, 1, 3, 2, 4, 5, 6, 7, 8]] / 10)
    np.testing.assert_array_equal(table.accuracy("test", [1])[0], np.arange(9)[::-1] / 8)
    assert table.accuracy().dtype == np.float64 and table.accuracy("test", "train").shape == (1, 9)
    assert table.validation.dtype == table.test.dtype == np.uint16 and table.trials == 2


def test_numbers_can_be_neither_changed_nor_shared() -> None:
    counts = np.zeros((2, 9), dtype=np.uint16)
    table = PathTable(problem(), counts, counts, {"validation": 1, "test": 1})
    counts[:] = 1
    assert not table.validation.any()
    for array in (table.validation, table.test, table.work):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0  # type: ignore[index]


@pytest.mark.parametrize(
    ("trials", "given", "expected"),
    [
        (4, "train", [0, 1]),
        (4, "test", [2, 3]),
        (5, "train", [0, 1, 2]),
        (5, "test", [3, 4]),
        (3, "all", [0, 1, 2]),
        (3, None, [0, 1, 2]),
        (1, "train", [0]),
        (3, [2, 0, 2], [2, 0, 2]),
    ],
)
def test_splits_are_halves_of_the_trials(trials: int, given: Any, expected: list[int]) -> None:
    assert random_table(trials=trials).trials_of(given).tolist() == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("tests", "did you mean 'test'"),
        ("val", "known: all, test, train"),
        ([2], "expected numbers from 0 to 1"),
        ([-1], "expected numbers from 0 to 1"),
        ([], "expected one of train, test, all, or numbers"),
        ([0.0], "numbers of trials"),
        ([True, False], "numbers of trials"),
        (1, "numbers of trials"),
    ],
)
def test_trials_that_do_not_exist_are_refused(given: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        worked_table().trials_of(given)


def test_one_trial_leaves_none_for_the_test_split() -> None:
    with pytest.raises(ValueError, match="no trials for 'test': the table has 1; use 'train' or 'all'"):
        random_table(trials=1).accuracy("validation", "test")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"validation": np.zeros((2, 8), int)}, r"validation of shape \(2, 8\).*shape \(2, 9\)"),
        ({"test": np.zeros((1, 9), int)}, r"test of shape \(1, 9\)"),
        ({"test": np.zeros((2, 9))}, "type float64: expected whole numbers"),
        ({"validation": np.full((2, 9), 11)}, "validation holds 11 to 11 right answers of 10"),
        ({"validation": np.full((2, 9), -1)}, "expected 0 to 10"),
        ({"samples": {"validation": 10}}, "missing: test"),
        ({"samples": {"validation": 10, "test": 0}}, "expected 1 <= samples"),
        ({"samples": {"validation": 10, "test": 65536}}, "expected 1 <= samples"),
        ({"samples": {"validation": 10.0, "test": 8}}, "expected an integer"),
        ({"work": np.ones(8)}, r"work of shape \(8,\): expected 9 numbers above 0"),
        ({"work": np.zeros(9)}, "numbers above 0"),
        ({"work": np.full(9, np.nan)}, "numbers above 0"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(arguments: dict[str, Any], said: str) -> None:
    zeros = np.zeros((2, 9), dtype=np.uint16)
    given = {"validation": zeros, "test": zeros, "samples": {"validation": 10, "test": 10}, **arguments}
    with pytest.raises(ValueError, match=said):
        PathTable(problem(), **given)


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'test'"):
        worked_table().accuracy("tests")


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_table_comes_back_from_its_file_as_it_was(saved: Path) -> None:
    table, loaded = worked_table(), PathTable.load(saved)
    assert loaded.problem == table.problem and loaded.samples == table.samples
    for name in ("validation", "test", "work"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(table, name))
        assert getattr(loaded, name).dtype == getattr(table, name).dtype
    assert [path.name for path in saved.parent.iterdir()] == ["worked.npz"]


def test_saving_twice_writes_the_same_bytes(saved: Path) -> None:
    again = saved.with_name("again.npz")
    PathTable.load(str(saved)).save(again)
    assert again.read_bytes() == saved.read_bytes()


def test_loading_needs_no_data_set(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("the data set was asked for")

    monkeypatch.setattr("growenv.paths.problem.pooled", forbidden)
    assert PathTable.load(saved).accuracy().shape == (2, 9)


def test_shipped_tables_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    worked_table().save(tmp_path / "fashion-mnist.npz")
    assert PathTable.load("fashion-mnist").lattice.paths == 3
    with pytest.raises(
        FileNotFoundError, match=r"digits\.npz; it should have come with growenv: install growenv again"
    ):
        PathTable.load("digits")


@pytest.mark.parametrize("name", module.NAMES)
def test_shipped_tables_are_whole_and_small(name: str) -> None:
    path = module.FOLDER / f"{name}.npz"
    if not path.is_file():
        pytest.skip("the table is not there yet")
    table = PathTable.load(name)
    assert path.stat().st_size < 3_000_000
    assert table.lattice.limits == (1, 6, 6) and table.lattice.paths == 12_012 and table.lattice.nodes == 42_042
    assert table.trials >= 4 and table.problem.config.dataset == name
    assert (table.accuracy()[:, table.lattice.leaves] > 2 * table.accuracy()[:, :1]).all()


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("digit", UnknownNameError, "did you mean 'digits'"),
        ("cifar", UnknownNameError, "the path of an .npz file"),
        ("nowhere/table.npz", FileNotFoundError, r"nowhere/table\.npz; check it, or give another path"),
        (Path("nowhere"), FileNotFoundError, "there is no table of growth paths at nowhere"),
    ],
)
def test_a_table_that_is_not_there_is_asked_for_politely(source: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        PathTable.load(source)


def test_a_name_without_its_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a name that ends with \.npz"):
        worked_table().save(tmp_path / "table")


@pytest.mark.parametrize("keep", [0, 1, 100, -1, -30])
def test_a_file_that_was_cut_is_refused(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"no intact table.*get the file again, or save it anew"):
        PathTable.load(saved)


def test_every_single_byte_that_matters_is_noticed(saved: Path) -> None:
    """Flipping a byte is refused, or falls on what the numbers do not depend on."""
    whole, expected, refused = saved.read_bytes(), worked_table().validation, []
    for place in range(0, len(whole), 7):
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            read = PathTable.load(saved).validation
        except ValueError as error:
            refused.append(str(error))
        else:
            np.testing.assert_array_equal(read, expected)
    assert len(refused) > 100 and all("no intact table" in said for said in refused)


def test_a_file_that_claims_to_be_encrypted_is_refused(saved: Path) -> None:
    whole = bytearray(saved.read_bytes())
    for signature, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        whole[whole.index(signature) + flags] |= 1
    saved.write_bytes(whole)
    with pytest.raises(ValueError, match="no intact table"):
        PathTable.load(saved)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.npz"
    foreign.write_text("accuracy,0.9\n")
    with pytest.raises(ValueError, match="it cannot be read"):
        PathTable.load(foreign)
    np.savez(foreign, accuracy=np.ones(3))
    with pytest.raises(ValueError, match="it cannot be read"):
        PathTable.load(foreign)
    np.save(tmp_path / "plain.npy", np.ones(3))
    with pytest.raises(ValueError, match="no intact table"):
        PathTable.load(tmp_path / "plain.npy")
    with pytest.raises(FileNotFoundError):
        PathTable.load(tmp_path)


def test_nothing_in_a_file_runs_as_code(saved: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (saved.with_name("sprung"),))

    with pytest.raises(ValueError, match="cannot be read.*allow_pickle"):
        PathTable.load(changed(saved, about=np.array([Trap()], dtype=object)))
    saved.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="cannot be read"):
        PathTable.load(saved)
    assert not saved.with_name("sprung").exists()


def test_numbers_that_were_changed_are_noticed(saved: Path) -> None:
    better = worked_table().validation + np.uint16(1)
    with pytest.raises(ValueError, match="SHA-256"):
        PathTable.load(changed(saved, validation=better))


@pytest.mark.parametrize(
    ("about", "arrays", "said"),
    [
        ({"format": "growenv growth paths, 2"}, {}, "its format is 'growenv growth paths, 2'"),
        ({"problem": {}}, {}, "missing: config, steps, waits, trials"),
        ({"problem": None}, {}, "expected a JSON object"),
        ({"samples": {"validation": 5, "test": 8}}, {}, "right answers of 5"),
        ({"more": 1}, {}, "unknown: more"),
        ({}, {"test": np.zeros((2, 9), dtype=np.int64)}, "its numbers are uint16, int64, float64"),
        ({}, {"validation": np.zeros((3, 9), dtype=np.uint16)}, r"validation of shape \(3, 9\)"),
    ],
)
def test_files_with_a_right_digest_and_wrong_contents_are_refused(
    saved: Path, about: dict[str, Any], arrays: dict[str, Any], said: str
) -> None:
    with np.load(saved) as file:
        text = json.dumps({**json.loads(str(file["about"])), **about})
        whole = {name: arrays.get(name, file[name]) for name in ("validation", "test", "work")}
    sha = np.array(module._digest(text, whole))
    with pytest.raises(ValueError, match=said):
        PathTable.load(changed(saved, about=np.array(text), sha256=sha, **whole))


def test_a_problem_with_objects_cannot_be_saved(tmp_path: Path) -> None:
    about = problem(growth=OPERATORS.make("random"))
    zeros = np.zeros((2, 9), dtype=np.uint16)
    with pytest.raises(ValueError, match="register it under a name"):
        PathTable(about, zeros, zeros, {"validation": 1, "test": 1}).save(tmp_path / "table.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("source", [None, 3, ["digits"]])
def test_what_is_neither_a_name_nor_a_path_is_refused(source: Any) -> None:
    with pytest.raises(TypeError, match="expected a PathTable, one of digits, fashion-mnist, or the path"):
        PathTable.load(source)
