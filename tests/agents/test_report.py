from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from agents.comparison import BEST_FIXED, Comparison
from agents.evaluation import EpisodeRecord, play
from agents.policy import PolicySpec
from agents.report import results, rows, table, verdict, write
from agents.search import SearchResult, Trial
from agents.statistics import Interval
from agents.timeline import growth_per_decision
from growenv.actions import ActionTable
from growenv.streams.tasks import Context
from tests.agents.fake_env import CONFIG, FakeVectorEnv, make_contexts

BEST = PolicySpec("per-task", {"first": [[0, 16]]}, "first task +16/0, later tasks +0/0")


def records(policy: str, returns: list[float], index: list[int] | None = None) -> list[EpisodeRecord]:
    """Episodes with given returns that grew in the first decision by 4 and in the third by 16."""
    places = index or list(range(len(returns)))
    context = make_contexts(1)[0].to_json()
    rest = {"price": 0.1, "budget": 1.0, "acc": 0.8, "bwt": 0.0, "fwt": 0.0, "forgetting": 0.0, "cost": 0.25}
    return [
        EpisodeRecord(
            policy=policy,
            context=context,
            index=place,
            inner_seed=0,
            return_=value,
            accuracy=value + 0.1,
            growth_events=2,
            invalid=0,
            diverged=False,
            actions=(1, 0, 4, 0),
            **rest,
        )
        for place, value in zip(places, returns, strict=True)
    ]


def made(ppo: list[float], best: list[float], index: list[int] | None = None) -> Comparison:
    search = SearchResult(
        BEST, (Trial(BEST, 64, 0.5), Trial(PolicySpec("never"), 8, 0.4)), 1234, 14808, ("train", "val")
    )
    played = {"ppo": records("ppo", ppo, index), BEST_FIXED: records(BEST_FIXED, best, index)}
    return Comparison(CONFIG, "test", played, ("ppo",), {BEST_FIXED: search})


def test_rows_by_hand() -> None:
    first, second = rows(made([0.6, 0.8], [0.5, 0.5]))
    assert (first.policy, second.policy) == ("ppo", BEST_FIXED)
    np.testing.assert_allclose([first.return_.mean, first.return_.low, first.return_.high], [0.7, 0.6, 0.8])
    np.testing.assert_allclose(first.accuracy.mean, 0.8)
    assert first.difference is not None
    np.testing.assert_allclose([first.difference.mean, first.difference.low], [0.2, 0.1])
    assert (first.better, first.trials, first.growths) == (1.0, 1, 2.0)
    assert (second.difference, second.better, second.trials) == (None, None, 2)


def test_inner_seeds_do_not_narrow_the_interval() -> None:
    once = rows(made([0.6, 0.8], [0.5, 0.5]))[0]
    twice = rows(made([0.6, 0.6, 0.8, 0.8], [0.5] * 4, [0, 0, 1, 1]))[0]
    assert once.return_ == twice.return_
    assert once.difference == twice.difference


def test_a_tie_is_said_in_words() -> None:
    text = table(made([0.4, 0.6, 0.5, 0.5], [0.5] * 4))
    assert "ppo: no improvement over the best fixed schedule was shown" in text
    assert "4 contexts of the test split" in text
    tried = "tried in 1,234 episodes (14,808 steps of the environment) on train and val contexts"
    assert f"the best of 2 candidates {tried}" in text
    assert BEST.name in text


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (Interval(0.1, 0.05, 0.2), "better than the best fixed schedule"),
        (Interval(-0.1, -0.2, -0.05), "worse than the best fixed schedule"),
        (Interval(0.1, -0.05, 0.2), "no improvement over the best fixed schedule was shown"),
        (Interval(0.1, float("nan"), float("nan")), "no improvement over the best fixed schedule was shown"),
    ],
)
def test_verdicts(interval: Interval, words: str) -> None:
    assert words in verdict(interval)


def test_a_stronger_baseline_is_named() -> None:
    comparison = made([0.6, 0.7], [0.5, 0.5])
    records_of = {**comparison.records, "plateau": records("plateau", [0.8, 0.9])}
    text = table(Comparison(CONFIG, "test", records_of, ("ppo",), comparison.searches))
    assert "ppo: better than the best fixed schedule in these contexts" in text
    assert "ppo: worse than plateau, the strongest baseline here, in these contexts (difference -0.2000" in text


def test_the_source_of_the_rates_is_named() -> None:
    comparison = made([0.6, 0.7], [0.5, 0.5])
    records_of = {**comparison.records, "rate-matched-random": records("rate-matched-random", [0.1, 0.2])}
    text = table(Comparison(CONFIG, "test", records_of, ("ppo",), comparison.searches))
    assert "rate-matched-random grows at the rates of ppo." in text


def test_results_are_strict_json_even_for_one_context() -> None:
    data = json.loads(json.dumps(results(made([0.6], [0.5])), allow_nan=False))
    assert data["policies"][0]["return_"] == {"mean": 0.6, "low": None, "high": None}
    assert data["config"]["tasks"] == 3
    assert data["searches"][BEST_FIXED]["episodes"] == 1234


def test_files(tmp_path: Path) -> None:
    comparison = made([0.6, 0.8], [0.5, 0.5])
    paths = write(comparison, tmp_path / "new" / "folder", notes={"command": "evaluate.py"})
    assert [path.name for path in paths] == ["results.json", "episodes.csv", "table.txt", "growth_timeline.png"]
    assert json.loads(paths[0].read_text())["command"] == "evaluate.py"
    with paths[1].open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["policy"], line["index"], float(line["return_"])) for line in lines[:2]] == [
        ("ppo", "0", 0.6),
        ("ppo", "1", 0.8),
    ]
    assert json.loads(lines[0]["actions"]) == [1, 0, 4, 0]
    assert Context.from_json(json.loads(lines[0]["context"])) == make_contexts(1)[0]
    assert paths[2].read_text().strip() == table(comparison).strip()
    assert paths[3].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert paths[3].stat().st_size > 5000


def test_growth_per_decision_by_hand() -> None:
    grown = records("a", [0.5, 0.5])
    grown[1] = EpisodeRecord(**{**vars(grown[1]), "actions": (1, 2)})
    added = growth_per_decision(grown, ActionTable(2, (4, 16)))
    np.testing.assert_array_equal(added, [[4, 8, 0, 0], [0, 0, 8, 0]])


def test_a_policy_that_never_grows_can_be_drawn(tmp_path: Path) -> None:
    never = play(PolicySpec("never"), CONFIG, make_contexts(2), make_env=FakeVectorEnv)
    search = SearchResult(BEST, (Trial(BEST, 64, 0.5),), 10, 120, ("val",))
    comparison = Comparison(CONFIG, "val", {BEST_FIXED: never}, (), {BEST_FIXED: search})
    assert write(comparison, tmp_path)[3].exists()
