"""Continual-learning metrics from the accuracy matrix.

R[n, i, j] is row n's accuracy on task j after training task i, and b[n, j] its accuracy on task j before any training,
both counted from 0 here; T is the number of tasks. NaN means "not measured": a metric that needs such an entry is NaN,
one that does not need it ignores it. With one task there is nothing to transfer or to forget, and the answer is 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def average_accuracy(accuracy: ArrayLike) -> NDArray[np.float64]:
    """ACC = (1/T) sum_j R[T-1, j]: the mean accuracy on all tasks after the last one.

    Args:
        accuracy: R, shape (N, T, T).

    Returns:
        ACC, shape (N,).

    Raises:
        ValueError: R is not of shape (N, T, T) with T >= 1.

    Source: Lopez-Paz and Ranzato 2017, arXiv 1706.08840.
    """
    return np.asarray(_matrix(accuracy)[:, -1].mean(axis=1))


def backward_transfer(accuracy: ArrayLike) -> NDArray[np.float64]:
    """BWT = 1/(T-1) sum_{j<T-1} (R[T-1, j] - R[j, j]): what later tasks did to earlier ones; negative is forgetting.

    Args:
        accuracy: R, shape (N, T, T).

    Returns:
        BWT, shape (N,).

    Raises:
        ValueError: R is not of shape (N, T, T) with T >= 1.

    Source: Lopez-Paz and Ranzato 2017, arXiv 1706.08840. The divisor is T - 1, not T.
    """
    matrix = _matrix(accuracy)
    if matrix.shape[1] == 1:
        return np.zeros(len(matrix))
    learned = np.diagonal(matrix, axis1=1, axis2=2)
    return np.asarray((matrix[:, -1, :-1] - learned[:, :-1]).mean(axis=1))


def forward_transfer(accuracy: ArrayLike, untrained: ArrayLike) -> NDArray[np.float64]:
    """FWT = 1/(T-1) sum_{j>=1} (R[j-1, j] - b[j]): what earlier tasks did for later ones before those were trained.

    Args:
        accuracy: R, shape (N, T, T).
        untrained: b, shape (N, T).

    Returns:
        FWT, shape (N,).

    Raises:
        ValueError: R is not of shape (N, T, T) with T >= 1, or b not of shape (N, T).

    Source: Lopez-Paz and Ranzato 2017, arXiv 1706.08840.
    """
    matrix = _matrix(accuracy)
    before = np.asarray(untrained, dtype=np.float64)
    if before.shape != matrix.shape[:2]:
        raise ValueError(f"untrained accuracy must have shape {matrix.shape[:2]}, got {before.shape}")
    if matrix.shape[1] == 1:
        return np.zeros(len(matrix))
    ahead = np.diagonal(matrix, offset=1, axis1=1, axis2=2)
    return np.asarray((ahead - before[:, 1:]).mean(axis=1))


def forgetting(accuracy: ArrayLike) -> NDArray[np.float64]:
    """F = 1/(T-1) sum_{j<T-1} (max_{j<=i<T-1} R[i, j] - R[T-1, j]): drop from the best earlier accuracy.

    The last row is outside the maximum, so a task that ended better than ever counts as negative forgetting.

    Args:
        accuracy: R, shape (N, T, T); only i >= j is used.

    Returns:
        F after the last task, shape (N,).

    Raises:
        ValueError: R is not of shape (N, T, T) with T >= 1.

    Source: Chaudhry et al. 2018, arXiv 1801.10112.
    """
    matrix = _matrix(accuracy)
    tasks = matrix.shape[1]
    if tasks == 1:
        return np.zeros(len(matrix))
    since_trained = np.tri(tasks - 1, dtype=bool)
    best = np.where(since_trained, matrix[:, :-1, :-1], -np.inf).max(axis=1)
    return np.asarray((best - matrix[:, -1, :-1]).mean(axis=1))


def _matrix(accuracy: ArrayLike) -> NDArray[np.float64]:
    matrix = np.asarray(accuracy, dtype=np.float64)
    if matrix.ndim != 3 or matrix.shape[1] != matrix.shape[2] or matrix.shape[1] == 0:
        raise ValueError(f"the accuracy matrix must have shape (N, T, T) with T >= 1, got {matrix.shape}")
    return matrix
