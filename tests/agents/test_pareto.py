from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.pareto import cost_at, front, hypervolume, saving

# A staircase by hand: points 0, 3 and 2 are on the front, 1 is beaten by 3, 4 by 0.
COST = [1.0, 4.0, 6.0, 3.0, 2.0]
VALUE = [0.2, 0.5, 0.8, 0.6, 0.2]
POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=8)


def test_front_by_hand() -> None:
    assert front(COST, VALUE).tolist() == [0, 3, 2]


def test_of_equal_points_the_first_stays() -> None:
    assert front([1.0, 1.0, 1.0], [0.5, 0.7, 0.7]).tolist() == [1]


@given(POINTS)
def test_a_point_is_on_the_front_if_nothing_beats_it(points: list[tuple[int, int]]) -> None:
    cost, value = np.array(points).T
    best = front(cost, value)
    assert np.all(np.diff(cost[best]) > 0) and np.all(np.diff(value[best]) > 0)
    kept = {points[index] for index in best}
    for c, v in points:
        beaten = any(oc <= c and ov >= v and (oc, ov) != (c, v) for oc, ov in points)
        assert ((c, v) in kept) != beaten


def test_hypervolume_by_hand() -> None:
    # Up to cost 10 and down to value 0: (10 - 1) * 0.2 + (10 - 3) * 0.4 + (10 - 6) * 0.2.
    assert hypervolume(COST, VALUE, reference=(10.0, 0.0)) == pytest.approx(1.8 + 2.8 + 0.8)
    # A nearer reference cuts the first point's value and the last point's cost away.
    assert hypervolume(COST, VALUE, reference=(5.0, 0.3)) == pytest.approx((5 - 3) * 0.3)


def test_a_reference_better_than_all_points_leaves_no_area() -> None:
    assert hypervolume(COST, VALUE, reference=(0.5, 0.0)) == 0.0
    assert hypervolume(COST, VALUE, reference=(10.0, 0.9)) == 0.0


@given(POINTS)
def test_hypervolume_counts_the_beaten_cells_of_a_grid(points: list[tuple[int, int]]) -> None:
    cost, value = np.array(points).T
    cells = sum(any(c <= x and v >= y + 1 for c, v in points) for x in range(7) for y in range(7))
    assert hypervolume(cost, value, reference=(7.0, 0.0)) == cells


def test_cost_is_linear_between_neighbours_on_the_front() -> None:
    assert cost_at(0.4, COST, VALUE) == pytest.approx(2.0)  # half way from (1, 0.2) to (3, 0.6)
    assert cost_at(0.7, COST, VALUE) == pytest.approx(4.5)
    assert cost_at(0.6, COST, VALUE) == pytest.approx(3.0)


def test_there_is_no_cost_off_the_front() -> None:
    assert cost_at(0.19, COST, VALUE) is None
    assert cost_at(0.81, COST, VALUE) is None


def test_saving_of_means_by_hand() -> None:
    # The front costs 4.5 at 0.7; of the initial 0.5, 4.0 are new there and 2.0 in the policy.
    found = saving(2.5, 0.7, COST, VALUE, initial_cost=0.5)
    assert found.front_cost == pytest.approx(4.5) and found.total is not None and found.new is not None
    assert found.total.mean == pytest.approx(1 - 2.5 / 4.5)
    assert found.new.mean == pytest.approx(0.5)
    assert np.isnan([found.total.low, found.total.high, found.new.low]).all()
    assert found.front_values == (0.2, 0.8)


