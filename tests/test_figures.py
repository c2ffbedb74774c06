"""The figures on the pages are those of the results files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.continual import Case, Outcome, Part, Protocol
from experiments.continual_tables import PUBLISHED, write_results

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
try:
    import continual
    import figures
finally:
    sys.path.pop(0)


def test_pages_show_their_results_files() -> None:
    checked = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "figures.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_a_figure_that_was_changed_by_hand_is_noticed() -> None:
    page = (ROOT / "README.md").read_text()
    assert "10 training seeds | 0." in page
    assert figures.filled(page.replace("10 training seeds | 0.", "10 training seeds | 9.")) == page


def test_an_experiment_without_results_shows_its_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "published.csv").write_text((continual.RESULTS / "published.csv").read_text())
    monkeypatch.setattr(continual, "RESULTS", tmp_path)
    monkeypatch.setattr(continual, "BENCHMARK", tmp_path / "none.json")
    for name, block in continual.BLOCKS.items():
        assert name == "continual-not-rerun" or block().startswith("not run yet: `python ")


def test_a_line_stands_beside_published_numbers_with_all_that_must_be_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    protocol = Protocol("H", "mnist", (4, 4), 4, 8, "adam", 0.01, "a source", deviations="smaller networks")
    case = Case("EWC", protocol, "class-incremental", Part("ewc"), 2, system="EWC", note="not tuned")
    matrix = [[[0.9, 0.0], [0.2, 0.2]], [[0.9, 0.0], [0.1, 0.1]]]
    numbers = ([120, 120], [480, 480], [960, 960], [100, 100])
    outcome = Outcome(case.key, "", matrix, [[0.0, 0.0]] * 2, [[[4, 4], [0, 0]]] * 2, *numbers, 1.0)
    monkeypatch.setattr(continual, "RESULTS", tmp_path)
    (tmp_path / "published.csv").write_text(PUBLISHED.read_text())
    (tmp_path / "split_mnist").mkdir()
    write_results(tmp_path / "split_mnist", "Title", "python experiments/split_mnist.py", [case], {case.key: outcome})
    block = continual.BLOCKS["continual-split-mnist"]()
    (row,) = [line for line in block.splitlines() if line.startswith("| H |")]
    assert "| 19.8 ± 0.05 (H, paper); 20.01 ± 0.01 (mixed, secondary) | 15.00 ± 7.07 |" in row
    assert "| -75.00 | 2 |" in row
    assert row.endswith("| 0.48 + 0.96 |")
    for said in ("Hsu et al. 2018", "Not as there: smaller networks.", "EWC (H, class-incremental): not tuned."):
        assert said in block
    assert "![Accuracy of every line](results/continual/split_mnist/accuracy.png)" in block
    assert "| EWC | class-incremental | H |" not in continual.BLOCKS["continual-not-rerun"]()


def test_capacities_and_routes_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point = {"stream": "noisy", "system": "DEN", "width": "0.5", "acc": 90.0, "sd": None, "parameters": 1234.0}
    point |= {"macs": 1200.0, "memristors": None, "relative_parameters": 0.25}
    claims = [{"stream": "noisy", "system": "DEN", "asked": 95.0, "best": 90.0, "share": None}]
    claims += [{"stream": "noisy", "system": "freeze", "asked": 95.0, "best": 96.0, "share": 0.18}]
    made = {"command": "python experiments/x.py", "versions": {"torch": "2"}, "lines": []}
    routing = {
        "routing": {"split": {"share": [[[1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [0.3, 0.7]]], "right": [0.75, 0.85]}},
        "assignments": {"orders": [0, 0], "minibatches": 8, "serves": [[0, 0], [0, 1]], "since": [[0, 8], [0, 12]]},
    }
    files = {"den_capacity/results": made, "den_capacity/capacity": {"points": [point], "claims": claims}}
    for name, content in {**files, "experts/routing": routing}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "published.csv").write_text(PUBLISHED.read_text())
    monkeypatch.setattr(continual, "RESULTS", tmp_path)
    capacity, routes = (continual.BLOCKS[f"continual-{name}"]() for name in ("capacity", "routing"))
    assert "| noisy | DEN | 0.5 | 90.00 | 1,234 | 1,200 | does not fit | 25.0 % |" in capacity
    assert "- noisy, DEN: no network reaches the 95.00 % of separate networks; its best is 90.00 %." in capacity
    assert "- noisy, freeze: 18.0 % of their parameters for at least their 95.00 %." in capacity
    assert "Published size of DEN on MNIST-Variation: 18 % of ten separate networks (secondary;" in capacity
    assert "| split | 1 | 40.0 | 60.0 |" in routes
    assert "the task's own expert gets 80.00 % of all samples" in routes
    assert "| 1 | 0 | 0, 1 | 0, 4 |" in routes
