from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents import price_sweep
from agents.comparison import Trained
from agents.contest import Contest, compare
from agents.policy import PolicySpec
from agents.price_sweep import sweep_prices
from agents.published import read_comparison, read_sweep
from agents.report.tables import results, write
from agents.saving import SavedFileError
from agents.verify import read_results
from growenv.config import GrowthConfig

TINY = GrowthConfig(
    tasks=2, decisions=2, minibatches=1, batch_size=8, validation_samples=16, test_samples=16, budget=(0.6, 1.0)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published")
    learned = [Trained("ppo", (PolicySpec("periodic"), PolicySpec("doubling")), steps=99)]
    contest = Contest.on(TINY, "val", 4, 2, steps=1600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(price_sweep, "CANDIDATES", 8)
        patch.setattr(price_sweep, "CHOSEN_ON", 4)
        comparison = compare(contest, learned, ["never", "rate-matched-random", "oracle"])
        sweep = sweep_prices(contest, learned, [0.5, 2.0], comparison)
    write(comparison, path, 3, {"command": "python x.py"}, sweep, replays=0)
    return path


def test_the_comparison_and_its_figures_come_back(folder: Path) -> None:
    comparison = read_comparison(folder)
    published = json.loads((folder / "results.json").read_text())
    assert comparison.names[0] == "ppo"
    assert [player.name for player in comparison.of_kind("oracle")] == ["oracle", "oracle-same-seed"]
    again = results(comparison, 3)
    assert again == {name: value for name, value in published.items() if name in again}
    assert set(published) - set(again) == {"command", "price_sweep"}


def test_the_price_sweep_comes_back(folder: Path) -> None:
    published = read_results(folder)
    sweep = read_sweep(published)
    assert sweep is not None
    assert json.loads(json.dumps(sweep.to_json()).replace("NaN", "null")) == published["price_sweep"]
    assert read_sweep({}) is None


def test_damaged_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SavedFileError, match=r"results\.json"):
        read_comparison(tmp_path)
    published = json.loads((folder / "results.json").read_text())
    (tmp_path / "episodes.csv.gz").write_bytes((folder / "episodes.csv.gz").read_bytes())
    for change, said in (
        ({"players": published["players"][1:]}, "speak of different players"),
        ({"searches": {"best-fixed": 1}}, "is damaged"),
        ({"context_hashes": ["0"]}, "hashes of contexts"),
    ):
        (tmp_path / "results.json").write_text(json.dumps(published | change))
        with pytest.raises(SavedFileError, match=said):
            read_comparison(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({"config": {}}))
    with pytest.raises(SavedFileError, match="written by another version"):
        read_comparison(tmp_path)
    with pytest.raises(SavedFileError, match="price sweep .* is damaged"):
        read_sweep({"price_sweep": {"families": 3}})
