"""Growth happens wholly or not at all, whichever part of it fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from growenv import GrowthVectorEnv
from growenv.growth import RandomGrowth
from growenv.hardware import CountingMeter
from growenv.hardware.mosaic.placement import Placement
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


# -- hardware with places --------------------------------------------------------------------------------------------


def floorplans(env: GrowthVectorEnv) -> list[dict[str, Any]]:
    """Where every network stands, and which channels it owns."""
    admission = env.admission
    assert admission.placed is not None
    now = admission.architecture(env.episodes)
    return [vars(admission.placed.floorplan(now, row)) for row in range(env.num_envs)]


def same_places(given: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    for one, two in zip(given, expected, strict=True):
        for name, value in two.items():
            np.testing.assert_array_equal(one[name], value, err_msg=name)


def legal(env: GrowthVectorEnv, row: int, layer: int) -> int:
    """The last action that grows a layer."""
    return int(np.flatnonzero(env.action_masks()[row] & (env.actions.layer == layer))[-1])


@pytest.mark.parametrize("where", ["auto", "tile"])
def test_an_operator_that_fails_leaves_every_unit_where_it_stands(where: str) -> None:
    """The channels too, so that what grows next stands as it would have done."""
    env, twin = (GrowthVectorEnv(2, where=where, growth=FailingGrowth(), **SMALL) for _ in range(2))
    for each in (env, twin):
        each.reset(seed=0)
        each.step(np.array([legal(each, 0, 0), 0]))
    before, used = floorplans(env), env.admission.used(env.episodes)
    with pytest.raises(RuntimeError, match="no weights"):
        env.step(np.array([legal(env, 0, 0), legal(env, 1, 1)]))
    same_places(floorplans(env), before)
    np.testing.assert_array_equal(env.admission.used(env.episodes), used)
    assert (env.learner.units == twin.learner.units).all()
    for each in (env, twin):
        each.admission.refresh(each.episodes)
        each.step(np.array([0, legal(each, 1, 0)]))
    same_places(floorplans(env), floorplans(twin))
    assert (env.learner.units.sum(axis=1)[:, 0] == [20, 20]).all()


def test_hardware_that_fails_in_the_middle_of_a_commit_leaves_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    env = GrowthVectorEnv(2, **SMALL)
    env.reset(seed=0)
    before, widths = floorplans(env), env.learner.network.widths.copy()
    place, calls = Placement.place, []

    def failing(self: Placement, *request: Any) -> None:
        place(self, *request)
        calls.append(request)
        raise RuntimeError("no channel")

    monkeypatch.setattr(Placement, "place", failing)
    with pytest.raises(RuntimeError, match="no channel"):
        env.step(np.array([1, 3]))
    monkeypatch.undo()
    assert calls, "something had been placed"
    same_places(floorplans(env), before)
    assert (env.learner.network.widths == widths).all()
    env.step(np.array([1, 3]))
    assert (env.learner.units.sum(axis=1) == [[8, 4], [4, 8]]).all()
