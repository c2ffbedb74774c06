"""PathProblem: what a table is a table of."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from growenv import GrowthVectorEnv
from growenv.paths.problem import PathProblem
from growenv.streams import load_dataset
from tests.paths.tables import problem


def test_widths_and_work_worked_by_hand() -> None:
    """64-w1-w2-10 with biases: 65 w1 + (w1 + 1) w2 + 10 (w2 + 1); layers begin with 1 neuron and grow by 1."""
    about = problem((2, 1))
    expected = [[1, 1], [2, 1], [1, 2], [3, 1], [2, 2], [2, 2], [3, 2], [3, 2], [3, 2]]
    assert about.widths.tolist() == expected and about.target == (3, 2)
    macs = np.array([87, 153, 99, 219, 166, 166, 233, 233, 233])
    np.testing.assert_allclose(about.work, macs / 233, atol=1e-15)


def test_steps_may_add_several_neurons() -> None:
    about = problem((1, 2), 1, hidden=(4, 2), max_hidden=(7, 8), amounts=(3,))
    assert about.target == (7, 8) and about.lattice.horizon == 4
    assert about.widths[-1].tolist() == [7, 8] and about.widths[0].tolist() == [4, 2]
    assert about.work[-1] == 1.0 and (about.work <= 1.0).all()


def test_trials_differ_in_their_inner_seed_only() -> None:
    about = dataclasses.replace(problem(), trials=(5, 3))
    contexts = about.contexts
    assert [context.inner_seed for context in contexts] == [5, 3]
    assert len({context.tasks for context in contexts}) == 1
    assert contexts[0].tasks[0].classes == tuple(range(10)) and contexts[0].budget == about.config.budget[1]
    for context in contexts:
        context.check(about.dataset)


def test_paths_are_episodes_of_the_growth_environment() -> None:
    """Actions mean the same there, the widths are the same, and every action of a path fits."""
    about = problem((2, 1), 1, minibatches=1)
    env = GrowthVectorEnv(2, about.config, autoreset_mode="DISABLED")
    assert env.single_action_space.n == about.lattice.actions
    env.reset(options={"contexts": list(about.contexts)})
    paths = np.array([[1, 0, 2, 1], [2, 1, 1, 0]])
    visited = about.lattice.follow(paths)
    for place, actions in enumerate(paths.T):
        _, _, terminated, _, infos = env.step(actions)
        assert not infos["invalid_action"].any()
        np.testing.assert_array_equal(infos["widths"], about.widths[visited[:, place + 1]])
    assert terminated.all()


def test_a_problem_comes_back_from_json() -> None:
    about = problem((2, 1), 1, trials=3)
    again = PathProblem.from_json(json.loads(json.dumps(about.to_json())))
    assert again == about and again.lattice.nodes == about.lattice.nodes and again.trials == (0, 1, 2)


def test_numbers_of_numpy_can_be_written() -> None:
    about = dataclasses.replace(problem(), steps=np.array([2, 1]), waits=np.int64(0), trials=np.arange(2))  # type: ignore[arg-type]
    assert json.loads(json.dumps(about.to_json())) == problem().to_json() and about == problem()


def test_problems_with_objects_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="register it under a name"):
        problem(dataset=load_dataset("digits")).to_json()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tasks": 2}, "tasks=2, split='train': paths lead through one task; use tasks=1"),
        ({"split": "ood"}, "split='ood'"),
        ({"decisions": 4}, r"decisions=4: paths of steps=\(2, 1\), waits=0 have 3"),
        ({"amounts": (1, 2)}, r"amounts=\(1, 2\), prune=\(\): expected one amount"),
        ({"prune": (1,)}, r"prune=\(1,\): expected one amount, and no pruning"),
        ({"max_hidden": (4, 2)}, r"max_hidden=\(4, 2\): the paths lead from \(1, 1\) to \(3, 2\)"),
        ({"amounts": (2,)}, r"max_hidden=\(3, 2\): the paths lead from \(1, 1\) to \(5, 3\)"),
        ({"hidden": (1, 0)}, r"hidden=\(1, 0\): paths have no layers that are absent at first; expected widths >= 1"),
        ({"budget": 0.9}, r"budget=\(0.9, 0.9\): all paths end in the largest network; use budget=1.0"),
        ({"where": "tile", "meter": "mosaic"}, "where='tile': actions of paths name no region; use where='auto'"),
        ({"hidden": (1,), "max_hidden": (3,)}, r"steps=\(2, 1\): expected a number for each of the 1 hidden layers"),
    ],
)
def test_configurations_that_do_not_fit_the_lattice_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        problem(**options)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trials": ()}, "expected different inner seeds, at least one"),
        ({"trials": (1, 2, 1)}, r"trials=\(1, 2, 1\): expected different inner seeds"),
        ({"trials": (1.5,)}, "trials is 1.5, expected an integer"),
        ({"trials": (-1,)}, "trials is -1, expected 0 <= trials"),
        ({"trials": (True,)}, "trials is True, expected an integer"),
        ({"steps": (2.0, 1)}, "steps=2.0: expected integers >= 0"),
        ({"waits": 1}, "decisions=3: paths of steps=.*, waits=1 have 4"),
        ({"waits": -1}, "waits=-1"),
        ({"steps": (0, 0)}, "expected at least one growth step"),
    ],
)
def test_other_fields_that_do_not_fit_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(problem(), **changes)


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        (None, "expected a JSON object"),
        ({}, "missing: config, steps, waits, trials"),
        ({**problem().to_json(), "seed": 1}, "unknown: seed"),
        ({**problem().to_json(), "config": {"tasksz": 1}}, "did you mean 'tasks'"),
        ({**problem().to_json(), "config": 3}, "a configuration is a JSON object"),
    ],
)
def test_json_that_is_no_problem_is_refused(plain: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PathProblem.from_json(plain)
