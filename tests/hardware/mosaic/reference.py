"""The Mosaic resource model, one neuron and one port at a time: slow, plain, and independent of the package.

Every neuron owns one channel on every port that the routes to its readers cross. Nothing is grouped, batched, looked up
or shared with `growenv.hardware.mosaic`; a specification is read by attribute only. The equation numbers are those of
the model's definition. Tiles are (row, column) pairs; so are cells, and tile (r, c) is cell (2r + 1, 2c + 1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

Pair = tuple[int, int]
SIDES = ("N", "E", "S", "W")
STEP = {"N": (-1, 0), "E": (0, 1), "S": (1, 0), "W": (0, -1)}
OPPOSITE = {"N": "S", "E": "W", "S": "N", "W": "E"}


class Entry(NamedTuple):
    """One port of one cell, in one direction."""

    cell: Pair
    direction: str  # "in" or "out", seen from the cell
    side: str


class Multicast(NamedTuple):
    """What one neuron sends: from its tile to every tile that holds a reader."""

    source: Pair
    targets: frozenset[Pair]


class Violation(NamedTuple):
    """A limit that is broken: where, how much is used, and how much there is."""

    code: str
    place: Pair | Entry
    used: int
    limit: int


# --- networks -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Neuron:
    """One neuron: its class, its tile and the spikes that it sends per inference."""

    kind: str  # "input", "hidden" or "output"
    tile: Pair
    layer: int = 0
    generation: int = 0
    rate: float = 1.0


@dataclass(frozen=True, eq=False)
class Network:
    """Neurons on tiles. `directed`: a hidden unit reads only its own and older generations of the layer below."""

    neurons: list[Neuron]
    layers: int = 1
    directed: bool = True
    bypassed: tuple[int, ...] = ()

    def hears(self, layer: int, source: int) -> bool:
        """Whether a layer (the number of layers for heads) reads a hidden layer, maybe around those in between."""
        return source < layer and all(between in self.bypassed for between in range(source + 1, layer))

    def reads(self, reader: Neuron, source: Neuron) -> bool:
        """Whether there is a synapse from `source` to `reader`."""
        if source.kind == "input":
            return reader.kind == "hidden" and reader.layer == 0
        if source.kind == "output":
            return False
        not_newer = source.generation <= reader.generation
        if reader.kind == "hidden":
            return self.hears(reader.layer, source.layer) and (not_newer or not self.directed)
        return reader.kind == "output" and self.hears(self.layers, source.layer) and not_newer

    def readers(self, source: Neuron) -> list[Neuron]:
        """Every neuron that reads `source`."""
        return [reader for reader in self.neurons if self.reads(reader, source)]

    def sources(self, reader: Neuron) -> list[Neuron]:
        """Every neuron that `reader` reads."""
        return [source for source in self.neurons if self.reads(reader, source)]

    def on(self, tile: Pair) -> list[Neuron]:
        """The neurons that stand on a tile."""
        return [neuron for neuron in self.neurons if neuron.tile == tile]

    def and_also(self, count: int, kind: str, tile: Pair, layer: int = 0, generation: int = 0) -> Network:
        """This network with `count` more neurons of one class on one tile; this one stays as it is."""
        added = [Neuron(kind, tile, layer, generation) for _ in range(count)]
        return Network(self.neurons + added, self.layers, self.directed, self.bypassed)

    def multicast(self, neuron: Neuron) -> Multicast:
        """Where the spikes of a neuron go (eq. 2, D); its own tile counts when a reader stands there."""
        return Multicast(neuron.tile, frozenset(reader.tile for reader in self.readers(neuron)))

    def multicasts(self) -> list[Multicast]:
        """`multicast` of every neuron, in the order of `neurons`."""
        return [self.multicast(neuron) for neuron in self.neurons]


# --- geometry -------------------------------------------------------------------------------------------------------


def tiles(spec: Any) -> list[Pair]:
    """All tiles, row by row."""
    return [(row, col) for row in range(spec.rows) for col in range(spec.cols)]


def cells(spec: Any) -> list[Pair]:
    """All cells, row by row."""
    return [(y, x) for y in range(2 * spec.rows + 1) for x in range(2 * spec.cols + 1)]


def cell_of(tile: Pair) -> Pair:
    """The cell in which a tile lies."""
    return 2 * tile[0] + 1, 2 * tile[1] + 1


def kind_of(cell: Pair) -> str:
    """Neuron tile ("NT"), edge router ("R1") or corner router ("R0"): by the odd coordinates of the cell."""
    return ("R0", "R1", "NT")[cell[0] % 2 + cell[1] % 2]


def hops(source: Pair, target: Pair) -> int:
    """Routing cells between two tiles, by the formula."""
    down, right = abs(target[0] - source[0]), abs(target[1] - source[1])
    distance = down + right
    if distance <= 1:
        return distance
    return 2 * distance + 1 if down == 0 or right == 0 else 2 * distance - 1


def walk(start: Pair, end: Pair) -> list[Pair]:
    """The cells of a straight line, both ends included."""
    (y, x), (end_y, end_x) = start, end
    assert y == end_y or x == end_x, "a straight line keeps its row or its column"
    line = [(y, x)]
    while (y, x) != (end_y, end_x):
        y += (end_y > y) - (end_y < y)
        x += (end_x > x) - (end_x < x)
        line.append((y, x))
    return line


def route(source: Pair, target: Pair) -> list[Pair]:
    """The routing cells from one tile to another, in order, by the one-turn rule; none for the tile itself."""
    (y, x), (target_y, target_x) = cell_of(source), cell_of(target)
    down, right = target[0] - source[0], target[1] - source[1]
    if down == right == 0:
        return []
    if abs(down) + abs(right) == 1:  # adjacent: the one edge router between them
        return [(y + down, x + right)]
    if right == 0:  # same column, further: leave west, go vertically, enter from the west
        return walk((y, x - 1), (target_y, x - 1))
    exit_y = y + 1 if down > 0 else y - 1  # south when the target is lower, else north
    near_x = target_x - 1 if right > 0 else target_x + 1  # the router column beside the target, on the near side
    return walk((exit_y, x), (exit_y, near_x)) + walk((exit_y, near_x), (target_y, near_x))[1:]


def side_towards(cell: Pair, neighbour: Pair) -> str:
    """The side of a cell on which a neighbour lies."""
    return next(side for side in SIDES if (cell[0] + STEP[side][0], cell[1] + STEP[side][1]) == neighbour)


def ports_of_route(source: Pair, target: Pair) -> list[Entry]:
    """The port entries that a route crosses, in order: out of the source tile first, into the target tile last."""
    if source == target:
        return []
    path = [cell_of(source), *route(source, target), cell_of(target)]
    entries = []
    for here, there in zip(path, path[1:], strict=False):
        side = side_towards(here, there)
        entries += [Entry(here, "out", side), Entry(there, "in", OPPOSITE[side])]
    return entries


# --- channels -------------------------------------------------------------------------------------------------------


def union(multicast: Multicast) -> set[Entry]:
    """The port entries on which one neuron owns a channel (eq. 2, U)."""
    owned: set[Entry] = set()
    for target in multicast.targets:
        owned |= set(ports_of_route(multicast.source, target))
    return owned


def routing_cells(multicast: Multicast) -> set[Pair]:
    """The routing cells that one neuron's spike passes; their number is the tree size (eq. 2, H)."""
    return {entry.cell for entry in union(multicast) if entry.direction == "in" and kind_of(entry.cell) != "NT"}


