"""Masking: probability 0 for illegal actions, everywhere and without a gradient."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.algorithms import algorithm, build, known_algorithms, policy_options
from agents.masked_policy import MASK, GroupExtractor, legal_actions
from growenv.sb3 import as_vec_env
from tests.scripted_env import ACTIONS, ScriptedVectorEnv

SPACE = spaces.Dict(
    {
        "b": spaces.Box(-1.0, 1.0, (2,), np.float32),
        "a": spaces.Box(-1.0, 1.0, (3,), np.float32),
        MASK: spaces.Box(0.0, 1.0, (ACTIONS,), np.float32),
    }
)
ACTOR_CRITICS = [name for name in ("ppo", "recurrent-ppo") if name in known_algorithms()]


def policy(algo: str = "ppo") -> Any:
    """An untrained masking policy whose logits are spread out."""
    options = policy_options({"net_arch": [8], "activation": "tanh"})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = algorithm(algo).policy(SPACE, spaces.Discrete(ACTIONS), lambda _: 1e-3, **options)
        for parameter in made.action_net.parameters():
            torch.nn.init.normal_(parameter)
    return made


def observations(masks: list[list[int]], seed: int = 0) -> dict[str, torch.Tensor]:
    """Random groups with the given masks."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "a": torch.randn(len(masks), 3, generator=generator),
        "b": torch.randn(len(masks), 2, generator=generator),
        MASK: torch.tensor(masks, dtype=torch.float32),
    }


