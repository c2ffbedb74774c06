"""Parts by name: data sets, stream distributions, protections, operators, meters, policies."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class UnknownNameError(ValueError):
    """A name that nothing was registered under."""


def unknown_name(kind: str, given: object, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not known, with the nearest name that is.

    Args:
        kind: what the name should name, for example ``"growth operator"``.
        given: the name as it was given.
        known: the names that exist.
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return UnknownNameError(f"unknown {kind} {given!r}{hint} known: {', '.join(names) or 'none'}")


class Registry(Generic[T]):
    """Factories by name for one kind of part.

    A part is plugged in by name (``registry.register("mine", factory)``) or by object: `make` hands anything that is
    not a string back unchanged.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._factories: dict[str, Callable[..., T]] = {}

    def register(self, name: str, factory: Callable[..., T] | None = None) -> Any:
        """Register `factory` under `name`; without a factory, a decorator that does.

        Raises:
            ValueError: the name is empty or taken by another factory.
        """
        if factory is None:
            return lambda given: self.register(name, given)
        if not name or not isinstance(name, str):
            raise ValueError(f"a {self.kind} needs a non-empty name, got {name!r}")
        if self._factories.get(name, factory) is not factory:
            raise ValueError(f"the {self.kind} name {name!r} is taken; choose another name")
        self._factories[name] = factory
        return factory

    def names(self) -> tuple[str, ...]:
        """The known names, sorted."""
        return tuple(sorted(self._factories))

    def make(self, part: str | T, *arguments: Any, **options: Any) -> T:
        """The part called `part`, built with the given arguments; a part that is no string is returned as it is.

        Raises:
            UnknownNameError: no such name; the message holds the nearest known one.
        """
        if not isinstance(part, str):
            return part
        if part not in self._factories:
            raise unknown_name(self.kind, part, self._factories)
        return self._factories[part](*arguments, **options)
