"""Objectives: rewards worked by hand, and returns that telescope."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growenv.paths import planning
from growenv.paths.objective import Objective
from growenv.registry import UnknownNameError
from tests.paths.tables import random_table, worked_table


def test_final_rewards_are_gains_and_the_first_counts_from_zero() -> None:
    """Trial 0 counts 1; 2, 4; 3, 5, 6; 7, 8, 9 of 10: the root's own 1 is not subtracted."""
    expected = [0.0, 0.2, 0.4, 0.1, 0.3, 0.2, 0.4, 0.3, 0.3]
    np.testing.assert_allclose(Objective().rewards(worked_table())[0], expected, atol=1e-15)


def test_anytime_rewards_are_accuracies_over_the_horizon() -> None:
    expected = np.array([0, 2, 4, 3, 5, 6, 7, 8, 9]) / 30
    np.testing.assert_allclose(Objective("anytime").rewards(worked_table(), [0])[0], expected, atol=1e-15)


def test_work_is_paid_for_at_the_node_that_is_trained() -> None:
    """64-w1-w2-10: widths 1-1 at first, then 2-1, 1-2; 3-1, 2-2, 2-2; 3-2: 65 w1 + (w1 + 1) w2 + 10 (w2 + 1)."""
    macs = np.array([0, 130 + 3 + 20, 65 + 4 + 30, 195 + 4 + 20, 130 + 6 + 30, 130 + 6 + 30, *[195 + 8 + 30] * 3])
    table = worked_table()
    free, priced = Objective().rewards(table), Objective(price=0.6).rewards(table)
    np.testing.assert_allclose(free - priced, np.tile(0.2 * macs / 233, (2, 1)), atol=1e-15)


def test_test_samples_are_rewarded_if_asked_for() -> None:
    expected = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8]) / 24
    np.testing.assert_allclose(Objective("anytime", metric="test").rewards(worked_table())[0], expected, atol=1e-15)


@settings(max_examples=30, deadline=None)
@given(kind=st.sampled_from(["final", "anytime"]), price=st.floats(0, 10), seed=st.integers(0, 2**32 - 1))
def test_rewards_of_a_path_sum_to_what_its_objective_says(kind: str, price: float, seed: int) -> None:
    table = random_table((2, 2), 1, seed=seed)
    lattice, accuracy = table.lattice, table.accuracy()
    visited = lattice.follow(lattice.path(lattice.leaves))[:, 1:]
    paid = price * np.asarray(table.work)[visited].mean(axis=1)
    earned = accuracy[:, lattice.leaves] if kind == "final" else accuracy[:, visited].mean(axis=2)
    np.testing.assert_allclose(planning.returns(table, Objective(kind, price)), earned - paid, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"kind": "finale"}, UnknownNameError, "did you mean 'final'"),
        ({"metric": "train"}, UnknownNameError, "known: test, validation"),
        ({"price": -0.1}, ValueError, "price is -0.1, expected a number >= 0"),
        ({"price": float("nan")}, ValueError, "price is nan, expected a finite number"),
        ({"price": float("inf")}, ValueError, "price is inf"),
        ({"price": True}, ValueError, "price is True"),
        ({"price": "1"}, ValueError, "price is '1'"),
    ],
)
def test_bad_objectives_are_refused(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Objective(**options)
