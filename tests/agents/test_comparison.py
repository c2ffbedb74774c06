from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agents.comparison import BEST_FIXED, Comparison, Player
from agents.evaluation import EpisodeRecord, play
from agents.policy import PolicySpec
from tests.agents.fake_env import CONFIG, FakeVectorEnv, make_contexts

CONTEXTS = [replace(context, inner_seed=seed) for context in make_contexts(3) for seed in (1, 2)]


def records(name: str = "never") -> tuple[EpisodeRecord, ...]:
    return tuple(play(PolicySpec(name), CONFIG, CONTEXTS, make_env=FakeVectorEnv))


def test_values_are_seeds_by_contexts_by_inner_seeds() -> None:
    run = tuple(replace(record, return_=float(number)) for number, record in enumerate(records()))
    later = tuple(replace(record, return_=10.0 + record.return_) for record in run)
    player = Player("ppo", "learned", (run, later))
    assert player.inner_seeds == 2
    np.testing.assert_array_equal(player.values("return_"), [[[0, 1], [2, 3], [4, 5]], [[10, 11], [12, 13], [14, 15]]])
    assert player.mean("return_") == 7.5
    assert player.records == run


def test_figures_of_the_hardware_are_values_too() -> None:
    run = tuple(replace(record, hardware={"energy_pj": 2.0 * record.index}) for record in records())
    np.testing.assert_array_equal(Player("a", "gate", (run,)).values("energy_pj"), [[[0, 0], [2, 2], [4, 4]]])


def test_a_comparison_finds_players_by_name_and_kind() -> None:
    run = records()
    best, gate = Player(BEST_FIXED, "schedule", (run,)), Player("senn", "gate", (run,))
    comparison = Comparison(CONFIG, "val", 2, (gate, best))
    assert comparison.player(BEST_FIXED) is best
    assert comparison.of_kind("gate", "oracle") == (gate,)
    assert comparison.names == ("senn", BEST_FIXED)
    assert comparison.contexts == 3


def test_bad_players_are_refused() -> None:
    with pytest.raises(ValueError, match="kind 'clever', expected one of learned"):
        Player("a", "clever", (records(),))
    with pytest.raises(ValueError, match="equally many episodes"):
        Player("a", "gate", (records(), records()[:2]))
    with pytest.raises(ValueError, match="equally many episodes"):
        Player("a", "gate", ())
    with pytest.raises(ValueError, match="given twice: a"):
        Comparison(CONFIG, "val", 2, (Player("a", "gate", (records(),)), Player("a", "gate", (records(),))))
    other = Player("b", "gate", (tuple(reversed(records())),))
    with pytest.raises(ValueError, match="the same contexts"):
        Comparison(CONFIG, "val", 2, (Player("a", "gate", (records(),)), other))
