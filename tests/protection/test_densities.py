"""Densities of experts, by hand in one dimension and against a slow reference."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from growenv.protection.class_sums import sums_bytes
from growenv.protection.densities import Densities

LIKE = torch.zeros(1, dtype=torch.float64)
BOTH = np.array([True, True])


def one_hot(labels: list[list[int]], outputs: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(labels), outputs).double()


def on_a_line() -> Densities:
    """One network, three experts; the first knows -1 and 1, the second 9 and 13, the third nothing."""
    known = Densities(1, 3, 1, 1, 2, 1e-9, LIKE)
    known.projection.fill_(1.0)
    for expert, values in enumerate(([-1.0, 1.0], [9.0, 13.0])):
        samples = torch.tensor(values).double()[None, :, None]
        known.add(known.project(samples), one_hot([[expert, expert]], 2), np.array([expert]), np.array([True]))
    return known


def test_likelihoods_by_hand() -> None:
    # N(0, 1) and N(11, 4): -x^2/2 and -(x - 11)^2/8 - log 2; they cross where 3 x^2 + 22 x - 121 = 8 log 2.
    found = on_a_line().likelihood(torch.tensor([[[0.0], [3.0], [12.0]]]).double())[0]
    expected = torch.tensor([[0.0, -121 / 8 - math.log(2)], [-4.5, -8 - math.log(2)], [-72.0, -1 / 8 - math.log(2)]])
    assert torch.allclose(found[:, :2], expected.double())
    assert (found[:, 2] == -math.inf).all()
    assert found.argmax(dim=1).tolist() == [0, 0, 1]


def test_surprise_by_hand() -> None:
    known = on_a_line()
    for values, expected in (([-1.0, 1.0], [1.0, 30.5]), ([9.0, 13.0], [125.0, 1.0]), ([2.0, 4.0], [10.0, 16.25])):
        found = known.surprise(torch.tensor(values).double()[None, :, None])[0]
        assert torch.allclose(found[:2], torch.tensor(expected).double())
        assert found[2] == math.inf


def test_an_expert_with_several_outputs_is_a_mixture_with_one_covariance() -> None:
    generator = torch.Generator().manual_seed(1)
    samples = torch.randn((2, 50, 3), generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (2, 50), generator=generator)
    samples[labels == 1] += 2.0
    known = Densities(2, 2, 3, 3, 3, 0.1, LIKE)
    known.projection.copy_(torch.eye(3).expand(2, 3, 3))
    for part in (slice(0, 20), slice(20, 50)):
        targets = torch.nn.functional.one_hot(labels[:, part], 3).double()
        known.add(samples[:, part], targets, np.array([1, 0]), BOTH)
    found = known.likelihood(samples)
    for row, expert in ((0, 1), (1, 0)):
        x, y = samples[row].numpy(), labels[row].numpy()
        means = np.stack([x[y == c].mean(axis=0) for c in range(3)])
        centred = x - means[y]
        covariance = centred.T @ centred / 50
        covariance = 0.9 * covariance + 0.1 * np.trace(covariance) / 3 * np.eye(3)
        inverse, volume = np.linalg.inv(covariance), 0.5 * np.log(np.linalg.det(covariance))
        gap = x[:, None] - means
        squared = np.einsum("bci,ij,bcj->bc", gap, inverse, gap)
        mixture = ((y[:, None] == np.arange(3)).mean(axis=0) * np.exp(-0.5 * squared)).sum(axis=1)
        assert np.allclose(found[row, :, expert].numpy(), np.log(mixture) - volume, atol=1e-9)
        assert (found[row, :, 1 - expert] == -math.inf).all()


def test_rows_count_only_when_told_and_forget_alone() -> None:
    known = Densities(2, 2, 4, 3, 2, 0.1, LIKE)
    known.begin(BOTH, np.array([5, 6], dtype=np.uint64))
    projected = known.project(torch.ones((2, 3, 4)).double())
    known.add(projected, one_hot([[0, 1, 1], [0, 0, 0]], 2), np.array([0, 1]), np.array([True, False]))
    assert known.outputs().any(dim=2).tolist() == [[True, False], [False, False]]
    known.add(projected, one_hot([[0, 1, 1], [0, 0, 0]], 2), np.array([0, 1]), np.array([False, True]))
    assert known.outputs().tolist() == [[[True, True], [False, False]], [[False, False], [True, False]]]
    known.begin(np.array([True, False]), np.array([7, 6], dtype=np.uint64))
    assert known.outputs().any(dim=2).tolist() == [[False, False], [False, True]]


def test_directions_are_a_matter_of_the_seed_and_keep_lengths_on_average() -> None:
    one, other = (Densities(2, 1, 500, 300, 2, 0.1, LIKE) for _ in range(2))
    one.begin(BOTH, np.array([5, 6], dtype=np.uint64))
    other.begin(BOTH, np.array([6, 5], dtype=np.uint64))
    assert torch.equal(one.projection[0], other.projection[1])
    assert not torch.equal(one.projection[0], one.projection[1])
    length = one.project(torch.ones((2, 1, 500)).double()).square().mean()
    assert abs(float(length) - 1.0) < 0.3


def test_bytes_are_those_of_the_sums_of_all_experts() -> None:
    assert Densities(2, 3, 100, 4, 5, 0.1, LIKE).bytes() == 3 * sums_bytes(4, 5, 8) == 3 * 8 * (16 + 20 + 5)
