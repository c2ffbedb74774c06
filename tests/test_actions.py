"""Action indices and what they ask for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from growenv.actions import WAIT, ActionTable

TABLE = ActionTable(2, (4, 16))


def test_the_table_by_hand() -> None:
    assert TABLE.size == 5
    assert TABLE.layer.tolist() == [-1, 0, 0, 1, 1]
    assert TABLE.amount.tolist() == [0, 4, 16, 4, 16]
    assert TABLE.names == ("wait", "grow layer 0 by 4", "grow layer 0 by 16", "grow layer 1 by 4", "grow layer 1 by 16")
    assert WAIT == 0
    assert [TABLE.index(0, 4), TABLE.index(1, 16)] == [1, 4]


@given(layers=st.integers(1, 5), amounts=st.lists(st.integers(1, 99), min_size=1, max_size=5, unique=True))
def test_index_and_request_are_inverse(layers: int, amounts: list[int]) -> None:
    table = ActionTable(layers, tuple(amounts))
    assert table.size == 1 + layers * len(amounts) == len(set(table.names))
    for layer in range(layers):
        for amount in amounts:
            asked = table.request([table.index(layer, amount)])
            assert [each.tolist() for each in asked] == [[layer], [amount]]
    assert [each.tolist() for each in table.request([WAIT])] == [[-1], [0]]


def test_requests_of_many_rows() -> None:
    layer, amount = TABLE.request(np.array([0, 4, 1], dtype=np.int32))
    assert (layer.tolist(), amount.tolist()) == ([-1, 1, 0], [0, 16, 4])


@pytest.mark.parametrize(("layer", "amount"), [(2, 4), (-1, 4), (0, 5), (0, 0)])
def test_what_no_action_does(layer: int, amount: int) -> None:
    with pytest.raises(
        ValueError, match=rf"no action grows layer {layer} by {amount}; layers: 0..1, amounts: \(4, 16\)"
    ):
        TABLE.index(layer, amount)
