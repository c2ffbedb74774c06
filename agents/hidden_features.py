"""Observations without some of their features: what does a policy need to see?

A policy is trained on the wrapped environment, and its manifest says what was hidden, so that it hides the same
features from itself wherever it plays (see `agents.learned.LearnedPolicy`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from growenv.registry import unknown_name

PRICE = ("price",)
"""Without it a policy cannot know what growth costs it."""
BUDGET = ("budget", "used", "budget_left", "cost of ")
"""What may be used, and what each action would use of it; the last entry stands for every action."""
CONTEXT = ("above_chance", "stream_accuracy", "previous_above_chance", "classes", "familiarity")
"""What tells one stream from another. The clock and the present task's curves stay visible, but for ``above_chance``,
which together with the accuracy gives the number of classes away."""
SETS: Mapping[str, tuple[str, ...]] = {"price": PRICE, "budget": BUDGET, "context": CONTEXT}
"""Sets of features by name. Where a group or a feature has the same name, the set is meant."""

FeatureNames = Mapping[str, Sequence[str]]


def expand_hidden(words: Sequence[str], feature_names: FeatureNames) -> tuple[str, ...]:
    """The features that words stand for, in the order of `feature_names`.

    Args:
        words: names of sets (`SETS`), of features, or of whole groups; of a word that is several of these, the first
            holds.
        feature_names: names of the columns of each observation group.

    Raises:
        UnknownNameError: a word that is none of these, or a set without any feature in this environment.
    """
    chosen = {name for word in words for name in _meant(word, feature_names)}
    return tuple(name for names in feature_names.values() for name in names if name in chosen)


def _meant(word: str, feature_names: FeatureNames) -> list[str]:
    names = [name for own in feature_names.values() for name in own]
    in_set = [name for name in names if any(_is_meant(name, entry) for entry in SETS.get(word, ()))]
    found = in_set or [name for name in names if name == word] or list(feature_names.get(word, ()))
    if not found:
        raise unknown_name("observation", word, {*SETS, *feature_names, *names})
    return found


def set_of(hidden: Sequence[str], feature_names: FeatureNames) -> str | None:
    """The word in `SETS` that stands for exactly these features; None if there is none."""
    names = [name for own in feature_names.values() for name in own]
    for word, entries in SETS.items():
        if set(hidden) == {name for name in names if any(_is_meant(name, entry) for entry in entries)}:
            return word
    return None


def _is_meant(name: str, entry: str) -> bool:
    return name == entry or (entry.endswith(" ") and name.startswith(entry))


def hidden_columns(hidden: Sequence[str], feature_names: FeatureNames) -> dict[str, list[int]]:
    """Columns of features in their groups; groups of which nothing is hidden are left out.

    Args:
        hidden: names of features.
        feature_names: names of the columns of each observation group.

    Raises:
        ValueError: `hidden` is no list of names.
        UnknownNameError: no group has such a feature.
    """
    if not isinstance(hidden, (list, tuple)):
        raise ValueError(f"hidden is {hidden!r}, expected a list of names of features")
    known = [name for names in feature_names.values() for name in names]
    for name in hidden:
        if name not in known:
            raise unknown_name("feature", name, known)
    columns = {
        group: [place for place, name in enumerate(names) if name in hidden] for group, names in feature_names.items()
    }
    return {group: places for group, places in columns.items() if places}


def without_columns(observations: Mapping[str, Any], columns: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Observations of one or N rows with these columns of these groups as 0; what is given stays as it is."""
    shown = dict(observations)
    for group, places in columns.items():
        shown[group] = np.array(observations[group])
        shown[group][..., list(places)] = 0.0
    return shown


class HiddenFeatures(VecEnvWrapper):
    """An environment that shows some features as 0, in last observations of episodes too.

    Everything else passes through: rewards, infos, attributes and methods. So does the action mask, because it is a
    rule of the environment rather than an observation. It still tells something of the budget: when an action is no
    longer legal, little of the budget is left. A policy trained without the budget's features knows that much.

    Args:
        venv: an environment with ``feature_names``, such as `growenv.sb3.GrowthVecEnv`, wrapped or not.
        words: what to hide, see `expand_hidden`.

    Attributes:
        hidden_names: names of the hidden features.

    Raises:
        ValueError: the environment does not name its features.
        UnknownNameError: a word that names nothing.
    """

    def __init__(self, venv: VecEnv, words: Sequence[str]) -> None:
        if not venv.has_attr("feature_names"):
            raise ValueError("features are hidden by name, but this environment has no feature_names")
        names = venv.get_attr("feature_names", 0)[0]
        self.hidden_names = expand_hidden(words, names)
        self._columns = hidden_columns(self.hidden_names, names)
        super().__init__(venv)

    def reset(self) -> Any:
        """First observations of all rows."""
        return self._shown(self.venv.reset())

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Observations, rewards, dones and infos of all rows."""
        observations, rewards, dones, infos = self.venv.step_wait()
        for info in infos:
            if "terminal_observation" in info:
                info["terminal_observation"] = self._shown(info["terminal_observation"])
        return self._shown(observations), rewards, dones, infos

    def _shown(self, observations: Any) -> dict[str, Any]:
        return without_columns(observations, self._columns)


def hide(venv: VecEnv, words: Sequence[str]) -> VecEnv:
    """`venv` without the features that `words` stand for; `venv` itself where there are none."""
    return HiddenFeatures(venv, words) if words else venv
