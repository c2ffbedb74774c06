"""Growth-path problems as experiments make them, but small: what their tests train."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from growenv.paths import PathProblem

TINY: dict[str, Any] = {"minibatches": 10, "batch_size": 16, "validation_samples": 50, "test_samples": 60}


def tiny(about: PathProblem, steps: tuple[int, ...], waits: int = 0) -> PathProblem:
    """The same on digits, with few steps of two neurons and few samples."""
    config, count = about.config, sum(steps) + waits
    hidden = (3,) * len(steps)
    most = tuple(3 + 2 * step for step in steps)
    given = {"hidden": hidden, "max_hidden": most, "amounts": (2,), "decisions": count, "input_pool": None, **TINY}
    return PathProblem(replace(config, dataset="digits", **given), steps, waits, about.trials)
