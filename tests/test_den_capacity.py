"""The experiment on accuracy over capacity: its streams, its sums and what it says."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from experiments.continual import Case, Outcome, Part
from experiments.den_capacity import SHARES, TASKS, Ten, cases, joined, main, wide
from experiments.den_capacity_report import claims, equal_capacity, relative, said
from growenv.streams import Dataset


def ten(**fields: object) -> Ten:
    chosen = {
        "minibatches": 12,
        "batch_size": 8,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "source": "",
        "tasks": TASKS,
    }
    return Ten("rotated", "mnist", (4, 4), **{**chosen, "decisions": 6, **fields})  # type: ignore[arg-type]


def test_streams_differ_by_seed_and_repeat_no_angle() -> None:
    streams = [ten().drawn(seed) for seed in range(3)]
    for stream in streams:
        assert len({task.transform.rotation for task in stream}) == TASKS
        assert all(task.classes == tuple(range(10)) and task.transform.rotation % 30 == 0 for task in stream)
    assert len(set(streams)) == 3
    orders = {task.transform.permutation for task in ten(kind="permuted").drawn(0)}
    assert len(orders) == TASKS and None not in orders


def test_separate_networks_learn_the_tasks_of_the_same_streams() -> None:
    apart = [ten(separate=True).drawn(seed) for seed in range(2 * TASKS)]
    assert all(len(each) == 1 for each in apart)
    assert tuple(each[0] for each in apart) == ten().drawn(0) + ten().drawn(1)


def test_separate_networks_count_as_one_system() -> None:
    case = Case("separate x1", ten(separate=True, tasks=1), "task-incremental", Part("finetune"), 2 * TASKS)
    accuracies = np.arange(2 * TASKS) / 100
    sizes = list(range(2 * TASKS))
    outcome = Outcome("", "", accuracies.reshape(-1, 1, 1).tolist(), [[0.1]] * 20, [[[4, 4]]] * 20, *[sizes] * 4, 1.0)
    one, whole = joined(case, outcome)
    assert one.seeds == 2 and whole.parameters == [45, 145] and whole.macs == [45, 145]
    matrix = np.array(whole.matrix)
    assert matrix.shape == (2, TASKS, TASKS)
    np.testing.assert_allclose(matrix[1, -1], accuracies[TASKS:])
    assert matrix[0, 3, 3] == accuracies[3] and matrix[0, 3, 4] == 0.0, "a later task has no network yet"


def test_capacity_at_equal_accuracy_is_interpolated_over_its_logarithm() -> None:
    curve = [100.0, 10_000.0], [80.0, 90.0]
    assert equal_capacity(80.0, *curve) == pytest.approx(100.0)
    assert equal_capacity(85.0, *curve) == pytest.approx(1000.0)
    assert math.isnan(equal_capacity(79.9, *curve)) and math.isnan(equal_capacity(90.1, *curve))
    # The larger network that is worse than a smaller one is left out.
    assert equal_capacity(85.0, [10_000.0, 1000.0, 100.0], [90.0, 70.0, 80.0]) == pytest.approx(1000.0)


def test_claims_are_about_the_smallest_network_that_is_good_enough() -> None:
    def point(system: str, parameters: float, acc: float) -> dict[str, object]:
        return {"stream": "s", "system": system, "parameters": parameters, "macs": parameters, "acc": acc}

    points = [point("separate", 100.0, 80.0), point("separate", 10_000.0, 90.0)]
    points += [
        point("DEN", 500.0, 85.0),
        point("DEN", 1500.0, 91.0),
        point("DEN", 4000.0, 92.0),
        point("L2", 50.0, 70.0),
    ]
    shares = [each["relative_parameters"] for each in relative(points)]
    assert shares[:2] == pytest.approx([1.0, 1.0]) and shares[2] == pytest.approx(0.5)
    assert shares[3:] == [None, None, None], "no separate networks are as good, or as bad"
    good, bad = claims(points)
    assert good == {"stream": "s", "system": "DEN", "asked": 90.0, "best": 92.0, "share": 0.15}
    assert said(good) == "- s, DEN: 15.0 % of their parameters for at least their 90.00 %."
    assert bad["share"] is None and "no network reaches the 90.00 %" in said(bad)


def test_every_case_has_a_name_of_its_own() -> None:
    names = [case.key for case in cases({"shipped": Path("somewhere")})]
    assert len(set(names)) == len(names) and sum("DEN" in name for name in names) == 3 * (len(SHARES) - 1)
    assert wide(1) == (312, 128) and wide(1 / 16) == (20, 8)


def test_a_quick_run_writes_its_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (200, 4, 4), dtype=np.uint8), np.arange(200) % 10
    small = Dataset.from_arrays(images, labels, name="small", classes=10)
    monkeypatch.setattr("experiments.den_capacity.small_images", lambda name: small)
    main(["--quick", "--only", "rotated", "x0.125", "--out", str(tmp_path)])
    page = (tmp_path / "capacity.md").read_text()
    assert "| separate | 0.125 |" in page and "| DEN | 0.125 |" in page and "does not fit" not in page
    assert (tmp_path / "capacity.png").stat().st_size > 1000 and (tmp_path / "table.md").is_file()


def test_wrong_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said_why in ((["--processes", "0"], "at least 1"), (["--only", "nobody"], "no case has nobody")):
        with pytest.raises(SystemExit):
            main(arguments)
        assert said_why in capsys.readouterr().err
