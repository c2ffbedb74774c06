"""Checks of a whole environment, for authors who plug in parts of their own, and of policies that play in one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from growenv.config import GrowthConfig
from growenv.streams import Context
from growenv.testing.require import own_randomness, require
from growenv.vector_env import GrowthVectorEnv

Observations = Mapping[str, NDArray[np.float32]]
_TOLERANCE = 1e-5
_TERMS = ("reward_accuracy", "reward_cost", "reward_penalty")


class Policy(Protocol):
    """What `check_policy` needs of a policy; a policy also has a `name`."""

    def reset(self, rows: NDArray[np.bool_]) -> None:
        """Some rows begin a new episode."""

    def act(self, observations: Observations, masks: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The actions of all rows, shape (N,)."""


@dataclass(frozen=True)
class _Step:
    """What the environment returned, all rows."""

    observations: Observations
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    infos: Mapping[str, Any]


def check_env(config: GrowthConfig | None = None, *, rows: int = 3, seed: int = 0, **options: Any) -> None:
    """Check an environment with random legal and illegal actions over one stream a row.

    It must be deterministic, treat a row among others as it treats it alone, tell the truth about legal actions, keep
    the budget, give rewards that sum to the objective, stay inside its spaces, and continue exactly from a snapshot.

    Args:
        config: options of the environment.
        rows: rows that are played together and then alone.
        seed: seed of the contexts and of the actions.
        options: options of `GrowthConfig` that replace those of `config`.

    Raises:
        AssertionError: what is wrong with it.
    """
    chosen = GrowthConfig.from_options(config, **options)
    with own_randomness("the environment"):
        env = GrowthVectorEnv(rows, chosen, autoreset_mode="DISABLED")
        env.reset(seed=seed)
        contexts = env.contexts
        actions, steps = _explore(env, contexts, seed)
        _check_sums(steps, contexts, chosen)
        _compare(steps, _replay(env, contexts, actions), 0.0, "a second run of the same environment")
        other = GrowthVectorEnv(rows, chosen, autoreset_mode="DISABLED")
        _compare(steps, _replay(other, contexts, actions), 0.0, "a second environment")
        for row in range(rows):
            single = GrowthVectorEnv(1, chosen, autoreset_mode="DISABLED")
            alone = _replay(single, contexts[row : row + 1], actions[:, [row]])
            _compare([_only(step, row) for step in steps], alone, _TOLERANCE, f"row {row} alone")
        _check_snapshot(env, contexts, actions, steps)
        for each in (env, other):
            each.close()


def _explore(env: GrowthVectorEnv, contexts: list[Context], seed: int) -> tuple[NDArray[np.int64], list[_Step]]:
    """Play all streams to their ends, one action in six drawn without regard to the mask."""
    generators = [np.random.default_rng([seed, row]) for row in range(env.num_envs)]
    observations, infos = env.reset(options={"contexts": contexts})
    nothing = np.zeros(env.num_envs)
    steps = [_Step(observations, nothing, nothing > 0, infos)]
    taken: list[NDArray[np.int64]] = []
    decisions = env.config.decisions * max(len(context.tasks) for context in contexts)
    while not steps[-1].terminated.all():
        require(len(taken) < decisions, f"streams of at most {decisions} decisions had not ended after {len(taken)}")
        masks = _check_masks(env, steps[-1])
        drawn = [
            rng.choice(np.flatnonzero(mask)) if rng.random() > 1 / 6 else rng.integers(env.actions.size)
            for rng, mask in zip(generators, masks, strict=True)
        ]
        taken.append(np.array(drawn, dtype=np.int64))
        observations, rewards, terminated, truncated, infos = env.step(taken[-1])
        require(not truncated.any(), "a stream was truncated; streams end with terminated")
        steps.append(_Step(observations, rewards, terminated, infos))
        _check_step(env, steps[-2], steps[-1], taken[-1], masks)
    return np.stack(taken), steps


def _replay(env: GrowthVectorEnv, contexts: list[Context], actions: NDArray[np.int64]) -> list[_Step]:
    observations, infos = env.reset(options={"contexts": contexts})
    nothing = np.zeros(env.num_envs)
    return [_Step(observations, nothing, nothing > 0, infos), *(_take(env, action) for action in actions)]


