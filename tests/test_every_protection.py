"""Every protection plays on the default hardware in every scenario that tells what it needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from growenv.protection import PROTECTIONS
from growenv.streams import NotVisibleError
from growenv.vector_env import GrowthVectorEnv

TELLS_EVERYTHING = ("task-incremental", "class-incremental-max")
TELLS_LESS = ("domain-incremental", "task-free")


def played(protection: str, scenario: str) -> dict[str, Any]:
    """Infos at the end of two streams with random growth."""
    options = {"minibatches": 1, "decisions": 2, "validation_samples": 16, "test_samples": 16}
    env = GrowthVectorEnv(2, protection=protection, scenario=scenario, autoreset_mode="DISABLED", **options)
    env.reset(seed=0)
    rng, infos = np.random.default_rng(0), {}
    while not env.episodes.ended.all():
        *_, infos = env.step(np.array([rng.choice(np.flatnonzero(mask)) for mask in env.action_masks()]))
    return infos


@pytest.mark.parametrize("scenario", [*TELLS_EVERYTHING, *TELLS_LESS])
@pytest.mark.parametrize("protection", PROTECTIONS.names())
def test_it_plays_within_its_budget_or_says_what_it_misses(protection: str, scenario: str) -> None:
    said, infos = "", {}
    try:
        infos = played(protection, scenario)
    except NotVisibleError as error:
        said = str(error)
    if infos:
        assert np.isfinite(infos["objective"]).all()
        assert (infos["used"] <= infos["budget"] + 1e-9).all()
    else:
        assert scenario in TELLS_LESS, "nothing is hidden elsewhere"
        assert f"the scenario {scenario!r} does not tell" in said


@pytest.mark.parametrize("protection", PROTECTIONS.names())
def test_signals_look_at_networks_under_it(protection: str) -> None:
    options = {"minibatches": 1, "decisions": 2, "tasks": 2, "validation_samples": 16, "test_samples": 16}
    env = GrowthVectorEnv(2, protection=protection, signals="all", **options)
    observations, _ = env.reset(seed=0)
    for _ in range(3):
        assert np.isfinite(observations["signals"]).all()
        observations, *_ = env.step(np.array([mask.nonzero()[0][-1] for mask in env.action_masks()]))
