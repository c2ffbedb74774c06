"""Stacks of networks compute and change exactly as single networks would."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from growenv.networks import StackedAdam, StackedMLP
from growenv.networks.other_weights import activity as activity_of
from tests.reference import assert_equal_rows, check_padding, live, logits_of, row_of

ROWS, INPUTS, CLASSES = 3, 4, 3


def mask(*rows: int) -> NDArray[np.bool_]:
    return np.isin(np.arange(ROWS), rows)


def fill(network: StackedMLP, rng: np.random.Generator) -> None:
    """Random numbers in every trainable weight that is live."""
    for layer, block in enumerate(network.weights):
        values = torch.from_numpy(rng.normal(size=tuple(block.shape)) / 2)
        if layer > 0:
            values *= torch.from_numpy(network.birth_index(layer - 1) >= 0)[:, :, None]
        if layer < network.depth:
            values *= torch.from_numpy(np.arange(block.shape[2]) < network.active_units[:, layer, None])[:, None, :]
        block.copy_(values)


def grow(network: StackedMLP, layer: int, amounts: Any, rng: np.random.Generator) -> NDArray[np.int64]:
    """New units with random incoming weights and no outgoing ones."""
    wanted = np.array(amounts)
    first = network.reserve(layer, wanted)
    fan_in = torch.from_numpy(rng.normal(size=(network.rows, network.layout.fan_in(layer), int(wanted.max()))))
    if layer > 0:
        fan_in *= torch.from_numpy(network.birth_index(layer - 1) >= 0)[:, :, None]
    network.set_units(layer, first, wanted, fan_in)
    return first


def built(seed: int = 0, dtype: torch.dtype = torch.float64) -> StackedMLP:
    """Rows of different widths; row 1 has no frozen units, row 2 no active ones in layer 1."""
    network, rng = StackedMLP(ROWS, INPUTS, 2, CLASSES, dtype=dtype), np.random.default_rng(seed)
    grow(network, 0, (3, 10, 5), rng)
    grow(network, 1, (4, 2, 9), rng)
    fill(network, rng)
    network.freeze(mask(0, 2))
    grow(network, 0, (7, 1, 2), rng)
    grow(network, 1, (2, 6, 0), rng)
    fill(network, rng)
    return network


def batch(seed: int = 1, size: int = 6, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    values = np.random.default_rng(seed).normal(size=(ROWS, size, INPUTS + 1))
    values[..., -1] = 1.0
    return torch.from_numpy(values).to(dtype)


def loss_gradient(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Derivative of the mean cross-entropy by the logits."""
    wanted = torch.nn.functional.one_hot(labels, logits.shape[2])
    return (torch.softmax(logits, dim=2) - wanted) / logits.shape[1]


# -- computing -------------------------------------------------------------------------------------------------------


def test_forward_equals_every_row_alone() -> None:
    network, x = built(), batch()
    logits = network.forward(x)
    for row in range(ROWS):
        expected = logits_of(row_of(network, row), x[row])
        torch.testing.assert_close(logits[row], expected, atol=1e-12, rtol=0)


def test_forward_in_float32() -> None:
    network, x = built(dtype=torch.float32), batch(dtype=torch.float32)
    assert network.forward(x).dtype == torch.float32
    for row in range(ROWS):
        torch.testing.assert_close(network.forward(x)[row], logits_of(row_of(network, row), x[row]))


def test_activity_equals_a_count_in_every_row_alone() -> None:
    network, x = built(), batch(size=50)
    weights = torch.from_numpy(np.random.default_rng(3).random((ROWS, 50)))
    weights /= weights.sum(dim=1, keepdim=True)
    activity = activity_of(network, x, weights)
    assert [tuple(each.shape) for each in activity] == [
        (ROWS, network.layout.frozen[layer] + network.layout.active[layer]) for layer in range(2)
    ]
    for row in range(ROWS):
        parts, ones = row_of(network, row), torch.ones((50, 1), dtype=x.dtype)
        frozen = everything = x[row]
        for layer, (old, new) in enumerate(zip(parts.frozen, parts.trained[:-1], strict=True)):
            active = torch.relu(everything @ new)
            frozen = torch.cat((ones, torch.relu(frozen @ old)), dim=1)
            everything = torch.cat((frozen, active), dim=1)
            fired = [sum(w for w, value in zip(weights[row], unit, strict=True) if value > 0) for unit in everything.T]
            there = live(network, layer, row)
            given = activity[layer][row]
            torch.testing.assert_close(given[there], torch.tensor(fired, dtype=x.dtype), atol=1e-12, rtol=0)
            assert given[there][0] == pytest.approx(1.0), "the constant unit"
            given[there] = 0.0
            assert not given.any(), "units that are not there"


