"""Continual-learning metrics from the accuracy matrix, and efficiencies from bytes, samples and operations.

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


def incremental_accuracy(accuracy: ArrayLike, samples: ArrayLike | None = None) -> NDArray[np.float64]:
    """A_i, the mean accuracy on tasks 0..i after task i; its mean over i is the average incremental accuracy (AIA).

    With `samples` it is the accuracy on the union of their test samples, as iCaRL has it; without, every task counts
    the same. Both agree where all tasks have equally many test samples, so say which one is meant.

    Args:
        accuracy: R, shape (N, T, T); only i >= j is used.
        samples: test samples of each task, shape (T,) or (N, T), each above 0.

    Returns:
        A, shape (N, T).

    Raises:
        ValueError: R is not of shape (N, T, T) with T >= 1, or there are no such samples.

    Source: Rebuffi et al. 2017 (iCaRL), arXiv 1611.07725.
    """
    matrix = _matrix(accuracy)
    try:
        sizes = np.broadcast_to(1.0 if samples is None else np.asarray(samples, np.float64), matrix.shape[:2])
    except ValueError:
        raise ValueError(
            f"samples must have shape {matrix.shape[1:2]} or {matrix.shape[:2]}, got {samples!r}"
        ) from None
    if not (sizes > 0).all():
        raise ValueError(f"every task needs test samples, got {samples!r}")
    seen = np.tri(matrix.shape[1], dtype=bool)
    right = np.where(seen, matrix * sizes[:, None, :], 0.0).sum(axis=2)
    return np.asarray(right / sizes.cumsum(axis=1))


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


def forgetting(accuracy: ArrayLike, after: int | None = None) -> NDArray[np.float64]:
    """F = 1/(k-1) sum_{j<k-1} (max_{j<=i<k-1} R[i, j] - R[k-1, j]): drop from the best earlier accuracy.

    The last row is outside the maximum, so a task that ended better than ever counts as negative forgetting.

    Args:
        accuracy: R, shape (N, T, T); only i >= j is used.
        after: number of tasks k after which it is asked for; all T where None.

    Returns:
        F after k tasks, shape (N,).

    Raises:
        ValueError: R is not of shape (N, T, T) with T >= 1, or k is not in 1..T.

    Source: Chaudhry et al. 2018, arXiv 1801.10112.
    """
    matrix = _matrix(accuracy)
    tasks = matrix.shape[1] if after is None else after
    if not 1 <= tasks <= matrix.shape[1]:
        raise ValueError(f"forgetting after {after} tasks of {matrix.shape[1]}; expected 1..{matrix.shape[1]}")
    if tasks == 1:
        return np.zeros(len(matrix))
    matrix = matrix[:, :tasks, :tasks]
    since_trained = np.tri(tasks - 1, dtype=bool)
    best = np.where(since_trained, matrix[:, :-1, :-1], -np.inf).max(axis=1)
    return np.asarray((best - matrix[:, -1, :-1]).mean(axis=1))


def intransigence(accuracy: ArrayLike, joint: ArrayLike) -> NDArray[np.float64]:
    """I_k = a*_k - R[k, k]: what is missing to a network trained on tasks 0..k together, on the task just learned.

    Args:
        accuracy: R, shape (N, T, T); only its diagonal is used.
        joint: a*, accuracy on task k of a network trained jointly on tasks 0..k, shape (T,) or (N, T).

    Returns:
        I, shape (N, T); negative where the stream did better than joint training.

    Raises:
        ValueError: R is not of shape (N, T, T) with T >= 1, or a* has another shape.

    Source: Chaudhry et al. 2018, arXiv 1801.10112.
    """
    matrix = _matrix(accuracy)
    best = np.asarray(joint, dtype=np.float64)
    if best.shape not in (matrix.shape[:2], matrix.shape[1:2]):
        raise ValueError(f"joint accuracy must have shape {matrix.shape[1:2]} or {matrix.shape[:2]}, got {best.shape}")
    return np.asarray(best - np.diagonal(matrix, axis1=1, axis2=2))


def triangle_accuracy(accuracy: ArrayLike) -> NDArray[np.float64]:
    """A = sum_{i>=j} R[i, j] / (T(T+1)/2): the mean over all tasks seen so far at all times, shape (N,).

    Args:
        accuracy: R, shape (N, T, T); only i >= j is used.

    Raises:
        ValueError: R is not of shape (N, T, T) with T >= 1.

    Source: Diaz-Rodriguez et al. 2018, arXiv 1810.13166.
    """
    matrix = _matrix(accuracy)
    return np.asarray(matrix[:, np.tri(matrix.shape[1], dtype=bool)].mean(axis=1))


def triangle_backward_transfer(accuracy: ArrayLike) -> NDArray[np.float64]:
    """BWT_D = sum_{j<i} (R[i, j] - R[j, j]) / (T(T-1)/2): backward transfer at all times, shape (N,).

    The reports REM = 1 - |min(BWT_D, 0)| and BWT+ = max(BWT_D, 0) follow from it: see `remembering` and
    `positive_backward_transfer`. Only j < i is summed: a sum over all j < T differs from T = 4 on.

    Args:
        accuracy: R, shape (N, T, T); only i >= j is used.

    Raises:
        ValueError: R is not of shape (N, T, T) with T >= 1.

    Source: Diaz-Rodriguez et al. 2018, arXiv 1810.13166.
    """
    matrix = _matrix(accuracy)
    tasks = matrix.shape[1]
    if tasks == 1:
        return np.zeros(len(matrix))
    change = matrix - np.diagonal(matrix, axis1=1, axis2=2)[:, None, :]
    return np.asarray(change[:, np.tri(tasks, k=-1, dtype=bool)].mean(axis=1))


def remembering(accuracy: ArrayLike) -> NDArray[np.float64]:
    """REM = 1 - |min(BWT_D, 0)|, shape (N,); arguments and source as in `triangle_backward_transfer`."""
    return np.asarray(1.0 - np.abs(np.minimum(triangle_backward_transfer(accuracy), 0.0)))


def positive_backward_transfer(accuracy: ArrayLike) -> NDArray[np.float64]:
    """BWT+ = max(BWT_D, 0), shape (N,); arguments and source as in `triangle_backward_transfer`."""
    return np.asarray(np.maximum(triangle_backward_transfer(accuracy), 0.0))


def triangle_forward_transfer(accuracy: ArrayLike) -> NDArray[np.float64]:
    """FWT_D = sum_{i<j} R[i, j] / (T(T-1)/2): mean accuracy on tasks before they are trained, shape (N,).

    Args:
        accuracy: R, shape (N, T, T); only i < j is used.

    Raises:
        ValueError: R is not of shape (N, T, T) with T >= 1.

    Source: Diaz-Rodriguez et al. 2018, arXiv 1810.13166.
    """
    matrix = _matrix(accuracy)
    tasks = matrix.shape[1]
    if tasks == 1:
        return np.zeros(len(matrix))
    return np.asarray(matrix[:, ~np.tri(tasks, dtype=bool)].mean(axis=1))


def model_size_efficiency(sizes: ArrayLike) -> NDArray[np.float64]:
    """MS = min(1, (1/T) sum_i size_0 / size_i): 1 for a network that never grows, shape (N,).

    Args:
        sizes: size of the network after each task, in any unit, shape (N, T), each above 0.

    Raises:
        ValueError: another shape, or a size that is not above 0.

    Source: Diaz-Rodriguez et al. 2018, arXiv 1810.13166.
    """
    table = _table("sizes", sizes)
    if not (table > 0).all():
        raise ValueError(f"sizes must be above 0, got {table.min()}")
    return np.asarray(np.minimum(1.0, (table[:, :1] / table).mean(axis=1)))


def sample_storage_efficiency(stored: ArrayLike, whole: float) -> NDArray[np.float64]:
    """SSS = 1 - min(1, (1/T) sum_i stored_i / whole): 1 for a learner that stores no samples, shape (N,).

    Args:
        stored: size of the samples kept after each task, shape (N, T).
        whole: size of all training samples of the stream, in the same unit, above 0.

    Raises:
        ValueError: another shape, a negative size, or a whole that is not above 0.

    Source: Diaz-Rodriguez et al. 2018, arXiv 1810.13166.
    """
    table = _table("stored", stored)
    if not (table >= 0).all() or not whole > 0:
        raise ValueError(f"expected stored sizes >= 0 of a whole above 0, got {table.min()} of {whole}")
    return np.asarray(1.0 - np.minimum(1.0, (table / whole).mean(axis=1)))


def computational_efficiency(least: ArrayLike, spent: ArrayLike, scale: float = 1.0) -> NDArray[np.float64]:
    """CE = min(1, (1/T) sum_i scale * least_i / spent_i), shape (N,). Report the scale, which is free to choose.

    Args:
        least: operations of one forward and backward pass over task i, shape (N, T) or (T,).
        spent: operations that learning task i really took, shape (N, T), each above 0.
        scale: epsilon, makes small ratios readable; above 0.

    Raises:
        ValueError: another shape, or a number of operations or scale that is not above 0.

    Source: Diaz-Rodriguez et al. 2018, arXiv 1810.13166.
    """
    table = _table("spent", spent)
    needed = np.asarray(least, dtype=np.float64)
    if needed.shape not in (table.shape, table.shape[1:]):
        raise ValueError(f"least must have shape {table.shape} or {table.shape[1:]}, got {needed.shape}")
    if not (table > 0).all() or not (needed >= 0).all() or not scale > 0:
        raise ValueError(f"operations and scale must be above 0, got {needed.min()}, {table.min()} and {scale}")
    return np.asarray(np.minimum(1.0, (scale * needed / table).mean(axis=1)))


def _table(name: str, values: ArrayLike) -> NDArray[np.float64]:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError(f"{name} must have shape (N, T) with T >= 1, got {table.shape}")
    return table


def _matrix(accuracy: ArrayLike) -> NDArray[np.float64]:
    matrix = np.asarray(accuracy, dtype=np.float64)
    if matrix.ndim != 3 or matrix.shape[1] != matrix.shape[2] or matrix.shape[1] == 0:
        raise ValueError(f"the accuracy matrix must have shape (N, T, T) with T >= 1, got {matrix.shape}")
    return matrix
