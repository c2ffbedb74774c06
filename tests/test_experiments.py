"""The studies that the pages show run, and count right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agents.policy import Interface
from experiments import placement, refusals
from growenv.actions import WAIT, ActionTable

ROOT = Path(__file__).resolve().parent.parent


def test_every_request_of_the_random_policy_is_answered_once() -> None:
    line = refusals.count("growenv/MixedDigits-v1", "tile", rows=4, seed=0)
    assert line["requests"] > 20
    assert sum(line["shares"].values()) == pytest.approx(1.0)
    assert line["shares"]["granted"] > 0 and line["shares"]["slots"] > 0
    assert line == refusals.count("growenv/MixedDigits-v1", "tile", rows=4, seed=0)


def replay(regions: int, wanted: list[list[int]]) -> placement.Replay:
    interface = Interface(ActionTable(1, (4, 16), regions), {}, decisions=2, tasks=1, rows=len(wanted))
    return placement.Replay(interface, [np.array(row) for row in wanted])


def test_a_replay_asks_again_and_waits_where_it_may_not() -> None:
    policy = replay(0, [[1, 2], [2, 0]])
    masks = np.array([[True, True, True], [True, True, False]])
    assert policy.act({}, masks).tolist() == [1, WAIT]
    assert policy.act({}, np.ones((2, 3), dtype=bool)).tolist() == [2, WAIT]


def test_a_replay_in_regions_takes_legal_ones_and_all_of_them() -> None:
    masks = np.ones((60, 7), dtype=bool)
    masks[:, 5] = False  # 16 neurons in the middle one of three regions
    masks[0, 1:] = False
    chosen = replay(3, [[2, 2]] * 60).act({}, masks)
    assert chosen[0] == WAIT
    assert set(chosen[1:].tolist()) == {4, 6}


@pytest.mark.slow
def test_the_placement_study_runs_on_a_policy_that_was_trained_on_tiles(tmp_path: Path) -> None:
    small = ["where:tile", "decisions:2", "minibatches:1"]
    train = ["train_agent.py", "-n", "64", "--n-envs", "4", "--log-folder", str(tmp_path), "--env-kwargs", *small]
    subprocess.run([sys.executable, *train], cwd=ROOT, check=True, capture_output=True)
    run = next((tmp_path / "ppo").iterdir())
    study = ["experiments/placement.py", str(run), "--contexts", "3", "--split", "val", "--out", str(tmp_path / "out")]
    subprocess.run([sys.executable, *study], cwd=ROOT, check=True, capture_output=True)
    (result,) = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert set(result["lines"]) == {"learned", "greedy", "row_major", "random"}
    assert result["annealed"]["cost_after"] <= result["annealed"]["cost_before"]
    assert (tmp_path / "out" / "floorplan.png").stat().st_size > 10_000
