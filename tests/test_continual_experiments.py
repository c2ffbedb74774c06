"""The runner, the tables and the lists of cases of the continual-learning experiments."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import continual, continual_tables, permuted_mnist, split_fashion_mnist, split_mnist
from experiments.continual import Case, Outcome, Part, Protocol, main, run, run_all, stream
from experiments.continual_growth import Fixed, Gate, Learned, Search
from experiments.continual_protocols import PIXELS
from experiments.continual_tables import MIXED, Figures, Published, beside, figures, line_of, published, table, verdict
from growenv.protection import PROTECTIONS
from growenv.streams import load_dataset
from growenv.streams.scenarios import SCENARIOS

TINY = Protocol("T", "digits", (8, 8), 8, 16, "adam", 0.01, "nobody", held_out=20, decisions=2)
EVERY_CASE = [*split_mnist.cases(), *split_fashion_mnist.cases(), *permuted_mnist.cases()]


def tiny(name: str = "finetune", scenario: str = "task-incremental", **more: Any) -> Case:
    return Case(name, TINY, scenario, Part(name), seeds=2, **more)


def outcome(case: Case, *final: float) -> Outcome:
    """Two tasks; every seed ends at the given accuracy on both, and was perfect on each task when it had learned it."""
    matrix = [[[1.0, 0.0], [accuracy, accuracy]] for accuracy in final]
    count = len(final)
    counts = [[10] * count, [40] * count, [0] * count, [8] * count]
    return Outcome(case.key, "", matrix, [[0.0, 0.0]] * count, [[[4, 4], [1, 0]]] * count, *counts, seconds=1.0)


# --- protocols and streams --------------------------------------------------------------------------------------------


def test_all_images_but_those_held_out_are_trained_on() -> None:
    whole, own = load_dataset("digits"), TINY.data()
    assert len(own.validation) == 20 * 10
    assert len(own.train) == len(whole.train) + len(whole.validation) - 200
    assert own.test.equal(whole.test)
    parts = np.concatenate([own.train, own.validation, own.test])
    assert len(set(parts.tolist())) == len(parts) == len(whole.inputs)


def test_pixels_are_scaled_as_named() -> None:
    shift, scale = PIXELS["normalised"]
    assert (0 - shift) * scale == pytest.approx(-0.1307 / 0.3081)
    assert (255 - shift) * scale == pytest.approx((1 - 0.1307) / 0.3081)
    assert PIXELS["raw"] == (0.0, 1 / 255)
    # 784 of 1024 pixels of a padded image are those of the image.
    mean = 0.1307 * 784 / 1024
    assert PIXELS["padded"][0] / 255 == pytest.approx(mean, abs=1e-3)
    assert 1 / PIXELS["padded"][1] / 255 == pytest.approx(
        ((0.3081**2 + 0.1307**2) * 784 / 1024 - mean**2) ** 0.5, abs=1e-3
    )


def test_a_fixed_order_is_that_of_the_digits() -> None:
    assert [task.classes for task in stream(TINY, 3)] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]


def test_a_random_order_is_drawn_for_every_seed_but_the_first() -> None:
    protocol = replace(TINY, order="random")
    drawn = [tuple(task.classes for task in stream(protocol, seed)) for seed in range(6)]
    assert drawn[0] == tuple(task.classes for task in stream(TINY, 0))
    assert len(set(drawn)) == 6
    assert all(sorted(sum(classes, ())) == list(range(10)) for classes in drawn)
    assert drawn[4] == tuple(task.classes for task in stream(protocol, 4))


def test_permuted_tasks_have_all_classes_and_orders_of_their_own() -> None:
    tasks = [task for seed in (0, 1) for task in stream(replace(TINY, permuted=True, tasks=3), seed)]
    assert all(task.classes == tuple(range(10)) for task in tasks)
    assert len({task.transform.permutation for task in tasks}) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decisions": 3}, "8 minibatches in 3 equal parts"),
        ({"order": "sorted"}, "order='sorted', expected 'fixed' or 'random'"),
        ({"pixels": "grey"}, "pixels='grey', expected raw"),
    ],
)
def test_impossible_protocols_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_classes_that_do_not_divide_into_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="10 classes cannot be split into 4 equal tasks"):
        stream(replace(TINY, tasks=4), 0)


# --- running ----------------------------------------------------------------------------------------------------------


def test_a_case_fills_the_whole_matrix() -> None:
    result = run(tiny())
    assert np.shape(result.matrix) == (2, 5, 5) and np.shape(result.untrained) == (2, 5)
    assert min(result.matrix[0][task][task] for task in range(5)) > 0.4
    # 64 inputs, 8 and 8 units, five heads of two classes.
    weights = 64 * 8 + 8 * 8 + 8 * 10
    assert result.macs == [weights] * 2
    assert result.parameters == [weights + 8 + 8 + 10] * 2
    assert result.network_bytes == [4 * (weights + 26)] * 2
    assert result.memory_bytes == [0, 0]


def test_a_head_that_tasks_share_is_counted_once() -> None:
    assert run(tiny(scenario="class-incremental")).macs == [64 * 8 + 8 * 8 + 8 * 10] * 2
    assert run(tiny(scenario="domain-incremental")).macs == [64 * 8 + 8 * 8 + 8 * 2] * 2


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS.names() if SCENARIOS.make(name).scored != "task"])
def test_what_is_not_measured_is_zero(scenario: str) -> None:
    learner = continual.begun(tiny(scenario=scenario))
    learner.train()
    for task in range(1, 5):
        assert learner.accuracy("test", np.full(2, task)).tolist() == [0.0, 0.0]
    assert (continual.measured(learner) > 0).tolist() == [[True] + [False] * 4] * 2


def test_a_seed_is_the_same_beside_others_and_alone() -> None:
    both, alone = run(tiny()), run(replace(tiny(), seeds=1))
    assert np.array(alone.matrix[0]) == pytest.approx(np.array(both.matrix[0]), abs=1e-6)


def test_an_experiment_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases, done = [tiny("finetune"), tiny("freeze")], []

    def dies_at_the_second(case: Case) -> Outcome:
        if case.name == "freeze" and "freeze" not in done:
            done.append("freeze")
            raise KeyboardInterrupt
        done.append(case.key)
        return outcome(case, 0.5, 0.6)

    def settled(case: Case) -> Outcome:
        return replace(dies_at_the_second(case), hash=continual.digest(case.settings()))

    monkeypatch.setattr(continual, "run", settled)
    with pytest.raises(KeyboardInterrupt):
        run_all(cases, tmp_path)
    outcomes = run_all(cases, tmp_path)
    assert done == [cases[0].key, "freeze", cases[1].key]
    assert list(outcomes) == [case.key for case in cases]
    assert run_all(cases, tmp_path) == outcomes and len(done) == 3


def test_changed_settings_or_a_damaged_file_are_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []

    def counted(case: Case) -> Outcome:
        runs.append(case.seeds)
        return replace(outcome(case, *[0.5] * case.seeds), hash=continual.digest(case.settings()))

    monkeypatch.setattr(continual, "run", counted)
    run_all([tiny()], tmp_path)
    run_all([replace(tiny(), note="a note changes no result")], tmp_path)
    assert runs == [2]
    run_all([replace(tiny(), seeds=3)], tmp_path)
    run_all([replace(tiny(), seeds=3, protocol=replace(TINY, learning_rate=0.02))], tmp_path)
    assert runs == [2, 3, 3]
    (tmp_path / f"{tiny().key}.json").write_text("{")
    run_all([tiny()], tmp_path)
    assert runs == [2, 3, 3, 2]


def test_two_cases_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="given twice: T-task-incremental-finetune"):
        run_all([tiny(), tiny(system="x")], tmp_path)


# --- growing ----------------------------------------------------------------------------------------------------------

ROOM = replace(TINY, max_hidden=(20, 12))


def grown(growth: Part, tasks: int = 5) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Units by seed, task and layer of frozen networks that grow so."""
    return np.array(run(replace(tiny("freeze"), protocol=replace(ROOM, tasks=tasks), growth=growth)).units)


