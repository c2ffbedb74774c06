"""Hand-worked accuracy matrices, and the traps that other libraries fell into."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from growenv.metrics import average_accuracy, backward_transfer, forgetting, forward_transfer

A = np.array([[0.80, 0.30, 0.20], [0.90, 0.70, 0.40], [0.60, 0.60, 0.90]])
B = np.array([[0.80, 0.30, 0.20], [0.90, 0.70, 0.40], [0.95, 0.60, 0.90]])
UNTRAINED = np.array([[0.10, 0.20, 0.10]])
NAN = float("nan")


def matrices(low=0.0):
    shape = st.tuples(st.integers(1, 3), st.integers(1, 6)).map(lambda size: (size[0], size[1], size[1]))
    return shape.flatmap(lambda size: npst.arrays(np.float64, size, elements=st.floats(low, 1.0)))


def test_matrix_a_by_hand():
    assert average_accuracy(A[None]) == pytest.approx([0.70], abs=1e-12)
    assert backward_transfer(A[None]) == pytest.approx([-0.15], abs=1e-12)  # divided by T it would be -0.10
    assert forward_transfer(A[None], UNTRAINED) == pytest.approx([0.20], abs=1e-12)  # without b it would be 0.35
    assert forgetting(A[None]) == pytest.approx([0.20], abs=1e-12)  # first minus last would be 0.15


def test_matrix_b_by_hand():
    # The last row is outside the maximum: inside it would be 0.05, and -BWT is -0.025.
    assert forgetting(B[None]) == pytest.approx([0.025], abs=1e-12)
    assert backward_transfer(B[None]) == pytest.approx([0.025], abs=1e-12)


def test_forgetting_after_two_tasks_can_be_negative():
    assert forgetting(A[None, :2, :2]) == pytest.approx([-0.10], abs=1e-12)


def test_four_tasks_by_hand():
    matrix = np.array([[[0.9, 0.1, 0.2, 0.3], [0.8, 0.7, 0.3, 0.2], [0.5, 0.9, 0.8, 0.4], [0.4, 0.6, 0.7, 0.6]]])
    untrained = np.array([[0.1, 0.1, 0.1, 0.1]])
    assert average_accuracy(matrix) == pytest.approx([(0.4 + 0.6 + 0.7 + 0.6) / 4])
    assert backward_transfer(matrix) == pytest.approx([(-0.5 - 0.1 - 0.1) / 3])
    assert forward_transfer(matrix, untrained) == pytest.approx([(0.0 + 0.2 + 0.3) / 3])
    assert forgetting(matrix) == pytest.approx([(0.5 + 0.3 + 0.1) / 3])


def test_rows_are_answered_separately():
    both = np.stack([A, B])
    assert forgetting(both) == pytest.approx([0.20, 0.025])
    assert backward_transfer(both) == pytest.approx([-0.15, 0.025])
    assert forward_transfer(both, np.repeat(UNTRAINED, 2, axis=0)) == pytest.approx([0.20, 0.20])


def test_one_task_has_nothing_to_transfer_or_forget():
    one = np.array([[[0.7]], [[0.4]]])
    assert average_accuracy(one).tolist() == [0.7, 0.4]
    for answer in (backward_transfer(one), forgetting(one), forward_transfer(one, np.full((2, 1), NAN))):
        assert answer.tolist() == [0.0, 0.0]


def test_entries_that_a_metric_does_not_need_may_be_missing():
    lower = np.where(np.tri(3, dtype=bool), A, NAN)[None]
    assert average_accuracy(lower) == pytest.approx([0.70])
    assert backward_transfer(lower) == pytest.approx([-0.15])
    assert forgetting(lower) == pytest.approx([0.20])
    assert np.isnan(forward_transfer(lower, UNTRAINED)).all()


def test_an_entry_that_a_metric_needs_makes_only_its_row_nan():
    holed = np.stack([A, A])
    holed[0, 1, 0] = NAN
    assert np.isnan(forgetting(holed)).tolist() == [True, False]
    assert np.isnan(backward_transfer(holed)).tolist() == [False, False]


@settings(max_examples=60, deadline=None)
@given(matrices())
def test_forgetting_is_at_least_minus_backward_transfer(matrix):
    # The best earlier accuracy is at least the first one.
    assert (forgetting(matrix) >= -backward_transfer(matrix) - 1e-12).all()


@settings(max_examples=30, deadline=None)
@given(matrices(), st.floats(-0.5, 0.5))
def test_adding_a_constant_moves_accuracy_and_nothing_relative(matrix, shift):
    untrained = np.full(matrix.shape[:2], 0.1)
    assert average_accuracy(matrix + shift) == pytest.approx(average_accuracy(matrix) + shift, abs=1e-9)
    assert backward_transfer(matrix + shift) == pytest.approx(backward_transfer(matrix), abs=1e-9)
    assert forgetting(matrix + shift) == pytest.approx(forgetting(matrix), abs=1e-9)
    moved = forward_transfer(matrix + shift, untrained + shift)
    assert moved == pytest.approx(forward_transfer(matrix, untrained), abs=1e-9)


@pytest.mark.parametrize("metric", [average_accuracy, backward_transfer, forgetting])
@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 2), (1, 0, 0)])
def test_a_matrix_of_another_shape_is_refused(metric, shape):
    with pytest.raises(ValueError, match=r"must have shape \(N, T, T\)"):
        metric(np.zeros(shape))


def test_untrained_accuracies_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"must have shape \(1, 3\), got \(3,\)"):
        forward_transfer(A[None], UNTRAINED[0])
