"""One row's network, budget and history as a picture or as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from growenv.hardware.mosaic.drawing import draw_floorplan, draw_key, key_height, layer_pattern, task_colour
from growenv.hardware.mosaic.floorplan import Floorplan, costs, slots_in_use, tile_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _FAINT, _ALARM = "#222222", "#B8B8B8", "#B00020"
_INCHES, _WIDE, _DOTS = (10.0, 6.4), (14.0, 7.6), 100  # without and with a floorplan; dots per inch
_LISTED = 6  # growth requests that the text names


@dataclass(frozen=True, eq=False)
class Frame:
    """What is shown of one row at one moment. Tasks, layers and decisions count from 0.

    Attributes:
        context_id: id of the row's context.
        task: the current task.
        tasks: tasks T in the stream.
        decision: decisions taken so far.
        decisions: decisions in the whole stream, the same number for every task.
        classes: classes of every task, length T.
        widths: width of every hidden layer, length L.
        max_hidden: greatest width of every hidden layer, length L.
        generations: units by the task during which they grew, int [T, L]; the columns sum to `widths`.
        accuracies: validation accuracy on every task, float [T]; NaN where a task has not begun.
        used: share of capacity in use.
        budget: share that may be used.
        price: objective lost per unit of share.
        refused: why the last request was refused, "" where it was not.
        growth: requests that were granted, as (decision, layer, amount).
        history: accuracies by name, entry i measured after decision i; the series "task 3" gets task 3's colour.
        floorplan: where the network stands, on hardware that has places; its hidden units are those of `generations`.

    Raises:
        ValueError: lengths that do not agree, or a floorplan of another network.
    """

    context_id: str
    task: int
    tasks: int
    decision: int
    decisions: int
    classes: tuple[tuple[int, ...], ...]
    widths: Sequence[int] | NDArray[np.int64]
    max_hidden: Sequence[int] | NDArray[np.int64]
    generations: NDArray[np.int64]
    accuracies: Sequence[float] | NDArray[np.float64]
    used: float
    budget: float
    price: float
    refused: str = ""
    growth: Sequence[tuple[int, int, int]] = ()
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    floorplan: Floorplan | None = None

    def __post_init__(self) -> None:
        layers = len(self.widths)
        if len(self.max_hidden) != layers or np.shape(self.generations) != (self.tasks, layers):
            raise ValueError(
                f"max_hidden [L] and generations [T, L] must agree with {layers} widths and {self.tasks} tasks; "
                f"got {len(self.max_hidden)} and {np.shape(self.generations)}"
            )
        if len(self.classes) != self.tasks or len(self.accuracies) != self.tasks:
            raise ValueError(
                f"classes and accuracies must have one entry for each of {self.tasks} tasks; "
                f"got {len(self.classes)} and {len(self.accuracies)}"
            )
        if self.floorplan is not None:
            _check_floorplan(self.floorplan, np.asarray(self.generations))


def draw(frame: Frame) -> NDArray[np.uint8]:
    """A picture of a frame: layers coloured by task, accuracies, history, growth and budget, and the fabric if any.

    Returns:
        Red, green and blue, uint8 [640, 1000, 3], or [760, 1400, 3] with a floorplan.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("drawing a frame needs matplotlib: pip install matplotlib") from error
    # The object interface, not pyplot: no global state, no windows, and safe in worker processes.
    plan = frame.floorplan
    figure = Figure(figsize=_INCHES if plan is None else _WIDE, dpi=_DOTS, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)  # matplotlib leaves its methods untyped
    grid = figure.add_gridspec(
        4, 2, height_ratios=(2.5, 1.9, 0.28 + 0.22 * len(frame.widths), 0.3), width_ratios=(1, 1.35), hspace=0.62,
        wspace=0.34, left=0.75 / figure.get_figwidth(), right=0.975 if plan is None else 0.605, top=0.875, bottom=0.085,
    )  # fmt: skip
    _title(figure, frame)
    _draw_network(figure.add_subplot(grid[0, 0]), frame)
    _draw_accuracies(figure.add_subplot(grid[0, 1]), frame)
    history = figure.add_subplot(grid[1, :])
    _draw_history(history, frame)
    _draw_growth(figure.add_subplot(grid[2, :], sharex=history), frame)
    _draw_budget(figure.add_subplot(grid[3, :]), frame)
    if plan is not None:
        _draw_fabric(figure, plan)
    canvas.draw()
    picture: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba(), dtype=np.uint8)[:, :, :3].copy()
    return picture


