"""Gymnasium spaces as JSON, both ways, for the manifest of a saved policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

LARGEST = 10_000_000  # entries of a Box: a manifest must not make the reader run out of memory


def space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """A Box, Discrete, MultiDiscrete, MultiBinary or Dict space as plain types.

    Raises:
        ValueError: another kind of space.
    """
    if isinstance(space, spaces.Dict):
        return {"type": "dict", "spaces": {key: space_to_json(part) for key, part in space.spaces.items()}}
    if isinstance(space, spaces.Box):
        bounds = {"low": _bound_to_json(space.low), "high": _bound_to_json(space.high)}
        return {"type": "box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds}
    if isinstance(space, spaces.Discrete):
        return {"type": "discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return {"type": "multi-discrete", "nvec": space.nvec.tolist()}
    if isinstance(space, spaces.MultiBinary) and isinstance(space.n, int):
        return {"type": "multi-binary", "n": space.n}
    raise ValueError(
        f"policies for a {type(space).__name__} space cannot be saved; use Box, Discrete or a Dict of these"
    )


def space_from_json(data: Any) -> spaces.Space[Any]:
    """The space that `space_to_json` wrote.

    Raises:
        ValueError: the data does not describe a space.
    """
    try:
        return _from_json(data)
    except (KeyError, TypeError, AssertionError, AttributeError, OverflowError) as error:
        raise ValueError(f"the description of a space is damaged ({type(error).__name__}: {error})") from None


def _from_json(data: Mapping[str, Any]) -> spaces.Space[Any]:
    kind = data["type"]
    if kind == "dict":
        return spaces.Dict({str(key): _from_json(part) for key, part in data["spaces"].items()})
    if kind == "box":
        shape, dtype = tuple(int(size) for size in data["shape"]), np.dtype(str(data["dtype"]))
        if dtype.kind not in "fiub" or min(shape, default=1) < 0 or int(np.prod(shape)) > LARGEST:
            raise ValueError(f"a Box of shape {shape} and type {dtype} is not supported")
        low, high = (_bound_from_json(data[side], shape, dtype, side) for side in ("low", "high"))
        return spaces.Box(low, high, shape, dtype.type)
    if kind == "discrete":
        return spaces.Discrete(int(data["n"]), start=int(data["start"]))
    if kind == "multi-discrete":
        return spaces.MultiDiscrete([int(count) for count in data["nvec"]])
    if kind == "multi-binary":
        return spaces.MultiBinary(int(data["n"]))
    raise ValueError(f"unknown kind of space {kind!r}; known: box, dict, discrete, multi-binary, multi-discrete")


def _bound_to_json(bound: NDArray[Any]) -> Any:
    """One number where all entries are equal, else a flat list; null stands for infinity, which JSON lacks."""
    values = [float(value) if np.isfinite(value) else None for value in bound.flatten()]
    return values[0] if values and all(value == values[0] for value in values) else values


def _bound_from_json(bound: Any, shape: tuple[int, ...], dtype: np.dtype[Any], side: str) -> NDArray[Any]:
    infinity = -np.inf if side == "low" else np.inf
    values = [bound] if not isinstance(bound, list) else bound
    array = np.array([infinity if value is None else float(value) for value in values], dtype=np.float64)
    full = np.broadcast_to(array, shape) if array.size == 1 else array.reshape(shape)
    return full.astype(dtype)
