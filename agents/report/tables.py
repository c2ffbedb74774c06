"""The table and the files of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agents.comparison import BEST_FIXED, Comparison, Player
from agents.evaluation import MakeEnv, make_vector_env
from agents.report.breakdown import FIGURES, Bin, best_gate, breakdown, breakdown_text
from agents.report.verdicts import signed, verdicts
from agents.saving import write_atomically, write_json
from agents.statistics import (
    GapClosed,
    Interval,
    gap_report,
    interquartile_mean,
    mean,
    mean_difference,
    probability_of_improvement,
    study_interval,
)
from agents.verify import EPISODES, context_hashes, write_rows
from growenv.streams.tasks import Context

if TYPE_CHECKING:
    from agents.price_sweep import PriceSweep

FORMAT = 2
REPLAYS = 64
"""Episodes of each policy that are replayed for the accuracy matrices and for the picture of one context."""


@dataclass(frozen=True)
class Row:
    """One player's line of the table; intervals are for new contexts, and new training seeds where there are several.

    Attributes:
        name: name.
        kind: one of `agents.comparison.KINDS`.
        return_: sum of rewards.
        accuracy: validation accuracy at the end.
        cost: share of the capacity used at the end.
        acc: accuracy on inner test data at the end.
        forgetting: forgetting on inner test data.
        return_here: sum of rewards, with an interval for other inner seeds in these contexts.
        middle: interquartile mean of the return.
        over_fixed: return minus the best fixed schedule's; None for that schedule itself.
        over_gate: return minus that of the gate with the highest mean; None for that gate, or without gates.
        improvement: probability of a higher return than the best fixed schedule's; None for that schedule itself.
        under_leader: return of the first learned policy minus this one's; None unless this is a control or an ablation.
        gap: share of the gap to the oracle that is closed; None unless this learned and the oracle played.
        growths: growth events of an episode, mean.
        invalid: illegal actions of an episode, mean.
        hardware: figures of the hardware, mean, by name.
        seeds: mean return of each training seed.
        trials: candidates that were tried to tune it; 1 without tuning.
        steps: environment steps spent on its training or tuning.
        steps_per_episode: environment steps simulated for each episode beyond the episode's own.
        note: a sentence about it.
    """

    name: str
    kind: str
    return_: Interval
    accuracy: Interval
    cost: Interval
    acc: Interval
    forgetting: Interval
    return_here: Interval
    middle: Interval
    over_fixed: Interval | None
    over_gate: Interval | None
    improvement: Interval | None
    under_leader: Interval | None
    gap: GapClosed | None
    growths: float
    invalid: float
    hardware: Mapping[str, float]
    seeds: tuple[float, ...]
    trials: int
    steps: int
    steps_per_episode: float
    note: str


_INTERVALS = ("return_", "accuracy", "cost", "acc", "forgetting")


def rows(comparison: Comparison, seed: int = 0) -> list[Row]:
    """The lines of the table, highest return first.

    Args:
        comparison: what was played.
        seed: seed of the bootstrap.
    """
    lines = [_row(comparison, player, seed) for player in comparison.players]
    return sorted(lines, key=lambda line: -line.return_.mean)


def _row(comparison: Comparison, player: Player, seed: int) -> Row:
    own, fixed = player.values("return_"), comparison.player(BEST_FIXED).values("return_")
    gate, leaders, oracles = best_gate(comparison), comparison.of_kind("learned"), comparison.of_kind("oracle")
    is_fixed = player.name == BEST_FIXED
    search = comparison.searches.get(player.name)
    scored = player.kind == "learned" and oracles

    def over(other: NDArray[np.float64]) -> Interval:
        return study_interval(mean_difference, (own, other), seed=seed)

    return Row(
        player.name,
        player.kind,
        **{name: _mean(player.values(name), seed) for name in _INTERVALS},
        return_here=study_interval(mean, (own,), contexts="these", seed=seed),
        middle=study_interval(interquartile_mean, (own,), seed=seed),
        over_fixed=None if is_fixed else over(fixed),
        over_gate=None if gate in (None, player) else over(gate.values("return_")),
        improvement=None if is_fixed else study_interval(probability_of_improvement, (own, fixed), seed=seed),
        under_leader=_under(leaders[0], own, seed) if leaders and player.kind in ("control", "ablation") else None,
        gap=gap_report(own, fixed, oracles[0].values("return_"), seed=seed) if scored else None,
        growths=player.mean("growth_events"),
        invalid=player.mean("invalid"),
        hardware={name: player.mean(name) for name in player.records[0].hardware},
        seeds=tuple(float(each) for each in own.mean(axis=(1, 2))),
        trials=1 if search is None else len(search.trials),
        steps=player.steps,
        steps_per_episode=player.steps_per_episode,
        note=player.note,
    )


def _mean(values: NDArray[np.float64], seed: int) -> Interval:
    """Mean and interval; unknown where an episode has no such figure, as forgetting without an accuracy matrix."""
    if not np.isfinite(values).all():
        return Interval(float("nan"), float("nan"), float("nan"))
    return study_interval(mean, (values,), seed=seed)


def _under(leader: Player, own: NDArray[np.float64], seed: int) -> Interval:
    return study_interval(mean_difference, (leader.values("return_"), own), seed=seed)


def table(comparison: Comparison, seed: int = 0, lines: Sequence[Row] | None = None) -> str:
    """The table, what was tuned, and the verdict on each learned policy, as text.

    Args:
        comparison: what was played.
        seed: seed of the bootstrap.
        lines: the rows, where they are known already.
    """
    lines = rows(comparison, seed) if lines is None else lines
    cells = [HEAD, *map(cells_of, lines)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*text, "", *notes_of(comparison), "", *verdicts(comparison, lines, seed)])


HEAD = ("policy", "kind", "return", "accuracy", "cost", "growths", "minus best fixed", "gap closed", "steps")
"""Heads of the columns of `cells_of`."""


def cells_of(line: Row) -> tuple[str, ...]:
    """A line of the table as text, a cell for each of `HEAD`."""
    return (
        line.name,
        line.kind,
        str(line.return_),
        str(line.accuracy),
        str(line.cost),
        f"{line.growths:.1f}",
        "" if line.over_fixed is None else signed(line.over_fixed),
        "" if line.gap is None else str(line.gap),
        f"{line.steps:,}" + (f" + {line.steps_per_episode:,.0f} an episode" if line.steps_per_episode else ""),
    )


def notes_of(comparison: Comparison) -> list[str]:
    """What the columns mean, what was tuned, and what there is to say about players."""
    seeds = f" x {comparison.inner_seeds} inner seeds" if comparison.inner_seeds > 1 else ""
    most = max(len(player.runs) for player in comparison.players)
    redrawn = "training seeds and contexts" if most > 1 else "contexts"
    return [
        f"{comparison.contexts} contexts{seeds} of the {comparison.split} split; mean [95 % interval over {redrawn}].",
        "Return: accuracy (validation data, mean over the stream's tasks) minus price x newly used share of capacity.",
        "Cost: share of the capacity used at the end. Steps: environment steps spent on training or tuning.",
        *(_search_note(name, comparison) for name in comparison.searches),
        *(f"{player.name}: {player.note}." for player in comparison.players if player.note),
    ]


def _search_note(name: str, comparison: Comparison) -> str:
    search = comparison.searches[name]
    return (
        f"{name} is {search.best.name}: the best of {len(search.trials)} candidates tried in {search.episodes:,} "
        f"episodes ({search.steps:,} steps of the environment) on {' and '.join(search.splits)} contexts."
    )


def results(
    comparison: Comparison,
    seed: int = 0,
    lines: Sequence[Row] | None = None,
    breakdowns: Mapping[str, Sequence[Bin]] | None = None,
) -> dict[str, Any]:
    """All figures, the searches and the configuration as plain types.

    Args:
        comparison: what was played.
        seed: seed of the bootstrap.
        lines: the rows, where they are known already.
        breakdowns: the breakdowns, where they are known already.
    """
    lines = rows(comparison, seed) if lines is None else lines
    breakdowns = breakdowns_of(comparison, seed) if breakdowns is None else breakdowns
    plain: dict[str, Any] = _plain(
        {
            "format": FORMAT,
            "config": comparison.config.to_json(),
            "split": comparison.split,
            "contexts": comparison.contexts,
            "inner_seeds": comparison.inner_seeds,
            "context_hashes": context_hashes(contexts_of(comparison)),
            "bootstrap_seed": seed,
            "players": [asdict(line) for line in lines],
            "verdicts": verdicts(comparison, lines, seed),
            "searches": {name: search.to_json() for name, search in comparison.searches.items()},
            "breakdowns": {by: [asdict(each) for each in bins] for by, bins in breakdowns.items()},
        }
    )
    return plain


def contexts_of(comparison: Comparison) -> list[Context]:
    """What every run played, in its order."""
    return [Context.from_json(record.context) for record in comparison.players[0].records]


def breakdowns_of(comparison: Comparison, seed: int = 0) -> dict[str, tuple[Bin, ...]]:
    """The breakdowns by price and by budget."""
    return {by: breakdown(comparison, by, seed=seed) for by in FIGURES}


def _plain(value: Any) -> Any:
    """JSON has no NaN: what is unknown, such as the ends of an interval over one context, becomes null."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def write(
    comparison: Comparison,
    folder: Path,
    seed: int = 0,
    notes: Mapping[str, Any] | None = None,
    sweep: PriceSweep | None = None,
    *,
    replays: int = REPLAYS,
    make_env: MakeEnv = make_vector_env,
) -> list[Path]:
    """Write figures, table, episodes, pictures and the report.

    Args:
        comparison: what was played.
        folder: where to; it is made if need be.
        seed: seed of the bootstrap.
        notes: further entries of `results.json`, plain types; the report shows ``command`` and ``versions``.
        sweep: policies at several prices.
        replays: episodes of the first learned policy and of the best fixed schedule to replay for their accuracy
            matrices and for the picture of one context; 0 leaves these out.
        make_env: as in `agents.evaluation.play`, for the replays.

    Returns:
        Paths of the files: `results.json`, `table.txt`, `episodes.csv.gz`, `report.html`, then the pictures.
    """
    from agents.report.html_report import page
    from agents.report.pictures import pictures_of
    from agents.report.showcase import showcase

    folder.mkdir(parents=True, exist_ok=True)
    lines, breakdowns = rows(comparison, seed), breakdowns_of(comparison, seed)
    detail = showcase(comparison, replays, make_env) if replays and comparison.of_kind("learned") else None
    pictures = pictures_of(comparison, lines, breakdowns, detail, sweep, seed)
    figures = {
        **results(comparison, seed, lines, breakdowns),
        **({"price_sweep": _plain(sweep.to_json())} if sweep else {}),
    }
    text = [table(comparison, seed, lines), *(breakdown_text(by, bins) for by, bins in breakdowns.items())]
    write_json(folder / "results.json", {**figures, **(notes or {})})
    write_atomically(folder / "table.txt", ("\n\n".join(text) + "\n").encode())
    write_rows(folder / EPISODES, comparison.players, contexts_of(comparison))
    report = page(comparison, lines, breakdowns, pictures, detail, sweep, notes, seed)
    write_atomically(folder / "report.html", report.encode())
    for name, picture in pictures.items():
        write_atomically(folder / name, picture)
    return [folder / name for name in ("results.json", "table.txt", EPISODES, "report.html", *pictures)]
