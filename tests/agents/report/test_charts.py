from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from agents.comparison import BEST_FIXED, KINDS, Comparison
from agents.report.breakdown import breakdown
from agents.report.charts import (
    COLOURS,
    REFERENCE,
    colour,
    draw_breakdowns,
    draw_differences,
    draw_matrices,
    draw_profiles,
    draw_trade_off,
    png,
)
from agents.report.pictures import pictures_of
from agents.report.showcase import Course
from agents.report.tables import breakdowns_of, rows
from agents.report.timeline import draw_courses, draw_timeline, growth_per_decision
from growenv.actions import ActionTable
from tests.agents.report.played import compared, episodes, made_sweep, player


def four() -> Comparison:
    return compared(
        player("ppo", "learned", [0.8, 0.7, 0.6, 0.9], [0.7, 0.8, 0.7, 0.8]),
        player(BEST_FIXED, "schedule", [0.5, 0.6, 0.5, 0.6]),
        player("never", "schedule", [0.4, 0.3, 0.4, 0.5]),
        player("plateau-tuned", "gate", [0.6, 0.6, 0.7, 0.5]),
        player("shuffled-actions", "control", [0.5, 0.5, 0.5, 0.5]),
    )


def words(figure: Figure) -> str:
    """All texts of a figure."""
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(lambda each: hasattr(each, "get_text")))


def test_every_kind_has_a_colour_and_the_reference_its_own() -> None:
    assert set(COLOURS) == set(KINDS)
    assert len({*COLOURS.values(), REFERENCE}) == len(KINDS) + 1
    assert colour(BEST_FIXED, "schedule") == REFERENCE != colour("never", "schedule")


def test_differences_are_drawn_where_they_are() -> None:
    lines = rows(four())
    axes = draw_differences(lines).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [f"{line.name}  ({line.kind})" for line in lines if line.name != BEST_FIXED]
    ppo = next(line for line in lines if line.name == "ppo")
    assert ppo.over_fixed is not None
    own = [line for line in axes.lines if to_hex(line.get_color()) == COLOURS["learned"]]
    assert list(own[0].get_xdata()) == [ppo.over_fixed.low, ppo.over_fixed.high]
    assert list(own[1].get_xdata()) == [ppo.over_fixed.mean]
    dots = next(line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() == ".")
    np.testing.assert_allclose(dots.get_xdata(), [0.2, 0.2], atol=1e-12)


def test_profiles_fall_from_one_to_nothing() -> None:
    axes = draw_profiles(four()).axes[0]
    curves = {line.get_label(): np.asarray(line.get_ydata()) for line in axes.lines if len(line.get_xdata()) > 2}
    assert set(curves) == {"ppo", "plateau-tuned", "shuffled-actions"}
    for curve in curves.values():
        assert (np.diff(curve) <= 0).all()
    assert (curves["ppo"][0], curves["ppo"][-1]) == (1.0, 0.0)


def test_breakdowns_have_a_column_each_and_name_their_bins() -> None:
    comparison = four()
    figure = draw_breakdowns(comparison, breakdowns_of(comparison))
    assert len(figure.axes) == 4
    text = words(figure)
    assert "0.10 to\n0.20\n(2)" in text
    assert "price (contexts)" in text
    assert "budget (contexts)" in text
    returns = [line.get_ydata() for line in figure.axes[0].lines]
    np.testing.assert_allclose(returns[0], [each.returns["ppo"] for each in breakdown(comparison, "price")])


def test_the_trade_off_shows_every_player_and_the_front() -> None:
    cheap = replace(four().player("never"), runs=(tuple(replace(r, cost=0.1) for r in episodes("never", [0.4] * 4)),))
    players = [each if each.name != "never" else cheap for each in four().players]
    axes = draw_trade_off(compared(*players)).axes[0]
    front = next(line for line in axes.lines if line.get_linestyle() == "--")
    np.testing.assert_allclose(front.get_xydata(), [[0.1, 0.5], [0.25, 0.7]])  # never, plateau-tuned
    assert {text.get_text() for text in axes.texts} == {each.name for each in players}


