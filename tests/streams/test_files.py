"""Reading IDX files: good ones, and every way in which one can be bad."""

from __future__ import annotations

import gzip
import struct
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from growenv.streams import files, load_dataset
from growenv.streams.datasets import DATASETS


def test_hand_written_file(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(bytes((0, 0, 8, 2)) + bytes((0, 0, 0, 2, 0, 0, 0, 3)) + bytes((1, 2, 3, 4, 5, 255)))
    np.testing.assert_array_equal(files.read_idx(path, 2), [[1, 2, 3], [4, 5, 255]])


def test_gzip_reads_like_plain(tmp_path: Path, idx_writer: Any) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for name in ("plain", "packed.gz"):
        idx_writer(tmp_path / name, array)
        np.testing.assert_array_equal(files.read_idx(tmp_path / name, 3), array)


def test_plain_file_is_preferred(tmp_path: Path, idx_writer: Any) -> None:
    assert files.find_idx(tmp_path, "a") is None
    idx_writer(tmp_path / "a.gz", np.zeros(1, dtype=np.uint8))
    assert files.find_idx(tmp_path, "a") == tmp_path / "a.gz"
    idx_writer(tmp_path / "a", np.zeros(1, dtype=np.uint8))
    assert files.find_idx(tmp_path, "a") == tmp_path / "a"


def test_data_root_follows_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GROWENV_DATA", str(tmp_path))
    assert files.data_root() == tmp_path
    for unset in ("", "  "):
        monkeypatch.setenv("GROWENV_DATA", unset)
        assert files.data_root() == Path.home() / ".cache" / "growenv"
    monkeypatch.delenv("GROWENV_DATA")
    assert files.data_root() == Path.home() / ".cache" / "growenv"


def test_four_files_are_read(mnist_folder: Path) -> None:
    images = files.read_labelled_images("MNIST")
    assert images.train_images.shape == (60, 28, 28)
    assert images.test_images.shape == (20, 28, 28)
    np.testing.assert_array_equal(images.test_labels[:11], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0])


def test_small_official_files_make_a_dataset(mnist_folder: Path) -> None:
    dataset = DATASETS.make("mnist")  # not `load_dataset`, which would keep this tiny one
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (50, 10, 20)
    np.testing.assert_array_equal(dataset.test, np.arange(60, 80))


def refused(mnist_folder: Path, name: str, *words: str) -> None:
    """The file is refused with a ValueError that names it and says these words."""
    with pytest.raises(ValueError, match="(?s)" + ".*".join(words)) as caught:
        files.read_labelled_images("MNIST")
    assert name in str(caught.value)


@pytest.mark.parametrize("cut", [5, 40, 400, -4])
def test_truncated_gzip(mnist_folder: Path, cut: int) -> None:
    path = mnist_folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:cut])
    refused(mnist_folder, path.name, "truncated gzip")


def test_damaged_gzip(mnist_folder: Path) -> None:
    path = mnist_folder / "train-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[-8:-4] = bytes(byte ^ 255 for byte in content[-8:-4])  # the checksum
    path.write_bytes(content)
    refused(mnist_folder, path.name, "gzip", "fetch it again")


def test_web_page_under_the_name_of_a_packed_file(mnist_folder: Path) -> None:
    path = mnist_folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(b"<!DOCTYPE html><html><body>404</body></html>")
    refused(mnist_folder, path.name, "gzip")


def test_wrong_magic_number(mnist_folder: Path) -> None:
    labels = mnist_folder / "t10k-labels-idx1-ubyte.gz"
    (mnist_folder / "t10k-images-idx3-ubyte.gz").write_bytes(labels.read_bytes())
    refused(mnist_folder, "t10k-images-idx3-ubyte.gz", "0x00000801", "0x00000803")


@pytest.mark.parametrize("content", [b"", b"\0\0\x08", b"\0\0\x08\x01\0\0"])
def test_file_that_ends_in_its_header(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="labels.*(magic number|header)"):
        files.read_idx(path, 1)


