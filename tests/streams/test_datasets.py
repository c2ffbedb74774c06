"""Data sets: from arrays, by name, rotated, and every input that is refused."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from growenv.registry import UnknownNameError
from growenv.streams import DATASETS, Dataset, load_dataset

Maker = Callable[..., Dataset]


def arrays(samples: int = 30, features: int = 4, classes: int = 3) -> tuple[Any, Any]:
    return np.random.default_rng(0).normal(size=(samples, features)), np.arange(samples) % classes


def test_vectors_from_arrays() -> None:
    X, y = arrays()
    dataset = Dataset.from_arrays(3 * X + 5, y, name="mine")
    assert (dataset.name, dataset.features, dataset.classes, dataset.image_shape) == ("mine", 4, 3, None)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (18, 6, 6)
    assert dataset.inputs.dtype == torch.float32
    assert (dataset.shift, dataset.scale) == (0.0, 1.0)
    train = dataset.inputs[dataset.train]
    torch.testing.assert_close(train.mean(dim=0), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(train.std(dim=0, correction=0), torch.ones(4))


def test_statistics_do_not_see_validation_and_test() -> None:
    X, y = arrays()
    plain = Dataset.from_arrays(X, y)
    outside = torch.cat((plain.validation, plain.test)).numpy()
    X[outside] += 1000.0
    moved = Dataset.from_arrays(X, y)
    torch.testing.assert_close(plain.inputs[plain.train], moved.inputs[moved.train], atol=0, rtol=0)


def test_tensors_and_arrays_give_the_same_dataset() -> None:
    X, y = arrays()
    one, other = Dataset.from_arrays(X, y), Dataset.from_arrays(torch.from_numpy(X), torch.from_numpy(y))
    assert one.fingerprint == other.fingerprint
    lists = Dataset.from_arrays(X.tolist(), y.tolist())
    assert lists.fingerprint == one.fingerprint


def test_given_arrays_are_not_shared() -> None:
    X = np.random.default_rng(0).integers(0, 255, (12, 4, 4), dtype=np.uint8)
    dataset = Dataset.from_arrays(X, np.arange(12) % 2)
    before = dataset.inputs.clone()
    X[:] = 0
    assert torch.equal(dataset.inputs, before)


def test_bytes_stay_bytes_and_normalise_to_unit_variance() -> None:
    X = np.random.default_rng(0).integers(0, 256, (30, 5, 5), dtype=np.uint8)
    dataset = Dataset.from_arrays(X, np.arange(30) % 3)
    assert dataset.inputs.dtype == torch.uint8
    assert dataset.image_shape == (5, 5)
    train = (dataset.inputs[dataset.train].float() - dataset.shift) * dataset.scale
    assert float(train.mean()) == pytest.approx(0, abs=1e-6)
    assert float(train.std(correction=0)) == pytest.approx(1, abs=1e-6)


def test_byte_vectors_become_floats() -> None:
    X = np.random.default_rng(0).integers(0, 256, (30, 5), dtype=np.uint8)
    assert Dataset.from_arrays(X, np.arange(30) % 3).inputs.dtype == torch.float32
    assert Dataset.from_arrays(X, np.arange(30) % 3, image_shape=(1, 5)).inputs.dtype == torch.uint8


def test_official_test_part_is_kept() -> None:
    X, y = arrays(36)
    tested = arrays(9)
    dataset = Dataset.from_arrays(X, y, test=tested)
    assert (len(dataset.train), len(dataset.validation)) == (30, 6)
    np.testing.assert_array_equal(dataset.test, np.arange(36, 45))
    np.testing.assert_array_equal(dataset.labels[dataset.test], tested[1])


def test_fingerprint_follows_the_contents() -> None:
    X, y = arrays()
    known = {Dataset.from_arrays(X, y).fingerprint}
    assert len(next(iter(known))) == 64
    assert Dataset.from_arrays(X, y, name="another").fingerprint in known
    other = X.copy()
    other[0, 0] += 1
    for changed in (
        Dataset.from_arrays(other, y),
        Dataset.from_arrays(X, y, seed=1),
        Dataset.from_arrays(X, (y + 1) % 3),
        Dataset.from_arrays(X, y, image_shape=(2, 2)),
    ):
        assert changed.fingerprint not in known
        known.add(changed.fingerprint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": np.full((30, 4), np.nan)}, "NaN or infinity in 30 samples, first in sample 0"),
        ({"X": np.where(np.arange(120).reshape(30, 4) == 41, np.inf, 0.0)}, "in 1 samples, first in sample 10"),
        ({"X": np.full((30, 4), "a")}, "X holds <U1, expected numbers"),
        ({"X": np.zeros((30, 4), dtype=complex)}, "X holds complex128"),
        ({"X": np.zeros(30)}, r"X has shape \(30,\)"),
        ({"X": np.zeros((30, 0))}, r"X has shape \(30, 0\)"),
        ({"X": np.zeros((0, 4))}, r"X has shape \(0, 4\)"),
        ({"X": [[1.0], [1.0, 2.0]]}, "same shape"),
        ({"X": np.zeros((29, 4))}, r"y has shape \(30,\), expected \(29,\)"),
        ({"X": np.geomspace(1, 1e300, 120).reshape(30, 4)}, "deviation overflows; scale"),
        ({"y": np.zeros((30, 1), dtype=int)}, r"y has shape \(30, 1\)"),
        ({"y": np.linspace(0, 2, 30)}, "y holds float64, expected integers"),
        ({"y": np.array(["cat", "dog", "cow"] * 10)}, "expected integers"),
        ({"y": np.arange(30) % 3 - 1}, "label -1 .*expected 0..1"),
        ({"classes": 2}, r"label 2 \(sample 2\), expected 0..1"),
        ({"classes": 4}, "class 3 has 0 samples"),
        ({"classes": 1}, "classes is 1"),
        ({"classes": True}, "classes is True"),
        ({"y": np.zeros(30, dtype=int)}, "classes is 1"),
        ({"y": np.array([0] * 28 + [1] * 2)}, "class 1 has 2 samples, expected at least 3"),
        ({"image_shape": (3, 2)}, r"image_shape \(3, 2\) has 6 pixels, X has 4 features"),
        ({"image_shape": 4}, "image_shape is 4"),
        ({"image_shape": (2, -2)}, "image_shape is"),
        ({"name": ""}, "non-empty name"),
        ({"test": np.zeros((3, 4))}, "pair"),
        ({"test": (np.zeros((3, 5)), np.arange(3))}, "X_test has 5 features .* X has 4"),
        ({"test": (np.zeros((3, 2, 2)), np.arange(3))}, "image shape"),
        ({"test": (np.full((3, 4), np.nan), np.arange(3))}, "X_test holds NaN"),
        ({"test": (np.zeros((3, 4)), np.arange(3) + 1)}, "y_test holds the label 3"),
        ({"test": (np.zeros((3, 4)), np.zeros(3, dtype=int))}, "y_test holds no sample of class 1"),
    ],
)
def test_bad_arrays_are_refused(changes: dict[str, Any], message: str) -> None:
    X, y = arrays()
    options = {"X": X, "y": y, **changes}
    with pytest.raises(ValueError, match=message):
        Dataset.from_arrays(options.pop("X"), options.pop("y"), **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": torch.zeros(50, 16, dtype=torch.float64)}, "inputs are torch.float64"),
        ({"inputs": torch.full((50, 16), torch.nan)}, "not finite"),
        ({"labels": torch.zeros(50)}, "labels are torch.float32"),
        ({"labels": torch.full((50,), 10)}, "labels 10..10"),
        ({"scale": 2.0}, "normalised already"),
        ({"image_shape": (4, 5)}, "does not have 16 pixels"),
        ({"train": torch.zeros(0, dtype=torch.int64)}, "at least one"),
        ({"test": torch.tensor([50])}, r"test must hold indices 0..49"),
        ({"test": torch.tensor([1.0])}, "test is torch.float32"),
        ({"validation": torch.arange(5)}, "validation holds no sample of class 1"),
    ],
)
def test_bad_fields_are_refused(toy: Dataset, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"toy.*{message}"):
        dataclasses.replace(toy, **changes)


def test_overlapping_parts_are_refused(toy: Dataset) -> None:
    cases: list[dict[str, Any]] = [{"test": toy.validation}, {"validation": toy.validation.repeat(2)}]
    for changes in cases:
        with pytest.raises(ValueError, match="an earlier part holds already"):
            dataclasses.replace(toy, **changes)


def test_bank_of_zero_degrees_is_the_inputs(toy: Dataset) -> None:
    assert toy.bank(0) is toy.inputs


def test_bank_is_computed_once(toy: Dataset) -> None:
    assert toy.bank(30) is toy.bank(30)
    assert toy.bank(30).shape == toy.inputs.shape
    assert toy.bank(30).dtype == toy.inputs.dtype


@pytest.mark.parametrize("degrees", [-1, 90, 360, 0.5, True])
def test_bank_of_an_impossible_angle(toy: Dataset, degrees: Any) -> None:
    with pytest.raises(ValueError, match="0..89"):
        toy.bank(degrees)


def test_bank_needs_images(dataset_maker: Maker) -> None:
    vectors = dataset_maker(image_shape=None)
    assert vectors.bank(0) is vectors.inputs
    with pytest.raises(ValueError, match="no image_shape .*cannot be rotated"):
        vectors.bank(30)


def test_rotated_corners_of_normalised_images_are_background() -> None:
    X = np.zeros((12, 5, 5))
    X[:, 2, 2] = np.arange(12)
    dataset = Dataset.from_arrays(X, np.arange(12) % 2)
    empty = float(dataset.inputs[3, 0])
    assert dataset.background == pytest.approx(empty)
    rotated = dataset.bank(45)
    torch.testing.assert_close(rotated[:, 0], torch.full((12,), empty))
    torch.testing.assert_close(rotated[:, 12], dataset.inputs[:, 12])  # the centre stays where it is


def test_digits() -> None:
    digits = load_dataset("digits")
    assert digits.inputs.shape == (1797, 64)
    assert (digits.classes, digits.image_shape, digits.name) == (10, (8, 8), "digits")
    assert len(digits.train) + len(digits.validation) + len(digits.test) == 1797
    assert (len(digits.validation), len(digits.test)) == (359, 359)
    assert float(digits.inputs[digits.train].mean()) == pytest.approx(0, abs=1e-5)
    for part in (digits.train, digits.validation, digits.test):
        shares = torch.bincount(digits.labels[part], minlength=10) / len(part)
        torch.testing.assert_close(shares, torch.bincount(digits.labels) / 1797, atol=0.005, rtol=0)


def test_digits_never_change() -> None:
    """Every published result rests on this split; a new one needs a new name."""
    digits = load_dataset("digits")
    assert digits.train[:6].tolist() == EXPECTED_TRAIN
    assert int(digits.test.sum()) == EXPECTED_TEST_SUM


def test_digits_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        DATASETS.make("digits")


def test_one_resident_copy() -> None:
    assert load_dataset("digits") is load_dataset("digits")


def test_an_object_is_returned_as_it_is(toy: Dataset) -> None:
    assert load_dataset(toy) is toy


def test_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match="unknown dataset 'mnits'; did you mean 'mnist'"):
        load_dataset("mnits")


def test_neither_name_nor_dataset() -> None:
    with pytest.raises(TypeError, match="tuple.*from_arrays"):
        load_dataset((np.zeros(3), np.zeros(3)))  # type: ignore[arg-type]


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize(("name", "mean", "deviation"), [("mnist", 0.1307, 0.3081), ("fashion-mnist", 0.2860, 0.3530)])
def test_official_files(name: str, mean: float, deviation: float) -> None:
    begin = time.perf_counter()
    dataset = load_dataset(name)
    assert time.perf_counter() - begin < 10  # about one second on an idle machine
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (50_000, 10_000, 10_000)
    assert dataset.inputs.dtype == torch.uint8
    assert dataset.inputs.shape == (70_000, 784)
    np.testing.assert_array_equal(dataset.test, np.arange(60_000, 70_000))
    # The figures everybody uses are those of all 60,000 training images.
    assert dataset.shift / 255 == pytest.approx(mean, abs=1e-3)
    assert 1 / dataset.scale / 255 == pytest.approx(deviation, abs=1e-3)
    assert torch.bincount(dataset.labels).tolist() == ([7000] * 10 if name != "mnist" else MNIST_COUNTS)


MNIST_COUNTS = [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]
EXPECTED_TRAIN = [0, 2, 5, 6, 8, 10]
EXPECTED_TEST_SUM = 322805
