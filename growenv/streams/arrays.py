"""Arrays handed in by a user: checked, flattened, split by class and normalised."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv import randomness

_SPLIT = 101  # purpose of the random numbers that split a data set; the numbers of `randomness.Purpose` are below 100
_CHUNK = 1024  # images at a time, because counting widens bytes to integers of eight


def checked_inputs(
    given: Any, image_shape: tuple[int, int] | None = None, what: str = "X"
) -> tuple[NDArray[Any], tuple[int, int] | None]:
    """Inputs as one row a sample.

    Args:
        given: numpy array, tensor or nested lists, shape (n, D), (n, H, W) or (n, ...); shapes (n, 1, H, W) and
            (n, H, W, 1) are images too.
        image_shape: height and width where rows of length D are images.
        what: name of the argument, for the messages.

    Returns:
        Inputs of shape (n, D), uint8 for 8-bit images and else float64, and the image's shape or None.

    Raises:
        ValueError: not numeric, no samples or features, NaN or infinite, or `image_shape` does not fit.
    """
    array = _array(given, what)
    if array.dtype.kind not in "buif":
        raise ValueError(f"{what} holds {array.dtype}, expected numbers")
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"{what} has shape {array.shape}, expected (samples, features ...) with at least one of each")
    shape = _shape_of_images(array) if image_shape is None else _checked_shape(image_shape)
    flat = array.reshape(len(array), -1)
    if shape is not None and shape[0] * shape[1] != flat.shape[1]:
        raise ValueError(f"image_shape {shape} has {shape[0] * shape[1]} pixels, {what} has {flat.shape[1]} features")
    if flat.dtype == np.uint8 and shape is not None:
        return flat, shape
    bad = np.flatnonzero(~np.isfinite(flat).all(axis=1))
    if len(bad):
        raise ValueError(f"{what} holds NaN or infinity in {len(bad)} samples, first in sample {bad[0]}; remove them")
    return flat.astype(np.float64), shape


def checked_labels(given: Any, samples: int, classes: int | None, what: str = "y") -> tuple[NDArray[np.int64], int]:
    """Labels as integers, and how many classes there are.

    Args:
        given: one integer a sample.
        samples: how many there must be.
        classes: number of classes, or None for the largest label plus one.
        what: name of the argument, for the messages.

    Raises:
        ValueError: wrong shape, not integers, outside 0..classes-1, or fewer than two classes.
    """
    labels = _array(given, what)
    if labels.shape != (samples,):
        raise ValueError(f"{what} has shape {labels.shape}, expected ({samples},): one label a sample")
    if labels.dtype.kind not in "ui":
        raise ValueError(f"{what} holds {labels.dtype}, expected integers 0..classes-1; map your labels to integers")
    count = int(labels.max()) + 1 if classes is None else classes
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 2:
        raise ValueError(f"classes is {count!r}, expected an integer of at least 2")
    bad = np.flatnonzero((labels < 0) | (labels >= count))
    if len(bad):
        raise ValueError(f"{what} holds the label {labels[bad[0]]} (sample {bad[0]}), expected 0..{int(count) - 1}")
    return labels.astype(np.int64), int(count)


def stratified_split(
    labels: NDArray[np.int64], classes: int, fractions: tuple[float, ...], seed: int
) -> list[NDArray[np.int64]]:
    """Split samples at random so that every class is shared out in the same proportions.

    Args:
        labels: shape (n,), in 0..classes-1.
        classes: number of classes.
        fractions: share of every part but the first, which takes the rest; each at most 0.25.
        seed: decides which samples go where.

    Returns:
        Sorted indices of the samples, one array a part; every part has at least one sample of each class.

    Raises:
        ValueError: a class has fewer samples than there are parts.
    """
    counts = np.bincount(labels, minlength=classes)
    parts = len(fractions) + 1
    if counts.min() < parts:
        poor = int(counts.argmin())
        raise ValueError(
            f"class {poor} has {counts[poor]} samples, expected at least {parts}, one for each of the {parts} parts "
            "of the split; add samples or drop the class"
        )
    order = np.lexsort((randomness.uniform(seed, _SPLIT, np.arange(len(labels))), labels))
    rank = np.arange(len(labels)) - (np.cumsum(counts) - counts)[labels[order]]  # place of the sample in its class
    part, taken = np.zeros(len(labels), dtype=np.int64), np.zeros(classes, dtype=np.int64)
    for number, fraction in enumerate(fractions, start=1):
        end = taken + _shares(counts, fraction)
        part[(rank >= taken[labels[order]]) & (rank < end[labels[order]])] = number
        taken = end
    return [np.sort(order[part == number]) for number in range(parts)]


def normalised(inputs: NDArray[Any], train: NDArray[np.int64], image: bool) -> tuple[Tensor, float, float, float]:
    """Inputs ready to be resident, with the statistics of the inner train part only.

    8-bit images stay as they are and get a shift and a scale. Other images are standardised with one mean and one
    deviation, so that moving a pixel keeps its meaning; vectors are standardised feature by feature.

    Args:
        inputs: shape (n, D), uint8 or float64.
        train: indices of the inner train part.
        image: whether rows are images.

    Returns:
        Inputs (uint8 or float32), shift, scale, and the value of an empty pixel in the returned inputs.

    Raises:
        ValueError: numbers so large that their deviation overflows.
    """
    if inputs.dtype == np.uint8:
        shift, scale = byte_statistics(inputs, train)
        return torch.from_numpy(np.array(inputs)), shift, scale, 0.0
    axis = None if image else 0
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        centre, spread = inputs[train].mean(axis=axis), inputs[train].std(axis=axis)
    if not (np.isfinite(centre).all() and np.isfinite(spread).all()):
        raise ValueError("X holds numbers whose deviation overflows; scale them down")
    # A constant feature carries nothing; its deviation is zero but for rounding, and must not blow it up.
    spread = np.where(spread > 1e-12 * np.abs(centre), spread, 1.0)
    standard = torch.from_numpy(((inputs - centre) / spread).astype(np.float32))
    return standard, 0.0, 1.0, float(-centre / spread) if image else 0.0


def byte_statistics(inputs: NDArray[np.uint8], train: NDArray[np.int64]) -> tuple[float, float]:
    """Shift and scale that give the bytes of the inner train part mean 0 and deviation 1.

    Args:
        inputs: shape (n, D).
        train: indices of the inner train part.

    Returns:
        The mean, and one over the deviation (1 where all bytes are equal).
    """
    histogram = np.zeros(256, dtype=np.int64)  # exact, and no wide copy of the images
    for start in range(0, len(train), _CHUNK):
        histogram += np.bincount(inputs[train[start : start + _CHUNK]].reshape(-1), minlength=256)
    values = np.arange(256)
    mean = float(histogram @ values / histogram.sum())
    deviation = float(np.sqrt(histogram @ (values - mean) ** 2 / histogram.sum()))
    return mean, 1.0 / (deviation or 1.0)


def _array(given: Any, what: str) -> NDArray[Any]:
    if isinstance(given, Tensor):
        given = given.detach().cpu()
        return np.asarray((given.float() if given.dtype == torch.bfloat16 else given).numpy())
    try:
        return np.asarray(given)
    except ValueError as error:
        raise ValueError(f"{what} is no regular array ({error}); every sample needs the same shape") from error


def _shape_of_images(array: NDArray[Any]) -> tuple[int, int] | None:
    shape = list(array.shape[1:])
    if len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    elif len(shape) == 3 and shape[2] == 1:
        shape = shape[:2]
    return (shape[0], shape[1]) if len(shape) == 2 else None


def _checked_shape(given: Any) -> tuple[int, int]:
    sides = tuple(given) if isinstance(given, (tuple, list)) else ()
    if len(sides) != 2 or not all(isinstance(side, (int, np.integer)) and side > 0 for side in sides):
        raise ValueError(f"image_shape is {given!r}, expected (height, width), two positive integers")
    return int(sides[0]), int(sides[1])


def _shares(counts: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """`fraction` of all samples, shared over the classes by largest remainder, at least one each."""
    quota = counts * fraction
    shares = np.floor(quota + 1e-9).astype(np.int64)
    rest = round(float(counts.sum()) * fraction) - int(shares.sum())
    largest = np.argsort(shares - quota, kind="stable")[: max(rest, 0)]
    shares[largest] += 1
    at_least_one: NDArray[np.int64] = np.maximum(shares, 1)
    return at_least_one
