"""Where each row's contexts come from: its own generator, or the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from growenv.config import GrowthConfig
from growenv.registry import unknown_name
from growenv.streams import DISTRIBUTIONS, Context, Dataset, draw_context

RESET_OPTIONS = ("contexts", "split", "indices", "inner_seeds", "reset_mask")


class ContextSource:
    """Draws contexts for N rows, each from a generator of its own.

    Args:
        config: the environment's options.
        dataset: the data set that the tasks are made of.
        rows: number of rows N.
        tasks: most tasks of a stream that the environment holds.
    """

    def __init__(self, config: GrowthConfig, dataset: Dataset, rows: int, tasks: int) -> None:
        self.config, self.dataset, self.rows, self.tasks = config, dataset, rows, tasks
        self.streams = DISTRIBUTIONS.make(config.streams)
        self.generators: list[np.random.Generator] = [seeding.np_random(None)[0] for _ in range(rows)]

    def seed(self, seed: int | Sequence[int | None] | None, rows: NDArray[np.bool_]) -> None:
        """Seed the generators of some rows: with the numbers from `seed` on, or with one seed for each row.

        Raises:
            ValueError: as many seeds as rows are needed.
        """
        if seed is None:
            return
        if isinstance(seed, int | np.integer):
            seed = [int(seed) + row for row in range(self.rows)]
        self._check_one_each("seeds", seed)
        seeds = list(seed)
        for row in np.flatnonzero(rows):
            if seeds[row] is not None:
                self.generators[row] = seeding.np_random(seeds[row])[0]

    def draw(
        self, rows: NDArray[np.bool_], current: Sequence[Context], options: Mapping[str, Any] | None = None
    ) -> list[Context]:
        """One context for each row: new ones for some rows, the current ones for the others.

        Args:
            rows: which rows get a new context, shape (N,).
            current: the rows' contexts; empty before the first reset.
            options: reset options; what they do not pin is drawn.

        Raises:
            ValueError: an unknown option, or a value that does not fit the environment.
        """
        options = options or {}
        for name in options:
            if name not in RESET_OPTIONS:
                raise unknown_name("reset option", name, RESET_OPTIONS)
        for name in ("contexts", "indices", "inner_seeds"):
            if options.get(name) is not None:
                self._check_one_each(name, options[name])
        contexts: list[Any] = list(current) or [None] * self.rows
        for row in map(int, np.flatnonzero(rows)):
            contexts[row] = self._draw_one(row, options)
        return contexts

    def _draw_one(self, row: int, options: Mapping[str, Any]) -> Context:
        # Both numbers are always drawn, so that pinning one does not move the others.
        generator = self.generators[row]
        numbers: dict[str, Any] = {"indices": int(generator.integers(0, 2**31))}
        numbers["inner_seeds"] = int(generator.integers(0, 2**63 - 1))
        for name in numbers:
            if options.get(name) is not None:
                numbers[name] = options[name][row]
        if options.get("contexts") is not None:
            return self._checked(options["contexts"][row])
        context = draw_context(
            self.streams,
            self.dataset,
            options.get("split") or self.config.split,
            numbers["indices"],
            tasks=self.config.tasks,
            budget=self.config.budget,
            price=self.config.price,
            inner_seed=numbers["inner_seeds"],
        )
        return self._checked(context)

    def _check_one_each(self, name: str, given: Any) -> None:
        if not isinstance(given, Sequence | np.ndarray) or isinstance(given, str) or np.ndim(given) == 0:
            raise ValueError(f"{name}={given!r}: expected one for each of the {self.rows} rows")
        if len(given) != self.rows:
            raise ValueError(f"{len(given)} {name} for {self.rows} rows; give one for each row")

    def _checked(self, given: Any) -> Context:
        context = given if isinstance(given, Context) else Context.from_json(given)
        context.check(self.dataset)
        if len(context.tasks) > self.tasks:
            raise ValueError(
                f"context {context.id} has {len(context.tasks)} tasks, this environment holds {self.tasks}; "
                f"make it with tasks={len(context.tasks)}, or with split='ood' for ood contexts"
            )
        return context
