"""Mosaic: spiking networks on a systolic array of small memristor crossbars."""

from growenv.hardware.mosaic.fabric import Fabric, fabric
from growenv.hardware.mosaic.spec import PRESETS, MosaicSpec, preset

__all__ = ["PRESETS", "Fabric", "MosaicSpec", "fabric", "preset"]
