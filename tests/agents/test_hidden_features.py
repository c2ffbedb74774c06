"""Hidden features are 0 wherever a policy looks, and nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents.hidden_features import HiddenFeatures, expand_hidden, hidden_columns, hide, without_columns
from growenv.config import GrowthConfig
from growenv.registry import UnknownNameError
from growenv.sb3 import as_vec_env
from growenv.vector_env import GrowthVectorEnv
from tests.scripted_env import ScriptedVectorEnv

NAMES = {
    "training": ("accuracy", "above_chance", "stream_accuracy", "previous_above_chance"),
    "budget": ("budget", "used", "budget_left", "price", "cost of a", "cost of b"),
    "task": ("task_progress", "classes", "familiarity", "first_task"),
}
TINY = GrowthConfig(
    tasks=2, decisions=2, minibatches=1, validation_samples=16, test_samples=16, max_hidden=(24, 24), budget=0.9
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["price"], ("price",)),
        (["budget"], ("budget", "used", "budget_left", "cost of a", "cost of b")),  # the set, not the group
        (["price", "budget"], NAMES["budget"]),
        (["context"], ("above_chance", "stream_accuracy", "previous_above_chance", "classes", "familiarity")),
        (["task"], NAMES["task"]),
        (["first_task", "accuracy"], ("accuracy", "first_task")),
        (["cost of b"], ("cost of b",)),
        (["task", "familiarity"], NAMES["task"]),
        ([], ()),
    ],
)
def test_words_stand_for_sets_features_and_groups(words: list[str], expected: tuple[str, ...]) -> None:
    hidden = expand_hidden(words, NAMES)
    assert hidden == expected
    assert expand_hidden(hidden, NAMES) == hidden


@pytest.mark.parametrize("word", ["prise", "action_mask", "", "cost of "])
def test_unknown_words_are_refused(word: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown observation '{word}'"):
        expand_hidden([word], NAMES)


def test_a_set_without_any_feature_is_unknown() -> None:
    with pytest.raises(UnknownNameError, match="unknown observation 'price'"):
        expand_hidden(["price"], {"task": ("classes",)})


def test_columns_are_found_in_their_groups() -> None:
    assert hidden_columns(["price", "accuracy", "cost of b"], NAMES) == {"training": [0], "budget": [3, 5]}
    assert hidden_columns([], NAMES) == {}
    with pytest.raises(UnknownNameError, match="unknown feature 'prise'; did you mean 'price'"):
        hidden_columns(["prise"], NAMES)
    with pytest.raises(ValueError, match="hidden is 'price', expected a list"):
        hidden_columns("price", NAMES)


def test_what_is_given_stays_as_it_is() -> None:
    given = {"a": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([5.0])}
    shown = without_columns(given, {"a": [1]})
    np.testing.assert_array_equal(shown["a"], [[1.0, 0.0], [3.0, 0.0]])
    np.testing.assert_array_equal(given["a"], [[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(without_columns({"a": given["a"][0]}, {"a": [0]})["a"], [0.0, 2.0])


def engine(rows: int = 3) -> Any:
    """A small growth environment for Stable-Baselines3."""
    env = as_vec_env(GrowthVectorEnv(rows, TINY))
    env.seed(5)
    return env


def test_observations_lose_the_features_and_keep_everything_else_to_the_last_bit() -> None:
    plain, hiding = engine(), HiddenFeatures(engine(), ["price", "familiarity", "used"])
    assert hiding.hidden_names == expand_hidden(["used", "price", "familiarity"], plain.get_attr("feature_names", 0)[0])
    before, after = plain.reset(), hiding.reset()
    ended = False
    for step in range(5):
        masks = before["action_mask"] > 0.5
        np.testing.assert_array_equal(hiding.env_method("action_masks"), masks)
        actions = np.where(masks[:, step % 5], step % 5, 0)
        (before, *results), (after, *hidden_results) = plain.step(actions), hiding.step(actions)
        same(before, after, plain)
        np.testing.assert_array_equal(results[0], hidden_results[0])
        np.testing.assert_array_equal(results[1], hidden_results[1])
        for info, hidden_info in zip(results[2], hidden_results[2], strict=True):
            assert info.keys() == hidden_info.keys()
            if "terminal_observation" in info:
                ended = True
                same(info["terminal_observation"], hidden_info["terminal_observation"], plain)
    assert ended


def same(before: dict[str, np.ndarray], after: dict[str, np.ndarray], env: Any) -> None:
    """`after` is `before` with zeros in the hidden columns, which were not all zero."""
    assert before.keys() == after.keys()
    names = env.get_attr("feature_names", 0)[0]
    for group, values in before.items():
        expected = values.copy()
        for column, name in enumerate(names.get(group, ())):
            if name in ("price", "familiarity", "used"):
                expected[..., column] = 0.0
        np.testing.assert_array_equal(after[group], expected)
    assert (before["budget"][..., list(names["budget"]).index("price")] != 0).all()


def test_attributes_pass_through() -> None:
    env = engine()
    hiding = HiddenFeatures(env, ["price"])
    for name in ("feature_names", "config", "actions"):
        assert hiding.get_attr(name, 0)[0] is env.get_attr(name, 0)[0]
    assert hiding.observation_space == env.observation_space
    assert hiding.unwrapped is env


def test_nothing_to_hide_is_no_wrapper() -> None:
    env = engine(1)
    assert hide(env, []) is env
    assert isinstance(hide(env, ["price"]), HiddenFeatures)


def test_an_environment_without_names_of_features_is_refused() -> None:
    with pytest.raises(ValueError, match="has no feature_names"):
        HiddenFeatures(as_vec_env(ScriptedVectorEnv()), ["price"])