def router_outputs(multicast: Multicast) -> list[Entry]:
    """The router output entries on which one neuron owns a channel."""
    return [entry for entry in union(multicast) if entry.direction == "out" and kind_of(entry.cell) != "NT"]


def loads(multicasts: Iterable[Multicast]) -> Counter[Entry]:
    """Channels in use on every port entry (eq. 3); an entry that nobody uses counts 0."""
    used: Counter[Entry] = Counter()
    for multicast in multicasts:
        used.update(union(multicast))
    return used


def port(spec: Any, entry: Entry) -> int:
    """Channels of one port by itself. A tile offers all its neurons on every side."""
    kind = kind_of(entry.cell)
    if kind == "R0":
        return int(spec.r0_channels)
    if kind == "R1":
        return int(spec.r1_channels)
    return int(spec.ports[SIDES.index(entry.side)] if entry.direction == "in" else spec.neurons_per_tile)


def partner(entry: Entry) -> Entry:
    """The other end of the link: an output's input, and an input's output."""
    step = STEP[entry.side]
    neighbour = (entry.cell[0] + step[0], entry.cell[1] + step[1])
    return Entry(neighbour, "out" if entry.direction == "in" else "in", OPPOSITE[entry.side])


def capacity(spec: Any, entry: Entry) -> int:
    """Channels of the link to which an entry belongs: the smaller of its two ports binds, at both ends.

    Only entries that a route can cross belong to a link; the outer sides of the border routers lead nowhere.
    """
    return min(port(spec, entry), port(spec, partner(entry)))


