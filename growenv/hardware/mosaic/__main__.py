"""Command line: ``python -m growenv.hardware.mosaic describe --preset demo``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence

from growenv.hardware.mosaic.report import figures
from growenv.hardware.mosaic.spec import PRESETS, MosaicSpec, preset


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


if __name__ == "__main__":
    sys.exit(main())
