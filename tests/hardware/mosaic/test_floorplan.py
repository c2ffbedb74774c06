"""Floorplans: what they refuse, and how they read as text."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growenv.hardware.mosaic.floorplan import Floorplan, costs, slots_in_use, text, tile_map


def floorplan(**changes) -> Floorplan:
    """Four tiles of 8 slots, three tasks and two layers: an input tile, one for each layer, one for heads."""
    hidden = np.zeros((4, 3, 2), dtype=np.int64)
    hidden[1, :2, 0] = 4, 2
    hidden[2, [0, 2], 1] = 3, 1
    outputs = np.zeros((4, 3), dtype=np.int64)
    outputs[3] = 2, 2, 0
    load = np.zeros((5, 5))
    load[1, 2], load[2, 2], load[2, 3], load[3, 2] = 1.0, 0.75, 0.0625, 0.99
    load[1::2, 1::2] = np.nan
    parts = {
        "fabric_shape": (2, 2),
        "slots": 8,
        "inputs": np.array([8, 0, 0, 0]),
        "hidden": hidden,
        "outputs": outputs,
        "reserved": np.array([0, 0, 0, 2]),
        "load": load,
        "fan_in": np.array([0.0, 1.0, 0.75, 0.0]),
        "memristors": 15320,
        "energy_J": 302.712e-12,
        "mean_hops": 1.625,
        "latency_s": 1.2e-6,
    }
    return Floorplan(**{**parts, **changes})


def random_floorplan(seed: int, rows: int, columns: int, slots: int, tasks: int, layers: int) -> Floorplan:
    """Any floorplan that can be written down, whether or not a network could be routed like that."""
    rng = np.random.default_rng(seed)
    tiles = rows * columns
    kinds = 2 + tasks * layers + tasks
    # Every slot of a tile gets a kind; the last one means free.
    drawn = rng.integers(0, kinds + 1, (tiles, slots))
    counts = np.stack([(drawn == kind).sum(axis=1) for kind in range(kinds)], axis=1).astype(np.int64)
    load = rng.integers(0, 5, (2 * rows + 1, 2 * columns + 1)) / 4
    load[1::2, 1::2] = np.nan
    return Floorplan(
        fabric_shape=(rows, columns),
        slots=slots,
        inputs=counts[:, 0],
        reserved=counts[:, 1],
        hidden=counts[:, 2 : 2 + tasks * layers].reshape(tiles, tasks, layers),
        outputs=counts[:, 2 + tasks * layers :],
        load=load,
        fan_in=rng.integers(0, 5, tiles) / 4,
        memristors=int(rng.integers(0, 10**8)),
        energy_J=float(1e-6 * rng.random()),
        mean_hops=float(27 * rng.random()),
        latency_s=float(1e-4 * rng.random()),
    )


def any_floorplan() -> st.SearchStrategy[Floorplan]:
    side = st.integers(1, 5)
    return st.builds(random_floorplan, st.integers(0, 10**6), side, side, st.integers(1, 40), side, st.integers(1, 3))


def test_sizes_and_occupied_slots():
    plan = floorplan()
    assert (plan.tiles, plan.tasks, plan.layers) == (4, 3, 2)
    assert plan.occupied.tolist() == [8, 6, 4, 4]  # reserved slots are not occupied
    assert plan.routers.sum() == 25 - 4
    assert np.argwhere(~plan.routers).tolist() == [[1, 1], [1, 3], [3, 1], [3, 3]]


def test_costs_are_written_with_units():
    assert slots_in_use(floorplan()) == "22 of 32 slots in use, 2 reserved"
    assert slots_in_use(floorplan(reserved=np.zeros(4, dtype=np.int64))) == "22 of 32 slots in use"
    assert costs(floorplan()) == "mean hops 1.62  memristors 15,320  energy 302.7 pJ  latency 1,200 ns"
    assert "energy 0.05 pJ" in costs(floorplan(energy_J=0.05e-12))
    assert "energy 123,457 pJ" in costs(floorplan(energy_J=123456.7e-12))
    assert costs(floorplan(memristors=0, energy_J=0.0, mean_hops=0.0, latency_s=0.0)).endswith("latency 0 ns")


def test_tiles_as_lines():
    assert tile_map(floorplan()) == ["8/8 6/8", "4/8 4/8"]
    wide = floorplan(slots=128)
    assert tile_map(wide) == ["  8/128   6/128", "  4/128   4/128"]


def test_text_shows_cells_and_who_stands_where():
    assert text(floorplan()).splitlines() == [
        "22 of 32 slots in use, 2 reserved  4 of 21 routers in use  "
        "mean hops 1.62  memristors 15,320  energy 302.7 pJ  latency 1,200 ns",
        "",
        ".  .  .  .  .",
        ". 8/8 # 6/8 .",
        ".  .  7  0  .",
        ". 4/8 9 4/8 .",
        ".  .  .  .  .",
        "",
        "routers: . no channel in use, 0-9 tenths of the channels of the fullest port, # a port is full",
        "",
        " tile  input  layer 0  layer 1     head  reserved  free  fan-in",
        "(0,0)      8        -        -        -         -     -    0.00",
        "(0,1)      -  0:4 1:2        -        -         -     2    1.00",
        "(1,0)      -        -  0:3 2:1        -         -     4    0.75",
        "(1,1)      -        -        -  0:2 1:2         2     2    0.00",
    ]


def test_an_empty_fabric_has_a_map_and_a_table_without_lines():
    nothing = floorplan(
        inputs=np.zeros(4, dtype=np.int64),
        hidden=np.zeros((4, 3, 2), dtype=np.int64),
        outputs=np.zeros((4, 3), dtype=np.int64),
        reserved=np.zeros(4, dtype=np.int64),
    )
    lines = text(nothing).splitlines()
    assert lines[0].startswith("0 of 32 slots in use  4 of 21")
    assert lines[-1].split()[:2] == ["tile", "input"]


@settings(max_examples=60, deadline=None)
@given(any_floorplan())
def test_text_counts_every_neuron_and_every_cell(plan):
    rows, columns = plan.fabric_shape
    parts = text(plan).split("\n\n")
    cells = parts[1].splitlines()
    assert len(cells) == 2 * rows + 1
    assert [len(line.replace("/ ", "/").replace(" /", "/").split()) for line in cells] == [2 * columns + 1] * len(cells)
    assert parts[1].count("#") == (plan.load == 1).sum()
    assert parts[1].count(".") == (plan.load == 0).sum()
    table = parts[3].splitlines()[1:]
    units = [int(count) for line in table for count in re.findall(r"\d+:(\d+)", line)]
    assert sum(units) == plan.hidden.sum() + plan.outputs.sum()
    assert len(table) == ((plan.occupied + plan.reserved) > 0).sum()
    shown = [int(cell.split("/")[0]) for line in tile_map(plan) for cell in re.findall(r"\d+/\d+", line)]
    assert shown == plan.occupied.tolist()


def loads(*places: tuple[int, int], value: float) -> np.ndarray:
    load = floorplan().load.copy()
    for place in places:
        load[place] = value
    return load


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fabric_shape": (0, 2)}, "at least one row"),
        ({"fabric_shape": (2, 2, 1)}, "at least one row"),
        ({"fabric_shape": (2, 3)}, "6 tiles"),
        ({"slots": 0}, "one slot"),
        ({"inputs": np.array([8, 0, 0])}, "inputs must be int64 with 1 dimensions, the first being 4 tiles"),
        ({"inputs": [8, 0, 0, 0]}, "inputs must be int64 .* got list"),
        ({"inputs": np.array([8.0, 0, 0, 0])}, "inputs must be int64 .* got float64"),
        ({"inputs": np.array([-1, 0, 0, 0])}, "inputs must not be negative, got -1"),
        ({"hidden": np.zeros((4, 3), dtype=np.int64)}, "hidden must be int64 with 3 dimensions"),
        ({"hidden": np.zeros((4, 2, 2), dtype=np.int64)}, "must agree on G"),
        ({"hidden": np.zeros((4, 3, 0), dtype=np.int64)}, "L at least 1"),
        ({"outputs": np.zeros((5, 3), dtype=np.int64)}, "outputs must be int64"),
        ({"reserved": np.array([0, 0, 0, -2])}, "reserved must not be negative, got -2"),
        ({"reserved": np.array([0, 0, 0, 5])}, "8 slots, but tile 3 holds 4 neurons and reserves 5"),
        ({"slots": 7}, "7 slots, but tile 0 holds 8"),
        ({"load": np.zeros((4, 5))}, r"load must be float64 \(5, 5\)"),
        ({"load": np.zeros((5, 5), dtype=np.float32)}, "load must be float64"),
        ({"load": loads((1, 2), value=1.25)}, "load must be a share in 0..1 .* got 1.25"),
        ({"load": loads((0, 0), value=-0.5)}, "load must be a share"),
        ({"load": loads((0, 0), value=np.nan)}, "load must be a share"),
        ({"load": loads((1, 1), (3, 3), value=0.5)}, "load must be NaN on neuron tiles"),
        ({"fan_in": np.array([0.0, 1.5, 0.0, 0.0])}, "fan_in must be a share"),
        ({"fan_in": np.array([0.0, np.nan, 0.0, 0.0])}, "fan_in must be a share"),
        ({"fan_in": np.zeros(3)}, "fan_in must be float64"),
        ({"memristors": -1}, "memristors must be finite and not negative, got -1"),
        ({"energy_J": float("nan")}, "energy_J must be finite"),
        ({"mean_hops": float("inf")}, "mean_hops must be finite"),
        ({"latency_s": -1.0}, "latency_s must be finite"),
    ],
)
def test_what_no_fabric_can_have_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        floorplan(**changes)
