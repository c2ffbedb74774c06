from __future__ import annotations

import numpy as np
import pytest

from agents.comparison import Trained
from agents.contest import Contest, compare
from agents.policy import PolicySpec
from agents.price_sweep import sweep_prices
from tests.agents.fake_env import CONFIG, FakeVectorEnv

SMALL = PolicySpec("per-task", {"first": [[0, 4]], "later": []}, "small")
LARGE = PolicySpec("per-task", {"first": [[0, 16]], "later": [[1, 16]]}, "large")


def sweep(*trained: Trained, policies: tuple[str, ...] = ()):  # type: ignore[no-untyped-def]
    contest = Contest.on(CONFIG, "test", 5, 2, steps=5000, make_env=FakeVectorEnv)
    return sweep_prices(contest, trained, [0.1, 1.0], compare(contest, trained, policies))


def test_learned_policies_play_every_price_and_schedules_their_front() -> None:
    found = sweep(Trained("ppo", (SMALL, LARGE)), Trained("ppo without price", (SMALL,), kind="ablation"))
    learned, schedules = found.families
    assert (learned.name, learned.labels) == ("ppo", ("price 0.1", "price 1"))
    assert learned.cost.shape == learned.accuracy.shape == (2, 2, 5, 1)  # prices, seeds, contexts, inner seeds
    np.testing.assert_array_equal(learned.cost[0], learned.cost[1])  # these look at no price
    assert schedules.cost.shape == (len(schedules.labels), 1, 5, 1)
    assert schedules.points()[0] == (0.0, pytest.approx(schedules.accuracy.min()))  # the cheapest one first: never
    assert "never" in schedules.labels
    assert found.initial_cost == 0.0  # the fake environment counts new neurons only


def test_a_policy_on_the_front_of_schedules_saves_nothing() -> None:
    found = sweep(Trained("ppo", (LARGE,)))
    for saving in found.savings["ppo"]:
        assert saving.total is not None
        assert saving.total.mean == pytest.approx(0.0, abs=0.05)


def test_the_best_tuned_gate_plays_in_all_its_settings() -> None:
    found = sweep(Trained("ppo", (LARGE,)), policies=("plateau-tuned",))
    assert [family.name for family in found.families] == ["ppo", "fixed schedules", "settings of plateau"]


def test_the_plain_form_holds_every_point_and_the_reference() -> None:
    found = sweep(Trained("ppo", (LARGE,)))
    plain = found.to_json()
    assert plain["reference"] == {"cost": 1.0, "accuracy": 0.0}
    assert [point["label"] for point in plain["families"][0]["points"]] == ["price 0.1", "price 1"]
    (cost, accuracy), area = found.families[0].points()[0], plain["families"][0]["hypervolume"]
    assert area == pytest.approx((1.0 - cost) * accuracy)
