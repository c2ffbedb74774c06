"""Smaller images by averaging: what fits a chip whose fan-in is small."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from growenv.streams.arrays import normalised
from growenv.streams.datasets import Dataset, load_dataset

_CHUNK = 1024  # images at a time, so that the float copies stay small

_pooled: WeakKeyDictionary[Dataset, dict[int, Dataset]] = WeakKeyDictionary()


def pooled(dataset: str | Dataset, side: int | None) -> Dataset:
    """The data set with its images averaged down to `side` x `side` pixels; all environments share one copy of it.

    Pixel (i, j) is the mean over rows floor(i H / side) to ceil((i + 1) H / side) and over columns likewise, the upper
    ends excluded. Where `side` divides the image's sides these are blocks: from 28 to 14 every pixel is the mean of
    2 x 2. Images that are not square become square as well, by blocks that are not.

    The samples, their labels and their parts stay. 8-bit images stay bytes, rounded to the nearest and halves to the
    even one. Shift, scale and background follow from the pooled inner train part as in `Dataset.from_arrays`, so the
    result is the data set that the pooled arrays would have made. It is called ``<name>-<side>x<side>``, which contexts
    carry. The full images stay resident as well, as long as somebody holds them; those of a name always do.

    Args:
        dataset: a registered name, or a `Dataset` of grey images.
        side: height and width of the pooled images, at most the shorter side of the images. None, or the side that they
            have already, returns the data set itself.

    Raises:
        ValueError: no grey images, a side above the images' or below 1, or what `load_dataset` raises.
    """
    full = load_dataset(dataset)
    if side is None:
        return full
    side = _checked_side(full, side)
    if full.image_shape == (side, side):
        return full
    known = _pooled.setdefault(full, {})
    if side not in known:
        known[side] = _pool(full, side)
    return known[side]


def _checked_side(dataset: Dataset, side: Any) -> int:
    where = f"dataset {dataset.name!r}"
    if isinstance(side, bool) or not isinstance(side, int | np.integer) or side < 1:
        raise ValueError(f"{where} cannot be pooled to side {side!r}; expected an integer >= 1")
    if dataset.image_shape is None:
        raise ValueError(
            f"{where} has no image_shape (vectors, or images in colour), so it cannot be pooled to {side} x {side}; "
            "use grey images and give image_shape"
        )
    height, width = dataset.image_shape
    if side > min(height, width):
        raise ValueError(
            f"{where} has images of {height} x {width} pixels, which cannot be pooled to {side} x {side}; "
            f"expected a side of at most {min(height, width)}"
        )
    return int(side)


def _pool(dataset: Dataset, side: int) -> Dataset:
    """The pooled data set; see `pooled`."""
    raw = dataset.inputs.dtype == torch.uint8
    # An empty pixel is zero in the arrays that `normalised` expects, and standardised pixels are affine in those.
    background = 0.0 if raw else dataset.background
    images = _averages(dataset, side, background)
    values, shift, scale, empty = normalised(images.numpy(), dataset.train.numpy(), image=True)
    return Dataset(
        f"{dataset.name}-{side}x{side}",
        values,
        dataset.labels,
        dataset.classes,
        (side, side),
        train=dataset.train,
        validation=dataset.validation,
        test=dataset.test,
        shift=shift,
        scale=scale,
        background=dataset.background if raw else empty,
    )


def _averages(dataset: Dataset, side: int, background: float) -> Tensor:
    """Pooled pixels less the background, shape (n, side * side), uint8 for bytes and else float64."""
    assert dataset.image_shape is not None
    raw = dataset.inputs.dtype == torch.uint8
    count = len(dataset.inputs)
    means = torch.empty((count, side * side), dtype=torch.uint8 if raw else torch.float64)
    for start in range(0, count, _CHUNK):
        images = dataset.inputs[start : start + _CHUNK].to(torch.float64) - background
        mean = adaptive_avg_pool2d(images.reshape(-1, 1, *dataset.image_shape), side).flatten(1)
        means[start : start + _CHUNK] = mean.round_() if raw else mean
    return means
