"""Frames as pictures and as text."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from growenv.rendering import Frame, draw, text

NAN = float("nan")


def frame(**changes) -> Frame:
    generations = np.array([[24, 12], [16, 0], [4, 4], [0, 0], [0, 0]])
    parts = {
        "context_id": "3fa9c2d1e0b47a55",
        "task": 2,
        "tasks": 5,
        "decision": 14,
        "decisions": 30,
        "classes": ((0, 1), (2, 3), tuple(range(10)), (4, 5), (6, 7)),
        "widths": generations.sum(axis=0),
        "max_hidden": (64, 64),
        "generations": generations,
        "accuracies": [0.96, 0.91, 0.35, NAN, NAN],
        "used": 0.214,
        "budget": 0.55,
        "price": 0.12,
        "growth": [(0, 0, 16), (1, 1, 4), (6, 0, 16)],
        "history": {"task 0": [0.5, 0.9, 0.96], "task 1": [NAN, NAN, 0.6], "mean": [0.1, 0.2, 0.3]},
    }
    return Frame(**{**parts, **changes})


def has_colour(picture: np.ndarray, colour: str) -> bool:
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return bool((picture == wanted).all(axis=-1).any())


def test_the_picture_is_red_green_blue_of_a_fixed_size():
    picture = draw(frame())
    assert picture.shape == (640, 1000, 3)
    assert picture.dtype == np.uint8
    assert picture.flags.owndata and picture.flags.c_contiguous
    assert (picture[0] == 255).all() and (picture[-1] == 255).all()  # nothing is cut off at the edges
    assert (picture < 128).any()


def test_the_same_frame_gives_the_same_picture():
    assert np.array_equal(draw(frame()), draw(frame()))


def test_tasks_are_told_apart_by_colour_and_a_refusal_is_shown():
    picture = draw(frame())
    for colour in ("#0072B2", "#E69F00", "#009E73"):
        assert has_colour(picture, colour)
    assert not has_colour(picture, "#B00020")
    assert has_colour(draw(frame(refused="budget")), "#B00020")


@pytest.mark.parametrize(
    "changes",
    [
        {"history": {}, "growth": [], "decision": 0, "accuracies": [NAN] * 5},
        {"used": 0.7},
        {"used": 0.0, "budget": 0.001},
        {"decision": 30, "task": 4},
    ],
)
def test_frames_at_the_limits_are_drawn(changes):
    assert draw(frame(**changes)).shape == (640, 1000, 3)


def test_long_streams_and_deep_networks_are_drawn():
    generations = np.ones((20, 5), dtype=np.int64)
    picture = draw(
        frame(
            tasks=20,
            classes=((0, 1),) * 20,
            widths=generations.sum(axis=0),
            max_hidden=(64,) * 5,
            generations=generations,
            accuracies=np.linspace(0, 1, 20),
        )
    )
    assert picture.shape == (640, 1000, 3)


def test_one_task_and_one_layer_are_drawn():
    small = frame(
        task=0,
        tasks=1,
        classes=((0, 1),),
        widths=[8],
        max_hidden=[64],
        generations=np.array([[8]]),
        accuracies=[0.5],
        growth=[],
        history={},
    )
    assert draw(small).shape == (640, 1000, 3)
    assert "layer 0      8 [##..................] of 64 units, by task 8" in text(small)


def test_text_names_everything():
    lines = text(frame(refused="budget")).splitlines()
    assert lines[0] == "context 3fa9c2d1e0b47a55  task 2 of 0..4  14 of 30 decisions  price 0.12"
    assert lines[1] == "task 0   0.960 [###################.] classes 0 1"
    assert lines[3] == "task 2   0.350 [#######.............] classes 0 .. 9 (10)"
    assert lines[4] == "task 3     --  [....................] classes 4 5"
    assert lines[6] == "layer 0     44 [##############......] of 64 units, by task 24 + 16 + 4"
    assert lines[8] == "used     0.214 [####................] budget 0.550"
    assert lines[9] == "growth   @0 layer 0 +16, @1 layer 1 +4, @6 layer 0 +16"
    assert lines[10] == "refused  budget"
    assert not text(frame(growth=[])).endswith("\n")


def test_text_keeps_only_the_latest_growth():
    many = [(decision, 0, 4) for decision in range(20)]
    assert "growth   (14 earlier), @14 layer 0 +4" in text(frame(growth=many))


@pytest.mark.parametrize(
    "changes",
    [
        {"max_hidden": (64,)},
        {"generations": np.zeros((5, 3), dtype=np.int64)},
        {"generations": np.zeros((4, 2), dtype=np.int64)},
        {"classes": ((0, 1),)},
        {"accuracies": [0.5]},
    ],
)
def test_lengths_that_disagree_are_refused(changes):
    with pytest.raises(ValueError, match="5 tasks"):
        frame(**changes)


def test_drawing_never_imports_pyplot_and_importing_never_imports_matplotlib():
    code = (
        "import sys, growenv.rendering as r; assert 'matplotlib' not in sys.modules\n"
        "import numpy as np\n"
        "r.draw(r.Frame('x', 0, 1, 0, 6, ((0, 1),), [8], [64], np.array([[8]]), [0.5], 0.1, 0.5, 0.1))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
