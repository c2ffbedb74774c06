"""GrowthEnv and the registered ids: what Gymnasium and Stable-Baselines3 demand, and exact repeatability."""

from __future__ import annotations

import json
import os
import random
import re
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

from growenv.env import GrowthEnv
from growenv.registration import IDS, PATHS
from growenv.registry import UnknownNameError
from growenv.streams import Dataset
from growenv.streams.tasks import SPLITS
from tests.reference import row_of
from tests.rollouts import SMALL, TASKS, Step, assert_same, begin, context, play, row_of_step

DIGITS = [name for name in IDS if "Digits" in name]
ROOT = os.environ.get("GROWENV_DATA", "")
NEEDS_FILES = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not ROOT or not (Path(ROOT) / "MNIST" / "raw").is_dir(),
        reason="needs the files of MNIST and FashionMNIST: set GROWENV_DATA to the folder that holds MNIST/raw",
    ),
]
ALL = [pytest.param(name, marks=() if "Digits" in name else NEEDS_FILES) for name in IDS]


def made(name: str = "growenv/MixedDigits-v1", **options: Any) -> Any:
    return gym.make(name, **{**SMALL, **options})


def single(**options: Any) -> GrowthEnv:
    return GrowthEnv(**{**SMALL, **options})


# -- the checkers ----------------------------------------------------------------------------------------------------


def test_twelve_ids_and_those_of_growth_paths_are_registered() -> None:
    assert len(IDS) == len(set(IDS)) == 12
    assert {name for name in gym.registry if name.startswith("growenv/")} == {*IDS, *PATHS}
    assert all(name.endswith("-v1") for name in IDS)


@pytest.mark.parametrize("name", ALL)
def test_both_checkers_pass_without_a_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium_check(made(name).unwrapped)  # renders in every mode, too
        for mode in (None, *GrowthEnv.metadata["render_modes"]) if name in DIGITS else (None,):
            sb3_check(made(name, render_mode=mode).unwrapped, warn=True, skip_render_check=mode is None)


