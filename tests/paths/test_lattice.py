"""The lattice of growth paths: a tree worked by hand, and all permutations of small ones."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growenv.paths import lattice as lattices
from growenv.paths.lattice import MOST_NODES, Lattice
from tests.paths.reference import all_paths, node_numbers

SMALL = st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=3).filter(any), st.integers(0, 2)).filter(
    lambda size: sum(size[0]) + size[1] <= 6
)


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_two_steps_of_one_layer_and_one_of_the_other() -> None:
    """Nodes: root; 1, 2; 11, 12, 21; 112, 121, 211."""
    lattice = Lattice((2, 1))
    assert (lattice.nodes, lattice.paths, lattice.horizon, lattice.actions) == (9, 3, 3, 3)
    assert lattice.limits == (0, 2, 1) and lattice.levels.tolist() == [0, 1, 3, 6, 9]
    assert lattice.parents.tolist() == [-1, 0, 0, 1, 1, 2, 3, 4, 5]
    assert lattice.last.tolist() == [-1, 1, 2, 1, 2, 1, 2, 1, 1]
    assert lattice.children[:6].tolist() == [[-1, 1, 2], [-1, 3, 4], [-1, 5, -1], [-1, -1, 6], [-1, 7, -1], [-1, 8, -1]]
    assert (lattice.children[6:] == -1).all() and lattice.leaves.tolist() == [6, 7, 8]
    assert lattice.counts[[0, 4, 5, 8]].tolist() == [[0, 0, 0], [0, 1, 1], [0, 1, 1], [0, 2, 1]]
    assert lattice.depth.tolist() == [0, 1, 1, 2, 2, 2, 3, 3, 3] and lattice.level(2) == slice(3, 6)
    assert lattice.completions([0, 1, 2, 5, 8]).tolist() == [3, 2, 1, 1, 1]
    assert lattice.follow([1, 2, 1]).tolist() == [0, 1, 4, 7] and lattice.follow([]).tolist() == [0]
    assert lattice.path(7).tolist() == [1, 2, 1] and lattice.path([3, 5]).tolist() == [[1, 1], [2, 1]]
    assert lattice.below([5, 3]).tolist() == [0, 1, 2, 3, 5]


def test_the_lead_of_paths_worked_by_hand() -> None:
    """Shares of layer 0 minus layer 1 after each decision: .5 + 1 + 0, .5 - .5 + 0, -1 - .5 + 0, over 1.5."""
    np.testing.assert_allclose(Lattice((2, 1)).lead(), [1.0, 0.0, -1.0], atol=1e-15)
    np.testing.assert_allclose(Lattice((2, 1)).lead(1, 0), [-1.0, 0.0, 1.0], atol=1e-15)


def test_equal_layers_in_the_same_place_have_no_lead() -> None:
    np.testing.assert_array_equal(Lattice((2, 2)).lead(0, 0), np.zeros(6))


def test_the_sizes_that_the_pages_name() -> None:
    """20 steps of two layers make C(20, 10) paths; 6 + 6 steps and a wait 13! / (6! 6! 1!)."""
    assert Lattice((10, 10)).paths == comb(20, 10) == 184_756
    lattice = Lattice((6, 6), 1)
    assert (lattice.paths, lattice.nodes, lattice.horizon) == (12_012, 42_042, 13)


# -- against permutations ----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(SMALL)
def test_the_tree_holds_every_permutation_once(size: tuple[list[int], int]) -> None:
    steps, waits = size
    lattice, paths = Lattice(steps, waits), all_paths(tuple(steps), waits)
    number = node_numbers(paths)
    assert lattice.paths == len(paths) and lattice.nodes == len(number)
    assert lattice.path(lattice.leaves).tolist() == [list(path) for path in paths]
    for prefix, node in number.items():
        assert lattice.path(node).tolist() == list(prefix)
        assert lattice.counts[node].tolist() == [prefix.count(action) for action in range(lattice.actions)]
        below = [number.get((*prefix, action), -1) for action in range(lattice.actions)]
        assert lattice.children[node].tolist() == below
        assert lattice.completions(node) == sum(path[: len(prefix)] == prefix for path in paths)


@settings(max_examples=40, deadline=None)
@given(SMALL)
def test_the_tree_is_consistent(size: tuple[list[int], int]) -> None:
    lattice = Lattice(*size)
    node = np.arange(1, lattice.nodes)
    np.testing.assert_array_equal(lattice.children[lattice.parents[1:], lattice.last[1:]], node)
    np.testing.assert_array_equal(lattice.depth[1:], lattice.depth[lattice.parents[1:]] + 1)
    np.testing.assert_array_equal(np.diff(lattice.levels), np.bincount(lattice.depth))
    np.testing.assert_array_equal(lattice.follow(lattice.path(lattice.leaves))[:, -1], lattice.leaves)
    np.testing.assert_array_equal(lattice.below(lattice.leaves), np.arange(lattice.nodes))
    assert (lattice.counts[lattice.leaves] == lattice.limits).all()
    assert lattice.below([]).tolist() == []


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2))
def test_layers_that_get_the_same_lead_each_other_equally(steps: int, waits: int) -> None:
    """Exchanging the layers turns the lead around: the leads of all paths are symmetric about 0, from -1 to 1."""
    lattice = Lattice((steps, steps), waits)
    lead = lattice.lead()
    exchanged = lattice.follow(np.array([0, 2, 1])[lattice.path(lattice.leaves)])[:, -1] - lattice.leaves[0]
    np.testing.assert_allclose(lead[exchanged], -lead, atol=1e-12)
    assert lead.max() == pytest.approx(1.0) and lead.min() == pytest.approx(-1.0)


def test_the_largest_lattice_is_refused_by_one_node_less(monkeypatch: pytest.MonkeyPatch) -> None:
    for steps, waits in (((2, 1), 0), ((3,), 0), ((0, 1), 1), ((2, 2, 1), 1)):
        nodes = Lattice(steps, waits).nodes
        with monkeypatch.context() as patch:
            patch.setattr(lattices, "MOST_NODES", nodes)
            assert Lattice(steps, waits).nodes == nodes
            patch.setattr(lattices, "MOST_NODES", nodes - 1)
            with pytest.raises(ValueError, match="can be listed"):
                Lattice(steps, waits)


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (((),), "at least one growth step"),
        (((0, 0), 3), r"steps=\(0, 0\): expected at least one growth step"),
        (((-1, 2),), "steps=-1: expected integers >= 0"),
        (((1.0,),), "steps=1.0"),
        (((True,),), "steps=True"),
        (((1,), -1), "waits=-1"),
        (((1,), False), "waits=False"),
        (((1,), "2"), "waits='2'"),
        (((12, 12),), f"at most {MOST_NODES:,} beginnings of paths can be listed; take fewer steps or waits"),
        (((6, 6), 6), "can be listed"),
        (((500, 500),), "can be listed"),
        (((32_767, 32_767),), "can be listed"),
        (((9,) * 126,), "can be listed"),
        (((40_000,),), "steps=40000: expected at most 32,767"),
        (((100_000, 100_000),), "steps=100000: expected at most 32,767"),
        (((1,), 40_000), "waits=40000: expected at most 32,767"),
        (((1,) * 128,), "steps of 128 layers: expected at most 127"),
    ],
)
def test_lattices_that_cannot_be_are_refused(arguments: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Lattice(*arguments)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda lattice: lattice.follow([1, 2, 2]),
            r"\[1, 2, 2\] takes action 2 at decision 2, more often than 1 times",
        ),
        (lambda lattice: lattice.follow([[1, 2], [2, 0]]), r"\[2, 0\] takes action 0 at decision 1"),
        (lambda lattice: lattice.follow([1, 1, 2, 1]), "a path of 4 actions: expected at most 3"),
        (lambda lattice: lattice.follow([3]), "expected numbers from 0 to 2"),
        (lambda lattice: lattice.follow([-1]), "expected numbers from 0 to 2"),
        (lambda lattice: lattice.follow([1.0]), "expected sequences of integers"),
        (lambda lattice: lattice.follow(1), "expected sequences of integers"),
        (lambda lattice: lattice.path(9), "expected numbers from 0 to 8"),
        (lambda lattice: lattice.path([-1]), "expected numbers from 0 to 8"),
        (lambda lattice: lattice.path(1.5), "expected integers"),
        (lambda lattice: lattice.below([0, -1]), "expected numbers from 0 to 8"),
        (lambda lattice: lattice.below(9), "expected numbers from 0 to 8"),
        (lambda lattice: lattice.completions([-1]), "expected numbers from 0 to 8"),
        (lambda lattice: lattice.completions(9), "expected numbers from 0 to 8"),
        (lambda lattice: lattice.lead(0, 2), "lead of layer 0 over layer 2: expected numbers of the 2 hidden layers"),
        (lambda lattice: lattice.lead(-1, 0), "lead of layer -1 over layer 0"),
        (lambda _: Lattice((3,)).lead(), "lead of layer 0 over layer 1: expected numbers of the 1 hidden layers"),
        (lambda lattice: lattice.path([1, 3]), r"nodes of the depths \[1, 2\]: expected one depth"),
    ],
)
def test_paths_and_nodes_that_do_not_exist_are_refused(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call(Lattice((2, 1)))
