"""Spectra of many small matrices, against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from growenv.growth.signals.spectra import DIRECT, count_above, count_above_mostly, largest_squares


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 70), st.floats(-6, 2))
def test_counts_are_those_of_the_singular_values(seed: int, samples: int, columns: int, power: float) -> None:
    rng = np.random.default_rng(seed)
    matrices = np.zeros((6, samples, columns))
    for matrix in matrices:
        size = rng.integers(0, columns + 1)
        rank = rng.integers(0, size + 1)
        matrix[:, :size] = rng.normal(size=(samples, rank)) @ rng.normal(size=(rank, size)) * 10.0**power
    values = np.linalg.svd(matrices, compute_uv=False)
    if (np.abs(values - 0.01) > 1e-6).all():  # what is on the threshold may count or not
        grams = torch.from_numpy(matrices.transpose(0, 2, 1) @ matrices)
        expected = (values > 0.01).sum(axis=1).tolist()
        assert count_above_mostly(grams, 1e-4).tolist() == expected
        assert count_above(grams, 1e-4).tolist() == expected


def test_counts_by_hand() -> None:
    """Eigenvalues 4, 2 and 0.5; a matrix that needs a pivot of two rows; nothing at all."""
    diagonal = torch.diag(torch.tensor([4.0, 2.0, 0.5], dtype=torch.float64))
    hollow = torch.tensor([[1.0, 3.0, 0.0], [3.0, 1.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)  # 4, -2
    stack = torch.stack((diagonal, hollow, diagonal * 0, torch.eye(3, dtype=torch.float64) * 1.5))
    kept = stack.clone()
    assert count_above_mostly(stack, 1.0).tolist() == [2, 1, 0, 3]
    assert count_above(stack, 1.0).tolist() == [2, 1, 0, 3]
    assert torch.equal(stack, kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 3, DIRECT, DIRECT + 1, 40])
def test_largest_squares_are_nearly_those_of_a_full_decomposition(dtype: torch.dtype, size: int) -> None:
    rng = np.random.default_rng(size)
    matrices = np.zeros((5, 30, 48))
    matrices[:, :, :size] = rng.normal(size=(5, 30, size)) * 0.8 ** np.arange(size)
    found = largest_squares(torch.from_numpy(matrices).to(dtype), np.full(5, size), 4)
    expected = np.linalg.svd(matrices, compute_uv=False)[:, :4] ** 2
    exact = size <= DIRECT
    np.testing.assert_allclose(found.sum(axis=1), expected.sum(axis=1), rtol=1e-5 if exact else 0.05)
    assert (found <= expected * (1 + 1e-5) + 1e-9).all(), "a part of a matrix has no larger singular values"
    assert (np.diff(found, axis=1) <= 0).all()


def test_a_matrix_of_low_rank_is_decomposed_exactly_however_wide() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(1, 20, 5)) @ rng.normal(size=(1, 5, 30))
    found = largest_squares(torch.from_numpy(matrix), np.array([30]), 4)
    np.testing.assert_allclose(found[0], np.linalg.svd(matrix[0], compute_uv=False)[:4] ** 2, rtol=1e-6)


@pytest.mark.parametrize("size", [5, 20])
def test_columns_beyond_a_rows_own_change_nothing(size: int) -> None:
    rng = np.random.default_rng(size)
    narrow = torch.from_numpy(rng.normal(size=(1, 9, size)))
    wide = torch.zeros((2, 9, 60), dtype=torch.float64)
    wide[0, :, :size], wide[1] = narrow[0], torch.from_numpy(rng.normal(size=(9, 60)))
    alone = largest_squares(narrow, np.array([size]), 4)
    among = largest_squares(wide, np.array([size, 60]), 4)
    np.testing.assert_allclose(among[0], alone[0], rtol=1e-9)


def test_what_is_no_number_counts_as_zero() -> None:
    matrices = torch.ones((4, 3, 20))
    matrices[1, 0, 0], matrices[2, 0, 0], matrices[3] = torch.nan, torch.inf, 0.0
    for size in (3, 20):
        found = largest_squares(matrices, np.array([size, size, size, 0]), 4)
        assert found[0, 0] > 0
        assert np.isfinite(found).all()
        assert not found[3].any()
