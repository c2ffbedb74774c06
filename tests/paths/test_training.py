"""Paths are trained as the growth environment trains them, whatever they share and however rows are stacked."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from growenv import GrowthVectorEnv
from growenv.growth import OPERATORS
from growenv.hardware import Architecture
from growenv.hardware.simple import CountingMeter, parameters
from growenv.networks.layout import round_up
from growenv.paths import PathProblem
from growenv.paths.enumeration import Counted, count_right
from growenv.paths.live import play_live
from growenv.paths.training import PathTraining
from growenv.protection import PROTECTIONS
from tests.paths.tables import problem

SMALL: dict[str, Any] = {
    "hidden": (3, 3),
    "amounts": (4,),
    "minibatches": 3,
    "batch_size": 16,
    "learning_rate": 0.02,
    "budget": 1.0,
    "precision": "float64",
    "validation_samples": 60,
    "test_samples": 90,
}


def small(steps: tuple[int, ...] = (2, 1), waits: int = 0, trials: int = 2, **options: Any) -> PathProblem:
    """A few steps of four neurons, in double precision."""
    given = {**SMALL, **options}
    most = tuple(width + given["amounts"][0] * step for width, step in zip(given["hidden"], steps, strict=True))
    return problem(steps, waits, trials, **{**given, "max_hidden": most})


@cache
def played(about: PathProblem) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Every path of every trial as an episode of the environment: validation (trials, P, T) and test (trials, P)."""
    return play_live(about, about.lattice.path(about.lattice.leaves), range(len(about.trials)))


def counted(about: PathProblem, trials: tuple[int, ...] | None = None, most_rows: int = 64) -> Counted:
    chosen = tuple(range(len(about.trials))) if trials is None else trials
    return count_right(PathTraining(about), about.lattice.leaves, chosen, most_rows)


def assert_equal_to_the_environment(about: PathProblem, within: float = 1e-12) -> None:
    found, training = counted(about), PathTraining(about)
    validation, test = played(about)
    visited = about.lattice.follow(about.lattice.path(about.lattice.leaves))[:, 1:]
    np.testing.assert_allclose(found.validation[:, visited] / training.samples("validation"), validation, atol=within)
    np.testing.assert_allclose(found.test[:, visited[:, -1]] / training.samples("test"), test, atol=within)


# -- against the environment ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["cross-entropy", "squared-error"])
@pytest.mark.parametrize("growth", ["random", "gradmax"])
def test_every_node_is_as_accurate_as_in_the_environment(growth: str, loss: str) -> None:
    assert_equal_to_the_environment(small((2, 2), growth=growth, loss=loss))


@pytest.mark.parametrize("growth", OPERATORS.names())
def test_every_growth_operator_gives_the_networks_of_the_environment(growth: str) -> None:
    """With a decision at which nothing grows."""
    assert_equal_to_the_environment(small((1, 1), 1, growth=growth))


@pytest.mark.parametrize("growth", ["random", "gradmax"])
def test_single_precision_differs_by_rounding(growth: str) -> None:
    """An answer or two may change."""
    assert_equal_to_the_environment(small(growth=growth, precision="float32"), within=2.5 / 60)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd", "learning_rate": 0.5},
        {"protection": "freeze"},
        {"protection": "progressive"},
        {"input_pool": 4},
        {"scenario": "class-incremental"},
        {"meter": "mosaic", "budget": 1.0},
    ],
)
def test_other_options_are_those_of_the_environment(options: dict[str, Any]) -> None:
    assert_equal_to_the_environment(small(**options))


def test_one_and_three_hidden_layers() -> None:
    for steps in ((3,), (1, 1, 1)):
        assert_equal_to_the_environment(small(steps, hidden=(3,) * len(steps)))


def test_weights_and_moments_are_those_of_the_environment() -> None:
    """Along one path, which waits in the middle."""
    about = small((2, 1), 1, trials=1, growth="gradmax")
    path = [2, 1, 0, 1]
    env = GrowthVectorEnv(1, about.config, autoreset_mode="DISABLED")
    env.reset(options={"contexts": list(about.contexts)})
    node = about.lattice.follow(path)
    for action, front in zip([None, *path], PathTraining(about).walk(node[-1:], [0]), strict=True):
        if action is not None:
            env.step(np.array([action]))
        network = env.learner.network
        assert front.network.widths.tolist() == network.widths.tolist()
        for name in ("weights", "adam_first", "adam_second"):
            np.testing.assert_allclose(front.network.buffers[name], network.buffers[name], rtol=1e-9, atol=1e-12)


# -- sharing ---------------------------------------------------------------------------------------------------------


def test_what_paths_share_is_trained_as_for_each_path_alone() -> None:
    about = small((2, 2), 1)
    together, training = counted(about), PathTraining(about)
    for end in about.lattice.leaves[::7]:
        alone = count_right(training, np.array([end]), [0, 1])
        for split in ("validation", "test"):
            np.testing.assert_array_equal(getattr(alone, split), getattr(together, split)[:, alone.nodes])


@pytest.mark.parametrize("growth", ["random", "gradmax"])
def test_rows_of_a_stack_and_trials_beside_each_other_change_nothing(growth: str) -> None:
    about = small((2, 2), trials=3, growth=growth)
    together = counted(about)
    narrow = counted(about, most_rows=3)
    alone = [counted(about, (trial,)) for trial in range(3)]
    for split in ("validation", "test"):
        np.testing.assert_array_equal(getattr(narrow, split), getattr(together, split))
        np.testing.assert_array_equal(
            np.concatenate([getattr(each, split) for each in alone]), getattr(together, split)
        )


