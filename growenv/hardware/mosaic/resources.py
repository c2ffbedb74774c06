"""What placed networks use: memristors, hops, energy, latency, and the smallest chip that would hold them.

Equation numbers are those of `docs/mosaic.md`. Every function takes a `Placement` of N networks and returns one entry,
or one row, for each of them. `counts` are the units that are there, (N, C, T): those of the placement without the
outputs of heads that have not begun, whose slots and channels are only held.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from growenv.hardware.architecture import Architecture
from growenv.hardware.mosaic.placement import Placement

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]


def memristors(placement: Placement, network: Architecture) -> Floats:
    """Synapses of the networks and programmed routing devices, (N,) (5)."""
    synapses = placement.fabric.spec.devices_per_synapse * network.connections().sum(axis=1)
    return np.asarray(synapses + routing_devices(placement), dtype=np.float64)


def routing_devices(placement: Placement) -> Ints:
    """Memristors that are programmed in routers, (N,): router outputs that every unit's routes cross (5)."""
    return np.asarray((placement.size * placement.branches).sum(axis=1))


def routing_events(placement: Placement, rates: Floats | None = None) -> Floats:
    """Routing cells that are crossed in one inference, (N,): sum of units x rate x size of their route union (7).

    Args:
        placement: the networks.
        rates: spikes per inference of each class, (N, C); one spike each where None.
    """
    crossed = placement.size * placement.hops
    if rates is None:
        return np.asarray(crossed.sum(axis=1), dtype=np.float64)
    return np.asarray((crossed * _by_group(placement, rates)).sum(axis=1))


def hop_histogram(placement: Placement, counts: Ints) -> Ints:
    """Synapses by the number of routing cells between their ends, (N, longest + 1)."""
    length = placement.fabric.longest + 1
    bins = np.arange(placement.rows)[:, None, None] * length + placement.fabric.hops[placement.tile]
    histogram = np.bincount(bins.ravel(), _synapses(placement, counts).ravel(), placement.rows * length)
    return np.rint(histogram).astype(np.int64).reshape(placement.rows, length)


def mean_hops(placement: Placement, counts: Ints) -> Floats:
    """Mean number of routing cells of a synapse, (N,); 0 without synapses."""
    synapses = _synapses(placement, counts)
    total = (synapses * placement.fabric.hops[placement.tile]).sum(axis=(1, 2))
    return np.asarray(total / np.maximum(synapses.sum(axis=(1, 2)), 1))


def _synapses(placement: Placement, counts: Ints) -> Floats:
    """Synapses from each group to each tile, whole numbers, (N, K, T)."""
    readers = placement.classes.reads.astype(np.float64) @ counts.astype(np.float64)
    return np.asarray(placement.size[:, :, None] * readers[np.arange(placement.rows)[:, None], placement.klass])


def row_cells(placement: Placement, counts: Ints, rates: Floats | None = None) -> Floats:
    """Crossbar cells that receive a read pulse in one inference, (N,): every row that a spike drives, cell by cell."""
    occupied = counts.sum(axis=1)
    reached = (placement.reached * occupied[:, None, :]).sum(axis=2)
    cells = placement.size * reached[np.arange(placement.rows)[:, None], placement.klass]
    if rates is None:
        return np.asarray(cells.sum(axis=1), dtype=np.float64)
    return np.asarray((cells * _by_group(placement, rates)).sum(axis=1))


def energy(placement: Placement, counts: Ints, rates: Floats | None = None) -> Floats:
    """Energy of one inference in joules, (N,) (7); rests on assumed values, see `MosaicSpec.report`.

    Args:
        placement: the networks.
        counts: units that are there, (N, C, T).
        rates: spikes per inference of each class, (N, C); one spike each where None.
    """
    spec = placement.fabric.spec
    pulse = spec.v_read_V**2 * spec.t_pulse_s
    spikes = placement.size * (1.0 if rates is None else _by_group(placement, rates))
    inputs = placement.klass == 0
    each = np.where(inputs, spec.e_in_J, spec.e_neuron_J)
    total = (spikes * (each + _hop_energy(placement))).sum(axis=1)
    heads = slice(placement.classes.head(0), None)
    outputs = counts[:, heads].sum(axis=2) * (1.0 if rates is None else rates[:, heads])
    total += spec.e_neuron_J * outputs.sum(axis=1)  # outputs spike as well, but go nowhere
    total += row_cells(placement, counts, rates) * pulse * (spec.g_lrs_S + spec.g_hrs_S) / 2
    if spec.p_static_W:
        total += spec.tiles * spec.p_static_W * latency(placement, counts)
    return np.asarray(total)


