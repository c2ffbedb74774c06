from __future__ import annotations

import numpy as np
import pytest

from agents.mutations import MOVES, Move, add, change, copy_onwards, copy_task, drop, mutated, resize, shift
from growenv.actions import ActionTable

TABLE = ActionTable(2, (4, 16))  # 0 wait, 1 layer 0 +4, 2 layer 0 +16, 3 layer 1 +4, 4 layer 1 +16
PLAN = np.array([[1, 0, 4], [0, 2, 0]], dtype=np.int64)


def outcomes(move: Move, plan: np.ndarray = PLAN, table: ActionTable = TABLE) -> set[tuple[int, ...]]:
    found = set()
    for seed in range(300):
        changed = plan.copy()
        move(changed, table, np.random.default_rng(seed))
        assert changed.shape == plan.shape
        assert 0 <= changed.min() <= changed.max() < table.size
        found.add(tuple(changed.ravel().tolist()))
    return found


def test_drop_takes_each_growth() -> None:
    assert outcomes(drop) == {(0, 0, 4, 0, 2, 0), (1, 0, 0, 0, 2, 0), (1, 0, 4, 0, 0, 0)}


def test_add_fills_each_wait_with_each_growth() -> None:
    assert len(outcomes(add)) == 3 * 4
    assert all(np.count_nonzero(plan) == 4 for plan in outcomes(add))


def test_change_puts_any_action_anywhere() -> None:
    assert len(outcomes(change)) == 1 + 6 * 4


def test_shift_moves_a_growth_by_one_decision_over_the_ends_of_tasks() -> None:
    swaps = {(0, 1, 4, 0, 2, 0), (1, 4, 0, 0, 2, 0), (1, 0, 0, 4, 2, 0), (1, 0, 4, 2, 0, 0), (1, 0, 4, 0, 0, 2)}
    assert outcomes(shift) == swaps | {tuple(PLAN.ravel().tolist())}  # the first one cannot come earlier


def test_tasks_are_copied_to_one_or_to_all_later_ones() -> None:
    three = np.array([[1], [2], [3]])
    assert outcomes(copy_task, three) == {(1, 2, 3), (1, 1, 3), (1, 2, 1), (2, 2, 3), (1, 2, 2), (3, 2, 3), (1, 3, 3)}
    assert outcomes(copy_onwards, three) == {(1, 1, 1), (1, 2, 2), (1, 2, 3)}


def test_resize_keeps_layer_and_region() -> None:
    assert outcomes(resize) == {
        tuple(PLAN.ravel().tolist()),
        (2, 0, 4, 0, 2, 0),
        (1, 0, 3, 0, 2, 0),
        (1, 0, 4, 0, 1, 0),
    }
    regions = ActionTable(1, (4, 16), 3)  # 1 to 3: +4, 4 to 6: +16
    assert outcomes(resize, np.array([[2]]), regions) == {(2,), (5,)}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("plan", [np.zeros((2, 3), dtype=np.int64), np.full((1, 1), 4), np.full((2, 2), 1)])
def test_every_move_takes_every_plan(move: Move, plan: np.ndarray) -> None:
    reached = outcomes(move, plan)
    assert reached
    assert all(len(actions) == plan.size and 0 <= min(actions) <= max(actions) < TABLE.size for actions in reached)


def test_nothing_can_be_added_where_nothing_can_grow() -> None:
    assert outcomes(add, np.zeros((1, 2), dtype=np.int64), ActionTable(0, ())) == {(0, 0)}


def test_mutation_leaves_the_plan_alone_and_depends_on_the_generator_only() -> None:
    before = PLAN.copy()
    one, two = (mutated(PLAN, TABLE, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one, two)
    assert np.array_equal(PLAN, before)
    assert len({mutated(PLAN, TABLE, np.random.default_rng(seed)).tobytes() for seed in range(100)}) > 30
