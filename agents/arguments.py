"""Command lines from dataclasses: one field, one flag, one line of help; errors are one line and end with code 2."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


def option(default: Any, text: str, *names: str, positional: bool = False) -> Any:
    """A dataclass field that becomes a flag.

    Args:
        default: default value; its type is the flag's type. A list takes several words.
        text: one line of help.
        names: other names of the flag, for example ``"-n"``.
        positional: a list that takes the words without a flag.
    """
    metadata = {"help": text, "names": names, "positional": positional}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(f"{message} (try {self.prog} --help)")


def fail(message: object) -> NoReturn:
    """Print one line to standard error and leave with code 2."""
    print("error: " + " ".join(str(message).split()), file=sys.stderr)
    raise SystemExit(2)


def run_script(
    main: Callable[[T], int | None],
    kind: type[T],
    description: str,
    stopped: str = "stopped; the same command goes on from here",
) -> NoReturn:
    """Run a script and leave: with what `main` returns, 2 after bad input, 130 after Ctrl-C.

    Args:
        main: the job; returns the exit code, or None for 0.
        kind: a dataclass whose fields were made by `option`.
        description: what the script does.
        stopped: what is printed after Ctrl-C.
    """
    try:
        sys.exit(main(parse(kind, description)))
    except (ValueError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        print(f"\n{stopped}", file=sys.stderr)
        sys.exit(130)


def parse(kind: type[T], description: str, argv: Sequence[str] | None = None) -> T:
    """An object of the dataclass `kind` from the command line.

    Args:
        kind: a dataclass whose fields were made by `option`.
        description: what the script does.
        argv: words of the command line, those of the process if None.
    """
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = _Parser(description=description, formatter_class=formatter, allow_abbrev=False)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        _add(parser, field)
    return kind(**vars(parser.parse_args(argv)))


def _add(parser: argparse.ArgumentParser, field: dataclasses.Field[Any]) -> None:
    factory: Any = field.default_factory
    default = factory() if field.default is dataclasses.MISSING else field.default
    text = field.metadata["help"]
    if field.metadata["positional"]:
        parser.add_argument(field.name, nargs="*", default=default, help=text, metavar=field.name.upper())
        return
    flags = [*field.metadata["names"], "--" + field.name.replace("_", "-")]
    if isinstance(default, bool):
        parser.add_argument(*flags, action=argparse.BooleanOptionalAction, default=default, help=text, dest=field.name)
    elif isinstance(default, list):
        parser.add_argument(*flags, nargs="*", default=default, help=text, dest=field.name, metavar="WORD")
    else:
        kind = type(default)
        word = kind.__name__.upper()
        parser.add_argument(*flags, type=kind, default=default, help=text, dest=field.name, metavar=word)


def keyword_values(words: Sequence[str]) -> dict[str, Any]:
    """Environment options from words like ``tasks:3`` or ``hidden:[4,4]``; the value is JSON, or else a text.

    Raises:
        ValueError: a word without a colon, an empty name, or a name given twice.
    """
    values: dict[str, Any] = {}
    for word in words:
        name, colon, text = word.partition(":")
        if not colon or not name:
            raise ValueError(f"an option is written name:value, for example tasks:3; got {word!r}")
        if name in values:
            raise ValueError(f"the option {name!r} is given twice")
        try:
            values[name] = json.loads(text)
        except json.JSONDecodeError:
            values[name] = text
    return values
