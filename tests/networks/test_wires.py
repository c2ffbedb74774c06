"""Stacks with wires around hidden layers compute and change as networks with explicit skip connections would."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.networks import StackedAdam, StackedMLP
from growenv.networks.inheritance import inherit, set_rates
from growenv.networks.layout import Layout
from growenv.networks.other_weights import activity as activity_of
from tests.networks.test_stacked_mlp import CLASSES, INPUTS, ROWS, batch, loss_gradient, mask
from tests.reference import assert_equal_rows, check_padding, logits_of, row_of

SHAPES = {"last": (2, (1,)), "middle": (3, (1,)), "both": (3, (1, 2)), "later": (4, (1, 3))}
shapes = pytest.mark.parametrize(("depth", "bypassed"), SHAPES.values(), ids=SHAPES)


def fill(network: StackedMLP, rng: np.random.Generator) -> None:
    """Random numbers in every trainable weight that is live."""
    for layer, block in enumerate(network.weights):
        values = torch.from_numpy(rng.normal(size=tuple(block.shape)) / 2)
        if layer > 0:
            values *= torch.from_numpy(network.read_index(layer) >= 0)[:, :, None]
        if layer < network.depth:
            values *= torch.from_numpy(np.arange(block.shape[2]) < network.active_units[:, layer, None])[:, None, :]
        block.copy_(values)


def grow(network: StackedMLP, layer: int, amounts: Any, rng: np.random.Generator) -> None:
    """New units with random incoming weights and no outgoing ones."""
    wanted = np.array(amounts)
    first = network.reserve(layer, wanted)
    fan_in = torch.from_numpy(rng.normal(size=(network.rows, network.layout.fan_in(layer), max(1, int(wanted.max())))))
    if layer > 0:
        fan_in *= torch.from_numpy(network.read_index(layer) >= 0)[:, :, None]
    network.set_units(layer, first, wanted, fan_in)


def built(depth: int, bypassed: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64) -> StackedMLP:
    """Rows of different depths: row 0 deepened in its first task, row 1 in its second, row 2 never; row 1 is whole."""
    rng = np.random.default_rng(seed)
    network = StackedMLP(ROWS, INPUTS, depth, CLASSES, bypassed=bypassed, dtype=dtype)
    for layer in range(depth):
        grow(network, layer, (4, 0, 0) if layer in bypassed else (3, 9, 5), rng)
    fill(network, rng)
    network.freeze(mask(0, 2))
    for layer in range(depth):
        grow(network, layer, (2, 10, 0) if layer in bypassed else (7, 1, 2), rng)
    fill(network, rng)
    return network


def test_layout_by_hand() -> None:
    """Two hidden layers, wires around the second: the head reads 8 + 16 units of it, then 16 + 8 of the first."""
    layout = Layout(2, 5, (16, 8), (8, 16), 3, (1,))
    assert [layout.fan_in(layer) for layer in range(3)] == [5, 24, 48]
    assert [layout.frozen_in(layer) for layer in range(3)] == [5, 16, 24]
    assert [(span.source, span.frozen.start, span.active.start, span.packed.start) for span in layout.spans(2)] == [
        (1, 0, 8, 0),
        (0, 24, 40, 8),
    ]
    assert layout.outlets(0) == [(1, 0), (2, 24)]
    assert layout.outlets(1) == [(2, 0)]


def test_read_index_by_hand() -> None:
    network = StackedMLP(1, 2, 2, 2, bypassed=(1,))
    network.active_units[0] = (2, 1)
    network.fit()
    network.freeze(np.array([True]))
    network.active_units[0] = (1, 2)
    network.fit()
    no = -1
    top = [0, 1, *[no] * 6, 2, 3, *[no] * 6]
    low = [no, 1, 2, *[no] * 5, 3, *[no] * 7]
    level = 1 << 20
    assert network.read_index(2)[0].tolist() == [at + level if at > 0 else at for at in top] + low
    assert network.read_index(2, (0, 10))[0].tolist() == [at + 10 if at > 0 else at for at in top] + low
    assert network.read_index(1).tolist() == network.birth_index(0).tolist()


@shapes
def test_forward_equals_explicit_skip_connections(depth: int, bypassed: tuple[int, ...]) -> None:
    network, x = built(depth, bypassed), batch()
    check_padding(network)
    logits = network.forward(x)
    for row in range(ROWS):
        torch.testing.assert_close(logits[row], logits_of(row_of(network, row), x[row]), atol=1e-12, rtol=0)


@shapes
def test_backward_equals_autograd(depth: int, bypassed: tuple[int, ...]) -> None:
    network, x = built(depth, bypassed), batch()
    labels = torch.from_numpy(np.random.default_rng(2).integers(0, CLASSES, (ROWS, x.shape[1])))
    network.backward(x, loss_gradient(network.forward(x), labels))
    for row in range(ROWS):
        weights = row_of(network, row)
        for part in weights.trained:
            part.requires_grad_(True)
        loss = torch.nn.functional.cross_entropy(logits_of(weights, x[row]), labels[row])
        expected = torch.autograd.grad(loss, weights.trained)
        for given, autograd in zip(row_of(network, row, network.gradients).trained, expected, strict=True):
            torch.testing.assert_close(given, autograd, atol=1e-12, rtol=0)
    check_padding(network)


@shapes
def test_freezing_moves_weights_bit_for_bit(depth: int, bypassed: tuple[int, ...]) -> None:
    network, x = built(depth, bypassed), batch()
    parts, others = [row_of(network, row) for row in range(ROWS)], mask(0, 1)
    head, read = network.weights[-1].clone(), network.read_index(depth)
    expected = network.forward(x).clone()
    network.freeze(others)
    check_padding(network)
    assert_equal_rows(row_of(network, 2), parts[2])
    now = network.read_index(depth)
    for row in range(2):
        place = [np.flatnonzero(read[row] == identity)[0] for identity in now[row][now[row] >= 0]]
        network.weights[-1][row, torch.from_numpy(np.flatnonzero(now[row] >= 0))] = head[row, place]
        for layer in range(depth):
            old, new = parts[row].frozen[layer], row_of(network, row).frozen[layer]
            assert set(old.flatten().tolist()) | set(parts[row].trained[layer].flatten().tolist()) | {0.0} == set(
                new.flatten().tolist()
            ) | {0.0}
    torch.testing.assert_close(network.forward(x), expected, atol=1e-12, rtol=0)


@shapes
def test_frozen_units_alone_answer_as_they_did_before_others_came(depth: int, bypassed: tuple[int, ...]) -> None:
    network, rng, x = built(depth, bypassed, dtype=torch.float32), np.random.default_rng(3), batch(dtype=torch.float32)
    everyone = mask(0, 1, 2)
    logits, head, read = network.forward(x).clone(), network.weights[-1].clone(), network.read_index(depth)
    network.freeze(everyone)
    sizes = list(network.layout.frozen)

    def kept() -> Tensor:
        now = network.read_index(depth)
        weights = torch.zeros((ROWS, now.shape[1], CLASSES))
        for row in range(ROWS):
            for place, identity in enumerate(now[row]):
                if identity >= 0 and (read[row] == identity).any():
                    weights[row, place] = head[row, int((read[row] == identity).argmax())]
        return weights

    first = network.forward_frozen(x, kept(), sizes)
    torch.testing.assert_close(first, logits, atol=2e-6, rtol=1e-6)
    for layer in range(depth):
        grow(network, layer, (8, 1, 20), rng)
    fill(network, rng)
    assert torch.equal(network.forward_frozen(x, kept(), sizes), first)
    network.freeze(everyone)
    assert torch.equal(network.forward_frozen(x, kept(), sizes), first)


class Skipping:
    """One row without padding: a float64 matrix for every pair of layers of which one reads the other, and Adam."""

    def __init__(self, network: StackedMLP, row: int) -> None:
        self.network, self.row, self.count = network, row, 0
        self.matrices = self.read()
        self.moments = {pair: (torch.zeros_like(m), torch.zeros_like(m)) for pair, m in self.matrices.items()}

    def read(self, blocks: list[Tensor] | None = None) -> dict[tuple[int, int], Tensor]:
        """Matrices by reader and source, -1 being the inputs; nothing is frozen."""
        network, found = self.network, {}
        for reader, block in enumerate(network.weights if blocks is None else blocks):
            columns = CLASSES if reader == network.depth else int(network.active_units[self.row, reader])
            for number, span in enumerate(network.layout.spans(reader)):
                if span.source < 0:
                    rows = list(range(INPUTS + 1))
                else:
                    units = int(network.active_units[self.row, span.source])
                    rows = [span.frozen.start] * (number == 0) + [span.active.start + at for at in range(units)]
                found[reader, span.source] = block[self.row][rows][:, :columns].clone()
        return found

    def adopt(self) -> None:
        """New units have come last; what is known of the others stays."""
        old, self.matrices = self.matrices, self.read()
        for pair, matrix in self.matrices.items():
            rows, columns = old[pair].shape
            torch.testing.assert_close(matrix[:rows, :columns], old[pair], atol=1e-9, rtol=0)  # growth leaves them
            padded = [torch.zeros_like(matrix), torch.zeros_like(matrix)]
            for new, moment in zip(padded, self.moments[pair], strict=True):
                new[:rows, :columns] = moment
            self.moments[pair] = (padded[0], padded[1])

    def logits(self, x: Tensor) -> Tensor:
        one, units = torch.ones((len(x), 1), dtype=x.dtype), {-1: x}
        for reader in range(self.network.depth + 1):
            total = torch.zeros(())
            for (who, source), matrix in self.matrices.items():
                if who == reader:
                    own = reader > 0 and source == reader - 1
                    total = total + (torch.cat((one, units[source]), dim=1) if own else units[source]) @ matrix
            units[reader] = torch.relu(total) if reader < self.network.depth else total
        return units[self.network.depth]

    def train(self, x: Tensor, labels: Tensor, rate: float) -> None:
        for matrix in self.matrices.values():
            matrix.requires_grad_(True)
        loss = torch.nn.functional.cross_entropy(self.logits(x), labels)
        gradients = torch.autograd.grad(loss, list(self.matrices.values()))
        self.count += 1
        for (pair, matrix), gradient in zip(self.matrices.items(), gradients, strict=True):
            first, second = self.moments[pair]
            first.mul_(0.9).add_(0.1 * gradient)
            second.mul_(0.99).add_(0.01 * gradient**2)
            step = first / (1 - 0.9**self.count) / ((second / (1 - 0.99**self.count)).sqrt() + 1e-8)
            self.matrices[pair] = matrix.detach() - rate * step


@shapes
def test_training_and_deepening_equal_a_slow_reference(depth: int, bypassed: tuple[int, ...]) -> None:
    """Ten steps without the layers, then they come, in one row fewer units than in another, and in one none."""
    rng = np.random.default_rng(5)
    network = StackedMLP(ROWS, INPUTS, depth, CLASSES, bypassed=bypassed, dtype=torch.float64)
    for layer in set(range(depth)) - set(bypassed):
        grow(network, layer, (6, 4, 9), rng)
    fill(network, rng)
    optimizer, slow = StackedAdam(network, 0.02), [Skipping(network, row) for row in range(ROWS)]
    for step in range(30):
        x = batch(step)
        labels = torch.from_numpy(rng.integers(0, CLASSES, (ROWS, x.shape[1])))
        if step in (10, 17):
            before = network.forward(x).clone()
            for layer in (*bypassed, 0):
                grow(network, layer, (3, 12, 0), rng)
            torch.testing.assert_close(network.forward(x), before, atol=1e-12, rtol=0)
            for row in slow:
                row.adopt()
        network.backward(x, loss_gradient(network.forward(x), labels))
        optimizer.step()
        for number, row in enumerate(slow):
            row.train(x[number], labels[number], 0.02)
    for row in slow:
        for pair, matrix in row.read().items():
            torch.testing.assert_close(matrix, row.matrices[pair], atol=1e-9, rtol=0)
    check_padding(network)


@shapes
def test_wires_are_the_identity_whatever_trains(depth: int, bypassed: tuple[int, ...]) -> None:
    """After fifty steps of Adam, what wires bring is still what they are given, to the last bit."""
    network, x = built(depth, bypassed), batch()
    optimizer = StackedAdam(network, 0.05)
    for step in range(50):
        labels = torch.from_numpy(np.random.default_rng(step).integers(0, CLASSES, (ROWS, x.shape[1])))
        network.backward(x, loss_gradient(network.forward(x), labels))
        optimizer.step()
    network.forward(x)
    read = network._work(x.shape[1])["units"]
    for layer in bypassed:
        brought = read[layer][:, :, sum(network._split(layer)) :]
        assert torch.equal(brought[:, :, 1:], read[layer - 1][:, :, 1:])
        assert not brought[:, :, 0].any(), "a second constant unit"


def test_activity_is_that_of_a_layers_own_units() -> None:
    network, x = built(2, (1,)), batch()
    weights = torch.full((ROWS, x.shape[1]), 1 / x.shape[1], dtype=torch.float64)
    low, high = activity_of(network, x, weights)
    assert low.shape[1] == sum(network._split(0))
    assert high.shape[1] == sum(network._split(1))
    assert not high[torch.from_numpy(network.birth_index(1) < 0)].any()


def test_copies_share_what_their_parents_say_through_wires() -> None:
    """A unit of layer 0 is split into two that answer 3/4 and 1/4 of the former, in layer 1 and through the wires."""
    network, x = built(2, (1,)), batch()
    network.add_buffer("first", degree=1).copy_(network.buffers["weights"])
    before = network.forward(x).clone()
    layer, amounts = 0, np.array([1, 1, 0])
    first = network.reserve(layer, amounts)
    frozen = network.layout.frozen[0]
    parents = torch.tensor([[frozen + 2], [frozen + 1], [-1]])
    rows = torch.arange(ROWS)
    fan_in = network.weights[0][rows, :, (parents[:, 0] - frozen).clamp(min=0)][:, :, None]
    outgoing = network.weights[1].clone()
    fan_out = outgoing[rows, parents[:, 0].clamp(min=0)][:, None] * 0.25
    for row in range(2):
        outgoing[row, parents[row, 0]] *= 0.75
    through = [network.weights[2][row, network.layout.outlets(0)[1][1] + parents[row, 0]].clone() for row in range(2)]
    network.replace(1, amounts > 0, outgoing)
    network.set_units(layer, first, amounts, fan_in, fan_out)
    inherit(network, layer, first, amounts, parents, torch.full((ROWS, 1), 0.25, dtype=torch.float64))
    torch.testing.assert_close(network.forward(x), before, atol=1e-12, rtol=0)
    block, start = network.layout.outlets(0)[1]
    moments = network.layout.blocks(network.buffers["first"])
    for row in range(2):
        new = start + frozen + int(first[row])
        torch.testing.assert_close(network.weights[block][row, new], 0.25 * through[row])
        torch.testing.assert_close(network.weights[block][row, start + parents[row, 0]], 0.75 * through[row])
        assert torch.equal(moments[block][row, new], through[row]), "a mean of gradients is the same for both"
    check_padding(network)


def test_step_sizes_of_new_units_hold_for_their_wires() -> None:
    network = built(3, (1, 2))
    amounts = np.array([2, 0, 1])
    first = network.reserve(0, amounts)
    set_rates(network, 0, first, amounts, torch.full((ROWS,), 3.0), torch.full((ROWS,), 5.0))
    blocks = network.layout.blocks(network.buffers["rates"])
    at = network.layout.frozen[0] + int(first[0])
    for block, start in network.layout.outlets(0):
        heard = CLASSES if block == 3 else int(network.active_units[0, block])
        assert blocks[block][0, start + at, :heard].tolist() == [4.0] * heard
    check_padding(network)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_and_states_continue_alike(duplicate: Any) -> None:
    network, x = built(3, (1, 2)), batch()
    optimizer = StackedAdam(network, 0.1)
    twin, kept = duplicate(optimizer), network.state()
    for each in (optimizer, twin):
        for _ in range(3):
            each.network.backward(x, each.network.forward(x) / 10)
            each.step()
    after = network.forward(x).clone()
    assert torch.equal(twin.network.forward(x), after)
    network.load_state(kept)
    assert not torch.equal(network.forward(x), after)
    check_padding(network)


@pytest.mark.parametrize("seed", range(6))
def test_padding_stays_zero_and_rows_stay_apart(seed: int) -> None:
    depth, bypassed = list(SHAPES.values())[seed % 4]
    rng = np.random.default_rng(seed)
    network = StackedMLP(ROWS, INPUTS, depth, CLASSES, bypassed=bypassed, dtype=torch.float64)
    optimizer = StackedAdam(network, 0.05)
    for _ in range(25):
        before = [row_of(network, row) for row in range(ROWS)]
        rows, kind = rng.random(ROWS) < 0.4, rng.integers(0, 6)
        if kind < 3:
            grow(network, int(rng.integers(0, depth)), np.where(rows, rng.integers(1, 14, ROWS), 0), rng)
            network.weights[-1][:, :, :] = torch.from_numpy(rng.normal(size=tuple(network.weights[-1].shape)))
            network.weights[-1][torch.from_numpy(network.read_index(depth) < 0)] = 0.0
        elif kind == 3:
            network.backward(batch(), network.forward(batch()) / 10)
            optimizer.step()
        else:
            (network.freeze if kind == 4 else network.clear)(rows)
            network.fit()
            network.gradient.zero_()  # that of the last batch
            for row in np.flatnonzero(~rows):
                assert_equal_rows(row_of(network, row), before[row])
        check_padding(network)
        logits = network.forward(batch())
        for row in range(ROWS):
            torch.testing.assert_close(logits[row], logits_of(row_of(network, row), batch()[row]), atol=1e-9, rtol=1e-9)