def text(frame: Frame) -> str:
    """A frame as lines of plain text, without a newline at the end."""
    lines = [f"context {frame.context_id}  {_progress(frame)}  price {frame.price:.3g}"]
    for task, (classes, accuracy) in enumerate(zip(frame.classes, frame.accuracies, strict=True)):
        score = "  -- " if np.isnan(accuracy) else f"{accuracy:5.3f}"
        lines.append(f"task {task:<2d}  {score} {_bar(accuracy)} classes {_join(classes)}")
    for layer, (width, greatest) in enumerate(zip(frame.widths, frame.max_hidden, strict=True)):
        born = " + ".join(str(units) for units in np.asarray(frame.generations)[: frame.task + 1, layer])
        lines.append(f"layer {layer:<2d} {width:5d} {_bar(width / greatest)} of {greatest} units, by task {born}")
    lines.append(f"used     {frame.used:5.3f} {_bar(frame.used)} budget {frame.budget:.3f}")
    if frame.growth:
        shown = [f"@{when} layer {layer} +{amount}" for when, layer, amount in frame.growth[-_LISTED:]]
        earlier = [f"({len(frame.growth) - _LISTED} earlier)"] if len(frame.growth) > _LISTED else []
        lines.append("growth   " + ", ".join(earlier + shown))
    if frame.floorplan is not None:
        lines.append(f"fabric   {slots_in_use(frame.floorplan)}  {costs(frame.floorplan)}")
        lines += [f"{' ' * 8 if row else 'tiles   '} {tiles}" for row, tiles in enumerate(tile_map(frame.floorplan))]
    if frame.refused:
        lines.append(f"refused  {frame.refused}")
    return "\n".join(lines)


def _bar(share: float) -> str:
    filled = 0 if np.isnan(share) else round(20 * min(max(share, 0.0), 1.0))
    return "[" + "#" * filled + "." * (20 - filled) + "]"


def _progress(frame: Frame) -> str:
    return f"task {frame.task} of 0..{frame.tasks - 1}  {frame.decision} of {frame.decisions} decisions"


def _join(classes: tuple[int, ...]) -> str:
    """Classes for a label; a long list is cut to its ends."""
    if len(classes) > 5:
        return f"{classes[0]} .. {classes[-1]} ({len(classes)})"
    return " ".join(str(label) for label in classes)


def _check_floorplan(floorplan: Floorplan, generations: NDArray[np.int64]) -> None:
    """Refuse a floorplan whose hidden units are not those of the frame; it may have room for more tasks."""
    placed, tasks = floorplan.hidden.sum(axis=0), len(generations)
    known = placed.shape[1] == generations.shape[1] and len(placed) >= tasks
    if not known or not np.array_equal(placed[:tasks], generations) or placed[tasks:].any():
        raise ValueError(
            f"the hidden units on the floorplan must be those of generations [T, L] {generations.tolist()}, "
            f"got {placed.tolist()}; take both at the same moment"
        )


def _title(figure: Figure, frame: Frame) -> None:
    left = 0.75 / figure.get_figwidth()
    figure.text(left, 0.955, _progress(frame).replace("  ", "  ·  "), fontsize=13, weight="bold", color=_INK)
    figure.text(left, 0.922, f"context {frame.context_id}  ·  price {frame.price:.3g}", fontsize=9, color=_INK)
    if frame.refused:
        figure.text(0.975, 0.955, f"refused: {frame.refused}", fontsize=13, weight="bold", color=_ALARM, ha="right")


