"""Data sets: resident tensors with labels, split into inner train, validation and test parts."""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from growenv.registry import Registry
from growenv.streams import cifar, files
from growenv.streams.arrays import byte_statistics, checked_inputs, checked_labels, normalised, stratified_split
from growenv.streams.rotation import rotate

_VALIDATION, _TEST = 0.2, 0.2
_VALIDATION_BESIDE_TEST = 1 / 6  # as is the custom for MNIST: 50,000 train and 10,000 validation images


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples with labels, split once and for all.

    A network's input is ``(inputs.float() - shift) * scale``. Inputs in float32 are normalised already: their shift is
    0 and their scale is 1. Build one from your own arrays with `from_arrays`.

    Attributes:
        name: part of every context, so it should be unique.
        inputs: shape (n, D), float32, or uint8 for 8-bit images.
        labels: shape (n,), int64 in 0..classes-1.
        classes: number of classes.
        image_shape: height and width where rows are grey images, else None: vectors, and images in colour.
        train: indices of the inner train part, int64.
        validation: indices of the inner validation part; growth decisions and rewards read it.
        test: indices of the inner test part; an agent never sees it.
        shift: subtracted from the inputs.
        scale: multiplies the shifted inputs.
        background: value of an empty pixel in `inputs`; rotations fill with it.
    """

    name: str
    inputs: Tensor
    labels: Tensor
    classes: int
    image_shape: tuple[int, int] | None
    train: Tensor
    validation: Tensor
    test: Tensor
    shift: float = 0.0
    scale: float = 1.0
    background: float = 0.0
    _banks: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        _check(self)

    @property
    def features(self) -> int:
        """Number of inputs D of a network."""
        return int(self.inputs.shape[1])

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that training can see, as hexadecimal digits."""
        frame = (self.classes, self.image_shape, self.shift, self.scale, self.background, str(self.inputs.dtype))
        digest = hashlib.sha256(repr(frame).encode())
        for tensor in (self.inputs, self.labels, self.train, self.validation, self.test):
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
        return digest.hexdigest()

    def bank(self, degrees: int) -> Tensor:
        """All inputs rotated counter-clockwise, computed once and kept.

        Args:
            degrees: 0 <= degrees < 90; quarter turns need no new data, see `growenv.streams.transforms`.

        Returns:
            Shape (n, D), type of `inputs`; bilinear interpolation, background fill. 0 returns `inputs` itself.

        Raises:
            ValueError: the angle is out of range, or the samples are no grey images.
        """
        if isinstance(degrees, bool) or degrees != int(degrees) or not 0 <= degrees < 90:
            raise ValueError(f"no bank of inputs rotated by {degrees!r}, expected whole degrees 0..89")
        if degrees == 0:
            return self.inputs
        if self.image_shape is None:
            raise ValueError(
                f"dataset {self.name!r} has no image_shape (vectors, or images in colour), so it cannot be rotated; "
                "use grey images and give image_shape"
            )
        if degrees not in self._banks:
            self._banks[degrees] = rotate(self.inputs, self.image_shape, degrees, self.background)
        return self._banks[degrees]

    @classmethod
    def from_arrays(
        cls,
        X: Any,
        y: Any,
        *,
        name: str = "custom",
        image_shape: tuple[int, int] | None = None,
        test: tuple[Any, Any] | None = None,
        classes: int | None = None,
        seed: int = 0,
    ) -> Dataset:
        """A data set from arrays, split by class and standardised with the statistics of its inner train part.

        Without `test`, 60 % of every class go to train, 20 % to validation and 20 % to test. With it, the test part is
        what is given, and of the rest a sixth goes to validation. 8-bit images stay bytes (see `shift` and `scale`);
        other images are standardised with one mean and deviation, vectors feature by feature.

        Args:
            X: inputs, numpy or torch, shape (n, D); images as (n, H, W), (n, 1, H, W) or (n, H, W, 1); any other
                (n, ...) is flattened.
            y: integer labels, shape (n,), in 0..classes-1.
            name: the data set's name.
            image_shape: height and width where X has shape (n, height * width).
            test: further inputs and labels (X_test, y_test), the official test part.
            classes: number of classes; the largest label plus one where None.
            seed: decides which samples go to which part.

        Raises:
            ValueError: NaN or infinity, wrong shapes, labels that are no integers in 0..classes-1, or a class with too
                few samples to be in every part.
        """
        inputs, shape = checked_inputs(X, image_shape)
        labels, classes = checked_labels(y, len(inputs), classes)
        if test is None:
            train, validation, tested = stratified_split(labels, classes, (_VALIDATION, _TEST), seed)
        else:
            train, validation = stratified_split(labels, classes, (_VALIDATION_BESIDE_TEST,), seed)
            more, more_labels = _checked_test(test, inputs, shape, classes)
            tested = np.arange(len(inputs), len(inputs) + len(more))
            inputs, labels = np.concatenate([inputs, more]), np.concatenate([labels, more_labels])
        values, shift, scale, background = normalised(inputs, train, shape is not None)
        return cls(
            name,
            values,
            torch.from_numpy(labels),
            classes,
            shape,
            train=torch.from_numpy(train),
            validation=torch.from_numpy(validation),
            test=torch.from_numpy(tested),
            shift=shift,
            scale=scale,
            background=background,
        )


