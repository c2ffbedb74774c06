"""Hand-worked accuracy matrices, and the traps that other libraries fell into."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from growenv.metrics import (
    average_accuracy,
    backward_transfer,
    computational_efficiency,
    forgetting,
    forward_transfer,
    incremental_accuracy,
    intransigence,
    model_size_efficiency,
    positive_backward_transfer,
    remembering,
    sample_storage_efficiency,
    triangle_accuracy,
    triangle_backward_transfer,
    triangle_forward_transfer,
)

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


FOUR = np.array([[[0.9, 0.1, 0.2, 0.3], [0.8, 0.7, 0.3, 0.2], [0.5, 0.9, 0.8, 0.4], [0.4, 0.6, 0.7, 0.6]]])


def test_four_tasks_by_hand():
    matrix = FOUR
    untrained = np.array([[0.1, 0.1, 0.1, 0.1]])
    assert average_accuracy(matrix) == pytest.approx([(0.4 + 0.6 + 0.7 + 0.6) / 4])
    assert backward_transfer(matrix) == pytest.approx([(-0.5 - 0.1 - 0.1) / 3])
    assert forward_transfer(matrix, untrained) == pytest.approx([(0.0 + 0.2 + 0.3) / 3])
    assert forgetting(matrix) == pytest.approx([(0.5 + 0.3 + 0.1) / 3])


def test_incremental_accuracy_by_hand():
    assert incremental_accuracy(A[None]) == pytest.approx(np.array([[0.80, 0.80, 0.70]]))
    assert incremental_accuracy(A[None]).mean(axis=1) == pytest.approx([0.766667], abs=1e-6)  # AIA


def test_incremental_accuracy_on_the_union_weighs_tasks_by_their_samples():
    # After task 1: (0.9 * 100 + 0.7 * 300) / 400; after task 2: (0.6 * 100 + 0.6 * 300 + 0.9 * 100) / 500.
    assert incremental_accuracy(A[None], [100, 300, 100]) == pytest.approx(np.array([[0.80, 0.75, 0.66]]))
    assert incremental_accuracy(A[None], [7, 7, 7]) == pytest.approx(incremental_accuracy(A[None]))


def test_forgetting_after_each_number_of_tasks():
    assert forgetting(A[None], after=1).tolist() == [0.0]
    assert forgetting(A[None], after=2) == pytest.approx([-0.10])
    assert forgetting(A[None], after=3) == pytest.approx(forgetting(A[None]))
    with pytest.raises(ValueError, match=r"after 4 tasks of 3; expected 1\.\.3"):
        forgetting(A[None], after=4)


def test_intransigence_by_hand():
    missing = intransigence(A[None], [0.80, 0.85, 0.95])
    assert missing == pytest.approx(np.array([[0.0, 0.15, 0.05]]))
    assert missing.mean(axis=1) == pytest.approx([0.066667], abs=1e-6)


def test_triangle_metrics_of_matrix_a_by_hand():
    assert triangle_accuracy(A[None]) == pytest.approx([0.75])
    assert triangle_backward_transfer(A[None]) == pytest.approx([-0.066667], abs=1e-6)
    assert remembering(A[None]) == pytest.approx([0.933333], abs=1e-6)
    assert positive_backward_transfer(A[None]).tolist() == [0.0]
    assert triangle_forward_transfer(A[None]) == pytest.approx([0.30])


def test_triangle_backward_transfer_of_four_tasks_sums_below_the_diagonal_only():
    # Task 1 after task 2; tasks 1, 2 after task 3; tasks 1, 2, 3 after task 4. With all j < T it would be other pairs:
    # row 2 would bring R[1, 2] - R[2, 2] = -0.5 as well.
    changes = [0.8 - 0.9, 0.5 - 0.9, 0.9 - 0.7, 0.4 - 0.9, 0.6 - 0.7, 0.7 - 0.8]
    assert triangle_backward_transfer(FOUR) == pytest.approx([sum(changes) / 6])
    assert triangle_forward_transfer(FOUR) == pytest.approx([(0.1 + 0.2 + 0.3 + 0.3 + 0.2 + 0.4) / 6])
    assert triangle_accuracy(FOUR) == pytest.approx([(0.9 + 0.8 + 0.7 + 0.5 + 0.9 + 0.8 + 0.4 + 0.6 + 0.7 + 0.6) / 10])


def test_what_got_better_is_positive_backward_transfer_and_fully_remembered():
    better = np.array([[[0.5, 0.0], [0.8, 0.9]]])
    assert positive_backward_transfer(better) == pytest.approx([0.3])
    assert remembering(better) == pytest.approx([1.0])


def test_efficiencies_by_hand():
    assert model_size_efficiency([[100, 125, 200]]) == pytest.approx([0.766667], abs=1e-6)
    assert model_size_efficiency([[92, 152]]) == pytest.approx([0.802632], abs=1e-6)
    assert model_size_efficiency([[100, 50, 50]]) == pytest.approx([1.0])  # a network that shrinks is no better than 1
    assert sample_storage_efficiency([[0, 100, 200]], 1000) == pytest.approx([0.90])
    assert sample_storage_efficiency([[4000, 4000]], 1000) == pytest.approx([0.0])
    assert computational_efficiency([10, 12, 20], [[100, 100, 100]]) == pytest.approx([0.14])
    assert computational_efficiency([10, 12, 20], [[100, 100, 100]], scale=10) == pytest.approx([1.0])


def test_efficiencies_of_impossible_figures_are_refused():
    with pytest.raises(ValueError, match="sizes must be above 0, got 0"):
        model_size_efficiency([[1.0, 0.0]])
    with pytest.raises(ValueError, match=r"sizes must have shape \(N, T\)"):
        model_size_efficiency([1.0, 2.0])
    with pytest.raises(ValueError, match="of a whole above 0"):
        sample_storage_efficiency([[1.0]], 0.0)
    with pytest.raises(ValueError, match=r"least must have shape \(1, 2\) or \(2,\), got \(3,\)"):
        computational_efficiency([1, 2, 3], [[1, 2]])
    with pytest.raises(ValueError, match="must be above 0"):
        computational_efficiency([1, 2], [[1, 0]])


def test_joint_accuracies_and_samples_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"joint accuracy must have shape \(3,\) or \(1, 3\), got \(2,\)"):
        intransigence(A[None], [0.5, 0.5])
    with pytest.raises(ValueError, match=r"samples must have shape \(3,\) or \(1, 3\)"):
        incremental_accuracy(A[None], [1, 2])
    with pytest.raises(ValueError, match="every task needs test samples"):
        incremental_accuracy(A[None], [1, 0, 2])


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
    assert triangle_backward_transfer(one).tolist() == triangle_forward_transfer(one).tolist() == [0.0, 0.0]
    assert remembering(one).tolist() == [1.0, 1.0]
    assert triangle_accuracy(one).tolist() == incremental_accuracy(one)[:, 0].tolist() == [0.7, 0.4]


def test_entries_that_a_metric_does_not_need_may_be_missing():
    lower = np.where(np.tri(3, dtype=bool), A, NAN)[None]
    assert average_accuracy(lower) == pytest.approx([0.70])
    assert backward_transfer(lower) == pytest.approx([-0.15])
    assert forgetting(lower) == pytest.approx([0.20])
    assert np.isnan(forward_transfer(lower, UNTRAINED)).all()
    assert incremental_accuracy(lower).mean(axis=1) == pytest.approx([0.766667], abs=1e-6)
    assert intransigence(lower, [0.80, 0.85, 0.95]).mean() == pytest.approx(0.066667, abs=1e-6)
    assert triangle_accuracy(lower) == pytest.approx([0.75])
    assert triangle_backward_transfer(lower) == pytest.approx([-0.066667], abs=1e-6)
    assert np.isnan(triangle_forward_transfer(lower)).all()


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


EVERY = [
    *(average_accuracy, incremental_accuracy, backward_transfer, forgetting, triangle_accuracy),
    *(triangle_backward_transfer, triangle_forward_transfer, remembering, positive_backward_transfer),
]


@pytest.mark.parametrize("metric", EVERY)
@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 2), (1, 0, 0)])
def test_a_matrix_of_another_shape_is_refused(metric, shape):
    with pytest.raises(ValueError, match=r"must have shape \(N, T, T\)"):
        metric(np.zeros(shape))


def test_untrained_accuracies_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"must have shape \(1, 3\), got \(3,\)"):
        forward_transfer(A[None], UNTRAINED[0])
