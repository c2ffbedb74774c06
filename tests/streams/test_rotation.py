"""Rotation of images: direction, exactness and background."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from growenv.streams.rotation import rotate


def test_45_degrees_by_hand() -> None:
    """A point right of the centre goes up and to the right, weighted by how near it passes the pixels."""
    image = torch.zeros(5, 5)
    image[2, 4] = 1.0
    turned = rotate(image.reshape(1, -1), (5, 5), 45).reshape(5, 5)
    assert int(turned.argmax()) in (1 * 5 + 3, 0 * 5 + 3, 1 * 5 + 4)
    # Pixel (1, 3) lies sqrt(2) right of the centre once it is turned back: 0.414 of the way from column 3 to column 4.
    assert float(turned[1, 3]) == pytest.approx(np.sqrt(2) - 1, abs=1e-6)
    assert float(turned[3:].abs().max()) == 0.0
    assert float(turned[:, :3].abs().max()) == 0.0


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_agree_with_rot90(turns: int) -> None:
    images = np.random.default_rng(0).random((3, 7, 7), dtype=np.float32)
    expected = np.rot90(images, turns, axes=(1, 2)).reshape(3, -1)
    found = rotate(torch.from_numpy(images.reshape(3, -1)), (7, 7), 90 * turns)
    torch.testing.assert_close(found, torch.from_numpy(expected.copy()), atol=1e-5, rtol=0)


def test_no_turn_changes_nothing() -> None:
    images = torch.arange(24, dtype=torch.float32).reshape(2, 12)
    torch.testing.assert_close(rotate(images, (3, 4), 0), images, atol=0, rtol=0)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 359), st.floats(-2, 2))
def test_constant_background_is_a_fixed_point(degrees: int, background: float) -> None:
    images = torch.full((2, 30), background, dtype=torch.float32)
    torch.testing.assert_close(rotate(images, (5, 6), degrees, background), images)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 89))
def test_bytes_are_the_rounded_floats(degrees: int) -> None:
    images = torch.from_numpy(np.random.default_rng(degrees).integers(0, 256, (4, 36), dtype=np.uint8))
    found, exact = rotate(images, (6, 6), degrees), rotate(images.float(), (6, 6), degrees)
    assert found.dtype == torch.uint8
    assert float((found.float() - exact).abs().max()) <= 0.5


def test_every_chunk_is_rotated(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(7, 16, generator=torch.Generator().manual_seed(0))
    whole = rotate(images, (4, 4), 20)
    monkeypatch.setattr("growenv.streams.rotation._CHUNK", 3)
    torch.testing.assert_close(rotate(images, (4, 4), 20), whole, atol=0, rtol=0)
