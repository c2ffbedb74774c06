"""Judges play every trial once and know what could have been reached."""

from __future__ import annotations

import numpy as np
import pytest

from agents.paths.judging import SPLITS, Judge
from agents.paths.orders import playing
from growenv.paths import planning
from growenv.paths.objective import Objective
from growenv.paths.planning import optimal_actions
from growenv.paths.table import PathTable
from tests.agents.paths.synthetic import made_up

TABLE = made_up((2, 2), 1, trials=5, noise=0.01)


@pytest.mark.parametrize("kind", ["final", "anytime"])
@pytest.mark.parametrize("price", [0.0, 0.3])
def test_a_path_gets_in_every_trial_what_the_table_says(kind: str, price: float) -> None:
    judge = Judge(TABLE, Objective(kind, price))
    path = np.array([1, 2, 0, 2, 1])
    visited = TABLE.lattice.follow(path)[1:]
    for split in SPLITS:
        accuracy = TABLE.accuracy("validation", split)[:, visited]
        reached = accuracy[:, -1] if kind == "final" else accuracy.mean(axis=1)
        expected = reached - price * np.asarray(TABLE.work)[visited].mean()
        found = judge.returns(lambda rows: playing(TABLE.lattice, path, rows), split)
        assert found == pytest.approx(expected)


def test_the_best_path_has_no_regret_where_it_is_best_and_others_have_some() -> None:
    judge = Judge(TABLE)
    best = optimal_actions(TABLE, trials="train")
    regret = judge.regret(lambda rows: playing(TABLE.lattice, best, rows))
    assert regret["train"] == pytest.approx(0.0)
    assert regret["test"] > 0.0
    assert regret == pytest.approx(judge.references()["chosen on train"])
    assert judge.regret(lambda rows: playing(TABLE.lattice, [1, 1, 2, 2, 0], rows))["train"] > 0.01


def test_a_judge_forgets_the_policy_it_judged_before() -> None:
    judge = Judge(TABLE)
    path = optimal_actions(TABLE, trials="train")
    found = [judge.regret(lambda rows: playing(TABLE.lattice, path, rows)) for _ in range(2)]
    assert found[0] == found[1]


def test_references_are_what_a_slow_count_says() -> None:
    found = Judge(TABLE).references()
    lattice = TABLE.lattice
    for split in SPLITS:
        finals = TABLE.accuracy("validation", split)[:, lattice.leaves]
        best = finals.mean(axis=0).max()
        assert found["optimum"][split] == pytest.approx(best)
        assert found["random"][split] == pytest.approx(best - finals.mean())
        assert found["clairvoyant"][split] == pytest.approx(best - finals.max(axis=1).mean())
        assert found["between paths"][split] == pytest.approx(np.std([column.mean() for column in finals.T]))
        assert found["between trials"][split] == pytest.approx(np.mean([np.std(column) for column in finals.T]))
        node = lattice.follow([0, 1, 1, 2, 2])[-1]
        order = best - TABLE.accuracy("validation", split)[:, node].mean()
        assert found["orders"]["layer-1-first, waits-first"][split] == pytest.approx(order)
    assert found["paths"] == lattice.paths == 30


def test_a_table_of_one_trial_has_nothing_held_out() -> None:
    small: PathTable = made_up((1, 1), trials=1)
    with pytest.raises(ValueError, match="no trials for 'test'"):
        Judge(small)


def test_another_table_is_judged_in_all_of_its_trials() -> None:
    other = made_up((2, 2), 1, trials=3, noise=0.02)
    judge, there = Judge(TABLE, elsewhere=other), planning.returns(other, trials="all").mean(axis=0)
    best = optimal_actions(TABLE, trials="train")
    reached = other.accuracy("validation")[:, other.lattice.follow(best)[-1]].mean()
    assert judge.splits == ("train", "test", "elsewhere") and judge.trials("elsewhere") == 3
    references, here = judge.references(), Judge(TABLE).references()
    found = judge.regret(lambda rows: playing(TABLE.lattice, best, rows))
    assert found["elsewhere"] == pytest.approx(there.max() - reached) == references["chosen on train"]["elsewhere"]
    assert references["random"]["elsewhere"] == pytest.approx(there.max() - there.mean())
    for name in ("optimum", "clairvoyant", "random", "chosen on train"):
        assert {split: references[name][split] for split in SPLITS} == here[name]


def test_another_table_has_the_same_paths() -> None:
    with pytest.raises(ValueError, match=r"steps=\(2, 1\), waits=1: expected the same paths as here"):
        Judge(TABLE, elsewhere=made_up((2, 1), 1))