def _take(env: GrowthVectorEnv, action: NDArray[np.int64]) -> _Step:
    observations, rewards, terminated, _, infos = env.step(action)
    return _Step(observations, rewards, terminated, infos)


def _check_masks(env: GrowthVectorEnv, step: _Step) -> NDArray[np.bool_]:
    masks = env.action_masks()
    shape = (env.num_envs, env.actions.size)
    right = isinstance(masks, np.ndarray) and masks.dtype == np.bool_ and masks.shape == shape
    require(right, f"action_masks must be booleans of shape {shape}, got {getattr(masks, 'dtype', None)} {masks!r}")
    require(masks[:, 0].all(), "waiting, action 0, must always be legal")
    agree = (step.observations["action_mask"] == masks).all() and (step.infos["action_mask"] == masks).all()
    require(agree, "the action masks of the observation, the info and action_masks differ")
    return masks


def _check_step(
    env: GrowthVectorEnv, before: _Step, after: _Step, action: NDArray[np.int64], masks: NDArray[np.bool_]
) -> None:
    for group, values in after.observations.items():
        space = env.observation_space[group]  # type: ignore[index]
        require(space.contains(values), f"observation {group!r} left its space {space}: {values}")
        fresh = not np.shares_memory(values, before.observations[group])
        require(fresh, f"observation {group!r} shares memory with the one before; return new arrays")
    live = ~before.terminated
    legal = masks[np.arange(len(action)), action]
    flagged = np.asarray(after.infos["invalid_action"])
    require((flagged == ~legal)[live].all(), f"actions {action} with masks {masks} gave invalid_action {flagged}")
    layer, amount = env.actions.request(np.where(legal & live, action, 0))
    expected = np.array(before.infos["widths"])
    expected[np.arange(len(action)), layer] += amount
    widths = np.asarray(after.infos["widths"])
    require((widths == expected).all(), f"actions {action} gave widths {widths.tolist()}, not {expected.tolist()}")
    over = after.infos["used"] > np.asarray(after.infos["budget"]) * (1 + 1e-6)
    require(not over.any(), f"rows use {after.infos['used']} of capacity, their budgets are {after.infos['budget']}")
    terms = sum(np.asarray(after.infos[name]) for name in _TERMS)
    require(
        np.allclose(terms, after.rewards, atol=1e-6), f"rewards {after.rewards} are not the sum {terms} of their terms"
    )
    require(np.isfinite(after.rewards).all(), f"a reward is not finite: {after.rewards}")
    idle = ~live & ((after.rewards != 0) | ~after.terminated)
    require(not idle.any(), "a row that has ended must idle with reward 0 and terminated until it is reset")


def _check_sums(steps: list[_Step], contexts: list[Context], config: GrowthConfig) -> None:
    total = sum(step.rewards for step in steps)
    end, begin = steps[-1].infos, steps[0].infos
    lost = np.asarray(end["diverged"])
    price = np.array([context.price for context in contexts])
    accuracy = np.where(lost, 0.0, end["validation_accuracy"])
    expected = accuracy - price * (end["used"] - begin["used"]) - config.divergence_penalty * lost
    require(
        np.allclose(total, expected, atol=1e-6),
        f"rewards sum to {total}; final accuracy minus priced growth minus penalty is {expected}",
    )
    require(np.allclose(end["objective"], expected, atol=1e-6), f"the objective is {end['objective']}, not {expected}")


def _only(step: _Step, row: int) -> _Step:
    """One row of a step, with the shapes of an environment that has only that row."""
    return _Step(
        {group: values[[row]] for group, values in step.observations.items()},
        step.rewards[[row]],
        step.terminated[[row]],
        {name: values[[row]] for name, values in step.infos.items() if isinstance(values, np.ndarray)},
    )


