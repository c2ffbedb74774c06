"""The studies that the pages show run, and count right."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from agents.policy import Interface
from benchmarks import growth
from experiments import (
    firefly_widening,
    gradmax_student_teacher,
    growing,
    growth_operators,
    operators_in_streams,
    placement,
    refusals,
)
from growenv.actions import WAIT, ActionTable
from growenv.growth import OPERATORS, RandomGrowth
from growenv.growth.scaling import LIVE_SHARE
from growenv.streams import load_dataset

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


# --- how new neurons start --------------------------------------------------------------------------------------------


def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *flags: str) -> None:
    monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *flags])
    script.main()


def refused(script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: Any, *flags: str) -> str:
    """What a script says about flags that it does not take."""
    with pytest.raises(SystemExit):
        run(script, monkeypatch, *flags)
    said: str = capsys.readouterr().err
    return said


def lines_of(path: Path) -> dict[str, Any]:
    """The lines of a study without what a clock says."""
    results = json.loads(path.read_text())
    assert set(results) >= {"command", "settings", "versions", "lines"}
    clocks = ("seconds", "event_ms")
    lines: dict[str, Any] = results["lines"]
    return {name: {k: v for k, v in line.items() if not k.endswith(clocks)} for name, line in lines.items()}


def test_operators_are_listed_once_with_random_growth_first_and_its_base_always() -> None:
    known = growing.known_operators()
    assert len(set(known)) == len(known) and set(known) == {*OPERATORS.names(), *growing.VARIANTS}
    assert growing.chosen_operators(["gradmax"]) == ["random", "gradmax"]
    assert growing.chosen_operators([growing.ALL]) == list(known)
    assert growing.chosen_operators(["gradmax", "random"], base="random-in") == ["random", "random-in", "gradmax"]
    variant = growing.make_operator("random-live")
    assert isinstance(variant, RandomGrowth) and variant.length == "live" and variant.zero == "out"
    with pytest.raises(argparse.ArgumentTypeError, match="did you mean 'gradmax'"):
        growing.operator_name("gradmx")


def test_equal_steps_of_growth_add_up() -> None:
    assert growing.steps_of_growth((16, 8), (64, 32), 6) == [8, 4]
    for small, large, events in (((16, 16), (64, 60), 6), ((4, 4), (4, 8), 2), ((4, 4), (8, 8), 0)):
        with pytest.raises(ValueError, match="equal events"):
            growing.steps_of_growth(small, large, events)


def test_parameters_are_weights_and_biases() -> None:
    assert growing.parameters(3, (2, 5), 4) == 3 * 2 + 2 + 2 * 5 + 5 + 5 * 4 + 4


def test_rows_of_a_seed_begin_alike_whatever_the_operator_and_learn_all_classes() -> None:
    digits = load_dataset("digits")
    one, two = (
        growing.single_task_learner(digits, rows, name, (4, 3), (8, 8), minibatches=3)
        for rows, name in ((3, "random"), (2, "gradmax"))
    )
    assert (one.data.task_classes == 10).all()
    before = one.train().losses, two.train().losses
    np.testing.assert_array_equal(before[0][:2], before[1])
    assert growing.grow_all(one, (2, 1)) > 0
    assert one.network.widths.tolist() == [[6, 4]] * 3
    growing.warm_up(two, (2, 1))
    assert two.network.widths.tolist() == [[4, 3]] * 2


def test_lines_are_compared_row_by_row() -> None:
    lines = {"random": {"x": [1.0, 2.0, 3.0]}, "other": {"x": [1.5, 2.5, 3.5]}}
    known = growing.compared(lines, "x")
    assert set(known["random"]) == {"mean"}
    assert known["other"]["minus random"] == {"mean": 0.5, "low": 0.5, "high": 0.5}
    assert growing.spread(known["other"]["minus random"], signed=True) == "+0.50 [+0.50, +0.50] *"
    assert growing.spread({"mean": 0.1, "low": -0.1, "high": 0.3}, signed=True).endswith("]")
    assert growing.table(["", "b"], [["long", "1"], ["x", "22"]]) == "       b\nlong   1\nx     22"


TEACHER = ("--rows", "3", "--inputs", "6", "--samples", "40", "--interval", "4", "--rest", "5")


def teacher_settings(**changed: Any) -> argparse.Namespace:
    plain = {"interval": 4, "rest": 5, "learning_rate": 0.1, "length": 1.0, "without_biases": False}
    return argparse.Namespace(**{**plain, **changed})


def test_the_first_gradient_of_gradmax_is_its_length_times_the_first_singular_value() -> None:
    problem, args = gradmax_student_teacher.draw_problem(3, 6, 40), teacher_settings()
    network = gradmax_student_teacher.student(problem, gradmax_student_teacher.SMALL)
    optimizer = gradmax_student_teacher.StackedSGD(network, args.learning_rate)
    loss = gradmax_student_teacher.MeanSquaredError(problem.y)
    for _ in range(args.interval):
        network.backward(problem.x, loss.gradient(network.forward(problem.x)))
        optimizer.step()
    evidence = gradmax_student_teacher.Evidence(network, problem.x, loss)
    largest = torch.linalg.svdvals(evidence.across(0).double())[:, 0]
    first = network.layout.frozen[0]
    older = network.weights[1][:, first : first + gradmax_student_teacher.SMALL].double().norm(dim=2).mean(dim=1)
    course = gradmax_student_teacher.play(problem, 5, gradmax_student_teacher.started("gradmax", 1.0), args)
    np.testing.assert_allclose(course.new_norms[0], (largest * older).numpy(), rtol=1e-4)
    others = [gradmax_student_teacher.started(name, 1.0) for name in ("random-in", gradmax_student_teacher.CLIMBED)]
    for other in others:
        norms = gradmax_student_teacher.play(problem, 5, other, args).new_norms[0]
        assert (norms < course.new_norms[0] * 1.0001).all()


def test_students_grow_without_a_change_of_the_loss_and_fare_alike_up_to_then() -> None:
    problem, args = gradmax_student_teacher.draw_problem(3, 6, 40), teacher_settings()
    still = gradmax_student_teacher.play(problem, 5, None, args)
    grown = gradmax_student_teacher.play(problem, 5, gradmax_student_teacher.started("random", 1.0), args)
    assert still.losses.shape == (4 * 5 + 5 + 1, 3) and not still.new_norms.size
    np.testing.assert_allclose(still.losses[:5], grown.losses[:5], rtol=1e-5)
    assert (still.losses[6:] != grown.losses[6:]).any()
    assert grown.new_norms.shape == (5, 3) and (grown.new_norms <= grown.all_norms).all()


def test_vectors_of_students_are_as_long_as_asked_for() -> None:
    for name in ("random", "random-in", "gradmax"):
        operator: Any = gradmax_student_teacher.started(name, 1.5)
        assert operator.scale == 1.5 / LIVE_SHARE
    assert gradmax_student_teacher.started("net2wider", 1.5).name == "net2wider"


def test_biases_of_students_stay_zero_if_they_are_not_to_train(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = []
    fresh = gradmax_student_teacher.student
    monkeypatch.setattr(
        gradmax_student_teacher, "student", lambda *given: networks.append(fresh(*given)) or networks[-1]
    )
    problem, args = gradmax_student_teacher.draw_problem(2, 6, 40), teacher_settings(without_biases=True)
    gradmax_student_teacher.play(problem, 5, RandomGrowth(), args)
    (network,) = networks
    assert not network.weights[0][:, -1].any() and not network.weights[1][:, 0].any()


def test_the_student_and_teacher_study_runs_and_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("one", "two"):
        flags = [*TEACHER, "--operators", "gradmax", "random", "--out", str(tmp_path / folder)]
        run(gradmax_student_teacher, monkeypatch, *flags)
    one, two = (lines_of(tmp_path / folder / "student_teacher.json") for folder in ("one", "two"))
    assert one == two and set(one) == {"small", "large", "random", "random-in", "gradmax", "climbed-in"}
    assert (tmp_path / "one" / "student_teacher.png").stat().st_size > 10_000
    words = json.loads((tmp_path / "one" / "student_teacher.json").read_text())["verdict"]
    assert any("gradmax minus random-in" in each and "published 0.236 against 0.261" in each for each in words)


IMAGES = ("--dataset", "digits", "--pool", "8", "--rows", "2", "--small", "4", "4", "--batch-size", "8")


def test_the_study_of_operators_runs_and_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = [*IMAGES, "--large", "8", "8", "--events", "2", "--interval", "3", "--intervals", "4"]
    for folder in ("one", "two"):
        flags = [*small, "--operators", "gradmax", "random-live", "random-in", "--out", str(tmp_path / folder)]
        run(growth_operators, monkeypatch, *flags)
    one, two = (lines_of(tmp_path / folder / "operators-digits-adam.json") for folder in ("one", "two"))
    assert one == two
    assert set(one) == {"random", "random-in", "random-live", "gradmax", *growth_operators.BASELINES}
    assert one["gradmax"]["events"] == 2 and one["large"]["events"] == 0
    assert one["random"]["steps"] == one["gradmax"]["steps"] == one["large"]["steps"] == 12
    used = [growing.parameters(64, (width, width), 10) for width in (4, 6, 8, 8)]
    assert one["small"]["relative_compute"] == pytest.approx(4 * used[0] / sum(used))
    assert one["large, equal compute"]["steps"] == 3 * round(sum(used) / used[-1])
    assert (tmp_path / "one" / "operators-digits-adam.png").stat().st_size > 10_000


def test_the_study_of_widening_runs_and_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = [*IMAGES, "--large", "8", "8", "--sizes", "3", "--interval", "3"]
    for folder in ("one", "two"):
        run(firefly_widening, monkeypatch, *small, "--out", str(tmp_path / folder))
    one, two = (lines_of(tmp_path / folder / "widening.json") for folder in ("one", "two"))
    assert one == two and set(one) == {*firefly_widening.CORE, "scratch"}
    assert all(np.shape(line["accuracy"]) == (3, 2) for line in one.values())
    firsts = [line["accuracy"][0] for line in one.values()]
    assert all(first == firsts[0] for first in firsts), "all begin as the same networks"
    results = json.loads((tmp_path / "one" / "widening.json").read_text())
    assert results["sizes"] == [[4, 4], [6, 6], [8, 8]]
    assert (np.diff(results["lines"]["firefly"]["growth_seconds"]) > 0).all()
    assert (tmp_path / "one" / "widening.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--operators", "gradmx"], "unknown growth operator 'gradmx'; did you mean 'gradmax'"),
        (["--rows", "1"], "'1' is not an integer >= 2"),
        (["--interval", "few"], "'few' is not an integer >= 1"),
        (["--learning-rate", "0"], "'0' is not a number above 0"),
    ],
)
def test_studies_of_growth_refuse_bad_flags(
    flags: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for script in (gradmax_student_teacher, growth_operators, firefly_widening):
        assert words in refused(script, monkeypatch, capsys, *flags)


def test_studies_on_images_refuse_sizes_that_do_not_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = ["--dataset", "digits", "--pool", "8"]
    for script in (growth_operators, firefly_widening):
        assert "equal events" in refused(script, monkeypatch, capsys, *digits, "--large", "65", "64")
        assert "cannot be pooled to 14" in refused(script, monkeypatch, capsys, "--dataset", "digits", "--pool", "14")
    said = refused(growth_operators, monkeypatch, capsys, *digits, "--intervals", "6")
    assert "6 events from interval 1 on do not fit into 6 intervals" in said


def test_the_benchmark_of_growth_runs_without_gromo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gromo", None)
    out = tmp_path / "growth.json"
    run(growth, monkeypatch, "--rows", "2", "--repeats", "1", "--operators", "gradmax", "--out", str(out))
    said = capsys.readouterr().out
    assert "gromo is not installed" in said and re.search(r"gradmax takes [\d.]+ steps", said)
    results = json.loads(out.read_text())
    assert results["gromo"] is None and set(results["ours"]["operators"]) == {"random", "gradmax"}
    assert all(min(line["steps"]) > 0 for line in results["ours"]["operators"].values())


def test_the_benchmark_measures_the_same_networks_again_and_again() -> None:
    stack = growth.Stack(2)
    before = stack.learner.network.buffers["weights"].clone()
    assert stack.event("gradmax", 1) > 0
    assert stack.learner.network.widths.tolist() == [[64, 72]] * 2
    assert stack.step() > 0
    stack.dense()
    assert torch.equal(stack.learner.network.buffers["weights"], before)
    (x, labels), evidence = stack.probe(), stack.learner.evidence()
    for weight, bias in stack.dense():
        x = torch.relu(x @ weight.T + bias) if len(weight) > 10 else x @ weight.T + bias
    torch.testing.assert_close(x, evidence.logits[0])
    assert labels.shape == (128,)


def test_medians_leave_out_the_first_turn() -> None:
    times = iter([100.0, 1.0, 5.0, 3.0])
    assert growth.medians({"case": lambda: next(times)}, 3) == {"case": 3.0}


def test_gradmax_finds_what_gromo_finds() -> None:
    model = pytest.importorskip("gromo.containers.growing_mlp").GrowingMLP
    for layer in growth.LAYERS:
        assert growth.directions_agree(model, growth.Stack(1), layer) > 0.999


def test_operators_are_compared_in_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(operators_in_streams, monkeypatch, "--contexts", "2", "--operators", "tiny", "--out", str(tmp_path))
    lines = json.loads((tmp_path / "operators_in_streams.json").read_text())["lines"]
    assert [line["operator"] for line in lines] == ["random", "tiny"] * 2
    assert all(line["difference"]["mean"] == 0.0 for line in lines if line["operator"] == "random")
    assert lines[0]["growths"] == lines[1]["growths"] > 0
