"""Giving neurons back: what may go, what it refunds, and that nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from growenv.actions import ActionTable
from growenv.testing import check_env
from growenv.vector_env import GrowthVectorEnv
from tests.giving import Giving
from tests.rollouts import assert_same, play, random_actions, started, vector_of_three


def prunable(meter: str = "parameters", **options: Any) -> GrowthVectorEnv:
    chosen = {"prune": (4,), "protection": Giving(), "meter": meter, "budget": 1.0, "hidden": (8, 8), **options}
    return started("DISABLED", **chosen)


def both(env: GrowthVectorEnv, layer: int, amount: int) -> np.ndarray:
    return np.full(env.num_envs, env.actions.index(layer, amount))


def test_pruning_comes_after_growth_in_the_table() -> None:
    table = ActionTable(2, (4, 16), prune=(1, 8))
    assert table.layer.tolist() == [-1, 0, 0, 1, 1, 0, 0, 1, 1]
    assert table.amount.tolist() == [0, 4, 16, 4, 16, -1, -8, -1, -8]
    assert table.names[5:] == tuple(f"prune layer {layer} by {k}" for layer in (0, 1) for k in (1, 8))
    assert [table.index(layer, -k) for layer in (0, 1) for k in (1, 8)] == [5, 6, 7, 8]
    assert table.index(1, 16) == 4
    assert (table.growth, table.pruning) == (slice(1, 5), slice(5, 9))
    placed = ActionTable(1, (4,), 3, (2,))
    assert placed.region.tolist() == [-1, 0, 1, 2, -1]
    assert placed.index(0, -2) == 4
    with pytest.raises(ValueError, match=r"no action grows layer 0 by -4.*prune: \(2,\)"):
        placed.index(0, -4)


def test_without_the_option_the_actions_are_what_they_were() -> None:
    assert started(protection=Giving()).actions.names == started().actions.names


@pytest.mark.parametrize("meter", ["parameters", "neurons", "bytes", "macs"])
def test_growing_and_pruning_again_returns_to_where_it_was(meter: str) -> None:
    env = prunable(meter, decisions=6)
    used = env.episodes.used.copy()
    grown = play(env, [both(env, 0, 4)])[0]
    cost = env.admission.costs[:, env.actions.index(0, -4)]
    np.testing.assert_allclose(cost, used - env.episodes.used, rtol=1e-12)
    pruned = play(env, [both(env, 0, -4)])[0]
    np.testing.assert_array_equal(env.episodes.used, used)
    assert (env.learner.network.widths == 8).all()
    assert (grown.infos["reward_cost"] < 0).all()
    np.testing.assert_allclose(pruned.infos["reward_cost"], -grown.infos["reward_cost"], rtol=1e-9)
    while not pruned.terminated.all():
        pruned = play(env, [np.zeros(3, dtype=np.int64)])[0]
    assert pruned.infos["growth_log"][0] == "[[0, 0, 0, 4], [1, 0, 0, -4]]"


def test_what_is_left_computes_what_it_did_without_the_units_that_go() -> None:
    env = prunable(minibatches=1, optimizer="sgd", learning_rate=1e-30)
    x = env.learner.data.gather(env.learner.data.evaluation_set("validation", env.learner.task)[0])
    network = env.learner.network
    before = network.forward(x).clone()
    first = network.layout.frozen[1]
    network.weights[2][:, network.layout.frozen[1] + 4 : first + 8] = 0.0  # as if the four youngest said nothing
    silent = network.forward(x).clone()
    assert not np.allclose(before.numpy(), silent.numpy())
    play(env, [both(env, 1, -4)])
    np.testing.assert_allclose(env.learner.network.forward(x).numpy(), silent.numpy(), atol=1e-6)


def test_one_neuron_stays_and_so_does_what_the_protection_keeps() -> None:
    env = prunable(prune=(3, 4, 7, 8), protection=Giving(keep=5))
    reasons = env.admission.reasons
    seen = [reasons[code] for code in env.admission.codes[0, env.actions.pruning]]
    assert seen == ["", "kept", "kept", "kept"] * 2
    env = prunable(prune=(7, 8))
    assert env.action_masks()[0, env.actions.pruning].tolist() == [True, False] * 2
    refused = play(env, [both(env, 0, -8)])[0]
    assert refused.infos["invalid_action"].all()
    assert refused.infos["refusal"].tolist() == ["kept"] * 3
    assert (env.learner.network.widths == 8).all()


def test_units_leave_the_generation_in_which_they_grew() -> None:
    """In the second task the first task's head still reads old units, so they give more back."""
    for oldest_first, left in ((True, [[4, 8], [4, 0]]), (False, [[8, 8], [0, 0]])):
        env = prunable(decisions=2, protection=Giving(oldest_first))
        play(env, [np.zeros(3, dtype=np.int64)] * 2)
        play(env, [both(env, 0, 4)])
        predicted = env.episodes.used + env.admission.costs[:, env.actions.index(0, -4)]
        play(env, [both(env, 0, -4)])
        assert env.learner.units[0].tolist() == left
        np.testing.assert_allclose(env.episodes.used, predicted, rtol=1e-12)


@pytest.mark.parametrize("meter", ["mosaic", "parameters"])
def test_random_play_with_pruning_keeps_budgets_and_sums(meter: str) -> None:
    sizes: dict[str, Any] = {"tasks": 2, "decisions": 4, "minibatches": 1, "hidden": (6, 6), "max_hidden": (24, 24)}
    budget: dict[str, Any] = {"budget": (0.6, 0.8), "validation_samples": 16, "test_samples": 16}
    check_env(prune=(2, 4), protection=Giving(), meter=meter, rows=2, **sizes, **budget)


def test_a_pruned_network_is_placed_anew_and_its_cost_was_told() -> None:
    sizes: dict[str, Any] = {"hidden": (8, 8), "decisions": 5, "budget": (0.6, 0.9)}
    env = vector_of_three("DISABLED", prune=(4,), protection=Giving(), **sizes)
    env.reset(seed=1)
    rng = np.random.default_rng(0)
    pruned = 0
    while not env.episodes.ended.any():
        actions = random_actions(env, rng)
        lost = env.actions.amount[actions] < 0
        told = env.episodes.used + env.admission.costs[np.arange(3), actions]
        task = env.learner.task.copy()
        play(env, [actions])
        still = lost & (env.learner.task == task)
        np.testing.assert_allclose(env.episodes.used[still], told[still], rtol=1e-9)
        assert (env.episodes.used <= env.episodes.budget * (1 + 1e-9)).all()
        pruned += int(still.sum())
    assert pruned > 2


def test_snapshots_know_of_pruned_networks() -> None:
    env, other = (prunable("mosaic", decisions=4) for _ in range(2))
    play(env, [both(env, 0, 4)])
    kept = env.snapshot()
    actions = [both(env, 0, -4), both(env, 1, 4), both(env, 1, -4)]
    first = play(env, actions)
    env.restore(kept)
    assert_same(play(env, actions), first)
    other.restore(kept)
    assert_same(play(other, actions), first)


def test_a_protection_that_keeps_everything_cannot_be_pruned() -> None:
    with pytest.raises(ValueError, match=r"option prune=\(4,\): the protection 'freeze' gives no neurons back"):
        GrowthVectorEnv(1, prune=(4,))
