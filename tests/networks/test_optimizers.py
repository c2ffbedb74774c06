"""One optimiser for a stack equals one optimiser for each network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from growenv.networks import OPTIMIZERS, StackedAdam, StackedMLP, StackedSGD
from growenv.networks.optimizers import TINY
from growenv.registry import UnknownNameError
from tests.reference import check_padding, row_of

ROWS, INPUTS, CLASSES, RATE = 4, 3, 2, 0.01
EVERYONE = np.ones(ROWS, dtype=bool)


def stack(dtype: torch.dtype = torch.float64) -> StackedMLP:
    network = StackedMLP(ROWS, INPUTS, 1, CLASSES, dtype=dtype)
    amounts = np.array([3, 5, 9, 2])
    first = network.reserve(0, amounts)
    network.set_units(0, first, amounts, torch.from_numpy(numbers(0, ROWS, INPUTS + 1, 9)))
    return network


def numbers(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def live_gradient(network: StackedMLP, step: int) -> None:
    """Gradients of very different sizes where units are live."""
    for layer, block in enumerate(network.gradients):
        values = torch.from_numpy(numbers(100 * step + layer, *block.shape)) * 10.0 ** (step % 5 - 3)
        if layer > 0:
            values *= torch.from_numpy(network.birth_index(layer - 1) >= 0)[:, :, None]
        if layer < network.depth:
            width = network.active_units[:, layer, None]
            values *= torch.from_numpy(np.arange(block.shape[2]) < width)[:, None, :]
        block.copy_(values)


class Singles:
    """One torch optimiser a row, started afresh where a row is restarted."""

    def __init__(self, network: StackedMLP, make: Any) -> None:
        self.network, self.make = network, make
        self.parameters = [[part.requires_grad_() for part in row_of(network, row).trained] for row in range(ROWS)]
        self.optimizers = [make(each) for each in self.parameters]

    def step(self) -> None:
        for row, each in enumerate(self.parameters):
            gradients = row_of(self.network, row, self.network.gradients).trained
            for parameter, gradient in zip(each, gradients, strict=True):
                parameter.grad = gradient
            self.optimizers[row].step()

    def restart(self, row: int) -> None:
        self.optimizers[row] = self.make(self.parameters[row])

    def assert_close(self, tolerance: float) -> None:
        for row, each in enumerate(self.parameters):
            for ours, theirs in zip(row_of(self.network, row).trained, each, strict=True):
                torch.testing.assert_close(ours, theirs.detach(), atol=tolerance, rtol=tolerance)


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=RATE, betas=(0.9, 0.99), eps=1e-8)


RESTARTS = {7: [1], 12: [0, 3], 13: [3], 30: [0, 1, 2, 3], 31: [2]}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_adam_equals_torch_row_by_row_with_restarts_at_different_times(dtype: torch.dtype, tolerance: float) -> None:
    network = stack(dtype)
    optimizer, singles = StackedAdam(network, RATE), Singles(network, adam)
    for step in range(50):
        rows = RESTARTS.get(step, [])
        if rows:
            optimizer.restart(np.isin(np.arange(ROWS), rows))
            for row in rows:
                singles.restart(row)
        live_gradient(network, step)
        optimizer.step()
        singles.step()
        optimizer.settle()
        singles.assert_close(tolerance)
        check_padding(network)
    assert optimizer.counts.tolist() == [20, 20, 19, 20]


def test_sgd_equals_torch_row_by_row() -> None:
    network = stack()
    optimizer = StackedSGD(network, RATE)
    singles = Singles(network, lambda each: torch.optim.SGD(each, lr=RATE))
    for step in range(10):
        optimizer.restart(np.arange(ROWS) == step % ROWS)
        live_gradient(network, step)
        optimizer.step()
        singles.step()
        optimizer.settle()
        singles.assert_close(1e-12)


def test_a_restart_forgets_the_given_rows_and_no_others() -> None:
    network = stack()
    optimizer = StackedAdam(network, RATE)
    live_gradient(network, 4)
    optimizer.step()
    second = network.layout.blocks(network.buffers["adam_second"])
    before = [block.clone() for block in second]
    optimizer.restart(np.array([False, True, False, False]))
    assert optimizer.counts.tolist() == [1, 0, 1, 1]
    for name in ("adam_first", "adam_second"):
        assert not any(block[1].any() for block in network.layout.blocks(network.buffers[name]))
    for block, old in zip(second, before, strict=True):
        assert torch.equal(block[[0, 2, 3]], old[[0, 2, 3]])
        assert old[1].any()
    optimizer.restart(EVERYONE)
    assert not network.buffers["adam_first"].any()
    assert not optimizer.counts.any()


def test_units_that_grow_in_the_middle_start_with_zero_moments_under_their_rows_count() -> None:
    network = stack()
    optimizer = StackedAdam(network, RATE)
    for step in range(20):
        live_gradient(network, step)
        optimizer.step()
    amounts = np.array([0, 2, 0, 0])
    first = network.reserve(0, amounts)
    blocks = network.layout.blocks(network.buffers["adam_second"])
    assert blocks[0][1, :, :5].all()
    assert not blocks[0][1, :, first[1] : first[1] + 2].any()
    before = network.weights[0][1, 0, first[1]].item()
    network.gradient.zero_()
    network.gradients[0][1, 0, first[1]] = 4.0
    optimizer.step()
    count = 21
    step_size = RATE * (0.1 / (1 - 0.9**count)) / np.sqrt(0.01 / (1 - 0.99**count))
    assert network.weights[0][1, 0, first[1]].item() == pytest.approx(before - step_size, abs=1e-9)


@pytest.mark.parametrize(("second_decay", "expected"), [(0.99, 2.13), (0.999, 6.57)])
def test_first_steps_of_late_units_under_a_steady_gradient(second_decay: float, expected: float) -> None:
    network = stack()
    optimizer = StackedAdam(network, 1.0, betas=(0.9, second_decay))
    optimizer.counts[:] = 10_000
    optimizer._numbers = [torch.tensor(number + 1.0) for number in range(10_000)]
    network.gradient.fill_(3.0)
    largest, before = 0.0, network.buffers["weights"].clone()
    for _ in range(60):
        optimizer.step()
        largest = max(largest, float((network.buffers["weights"] - before).abs().max()))
        before = network.buffers["weights"].clone()
    assert largest == pytest.approx(expected, abs=0.01)


def test_settle_clears_what_has_all_but_vanished() -> None:
    network = stack()
    optimizer = StackedAdam(network, RATE)
    for name in ("adam_first", "adam_second"):
        network.buffers[name][:4] = torch.tensor([TINY / 2, -TINY / 2, 2.0**-90, -1.0])
    optimizer.settle()
    for name in ("adam_first", "adam_second"):
        assert network.buffers[name][:4].tolist() == [0.0, 0.0, 2.0**-90, -1.0]


def test_optimisers_by_name() -> None:
    assert OPTIMIZERS.names() == ("adam", "adam-standard", "sgd")
    assert isinstance(OPTIMIZERS.make("sgd", stack(), 0.1), StackedSGD)
    with pytest.raises(UnknownNameError, match="unknown optimizer 'adm'; did you mean 'adam'"):
        OPTIMIZERS.make("adm", stack(), 0.1)
