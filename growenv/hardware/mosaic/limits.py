"""Hard limits of a chip beside slots and channels: memristors, energy and latency."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from growenv.hardware.architecture import Architecture
from growenv.hardware.meter import ROUNDING
from growenv.hardware.mosaic import resources
from growenv.hardware.mosaic.mapping import OBSTACLES, Mapping

Ints = NDArray[np.integer[Any]]

LIMITS = ("memristors", "energy", "latency")
"""What a `MosaicSpec` can limit, in the order in which it is asked; their codes follow those of `OBSTACLES`."""


def over_limits(
    mapping: Mapping, network: Architecture, tile: Ints, layer: Ints, amount: Ints, generation: Ints, wanted: Ints
) -> Ints:
    """Codes of the limits that requests would break, (N, A); 0 where none.

    Energy and latency depend on the whole network, so each request is tried on a copy; only fabrics with such limits
    pay for that.

    Args:
        mapping: the networks as they stand.
        network: the networks that must keep the limits, heads to come included.
        tile, layer, amount: the requests and where they would stand, (N, A).
        generation: task during which they would grow, (N,).
        wanted: requests that have a place, bool (N, A).
    """
    limits = mapping.fabric.spec.limits
    codes = np.zeros(layer.shape, dtype=np.int64)
    if all(limit is None for limit in limits):
        return codes
    for action in range(layer.shape[1]):
        rows = np.flatnonzero(wanted[:, action] & (amount[:, action] > 0))
        request = (generation[rows], layer[rows, action], tile[rows, action], amount[rows, action])
        values = _after(mapping, network, rows, *request)
        for number in reversed(range(len(LIMITS))):
            limit = limits[number]
            if limit is not None:
                over = values[number][rows] > limit * ROUNDING
                codes[rows[over], action] = len(OBSTACLES) + number
    return codes


def check_limits(mapping: Mapping, network: Architecture, rows: NDArray[np.bool_]) -> None:
    """Check that the networks of some rows, (N,), keep the limits as they are.

    Raises:
        ValueError: one does not.
    """
    limits = mapping.fabric.spec.limits
    for name, limit, values in zip(LIMITS, limits, _values(mapping, network), strict=True):
        most = values[rows].max(initial=0.0)
        if limit is not None and most > limit * ROUNDING:
            raise ValueError(
                f"the initial network with all its heads needs {most:.4g} ({name}, SI units), but the chip's "
                f"limit is {limit:.4g}; raise the limit or start with fewer neurons"
            )


def _values(mapping: Mapping, network: Architecture) -> list[NDArray[np.float64]]:
    present = mapping.present(network)
    placement = mapping.placement
    return [
        resources.memristors(placement, network),
        resources.energy(placement, present),
        resources.latency(placement, present),
    ]


def _after(
    mapping: Mapping, network: Architecture, rows: Ints, generation: Ints, layer: Ints, tile: Ints, amount: Ints
) -> list[NDArray[np.float64]]:
    """The values of all rows if some rows grew."""
    trial = mapping.copy()
    units = network.units.copy()
    if len(rows):
        trial.placement.place(rows, trial.placement.classes.hidden(layer, generation), tile, amount)
        units[rows, generation, layer] += amount
        trial.units[rows, generation, layer] += amount
    return _values(trial, replace(network, units=units))
