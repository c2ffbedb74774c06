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
    assert (TABLE.regions, TABLE.region.tolist()) == (0, [-1] * 5)
    assert TABLE.names == ("wait", "grow layer 0 by 4", "grow layer 0 by 16", "grow layer 1 by 4", "grow layer 1 by 16")
    assert WAIT == 0
    assert [TABLE.index(0, 4), TABLE.index(1, 16)] == [1, 4]


def test_the_table_with_regions_by_hand() -> None:
    table = ActionTable(2, (4, 16), 3)
    assert table.size == 13
    assert table.layer.tolist() == [-1, *[0] * 6, *[1] * 6]
    assert table.amount.tolist() == [0, 4, 4, 4, 16, 16, 16, 4, 4, 4, 16, 16, 16]
    assert table.region.tolist() == [-1, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]
    assert table.names[:3] == ("wait", "grow layer 0 by 4 in region 0", "grow layer 0 by 4 in region 1")
    assert table.names[-1] == "grow layer 1 by 16 in region 2"
    assert [table.index(0, 4), table.index(0, 4, 2), table.index(1, 16, 2)] == [1, 3, 12]


def test_one_region_is_named_as_well() -> None:
    table = ActionTable(1, (4,), 1)
    assert table.names == ("wait", "grow layer 0 by 4 in region 0")
    assert table.region.tolist() == [-1, 0]


@given(
    layers=st.integers(1, 5),
    amounts=st.lists(st.integers(1, 99), min_size=1, max_size=5, unique=True),
    regions=st.integers(0, 6),
)
def test_index_and_request_are_inverse(layers: int, amounts: list[int], regions: int) -> None:
    table = ActionTable(layers, tuple(amounts), regions)
    assert table.size == 1 + layers * len(amounts) * max(1, regions) == len(set(table.names))
    for layer in range(layers):
        for amount in amounts:
            for region in range(max(1, regions)):
                action = table.index(layer, amount, region)
                assert [each.tolist() for each in table.request([action])] == [[layer], [amount]]
                assert table.region[action] == (region if regions else -1)
    assert [each.tolist() for each in table.request([WAIT])] == [[-1], [0]]


def test_requests_of_many_rows() -> None:
    layer, amount = TABLE.request(np.array([0, 4, 1], dtype=np.int32))
    assert (layer.tolist(), amount.tolist()) == ([-1, 1, 0], [0, 16, 4])


@pytest.mark.parametrize(("layer", "amount"), [(2, 4), (-1, 4), (0, 5), (0, 0)])
def test_what_no_action_does(layer: int, amount: int) -> None:
    what = rf"no action grows layer {layer} by {amount}"
    with pytest.raises(ValueError, match=rf"{what}; layers: 0..1, amounts: \(4, 16\), no regions"):
        TABLE.index(layer, amount)
    with pytest.raises(ValueError, match=rf"{what} in region 1; .*, regions: 0..2"):
        ActionTable(2, (4, 16), 3).index(layer, amount, 1)


@pytest.mark.parametrize(
    ("regions", "region", "known"), [(3, 3, "regions: 0..2"), (3, -1, "0..2"), (0, 1, "no regions")]
)
def test_regions_in_which_no_action_grows(regions: int, region: int, known: str) -> None:
    with pytest.raises(ValueError, match=rf"no action grows layer 0 by 4 in region {region}; .*{known}"):
        ActionTable(2, (4, 16), regions).index(0, 4, region)
