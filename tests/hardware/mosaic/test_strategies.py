"""Fixed places of inputs and heads, and how strategies rank tiles."""

from __future__ import annotations

import numpy as np
import pytest

from growenv.hardware.mosaic import fabric, preset
from growenv.hardware.mosaic.placement import Classes, Placement
from growenv.hardware.mosaic.strategies import STRATEGIES, Greedy, RowMajor, head_tiles, input_tiles
from growenv.registry import UnknownNameError
from tests.hardware.mosaic.placing import chip, first_obstacle, network, put


@pytest.mark.parametrize(
    ("cols", "inputs", "expected"),
    [
        (4, 1, [(1, 1)]),
        (4, 8, [(1, 8)]),
        (3, 8, [(1, 8)]),
        (5, 8, [(2, 8)]),
        (1, 8, [(0, 8)]),
        (3, 9, [(0, 5), (2, 4)]),
        (4, 16, [(0, 8), (2, 8)]),
        (5, 15, [(1, 8), (3, 7)]),
        (8, 16, [(2, 8), (4, 8)]),
        (2, 13, [(0, 7), (1, 6)]),
        (3, 17, [(0, 6), (1, 6), (2, 5)]),
        (4, 24, [(0, 8), (1, 8), (2, 8)]),
        (5, 24, [(1, 8), (2, 8), (3, 8)]),
    ],
)
def test_inputs_stand_evenly_in_the_middle_of_row_0(cols, inputs, expected):
    assert input_tiles(chip(4, cols), inputs) == expected


@pytest.mark.parametrize("cols", range(1, 9))
def test_no_input_is_lost_and_no_tile_is_overfull(cols):
    spec = chip(2, cols)
    for inputs in range(1, 8 * min(3, cols) + 1):
        relays = input_tiles(spec, inputs)
        assert sum(amount for _, amount in relays) == inputs
        assert all(0 <= tile < cols and 1 <= amount <= 8 for tile, amount in relays)
        assert len({tile for tile, _ in relays}) == len(relays) == -(-inputs // 8)
        shares = [amount for _, amount in relays]
        assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(
    ("inputs", "readers"), [(8, [tile for tile in range(16) if tile != 1]), (16, [1, 5, 9, 13]), (24, [5])]
)
def test_readers_hear_one_tile_of_inputs_anywhere_two_in_a_column_and_three_on_one_tile(inputs, readers):
    def fits(tiles):
        placement = Placement(fabric(chip(4, 4)), Classes(1, 1, True), 1)
        for relay, amount in input_tiles(chip(4, 4), inputs):
            put(placement, 0, relay, amount)
        for tile in tiles:
            put(placement, 1, tile, 1)
        return not first_obstacle(chip(4, 4), network(placement))

    assert fits(readers), "all at once"
    if inputs == 24:
        assert [tile for tile in range(16) if fits([tile])] == readers


@pytest.mark.parametrize(
    ("spec", "inputs", "most", "pool"),
    [
        (chip(), 25, 24, "input_pool=4"),
        (chip(4, 2), 17, 16, "input_pool=4"),
        (chip(4, 1), 9, 8, "input_pool=2"),
        (preset("digits"), 784, 96, "input_pool=8"),
        (preset("large"), 784, 384, "input_pool=16"),
    ],
)
def test_too_many_inputs_say_how_to_pool(spec, inputs, most, pool):
    message = f"{inputs} inputs are too many .* at most {most} of them.*{pool}.*mosaic-large"
    with pytest.raises(ValueError, match=message):
        input_tiles(spec, inputs)
    assert sum(amount for _, amount in input_tiles(spec, most)) == most


@pytest.mark.parametrize(
    ("rows", "cols", "expected"),
    [(3, 3, [7, 6, 8]), (4, 4, [13, 12, 14, 15]), (2, 1, [1]), (1, 5, [2, 1, 3, 0, 4]), (2, 2, [2, 3])],
)
def test_heads_fill_the_last_row_from_its_middle(rows, cols, expected):
    assert head_tiles(chip(rows, cols)).tolist() == expected


def test_greedy_ranks_by_cost():
    cost = np.array([[5.0, 2.0, 2.0], [1.0, 0.0, 7.0]])
    tiles = np.array([[0, 1, 2], [3, 5, 8]])
    ranks = Greedy().rank(fabric(chip()), cost, np.array([0, 1]), 2, tiles)
    assert ranks.tolist() == cost.tolist()


@pytest.mark.parametrize(
    ("layer", "layers", "first"),
    [(0, 1, 8), (0, 2, 4), (1, 2, 8), (0, 3, 4), (1, 3, 8), (2, 3, 8)],  # rows 2; 1, 2; 1, 2, 2 of rows 0..3
)
def test_row_major_has_a_strip_for_each_layer_and_fills_it_row_by_row(layer, layers, first):
    tiles = np.arange(16)[None]
    rank = RowMajor().rank(fabric(chip(4, 4)), np.zeros((1, 16)), np.array([layer]), layers, tiles)[0]
    order = rank.argsort(kind="stable")
    assert order[:4].tolist() == list(range(first, first + 4))
    distance = np.abs(order // 4 - first // 4)
    assert (np.diff(distance) >= 0).all(), "nearer rows come first"
    assert len(set(rank.tolist())) == 16, "no two tiles are equal"


def test_strategies_have_names():
    assert isinstance(STRATEGIES.make("greedy"), Greedy)
    assert isinstance(STRATEGIES.make("row_major"), RowMajor)
    with pytest.raises(UnknownNameError, match="unknown placement strategy 'greddy'.*greedy"):
        STRATEGIES.make("greddy")
