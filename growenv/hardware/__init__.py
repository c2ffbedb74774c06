"""What networks cost: architectures, the protocols of meters, the simple meters and Mosaic."""

from growenv.hardware.architecture import Architecture, largest
from growenv.hardware.crossbar import DenseCrossbars
from growenv.hardware.meter import METERS, Assessment, Meter, PlacedMeter, Requests
from growenv.hardware.mosaic.meter import MosaicMeter
from growenv.hardware.simple import CountingMeter

__all__ = [
    "METERS",
    "Architecture",
    "Assessment",
    "CountingMeter",
    "DenseCrossbars",
    "Meter",
    "MosaicMeter",
    "PlacedMeter",
    "Requests",
    "largest",
]
