"""The one way in which a check fails, and what every part must leave alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def require(holds: Any, sentence: str) -> None:
    """Fail with a sentence where something does not hold; unlike `assert`, also under ``python -O``.

    Raises:
        AssertionError: it does not hold.
    """
    if not holds:
        raise AssertionError(sentence)


@contextmanager
def own_randomness(part: str) -> Iterator[None]:
    """Fail where a part draws from, or seeds, the global generators of Python, NumPy or torch.

    Raises:
        AssertionError: a global generator changed meanwhile.
    """
    before = _generators()
    yield
    for library, old, new in zip(("random", "numpy.random", "torch"), before, _generators(), strict=True):
        require(
            old == new,
            f"{part} uses the global generator of {library}, so results depend on everything else that does; "
            "draw from the generator or the seeds that it is given",
        )


def _generators() -> tuple[object, ...]:
    _, keys, *rest = np.random.get_state(legacy=True)
    return random.getstate(), (np.asarray(keys).tobytes(), *rest), torch.get_rng_state().numpy().tobytes()
