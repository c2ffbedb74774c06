"""Where contexts come from: seeds, or what a reset is given."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from tests.rollouts import TASKS, WAIT, assert_same, context, play, started, uneven_contexts, vector_of_three


def test_contexts_can_be_given_as_objects_or_json_and_pinned_in_part() -> None:
    env, wanted = vector_of_three(tasks=3), uneven_contexts(3)
    env.reset(options={"contexts": [wanted[0], wanted[1].to_json(), wanted[2]]})
    assert env.contexts == wanted
    env.reset(seed=1, options={"indices": [7, 8, 9], "split": "val", "inner_seeds": [3, 4, 5]})
    assert [(each.index, each.split, each.inner_seed) for each in env.contexts] == [
        (7, "val", 3),
        (8, "val", 4),
        (9, "val", 5),
    ]
    env.reset(seed=1)
    drawn = env.contexts
    env.reset(seed=1, options={"indices": [each.index for each in drawn]})
    assert env.contexts == drawn, "pinning the index does not move the inner seed"
    env.reset()
    assert not {each.id for each in env.contexts} & {each.id for each in drawn}


def test_a_seed_for_each_row_equals_consecutive_seeds() -> None:
    env = vector_of_three()
    env.reset(seed=5)
    first = env.contexts
    env.reset(seed=[5, None, 7])
    assert (env.contexts[0], env.contexts[2]) == (first[0], first[2])
    assert env.contexts[1] != first[1], "None goes on with the row's generator"


def test_options_are_not_changed() -> None:
    env = started()
    options = {"reset_mask": np.array([True, False, False]), "indices": [1, 2, 3]}
    env.reset(options=options)
    assert sorted(options) == ["indices", "reset_mask"]


@pytest.mark.parametrize(
    "mask", [[True, False], [False] * 3, [1, 0, 0], np.array([1.0, 0.0, 0.0]), True, [[True, True, True]], "all"]
)
def test_bad_reset_masks(mask: Any) -> None:
    with pytest.raises(ValueError, match="reset_mask=.*expected 3 booleans with at least one True"):
        started().reset(options={"reset_mask": mask})


@pytest.mark.parametrize(
    ("reset", "message"),
    [
        ({"seed": [1, 2]}, "2 seeds for 3 rows"),
        ({"seed": -1}, "[Ss]eed"),
        ({"seed": 1.5}, "seed"),
        ({"seed": "one"}, "[Ss]eed"),
        ({"options": {"contexts": uneven_contexts(2)}}, "2 contexts for 3 rows"),
        ({"options": {"indices": [1]}}, "1 indices for 3 rows"),
        ({"options": {"indices": [1, 2, -3]}}, "index"),
        ({"options": {"indices": [1, 2, 2.5]}}, "index"),
        ({"options": {"indices": 4}}, "indices"),
        ({"options": {"inner_seeds": [1, 2, 2**63]}}, "inner_seed"),
        ({"options": {"split": "vall"}}, "unknown split 'vall'; did you mean 'val'"),
        ({"options": {"contxts": None}}, "unknown reset option 'contxts'; did you mean 'contexts'"),
        ({"options": {"contexts": [{}] * 3}}, "context"),
        ({"options": {"contexts": [context(dataset="mnist")] * 3}}, "is for dataset 'mnist'"),
        ({"options": {"contexts": [context(TASKS[:4])] * 3}}, "has 4 tasks, this environment holds 2; make it with"),
        ({"options": {"contexts": [context(budget=0.01)] * 3}}, "raise the budget or start with fewer neurons"),
    ],
)
def test_bad_resets(reset: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, gym.error.Error), match=message):
        started().reset(**reset)


@pytest.mark.parametrize(
    ("meter", "message"),
    [
        ("parameters", r"needs 345 \(parameters\), but the budget of context .* is 26.6; raise"),
        ("mosaic", r"needs 0\.\d+ \(share of the reference network\), but the budget of context .* is 0.01; raise"),
    ],
)
def test_a_refused_reset_leaves_the_streams_as_they_were(meter: str, message: str) -> None:
    """Rows went on with networks that were larger than their budgets."""
    env, undisturbed = (started("DISABLED", meter=meter) for _ in range(2))
    for each in (env, undisturbed):
        play(each, [np.array([1, 0, 3])])
    poor = [context(), context(budget=0.01), context()]
    for options in ({"contexts": poor}, {"contexts": poor, "reset_mask": np.array([False, True, False])}):
        with pytest.raises(ValueError, match=message):
            env.reset(options=options)
    assert env.contexts == undisturbed.contexts
    assert_same(play(env, [WAIT] * 3), play(undisturbed, [WAIT] * 3))
    env.reset(options={"contexts": poor, "reset_mask": np.array([True, False, True])})
