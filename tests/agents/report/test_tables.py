from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents.comparison import BEST_FIXED, Comparison
from agents.report.pictures import BREAKDOWNS, DIFFERENCES, PROFILES, TIMELINE, TRADE_OFF
from agents.report.tables import FORMAT, cells_of, contexts_of, results, rows, table, write
from agents.statistics import mean, mean_difference, study_interval
from agents.verify import EPISODES, context_hashes, read_rows, verify_folder
from tests.agents.fake_env import CONFIG
from tests.agents.report.played import BEST, SEARCH, compared, made_sweep, player, tiny_comparison, two


def by_name(comparison: Comparison):
    return {line.name: line for line in rows(comparison)}


def test_rows_by_hand() -> None:
    first, second = rows(two([0.6, 0.8], [0.5, 0.5]))
    assert (first.name, first.kind, second.name, second.kind) == ("ppo", "learned", BEST_FIXED, "schedule")
    np.testing.assert_allclose([first.return_.mean, first.accuracy.mean, first.middle.mean], [0.7, 0.8, 0.7])
    assert first.over_fixed is not None
    assert first.improvement is not None
    np.testing.assert_allclose([first.over_fixed.mean, first.improvement.mean], [0.2, 1.0])
    assert (first.growths, first.invalid, first.steps, first.seeds) == (2.0, 0.0, 900, (0.7,))
    assert (second.over_fixed, second.improvement, second.trials, first.trials) == (None, None, 2, 1)
    assert (first.over_gate, first.under_leader, first.gap) == (None, None, None)


def test_intervals_are_those_of_the_whole_study() -> None:
    policy = player("ppo", "learned", [0.6, 0.8, 0.7], [0.5, 0.9, 0.4])
    fixed = player(BEST_FIXED, "schedule", [0.5, 0.6, 0.4])
    line = by_name(compared(policy, fixed))["ppo"]
    tables = [each.values("return_") for each in (policy, fixed)]
    assert line.over_fixed == study_interval(mean_difference, tables)
    assert line.return_here == study_interval(mean, tables[:1], contexts="these")
    np.testing.assert_allclose(line.seeds, [0.7, 0.6])


def test_inner_seeds_are_averaged_within_their_context() -> None:
    once = by_name(two([0.6, 0.8], [0.5, 0.5]))["ppo"]
    policy = player("ppo", "learned", [0.5, 0.7, 0.8, 0.8], inner_seeds=2)
    fixed = player(BEST_FIXED, "schedule", [0.5] * 4, inner_seeds=2)
    twice = by_name(compared(policy, fixed, inner_seeds=2))["ppo"]
    assert once.return_ == twice.return_
    assert once.over_fixed == twice.over_fixed


def test_gates_controls_and_the_oracle_have_their_own_columns() -> None:
    lines = by_name(
        compared(
            player("ppo", "learned", [0.6, 0.8, 0.7]),
            player(BEST_FIXED, "schedule", [0.5, 0.6, 0.55]),
            player("plateau-tuned", "gate", [0.6, 0.6, 0.6]),
            player("loss-gate-tuned", "gate", [0.1, 0.9, 0.2]),
            player("shuffled-actions", "control", [0.4, 0.6, 0.5]),
            player("oracle", "oracle", [0.8, 0.9, 0.85], steps_per_episode=4800.0),
        )
    )
    assert lines["plateau-tuned"].over_gate is None
    assert lines["ppo"].over_gate is not None
    assert lines["shuffled-actions"].under_leader is not None
    assert lines["ppo"].gap is not None
    assert lines["ppo"].gap.ratio is not None
    found = (lines["ppo"].over_gate, lines["shuffled-actions"].under_leader, lines["ppo"].gap.ratio)
    np.testing.assert_allclose([interval.mean for interval in found], [0.1, 0.2, 0.5])
    assert [name for name, line in lines.items() if line.gap is not None] == ["ppo"]
    assert cells_of(lines["oracle"])[-1] == "0 + 4,800 an episode"


def test_a_figure_that_was_not_measured_is_unknown() -> None:
    comparison = two([0.6, 0.8], [0.5, 0.5])
    policy = comparison.player("ppo")
    run = (replace(policy.records[0], forgetting=float("nan")), *policy.records[1:])
    data = results(compared(replace(policy, runs=(run,)), comparison.player(BEST_FIXED)))
    assert data["players"][0]["forgetting"] == {"mean": None, "low": None, "high": None}