def _panel(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", color=_INK)
    axes.tick_params(labelsize=8, colors=_INK, length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_FAINT)


def _draw_network(axes: Axes, frame: Frame) -> None:
    """A column of units per hidden layer, stacked by the task during which they grew, inside its greatest width."""
    _panel(axes, "Units in each hidden layer, by task of growth")
    generations, top = np.asarray(frame.generations), max(frame.max_hidden)
    places = range(len(frame.widths))
    patterns = [layer_pattern(layer) if frame.floorplan else "" for layer in places]  # as on the fabric
    axes.bar(places, frame.max_hidden, width=0.62, facecolor="#F4F4F4", edgecolor=_FAINT, linewidth=0.8, linestyle="--")
    floor = np.zeros(len(places))
    for task in range(frame.tasks):
        style: dict[str, Any] = {"color": task_colour(task), "edgecolor": "white", "linewidth": 0.6, "hatch": patterns}
        axes.bar(places, generations[task], 0.62, floor, **style)
        floor += generations[task]
    for place, width, greatest in zip(places, frame.widths, frame.max_hidden, strict=True):
        label = f"{width} of {greatest}"
        axes.text(place, width + 0.02 * top, label, ha="center", va="bottom", fontsize=8, color=_INK)
    axes.set_xticks(places, [f"layer {layer}" for layer in places])
    axes.set_xlim(-0.6, len(places) - 0.4)
    axes.set_ylim(0, 1.2 * top)


def _draw_accuracies(axes: Axes, frame: Frame) -> None:
    """A bar per task; a task that has not begun has no bar and a faint name."""
    _panel(axes, "Validation accuracy on each task and its classes")
    accuracies = np.asarray(frame.accuracies, dtype=np.float64)
    places = range(frame.tasks)
    axes.barh(places, np.nan_to_num(accuracies), 0.7, color=[task_colour(task) for task in places])
    for task, accuracy in enumerate(accuracies):
        label, colour = ("not begun", _FAINT) if np.isnan(accuracy) else (f"{accuracy:.2f}", _INK)
        axes.text(0.012 + np.nan_to_num(accuracy), task, label, va="center", fontsize=8, color=colour)
    names = [f"task {task}: {_join(classes)}" for task, classes in enumerate(frame.classes)]
    axes.set_yticks(places, names, fontsize=8 if frame.tasks <= 12 else 5)
    for task, name in enumerate(axes.get_yticklabels()):
        name.set_color(_FAINT if np.isnan(accuracies[task]) else _INK)
        name.set_fontweight("bold" if task == frame.task else "normal")
    axes.set_xlim(0, 1.1)  # room for the number behind a full bar
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_ylim(frame.tasks - 0.4, -0.6)


def _draw_tasks(axes: Axes, frame: Frame) -> None:
    """A pale band behind the decisions of each task, and a line at the current decision."""
    length = frame.decisions / frame.tasks
    for task in range(frame.tasks):
        axes.axvspan(task * length, (task + 1) * length, color=task_colour(task), alpha=0.09, linewidth=0)
    axes.axvline(frame.decision, color=_INK, linewidth=0.8, linestyle=":", zorder=1)
    axes.set_xlim(0, frame.decisions)


def _draw_history(axes: Axes, frame: Frame) -> None:
    _panel(axes, "Validation accuracy after each decision")
    _draw_tasks(axes, frame)
    own = {f"task {task}": task_colour(task) for task in range(frame.tasks)}
    styles = iter(("-", "--", ":", "-.") * len(frame.history))
    for name, series in frame.history.items():
        when = np.arange(1, len(series) + 1)
        if name in own:
            axes.plot(when, series, color=own[name], linewidth=1.4, marker=".", markersize=4)
        else:
            axes.plot(when, series, color=_INK, linewidth=1.6, linestyle=next(styles), label=name.replace("_", " "))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="lower right", framealpha=0.85, edgecolor="none")
    axes.set_ylim(0, 1.02)
    axes.tick_params(labelbottom=False)


def _draw_growth(axes: Axes, frame: Frame) -> None:
    """A mark per granted request, in the row of its layer; its area says how many units were added."""
    _panel(axes, "Growth in each decision (units added)")
    _draw_tasks(axes, frame)
    length = frame.decisions / frame.tasks
    greatest = max((amount for _, _, amount in frame.growth), default=1)
    for decision, layer, amount in frame.growth:
        colour, place = task_colour(int(decision / length)), decision + 0.5
        axes.scatter(place, layer, s=20 + 40 * amount / greatest, marker="o", color=colour, zorder=3)
        style: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7, "va": "center", "zorder": 4}
        axes.annotate(f"+{amount}", (place, layer), (6, 0), **style)
    axes.set_yticks(range(len(frame.widths)), [f"layer {layer}" for layer in range(len(frame.widths))])
    axes.set_ylim(len(frame.widths) - 0.4, -0.6)
    axes.tick_params(labelbottom=True)


def _draw_budget(axes: Axes, frame: Frame) -> None:
    _panel(axes, f"Capacity in use: {frame.used:.3f} of a budget of {frame.budget:.3f}")
    within = frame.used <= frame.budget * (1.0 + 1e-9)
    axes.barh(0, frame.budget, 0.9, color="#E6E6E6")
    axes.barh(0, frame.used, 0.9, color="#4C4C4C" if within else _ALARM)
    axes.axvline(frame.budget, color=_INK, linewidth=2)
    axes.set_xlim(0, min(1.0, 1.6 * max(frame.budget, frame.used)))
    axes.set_ylim(-0.5, 0.5)
    axes.set_yticks([])


def _draw_fabric(figure: Figure, plan: Floorplan) -> None:
    """The fabric at the right, with what it costs and the key below."""
    width, height = (float(inches) for inches in figure.get_size_inches())
    left, wide, key = 0.645, 0.335, key_height(plan)
    figure.text(left, 0.885, "Neurons on the tiles of the fabric", fontsize=10, color=_INK)
    low = (key + 0.85) / height
    fabric = figure.add_axes((left, low, wide, 0.85 - low), anchor="NW")
    draw_floorplan(fabric, plan)
    lines = f"{slots_in_use(plan)}\n{costs(plan)}".replace("  ", " · ")
    figure.text(left, low - 0.1 / height, lines, fontsize=8, color=_INK, va="top", linespacing=1.4)
    draw_key(figure.add_axes((left, 0.25 / height, wide, key / height)), plan)
