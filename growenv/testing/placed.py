"""What `check_meter` asks of meters that know places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from growenv.hardware import Architecture, Assessment, PlacedMeter, Requests
from growenv.testing.require import require

_AMOUNTS = (1, 3, 5)


@dataclass(frozen=True, eq=False)
class Decision:
    """One decision about N networks that a meter knows.

    Attributes:
        meter: the meter.
        network: the networks as they are.
        reserved: the same with heads to come.
        generation: task during which units would grow, (N,).
        limit: what every row may use, (N,).
        where: the meter in words.
    """

    meter: PlacedMeter
    network: Architecture
    reserved: Architecture
    generation: NDArray[np.int64]
    limit: NDArray[np.float64]
    where: str

    def assess(self, requests: Requests) -> Assessment:
        """What the meter answers, if it has the right types and bounds.

        Raises:
            AssertionError: it has not.
        """
        codes, usage = self.meter.assess(self.network, self.reserved, requests, self.generation, self.limit)
        shape = (self.network.rows, len(requests.layer))
        for name, given, kind in (("codes", codes, np.int8), ("usage", usage, np.float64)):
            right = isinstance(given, np.ndarray) and given.dtype == kind and given.shape == shape
            require(right, f"{self.where}: assess must give {name} as {np.dtype(kind)} of shape {shape}, got {given!r}")
        reasons = len(self.meter.reasons)
        require(
            ((codes >= 0) & (codes < reasons)).all(), f"{self.where}: assess gave {codes}, outside of {reasons} reasons"
        )
        least = (usage >= self.meter.usage(self.network)[:, None]) & np.isfinite(usage)
        require(least.all(), f"{self.where}: usage after a request must be finite and at least what it is now: {usage}")
        return Assessment(codes, usage)


def check_names(meter: PlacedMeter, where: str) -> None:
    """The grid has rows and columns, and features and figures have names of their own.

    Raises:
        AssertionError: it is not so.
    """
    grid = meter.grid
    right = isinstance(grid, tuple) and len(grid) == 2 and all(isinstance(side, int) and side >= 1 for side in grid)
    require(right, f"{where}: grid must be rows and columns of tiles, two integers of at least 1, got {grid!r}")
    for name, given in (("feature_names", meter.feature_names), ("figure_names", meter.figure_names)):
        right = isinstance(given, tuple) and all(isinstance(each, str) and each for each in given)
        right = right and len(set(given)) == len(given)
        require(right, f"{where}: {name} must be a tuple of different texts, got {given!r}")


def check_answers(decision: Decision) -> None:
    """`assess` says what `refuse` says, for any tile and for none; features and figures are in order.

    Raises:
        AssertionError: it is not so.
    """
    meter, where, network = decision.meter, decision.where, decision.network
    layer = np.repeat(np.arange(network.layers), len(_AMOUNTS))
    requests = Requests(layer, np.tile(np.array(_AMOUNTS), network.layers))
    found = decision.assess(requests)
    for number, (one, many) in enumerate(zip(*requests[:2], strict=True)):
        refused = meter.refuse(decision.reserved, int(one), int(many), decision.generation, decision.limit)
        require(
            np.array_equal(found.codes[:, number], refused),
            f"{where}: for {many} units in layer {one} assess answers {found.codes[:, number]} and refuse {refused}",
        )
    tiles = np.ones((len(layer), meter.grid[0] * meter.grid[1]), dtype=np.bool_)
    everywhere = decision.assess(requests._replace(tiles=tiles))
    require(_same(everywhere, found), f"{where}: if all tiles are allowed, assess must answer as without tiles")
    nowhere = decision.assess(requests._replace(tiles=~tiles))
    require((nowhere.codes != 0).all(), f"{where}: assess granted growth where no tile was allowed")
    _check_values(decision)
    require(_same(decision.assess(requests), found), f"{where}: asked again, after others, assess answered differently")


def _same(one: Assessment, other: Assessment) -> bool:
    return np.array_equal(one.codes, other.codes) and np.array_equal(one.usage, other.usage)


def _check_values(decision: Decision) -> None:
    meter, where, network = decision.meter, decision.where, decision.network
    features = meter.features(network)
    rates = (None, np.zeros(network.units.shape), np.full(network.units.shape, 0.5))
    figures = [("figures", meter.figures(network, each), len(meter.figure_names)) for each in rates]
    given: list[tuple[str, Any, int]] = [("features", features, len(meter.feature_names)), *figures]
    for name, values, count in given:
        shape = (network.rows, count)
        right = isinstance(values, np.ndarray) and values.dtype == np.float64 and values.shape == shape
        require(right, f"{where}: {name} must be float64 of shape {shape}, as many as there are {name[:-1]}_names")
        require(np.isfinite(values).all(), f"{where}: {name} must be finite, got {values}")
    within = (features >= 0).all() and (features <= 1).all()
    require(within, f"{where}: features must be shares in [0, 1], got {features}")


def check_commit(decision: Decision, rng: np.random.Generator) -> None:
    """Growth costs what `assess` said, also on a tile that the request names; the meter is left as it was.

    Args:
        decision: what is asked.
        rng: chooses the request.

    Raises:
        AssertionError: it is not so.
    """
    meter, network = decision.meter, decision.network
    count, row = meter.grid[0] * meter.grid[1], np.arange(network.rows)
    layer, amount = int(rng.integers(network.layers)), int(rng.integers(1, 5))
    single = Requests(np.full(count, layer), np.full(count, amount), np.eye(count, dtype=np.bool_))
    anywhere = Requests(np.array([layer]), np.array([amount]))
    for requests in (single, anywhere):
        found = decision.assess(requests)
        # Of the tiles that would do, any one; rows without such a tile do not grow.
        chosen = (rng.random(found.codes.shape) * (found.codes == 0)).argmax(axis=1)
        fits = found.codes[row, chosen] == 0
        kept, before = meter.snapshot(), meter.usage(network)
        grown = network.grown(layer, np.where(fits, amount, 0), decision.generation)
        meter.commit(fits, grown, None if requests.tiles is None else requests.tiles[chosen])
        usage, expected = meter.usage(grown), np.where(fits, found.usage[row, chosen], before)
        meter.restore(kept)
        require(
            np.allclose(usage, expected, rtol=1e-9),
            f"{decision.where}: after {amount} more units in layer {layer} networks use {usage}; assess had said "
            f"{expected}",
        )
