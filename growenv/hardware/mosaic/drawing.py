"""A floorplan as a picture: tiles filled by task and layer, routers shaded by the channels in use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from growenv.hardware.mosaic.floorplan import Floorplan, costs, slots_in_use

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that stay apart for colour-blind readers (Okabe and Ito 2008, "Color universal design"); reused after eight.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C7A00", "#7F5FBF")
# Layers are told apart by pattern, since tints of eight hues look alike; reused after five.
_PATTERNS = ("", "//////", "......", "xxxxxx", "------")
_INK, _FAINT, _PAPER = "#222222", "#B8B8B8", "#FFFFFF"

# Shares of channels in use: none, from the first to the last but one, and full. Lightness falls all the way.
_UNUSED, _SHADES, _FULL = "#F4F4F4", ("#FDDFD2", "#FB9272", "#E2382D", "#A50F1C"), "#45000F"

# In sides of a tile: how wide a router is, the gap round every cell, and the frame of a tile that shows its fan-in.
_ROUTER, _GAP, _FRAME = 0.36, 0.025, 0.07

_DOTS = 100  # per inch
_STEP, _LABEL = 14.0, 42.0  # of the key, in points: from swatch to swatch, and the room for names at the left
_Box = tuple[float, float, float, float]  # left, top, width, height


class _Style(NamedTuple):
    """How one kind of slot is filled."""

    face: str
    edge: str = _PAPER
    pattern: str = ""
    marks: str = _PAPER  # colour of the pattern
    dashes: str = "-"


# Inputs are far darker than any task, since some tasks look grey to colour-blind readers.
_FREE, _INPUT, _RESERVED = _Style(_PAPER, _FAINT), _Style("#4D4D4D"), _Style(_PAPER, _INK, dashes=":")


def task_colour(task: int) -> str:
    """The colour of a task, "#rrggbb"; the same in all pictures."""
    return _COLOURS[task % len(_COLOURS)]


def layer_pattern(layer: int) -> str:
    """The pattern of a hidden layer, as matplotlib's `hatch`; the same in all pictures."""
    return _PATTERNS[layer % len(_PATTERNS)]


def draw_floorplan(axes: Axes, floorplan: Floorplan) -> None:
    """Draw the fabric of a floorplan; numbers are written where they fit.

    Every tile is filled from below in proportion to its slots: inputs, hidden layers by task, heads; slots reserved
    for heads to come hang from above. Routers, and the frames of tiles, get darker with the share of channels in use
    on their fullest port; a cross marks a full router. `draw_key` explains the colours.

    Args:
        axes: axes whose size and place in the figure are final; limits, ticks and frame are replaced.
        floorplan: what is drawn.
    """
    side = _prepare(axes, floorplan)
    line = 0.4 if side < 60 else 0.7
    _draw_cells(axes, floorplan, line, side)
    boxes = defaultdict(list)
    for tile in range(floorplan.tiles):
        left, top, inner = _inside(floorplan, tile)
        boxes[_FREE].append((left, top, inner, inner))
        for style, first, count in _bands(floorplan, tile):
            tall = inner * count / floorplan.slots
            boxes[style].append((left, top + inner * (1 - first / floorplan.slots) - tall, inner, tall))
    for style, places in boxes.items():
        _add(axes, places, style, 1.0 if style == _RESERVED else line)  # thin dots would hardly be seen
    _write_numbers(axes, floorplan, side)


def draw_key(axes: Axes, floorplan: Floorplan) -> None:
    """Draw what the colours mean: tasks across, layers down, and the shades of routers.

    Args:
        axes: axes at least 4.4 inches wide and `key_height` inches high; limits, ticks and frame are replaced.
        floorplan: what the key explains.
    """
    width, height = _points(axes)
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, 0))
    colours = min(floorplan.tasks, len(_COLOURS))
    kinds = [f"layer {layer}" for layer in range(floorplan.layers)] + ["head"]
    _write(axes, 0, _STEP / 2, "task")
    for task in range(colours):
        _write(axes, _LABEL + _STEP * (task + 0.5), _STEP / 2, str(task), ha="center")
    for row, kind in enumerate(kinds):
        _write(axes, 0, _STEP * (row + 1.5), kind)
        for task in range(colours):
            style = _hidden(task, row) if row < floorplan.layers else _head(task)
            _add(axes, [_swatch(_LABEL + _STEP * task, _STEP * (row + 1))], style, 0.6)
    if floorplan.tasks > colours:
        _write(axes, 0, _STEP * (len(kinds) + 1.5), f"task {colours} looks like task 0, and so on")
    start = max(_LABEL + _STEP * colours + 20, width - 190)
    for row, (name, style) in enumerate((("input", _INPUT), ("reserved for heads to come", _RESERVED))):
        _add(axes, [_swatch(start, _STEP * row)], style, 0.6)
        _write(axes, start + _STEP + 4, _STEP * (row + 0.5), name)
    _draw_scale(axes, start, 2 * _STEP, width - start)