def evaluate(made: Any, seen: dict[str, torch.Tensor], actions: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """`evaluate_actions` of either kind of actor-critic."""
    if not hasattr(made, "lstm_actor"):
        return made.evaluate_actions(seen, actions)
    from sb3_contrib.common.recurrent.type_aliases import RNNStates

    rows = len(actions)
    empty = tuple(torch.zeros(1, rows, made.lstm_output_dim) for _ in range(2))
    return made.evaluate_actions(seen, actions, RNNStates(empty, empty), torch.ones(rows))


def test_extractor_concatenates_the_groups_without_the_mask() -> None:
    extractor = GroupExtractor(SPACE)
    assert extractor.features_dim == 5
    features = extractor({"a": torch.full((1, 3), 1.0), "b": torch.full((1, 2), 2.0), MASK: torch.ones(1, ACTIONS)})
    assert features.tolist() == [[1.0, 1.0, 1.0, 2.0, 2.0]]


def test_extractor_flattens_a_plain_box() -> None:
    extractor = GroupExtractor(spaces.Box(0.0, 1.0, (2, 3), np.float32))
    assert extractor.features_dim == 6
    assert extractor(torch.ones(4, 2, 3)).shape == (4, 6)


def test_an_observation_without_a_mask_has_no_illegal_actions() -> None:
    assert legal_actions(torch.zeros(2, 3)) is None
    assert legal_actions({"a": torch.zeros(2, 3)}) is None


@pytest.mark.parametrize("algo", ACTOR_CRITICS)
def test_one_legal_action_has_log_probability_and_entropy_zero(algo: str) -> None:
    seen = observations([[0, 0, 1, 0], [1, 0, 0, 0]])
    _, log_probability, entropy = evaluate(policy(algo), seen, torch.tensor([2, 0]))
    assert log_probability.tolist() == [0.0, 0.0]
    assert entropy.tolist() == [0.0, 0.0]


def test_entropy_is_over_the_legal_actions_only() -> None:
    made = policy()
    for parameter in made.action_net.parameters():
        torch.nn.init.zeros_(parameter)
    _, log_probability, entropy = made.evaluate_actions(
        observations([[1, 1, 0, 0], [1, 1, 1, 1]]), torch.tensor([1, 3])
    )
    np.testing.assert_allclose(entropy.detach(), [np.log(2), np.log(4)], rtol=1e-6)
    np.testing.assert_allclose(log_probability.detach(), [-np.log(2), -np.log(4)], rtol=1e-6)


def test_illegal_actions_never_occur_in_a_hundred_thousand_draws() -> None:
    made, masks = policy(), [[1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 0, 1]]
    seen = observations(masks * 3400)
    legal = torch.tensor(masks * 3400, dtype=torch.bool)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        for _ in range(10):
            actions, _, _ = made(seen)
            assert legal[torch.arange(len(legal)), actions].all()


def test_forward_evaluate_and_distribution_agree() -> None:
    made, seen = policy(), observations([[1, 0, 1, 1], [1, 1, 0, 0]])
    with torch.random.fork_rng():
        actions, values, log_probability = made(seen)
    again, log_probability_again, _ = made.evaluate_actions(seen, actions)
    assert torch.equal(values, again)
    torch.testing.assert_close(log_probability, log_probability_again)
    torch.testing.assert_close(made.get_distribution(seen).log_prob(actions), log_probability)


def test_no_gradient_passes_through_masked_logits() -> None:
    made, seen = policy(), observations([[1, 0, 1, 0], [1, 0, 1, 0]])
    _, log_probability, entropy = made.evaluate_actions(seen, torch.tensor([0, 2]))
    (log_probability.sum() + entropy.sum()).backward()
    gradient = made.action_net.weight.grad
    assert (gradient[[1, 3]] == 0).all()
    assert (gradient[[0, 2]] != 0).any()


@pytest.mark.skipif("recurrent-ppo" not in known_algorithms(), reason="needs sb3-contrib")
@pytest.mark.parametrize("starts", [[[1, 0, 0], [0, 0, 0]], [[1, 0, 1], [0, 1, 0]], [[0], [1]]])
def test_recurrent_shortcut_gives_the_same_numbers_as_the_loop(starts: list[list[int]]) -> None:
    from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy

    made, generator = policy("recurrent-ppo"), torch.Generator().manual_seed(0)
    steps, size = len(starts[0]), made.lstm_output_dim
    features = torch.randn(2 * steps, 5, generator=generator)
    memory = tuple(torch.randn(1, 2, size, generator=generator) for _ in range(2))
    flat = torch.tensor(starts, dtype=torch.float32).flatten()
    with torch.no_grad():
        ours, ours_memory = made._process_sequence(features, memory, flat, made.lstm_actor)
        loop, loop_memory = RecurrentActorCriticPolicy._process_sequence(features, memory, flat, made.lstm_actor)
    torch.testing.assert_close(ours, loop)
    torch.testing.assert_close(ours_memory, loop_memory)


def test_a_row_without_a_legal_action_makes_no_nan() -> None:
    values, log_probability, entropy = policy().evaluate_actions(observations([[0, 0, 0, 0]]), torch.tensor([1]))
    assert all(torch.isfinite(part).all() for part in (values, log_probability, entropy))


@pytest.mark.parametrize("algo", [name for name in ("dqn", "qr-dqn") if name in known_algorithms()])
def test_value_networks_mask_the_best_action_and_the_target_maximum(algo: str) -> None:
    options = policy_options({"net_arch": [8], "activation": "relu"})
    with torch.random.fork_rng():
        made = algorithm(algo).policy(SPACE, spaces.Discrete(ACTIONS), lambda _: 1e-3, **options)
    seen = observations([[1, 0, 1, 0]] * 50 + [[1, 0, 0, 0]] * 50)
    target = made.q_net_target if algo == "dqn" else made.quantile_net_target
    with torch.no_grad():
        actions = made._predict(seen)
        values = target(seen) if algo == "dqn" else target(seen).mean(dim=1)
        unmasked = target({key: torch.ones_like(value) if key == MASK else value for key, value in seen.items()})
    assert set(actions[:50].tolist()) <= {0, 2}
    assert set(actions[50:].tolist()) == {0}
    best = (unmasked if algo == "dqn" else unmasked.mean(dim=1))[50:, 0]
    torch.testing.assert_close(values.max(dim=1).values[50:], best)  # the maximum is that of the only legal action


@pytest.mark.parametrize("algo", [name for name in ("dqn", "qr-dqn") if name in known_algorithms()])
def test_exploration_is_legal_and_uniform_and_leaves_the_global_generators_alone(algo: str) -> None:
    env = as_vec_env(ScriptedVectorEnv())
    model = build(algo, env, seed=0)
    model._last_obs = env.reset()
    legal = model._last_obs[MASK] > 0.5
    before = pickle.dumps(np.random.get_state())
    counts = np.zeros((env.num_envs, ACTIONS))
    for _ in range(2000):
        actions, _ = model._sample_action(learning_starts=10**6, n_envs=env.num_envs)
        counts[np.arange(env.num_envs), actions] += 1
    assert (counts[~legal] == 0).all()
    np.testing.assert_allclose(counts[legal] / 2000, 1 / 2, atol=0.05)  # two legal actions in every row
    assert before == pickle.dumps(np.random.get_state())


def test_exploration_is_decided_row_by_row() -> None:
    env = as_vec_env(ScriptedVectorEnv(lengths=[[5]] * 40))
    model = build("dqn", env, seed=0)
    model._last_obs, model.exploration_rate = env.reset(), 0.5
    greedy, _ = model.policy.predict(model._last_obs, deterministic=True)
    actions, _ = model._sample_action(learning_starts=0, n_envs=env.num_envs)
    assert 0 < (actions != greedy).sum() < 40
