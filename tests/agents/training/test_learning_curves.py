"""Learning curves: the file, the picture, and the time to reach a return."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from agents.saving import SavedFileError
from agents.training import learning_curves
from agents.training.learning_curves import draw_learning_curves, read_progress, seconds_to_reach
from agents.training.progress import COLUMNS, ProgressFile, Tally, figures_of_update


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    file = ProgressFile(folder / "progress.csv")
    for row in rows:
        file.append(row)
    return folder


def curve(seed: int, best: float, count: int = 11) -> list[dict[str, Any]]:
    """A run that is evaluated at every second line, two seconds a line."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        done = number / (count - 1)
        row = {"timesteps": 1920 * number, "seconds": 2.0 * number + 1, "training_seconds": 1.5 * number}
        row |= {"entropy": 1.6 - done + 0.05 * generator.random(), "waits": 0.6 + 0.3 * done * generator.random()}
        row |= {"explained_variance": 0.9 * done, "approx_kl": 0.01, "train_return": best * done}
        rows.append(row | ({"val_return": best * done} if number % 2 == 0 else {}))
    return rows


def test_what_is_written_is_read_and_what_is_empty_is_nan(tmp_path: Path) -> None:
    run = write(tmp_path / "a", [{"timesteps": 0, "val_return": -0.25}, {"timesteps": 123456789, "waits": None}])
    found = read_progress(run)
    assert tuple(found) == COLUMNS
    assert found["timesteps"].tolist() == [0, 123456789]
    assert found["val_return"][0] == -0.25
    assert np.isnan(found["val_return"][1])
    assert np.isnan(found["waits"]).all()


def test_half_a_line_is_not_read_and_a_resumed_run_overwrites_it(tmp_path: Path) -> None:
    run = write(tmp_path / "a", [{"timesteps": 16}, {"timesteps": 32}])
    size = (run / "progress.csv").stat().st_size
    with open(run / "progress.csv", "a") as file:
        file.write("48,1.5,")
    assert read_progress(run)["timesteps"].tolist() == [16, 32]
    again = ProgressFile(run / "progress.csv", size)
    assert again.timesteps == 32
    again.append({"timesteps": 48})
    assert read_progress(run)["timesteps"].tolist() == [16, 32, 48]
    assert ProgressFile(run / "progress.csv").timesteps == -1  # a run that begins empties the file
    assert read_progress(run)["timesteps"].size == 0


@pytest.mark.parametrize(
    "text", ["", "steps,seconds\n1,2\n", f"{','.join(COLUMNS)}\n1,2\n", f"{','.join(COLUMNS)}\nx{',' * 8}\n"]
)
def test_damaged_curves_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "progress.csv").write_text(text)
    with pytest.raises(SavedFileError, match="is damaged"):
        read_progress(tmp_path)
    with pytest.raises(SavedFileError, match="does not exist"):
        read_progress(tmp_path / "nowhere")


def test_a_tally_counts_waits_and_returns() -> None:
    tally = Tally()
    assert tally.share_of_waits is None
    assert tally.mean_return is None
    infos: list[dict[str, Any]] = [{}, {"episode": {"r": 0.5}}, {}, {"episode": {"r": 1.0}}]
    assert tally.add(np.array([0, 1, 0, 4]), np.array([False, True, False, True]), infos, growth=True) == 2
    assert tally.add(np.array([0, 0, 0, 4]), np.zeros(4, dtype=bool), [{}] * 4, growth=True) == 0
    assert tally.share_of_waits == 5 / 8
    assert tally.mean_return == 0.75
    assert Tally(**tally.to_json()) == tally
    other = Tally()
    other.add(np.array([[0.0], [0.5]]), np.zeros(2, dtype=bool), [{}, {}], growth=False)
    assert other.share_of_waits is None


def test_only_finite_figures_of_an_update_are_kept() -> None:
    logged = {"train/entropy_loss": -1.5, "train/explained_variance": float("nan"), "train/loss": 3.0}
    assert figures_of_update(logged) == {"entropy": 1.5}
    assert figures_of_update({"train/approx_kl": 0.25, "rollout/exploration_rate": 0.5}) == {"approx_kl": 0.25}


def test_a_return_is_reached_at_the_first_evaluation_that_has_it(tmp_path: Path) -> None:
    runs = [write(tmp_path / "a", curve(0, 1.0)), write(tmp_path / "b", curve(1, 0.5))]
    # Run a is evaluated as 0, 0.2, 0.4, ... after 1, 5, 9, ... seconds; run b never gets beyond 0.5.
    assert seconds_to_reach(runs, 0.4).tolist() == [9.0, 17.0]
    assert seconds_to_reach(runs, 0.41).tolist() == [13.0, 21.0]
    assert seconds_to_reach(runs, 0.6).tolist() == [13.0, np.inf]
    assert seconds_to_reach(runs, -1.0).tolist() == [1.0, 1.0]


def test_the_picture_shows_every_seed_their_mean_and_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    figure = learning_curves.Figure
    monkeypatch.setattr(learning_curves, "Figure", lambda **options: drawn.append(figure(**options)) or drawn[-1])
    runs = [write(tmp_path / str(seed), curve(seed, 0.8 + 0.02 * seed)) for seed in range(3)]
    draw_learning_curves(runs, tmp_path / "curves.png", reference=0.7)
    first, *others = drawn[0].axes
    assert len(first.lines) == 3 + 1 + 1
    assert [len(axes.lines) for axes in others] == [4, 4, 4]
    np.testing.assert_allclose(first.lines[3].get_ydata(), 0.82 * np.arange(0, 1.1, 0.2))
    assert first.lines[4].get_ydata()[0] == 0.7
    forward, back = first.child_axes[0]._functions
    assert forward(1920.0) == pytest.approx(3.0)
    np.testing.assert_allclose(back(forward(np.array([-500.0, 960.0, 30_000.0]))), [-500.0, 960.0, 30_000.0], rtol=1e-6)
    assert imread(tmp_path / "curves.png").std() > 0.05


def test_runs_without_a_figure_and_of_different_lengths_are_drawn(tmp_path: Path) -> None:
    plain = [{"timesteps": 0, "seconds": 0.5}, {"timesteps": 64, "seconds": 0.5, "val_return": 0.5}]
    runs = [write(tmp_path / "a", plain), write(tmp_path / "b", curve(0, 1.0)), write(tmp_path / "c", [])]
    for count in (1, 2, 3):
        draw_learning_curves(runs[:count], tmp_path / f"{count}.png")
        assert (tmp_path / f"{count}.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="at least one run"):
        draw_learning_curves([], tmp_path / "none.png")
