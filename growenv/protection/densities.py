"""Which of several experts a sample looks made for: running Gaussian mixtures, without stored samples or gradients."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.protection.class_sums import ClassSums, shrunk, sums_bytes, within_class
from growenv.randomness import Purpose, normal


class Densities:
    """What the inputs of each expert look like: for N rows and E experts a Gaussian around each output's mean.

    Inputs are projected on d random directions first. An expert's Gaussians share one covariance, as in linear
    discriminant analysis, so ``p(x | e) = sum_c n_c / n N(x; mu_ec, Sigma_e)``. Everything follows from sums.

    Args:
        rows: number of networks N.
        experts: most experts of a network E.
        inputs: input values D, without a constant one.
        directions: d.
        outputs: outputs C.
        shrinkage: of the covariances, above 0.
        like: a tensor of the wanted type and device.
    """

    def __init__(
        self, rows: int, experts: int, inputs: int, directions: int, outputs: int, shrinkage: float, like: Tensor
    ) -> None:
        self.rows, self.experts, self.directions, self.shrinkage = rows, experts, directions, shrinkage
        self.sums = ClassSums.zeros(rows * experts, directions, outputs, like)
        self.projection = like.new_zeros((rows, inputs, directions))
        self._solved: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def begin(self, rows: NDArray[np.bool_], seeds: NDArray[np.uint64]) -> None:
        """Forget all samples of some rows and draw their directions from their seeds."""
        _, inputs, directions = self.projection.shape
        counters = np.arange(inputs)[:, None] * directions + np.arange(directions)[None, :]
        for row in map(int, np.flatnonzero(rows)):
            drawn = normal(seeds[row], Purpose.PROTECTION, counters) / math.sqrt(inputs)
            self.projection[row] = torch.from_numpy(drawn).to(self.projection)
            self.sums.clear(torch.arange(row * self.experts, (row + 1) * self.experts))
        self._solved = None

    def project(self, inputs: Tensor) -> Tensor:
        """Inputs (N, B, D) along the random directions, (N, B, d)."""
        return torch.bmm(inputs, self.projection)

    def add(self, projected: Tensor, targets: Tensor, expert: NDArray[np.int64], rows: NDArray[np.bool_]) -> None:
        """Count the samples of some rows for one expert of each.

        Args:
            projected: (N, B, d).
            targets: (N, B, C).
            expert: expert of each row, (N,).
            rows: which rows count, (N,).
        """
        if rows.any():
            index = torch.from_numpy(np.flatnonzero(rows))
            stacks = torch.from_numpy((np.arange(self.rows) * self.experts + expert)[rows])
            self.sums.add(projected[index], targets[index], stacks)
            self._solved = None

    def outputs(self) -> Tensor:
        """Outputs that each expert has samples of, bool (N, E, C)."""
        return (self.sums.counts > 0).view(self.rows, self.experts, -1)

    def likelihood(self, projected: Tensor) -> Tensor:
        """log p(x | e) up to a constant, (N, B, E); minus infinity for experts without samples.

        Args:
            projected: (N, B, d).
        """
        _, _, volume, _ = self._gaussians()
        counts = self.sums.counts.double()
        share = counts / counts.sum(dim=1, keepdim=True).clamp(min=1.0)
        score = share.log()[:, None, :] - 0.5 * self._distances(projected) - volume[:, None, None]
        best = torch.logsumexp(score, dim=2)
        return best.view(self.rows, self.experts, -1).transpose(1, 2)

    def surprise(self, projected: Tensor) -> Tensor:
        """How far minibatches lie from what each expert knows, (N, E); infinite for experts without samples.

        The mean over samples of the squared Mahalanobis distance to the nearest mean, over what it is on average for
        the samples that the expert has counted and their own means: about 1, or less, for more of the same.

        Args:
            projected: (N, B, d).
        """
        _, _, _, usual = self._gaussians()
        nearest = self._distances(projected).masked_fill((self.sums.counts <= 0)[:, None, :], math.inf).amin(dim=2)
        return (nearest.mean(dim=1) / usual).view(self.rows, self.experts)

    def _distances(self, projected: Tensor) -> Tensor:
        """Squared Mahalanobis distances to all means, (N * E, B, C)."""
        inverse, means, _, _ = self._gaussians()
        white = torch.matmul(projected.double()[:, None], inverse.view(self.rows, self.experts, *inverse.shape[1:]))
        return torch.cdist(white.flatten(0, 1), means.transpose(1, 2)).square()

    def _gaussians(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of every expert: whitening (d, d), white means (d, C), half a log volume, usual squared distance."""
        if self._solved is None:
            means, covariance = within_class(self.sums.second, self.sums.first, self.sums.counts)
            eye = torch.eye(self.directions, dtype=covariance.dtype, device=covariance.device)
            flat = covariance.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None, None] <= 0  # no samples, or all alike
            full = torch.where(flat, eye, shrunk(covariance, self.shrinkage))
            factor = torch.linalg.cholesky(full)
            inverse = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False).transpose(1, 2)
            usual = (inverse * torch.bmm(covariance, inverse)).sum(dim=(1, 2)).clamp(min=1e-9)
            volume = factor.diagonal(dim1=1, dim2=2).log().sum(dim=1)
            self._solved = inverse, torch.bmm(inverse.transpose(1, 2), means), volume, usual
        return self._solved

    def bytes(self) -> int:
        """Bytes of one row's sums; its directions come from its seed."""
        outputs = self.sums.counts.shape[1]
        return self.experts * sums_bytes(self.directions, outputs, self.sums.counts.element_size())