def test_the_table_says_what_was_tuned_and_who_played() -> None:
    comparison = compared(
        player("ppo", "learned", [0.6, 0.8]),
        player(BEST_FIXED, "schedule", [0.5, 0.5]),
        player("rate-matched-random", "control", [0.4, 0.3], note="grows at random at the rates of ppo"),
    )
    text = table(comparison)
    head, _, first, *_ = text.splitlines()
    assert head.split()[:5] == ["policy", "kind", "return", "accuracy", "cost"]
    assert first.startswith("ppo                  learned   0.700 [")
    tried = "tried in 1,234 episodes (14,808 steps of the environment) on train and val contexts"
    assert f"best-fixed is {BEST.name}: the best of 2 candidates {tried}." in text
    assert "rate-matched-random: grows at random at the rates of ppo." in text
    assert "2 contexts of the val split; mean [95 % interval over contexts]." in text
    assert text.splitlines()[-1] == "Only 2 contexts were played; a claim needs at least 50."


def test_five_players_in_sixty_four_contexts_take_less_than_two_seconds() -> None:
    returns = np.random.default_rng(0).normal(0.5, 0.1, (5, 64)).tolist()
    names = ("ppo", BEST_FIXED, "never", "random", "plateau-tuned")
    kinds = ("learned", "schedule", "schedule", "control", "gate")
    players = [player(name, kind, own) for name, kind, own in zip(names, kinds, returns, strict=True)]
    begun = time.process_time()
    table(compared(*players))
    assert time.process_time() - begun < 2.0


def test_results_are_strict_json_even_for_one_context() -> None:
    comparison = two([0.6], [0.5])
    data = json.loads(json.dumps(results(comparison), allow_nan=False))
    assert data["format"] == FORMAT == 2
    assert data["players"][0]["return_"] == {"mean": 0.6, "low": None, "high": None}
    assert (data["split"], data["contexts"], data["inner_seeds"]) == ("val", 1, 1)
    assert data["config"]["tasks"] == CONFIG.tasks
    assert data["searches"][BEST_FIXED]["episodes"] == SEARCH.episodes
    assert [each["contexts"] for each in data["breakdowns"]["price"]] == [1]
    assert data["context_hashes"] == context_hashes(contexts_of(comparison))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("report") / "new" / "folder"
    return write(tiny_comparison(), folder, notes={"command": "python evaluate.py"}, sweep=made_sweep(), replays=4)


def test_files(written: list[Path]) -> None:
    names = [path.name for path in written]
    assert names[:5] == ["results.json", "table.txt", EPISODES, "report.html", "growth_timeline.png"]
    assert {"differences.png", "profiles.png", "breakdowns.png", "accuracy_and_cost.png"} < set(names)
    assert {"accuracy_matrices.png", "one_context.png", "final_network_0.png", "final_network_1.png"} < set(names)
    assert sorted(names) == sorted(path.name for path in written[0].parent.iterdir())
    for path in written[4:]:
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert path.stat().st_size > 5000


def test_written_figures_are_those_of_the_comparison(written: list[Path]) -> None:
    comparison = tiny_comparison()
    data = json.loads(written[0].read_text())
    assert data["command"] == "python evaluate.py"
    assert [family["name"] for family in data["price_sweep"]["families"]] == ["ppo", "fixed schedules"]
    del data["command"], data["price_sweep"]
    assert data == json.loads(json.dumps(results(comparison)))
    text = written[1].read_text()
    assert text.startswith(table(comparison))
    assert "minus best fixed, by budget:" in text


def test_written_episodes_are_read_back(written: list[Path]) -> None:
    comparison = tiny_comparison()
    read = read_rows(written[2], contexts_of(comparison))
    assert read == {each.name: each.runs for each in comparison.players}


def test_the_written_folder_can_be_verified(written: list[Path]) -> None:
    checked = verify_folder(written[0].parent, 4)
    assert (checked.checked, checked.mismatches) == (4, ())


def test_baselines_alone_are_written_without_replays(tmp_path: Path) -> None:
    comparison = compared(player(BEST_FIXED, "schedule", [0.5, 0.6]), player("never", "schedule", [0.4, 0.3]))
    paths = write(comparison, tmp_path)
    assert "one_context.png" not in [path.name for path in paths]
    assert "No learned policy played" in paths[1].read_text()


def test_no_replays_leave_the_details_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replay(*given: object) -> None:
        raise AssertionError("something was replayed")

    def draw(comparison: Comparison, lines: object, breakdowns: object, detail: object, *rest: object):
        assert detail is None
        return dict.fromkeys((TIMELINE, DIFFERENCES, PROFILES, BREAKDOWNS, TRADE_OFF), b"")

    monkeypatch.setattr("agents.report.showcase.showcase", replay)
    monkeypatch.setattr("agents.report.pictures.pictures_of", draw)
    paths = write(two([0.6, 0.8], [0.5, 0.5]), tmp_path, replays=0)
    assert "No episodes were replayed" in paths[3].read_text()