def study(generator: np.random.Generator, seeds: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A policy at cost 2 and accuracy 0.5; schedules at (1, 0.2), (3, 0.5) and (5, 0.8); contexts shift all alike."""
    shift = 0.02 * generator.normal(size=(1, 40, 2))
    cost, value = np.full((seeds, 40, 2), 2.0), 0.5 + shift + np.zeros((seeds, 1, 1))
    schedule_cost = np.array([1.0, 3.0, 5.0])[:, None, None] + np.zeros((1, 40, 2))
    return cost, value, schedule_cost, np.array([0.2, 0.5, 0.8])[:, None, None] + shift


def test_pairing_leaves_no_doubt_where_contexts_shift_all_policies_alike() -> None:
    found = saving(*study(np.random.default_rng(0)), initial_cost=1.0)
    assert found.total is not None and found.new is not None
    np.testing.assert_allclose([found.total.mean, found.total.low, found.total.high], 1 / 3)
    np.testing.assert_allclose([found.new.mean, found.new.low, found.new.high], 1 / 2)
    assert "uses 33.3 % [33.3, 33.3] less hardware and 50.0 % [50.0, 50.0] less newly used hardware" in str(found)
    assert "no saving" not in str(found)


def test_training_seeds_redraw_cost_and_accuracy_of_one_policy_together() -> None:
    generator = np.random.default_rng(1)
    cost, value, schedule_cost, schedule_value = study(generator, seeds=6)
    better = 0.03 * generator.normal(size=(6, 1, 1))
    # On the front an accuracy more costs 20 / 3: the policy always pays 1 less than the front.
    found = saving(cost + better * 20 / 3, value + better, schedule_cost, schedule_value, seed=3)
    assert found.total is not None and found.front_cost is not None
    assert found.total.mean == pytest.approx(1 / found.front_cost)
    assert 0.25 < found.total.low < found.total.mean < found.total.high < 0.45


def test_a_dearer_policy_is_said_to_use_more() -> None:
    _, value, schedule_cost, schedule_value = study(np.random.default_rng(0))
    cost = np.random.default_rng(5).normal(3.3, 0.3, (1, 40, 2))
    found = saving(cost, value, schedule_cost, schedule_value, initial_cost=5.0)
    assert found.total is not None and found.total.high < 0
    assert found.new is None  # the schedules' front costs less than this initial network
    low, high = (f"{-100 * end:.1f}" for end in (found.total.high, found.total.low))
    assert f"{-100 * found.total.mean:.1f} % [{low}, {high}] more hardware than fixed schedules" in str(found)


def test_an_uncertain_saving_is_not_claimed() -> None:
    _, value, schedule_cost, schedule_value = study(np.random.default_rng(0))
    cost = np.random.default_rng(5).normal(3.0, 1.0, (1, 40, 2))
    assert str(saving(cost, value, schedule_cost, schedule_value)).endswith("; no saving was shown")


def test_a_policy_above_all_schedules_has_no_saving_at_equal_accuracy() -> None:
    cost, value, schedule_cost, schedule_value = study(np.random.default_rng(0))
    found = saving(cost, value + 0.4, schedule_cost, schedule_value)
    assert found.total is None and found.new is None and found.front_cost is None
    assert "is not on the schedules' front" in str(found)


def test_draws_that_leave_the_front_leave_an_end_unknown() -> None:
    cost, value, schedule_cost, schedule_value = study(np.random.default_rng(0))
    noise = np.random.default_rng(2).normal(0, 0.2, value.shape)
    edge = value + 0.299 + noise - noise.mean()
    found = saving(cost, edge, schedule_cost, schedule_value)
    assert found.total is not None and np.isnan([found.total.low, found.total.high]).all()
    assert "[unknown, unknown]" in str(found)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="a cost and a value for each point"):
        front([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="a cost and a value for each point"):
        cost_at(0.5, [], [])
    with pytest.raises(ValueError, match="must be finite"):
        front([1.0], [float("nan")])
    with pytest.raises(ValueError, match="finite \\(cost, value\\)"):
        hypervolume([1.0], [1.0], reference=(float("inf"), 0.0))
    with pytest.raises(ValueError, match="of the policy must be tables of one shape"):
        saving([1.0], [1.0], COST, VALUE)
    with pytest.raises(ValueError, match="of the schedules must be tables of one shape"):
        saving(1.0, 1.0, COST, VALUE[:-1])
    with pytest.raises(ValueError, match="same contexts and inner seeds"):
        saving(np.ones((1, 3, 2)), np.ones((1, 3, 2)), np.ones((2, 4, 2)), np.ones((2, 4, 2)))
    with pytest.raises(ValueError, match="initial_cost must be a finite number"):
        saving(1.0, 0.5, COST, VALUE, initial_cost=float("nan"))