def test_trials_in_another_order_are_the_same_trials() -> None:
    about = small(trials=3)
    together, chosen = counted(about), counted(about, (2, 0))
    np.testing.assert_array_equal(chosen.validation, together.validation[[2, 0]])
    assert not np.array_equal(together.validation[0], together.validation[2])


def test_a_walk_can_be_walked_again() -> None:
    """What was trained leaves no trace in who trains."""
    about = small(growth="gradmax")
    training = PathTraining(about)
    one, two = (count_right(training, about.lattice.leaves, [0, 1]) for _ in range(2))
    np.testing.assert_array_equal(one.validation, two.validation)
    np.testing.assert_array_equal(one.test, two.test)


def test_every_network_is_visited_once_and_has_the_widths_of_its_node() -> None:
    about = small((2, 1), 1)
    seen = []
    for front in PathTraining(about).walk(about.lattice.leaves, [0, 1], most_rows=3):
        assert len(front) <= 3 or front.nodes[0] == 0
        widths = about.widths[front.nodes]
        assert (widths == widths[0]).all() and front.network.widths.tolist() == widths.tolist()
        active = tuple(round_up(int(width)) for width in widths[0])
        assert front.network.layout.active == active, "a stack without padding for others"
        seen += list(zip(front.trials.tolist(), front.nodes.tolist(), strict=True))
    assert sorted(seen) == [(trial, node) for trial in (0, 1) for node in range(about.lattice.nodes)]


def test_only_what_leads_to_the_wanted_nodes_is_trained() -> None:
    about = small((2, 1))
    visited = [front.nodes.tolist() for front in PathTraining(about).walk(np.array([4, 2]), [1])]
    assert visited == [[0], [2], [1], [4]] or visited == [[0], [1], [2], [4]]


def test_a_front_stays_as_it_is_while_copies_of_it_grow_and_train() -> None:
    about = small((2, 1))
    training = PathTraining(about)
    root = training.roots()
    before = root.network.state()["buffers"]
    grown = training.grown(root, 1, np.array([1, 0, 1]))
    training.train(grown)
    assert grown.trials.tolist() == [1, 0, 1] and grown.nodes.tolist() == [1, 1, 1]
    for name, flat in before.items():
        np.testing.assert_array_equal(root.network.buffers[name], flat)
    one, two = (grown.network.weights[0][row] for row in (0, 2))
    np.testing.assert_array_equal(one, two)


# -- measuring -------------------------------------------------------------------------------------------------------


def test_the_root_is_measured_before_any_training() -> None:
    about = small(trials=3)
    env = GrowthVectorEnv(3, about.config)
    env.reset(options={"contexts": list(about.contexts)})
    validation = env.learner.validate()[0]
    found = counted(about).validation[:, 0]
    np.testing.assert_allclose(found / PathTraining(about).samples("validation"), validation, atol=1e-12)


def test_a_tie_is_no_right_answer() -> None:
    """A network without weights answers the same for every class, and knows nothing."""
    training = PathTraining(small())
    root = training.roots()
    assert training.right_answers(root, "validation").sum() > 0
    root.network.buffers["weights"].zero_()
    assert training.right_answers(root, "validation").tolist() == [0, 0]
    assert training.right_answers(root, "test").tolist() == [0, 0]


def test_samples_are_counted_once() -> None:
    """The digits have 270 validation and 360 test samples at most; a problem may want fewer."""
    assert PathTraining(small()).samples("validation") == 60 and PathTraining(small()).samples("test") == 90
    whole = PathTraining(small(validation_samples=5_000, test_samples=5_000))
    data = whole.problem.dataset
    assert whole.samples("validation") == len(data.validation) and whole.samples("test") == len(data.test)


def test_an_unknown_part_is_refused() -> None:
    training = PathTraining(small())
    with pytest.raises((ValueError, KeyError), match="vaildation"):
        training.right_answers(training.roots(), "vaildation")


# -- what is not trained as in the environment -----------------------------------------------------------------------


@pytest.mark.parametrize("protection", sorted(set(PROTECTIONS.names()) - {"finetune", "freeze", "progressive"}))
def test_protections_that_take_part_in_training_are_refused(protection: str) -> None:
    with pytest.raises(ValueError, match=f"protection={protection!r}: .*use 'finetune'"):
        PathTraining(small(protection=protection))


def test_scenarios_that_hide_boundaries_are_refused() -> None:
    with pytest.raises(ValueError, match="scenario='task-free': .* use 'task-incremental'"):
        PathTraining(small(scenario="task-free"))


class OneLayerFirst(CountingMeter):
    """Hardware without room for the second layer until the first one is whole."""

    def refuse(self, architecture: Architecture, layer: ArrayLike, *others: Any) -> NDArray[np.int8]:
        return ((np.asarray(layer) == 1) & (architecture.widths[:, 0] < 11)).astype(np.int8)


def test_the_environment_has_room_for_every_path_or_says_so() -> None:
    about = small(meter=OneLayerFirst("one layer first", "parameters", parameters))
    validation, test = play_live(about, [[1, 1, 2]], [1, 0])
    assert validation.shape == (2, 1, 3) and test.shape == (2, 1)
    with pytest.raises(ValueError, match=r"meter=.* has no room for decision 1 of path 1; .* use a meter that counts"):
        play_live(about, [[1, 1, 2], [1, 2, 1]], [0, 1])


def test_only_whole_paths_are_played() -> None:
    with pytest.raises(ValueError, match="paths of 2 actions: expected whole ones, of 3"):
        play_live(small(), [[1, 2]], [0])