def test_backward_equals_autograd() -> None:
    network, x = built(), batch()
    labels = torch.from_numpy(np.random.default_rng(2).integers(0, CLASSES, (ROWS, x.shape[1])))
    network.backward(x, loss_gradient(network.forward(x), labels))
    for row in range(ROWS):
        weights = row_of(network, row)
        for part in weights.trained:
            part.requires_grad_(True)
        loss = torch.nn.functional.cross_entropy(logits_of(weights, x[row]), labels[row])
        expected = torch.autograd.grad(loss, weights.trained)
        for given_part, autograd in zip(row_of(network, row, network.gradients).trained, expected, strict=True):
            torch.testing.assert_close(given_part, autograd, atol=1e-12, rtol=0)
    check_padding(network)


def test_backward_takes_gradients_that_are_transposed() -> None:
    """The learner keeps classes before samples."""
    network, x = built(), batch()
    grad = torch.randn(ROWS, CLASSES, x.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    network.forward(x)
    network.backward(x, grad.transpose(1, 2))
    transposed = network.gradient.clone()
    network.backward(x, grad.transpose(1, 2).contiguous())
    torch.testing.assert_close(transposed, network.gradient, atol=1e-12, rtol=0)


def test_order_of_the_weights_is_an_order_of_the_inputs() -> None:
    network, x = built(), batch()
    shuffled = [np.append(np.random.default_rng(row).permutation(INPUTS), INPUTS) for row in range(ROWS)]
    order = torch.from_numpy(np.stack(shuffled))
    moved = torch.stack([x[row][:, order[row]] for row in range(ROWS)])
    expected = network.forward(x).clone()
    torch.testing.assert_close(network.forward(moved, order=order), expected, atol=1e-12, rtol=0)
    network.reorder_inputs(order)
    torch.testing.assert_close(network.forward(moved), expected, atol=1e-12, rtol=0)
    check_padding(network)


def test_reordering_the_inputs_moves_moments_too() -> None:
    network = built()
    moment = network.add_buffer("moment")
    moment.copy_(network.buffers["weights"])
    order = torch.tensor([[2, 0, 3, 1, 4]]).expand(ROWS, -1)
    network.reorder_inputs(order)
    assert torch.equal(network.buffers["moment"], network.buffers["weights"])


def test_frozen_units_alone_answer_as_they_did_before_others_came() -> None:
    network, rng, x = (
        StackedMLP(ROWS, INPUTS, 2, CLASSES, dtype=torch.float32),
        np.random.default_rng(3),
        batch(dtype=torch.float32),
    )
    grow(network, 0, (3, 9, 5), rng)
    grow(network, 1, (4, 2, 9), rng)
    fill(network, rng)
    logits, head = network.forward(x).clone(), network.weights[-1].clone()
    born = network.birth_index(1)
    network.freeze(mask(0, 1, 2))
    kept = torch.zeros((ROWS, network.layout.fan_in(2), CLASSES))
    for row in range(ROWS):
        kept[row, : int((born[row] >= 0).sum())] = head[row][torch.from_numpy(born[row] >= 0)]
    sizes = list(network.layout.frozen)
    first = network.forward_frozen(x, kept, sizes)
    torch.testing.assert_close(first, logits, atol=1e-6, rtol=0)
    grow(network, 0, (8, 1, 20), rng)
    grow(network, 1, (1, 30, 3), rng)
    fill(network, rng)
    network.freeze(mask(0, 1, 2))
    wider = torch.zeros((ROWS, network.layout.fan_in(2), CLASSES))
    wider[:, : sizes[-1]] = kept[:, : sizes[-1]]
    assert torch.equal(network.forward_frozen(x, wider, sizes), first)


def test_forward_hears_of_frozen_weights_that_are_changed_in_place() -> None:
    """A protection may do so; the joined copy of frozen and active weights was not renewed."""
    network, x = built(), batch()
    before = network.forward(x).clone()
    network.frozen[1][:, :, 1:] *= 2.0
    for row in range(ROWS):
        torch.testing.assert_close(network.forward(x)[row], logits_of(row_of(network, row), x[row]), atol=1e-12, rtol=0)
    assert not torch.equal(network.forward(x), before)


# -- changing --------------------------------------------------------------------------------------------------------


def test_freezing_moves_weights_bit_for_bit() -> None:
    network = built()
    before = [row_of(network, row) for row in range(ROWS)]
    frozen, active = network.frozen_units.copy(), network.active_units.copy()
    network.freeze(mask(0, 2))
    for row in (0, 2):
        after = row_of(network, row)
        for layer in range(2):
            old, new = int(frozen[row, layer]), int(active[row, layer])
            now = after.frozen[layer]
            assert now.shape[1] == old + new
            assert torch.equal(now[: before[row].frozen[layer].shape[0], :old], before[row].frozen[layer])
            assert not now[before[row].frozen[layer].shape[0] :, :old].any(), "an old unit reads a new one"
            assert torch.equal(now[:, old:], before[row].trained[layer])
        assert not after.trained[-1].any(), "the head is dropped"
    assert_equal_rows(row_of(network, 1), before[1])
    assert network.active_units[[0, 2]].sum() == 0
    check_padding(network)


def test_growth_keeps_old_weights_and_writes_new_ones() -> None:
    network, rng = built(), np.random.default_rng(4)
    before = [row_of(network, row) for row in range(ROWS)]
    old = network.active_units[:, 0].copy()
    amounts = np.array([12, 0, 1])
    first = network.reserve(0, amounts)
    assert (first == old).all()
    fan_in = torch.from_numpy(rng.normal(size=(ROWS, INPUTS + 1, 12)))
    fan_out = torch.from_numpy(rng.normal(size=(ROWS, 12, network.layout.fan_out(1))))
    fan_out *= torch.from_numpy(np.arange(network.layout.fan_out(1)) < network.active_units[:, 1, None])[:, None, :]
    network.set_units(0, first, amounts, fan_in, fan_out)
    for row, amount in enumerate(amounts):
        now, width = row_of(network, row), int(old[row])
        assert torch.equal(now.trained[0][:, :width], before[row].trained[0])
        assert torch.equal(now.trained[0][:, width:], fan_in[row, :, :amount])
        above = int(network.active_units[row, 1])
        assert torch.equal(now.trained[1][: len(now.trained[1]) - amount], before[row].trained[1])
        assert torch.equal(now.trained[1][len(now.trained[1]) - amount :], fan_out[row, :amount, :above])
        assert torch.equal(now.trained[2], before[row].trained[2])
    check_padding(network)


@pytest.mark.parametrize("cleared", range(ROWS))
def test_clearing_a_row_leaves_the_others(cleared: int) -> None:
    network = built()
    before = [row_of(network, row) for row in range(ROWS)]
    network.clear(mask(cleared))
    network.fit()
    check_padding(network)
    assert (network.widths[cleared] == 0).all()
    assert not any(part.any() for part in row_of(network, cleared).parts())
    for row in set(range(ROWS)) - {cleared}:
        assert_equal_rows(row_of(network, row), before[row])


def test_fit_gives_room_back() -> None:
    network, rng = StackedMLP(ROWS, INPUTS, 1, CLASSES), np.random.default_rng(0)
    small = network.layout
    grow(network, 0, (2, 50, 3), rng)
    assert network.layout.active == (56,)
    network.clear(mask(1))
    network.fit()
    assert network.layout == small


def test_birth_indices_by_hand() -> None:
    network = built()
    assert network.frozen_units.tolist() == [[3, 4], [0, 0], [5, 9]]
    assert network.active_units.tolist() == [[7, 2], [11, 8], [2, 0]]
    frozen = network.layout.frozen[0]
    assert network.birth_index(0)[0].tolist() == [0, 1, 2, 3, *[-1] * (frozen - 4), 4, 5, 6, 7, 8, 9, 10, *[-1] * 9]
    assert len(live(network, 1, 2)) == 1 + 9


def test_state_is_a_copy_that_can_be_loaded_again_and_again() -> None:
    network, rng, x = built(), np.random.default_rng(5), batch()
    kept, logits = network.state(), network.forward(x).clone()
    for _ in range(2):
        grow(network, 1, (20, 1, 1), rng)
        fill(network, rng)
        network.freeze(mask(1))
        assert not torch.equal(network.forward(x), logits)
        network.load_state(kept)
        assert torch.equal(network.forward(x), logits)
        check_padding(network)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_a_copy_trains_like_the_original(duplicate: Any) -> None:
    """Unpickled views were tensors of their own, so that the optimiser updated weights that forward never read."""
    network, x = built(), batch()
    optimizer = StackedAdam(network, 0.1)
    twin = duplicate(optimizer)
    for each in (optimizer, twin):
        for _ in range(3):
            logits = each.network.forward(x)
            each.network.backward(x, logits / 10)
            each.step()
    assert torch.equal(twin.network.forward(x), network.forward(x))
    assert twin.network.weights[0].data_ptr() == twin.network.buffers["weights"].data_ptr()


# -- the invariant ---------------------------------------------------------------------------------------------------

ROW_SETS = st.lists(st.booleans(), min_size=ROWS, max_size=ROWS)
AMOUNTS = st.lists(st.sampled_from([0, 1, 3, 9, 17]), min_size=ROWS, max_size=ROWS)
CHANGES = st.one_of(
    st.tuples(st.just("grow"), st.integers(0, 1), AMOUNTS),
    st.tuples(st.just("train"), st.integers(1, 3), st.integers(0, 9)),
    st.tuples(st.just("freeze"), ROW_SETS, st.none()),
    st.tuples(st.just("clear"), ROW_SETS, st.none()),
    st.tuples(st.just("restart"), ROW_SETS, st.none()),
    st.tuples(st.just("reorder"), st.integers(0, 9), st.none()),
    st.tuples(st.just("return"), st.none(), st.none()),
)


def train(network: StackedMLP, optimizer: StackedAdam, steps: int, seed: int) -> None:
    for step in range(steps):
        x = batch(seed + step, size=4)
        labels = torch.from_numpy(np.random.default_rng(seed).integers(0, CLASSES, (ROWS, 4)))
        network.backward(x, loss_gradient(network.forward(x), labels))
        optimizer.step()
    optimizer.settle()


@settings(max_examples=40)
@given(changes=st.lists(CHANGES, min_size=1, max_size=12))
def test_padding_stays_zero_and_rows_stay_apart(changes: list[tuple[str, Any, Any]]) -> None:
    network, rng = StackedMLP(ROWS, INPUTS, 2, CLASSES, dtype=torch.float64), np.random.default_rng(0)
    optimizer = StackedAdam(network, 0.05)
    kept = network.state()
    for kind, first, second in changes:
        before = [row_of(network, row) for row in range(ROWS)]
        moments = [row_of(network, row, network.layout.blocks(network.buffers["adam_first"])) for row in range(ROWS)]
        untouched: set[int] = set()
        if kind == "grow":
            grow(network, first, second, rng)
            untouched = {row for row, amount in enumerate(second) if amount == 0}
        elif kind == "train":
            train(network, optimizer, first, second)
        elif kind == "reorder":
            order = np.stack([np.append(rng.permutation(INPUTS), INPUTS) for _ in range(ROWS)])
            network.reorder_inputs(torch.from_numpy(order))
        elif kind == "return":
            network.load_state(kept)
        else:
            rows = np.array(first)
            change = {"freeze": network.freeze, "clear": network.clear, "restart": optimizer.restart}[kind]
            change(rows)
            network.fit()
            untouched = set(np.flatnonzero(~rows).tolist())
        check_padding(network)
        for row in untouched:
            assert_equal_rows(row_of(network, row), before[row])
            followers = row_of(network, row, network.layout.blocks(network.buffers["adam_first"]))
            assert_equal_rows(followers, moments[row])
        x = batch(7)
        torch.testing.assert_close(network.forward(x)[1], logits_of(row_of(network, 1), x[1]), atol=1e-9, rtol=1e-9)
