"""What a Mosaic specification amounts to, and how much of it is known: provenance, derived figures, a text."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from growenv.hardware.mosaic.fabric import hop_histogram

if TYPE_CHECKING:  # the specification reports on itself, so it imports this module
    from growenv.hardware.mosaic.spec import MosaicSpec

# What the authors' public code builds: square grids of these sides, tiles of 32 neurons, corner ports of 8 channels.
_GRIDS = (5, 8)
_NEURONS = 32
_CORNER_CHANNELS = 8

_SIZES = ("rows", "cols", "neurons_per_tile", "nt_port_channels", "r1_port_channels", "r0_port_channels")
_DEVICES = (*_SIZES, "allow_uturn_cells", "recurrent_block", "devices_per_synapse")
_FIRM = ("primary code", "abstract", "tool", "derived")


def provenance(spec: MosaicSpec) -> dict[str, str]:
    """Where the value of every field comes from.

    Returns:
        Field name -> one of these words, with a colon and a note where there is more to say: ``primary code`` (the
        authors' public code), ``abstract`` (their abstract), ``tool`` (default of a published hardware tool),
        ``derived``, ``assumed``, ``extrapolated`` (larger than anything published), ``given`` (not the default).
    """
    origin = {}
    for each in dataclasses.fields(spec):
        source = str(each.metadata["provenance"])
        given = getattr(spec, each.name) != each.default
        origin[each.name] = f"given: not the default, {each.default} [{source}]" if given else source
    return origin | _provenance_of_sizes(spec)


def _provenance_of_sizes(spec: MosaicSpec) -> dict[str, str]:
    """Sizes are judged by what was published, not by our defaults."""
    if spec.rows == spec.cols and spec.rows in _GRIDS:
        grid = dict.fromkeys(("rows", "cols"), "primary code")
    else:
        large = "extrapolated: larger than the largest published grid, 8 x 8"
        small = "assumed: no published grid, the same rules"
        grid = {name: large if getattr(spec, name) > max(_GRIDS) else small for name in ("rows", "cols")}
    ports = {
        "nt_port_channels": _provenance_of_port(spec, max(spec.ports), min(spec.ports)),
        "r1_port_channels": _provenance_of_port(spec, spec.r1_channels, spec.r1_channels),
        "r0_port_channels": _provenance_of_corner(spec),
    }
    return grid | {"neurons_per_tile": _provenance_of_count(spec.neurons_per_tile)} | ports


def _provenance_of_count(count: int) -> str:
    if count == _NEURONS:
        return "primary code"
    return f"extrapolated: more than the published {_NEURONS}" if count > _NEURONS else "assumed: fewer than published"


def _provenance_of_port(spec: MosaicSpec, widest: int, narrowest: int) -> str:
    if widest > spec.neurons_per_tile:
        return "extrapolated: more channels than a tile has neurons"
    return _provenance_of_count(widest if widest > _NEURONS else narrowest)


def _provenance_of_corner(spec: MosaicSpec) -> str:
    if spec.r0_channels == _CORNER_CHANNELS:
        return "primary code"
    found = _provenance_of_port(spec, spec.r0_channels, spec.r0_channels)
    return found if found.startswith("extrapolated") else f"assumed: the published number is {_CORNER_CHANNELS}"


def uncertain_fields(spec: MosaicSpec) -> dict[str, list[str]]:
    """Which outputs rest on values that nobody published.

    Returns:
        Output -> the fields that it depends on and that are assumed, extrapolated or given; empty where all is firm.
    """
    routing = ("e_hop_J",) if spec.energy_mode == "lumped" else ("r1_port_channels", "r0_port_channels")
    energy = ("v_read_V", "g_lrs_S", "g_hrs_S", "t_pulse_s", "energy_mode", *routing, "e_neuron_J", "e_in_J")
    latency = ("t_hop_s", "t_tile_s")
    area = ("tech_nm", "cell_area_F2", "row_area_m2", "column_area_m2", "neuron_area_m2")
    outputs = {
        "hops": ("rows", "cols"),
        "channels": _SIZES,
        "memristors": _DEVICES,
        "energy": (*energy, "p_static_W", *(latency if spec.p_static_W else ())),
        "latency": latency,
        "area": (*_DEVICES, *area),
    }
    origin = provenance(spec)
    return {
        output: [name for name in fields if not origin[name].startswith(_FIRM)] for output, fields in outputs.items()
    }


def figures(spec: MosaicSpec) -> dict[str, Any]:
    """What follows from a specification, as plain values.

    Returns:
        Counts of tiles, neurons and routing cells; memristors in total, in tiles and in routing cells; memristors of
        one dense crossbar between all neurons; area in m^2 and whether it is complete; ordered pairs of different
        tiles for every number of hops; fields behind every output that nobody published.
    """
    in_tiles = spec.tiles * spec.tile_memristors()
    total = spec.provisioned_memristors()
    return {
        "tiles": spec.tiles,
        "neurons": spec.neurons,
        "edge_routers": spec.edge_routers,
        "corner_routers": spec.corner_routers,
        "memristors": total,
        "memristors_in_tiles": in_tiles,
        "memristors_in_routers": total - in_tiles,
        "memristors_of_dense_crossbar": spec.neurons**2 * spec.devices_per_synapse,
        "area_m2": spec.provisioned_area_m2(),
        "area_is_complete": spec.area_is_complete,
        "hop_histogram": {str(hops): pairs for hops, pairs in hop_histogram(spec.rows, spec.cols).items()},
        "uncertain_fields": uncertain_fields(spec),
    }


def report(spec: MosaicSpec) -> str:
    """A text: every field with value, unit, meaning and provenance; then what follows from them, and how firm it is."""
    found = figures(spec)
    title = f"Mosaic chip: {spec.rows} x {spec.cols} tiles of {spec.neurons_per_tile}, {spec.neurons:,} neurons"
    histogram = " ".join(f"{hops}:{pairs}" for hops, pairs in found["hop_histogram"].items())
    area = "complete" if spec.area_is_complete else "incomplete: a peripheral area is 0, that is unknown"
    facts = {
        "routing cells": f"{spec.edge_routers} edge (R1), {spec.corner_routers} corner (R0)",
        "memristors": f"{found['memristors']:,} ({found['memristors_in_tiles']:,} in tiles, "
        f"{found['memristors_in_routers']:,} in routing cells)",
        "dense crossbar": f"{found['memristors_of_dense_crossbar']:,} memristors between all neurons, for comparison",
        "area": f"{found['area_m2'] * 1e6:.4g} mm^2 ({area})",
        "hops:pairs": histogram,
    }
    lines = [title, "", *_field_lines(spec), ""]
    lines += [f"{name:<15} {text}" for name, text in facts.items()]
    lines += ["", "What rests on values that nobody published (assumed, extrapolated or given):"]
    lines += [f"{name:<15} {', '.join(fields) or 'nothing'}" for name, fields in found["uncertain_fields"].items()]
    return "\n".join(lines) + "\n"


def _field_lines(spec: MosaicSpec) -> list[str]:
    origin = provenance(spec)
    lines = []
    for each in dataclasses.fields(spec):
        value = getattr(spec, each.name)
        if value is None and each.name in _SIZES:
            value = spec.neurons_per_tile
        text = f"{value:g}" if isinstance(value, float) else str(value)
        quantity = "none" if value is None else f"{text} {each.metadata['unit']}".strip()
        lines.append(f"{each.name:<19} {quantity:<18} {each.metadata['meaning']} [{origin[each.name]}]")
    return lines