def test_families_are_drawn_with_prices_and_hypervolumes() -> None:
    sweep = made_sweep()
    figure = draw_trade_off(four(), sweep)
    text = words(figure)
    assert len(figure.axes) == 2
    assert "price 4.5" in text
    assert f"ppo (hypervolume {sweep.families[0].hypervolume:.3f})" in text
    assert "reference point: cost 1, accuracy 0" in text


def test_matrices_show_numbers_and_leave_gaps() -> None:
    figure = draw_matrices({"ppo": np.array([[0.9, np.nan], [0.8, 0.7]]), "best-fixed": np.full((2, 2), 0.5)})
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.90", "0.80", "0.70"]
    assert [text.get_text() for text in figure.axes[1].texts] == ["0.50"] * 4


def test_growth_per_decision_by_hand() -> None:
    grown = list(episodes("a", [0.5, 0.5]))
    grown[1] = replace(grown[1], actions=(1, 2))
    np.testing.assert_array_equal(growth_per_decision(grown, ActionTable(2, (4, 16))), [[4, 8, 0, 0], [0, 0, 8, 0]])


def test_a_timeline_of_many_players_leaves_out_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.report.timeline.MOST", 4)
    others = [player(f"gate {n}", "gate", [0.9 - 0.01 * n]) for n in range(4)]
    comparison = compared(player("ppo", "learned", [0.1]), player(BEST_FIXED, "schedule", [0.2]), *others)
    text = words(draw_timeline(comparison, rows(comparison)))
    assert "ppo" in text
    assert BEST_FIXED in text
    assert "gate 1" in text
    assert "gate 2" not in text


def test_a_player_that_never_grows_can_be_drawn() -> None:
    still = player(BEST_FIXED, "schedule", [0.5, 0.6])
    still = replace(still, runs=(tuple(replace(record, actions=(0, 0, 0, 0)) for record in still.records),))
    comparison = compared(still)
    assert png(draw_timeline(comparison, rows(comparison)))[:4] == b"\x89PNG"


def course(*growth: tuple[int, int, int, int]) -> Course:
    widths = np.array([[4, 4], [8, 4], [8, 4], [8, 8]])
    used, accuracy = np.array([0.1, 0.2, 0.2, 0.3]), np.array([0.5, 0.6, 0.4, 0.7])
    return Course(np.array([0, 0, 1, 1]), accuracy, widths, used, growth, 0.5, np.zeros((4, 4, 3), dtype=np.uint8))


def test_courses_mark_growth_with_neurons_in_the_colour_of_the_layer() -> None:
    figure = draw_courses({"ppo": course((1, 0, 0, 4), (3, 1, 1, 4)), "best-fixed": course()})
    widths, other = figure.axes[0], figure.axes[1]
    marks = [line for line in widths.lines if line.get_marker() == "^"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in marks] == [(1, 8), (3, 8)]
    assert len({line.get_color() for line in marks}) == 2
    assert [text.get_text() for text in widths.texts] == ["+4", "+4"]
    assert [text.get_text() for text in other.texts] == ["no growth"]
    assert "ppo: return 0.500" in words(figure)


def test_odd_names_can_be_drawn() -> None:
    names = (r"$x^{$ \frac{", "é" * 60)  # the first one is no formula
    players = [player(name, "learned", [0.6, 0.7]) for name in names]
    comparison = compared(*players, player(BEST_FIXED, "schedule", [0.5, 0.5]))
    assert len(pictures_of(comparison, rows(comparison), breakdowns_of(comparison))) == 5


def test_equal_comparisons_give_equal_pictures() -> None:
    one, other = (png(draw_differences(rows(four()))) for _ in range(2))
    assert one == other