def load_dataset(dataset: str | Dataset) -> Dataset:
    """The data set called `dataset`; all environments of a process share one resident copy.

    Args:
        dataset: a registered name, or a `Dataset`, which is returned as it is.

    Raises:
        UnknownNameError: no such name.
        TypeError: neither a name nor a `Dataset`.
        FileNotFoundError, ValueError: its files are missing or damaged.
    """
    if isinstance(dataset, str):
        return _load(dataset)
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"dataset is a {type(dataset).__name__}, expected a name ({', '.join(DATASETS.names())}) or a Dataset; "
            "Dataset.from_arrays(X, y) makes one from arrays"
        )
    return dataset


@functools.cache
def _load(name: str) -> Dataset:
    return DATASETS.make(name)


def _digits() -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels (UCI, from scikit-learn), fixed 60/20/20 split."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("dataset 'digits' comes with scikit-learn; pip install scikit-learn") from error
    digits = load_digits()
    return Dataset.from_arrays(digits.images, digits.target, name="digits", classes=10)


def _from_files(name: str, folder: str) -> Dataset:
    """60,000 official train images (50,000 train, 10,000 validation) and 10,000 test images of 28 x 28 pixels."""
    images = files.read_labelled_images(folder)
    test = (images.test_images, images.test_labels)
    return Dataset.from_arrays(images.train_images, images.train_labels, name=name, test=test, classes=10)


def _cifar10() -> Dataset:
    """50,000 official train images (41,667 train, 8,333 validation) and 10,000 test images of 3 x 32 x 32 values.

    Images are in colour, so they have no image_shape: the inputs are a plane of red, of green and of blue values, which
    permutations mix and which rotations and pooling refuse. One shift and one scale serve all three: their means lie
    within a fifth of a deviation of each other, which the first weights and biases of a network absorb.
    """
    pixels, labels = cifar.read_cifar10()
    beside = len(labels) // 6 * 5  # one file of six is the official test part
    targets = labels.astype(np.int64)
    train, validation = stratified_split(targets[:beside], cifar.CLASSES, (_VALIDATION_BESIDE_TEST,), seed=0)
    shift, scale = byte_statistics(pixels, train)
    # Not `from_arrays`, which takes bytes without an image_shape for vectors and makes floats of them.
    return Dataset(
        "cifar-10",
        torch.from_numpy(pixels),
        torch.from_numpy(targets),
        cifar.CLASSES,
        None,
        train=torch.from_numpy(train),
        validation=torch.from_numpy(validation),
        test=torch.arange(beside, len(labels)),
        shift=shift,
        scale=scale,
    )