def test_a_fixed_schedule_grows_until_layers_are_full() -> None:
    units = grown(Part(Fixed, {"amounts": [4, 3]}))
    assert units.tolist() == [[[8, 8], [4, 3], [4, 1], [4, 0], [0, 0]]] * 2


def test_a_gate_grows_where_the_loss_is_above_it_only() -> None:
    assert grown(Part(Gate, {"amounts": [1, 1], "loss": 1e9})).sum() == 2 * 16
    units = grown(Part(Gate, {"amounts": [1, 1], "loss": 0.0})).sum(axis=(0, 2))
    assert units.tolist() == [36, 4, 4, 4, 2]  # the second layer is full in the last task


def test_a_search_leaves_the_first_task_alone_and_grows_what_it_chose() -> None:
    units = grown(Part(Search, {"trials": 2, "choices": 4}), tasks=2)
    assert (units[:, 0] == 8).all()
    assert units[:, 1:].max() <= 3 and units[:, 1:].sum() > 0


def test_a_learned_policy_grows_within_its_budget() -> None:
    protocol = replace(TINY, hidden=(4, 4), max_hidden=(64, 64), minibatches=6, decisions=6)
    case = replace(tiny("freeze"), protocol=protocol, growth=Part(Learned, {"budget": 0.3, "price": 0.1}))
    units = np.array(run(case).units)
    assert (units[:, 0] >= 4).all()
    assert 2 * 8 < units.sum() < 2 * 128


# --- tables -----------------------------------------------------------------------------------------------------------

THEIRS = Published("SI", "class-incremental", "T", "ACC", 20.0, "0.1", "secondary", "somebody")


