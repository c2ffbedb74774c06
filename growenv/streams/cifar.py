"""The files of CIFAR-10 in its official binary version: found, read and checked.

Format: https://www.cs.toronto.edu/~kriz/cifar.html. A file is nothing but records of 3,073 bytes: the label, then 1,024
red, 1,024 green and 1,024 blue values of 32 x 32 pixels, each plane row by row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from growenv.streams.files import DATA_VARIABLE, data_root

FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
CLASSES = 10
PIXELS = 3 * 32 * 32
_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


def read_cifar10(records: int = 10_000) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read <data root>/cifar-10-batches-bin/{data_batch_1..5,test_batch}.bin; nothing is downloaded.

    Args:
        records: images that every file must hold; the official ones hold 10,000.

    Returns:
        Pixels, shape (6 * records, 3072), and labels in 0..9, shape (6 * records,). The records of the test file come
        last; fresh arrays.

    Raises:
        FileNotFoundError: files are missing; the message says where to get them and where to put them.
        ValueError: a file has another size or holds a label above 9; the message names the file.
    """
    folder, names = data_root() / FOLDER, (*TRAIN_FILES, TEST_FILE)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"no {', '.join(missing)} in {folder}; put the files of the binary version from {_PAGE} there, "
            f"or point {DATA_VARIABLE} at a folder that holds {FOLDER}"
        )
    pixels = np.empty((len(names) * records, PIXELS), dtype=np.uint8)
    labels = np.empty(len(names) * records, dtype=np.uint8)
    for number, name in enumerate(names):
        part = slice(number * records, (number + 1) * records)
        batch = _read_batch(folder / name, records)
        labels[part], pixels[part] = batch[:, 0], batch[:, 1:]
    return pixels, labels


def _read_batch(path: Path, records: int) -> NDArray[np.uint8]:
    """The records of one file, shape (records, 1 + 3072)."""
    expected = records * (1 + PIXELS)
    found = path.stat().st_size
    if found != expected:  # before reading, so that a huge file under this name takes no memory
        raise ValueError(
            f"{path}: {found} bytes, expected {expected} ({records} records of {1 + PIXELS} bytes); is it a file of "
            f"the binary version, unpacked? Fetch it again from {_PAGE}"
        )
    batch = np.fromfile(path, dtype=np.uint8, count=expected).reshape(records, 1 + PIXELS)
    worst = int(batch[:, 0].argmax())
    if batch[worst, 0] >= CLASSES:
        raise ValueError(
            f"{path}: record {worst} has the label {batch[worst, 0]}, expected 0..{CLASSES - 1}; fetch it again "
            f"from {_PAGE}"
        )
    return batch
