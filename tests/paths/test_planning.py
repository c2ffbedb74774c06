"""Exact planning: a tree worked by hand, and brute force over all paths of small lattices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growenv.paths import planning
from growenv.paths.objective import Objective
from tests.paths.reference import all_paths, all_returns
from tests.paths.tables import random_table, worked_table

LATTICES = [((1,), 0), ((2, 1), 0), ((1, 1), 2), ((2, 2), 1), ((1, 1, 1), 1), ((0, 2), 1), ((3, 2), 0)]
OBJECTIVES = st.builds(
    Objective,
    st.sampled_from(["final", "anytime"]),
    st.sampled_from([0.0, 0.1, 3.0]),
    st.sampled_from(["validation", "test"]),
)


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_values_and_best_actions_of_a_tree_worked_by_hand() -> None:
    """Nodes 0; 1, 2; 11, 12, 21; 112, 121, 211."""
    lattice = worked_table().lattice
    rewards = np.array([9.0, 1, 2, 5, 3, 1, 1, 4, 7])
    np.testing.assert_array_equal(planning.values(lattice, rewards), [10, 7, 8, 1, 4, 7, 0, 0, 0])
    np.testing.assert_array_equal(planning.best_actions(lattice, rewards), [2, 2, 1, 2, 1, 1, -1, -1, -1])
    np.testing.assert_array_equal(planning.sums(lattice, rewards), [9, 1, 2, 6, 4, 3, 7, 8, 10])


def test_the_lowest_action_wins_among_equals() -> None:
    lattice = worked_table().lattice
    assert planning.best_actions(lattice, np.zeros(lattice.nodes)).tolist() == [1, 1, 1, 2, 1, 1, -1, -1, -1]


def test_the_worked_table_has_its_best_paths() -> None:
    """Final accuracies 7, 8, 9 and 9, 7, 3 of 10: the mean is best for 112, trial 0 alone wants 211."""
    table = worked_table()
    np.testing.assert_allclose(planning.returns(table), [[0.7, 0.8, 0.9], [0.9, 0.7, 0.3]], atol=1e-15)
    assert planning.optimal_return(table) == pytest.approx(0.8, abs=1e-12)
    assert planning.optimal_actions(table).tolist() == [1, 1, 2]
    assert planning.optimal_return(table, knowing="trial") == pytest.approx(0.9, abs=1e-12)
    assert planning.optimal_actions(table, knowing="trial").tolist() == [[2, 1, 1], [1, 1, 2]]
    assert planning.optimal_return(table, trials="train") == pytest.approx(0.9, abs=1e-12)
    assert planning.optimal_actions(table, trials=[0]).tolist() == [2, 1, 1]


def test_regret_rank_and_quantile_of_the_worked_table() -> None:
    """Mean returns of 112, 121 and 211 are 0.8, 0.75 and 0.6."""
    table, paths = worked_table(), [[1, 1, 2], [1, 2, 1], [2, 1, 1]]
    np.testing.assert_allclose(planning.mean_return(table, paths), [0.8, 0.75, 0.6], atol=1e-12)
    np.testing.assert_allclose(planning.regret(table, paths), [0.0, 0.05, 0.2], atol=1e-12)
    assert planning.rank(table, paths).tolist() == [1, 2, 3]
    np.testing.assert_allclose(planning.quantile(table, paths), [1.0, 2 / 3, 1 / 3], atol=1e-12)
    assert planning.regret(table, paths[1]).shape == () and planning.rank(table, paths[1]) == 2
    np.testing.assert_allclose(planning.regret_of(table, [0.8, 0.9]), [0.0, -0.1], atol=1e-12)
    assert planning.path_numbers(table.lattice, [paths, paths[::-1]]).tolist() == [[0, 1, 2], [2, 1, 0]]


def test_anytime_optimum_of_the_worked_table() -> None:
    """Mean counts on the way: 112: 4 + 4.5 + 8, 121: 4 + 5.5 + 7.5, 211: 4 + 4 + 6, of 30."""
    table = worked_table()
    np.testing.assert_allclose(planning.returns(table, Objective("anytime")).mean(0), [16.5 / 30, 17 / 30, 14 / 30])
    assert planning.optimal_actions(table, Objective("anytime")).tolist() == [1, 2, 1]


# -- brute force -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "waits"), LATTICES)
@settings(max_examples=15, deadline=None)
@given(objective=OBJECTIVES, seed=st.integers(0, 2**32 - 1), samples=st.sampled_from([3, 500]))
def test_planning_agrees_with_all_permutations(
    steps: tuple[int, ...], waits: int, objective: Objective, seed: int, samples: int
) -> None:
    """Few samples make ties, which must not matter to any return."""
    table = random_table(steps, waits, trials=3, seed=seed, samples=samples)
    paths, expected = all_paths(steps, waits), all_returns(table, objective)
    np.testing.assert_allclose(planning.returns(table, objective), expected, atol=1e-12)
    mean = expected.mean(axis=0)
    assert planning.optimal_return(table, objective) == pytest.approx(mean.max(), abs=1e-12)
    best = tuple(planning.optimal_actions(table, objective).tolist())
    assert mean[paths.index(best)] == pytest.approx(mean.max(), abs=1e-12)
    knowing = planning.optimal_return(table, objective, knowing="trial")
    assert knowing == pytest.approx(expected.max(axis=1).mean(), abs=1e-12) and knowing >= mean.max() - 1e-12
    each = [paths.index(tuple(path)) for path in planning.optimal_actions(table, objective, knowing="trial").tolist()]
    np.testing.assert_allclose(expected[np.arange(3), each], expected.max(axis=1), atol=1e-12)
    np.testing.assert_allclose(planning.regret(table, paths, objective), mean.max() - mean, atol=1e-12)
    assert (planning.regret(table, paths, objective) >= 0).all()
    ranks = [1 + int((mean > one + 1e-9).sum()) for one in mean]
    assert planning.rank(table, paths, objective).tolist() == ranks


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_policy_is_optimal_from_every_node(seed: int) -> None:
    """Following it from a node earns the node's value, and the value of a node is its best child's."""
    table = random_table((2, 2), 1, seed=seed)
    lattice, rewards = table.lattice, Objective().rewards(table)
    value, action = planning.values(lattice, rewards), planning.best_actions(lattice, rewards)
    for trial in range(2):
        for start in range(lattice.nodes):
            node, earned = start, 0.0
            while action[trial, node] >= 0:
                node = int(lattice.children[node, action[trial, node]])
                earned += rewards[trial, node]
            assert earned == pytest.approx(value[trial, start], abs=1e-12)
            below = lattice.children[start][lattice.children[start] >= 0]
            best = max((rewards[trial, child] + value[trial, child] for child in below), default=0.0)
            assert value[trial, start] == pytest.approx(best, abs=1e-12)


def test_the_policy_of_a_table_is_that_of_its_mean_rewards() -> None:
    table, objective = random_table((2, 2), 1), Objective("anytime", 0.1, "test")
    rewards = objective.rewards(table)
    expected = planning.best_actions(table.lattice, rewards.mean(axis=0))
    np.testing.assert_array_equal(planning.optimal_policy(table, objective), expected)
    own = planning.optimal_policy(table, objective, knowing="trial")
    np.testing.assert_array_equal(own, planning.best_actions(table.lattice, rewards))


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda t: planning.values(t.lattice, np.zeros(8)), r"shape \(8,\): expected \(\.\.\., 9\)"),
        (lambda t: planning.best_actions(t.lattice, 1.0), r"shape \(\)"),
        (lambda t: planning.sums(t.lattice, np.zeros((9, 2))), r"shape \(9, 2\)"),
        (lambda t: planning.optimal_return(t, knowing="trials"), "'trials'; did you mean 'trial'"),
        (lambda t: planning.optimal_actions(t, knowing=None), "known: nothing, trial"),
        (lambda t: planning.optimal_return(t, trials=[2]), "expected numbers from 0 to 1"),
        (lambda t: planning.regret(t, [1, 2]), "paths of 2 actions: expected whole ones, of 3"),
        (lambda t: planning.regret(t, [1, 1, 1]), "more often than 2 times"),
        (lambda t: planning.rank(t, [[1, 2, 0]]), "more often than 0 times"),
        (lambda t: planning.mean_return(t, [1, 2, 3]), "expected numbers from 0 to 2"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call(worked_table())