def test_figures_by_hand() -> None:
    ours = figures([1.0, 2.0, 3.0])
    half = 4.302653 / 3**0.5  # Student's 97.5 % quantile with two degrees of freedom
    assert (ours.mean, ours.sd) == (2.0, 1.0)
    assert (ours.low, ours.high) == pytest.approx((2.0 - half, 2.0 + half), abs=1e-5)


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        (Figures(20.2, 0.5, 19.9, 20.5), "our interval holds it"),
        (Figures(20.05, 0.01, 20.04, 20.06), "within its spread"),
        (Figures(25.0, 0.5, 24.5, 25.5), "above by 5.00"),
        (Figures(17.75, 0.5, 17.5, 18.0), "misses by 2.25"),
        (Figures(18.0, float("nan"), float("nan"), float("nan")), "-2.00, one seed"),
    ],
)
def test_the_verdict_says_where_the_published_value_lies(ours: Figures, words: str) -> None:
    assert verdict(ours, THEIRS) == words


def test_a_published_number_stands_beside_its_own_protocol_and_scenario_only() -> None:
    known = [THEIRS, replace(THEIRS, protocol="A"), replace(THEIRS, protocol=MIXED), replace(THEIRS, metric="AUROC")]
    case = tiny(scenario="class-incremental-restore", system="SI")
    assert beside(case, known) == [known[0], known[2]]
    assert beside(replace(case, scenario="task-incremental"), known) == []
    assert beside(replace(case, system=""), [replace(THEIRS, system="")]) == []


def test_a_line_and_its_row_by_hand() -> None:
    case = tiny(scenario="class-incremental", system="SI")
    line = line_of(case, outcome(case, 0.25, 0.35), [THEIRS])
    assert line["acc"]["mean"] == pytest.approx(30.0)
    assert line["bwt"]["mean"] == pytest.approx(-70.0) and line["forgetting"]["mean"] == pytest.approx(70.0)
    assert line["widths"] == [5.0, 4.0]
    row = table([line]).splitlines()[-1]
    assert "| 30.00 ± 7.07 |" in row and "| 5/4 | 40 | 0 | 8 |" in row
    assert row.endswith("| 20 ± 0.1 (T, secondary) | our interval holds it |")


def test_published_numbers_can_all_be_read() -> None:
    known = published()
    assert len(known) == len({(each.system, each.scenario, each.protocol, each.metric) for each in known}) > 70
    assert {each.certainty for each in known} == {"paper", "secondary"}
    assert all(each.source for each in known)
    (spacenet,) = [each for each in known if each.system == "SpaceNet"]
    assert str(spacenet) == "75.53 ± 1.82 (mixed, secondary)"


def test_a_table_of_published_numbers_with_other_columns_or_no_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "published.csv"
    path.write_text("system,value\nSI,20\n")
    with pytest.raises(ValueError, match=r"has the columns \['system', 'value'\]"):
        published(path)
    path.write_text(",".join(continual_tables.COLUMNS) + "\nSI,s,A,ACC,not verified,,,x\n")
    with pytest.raises(ValueError, match="line 2: the value is 'not verified'"):
        published(path)


# --- the experiments --------------------------------------------------------------------------------------------------


def test_the_command_line_runs_chosen_cases_and_writes_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--only", "finetune", "--seeds", "2", "--out", str(tmp_path)]
    main("tiny", "Tiny", [tiny(), tiny("freeze")], arguments)
    assert "| T | task-incremental | finetune | 2 |" in capsys.readouterr().out
    assert [path.stem for path in (tmp_path / "cases").iterdir()] == [tiny().key]
    (line,) = json.loads((tmp_path / "results.json").read_text())["lines"]
    assert line["key"] == tiny().key
    assert "python experiments/tiny.py --only finetune" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "accuracy.png").stat().st_size > 5000
    with pytest.raises(SystemExit):
        main("tiny", "Tiny", [tiny()], ["--only", "nothing"])
    assert "no case has nothing in its name" in capsys.readouterr().err


def test_quick_runs_are_short_and_keep_the_parts_of_a_task() -> None:
    quick = continual.quick(split_mnist.cases()[0])
    assert quick.seeds == 2
    assert quick.protocol.decisions <= quick.protocol.minibatches <= 376 // 40


@pytest.mark.parametrize("case", EVERY_CASE, ids=lambda case: case.key)
def test_every_case_names_parts_that_exist(case: Case) -> None:
    assert case.scenario in SCENARIOS.names()
    assert case.protection.build(PROTECTIONS.make) is not None
    if case.growth:
        case.growth.build()
    if case.system:
        assert any(each.system == case.system for each in published())


def test_every_row_of_the_mixed_table_is_rerun() -> None:
    rerun = {case.system for case in split_mnist.cases()}
    assert {each.system for each in published() if each.protocol == MIXED} <= rerun


def test_keys_are_different() -> None:
    for cases in (split_mnist.cases(), split_fashion_mnist.cases(), permuted_mnist.cases()):
        assert len({case.key for case in cases}) == len(cases)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (FileNotFoundError("no train-images in here"), 2, "no train-images in here"),
        (KeyboardInterrupt(), 130, "goes on"),
    ],
)
def test_missing_files_and_ctrl_c_end_with_one_line(
    error: BaseException,
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stopped(case: Case) -> Outcome:
        raise error

    monkeypatch.setattr(continual, "run", stopped)
    with pytest.raises(SystemExit) as ended:
        main("tiny", "Tiny", [tiny()], ["--out", str(tmp_path)])
    assert ended.value.code == code
    assert words in capsys.readouterr().err
