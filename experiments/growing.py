"""What the studies of growth operators share: operators by name, one task learned by a stack, growing, tables."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps

from agents.statistics import Interval, mean_interval, paired_interval
from agents.training.run_folder import versions
from growenv.config import GrowthConfig
from growenv.growth import OPERATORS, GrowthOperator, RandomGrowth
from growenv.learner import Learner
from growenv.registry import unknown_name
from growenv.streams import Context, Dataset, Task, Transform

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "growth"
BASE = "random"
"""What all operators are compared with."""
VARIANTS: dict[str, Callable[[], GrowthOperator]] = {"random-live": lambda: RandomGrowth(length="live")}
"""Not registered, but needed to compare sides: `random` with vectors as long as those of the operators from papers."""
ALL = "all"
EVERY_TEST_SAMPLE = 10**9
RATES = {"adam": 0.002, "sgd": 0.1}
"""Step sizes with which networks of 64-64 units were best on validation data of Fashion-MNIST after 4000 steps."""


def known_operators() -> tuple[str, ...]:
    """Names of all operators and variants, random growth first."""
    names = sorted({*OPERATORS.names(), *VARIANTS})
    return tuple(sorted(names, key=lambda name: (not name.startswith(BASE), name)))


def make_operator(name: str) -> GrowthOperator:
    """The operator or variant of that name."""
    return VARIANTS[name]() if name in VARIANTS else OPERATORS.make(name)


def operator_name(text: str) -> str:
    """The name of an operator or variant, or "all", from the command line."""
    names = (*known_operators(), ALL)
    if text not in names:
        raise argparse.ArgumentTypeError(str(unknown_name("growth operator", text, names)))
    return text


def chosen_operators(names: Sequence[str], base: str = BASE) -> list[str]:
    """The operators of a command line in the order of `known_operators`.

    Args:
        names: checked names, "all" for all of them.
        base: what others are compared with; always among them.
    """
    return [name for name in known_operators() if name in (*names, base) or ALL in names]


def single_task_learner(
    dataset: Dataset, rows: int, operator: str, hidden: Sequence[int], most: Sequence[int], **options: Any
) -> Learner:
    """A stack whose rows all learn the whole data set, each from its own seed 0, 1, ...; it has begun.

    Rows of equal number have equal initial weights and minibatches whatever the operator is, so comparisons are paired.

    Args:
        dataset: what is learned, all classes at once.
        rows: number of networks N.
        operator: name of the growth operator or variant.
        hidden: initial widths.
        most: greatest widths.
        options: further options of `GrowthConfig`.
    """
    config = GrowthConfig.from_options(
        dataset=dataset, growth=make_operator(operator), hidden=tuple(hidden), max_hidden=tuple(most), **options
    )
    learner = Learner(config, dataset, rows, 1)
    tasks = (Task(Transform(), tuple(range(dataset.classes))),)
    contexts = [
        Context("single", dataset.name, "train", row, tasks, budget=1.0, price=0.0, inner_seed=row)
        for row in range(rows)
    ]
    learner.begin(np.ones(rows, dtype=bool), contexts)
    return learner


def warm_up(learner: Learner, amounts: Sequence[int]) -> None:
    """Grow once and take it back: what is loaded at an operator's first call is no part of the time of its events."""
    before = learner.snapshot()
    grow_all(learner, amounts)
    learner.restore(before)


def grow_all(learner: Learner, amounts: Sequence[int]) -> float:
    """Add so many units to each layer of every row, from the first layer to the last; seconds that it took."""
    begun = time.perf_counter()
    for layer, amount in enumerate(amounts):
        learner.grow(np.full(learner.rows, layer), np.full(learner.rows, amount))
    return time.perf_counter() - begun


def steps_of_growth(small: Sequence[int], large: Sequence[int], events: int) -> list[int]:
    """Units that each of so many equal events adds to each layer.

    Raises:
        ValueError: the layers do not grow, or not in so many equal steps.
    """
    added = [most - least for least, most in zip(small, large, strict=True)]
    if events < 1 or any(units < 1 or units % events for units in added):
        raise ValueError(f"{list(small)} cannot grow to {list(large)} in {events} equal events")
    return [units // events for units in added]


def parameters(inputs: int, widths: Sequence[int], classes: int) -> int:
    """Weights and biases of a dense network; its multiply-accumulates for one sample, biases aside, are as many."""
    sizes = [inputs, *widths, classes]
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True))


def compared(lines: Mapping[str, Mapping[str, Any]], key: str, base: str = BASE) -> dict[str, dict[str, Any]]:
    """Mean and interval over rows of one figure of all lines, and of its difference to `base`, paired by row."""
    figures: dict[str, dict[str, Any]] = {}
    for name, line in lines.items():
        figures[name] = {"mean": vars(mean_interval(line[key]))}
        if name != base:
            figures[name][f"minus {base}"] = vars(paired_interval(line[key], lines[base][key]))
    return figures


def spread(interval: Mapping[str, float], factor: float = 1.0, signed: bool = False, digits: int = 2) -> str:
    """Mean and interval as text; a difference that its interval tells from zero gets a star."""
    sign = "+" if signed else ""
    mean, low, high = (f"{factor * interval[name]:{sign}.{digits}f}" for name in ("mean", "low", "high"))
    star = "" if not signed or Interval(**interval).covers_zero else " *"
    return f"{mean} [{low}, {high}]{star}"


def colours(names: Sequence[str]) -> dict[str, Any]:
    """A colour for each line of a picture, as different as there are."""
    palette = colormaps["tab10" if len(names) <= 10 else "tab20"]
    return {name: palette(number) for number, name in enumerate(names)}


def table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Columns of text, the first one to the left and the others to the right."""
    lines = [list(header), *map(list, cells)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _shown(path: Path) -> str:
    """A path as seen from the checkout, which may lie anywhere."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def write(path: Path, args: argparse.Namespace, results: Mapping[str, Any]) -> None:
    """Results as JSON with the command, its settings and the versions."""
    settings = {name: _shown(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    whole = {"command": shlex.join(["python", *sys.argv]), "settings": settings, "versions": versions(), **results}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, indent=1) + "\n")


def positive(text: str) -> int:
    """An integer of at least 1 from the command line."""
    return _at_least(1, text)


def seeds(text: str) -> int:
    """A number of seeds from the command line; a single one has no interval."""
    return _at_least(2, text)


def _at_least(least: int, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer >= {least}")
    return number


def above_zero(text: str) -> float:
    """A number above 0 from the command line."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
