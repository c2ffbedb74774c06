from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents import comparison as module
from agents.comparison import BEST_FIXED, DEFAULT_POLICIES, MATCHED, action_rates, compare, expand, known_policies
from agents.evaluation import play
from agents.gates import GATES
from agents.policy import PolicySpec
from growenv.config import GrowthConfig
from growenv.registry import UnknownNameError
from tests.agents.fake_env import CONFIG, FakeVectorEnv, make_contexts

LEARNED = {"ppo": PolicySpec("per-task", {"first": [[0, 16]], "later": [[1, 4]]})}


def run(**options: Any) -> module.Comparison:
    given = {"contexts": 6, "episodes": 500, "make_env": FakeVectorEnv} | options
    return compare(CONFIG, given.pop("learned", LEARNED), **given)


def test_default_plays_everything_on_the_same_contexts() -> None:
    result = run()
    assert set(result.records) == {"ppo", *DEFAULT_POLICIES}
    contexts = [[record.context for record in records] for records in result.records.values()]
    assert all(own == contexts[0] for own in contexts)
    assert {context["split"] for context in contexts[0]} == {"test"}
    assert set(result.searches) == {BEST_FIXED, "plateau-tuned", "loss-gate-tuned"}
    assert result.learned == ("ppo",)
    assert {record.policy for record in result.records["ppo"]} == {"ppo"}


def test_tuning_touches_train_and_val_contexts_only() -> None:
    splits = []

    class Env(FakeVectorEnv):
        def reset(self, **given: Any) -> Any:
            splits.append({context.split for context in given["options"]["contexts"]})
            return super().reset(**given)

    run(policies=["plateau-tuned"], make_env=Env)
    assert splits[0] == {"test"}
    assert splits[-1] == {"test"}
    assert set().union(*splits[1:-1]) == {"train", "val"}
    assert len(splits) > 4


def test_gates_stand_for_every_gate_untuned_and_tuned() -> None:
    names = {name for gate in GATES for name in (gate, f"{gate}-tuned")}
    assert {"plateau", "knapsack", "senn-tuned", "random-where"} <= names
    assert expand(["never", "gates", "plateau"]) == [
        "never",
        *(n for n in expand(["gates"]) if n != "plateau"),
        "plateau",
    ]
    result = run(policies=["gates"], episodes=400)
    assert set(result.records) == {"ppo", BEST_FIXED, *names}
    assert set(result.searches) == {BEST_FIXED, *(name for name in names if name.endswith("-tuned"))}
    for name, records in result.records.items():
        assert sum(record.invalid for record in records) == 0, name


def test_one_gate_may_be_tuned_by_name() -> None:
    result = run(policies=["senn-tuned"])
    assert set(result.records) == {"ppo", BEST_FIXED, "senn-tuned"}
    search = result.searches["senn-tuned"]
    assert search.best.policy == "senn"
    assert search.steps == 12 * search.episodes


def test_best_fixed_always_plays() -> None:
    assert set(run(policies=["never"]).records) == {"ppo", "never", BEST_FIXED}


def test_matched_random_is_left_out_without_a_learned_policy() -> None:
    assert set(run(learned={}, policies=[MATCHED, "random"]).records) == {"random", BEST_FIXED}


def test_matched_random_grows_as_often_as_the_learned_policy() -> None:
    result = run(policies=[MATCHED], contexts=200)
    for name in ("growth_events", "cost"):
        means = [np.mean([getattr(record, name) for record in result.records[key]]) for key in ("ppo", MATCHED)]
        np.testing.assert_allclose(means[0], means[1], rtol=0.1)


def test_specs_may_be_given() -> None:
    spec = PolicySpec("periodic", {"every": 4}, "mine")
    assert [record.growth_events for record in run(policies=[spec]).records["mine"]] == [3] * 6


def test_inner_seeds_repeat_the_contexts() -> None:
    records = run(policies=[], inner_seeds=2).records["ppo"]
    assert [record.index for record in records] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_stages_are_reported() -> None:
    seen: list[tuple[str, int, int]] = []
    run(policies=["plateau-tuned"], report=lambda *line: seen.append(line))
    assert list(dict.fromkeys(stage for stage, _, _ in seen)) == [
        "ppo",
        "tuning of plateau",
        "search of fixed schedules",
        "baselines",
    ]


def test_action_rates_by_hand() -> None:
    records = play(LEARNED["ppo"], CONFIG, make_contexts(2), make_env=FakeVectorEnv)
    # In each episode of 12 decisions: one "layer 0 by 16" and two "layer 1 by 4".
    np.testing.assert_allclose(action_rates(records, CONFIG), [9 / 12, 0, 1 / 12, 2 / 12, 0])


def test_names_are_checked_before_anything_is_played() -> None:
    def make(config: GrowthConfig, rows: int) -> FakeVectorEnv:
        raise AssertionError("played")

    with pytest.raises(UnknownNameError, match="did you mean 'plateau'"):
        run(policies=["plato"], make_env=make)
    with pytest.raises(ValueError, match="given twice: never"):
        run(policies=["never", "never"], make_env=make)
    with pytest.raises(ValueError, match="given twice: senn-tuned"):
        run(policies=["gates", PolicySpec("senn", {}, "senn-tuned")], make_env=make)
    with pytest.raises(ValueError, match="given twice: random"):
        run(learned={"random": LEARNED["ppo"]}, policies=["random"], make_env=make)


def test_schedules_that_need_options_are_no_names() -> None:
    assert "open-loop" not in known_policies()
    assert set(DEFAULT_POLICIES) <= set(known_policies())
