"""What networks cost: architectures, the Meter protocol and the simple meters."""

from growenv.hardware.architecture import Architecture, largest
from growenv.hardware.meter import METERS, Meter
from growenv.hardware.simple import CountingMeter

__all__ = ["METERS", "Architecture", "CountingMeter", "Meter", "largest"]
