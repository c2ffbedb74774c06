"""The checks of protections and growth operators pass what is right and name what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from growenv.growth import OPERATORS, Proposal, RandomGrowth
from growenv.protection import PROTECTIONS, Finetune, Freeze
from growenv.testing import check_operator, check_protection


@pytest.mark.parametrize("name", PROTECTIONS.names())
def test_our_own_protections_pass(name):
    check_protection(name)


@pytest.mark.parametrize("name", OPERATORS.names())
def test_our_own_operators_pass(name):
    check_operator(name)


class NotInvariant(Finetune):
    name, invariant = "mine", True


class Thawing(Freeze):
    """Frozen units change after all."""

    name = "mine"

    def after_backward(self, stage):
        stage.network.frozen[0][:, :, 1:] *= 1.001  # all but the constant unit


class NotDirected(Finetune):
    name, directed = "mine", True


class Nameless(Freeze):
    name = ""


class Remembering(Finetune):
    """Learns more slowly with every task, and never forgets that it did."""

    name = "mine"

    def __init__(self):
        self.finished = 0

    def after_backward(self, stage):
        stage.network.gradient.mul_(torch.tensor(0.0 if self.finished > 1 else 1.0))

    def finish_task(self, stage, rows):
        self.finished += 1


class Mixing(Finetune):
    name = "mine"

    def after_backward(self, stage):
        for gradient in stage.network.gradients:
            gradient.copy_(gradient.mean(dim=0, keepdim=True).expand_as(gradient))


class Leaking(Finetune):
    name = "mine"

    def after_backward(self, stage):
        stage.network.gradient.add_(0.01)


class Exploding(Finetune):
    name = "mine"

    def after_backward(self, stage):
        stage.network.gradients[0].mul_(float("nan"))


class Noisy(Finetune):
    name = "mine"

    def after_backward(self, stage):
        torch.rand(1)


class Counting(Finetune):
    """A count of calls that a snapshot of the protection does not hold."""

    name, calls = "mine", np.zeros(1)

    def after_backward(self, stage):
        Counting.calls += 1
        stage.network.gradient.mul_(1.0 if Counting.calls[0] % 7 else -5.0)


@pytest.mark.parametrize(
    ("protection", "message"),
    [
        (NotInvariant(), "says invariant, but the end of task 0 changed its logits"),
        (Thawing(), "says invariant, but later training or growth changed the logits of task 0"),
        (NotDirected(), "says directed, but leaves finished units free"),
        (Nameless(), "needs a name"),
        (Remembering(), "begin does not forget"),
        (Mixing(), "among other rows than alone|no longer zero"),
        (Leaking(), "units that do not exist are no longer zero"),
        (Exploding(), "is not finite"),
        (Noisy(), "global generator of torch"),
        (Counting(), "begin does not forget|among other rows|after restore"),
    ],
)
def test_protections_that_are_wrong(protection, message):
    with pytest.raises(AssertionError, match=message):
        check_protection(protection)


class Proposing(RandomGrowth):
    """Random growth whose proposal is changed."""

    name = "mine"

    def __init__(self, change, preserving=True):
        super().__init__()
        self.change, self.preserving = change, preserving

    def propose(self, network, batch):
        return self.change(network, batch, super().propose(network, batch).fan_in)


def outgoing(network, batch, value):
    return torch.full((network.rows, int(batch.amounts.max()), network.layout.fan_out(batch.layer + 1)), value)


def live_outgoing(network, batch, value):
    """Outgoing weights that reach live units only."""
    weights = outgoing(network, batch, value)
    if batch.layer + 1 < network.depth:
        units = torch.from_numpy(network.active_units[:, batch.layer + 1])
        weights *= (torch.arange(weights.shape[2]) < units[:, None])[:, None, :]
    return weights


def write(network, batch, fan_in):
    network.weights[0][:, 0, 0] += 1.0
    return Proposal(fan_in)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda network, batch, a: Proposal(a[:, :-1]), "fan_in of a proposal for layer 0 is"),
        (lambda network, batch, a: Proposal(a, a), "fan_out of a proposal for layer 0 is"),
        (lambda network, batch, a: Proposal(None), "fan_in of a proposal for layer 0 is NoneType"),
        (lambda network, batch, a: (a, None), "returns a Proposal, got a tuple"),
        (lambda network, batch, a: Proposal(a * 0), "no new unit of layer 0 takes part"),
        (lambda network, batch, a: Proposal(a * float("inf")), "fan_in is not finite"),
        (lambda network, batch, a: Proposal(a, live_outgoing(network, batch, 0.3)), "says preserving, but growth in"),
        (lambda network, batch, a: Proposal(a, outgoing(network, batch, 0.3)), "says preserving|no longer zero"),
        (lambda network, batch, a: Proposal(a * (1 + int(batch.amounts.sum()))), "grows otherwise among other rows"),
        (lambda network, batch, a: Proposal(a + torch.randn(1)), "two proposals for one growth differ"),
        (lambda network, batch, a: (torch.rand(1), Proposal(a))[1], "global generator of torch"),
        (write, "propose changed the network"),
    ],
)
def test_operators_that_are_wrong(change, message):
    with pytest.raises(AssertionError, match=message):
        check_operator(Proposing(change))


def test_an_operator_that_does_not_claim_to_preserve_may_change_the_function():
    check_operator(
        Proposing(lambda network, batch, a: Proposal(a, live_outgoing(network, batch, 0.3)), preserving=False)
    )
