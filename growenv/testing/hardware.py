"""Checks for authors of meters."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from growenv.hardware import METERS, Architecture, Meter, PlacedMeter
from growenv.testing.placed import Decision, check_answers, check_commit, check_names
from growenv.testing.require import own_randomness, require

_ROUNDING = 1 + 1e-6
_FULL_HEAD = 4


def check_meter(meter: str | Meter, *, rows: int = 6, rounds: int = 12) -> None:
    """Check that a meter keeps the `Meter` protocol, and `PlacedMeter` if it has that, while random networks grow.

    The networks have 4 inputs, two hidden layers that begin with at most 4 units each, or in some rounds without any in
    the second, and 3 heads of at most 4 classes; hardware must be large enough for these.

    Args:
        meter: a registered name or an object; an object is given new networks and keeps nothing of its old ones.
        rows: networks that grow at the same time.
        rounds: random sequences of growth that are tried.

    Raises:
        AssertionError: what is wrong with it.
    """
    part = METERS.make(meter)
    where = f"meter {part.name!r}"
    if isinstance(meter, str):
        require(part.name == meter, f"the meter registered as {meter!r} calls itself {part.name!r}")
    require(isinstance(part.unit, str) and part.unit, f"{where} must name its unit")
    reasons = part.reasons
    named = isinstance(reasons, tuple) and len(reasons) > 1 and all(isinstance(reason, str) for reason in reasons)
    require(named, f"{where}: reasons must be a tuple of texts, at least one of them a refusal; got {reasons!r}")
    require(reasons[0] == "" and all(reasons[1:]), f"{where}: only reasons[0] is empty and means that it fits")
    fresh = copy.deepcopy(part)
    with own_randomness(where):
        for seed in range(rounds):
            rng = np.random.default_rng(seed)
            network = _small_networks(rng, rows, directed=seed % 2 == 0, deepens=seed % 3 == 2)
            other = copy.deepcopy(fresh)
            if isinstance(other, PlacedMeter):
                check_names(other, where)
                _check_reference(other, network, where)
            _check_growth(part, copy.deepcopy(fresh), network, rng, where)


def _small_networks(rng: np.random.Generator, rows: int, *, directed: bool, deepens: bool) -> Architecture:
    """Networks at their start; with `deepens` they begin without layer 1, and wires lead around it."""
    units = np.zeros((rows, 3, 2), dtype=np.int64)
    units[:, 0] = rng.integers(1, 5, (rows, 2))
    outputs = np.zeros((rows, 3), dtype=np.int64)
    outputs[:, 0] = rng.integers(2, _FULL_HEAD + 1, rows)
    units[:, 0, 1] *= not deepens
    return Architecture(4, units, outputs, directed, (1,) if deepens else ())


def _reserving(network: Architecture) -> Architecture:
    """The same networks with full heads for the tasks to come."""
    outputs = np.where(network.outputs == 0, _FULL_HEAD, network.outputs)
    return replace(network, outputs=outputs)


def _only(network: Architecture, row: int) -> Architecture:
    return replace(network, units=network.units[[row]], outputs=network.outputs[[row]])


def _usage(meter: Meter, network: Architecture, where: str) -> NDArray[np.float64]:
    usage = meter.usage(network)
    right = isinstance(usage, np.ndarray) and usage.dtype == np.float64 and usage.shape == (network.rows,)
    require(right, f"{where}: usage must be a float64 array of shape ({network.rows},), got {usage!r}")
    require(np.isfinite(usage).all() and (usage >= 0).all(), f"{where}: usage must be finite and not negative: {usage}")
    require(np.array_equal(meter.usage(network), usage), f"{where}: usage of one network changes from call to call")
    return usage


def _check_reference(meter: PlacedMeter, network: Architecture, where: str) -> None:
    """The larger the reference, the smaller the share of it that a network uses."""
    small = _reserving(_only(network, 0))
    large = small.grown(np.arange(1), 3, 0)
    shares = []
    for reference in (small, large):
        meter.calibrate(reference)
        shares.append(_usage(meter, small, where)[0])
    require(
        0 < shares[1] <= shares[0],
        f"{where}: a network uses {shares[0]} of itself, but {shares[1]} of a larger one; calibrate must make the "
        "reference the unit of usage",
    )


def _check_growth(meter: Meter, fresh: Meter, network: Architecture, rng: np.random.Generator, where: str) -> None:
    everyone = np.ones(network.rows, dtype=bool)
    meter.begin(everyone, _reserving(network))
    usage = _usage(meter, network, where)
    _check_rows(meter, network, usage, where)
    meter.begin(everyone, _reserving(network))
    generation = np.zeros(network.rows, dtype=np.int64)
    limit = _usage(meter, _reserving(network), where) * rng.uniform(1.0, 4.0, network.rows)
    for step in range(9):
        if step in (3, 6):  # the next task begins, with a head for which growth has left room
            generation = generation + 1
            outputs = network.outputs.copy()
            outputs[:, step // 3] = rng.integers(2, _FULL_HEAD + 1, network.rows)
            network = replace(network, outputs=outputs)
            meter.commit(everyone, network)
            usage = _usage(meter, network, where)
            over = usage > limit * _ROUNDING
            require(
                not over.any(),
                f"{where}: with a new head networks use {usage[over]} where the limit is {limit[over]}, although a "
                "full head was counted when they grew",
            )
        network = _grow_once(meter, fresh, network, generation, limit, rng, where)


def _check_rows(meter: Meter, network: Architecture, usage: NDArray[np.float64], where: str) -> None:
    for row in range(network.rows):
        alone = _only(network, row)
        meter.begin(np.ones(1, dtype=bool), _reserving(alone))
        require(
            np.array_equal(_usage(meter, alone, where), usage[[row]]),
            f"{where}: a row's usage is {usage[row]} among others and {meter.usage(alone)[0]} alone",
        )


def _refusals(
    meter: Meter,
    network: Architecture,
    request: tuple[int, NDArray[np.int64], NDArray[np.int64]],
    limit: NDArray[np.float64],
    where: str,
) -> NDArray[np.int8]:
    reserved = _reserving(network)
    units = reserved.units.copy()
    refused = meter.refuse(reserved, *request, limit)
    right = isinstance(refused, np.ndarray) and refused.dtype == np.int8 and refused.shape == (network.rows,)
    require(right, f"{where}: refuse must give an int8 array of shape ({network.rows},), got {refused!r}")
    known = (refused >= 0) & (refused < len(meter.reasons))
    require(known.all(), f"{where}: refuse gave {refused}, outside of its {len(meter.reasons)} reasons")
    require((refused[request[1] == 0] == 0).all(), f"{where}: a request for 0 units was refused; it always fits")
    again = meter.refuse(reserved, *request, limit)
    require(np.array_equal(again, refused), f"{where}: asked twice, refuse answered differently")
    require(np.array_equal(reserved.units, units), f"{where}: refuse changed the architecture that it was given")
    return refused


def _grow_once(
    meter: Meter,
    fresh: Meter,
    network: Architecture,
    generation: NDArray[np.int64],
    limit: NDArray[np.float64],
    rng: np.random.Generator,
    where: str,
) -> Architecture:
    """Ask for growth, grow where it fits, and return the networks."""
    layer, amount = int(rng.integers(0, network.layers)), rng.integers(0, 6, network.rows)
    request = (layer, amount, generation)
    before = _usage(meter, network, where)
    refused = _refusals(meter, network, request, limit, where)
    stricter = _refusals(meter, network, request, limit * 0.5, where)
    require((refused[stricter == 0] == 0).all(), f"{where}: a request that fits was refused under a higher limit")
    nothing = _refusals(meter, network, request, np.zeros(network.rows), where)
    require((nothing[amount > 0] != 0).all(), f"{where}: growth was granted under a limit of 0")
    if isinstance(meter, PlacedMeter):
        decision = Decision(meter, network, _reserving(network), generation, limit, where)
        check_answers(decision)
        check_commit(decision, rng)
    kept = meter.snapshot()
    fits = (refused == 0) & (amount > 0)
    grown = network.grown(layer, np.where(fits, amount, 0), generation)
    meter.commit(fits, grown)
    after, held = _usage(meter, grown, where), _usage(meter, _reserving(grown), where)
    require((after >= before).all(), f"{where}: usage fell from {before} to {after} although networks only grew")
    over = fits & (held > limit * _ROUNDING)
    require(not over.any(), f"{where}: granted growth uses {held[over]} where the limit is {limit[over]}")
    for each, what in ((meter, "restore"), (fresh, "restore in another meter like it")):
        each.restore(kept)
        answers = _refusals(each, network, request, limit, where)
        require(
            np.array_equal(_usage(each, network, where), before) and np.array_equal(answers, refused),
            f"{where}: answers after {what} are not those at the time of the snapshot",
        )
    meter.commit(fits, grown)
    return grown
