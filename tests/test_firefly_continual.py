"""The experiment on accuracy against size: its cases, its streams, its picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import firefly_continual
from experiments.continual import Case, Part, Protocol, run, stream
from experiments.firefly_continual import AMOUNTS, TESTED, Halves, both, cases, draw, folder_of, protocols
from growenv.streams import load_dataset

TINY = Protocol(
    "tiny",
    load_dataset("digits"),
    (4, 4),
    12,
    16,
    "adam",
    0.01,
    "none",
    3,
    permuted=True,
    max_hidden=(40, 40),
    decisions=6,
)


@pytest.mark.usefixtures("real_data")
def test_every_system_has_several_sizes_on_both_streams_and_every_case_a_file_of_its_own() -> None:
    every = cases()
    assert len({case.key for case in every}) == len(every)
    systems: dict[tuple[str, str], int] = {}
    for case in every:
        name = case.protocol.name, case.name.rsplit(" ", 1)[0]
        systems[name] = systems.get(name, 0) + 1
        assert 3 <= case.seeds <= 5
    assert {stream for stream, _ in systems} == {"permuted", "split"}
    assert set(systems.values()) == {3, len(AMOUNTS)}
    assert sum(stream == "split" for stream, _ in systems) == 9


def test_a_task_gets_its_units_in_two_halves_made_by_the_operator() -> None:
    growth = Part(Halves, {"amount": 4, "growth": "firefly"})
    outcome = run(Case("small", TINY, "task-incremental", Part("firefly-masks"), 2, growth))
    assert outcome.units == [[[8, 8], [4, 4], [4, 4]]] * 2
    matrix = np.array(outcome.matrix)
    for task in range(2):
        assert (matrix[:, task:, task] == matrix[:, task : task + 1, task]).all(), "nothing is forgotten"
    # older units at the begin of tasks 1 and 2, one bit each
    assert outcome.memory_bytes == [-(-(16 + 24) // 8)] * 2


@pytest.mark.parametrize("amount", [0, 3])
def test_amounts_that_have_no_halves_are_refused(amount: int) -> None:
    with pytest.raises(ValueError, match=f"even and at least 2; got {amount}"):
        Halves(amount, "random")


@pytest.mark.usefixtures("real_data")
def test_twenty_classes_are_those_of_both_data_sets_and_each_task_has_two() -> None:
    dataset = both()
    assert (dataset.classes, dataset.features, len(dataset.test)) == (20, 14 * 14, 20 * TESTED)
    assert (dataset.labels[dataset.test] >= 10).sum() == 10 * TESTED
    values = (dataset.inputs[dataset.train[::50]].float() - dataset.shift) * dataset.scale
    assert abs(float(values.mean())) < 0.2
    assert float(values.std()) == pytest.approx(1.0, abs=0.3)
    tasks = stream(protocols()["split"], seed=1)
    assert sorted(label for each in tasks for label in each.classes) == list(range(20))
    assert all(len(each.classes) == 2 for each in tasks)


def test_curves_are_drawn_for_each_stream(tmp_path: Path) -> None:
    acc = {"mean": 70.0, "sd": None}
    lines = [
        {"protocol": stream, "system": f"EWC {size}", "parameters": 100.0 * size, "acc": acc}
        for stream in ("one", "two")
        for size in (1, 2)
    ]
    draw(lines, tmp_path / "size.png")
    assert (tmp_path / "size.png").stat().st_size > 1000


def test_a_run_writes_its_picture_beside_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small: list[Any] = [
        Case(f"freeze, random +{amount}", TINY, "task-incremental", Part("freeze"), 2, note="") for amount in (2, 4)
    ]
    small[1] = replace(small[1], growth=Part(Halves, {"amount": 4, "growth": "random"}))
    monkeypatch.setattr(firefly_continual, "cases", lambda: small)
    firefly_continual.play(["--out", str(tmp_path)])
    assert {"results.json", "table.md", "size.png", "accuracy.png"} <= {path.name for path in tmp_path.iterdir()}
    assert folder_of(["--out", str(tmp_path), "--quick"]) == tmp_path
    assert folder_of(["--quick"]) != folder_of([])
