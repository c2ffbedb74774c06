"""Checkpoints, bands and pictures of regret curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.paths.curves import Curve, checkpoints, draw, mean_band, together
from agents.paths.judging import Judge
from agents.paths.orders import playing
from agents.policy import Policy
from tests.agents.paths.synthetic import made_up

JUDGE = Judge(made_up())
BEST, WORST = [2, 2, 1, 1], [1, 1, 2, 2]


def point(episodes: int, seconds: float, train: float, test: float = 0.0) -> dict[str, Any]:
    return {"episodes": episodes, "steps": 0, "seconds": seconds, "regret": {"train": train, "test": test}}


def test_checkpoints_are_even_on_a_log_axis_and_end_at_the_end() -> None:
    assert checkpoints(1000) == (100, 141, 200, 283, 400, 566, 800, 1000)
    assert checkpoints(400, each=1) == (100, 200, 400)
    assert checkpoints(7) == (7,)
    with pytest.raises(ValueError, match="episodes=0"):
        checkpoints(0)


def test_a_curve_measures_once_at_the_batch_that_reaches_checkpoints() -> None:
    made: list[int] = []

    def policy(rows: int) -> Policy:
        made.append(rows)
        return playing(JUDGE.table.lattice, WORST if len(made) <= 2 else BEST, rows)

    curve = Curve(JUDGE, (10, 20, 50))
    for episodes in range(8, 57, 8):
        curve(episodes, policy)
    assert [point["episodes"] for point in curve.points] == [16, 24, 56]
    assert [point["steps"] for point in curve.points] == [64, 96, 224]
    assert made == [2, 2] * 3  # trials of both halves; what is not measured is not made
    assert curve.points[0]["regret"]["train"] > 0.01
    assert curve.points[1]["regret"]["train"] == pytest.approx(0.0)
    seconds = [point["seconds"] for point in curve.points]
    assert seconds == sorted(seconds) and seconds[0] >= 0


def test_one_batch_may_reach_several_checkpoints() -> None:
    curve = Curve(JUDGE, (1, 2, 3))
    curve(64, lambda rows: playing(JUDGE.table.lattice, BEST, rows))
    assert [point["episodes"] for point in curve.points] == [64]


def test_a_band_is_students() -> None:
    band = mean_band([1.0, 2.0, 3.0])
    half = 4.30265 / 3**0.5  # t of 2 degrees of freedom, standard deviation 1
    assert (band["low"], band["mean"], band["high"]) == pytest.approx((2 - half, 2, 2 + half), abs=1e-3)
    assert mean_band([5.0]) == {"mean": 5.0, "low": None, "high": None}
    for bad in ([], [np.nan], [[1.0]]):
        with pytest.raises(ValueError, match="finite numbers"):
            mean_band(bad)


def test_seeds_are_put_together_point_by_point() -> None:
    curves = [
        [point(10, 1.0, 0.5), point(20, 2.0, 0.1), point(40, 3.0, 0.1)],
        [point(10, 2.0, 0.1), point(20, 4.0, 0.3), point(40, 6.0, 0.2)],
    ]
    found = together(curves, {"train": 0.2 + 1e-15, "test": 1.0})
    assert [each["episodes"] for each in found["points"]] == [10, 20, 40]
    assert [each["seconds"] for each in found["points"]] == [1.5, 3.0, 4.5]
    assert [each["train"]["mean"] for each in found["points"]] == pytest.approx([0.3, 0.2, 0.15])
    assert found["final"] == {"train": [0.1, 0.2], "test": [0.0, 0.0]}
    assert found["below"]["train"] == [{"seconds": 2.0, "episodes": 20}, None]  # by more than rounding, to the end
    assert found["below"]["test"] == [{"seconds": 1.0, "episodes": 10}, {"seconds": 2.0, "episodes": 10}]


@pytest.mark.parametrize("curves", [[], [[]], [[point(1, 0, 0)], [point(2, 0, 0)]]])
def test_curves_that_do_not_fit_are_refused(curves: list[list[dict[str, Any]]]) -> None:
    with pytest.raises(ValueError, match="expected one curve or more"):
        together(curves, {"train": 0.0, "test": 0.0})


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_picture_is_drawn(tmp_path: Path, seeds: int) -> None:
    agent = together([[point(10, 1, 0.1), point(20, 2, 0.05)]] * seeds, {"train": 0.0, "test": 0.0})
    draw({"agents": {"ppo": agent}, "references": JUDGE.references()}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
