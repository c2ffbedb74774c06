"""Checks of single fields that come from a user or from JSON; every message names the field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any


def checked_integer(name: str, value: Any, low: int, high: int) -> int:
    """`value` as an int with low <= value < high.

    Raises:
        ValueError: it is no integer, or out of range.
    """
    if type(value) is int:  # the usual case; the checks below are slow
        number = value
    elif isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{name} is {value!r}, expected an integer")
    else:
        number = int(value)
    if not low <= number < high:
        raise ValueError(f"{name} is {number}, expected {low} <= {name} < {high}")
    return number


def checked_number(name: str, value: Any) -> float:
    """`value` as a finite float.

    Raises:
        ValueError: it is no number, NaN or infinite.
    """
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    except OverflowError:  # an integer beyond the largest float
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} is {value!r}, expected a finite number")
    return number


def checked_keys(what: str, data: Any, fields: Sequence[str]) -> None:
    """Check that a mapping has these fields and no others.

    Raises:
        ValueError: it is no mapping, or a field is unknown or missing.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"a {what} is {data!r}, expected a JSON object with the fields {', '.join(fields)}")
    unknown = [str(key) for key in data if key not in fields]
    missing = [field for field in fields if field not in data]
    if unknown or missing:
        found = f"unknown: {', '.join(unknown) or 'none'}, missing: {', '.join(missing) or 'none'}"
        raise ValueError(f"a {what} has wrong fields ({found}), expected: {', '.join(fields)}")
