"""Growth happens wholly or not at all, whichever part of it fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from growenv import GrowthVectorEnv
from growenv.growth import RandomGrowth
from growenv.hardware import CountingMeter
from growenv.hardware.simple import parameters

SMALL: dict[str, Any] = {"tasks": 2, "decisions": 2, "minibatches": 2, "budget": 1.0}


class LedgerMeter(CountingMeter):
    """Counts parameters, remembers how often it was told of growth, and can be made to fail."""

    def __init__(self) -> None:
        super().__init__("ledger", "parameters", parameters)
        object.__setattr__(self, "book", {"commits": 0, "fails": False})

    def commit(self, rows: Any, architecture: Any) -> None:
        self.book["commits"] += 1
        if self.book["fails"]:
            raise RuntimeError("no tile")

    def snapshot(self) -> Any:
        return dict(self.book)

    def restore(self, state: Any) -> None:
        self.book.update(state)


class FailingGrowth(RandomGrowth):
    """Proposes for layer 0, fails for layer 1."""

    def propose(self, network: Any, batch: Any) -> Any:
        if batch.layer == 1:
            raise RuntimeError("no weights")
        return super().propose(network, batch)


def unchanged(env: GrowthVectorEnv, act: np.ndarray, message: str) -> None:
    learner = env.learner
    before = (
        learner.network.widths.copy(),
        learner.units.copy(),
        {k: v.clone() for k, v in learner.network.buffers.items()},
    )
    commits = env.admission.meter.book["commits"]
    with pytest.raises(RuntimeError, match=message):
        env.step(act)
    assert (learner.network.widths == before[0]).all()
    assert (learner.units == before[1]).all()
    for name, flat in learner.network.buffers.items():
        assert torch.equal(flat, before[2][name])
    assert env.admission.meter.book["commits"] == commits


def test_a_meter_that_fails_leaves_no_network_that_it_does_not_know() -> None:
    env = GrowthVectorEnv(2, meter=LedgerMeter(), **SMALL)
    env.reset(seed=0)
    env.admission.meter.book["fails"] = True
    unchanged(env, np.array([1, 3]), "no tile")


def test_an_operator_that_fails_leaves_no_growth_in_the_meter() -> None:
    env = GrowthVectorEnv(2, meter=LedgerMeter(), growth=FailingGrowth(), **SMALL)
    env.reset(seed=0)
    unchanged(env, np.array([1, 3]), "no weights")


def test_the_meter_hears_of_growth_once() -> None:
    env = GrowthVectorEnv(2, meter=LedgerMeter(), **SMALL)
    env.reset(seed=0)
    before = env.admission.meter.book["commits"]
    env.step(np.array([1, 0]))
    assert env.admission.meter.book["commits"] == before + 1
