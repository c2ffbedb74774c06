"""Mosaic specifications: published totals, what is refused, JSON, and where each number comes from."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from growenv.hardware.mosaic import PRESETS, MosaicSpec, preset
from growenv.hardware.mosaic.report import figures, uncertain_fields
from growenv.registry import UnknownNameError

FIELDS = [each.name for each in dataclasses.fields(MosaicSpec)]
ORIGINS = ("primary code", "abstract", "tool", "derived", "assumed", "extrapolated", "given")
# Neurons, memristors with and without U-turn cells, cells of a dense crossbar: the reference's table of presets.
TABLE = {
    "tiny": (32, 22_784, 17_408, 1_024),
    "demo": (512, 1_146_880, 880_640, 262_144),
    "weber2025": (800, 1_147_904, 892_928, 640_000),
    "dalgaty2024_code": (2_048, 4_014_080, 3_092_480, 4_194_304),
    "large": (8_192, 64_225_280, 49_479_680, 67_108_864),
}

channels = st.none() | st.integers(1, 300)
amounts = st.floats(0, 1e30, allow_nan=False)
positive = st.floats(1e-300, 1e30)
limits = st.none() | amounts
specs = st.builds(
    MosaicSpec,
    rows=st.integers(2, 9),
    cols=st.integers(1, 9),
    neurons_per_tile=st.integers(1, 300),
    nt_port_channels=channels | st.tuples(*[st.integers(1, 300)] * 4),
    r1_port_channels=channels,
    r0_port_channels=channels,
    allow_uturn_cells=st.booleans(),
    recurrent_block=st.booleans(),
    devices_per_synapse=st.integers(1, 4),
    max_crossbar_side=channels,
    tech_nm=positive,
    g_hrs_S=st.floats(0, 1e-4),
    v_read_V=positive,
    energy_mode=st.sampled_from(["lumped", "device"]),
    **dict.fromkeys(("e_hop_J", "p_static_W", "t_hop_s", "row_area_m2"), amounts),
    max_memristors=st.none() | st.integers(0, 10**12),
    max_energy_J=limits,
    max_latency_s=limits,
)


# --- totals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLE)
def test_presets_have_the_published_totals(name):
    spec = preset(name)
    found = figures(spec)
    without = dataclasses.replace(spec, allow_uturn_cells=False).provisioned_memristors()
    totals = spec.neurons, spec.provisioned_memristors(), without, found["memristors_of_dense_crossbar"]
    assert totals == TABLE[name]
    assert found["memristors"] == found["memristors_in_tiles"] + found["memristors_in_routers"] == TABLE[name][1]


def test_presets_are_the_ones_that_are_documented():
    assert set(PRESETS) == {*TABLE, "digits", "mnist"}
    assert preset("demo") == MosaicSpec()
    assert preset("digits") == MosaicSpec(rows=3, cols=3, neurons_per_tile=32)
    assert preset("mnist") == MosaicSpec(rows=3, cols=3, neurons_per_tile=100)
    assert preset("weber2025").r0_channels == 8


@pytest.mark.parametrize(("side", "total"), [(5, 1_700_864), (8, 4_014_080)])
def test_totals_with_all_ports_as_wide_as_a_tile(side, total):
    assert MosaicSpec(rows=side, cols=side, neurons_per_tile=32).provisioned_memristors() == total


@given(st.integers(1, 9), st.integers(2, 9), st.integers(1, 500))
def test_memristors_are_a_constant_times_the_square_of_a_tile(rows, cols, neurons):
    ratio = MosaicSpec(rows=rows, cols=cols, neurons_per_tile=1).provisioned_memristors()
    routers = (2 * rows + 1) * (2 * cols + 1) - rows * cols
    assert ratio == 5 * rows * cols + 16 * routers
    assert MosaicSpec(rows=rows, cols=cols, neurons_per_tile=neurons).provisioned_memristors() == ratio * neurons**2


@pytest.mark.parametrize(("side", "ratio"), [(4, 0.23), (5, 0.38), (8, 1.04), (16, 4.49), (32, 18.6)])
def test_a_dense_crossbar_is_larger_only_from_eight_tiles_a_side(side, ratio):
    found = figures(MosaicSpec(rows=side, cols=side))
    assert found["memristors_of_dense_crossbar"] / found["memristors"] == pytest.approx(ratio, rel=0.02)


def test_area_and_memristors_by_hand():
    """1 x 2 tiles of 2 neurons, 7 edge routers with ports of 3, 6 corner routers with ports of 1."""
    spec = MosaicSpec(
        rows=1,
        cols=2,
        neurons_per_tile=2,
        nt_port_channels=(1, 2, 3, 4),
        r1_port_channels=3,
        r0_port_channels=1,
        devices_per_synapse=2,
        tech_nm=100.0,
        cell_area_F2=1.0,
        row_area_m2=1e-12,
        column_area_m2=2e-12,
        neuron_area_m2=5e-12,
    )
    assert (spec.tiles, spec.neurons, spec.edge_routers, spec.corner_routers) == (2, 4, 7, 6)
    assert spec.ports == (1, 2, 3, 4)
    assert spec.tile_memristors() == 2 * 2 * (2 + 10)
    assert spec.provisioned_memristors() == 2 * 48 + 7 * 16 * 9 + 6 * 16 == 1200
    rows, columns = 2 * 12 + 7 * 12 + 6 * 4, 2 * 2 * 2 + 7 * 12 + 6 * 4
    assert (rows, columns) == (132, 116)
    area = 1200 * 1e-14 + 132 * 1e-12 + 116 * 2e-12 + 4 * 5e-12
    assert spec.provisioned_area_m2() == pytest.approx(area, rel=1e-12)
    assert spec.area_is_complete


def test_parts_of_the_memory_follow_their_options():
    spec = preset("demo")
    tiles = 16 * 32 * 32
    for changes, difference in (
        ({"recurrent_block": False}, -tiles),
        ({"devices_per_synapse": 2}, 5 * tiles),
        ({"nt_port_channels": 31}, -4 * 16 * 32),
        ({"nt_port_channels": (33, 32, 32, 32)}, 16 * 32),
        ({"r1_port_channels": 31}, 40 * 16 * (31**2 - 32**2)),
        ({"r0_port_channels": 8}, 25 * 16 * (8**2 - 32**2)),
    ):
        changed = dataclasses.replace(spec, **changes)
        assert changed.provisioned_memristors() - spec.provisioned_memristors() == difference


def test_derived_constants_of_a_cell():
    """A row event of one cell: 0.225 pJ on, 2.25 fJ off, 0.1136 pJ on average; a cell of 0.811e-12 m^2."""
    spec = MosaicSpec()
    pulse = spec.v_read_V**2 * spec.t_pulse_s
    assert pulse * spec.g_lrs_S == pytest.approx(0.225e-12)
    assert pulse * spec.g_hrs_S == pytest.approx(2.25e-15)
    assert pulse * (spec.g_lrs_S + spec.g_hrs_S) / 2 == pytest.approx(0.1136e-12, rel=1e-3)
    assert spec.provisioned_area_m2() / spec.provisioned_memristors() == pytest.approx(0.811e-12, rel=1e-3)
    assert not spec.area_is_complete


def test_defaults_of_energies_and_times():
    spec = MosaicSpec()
    assert (spec.energy_mode, spec.e_hop_J, spec.e_neuron_J, spec.e_in_J) == ("lumped", 0.3e-12, 1e-12, 0.0)
    assert (spec.p_static_W, spec.t_hop_s, spec.t_tile_s, spec.t_pulse_s) == (0.0, 1e-7, 1e-7, 1e-7)
    assert (spec.max_memristors, spec.max_energy_J, spec.max_latency_s, spec.max_crossbar_side) == (None,) * 4
    assert (spec.r1_channels, spec.r0_channels, spec.ports) == (32, 32, (32, 32, 32, 32))


# --- what is refused, and what is made of the rest -------------------------------------------------------------------

NUMBERS = [name for name in FIELDS if type(getattr(MosaicSpec(), name)) is float]
COUNTS = ("rows", "cols", "neurons_per_tile", "devices_per_synapse")
CHANNELS = ("r1_port_channels", "r0_port_channels")
NOT_A_NUMBER = (math.nan, math.inf, -math.inf, "1", None, True, 1j, 10**400)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *((name, wrong) for name in COUNTS for wrong in (0, -1, 2.0, "4", None, True, math.nan)),
        *((name, wrong) for name in CHANNELS for wrong in (0, -8, 8.0, "8", False, 65_537, (8,))),
        *((name, wrong) for name in NUMBERS for wrong in (-1e-9, *NOT_A_NUMBER)),
        *((name, 0) for name in ("tech_nm", "g_lrs_S", "v_read_V", "t_pulse_s", "cell_area_F2")),
        *((name, wrong) for name in ("max_energy_J", "max_latency_s") for wrong in (-1, math.nan, math.inf, "1")),
        *(("max_memristors", wrong) for wrong in (-1, 1e6, math.inf, "1")),
        *(("max_crossbar_side", wrong) for wrong in (0, -160, 160.0)),
        *((name, wrong) for name in ("allow_uturn_cells", "recurrent_block") for wrong in (0, 1, None, "yes")),
        *(("nt_port_channels", wrong) for wrong in (0, -1, 1.5, "32", (), (1,), (1, 2, 3), (1, 2, 3, 4, 5))),
        *(("nt_port_channels", wrong) for wrong in ((1, 2, 3, 0), (1, 2, 3, None), [1, 2, 3, 4.0], {"N": 1}, True)),
        ("neurons_per_tile", 65_537),
    ],
)
def test_impossible_values_are_refused(name, wrong):
    with pytest.raises(ValueError, match=f"^MosaicSpec {name}=.*: expected ") as error:
        MosaicSpec(**{name: wrong})
    assert repr(wrong) in str(error.value)


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (65, 64), (1, 4097)])
def test_impossible_grids_are_refused(rows, cols):
    with pytest.raises(ValueError, match=f"rows x cols='{rows} x {cols}': expected 2 to 4096 tiles"):
        MosaicSpec(rows=rows, cols=cols)


@pytest.mark.parametrize(("rows", "cols"), [(1, 2), (2, 1), (1, 4096), (64, 64)])
def test_strips_and_large_grids_are_allowed(rows, cols):
    assert MosaicSpec(rows=rows, cols=cols).tiles == rows * cols


def test_a_device_that_is_off_conducts_no_more_than_one_that_is_on():
    assert MosaicSpec(g_hrs_S=1e-4, g_lrs_S=1e-4).g_hrs_S == 1e-4
    assert MosaicSpec(g_hrs_S=0).g_hrs_S == 0.0
    with pytest.raises(ValueError, match=r"g_hrs_S=0\.001: expected at most g_lrs_S=0\.0001"):
        MosaicSpec(g_hrs_S=1e-3)


def test_an_unknown_energy_mode_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown energy_mode of MosaicSpec 'devices'; did you mean 'device'"):
        MosaicSpec(energy_mode="devices")


def test_an_unknown_preset_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown Mosaic preset 'weber'; did you mean 'weber2025'"):
        preset("weber")


def test_values_of_other_types_become_plain_ones():
    spec = MosaicSpec(
        rows=np.int64(3),
        nt_port_channels=np.array([1, 2, 3, 4]),
        e_hop_J=np.float32(1),
        t_hop_s=0,
        allow_uturn_cells=np.bool_(False),
        max_energy_J=1,
    )
    assert (type(spec.rows), type(spec.e_hop_J), type(spec.t_hop_s), type(spec.max_energy_J)) == (int, *(float,) * 3)
    assert spec.allow_uturn_cells is False
    assert spec.nt_port_channels == (1, 2, 3, 4)
    assert type(spec.nt_port_channels[0]) is int
    assert hash(spec) == hash(MosaicSpec.from_json(spec.to_json()))


def test_a_specification_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MosaicSpec().rows = 5


# --- JSON ------------------------------------------------------------------------------------------------------------


@given(specs)
def test_json_both_ways(spec):
    again = MosaicSpec.from_json(json.loads(json.dumps(spec.to_json(), allow_nan=False)))
    assert again == spec
    assert hash(again) == hash(spec)
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_missing_fields_have_their_defaults():
    assert MosaicSpec.from_json({}) == MosaicSpec()
    assert MosaicSpec.from_json({"nt_port_channels": [1, 2, 3, 4]}).ports == (1, 2, 3, 4)


def test_unknown_fields_are_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown field of MosaicSpec 'e_hop'; did you mean 'e_hop_J'"):
        MosaicSpec.from_json({"rows": 4, "e_hop": 1e-12})
    with pytest.raises(UnknownNameError, match="known: allow_uturn_cells, "):
        MosaicSpec.from_json({3: 4})


@pytest.mark.parametrize("wrong", [None, [], "demo", [["rows", 4]]])
def test_only_objects_are_specifications(wrong):
    with pytest.raises(ValueError, match="a Mosaic specification is .*, expected a JSON object"):
        MosaicSpec.from_json(wrong)


# --- provenance and report -------------------------------------------------------------------------------------------


@given(specs)
def test_every_field_of_every_chip_has_a_provenance(spec):
    origin = spec.provenance()
    assert list(origin) == FIELDS
    assert all(source.startswith(ORIGINS) for source in origin.values())
    assert spec.report()


def test_provenance_of_the_defaults():
    origin = {name: source.split(":")[0] for name, source in preset("dalgaty2024_code").provenance().items()}
    code = {"rows", "cols", "neurons_per_tile", "nt_port_channels", "r1_port_channels", "allow_uturn_cells"}
    assert {name for name, source in origin.items() if source == "primary code"} == {*code, "devices_per_synapse"}
    assert {name for name, source in origin.items() if source == "abstract"} == {"tech_nm"}
    tools = {"g_lrs_S", "g_hrs_S", "v_read_V", "cell_area_F2"}
    assert {name for name, source in origin.items() if source == "tool"} == tools
    assert {name for name, source in origin.items() if source == "derived"} == {"recurrent_block"}
    assert set(origin.values()) == {"primary code", "abstract", "tool", "derived", "assumed"}


SIZES = ("rows", "cols", "neurons_per_tile", "nt_port_channels", "r1_port_channels", "r0_port_channels")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (preset("weber2025"), ["primary code"] * 6),
        (preset("dalgaty2024_code"), ["primary code"] * 5 + ["assumed"]),
        (preset("large"), ["primary code"] * 2 + ["extrapolated"] * 4),
        (preset("demo"), ["assumed"] * 2 + ["primary code"] * 3 + ["assumed"]),
        (preset("tiny"), ["assumed"] * 5 + ["primary code"]),
        (MosaicSpec(rows=9, cols=5), ["extrapolated", "assumed"] + ["primary code"] * 3 + ["assumed"]),
        (MosaicSpec(rows=5, cols=8, r0_port_channels=40), ["assumed"] * 2 + ["primary code"] * 3 + ["extrapolated"]),
        (
            MosaicSpec(rows=5, cols=5, neurons_per_tile=16, nt_port_channels=(8, 8, 8, 17), r1_port_channels=16),
            ["primary code"] * 2 + ["assumed", "extrapolated", "assumed", "assumed"],
        ),
        (
            MosaicSpec(rows=5, cols=5, nt_port_channels=(32, 32, 32, 8), r1_port_channels=33),
            ["primary code"] * 3 + ["assumed", "extrapolated", "assumed"],
        ),
    ],
)
def test_sizes_are_judged_by_what_was_published(spec, expected):
    origin = spec.provenance()
    assert [origin[name].split(":")[0] for name in SIZES] == expected


def test_a_value_that_is_not_the_default_is_given():
    origin = MosaicSpec(e_hop_J=1e-12, tech_nm=28).provenance()
    assert origin["e_hop_J"].startswith("given: not the default, 3e-13 [assumed")
    assert origin["tech_nm"].startswith("given: not the default, 130.0 [abstract")


def test_outputs_name_the_uncertain_values_behind_them():
    found = uncertain_fields(preset("weber2025"))
    assert found["hops"] == found["channels"] == found["memristors"] == []
    assert found["latency"] == ["t_hop_s", "t_tile_s"]
    assert found["area"] == ["row_area_m2", "column_area_m2", "neuron_area_m2"]
    assert found["energy"] == ["t_pulse_s", "energy_mode", "e_hop_J", "e_neuron_J", "e_in_J", "p_static_W"]
    assert uncertain_fields(preset("demo"))["hops"] == ["rows", "cols"]
    powered = uncertain_fields(MosaicSpec(p_static_W=1e-6, energy_mode="device"))["energy"]
    assert {"t_hop_s", "t_tile_s", "r0_port_channels"} < set(powered)
    assert "e_hop_J" not in powered


def test_the_report_tells_every_field_and_total():
    text = preset("demo").report()
    lines = text.splitlines()
    assert lines[0] == "Mosaic chip: 4 x 4 tiles of 32, 512 neurons"
    for name in FIELDS:
        assert sum(line.startswith(f"{name} ") for line in lines) == 1
    assert "routing cells   40 edge (R1), 25 corner (R0)" in lines
    assert "memristors      1,146,880 (81,920 in tiles, 1,064,960 in routing cells)" in lines
    assert "dense crossbar  262,144 memristors between all neurons, for comparison" in lines
    assert "area            0.9303 mm^2 (incomplete: a peripheral area is 0, that is unknown)" in lines
    assert "hops:pairs      1:48 3:36 5:80 7:56 9:16 11:4" in lines
    assert "latency         t_hop_s, t_tile_s" in lines
    assert any("32 channels" in line and line.startswith("nt_port_channels") for line in lines)
    assert any("max_memristors      none" in line for line in lines)
    complete = MosaicSpec(row_area_m2=1e-12, column_area_m2=1e-12, neuron_area_m2=1e-12).report()
    assert "mm^2 (complete)" in complete


def test_figures_are_plain_json():
    found = figures(preset("tiny"))
    assert json.loads(json.dumps(found)) == found
    assert found["hop_histogram"] == {"1": 8, "3": 4}
    assert found["area_m2"] == pytest.approx(22_784 * 48 * 130e-9**2)