def _hop_energy(placement: Placement) -> Floats:
    """Energy of one spike of each group in the routers, in joules, (N, K)."""
    fabric, spec = placement.fabric, placement.fabric.spec
    if spec.energy_mode == "lumped":
        return np.asarray(placement.hops * spec.e_hop_J, dtype=np.float64)
    # Device by device: a line of a routing crossbar has a cell for every output channel; the closed ones leak.
    wires = (placement.cells[:, :, :-1] * fabric.output_channels).sum(axis=2)
    conductance = placement.branches * spec.g_lrs_S + (wires - placement.branches) * spec.g_hrs_S
    return np.asarray(spec.v_read_V**2 * spec.t_pulse_s * conductance)


def latency(placement: Placement, counts: Ints) -> Floats:
    """Time of one inference in seconds, (N,) (8): the slowest path from an input to an output."""
    spec, classes = placement.fabric.spec, placement.classes
    generation = np.arange(classes.generations)
    ready = np.full(counts.shape, -np.inf)
    ready[:, 0] = np.where(counts[:, 0] > 0, 0.0, -np.inf)
    way = placement.fabric.hops * spec.t_hop_s
    for layer in range(classes.layers + 1):
        last = layer == classes.layers
        readers = classes.head(generation) if last else classes.hidden(layer, generation)
        for reader in readers:
            sources = np.flatnonzero(classes.reads[:, reader])
            first = ready[:, sources].max(axis=1)
            arrival = np.maximum((first[:, :, None] + way[None]).max(axis=1), 0.0)  # 0 for those who hear nobody
            ready[:, reader] = np.where(counts[:, reader] > 0, arrival + spec.t_tile_s, -np.inf)
    done = ready[:, classes.head(generation)].max(axis=(1, 2))
    return np.where(np.isfinite(done), done, 0.0)


def minimum_chip(placement: Placement) -> Ints:
    """Memristors of the smallest chip of this grid that would hold each network, (N,) (6).

    All tiles are alike, and so are all edge and all corner routers: each port is as wide as the fullest of its kind.
    """
    fabric, spec = placement.fabric, placement.fabric.spec
    load = placement.load[:, :-1]
    to_tile, from_tile = fabric.into_tile, ~fabric.from_router
    corner = np.zeros(fabric.cells, dtype=np.bool_)
    rows, columns = np.divmod(np.arange(fabric.cells), fabric.shape[1])
    corner[(rows % 2 == 0) & (columns % 2 == 0)] = True

    def fullest(links: NDArray[np.bool_]) -> Ints:
        return np.asarray(load[:, links].max(axis=1, initial=0))

    fan_in = sum(fullest(to_tile & (fabric.link_side == side)) for side in range(4))
    tile = spec.devices_per_synapse * spec.neurons_per_tile * (spec.neurons_per_tile * spec.recurrent_block + fan_in)
    routed = ~to_tile & ~from_tile
    into_edge, out_of_edge = routed & ~corner[fabric.link_to], routed & ~corner[fabric.link_from]
    into = 2 * spec.neurons_per_tile + 2 * fullest(into_edge)
    out = 2 * fullest(to_tile) + 2 * fullest(out_of_edge)
    at_corner = fullest(routed & (corner[fabric.link_to] | corner[fabric.link_from]))
    edge = np.maximum(into, out)
    whole = spec.tiles * tile + fabric.edge_routers * edge**2 + fabric.corner_routers * (4 * at_corner) ** 2
    return np.asarray(whole)


def cell_load(placement: Placement, row: int) -> tuple[Floats, Floats]:
    """Share of channels in use on the fullest port of every routing cell and of every tile's inputs, for one network.

    Returns:
        Routing cells as a picture, (2R + 1, 2C + 1), NaN on tiles; and tiles, (T,).
    """
    fabric = placement.fabric
    share = placement.load[row, :-1] / np.maximum(fabric.capacity, 1)
    cells = np.zeros(fabric.cells)
    np.maximum.at(cells, fabric.link_to, share)
    fan_in = cells[fabric.tile_cells]
    np.maximum.at(cells, fabric.link_from, share)
    cells[fabric.tile_cells] = np.nan
    return cells.reshape(fabric.shape), fan_in


def _by_group(placement: Placement, rates: Floats) -> Floats:
    return np.asarray(rates[np.arange(placement.rows)[:, None], placement.klass])
