"""Baselines in environments whose actions name a region: they grow in the cheapest one, which is greedy placement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agents import gates, schedules  # noqa: F401  (registers the policies)
from agents.contest import action_rates
from agents.evaluation import action_table, evaluation_contexts, play
from agents.policy import CheapestRegion, Interface, PolicySpec, without_regions
from growenv.actions import WAIT, ActionTable
from growenv.config import GrowthConfig

SMALL = GrowthConfig(tasks=2, decisions=3, minibatches=2, validation_samples=32, test_samples=32)
GROW_EACH = PolicySpec("per-task", {"first": [[0, 4], [1, 4]], "later": [[0, 16], [1, 4]]})


class Always:
    """Wants one action in every row."""

    name = "always"

    def __init__(self, action: int) -> None:
        self.action, self.seen = action, np.zeros((0, 0), dtype=bool)

    def reset(self, rows: np.ndarray) -> None: ...

    def act(self, observations: object, masks: np.ndarray) -> np.ndarray:
        self.seen = masks
        return np.where(masks[:, self.action], self.action, WAIT)


def interface(regions: int, rows: int) -> Interface:
    actions = ActionTable(1, (4, 16), regions)
    names = tuple(f"cost of {name}" for name in actions.names[1:])
    return Interface(actions, {"budget": names}, decisions=3, tasks=2, rows=rows)


def test_the_cheapest_legal_region_is_taken_and_the_first_among_equals() -> None:
    policy = Always(2)  # layer 0 by 16
    wrapped = CheapestRegion(lambda _: policy, interface(3, 4))
    costs = np.zeros((4, 6), dtype=np.float32)
    costs[:, 3:] = [[0.3, 0.1, 0.2], [0.3, 0.1, 0.2], [0.2, 0.2, 0.2], [0.0, 0.0, 0.0]]
    masks = np.ones((4, 7), dtype=bool)
    masks[1, 5] = False  # the cheapest region of row 1
    masks[3, 4:] = False  # no region of row 3
    chosen = wrapped.act({"budget": costs}, masks)
    assert chosen.tolist() == [5, 6, 4, WAIT]
    assert policy.seen.tolist() == [[True, True, True]] * 3 + [[True, True, False]]


def test_without_regions_every_place_of_a_request_is_one_action() -> None:
    actions = ActionTable(2, (4, 16), 3)
    taken = np.arange(actions.size)
    expected = [WAIT, *np.repeat([1, 2, 3, 4], 3)]
    assert without_regions(taken, actions).tolist() == expected
    same = ActionTable(2, (4, 16))
    assert without_regions(np.arange(5), same).tolist() == list(range(5))


@pytest.mark.parametrize("spec", [GROW_EACH, PolicySpec("loss-gate"), PolicySpec("static-large")])
def test_a_baseline_with_the_cheapest_region_is_greedy_placement(spec: PolicySpec) -> None:
    contexts = evaluation_contexts(SMALL, "val", 6)
    auto, tile = (play(spec, replace(SMALL, where=where), contexts) for where in ("auto", "tile"))
    for one, other in zip(auto, tile, strict=True):
        assert one.growth_events == other.growth_events > 0
        assert one.hardware == other.hardware
        assert one.return_ == pytest.approx(other.return_, abs=1e-9)
    table = action_table(replace(SMALL, where="tile"))
    assert table.regions == 9
    assert without_regions(np.array(tile[0].actions), table).tolist() == list(auto[0].actions)


def test_rates_are_those_of_requests_wherever_they_went() -> None:
    contexts = evaluation_contexts(SMALL, "val", 4)
    auto, tile = (
        action_rates(play(GROW_EACH, config, contexts), config) for config in (SMALL, replace(SMALL, where="tile"))
    )
    assert auto.shape == tile.shape == (5,)
    np.testing.assert_allclose(auto, tile)


def test_hardware_figures_are_recorded_only_where_hardware_has_places() -> None:
    contexts = evaluation_contexts(SMALL, "val", 2)
    placed = play(GROW_EACH, SMALL, contexts)[0]
    assert placed.hardware["memristors"] > 64 * 4 and placed.hardware["mean_hops"] > 0
    assert placed.to_json()["hardware"] == placed.hardware
    assert play(GROW_EACH, replace(SMALL, meter="parameters"), contexts)[0].hardware == {}