@pytest.mark.parametrize("size", [0, 2**32 - 1])
def test_header_without_a_plausible_size_reserves_no_memory(tmp_path: Path, size: int) -> None:
    path = tmp_path / "images"
    path.write_bytes(bytes((0, 0, 8, 3)) + struct.pack(">3I", size, 28, 28))
    with pytest.raises(ValueError, match="images.*shape"):
        files.read_idx(path, 3)


@pytest.mark.parametrize(("payload", "found"), [(b"\1\2", "only 2"), (b"\1\2\3\4", "more")])
def test_byte_count_differs_from_the_header(tmp_path: Path, payload: bytes, found: str) -> None:
    content = bytes((0, 0, 8, 1)) + struct.pack(">I", 3) + payload
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(content))
    for name in ("plain", "packed.gz"):
        with pytest.raises(ValueError, match=f"{name}.*3 bytes.*{found}"):
            files.read_idx(tmp_path / name, 1)


def test_wrong_image_shape(mnist_folder: Path, idx_writer: Any) -> None:
    idx_writer(mnist_folder / "t10k-images-idx3-ubyte.gz", np.zeros((20, 28, 27), dtype=np.uint8))
    refused(mnist_folder, "t10k-images-idx3-ubyte.gz", "28, 27", "28, 28")


def test_count_mismatch(mnist_folder: Path, idx_writer: Any) -> None:
    idx_writer(mnist_folder / "t10k-labels-idx1-ubyte.gz", np.zeros(19, dtype=np.uint8))
    refused(mnist_folder, "t10k-labels-idx1-ubyte.gz", "19 labels", "20 images")


def test_label_out_of_range(mnist_folder: Path, idx_writer: Any) -> None:
    idx_writer(mnist_folder / "train-labels-idx1-ubyte.gz", np.full(60, 10, dtype=np.uint8))
    refused(mnist_folder, "train-labels-idx1-ubyte.gz", "label 10", "0..9")


def test_class_without_test_samples(mnist_folder: Path, idx_writer: Any) -> None:
    idx_writer(mnist_folder / "t10k-labels-idx1-ubyte.gz", np.zeros(20, dtype=np.uint8))
    with pytest.raises(ValueError, match="y_test holds no sample of class 1"):
        DATASETS.make("mnist")


def test_missing_file_without_torchvision(mnist_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    (mnist_folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte.*GROWENV_DATA.*install torchvision") as caught:
        files.read_labelled_images("MNIST")
    assert "train-images" not in str(caught.value)


def fake_torchvision(monkeypatch: pytest.MonkeyPatch, mnist: Any) -> None:
    package, datasets = types.ModuleType("torchvision"), types.ModuleType("torchvision.datasets")
    datasets.MNIST = mnist  # type: ignore[attr-defined]
    package.datasets = datasets  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)


def test_missing_files_are_downloaded_through_torchvision(mnist_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = mnist_folder.rename(mnist_folder.parent / "elsewhere")

    def download(root: str, train: bool, download: bool) -> None:
        assert download
        kept.rename(Path(root) / "MNIST" / "raw")

    fake_torchvision(monkeypatch, download)
    assert len(files.read_labelled_images("MNIST").train_labels) == 60


@pytest.mark.parametrize("problem", [RuntimeError("no mirror"), OSError("no network"), PermissionError("read-only")])
def test_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception) -> None:
    monkeypatch.setenv("GROWENV_DATA", str(tmp_path / "new"))

    def download(**_: Any) -> None:
        raise problem

    fake_torchvision(monkeypatch, download)
    with pytest.raises(FileNotFoundError, match=f"MNIST.*failed.*{problem}.*put the files there"):
        files.read_labelled_images("MNIST")


def test_download_that_brings_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROWENV_DATA", str(tmp_path))
    fake_torchvision(monkeypatch, lambda **_: None)
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        files.read_labelled_images("MNIST")


def test_a_failure_to_load_is_not_remembered(mnist_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "read_labelled_images", lambda folder: files.read_idx(mnist_folder / "nothing", 3))
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            load_dataset.__globals__["_load"].__wrapped__("mnist")
