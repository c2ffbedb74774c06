"""Evidence for when and where to grow."""

from growenv.growth.signals import activity, candidates, curves, gradients, saturation  # noqa: F401  (register signals)
from growenv.growth.signals.base import SIGNALS, Scene, Signal, probe_samples
from growenv.growth.signals.panel import SignalPanel

ALL = ("loss", "gap", "gradmax", "gradient", "rank", "dead", "senn", "noracl", "firefly", "gain")
"""Every signal of the package, in the order of the observation."""

__all__ = ["ALL", "SIGNALS", "Scene", "Signal", "SignalPanel", "probe_samples"]