def _compare(expected: list[_Step], given: list[_Step], tolerance: float, what: str) -> None:
    for number, (old, new) in enumerate(zip(expected, given, strict=False)):
        when = f"after decision {number - 1}" if number else "at reset"
        results = [{"reward": step.rewards, "terminated": step.terminated} for step in (old, new)]
        pairs: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
            ("observation ", old.observations, new.observations),
            ("info ", old.infos, new.infos),
            ("", results[0], results[1]),
        ]
        for kind, one, two in pairs:
            require(one.keys() == two.keys(), f"{what}: {kind}has the keys {sorted(two)}, not {sorted(one)}")
            for name in one:
                if not _same(one[name], two[name], tolerance):
                    raise AssertionError(f"{what}: {kind}{name!r} {when} is {two[name]!r}, was {one[name]!r}")


def _same(one: Any, two: Any, tolerance: float) -> bool:
    old, new = np.asarray(one), np.asarray(two)
    if old.shape != new.shape or old.dtype != new.dtype:
        return False
    if tolerance and np.issubdtype(old.dtype, np.floating):
        return bool(np.allclose(old, new, atol=tolerance, rtol=tolerance, equal_nan=True))
    return bool(np.array_equal(old, new, equal_nan=np.issubdtype(old.dtype, np.floating)))


def _check_snapshot(
    env: GrowthVectorEnv, contexts: list[Context], actions: NDArray[np.int64], steps: list[_Step]
) -> None:
    half = len(actions) // 2
    _replay(env, contexts, actions[:half])
    kept = env.snapshot()
    for action in actions[half:]:
        _take(env, action)
    env.restore(kept)
    rest = [_take(env, action) for action in actions[half:]]
    _compare(steps[half + 1 :], rest, 0.0, "the run that was continued from a snapshot")


def check_policy(
    make: Callable[[GrowthVectorEnv], Policy], config: GrowthConfig | None = None, *, rows: int = 4, **options: Any
) -> None:
    """Check that a policy gives legal actions, the same ones every time, over a stream and the begin of the next.

    Args:
        make: builds the policy for an environment, for example ``lambda env: Mine(Interface.of(env))``.
        config: options of the environment.
        rows: rows that are played together.
        options: options of `GrowthConfig` that replace those of `config`.

    Raises:
        AssertionError: what is wrong with it.
    """
    env = GrowthVectorEnv(rows, config, autoreset_mode="SAME_STEP", **options)
    env.reset(seed=0)
    contexts = env.contexts
    decisions = env.config.decisions * (1 + max(len(context.tasks) for context in contexts))
    first = _let_act(make(env), env, contexts, decisions)
    second = _let_act(make(env), env, contexts, decisions)
    for number, (one, two) in enumerate(zip(first, second, strict=True)):
        same = np.array_equal(one, two)
        require(same, f"built twice, the policy took the actions {one} and {two} in decision {number}; seed it")
    env.close()


def _let_act(policy: Policy, env: GrowthVectorEnv, contexts: list[Context], decisions: int) -> list[NDArray[np.int64]]:
    name = getattr(policy, "name", None)
    require(isinstance(name, str) and name, f"a policy needs a name, got {name!r}")
    observations, _ = env.reset(seed=1, options={"contexts": contexts})
    policy.reset(np.ones(env.num_envs, dtype=bool))
    taken = []
    for _ in range(decisions):
        masks = env.action_masks()
        seen = {group: values.copy() for group, values in observations.items()}
        action = policy.act(observations, masks)
        right = isinstance(action, np.ndarray) and action.shape == (env.num_envs,)
        right = right and np.issubdtype(action.dtype, np.integer)
        require(right, f"policy {name!r} must give {env.num_envs} integers, got {action!r}")
        within = ((action >= 0) & (action < env.actions.size)).all()
        require(within, f"policy {name!r} gave {action}, outside of 0..{env.actions.size - 1}")
        legal = env.action_masks()[np.arange(env.num_envs), action]
        require(legal.all(), f"policy {name!r} gave {action}, legal were {[np.flatnonzero(m).tolist() for m in masks]}")
        untouched = all(np.array_equal(values, observations[group]) for group, values in seen.items())
        require(untouched, f"policy {name!r} changed the observations that it was given")
        taken.append(action.copy())
        observations, _, terminated, _, _ = env.step(action)
        if terminated.any():
            policy.reset(terminated)
    return taken
