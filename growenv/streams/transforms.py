"""Transforms that turn one data set into many tasks: rotations and fixed pixel permutations.

A transform never copies data: it chooses a resident bank of inputs (`Dataset.bank`, an angle below 90 degrees) and an
order in which the bank's pixels are read. Quarter turns are exact pixel orders.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from growenv import randomness
from growenv.streams.datasets import Dataset
from growenv.streams.fields import checked_integer, checked_keys

SEEDS = 2**53  # permutation seeds stay below this, so that every JSON reader keeps them exact


@dataclass(frozen=True)
class Transform:
    """A rotation followed by a pixel permutation.

    Attributes:
        rotation: degrees 0..359, counter-clockwise; grey images only.
        permutation: seed (0 <= seed < 2**53) of a fixed permutation of the inputs, or None for none.
    """

    rotation: int = 0
    permutation: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rotation", checked_integer("rotation", self.rotation, 0, 360))
        if self.permutation is not None:
            object.__setattr__(self, "permutation", checked_integer("permutation", self.permutation, 0, SEEDS))

    @property
    def base(self) -> int:
        """Angle of the bank of inputs to read, 0 <= base < 90 degrees."""
        return self.rotation % 90

    def pixel_order(self, dataset: Dataset) -> NDArray[np.int64]:
        """Order p in which the bank's inputs are read: ``network_input[j] = bank(base)[p[j]]``.

        Args:
            dataset: the data set to transform.

        Returns:
            A permutation of 0..D-1, shape (D,); a fresh array.

        Raises:
            ValueError: a rotation of samples that are no grey images, or a quarter turn of images that are not square.
        """
        self.check(dataset)
        order = _pixel_order(self.rotation // 90, self.permutation, dataset.features, dataset.image_shape)
        fresh: NDArray[np.int64] = order.copy()
        return fresh

    def check(self, dataset: Dataset) -> None:
        """Raise where the transform does not fit the data set.

        Raises:
            ValueError: a rotation of samples that are no grey images, or a quarter turn of images that are not square.
        """
        if self.rotation == 0:
            return
        if dataset.image_shape is None:
            raise ValueError(
                f"rotation {self.rotation} needs grey images; dataset {dataset.name!r} has no image_shape (vectors, or "
                "images in colour)"
            )
        height, width = dataset.image_shape
        if self.rotation // 90 % 2 and height != width:
            raise ValueError(
                f"rotation {self.rotation} needs square images, not {height} x {width} (dataset {dataset.name!r})"
            )

    def to_json(self) -> dict[str, Any]:
        """The transform as plain types."""
        return {"rotation": self.rotation, "permutation": self.permutation}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Transform:
        """The transform that `to_json` described.

        Raises:
            ValueError: unknown, missing or wrong fields; the message names the field.
        """
        checked_keys("transform", data, ("rotation", "permutation"))
        return cls(**data)


@functools.lru_cache(maxsize=512)
def _pixel_order(
    quarter_turns: int, permutation: int | None, features: int, image_shape: tuple[int, int] | None
) -> NDArray[np.int64]:
    order = np.arange(features, dtype=np.int64)
    if quarter_turns and image_shape is not None:
        order = np.rot90(order.reshape(image_shape), quarter_turns).reshape(-1)
    if permutation is not None:
        numbers = randomness.uniform(permutation, randomness.Purpose.TRANSFORM, np.arange(features))
        order = order[np.argsort(numbers, kind="stable")]
    return order
