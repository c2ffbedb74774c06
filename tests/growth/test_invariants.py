"""What every registered growth operator keeps to, whatever its idea is; `check_operator` tests some more of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.growth import OPERATORS, RandomGrowth
from growenv.learner import Learner
from growenv.testing.require import own_randomness
from tests.growth.test_operators import CONTEXTS, EVERYONE, begun, grown_by, logits
from tests.reference import assert_equal_rows, check_padding, row_of
from tests.rollouts import assert_same, learner

LIVING = {
    "firefly": 0.9,
    "net2wider": 0.85,
    "splitting": 0.85,
    "random": 0.85,
    "variance-transfer": 0.85,
    "random-in": 0.5,
}
"""Share of new units that must be alive where not all are. Copies of dead units are dead, and random vectors may be
zero on all samples; units that start from zero with random outgoing weights are so nearly as often as not."""

operators = pytest.mark.parametrize("name", OPERATORS.names())
preserving = pytest.mark.parametrize("name", [name for name in OPERATORS.names() if OPERATORS.make(name).preserving])
protections = pytest.mark.parametrize("protection", ["freeze", "finetune"])


def heard(name: str, protection: str = "freeze", **options: Any) -> Learner:
    """Three rows in their second task, with units in every layer that train, so that something hears new ones."""
    ours = begun(1, growth=name, protection=protection, **options)
    ours._add_units([np.array([3, 2, 6]), np.array([2, 5, 3])], RandomGrowth())
    ours.train()
    return ours


def grow(ours: Learner, layer: int, amounts: list[int]) -> tuple[Tensor, Tensor]:
    """Row, and position among the active units, of every unit that one layer gets."""
    first = ours.network.active_units[:, layer].copy()
    ours.grow(np.full(3, layer), np.array(amounts))
    row, unit = np.nonzero(np.arange(max(amounts)) < np.array(amounts)[:, None])
    return torch.from_numpy(row), torch.from_numpy(first[row] + unit)


def life(ours: Learner, layer: int, row: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which units have a gradient on their incoming and outgoing side, and which are above zero on some sample."""
    evidence, frozen = ours.evidence(), ours.network.layout.frozen[layer]
    incoming = evidence.gradient(layer)[row, :, position].any(dim=1)
    outgoing = evidence.gradient(layer + 1)[row, frozen + position].any(dim=1)
    return incoming, outgoing, (evidence.below[layer + 1][row, :, frozen + position] > 0).any(dim=1)


def step(ours: Learner) -> None:
    """One step of the optimiser on the probe batch."""
    evidence = ours.evidence()
    ours.network.forward(evidence.x.contiguous())
    ours.network.backward(evidence.x, evidence.error(ours.network.depth))
    ours.optimizer.step()


@preserving
@protections
@pytest.mark.parametrize("finished", [0, 1])
def test_growth_preserves_the_function_on_samples_that_the_operator_did_not_see(
    name: str, protection: str, finished: int
) -> None:
    ours = begun(finished, torch.float32, growth=name, protection=protection)
    for layers, amounts in (([0, 1, 0], [3, 2, 17]), ([1, 1, 0], [20, 0, 4])):
        before = logits(ours)[: finished + 1]
        ours.grow(np.array(layers), np.array(amounts))
        torch.testing.assert_close(logits(ours)[: finished + 1], before, atol=1e-5, rtol=0)
        ours.train()


@operators
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize(("protection", "optimizer"), [("freeze", "adam"), ("finetune", "adam"), ("finetune", "sgd")])
def test_every_new_unit_has_a_gradient_and_is_alive_on_both_sides_after_one_step(
    name: str, layer: int, protection: str, optimizer: str
) -> None:
    ours = heard(name, protection, optimizer=optimizer, hidden=(8, 8))
    units, share = grow(ours, layer, [3, 12, 6]), LIVING.get(name, 1.0)
    incoming, outgoing, _ = life(ours, layer, *units)
    assert (incoming | outgoing).double().mean() >= share
    step(ours)
    for alive in life(ours, layer, *units):
        assert alive.double().mean() >= share


