"""The `Meter` of Mosaic: places growing networks on a fabric, and says what they use and what still fits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from growenv.hardware.architecture import Architecture
from growenv.hardware.meter import METERS, ROUNDING, Assessment, Requests
from growenv.hardware.mosaic import resources
from growenv.hardware.mosaic.fabric import fabric
from growenv.hardware.mosaic.floorplan import Floorplan
from growenv.hardware.mosaic.limits import LIMITS, check_limits, over_limits
from growenv.hardware.mosaic.mapping import OBSTACLES, Mapping
from growenv.hardware.mosaic.spec import PRESETS, MosaicSpec, preset
from growenv.hardware.mosaic.strategies import STRATEGIES, Strategy

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]

REASONS = (*OBSTACLES, *LIMITS, "budget")
_BUDGET = len(REASONS) - 1


class MosaicMeter:
    """Networks placed on Mosaic fabrics, one fabric for each.

    All units of a growth request stand on one tile, which `placement` chooses among those where slots, the fan-in of
    tiles and the channels of routers allow it. Inputs are relayed by neurons of the first row of tiles, heads stand in
    the last; heads that are still to come hold slots and channels from the start, so that they always fit.

    `usage` is the weighted sum of two shares of what a reference network uses: memristors (synapses and programmed
    routing devices), and routing energy (routing cells that one spike of every neuron crosses). Before `calibrate`
    names that network, the shares are those of the whole chip. See `docs/mosaic.md`.

    Args:
        spec: the hardware, or the name of a preset.
        placement: how tiles are chosen: ``greedy``, ``row_major``, or a `Strategy` object.
        routing_weight: weight of routing energy in `usage`; memristors have the rest.
        name: name under which it is registered.

    Attributes:
        mapping: the placed networks; None before the first `begin`.

    Raises:
        ValueError: an unknown preset or strategy, or a weight outside of 0..1.
    """

    unit = "share of the reference network"
    reasons = REASONS
    feature_names = ("free_slots", "free_fan_in", "free_channels", "mean_hops")
    figure_names = ("memristors", "routing_devices", "mean_hops", "energy_pj", "latency_ns", "tiles_in_use")

    def __init__(
        self,
        spec: MosaicSpec | str = "digits",
        *,
        placement: str | Strategy = "greedy",
        routing_weight: float = 0.5,
        name: str = "mosaic",
    ) -> None:
        if not 0.0 <= routing_weight <= 1.0:
            raise ValueError(f"routing_weight={routing_weight!r}: expected a number from 0 to 1")
        self.spec = preset(spec) if isinstance(spec, str) else spec
        self.fabric = fabric(self.spec)
        self.strategy = STRATEGIES.make(placement)
        if not isinstance(self.strategy, Strategy):
            raise ValueError(f"placement={placement!r}: expected {', '.join(STRATEGIES.names())} or a Strategy object")
        self.name, self.routing_weight = name, float(routing_weight)
        self.grid = (self.spec.rows, self.spec.cols)
        routers = self.fabric.edge_routers + self.fabric.corner_routers
        self._reference = (float(self.spec.provisioned_memristors()), float(self.spec.neurons * routers))
        self.mapping: Mapping | None = None
        self._seen: tuple[Any, ...] = ()
        self._features = np.zeros((0, len(self.feature_names)))

    # -- Meter -------------------------------------------------------------------------------------------------------

    def usage(self, architecture: Architecture) -> Floats:
        """Weighted share of the reference network's memristors and routing energy, float64 [N].

        Networks that are not those of the last `begin` and `commit` are placed afresh, as if channels had no limit.

        Raises:
            ValueError: not even the slots are enough for them.
        """
        mapping = self.mapping
        if mapping is None or not mapping.shows(architecture):
            mapping = Mapping(self.fabric, self.strategy, architecture, limits=False)
            mapping.begin(np.ones(architecture.rows, dtype=np.bool_), architecture)
        placement = mapping.placement
        return self._share(resources.memristors(placement, architecture), resources.routing_events(placement))

    def refuse(
        self,
        architecture: Architecture,
        layer: ArrayLike,
        amount: ArrayLike,
        generation: ArrayLike,
        limit: Floats,
    ) -> NDArray[np.int8]:
        """Why a request does not fit, as in `Meter.refuse`.

        Raises:
            ValueError: a layer or generation that does not exist, a generation older than the newest that has units, a
                negative amount, or other networks than those of the last `begin` and `commit`.
        """
        mapping = self._placed(architecture)
        architecture.grown(layer, amount, generation)  # for its checks
        everyone = (architecture.rows, 1)
        amounts = np.broadcast_to(np.reshape(amount, (-1, 1)), everyone)
        layers = np.where(amounts > 0, np.broadcast_to(np.reshape(layer, (-1, 1)), everyone), 0)
        when = np.broadcast_to(np.asarray(generation, dtype=np.int64), architecture.rows)
        when = np.where(amounts[:, 0] > 0, when, architecture.generations - 1)  # always one that may grow
        codes, _ = self._assess(mapping, architecture, architecture, layers, amounts, None, when, np.asarray(limit))
        return np.where(amounts > 0, codes, 0).astype(np.int8)[:, 0]

    def begin(self, rows: NDArray[np.bool_], architecture: Architecture) -> None:
        """Place the networks of the marked rows, bool [N]; heads that the architecture has keep their slots.

        Raises:
            ValueError: there are too many inputs, or a network does not fit on the fabric.
        """
        if self.mapping is None or not self.mapping.hosts(architecture):
            self.mapping = Mapping(self.fabric, self.strategy, architecture)
        self.mapping.begin(rows, architecture)
        check_limits(self.mapping, architecture, rows)

    def commit(
        self, rows: NDArray[np.bool_], architecture: Architecture, tiles: NDArray[np.bool_] | None = None
    ) -> None:
        """Place what the networks of the marked rows, bool [N], have more than before.

        Raises:
            ValueError: it does not fit, or a network has become smaller.
            RuntimeError: these networks never began.
        """
        if self.mapping is None or not self.mapping.hosts(architecture):
            raise RuntimeError("commit of networks that never began; call begin first")
        self.mapping.follow(rows, architecture, tiles)

    def snapshot(self) -> object:
        """Where all units stand, and the reference."""
        return self._reference, None if self.mapping is None else self.mapping.snapshot()

    def restore(self, state: Any) -> None:
        """Go back to a state that `snapshot` returned."""
        self._reference, mapping = state
        if mapping is None:
            self.mapping = None
            return
        networks = mapping["networks"]
        if self.mapping is None or not self.mapping.hosts(networks):
            self.mapping = Mapping(self.fabric, self.strategy, networks)
        self.mapping.restore(mapping)

    # -- PlacedMeter -------------------------------------------------------------------------------------------------

    def calibrate(self, reference: Architecture) -> None:
        """Make one network the unit of `usage`, placed greedily, whatever the strategy, as if channels had no limit.

        If the fabric has too few slots for it, its hidden layers are narrowed in proportion until it has enough.

        Raises:
            ValueError: the fabric has no room for the inputs, for the heads, or for a single unit in each layer.
        """
        reference = self._narrowed(reference)
        mapping = Mapping(self.fabric, STRATEGIES.make("greedy"), reference, limits=False)
        mapping.begin(np.ones(1, dtype=np.bool_), reference)
        devices = float(resources.memristors(mapping.placement, reference)[0])
        self._reference = (devices, max(1.0, float(resources.routing_events(mapping.placement)[0])))

    def assess(
        self,
        architecture: Architecture,
        reserved: Architecture,
        requests: Requests,
        generation: NDArray[np.int64],
        limit: Floats,
    ) -> Assessment:
        """Whether requests fit and what they would cost, as in `PlacedMeter.assess`."""
        mapping = self._placed(architecture)
        shape = (architecture.rows, len(requests.layer))
        layer, amount = np.broadcast_to(requests.layer, shape), np.broadcast_to(requests.amount, shape)
        tiles = None if requests.tiles is None else np.broadcast_to(requests.tiles, (*shape, self.fabric.tiles))
        return self._assess(mapping, architecture, reserved, layer, amount, tiles, generation, limit)

    def features(self, architecture: Architecture) -> Floats:
        """Free shares of slots, of tiles' input channels and of routers' channels, and mean hops, [N, 4]."""
        mapping = self._placed(architecture)
        seen = (mapping.placement, mapping.placement.changes, architecture.outputs.tobytes())
        if self._seen != seen:
            self._seen, self._features = seen, self._work_out_features(mapping, architecture)
        return np.array(self._features)

    def _work_out_features(self, mapping: Mapping, architecture: Architecture) -> Floats:
        placement, capacity, into_tile = mapping.placement, self.fabric.capacity, self.fabric.into_tile
        used = placement.load[:, :-1]
        fan_in = used[:, into_tile].sum(axis=1)
        hops = resources.mean_hops(placement, mapping.present(architecture))
        features: Floats = np.stack(
            [
                1.0 - placement.counts.sum(axis=(1, 2)) / self.spec.neurons,
                1.0 - fan_in / capacity[into_tile].sum(),
                1.0 - (used.sum(axis=1) - fan_in) / capacity[~into_tile].sum(),
                hops / self.fabric.longest,
            ],
            axis=1,
        )
        return features

    def figures(self, architecture: Architecture, rates: Floats | None = None) -> Floats:
        """Memristors, of these in routers, mean hops of a synapse, pJ and ns per inference, tiles in use, [N, 6]."""
        mapping = self._placed(architecture)
        placement, present = mapping.placement, mapping.present(architecture)
        spikes = None if rates is None else self._spikes(mapping, rates)
        return np.stack(
            [
                resources.memristors(mapping.placement, architecture),
                resources.routing_devices(placement).astype(np.float64),
                resources.mean_hops(placement, present),
                resources.energy(placement, present, spikes) * 1e12,
                resources.latency(placement, present) * 1e9,
                (present.sum(axis=1) > 0).sum(axis=1).astype(np.float64),
            ],
            axis=1,
        )

    def floorplan(self, architecture: Architecture, row: int) -> Floorplan:
        """One network on its fabric."""
        mapping = self._placed(architecture)
        classes, present = mapping.placement.classes, mapping.present(architecture)[row]
        generations, layers = architecture.generations, architecture.layers
        hidden = present[1 : 1 + layers * generations].reshape(layers, generations, -1)
        load, fan_in = resources.cell_load(mapping.placement, row)
        figures = dict(zip(self.figure_names, self.figures(architecture)[row], strict=True))
        return Floorplan(
            fabric_shape=self.grid,
            slots=self.spec.neurons_per_tile,
            inputs=present[0],
            hidden=hidden.transpose(2, 1, 0),
            outputs=present[classes.head(0) :].T,
            reserved=mapping.placement.counts[row].sum(axis=0) - present.sum(axis=0),
            load=load,
            fan_in=fan_in,
            memristors=int(figures["memristors"]),
            energy_J=float(figures["energy_pj"] * 1e-12),
            mean_hops=float(figures["mean_hops"]),
            latency_s=float(figures["latency_ns"] * 1e-9),
        )

    # -- working out -------------------------------------------------------------------------------------------------

    def _placed(self, architecture: Architecture) -> Mapping:
        if self.mapping is None or not self.mapping.shows(architecture):
            raise ValueError("asked about other networks than those of the last begin and commit")
        return self.mapping

    def _share(self, devices: Floats, events: Floats) -> Floats:
        weight = self.routing_weight
        return np.asarray((1.0 - weight) * devices / self._reference[0] + weight * events / self._reference[1])

    def _narrowed(self, reference: Architecture) -> Architecture:
        """The network itself, or the widest in the same proportions for which there are slots."""
        slots = self.spec.neurons - reference.inputs - int(reference.outputs.sum())
        wanted = int(reference.units.sum())
        if wanted <= slots:
            return reference
        units = np.maximum(reference.units * max(slots, 0) // wanted, reference.units > 0)
        return replace(reference, units=units)

    def _spikes(self, mapping: Mapping, rates: Floats) -> Floats:
        """Rates of all classes, (N, C), from those of hidden units: every input value is one spike."""
        spikes = np.ones((len(rates), mapping.placement.classes.count))
        hidden = rates.transpose(0, 2, 1).reshape(len(rates), -1)
        spikes[:, 1 : 1 + hidden.shape[1]] = hidden
        return spikes

    def _assess(
        self,
        mapping: Mapping,
        architecture: Architecture,
        reserved: Architecture,
        layer: Ints,
        amount: Ints,
        tiles: NDArray[np.bool_] | None,
        generation: NDArray[np.int64],
        limit: Floats,
    ) -> Assessment:
        """`assess` for requests of each row, (N, A)."""
        shape = layer.shape
        row = np.repeat(np.arange(shape[0]), shape[1])
        mapping.survey(np.arange(shape[0]), generation)
        allowed = None if tiles is None else tiles.reshape(len(row), -1)
        choice = mapping.choose(row, layer.ravel(), amount.ravel(), allowed)
        code, hops, branches = (values.reshape(shape) for values in (choice.code, choice.hops, choice.branches))
        devices = self.spec.devices_per_synapse
        events = resources.routing_events(mapping.placement)[:, None] + np.where(code == 0, hops, 0)

        def after(network: Architecture) -> Floats:
            each = np.take_along_axis(network.connections_per_unit(generation), layer, axis=1)
            now = resources.memristors(mapping.placement, network)[:, None]
            return self._share(now + np.where(code == 0, devices * amount * each + branches, 0), events)

        usage = after(architecture)
        tile = choice.tile.reshape(shape)
        code = np.maximum(code, over_limits(mapping, reserved, tile, layer, amount, generation, code == 0))
        held = after(reserved)
        over = (code == 0) & (held > limit[:, None] * ROUNDING)
        return Assessment(np.where(over, _BUDGET, code).astype(np.int8), usage)


METERS.register("mosaic", MosaicMeter)
for _name in PRESETS:
    METERS.register(f"mosaic-{_name}", partial(MosaicMeter, _name, name=f"mosaic-{_name}"))
