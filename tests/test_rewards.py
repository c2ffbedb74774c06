"""Reward terms by hand, and that they telescope to the objective."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growenv.rewards import decision_reward, objective


def test_terms_by_hand():
    terms = decision_reward(
        accuracy_before=[0.50, 0.90],
        accuracy_after=[0.75, 0.85],
        used_before=[0.25, 0.50],
        used_after=[0.50, 0.50],
        price=[0.2, 3.0],
        diverged=[False, False],
        divergence_penalty=1.0,
    )
    assert terms.accuracy == pytest.approx([0.25, -0.05])
    assert terms.cost == pytest.approx([-0.05, 0.0])
    assert terms.penalty.tolist() == [0.0, 0.0]
    assert terms.total == pytest.approx([0.20, -0.05])
    assert terms.total.dtype == np.float64


def test_a_diverged_row_loses_its_accuracy_and_pays_the_penalty():
    terms = decision_reward([0.6, 0.6], [float("nan"), 0.7], [0.1, 0.1], [0.3, 0.3], 0.5, [True, False], 2.0)
    assert terms.accuracy == pytest.approx([-0.6, 0.1])
    assert terms.cost == pytest.approx([-0.1, -0.1])
    assert terms.penalty.tolist() == [-2.0, 0.0]
    assert objective([float("nan"), 0.7], 0.3, 0.5, [True, False], 2.0) == pytest.approx([-2.15, 0.55])


def test_terms_have_the_shape_of_the_rows_and_own_their_memory():
    before = np.zeros(3)
    terms = decision_reward(before, 0.5, 0.0, 0.0, 0.1, False, 1.0)
    for term in (terms.accuracy, terms.cost, terms.penalty):
        assert term.shape == (3,)
        term[0] = 7.0
    assert before.tolist() == [0.0, 0.0, 0.0]


def test_no_penalty_is_not_minus_zero():
    terms = decision_reward([0.5], [0.5], [0.2], [0.2], [0.1], [False], 1.0)
    assert not np.signbit(terms.penalty).any()


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.floats(0, 10), st.floats(0, 5), st.booleans())
def test_terms_telescope_to_the_objective(seed, decisions, price, penalty, from_zero):
    rng = np.random.default_rng(seed)
    rows = 4
    accuracy = rng.uniform(0, 1, (decisions + 1, rows))
    used = np.sort(rng.uniform(0, 1, (decisions + 1, rows)), axis=0)
    if from_zero:
        accuracy[0] = used[0] = 0.0
    diverged = np.zeros((decisions, rows), dtype=bool)
    diverged[-1] = rng.integers(0, 2, rows)
    steps = [
        decision_reward(accuracy[k], accuracy[k + 1], used[k], used[k + 1], price, diverged[k], penalty)
        for k in range(decisions)
    ]
    start = {} if from_zero else {"accuracy_start": accuracy[0], "used_start": used[0]}
    expected = objective(accuracy[-1], used[-1], price, diverged[-1], penalty, **start)
    assert sum(step.total for step in steps) == pytest.approx(expected, abs=1e-6)
    closed_form = np.where(diverged[-1], 0, accuracy[-1]) - price * used[-1] - penalty * diverged[-1]
    if from_zero:
        assert expected == pytest.approx(closed_form, abs=1e-9)
