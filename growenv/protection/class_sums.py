"""Sums over samples and classes from which linear and Gaussian classifiers follow in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

UNSEEN = -1e9
"""Logit of an output of which no sample has been counted."""


@dataclass
class ClassSums:
    """Sums over counted samples for S stacks of D features and C outputs. Their order does not matter.

    The sums are kept in the type in which networks compute (float32 costs half the memory); everything that is solved
    from them is solved in float64. Sums in float32 are good to about 1e-6 of themselves, far below any sensible ridge
    penalty; a recursion in float32 would drift.

    Attributes:
        second: sum of the outer products of the features, G, (S, D, D).
        first: sum of the features of each output, C, (S, D, C).
        counts: samples of each output, (S, C).
    """

    second: Tensor
    first: Tensor
    counts: Tensor

    @classmethod
    def zeros(cls, stacks: int, features: int, outputs: int, like: Tensor) -> ClassSums:
        """Sums over no samples, of the type and on the device of `like`."""
        return cls(
            like.new_zeros((stacks, features, features)),
            like.new_zeros((stacks, features, outputs)),
            like.new_zeros((stacks, outputs)),
        )

    def add(self, features: Tensor, targets: Tensor, stacks: Tensor | None = None) -> None:
        """Count samples.

        Args:
            features: (R, B, D).
            targets: wanted probability of each output, (R, B, C); all zero for samples that do not count.
            stacks: the stack that each of the R belongs to, no two alike; None for all S in order.
        """
        counted = features * (targets.sum(dim=2, keepdim=True) > 0)
        if stacks is None:
            self.second.baddbmm_(counted.transpose(1, 2), counted)
            self.first.baddbmm_(counted.transpose(1, 2), targets)
            self.counts += targets.sum(dim=1)
        else:
            self.second.index_add_(0, stacks, torch.bmm(counted.transpose(1, 2), counted))
            self.first.index_add_(0, stacks, torch.bmm(counted.transpose(1, 2), targets))
            self.counts.index_add_(0, stacks, targets.sum(dim=1))

    def clear(self, stacks: Tensor) -> None:
        """Forget all samples of some stacks, given by index."""
        for sums in (self.second, self.first, self.counts):
            sums[stacks] = 0.0


def sums_bytes(features: int, outputs: int, size: int) -> int:
    """Bytes of one stack of sums whose numbers take `size` bytes each."""
    return size * (features * features + features * outputs + outputs)


def ridge(second: Tensor, first: Tensor, counts: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights and biases of ridge regression on one-hot targets.

    ``W = (G + penalty * tr(G) / n * I)^-1 C``, so that the penalty does not depend on the scale of the features: for D
    features whose squares sum to one it is `penalty` itself.

    Args:
        second: G, (D, D).
        first: C, (D, outputs).
        counts: samples of each output, (outputs,); n is their sum, at least 1.
        penalty: above 0.

    Returns:
        Weights (D, outputs) and biases (outputs,) in float64; outputs without samples have the bias `UNSEEN`.
    """
    gram, scale = second.double().clone(), penalty / counts.double().sum()
    gram.diagonal().add_(gram.trace() * scale)
    weights = torch.cholesky_solve(first.double(), torch.linalg.cholesky(gram))
    return weights, _bias_of_unseen(counts)


def within_class(second: Tensor, first: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the outputs and the covariance that they share, in float64.

    ``mu_c = C_c / n_c`` and ``Sigma = (G - sum_c n_c mu_c mu_c^T) / n``.

    Args:
        second, first, counts: as `ClassSums` holds them, with any leading dimensions.

    Returns:
        Means (..., D, outputs), zero where an output has no samples, and the covariance (..., D, D).
    """
    each = counts.double().clamp(min=1.0)
    means = first.double() / each[..., None, :]
    between = first.double() @ means.transpose(-1, -2)
    return means, (second.double() - between) / counts.double().sum(dim=-1).clamp(min=1.0)[..., None, None]


def shrunk(covariance: Tensor, shrinkage: float) -> Tensor:
    """``(1 - shrinkage) * Sigma + shrinkage * tr(Sigma) / D * I`` for covariances of shape (..., D, D)."""
    size = covariance.shape[-1]
    mean = covariance.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
    eye = torch.eye(size, dtype=covariance.dtype, device=covariance.device)
    return (1.0 - shrinkage) * covariance + shrinkage * mean[..., None, None] * eye


def lda(second: Tensor, first: Tensor, counts: Tensor, shrinkage: float) -> tuple[Tensor, Tensor]:
    """Weights and biases of linear discriminant analysis.

    The score of output c is ``phi^T S^-1 mu_c - mu_c^T S^-1 mu_c / 2 + log(n_c / n)`` with the shrunk covariance S.

    Args:
        second, first, counts: as for `ridge`.
        shrinkage: above 0, at most 1.

    Returns:
        As `ridge`.

    Source: Hayes and Kanan 2020, arXiv 1909.01520 (streaming linear discriminant analysis).
    """
    means, covariance = within_class(second, first, counts)
    covariance = shrunk(covariance, shrinkage)
    if float(covariance.diagonal().sum()) <= 0:  # all samples alike: every direction is as good
        covariance = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    weights = torch.cholesky_solve(means, torch.linalg.cholesky(covariance))
    share = (counts.double() / counts.double().sum()).clamp(min=1e-300)
    bias = share.log() - 0.5 * (means * weights).sum(dim=0)
    return weights, torch.where(counts > 0, bias, UNSEEN)


def _bias_of_unseen(counts: Tensor) -> Tensor:
    return torch.where(counts > 0, 0.0, UNSEEN).double()
