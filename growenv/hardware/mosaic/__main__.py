"""Command line: chips, and whole networks on them.

``python -m growenv.hardware.mosaic describe --preset demo`` prints what a chip is made of, and
``python -m growenv.hardware.mosaic map --preset demo --widths 32,32,32,10`` what a network uses of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from growenv.hardware.architecture import Architecture, largest
from growenv.hardware.mosaic import drawing, floorplan, resources
from growenv.hardware.mosaic.anneal import Annealed, anneal
from growenv.hardware.mosaic.mapping import Mapping
from growenv.hardware.mosaic.meter import MosaicMeter
from growenv.hardware.mosaic.placement import Placement
from growenv.hardware.mosaic.report import figures
from growenv.hardware.mosaic.spec import PRESETS, MosaicSpec, preset
from growenv.hardware.mosaic.strategies import STRATEGIES
from growenv.registry import unknown_name

_SIDES = ("north", "east", "south", "west")
_ANNEAL = "anneal"
_EVERYONE = np.ones(1, dtype=np.bool_)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        arguments: the words of the command line; None for those of the process.

    Returns:
        The exit code: 0, or 2 after one line on stderr that says which value is wrong.
    """
    options = _parser().parse_args(arguments)
    try:
        print(options.run(options), end="")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m growenv.hardware.mosaic", description="Mosaic chips.")
    commands = parser.add_subparsers(required=True, metavar="command")
    describe = commands.add_parser("describe", help="what a chip is made of, and how much of it is known")
    _add_chip(describe)
    describe.add_argument("--json", action="store_true", help="print JSON instead of text")
    describe.set_defaults(run=_describe)
    place = commands.add_parser("map", help="place a whole network on a chip, and say what it uses")
    place.add_argument("--widths", required=True, metavar="W,W,...", help="inputs, hidden layers, outputs of each head")
    _add_chip(place)
    names = ", ".join((*STRATEGIES.names(), _ANNEAL))
    place.add_argument("--strategy", default="greedy", help=f"one of {names} (default: greedy)")
    place.add_argument("--seed", type=int, help=f"of --strategy {_ANNEAL} (default: 0)")
    place.add_argument("--tasks", type=int, default=1, help="heads, one for each task (default: 1)")
    place.add_argument("--png", type=Path, metavar="FILE", help="draw a picture")
    place.add_argument("--json", action="store_true", help="print JSON instead of text")
    place.set_defaults(run=_map)
    return parser


def _add_chip(command: argparse.ArgumentParser) -> None:
    """The arguments that name a chip."""
    command.add_argument("--preset", default="demo", help=f"one of {', '.join(PRESETS)} (default: demo)")
    command.add_argument("--rows", type=int, help="rows of tiles, instead of the preset's")
    command.add_argument("--cols", type=int, help="columns of tiles, instead of the preset's")
    command.add_argument("--neurons-per-tile", type=int, help="neurons of a tile, instead of the preset's")


def _chip(options: argparse.Namespace) -> MosaicSpec:
    """The chip that the arguments of `_add_chip` name."""
    given = {name: getattr(options, name) for name in ("rows", "cols", "neurons_per_tile")}
    return dataclasses.replace(
        preset(options.preset), **{name: value for name, value in given.items() if value is not None}
    )


def _describe(options: argparse.Namespace) -> str:
    spec = _chip(options)
    if not options.json:
        return spec.report()
    described = {"spec": spec.to_json(), "provenance": spec.provenance(), "figures": figures(spec)}
    return json.dumps(described, indent=2) + "\n"


