"""The block of docs/tutorial.md; `docs/figures.py` writes it. Without results it shows the command."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from claim import table
from growth_paths_agents import COMMAND, SPLITS, compared, points

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "growth-paths" / "agents" / "digits-final.json"


def orders() -> str:
    """What fixed orders, the average path and whoever knows the trial regret on the table of digits."""
    if not RESULTS.is_file():
        return f"not run yet: `{COMMAND}`"
    references = json.loads(RESULTS.read_text(encoding="utf-8"))["references"]
    return f"{table(*regrets(references))}\n\n{words(references)}"


def regrets(references: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and lines of the table: every fixed order among what `compared` compares with."""
    short = compared(references)
    ordered = sorted(references["orders"].items(), key=lambda order: float(order[1]["train"]))
    lines = [*short[:2], *((f"`{name}`", regret) for name, regret in ordered), short[-1]]
    head = ["regret in points of", "trials to learn from", "held-out trials"]
    return head, [[name, *(points(regret[split]) for split in SPLITS)] for name, regret in lines]


def words(references: Mapping[str, Any]) -> str:
    """How good the best path is, and how different paths are."""
    best, spread = references["optimum"], references["between paths"]
    return (
        f"{references['paths']:,} paths. The best one reaches {points(best['train'])} % in the trials to learn from, "
        f"and the best one of the held-out trials reaches {points(best['test'])} % there; the standard deviation "
        f"between paths is {points(spread['train'])} and {points(spread['test'])} points."
    )


BLOCKS: dict[str, Callable[[], str]] = {"tutorial-orders": orders}