@pytest.mark.parametrize("options", [{"where": "tile"}, {"where": "tile", "regions": (2, 2)}, {"meter": "parameters"}])
def test_both_checkers_pass_with_other_actions_and_observations(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium_check(made(**options).unwrapped)
        sb3_check(made(**options).unwrapped, warn=True, skip_render_check=True)


@pytest.mark.parametrize("name", [name for name in IDS if "Digits" not in name])
def test_ids_for_larger_images_fit_their_hardware(name: str) -> None:
    """On any images of 28 x 28 pixels, for streams of all splits, without the files of the real ones."""
    rng = np.random.default_rng(0)
    images = Dataset.from_arrays(rng.integers(0, 256, (400, 28, 28), dtype=np.uint8), np.arange(400) % 10, name="noise")
    for split in SPLITS:
        env = gym.make(name, dataset=images, split=split, **{**SMALL, "tasks": 5, "decisions": 1}).unwrapped
        first = begin(env, seed=0)
        assert (env.rows.dataset.features, env.config.meter) == (196, "mosaic-mnist")
        assert env.action_masks()[[0, 1, 3]].all(), "both layers can grow"
        *_, last = play(env, [1, *[0] * (len(env.context.tasks) - 1)])
        assert last.terminated
        assert last.infos["widths"].tolist() == [16, 8]
        assert first.infos["used"] < last.infos["used"] <= last.infos["budget"]


@pytest.mark.parametrize("name", ALL)
def test_a_spec_comes_back_from_json_and_makes_the_same_environment(name: str) -> None:
    env = made(name, price=0.3, hidden=[4, 5])
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert json.loads(again.spec.to_json()) == json.loads(env.spec.to_json())
    assert again.unwrapped.config == env.unwrapped.config
    assert_same(begin(again, seed=4), begin(env, seed=4))
    assert_same(play(again, [0, 2, 0]), play(env, [0, 2, 0]))


@pytest.mark.parametrize("mode", GrowthEnv.metadata["render_modes"])
def test_render_modes(mode: str) -> None:
    env = made(render_mode=mode)
    env.reset(seed=0)
    env.step(1)
    frame = env.render()
    if mode == "ansi":
        assert isinstance(frame, str)
    else:
        assert (frame.dtype, frame.ndim, frame.shape[2]) == (np.uint8, 3, 3)
    assert single().render_mode is None
    fresh = single()
    fresh.reset(seed=0)
    assert fresh.render() is None
    env.close()
    env.close()


# -- repeatability ---------------------------------------------------------------------------------------------------


def episode(env: Any, seed: int, between: Any = lambda: None) -> list[Step]:
    """A whole episode and the begin of the next, legal actions and some illegal ones."""
    rng = np.random.default_rng(seed)
    steps = [begin(env, seed=seed)]
    while not steps[-1].terminated:
        between()
        legal = rng.random() < 0.8
        action = (
            env.action_space.sample(steps[-1].infos["action_mask"]) if legal else int(rng.integers(env.action_space.n))
        )
        steps += play(env, [action])
    between()
    return [*steps, begin(env)]


@pytest.mark.parametrize("name", DIGITS)
@pytest.mark.parametrize(
    "options", [{}, {"protection": "finetune"}, {"where": "tile"}], ids=["freeze", "finetune", "tile"]
)
def test_equal_seeds_give_equal_episodes_infos_included(name: str, options: dict[str, Any]) -> None:
    one, two = (made(name, **options, decisions=3) for _ in range(2))
    for env in (one, two):
        env.action_space.seed(3)
    first, second = episode(one, 8), episode(two, 8)
    assert_same(first, second)
    assert len(first) == 8
    one.action_space.seed(3)
    assert_same(episode(one, 8), second)
    assert first[0].infos["context_id"] != begin(one, seed=9).infos["context_id"]


def generators() -> list[Any]:
    return [random.getstate(), [np.asarray(part).tolist() for part in np.random.get_state()[1:]], torch.get_rng_state()]


def draw_from_all() -> None:
    """What agents and other libraries do between the steps of an environment."""
    random.seed(random.random())
    np.random.seed(np.random.randint(1000))
    torch.manual_seed(int(torch.randint(1000, ())))
    np.random.default_rng().random(7)


def test_global_generators_neither_matter_nor_change() -> None:
    env = single()
    env.action_space.seed(1)
    before = generators()
    expected = episode(env, 6)
    assert_same(generators(), before)
    env = single()
    env.action_space.seed(1)
    assert_same(episode(env, 6, between=draw_from_all), expected)


def test_types_are_plain_and_keys_always_the_same() -> None:
    env = single()
    steps = episode(env, 5)
    kinds = {name: type(value) for name, value in steps[0].infos.items()}
    assert kinds.pop("action_mask") is kinds.pop("widths") is np.ndarray
    assert set(kinds.values()) == {str, int, float, bool}
    for step in steps:
        assert {name: type(value) for name, value in step.infos.items() if name in kinds} == kinds
        assert list(step.infos) == list(steps[0].infos)
        assert step.infos["action_mask"].dtype == np.int8
        assert step.infos["widths"].shape == (2,)
        assert env.observation_space.contains(step.observations)
        if step.rewards is not None:
            assert type(step.rewards) is float
            assert type(step.terminated) is bool
            assert step.truncated is False
    np.testing.assert_array_equal(env.action_masks(), steps[-1].infos["action_mask"])
    assert env.action_masks().dtype == np.bool_


def test_make_vec_rows_equal_single_environments_with_the_next_seeds() -> None:
    vector = gym.make_vec("growenv/RotatedDigits-v1", num_envs=3, autoreset_mode="SAME_STEP", **SMALL)
    singles = [made("growenv/RotatedDigits-v1") for _ in range(3)]
    step = begin(vector, seed=40)
    firsts = [begin(env, seed=40 + row) for row, env in enumerate(singles)]
    actions = np.array([[0, 1, 2], [3, 0, 1], [0, 4, 0], [1, 2, 3], [0, 0, 1], [2, 2, 2]])
    for number in range(7):
        for row in range(3):
            given, expected = row_of_step(step, row), firsts[row]
            assert_same(given.observations, expected.observations, 1e-6)
            if number != 4:  # there the vector has gone on to the next stream already
                assert {**given.infos, "action_mask": 0, "widths": 0} == pytest.approx(
                    {**expected.infos, "action_mask": 0, "widths": 0}, abs=1e-6
                )
            networks = vector.unwrapped.learner.network, singles[row].unwrapped.rows.learner.network
            assert_same(row_of(networks[0], row).parts(), row_of(networks[1], 0).parts(), 1e-6)
        if number == 6:
            break
        step = play(vector, actions[number : number + 1])[0]
        firsts = [play(env, [actions[number, row]])[0] for row, env in enumerate(singles)]
        assert step.rewards == pytest.approx([each.rewards for each in firsts], abs=1e-6)
        assert step.terminated.tolist() == [each.terminated for each in firsts] == [number == 3] * 3
        if number == 3:
            firsts = [Step(**{**vars(begin(env)), "rewards": 0.0}) for env in singles]


KNOWN = {
    "Mixed": "ab76752edd715a4a",
    "Split": "48822f4f11af5b6f",
    "Permuted": "49962bb98ccff926",
    "Rotated": "d6e999a06bf37b65",
}


@pytest.mark.parametrize("streams", KNOWN)
def test_a_seed_means_the_same_stream_for_ever(streams: str) -> None:
    """Where this changes on purpose, the ids need a new version."""
    env = made(f"growenv/{streams}Digits-v1", tasks=3, budget=(0.2, 0.8), price=(0.1, 1.0))
    assert begin(env, seed=0).infos["context_id"] == KNOWN[streams]


# -- the specification -----------------------------------------------------------------------------------------------


def test_the_docstring_names_every_feature_info_and_refusal() -> None:
    text = GrowthEnv.__doc__ or ""
    env = single()
    infos = begin(env, seed=0).infos
    for name in infos:
        assert f"``{name}``" in text or name.startswith("reward_"), name
    for group, names in env.feature_names.items():
        assert f"| {group} |" in text
        for name in names:
            plain = re.sub(r"_\d$", "_l", name)
            assert re.search(rf"\b{plain}\b", text) or name.startswith("cost of "), name
    for reason in env.rows.admission.reasons[1:]:
        assert f"``{reason}``" in text, reason


def test_actions_by_the_docstrings_tables() -> None:
    env = single()
    assert env.action_space.n == 5
    assert [env.actions.index(*pair) for pair in ((0, 4), (0, 16), (1, 4), (1, 16))] == [1, 2, 3, 4]
    tiles = single(where="tile").actions
    assert (tiles.size, tiles.regions) == (37, 9)
    ends = [tiles.index(layer, amount, region) for layer in (0, 1) for amount in (4, 16) for region in (0, 8)]
    assert ends == [1, 9, 10, 18, 19, 27, 28, 36]


# -- use -------------------------------------------------------------------------------------------------------------


def test_rewards_sum_to_the_objective_and_final_figures_come_at_the_end() -> None:
    env = single(tasks=3, price=0.5)
    steps = episode(env, 2)[:-1]
    total = sum(step.rewards for step in steps[1:])
    assert total == pytest.approx(steps[-1].infos["objective"], abs=1e-6)
    hardware = ("memristors", "routing_devices", "mean_hops", "energy_pj", "latency_ns", "tiles_in_use")
    for step in steps[:-1]:
        assert all(step.infos[name] == 0 for name in ("acc", "bwt", "fwt", "forgetting", "objective", *hardware))
        assert step.infos["growth_log"] == "[]"
    last = steps[-1].infos
    assert last["acc"] > 0
    assert all(last[name] > 0 for name in hardware)
    log = json.loads(last["growth_log"])
    grown = [sum(amount for _, _, layer, amount in log if layer == number) for number in range(2)]
    assert (np.array(env.config.hidden) + grown).tolist() == last["widths"].tolist()


def test_reset_options_pin_the_context() -> None:
    env = single(tasks=3)
    wanted = context(TASKS[:2], 5)
    env.reset(options={"context": wanted})
    assert env.context == wanted
    env.reset(options={"context": wanted.to_json()})
    assert env.context == wanted
    env.reset(options={"split": "test", "index": 4, "inner_seed": 9})
    assert (env.context.split, env.context.index, env.context.inner_seed) == ("test", 4, 9)
    with pytest.raises(UnknownNameError, match="unknown reset option 'indx'"):
        env.reset(options={"indx": 4})


def test_actions_of_any_integer_type_are_taken() -> None:
    rewards = []
    for action in (3, np.int64(3), np.int32(3), np.array(3), np.array([3])):
        env = single()
        env.reset(seed=0)
        rewards.append(env.step(action)[1])
    assert len(set(rewards)) == 1


@pytest.mark.parametrize("action", [5, -1, 1.0, "1", None, [1, 2], True])
def test_bad_actions(action: Any) -> None:
    env = single()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions?=.*expected"):
        env.step(action)


def test_nothing_works_before_the_first_reset() -> None:
    with pytest.raises(RuntimeError, match="call reset"):
        single().step(0)
    with pytest.raises(RuntimeError, match="call reset"):
        single(render_mode="ansi").render()


def test_after_the_end_it_idles() -> None:
    env = single()
    steps = episode(env, 3)
    env.reset(seed=3)
    play(env, [0] * (len(steps) - 2))
    _, reward, terminated, truncated, _ = env.step(0)
    assert (reward, terminated, truncated) == (0.0, True, False)


@pytest.mark.parametrize("seed", [-1, 1.5, "one"])
def test_bad_seeds(seed: Any) -> None:
    with pytest.raises(gym.error.Error, match="[Ss]eed"):
        single().reset(seed=seed)
