"""Learned policies: every algorithm builds, learns, acts legally, and is the same after saving and loading."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.algorithms import algorithm, build, known_algorithms
from agents.evaluation import evaluation_contexts, play
from agents.hidden_features import expand_hidden, hide
from agents.hyperparameters import ALGORITHMS, hyperparameters
from agents.learned import LearnedPolicy, describe, load_policy, save_policy
from agents.policy import Interface
from agents.saving import SavedFileError
from growenv.config import GrowthConfig
from growenv.registry import UnknownNameError
from growenv.sb3 import as_vec_env
from growenv.vector_env import GrowthVectorEnv
from tests.scripted_env import ACTIONS, ScriptedEnv, ScriptedVectorEnv

TINY = GrowthConfig(
    tasks=2, decisions=2, minibatches=1, validation_samples=16, test_samples=16, max_hidden=(24, 24), budget=0.9
)
SMALL: dict[str, Any] = {"net_arch": [8], "activation": "tanh"}
SHAPES = {"recurrent-ppo": {"lstm_hidden_size": 8}, "qr-dqn": {"n_quantiles": 5}}


def made(algo: str, env: Any | None = None, seed: int = 0) -> tuple[Any, dict[str, Any]]:
    """A small untrained model and its manifest."""
    env = as_vec_env(ScriptedVectorEnv()) if env is None else env
    architecture = SMALL | SHAPES.get(algo, {})
    options, _ = hyperparameters(algo, env.num_envs, 4)
    if "learning_starts" in options:
        options |= {"learning_starts": 12, "batch_size": 8, "buffer_size": 100, "target_update_interval": 6}
    model = build(algo, env, seed, options=options, architecture=architecture)
    return model, describe(algo, architecture, env)


def learned(algo: str = "ppo", **options: Any) -> LearnedPolicy:
    """A policy with spread-out preferences."""
    model, manifest = made(algo)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for parameter in model.policy.parameters():
            torch.nn.init.normal_(parameter)
    return LearnedPolicy(model.policy, manifest, **options)


def seen(rows: int, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Random observations and masks."""
    generator = np.random.default_rng(seed)
    masks = generator.random((rows, ACTIONS)) < 0.5
    masks[:, 0] = True
    groups = {name: generator.random((rows, size), dtype=np.float32) for name, size in (("task", 2), ("budget", 1))}
    return {**groups, "action_mask": masks.astype(np.float32)}, masks


# --- building ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error:You have specified a mini-batch")
@pytest.mark.parametrize("algo", known_algorithms())
def test_every_algorithm_learns_acts_legally_and_survives_saving(algo: str, tmp_path: Path) -> None:
    model, manifest = made(algo)
    model.learn(48)
    policy = LearnedPolicy(model.policy, manifest)
    save_policy(tmp_path, policy)
    loaded = load_policy(tmp_path)
    assert loaded.name == algo
    assert loaded.manifest["algorithm"] == algo
    for step in range(4):
        observations, masks = seen(250, seed=step)
        actions = policy.act(observations, masks)
        assert actions.dtype == np.int64
        assert masks[np.arange(250), actions].all()
        np.testing.assert_array_equal(actions, loaded.act(observations, masks))


@pytest.mark.parametrize("algo", known_algorithms())
def test_training_never_takes_an_illegal_action(algo: str) -> None:
    vector = ScriptedVectorEnv()
    step, illegal = vector.step, []

    def checked(actions: Any) -> Any:
        legal = vector.action_masks()
        illegal.extend(actions[~legal[np.arange(len(actions)), actions]].tolist())
        return step(actions)

    vector.step = checked  # type: ignore[method-assign]
    model, _ = made(algo, as_vec_env(vector))
    model.learn(60)
    assert illegal == []


def test_ppo_finds_the_best_legal_action() -> None:
    env = as_vec_env(ScriptedVectorEnv(lengths=[[3]] * 16))  # the reward is larger for larger actions
    model = build("ppo", env, 0, episode=6, architecture=SMALL)
    model.learn(2400)
    policy = LearnedPolicy(model.policy, describe("ppo", SMALL, env))
    observations = env.reset()
    masks = observations["action_mask"] > 0.5
    best = ACTIONS - 1 - masks[:, ::-1].argmax(axis=1)
    np.testing.assert_array_equal(policy.act(observations, masks), best)


