from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agents.baselines import AVERAGE, DEFAULT_POLICIES, FINAL_SIZE, MATCHED, SHUFFLED, expand
from agents.cache import SearchCache
from agents.comparison import BEST_FIXED, Comparison, Trained
from agents.contest import Contest, action_rates, compare
from agents.evaluation import action_table, play
from agents.policy import PolicySpec
from growenv.config import GrowthConfig
from tests.agents.fake_env import CONFIG, FakeVectorEnv, make_contexts

SPEC = PolicySpec("per-task", {"first": [[0, 16]], "later": [[1, 4]]})
OTHER = PolicySpec("per-task", {"first": [[1, 4]], "later": [[0, 4]]})
LEARNED = (Trained("ppo", (SPEC, OTHER), steps=4800),)


def run(trained: Any = LEARNED, **options: Any) -> Comparison:
    """A comparison in the fake environment; what `Contest` does not take goes to `compare`."""
    asked = {name: options.pop(name) for name in ("policies", "source") if name in options}
    given = {"split": "test", "contexts": 6, "steps": 6000, "make_env": FakeVectorEnv} | options
    return compare(Contest.on(CONFIG, **given), trained, **asked)


def test_default_plays_everything_on_the_same_contexts() -> None:
    result = run()
    assert set(result.names) == {"ppo", *map(str, expand(DEFAULT_POLICIES))} - {"sampled-actions"}
    assert {record.context["split"] for player in result.players for record in player.records} == {"test"}
    assert set(result.searches) == {BEST_FIXED, "plateau-tuned", "loss-gate-tuned"}
    assert [player.name for player in result.of_kind("learned")] == ["ppo"]
    assert {record.policy for record in result.player("ppo").runs[1]} == {"ppo"}


def test_every_baseline_may_spend_the_same_steps_on_tuning() -> None:
    result = run(steps=4800, policies=["plateau-tuned"])
    for name in (BEST_FIXED, "plateau-tuned"):
        assert 0 < result.searches[name].steps <= 4800 + 12  # an episode that was begun is played to its end
        assert result.player(name).steps == result.searches[name].steps
    assert result.player("ppo").steps == 4800


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


def test_searches_are_kept_in_the_cache(tmp_path: Any) -> None:
    first = run(policies=["plateau-tuned"], cache=SearchCache(tmp_path))
    stages: list[str] = []
    again = run(policies=["plateau-tuned"], cache=SearchCache(tmp_path), report=lambda *line: stages.append(line[0]))
    assert again == first
    assert not {stage for stage in stages if "tuning" in stage or "search" in stage}


def test_what_was_tuned_in_the_source_plays_with_the_target_s_amounts() -> None:
    source = GrowthConfig.from_options(CONFIG, amounts=(2, 8))
    result = run(policies=["plateau-tuned"], source=source)
    assert {f"{BEST_FIXED} of the source", "plateau-tuned of the source"} <= set(result.names)
    assert not [name for name in run(policies=[], source=CONFIG).names if "source" in name]


def test_controls_are_left_out_without_a_learned_policy() -> None:
    assert set(run((), policies=[MATCHED, SHUFFLED, AVERAGE, FINAL_SIZE, "random"]).names) == {"random", BEST_FIXED}


def test_controls_are_played_for_every_training_seed() -> None:
    result = run(policies=["controls"], contexts=40)
    counts = {name: result.player(name).values("growth_events").mean(axis=(1, 2)) for name in result.names}
    np.testing.assert_allclose(counts["ppo"], [3, 3])
    np.testing.assert_allclose(counts[MATCHED], [3, 3], rtol=0.25)
    np.testing.assert_allclose(counts[SHUFFLED], [3, 3], rtol=0.05)  # some are illegal when their time comes
    np.testing.assert_allclose(counts[AVERAGE], [3, 3])  # it is a schedule already
    cost = {name: result.player(name).mean("cost") for name in result.names}
    assert cost[FINAL_SIZE] == pytest.approx(cost["ppo"])
    assert {result.player(name).kind for name in (MATCHED, SHUFFLED, AVERAGE, FINAL_SIZE)} == {"control"}
    assert "sampled-actions" not in result.names  # these have no distribution


