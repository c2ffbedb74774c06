"""The command line: what it prints, and how it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from growenv.hardware.mosaic import PRESETS, MosaicSpec, preset
from growenv.hardware.mosaic.__main__ import main
from growenv.hardware.mosaic.report import figures
from growenv.hardware.mosaic.strategies import STRATEGIES

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", PRESETS)
def test_describe_prints_the_report_of_a_preset(name, capsys):
    assert main(["describe", "--preset", name]) == 0
    printed = capsys.readouterr()
    assert printed.out == preset(name).report()
    assert printed.err == ""


def test_describe_replaces_sizes_and_keeps_the_rest(capsys):
    words = "describe --preset weber2025 --rows 3 --cols 2 --neurons-per-tile 16 --json"
    assert main(words.split()) == 0
    found = json.loads(capsys.readouterr().out)
    spec = MosaicSpec.from_json(found["spec"])
    assert spec == MosaicSpec(rows=3, cols=2, neurons_per_tile=16, r0_port_channels=8)
    assert found["provenance"] == spec.provenance()
    assert found["figures"] == figures(spec)


def test_the_demo_is_described_where_no_preset_is_named(capsys):
    assert main(["describe"]) == 0
    assert capsys.readouterr().out == preset("demo").report()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--preset dmeo", "unknown Mosaic preset 'dmeo'; did you mean 'demo'"),
        ("--rows 0", "MosaicSpec rows=0: expected an integer of at least 1"),
        ("--rows 1 --cols 1", "'1 x 1': expected 2 to 4096 tiles"),
        ("--cols 5000", "'4 x 5000': expected 2 to 4096 tiles"),
        ("--neurons-per-tile -3", "MosaicSpec neurons_per_tile=-3"),
    ],
)
def test_impossible_chips_get_one_line_and_exit_code_2(words, message, capsys):
    assert main(["describe", *words.split()]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err


# 2x2 tiles of 8: 8 inputs fill (0,0), and 4 hidden units stand beside the head of 4 on (1,0). Synapses: 8 x 4 + 4 x 4,
# of which the former cross one cell. 8 units spike, 8 channels cross a cell, 8 x 8 + 4 x 8 crossbar cells are driven:
# 8 + 8 x 0.3 + 96 x 0.113625 pJ. The smallest chip has 4 x 8 x (8 + 8) memristors in tiles, 12 x 16^2 in edge routers.
TINY = "map --preset tiny --widths 8,4,4"
# 3x3 tiles of 8, where greedy costs 24 cells and annealing finds the least, 12.
SMALL = "map --rows 3 --cols 3 --neurons-per-tile 8 --widths 8,4,4,8"


def printed(words, capsys) -> str:
    assert main(words.split()) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def found_by(words, capsys) -> dict:
    return json.loads(printed(f"{words} --json", capsys))


def refused(words, capsys) -> str:
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    return err


def test_map_prints_what_a_small_network_uses(capsys):
    lines = printed(TINY, capsys).splitlines()
    assert lines[0] == "8-4-4, 1 head, on 2x2 tiles of 8 neurons, placed by greedy"
    assert lines[2].startswith("16 of 32 slots in use  1 of 21 routers in use  mean hops 0.67  memristors 56")
    assert lines[-10:] == [
        "memristors      56 in use: 48 synapses, 8 in routers",
        "chip            22,784 memristors; 3,584 on the smallest chip of this grid that would hold the network",
        "hops:synapses   0:16 1:32 (mean 0.67)",
        "routing         8 routing cells crossed if every neuron spikes once",
        "energy          21.31 pJ for one inference; rests on assumed values, see describe",
        "latency         300 ns for one inference; rests on assumed values, see describe",
        f"area            {preset('tiny').provisioned_area_m2() * 1e6:.4g} mm^2 of the chip (incomplete: a peripheral "
        "area is 0, that is unknown)",
        "into tiles      fullest: 8 of 8 channels, tile (1,0), north",
        "out of tiles    fullest: 8 of 8 channels, tile (0,0), south",
        "between routers no channel in use",
    ]


def test_map_prints_the_same_as_json(capsys):
    found = found_by(TINY, capsys)
    assert MosaicSpec.from_json(found["spec"]) == preset("tiny")
    assert (found["widths"], found["tasks"], found["strategy"]) == ([8, 4, 4], 1, "greedy")
    assert found["tiles"] == [
        {"tile": [0, 0], "inputs": 8, "hidden": [0], "outputs": [0]},
        {"tile": [1, 0], "inputs": 0, "hidden": [4], "outputs": [4]},
    ]
    assert "anneal" not in found
    use = found["use"]
    assert use.pop("fullest_ports") == {
        "into tiles": {"channels": 8, "capacity": 8, "cell": [3, 1], "side": "north", "links_as_full": 1},
        "out of tiles": {"channels": 8, "capacity": 8, "cell": [1, 1], "side": "south", "links_as_full": 1},
        "between routers": {"channels": 0, "capacity": 8, "cell": [0, 0], "side": "east", "links_as_full": 48},
    }
    assert use == {
        "slots": 16,
        "tiles": 2,
        "memristors": 56,
        "routing_devices": 8,
        "provisioned_memristors": 22_784,
        "minimum_chip_memristors": 3_584,
        "synapses_by_hops": {"0": 16, "1": 32},
        "mean_hops": pytest.approx(2 / 3),
        "routing_events": 8,
        "energy_J": pytest.approx(21.308e-12),
        "latency_s": pytest.approx(300e-9),
        "area_m2": preset("tiny").provisioned_area_m2(),
        "area_is_complete": False,
    }


def test_the_fullest_ports_are_named_with_their_side_and_how_many_are_as_full(capsys):
    # 4 inputs fill (0,1), the head of 4 fills (2,1), and 4 hidden units stand on (1,1), beside both.
    words = "map --rows 3 --cols 3 --neurons-per-tile 4 --widths 4,4,4"
    ports = found_by(words, capsys)["use"]["fullest_ports"]
    assert ports["into tiles"] == {"channels": 4, "capacity": 4, "cell": [3, 3], "side": "north", "links_as_full": 2}
    assert ports["out of tiles"] == {"channels": 4, "capacity": 4, "cell": [1, 3], "side": "south", "links_as_full": 2}
    assert "fullest: 4 of 4 channels, tile (1,1), north, as full as 1 other\n" in printed(words, capsys)
    # With 8 inputs on (0,0) and (0,2), the hidden units stand on (0,1). Their way to (2,1) leaves (0,1) west, by cell
    # (1,2), and goes south in that column, over four links between routers.
    ports = found_by(words.replace("4,4,4", "8,4,4"), capsys)["use"]["fullest_ports"]["between routers"]
    assert ports == {"channels": 4, "capacity": 4, "cell": [1, 2], "side": "south", "links_as_full": 4}


def test_each_strategy_places_the_same_network(capsys):
    for name in (*STRATEGIES.names(), "anneal"):
        found = found_by(f"{SMALL} --strategy {name}", capsys)
        assert found["strategy"] == name
        sums = [sum(np.sum(tile[kind]) for tile in found["tiles"]) for kind in ("inputs", "hidden", "outputs")]
        assert sums == [8, 8, 8]


def test_annealing_says_what_it_found_and_what_it_rewrites(capsys):
    assert found_by(SMALL, capsys)["use"]["routing_events"] == 24
    found = found_by(f"{SMALL} --strategy anneal --seed 3", capsys)
    assert found["anneal"] == {"seed": 3, "before": 24, "after": 12, "excess": 0, "moved": 2, "rewritten": 92}
    assert found["use"]["routing_events"] == 12
    name, told = printed(f"{SMALL} --strategy anneal", capsys).splitlines()[-1].split(maxsplit=1)
    moved = "2 groups left their tiles, which rewrites 92 memristors"
    assert (name, told) == ("annealed", f"routing 24 -> 12, 0 beyond limits -> 0; {moved}")


def test_annealing_places_a_network_that_greedy_cannot(capsys):
    words = "map --preset tiny --cols 3 --widths 8,3,12,6,3"
    assert "do not fit on the fabric" in refused(words, capsys)
    found = found_by(f"{words} --strategy anneal", capsys)
    assert found["anneal"]["excess"] > 0
    assert all(port["channels"] <= port["capacity"] for port in found["use"]["fullest_ports"].values())


def test_each_task_has_a_head(capsys):
    found = found_by("map --widths 16,8,6 --tasks 3", capsys)
    heads = np.sum([tile["outputs"] for tile in found["tiles"]], axis=0)
    assert heads.tolist() == [6, 6, 6]
    assert found["use"]["memristors"] - found["use"]["routing_devices"] == 16 * 8 + 8 * 18
    assert "8-4-4, 2 heads, on" in printed(f"{TINY} --tasks 2", capsys)


def test_map_draws_a_picture(tmp_path, capsys):
    path = tmp_path / "floorplan.png"
    assert printed(f"{TINY} --png {path}", capsys) == printed(TINY, capsys)
    assert matplotlib.image.imread(path).shape[1] == 640


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--widths 64,x,10", "--widths 64,x,10: expected at least three whole numbers above 0, separated by commas"),
        ("--widths 64,3.5,10", "--widths 64,3.5,10: expected at least three"),
        ("--widths 64,10", "--widths 64,10: expected at least three"),
        ("--widths 64,,10", "--widths 64,,10: expected at least three"),
        ("--widths 64,0,10", "--widths 64,0,10: expected at least three"),
        ("--widths=-64,3,10", "--widths -64,3,10: expected at least three"),
        ("--widths 784,32,10", "784 inputs are too many for 4x4 tiles of 32 neurons"),
        ("--widths 64,400,10", "units of layer 0 do not fit on the fabric (router)"),
        ("--widths 32,200,200,10", "units of layer 1 do not fit on the fabric (fan-in)"),
        ("--widths 32,8,10 --tasks 13", "the heads do not fit"),
        ("--widths 32,8,10 --tasks 0", "at least 1; got max_hidden=(8,), tasks=0, classes=10"),
        ("--widths 32,8,10 --preset dmeo", "unknown Mosaic preset 'dmeo'; did you mean 'demo'"),
        ("--widths 32,8,10 --rows 0", "MosaicSpec rows=0: expected an integer of at least 1"),
        ("--widths 32,8,10 --strategy greddy", "unknown placement strategy 'greddy'; did you mean 'greedy'"),
        ("--widths 32,8,10 --seed 1", "--seed 1: greedy draws nothing; add --strategy anneal"),
        ("--widths 32,8,10 --strategy anneal --seed -1", "seed=-1: expected an integer of at least 0"),
        ("--widths 32,8,10 --png no/such/directory/a.png", "there is no directory no/such/directory; make it first"),
        ("--widths 32,8,10 --png tests", "--png tests: "),
    ],
)
def test_a_network_that_cannot_be_placed_or_drawn_gets_one_line_and_exit_code_2(words, message, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert message in refused(f"map {words}", capsys)


def test_a_network_that_annealing_cannot_place_either_is_refused_with_both_reasons(capsys):
    # Of 2x2 tiles, two are full of inputs and of the head, which cannot hear 16 units on the others from the east.
    told = refused("map --preset tiny --widths 8,16,8 --strategy anneal", capsys)
    assert "greedy places do not fit: " in told and "no placement within all limits was found" in told
    assert "do not fit on the fabric (slots)" in refused("map --preset tiny --widths 8,20,8 --strategy anneal", capsys)


@pytest.mark.parametrize(
    "words", ["", "draw", "describe --rows four", "describe --colour", "map", "map --widths 4,4,4 --tasks two"]
)
def test_wrong_words_end_with_exit_code_2(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words.split())
    assert stopped.value.code == 2
    assert "usage: python -m growenv.hardware.mosaic" in capsys.readouterr().err


def test_it_runs_as_a_module():
    command = [sys.executable, "-W", "error", "-m", "growenv.hardware.mosaic", "describe", "--preset", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: unknown Mosaic preset 'nothing'")
    assert done.stderr.count("\n") == 1
