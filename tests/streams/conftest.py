"""Small data sets for the tests of streams."""

from __future__ import annotations

import functools
import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from growenv.streams import Dataset, cifar

CIFAR_RECORDS = 20  # in each of the six tiny files
IdxWriter = Callable[[Path, NDArray[np.uint8]], None]


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Write an IDX file, packed where its name ends in .gz."""
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def idx_writer() -> IdxWriter:
    return write_idx


@pytest.fixture
def mnist_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a tiny MNIST: 60 train and 20 test images; the folder of its files."""
    monkeypatch.setenv("GROWENV_DATA", str(tmp_path))
    raw = tmp_path / "MNIST" / "raw"
    rng = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(raw / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype(np.uint8))
    return raw


@pytest.fixture
def cifar_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with a tiny CIFAR-10: six files of 20 images, two of each class; the folder of the files."""
    monkeypatch.setenv("GROWENV_DATA", str(tmp_path))
    monkeypatch.setattr(cifar, "read_cifar10", functools.partial(cifar.read_cifar10, records=CIFAR_RECORDS))
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        records = rng.integers(0, 256, (CIFAR_RECORDS, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(CIFAR_RECORDS) % 10
        records.tofile(folder / f"{name}.bin")
    return folder


def make_dataset(classes: int = 10, image_shape: tuple[int, int] | None = (4, 4), name: str = "toy") -> Dataset:
    """A data set of random images (or vectors of 16 features), five samples a class."""
    rng = np.random.default_rng(classes)
    shape = image_shape or (16,)
    return Dataset.from_arrays(
        rng.normal(size=(5 * classes, *shape)), np.repeat(np.arange(classes), 5), name=name, classes=classes
    )


@pytest.fixture(scope="session")
def dataset_maker() -> Callable[..., Dataset]:
    return make_dataset


@pytest.fixture(scope="session")
def toy() -> Dataset:
    return make_dataset()