def test_policies_that_can_draw_their_actions_do_so_as_a_control() -> None:
    drawing = replace(LEARNED[0], sampled=(PolicySpec("random"), PolicySpec("never")))
    result = run((drawing,), policies=["controls"])
    assert result.player("sampled-actions").values("growth_events")[1].sum() == 0
    assert result.player("sampled-actions").kind == "control"


def test_the_permuted_control_says_what_growth_was_lost() -> None:
    assert "of 36 growths (" in run(policies=["shuffled-actions"]).player(SHUFFLED).note


def test_a_static_network_has_the_final_size_where_actions_name_regions_too() -> None:
    tiny = GrowthConfig(
        tasks=2, decisions=3, minibatches=1, batch_size=8, validation_samples=16, budget=(0.9, 1.0), where="tile"
    )
    contest = Contest.on(tiny, "val", 4, steps=2400)
    result = compare(contest, [Trained("ppo", (PolicySpec("per-task", {"later": [[0, 4], [1, 16]]}),))], [FINAL_SIZE])
    table = action_table(tiny)

    def grown(name: str) -> list[list[int]]:
        """Neurons added to each layer in each episode."""
        requests = [table.request(np.array(record.actions)) for record in result.player(name).records]
        return [[int(amounts[layers == layer].sum()) for layer in (0, 1)] for layers, amounts in requests]

    assert grown("ppo") == grown(FINAL_SIZE) == [[4, 16]] * 4


def test_specs_may_be_given() -> None:
    spec = PolicySpec("periodic", {"every": 4}, "mine")
    assert [record.growth_events for record in run(policies=[spec]).player("mine").records] == [3] * 6


def test_inner_seeds_repeat_the_contexts() -> None:
    result = run(policies=[], inner_seeds=2)
    assert [record.index for record in result.player("ppo").records] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert result.inner_seeds == 2


def test_stages_are_reported() -> None:
    seen: list[str] = []
    run(policies=["plateau-tuned"], report=lambda *line: seen.append(line[0]))
    assert list(dict.fromkeys(seen)) == ["ppo", "tuning of plateau", "search of fixed schedules", "baselines"]


def test_action_rates_by_hand() -> None:
    records = play(SPEC, CONFIG, make_contexts(2), make_env=FakeVectorEnv)
    # In each episode of 12 decisions: one "layer 0 by 16" and two "layer 1 by 4".
    np.testing.assert_allclose(action_rates(records, CONFIG), [9 / 12, 0, 1 / 12, 2 / 12, 0])


def test_mistakes_are_found_before_anything_is_played() -> None:
    def make(config: GrowthConfig, rows: int) -> FakeVectorEnv:
        raise AssertionError("played")

    with pytest.raises(ValueError, match="given twice: random"):
        run([Trained("random", (SPEC,))], policies=["random"], make_env=make)
    with pytest.raises(ValueError, match="needs --inner-seeds 2"):
        run(policies=["oracle"], make_env=make)


def test_searchers_say_what_they_cost() -> None:
    tiny = GrowthConfig(tasks=2, decisions=2, minibatches=1, batch_size=8, validation_samples=16, budget=(0.6, 1.0))
    contest = Contest.on(tiny, "val", 2, 2, steps=4000)
    result = compare(contest, (), ["look-ahead", "per-task-search", "oracle"])
    kinds = {
        "look-ahead": "search",
        "per-task-search": "search",
        "oracle": "oracle",
        "oracle-same-seed": "oracle",
    }
    for name, kind in kinds.items():
        player = result.player(name)
        assert player.kind == kind
        assert player.steps_per_episode > 4
        assert {record.policy for record in player.records} == {name}
    lucky, honest = (result.player(name) for name in ("oracle-same-seed", "oracle"))
    assert [record.actions for record in honest.records] == [lucky.records[at].actions for at in (1, 0, 3, 2)]
