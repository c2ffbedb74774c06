"""IDX files, the format of MNIST and Fashion-MNIST: found, read and checked, downloaded only where torchvision can.

Format: http://yann.lecun.com/exdb/mnist/. Two zero bytes, the element type (8 is an unsigned byte), the number of
dimensions, every dimension as a big-endian 32-bit integer, then the elements with the last dimension fastest.
"""

from __future__ import annotations

import gzip
import importlib
import io
import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DATA_VARIABLE = "GROWENV_DATA"
_UNSIGNED_BYTE = 8
_LARGEST = 2**30  # elements; a damaged header must not reserve all memory


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """The official train and test part of a data set of 8-bit images.

    Attributes:
        train_images: shape (n, height, width), uint8.
        train_labels: shape (n,), uint8.
        test_images: shape (m, height, width), uint8.
        test_labels: shape (m,), uint8.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]


def data_root() -> Path:
    """Folder of the data sets: $GROWENV_DATA where it is set, else ~/.cache/growenv."""
    given = os.environ.get(DATA_VARIABLE, "").strip()
    return Path(given).expanduser() if given else Path.home() / ".cache" / "growenv"


def read_labelled_images(folder: str, shape: tuple[int, int] = (28, 28), classes: int = 10) -> LabelledImages:
    """Read the four IDX files of a data set, torchvision's layout: <data root>/<folder>/raw/*-ubyte, also with .gz.

    Files that are missing are downloaded through torchvision where it is installed.

    Args:
        folder: torchvision's name of the data set, ``"MNIST"`` or ``"FashionMNIST"``.
        shape: height and width that the images must have.
        classes: labels must lie in 0..classes-1.

    Raises:
        FileNotFoundError: files are missing and cannot be downloaded; the message says what to do.
        ValueError: a file is damaged or does not hold what it should; the message names the file.
    """
    raw = data_root() / folder / "raw"
    if any(find_idx(raw, stem) is None for stem in _stems()):
        _download(folder)
    train = _read_part(raw, "train", shape, classes)
    test = _read_part(raw, "t10k", shape, classes)
    return LabelledImages(*train, *test)


def find_idx(raw: Path, stem: str) -> Path | None:
    """The file called `stem` in the folder `raw`, unpacked or else with .gz; None where neither exists."""
    return next((path for path in (raw / stem, raw / f"{stem}.gz") if path.is_file()), None)


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes; a name that ends in .gz is unpacked.

    Args:
        path: the file.
        dimensions: how many dimensions the array must have.

    Returns:
        The array, shape as in the file's header.

    Raises:
        ValueError: damaged gzip, wrong magic number, no elements, or fewer or more bytes than the header announces.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            shape = _read_header(file, path, dimensions)
            # The header bounds what is read, so that a file with trailing data is refused and not unpacked whole.
            elements = math.prod(shape)
            content = file.read(elements + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged or truncated gzip file ({error}); delete it and fetch it again") from error
    if len(content) != elements:
        found = "more" if len(content) > elements else f"only {len(content)}"
        raise ValueError(f"{path}: the header announces {elements} bytes {shape}, but it holds {found}; fetch it again")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _read_header(file: io.BufferedIOBase, path: Path, dimensions: int) -> tuple[int, ...]:
    magic = file.read(4)
    expected = bytes((0, 0, _UNSIGNED_BYTE, dimensions))
    if magic != expected:
        raise ValueError(
            f"{path}: starts with 0x{magic.hex()}, expected the IDX magic number 0x{expected.hex()} "
            f"({dimensions}-dimensional unsigned bytes); is it another file under this name?"
        )
    sizes = file.read(4 * dimensions)
    if len(sizes) != 4 * dimensions:
        raise ValueError(f"{path}: ends inside its IDX header; delete it and fetch it again")
    shape: tuple[int, ...] = struct.unpack(f">{dimensions}I", sizes)
    if not 0 < math.prod(shape) <= _LARGEST:
        raise ValueError(f"{path}: its header announces the shape {shape}, expected 1 to {_LARGEST} elements")
    return shape


def _read_part(
    raw: Path, part: str, shape: tuple[int, int], classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    image_path, label_path = (_present(raw, stem) for stem in _stems(part))
    images, labels = read_idx(image_path, 3), read_idx(label_path, 1)
    if images.shape[1:] != shape:
        raise ValueError(f"{image_path}: images of shape {images.shape[1:]}, expected {shape}")
    if len(images) != len(labels):
        raise ValueError(f"{label_path}: {len(labels)} labels for the {len(images)} images of {image_path.name}")
    if int(labels.max()) >= classes:
        raise ValueError(f"{label_path}: holds the label {int(labels.max())}, expected labels 0..{classes - 1}")
    return images, labels


def _stems(*parts: str) -> list[str]:
    kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
    return [f"{part}-{kind}" for part in parts or ("train", "t10k") for kind in kinds]


def _present(raw: Path, stem: str) -> Path:
    path = find_idx(raw, stem)
    if path is None:
        raise FileNotFoundError(f"no file {raw / stem} or {stem}.gz, although torchvision reported no error")
    return path


def _download(folder: str) -> None:
    root = data_root()
    missing = [stem for stem in _stems() if find_idx(root / folder / "raw", stem) is None]
    advice = f"put the files there (gzip is fine), or point {DATA_VARIABLE} at a folder that holds {folder}/raw"
    try:
        datasets = importlib.import_module("torchvision.datasets")
    except ImportError as error:
        raise FileNotFoundError(
            f"no {', '.join(missing)} in {root / folder / 'raw'}; {advice}, "
            "or install torchvision, which downloads them"
        ) from error
    try:
        root.mkdir(parents=True, exist_ok=True)
        getattr(datasets, folder)(root=str(root), train=True, download=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: bad checksum or unreachable mirrors
        raise FileNotFoundError(f"downloading {folder} into {root} failed ({error}); {advice}") from error
