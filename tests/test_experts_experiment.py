"""The experiment on experts counts samples and units right, and its pages say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments import experts
from growenv.streams import load_dataset


def test_every_unit_belongs_to_one_expert_or_waits() -> None:
    found = experts.assignments(minibatches=8, seeds=2)
    units = np.array(found["units"])
    assert units.shape == (4 * 6, 6 + 1)
    # 8 units at the start and 4 more half way through every task.
    assert units.sum(axis=1).tolist() == [8 + 4 * ((quarter + 2) // 4) for quarter in range(24)]
    assert units[0].tolist() == [8, 0, 0, 0, 0, 0, 0]
    assert np.array(found["serves"]).shape == (2, 6)
    assert (np.array(found["since"]) // 8 == np.arange(6)).all()


def test_samples_are_counted_once_and_the_pages_are_written(tmp_path: Path) -> None:
    case = experts.line("routed", experts.SPLIT, experts.MAX, "experts-routed")
    small = replace(experts.SPLIT, dataset=load_dataset("digits"), pixels="own", minibatches=60, batch_size=16)
    each = experts.routing(replace(case, protocol=small, seeds=2))
    share = np.array(each["share"])
    assert share.shape == (2, 5, 5)
    assert share.sum(axis=2) == pytest.approx(np.ones((2, 5)))
    own = [[share[row, task, each["serves"][row][task]] for task in range(5)] for row in range(2)]
    assert each["right"] == pytest.approx(np.mean(own, axis=1))
    assert min(each["right"]) > 0.5
    found = {"routing": {"split": each}, "assignments": experts.assignments(minibatches=8, seeds=2)}
    text = experts.page(found)
    assert f"{100 * np.mean(each['right']):.2f}" in text
    assert "| 5 | 1 |" in text  # the sixth task has pixel order 1
    experts.draw(found, tmp_path / "routing.png")
    assert (tmp_path / "routing.png").stat().st_size > 5_000


def test_lines_have_different_names() -> None:
    keys = [case.key for case in experts.cases()]
    assert len(set(keys)) == len(keys)
