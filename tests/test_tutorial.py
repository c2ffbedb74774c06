"""The blocks on tables and fixed orders say what the tables and the results hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from growenv.paths import PathTable, planning

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
try:
    import figures
    import growth_paths_tables
    import tutorial
finally:
    sys.path.pop(0)

REFERENCES: dict[str, Any] = {
    "paths": 12_012,
    "optimum": {"train": 0.95, "test": 0.9025},
    "clairvoyant": {"train": -0.02, "test": -0.01},
    "chosen on train": {"train": 0.0, "test": 0.0125},
    "random": {"train": 0.03, "test": 0.04},
    "orders": {"in blocks": {"train": 0.02, "test": 0.05}, "alternating": {"train": 0.01, "test": 0.06}},
    "between paths": {"train": 0.012, "test": 0.013},
}


def test_orders_stand_between_the_best_path_and_the_average_the_best_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    results = tmp_path / "digits-final.json"
    results.write_text(json.dumps({"references": REFERENCES}))
    monkeypatch.setattr(tutorial, "RESULTS", results)
    rows = [line.split(" | ") for line in tutorial.orders().splitlines() if line.startswith("| ")][2:]
    assert [row[0] for row in rows] == [
        "| *who knows the trial*",
        "| *best path of the trials learned from*",
        "| `alternating`",
        "| `in blocks`",
        "| *average over all paths*",
    ]
    assert rows[1][1:] == ["0.00", "1.25 |"]
    assert rows[2][1:] == ["1.00", "6.00 |"]
    said = tutorial.orders().splitlines()[-1]
    assert said.startswith("12,012 paths. The best one reaches 95.00 %")
    assert "90.25 % there" in said
    assert "1.20 and 1.30 points" in said


def test_without_results_the_commands_are_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tutorial, "RESULTS", tmp_path / "none.json")
    monkeypatch.setattr(growth_paths_tables, "TABLES", tmp_path)
    assert tutorial.orders() == f"not run yet: `{tutorial.COMMAND}`"
    assert growth_paths_tables.path_tables() == "not made yet: `python experiments/path_tables.py --processes 2`"


def test_the_table_of_tables_agrees_with_exact_planning() -> None:
    table = PathTable.load("digits")
    every = 100 * planning.returns(table, trials="train")
    means = every.mean(axis=0)
    agreement = np.corrcoef(means, planning.returns(table, trials="test").mean(axis=0))[0, 1]
    expected = [means.max(), means.mean(), means.min(), means.std(), every.std(axis=0, ddof=1).mean(), agreement]
    cells = growth_paths_tables.line("digits", growth_paths_tables.TABLES / "digits.npz")
    np.testing.assert_allclose([float(cell) for cell in cells[-6:]], expected, atol=0.0051)
    config = table.problem.config
    assert cells[2] == f"{config.minibatches} of {config.batch_size}"
    assert cells[3] == f"{len(table.trials_of('train'))}, {len(table.trials_of('test'))}"
    assert cells[4] == f"{table.samples['validation']}, {table.samples['test']}"


def test_the_pages_on_growth_paths_hold_their_blocks() -> None:
    for page, names in {
        "growth-paths": ["growth-paths-answer", "path-tables", "path-agents"],
        "tutorial": ["tutorial-orders"],
    }.items():
        assert ROOT / "docs" / f"{page}.md" in figures.PAGES
        text = (ROOT / "docs" / f"{page}.md").read_text()
        assert all(f"<!-- figures: {name} -->" in text for name in names)
        assert set(names) <= set(figures.BLOCKS)
