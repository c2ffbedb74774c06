"""Transforms: exact quarter turns, composition, permutations and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from growenv.streams import Dataset, Transform

Maker = Callable[..., Dataset]

transforms = st.builds(Transform, rotation=st.integers(0, 359), permutation=st.none() | st.integers(0, 2**53 - 1))


def network_input(transform: Transform, dataset: Dataset) -> np.ndarray[Any, Any]:
    return dataset.bank(transform.base).numpy()[:, transform.pixel_order(dataset)]


def test_identity_reads_pixels_in_order(toy: Dataset) -> None:
    assert Transform() == Transform(rotation=0, permutation=None)
    np.testing.assert_array_equal(Transform().pixel_order(toy), np.arange(16))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotation_by_90_is_exactly_rot90(toy: Dataset, turns: int) -> None:
    images = toy.inputs.numpy().reshape(-1, 4, 4)
    expected = np.rot90(images, turns, axes=(1, 2)).reshape(len(images), -1)
    np.testing.assert_array_equal(network_input(Transform(rotation=90 * turns), toy), expected)


@pytest.mark.parametrize("rotation", [120, 210, 300, 105])
def test_rotation_is_its_base_and_then_quarter_turns(toy: Dataset, rotation: int) -> None:
    base = toy.bank(rotation % 90).numpy().reshape(-1, 4, 4)
    expected = np.rot90(base, rotation // 90, axes=(1, 2)).reshape(len(base), -1)
    np.testing.assert_array_equal(network_input(Transform(rotation=rotation), toy), expected)


def test_permutation_comes_last(toy: Dataset) -> None:
    rotated = network_input(Transform(rotation=120), toy)
    order = Transform(permutation=7).pixel_order(toy)
    np.testing.assert_array_equal(network_input(Transform(120, 7), toy), rotated[:, order])


@given(transforms)
def test_pixel_order_is_a_bijection(toy: Dataset, transform: Transform) -> None:
    order = transform.pixel_order(toy)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(16))


def test_permutation_seeds_give_different_orders_that_never_change(toy: Dataset) -> None:
    orders = {tuple(Transform(permutation=seed).pixel_order(toy)) for seed in range(200)}
    assert len(orders) == 200
    assert Transform(permutation=0).pixel_order(toy).tolist() == EXPECTED_ORDER


def test_permutations_are_uniform(toy: Dataset) -> None:
    """Where a pixel goes: 16 places, 100 expected each; the chi-square of 15 degrees stays below 37.7 (0.1 %)."""
    places = np.array([int(np.argmin(Transform(permutation=seed).pixel_order(toy))) for seed in range(1600)])
    assert ((np.bincount(places, minlength=16) - 100) ** 2 / 100).sum() < 37.7


def test_callers_cannot_spoil_the_cached_order(toy: Dataset) -> None:
    Transform(permutation=3).pixel_order(toy)[:] = 0
    assert len(set(Transform(permutation=3).pixel_order(toy))) == 16


def test_vectors_can_be_permuted_but_not_rotated(dataset_maker: Maker) -> None:
    vectors = dataset_maker(image_shape=None)
    assert len(set(Transform(permutation=1).pixel_order(vectors))) == 16
    with pytest.raises(ValueError, match="rotation 30 needs grey images"):
        Transform(rotation=30).pixel_order(vectors)


def test_oblong_images_turn_by_half_but_not_by_a_quarter(dataset_maker: Maker) -> None:
    oblong = dataset_maker(image_shape=(2, 8))
    images = oblong.inputs.numpy()
    np.testing.assert_array_equal(network_input(Transform(rotation=180), oblong), images[:, ::-1])
    for rotation in (90, 120, 270):
        with pytest.raises(ValueError, match="square images, not 2 x 8"):
            Transform(rotation=rotation).pixel_order(oblong)


@given(transforms)
def test_json_both_ways(transform: Transform) -> None:
    assert Transform.from_json(json.loads(json.dumps(transform.to_json()))) == transform


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"rotation": 360, "permutation": None}, "rotation is 360, expected 0 <= rotation < 360"),
        ({"rotation": -30, "permutation": None}, "rotation is -30"),
        ({"rotation": 30.0, "permutation": None}, "rotation is 30.0, expected an integer"),
        ({"rotation": True, "permutation": None}, "rotation is True"),
        ({"rotation": None, "permutation": None}, "rotation is None"),
        ({"rotation": 0, "permutation": 2**53}, "permutation is"),
        ({"rotation": 0, "permutation": "1"}, "permutation is '1'"),
        ({"rotation": 0}, "missing: permutation"),
        ({"rotation": 0, "permutation": None, "flip": True}, "unknown: flip"),
        ([0, None], "JSON object"),
        (None, "JSON object"),
    ],
)
def test_bad_json_names_the_field(data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Transform.from_json(data)


def test_numpy_integers_become_plain() -> None:
    transform = Transform(rotation=np.int64(30), permutation=np.int32(4))  # type: ignore[arg-type]
    assert type(transform.rotation) is int
    assert json.dumps(transform.to_json()) == '{"rotation": 30, "permutation": 4}'


EXPECTED_ORDER = [15, 3, 14, 4, 1, 10, 8, 0, 11, 13, 2, 7, 6, 5, 9, 12]
