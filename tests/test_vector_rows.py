"""Rows are independent: each one behaves as a single environment does, whatever its neighbours do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from growenv.env import GrowthEnv
from growenv.streams import Context
from growenv.vector_env import GrowthVectorEnv
from tests.reference import row_of
from tests.rollouts import (
    SMALL,
    TASKS,
    Step,
    assert_same,
    begin,
    context,
    play,
    random_actions,
    row_of_infos,
    row_of_step,
    uneven_contexts,
)

TOLERANCE = 1e-6
"""Neighbours change the shapes of batched products, and with them, on some machines, the last bits of sums."""
SIZES: dict[str, Any] = {**SMALL, "tasks": 2, "max_hidden": (40, 40), "budget": 1.0}


class Alone:
    """Row `row` of a vector as a single environment, with what the vector should return for it in every mode."""

    def __init__(self, row: int, seed: int, given: Context, mode: str, **options: Any) -> None:
        self.mode, self.given = mode, given
        self.env = GrowthEnv(**{**SIZES, "tasks": 3, **options})
        self.first = begin(self.env, seed=seed + row, options={"context": given})
        self.last, self.ended, self.left = self.first, False, None

    def step(self, action: int) -> Step:
        self.left = None
        if self.ended:
            if self.mode == "DISABLED":
                idle = {"invalid_action": False, "refusal": "", **dict.fromkeys(TERMS, 0.0)}
                return Step(self.last.observations, 0.0, True, False, {**self.last.infos, **idle})
            self.last, self.ended = begin(self.env), False
            return Step(self.last.observations, 0.0, False, False, self.last.infos)
        self.last = play(self.env, [action])[0]
        self.ended = self.last.terminated
        if self.ended and self.mode == "SAME_STEP":
            self.left, flags = self.last, vars(self.last)
            fresh = begin(self.env)
            self.last, self.ended = fresh, False
            return Step(**{**flags, "observations": fresh.observations, "infos": fresh.infos})
        return self.last

    def reset(self, given: Context) -> Step:
        self.last, self.ended = begin(self.env, options={"context": given}), False
        return self.last


TERMS = ("reward_accuracy", "reward_cost", "reward_penalty")


def assert_row(env: GrowthVectorEnv, step: Step, row: int, alone: Alone, expected: Step) -> None:
    """Observation, reward, flags, info, weights and the next minibatches."""
    where = f"row {row}, {alone.mode}"
    given = row_of_step(step, row)
    assert_same(_plain(given), _plain(expected), TOLERANCE, where)
    if alone.left is not None:
        assert step.infos["_final_obs"][row]
        assert_same(step.infos["final_obs"][row], alone.left.observations, TOLERANCE, where)
        final = row_of_infos(step.infos["final_info"], row)
        assert_same(_plain(final), _plain(alone.left.infos), TOLERANCE, where)
    elif "_final_obs" in step.infos:
        assert not step.infos["_final_obs"][row]
        assert step.infos["final_obs"][row] is None
    if alone.ended:
        return  # the networks of rows that idle are of no interest
    ours, theirs = env.learner, alone.env.rows.learner
    weights = row_of(ours.network, row).parts(), row_of(theirs.network, 0).parts()
    assert_same(*weights, TOLERANCE, f"{where}, weights")
    assert (ours.units[row] == theirs.units[0, : ours.tasks]).all()
    batches = [each.data.minibatches(each.task, each.steps, 2, 16) for each in (ours, theirs)]
    images = [
        each.data.gather(samples[:, number])
        for each, number, (samples, _) in zip((ours, theirs), (row, 0), batches, strict=True)
    ]
    assert torch.equal(*images)
    assert torch.equal(batches[0][1][:, row], batches[1][1][:, 0])


def _plain(step: Any) -> Any:
    """Numpy scalars as Python numbers, since single environments return those."""
    if isinstance(step, Step):
        return Step(*(_plain(value) for value in vars(step).values()))
    if isinstance(step, dict):
        return {name: _plain(value) for name, value in step.items()}
    return step.item() if isinstance(step, np.generic) else step


@pytest.mark.parametrize(
    "options",
    [{"where": "auto"}, {"where": "tile"}, {"protection": "finetune"}, {"meter": "parameters"}],
    ids=["auto", "tile", "finetune", "parameters"],
)
@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP", "DISABLED"])
def test_rows_equal_singles_over_several_episodes_of_unequal_lengths(mode: str, options: dict[str, Any]) -> None:
    rows, seed, rng = 4, 17, np.random.default_rng(0)
    contexts = uneven_contexts(rows)
    env = GrowthVectorEnv(rows, autoreset_mode=mode, **{**SIZES, "tasks": 3, **options})
    singles = [Alone(row, seed, contexts[row], mode, **options) for row in range(rows)]
    step = begin(env, seed=seed, options={"contexts": contexts})
    ends = np.zeros(rows, dtype=int)
    for row, alone in enumerate(singles):
        assert_row(env, step, row, alone, alone.first)
    for number in range(16):
        if mode == "DISABLED" and number % 5 == 4:  # rows have idled for different times
            mask = np.array([alone.ended for alone in singles])
            again = [context(TASKS[: 1 + number % 3], inner_seed=100 + number + row) for row in range(rows)]
            if mask.any():
                step = begin(env, options={"contexts": again, "reset_mask": mask})
                for row in np.flatnonzero(mask):
                    assert_row(env, step, row, singles[row], singles[row].reset(again[row]))
        actions = random_actions(env, rng, legal=0.8)
        step = play(env, [actions])[0]
        for row, alone in enumerate(singles):
            was_over = alone.ended
            assert_row(env, step, row, alone, alone.step(int(actions[row])))
            ends[row] += bool(step.terminated[row]) and not was_over
    assert (ends >= 2).all()
    assert len(set(ends)) > 1 or mode == "DISABLED"


def roll(seeds: list[int], actions: Any, **options: Any) -> tuple[list[Step], list[Any]]:
    """Every step, and the weights at the end, of rows with the given seeds; several episodes."""
    env = GrowthVectorEnv(len(seeds), **{**SIZES, **options})
    steps = [begin(env, seed=seeds), *play(env, np.asarray(actions).T % env.actions.size)]
    return steps, [row_of(env.learner.network, row).parts() for row in range(len(seeds))]


def assert_rows(given: Any, row: int, expected: Any, other: int, tolerance: float) -> None:
    for one, two in zip(given[0], expected[0], strict=True):
        assert_same(row_of_step(one, row), row_of_step(two, other), tolerance, f"row {row}")
    assert_same(given[1][row], expected[1][other], tolerance, f"weights of row {row}")


ACTIONS = np.random.default_rng(5).integers(0, 5 * 37, (64, 9))
"""Each stands for one of 5 actions, or for one of 37 where actions name tiles."""
SHAPES: list[dict[str, Any]] = [
    {},
    {"where": "tile"},
    {"protection": "finetune", "optimizer": "sgd", "streams": "permuted", "meter": "parameters"},
    {"hidden": (3, 5, 7), "max_hidden": (100, 30, 50), "amounts": (1, 7), "batch_size": 7},
]


KINDS = ["default", "tile", "other parts", "odd shapes"]


@pytest.mark.parametrize("options", SHAPES, ids=KINDS)
def test_one_two_seven_and_sixty_four_rows_agree(options: dict[str, Any]) -> None:
    tolerance = 2e-5 if "hidden" in options else TOLERANCE
    many = roll(list(range(64)), ACTIONS, **options)
    for rows in (1, 2, 7):
        few = roll(list(range(rows)), ACTIONS[:rows], **options)
        for row in range(rows):
            assert_rows(few, row, many, row, tolerance)
    last = roll([63], ACTIONS[63:], **options)
    assert_rows(last, 0, many, 63, tolerance)


@pytest.mark.parametrize("options", SHAPES, ids=KINDS)
def test_other_actions_and_another_order_change_nothing_for_the_rest(options: dict[str, Any]) -> None:
    tolerance = 2e-5 if "hidden" in options else TOLERANCE
    before, changed = roll(list(range(7)), ACTIONS[:7], **options), ACTIONS[:7].copy()
    changed[3] = ACTIONS[20]
    after = roll(list(range(7)), changed, **options)
    for row in (0, 1, 2, 4, 5, 6):
        assert_rows(after, row, before, row, tolerance)
    with pytest.raises(AssertionError):
        assert_rows(after, 3, before, 3, tolerance)
    order = [4, 2, 0, 6, 1, 3, 5]
    moved = roll(order, ACTIONS[order], **options)
    for place, row in enumerate(order):
        assert_rows(moved, place, before, row, tolerance)


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkl.is_available(),
    reason="other libraries may choose kernels by shape; there the tolerance of the tests above holds",
)
@pytest.mark.parametrize("options", [SHAPES[0], SHAPES[1], SHAPES[3]], ids=["default", "tile", "odd shapes"])
def test_neighbours_do_not_even_change_the_last_bit(options: dict[str, Any]) -> None:
    many, changed = roll(list(range(16)), ACTIONS[:16], **options), ACTIONS[:16].copy()
    few = roll(list(range(3)), ACTIONS[:3], **options)
    changed[3] = ACTIONS[20]
    after = roll(list(range(16)), changed, **options)
    for row in range(3):
        assert_rows(few, row, many, row, 0.0)
        assert_rows(after, row, many, row, 0.0)


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP", "DISABLED"])
def test_a_masked_reset_touches_no_other_row(mode: str) -> None:
    """Not their networks, nor their generators, infos or random counters."""
    env, undisturbed = (GrowthVectorEnv(3, autoreset_mode=mode, **SIZES) for _ in range(2))
    actions = np.array([1, 3, 2]), np.array([0, 2, 4]), np.array([0, 0, 0])
    for each in (env, undisturbed):
        begin(each, seed=3)
        play(each, actions[:1])
    before = play(env, actions[1:2])[0]
    play(undisturbed, actions[1:2])
    step = begin(env, seed=[None, 50, 60], options={"reset_mask": np.array([False, True, False])})
    for row in (0, 2):
        given, expected = row_of_step(step, row), row_of_step(before, row)
        assert_same(given.observations, expected.observations)
        terms = dict.fromkeys(TERMS, 0.0)
        assert_same(_plain(given.infos), _plain({**expected.infos, **terms}))
    alone = begin(GrowthVectorEnv(1, **SIZES), seed=50)
    assert_same(row_of_step(step, 1), row_of_step(alone, 0), TOLERANCE)
    for _ in range(4):
        one, two = (play(each, actions[2:])[0] for each in (env, undisturbed))
        for row in (0, 2):
            assert_same(row_of_step(one, row), row_of_step(two, row), TOLERANCE)


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP", "DISABLED"])
@pytest.mark.parametrize("penalty", [1.0, 0.25])
def test_a_row_that_diverges_ends_and_leaves_the_others_alone(mode: str, penalty: float) -> None:
    options = {**SIZES, "divergence_penalty": penalty, "tasks": 3}
    env, healthy = (GrowthVectorEnv(3, autoreset_mode=mode, **options) for _ in range(2))
    given = [context(TASKS[:3], row) for row in range(3)]
    actions = [np.array([1, 2, 3]), np.array([0, 0, 4]), *[np.zeros(3, dtype=int)] * 5]
    for each in (env, healthy):
        begin(each, seed=1, options={"contexts": given})
        first = play(each, actions[:1])[0]
    env.learner.network.weights[0][1] = float("inf")
    steps, expected = play(env, actions[1:]), play(healthy, actions[1:])
    for one, two in zip(steps, expected, strict=True):
        for row in (0, 2):
            assert_same(row_of_step(one, row), row_of_step(two, row), 0.0)
        assert all(env.single_observation_space[name].contains(value[1]) for name, value in one.observations.items())
    ended = steps[0]
    assert ended.terminated.tolist() == [False, True, False]
    infos = ended.infos["final_info"] if mode == "SAME_STEP" else ended.infos
    assert infos["diverged"].tolist() == [False, True, False]
    assert infos["reward_penalty"][1] == -penalty
    assert ended.rewards[1] == pytest.approx(-first.infos["validation_accuracy"][1] - penalty)
    growth_cost = 0.1 * (first.infos["used"][1] - begin(healthy, seed=1, options={"contexts": given}).infos["used"][1])
    assert infos["objective"][1] == pytest.approx(-penalty - growth_cost)
    assert all(infos[name][1] == 0 for name in ("acc", "bwt", "fwt", "forgetting"))
    if mode == "DISABLED":
        assert (steps[1].rewards[1], steps[1].terminated[1]) == (0.0, True)
    else:
        assert not env.episodes.diverged[1], "the next stream starts with a sound network"
        assert np.isfinite(env.episodes.validation_loss[1])
        assert steps[-1].infos["decision"][1] > 1


def test_a_learning_rate_that_is_far_too_large_ends_streams() -> None:
    """Some networks overflow; those whose units all die first answer at random, with a huge but finite loss."""
    options = {**SIZES, "optimizer": "sgd", "learning_rate": 1e12}
    env, total = GrowthVectorEnv(8, autoreset_mode="DISABLED", **options), np.zeros(8)
    begin(env, seed=0)
    for step in play(env, [np.zeros(8, dtype=int)] * 4):
        assert np.isfinite(step.rewards).all()
        assert (step.rewards >= -2).all()
        assert all(space.contains(step.observations[name]) for name, space in env.observation_space.items())
        total += step.rewards
    np.testing.assert_allclose(total, step.infos["objective"], atol=1e-6)
    assert step.terminated.all()
    assert 0 < step.infos["diverged"].sum() < 8