@operators
@pytest.mark.parametrize(("protection", "layer"), [("freeze", 0), ("freeze", 1), ("finetune", 1)])
def test_padding_is_zero_after_growth_and_fifty_minibatches_later(name: str, protection: str, layer: int) -> None:
    ours = heard(name, protection)
    grow(ours, layer, [1, 0, 20])
    check_padding(ours.network)
    for _ in range(50 // ours.config.minibatches):
        ours.train()
    check_padding(ours.network)


@operators
def test_growing_one_row_leaves_the_others_as_they_were_to_the_last_bit(name: str) -> None:
    ours = heard(name)
    network = ours.network

    def everything(row: int) -> list[Any]:
        return [row_of(network, row, network.layout.blocks(flat)) for flat in network.buffers.values()]

    before = [everything(row) for row in (1, 2)]
    known = list(network.buffers)
    grow(ours, 0, [20, 0, 0])
    for row, kept in zip((1, 2), before, strict=True):
        for one, two in zip(everything(row), kept, strict=False):
            assert_equal_rows(one, two)
    for buffer in set(network.buffers) - set(known):
        assert not any(block[1:].any() for block in network.layout.blocks(network.buffers[buffer]))


@operators
@pytest.mark.parametrize(
    ("finished", "dtype", "tolerance"), [(1, torch.float32, 1e-5), (0, torch.float64, 1e-9), (1, torch.float64, 1e-9)]
)
def test_different_requests_in_one_call_equal_one_row_at_a_time(
    name: str, finished: int, dtype: torch.dtype, tolerance: float
) -> None:
    """Row 0 grows layer 1, row 1 layer 0 and row 2 layer 0; then again, and other layers."""
    requests = [([1, 0, 0], [4, 1, 17]), ([0, 1, 1], [9, 2, 1])]
    together = begun(finished, dtype, growth=name)
    grown = [grown_by(together, *request) for request in requests]
    for row in range(3):
        alone = learner(1, dtype=dtype, growth=name)
        alone.begin(EVERYONE[:1], [CONTEXTS[row]])
        for _ in range(finished):
            alone.train()
            alone.next_task(EVERYONE[:1])
        alone.train()
        for number, (layers, amounts) in enumerate(requests):
            single = grown_by(alone, [layers[row]], [amounts[row]])[0]
            assert_same(grown[number][row].parts(), single.parts(), tolerance, f"row {row}, growth {number}")


@operators
@pytest.mark.parametrize("layer", [0, 1])
def test_more_units_than_any_rank_are_finite_and_all_different(name: str, layer: int) -> None:
    """36 new units read at most 8 units or hear from at most 10 classes."""
    ours = heard(name, hidden=(4, 4), max_hidden=(64, 64))
    row, position = grow(ours, layer, [36, 36, 36])
    for _ in range(5):
        ours.train()
    check_padding(ours.network)
    fan_in, fan_out = ours.network.weights[layer][row, :, position], ours.network.weights[layer + 1]
    both = torch.cat((fan_in, fan_out[row, ours.network.layout.frozen[layer] + position]), dim=1)
    assert both.isfinite().all()
    _, _, firing = life(ours, layer, row, position)
    for one in range(3):
        alive = both[(row == one) & firing]
        assert len(alive) >= 12
        assert (torch.cdist(alive, alive) + torch.eye(len(alive))).min() > 1e-6, "equal units stay equal for ever"


@operators
def test_where_nothing_hears_new_units_they_read_something_all_the_same(name: str) -> None:
    """A new task under freezing: nothing in layer 1 trains yet. With both sides at zero no unit would ever learn."""
    ours = begun(0, growth=name)
    ours.next_task(EVERYONE)
    assert not ours.network.active_units.any()
    row, position = grow(ours, 0, [3, 1, 20])
    assert (ours.network.weights[0][row, :, position].norm(dim=1) > 1e-3).all()
    ours.grow(np.ones(3, dtype=np.int64), np.full(3, 4))
    for _ in range(3):
        ours.train()
    check_padding(ours.network)
    outgoing = ours.network.weights[1][row, ours.network.layout.frozen[0] + position].any(dim=1)
    assert outgoing.double().mean() >= 0.8


@operators
def test_growth_repeats_and_touches_no_global_generator(name: str) -> None:
    with own_randomness(name):
        one, two = heard(name), heard(name)
        for ours in (one, two):
            grow(ours, 1, [3, 0, 7])
    for row in range(3):
        assert_equal_rows(row_of(one.network, row), row_of(two.network, row))
