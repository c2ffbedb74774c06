"""A column for every task."""

from __future__ import annotations

import numpy as np
import pytest

from growenv.protection import PROTECTIONS
from growenv.protection.progressive import Progressive
from growenv.streams.scenarios import NotVisibleError
from growenv.testing import check_protection
from tests.protection.unforgetting import EVERYONE, ROWS, STREAM, assert_unforgetting, started, train_task
from tests.rollouts import context


def test_the_contract_of_protections_holds() -> None:
    check_protection("progressive")


def test_finished_tasks_answer_the_same_to_the_last_bit() -> None:
    assert_unforgetting(started("progressive", max_hidden=(80, 80)))


def test_every_later_task_gets_a_column_as_wide_as_the_first_task_left_the_network() -> None:
    ours = started("progressive", max_hidden=(80, 80))
    train_task(ours, 0, [3, 0, 9])
    for number in (1, 2, 3):
        ours.next_task(EVERYONE)
        assert ours.units[:, number].tolist() == [[8, 4], [5, 4], [14, 4]]
        assert ours.network.active_units.tolist() == [[8, 4], [5, 4], [14, 4]]
    part = ours.protection
    assert isinstance(part, Progressive)
    assert part.columns[:, 0].sum() == 0
    assert (part.columns[:, 1:] == ours.units[:, 1:]).all()


def test_new_columns_read_older_ones_and_older_ones_never_read_new_ones() -> None:
    ours = started("progressive", max_hidden=(80, 80))
    ours.next_task(EVERYONE)
    into = ours.network.weights[1]
    frozen, active = ours.network.layout.frozen[0], ours.network.layout.active[0]
    for row in range(ROWS):
        lateral, own = into[row, 1:6, :4], into[row, frozen : frozen + 5, :4]
        assert (lateral != 0).all()
        assert (own != 0).all()
    assert ours.network.frozen[1].shape[1] == frozen, "frozen units have no rows for active ones"
    assert active >= 5


def test_a_column_that_does_not_fit_is_not_granted_and_the_rest_is() -> None:
    ours = started("progressive", max_hidden=(12, 40))
    ours.next_task(EVERYONE)
    ours.next_task(EVERYONE)
    part = ours.protection
    assert isinstance(part, Progressive)
    assert part.columns[:, 1].tolist() == [[5, 4]] * ROWS
    assert part.columns[:, 2].tolist() == [[0, 4]] * ROWS, "10 + 5 units are more than 12"
    ours.train()


def test_the_start_of_a_stream_grows_nothing_and_forgets_what_was_granted() -> None:
    ours = started("progressive", max_hidden=(80, 80))
    ours.next_task(EVERYONE)
    part = ours.protection
    assert isinstance(part, Progressive)
    assert part.columns.any()
    ours.begin(np.array([True, False, False]), [context(STREAM, 7)] * ROWS)
    assert part.columns.any(axis=(1, 2)).tolist() == [False, True, True]
    assert ours.network.widths[0].tolist() == [5, 4]


def test_flags_and_scenarios_without_boundaries() -> None:
    part = PROTECTIONS.make("progressive")
    assert (part.name, part.directed, part.invariant, part.frees) == ("progressive", True, True, False)
    with pytest.raises(NotVisibleError, match="task-free"):
        started("progressive", scenario="task-free")