def local_rows(network: Network, tile: Pair) -> int:
    """Crossbar rows of a tile that its own neurons drive (eq. 5)."""
    return sum(1 for neuron in network.on(tile) if tile in network.multicast(neuron).targets)


def crossbar_sides(spec: Any, network: Network) -> dict[Pair, Pair]:
    """Rows and columns in use in every cell: a tile has local rows too, and a column for every neuron on it."""
    used = loads(network.multicasts())
    sides = {}
    for cell in cells(spec):
        rows, columns = (sum(used[Entry(cell, way, side)] for side in SIDES) for way in ("in", "out"))
        sides[cell] = rows, columns
    for tile in tiles(spec):
        rows, _ = sides[cell_of(tile)]
        sides[cell_of(tile)] = rows + local_rows(network, tile), len(network.on(tile))
    return sides


def violations(spec: Any, network: Network) -> list[Violation]:
    """Everything that does not fit, in the order of the codes: slots, tile fan-in, router ports, crossbar sides."""
    slots: list[Violation] = []
    tile_inputs: list[Violation] = []
    other_entries: list[Violation] = []
    sides: list[Violation] = []
    for tile in tiles(spec):
        occupied = len(network.on(tile))
        if occupied > spec.neurons_per_tile:
            slots.append(Violation("NO_SLOT", tile, occupied, spec.neurons_per_tile))
    for entry, load in sorted(loads(network.multicasts()).items()):
        if load > capacity(spec, entry):
            into_tile = kind_of(entry.cell) == "NT" and entry.direction == "in"
            code = "NT_FANIN" if into_tile else "ROUTER_PORT"
            (tile_inputs if into_tile else other_entries).append(Violation(code, entry, load, capacity(spec, entry)))
    if spec.max_crossbar_side is not None:
        for cell, (rows, columns) in crossbar_sides(spec, network).items():
            if max(rows, columns) > spec.max_crossbar_side:
                sides.append(Violation("CROSSBAR_SIDE", cell, max(rows, columns), spec.max_crossbar_side))
    return slots + tile_inputs + other_entries + sides


# --- what it costs --------------------------------------------------------------------------------------------------


def tree_cells(network: Network) -> int:
    """Routing cells crossed when every neuron spikes once: the sum of k H."""
    return sum(len(routing_cells(multicast)) for multicast in network.multicasts())


def unicast_hops(network: Network) -> int:
    """The same without sharing: every destination tile gets its own copy."""
    return sum(hops(source, target) for source, targets in network.multicasts() for target in targets)


def used_router_devices(network: Network) -> int:
    """Router memristors that are on (eq. 5): one per channel on a router output."""
    return sum(len(router_outputs(multicast)) for multicast in network.multicasts())


def pairs(network: Network) -> list[tuple[Neuron, Neuron]]:
    """Every (source, reader) pair."""
    return [(source, reader) for source in network.neurons for reader in network.readers(source)]


def synapses(spec: Any, network: Network) -> int:
    """Tile memristors that hold a weight (eq. 5, effective)."""
    return int(spec.devices_per_synapse) * len(pairs(network))


def hop_weighted_pairs(network: Network) -> int:
    """The hops of every (source, reader) pair, added."""
    return sum(hops(source.tile, reader.tile) for source, reader in pairs(network))


