"""Admission on hardware with places: where networks stand, what is refused there, and who chooses the tile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from growenv.hardware import MosaicMeter
from growenv.hardware.mosaic.floorplan import Floorplan
from growenv.hardware.mosaic.spec import MosaicSpec
from growenv.vector_env import GrowthVectorEnv
from tests.rollouts import (
    TASKS,
    WAIT,
    begin,
    context,
    play,
    random_actions,
    started,
    task,
    toy_dataset,
    vector_of_three,
)

CROWDED: dict[str, Any] = {
    "meter": MosaicMeter(MosaicSpec(rows=2, cols=2, neurons_per_tile=12)),
    "input_pool": 3,
    "amounts": (4, 8),
}
"""Four small tiles, where slots run out."""
NARROW: dict[str, Any] = {"meter": MosaicMeter(MosaicSpec(rows=3, cols=3, r0_port_channels=4))}
"""Channels run out before slots do."""
SIZES: dict[str, Any] = {"max_hidden": (64, 64), "budget": 1.0, "minibatches": 1, "decisions": 8}


def plan(env: GrowthVectorEnv, row: int) -> Floorplan:
    """Where the network of a row stands."""
    assert env.admission.placed is not None
    found: Floorplan = env.admission.placed.floorplan(env.admission.architecture(env.episodes), row)
    return found


def free_slots(found: Floorplan) -> Any:
    return found.slots - found.occupied - found.reserved


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "wanted"),
    [(CROWDED, {"", "slots", "fan-in"}), (NARROW, {"", "fan-in", "router"})],
    ids=["crowded", "narrow"],
)
@pytest.mark.parametrize("where", ["auto", "tile"])
def test_a_refusal_is_true_on_the_floorplan(options: dict[str, Any], wanted: set[str], where: str) -> None:
    """Requests that fit find slots on a tile; "slots" says that no tile has them, other obstacles that some has."""
    env = vector_of_three("DISABLED", **SIZES, where=where, **options)
    rng = np.random.default_rng(0)
    begin(env, seed=0)
    seen: set[str] = set()
    for _ in range(12):
        for row in range(3):
            free, actions = free_slots(plan(env, row)), env.actions
            for action in range(1, actions.size):
                reason = env.admission.reasons[env.admission.codes[row, action]]
                there = free if where == "auto" else free[[actions.region[action]]]
                room = (there >= actions.amount[action]).any()
                assert reason in ("width", "budget") or room == (reason != "slots")
                seen.add(reason)
        play(env, [random_actions(env, rng)])
    assert wanted <= seen


def test_no_channel_and_no_slot_is_ever_taken_twice() -> None:
    """Floorplans refuse shares above one, and slots that are held for heads stay free until these begin."""
    env, rng = vector_of_three("DISABLED", **{**SIZES, **NARROW, "tasks": 3, "decisions": 2}), np.random.default_rng(3)
    begin(env, seed=0)
    for _ in range(6):
        reserved = [plan(env, row).reserved.sum() for row in range(3)]
        step = play(env, [random_actions(env, rng)])[0]
        for row in range(3):
            found = plan(env, row)
            assert (free_slots(found) >= 0).all()
            np.testing.assert_array_equal(found.hidden.sum(axis=0), env.learner.units[row])
            np.testing.assert_array_equal(found.outputs.sum(axis=0), env.episodes.outputs[row])
            assert found.reserved.sum() == 10 * (2 - step.infos["task"][row]) <= reserved[row]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_memristors": 3000}, "memristors"),
        ({"max_energy_J": 600e-12}, "energy"),
        ({"max_latency_s": 1e-6}, "latency"),
    ],
)
def test_limits_of_the_chip_are_named(limits: dict[str, Any], reason: str) -> None:
    spec = MosaicSpec(rows=3, cols=3, **limits)
    env = started("DISABLED", meter=MosaicMeter(spec), max_hidden=(64, 64), budget=1.0, decisions=9, where="tile")
    for _ in range(9):
        if (env.admission.codes == env.admission.reasons.index(reason)).any():
            break
        play(env, [np.array([max(np.flatnonzero(mask)) for mask in env.action_masks()])])
    row, action = np.argwhere(env.admission.codes == env.admission.reasons.index(reason))[0]
    actions = WAIT.copy()
    actions[row] = action
    infos = play(env, [actions])[0].infos
    assert infos["refusal"][row] == reason
    assert infos["invalid_action"][row]


# -- the beginning ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"meter": "mosaic-tiny"}, "64 inputs are too many for 2x2 tiles of 8 neurons"),
        ({"meter": MosaicMeter(MosaicSpec(rows=2, cols=2, neurons_per_tile=32)), "tasks": 8}, "heads do not fit"),
        ({"hidden": (64, 64), "max_hidden": (200, 200), **NARROW}, "do not fit on the fabric"),
        (
            {"meter": MosaicMeter(MosaicSpec(rows=3, cols=3, r1_port_channels=8))},
            r"do not fit on the fabric \(fan-in\)",
        ),
        ({"meter": MosaicMeter(MosaicSpec(rows=3, cols=3, max_memristors=100))}, "limit is 100"),
        ({"budget": 0.2}, r"needs 0\.\d+ \(share of the reference network\), but the lowest budget, 0.2"),
    ],
)
def test_a_network_that_cannot_fit_is_refused_when_the_environment_is_made(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        vector_of_three(**{"budget": 1.0, **options})


def test_a_start_that_must_take_a_longer_way_is_counted_as_it_stands() -> None:
    """It was counted as if channels had no limit, so that a stream began above its budget."""
    spec = MosaicSpec(rows=3, cols=2, neurons_per_tile=9, r1_port_channels=3)
    options = {"dataset": toy_dataset(), "streams": "permuted", "hidden": (3, 7), "max_hidden": (6, 14)}
    options |= {"meter": MosaicMeter(spec), "amounts": (1, 2)}
    with pytest.raises(ValueError, match=r"needs 0\.6\d+ .* the lowest budget, 0.5 of"):
        started(**options, budget=0.5)
    env = started(**options, budget=0.65)
    assert (env.episodes.used > 0.5).all()
    poor = [context([task(0, 1, 2), task(0, 1, 2, permutation=1)], dataset="toy", budget=0.5)] * 3
    with pytest.raises(ValueError, match="the budget of context .* is 0.5; raise"):
        env.reset(options={"contexts": poor})


def test_a_start_uses_what_the_check_of_contexts_said() -> None:
    env = started()
    for row in range(3):
        assert env.admission._needed(env.contexts[row]) == pytest.approx(
            env.admission.meter.usage(env.admission.architecture(env.episodes, reserve=True))[row]
        )


def test_short_streams_hold_slots_for_their_own_heads_only() -> None:
    env = started("DISABLED", tasks=3)
    begin(env, options={"contexts": [context(TASKS[: 1 + row], row) for row in range(3)]})
    assert [plan(env, row).reserved.sum() for row in range(3)] == [0, 10, 20]


# -- who chooses the tile --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("meter", ["parameters", "crossbar"])
def test_an_agent_cannot_choose_among_tiles_that_do_not_exist(meter: str) -> None:
    with pytest.raises(
        ValueError, match=f'option where="tile": the meter \'{meter}\' knows no tiles; use where="auto"'
    ):
        vector_of_three(meter=meter, where="tile")


@pytest.mark.parametrize(
    ("regions", "cut"),
    [
        ((4, 4), [[0, 1, 2], [3, 4, 5], [6, 7, 8]]),
        ((3, 3), [[0, 1, 2], [3, 4, 5], [6, 7, 8]]),
        ((2, 2), [[0, 0, 1], [0, 0, 1], [2, 2, 3]]),
        ((1, 3), [[0, 1, 2]] * 3),
        ((2, 1), [[0] * 3, [0] * 3, [1] * 3]),
        ((1, 1), [[0] * 3] * 3),
    ],
)
def test_new_units_stand_in_the_region_that_was_named(regions: tuple[int, int], cut: list[list[int]]) -> None:
    """Regions by hand on the 3x3 tiles of the default hardware; every one is tried that has room."""
    env = started("DISABLED", where="tile", regions=regions, budget=1.0, max_hidden=(40, 40), decisions=3)
    region_of, count = np.ravel(cut), np.max(cut) + 1
    assert (env.actions.regions, env.actions.size) == (count, 1 + 4 * count)
    assert env.single_action_space.n == env.actions.size
    kept, tried = env.snapshot(), set()
    for layer in range(2):
        for region in range(count):
            env.restore(kept)
            action = env.actions.index(layer, 4, region)
            before = [plan(env, row).hidden for row in range(3)]
            legal = env.action_masks()[:, action]
            play(env, [np.full(3, action)])
            for row in range(3):
                new = plan(env, row).hidden - before[row]
                tiles = np.flatnonzero(new.any(axis=(1, 2)))
                assert new.sum() == new[:, 0, layer].sum() == (4 if legal[row] else 0)
                assert (region_of[tiles] == region).all()
                tried |= {region} if legal[row] else set()
    assert len(tried) >= min(count, 7)


def test_rows_that_wait_or_name_other_regions_stay_where_they_are() -> None:
    env = started("DISABLED", where="tile", budget=1.0, max_hidden=(40, 40))
    before = [plan(env, row).hidden for row in range(3)]
    play(env, [np.array([0, env.actions.index(0, 4, 3), env.actions.index(1, 4, 8)])])
    new = [plan(env, row).hidden - before[row] for row in range(3)]
    assert not new[0].any()
    assert (new[1].sum(), new[1][3, 0, 0]) == (4, 4)
    assert (new[2].sum(), new[2][8, 0, 1]) == (4, 4)


def test_the_meter_chooses_the_cheapest_of_all_regions() -> None:
    """Greedy placement takes the fewest routers; no region that an agent can name takes fewer."""
    free, named = (started("DISABLED", where=where, budget=1.0, max_hidden=(40, 40)) for where in ("auto", "tile"))
    for layer in range(2):
        of_regions = [named.actions.index(layer, 4, region) for region in range(9)]
        costs = np.where(named.action_masks(), named.admission.costs, np.inf)[:, of_regions]
        action = free.actions.index(layer, 4)
        assert free.action_masks()[:, action].all()
        np.testing.assert_allclose(free.admission.costs[:, action], costs.min(axis=1), atol=1e-12)
        assert (costs.max(axis=1) > costs.min(axis=1)).all()


# -- figures ---------------------------------------------------------------------------------------------------------

FIGURES = ("memristors", "routing_devices", "mean_hops", "energy_pj", "latency_ns", "tiles_in_use")


def test_figures_come_at_the_end_of_a_stream_and_say_what_the_floorplan_says() -> None:
    env = started("DISABLED", budget=1.0)
    begin(env, options={"contexts": [context(TASKS[:2], 0), context(TASKS[:1], 1), context(TASKS[:2], 2)]})
    steps = play(env, [np.array([1, 2, 3]), WAIT, WAIT])
    for number, step in enumerate(steps):
        for name in FIGURES:
            assert (step.infos[name] > 0).tolist() == [False, number > 0, False], name
    infos = play(env, [WAIT])[0].infos
    for row in range(3):
        found = plan(env, row)
        assert infos["memristors"][row] == found.memristors
        assert infos["mean_hops"][row] == pytest.approx(found.mean_hops)
        assert infos["latency_ns"][row] == pytest.approx(1e9 * found.latency_s)
        assert infos["tiles_in_use"][row] == (found.occupied > 0).sum()
        assert 0 < infos["routing_devices"][row] < infos["memristors"][row]
        assert 0 < infos["energy_pj"][row] < 1e12 * found.energy_J, "not every unit spikes every time"
    assert infos["energy_pj"][1] == steps[-1].infos["energy_pj"][1], "a stream that is over changes no more"


def test_figures_of_energy_use_the_activity_of_the_last_network() -> None:
    env = started("DISABLED", budget=1.0)
    infos = play(env, [np.array([1, 2, 3]), WAIT, WAIT, WAIT])[-1].infos
    assert env.admission.placed is not None
    rates = env.learner.activity()
    figures = env.admission.placed.figures(env.admission.architecture(env.episodes), rates)
    np.testing.assert_allclose(np.stack([infos[name] for name in FIGURES], axis=1), figures)
    assert (rates < 1).any()


@pytest.mark.parametrize("meter", ["parameters", "crossbar"])
def test_meters_that_count_have_no_figures_and_no_features(meter: str) -> None:
    env = started("SAME_STEP", meter=meter, max_hidden=(128, 128))
    assert not set(FIGURES) & set(env._infos())
    assert "hardware" not in env.feature_names
