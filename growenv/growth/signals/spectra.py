"""Spectra of many small symmetric matrices of different sizes, without a loop over rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def classes(size: NDArray[np.int64], least: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Rounded sizes that occur, and which matrices have them; those of size 0 are left out.

    Sizes are rounded up to `least` times a power of two, and matrices of one rounded size are worked on together, so that
    no row pays for its widest neighbour.
    """
    if not size.any():
        return
    power = np.ceil(np.log2(np.maximum(size, least) / least)).astype(np.int64)
    power[size == 0] = -1
    for each in range(int(power.max()) + 1):
        index = np.flatnonzero(power == each)
        if len(index):
            yield least << each, index


def count_above(matrices: Tensor, threshold: float) -> NDArray[np.int64]:
    """How many eigenvalues of symmetric matrices, (N, n, n), exceed a threshold, (N,).

    By Sylvester's law of inertia these are the positive pivots of A - threshold I, for which a factorisation is enough:
    several times faster than the eigenvalues themselves.
    """
    shifted = matrices.to(torch.float64, copy=True)
    shifted.diagonal(dim1=1, dim2=2).sub_(threshold)
    factors, pivots, _ = torch.linalg.ldl_factor_ex(shifted)
    # A pivot of two rows (marked by negative numbers) has an eigenvalue of each sign (Bunch and Kaufman 1977).
    single = pivots.cpu().numpy() > 0
    positive = factors.diagonal(dim1=1, dim2=2).cpu().numpy() > 0.0
    count: NDArray[np.int64] = (single & positive).sum(axis=1) + (~single).sum(axis=1) // 2
    return count


def largest(matrices: Tensor, size: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """The largest eigenvalues of positive semi-definite matrices in descending order, (N, count), then zeros.

    Args:
        matrices: symmetric, (N, n, n), zero but for the leading rows and columns; what is not finite counts as zero.
        size: how many leading ones each has, (N,).
        count: how many eigenvalues.
    """
    values = np.zeros((len(size), count))
    for common, index in classes(size, 4):
        block = torch.nan_to_num(select(matrices, index)[:, :common, :common], nan=0.0, posinf=0.0, neginf=0.0)
        found = torch.linalg.eigvalsh(block)[:, -count:].double().cpu().numpy()
        values[index, : found.shape[1]] = np.maximum(found[:, ::-1], 0.0)
    return values


def select(tensor: Tensor, index: NDArray[np.int64]) -> Tensor:
    """Some rows of a tensor; the tensor itself if these are all."""
    return tensor if len(index) == len(tensor) else tensor.index_select(0, torch.from_numpy(index).to(tensor.device))
