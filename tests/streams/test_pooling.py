"""Images averaged down: by hand, as the pooled arrays would have been, and in environments."""

from __future__ import annotations

import dataclasses
import gc
import json
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agents.evaluation import evaluation_contexts
from growenv import GrowthConfig, GrowthEnv, GrowthVectorEnv
from growenv.registry import UnknownNameError
from growenv.streams import Context, Dataset, load_dataset, pooled, pooling
from growenv.testing import check_dataset, check_env
from tests.rollouts import SMALL

LABELS = np.arange(20) % 2


def images(height: int = 4, width: int = 4, dtype: Any = np.float64, seed: int = 0) -> NDArray[Any]:
    """Twenty images, no two alike."""
    drawn = np.random.default_rng(seed).integers(0, 256, (20, height, width))
    return (drawn if dtype == np.uint8 else drawn / 16).astype(dtype)


def with_first(first: list[list[int]], dtype: Any) -> Dataset:
    """A data set of 4 x 4 images whose first one is given."""
    given = images(dtype=dtype)
    given[0] = first
    return Dataset.from_arrays(given, LABELS, name="toy")


FIRST = [[1, 3, 0, 0], [5, 7, 0, 200], [10, 20, 250, 251], [30, 41, 252, 255]]


def test_bytes_by_hand() -> None:
    # (1 + 3 + 5 + 7) / 4 = 4, 200 / 4 = 50, 101 / 4 = 25.25, 1008 / 4 = 252
    small = pooled(with_first(FIRST, np.uint8), 2)
    assert small.inputs.dtype == torch.uint8
    assert small.inputs[0].tolist() == [4, 50, 25, 252]
    assert (small.name, small.image_shape, small.features) == ("toy-2x2", (2, 2), 4)


def test_bytes_are_rounded_to_the_nearest_and_halves_to_the_even_one() -> None:
    # sums of 2, 6, 3 and 1: 0.5, 1.5, 0.75 and 0.25
    small = pooled(with_first([[2, 0, 6, 0], [0, 0, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0]], np.uint8), 2)
    assert small.inputs[0].tolist() == [0, 2, 1, 0]


def test_floats_by_hand() -> None:
    # The same means, but for the unit: standardised pixels less an empty one are multiples of the pixels.
    small = pooled(with_first(FIRST, np.float64), 2)
    assert small.inputs.dtype == torch.float32
    pixels = small.inputs[0] - small.background
    torch.testing.assert_close(pixels / pixels[0], torch.tensor([4.0, 50.0, 25.25, 252.0]) / 4)


def test_a_side_that_does_not_divide_averages_overlapping_blocks_by_hand() -> None:
    # From 3 to 2: rows 0..1 and 1..2, columns likewise.
    given = np.zeros((20, 3, 3), dtype=np.uint8)
    given[0] = [[4, 8, 0], [0, 40, 80], [4, 0, 8]]
    given[1:] = np.random.default_rng(0).integers(0, 256, (19, 3, 3))
    small = pooled(Dataset.from_arrays(given, LABELS), 2)
    assert small.inputs[0].tolist() == [13, 32, 11, 32]