DATASETS: Registry[Dataset] = Registry("dataset")
DATASETS.register("digits", _digits)
DATASETS.register("mnist", functools.partial(_from_files, "mnist", "MNIST"))
DATASETS.register("fashion-mnist", functools.partial(_from_files, "fashion-mnist", "FashionMNIST"))
DATASETS.register("cifar-10", _cifar10)


def _checked_test(test: Any, inputs: Any, shape: tuple[int, int] | None, classes: int) -> tuple[Any, Any]:
    if not isinstance(test, (tuple, list)) or len(test) != 2:
        raise ValueError(f"test is a {type(test).__name__}, expected a pair (X_test, y_test)")
    more, more_shape = checked_inputs(test[0], shape, "X_test")
    if more.shape[1] != inputs.shape[1] or more_shape != shape or more.dtype != inputs.dtype:
        raise ValueError(
            f"X_test has {more.shape[1]} features of type {more.dtype} (image shape {more_shape}), "
            f"X has {inputs.shape[1]} of type {inputs.dtype} (image shape {shape}); they must agree"
        )
    labels, _ = checked_labels(test[1], len(more), classes, "y_test")
    absent = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
    if len(absent):
        raise ValueError(f"y_test holds no sample of class {absent[0]}, expected every class 0..{classes - 1}")
    return more, labels


def _check(dataset: Dataset) -> None:
    inputs, labels, where = dataset.inputs, dataset.labels, f"dataset {dataset.name!r}"
    if not isinstance(dataset.name, str) or not dataset.name:
        raise ValueError(f"a dataset needs a non-empty name, got {dataset.name!r}")
    if inputs.dtype not in (torch.float32, torch.uint8) or inputs.ndim != 2 or inputs.numel() == 0:
        raise ValueError(f"{where}: inputs are {_described(inputs)}, expected float32 or uint8 (n, D)")
    if labels.dtype != torch.int64 or labels.shape != inputs.shape[:1]:
        raise ValueError(f"{where}: labels are {_described(labels)}, expected torch.int64 ({len(inputs)},)")
    low, high = int(labels.min()), int(labels.max())
    if dataset.classes < 2 or low < 0 or high >= dataset.classes:
        raise ValueError(
            f"{where}: labels {low}..{high}, {dataset.classes} classes; expected labels 0..classes-1, 2 or more"
        )
    if inputs.dtype == torch.float32 and (dataset.shift, dataset.scale) != (0.0, 1.0):
        raise ValueError(f"{where}: float32 inputs must be normalised already, with shift 0 and scale 1")
    if inputs.dtype == torch.float32 and not bool(torch.isfinite(inputs).all()):
        raise ValueError(f"{where}: inputs are not finite once normalised; give numbers of moderate size")
    if dataset.image_shape is not None and math.prod(dataset.image_shape) != inputs.shape[1]:
        raise ValueError(f"{where}: image_shape {dataset.image_shape} does not have {inputs.shape[1]} pixels")
    _check_parts(dataset, where)


def _check_parts(dataset: Dataset, where: str) -> None:
    uses = torch.zeros(len(dataset.inputs), dtype=torch.int64)
    for part in ("train", "validation", "test"):
        index: Tensor = getattr(dataset, part)
        if index.dtype != torch.int64 or index.ndim != 1:
            raise ValueError(f"{where}: {part} is {_described(index)}, expected torch.int64 (k,)")
        if len(index) == 0 or int(index.min()) < 0 or int(index.max()) >= len(uses):
            raise ValueError(f"{where}: {part} must hold indices 0..{len(uses) - 1}, at least one")
        absent = (torch.bincount(dataset.labels[index], minlength=dataset.classes) == 0).nonzero()
        if len(absent):
            raise ValueError(f"{where}: {part} holds no sample of class {int(absent[0])}")
        uses += torch.bincount(index, minlength=len(uses))
        if int(uses.max()) > 1:
            raise ValueError(
                f"{where}: {part} holds sample {int(uses.argmax())}, which it or an earlier part holds already"
            )


def _described(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"
