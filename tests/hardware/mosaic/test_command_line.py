"""The command line: what it prints, and how it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from growenv.hardware.mosaic import PRESETS, MosaicSpec, preset
from growenv.hardware.mosaic.__main__ import main
from growenv.hardware.mosaic.report import figures

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


@pytest.mark.parametrize("words", ["", "draw", "describe --rows four", "describe --colour"])
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
