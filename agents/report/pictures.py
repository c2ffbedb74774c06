"""All pictures of a comparison as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO

from matplotlib import rc_context
from matplotlib.image import imsave

from agents.comparison import Comparison
from agents.price_sweep import PriceSweep
from agents.report.breakdown import Bin
from agents.report.charts import (
    draw_breakdowns,
    draw_differences,
    draw_matrices,
    draw_profiles,
    draw_trade_off,
    png,
)
from agents.report.showcase import Course, Showcase
from agents.report.tables import Row
from agents.report.timeline import draw_courses, draw_timeline

TIMELINE = "growth_timeline.png"
DIFFERENCES = "differences.png"
PROFILES = "profiles.png"
BREAKDOWNS = "breakdowns.png"
TRADE_OFF = "accuracy_and_cost.png"
MATRICES = "accuracy_matrices.png"
COURSES = "one_context.png"


def pictures_of(
    comparison: Comparison,
    lines: Sequence[Row],
    breakdowns: Mapping[str, Sequence[Bin]],
    detail: Showcase | None = None,
    sweep: PriceSweep | None = None,
    seed: int = 0,
) -> dict[str, bytes]:
    """Every picture as a PNG file, by the name of the file.

    Args:
        comparison: what was played.
        lines: from `agents.report.tables.rows`.
        breakdowns: from `agents.report.breakdown.breakdown`, by what the contexts were sorted by.
        detail: what replaying has shown; without it matrices and the picture of one context are left out.
        sweep: policies at several prices.
        seed: seed of the bootstrap.
    """
    with rc_context({"text.parse_math": False}):  # a dollar in a name is a dollar
        figures = {
            TIMELINE: draw_timeline(comparison, lines),
            DIFFERENCES: draw_differences(lines),
            PROFILES: draw_profiles(comparison, seed),
            BREAKDOWNS: draw_breakdowns(comparison, breakdowns),
            TRADE_OFF: draw_trade_off(comparison, sweep),
        }
        if detail is not None:
            figures |= {MATRICES: draw_matrices(detail.matrices), COURSES: draw_courses(detail.courses)}
        drawn = {name: png(figure) for name, figure in figures.items()}
    if detail is not None:
        drawn |= {frame_name(place): png_of(course) for place, course in enumerate(detail.courses.values())}
    return drawn


def frame_name(place: int) -> str:
    """File of the last frame of the episode of the n-th player in `Showcase.courses`."""
    return f"final_network_{place}.png"


def png_of(course: Course) -> bytes:
    """The last frame of an episode, dot for dot."""
    buffer = BytesIO()
    imsave(buffer, course.picture, format="png")
    return buffer.getvalue()
