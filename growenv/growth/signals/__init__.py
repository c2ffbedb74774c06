"""Evidence for when and where to grow."""

from growenv.growth.signals import curves  # noqa: F401  (registers signals)
from growenv.growth.signals.base import SIGNALS, Scene, Signal
from growenv.growth.signals.panel import SignalPanel

ALL = ("loss", "gap")
"""Every signal of the package, in the order of the observation."""

__all__ = ["ALL", "SIGNALS", "Scene", "Signal", "SignalPanel"]
