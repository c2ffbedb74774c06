"""Signals inside the environment: they show evidence and change nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from growenv.growth.signals import ALL, SignalPanel
from growenv.vector_env import GrowthVectorEnv
from tests.rollouts import (
    Step,
    assert_same,
    begin,
    context,
    play,
    row_of_step,
    started,
    uneven_contexts,
    vector_of_three,
)

ACTIONS = np.array([[1, 3, 0], [3, 1, 2], [0, 0, 4], [1, 0, 0], [3, 4, 1], [0, 2, 0]])


def without_signals(step: Step) -> dict[str, Any]:
    parts = dict(vars(step))
    parts["observations"] = {name: value for name, value in step.observations.items() if name != "signals"}
    parts["infos"] = {name: value for name, value in step.infos.items() if name.strip("_") != "final_obs"}
    return parts


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP"])
def test_signals_change_nothing_but_the_observation(mode: str) -> None:
    plain, shown = (vector_of_three(mode, signals=signals) for signals in ("none", "all"))
    for one, two in zip(
        [begin(plain, seed=0), *play(plain, ACTIONS)], [begin(shown, seed=0), *play(shown, ACTIONS)], strict=True
    ):
        assert "signals" not in one.observations
        values = two.observations["signals"]
        assert values.shape == (3, len(shown.feature_names["signals"]))
        assert np.isfinite(values).all() and (np.abs(values) <= 1.0).all()
        assert_same(without_signals(two), without_signals(one))


def test_signals_of_a_row_do_not_depend_on_the_others() -> None:
    contexts = uneven_contexts(3)
    together = vector_of_three("DISABLED", signals="all", budget=1.0, tasks=3)
    steps = [begin(together, options={"contexts": contexts}), *play(together, ACTIONS[:4])]
    for row in range(3):
        alone = GrowthVectorEnv(1, together.config, autoreset_mode="DISABLED")
        single = [begin(alone, options={"contexts": contexts[row : row + 1]}), *play(alone, ACTIONS[:4, [row]])]
        for one, two in zip(steps, single, strict=True):
            expected = row_of_step(one, row).observations["signals"]
            np.testing.assert_allclose(two.observations["signals"][0], expected, atol=1e-5)


def test_signals_go_on_after_a_snapshot_as_if_nothing_had_happened() -> None:
    env = started(signals="all")
    play(env, ACTIONS[:1])
    kept = env.snapshot()
    first = play(env, ACTIONS[1:4])
    env.restore(kept)
    assert_same(play(env, ACTIONS[1:4]), first)


def test_a_stream_that_ends_shows_its_last_signals_and_the_next_one_starts_afresh() -> None:
    env = vector_of_three(signals=["loss", "gap"], minibatches=3)
    begin(env, seed=0)
    last = play(env, ACTIONS[:4])[-1]
    assert last.terminated.all()
    slope = env.feature_names["signals"].index("loss_slope")
    final = np.stack([each["signals"] for each in last.infos["final_obs"]])
    assert (final[:, slope] != 0.0).all()
    assert (last.observations["signals"][:, slope] == 0.0).all(), "nothing has been trained in the new stream"


def test_rows_that_idle_keep_their_signals() -> None:
    env = vector_of_three("DISABLED", signals="all", budget=1.0)
    begin(env, options={"contexts": [context(inner_seed=1), *uneven_contexts(2)]})
    shown = [step.observations["signals"] for step in play(env, ACTIONS[:4])]
    assert (shown[2][1] == shown[1][1]).all() and (shown[3][1] == shown[1][1]).all(), "row 1 has a single task"
    assert (shown[3][0] != shown[1][0]).any()


def test_a_panel_refuses_features_of_one_name_and_arrays_of_another_shape() -> None:
    with pytest.raises(ValueError, match="given twice: loss_curvature, loss_slope"):
        SignalPanel(("loss", "loss"), 2, 2)
    assert set(ALL) == {"loss", "gap", "gradmax", "gradient", "rank", "dead", "senn", "noracl", "firefly", "gain"}
