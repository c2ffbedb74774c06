"""The check of signals passes what is right and names what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from growenv.growth.signals import ALL
from growenv.registry import UnknownNameError
from growenv.testing import check_signal
from tests.rollouts import toy_dataset


@pytest.mark.parametrize("name", ALL)
def test_our_own_signals_pass(name):
    check_signal(name)


class Widths:
    """Share of the units that are frozen."""

    name = "mine"

    def features(self, layers):
        return tuple(f"frozen_{layer}" for layer in range(layers))

    def begin(self, rows):
        """Nothing is remembered."""

    def measure(self, scene, rows):
        network = scene.evidence.network
        return network.frozen_units / np.maximum(network.widths, 1)


class Looks(Widths):
    """How often a row has been looked at since its stream began."""

    def __init__(self):
        self.count = np.zeros(0)

    def begin(self, rows):
        if len(self.count) != len(rows):
            self.count = np.zeros(len(rows))
        self.count[rows] = 0.0

    def measure(self, scene, rows):
        self.count[rows] += 1.0
        return np.repeat(self.count[:, None] / 100.0, scene.evidence.network.depth, axis=1)


@pytest.mark.parametrize("signal", [Widths(), Looks()])
def test_a_signal_by_object_passes_on_other_data_too(signal):
    check_signal(signal)
    check_signal(signal, toy_dataset())


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown signal 'rnk'; did you mean 'rank'"):
        check_signal("rnk")


def measuring(change):
    """A signal that measures what `change` makes of a scene, its rows and the right values."""

    class Changed(Widths):
        def measure(self, scene, rows):
            return change(scene, rows, super().measure(scene, rows))

    return Changed()


def naming(names):
    """A signal with other names of features."""

    class Named(Widths):
        def features(self, layers):
            return names

    return Named()


class Nameless(Widths):
    name = ""


class Unsteady(Widths):
    def __init__(self):
        self.calls = 0

    def features(self, layers):
        self.calls += 1
        return tuple(f"{self.calls} {layer}" for layer in range(layers))


class Remembering(Looks):
    def begin(self, rows):
        if len(self.count) != len(rows):
            self.count = np.zeros(len(rows))


class Forgetting(Looks):
    """The begin of one row is taken for that of all."""

    def begin(self, rows):
        self.count = np.zeros(len(rows))


class Nosy(Looks):
    """Remembers rows that it was not asked about."""

    def measure(self, scene, rows):
        return super().measure(scene, np.ones(len(rows), dtype=bool))


class Sharing(Looks):
    """Copies share what is remembered."""

    calls = np.zeros(1)

    def measure(self, scene, rows):
        Sharing.calls += 1e-3
        return super().measure(scene, rows) + Sharing.calls


class Careless(Widths):
    def begin(self, rows):
        torch.rand(1)


def train(scene, rows, right):
    scene.evidence.network.weights[0].mul_(1.01)
    return right


def spoil(scene, rows, right):
    scene.validation_accuracy[:] = 0.5
    return right


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (Nameless(), "needs a name and 3 methods"),
        (object(), "signal None needs a name and 3 methods"),
        (naming(["a", "b"]), "features must be a tuple of names"),
        (naming(()), "features must be a tuple of names"),
        (naming(("a", "a")), "features must have different names"),
        (Unsteady(), "features must always have the same names"),
        (measuring(lambda scene, rows, right: right[:, :1]), r"must return an array of shape \(3, 2\), got \(3, 1\)"),
        (measuring(lambda scene, rows, right: right.tolist()), r"must return an array of shape \(3, 2\), got list"),
        (measuring(lambda scene, rows, right: right * np.nan), "a feature is not finite"),
        (measuring(lambda scene, rows, right: right + 0.5), r"must lie in \[-1, 1\] by construction"),
        (measuring(lambda scene, rows, right: right * len(rows) / 9), "among other rows than alone"),
        (measuring(lambda scene, rows, right: right / 2 + right.mean() / 9), "among other rows than alone"),
        (measuring(lambda scene, rows, right: right / scene.evidence.network.layout.active[1]), "than alone"),
        (measuring(lambda scene, rows, right: right * np.random.rand()), "copy shows something else"),
        (measuring(lambda scene, rows, right: (torch.rand(1), right)[1]), "global generator of torch"),
        (Careless(), "global generator of torch"),
        (measuring(train), "measure changed the network or the scene"),
        (measuring(spoil), "measure changed the network or the scene"),
        (Remembering(), "begin does not forget"),
        (Forgetting(), "the begin of one row changed what the others show"),
        (Nosy(), "rows were remembered that measure was not asked about"),
        (Sharing(), "a copy shows something else"),
    ],
)
def test_signals_that_are_wrong(signal, message):
    with pytest.raises(AssertionError, match=message):
        check_signal(signal)
