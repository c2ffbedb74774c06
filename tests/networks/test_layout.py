"""Flat buffers as blocks, and their re-packing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from growenv.networks.layout import STEP, Layout, round_up

WIDTHS = st.tuples(st.integers(1, 4), st.integers(1, 4))


@pytest.mark.parametrize(("count", "expected"), [(0, 8), (1, 8), (8, 8), (9, 16), (16, 16), (17, 24)])
def test_round_up_gives_at_least_one_step(count: int, expected: int) -> None:
    assert STEP == 8
    assert round_up(count) == expected


def test_shapes_of_blocks_by_hand() -> None:
    layout = Layout(rows=2, inputs=3, frozen=(8, 16), active=(24, 8), classes=5)
    blocks = layout.blocks(torch.arange(layout.size))
    assert [tuple(block.shape) for block in blocks] == [(2, 3, 24), (2, 8 + 24, 8), (2, 16 + 8, 5)]
    assert layout.size == 2 * (3 * 24 + 32 * 8 + 24 * 5)
    assert (layout.depth, layout.fan_in(2), layout.fan_out(2)) == (2, 24, 5)


def test_blocks_are_views_that_share_out_the_buffer() -> None:
    layout = Layout(rows=3, inputs=2, frozen=(8,), active=(8,), classes=4)
    flat = torch.zeros(layout.size)
    for number, block in enumerate(layout.blocks(flat)):
        assert block.is_contiguous()
        assert not block.any(), "blocks overlap"
        block.fill_(number + 1)
    assert flat.all(), "a number belongs to no block"


def marked(layout: Layout) -> torch.Tensor:
    """A buffer of different numbers."""
    return torch.arange(1.0, layout.size + 1)


@given(small=st.tuples(WIDTHS, WIDTHS), more=st.tuples(WIDTHS, WIDTHS))
def test_repack_to_a_larger_layout_and_back_loses_nothing(
    small: tuple[tuple[int, int], ...], more: tuple[tuple[int, int], ...]
) -> None:
    larger = [tuple(one + two for one, two in zip(*pair, strict=True)) for pair in zip(small, more, strict=True)]
    old = Layout(2, 3, small[0], small[1], 2)
    new = Layout(2, 3, larger[0], larger[1], 2)
    flat = marked(old)
    moved = old.repack(flat, new)
    assert (moved > 0).sum() == old.size, "new entries must be zero and old ones there once"
    assert torch.equal(new.repack(moved, old), flat)
    for layer, (before, after) in enumerate(zip(old.blocks(flat), new.blocks(moved), strict=True)):
        columns = old.fan_out(layer)
        if layer == 0:
            assert torch.equal(after[:, :, :columns], before)
            continue
        frozen, active, start = old.frozen[layer - 1], old.active[layer - 1], new.frozen[layer - 1]
        assert torch.equal(after[:, :frozen, :columns], before[:, :frozen])
        assert torch.equal(after[:, start : start + active, :columns], before[:, frozen:])


def test_repack_to_the_same_layout_is_a_copy() -> None:
    layout = Layout(2, 3, (8, 8), (8, 16), 2)
    flat = marked(layout)
    copy = layout.repack(flat, layout)
    assert torch.equal(copy, flat)
    assert copy.data_ptr() != flat.data_ptr()
