"""The checks of data sets and stream distributions pass what is right and name what is wrong."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from growenv.registry import Registry
from growenv.streams import DATASETS, DISTRIBUTIONS, Dataset, Task, Transform, load_dataset
from growenv.testing import check_dataset, check_distribution
from growenv.testing import streams as checks


def vectors(name: str = "mine", seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    labels = np.arange(120) % 4
    return Dataset.from_arrays(rng.normal(labels[:, None], 0.5, (120, 6)), labels, name=name)


@dataclass(frozen=True)
class Drawn:
    """A distribution whose `draw` is given."""

    stream: object
    name: str = "mine"

    def draw(self, rng, dataset, tasks, ood):
        return self.stream(rng, dataset, tasks, ood)


def permuted(rng, dataset, tasks, ood):
    classes = tuple(range(dataset.classes))
    return tuple(Task(Transform(permutation=int(rng.integers(2**40))), classes) for _ in range(tasks))


@pytest.fixture
def datasets(monkeypatch):
    registry: Registry[Dataset] = Registry("dataset")
    monkeypatch.setattr(checks, "DATASETS", registry)
    return registry


def test_our_own_data_sets_and_distributions_pass():
    check_dataset("digits")
    for name in DISTRIBUTIONS.names():
        check_distribution(name)


def test_a_data_set_and_a_distribution_of_ones_own_pass():
    data = vectors()
    check_dataset(data)
    check_distribution(Drawn(permuted), data, tasks=2)
    check_distribution("mixed", data, tasks=3)


def test_a_data_set_under_a_foreign_name(datasets):
    datasets.register("yours", lambda: vectors("mine"))
    with pytest.raises(AssertionError, match="registered as 'yours' calls itself 'mine'"):
        check_dataset("yours")


def test_a_data_set_that_changes_between_loads(datasets):
    seeds = iter(range(9))
    datasets.register("mine", lambda: vectors(seed=next(seeds)))
    with pytest.raises(AssertionError, match="changes between loads"):
        check_dataset("mine")


def test_a_factory_that_returns_something_else(datasets):
    datasets.register("mine", lambda: [1, 2])
    with pytest.raises(AssertionError, match="returned a list"):
        check_dataset("mine")


def test_a_factory_that_seeds_torch(datasets):
    datasets.register("mine", lambda: (torch.rand(1), vectors())[1])
    with pytest.raises(AssertionError, match="global generator of torch"):
        check_dataset("mine")


def test_inputs_that_are_not_normalised():
    data = vectors()
    with pytest.raises(AssertionError, match="normalise them"):
        check_dataset(dataclasses.replace(data, inputs=data.inputs + 50.0))


def test_rotations_are_checked_where_there_are_images(monkeypatch):
    monkeypatch.setattr(Dataset, "bank", lambda self, degrees: self.inputs[:, :3])
    with pytest.raises(AssertionError, match=r"bank\(30\) is torch.float32"):
        check_dataset("digits")
    assert load_dataset("digits").image_shape == (8, 8)
    assert "digits" in DATASETS.names()


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (lambda rng, data, tasks, ood: list(permuted(rng, data, tasks, ood)), "must draw a tuple of Task, got a list"),
        (lambda rng, data, tasks, ood: permuted(rng, data, 2, ood), "asked for 1 tasks and drew 2"),
        (lambda rng, data, tasks, ood: (Task(Transform(), (2, 9)),) * tasks, "drew a task that does not fit"),
        (lambda rng, data, tasks, ood: (Task(Transform(30), (0, 1)),) * tasks, "drew a task that does not fit"),
        (lambda rng, data, tasks, ood: (Task(Transform(), (0, 1)),) * tasks, "no context of split"),
    ],
)
def test_streams_that_are_wrong(stream, message):
    with pytest.raises(AssertionError, match=message):
        check_distribution(Drawn(stream), vectors(), tasks=3)


def test_a_distribution_with_a_state_of_its_own():
    own = np.random.default_rng(0)
    with pytest.raises(AssertionError, match="two streams from equal generators"):
        check_distribution(Drawn(lambda rng, *rest: permuted(own, *rest)), vectors())


def test_a_distribution_that_draws_from_the_global_generator():
    def stream(rng, dataset, tasks, ood):
        np.random.random()
        return permuted(rng, dataset, tasks, ood)

    with pytest.raises(AssertionError, match="global generator of numpy.random"):
        check_distribution(Drawn(stream), vectors())


def test_a_distribution_without_a_name():
    with pytest.raises(AssertionError, match="non-empty name"):
        check_distribution(Drawn(permuted, name=""), vectors())
