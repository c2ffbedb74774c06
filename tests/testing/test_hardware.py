"""The check of meters passes what is right, placed hardware included, and names what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from growenv.hardware import METERS, CountingMeter, MosaicMeter
from growenv.hardware.mosaic.spec import MosaicSpec
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
    check_meter(name, rounds=2)


@pytest.mark.parametrize(
    "change",
    [
        {"nt_port_channels": 5},
        {"r1_port_channels": 5},
        {"r0_port_channels": 2},
        {"max_crossbar_side": 14},
        {"max_memristors": 120},
        {"max_energy_J": 120e-12, "energy_mode": "device"},
        {"max_latency_s": 1.3e-6, "devices_per_synapse": 2},
        {"rows": 1, "cols": 5, "neurons_per_tile": 12},
        {"rows": 9, "cols": 9, "neurons_per_tile": 6},
    ],
)
def test_mosaic_passes_with_every_limit_and_shape(change):
    spec = MosaicSpec(**{"rows": 3, "cols": 3, **change})
    check_meter(MosaicMeter(spec), rounds=1)
    check_meter(MosaicMeter(spec, placement="row_major", routing_weight=1.0), rounds=1, rows=3)


def test_hardware_that_has_slots_passes():
    check_meter(SlotMeter(), rounds=6)


class Elsewhere(SlotMeter):
    """Restores only what began in itself."""

    own = False

    def begin(self, rows, architecture):
        self.own = True
        super().begin(rows, architecture)

    def restore(self, state):
        super().restore(state)
        if not self.own:
            self.occupied[:] = 8


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
    [
        (Forgetful(), "answers after restore are not"),
        (Committing(), "asked twice|after restore"),
        (Elsewhere(), "answers after restore in another meter"),
    ],
)
def test_hardware_that_loses_its_state(meter, message):
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


def test_a_new_head_for_which_growth_has_left_no_room():
    dear = CountingMeter("mine", "neurons", lambda network: neurons(network) + 99 * (network.newest == 1))
    with pytest.raises(AssertionError, match="with a new head networks use"):
        check_meter(dear)


# -- hardware with places ----------------------------------------------------------------------------------------------


def changed(change):
    """An answer, changed after it has been worked out."""
    return lambda ask: lambda self, *asked: change(ask(self, *asked))


def without_tiles(assess):
    def ask(self, network, reserved, requests, *rest):
        return assess(self, network, reserved, requests._replace(tiles=None), *rest)

    return ask


def anywhere(commit):
    return lambda self, rows, architecture, tiles=None: commit(self, rows, architecture)


def drifting(assess):
    def ask(self, *asked):
        self.asked = getattr(self, "asked", 0) + 1
        codes, usage = assess(self, *asked)
        return codes, usage + self.asked // 4

    return ask


def upside_down(calibrate):
    def turn(self, reference):
        calibrate(self, reference)
        self._reference = tuple(1 / each for each in self._reference)

    return turn


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("assess", changed(lambda answer: (answer[0].astype(np.int64), answer[1])), "must give codes as int8"),
        ("assess", changed(lambda answer: (answer[0], answer[1][:, 0])), "must give usage as float64"),
        ("assess", changed(lambda answer: (answer[0] + np.int8(50), answer[1])), "outside of"),
        ("assess", changed(lambda answer: (answer[0] * np.int8(0), answer[1])), "and refuse"),
        ("assess", changed(lambda answer: (answer[0], answer[1] * 0)), "at least what it is now"),
        ("assess", changed(lambda answer: (answer[0], answer[1] * np.inf)), "must be finite"),
        ("assess", changed(lambda answer: (answer[0], answer[1] + 0.25)), "assess had said"),
        ("assess", without_tiles, "granted growth where no tile was allowed"),
        ("assess", drifting, "assess answered differently"),
        ("commit", anywhere, "assess had said"),
        ("features", changed(lambda features: features + 1), r"must be shares in \[0, 1\]"),
        ("features", changed(lambda features: features[:, 1:]), "as many as there are feature_names"),
        ("features", changed(lambda features: features.astype(np.float32)), "features must be float64"),
        ("figures", changed(lambda figures: figures[:1]), "as many as there are figure_names"),
        ("figures", changed(lambda figures: figures * np.nan), "figures must be finite"),
        ("calibrate", upside_down, "calibrate must make the reference the unit"),
    ],
)
def test_answers_of_placed_hardware_that_are_wrong(part, change, message):
    meter = type("Changed", (MosaicMeter,), {part: change(getattr(MosaicMeter, part))})("tiny")
    with pytest.raises(AssertionError, match=message):
        check_meter(meter, rounds=3)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("grid", [2, 2], "grid must be rows and columns"),
        ("grid", (2, 0), "grid must be rows and columns"),
        ("feature_names", ("one", "two", "three", "one"), "feature_names must be a tuple of different texts"),
        ("figure_names", ["one"], "figure_names must be a tuple of different texts"),
    ],
)
def test_names_of_placed_hardware_that_are_wrong(part, value, message):
    meter = MosaicMeter("tiny")
    setattr(meter, part, value)
    with pytest.raises(AssertionError, match=message):
        check_meter(meter)
