"""GrowthVectorEnv: spaces, ends of streams, masks, rewards, errors."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from growenv.registry import UnknownNameError
from growenv.vector_env import GrowthVectorEnv
from tests.rollouts import TASKS, WAIT, Step, begin, context, play, started, uneven_contexts, vector_of_three

# -- what comes back -------------------------------------------------------------------------------------------------

KINDS: dict[str, Any] = {
    "action_mask": np.int8,
    "context_id": object,
    "context_index": np.int64,
    "task": np.int64,
    "decision": np.int64,
    "invalid_action": np.bool_,
    "refusal": object,
    "reward_accuracy": np.float64,
    "reward_cost": np.float64,
    "reward_penalty": np.float64,
    "validation_accuracy": np.float64,
    "task_accuracy": np.float64,
    "used": np.float64,
    "protection_bytes": np.int64,
    "budget": np.float64,
    "price": np.float64,
    "widths": np.int64,
    "diverged": np.bool_,
    "acc": np.float64,
    "bwt": np.float64,
    "fwt": np.float64,
    "forgetting": np.float64,
    "objective": np.float64,
    "growth_log": object,
    "memristors": np.float64,
    "routing_devices": np.float64,
    "mean_hops": np.float64,
    "energy_pj": np.float64,
    "latency_ns": np.float64,
    "tiles_in_use": np.float64,
}
FIGURES = tuple(KINDS)[-6:]


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP", "DISABLED"])
def test_shapes_and_types_are_the_same_at_every_step(mode: str) -> None:
    env = vector_of_three(mode)
    steps = [begin(env, seed=0), *play(env, [WAIT] * 6)]
    for step in steps:
        assert env.observation_space.contains(step.observations)
        infos = {name: values for name, values in step.infos.items() if "final_" not in name}
        assert set(infos) == {*KINDS, *(f"_{name}" for name in KINDS)}
        for name, kind in KINDS.items():
            assert infos[name].dtype == kind, name
            assert len(infos[name]) == 3
            assert infos[f"_{name}"].dtype == np.bool_
            assert infos[f"_{name}"].all()
    for step in steps[1:]:
        kinds = [(values.dtype, values.shape) for values in (step.rewards, step.terminated, step.truncated)]
        assert kinds == [(np.float64, (3,)), (np.bool_, (3,)), (np.bool_, (3,))]
        assert not step.truncated.any(), "streams end with terminated"
    assert infos["action_mask"].shape == (3, 5)
    assert infos["widths"].shape == (3, 2)


def test_nothing_that_was_returned_changes_later_or_is_shared() -> None:
    env = vector_of_three("SAME_STEP")
    steps = [begin(env, seed=0)]
    frozen = [json.dumps(_listed(steps[0]))]
    for _ in range(5):
        steps += play(env, [WAIT])
        frozen.append(json.dumps(_listed(steps[-1])))
    for step, text in zip(steps, frozen, strict=True):
        assert json.dumps(_listed(step)) == text
    arrays = [(f"{number} {name}", each) for number, step in enumerate(steps) for name, each in _arrays(vars(step))]
    for position, (name, one) in enumerate(arrays):
        for other, two in arrays[:position]:
            assert not np.shares_memory(one, two), f"{name} and {other}"
    with_writes = steps[-1]
    for _, each in _arrays(vars(with_writes)):
        each[...] = 0  # a caller may do what it likes with its arrays
    assert play(env, [WAIT])[0].infos["budget"].all()


def _listed(value: Any) -> Any:
    if isinstance(value, Step | dict):
        items = vars(value) if isinstance(value, Step) else value
        return {name: _listed(each) for name, each in items.items()}
    if isinstance(value, np.ndarray | list):
        return [_listed(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def _arrays(values: Any, path: str = "") -> Any:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _arrays(value, f"{path}{name} ")
        elif isinstance(value, np.ndarray) and value.dtype != object:
            yield f"{path}{name}", value


def test_it_is_a_gymnasium_vector_environment_with_metadata_of_its_own() -> None:
    env = vector_of_three("NEXT_STEP")
    assert isinstance(env, gym.vector.VectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert "autoreset_mode" not in GrowthVectorEnv.metadata
    assert vector_of_three(AutoresetMode.DISABLED).metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert env.single_action_space == gym.spaces.Discrete(5)
    assert env.action_space == gym.spaces.MultiDiscrete([5, 5, 5])
    env.close()
    env.close()
    wrapped = gym.wrappers.vector.RecordEpisodeStatistics(vector_of_three("SAME_STEP"))
    wrapped.reset(seed=0)
    for _ in range(4):
        infos = wrapped.step(WAIT)[-1]
    assert infos["episode"]["l"].tolist() == [4, 4, 4]


# -- ends of streams -------------------------------------------------------------------------------------------------


def test_same_step_begins_the_next_stream_and_keeps_what_the_last_one_left() -> None:
    env = started("SAME_STEP", tasks=3)
    begin(env, options={"contexts": uneven_contexts(3)})
    first = [entry.id for entry in env.contexts]
    *_, before, step = play(env, [WAIT, WAIT])  # row 0 has one task of two decisions
    assert not {"final_obs", "final_info"} & set(before.infos)
    assert step.terminated.tolist() == [True, False, False]
    infos = step.infos
    assert infos["_final_obs"].tolist() == infos["_final_info"].tolist() == [True, False, False]
    assert infos["final_obs"].dtype == object
    assert infos["final_obs"][1] is None
    assert infos["final_info"]["context_id"][0] == first[0] != infos["context_id"][0] == env.contexts[0].id
    assert infos["final_info"]["_context_id"].tolist() == [True, False, False]
    assert set(infos["final_info"]) == {*KINDS, *(f"_{name}" for name in KINDS)}
    assert (infos["decision"][0], infos["final_info"]["decision"][0]) == (0, 2)
    assert infos["decision"][1:].tolist() == [2, 2]
    assert infos["final_info"]["acc"][0] > 0 == infos["acc"][0]
    assert infos["reward_accuracy"][0] == 0 != infos["final_info"]["reward_accuracy"][0]
    for name in FIGURES:
        assert infos["final_info"][name][0] > 0 == infos[name][0]
        assert not infos["final_info"][name][1:].any(), "rows 1 and 2 go on"
    groups = env.feature_names
    measured = groups["training"].index("measured")
    assert infos["final_obs"][0]["training"][measured] == 1
    assert step.observations["training"][0, measured] == 0
    assert step.observations["training"][2, measured] == 0, "row 2 has just begun its second task"


def test_a_new_stream_does_not_inherit_a_refusal() -> None:
    """By a reset of some rows as little as by an end of a stream."""
    env = started("SAME_STEP", max_hidden=(4, 24), budget=1.0)
    assert not env.action_masks()[:, 1].any()
    *_, step = play(env, [WAIT, WAIT, WAIT, np.ones(3, dtype=int)])
    assert step.infos["final_info"]["refusal"].tolist() == ["width"] * 3
    assert step.infos["refusal"].tolist() == [""] * 3
    assert not step.infos["invalid_action"].any()
    play(env, [np.ones(3, dtype=int)])
    step = begin(env, options={"reset_mask": np.array([True, False, False])})
    assert step.infos["refusal"].tolist() == ["", "width", "width"]
    assert step.infos["invalid_action"].tolist() == [False, True, True]


def test_next_step_ignores_the_action_and_returns_no_reward() -> None:
    env = started("NEXT_STEP")
    ended = play(env, [WAIT] * 4)[-1]
    assert ended.terminated.all()
    assert ended.infos["decision"].tolist() == [4, 4, 4]
    old, logs = [entry.id for entry in env.contexts], ended.infos["growth_log"]
    step = play(env, [np.full(3, 2)])[0]
    assert not step.terminated.any()
    assert not step.rewards.any()
    assert step.infos["decision"].tolist() == [0, 0, 0]
    assert (step.infos["widths"] == env.config.hidden).all(), "the action grew nothing"
    assert not {entry.id for entry in env.contexts} & set(old)
    assert not {"final_obs", "final_info"} & set(step.infos)
    assert logs.tolist() == ["[]"] * 3
    assert play(env, [WAIT])[0].infos["decision"].tolist() == [1, 1, 1]


def test_idle_rows_change_in_nothing() -> None:
    """Their count of decisions since growth went on."""
    env = started("DISABLED")
    *_, ended = play(env, [np.array([1, 2, 3]), *[WAIT] * 3])
    idle = play(env, [np.full(3, 1), np.array([4, 3, 2]), WAIT])
    for step in idle:
        assert step.terminated.all()
        assert not step.rewards.any()
        for name, values in ended.observations.items():
            np.testing.assert_array_equal(step.observations[name], values)
        for name in set(KINDS) - {"reward_accuracy", "reward_cost", "invalid_action", "refusal"}:
            np.testing.assert_array_equal(step.infos[name], ended.infos[name], err_msg=name)
        assert not step.infos["invalid_action"].any()
        assert not any(step.infos[name].any() for name in ("reward_accuracy", "reward_cost", "reward_penalty"))


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP", "DISABLED"])
@pytest.mark.parametrize("where", ["auto", "tile"])
def test_a_new_stream_stands_on_empty_hardware(mode: str, where: str) -> None:
    """Whatever the last stream, or another row, has placed there."""
    env = started(mode, where=where, rows=2, budget=1.0)
    given = [context(TASKS[:1], 7), context(TASKS[:2], 8)]
    first = begin(env, options={"contexts": given})
    grow = np.array([max(np.flatnonzero(mask)) for mask in env.action_masks()])
    play(env, [grow, np.zeros(2, dtype=int)])  # row 0 has ended
    again = begin(env, options={"contexts": given, "reset_mask": np.array([True, False])})
    assert env.learner.units[1].sum() > 8
    for name in ("hardware", "budget", "action_mask"):
        np.testing.assert_array_equal(again.observations[name][0], first.observations[name][0])
    assert again.infos["used"][0] == first.infos["used"][0]
    assert again.infos["used"][1] > first.infos["used"][1]


def test_the_growth_log_tells_when_where_and_how_much() -> None:
    env = started("DISABLED", budget=1.0)
    *_, step = play(env, [np.array([1, 0, 0]), np.array([0, 0, 4]), np.array([0, 0, 2]), np.array([3, 0, 0])])
    assert [json.loads(log) for log in step.infos["growth_log"]] == [
        [[0, 0, 0, 4], [3, 1, 1, 4]],
        [],
        [[1, 0, 1, 16], [2, 1, 0, 16]],
    ]


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("actions", [[0, 0], [0, 0, 5], [-1, 0, 0], [0.0, 1.0, 2.0], 0, [[0, 0, 0]], None, ["a"] * 3])
def test_bad_actions_are_refused_and_change_nothing(actions: Any) -> None:
    env = started()
    before = env.learner.steps.copy()
    with pytest.raises(ValueError, match=r"actions=.*expected"):
        env.step(actions)
    assert (env.learner.steps == before).all()
    play(env, [WAIT])


def test_the_first_call_must_reset_all_rows() -> None:
    with pytest.raises(RuntimeError, match="call reset"):
        vector_of_three().step(WAIT)
    with pytest.raises(RuntimeError, match="call reset"):
        vector_of_three(render_mode="ansi").render()
    with pytest.raises(RuntimeError, match="never been reset"):
        vector_of_three().reset(options={"reset_mask": np.array([True, False, False])})


def test_bad_constructions() -> None:
    for rows in (0, -1, 1.5, "3"):
        with pytest.raises(ValueError, match="num_envs=.*expected an integer >= 1"):
            vector_of_three(rows=rows)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="unknown autoreset mode 'SAMESTEP'; did you mean 'SAME_STEP'"):
        vector_of_three("SAMESTEP")
    with pytest.raises(UnknownNameError, match="unknown render mode 'rgb'"):
        vector_of_three(render_mode="rgb")
    with pytest.raises(UnknownNameError, match="unknown option 'taks'; did you mean 'tasks'"):
        vector_of_three(taks=3)


# -- pictures --------------------------------------------------------------------------------------------------------


def test_every_render_mode_shows_every_row() -> None:
    assert started().render() is None
    for mode in GrowthVectorEnv.metadata["render_modes"]:
        env = started(render_mode=mode, rows=2)
        for _ in range(2):
            frames = env.render()
            assert len(frames) == 2
            for frame in frames:
                if mode == "ansi":
                    assert isinstance(frame, str)
                    continue
                assert frame.dtype == np.uint8
                assert frame.ndim == 3
                assert frame.shape[2] == 3
                assert frame.std() > 0
            play(env, [np.array([1, 3])])
