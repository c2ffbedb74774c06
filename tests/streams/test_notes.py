"""Notes of data folders: found by name, and every note that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from growenv.streams import DATASETS, data_note
from growenv.streams.notes import FOLDERS


def write(root: Path, name: str, content: bytes) -> Path:
    path = root / FOLDERS[name] / "note.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GROWENV_DATA", str(tmp_path))
    return tmp_path


def test_a_note_is_the_line_without_its_end(root: Path) -> None:
    for content in (b"shortened", b"shortened\n", b"  shortened \r\n", b"\xef\xbb\xbfshortened"):
        write(root, "cifar-10", content)
        assert data_note("cifar-10") == "shortened"


def test_no_note_is_an_empty_text(root: Path) -> None:
    assert data_note("cifar-10") == ""
    write(root, "cifar-10", b"\n")
    assert data_note("cifar-10") == ""
    assert data_note("digits") == data_note("custom") == data_note("") == ""


def test_notes_lie_beside_the_files_that_are_read(mnist_folder: Path) -> None:
    (mnist_folder / "note.txt").write_text("60 images only")
    assert data_note("mnist") == "60 images only"
    assert data_note("fashion-mnist") == ""


def test_data_sets_made_from_others_have_their_note(root: Path) -> None:
    write(root, "mnist", b"mine")
    write(root, "cifar-10", b"yours")
    assert data_note("mnist-noisy") == data_note("mnist-14x14") == "mine"
    assert data_note("cifar-100") == data_note("mnists") == data_note("fashion-mnist-14x14") == ""


def test_every_data_set_of_a_folder_is_registered() -> None:
    assert set(FOLDERS) <= set(DATASETS.names())


def test_the_longest_note(root: Path) -> None:
    write(root, "mnist", ("é" * 200).encode() + b"\n")
    assert data_note("mnist") == "é" * 200


@pytest.mark.parametrize(
    "content",
    [b"a" * 201, b"one\ntwo", b"\x1b[31mred", b"tab\tulator", b"\xff\xfe", b"\n" * 2000 + b"late", "語".encode() * 900],
)
def test_bad_notes_are_refused(root: Path, content: bytes) -> None:
    path = write(root, "cifar-10", content)
    with pytest.raises(ValueError, match="expected one line of at most 200 printable characters") as caught:
        data_note("cifar-10")
    assert str(path) in str(caught.value) and len(str(caught.value)) < len(str(path)) + 400
