"""Splits and normalisation of arrays that a user hands in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from growenv.streams.arrays import byte_statistics, checked_inputs, normalised, stratified_split


@given(st.lists(st.integers(3, 40), min_size=2, max_size=6), st.integers(0, 10))
def test_split_is_a_partition_with_every_class_in_every_part(counts: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    parts = stratified_split(labels, len(counts), (0.2, 0.2), seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    for number, part in enumerate(parts):
        shares = np.bincount(labels[part], minlength=len(counts))
        assert shares.min() >= 1
        wanted = np.array(counts) * (0.6 if number == 0 else 0.2)
        assert np.abs(shares - wanted).max() < 2.0 + 1e-6


def test_parts_have_the_exact_total() -> None:
    counts = [593, 674, 596, 613, 524]  # no multiples of six; 3,000 in all
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(5), counts))
    train, validation = stratified_split(labels, 5, (1 / 6,), seed=0)
    assert (len(train), len(validation)) == (2500, 500)


def test_seed_decides_the_split() -> None:
    labels = np.repeat(np.arange(3), 20)
    first, again, other = (stratified_split(labels, 3, (0.2, 0.2), seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_bytes_keep_their_values_and_get_exact_statistics() -> None:
    images = np.array([[0, 0], [4, 8], [255, 255]], dtype=np.uint8)
    values, shift, scale, background = normalised(images, np.array([0, 1]), image=True)
    assert values.dtype == torch.uint8
    assert shift == 3.0  # mean of 0, 0, 4, 8
    assert scale == pytest.approx(1 / np.sqrt(11))  # variance (9 + 9 + 1 + 25) / 4
    assert background == 0.0


def test_bytes_of_many_images_are_counted_once_each() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2600, 3), dtype=np.uint8)
    train = np.arange(1, 2600)  # more than two chunks, and not from the start
    shift, scale = byte_statistics(pixels, train)
    assert shift == pytest.approx(pixels[1:].mean(), rel=1e-12)
    assert scale == pytest.approx(1 / pixels[1:].std(), rel=1e-12)
    assert byte_statistics(np.full((4, 2), 7, dtype=np.uint8), np.arange(4)) == (7.0, 1.0)


def test_images_share_one_mean_and_deviation() -> None:
    images = np.array([[0.0, 2.0], [4.0, 6.0], [100.0, 0.0]])
    values, shift, scale, background = normalised(images, np.array([0, 1]), image=True)
    deviation = np.sqrt(5.0)  # of 0, 2, 4, 6 about their mean 3
    np.testing.assert_allclose(values.numpy(), (images - 3) / deviation, rtol=1e-6)
    assert (shift, scale) == (0.0, 1.0)
    assert background == pytest.approx(-3 / deviation)


def test_vectors_are_standardised_by_feature_of_the_train_part() -> None:
    vectors = np.array([[0.0, 10.0, 0.1], [2.0, 30.0, 0.1], [5.0, 20.0, 0.3]])
    values, _, _, background = normalised(vectors, np.array([0, 1]), image=False)
    np.testing.assert_allclose(values.numpy()[:, :2], [[-1, -1], [1, 1], [4, 0]], rtol=1e-6)
    assert background == 0.0


def test_constant_feature_becomes_zero_whatever_its_rounding() -> None:
    vectors = np.full((7, 2), 0.1)
    vectors[:, 0] = np.arange(7)
    values, *_ = normalised(vectors, np.arange(7), image=False)
    assert float(values[:, 1].abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((6, 5), None),
        ((6, 4, 3), (4, 3)),
        ((6, 1, 4, 3), (4, 3)),
        ((6, 4, 3, 1), (4, 3)),
        ((6, 3, 4, 4), None),
        ((6, 2, 2, 2, 2), None),
    ],
)
def test_shape_of_images(shape: tuple[int, ...], expected: tuple[int, int] | None) -> None:
    flat, found = checked_inputs(np.zeros(shape))
    assert flat.shape == (6, int(np.prod(shape[1:])))
    assert found == expected
