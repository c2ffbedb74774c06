"""Noise behind images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from growenv.streams import DATASETS, Dataset
from growenv.streams.backgrounds import before_noise


def images(values: np.ndarray) -> Dataset:
    """Twenty images of two classes."""
    return Dataset.from_arrays(values, np.arange(len(values)) % 2, name="small", classes=2)


def test_a_pixel_is_the_greater_of_image_and_noise() -> None:
    dark, bright = (np.full((20, 3, 3), value, dtype=np.uint8) for value in (0, 200))
    noise = before_noise(images(dark)).inputs.numpy()
    assert (before_noise(images(bright)).inputs.numpy() == np.maximum(noise, 200)).all()
    assert len(np.unique(noise)) > 60, "180 pixels of noise hold many different bytes"


def test_noise_is_uniform_and_depends_on_seed_image_and_pixel_alone() -> None:
    many = images(np.zeros((400, 8, 8), dtype=np.uint8))
    noise = before_noise(many).inputs.numpy().astype(np.float64)
    assert abs(noise.mean() - 127.5) < 2.0 and abs(noise.std() - 73.9) < 2.0
    assert noise.min() == 0 and noise.max() == 255
    few = before_noise(images(np.zeros((20, 8, 8), dtype=np.uint8))).inputs.numpy()
    assert (few == noise[:20]).all(), "more images leave the first ones as they were"
    assert (before_noise(many, seed=1).inputs.numpy() != noise).mean() > 0.98


def test_labels_and_parts_stay_and_pixels_are_normalised_anew() -> None:
    plain = images(np.zeros((20, 3, 3), dtype=np.uint8))
    noisy = before_noise(plain)
    assert noisy.name == "small-noisy" and before_noise(plain, seed=3).name == "small-noisy-3"
    assert torch.equal(noisy.labels, plain.labels) and torch.equal(noisy.test, plain.test)
    train = (noisy.inputs[noisy.train].double() - noisy.shift) * noisy.scale
    assert abs(float(train.mean())) < 1e-9 and abs(float(train.std(correction=0)) - 1.0) < 1e-9
    assert int(plain.inputs.max()) == 0, "the data set that was given is not changed"


def test_mnist_before_noise_is_known_by_name() -> None:
    assert "mnist-noisy" in DATASETS.names()


def test_what_cannot_have_a_background_is_refused() -> None:
    vectors = Dataset.from_arrays(np.random.default_rng(0).random((20, 3)), np.arange(20) % 2, classes=2)
    with pytest.raises(ValueError, match="'custom' holds no grey 8-bit images"):
        before_noise(vectors)
    for seed in (-1, 0.5, True):
        with pytest.raises(ValueError, match="expected an integer of at least 0"):
            before_noise(images(np.zeros((20, 3, 3), dtype=np.uint8)), seed=seed)  # type: ignore[arg-type]
