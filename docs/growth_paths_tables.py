"""The block of docs/growth-paths.md on the tables that come with growenv; `docs/figures.py` writes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import factorial, prod
from pathlib import Path
from typing import Any

import numpy as np
from claim import table

ROOT = Path(__file__).resolve().parent.parent
TABLES = ROOT / "growenv" / "paths" / "tables"
COMMAND = "python experiments/path_tables.py --processes 2"
IDS = {"digits": "growenv/DigitsPaths-v0", "fashion-mnist": "growenv/FashionMNISTPaths-v0"}
HEAD = [
    "id",
    "images",
    "minibatches",
    "trials",
    "samples",
    "best path",
    "mean",
    "worst path",
    "SD of paths",
    "of trials",
    "halves agree",
]


def path_tables() -> str:
    """What every table is a table of, and how different its paths are."""
    files = {name: TABLES / f"{name}.npz" for name in IDS}
    lines = [line(name, path) for name, path in files.items() if path.is_file()]
    if not lines:
        return f"not made yet: `{COMMAND}`"
    return "\n\n".join(
        [
            table(HEAD, lines),
            "Minibatches at each decision; trials to learn from and held out; validation and test samples. Then mean "
            "validation accuracy at the end over the trials to learn from, in percent: of the best path, of all, of "
            "the worst one; the standard deviation between these means of paths; that of one path between trials. "
            "Last, how both halves of the trials agree: the correlation over paths of the means in one and the other.",
        ]
    )


def line(name: str, path: Path) -> list[str]:
    """One table."""
    with np.load(path, allow_pickle=False) as file:
        about, right = json.loads(str(file["about"])), file["validation"]
    problem, samples = about["problem"], about["samples"]
    config, trials, learned = problem["config"], len(problem["trials"]), (len(problem["trials"]) + 1) // 2
    every = 100.0 * right[:, -paths_of(problem) :] / samples["validation"]
    means, held_out = every[:learned].mean(axis=0), every[learned:].mean(axis=0)
    spread = every[:learned].std(axis=0, ddof=1).mean()
    figures = (means.max(), means.mean(), means.min(), means.std(), spread, np.corrcoef(means, held_out)[0, 1])
    pooled = f" averaged down to {config['input_pool']}x{config['input_pool']}" if config["input_pool"] else ""
    return [
        f"`{IDS[name]}`",
        f"{config['dataset']}{pooled}",
        f"{config['minibatches']} of {config['batch_size']}",
        f"{learned}, {trials - learned}",
        f"{samples['validation']:,}, {samples['test']:,}",
        *(f"{figure:.2f}" for figure in figures),
    ]


def paths_of(problem: dict[str, Any]) -> int:
    """Number of paths; their ends are the last nodes."""
    limits = [problem["waits"], *problem["steps"]]
    return factorial(sum(limits)) // prod(map(factorial, limits))


BLOCKS: dict[str, Callable[[], str]] = {"path-tables": path_tables}
