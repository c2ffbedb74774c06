"""Synaptic intelligence against a literal version of one network, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.protection import Batch, SynapticIntelligence
from growenv.protection.quadratic import CENTRE, IMPORTANCE
from growenv.protection.synaptic import PATH
from tests.protection.slow import CLASSES, Slow, SlowNet, assert_follows, padded
from tests.rollouts import context, learner, task

STRENGTHS = (0.0, 0.5, 2.0)


class SlowPaths(Slow):
    """Paths, importances and old weights, with a copy of everything."""

    def __init__(self, strength: float, own_heads: bool, damping: float) -> None:
        self.strength, self.own_heads, self.damping = strength, own_heads, damping

    def begin(self, net: SlowNet) -> None:
        self.omega = [torch.zeros_like(each) for each in net.parameters]
        self.entered(net)

    def entered(self, net: SlowNet) -> None:
        self.before = [each.clone() for each in net.parameters]
        self.path = [torch.zeros_like(each) for each in net.parameters]

    def loss(self, net: SlowNet, x: Tensor, logits: Tensor) -> Tensor:
        parts = list(zip(self.omega, net.parameters, self.before, strict=True))
        parts = parts[:-1] if self.own_heads else parts
        return self.strength * torch.stack([(omega * (w - old) ** 2).sum() for omega, w, old in parts]).sum()

    def stepped(self, gradients: list[Tensor], moved: list[Tensor]) -> None:
        for path, gradient, move in zip(self.path, gradients, moved, strict=True):
            path -= gradient * move

    def widened(self, net: SlowNet) -> None:
        for kept in (self.omega, self.path):
            kept[:] = [padded(old, now) for old, now in zip(kept, net.parameters, strict=True)]
        wider = [each.clone() for each in net.parameters]
        for new, old in zip(wider, self.before, strict=True):
            new[: old.shape[0], : old.shape[1]] = old
        self.before = wider

    def finished(self, net: SlowNet, drawn: list[Batch], row: int) -> None:
        for omega, path, w, old in zip(self.omega, self.path, net.parameters, self.before, strict=True):
            omega += path / ((w - old) ** 2 + self.damping)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(("scenario", "own_heads"), [("task-incremental", True), ("class-incremental", False)])
def test_synaptic_intelligence_equals_its_literal_version(scenario: str, own_heads: bool, optimizer: str) -> None:
    slow = [SlowPaths(strength, own_heads, damping=0.01) for strength in STRENGTHS]
    options: dict[str, Any] = {"strength": STRENGTHS, "damping": 0.01}
    ours = assert_follows(SynapticIntelligence, slow, protection=options, scenario=scenario, optimizer=optimizer)
    part = ours.protection
    assert isinstance(part, SynapticIntelligence)
    found = [float(each) for each in part.penalty(ours.network)]
    assert found[0] == 0.0
    assert min(map(abs, found[1:])) > 0


def test_a_path_by_hand() -> None:
    """With plain descent a step moves a weight by -rate * g, so its path gains rate * g^2."""
    everyone = np.ones(1, dtype=bool)
    ours = learner(1, protection=SynapticIntelligence(3.0), optimizer="sgd", minibatches=1, learning_rate=0.1)
    ours.begin(everyone, [context([task(*classes) for classes in CLASSES])])
    network = ours.network
    assert torch.equal(network.buffers[CENTRE], network.buffers["weights"])
    ours.train()
    gained = 0.1 * network.gradient**2
    moved = (0.1 * network.gradient) ** 2
    torch.testing.assert_close(network.buffers[PATH], gained, atol=1e-15, rtol=1e-9)
    ours.finish_task(everyone)
    hidden = sum(block.numel() for block in network.weights[:-1])
    expected = 2 * 3.0 * gained / (moved + 0.1)
    torch.testing.assert_close(network.buffers[IMPORTANCE][:hidden], expected[:hidden], atol=1e-14, rtol=1e-9)
    assert not network.buffers[IMPORTANCE][hidden:].any(), "the head goes with its task"
    assert not network.buffers[PATH].any()


def test_new_units_start_their_paths_where_they_grow() -> None:
    everyone = np.ones(2, dtype=bool)
    ours = learner(2, protection="si", scenario="class-incremental")
    ours.begin(everyone, [context([task(*classes) for classes in CLASSES], row) for row in range(2)])
    ours.train()
    ours.grow(np.array([0, 0]), np.array([2, 9]))
    network, offset = ours.network, ours.network.layout.frozen[0]
    weights, centres, paths = (network.layout.blocks(network.buffers[name]) for name in ("weights", CENTRE, PATH))
    for row, amount in enumerate((2, 9)):
        new = slice(5, 5 + amount)
        assert torch.equal(centres[0][row, :, new], weights[0][row, :, new])
        assert torch.equal(centres[1][row, offset:][new], weights[1][row, offset:][new])
        assert centres[0][row, :, new].any()
        assert not paths[0][row, :, new].any()
        assert not torch.equal(centres[0][row, :, :5], weights[0][row, :, :5]), "older ones have moved"


@pytest.mark.parametrize("damping", [0.0, -0.1, float("inf"), float("nan")])
def test_damping_that_is_none_is_refused(damping: float) -> None:
    with pytest.raises(ValueError, match="damping keeps omega finite where a weight has not moved, above 0; got"):
        SynapticIntelligence(damping=damping)
