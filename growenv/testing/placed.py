"""What `check_meter` asks of meters that know places."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from growenv.hardware import Architecture, Assessment, PlacedMeter, Requests
from growenv.testing.require import require

_AMOUNTS = (1, 3, 5)


def check_names(meter: PlacedMeter, where: str) -> None:
    """The grid has rows and columns, and features and figures have names of their own."""
    grid = meter.grid
    right = isinstance(grid, tuple) and len(grid) == 2 and all(isinstance(side, int) and side >= 1 for side in grid)
    require(right, f"{where}: grid must be rows and columns of tiles, two integers of at least 1, got {grid!r}")
    for name, given in (("feature_names", meter.feature_names), ("figure_names", meter.figure_names)):
        right = isinstance(given, tuple) and all(isinstance(each, str) and each for each in given)
        require(
            right and len(set(given)) == len(given), f"{where}: {name} must be a tuple of different texts: {given!r}"
        )


def check_placed(
    meter: PlacedMeter,
    network: Architecture,
    reserved: Architecture,
    generation: NDArray[np.int64],
    limit: NDArray[np.float64],
    where: str,
) -> None:
    """`assess` says what `refuse` says, for any tile and for none; features and figures are in order.

    Args:
        meter: the meter, to which the networks are known.
        network: the networks as they are.
        reserved: the same with heads to come.
        generation: task during which units would grow, (N,).
        limit: what every row may use, (N,).
        where: the meter in words.
    """
    layer = np.repeat(np.arange(network.layers), len(_AMOUNTS))
    amount = np.tile(np.array(_AMOUNTS), network.layers)
    assess = (network, reserved, Requests(layer, amount), generation, limit)
    found = _assessed(meter, *assess, where)
    for number, (one, many) in enumerate(zip(layer, amount, strict=True)):
        refused = meter.refuse(reserved, int(one), int(many), generation, limit)
        require(
            np.array_equal(found.codes[:, number], refused),
            f"{where}: for {many} units in layer {one} assess answers {found.codes[:, number]} and refuse {refused}",
        )
    _check_tiles(meter, assess, found, where)
    _check_values(meter, "features", meter.features(network), len(meter.feature_names), network.rows, where)
    within = meter.features(network)
    require((within >= 0).all() and (within <= 1).all(), f"{where}: features must be shares in [0, 1], got {within}")
    for rates in (None, np.zeros(network.units.shape), np.full(network.units.shape, 0.5)):
        _check_values(meter, "figures", meter.figures(network, rates), len(meter.figure_names), network.rows, where)
    again = _assessed(meter, *assess, where)
    same = np.array_equal(again.codes, found.codes) and np.array_equal(again.usage, found.usage)
    require(same, f"{where}: asked again, after other questions, assess answered differently")


def _assessed(
    meter: PlacedMeter,
    network: Architecture,
    reserved: Architecture,
    requests: Requests,
    generation: NDArray[np.int64],
    limit: NDArray[np.float64],
    where: str,
) -> Assessment:
    codes, usage = meter.assess(network, reserved, requests, generation, limit)
    shape = (network.rows, len(requests.layer))
    for name, given, kind in (("codes", codes, np.int8), ("usage", usage, np.float64)):
        right = isinstance(given, np.ndarray) and given.dtype == kind and given.shape == shape
        require(right, f"{where}: assess must give {name} as {np.dtype(kind)} of shape {shape}, got {given!r}")
    known = (codes >= 0) & (codes < len(meter.reasons))
    require(known.all(), f"{where}: assess gave {codes}, outside of its {len(meter.reasons)} reasons")
    least = (usage >= meter.usage(network)[:, None]) & np.isfinite(usage)
    require(least.all(), f"{where}: usage after a request must be finite and at least what it is now, got {usage}")
    return Assessment(codes, usage)


def _check_tiles(meter: PlacedMeter, assess: tuple[Any, ...], found: Assessment, where: str) -> None:
    """All tiles are as good as no choice of tiles, and no tile is too few."""
    network, reserved, requests, *rest = assess
    tiles = np.ones((len(requests.layer), meter.grid[0] * meter.grid[1]), dtype=np.bool_)
    everywhere = _assessed(meter, network, reserved, requests._replace(tiles=tiles), *rest, where)
    same = np.array_equal(everywhere.codes, found.codes) and np.array_equal(everywhere.usage, found.usage)
    require(same, f"{where}: if all tiles are allowed, assess must answer as without tiles")
    nowhere = _assessed(meter, network, reserved, requests._replace(tiles=~tiles), *rest, where)
    require((nowhere.codes != 0).all(), f"{where}: assess granted growth where no tile was allowed")


def _check_values(meter: PlacedMeter, name: str, given: object, count: int, rows: int, where: str) -> None:
    right = isinstance(given, np.ndarray) and given.dtype == np.float64 and given.shape == (rows, count)
    require(right, f"{where}: {name} must be float64 of shape ({rows}, {count}), one for each of {name[:-1]}_names")
    require(np.isfinite(given).all(), f"{where}: {name} must be finite, got {given}")


def check_commit(
    meter: PlacedMeter,
    network: Architecture,
    reserved: Architecture,
    generation: NDArray[np.int64],
    limit: NDArray[np.float64],
    rng: np.random.Generator,
    where: str,
) -> None:
    """Growth costs what `assess` said, also on a tile that the request names; the meter is left as it was.

    Args:
        meter, network, reserved, generation, limit, where: as in `check_placed`.
        rng: chooses the request.
    """
    count = meter.grid[0] * meter.grid[1]
    layer, amount = int(rng.integers(network.layers)), int(rng.integers(1, 5))
    single = Requests(np.full(count, layer), np.full(count, amount), np.eye(count, dtype=np.bool_))
    anywhere = Requests(np.array([layer]), np.array([amount]))
    for requests in (single, anywhere):
        found = _assessed(meter, network, reserved, requests, generation, limit, where)
        # Of the tiles that would do, any one; rows without such a tile do not grow.
        chosen = (rng.random(found.codes.shape) * (found.codes == 0)).argmax(axis=1)
        row = np.arange(network.rows)
        fits = found.codes[row, chosen] == 0
        kept, before = meter.snapshot(), meter.usage(network)
        grown = network.grown(layer, np.where(fits, amount, 0), generation)
        meter.commit(fits, grown, None if requests.tiles is None else requests.tiles[chosen])
        usage, expected = meter.usage(grown), np.where(fits, found.usage[row, chosen], before)
        meter.restore(kept)
        require(
            np.allclose(usage, expected, rtol=1e-9),
            f"{where}: after {amount} units in layer {layer} networks use {usage}; assess had said {expected}",
        )
