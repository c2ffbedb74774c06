from __future__ import annotations

import json

import numpy as np
import pytest

import agents.schedules  # noqa: F401
from agents.policy import Composite, Interface, PolicySpec, legal_or_wait
from growenv.actions import ActionTable
from growenv.registry import UnknownNameError
from tests.agents.fake_env import CONFIG, FakeVectorEnv

TABLE = ActionTable(2, (4, 16))
INTERFACE = Interface(TABLE, {"a": ("x", "y"), "b": ("z",)}, decisions=4, tasks=3, rows=2, hidden=(8, 8))


def test_interface_reads_an_environment() -> None:
    interface = Interface.of(FakeVectorEnv(CONFIG, 5))
    assert (interface.rows, interface.tasks, interface.decisions) == (5, 3, 4)
    assert (interface.hidden, interface.max_hidden) == ((8, 8), (40, 40))
    assert interface.actions.names[1] == "grow layer 0 by 4"


def test_feature_is_found_in_any_group() -> None:
    observations = {"a": np.array([[1, 2], [3, 4]], dtype=np.float32), "b": np.array([[5], [6]], dtype=np.float32)}
    np.testing.assert_array_equal(INTERFACE.feature(observations, "y"), [2, 4])
    np.testing.assert_array_equal(INTERFACE.feature(observations, "z"), [5, 6])


def test_unknown_feature_names_the_nearest() -> None:
    interface = Interface(TABLE, {"a": ("accuracy",)}, decisions=4, tasks=3, rows=2)
    with pytest.raises(UnknownNameError, match="did you mean 'accuracy'"):
        interface.feature({"a": np.zeros((2, 1), dtype=np.float32)}, "acuracy")


def test_part_keeps_all_but_rows_and_episode() -> None:
    part = INTERFACE.part(1, 9)
    assert (part.rows, part.first_episode, part.tasks) == (1, 9, 3)
    assert INTERFACE.rows == 2


def test_spec_json_round_trip() -> None:
    spec = PolicySpec("periodic", {"every": 2, "order": [1, 0]}, "mine")
    assert PolicySpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert spec.name == "mine"
    assert PolicySpec("never").name == "never"


def test_key_ignores_the_label() -> None:
    assert PolicySpec("periodic", {"every": 2}, "a").key == PolicySpec("periodic", {"every": 2}, "b").key
    assert PolicySpec("periodic", {"every": 2}).key != PolicySpec("periodic", {"every": 3}).key


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"policy": "never", "option": {}},
        {"policy": 3},
        {"policy": "never", "options": [1]},
        {"policy": "never", "label": None},
        ["never"],
    ],
)
def test_bad_spec_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match="policy"):
        PolicySpec.from_json(data)  # type: ignore[arg-type]


def test_spec_builds_a_named_policy() -> None:
    policy = PolicySpec("never", label="control")(INTERFACE)
    assert policy.name == "control"
    np.testing.assert_array_equal(policy.act({}, np.ones((2, 5), dtype=bool)), [0, 0])


def test_spec_with_wrong_option_says_so() -> None:
    with pytest.raises(ValueError, match=r"'periodic' cannot be built from .*evry"):
        PolicySpec("periodic", {"evry": 2})(INTERFACE)


def test_unknown_policy_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'doubling'"):
        PolicySpec("dubling")(INTERFACE)


def test_illegal_becomes_wait() -> None:
    masks = np.array([[1, 1, 0], [1, 0, 1]], dtype=bool)
    np.testing.assert_array_equal(legal_or_wait(np.array([1, 1]), masks), [1, 0])


class _Echo:
    """Answers with the observation, counts resets."""

    def __init__(self, rows: int) -> None:
        self.name, self.resets = "echo", np.zeros(rows, dtype=int)

    def reset(self, rows: np.ndarray) -> None:
        self.resets += rows

    def act(self, observations: dict[str, np.ndarray], masks: np.ndarray) -> np.ndarray:
        assert len(masks) == len(self.resets)
        return observations["a"][:, 0].astype(np.int64) + 10 * len(self.resets)


def test_composite_gives_each_part_its_rows() -> None:
    one, two = _Echo(1), _Echo(2)
    composite = Composite([(one, slice(0, 1)), (two, slice(1, 3))])
    composite.reset(np.array([True, False, True]))
    actions = composite.act({"a": np.array([[1.0], [2.0], [3.0]])}, np.ones((3, 5), dtype=bool))
    np.testing.assert_array_equal(actions, [11, 22, 23])
    np.testing.assert_array_equal(one.resets, [1])
    np.testing.assert_array_equal(two.resets, [0, 1])


def test_composite_refuses_gaps() -> None:
    with pytest.raises(ValueError, match="follow each other"):
        Composite([(_Echo(1), slice(0, 1)), (_Echo(1), slice(2, 3))])