def test_rollouts_of_the_ppo_family_hold_one_episode() -> None:
    options, _ = hyperparameters("ppo", 64, 30)
    assert (options["n_steps"], options["batch_size"], options["n_epochs"]) == (30, 480, 12)
    assert hyperparameters("ppo", 3, 30)[0]["batch_size"] == 30  # 90 samples: three whole minibatches
    assert hyperparameters("ppo", 64, 10_000)[0]["n_steps"] == 256
    assert hyperparameters("ppo", 1, 1)[0]["n_steps"] == 2


def test_hyperparameters_are_not_shared_between_calls() -> None:
    hyperparameters("ppo", 64, 30)[0]["gamma"] = 0.0
    assert ALGORITHMS["ppo"][0]["gamma"] == 1.0


def test_unknown_algorithm_gives_the_nearest() -> None:
    for call in (lambda: algorithm("ppoo"), lambda: hyperparameters("ppoo", 1, 1)):
        with pytest.raises(UnknownNameError, match="did you mean 'ppo'"):
            call()


def test_an_algorithm_that_cannot_learn_here_says_so() -> None:
    continuous = DummyVecEnv([lambda: Continuous(0)])
    with pytest.raises(ValueError, match="dqn cannot learn in this environment"):
        build("dqn", continuous)
    if "maskable-ppo" in known_algorithms():
        with pytest.raises(ValueError, match=r"needs an environment with action_masks\(\)"):
            build("maskable-ppo", DummyVecEnv([lambda: NoMasks(0)]))


class Continuous(ScriptedEnv):
    """A row whose action is a number."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)  # type: ignore[assignment]


class NoMasks(ScriptedEnv):
    """A row that does not say what is legal."""

    action_masks = property()  # type: ignore[assignment]

    def _observe(self) -> dict[str, np.ndarray]:
        return {}


def test_seeds_of_neighbouring_runs_share_no_stream() -> None:
    env = as_vec_env(ScriptedVectorEnv())
    build("ppo", env, 1)
    assert env._seeds == [10_000, 10_001, 10_002]


# --- acting --------------------------------------------------------------------------------------------------------


def test_a_deterministic_policy_takes_the_best_legal_action_of_the_mask_given() -> None:
    policy = learned()
    observations, masks = seen(100)
    actions = policy.act(observations, masks)
    logits = policy.module.get_distribution({k: torch.tensor(v) for k, v in observations.items()}).distribution.logits
    np.testing.assert_array_equal(actions, logits.detach().numpy().argmax(axis=1))
    only_waiting = np.zeros_like(masks)
    only_waiting[:, 0] = True
    assert (policy.act(observations, only_waiting) == 0).all()  # although the observation says otherwise


def test_a_row_without_a_legal_action_waits() -> None:
    observations, masks = seen(5)
    assert (learned().act(observations, np.zeros_like(masks)) == 0).all()


def test_draws_follow_the_policy_distribution() -> None:
    policy = learned(deterministic=False)
    observations, masks = seen(1)
    many = {key: np.repeat(value, 20_000, axis=0) for key, value in observations.items()}
    counts = np.bincount(policy.act(many, np.repeat(masks, 20_000, axis=0)), minlength=ACTIONS) / 20_000
    tensors = {key: torch.tensor(value) for key, value in observations.items()}
    expected = policy.module.get_distribution(tensors).distribution.probs[0].detach().numpy()
    np.testing.assert_allclose(counts, expected, atol=0.02)
    assert (counts[~masks[0]] == 0).all()


def test_draws_do_not_depend_on_how_episodes_are_cut_into_batches() -> None:
    observations, masks = seen(12)
    whole = learned(deterministic=False, seed=5)
    parts = [learned(deterministic=False, seed=5, first_episode=first) for first in (0, 4)]
    for _ in range(3):
        together = whole.act(observations, masks)
        first, second = (
            part.act({key: value[rows] for key, value in observations.items()}, masks[rows])
            for part, rows in zip(parts, (slice(0, 4), slice(4, 12)), strict=True)
        )
        np.testing.assert_array_equal(together, [*first, *second])
    assert not np.array_equal(together, learned(deterministic=False, seed=6).act(observations, masks))


@pytest.mark.parametrize("seed", range(5))
def test_recurrent_rows_keep_their_own_memory(seed: int) -> None:
    if "recurrent-ppo" not in known_algorithms():
        pytest.skip("needs sb3-contrib")
    both, alone = learned("recurrent-ppo"), learned("recurrent-ppo")
    steps = [seen(2, seed=10 * seed + step) for step in range(6)]
    both.reset(np.array([True, True]))
    for number, (observations, masks) in enumerate(steps):
        if number == 3:
            both.reset(np.array([False, True]))  # the second row begins a new episode, the first goes on
        both.act(observations, masks)
    first = play_row(alone, steps, 0)
    second = play_row(learned("recurrent-ppo"), steps[3:], 1)
    memory = both._memory
    assert memory is not None
    torch.testing.assert_close(memory[0][:, 0], first[0][:, 0])
    torch.testing.assert_close(memory[0][:, 1], second[0][:, 0])
    assert not torch.allclose(first[0], second[0])


def play_row(policy: LearnedPolicy, steps: list[Any], row: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The memory after one row played the steps alone."""
    policy.reset(np.array([True]))
    for observations, masks in steps:
        policy.act({key: value[[row]] for key, value in observations.items()}, masks[[row]])
    assert policy._memory is not None
    return policy._memory


