"""Frames as pictures and as text."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from growenv.rendering import Frame, draw, text
from tests.hardware.mosaic.test_floorplan import floorplan, random_floorplan

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


def placed(**changes) -> Frame:
    """Three tasks on four tiles; the widths follow from the floorplan."""
    plan = changes.pop("floorplan", floorplan())
    generations = plan.hidden.sum(axis=0)
    parts = {
        "task": 1,
        "tasks": len(generations),
        "classes": ((0, 1),) * len(generations),
        "widths": generations.sum(axis=0),
        "max_hidden": (64,) * generations.shape[1],
        "generations": generations,
        "accuracies": [0.9] * len(generations),
        "growth": [],
        "floorplan": plan,
    }
    return frame(**{**parts, **changes})


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


def test_a_floorplan_is_drawn_beside_the_rest():
    picture = draw(placed(refused="router"))
    assert picture.shape == (760, 1400, 3)
    assert (picture[0] == 255).all() and (picture[-1] == 255).all() and (picture[:, -1] == 255).all()
    assert has_colour(picture, "#45000F")  # a full router
    assert has_colour(picture, "#B00020")
    assert np.array_equal(picture, draw(placed(refused="router")))
    assert not np.array_equal(picture, draw(placed(refused="router", floorplan=floorplan(fan_in=np.ones(4)))))


@pytest.mark.parametrize(("rows", "columns", "tasks", "layers"), [(4, 4, 20, 5), (1, 1, 1, 1), (1, 6, 5, 2)])
def test_floorplans_of_every_shape_are_drawn(rows, columns, tasks, layers):
    plan = random_floorplan(0, rows, columns, 32, tasks, layers)
    picture = draw(placed(floorplan=plan, task=0, max_hidden=(2048,) * layers))
    assert picture.shape == (760, 1400, 3)
    assert (picture[-1] == 255).all() and (picture[:, -1] == 255).all()


def test_text_of_a_floorplan_has_costs_and_a_map_of_tiles():
    lines = text(placed(refused="router")).splitlines()
    at = lines.index("tiles    8/8 6/8")
    assert lines[at - 1] == (
        "fabric   22 of 32 slots in use, 2 reserved  "
        "mean hops 1.62  memristors 15,320  energy 302.7 pJ  latency 1,200 ns"
    )
    assert lines[at + 1] == "         4/8 4/8"
    assert lines[at + 2] == "refused  router"
    assert "fabric" not in text(frame())


def test_a_floorplan_may_have_room_for_more_tasks():
    plan = floorplan(hidden=np.pad(floorplan().hidden, ((0, 0), (0, 2), (0, 0))), outputs=np.zeros((4, 5), np.int64))
    generations = floorplan().hidden.sum(axis=0)
    shorter = placed(floorplan=plan, tasks=3, classes=((0, 1),) * 3, generations=generations, accuracies=[0.9] * 3)
    assert draw(shorter).shape == (760, 1400, 3)


@pytest.mark.parametrize(
    "generations",
    [np.array([[7, 3], [2, 0], [0, 0]]), np.array([[7, 3], [2, 0], [0, 1], [0, 0]]), np.array([[4, 3], [2, 0]])],
)
def test_the_floorplan_of_another_network_is_refused(generations):
    tasks = len(generations)
    with pytest.raises(ValueError, match="take both at the same moment"):
        placed(generations=generations, tasks=tasks, classes=((0, 1),) * tasks, accuracies=[0.9] * tasks)


def test_the_floorplan_of_a_deeper_network_is_refused():
    with pytest.raises(ValueError, match="take both at the same moment"):
        frame(floorplan=random_floorplan(0, 2, 2, 8, 5, 3))


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
        "from tests.hardware.mosaic.test_floorplan import floorplan\n"
        "plan = floorplan(); units = plan.hidden.sum(axis=0)\n"
        "parts = ((0, 1),) * 3, units.sum(axis=0), [64, 64], units, [0.5] * 3, 0.1, 0.5, 0.1\n"
        "r.draw(r.Frame('x', 0, 3, 0, 6, *parts, floorplan=plan))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