def key_height(floorplan: Floorplan) -> float:
    """Inches that the key of a floorplan needs."""
    rows = max(floorplan.layers + 2 + (floorplan.tasks > len(_COLOURS)), 6)
    return rows * _STEP / 72


def picture(floorplan: Floorplan, path: str | PathLike[str], title: str = "Floorplan") -> None:
    """Write a floorplan with its key and its costs as a PNG file.

    Args:
        floorplan: what is drawn.
        path: the file; it is replaced if it exists.
        title: a line above the picture.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("drawing a floorplan needs matplotlib: pip install matplotlib") from error
    rows, columns = (_extent(count) for count in floorplan.fabric_shape)
    wide, above, margin = 6.4, 0.95, 0.35  # inches
    room, key = wide - 2 * margin, key_height(floorplan)
    side = min(room / columns, room / rows, 1.6)
    high = above + side * rows + key + 0.45
    # The object interface, not pyplot: no global state, no windows, and safe in worker processes.
    figure = Figure(figsize=(wide, high), dpi=_DOTS, facecolor="white")
    FigureCanvasAgg(figure)
    left, across = margin / wide, room / wide
    size = min(13.0, 13.0 * 44 / max(len(title), 1))  # about 44 letters of that size are as wide as the picture
    figure.text(left, 1 - 0.3 / high, title, fontsize=size, weight="bold", color=_INK)
    lines = f"{slots_in_use(floorplan)}\n{costs(floorplan)}".replace("  ", "  ·  ")
    figure.text(left, 1 - 0.38 / high, lines, fontsize=9, color=_INK, va="top", linespacing=1.4)
    fabric = (left, (key + 0.45) / high, side * columns / wide, side * rows / high)
    draw_floorplan(figure.add_axes(fabric), floorplan)
    draw_key(figure.add_axes((left, 0.2 / high, across, key / high)), floorplan)
    figure.savefig(path, format="png")


def _extent(tiles: int) -> float:
    """Length of a row of tiles with the routers around them, in sides of a tile."""
    return tiles + _ROUTER * (tiles + 1)


def _start(cell: int) -> float:
    """Where a cell begins, in sides of a tile from the first cell."""
    return (cell // 2) * (1 + _ROUTER) + (cell % 2) * _ROUTER


def _points(axes: Axes) -> tuple[float, float]:
    """Width and height of axes in points, 72 an inch."""
    place = axes.get_position(original=True).transformed(axes.figure.transSubfigure)
    return 72 * place.width / axes.figure.dpi, 72 * place.height / axes.figure.dpi


def _prepare(axes: Axes, floorplan: Floorplan) -> float:
    """Set limits, numbers of rows and columns at the margin, no frame; returns the side of a tile in points."""
    rows, columns = floorplan.fabric_shape
    width, height = _points(axes)
    side = min(width / _extent(columns), height / _extent(rows))
    axes.set(xlim=(0, _extent(columns)), ylim=(_extent(rows), 0), aspect="equal")
    every = int(np.ceil(9 / side))  # a number needs about nine points
    for axis, count in ((axes.xaxis, columns), (axes.yaxis, rows)):
        shown = range(0, count, every)
        axis.set_ticks([_start(2 * number + 1) + 0.5 for number in shown], [str(number) for number in shown])
    axes.tick_params(length=0, pad=1, labelsize=7, labelcolor="#777777", labelbottom=False, labeltop=True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return side


def _draw_cells(axes: Axes, floorplan: Floorplan, line: float, side: float) -> None:
    """Every cell in the colour of its load; the frame of a tile has that of its fan-in."""
    shares = floorplan.load.copy()
    shares[1::2, 1::2] = floorplan.fan_in.reshape(floorplan.fabric_shape)
    boxes = defaultdict(list)
    for (y, x), share in np.ndenumerate(shares):
        wide, high = (1.0 if number % 2 else _ROUTER for number in (x, y))
        boxes[_load_colour(share)].append((_start(x) + _GAP, _start(y) + _GAP, wide - 2 * _GAP, high - 2 * _GAP))
    for colour, places in boxes.items():
        _add(axes, places, _Style(colour, _FAINT if colour == _UNUSED else colour), line)
    full = [[(_start(cell) + _start(cell + 1)) / 2 for cell in place] for place in np.argwhere(floorplan.load >= 1)]
    if full:
        y, x = zip(*full, strict=True)
        axes.plot(x, y, "x", color=_PAPER, markersize=0.16 * side, markeredgewidth=max(0.6, side / 60))


def _load_colour(share: float) -> str:
    """Nearly white for no channel in use, then from pale to dark red, and nearly black for a full port."""
    if share <= 0 or share >= 1:
        return _FULL if share >= 1 else _UNUSED
    stops = np.array([[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in _SHADES])
    along = np.linspace(0, 1, len(stops))
    red, green, blue = (round(float(np.interp(share, along, stops[:, part]))) for part in range(3))
    return f"#{red:02X}{green:02X}{blue:02X}"


def _inside(floorplan: Floorplan, tile: int) -> tuple[float, float, float]:
    """Left and top of the square that shows the slots of a tile, and its side."""
    row, column = divmod(tile, floorplan.fabric_shape[1])
    edge = _GAP + _FRAME
    return _start(2 * column + 1) + edge, _start(2 * row + 1) + edge, 1 - 2 * edge


def _bands(floorplan: Floorplan, tile: int) -> Iterator[tuple[_Style, int, int]]:
    """Style, first slot and number of slots of everything on a tile, from below."""
    bands = [(_INPUT, int(floorplan.inputs[tile]))]
    for layer in range(floorplan.layers):
        bands += [(_hidden(task, layer), int(units)) for task, units in enumerate(floorplan.hidden[tile, :, layer])]
    bands += [(_head(task), int(outputs)) for task, outputs in enumerate(floorplan.outputs[tile])]
    first = 0
    for style, count in bands:
        if count:
            yield style, first, count
        first += count
    if floorplan.reserved[tile]:
        yield _RESERVED, floorplan.slots - int(floorplan.reserved[tile]), int(floorplan.reserved[tile])


def _hidden(task: int, layer: int) -> _Style:
    return _Style(task_colour(task), pattern=layer_pattern(layer))


def _head(task: int) -> _Style:
    """The only pattern in ink rather than in white."""
    return _Style(task_colour(task), pattern="||||", marks=_INK)


def _add(axes: Axes, boxes: Sequence[_Box], style: _Style, line: float) -> None:
    """Boxes of one style, as one artist, or two where there is a pattern, whose colour is that of the edge."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    patches = [Rectangle((left, top), wide, high) for left, top, wide, high in boxes]
    outline: dict[str, Any] = {"edgecolor": style.edge, "linewidth": line, "linestyle": style.dashes}
    if style.pattern:
        marks: dict[str, Any] = {"edgecolor": style.marks, "linewidth": 0, "hatch": style.pattern}
        axes.add_collection(PatchCollection(patches, facecolor=style.face, **marks), autolim=False)
    face = "none" if style.pattern else style.face
    axes.add_collection(PatchCollection(patches, facecolor=face, **outline), autolim=False)


