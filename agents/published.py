"""A folder of results as the comparison that it was made from: to judge and draw it anew without playing it again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agents.comparison import Comparison, Player
from agents.pareto import Saving
from agents.price_sweep import Family, PriceSweep
from agents.saving import SavedFileError
from agents.search import SearchResult
from agents.statistics import Interval
from agents.verify import EPISODES, RESULTS, read_results, read_rows, redrawn_contexts
from growenv.config import GrowthConfig

NOTES = ("command", "versions", "origins")
"""What a folder says of how it was made."""


def read_comparison(folder: Path) -> Comparison:
    """The comparison whose results and episodes `agents.report.tables.write` left in a folder.

    Raises:
        SavedFileError: the files are missing, damaged, or do not fit each other.
    """
    results = read_results(folder)
    try:
        config = GrowthConfig.from_json(results["config"])
        played = (results["split"], int(results["contexts"]), int(results["inner_seeds"]))
        contexts = redrawn_contexts(config, *played, results["context_hashes"])
        searches = {name: SearchResult.from_json(each) for name, each in results["searches"].items()}
        known = {row["name"]: row for row in results["players"]}
        fields = ("kind", "steps", "steps_per_episode", "note")
        told = {name: {field: row[field] for field in fields} for name, row in known.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise SavedFileError(f"{folder / RESULTS} is damaged: {error!r}") from None
    runs = read_rows(folder / EPISODES, contexts)
    if set(runs) != set(told):
        other = ", ".join(sorted(set(runs) ^ set(told)))
        raise SavedFileError(f"{folder}: results and episodes speak of different players: {other}")
    players = tuple(Player(name=name, runs=own, **told[name]) for name, own in runs.items())
    return Comparison(config, results["split"], int(results["inner_seeds"]), players, searches)


def read_sweep(results: Mapping[str, Any]) -> PriceSweep | None:
    """The price sweep of some results as far as it was written: the means of every point, and the savings.

    Raises:
        SavedFileError: the entry is damaged.
    """
    plain = results.get("price_sweep")
    if plain is None:
        return None
    try:
        families = tuple(_family(each) for each in plain["families"])
        savings = {name: tuple(map(_saving, each)) for name, each in plain["savings"].items()}
        return PriceSweep(families, savings, float(plain["initial_cost"]), int(plain["contexts"]))
    except (KeyError, TypeError, ValueError) as error:
        raise SavedFileError(f"the price sweep of these results is damaged: {error!r}") from None


def _family(plain: Mapping[str, Any]) -> Family:
    means = [np.array([[[[point[name]]]] for point in plain["points"]]) for name in ("cost", "accuracy")]
    return Family(plain["name"], tuple(point["label"] for point in plain["points"]), *means)


def _saving(plain: Mapping[str, Any]) -> Saving:
    spans = {name: _interval(plain[name]) for name in ("total", "new")}
    least, most = plain["front_values"]
    return Saving(plain["accuracy"], plain["cost"], plain["front_cost"], (least, most), **spans)


def _interval(plain: Mapping[str, float | None] | None) -> Interval | None:
    """An interval; what JSON holds as null is unknown."""
    if plain is None:
        return None
    ends = [plain[name] for name in ("mean", "low", "high")]
    return Interval(*(float("nan") if end is None else float(end) for end in ends))
