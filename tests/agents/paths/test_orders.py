"""Named orders, random paths, and the policy that plays a path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.paths.orders import fixed_orders, order, playing, random_paths
from growenv.paths.lattice import Lattice
from growenv.registry import UnknownNameError

SIX = Lattice((6, 6), 1)


def written(path: object) -> str:
    return "".join(map(str, np.asarray(path).tolist()))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("layer-1-first, waits-last", "1111112222220"),
        ("layer-2-first, waits-first", "0222222111111"),
        ("alternating-from-1, waits-last", "1212121212120"),
        ("alternating-from-2, waits-first", "0212121212121"),
        ("blocks-from-1, waits-last", "1112221112220"),
        ("blocks-from-2, waits-first", "0222111222111"),
    ],
)
def test_an_order_is_what_its_name_says(name: str, expected: str) -> None:
    assert written(order(SIX, name)) == expected


def test_without_waits_names_do_not_speak_of_them() -> None:
    orders = fixed_orders(Lattice((2, 2)))
    assert {name: written(path) for name, path in orders.items()} == {
        "layer-1-first": "1122",
        "layer-2-first": "2211",
        "alternating-from-1": "1212",
        "alternating-from-2": "2121",
    }  # blocks of one step are the same as alternating


def test_layers_with_few_steps_drop_out_of_the_turns() -> None:
    assert written(order(Lattice((2, 4)), "alternating-from-1")) == "121222"


@settings(max_examples=40)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=3).filter(any), st.integers(0, 2))
def test_every_order_is_a_whole_path_and_comes_once(steps: list[int], waits: int) -> None:
    lattice = Lattice(steps, waits)
    orders = list(fixed_orders(lattice).values())
    for path in orders:
        assert len(path) == lattice.horizon
        lattice.follow(path)
    assert len({path.tobytes() for path in orders}) == len(orders)


def test_an_unknown_order_names_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'layer-1-first, waits-last'"):
        order(SIX, "layer-1-first")


def test_random_paths_are_uniform_over_all_paths() -> None:
    lattice = Lattice((2, 1), 1)  # 12 paths
    drawn = random_paths(lattice, 12_000, np.random.default_rng(0))
    leaves, counts = np.unique(lattice.follow(drawn)[:, -1], return_counts=True)
    assert leaves.tolist() == lattice.leaves.tolist()
    assert np.abs(counts - 1000).max() < 150  # five standard deviations


def test_playing_gives_every_row_the_order() -> None:
    policy = playing(Lattice((1, 1)), [2, 1], rows=3)
    policy.reset(np.ones(3, dtype=bool))
    masks = np.ones((3, 3), dtype=bool)
    assert [policy.act({}, masks).tolist() for _ in range(2)] == [[2, 2, 2], [1, 1, 1]]


@pytest.mark.parametrize(("path", "words"), [([1], "a whole path of 2"), ([1, 1], "more often"), ([[1, 2]], "a whole")])
def test_what_is_no_path_is_not_played(path: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        playing(Lattice((1, 1)), path, rows=1)  # type: ignore[arg-type]
