"""The check of meters passes what is right, placed hardware included, and names what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from growenv.hardware import METERS, CountingMeter
from growenv.hardware.simple import neurons
from growenv.testing import check_meter


class SlotMeter:
    """Placed hardware in miniature: a row has 3 tiles of 8 slots, and units of one request must share a tile."""

    name, unit, reasons = "slots", "slots", ("", "budget", "no tile")

    def __init__(self):
        self.occupied = np.zeros((0, 3), dtype=np.int64)
        self.placed = np.zeros(0, dtype=np.int64)

    def usage(self, architecture):
        return neurons(architecture).astype(np.float64)

    def refuse(self, architecture, layer, amount, generation, limit):
        grown = self.usage(architecture.grown(layer, amount, generation))
        over, full = grown > limit, (self.occupied + np.reshape(amount, (-1, 1)) > 8).all(axis=1)
        return np.where(np.asarray(amount) == 0, 0, np.where(over, 1, np.where(full, 2, 0))).astype(np.int8)

    def begin(self, rows, architecture):
        if len(rows) != len(self.placed):
            self.occupied, self.placed = np.zeros((len(rows), 3), np.int64), np.zeros(len(rows), np.int64)
        self.occupied[rows], self.placed[rows] = 0, 0
        self.commit(rows, architecture)

    def commit(self, rows, architecture):
        new = np.where(rows, neurons(architecture) - self.placed, 0)
        for row in np.flatnonzero(new):
            self.occupied[row, self.occupied[row].argmin()] += new[row]
        self.placed += new

    def snapshot(self):
        return self.occupied.copy(), self.placed.copy()

    def restore(self, state):
        self.occupied, self.placed = state[0].copy(), state[1].copy()


@pytest.mark.parametrize("name", METERS.names())
def test_our_own_meters_pass(name):
    check_meter(name, rounds=4)


def test_placed_hardware_passes():
    check_meter(SlotMeter(), rounds=6)


class Forgetful(SlotMeter):
    def snapshot(self):
        return self.occupied, self.placed  # the arrays themselves, which the next commit changes


class Committing(SlotMeter):
    def refuse(self, architecture, layer, amount, generation, limit):
        answer = super().refuse(architecture, layer, amount, generation, limit)
        self.occupied += np.reshape(amount, (-1, 1))
        return answer


@pytest.mark.parametrize(
    ("meter", "message"),
    [(Forgetful(), "answers after restore"), (Committing(), "asked twice|after restore")],
)
def test_placed_hardware_that_loses_its_state(meter, message):
    with pytest.raises(AssertionError, match=message):
        check_meter(meter)


good = CountingMeter("mine", "neurons", neurons)


@dataclass(frozen=True)
class Refusing(CountingMeter):
    """A meter whose refusals are changed."""

    change: object = None

    def refuse(self, architecture, layer, amount, generation, limit):
        return self.change(super().refuse(architecture, layer, amount, generation, limit), architecture, limit)


def mutate(answer, architecture, limit):
    architecture.units[:, 0] += 1
    return answer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda answer, network, limit: answer.astype(np.int64), "must give an int8 array"),
        (lambda answer, network, limit: answer[:1], "must give an int8 array"),
        (lambda answer, network, limit: answer + np.int8(5), "outside of its 2 reasons"),
        (lambda answer, network, limit: np.ones_like(answer), "a request for 0 units was refused"),
        (lambda answer, network, limit: np.zeros_like(answer), "granted under a limit of 0"),
        (lambda answer, network, limit: answer * (limit < 6).astype(np.int8), "granted growth uses"),
        (mutate, "answered differently|changed the architecture"),
    ],
)
def test_refusals_that_are_wrong(change, message):
    with pytest.raises(AssertionError, match=message):
        check_meter(Refusing("mine", "neurons", neurons, change=change))


@dataclass(frozen=True)
class Using(CountingMeter):
    """A meter whose usage is changed."""

    change: object = None

    def usage(self, architecture):
        return self.change(super().usage(architecture))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda usage: usage.astype(np.float32), "must be a float64 array"),
        (lambda usage: usage[:, None], "must be a float64 array"),
        (lambda usage: -usage, "finite and not negative"),
        (lambda usage: usage * np.nan, "finite and not negative"),
        (lambda usage: 1000.0 - usage, "although networks only grew"),
        (lambda usage: usage + usage.sum(), "among others and"),
        (lambda usage: usage + 0 * np.random.random(len(usage)), "global generator of numpy.random"),
    ],
)
def test_usage_that_is_wrong(change, message):
    with pytest.raises(AssertionError, match=message):
        check_meter(Using("mine", "neurons", neurons, change=change))


@pytest.mark.parametrize("reasons", [("",), ("fits", "budget"), ("", ""), ["", "budget"]])
def test_reasons_that_are_wrong(reasons):
    with pytest.raises(AssertionError, match="reasons"):
        check_meter(replace(good, reasons=reasons))


def test_names_that_are_wrong(monkeypatch):
    monkeypatch.setitem(METERS._factories, "yours", lambda: good)
    with pytest.raises(AssertionError, match="registered as 'yours' calls itself 'mine'"):
        check_meter("yours")
    with pytest.raises(AssertionError, match="must name its unit"):
        check_meter(replace(good, unit=""))
