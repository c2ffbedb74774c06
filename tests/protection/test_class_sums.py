"""Ridge regression and discriminant analysis from sums, by hand and against slow references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.protection.class_sums import UNSEEN, ClassSums, lda, ridge, shrunk, sums_bytes, within_class

LIKE = torch.zeros(1, dtype=torch.float64)


def sums_of(features: Tensor, labels: Tensor, outputs: int) -> ClassSums:
    sums = ClassSums.zeros(len(features), features.shape[2], outputs, features)
    sums.add(features.clone(), torch.nn.functional.one_hot(labels, outputs).to(features))
    return sums


def samples(stacks: int, count: int, size: int, outputs: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn((stacks, count, size), generator=generator, dtype=torch.float64)
    return features, torch.randint(outputs, (stacks, count), generator=generator)


def test_ridge_solves_its_normal_equations() -> None:
    features, labels = samples(1, 40, 5, 3)
    sums = sums_of(features, labels, 3)
    weights, bias = ridge(sums.second[0], sums.first[0], sums.counts[0], 0.01)
    phi, targets = features[0].numpy(), np.eye(3)[labels[0].numpy()]
    penalty = 0.01 * (phi**2).sum() / 40
    # The gradient of the penalised squared error is zero.
    residual = phi.T @ (phi @ weights.numpy() - targets) + penalty * weights.numpy()
    assert np.abs(residual).max() < 1e-10
    assert (bias == 0).all()


def test_ridge_by_hand() -> None:
    # Two samples: (1, 0) is output 0, (0, 2) is output 1. G = diag(1, 4), mean square 5/2, penalty 0.4 * 5/2 = 1.
    sums = sums_of(torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]).double(), torch.tensor([[0, 1]]), 3)
    weights, bias = ridge(sums.second[0], sums.first[0], sums.counts[0], 0.4)
    assert weights.numpy() == pytest.approx(np.array([[1 / 2, 0, 0], [0, 2 / 5, 0]]))
    assert bias.tolist() == [0.0, 0.0, UNSEEN]


def test_ridge_does_not_depend_on_the_scale_of_the_features() -> None:
    features, labels = samples(1, 40, 5, 3)
    scores = []
    for factor in (1.0, 7.0):
        sums = sums_of(features * factor, labels, 3)
        weights, _ = ridge(sums.second[0], sums.first[0], sums.counts[0], 0.01)
        scores.append(features[0] * factor @ weights)
    assert torch.allclose(scores[0], scores[1], atol=1e-12)


def test_discriminant_analysis_by_hand_in_two_dimensions() -> None:
    # Class 0 at (0, 0) +- (1, 0) and +- (0, 2); class 1 the same around (4, 0). Sigma = diag(1/2, 2).
    offsets = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    features = torch.cat((offsets, offsets + torch.tensor([4.0, 0.0])))[None].double()
    labels = torch.tensor([[0] * 4 + [1] * 4])
    sums = sums_of(features, labels, 2)
    means, covariance = within_class(sums.second[0], sums.first[0], sums.counts[0])
    assert means.tolist() == [[0.0, 4.0], [0.0, 0.0]]
    assert covariance.numpy() == pytest.approx(np.diag([0.5, 2.0]))
    # Shrunk by 0.2 towards tr / 2 = 1.25: diag(0.65, 1.85). Then w_1 = (4 / 0.65, 0), b_1 = -8 / 0.65 + log(1/2).
    weights, bias = lda(sums.second[0], sums.first[0], sums.counts[0], 0.2)
    assert weights.numpy() == pytest.approx(np.array([[0.0, 4 / 0.65], [0.0, 0.0]]))
    assert bias.tolist() == pytest.approx([np.log(0.5), -8 / 0.65 + np.log(0.5)])
    # The border lies half way between the means.
    scores = torch.tensor([[1.99, 5.0], [2.01, 5.0]]).double() @ weights + bias
    assert scores.argmax(dim=1).tolist() == [0, 1]


def test_a_rarer_class_needs_more_evidence() -> None:
    features = torch.tensor([[[-1.0], [1.0]] * 3 + [[3.0], [5.0]]]).double()
    sums = sums_of(features, torch.tensor([[0] * 6 + [1] * 2]), 2)
    weights, bias = lda(sums.second[0], sums.first[0], sums.counts[0], 0.5)
    # Sigma = 1, means 0 and 4: the border is at 2 + log(3) / 4.
    border = (bias[0] - bias[1]) / (weights[0, 1] - weights[0, 0])
    assert float(border) == pytest.approx(2 + np.log(3) / 4)


def test_an_output_without_samples_is_never_the_answer() -> None:
    features, labels = samples(1, 30, 4, 2)
    sums = sums_of(features, labels, 5)
    for weights, bias in (
        ridge(sums.second[0], sums.first[0], sums.counts[0], 0.1),
        lda(sums.second[0], sums.first[0], sums.counts[0], 0.1),
    ):
        scores = features[0] @ weights + bias
        assert (scores[:, 2:] <= UNSEEN / 2).all()
        assert (scores[:, :2] > UNSEEN / 2).all()


def test_samples_that_are_all_alike_can_be_solved() -> None:
    sums = sums_of(torch.ones((1, 4, 3)).double(), torch.tensor([[0, 0, 1, 1]]), 2)
    for weights, bias in (
        ridge(sums.second[0], sums.first[0], sums.counts[0], 0.1),
        lda(sums.second[0], sums.first[0], sums.counts[0], 0.1),
    ):
        assert torch.isfinite(weights).all() and torch.isfinite(bias).all()


def test_sums_do_not_depend_on_the_order_of_samples_or_minibatches() -> None:
    features, labels = samples(2, 60, 6, 4)
    whole = sums_of(features, labels, 4)
    order = labels.argsort(dim=1)  # one class after the other, as a class-incremental stream has them
    pieces = ClassSums.zeros(2, 6, 4, LIKE)
    for part in torch.split(order, 7, dim=1):
        chosen = features.gather(1, part[:, :, None].expand(-1, -1, 6))
        pieces.add(chosen, torch.nn.functional.one_hot(labels.gather(1, part), 4).double())
    assert torch.allclose(pieces.second, whole.second, atol=1e-12)
    assert torch.allclose(pieces.first, whole.first, atol=1e-12)
    assert torch.equal(pieces.counts, whole.counts)


def test_samples_without_a_target_do_not_count_and_stacks_are_apart() -> None:
    features, labels = samples(2, 10, 3, 2)
    targets = torch.nn.functional.one_hot(labels, 2).double()
    targets[1] = 0.0
    sums = ClassSums.zeros(2, 3, 2, LIKE)
    sums.add(features.clone(), targets)
    assert torch.equal(sums.second[0], sums_of(features, labels, 2).second[0])
    assert not sums.second[1].any() and not sums.counts[1].any()
    sums.clear(torch.tensor([0]))
    assert not sums.second.any() and not sums.first.any() and not sums.counts.any()


def test_shrinking_keeps_the_trace() -> None:
    covariance = torch.tensor([[3.0, 1.0], [1.0, 1.0]])
    assert shrunk(covariance, 0.5).tolist() == [[2.5, 0.5], [0.5, 1.5]]
    assert shrunk(covariance, 1.0).tolist() == [[2.0, 0.0], [0.0, 2.0]]


def test_bytes_of_sums() -> None:
    assert sums_bytes(500, 10, 4) == 4 * (250_000 + 5_000 + 10)
