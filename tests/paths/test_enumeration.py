"""All nodes, some, or shard by shard: what is counted is the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growenv.paths.enumeration import count_everywhere, count_right, prefixes, shard
from growenv.paths.lattice import Lattice
from growenv.paths.training import PathTraining
from tests.paths.test_training import small

LATTICES = [Lattice((2, 1)), Lattice((2, 2), 1), Lattice((3,)), Lattice((1, 1, 2)), Lattice((2, 1), 2)]


def test_shards_worked_by_hand() -> None:
    """Nodes: root; 1, 2; 11, 12, 21; 112, 121, 211."""
    lattice = Lattice((2, 1))
    assert shard(lattice, 0).tolist() == [6, 7, 8]
    assert shard(lattice, 1).tolist() == [6, 7] and shard(lattice, 2).tolist() == [8]
    assert shard(lattice, 4).tolist() == [7] and shard(lattice, 8).tolist() == [8]
    assert [prefixes(lattice, level).tolist() for level in range(4)] == [[0], [1, 2], [3, 4, 5], [6, 7, 8]]


@settings(max_examples=40)
@given(st.sampled_from(LATTICES), st.data())
def test_the_shards_of_a_level_hold_every_path_once(lattice: Lattice, data: st.DataObject) -> None:
    level = data.draw(st.integers(0, lattice.horizon))
    nodes = prefixes(lattice, level)
    shards = [shard(lattice, int(node)) for node in nodes]
    np.testing.assert_array_equal(np.concatenate(shards), lattice.leaves)
    np.testing.assert_array_equal([len(each) for each in shards], lattice.completions(nodes))
    for node, ends in zip(nodes, shards, strict=True):
        assert (lattice.path(ends)[:, :level] == lattice.path(node)).all()


@pytest.mark.parametrize("level", [-1, 4])
def test_levels_that_paths_do_not_have_are_refused(level: int) -> None:
    with pytest.raises(ValueError, match=f"level={level}: expected 0 to 3"):
        prefixes(Lattice((2, 1)), level)


@pytest.mark.parametrize("node", [-1, 9])
def test_shards_of_nodes_that_do_not_exist_are_refused(node: int) -> None:
    with pytest.raises(ValueError, match="expected numbers from 0 to 8"):
        shard(Lattice((2, 1)), node)


@pytest.mark.parametrize("level", [0, 1, 2, 4])
def test_shards_put_together_are_the_whole(level: int) -> None:
    about = small((2, 1), 1)
    training, lattice = PathTraining(about), about.lattice
    whole = count_right(training, lattice.leaves, [0, 1])
    found = count_everywhere(training, [0, 1], level=level)
    for name in ("nodes", "validation", "test"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    assert (found.validation >= 0).all() and (found.test >= 0).all()


def test_only_ends_of_paths_are_tested_where_that_is_enough() -> None:
    about = small((2, 1))
    training = PathTraining(about)
    everywhere, trained = count_right(training, np.array([7, 2]), [1]), list[int]()
    ends = count_right(training, np.array([7, 2]), [1], test_everywhere=False, progress=trained.append)
    assert ends.nodes.tolist() == [0, 1, 2, 4, 7] and ends.validation.shape == ends.test.shape == (1, 5)
    np.testing.assert_array_equal(ends.validation, everywhere.validation)
    assert ends.test[0, :-1].tolist() == [-1] * 4 and ends.test[0, -1] == everywhere.test[0, -1] >= 0
    assert (everywhere.test >= 0).all()
    assert sum(trained) == 5, "every network is told of once, the root's among them"


def test_trials_come_in_the_order_in_which_they_were_asked_for() -> None:
    about = small(trials=3)
    training = PathTraining(about)
    one, two = (count_right(training, about.lattice.leaves, trials) for trials in ([2, 0], [0, 2]))
    np.testing.assert_array_equal(one.validation, two.validation[::-1])
    np.testing.assert_array_equal(one.test, two.test[::-1])


@pytest.mark.parametrize("trials", [[], [0, 0], [2], [-1]])
def test_trials_that_do_not_exist_are_refused(trials: list[int]) -> None:
    with pytest.raises(ValueError, match=r"expected different numbers from 0 to 1"):
        count_right(PathTraining(small()), np.array([3]), trials)


def test_nowhere_to_go_is_refused() -> None:
    with pytest.raises(ValueError, match="no nodes to go to"):
        count_right(PathTraining(small()), np.array([], dtype=np.int64), [0])
