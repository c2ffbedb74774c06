from __future__ import annotations

from typing import Any

import pytest

from agents import evaluated as module
from agents.evaluated import Evaluated, environment_config, from_folders, registered_options
from growenv.config import GrowthConfig


class StubPolicy:
    """What `load_policy` returns, as far as this module is concerned."""

    def __init__(self, name: str, config: dict[str, Any] | None = None, **manifest: Any) -> None:
        self.name, self.manifest = name, {"config": config, "algorithm": name, **manifest}

    draws = False

    def bind(self, interface: Any) -> StubPolicy:
        return self


def config(**options: Any) -> dict[str, Any]:
    return GrowthConfig.from_options(**options).to_json()


def line(*policies: Any) -> Evaluated:
    return Evaluated(policies[0].name, policies, tuple(map(str, range(len(policies)))))


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> dict[str, StubPolicy]:
    """Policies by folder."""
    policies: dict[str, StubPolicy] = {}
    monkeypatch.setattr(module, "load_policy", policies.__getitem__)
    return policies


def test_training_seeds_share_a_line_for_each_algorithm_and_what_was_hidden(shelf: dict[str, StubPolicy]) -> None:
    for folder in ("a", "b"):
        shelf[folder] = StubPolicy("ppo", config())
    shelf["c"] = StubPolicy("ppo", config(), hidden=["price"])
    shelf["d"] = StubPolicy("dqn", config())
    lines = from_folders([], ["a", "b", "c", "d"])
    assert [(each.name, each.folders, each.trained.kind) for each in lines] == [
        ("ppo", ("a", "b"), "learned"),
        ("ppo without price", ("c",), "ablation"),
        ("dqn", ("d",), "learned"),
    ]
    assert lines[1].trained.note == "trained without price"


def test_sets_of_hidden_features_are_called_by_their_names(shelf: dict[str, StubPolicy]) -> None:
    names = {"budget": ["budget", "used", "budget_left", "price", "cost of grow layer 0 by 4"]}
    hidden = ["budget", "used", "budget_left", "cost of grow layer 0 by 4"]
    shelf["a"] = StubPolicy("ppo", config(), hidden=hidden, feature_names=names)
    shelf["b"] = StubPolicy("ppo", config(), hidden=hidden[1:], feature_names=names)
    assert [each.name for each in from_folders([], ["a", "b"])] == [
        "ppo without budget",
        "ppo without used budget_left cost of grow layer 0 by 4",
    ]


def test_single_runs_of_one_name_are_told_apart_by_their_folders(shelf: dict[str, StubPolicy]) -> None:
    shelf |= {"a": StubPolicy("ppo"), "b": StubPolicy("ppo"), "c": StubPolicy("dqn")}
    assert [each.name for each in from_folders(["a", "b", "c"], [])] == ["ppo a", "ppo b", "dqn"]
    assert [each.name for each in from_folders(["a"], ["b"])] == ["ppo", "ppo a"]
    with pytest.raises(ValueError, match="given twice: a"):
        from_folders(["a"], ["a"])


def test_seeds_of_one_line_come_from_one_environment(shelf: dict[str, StubPolicy]) -> None:
    shelf |= {"a": StubPolicy("ppo", config(tasks=3)), "b": StubPolicy("ppo", config(tasks=4))}
    with pytest.raises(ValueError, match="trained in different environments; they are no training seeds"):
        from_folders([], ["a", "b"])


def test_environment_is_that_of_the_runs_unless_another_is_asked_for() -> None:
    runs = [line(StubPolicy("a", config(tasks=4))), line(StubPolicy("b", config(tasks=4)))]
    assert environment_config("", {}, runs).tasks == 4
    assert environment_config("", {"tasks": 3}, runs).tasks == 3
    assert environment_config("growenv/SplitDigits-v1", {}, runs).streams == "split"
    assert environment_config("", {}, []).streams == "mixed"
    with pytest.raises(ValueError, match="trained in different environments"):
        environment_config("", {}, [*runs, line(StubPolicy("c", config(tasks=5)))])
    with pytest.raises(ValueError, match="'d' was not trained in a growenv environment"):
        environment_config("", {}, [line(StubPolicy("d"))])


def test_other_environments_are_refused() -> None:
    with pytest.raises(ValueError, match="no growenv environment"):
        registered_options("CartPole-v1")


def test_steps_are_those_of_training_and_of_choosing_the_policy(tmp_path: Any) -> None:
    import numpy as np

    np.savez(tmp_path / "evaluations.npz", timesteps=[0, 960], results=np.zeros((2, 3)), ep_lengths=np.full((2, 3), 30))
    policy: Any = StubPolicy("ppo", config())
    assert Evaluated("ppo", (policy,), (str(tmp_path),)).steps == 960 + 180
    assert Evaluated("ppo", (policy,), (str(tmp_path / "none"),)).steps == 0
