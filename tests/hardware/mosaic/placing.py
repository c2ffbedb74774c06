"""Placed networks for tests: random ones, and the same networks neuron by neuron for the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from growenv.hardware import Architecture, Requests
from growenv.hardware.mosaic import Fabric, MosaicSpec, fabric, preset
from growenv.hardware.mosaic.placement import Classes, Placement
from tests.hardware.mosaic import reference as ref
from tests.hardware.mosaic.reference import Entry, Network, Neuron


def chip(rows=3, cols=3, neurons=8, **changes) -> MosaicSpec:
    """A small chip, on which limits bind."""
    return MosaicSpec(rows=rows, cols=cols, neurons_per_tile=neurons, **changes)


CHIPS = {
    "3x3x8": chip(),
    "2x4x8": chip(2, 4),
    "4x4x6": chip(4, 4, 6),
    "1x5x8": chip(1, 5),
    "unequal ports": chip(nt_port_channels=(3, 8, 5, 6)),
    "thin corners": chip(3, 4, r0_port_channels=3),
    "thin edges": chip(r1_port_channels=5, r0_port_channels=6),
    "short crossbars": chip(2, 3, max_crossbar_side=14),
}


def numbers(*given) -> list[np.ndarray]:
    """Arguments of one entry each."""
    return [np.array([value], dtype=np.int64) for value in given]


def put(placement: Placement, klass: int, tile: int, amount: int, row: int = 0) -> None:
    """Place units in one row."""
    placement.place(*numbers(row, klass, tile, amount))


def architecture(inputs, units, outputs, directed=True) -> Architecture:
    """An architecture from lists."""
    return Architecture(inputs, np.array(units, dtype=np.int64), np.array(outputs, dtype=np.int64), directed)


def everyone(architecture: Architecture) -> np.ndarray:
    """All rows marked."""
    return np.ones(architecture.rows, dtype=np.bool_)


# --- the growth example ---------------------------------------------------------------------------------------------

DEMO = fabric(preset("demo"))
FIRST = Classes(layers=1, generations=2, directed=True)


def first_layer(on_10: int, on_11: int, rows: int = 1) -> Placement:
    """32 inputs on (0,0), hidden units of generation 0 on (1,0) and (1,1), a head of 10 on (3,3)."""
    placement = Placement(DEMO, FIRST, rows)
    for row in range(rows):
        put(placement, 0, 0, 32, row)
        put(placement, FIRST.hidden(0, 0), 4, on_10, row)
        put(placement, FIRST.hidden(0, 0), 5, on_11, row)
        put(placement, FIRST.head(0), 15, 10, row)
    return placement


def case_a() -> Placement:
    """Case A: growth fits nowhere."""
    return first_layer(20, 12)


def case_b() -> Placement:
    """Case B: growth fits on 13 tiles."""
    return first_layer(16, 8)


def case_a_forced() -> Placement:
    """Case A with 8 hidden units of generation 1 on (2,0) and 5 outputs of generation 1 on (3,3)."""
    placement = case_a()
    put(placement, FIRST.head(1), 15, 5)
    put(placement, FIRST.hidden(0, 1), 8, 8)
    return placement


# --- neuron by neuron -----------------------------------------------------------------------------------------------


def kind(classes: Classes, klass: int) -> tuple[str, int, int]:
    """Kind, layer and generation of a class, as the reference names them."""
    if klass == 0:
        return "input", 0, 0
    layer, generation = divmod(klass - 1, classes.generations)
    return ("output", 0, generation) if layer == classes.layers else ("hidden", layer, generation)


def network(placement: Placement, row: int = 0, counts=None, rates=None) -> Network:
    """One network of a placement, neuron by neuron.

    Args:
        placement: the networks.
        row: which of them.
        counts: units that are there, (N, C, T); those of the placement where None.
        rates: spikes of each class, (N, C); one each where None.
    """
    classes, cols = placement.classes, placement.fabric.spec.cols
    there = (placement.counts if counts is None else counts)[row]
    neurons = []
    for klass, tile in np.argwhere(there):
        name, layer, generation = kind(classes, int(klass))
        rate = 1.0 if rates is None else float(rates[row, klass])
        place = divmod(int(tile), cols)
        neurons += [Neuron(name, place, layer, generation, rate) for _ in range(there[klass, tile])]
    return Network(neurons, classes.layers, classes.directed, classes.bypassed)


def with_more(placement: Placement, row: int, klass: int, tile: int, amount: int) -> Network:
    """The same with more units of one class on one tile."""
    counts = placement.counts.copy()
    counts[row, klass, tile] += amount
    return network(placement, row, counts)


def link_entries(hardware: Fabric) -> list[Entry]:
    """The output port at which every link begins."""
    return [
        Entry(divmod(int(cell), hardware.shape[1]), "out", ref.SIDES[side])
        for cell, side in zip(hardware.link_from, hardware.link_side, strict=True)
    ]


def link_loads(hardware: Fabric, one: Network) -> list[int]:
    """Channels in use on every link."""
    used = ref.loads(one.multicasts())
    return [used[entry] for entry in link_entries(hardware)]


CODES = {"NO_SLOT": "slots", "NT_FANIN": "fan-in", "ROUTER_PORT": "router", "CROSSBAR_SIDE": "crossbar"}


def first_obstacle(spec: MosaicSpec, one: Network) -> str:
    """Why a network does not fit, in our words: the first violation; "" where it fits."""
    found = ref.violations(spec, one)
    return CODES[found[0].code] if found else ""


# --- random placements ----------------------------------------------------------------------------------------------


def scattered(
    spec: MosaicSpec,
    seed: int,
    rows: int = 2,
    layers: int = 2,
    generations: int = 2,
    units: int = 14,
    bypassed: tuple[int, ...] = (),
):
    """Units of random classes on random tiles of some rows, in random order and without regard to any limit.

    Returns:
        The placement, and the calls of `place` as (rows, class, tile, amount).
    """
    rng = np.random.default_rng(seed)
    placement = Placement(fabric(spec), Classes(layers, generations, bool(seed % 2), bypassed), rows)
    calls = []
    for _ in range(units):
        row = np.flatnonzero(rng.random(rows) < 0.8)
        klass, tile = rng.integers(0, placement.classes.count, len(row)), rng.integers(0, spec.tiles, len(row))
        calls.append((row, klass, tile, rng.integers(1, 4, len(row))))
        placement.place(*calls[-1])
    return placement, calls


def crowded(
    spec: MosaicSpec,
    seed: int,
    layers: int = 2,
    generations: int = 2,
    tries: int = 30,
    bypassed: tuple[int, ...] = (),
) -> Placement:
    """One network of random units on random tiles that keeps every limit, as the reference judges.

    Heads stand from the start, as those to come do; generations grow one after the other. The last may be empty.
    """
    rng = np.random.default_rng(seed)
    placement = Placement(fabric(spec), Classes(layers, generations, bool(seed % 2), bypassed), 1)
    classes = placement.classes
    heads = [classes.head(number) for number in range(generations)]
    when = np.sort(rng.integers(0, generations, tries))
    for klass in heads + [int(rng.choice([0, *classes.hidden(np.arange(layers), each)])) for each in when]:
        tile, amount = int(rng.integers(0, spec.tiles)), int(rng.integers(1, 1 + spec.neurons_per_tile // 2))
        if not first_obstacle(spec, with_more(placement, 0, klass, tile, amount)):
            put(placement, klass, tile, amount)
    return placement


def newest(placement: Placement) -> list[int]:
    """Classes of the hidden units that may grow: those of the last generation, layer by layer."""
    classes = placement.classes
    return [classes.hidden(layer, classes.generations - 1) for layer in range(classes.layers)]


# --- growing networks -------------------------------------------------------------------------------------------------

PLENTY = 1e9  # a budget that nothing uses up
FULL = 3  # classes of a head that has not begun
WHOLE_TABLE = Requests(np.repeat([0, 1], 3), np.tile([1, 3, 6], 2))


class Story:
    """Networks that grow at random on a meter: three tasks, two hidden layers."""

    def __init__(self, meter, rows, seed, directed=True, inputs=4, units=2, deepens=False):
        self.meter, self.rows, self.rng, self.task = meter, rows, np.random.default_rng(seed), 0
        first = np.zeros((rows, 3, 2), dtype=np.int64)
        first[:, 0] = self.rng.integers(1, units + 1, (rows, 2))
        first[:, 0, 1] *= not deepens
        outputs = np.zeros((rows, 3), dtype=np.int64)
        outputs[:, 0] = self.rng.integers(1, FULL + 1, rows)
        self.now = replace(architecture(inputs, first, outputs, directed), bypassed=(1,) if deepens else ())
        meter.begin(everyone(self.now), self.reserved())

    def reserved(self, now=None):
        """The networks with full heads for tasks to come."""
        now = self.now if now is None else now
        return replace(now, outputs=np.where(now.outputs > 0, now.outputs, FULL))

    def next_task(self):
        """A head of at most FULL classes begins in every row."""
        self.task += 1
        outputs = self.now.outputs.copy()
        outputs[:, self.task] = self.rng.integers(1, FULL + 1, self.rows)
        self.now = replace(self.now, outputs=outputs)
        self.meter.commit(everyone(self.now), self.now)

    def generation(self):
        """The task of every row."""
        return np.full(self.rows, self.task)

    def assess(self, requests=WHOLE_TABLE, limit=PLENTY):
        """What the meter says of the requests."""
        limits = np.broadcast_to(np.float64(limit), self.rows)
        return self.meter.assess(self.now, self.reserved(), requests, self.generation(), limits)

    def grow(self, requests=WHOLE_TABLE, limit=PLENTY):
        """Every row makes one of its requests that fit, if there is any; returns which, -1 for none."""
        codes = self.assess(requests, limit).codes
        chosen = np.array([self.rng.choice(np.flatnonzero(row == 0)) if (row == 0).any() else -1 for row in codes])
        amount = np.where(chosen >= 0, requests.amount[chosen], 0)
        self.now = self.now.grown(requests.layer[chosen], amount, self.task)
        tiles = None if requests.tiles is None else requests.tiles[chosen]
        self.meter.commit(chosen >= 0, self.now, tiles)
        return chosen

    def figures(self):
        """What the meter reports."""
        return self.meter.figures(self.now)

    def play(self, steps=9, **options):
        """Grow through all tasks."""
        for step in range(steps):
            if step in (steps // 3, 2 * steps // 3):
                self.next_task()
            self.grow(**options)
        return self


def only(now: Architecture, row: int) -> Architecture:
    """The network of one row."""
    return replace(now, units=now.units[[row]], outputs=now.outputs[[row]])
