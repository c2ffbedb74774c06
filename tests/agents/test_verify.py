"""Rows come back as they were written, replays agree with them, and every lie and every damage is found."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents import schedules  # noqa: F401  (registers the policies)
from agents.comparison import Player
from agents.evaluation import EpisodeRecord, evaluation_contexts, play
from agents.policy import PolicySpec
from agents.saving import SavedFileError
from agents.verify import COLUMNS, context_hashes, read_rows, redrawn_contexts, verify, write_rows
from growenv.config import GrowthConfig
from growenv.streams.tasks import Context
from tests.agents.fake_env import CONFIG, FakeVectorEnv

TINY = GrowthConfig(
    tasks=2,
    decisions=2,
    minibatches=1,
    batch_size=8,
    max_hidden=(24, 24),
    validation_samples=16,
    test_samples=16,
    budget=0.9,
)


def fake(count: int = 3, inner_seeds: int = 2, split: str = "val") -> tuple[list[Context], tuple[Player, ...]]:
    """Contexts, and a learned policy of two training seeds and a schedule that played them."""
    contexts = evaluation_contexts(CONFIG, split, count, inner_seeds)
    runs = [
        tuple(play(PolicySpec("random", {"seed": seed}), CONFIG, contexts, make_env=FakeVectorEnv)) for seed in (1, 2)
    ]
    never = tuple(play(PolicySpec("never"), CONFIG, contexts, make_env=FakeVectorEnv))
    figures = tuple(
        replace(record, hardware={"energy_pj": 1 / 3, "memristors": 12.0}, bwt=float("nan")) for record in never
    )
    return contexts, (Player("ppo", "learned", tuple(runs)), Player('never, "ever"', "schedule", (figures,)))


# --- contexts ------------------------------------------------------------------------------------------------------


def test_contexts_are_drawn_again_and_checked() -> None:
    contexts = evaluation_contexts(CONFIG, "test", 3, 2)
    hashes = context_hashes(contexts)
    assert len(set(hashes)) == 6
    assert all(len(name) == 16 for name in hashes)
    assert redrawn_contexts(CONFIG, "test", 3, 2, hashes) == contexts


def test_other_contexts_are_refused() -> None:
    contexts = evaluation_contexts(CONFIG, "test", 3)
    hashes = context_hashes(contexts)
    with pytest.raises(SavedFileError, match="context 0 of val with inner seed"):
        redrawn_contexts(CONFIG, "val", 3, 1, hashes)
    with pytest.raises(SavedFileError, match="context 1 of test .* results say 0000"):
        redrawn_contexts(CONFIG, "test", 3, 1, [hashes[0], "0000", hashes[2]])
    with pytest.raises(SavedFileError, match="3 hashes of contexts, expected 4"):
        redrawn_contexts(CONFIG, "test", 4, 1, hashes)


def test_a_hash_sees_the_price_but_not_its_last_digit() -> None:
    context = evaluation_contexts(CONFIG, "test", 1)[0]
    nudged = replace(context, price=float(np.nextafter(context.price, 1.0)))
    assert context_hashes([context]) == context_hashes([nudged])
    assert context_hashes([context]) != context_hashes([replace(context, price=1.001 * context.price)])


# --- rows ----------------------------------------------------------------------------------------------------------


def test_rows_are_read_back_exactly(tmp_path: Path) -> None:
    contexts, players = fake()
    write_rows(tmp_path / "rows.csv.gz", players, contexts)
    rows = read_rows(tmp_path / "rows.csv.gz", contexts)
    assert list(rows) == ["ppo", 'never, "ever"']
    for player in players:
        expected = tuple(tuple(replace(record, policy=player.name) for record in run) for run in player.runs)
        assert repr(rows[player.name]) == repr(expected)  # NaN does not equal itself


def test_equal_episodes_give_equal_bytes(tmp_path: Path) -> None:
    contexts, players = fake()
    write_rows(tmp_path / "a.gz", players, contexts)
    write_rows(tmp_path / "another name.gz", players, contexts)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "another name.gz").read_bytes()
    assert (tmp_path / "a.gz").read_bytes()[4:8] == bytes(4)  # the time, seconds since 1970


def test_a_row_can_be_read_by_eye(tmp_path: Path) -> None:
    contexts, players = fake(1, 1)
    write_rows(tmp_path / "rows.gz", players, contexts)
    header, first, *_ = csv.reader(io.StringIO(gzip.decompress((tmp_path / "rows.gz").read_bytes()).decode()))
    row = dict(zip(header, first, strict=True))
    taken = players[0].records[0]
    assert [row[name] for name in ("player", "training_seed", "context", "inner_seed")] == ["ppo", "0", "0", "0"]
    assert row["actions"] == " ".join(map(str, taken.actions))
    assert float(row["return_"]) == taken.return_
    assert row["hardware"] == "{}"


def test_players_of_other_contexts_are_not_written(tmp_path: Path) -> None:
    contexts, players = fake()
    with pytest.raises(ValueError, match="'ppo' has played other contexts than the 5"):
        write_rows(tmp_path / "rows.gz", players, contexts[:5])
    assert not (tmp_path / "rows.gz").exists()


def test_a_missing_cut_or_foreign_file_is_refused(tmp_path: Path) -> None:
    contexts, players = fake()
    path = tmp_path / "rows.gz"
    with pytest.raises(SavedFileError, match="does not exist"):
        read_rows(path, contexts)
    write_rows(path, players, contexts)
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 0xFF
    for data in (b"", whole[:5], whole[:-9], whole[: len(whole) // 2], bytes(broken), b"player,return\n", whole + b"x"):
        path.write_bytes(data)
        with pytest.raises(SavedFileError):
            read_rows(path, contexts)


Change = Callable[[list[list[str]]], object]


def cell(line: int, column: str, value: str) -> Change:
    """Another value in one field."""

    def change(table: list[list[str]]) -> None:
        table[line][COLUMNS.index(column)] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.pop(3), "lacks episodes of 'never, \"ever\"': it holds 5"),
        (lambda table: table.append(table[1]), "line 20: 'ppo' plays context 0 a second time"),
        (lambda table: table[0].pop(), "should have the columns player"),
        (lambda table: table[3].pop(), "line 4 has 17 entries, expected 18"),
        (lambda table: table.clear(), "holds no table of episodes"),
        (cell(2, "context", "99"), "line 3 is damaged or of another context"),
        (cell(2, "training_seed", "one"), "line 3 is damaged .*'one'"),
        (cell(2, "training_seed", "7"), "lacks episodes of 'ppo'"),
        (cell(2, "return_", "high"), "line 3 is damaged .*'high'"),
        (cell(2, "price", "0.2"), "line 3 is damaged .*price is 0.2, but the context has 0.1"),
        (cell(2, "diverged", "3"), "diverged is 3, expected 0 or 1"),
        (cell(2, "hardware", "{"), "line 3 is damaged"),
        (cell(2, "hardware", "[]"), "line 3 is damaged"),
        (cell(2, "hardware", '{"a": null}'), "line 3 is damaged"),
        (cell(2, "actions", "0 x"), "line 3 is damaged .*'x'"),
    ],
)
def test_damaged_tables_are_refused(change: Change, message: str, tmp_path: Path) -> None:
    contexts, players = fake()
    path = tmp_path / "rows.gz"
    write_rows(path, players, contexts)
    table = list(csv.reader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))
    change(table)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    path.write_bytes(gzip.compress(text.getvalue().encode()))
    with pytest.raises(SavedFileError, match=message):
        read_rows(path, contexts)


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.gz").write_bytes(gzip.compress(b"\xff\xfe"))
    with pytest.raises(SavedFileError, match="is damaged"):
        read_rows(tmp_path / "rows.gz", evaluation_contexts(CONFIG, "val", 1))


# --- replays -------------------------------------------------------------------------------------------------------


def runs_of(players: Sequence[Player]) -> dict[str, tuple[tuple[EpisodeRecord, ...], ...]]:
    return {player.name: player.runs for player in players}


def test_true_episodes_are_replayed_exactly() -> None:
    found = verify(runs_of(fake()[1]), CONFIG, sample=100, make_env=FakeVectorEnv)
    assert (found.checked, found.mismatches, found.deviation) == (18, (), 0.0)
    assert str(found) == (
        "replayed 18 episodes from configuration, context and actions: all figures are as published; greatest "
        "deviation 0"
    )


def test_a_sample_is_drawn_without_repeats_and_depends_on_the_seed() -> None:
    contexts, (learned, _) = fake()
    names = [replace(record, return_=-1.0) for record in learned.records]  # every replay is a mismatch, which names it
    rows = {"ppo": (tuple(names),)}
    drawn = [
        [mismatch.context for mismatch in verify(rows, CONFIG, 3, seed, FakeVectorEnv).mismatches] for seed in range(8)
    ]
    assert all(len(set(own)) == 3 for own in drawn)
    assert len({tuple(own) for own in drawn}) > 1
    assert drawn[0] == [mismatch.context for mismatch in verify(rows, CONFIG, 3, 0, FakeVectorEnv).mismatches]


@pytest.mark.parametrize(
    ("change", "figure"),
    [
        ({"return_": 0.9}, "return_"),
        ({"accuracy": float("nan")}, "accuracy"),
        ({"cost": 0.5}, "cost"),
        ({"acc": 0.0}, "acc"),
        ({"forgetting": 1e-5}, "forgetting"),
        ({"growth_events": 3}, "growth_events"),
        ({"diverged": True}, "diverged"),
    ],
)
def test_a_false_figure_is_reported_in_words(change: dict[str, float], figure: str) -> None:
    contexts, (_, never) = fake()
    rows = {"never": ((*never.records[:4], replace(never.records[4], **change), never.records[5]),)}  # type: ignore[arg-type]
    found = verify(rows, CONFIG, 100, make_env=FakeVectorEnv)
    assert [mismatch.figure for mismatch in found.mismatches] == [figure]
    words = f"never (training seed 0) in context 2 of val, inner seed {contexts[4].inner_seed}: {figure.rstrip('_')} "
    assert words + f"was published as {float(change[figure])!r}, the replay gives" in str(found)
    assert f"1 figures deviate by more than {found.tolerance:g}" in str(found)
    assert found.deviation > found.tolerance


def test_false_actions_are_found() -> None:
    _, (learned, _) = fake()
    changed = replace(learned.records[0], actions=(0,) * 12)
    found = verify({"ppo": ((changed,),)}, CONFIG, 1, make_env=FakeVectorEnv)
    assert {"return_", "cost", "growth_events"} <= {mismatch.figure for mismatch in found.mismatches}


def test_deviations_within_the_tolerance_are_reported_as_the_greatest_one() -> None:
    _, (learned, _) = fake()
    changed = replace(learned.records[0], return_=learned.records[0].return_ + 5e-7)
    found = verify({"ppo": ((changed,),)}, CONFIG, 1, make_env=FakeVectorEnv)
    assert found.mismatches == ()
    assert found.deviation == pytest.approx(5e-7)
    assert verify({"ppo": ((changed,),)}, CONFIG, 1, make_env=FakeVectorEnv, tolerance=1e-8).mismatches


def test_nothing_to_replay_is_refused() -> None:
    with pytest.raises(ValueError, match="a sample of 5 from 0 episodes"):
        verify({}, CONFIG, 5)
    with pytest.raises(ValueError, match="a sample of 0 from 18"):
        verify(runs_of(fake()[1]), CONFIG, 0)


@pytest.mark.parametrize("split", ["val", "ood"])
def test_episodes_of_the_real_environment_verify_from_the_file(split: str, tmp_path: Path) -> None:
    contexts = evaluation_contexts(TINY, split, 2, 2)
    played = {name: tuple(play(PolicySpec(name), TINY, contexts)) for name in ("random", "static-large")}
    players = [Player(name, "schedule", (records,)) for name, records in played.items()]
    write_rows(tmp_path / "rows.gz", players, contexts)
    again = redrawn_contexts(TINY, split, 2, 2, context_hashes(contexts))
    rows = read_rows(tmp_path / "rows.gz", again)
    assert rows["random"][0][0].hardware.keys() >= {"memristors", "energy_pj"}
    found = verify(rows, TINY, sample=5)
    assert (found.checked, found.mismatches) == (5, ())
    assert found.deviation <= 1e-6