def _map(options: argparse.Namespace) -> str:
    spec, widths = _chip(options), _widths(options.widths)
    if options.png is not None and not options.png.parent.is_dir():
        raise ValueError(f"--png {options.png}: there is no directory {options.png.parent}; make it first")
    # Every unit is of generation 0, and all heads have begun.
    network = largest(widths[0], widths[1:-1], options.tasks, widths[-1])
    meter, annealed = _placed(spec, network, options)
    plan = meter.floorplan(network, 0)
    heads = f"{options.tasks} head{'s' * (options.tasks != 1)}"
    if options.png is not None:
        _draw(plan, options.png, f"{len(widths) - 1} layers, {heads}, placed by {options.strategy}")
    use = _use(meter, network)
    if not options.json:
        title = f"{'-'.join(str(width) for width in widths)}, {heads}, on "
        title += f"{spec.rows}x{spec.cols} tiles of {spec.neurons_per_tile} neurons, placed by {options.strategy}"
        return "\n".join([title, "", floorplan.text(plan), "", *_lines(use, annealed)]) + "\n"
    found = {"spec": spec.to_json(), "widths": widths, "tasks": options.tasks, "strategy": options.strategy, "use": use}
    found["tiles"] = _tiles(plan)
    if annealed is not None:
        found["anneal"] = {"seed": options.seed or 0, **_result(annealed)}
    return json.dumps(found, indent=2) + "\n"


def _widths(words: str) -> list[int]:
    """The numbers of ``--widths``."""
    try:
        widths = [int(word) for word in words.split(",")]
    except ValueError:
        widths = []
    if len(widths) < 3 or min(widths) < 1:
        raise ValueError(
            f"--widths {words}: expected at least three whole numbers above 0, separated by commas: "
            "inputs, hidden layers, outputs of each head, as in 64,32,32,10"
        )
    return widths


def _placed(
    spec: MosaicSpec, network: Architecture, options: argparse.Namespace
) -> tuple[MosaicMeter, Annealed | None]:
    """A meter that holds the placed network, and what annealing changed."""
    if options.strategy not in (*STRATEGIES.names(), _ANNEAL):
        raise unknown_name("placement strategy", options.strategy, (*STRATEGIES.names(), _ANNEAL))
    if options.strategy != _ANNEAL:
        if options.seed is not None:
            raise ValueError(f"--seed {options.seed}: {options.strategy} draws nothing; add --strategy {_ANNEAL}")
        meter = MosaicMeter(spec, placement=options.strategy)
        meter.begin(_EVERYONE, network)
        return meter, None
    meter = MosaicMeter(spec)
    annealed = _annealed(meter, network, options.seed or 0)
    meter.mapping = annealed.mapping
    return meter, annealed


def _annealed(meter: MosaicMeter, network: Architecture, seed: int) -> Annealed:
    """Start with greedy places; where these break a limit, annealing has to find a way."""
    try:
        meter.begin(_EVERYONE, network)
        start = meter.mapping
        refusal = ""
    except ValueError as error:
        start = Mapping(meter.fabric, STRATEGIES.make("greedy"), network, limits=False)
        start.begin(_EVERYONE, network)
        refusal = f"greedy places do not fit: {error}. "
    assert start is not None
    try:
        return anneal(start, seed=seed)
    except ValueError as error:
        raise ValueError(f"{refusal}{error}") from error


def _draw(plan: floorplan.Floorplan, path: Path, title: str) -> None:
    try:
        drawing.picture(plan, path, title)
    except (ImportError, OSError) as error:
        raise ValueError(f"--png {path}: {error}") from error


def _use(meter: MosaicMeter, network: Architecture) -> dict[str, Any]:
    """What a placed network uses, as plain values."""
    mapping = meter.mapping
    assert mapping is not None
    placement, present = mapping.placement, mapping.present(network)
    found = dict(zip(meter.figure_names, meter.figures(network)[0].tolist(), strict=True))
    histogram = resources.hop_histogram(placement, present)[0].tolist()
    return {
        "slots": int(present.sum()),
        "tiles": int(found["tiles_in_use"]),
        "memristors": int(found["memristors"]),
        "routing_devices": int(found["routing_devices"]),
        "provisioned_memristors": meter.spec.provisioned_memristors(),
        "minimum_chip_memristors": int(resources.minimum_chip(placement)[0]),
        "synapses_by_hops": {str(hops): count for hops, count in enumerate(histogram) if count},
        "mean_hops": found["mean_hops"],
        "routing_events": int(resources.routing_events(placement)[0]),
        "energy_J": found["energy_pj"] * 1e-12,
        "latency_s": found["latency_ns"] * 1e-9,
        "area_m2": meter.spec.provisioned_area_m2(),
        "area_is_complete": meter.spec.area_is_complete,
        "fullest_ports": _fullest_ports(placement),
    }


