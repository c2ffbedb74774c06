"""Digits before noise: a data set of images whose empty pixels are random."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from growenv import randomness
from growenv.streams.arrays import normalised
from growenv.streams.datasets import DATASETS, Dataset, load_dataset

_BACKGROUND = 102  # purpose of the random numbers; those of `randomness.Purpose` are below 100
_CHUNK = 4096  # images at a time, so that the wide random numbers stay small


def before_noise(dataset: str | Dataset, seed: int = 0) -> Dataset:
    """The data set with uniform noise behind every image.

    A pixel becomes the greater of itself and a random byte 0..255 that depends on the seed, the image and the pixel
    alone. Labels and parts stay; shift and scale follow from the new inner train part. It is called
    ``<name>-noisy``, with ``-<seed>`` behind it where the seed is not 0.

    Args:
        dataset: a registered name, or a `Dataset` of grey 8-bit images.
        seed: decides the noise, at least 0.

    Raises:
        ValueError: no grey 8-bit images, or a negative seed.

    Source: MNIST with random backgrounds, Larochelle et al. 2007, "An empirical evaluation of deep architectures on
    problems with many factors of variation"; their own files are not used.
    """
    plain = load_dataset(dataset)
    if plain.inputs.dtype != torch.uint8 or plain.image_shape is None:
        raise ValueError(f"dataset {plain.name!r} holds no grey 8-bit images, so no noise can stand behind them")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"the seed of a background is {seed!r}, expected an integer of at least 0")
    images = plain.inputs.numpy().copy()
    words = -(-images.shape[1] // 8)
    for start in range(0, len(images), _CHUNK):
        part = images[start : start + _CHUNK]
        number = np.arange(start, start + len(part))[:, None]
        # Eight pixels from one random word; little-endian on every machine.
        drawn = randomness.bits(seed, _BACKGROUND, number, np.arange(words)[None, :]).astype("<u8")
        np.maximum(part, drawn.view(np.uint8).reshape(len(part), -1)[:, : part.shape[1]], out=part)
    values, shift, scale, background = normalised(images, plain.train.numpy(), image=True)
    name = f"{plain.name}-noisy" + (f"-{seed}" if seed else "")
    return replace(plain, name=name, inputs=values, shift=shift, scale=scale, background=background)


def _noisy_mnist() -> Dataset:
    return before_noise("mnist")


DATASETS.register("mnist-noisy", _noisy_mnist)