def test_images_that_are_not_square_become_square() -> None:
    # 2 x 4 pixels to 2 x 2: blocks of one row and two columns.
    given = images(2, 4, np.uint8)
    given[0] = [[1, 3, 10, 20], [0, 2, 100, 200]]
    full = Dataset.from_arrays(given, LABELS, name="wide")
    small = pooled(full, 2)
    assert small.inputs[0].tolist() == [2, 15, 1, 150]
    assert (small.name, small.image_shape) == ("wide-2x2", (2, 2))


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
@given(st.integers(0, 2**16), st.sampled_from([(4, 4, 2), (6, 6, 3), (8, 8, 2), (4, 8, 4), (6, 4, 2), (5, 5, 1)]))
def test_it_is_the_data_set_that_the_pooled_arrays_would_have_made(
    dtype: Any, seed: int, shape: tuple[int, int, int]
) -> None:
    height, width, side = shape
    given = images(height, width, dtype, seed)
    blocks = given.reshape(20, side, height // side, side, width // side).mean(axis=(2, 4))
    blocks = np.rint(blocks).astype(np.uint8) if dtype == np.uint8 else blocks
    expected = Dataset.from_arrays(blocks, LABELS, name=f"toy-{side}x{side}")
    small = pooled(Dataset.from_arrays(given, LABELS, name="toy"), side)
    for part in ("train", "validation", "test", "labels"):
        assert torch.equal(getattr(small, part), getattr(expected, part)), part
    torch.testing.assert_close(small.inputs, expected.inputs, atol=1e-4, rtol=1e-4)
    for number in ("shift", "scale", "background"):
        assert getattr(small, number) == pytest.approx(getattr(expected, number), abs=1e-4, rel=1e-4), number
    assert (small.name, small.image_shape, small.classes) == (expected.name, expected.image_shape, 2)


def test_bytes_keep_the_value_of_an_empty_pixel() -> None:
    full = dataclasses.replace(with_first(FIRST, np.uint8), background=255.0)
    assert pooled(full, 2).background == 255.0


def test_statistics_are_those_of_the_inner_train_part() -> None:
    digits = pooled("digits", 4)
    train = digits.inputs[digits.train]
    assert float(train.mean()) == pytest.approx(0, abs=1e-5)
    assert float(train.std()) == pytest.approx(1, abs=1e-3)
    check_dataset(digits)


def test_images_in_several_chunks_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = pooled(Dataset.from_arrays(images(), LABELS), 2).inputs
    monkeypatch.setattr(pooling, "_CHUNK", 7)
    assert torch.equal(pooled(Dataset.from_arrays(images(), LABELS), 2).inputs, expected)


# --- one copy ---------------------------------------------------------------------------------------------------------


def test_one_resident_copy_for_each_side() -> None:
    assert pooled("digits", 4) is pooled("digits", 4)
    assert pooled(load_dataset("digits"), 4) is pooled("digits", 4)
    assert pooled("digits", 2) is not pooled("digits", 4)
    first, second = GrowthEnv(input_pool=4), GrowthVectorEnv(2, input_pool=4)
    assert first.rows.dataset is second.dataset is pooled("digits", 4)


def test_no_side_or_that_of_the_images_is_the_data_set_itself() -> None:
    assert pooled("digits", None) is pooled("digits", 8) is load_dataset("digits")


def test_data_sets_that_look_alike_are_not_confused() -> None:
    one, two = (Dataset.from_arrays(images(seed=seed), LABELS, name="toy") for seed in (1, 2))
    assert not torch.equal(pooled(one, 2).inputs, pooled(two, 2).inputs)


def test_a_data_set_that_is_gone_takes_its_pooled_copy_along() -> None:
    full = Dataset.from_arrays(images(), LABELS)
    small = weakref.ref(pooled(full, 2))
    assert small() is not None
    del full
    gc.collect()
    assert small() is None


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [0, -1, 2.0, "2", True])
def test_a_side_that_is_no_positive_integer(side: Any) -> None:
    with pytest.raises(ValueError, match="dataset 'digits' cannot be pooled to side .*expected an integer >= 1"):
        pooled("digits", side)


def test_vectors_cannot_be_pooled(dataset_maker: Callable[..., Dataset]) -> None:
    with pytest.raises(ValueError, match="'toy' has no image_shape .*cannot be pooled to 2 x 2; .*give image_shape"):
        pooled(dataset_maker(image_shape=None), 2)


def test_a_side_above_that_of_the_images() -> None:
    with pytest.raises(ValueError, match="'digits' has images of 8 x 8 pixels.*expected a side of at most 8"):
        GrowthEnv(input_pool=9)
    wide = Dataset.from_arrays(images(2, 4), LABELS)
    with pytest.raises(ValueError, match="images of 2 x 4 pixels.*at most 2"):
        pooled(wide, 3)


def test_an_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
        pooled("digit", 4)


# --- rotations, contexts, environments --------------------------------------------------------------------------------


def test_pooled_images_rotate_and_fill_with_their_background() -> None:
    given = np.zeros((20, 8, 8))
    given[:, 3:5, 3:5] = 1 + np.arange(20)[:, None, None]
    full = Dataset.from_arrays(given, LABELS)
    small = pooled(full, 4)
    assert small.background == pytest.approx(float(small.inputs[0, 0]))
    rotated = small.bank(45)
    assert rotated.shape == (20, 16)
    torch.testing.assert_close(rotated[:, 0], torch.full((20,), small.background))


def test_contexts_carry_the_name_and_replay() -> None:
    config = GrowthConfig(input_pool=4, **SMALL)
    context = evaluation_contexts(config, "val", 1)[0]
    assert context.dataset == "digits-4x4"
    plain = json.loads(json.dumps(context.to_json()))
    returns = []
    for played in (context, Context.from_json(plain)):
        env = GrowthEnv(config)
        env.reset(options={"context": played})
        assert env.rows.learner.network.inputs == 16
        returns.append([env.step(action)[1] for action in (1, 3, 0, 2)])
    assert returns[0] == returns[1]
    with pytest.raises(ValueError, match="is for dataset 'digits-4x4', got dataset 'digits'"):
        GrowthEnv(**SMALL).reset(options={"context": plain})


@pytest.mark.parametrize("streams", ["mixed", "rotated"])
def test_a_pooled_environment_keeps_every_promise(streams: str) -> None:
    check_env(input_pool=4, streams=streams, **{**SMALL, "tasks": 3})


@pytest.mark.usefixtures("real_data")
def test_mnist_pools_to_means_of_two_by_two() -> None:
    full, small = load_dataset("mnist"), pooled("mnist", 14)
    assert (small.name, small.features, small.inputs.dtype) == ("mnist-14x14", 196, torch.uint8)
    some = full.inputs[::7001].numpy().reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))
    assert np.array_equal(small.inputs[::7001].numpy(), np.rint(some).reshape(len(some), -1))
    train = small.inputs[small.train].numpy()
    assert small.shift == pytest.approx(train.mean())
    assert 1 / small.scale == pytest.approx(train.std())