def test_a_policy_for_continuous_actions_is_no_policy() -> None:
    env = DummyVecEnv([lambda: Continuous(0)])
    model = build("ppo", env, 0, architecture=SMALL)
    with pytest.raises(ValueError, match="chooses among actions"):
        LearnedPolicy(model.policy, describe("ppo", SMALL, env))


# --- in the environment it was trained in, and in others --------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> LearnedPolicy:
    """A policy of a small growth environment."""
    env = as_vec_env(GrowthVectorEnv(4, TINY))
    model = build("ppo", env, 0, episode=4, architecture=SMALL)
    model.learn(32)
    return LearnedPolicy(model.policy, describe("ppo", SMALL, env))


def test_the_manifest_names_features_actions_and_configuration(trained: LearnedPolicy) -> None:
    assert trained.manifest["action_names"][0] == "wait"
    assert "familiarity" in trained.manifest["feature_names"]["task"]
    assert GrowthConfig.from_json(trained.manifest["config"]) == TINY


def test_it_plays_val_contexts(trained: LearnedPolicy) -> None:
    contexts = evaluation_contexts(TINY, "val", 6)
    records = play(trained.bind, TINY, contexts, rows=4)
    assert [record.index for record in records] == list(range(6))
    assert all(record.invalid == 0 and len(record.actions) == 4 for record in records)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"amounts": (16,)}, "other features.*grow layer 0 by 4"),
        ({"amounts": (4, 8, 16)}, "other features.*lacks none and adds .*grow layer 0 by 8"),
        ({"amounts": (16, 4)}, "other features"),  # the larger one first: another order of the actions
        ({"hidden": (8,), "max_hidden": (24,)}, "width_1"),
        ({"hidden": (8,), "max_hidden": (24,), "amounts": (8, 32)}, "width_1"),
        ({"where": "tile", "regions": (1, 2)}, "in region 1"),
    ],
)
def test_an_environment_with_other_actions_is_refused(trained: LearnedPolicy, options: Any, message: str) -> None:
    env = GrowthVectorEnv(1, TINY, **options)
    with pytest.raises(ValueError, match=message):
        trained.bind(Interface.of(env))


def test_it_plays_an_environment_with_other_amounts_as_if_they_were_its_own(trained: LearnedPolicy) -> None:
    larger = replace(TINY, amounts=(8, 32), max_hidden=(64, 64))
    known, other = (Interface.of(GrowthVectorEnv(1, config)) for config in (TINY, larger))
    assert not trained.transferred
    assert not trained.bind(known).transferred
    transferred = trained.bind(other)
    assert transferred.transferred
    observations, _ = GrowthVectorEnv(3, TINY).reset(seed=4)
    masks = np.ones((3, 5), dtype=bool)
    np.testing.assert_array_equal(transferred.act(observations, masks), trained.bind(known).act(observations, masks))


def test_it_plays_whole_episodes_with_other_amounts(trained: LearnedPolicy) -> None:
    larger = replace(TINY, amounts=(8, 32), max_hidden=(64, 64), hidden=(8, 8))
    records = play(trained.bind, larger, evaluation_contexts(larger, "val", 3))
    assert all(record.invalid == 0 and len(record.actions) == 4 for record in records)


