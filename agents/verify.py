"""Published episodes: written compactly, read back exactly, and replayed to see whether they are true.

An episode follows from configuration, context and actions, so a row holds the actions and what came of them. Contexts
are not written but drawn again, and checked against hashes that stand in the results.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.comparison import Player
from agents.evaluation import EpisodeRecord, MakeEnv, evaluation_contexts, make_vector_env, play
from agents.replay import replay
from agents.saving import SavedFileError, read_json, write_atomically
from growenv.config import GrowthConfig
from growenv.randomness import bits
from growenv.streams.tasks import Context, digest

EPISODES, RESULTS = "episodes.csv.gz", "results.json"
TOLERANCE = 1e-6
"""Largest deviation of a replay on the same platform. Replays are exact there; other processors and other versions of
the libraries round differently, and what differs by more is to be explained."""
COMPARED = ("return_", "accuracy", "cost", "acc", "forgetting", "growth_events", "diverged")
"""Figures that a replay must give again."""

_FLOATS = ("return_", "accuracy", "acc", "bwt", "fwt", "forgetting", "cost")
_COUNTS = ("growth_events", "invalid", "diverged")
_PLACE = ("player", "training_seed", "context", "inner_seed")
COLUMNS = (*_PLACE, "price", "budget", *_FLOATS, *_COUNTS, "hardware", "actions")
"""Columns of the file: `training_seed` and `inner_seed` are numbers from 0 on, `context` is the index in the split."""
_SAMPLE = 102  # purpose of the hash that draws the sample; no purpose of growenv has this number

Runs = tuple[tuple[EpisodeRecord, ...], ...]


# --- contexts ------------------------------------------------------------------------------------------------------


def context_hashes(contexts: Sequence[Context]) -> list[str]:
    """16 hexadecimal digits for each context: the SHA-256 of its JSON with price and budget to nine digits.

    Logarithms differ in their last digits between platforms, so the prices drawn do.
    """
    return [
        digest({**context.to_json(), "price": f"{context.price:.9g}", "budget": f"{context.budget:.9g}"})
        for context in contexts
    ]


def redrawn_contexts(
    config: GrowthConfig, split: str, count: int, inner_seeds: int, hashes: Sequence[str]
) -> list[Context]:
    """The contexts of published episodes, drawn again and checked.

    Args:
        config, split, count, inner_seeds: as in `agents.evaluation.evaluation_contexts`.
        hashes: what `context_hashes` gave when the episodes were played.

    Raises:
        SavedFileError: other contexts were played; the message names the first one that differs.
    """
    contexts = evaluation_contexts(config, split, count, inner_seeds)
    if len(hashes) != len(contexts):
        raise SavedFileError(f"the results hold {len(hashes)} hashes of contexts, expected {len(contexts)}")
    for context, now, then in zip(contexts, context_hashes(contexts), hashes, strict=True):
        if now != then:
            raise SavedFileError(
                f"context {context.index} of {split} with inner seed {context.inner_seed} has the hash {now}, but the "
                f"results say {then}: they were made from other data, another configuration or another version"
            )
    return contexts


def _places(contexts: Sequence[Context]) -> list[tuple[int, int]]:
    """Index in the split and number of the inner seed of each context."""
    seen: dict[int, int] = {}
    places = []
    for context in contexts:
        number = seen.get(context.index, 0)
        seen[context.index] = number + 1
        places.append((context.index, number))
    return places


# --- rows ----------------------------------------------------------------------------------------------------------


def write_rows(path: Path, players: Sequence[Player], contexts: Sequence[Context]) -> None:
    """Write all episodes as a compressed CSV file; equal episodes give equal bytes.

    Numbers are written so that they are read back exactly. Episodes in the same context follow each other.

    Args:
        path: where to.
        players: who played.
        contexts: what each of their runs played, in this order.

    Raises:
        ValueError: a run of other contexts.
        OSError: the file cannot be written.
    """
    expected = [(context.index, context.inner_seed) for context in contexts]
    for player in players:
        if any([(record.index, record.inner_seed) for record in run] != expected for run in player.runs):
            raise ValueError(f"player {player.name!r} has played other contexts than the {len(contexts)} given")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for at, (index, number) in enumerate(_places(contexts)):
        for player in players:
            for seed, run in enumerate(player.runs):
                writer.writerow([player.name, seed, index, number, *_fields(run[at])])
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", fileobj=buffer, mtime=0) as file:  # neither name nor time in the bytes
        file.write(text.getvalue().encode())
    write_atomically(path, buffer.getvalue())


def _fields(record: EpisodeRecord) -> list[Any]:
    """The fields after those of the place, in the order of `COLUMNS`."""
    return [
        record.price,
        record.budget,
        *(getattr(record, name) for name in _FLOATS),
        *(int(getattr(record, name)) for name in _COUNTS),
        json.dumps(dict(record.hardware), separators=(",", ":")),
        " ".join(map(str, record.actions)),
    ]


def read_rows(path: Path, contexts: Sequence[Context]) -> dict[str, Runs]:
    """The episodes that `write_rows` wrote.

    Args:
        path: the file.
        contexts: those that were played, for example from `redrawn_contexts`.

    Returns:
        The runs of each player by name: a tuple for each training seed, in the order of `contexts`.

    Raises:
        SavedFileError: the file is missing, damaged or cut off, or holds other episodes than those of the contexts.
    """
    place_of = {place: at for at, place in enumerate(_places(contexts))}
    found: dict[str, dict[int, dict[int, EpisodeRecord]]] = {}
    for line, row in enumerate(_lines(path), start=2):
        try:
            player, seed, place = (
                row["player"],
                int(row["training_seed"]),
                (int(row["context"]), int(row["inner_seed"])),
            )
            at = place_of[place]
            record = _record(row, contexts[at])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SavedFileError(f"{path}, line {line} is damaged or of another context: {error!r}") from None
        run = found.setdefault(player, {}).setdefault(seed, {})
        if at in run:
            raise SavedFileError(f"{path}, line {line}: {player!r} plays context {place[0]} a second time")
        run[at] = record
    return {player: _whole(path, player, runs, len(contexts)) for player, runs in found.items()}


def _lines(path: Path) -> Iterator[dict[str, str]]:
    try:
        text = gzip.decompress(path.read_bytes()).decode()
    except FileNotFoundError:
        raise SavedFileError(f"{path} does not exist") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise SavedFileError(f"{path} is damaged, cut off or not compressed by gzip: {error}") from None
    try:
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (ValueError, csv.Error) as error:
        raise SavedFileError(f"{path} holds no table of episodes: {error}") from None
    if tuple(header) != COLUMNS:
        raise SavedFileError(f"{path} should have the columns {', '.join(COLUMNS)}; it has {', '.join(header)}")
    for line, row in enumerate(rows, start=2):
        if len(row) != len(COLUMNS):
            raise SavedFileError(f"{path}, line {line} has {len(row)} entries, expected {len(COLUMNS)}")
        yield dict(zip(COLUMNS, row, strict=True))


def _record(row: Mapping[str, str], context: Context) -> EpisodeRecord:
    """The episode of a line.

    Raises:
        ValueError: a field of another type, or another price or budget than the context's.
    """
    for name in ("price", "budget"):
        if not math.isclose(float(row[name]), getattr(context, name), rel_tol=1e-9):
            raise ValueError(f"{name} is {row[name]}, but the context has {getattr(context, name)}")
    figures = {name: float(value) for name, value in json.loads(row["hardware"]).items()}
    growth_events, invalid, diverged = (int(row[name]) for name in _COUNTS)
    if diverged not in (0, 1):
        raise ValueError(f"diverged is {diverged}, expected 0 or 1")
    return EpisodeRecord(
        policy=row["player"],
        context=context.to_json(),
        index=context.index,
        inner_seed=context.inner_seed,
        price=float(row["price"]),
        budget=float(row["budget"]),
        **{name: float(row[name]) for name in _FLOATS},
        growth_events=growth_events,
        invalid=invalid,
        diverged=bool(diverged),
        actions=tuple(int(action) for action in row["actions"].split()),
        hardware=figures,
    )


def _whole(path: Path, player: str, runs: Mapping[int, Mapping[int, EpisodeRecord]], count: int) -> Runs:
    """The runs of a player, if none of them and no episode is missing."""
    if sorted(runs) != list(range(len(runs))) or any(len(run) != count for run in runs.values()):
        held = sum(map(len, runs.values()))
        raise SavedFileError(
            f"{path} lacks episodes of {player!r}: it holds {held} of training seeds {sorted(runs)}, expected {count} "
            "of each from 0 on"
        )
    return tuple(tuple(runs[seed][at] for at in range(count)) for seed in range(len(runs)))


# --- replays -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mismatch:
    """A figure that a replay did not give again.

    Attributes:
        player: who played.
        training_seed: number of the training seed.
        context: split, index and inner seed in words.
        figure: name of the figure.
        published: its value in the results.
        replayed: its value in the replay.
    """

    player: str
    training_seed: int
    context: str
    figure: str
    published: float
    replayed: float

    def __str__(self) -> str:
        return (
            f"{self.player} (training seed {self.training_seed}) in {self.context}: {self.figure.rstrip('_')} was "
            f"published as {self.published!r}, the replay gives {self.replayed!r}"
        )


@dataclass(frozen=True)
class Verification:
    """What replaying a sample has shown.

    Attributes:
        checked: episodes that were replayed.
        mismatches: figures that deviate by more than the tolerance.
        deviation: greatest deviation of any figure.
        tolerance: greatest deviation that is allowed.
    """

    checked: int
    mismatches: tuple[Mismatch, ...]
    deviation: float
    tolerance: float = TOLERANCE

    @property
    def holds(self) -> bool:
        """Whether every figure was given again."""
        return not self.mismatches

    def __str__(self) -> str:
        head = f"replayed {self.checked:,} episodes from configuration, context and actions: "
        if not self.mismatches:
            return f"{head}all figures are as published; greatest deviation {self.deviation:.3g}"
        lines = "\n".join(f"- {mismatch}" for mismatch in self.mismatches)
        return f"{head}{len(self.mismatches):,} figures deviate by more than {self.tolerance:g}:\n{lines}"


def verify(
    rows: Mapping[str, Sequence[Sequence[EpisodeRecord]]],
    config: GrowthConfig,
    sample: int,
    seed: int = 0,
    make_env: MakeEnv = make_vector_env,
    tolerance: float = TOLERANCE,
) -> Verification:
    """Replay a random sample of published episodes and compare the figures in `COMPARED`.

    Args:
        rows: the runs of each player by name, as from `read_rows`.
        config: the environment.
        sample: episodes to replay, drawn without replacement; all of them if there are fewer.
        seed: seed of the sample.
        make_env: as in `agents.evaluation.play`.
        tolerance: greatest deviation that is allowed.

    Raises:
        ValueError: no episodes, or a sample below 1.
    """
    published = [
        (player, number, record) for player, runs in rows.items() for number, run in enumerate(runs) for record in run
    ]
    if not published or sample < 1:
        raise ValueError(f"at least one episode is needed, got a sample of {sample} from {len(published)} episodes")
    order = np.argsort(bits(seed, _SAMPLE, np.arange(len(published))), kind="stable")
    chosen = [published[place] for place in sorted(order[:sample])]
    contexts = [Context.from_json(record.context) for _, _, record in chosen]
    played = play(replay([record.actions for _, _, record in chosen]), config, contexts, make_env=make_env)
    mismatches, greatest = [], 0.0
    for (player, number, record), again in zip(chosen, played, strict=True):
        for figure in COMPARED:
            then, now = float(getattr(record, figure)), float(getattr(again, figure))
            deviation = _deviation(then, now)
            greatest = max(greatest, deviation)
            if deviation > tolerance:
                words = f"context {record.index} of {record.context['split']}, inner seed {record.inner_seed}"
                mismatches.append(Mismatch(player, number, words, figure, then, now))
    return Verification(len(chosen), tuple(mismatches), greatest, tolerance)


def verify_folder(folder: Path, sample: int, seed: int = 0) -> Verification:
    """Replay a sample of the episodes that `agents.report.tables.write` left in a folder.

    Args:
        folder: where ``results.json`` and the episodes are.
        sample: episodes to replay; 0 means all.
        seed: seed of the sample.

    Raises:
        SavedFileError: the files are missing, damaged, or speak of other contexts.
        ValueError: as in `verify`.
    """
    results = read_results(folder)
    config = GrowthConfig.from_json(results["config"])
    contexts = redrawn_contexts(
        config, results["split"], results["contexts"], results["inner_seeds"], results["context_hashes"]
    )
    rows = read_rows(folder / EPISODES, contexts)
    return verify(rows, config, sample or sum(len(run) for runs in rows.values() for run in runs), seed)


def read_results(folder: Path) -> dict[str, Any]:
    """The figures of a folder of results.

    Raises:
        SavedFileError: they are missing, damaged, or were written by another version.
    """
    results = read_json(folder / RESULTS)
    needed = ("config", "split", "contexts", "inner_seeds", "context_hashes", "players")
    if absent := [name for name in needed if name not in results]:
        raise SavedFileError(f"{folder / RESULTS} lacks {', '.join(absent)}: it was written by another version")
    return results


def _deviation(then: float, now: float) -> float:
    """Distance of two figures; unknown figures (NaN) equal each other and nothing else."""
    if math.isnan(then) or math.isnan(now):
        return 0.0 if math.isnan(then) and math.isnan(now) else math.inf
    return 0.0 if then == now else abs(then - now)
