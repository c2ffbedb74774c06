"""Buffers hold what their rule says, in every row, whatever the other rows are offered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from growenv.protection.exemplars import Balanced, Exemplars, Reservoir, TaskEnd, level
from growenv.randomness import Purpose, integers, uniform

ROWS, OUTPUTS, SIZE = 3, 5, 16
SEEDS = np.array([3, 4, 5], dtype=np.uint64)


def offers(number: int, outputs: int = OUTPUTS, size: int = SIZE) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Samples that are all different, and outputs."""
    rng = np.random.default_rng(number)
    samples = 1000 * number + np.arange(ROWS * size).reshape(ROWS, size)
    return samples, rng.integers(0, outputs, (ROWS, size))


def held(buffer: Exemplars, row: int) -> list[tuple[int, int]]:
    count = buffer.counts[row]
    pairs = zip(buffer.samples[row, :count].tolist(), buffer.outputs[row, :count].tolist(), strict=True)
    return list(pairs)


def steps(number: int) -> NDArray[np.int64]:
    return np.full(ROWS, number)


# -- reservoir -------------------------------------------------------------------------------------------------------


def reservoir_of(row: int, capacity: int, batches: int) -> list[tuple[int, int]]:
    """Algorithm R, one sample after the other."""
    kept: list[tuple[int, int]] = []
    offered = 0
    for number in range(batches):
        samples, outputs = offers(number)
        for position in range(SIZE):
            offered += 1
            pair = int(samples[row, position]), int(outputs[row, position])
            if offered <= capacity:
                kept.append(pair)
                continue
            chance = float(uniform(SEEDS[row], Purpose.PROTECTION, 1, number, position))
            if int(chance * offered) < capacity:
                kept[int(chance * offered)] = pair
    return kept


@pytest.mark.parametrize("capacity", [1, 5, 16, 40, 500])
def test_a_reservoir_is_algorithm_r_in_every_row(capacity: int) -> None:
    buffer = Reservoir(ROWS, capacity, OUTPUTS)
    for number in range(12):
        buffer.insert(*offers(number), SEEDS, steps(number))
    for row in range(ROWS):
        assert held(buffer, row) == reservoir_of(row, capacity, 12)


def test_every_offer_is_as_likely_to_stay_in_a_reservoir() -> None:
    """4,000 reservoirs of 4 out of 32 offers: each stays in 500 of them, give or take 21."""
    rows = 4000
    buffer, seeds = Reservoir(rows, 4, 1), np.arange(rows, dtype=np.uint64)
    for number in range(4):
        samples = np.broadcast_to(8 * number + np.arange(8), (rows, 8))
        buffer.insert(samples, np.zeros_like(samples), seeds, np.full(rows, number))
    stayed = np.bincount(buffer.samples.reshape(-1), minlength=32)
    assert stayed.sum() == rows * 4
    assert np.abs(stayed - 500).max() < 5 * 21


# -- balance ---------------------------------------------------------------------------------------------------------


def balanced_of(row: int, capacity: int, given: list[Any]) -> set[tuple[int, int]]:
    """The least priorities of every output, as many as the fair share lets."""
    queues: dict[int, list[tuple[float, int]]] = {}
    for number, (samples, outputs) in enumerate(given):
        for position in range(samples.shape[1]):
            chance = float(uniform(SEEDS[row], Purpose.PROTECTION, 3, number, position))
            queues.setdefault(int(outputs[row, position]), []).append((chance, int(samples[row, position])))
    share = max(map(len, queues.values()))
    while sum(min(len(queue), share) for queue in queues.values()) > capacity:
        share -= 1
    return {(sample, output) for output, queue in queues.items() for _, sample in sorted(queue)[:share]}


@pytest.mark.parametrize("capacity", [5, 12, 33, 1000])
def test_a_balanced_buffer_holds_a_fair_share_of_every_output(capacity: int) -> None:
    buffer = Balanced(ROWS, capacity, OUTPUTS)
    given = [offers(number, outputs=1 + number % OUTPUTS) for number in range(9)]
    for number, offer in enumerate(given):
        buffer.insert(*offer, SEEDS, steps(number))
        for row in range(ROWS):
            assert set(held(buffer, row)) == balanced_of(row, capacity, given[: number + 1])


