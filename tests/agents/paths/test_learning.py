"""Stable-Baselines3 on growth paths: watched between updates, and every agent by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from agents.paths.by_name import AGENTS, make_agent
from agents.paths.judging import Judge
from agents.paths.learning import LEARNERS, Learner
from agents.policy import Policy
from growenv.registry import UnknownNameError
from tests.agents.paths.synthetic import made_up

JUDGE = Judge(made_up((2, 2), 1))


@pytest.fixture(autouse=True)
def own_generator() -> Iterator[None]:
    """Stable-Baselines3 seeds the global generator."""
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_learns_whole_episodes_and_shows_itself(name: str) -> None:
    seen: list[int] = []

    def watch(episodes: int, policy: Callable[[int], Policy]) -> None:
        seen.append(episodes)
        assert set(JUDGE.regret(policy)) == {"train", "test"}

    make_agent(name, JUDGE, seed=3, rows=8).learn(24, watch)
    assert seen == [8, 16, 24]


@pytest.mark.parametrize("algo", LEARNERS)
def test_equal_seeds_learn_equal_networks(algo: str) -> None:
    def weights(seed: int) -> list[float]:
        learner = Learner(algo, JUDGE.environment(8), seed)
        learner.learn(32, lambda episodes, policy: None)
        return [float(tensor.sum()) for tensor in learner.model.policy.state_dict().values()]

    assert weights(1) == weights(1) != weights(2)


def test_the_watch_sees_the_network_after_its_update() -> None:
    learner = Learner("a2c", JUDGE.environment(8), 0)
    seen: list[float] = []

    def weight() -> float:
        return next(learner.model.policy.parameters()).sum().item()

    learner.learn(16, lambda episodes, policy: seen.append(weight()))
    assert seen[0] != seen[1] == weight()


def test_no_action_is_preferred_at_first() -> None:
    learner = Learner("ppo", JUDGE.environment(8), 0)
    assert learner.model.policy.action_net.bias.tolist() == [0.0, 0.0, 0.0]  # type: ignore[operator, union-attr]


def test_ppo_comes_below_every_fixed_order() -> None:
    judge = Judge(made_up((3, 3), 1, noise=0.003))
    learner = Learner("ppo", judge.environment(64), 0)
    learner.learn(1280, lambda episodes, policy: None)
    orders = judge.references()["orders"]
    assert judge.regret(learner.policy)["train"] < min(regret["train"] for regret in orders.values())


def test_a_policy_takes_allowed_actions_only() -> None:
    env = JUDGE.environment(6)
    policy = Learner("dqn", env, 0).policy(6)
    observations, _ = env.reset(seed=0)
    for _ in range(env.lattice.horizon):
        masks, actions = env.action_masks(), policy.act(observations, env.action_masks())
        assert masks[np.arange(6), actions].all()
        observations, *_ = env.step(actions)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'evolution'"):
        make_agent("evolutions", JUDGE, 0)
    with pytest.raises(UnknownNameError, match="known: a2c, dqn, ppo"):
        Learner("sac", JUDGE.environment(2), 0)
