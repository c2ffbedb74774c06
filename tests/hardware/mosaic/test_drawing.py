"""Pictures of floorplans: areas, colours and files."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread

from growenv.hardware.mosaic.drawing import (
    _load_colour,
    draw_floorplan,
    draw_key,
    key_height,
    layer_pattern,
    picture,
    task_colour,
)
from growenv.hardware.mosaic.floorplan import Floorplan
from tests.hardware.mosaic.test_floorplan import any_floorplan, floorplan, random_floorplan

FULL, UNUSED, INPUT = "#45000F", "#F4F4F4", "#4D4D4D"


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])


def pixels(image: np.ndarray, colour: str) -> int:
    """How many pixels have exactly this colour."""
    return int((image == rgb(colour)).all(axis=-1).sum())


def drawn(plan: Floorplan, draw=draw_floorplan, inches: tuple[float, float] = (4.0, 4.0)) -> np.ndarray:
    """Red, green and blue of a figure that shows nothing else."""
    figure = Figure(figsize=inches, dpi=100, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    draw(figure.add_axes((0.05, 0.03, 0.92, 0.92)), plan)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3]


def one_tile(slots: int = 10, inputs: int = 0, hidden: int = 0, load: float = 0.0, fan_in: float = 0.0) -> Floorplan:
    """A single tile with inputs and hidden units of task 0, layer 0; every router has the same load."""
    loads = np.full((3, 3), load)
    loads[1, 1] = np.nan
    return Floorplan(
        (1, 1), slots, np.array([inputs]), np.full((1, 1, 1), hidden), np.zeros((1, 1), dtype=np.int64),
        np.zeros(1, dtype=np.int64), loads, np.array([fan_in]), 0, 0.0, 0.0, 0.0,
    )  # fmt: skip


@pytest.mark.parametrize("units", [2, 4])
def test_the_filled_area_is_the_share_of_occupied_slots(units):
    # The side of the slots is 1 - 2 * (0.025 + 0.07) of a tile, and the fabric is 1.72 tiles wide; 368 pixels.
    side = (1 - 2 * 0.095) * 368 / 1.72
    blue = pixels(drawn(one_tile(hidden=units)), task_colour(0))
    assert blue == pytest.approx(side**2 * units / 10, rel=0.05)


def test_tiles_are_filled_from_below():
    image = drawn(one_tile(inputs=2, hidden=4))
    blue, grey = ((image == rgb(colour)).all(axis=-1).nonzero()[0] for colour in (task_colour(0), INPUT))
    assert blue.max() < grey.min()  # inputs lie below, and rows of a picture count downward
    assert blue.min() > 0.4 * 400


def test_routers_and_frames_show_channels_in_use():
    calm, busy, framed = (drawn(plan) for plan in (one_tile(), one_tile(load=1.0), one_tile(fan_in=1.0)))
    assert pixels(calm, FULL) == 0
    assert pixels(calm, UNUSED) > pixels(busy, UNUSED) > 0
    assert pixels(busy, FULL) > pixels(framed, FULL) > 0
    assert pixels(busy, "#FFFFFF") > 0


def test_loads_get_darker_and_only_full_looks_full():
    shares = np.linspace(0, 1, 101)
    lightness = [float(rgb(_load_colour(share)) @ (0.2126, 0.7152, 0.0722)) for share in shares]
    assert (np.diff(lightness) < 0).all()
    assert [_load_colour(share) == FULL for share in (0.0, 0.999, 1.0)] == [False, False, True]
    assert _load_colour(0.0) == UNUSED != _load_colour(1e-9)


def test_tasks_are_told_apart_by_colour_and_layers_by_pattern():
    assert len({task_colour(task) for task in range(8)}) == 8
    assert len({layer_pattern(layer) for layer in range(5)}) == 5
    assert (task_colour(8), layer_pattern(5)) == (task_colour(0), layer_pattern(0))
    image = drawn(floorplan())
    for task in (0, 1, 2):
        assert pixels(image, task_colour(task)) > 0
    assert pixels(image, task_colour(3)) == 0


def test_numbers_are_left_out_where_they_do_not_fit():
    crowded = random_floorplan(0, 30, 30, 2, 1, 1)
    axes = Figure(figsize=(3, 3)).add_axes((0, 0, 1, 1))
    draw_floorplan(axes, crowded)
    assert len(axes.texts) == 0
    assert 0 < len(axes.get_xticks()) < 30


def test_full_tiles_of_large_slots_show_the_number_alone():
    figure = Figure(figsize=(4, 4))
    axes = figure.add_axes((0, 0, 1, 1))
    draw_floorplan(axes, random_floorplan(1, 6, 6, 128, 2, 2))
    assert all("/" not in label.get_text() for label in axes.texts)
    axes = figure.add_axes((0, 0, 1, 1))
    draw_floorplan(axes, floorplan())
    assert [label.get_text() for label in axes.texts] == ["8/8", "6/8", "4/8", "4/8"]


@settings(max_examples=8, deadline=None, phases=(Phase.explicit, Phase.generate))  # a picture is slow to shrink
@given(any_floorplan(), st.floats(3.0, 5.0))
def test_any_floorplan_is_drawn_inside_its_axes(plan, inches):
    image = drawn(plan, inches=(inches, inches))
    edge = np.concatenate([image[0], image[-1], image[:, -1]])
    assert (edge == 255).all()


def test_the_key_names_tasks_layers_and_loads():
    plan = random_floorplan(2, 2, 2, 8, 20, 4)
    figure = Figure(figsize=(5, key_height(plan)))
    axes = figure.add_axes((0, 0, 1, 1))
    draw_key(axes, plan)
    words = [label.get_text() for label in axes.texts]
    for expected in ("7", "layer 3", "head", "input", "channels in use", "full", "task 8 looks like task 0, and so on"):
        assert expected in words
    assert "8" not in words
    assert key_height(plan) > key_height(floorplan())


def test_a_picture_is_a_png_with_a_title_and_the_same_every_time(tmp_path):
    first, second, other = (tmp_path / name for name in ("a.png", "b.png", "c"))
    picture(floorplan(), first, "refused: router")
    picture(floorplan(), second, "refused: router")
    picture(floorplan(), other)
    assert first.read_bytes() == second.read_bytes() != other.read_bytes()
    assert other.read_bytes().startswith(b"\x89PNG")  # whatever the name ends with
    image = (255 * imread(first)[:, :, :3]).round()
    assert image.shape[1] == 640
    assert (image[0] == 255).all() and (image[:, 0] == 255).all()
    for task in range(3):
        assert pixels(image, task_colour(task)) > 0


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 8), (8, 1), (8, 8)])
def test_pictures_of_every_shape_are_written(tmp_path, rows, columns):
    picture(random_floorplan(3, rows, columns, 32, 5, 2), tmp_path / "p.png")
    height, width = imread(tmp_path / "p.png").shape[:2]
    assert width == 640 and 200 < height < 900


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        picture(floorplan(), tmp_path / "p.png")
