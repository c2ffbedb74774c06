"""What vector environments and their single twins share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from growenv import batching


def test_modes_go_by_name_or_as_they_are() -> None:
    for mode in AutoresetMode:
        assert batching.autoreset_of(mode) is batching.autoreset_of(mode.name) is mode
    with pytest.raises(ValueError, match="did you mean 'NEXT_STEP'"):
        batching.autoreset_of("NEXT_STP")


def test_no_mask_means_every_row() -> None:
    assert batching.checked_mask(None, 3, begun=False).tolist() == [True] * 3
    assert batching.checked_mask([True, False], 2, begun=True).tolist() == [True, False]
    with pytest.raises(RuntimeError, match="without a reset_mask first"):
        batching.checked_mask([True, False], 2, begun=False)


@pytest.mark.parametrize("mask", [[True], [False, False], [1, 0], True, "ab"])
def test_other_masks_are_refused(mask: Any) -> None:
    with pytest.raises(ValueError, match="expected 2 booleans with at least one True"):
        batching.checked_mask(mask, 2, begun=True)


def test_actions_become_whole_numbers_of_their_own() -> None:
    given = np.array([2, 0], dtype=np.int64)
    chosen = batching.checked_actions(given, 2, 3)
    given[:] = 1
    assert chosen.tolist() == [2, 0] and batching.checked_actions([1, 1], 2, 3).dtype == np.int64


@pytest.mark.parametrize("actions", [[1], [[1, 1]], [0.0, 1.0], [0, 3], [-1, 0], None])
def test_other_actions_are_refused(actions: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        batching.checked_actions(actions, 2, 3)


@pytest.mark.parametrize("count", [0, -1, 1.0, True, "2"])
def test_rows_are_counted_in_whole_numbers(count: Any) -> None:
    with pytest.raises(ValueError, match="expected an integer >= 1"):
        batching.checked_count(count)


def test_row_0_has_only_what_it_has() -> None:
    infos = {"node": np.array([4, 5]), "path": np.array([[1, 2], [3, 4]]), "regret": np.array([0.0, 0.5])}
    masks = {"_node": np.array([True, True]), "_path": np.array([True, False]), "_regret": np.array([False, True])}
    first = batching.first_info({**infos, **masks})
    assert set(first) == {"node", "path"} and type(first["node"]) is int and first["path"].tolist() == [1, 2]
    infos["path"][:] = 0
    assert first["path"].tolist() == [1, 2]
    seen = batching.first_observation({"position": np.ones((2, 3), dtype=np.float32)})
    assert seen["position"].shape == (3,)
