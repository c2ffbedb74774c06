"""Rows of stacks as stacks of their own: equal to where they come from, and independent of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from growenv.networks import OPTIMIZERS, StackedAdam, StackedMLP, StackedOptimizer
from growenv.networks.inheritance import RATES, set_rates
from growenv.networks.rows import followed, gathered
from tests.networks.test_stacked_mlp import fill, grow, loss_gradient
from tests.reference import assert_equal_rows, check_padding, row_of

INPUTS, CLASSES = 4, 3
Stack = tuple[StackedMLP, StackedOptimizer]


def rows(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)


def built(
    seed: int = 0, count: int = 3, *, bypassed: tuple[int, ...] = (), optimizer: str = "adam", **options: Any
) -> Stack:
    """A stack with frozen units in its even rows, that has trained for two steps."""
    rng = np.random.default_rng(seed)
    network = StackedMLP(count, INPUTS, 2, CLASSES, bypassed=bypassed, dtype=torch.float64)
    trained_by = OPTIMIZERS.make(optimizer, network, options.get("learning_rate", 0.1))
    grow(network, 0, [3] * count, rng)
    grow(network, 1, [2] * count, rng)
    if not bypassed:
        fill(network, rng)
        network.freeze(np.arange(count) % 2 == 0)
        grow(network, 0, [7] * count, rng)
        grow(network, 1, [6] * count, rng)
        fill(network, rng)
    for number in range(2):
        train(network, trained_by, seed + number)
    return network, trained_by


def samples(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs (N, B, D + 1) and labels (N, B) that are the same for every row."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.normal(size=(5, INPUTS)), np.ones((5, 1))], axis=1)
    labels = rng.integers(0, CLASSES, 5)
    return torch.from_numpy(np.stack([x] * count)), torch.from_numpy(np.stack([labels] * count))


def train(network: StackedMLP, optimizer: StackedOptimizer, seed: int) -> None:
    x, labels = samples(seed, network.rows)
    network.backward(x, loss_gradient(network.forward(x), labels))
    optimizer.step()


def copied(stack: Stack, *numbers: int) -> Stack:
    network = gathered([(stack[0], rows(*numbers))])
    return network, followed([(stack[1], rows(*numbers))], network)


def frozen_in_time(stack: Stack) -> dict[str, Any]:
    """All that a stack and its optimiser know."""
    state = stack[0].state()
    return {**state["buffers"], **dict(enumerate(state["frozen"])), "counts": np.array(getattr(stack[1], "counts", []))}


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return all(np.array_equal(one[name], two[name]) for name in one)


def assert_same_row(one: Stack, row: int, two: Stack, other: int) -> None:
    """Two rows have the same units, weights, moments and counts, to the last bit."""
    assert one[0].widths[row].tolist() == two[0].widths[other].tolist()
    assert one[0].frozen_units[row].tolist() == two[0].frozen_units[other].tolist()
    for name in one[0].buffers:
        blocks = [network.layout.blocks(network.buffers[name]) for network in (one[0], two[0])]
        assert_equal_rows(row_of(one[0], row, blocks[0]), row_of(two[0], other, blocks[1]))
    if isinstance(one[1], StackedAdam) and isinstance(two[1], StackedAdam):
        assert one[1].counts[row] == two[1].counts[other]


# -- copies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("bypassed", [(), (1,)])
def test_rows_come_as_they_are_in_any_order_and_number(bypassed: tuple[int, ...], optimizer: str) -> None:
    """With frozen units, or with wires; one row twice."""
    source = built(bypassed=bypassed, optimizer=optimizer)
    copy = copied(source, 2, 0, 2)
    check_padding(copy[0])
    assert copy[0].rows == 3 and copy[0].bypassed == bypassed
    for row, other in enumerate((2, 0, 2)):
        assert_same_row(copy, row, source, other)
    x, _ = samples(9, 3)
    assert torch.equal(copy[0].forward(x), source[0].forward(x)[[2, 0, 2]])


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_training_a_copy_leaves_its_source_alone_and_the_other_way_round(optimizer: str) -> None:
    source = built(optimizer=optimizer)
    before = frozen_in_time(source)
    copy = copied(source, 1, 1)
    train(*copy, seed=7)
    grow(copy[0], 0, [9, 1], np.random.default_rng(0))
    copy[0].freeze(np.array([True, False]))
    assert same(frozen_in_time(source), before) and source[0].widths.tolist() == [[10, 8]] * 3
    now = frozen_in_time(copy)
    train(*source, seed=8)
    assert same(frozen_in_time(copy), now)


@pytest.mark.parametrize("optimizer", ["adam", "adam-standard", "sgd"])
def test_a_copy_trains_on_as_its_source_does(optimizer: str) -> None:
    """Counts and moments come with the weights; a row that was taken twice stays one network."""
    source = built(optimizer=optimizer)
    copy = copied(source, 2, 0, 0)
    for seed in (11, 12):
        train(*source, seed=seed)
        train(*copy, seed=seed)
    for row, other in enumerate((2, 0, 0)):
        for one, two in zip(row_of(copy[0], row).parts(), row_of(source[0], other).parts(), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-15)


def test_equal_copies_go_different_ways() -> None:
    copy = copied(built(), 0, 0)
    grow(copy[0], 1, [2, 0], np.random.default_rng(1))
    assert copy[0].widths.tolist() == [[10, 10], [10, 8]]
    copy[0].weights[0][0] += 1.0
    assert not torch.equal(copy[0].weights[0][0], copy[0].weights[0][1])


def test_rows_of_several_stacks_and_counts_meet() -> None:
    """A row with one step more keeps its own count, which its bias correction needs."""
    one, two = built(0), built(5)
    train(*two, seed=3)
    parts = [(one, rows(1)), (two, rows(2, 0))]
    network = gathered([(stack[0], index) for stack, index in parts])
    together = network, followed([(stack[1], index) for stack, index in parts], network)
    assert isinstance(together[1], StackedAdam) and together[1].counts.tolist() == [2, 3, 3]
    expected = [(one, 1), (two, 2), (two, 0)]
    for row, (stack, other) in enumerate(expected):
        assert_same_row(together, row, stack, other)
    train(*together, seed=4)
    for row, (stack, other) in enumerate(expected):
        alone = copied(stack, other)
        train(*alone, seed=4)
        for mine, theirs in zip(row_of(network, row).parts(), row_of(alone[0], 0).parts(), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-15)


def test_step_sizes_of_single_units_come_along() -> None:
    source = built()
    set_rates(source[0], 0, rows(5, 5, 5), rows(2, 2, 2), *(torch.full((3,), rate).double() for rate in (0.5, 2.0)))
    copy = copied(source, 2)
    assert RATES in copy[0].buffers and copy[0].buffers[RATES].any()
    assert_same_row(copy, 0, source, 2)


def test_every_optimizer_that_is_registered_can_be_followed() -> None:
    for name in OPTIMIZERS.names():
        copy = copied(built(optimizer=name), 1)
        assert copy[1].network is copy[0]  # type: ignore[attr-defined]
        before = copy[0].buffers["weights"].clone()
        train(*copy, seed=1)
        assert not torch.equal(copy[0].buffers["weights"], before)


# -- what cannot be put together ---------------------------------------------------------------------------------------


def test_no_stack_is_refused() -> None:
    with pytest.raises(ValueError, match="no stack to take rows from; expected at least one"):
        gathered([])


def test_stacks_of_different_shapes_are_refused() -> None:
    one, two = built()[0], built()[0]
    grow(two, 1, (9, 9, 9), np.random.default_rng(0))
    with pytest.raises(ValueError, match="stacks of different shapes .* cannot be put together; expected one"):
        gathered([(one, rows(0)), (two, rows(1))])


def test_stacks_with_different_followers_are_refused() -> None:
    one, two = built()[0], built(optimizer="sgd")[0]
    with pytest.raises(ValueError, match=r"stacks with different buffers .*adam_first"):
        gathered([(one, rows(0)), (two, rows(1))])


def test_stacks_of_different_precision_are_refused() -> None:
    one = StackedMLP(1, INPUTS, 1, CLASSES)
    two = StackedMLP(1, INPUTS, 1, CLASSES, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"different buffers .*torch.float32.*torch.float64"):
        gathered([(one, rows(0)), (two, rows(0))])


@pytest.mark.parametrize("row", [-1, 3])
def test_rows_that_do_not_exist_are_refused(row: int) -> None:
    with pytest.raises((ValueError, IndexError), match="row|out of range|bounds"):
        gathered([(built()[0], rows(0, row))])