def test_with_regions_amounts_may_differ_and_regions_may_not() -> None:
    tiled = replace(TINY, where="tile", regions=(1, 2))
    env = as_vec_env(GrowthVectorEnv(2, tiled))
    model = build("ppo", env, 0, architecture=SMALL)
    policy = LearnedPolicy(model.policy, describe("ppo", SMALL, env))
    assert policy.bind(Interface.of(GrowthVectorEnv(1, tiled, amounts=(2, 8)))).transferred
    with pytest.raises(ValueError, match="in region 2"):
        policy.bind(Interface.of(GrowthVectorEnv(1, tiled, regions=(2, 2))))


# --- hidden features -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blind() -> LearnedPolicy:
    """A policy of the same environment that was trained without price and budget, with spread-out preferences."""
    env = hide(as_vec_env(GrowthVectorEnv(4, TINY)), ["price", "budget"])
    model = build("ppo", env, 0, episode=4, architecture=SMALL)
    model.learn(32)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for parameter in model.policy.parameters():
            torch.nn.init.normal_(parameter)
    hidden = list(expand_hidden(["price", "budget"], env.get_attr("feature_names", 0)[0]))
    return LearnedPolicy(model.policy, describe("ppo", SMALL, env, hidden=hidden))


def test_a_policy_does_not_look_at_what_was_hidden_in_training(blind: LearnedPolicy, tmp_path: Path) -> None:
    save_policy(tmp_path, blind)
    env = GrowthVectorEnv(64, TINY)
    observations, _ = env.reset(seed=1)
    masks = np.ones((64, 5), dtype=bool)
    noise = np.random.default_rng(0).random(observations["budget"].shape, dtype=np.float32)
    other = {**observations, "budget": noise}
    seeing = LearnedPolicy(blind.module, {**blind.manifest, "hidden": []})
    loaded = load_policy(tmp_path)
    for policy in (blind, loaded, loaded.bind(Interface.of(env))):
        np.testing.assert_array_equal(policy.act(observations, masks), policy.act(other, masks))
        elsewhere = {**observations, "task": observations["task"] + 1.0}
        assert not np.array_equal(policy.act(observations, masks), policy.act(elsewhere, masks))
    assert not np.array_equal(seeing.act(observations, masks), seeing.act(other, masks))
    assert noise.any()  # what was given stays as it was


def test_it_plays_as_in_the_environment_that_hides(blind: LearnedPolicy) -> None:
    rows = GrowthVectorEnv(8, TINY)
    env = hide(as_vec_env(rows), ["price", "budget"])
    env.seed(3)
    shown = env.reset()
    whole, _ = GrowthVectorEnv(8, TINY).reset(seed=list(range(3, 11)))
    assert not np.array_equal(shown["budget"], whole["budget"])
    masks = shown["action_mask"] > 0.5
    np.testing.assert_array_equal(blind.act(shown, masks), blind.act(whole, masks))


@pytest.mark.parametrize("hidden", [["prise"], "price", 3, [1]])
def test_a_manifest_that_hides_what_is_not_there_is_refused(blind: LearnedPolicy, hidden: Any, tmp_path: Path) -> None:
    save_policy(tmp_path, (blind.module, {**blind.manifest, "hidden": hidden}))
    with pytest.raises(SavedFileError, match=r"unknown feature|hidden is"):
        load_policy(tmp_path)


def test_a_policy_without_names_cannot_be_bound(trained: LearnedPolicy) -> None:
    with pytest.raises(ValueError, match="was not trained in a growenv environment"):
        learned().bind(Interface.of(GrowthVectorEnv(1, TINY)))


def test_an_untrained_agent_mostly_waits() -> None:
    rows = GrowthVectorEnv(4, tasks=2, minibatches=1, budget=1.0)
    env = as_vec_env(rows)
    model = build("ppo", env, 0)
    observations = env.reset()
    assert observations["action_mask"].all()
    chances = model.policy.get_distribution(model.policy.obs_to_tensor(observations)[0]).distribution.probs
    expected = np.exp(2.0) / (np.exp(2.0) + 4.0)
    assert np.allclose(chances[:, 0].detach().numpy(), expected, atol=0.05)