@settings(max_examples=50, deadline=None)
@given(st.integers(5, 60), st.lists(st.integers(1, OUTPUTS), min_size=1, max_size=8))
def test_balance(capacity: int, kinds: list[int]) -> None:
    buffer, offered = Balanced(ROWS, capacity, OUTPUTS), np.zeros((ROWS, OUTPUTS), dtype=np.int64)
    for number, kind in enumerate(kinds):
        samples, outputs = offers(number, outputs=kind)
        buffer.insert(samples, outputs, SEEDS, steps(number))
        for row in range(ROWS):
            offered[row] += np.bincount(outputs[row], minlength=OUTPUTS)
            right = [output for _, output in held(buffer, row)]
            sizes, seen = np.bincount(right, minlength=OUTPUTS), int((offered[row] > 0).sum())
            assert sizes.sum() <= capacity
            assert capacity - sizes.sum() < seen or (sizes == offered[row]).all(), "no more room is left than must be"
            assert (sizes >= np.minimum(offered[row], capacity // seen)).all(), "every output has its quota"
            trimmed = sizes < offered[row]
            assert (sizes[trimmed] == sizes.max()).all(), "only the largest give samples up"
            assert len({sample for sample, _ in held(buffer, row)}) == len(right)


def test_levels_by_hand() -> None:
    offered = np.array([[0, 3, 9, 20], [0, 3, 9, 20], [5, 5, 5, 5], [0, 0, 0, 0]])
    assert level(offered, 10).tolist() == [3, 3, 2, 0]
    assert level(offered, 21).tolist() == [9, 9, 5, 0]
    assert level(offered, 1000).tolist() == [20, 20, 5, 0]


def test_a_buffer_that_has_no_room_for_all_outputs_says_so() -> None:
    buffer = Balanced(ROWS, 2, OUTPUTS)
    samples = np.arange(9).reshape(ROWS, 3)
    with pytest.raises(ValueError, match="capacity 2 has no room for samples of 3 outputs; give at least 3"):
        buffer.insert(samples, np.broadcast_to(np.arange(3), (ROWS, 3)), SEEDS, steps(0))


# -- shares of tasks -------------------------------------------------------------------------------------------------


def test_every_finished_task_has_an_equal_share_of_different_samples() -> None:
    buffer = TaskEnd(ROWS, 10, OUTPUTS)
    everyone, first = np.ones(ROWS, dtype=bool), np.array([True, False, False])
    task = np.concatenate((np.arange(8), np.arange(8)))[None, :] + 100 * np.arange(ROWS)[:, None]
    buffer.keep(everyone, task, task % 2)
    assert buffer.counts.tolist() == [8, 8, 8], "no sample is kept twice, so a small task leaves room"
    assert held(buffer, 1) == [(100 + number, number % 2) for number in range(8)]
    buffer.keep(first, task + 1000, task % 3)
    assert buffer.quota(everyone).tolist() == [3, 5, 5]
    assert held(buffer, 0) == [(n, n % 2) for n in range(5)] + [(1000 + n, n % 3) for n in range(5)]
    buffer.keep(first, task + 2000, task % 2)
    assert [sample for sample, _ in held(buffer, 0)] == [0, 1, 2, 1000, 1001, 1002, 2000, 2001, 2002]
    assert buffer.counts.tolist() == [9, 8, 8]
    buffer.clear(first)
    assert buffer.counts.tolist() == [0, 8, 8]
    assert buffer.quota(first).tolist() == [10, 0, 0]


def test_more_tasks_than_samples_is_an_error() -> None:
    buffer, task = TaskEnd(1, 1, OUTPUTS), np.arange(4)[None, :]
    buffer.keep(np.array([True]), task, task)
    with pytest.raises(ValueError, match="capacity 1 has no room for samples of 2 tasks; give at least 2"):
        buffer.keep(np.array([True]), task, task)


# -- all -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Reservoir, Balanced])
def test_a_row_that_begins_anew_is_as_fresh_and_leaves_the_others_alone(kind: type[Exemplars]) -> None:
    buffer, alone = kind(ROWS, 20, OUTPUTS), kind(ROWS, 20, OUTPUTS)
    for number in range(4):
        buffer.insert(*offers(number), SEEDS, steps(number))
        if number == 1:
            others = [held(buffer, row) for row in (0, 2)]
            buffer.clear(np.array([False, True, False]))
            assert [held(buffer, row) for row in (0, 2)] == others
            assert held(buffer, 1) == []
        if number > 1:
            alone.insert(*offers(number), SEEDS, steps(number))
    assert held(buffer, 1) == held(alone, 1)
    assert held(buffer, 0) != held(alone, 0)


def test_stored_samples_are_drawn_uniformly_with_their_outputs() -> None:
    buffer = Reservoir(ROWS, 10, OUTPUTS)
    samples, outputs = offers(0)
    buffer.insert(samples[:, :10], outputs[:, :10], SEEDS, steps(0))
    drawn, right = buffer.draw(5000, SEEDS, steps(7))
    for row in range(ROWS):
        place = integers(10, SEEDS[row], Purpose.PROTECTION, 2, 7, np.arange(5000))
        assert (drawn[row] == samples[row, place]).all()
        assert (right[row] == outputs[row, place]).all()
        counts = np.bincount(drawn[row] - samples[row, 0], minlength=10)
        assert np.abs(counts - 500).max() < 5 * 22
