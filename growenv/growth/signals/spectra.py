"""Spectra of many small matrices of different sizes, without a loop over rows."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.randomness import Purpose, normal

Counts: TypeAlias = NDArray[np.int64]

DIRECT = 12
"""Matrices of up to so many columns are decomposed as they are."""
SUBSPACE = 8
"""Of wider ones so many leading directions stand for all, found by one step of orthogonal iteration. In networks in
training, the sum of the four largest squared singular values is then at most about a hundredth too small."""
TINY = 1e-30


def count_above(matrices: Tensor, threshold: float) -> Counts:
    """How many eigenvalues of symmetric matrices, (k, n, n), exceed a threshold, (k,)."""
    return _positive(_shifted(matrices, threshold))


def count_above_mostly(matrices: Tensor, threshold: float) -> Counts:
    """The same, faster where all eigenvalues exceed the threshold in most matrices."""
    shifted = _shifted(matrices, threshold)
    counts = np.full(len(matrices), matrices.shape[1])
    failed = np.flatnonzero(torch.linalg.cholesky_ex(shifted)[1].cpu().numpy())
    if len(failed):
        counts[failed] = _positive(select(shifted, failed))
    return counts


def _shifted(matrices: Tensor, threshold: float) -> Tensor:
    shifted = matrices.clone()
    shifted.diagonal(dim1=1, dim2=2).sub_(threshold)
    return shifted


def _positive(matrices: Tensor) -> Counts:
    """How many eigenvalues are positive.

    By Sylvester's law of inertia as many as pivots of a factorisation are, which is several times faster than the
    eigenvalues themselves.
    """
    factors, pivots, _ = torch.linalg.ldl_factor_ex(matrices)
    # A pivot of two rows (marked by negative numbers) has an eigenvalue of each sign (Bunch and Kaufman 1977).
    single = pivots.cpu().numpy() > 0
    positive = factors.diagonal(dim1=1, dim2=2).cpu().numpy() > 0.0
    count: Counts = (single & positive).sum(axis=1) + (~single).sum(axis=1) // 2
    return count


def largest_squares(matrices: Tensor, size: Counts, count: int) -> NDArray[np.float64]:
    """Squares of the largest singular values of some matrices, descending, (N, count), then zeros.

    What is not finite counts as zero.

    Args:
        matrices: (N, rows, columns), zero but for the leading columns.
        size: how many leading columns there are, (N,).
        count: how many singular values.
    """
    values = np.zeros((len(size), count))
    few, many = np.flatnonzero((size > 0) & (size <= DIRECT)), np.flatnonzero(size > DIRECT)
    if len(few):
        values[few] = _squares(select(matrices, few)[:, :, :DIRECT], count)
    if len(many):
        wide = select(matrices, many).double()
        values[many] = _squares(torch.bmm(wide, _subspace(wide)), count)
    return values


def _squares(matrices: Tensor, count: int) -> NDArray[np.float64]:
    gram = torch.nan_to_num_(torch.bmm(matrices.transpose(1, 2), matrices), nan=0.0, posinf=0.0, neginf=0.0)
    found = torch.linalg.eigvalsh(gram)[:, -count:].cpu().numpy()
    return np.pad(np.maximum(found[:, ::-1], 0.0), ((0, 0), (0, count - found.shape[1])))


def _subspace(matrices: Tensor) -> Tensor:
    """Orthonormal columns that nearly span the leading right singular vectors, (N, columns, SUBSPACE).

    Source: orthogonal iteration, Golub and Van Loan, Matrix Computations, section 8.2.
    """
    # The same numbers for every row, and for a column whatever lies beside it.
    start = normal(0, Purpose.CANDIDATE, np.arange(matrices.shape[2])[:, None], np.arange(SUBSPACE))
    basis = torch.from_numpy(start).to(matrices).expand(len(matrices), -1, -1)
    moved = torch.bmm(matrices.transpose(1, 2), torch.bmm(matrices, basis))
    moved.div_(torch.linalg.vector_norm(moved, dim=(1, 2), keepdim=True) + TINY)
    gram = torch.bmm(moved.transpose(1, 2), moved)
    gram.diagonal(dim1=1, dim2=2).add_(1e-14)  # where there are fewer directions than columns
    root = torch.linalg.cholesky_ex(gram)[0]
    turned: Tensor = torch.linalg.solve_triangular(root, moved.transpose(1, 2), upper=False)
    return turned.transpose(1, 2)


def select(tensor: Tensor, index: Counts) -> Tensor:
    """Some rows of a tensor; the tensor itself if these are all."""
    return tensor if len(index) == len(tensor) else tensor.index_select(0, torch.from_numpy(index).to(tensor.device))
