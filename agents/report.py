"""Tables, files and pictures of a comparison; says in words when nothing was shown."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.comparison import BEST_FIXED, MATCHED, Comparison
from agents.evaluation import EpisodeRecord
from agents.saving import write_json
from agents.statistics import Interval, context_means, mean_interval, paired_interval, share_better

FORMAT = 1


@dataclass(frozen=True)
class Row:
    """One policy's line of the table; every interval is over contexts.

    Attributes:
        policy: name.
        return_: sum of rewards.
        accuracy: validation accuracy at the end.
        cost: share of the capacity used at the end.
        acc: accuracy on inner test data at the end.
        forgetting: forgetting on inner test data.
        growths: growth events of an episode, mean.
        invalid: illegal actions of an episode, mean.
        difference: return minus the best fixed schedule's in the same contexts; None for that schedule itself.
        better: share of the contexts with a higher return than the best fixed schedule's.
        trials: candidates that were tried to tune it; 1 without tuning.
    """

    policy: str
    return_: Interval
    accuracy: Interval
    cost: Interval
    acc: Interval
    forgetting: Interval
    growths: float
    invalid: float
    difference: Interval | None
    better: float | None
    trials: int


def rows(comparison: Comparison, seed: int = 0) -> list[Row]:
    """The lines of the table, highest return first.

    Args:
        comparison: what was played.
        seed: seed of the bootstrap.
    """
    reference = _values(comparison.records[BEST_FIXED], "return_")
    lines = []
    for policy, records in comparison.records.items():
        own = _values(records, "return_")
        search = comparison.searches.get(policy)
        is_reference = policy == BEST_FIXED
        lines.append(
            Row(
                policy,
                **{name: mean_interval(_values(records, name), seed=seed) for name in _INTERVALS},
                growths=float(np.mean([record.growth_events for record in records])),
                invalid=float(np.mean([record.invalid for record in records])),
                difference=None if is_reference else paired_interval(own, reference, seed=seed),
                better=None if is_reference else share_better(own, reference),
                trials=1 if search is None else len(search.trials),
            )
        )
    return sorted(lines, key=lambda line: -line.return_.mean)


_INTERVALS = ("return_", "accuracy", "cost", "acc", "forgetting")


def _values(records: Sequence[EpisodeRecord], name: str) -> NDArray[np.float64]:
    return context_means([getattr(record, name) for record in records], [record.index for record in records])


def table(comparison: Comparison, seed: int = 0) -> str:
    """The table, what was tuned, and the verdict on each learned policy, as text."""
    lines = rows(comparison, seed)
    head = ("policy", "return", "accuracy", "cost", "growths", "minus best fixed", "better in", "trials")
    cells = [head, *(_cells(line, line.policy in comparison.learned) for line in lines)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    text.insert(1, "  ".join("-" * width for width in widths))
    contexts = len(_values(comparison.records[BEST_FIXED], "return_"))
    notes = [
        f"{contexts} contexts of the {comparison.split} split; mean [95 % percentile interval over contexts].",
        "Return: accuracy (validation data, mean over the stream's tasks) minus price x newly used share of capacity.",
        "Cost: share of the capacity used at the end.",
        *(_search_note(name, comparison) for name in comparison.searches),
    ]
    if MATCHED in comparison.records and comparison.learned:
        notes.append(f"{MATCHED} grows at the rates of {comparison.learned[0]}.")
    return "\n".join([*text, "", *notes, "", *verdicts(comparison, lines, seed)])


def _cells(line: Row, learned: bool) -> tuple[str, ...]:
    return (
        line.policy + (" (learned)" if learned else ""),
        str(line.return_),
        str(line.accuracy),
        str(line.cost),
        f"{line.growths:.1f}",
        "" if line.difference is None else _signed(line.difference),
        "" if line.better is None else f"{line.better:.0%}",
        str(line.trials) if line.trials > 1 else "",
    )


def _signed(interval: Interval) -> str:
    return f"{interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def _search_note(name: str, comparison: Comparison) -> str:
    search = comparison.searches[name]
    return (
        f"{name} is {search.best.name}: the best of {len(search.trials)} candidates tried in {search.episodes:,} "
        f"episodes ({search.steps:,} steps of the environment) on {' and '.join(search.splits)} contexts."
    )


def verdicts(comparison: Comparison, lines: Sequence[Row], seed: int = 0) -> list[str]:
    """What was shown of each learned policy, against the best fixed schedule and the strongest baseline here."""
    strongest = next(line.policy for line in lines if line.policy not in comparison.learned)
    sentences = []
    for line in lines:
        if line.policy not in comparison.learned or line.difference is None:
            continue
        sentences.append(f"{line.policy}: {verdict(line.difference)} (difference {_signed(line.difference)}).")
        if strongest != BEST_FIXED:
            own, other = (_values(comparison.records[name], "return_") for name in (line.policy, strongest))
            difference = paired_interval(own, other, seed=seed)
            words = verdict(difference, f"{strongest}, the strongest baseline here,")
            sentences.append(f"{line.policy}: {words} (difference {_signed(difference)}).")
    if sentences:
        sentences.append("The intervals are for these trained policies; another training seed may give another result.")
    return sentences


def verdict(difference: Interval, other: str = "the best fixed schedule") -> str:
    """What a paired difference in return shows, in words.

    Args:
        difference: return minus the other's.
        other: what it is compared with.
    """
    if difference.covers_zero:
        return f"no improvement over {other} was shown"
    return f"{'better' if difference.low > 0 else 'worse'} than {other} in these contexts"


def write(comparison: Comparison, folder: Path, seed: int = 0, notes: Mapping[str, Any] | None = None) -> list[Path]:
    """Write `results.json`, `episodes.csv`, `table.txt` and `growth_timeline.png`.

    Args:
        comparison: what was played.
        folder: where to; it is made if need be.
        seed: seed of the bootstrap.
        notes: further entries of `results.json`, plain types.

    Returns:
        Paths of the files.
    """
    from agents.timeline import draw_timeline

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("results.json", "episodes.csv", "table.txt", "growth_timeline.png")]
    write_json(paths[0], {**results(comparison, seed), **(notes or {})})
    _write_episodes(comparison, paths[1])
    paths[2].write_text(table(comparison, seed) + "\n", encoding="utf-8")
    draw_timeline(comparison, rows(comparison, seed), paths[3])
    return paths


def results(comparison: Comparison, seed: int = 0) -> dict[str, Any]:
    """All figures of the table, the searches and the configuration as plain types."""
    lines = rows(comparison, seed)
    return {
        "format": FORMAT,
        "config": comparison.config.to_json(),
        "split": comparison.split,
        "bootstrap_seed": seed,
        "learned": list(comparison.learned),
        "policies": [_finite(asdict(line)) for line in lines],
        "verdicts": verdicts(comparison, lines, seed),
        "searches": {name: search.to_json() for name, search in comparison.searches.items()},
    }


def _finite(value: Any) -> Any:
    """JSON has no NaN: the unknown ends of an interval over one context become null."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _write_episodes(comparison: Comparison, path: Path) -> None:
    names = [field.name for field in fields(EpisodeRecord)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for records in comparison.records.values():
            for record in records:
                data = record.to_json()
                writer.writerow(
                    json.dumps(data[name]) if name in ("context", "actions", "hardware") else data[name]
                    for name in names
                )
