"""What more units would need, against the reference: every amount is tried on every tile."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from growenv.hardware.mosaic import fabric
from growenv.hardware.mosaic.placement import Classes, Placement
from growenv.hardware.mosaic.survey import Survey, survey
from tests.hardware.mosaic import placing
from tests.hardware.mosaic import reference as ref
from tests.hardware.mosaic.placing import CHIPS, chip, crowded, first_obstacle, network, newest, put, with_more

MORE_CHIPS = {**CHIPS, "narrow tiles": chip(max_crossbar_side=6), "2x2x12": chip(2, 2, 12, max_crossbar_side=16)}
ORDER = ("slots", "fan_in", "router", "crossbar")


def surveyed(placement, klass, row=0) -> Survey:
    """The survey of all tiles, every field (T,)."""
    tiles = np.arange(placement.fabric.tiles)[None]
    found = survey(placement, *placing.numbers(row, klass), tiles)
    return Survey(**{field.name: getattr(found, field.name)[0] for field in fields(Survey)})


def obstacle(found: Survey, tile: int, amount: int) -> str:
    """The first obstacle for some units on a tile, "" where they fit."""
    names = (name for name in ORDER if amount > getattr(found, name)[tile])
    return next(names, "").replace("_", "-")


# --- the growth example ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [placing.case_a, placing.case_b], ids=["A", "B"])
def test_the_growth_example(case):
    placement = case()
    put(placement, placing.FIRST.head(1), 15, 5)  # one transaction: the head of generation 1 comes with its units
    found = surveyed(placement, placing.FIRST.hidden(0, 1))
    codes = {divmod(tile, 4): obstacle(found, tile, 8) for tile in range(16)}
    if case is placing.case_a:
        assert codes == dict.fromkeys(codes, "fan-in") | {(0, 0): "slots", (2, 3): "router"}
        return
    refused = {tile: code for tile, code in codes.items() if code}
    assert refused == {(0, 0): "slots", (2, 3): "router", (3, 3): "fan-in"}
    before = (placement.size * placement.hops).sum()
    after = {tile: int(before + found.hops_in[tile] + 8 * found.hops_each[tile]) for tile in range(16)}
    order = sorted((after[tile], divmod(tile, 4)) for tile in range(16) if divmod(tile, 4) not in refused)
    assert order[:2] == [(352, (1, 1)), (368, (1, 0))]


def test_sixteen_units_of_case_b_fit_where_eight_do_until_slots_or_channels_run_out():
    placement = placing.case_b()
    put(placement, placing.FIRST.head(1), 15, 5)
    found = surveyed(placement, placing.FIRST.hidden(0, 1))
    # (1,1) holds 8 of 32, and the head's west port carries 24 of 32, so 8 more is the most.
    assert (found.slots[5], min(found.fan_in[5], found.router[5])) == (24, 8)
    assert obstacle(found, 5, 8) == ""
    assert obstacle(found, 5, 9) == "fan-in"


# --- every tile and every amount --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MORE_CHIPS)
@pytest.mark.parametrize("seed", range(4))
def test_a_survey_knows_for_every_tile_and_amount_what_the_reference_finds(name, seed):
    spec = MORE_CHIPS[name]
    placement = crowded(spec, seed, layers=1 + seed % 2, generations=1 + seed % 3)
    rng = np.random.default_rng(seed)
    for klass in newest(placement):
        check_survey(placement, klass, rng)


@pytest.mark.parametrize("name", MORE_CHIPS)
@pytest.mark.parametrize(("layers", "bypassed"), [(2, (1,)), (3, (1,)), (3, (1, 2))])
def test_a_survey_knows_of_those_who_read_through_wires(name, layers, bypassed):
    spec = MORE_CHIPS[name]
    for seed in range(2):
        placement = crowded(spec, seed, layers=layers, generations=2, bypassed=bypassed)
        for klass in newest(placement):
            check_survey(placement, klass, np.random.default_rng(seed))


def check_survey(placement, klass, rng):
    found, spec, before = surveyed(placement, klass), placement.fabric.spec, network(placement)
    for tile in range(spec.tiles):
        most = int(min(getattr(found, name)[tile] for name in ORDER))
        for amount in {1, max(1, most), max(1, most + 1), int(rng.integers(1, spec.neurons_per_tile + 2))}:
            larger = with_more(placement, 0, klass, tile, amount)
            assert obstacle(found, tile, amount) == first_obstacle(spec, larger)
            if amount <= most:
                added = ref.tree_cells(larger) - ref.tree_cells(before)
                assert found.hops_in[tile] + amount * found.hops_each[tile] == added
                added = ref.used_router_devices(larger) - ref.used_router_devices(before)
                assert found.branches_in[tile] + amount * found.branches_each[tile] == added


@pytest.mark.parametrize("name", CHIPS)
def test_what_is_promised_is_what_placing_adds(name):
    placement = crowded(CHIPS[name], 11)
    kept = placement.snapshot()
    for klass in newest(placement):
        found = surveyed(placement, klass)
        for tile in range(placement.fabric.tiles):
            if obstacle(found, tile, 1):
                continue
            put(placement, klass, tile, 1)
            for values, name in ((placement.hops, "hops"), (placement.branches, "branches")):
                added = (placement.size * values).sum() - (kept["size"] * kept[name]).sum()
                assert getattr(found, f"{name}_in")[tile] + getattr(found, f"{name}_each")[tile] == added
            placement.restore(kept)


# --- rows and requests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHIPS)
def test_questions_are_independent_and_change_nothing(name):
    spec = CHIPS[name]
    singles = [crowded(spec, seed) for seed in (1, 3, 5)]  # odd seeds: all directed
    together = Placement(fabric(spec), singles[0].classes, 3)
    for row, single in enumerate(singles):
        for klass, tile in np.argwhere(single.counts[0]):
            put(together, klass, tile, single.counts[0, klass, tile], row)
    before = together.snapshot()
    rng = np.random.default_rng(0)
    row, klass = rng.integers(0, 3, 12), rng.choice(newest(together), 12)
    tiles = np.stack([rng.permutation(spec.tiles)[:4] for _ in row])
    found = survey(together, row, klass, tiles)
    for question in range(12):
        alone = surveyed(singles[row[question]], klass[question])
        for place, tile in enumerate(tiles[question]):
            for amount in range(1, spec.neurons_per_tile + 2):
                asked = Survey(**{field.name: getattr(found, field.name)[question] for field in fields(Survey)})
                assert obstacle(asked, place, amount) == obstacle(alone, tile, amount)
            if not obstacle(alone, tile, 1):
                assert found.hops_in[question, place] == alone.hops_in[tile]
                assert found.branches_in[question, place] == alone.branches_in[tile]
            assert found.hops_each[question, place] == alone.hops_each[tile]
            assert found.branches_each[question, place] == alone.branches_each[tile]
    after = together.snapshot()
    assert all(np.array_equal(after[name], before[name]) for name in before)


WIDER = {
    "neurons_per_tile": 9,  # with all other channels as they are
    "nt_port_channels": 9,
    "r1_port_channels": 9,
    "r0_port_channels": 9,
    "max_crossbar_side": None,
}
BASE = chip(neurons=8, nt_port_channels=6, r1_port_channels=6, r0_port_channels=4, max_crossbar_side=16)


@pytest.mark.parametrize("field", WIDER)
@pytest.mark.parametrize("seed", range(3))
def test_a_higher_limit_makes_nothing_unfit(field, seed):
    narrow = crowded(BASE, seed)
    wide = Placement(fabric(replace(BASE, **{field: WIDER[field]})), narrow.classes, 1)
    for klass, tile in np.argwhere(narrow.counts[0]):
        put(wide, klass, tile, narrow.counts[0, klass, tile])
    for klass in newest(narrow):
        less, more = surveyed(narrow, klass), surveyed(wide, klass)
        for tile in range(9):
            for amount in range(1, 10):
                assert obstacle(less, tile, amount) or not obstacle(more, tile, amount)


def test_an_empty_fabric_has_room_for_a_tileful_everywhere():
    placement = Placement(fabric(chip()), Classes(1, 1, True), 1)
    found = surveyed(placement, 1)
    assert found.slots.tolist() == [8] * 9
    assert [obstacle(found, tile, 8) for tile in range(9)] == [""] * 9
    assert not (found.hops_in.any() or found.hops_each.any() or found.branches_in.any() or found.branches_each.any())


def test_long_crossbars_are_those_of_routers_too():
    # 3 inputs cross the router between (0,0) and (0,1): 3 rows and 3 columns; with 2 from (1,1) to (0,0) through it
    # in the other direction there would be as many again.
    spec = chip(2, 2, max_crossbar_side=5)
    placement = Placement(fabric(spec), Classes(1, 1, True), 1)
    put(placement, 0, 0, 3)
    put(placement, 1, 1, 2)
    put(placement, 2, 0, 1)  # the head stands beside the inputs: 2 channels back, so the router has 5 rows
    assert not first_obstacle(spec, network(placement))
    found = surveyed(placement, 1)
    assert obstacle(found, 1, 1) == "crossbar" == first_obstacle(spec, with_more(placement, 0, 1, 1, 1))
    roomy = surveyed_on(replace(spec, max_crossbar_side=6), placement)
    assert obstacle(roomy, 1, 1) == ""


def surveyed_on(spec, placement):
    other = Placement(fabric(spec), placement.classes, 1)
    for klass, tile in np.argwhere(placement.counts[0]):
        put(other, klass, tile, placement.counts[0, klass, tile])
    return surveyed(other, 1)


def test_a_unit_whose_routes_branch_takes_two_columns_of_a_router():
    # From (0,0) to (1,0) and to (1,1): both routes enter the router below and leave it to the south and to the east.
    spec = chip(2, 2, max_crossbar_side=5)
    placement = Placement(fabric(spec), Classes(2, 1, True), 1)
    for tile in (2, 3):
        put(placement, 2, tile, 1)
    found = surveyed(placement, 1)
    for amount in (1, 2, 3):
        expected = "crossbar" if amount == 3 else ""
        assert obstacle(found, 0, amount) == expected == first_obstacle(spec, with_more(placement, 0, 1, 0, amount))