def _write(axes: Axes, x: float, y: float, words: str, **changes: Any) -> None:
    axes.text(x, y, words, **{"fontsize": 8, "color": _INK, "va": "center", **changes})


def _write_numbers(axes: Axes, floorplan: Floorplan, side: float) -> None:
    """Occupied slots, "of slots" where that fits, on every tile that holds something: above its bands or upon them."""
    if side < 16:
        return
    occupied, size = floorplan.occupied, float(np.clip(0.17 * side, 5.5, 10))
    for tile in np.flatnonzero(occupied):
        left, top, inner = _inside(floorplan, int(tile))
        begin = inner * floorplan.reserved[tile] / floorplan.slots  # of the free part, from above
        end = inner * (1 - occupied[tile] / floorplan.slots)
        if (end - begin) * side < 1.3 * size:
            begin, end = end, inner
        # A letter is about 0.65 of the font's size wide; all labels of a picture have the same form.
        full = 0.65 * size * len(f"{floorplan.slots}/{floorplan.slots}") <= 0.85 * inner * side
        words = f"{occupied[tile]}/{floorplan.slots}" if full else str(occupied[tile])
        label = {"boxstyle": "round,pad=0.15", "facecolor": _PAPER, "edgecolor": "none", "alpha": 0.85}
        _write(axes, left + inner / 2, top + (begin + end) / 2, words, fontsize=size, ha="center", bbox=label)


def _swatch(left: float, top: float) -> _Box:
    return left + 1, top + 1, _STEP - 2, _STEP - 2


def _draw_scale(axes: Axes, left: float, top: float, room: float) -> None:
    """The colour bar of routers and frames, between the swatches of none and of full."""
    _write(axes, left, top + 0.6 * _STEP, "channels in use", weight="bold")
    box, gap, tall, bar, steps = 18.0, 4.0, 9.0, top + 1.1 * _STEP, 60
    wide = min(room, 180.0) - 2 * (box + gap)
    begin, end = left + box + gap, left + box + gap + wide
    at = (np.arange(steps) + 0.5) / steps
    axes.bar(begin + wide * at, tall, wide / steps, bar, color=[_load_colour(share) for share in at])
    _add(axes, [(left, bar, box, tall)], _Style(_UNUSED, _FAINT), 0.6)
    _add(axes, [(end + gap, bar, box, tall)], _Style(_FULL, _FULL), 0.6)
    axes.plot(end + gap + box / 2, bar + tall / 2, "x", color=_PAPER, markersize=5, markeredgewidth=1)
    for x, words in ((left + box / 2, "none"), ((begin + end) / 2, "half"), (end + gap + box / 2, "full")):
        _write(axes, x, bar + 15, words, fontsize=7, ha="center")
    _write(axes, left, bar + 26, "router: fullest port; frame: a tile's fullest input", fontsize=7)