def mean_hops(network: Network) -> float:
    """Hops of the mean (source, reader) pair; 0 where there is none."""
    return hop_weighted_pairs(network) / max(1, len(pairs(network)))


def row_cells(network: Network) -> int:
    """Tile cells under voltage when every neuron spikes once: a row reaches every neuron of a tile, reader or not."""
    return sum(len(network.on(target)) for _, targets in network.multicasts() for target in targets)


def provisioned(spec: Any) -> int:
    """Memristors of the whole chip, used or not (eq. 4)."""
    local = spec.neurons_per_tile if spec.recurrent_block else 0
    total = 0
    for cell in cells(spec):
        into = [port(spec, Entry(cell, "in", side)) for side in SIDES]
        out = [port(spec, Entry(cell, "out", side)) for side in SIDES]
        if kind_of(cell) == "NT":
            total += spec.devices_per_synapse * spec.neurons_per_tile * (local + sum(into))
        else:
            total += sum(into) * sum(out)
            if not spec.allow_uturn_cells:
                total -= sum(a * b for a, b in zip(into, out, strict=True))
    return total


def minimum_chip(spec: Any, used: Counter[Entry]) -> int:
    """Memristors of the smallest uniform chip that carries these loads (eq. 6)."""
    fan_in = dict.fromkeys(SIDES, 0)
    edge = {("in", "tile"): spec.neurons_per_tile, ("in", "router"): 0, ("out", "tile"): 0, ("out", "router"): 0}
    corner = 0
    for entry, load in used.items():
        kind = kind_of(entry.cell)
        if kind == "NT" and entry.direction == "in":
            fan_in[entry.side] = max(fan_in[entry.side], load)
        if kind == "R0":
            corner = max(corner, load)
        if kind == "R1":
            faces = "tile" if kind_of(partner(entry).cell) == "NT" else "router"
            if (entry.direction, faces) != ("in", "tile"):  # a tile offers all its neurons, whoever uses them
                edge[entry.direction, faces] = max(edge[entry.direction, faces], load)
    side = max(2 * edge[direction, "tile"] + 2 * edge[direction, "router"] for direction in ("in", "out"))
    local = spec.neurons_per_tile if spec.recurrent_block else 0
    per_kind = {
        "NT": spec.devices_per_synapse * spec.neurons_per_tile * (local + sum(fan_in.values())),
        "R1": side**2,
        "R0": (4 * corner) ** 2,
    }
    return sum(per_kind[kind_of(cell)] for cell in cells(spec))


def latency(spec: Any, network: Network) -> float:
    """Seconds from the inputs to the last output (eq. 8); a unit that reads nobody needs one tile delay."""
    done: dict[Neuron, float] = {}
    order = {"input": -1, "hidden": 0, "output": network.layers}
    for neuron in sorted(network.neurons, key=lambda one: order[one.kind] + one.layer):
        arrivals = [done[one] + spec.t_hop_s * hops(one.tile, neuron.tile) for one in network.sources(neuron)]
        done[neuron] = 0.0 if neuron.kind == "input" else spec.t_tile_s + max(arrivals, default=0.0)
    return max((done[neuron] for neuron in network.neurons if neuron.kind == "output"), default=0.0)


def energy(spec: Any, network: Network) -> float:
    """Joules per inference (eq. 7)."""
    pulse = spec.v_read_V**2 * spec.t_pulse_s
    mean_conductance = (spec.g_lrs_S + spec.g_hrs_S) / 2
    total = spec.rows * spec.cols * spec.p_static_W * latency(spec, network)
    for neuron in network.neurons:
        multicast = network.multicast(neuron)
        spike = spec.e_in_J if neuron.kind == "input" else spec.e_neuron_J
        for target in multicast.targets:
            spike += len(network.on(target)) * pulse * mean_conductance
        for cell in routing_cells(multicast):
            if spec.energy_mode == "lumped":
                spike += spec.e_hop_J
            else:
                branches = sum(1 for entry in router_outputs(multicast) if entry.cell == cell)
                columns = sum(port(spec, Entry(cell, "out", side)) for side in SIDES)
                spike += pulse * (branches * spec.g_lrs_S + (columns - branches) * spec.g_hrs_S)
        total += neuron.rate * spike
    return float(total)