def _fullest_ports(placement: Placement) -> dict[str, dict[str, Any]]:
    """The link with the largest share of channels in use, for each kind of links."""
    fabric, load = placement.fabric, placement.load[0, :-1]
    kinds = {
        "into tiles": fabric.into_tile,
        "out of tiles": ~fabric.from_router,
        "between routers": fabric.from_router & ~fabric.into_tile,
    }
    fullest = {}
    for kind, links in kinds.items():
        share = np.where(links, load / fabric.capacity, -1.0)
        link = int(share.argmax())
        into_tile = bool(fabric.into_tile[link])
        cell = int((fabric.link_to if into_tile else fabric.link_from)[link])
        fullest[kind] = {
            "channels": int(load[link]),
            "capacity": int(fabric.capacity[link]),
            "cell": list(divmod(cell, fabric.shape[1])),
            "side": _SIDES[(fabric.link_side[link] + 2 * into_tile) % 4],
            "links_as_full": int((share == share[link]).sum()),
        }
    return fullest


def _lines(use: dict[str, Any], annealed: Annealed | None) -> list[str]:
    """What a network uses beside what the floorplan says, as lines of text."""
    area = "complete" if use["area_is_complete"] else "incomplete: a peripheral area is 0, that is unknown"
    hops = " ".join(f"{hops}:{count:,}" for hops, count in use["synapses_by_hops"].items())
    synapses = use["memristors"] - use["routing_devices"]
    facts = {
        "memristors": f"{use['memristors']:,} in use: {synapses:,} synapses, {use['routing_devices']:,} in routers",
        "chip": f"{use['provisioned_memristors']:,} memristors; "
        f"{use['minimum_chip_memristors']:,} on the smallest chip of this grid that would hold the network",
        "hops:synapses": f"{hops} (mean {use['mean_hops']:.2f})",
        "routing": f"{use['routing_events']:,} routing cells crossed if every neuron spikes once",
        "energy": f"{use['energy_J'] * 1e12:,.4g} pJ for one inference; rests on assumed values, see describe",
        "latency": f"{use['latency_s'] * 1e9:,.4g} ns for one inference; rests on assumed values, see describe",
        "area": f"{use['area_m2'] * 1e6:.4g} mm^2 of the chip ({area})",
    }
    facts |= {name: _port(port) for name, port in use["fullest_ports"].items()}
    if annealed is not None:
        facts["annealed"] = (
            f"routing {annealed.before:,} -> {annealed.after:,}, {annealed.excess:,} beyond limits -> 0; "
            f"{annealed.moved} groups left their tiles, which rewrites {annealed.rewritten:,} memristors"
        )
    return [f"{name:<15} {text}" for name, text in facts.items()]


def _port(port: dict[str, Any]) -> str:
    """The fullest port of a kind in words."""
    if not port["channels"]:
        return "no channel in use"
    y, x = port["cell"]
    where = f"tile ({y // 2},{x // 2})" if y % 2 and x % 2 else f"cell ({y},{x})"
    others = port["links_as_full"] - 1
    also = f", as full as {others} other{'s' * (others > 1)}" if others else ""
    return f"fullest: {port['channels']} of {port['capacity']} channels, {where}, {port['side']}{also}"


def _tiles(plan: floorplan.Floorplan) -> list[dict[str, Any]]:
    """Who stands on each tile in use."""
    cols = plan.fabric_shape[1]
    return [
        {
            "tile": list(divmod(int(tile), cols)),
            "inputs": int(plan.inputs[tile]),
            "hidden": plan.hidden[tile].sum(axis=0).tolist(),
            "outputs": plan.outputs[tile].tolist(),
        }
        for tile in np.flatnonzero(plan.occupied)
    ]


def _result(annealed: Annealed) -> dict[str, int]:
    return {name: getattr(annealed, name) for name in ("before", "after", "excess", "moved", "rewritten")}


if __name__ == "__main__":
    sys.exit(main())
