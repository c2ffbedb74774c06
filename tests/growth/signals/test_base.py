"""What all signals share."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from growenv.growth.signals import ALL, SIGNALS, Signal
from growenv.growth.signals.base import TaskClock, per_layer, probe_samples, ratio, relative, squash
from growenv.registry import UnknownNameError
from tests.growth.signals.scenes import begun, everyone, measured, scene_of

numbers = st.floats(0.0, 1e30)


def test_all_names_every_signal_of_the_package_in_the_order_of_the_observation() -> None:
    assert ALL == ("loss", "gap", "gradmax", "gradient", "rank", "dead", "senn", "noracl", "firefly", "gain")
    assert sorted(ALL) == list(SIGNALS.names())
    for name in ALL:
        signal = SIGNALS.make(name)
        assert isinstance(signal, Signal)
        assert signal.name == name
    with pytest.raises(UnknownNameError, match="unknown signal 'gradmx'; did you mean 'gradmax'"):
        SIGNALS.make("gradmx")


def test_features_are_named_as_policies_expect_them() -> None:
    names = [feature for name in ALL for feature in SIGNALS.make(name).features(2)]
    assert names == [
        *("loss_slope", "loss_curvature"),
        *("train_accuracy", "accuracy_gap", "overfitting_risk"),
        *("sv_share_0", "sv_share_1", "sv_strength_0", "sv_strength_1"),
        *("gradient_ratio_0", "gradient_ratio_1", "gradient_ratio_head", "grad_excess_0", "grad_excess_1"),
        *("rank_0", "rank_1", "rank_ratio_0", "rank_ratio_1", "weight_rank_0", "weight_rank_1"),
        *("dead_0", "dead_1"),
        *("senn_ratio_0", "senn_ratio_1", "senn_gain_0", "senn_gain_1"),
        *("saturation_0", "saturation_1", "plasticity_0", "plasticity_1"),
        *("ff_gain_0", "ff_gain_1"),
        *("gain_per_cost_0", "gain_per_cost_1", "shadow_price"),
    ]
    assert per_layer("rank", 3) == ("rank_0", "rank_1", "rank_2")


def test_squash_and_ratio_by_hand() -> None:
    np.testing.assert_array_equal(squash(np.array([0.0, 1.0, 3.0, np.inf, np.nan])), [0.0, 0.5, 0.75, 1.0, 1.0])
    np.testing.assert_array_equal(
        ratio(np.array([0.0, 2.0, 2.0, 0.0]), np.array([0.0, 0.0, 4.0, 5.0])), [0, np.inf, 0.5, 0]
    )
    start = np.array([0.0, 0.0, 2.0, 2.0, 2.0, 2.0])
    np.testing.assert_array_equal(
        relative(np.array([0.0, 1.0, 0.0, 1.0, 2.0, 9.0]), start), [0.5, 1.0, 0.0, 0.25, 0.5, 1.0]
    )


@given(numbers, numbers)
def test_helpers_keep_their_bounds(one: float, two: float) -> None:
    pair = np.array([one]), np.array([two])
    assert 0.0 <= squash(ratio(*pair))[0] <= 1.0
    assert 0.0 <= relative(*pair)[0] <= 1.0


def test_a_task_clock_notices_each_task_of_a_row_once() -> None:
    clock, first = TaskClock(), np.array([True, False])
    clock.begin(everyone(2))
    assert clock.entered(np.array([0, 0]), first).tolist() == [True, False]
    assert clock.entered(np.array([0, 0]), everyone(2)).tolist() == [False, True]
    assert clock.entered(np.array([0, 1]), everyone(2)).tolist() == [False, True]
    assert clock.entered(np.array([0, 2]), first).tolist() == [False, False]
    assert clock.entered(np.array([0, 2]), everyone(2)).tolist() == [False, True]
    clock.begin(first)
    assert clock.entered(np.array([0, 2]), everyone(2)).tolist() == [True, False]
    clock.begin(everyone(3))
    assert clock.entered(np.array([0, 2, 1]), everyone(3)).all()


def test_a_probe_batch_has_as_many_samples_as_the_widest_layer_may_have_units_within_limits() -> None:
    assert [probe_samples(most) for most in ((4, 4), (64, 20), (65, 3), (40, 100), (128, 8), (500, 8))] == [
        *(64, 64, 65, 100, 128, 128),
    ]


# -- every signal ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("options", [{}, {"hidden": (5, 0, 4), "max_hidden": (80, 80, 80)}], ids=["chain", "wires"])
@pytest.mark.parametrize("finished", [0, 1])
def test_a_row_shows_the_same_among_others_as_alone(name: str, options: dict[str, Any], finished: int) -> None:
    together = scene_of(begun(finished, **options))
    made_up = {name: getattr(together, name)[:1] for name in ("losses", "validation_accuracy", "unit_cost")}
    several, one = (
        measured(name, each) for each in (together, scene_of(begun(finished, rows=1, **options), **made_up))
    )
    for feature, values in one.items():
        assert several[feature][0] == pytest.approx(values[0], abs=1e-9), feature


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_network_that_has_diverged_breaks_nothing(name: str, bad: float) -> None:
    """Its features may be anything, those of the others are not touched."""
    ours = begun(1, dtype=torch.float32)
    healthy = measured(name, scene_of(ours))
    for weights in ours.network.weights[:-1]:
        weights[1, 0] = bad
    ours.network.weights[-1][1, 0] = bad
    given = measured(name, scene_of(ours))
    for feature, values in healthy.items():
        np.testing.assert_array_equal(given[feature][[0, 2]], values[[0, 2]])


@pytest.mark.parametrize("name", ALL)
def test_what_a_signal_remembers_is_its_own(name: str) -> None:
    ours, signal = begun(1), SIGNALS.make(name)
    signal.begin(everyone(3))
    measured(name, scene_of(ours), signal)
    twin = copy.deepcopy(signal)
    ours.train()
    one, two = measured(name, scene_of(ours), signal), measured(name, scene_of(ours), twin)
    for feature, values in one.items():
        np.testing.assert_array_equal(values, two[feature])
