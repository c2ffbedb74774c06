"""The paired hierarchical bootstrap behind `agents.statistics.study_interval`: what is redrawn, and how far ends reach.

Training seeds, one set for each table that has several, are crossed with cells: the contexts, or the inner seeds within
the contexts. Everything is drawn before anything is computed, so the result does not depend on the size of the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from growenv.registry import unknown_name

Statistic = Callable[..., Any]
"""Takes tables of shape (..., S_k, C), or (..., S_k, C, F), and returns shape (...), or (..., T)."""

NEW, THESE = "new", "these"
_BLOCK = 1_000_000  # scores redrawn at once, so that many draws do not need much memory


@dataclass(frozen=True)
class Redraws:
    """The draws of one study, the same for every statistic of tables of the same shapes.

    Attributes:
        tables: scores, each of shape (S_k, C, I) or (S_k, C, I, F).
        seeds: by the number of each table with several training seeds, the drawn ones, shape (draws, S_k).
        cells: drawn contexts, shape (draws, C), or drawn inner seeds of each context, shape (draws, C, I); None if
            there is but one inner seed.
        contexts: ``new`` or ``these``.
        draws: bootstrap samples.
    """

    tables: tuple[NDArray[np.float64], ...]
    seeds: dict[int, NDArray[np.intp]]
    cells: NDArray[np.intp] | None
    contexts: str
    draws: int

    @property
    def freedom(self) -> tuple[float, float]:
        """Factor that makes the variance from redrawing cells unbiased, and its degrees of freedom."""
        _, contexts, inner = self.tables[0].shape[:3]
        if self.contexts == NEW:
            return contexts / (contexts - 1), contexts - 1
        return inner / (inner - 1), contexts * (inner - 1)

    def replicates(
        self, statistic: Statistic, seeds: Sequence[int], cells: bool, of_means: bool
    ) -> NDArray[np.float64]:
        """The statistic of every draw, shape (draws,) or (draws, T).

        Args:
            statistic: as in `agents.statistics.study_interval`.
            seeds: the tables whose training seeds are redrawn; the others keep theirs.
            cells: whether cells are redrawn.
            of_means: whether the statistic needs only the tables' means.
        """
        size = sum(table.size for table in self.tables)
        if of_means:
            size = max(2 if self.cells is None else self.cells[0].size, *map(_size_of_a_mean, self.tables))
        block = max(1, _BLOCK // size)
        found = []
        for begun in range(0, self.draws, block):
            part = slice(begun, begun + block)
            redraw = self._means if of_means else self._tables
            values = np.asarray(statistic(*redraw(part, seeds, cells)), dtype=np.float64)
            # A statistic that takes no notice of what is redrawn returns one value for all draws.
            found.append(np.broadcast_to(values, (min(block, self.draws - begun), *values.shape[1:])))
        return np.concatenate(found)

    def _tables(self, part: slice, seeds: Sequence[int], cells: bool) -> Iterator[NDArray[np.float64]]:
        """The redrawn tables of some draws, inner seeds averaged."""
        for number, table in enumerate(self.tables):
            row = self.seeds[number][part] if number in seeds else np.arange(len(table))[None]
            if self.cells is None or not cells:
                yield table.mean(axis=2)[row]
            elif self.contexts == NEW:
                yield table.mean(axis=2)[row[:, :, None], self.cells[part, None]]
            else:
                context = np.arange(table.shape[1])[:, None]
                yield table[row[:, :, None, None], context, self.cells[part, None]].mean(axis=3)

    def _means(self, part: slice, seeds: Sequence[int], cells: bool) -> Iterator[NDArray[np.float64]]:
        """The means of the same tables, as tables of one seed and one context, from how often each score is drawn."""
        weights = self._cell_weights(part) if self.cells is not None and cells else None
        for number, table in enumerate(self.tables):
            flat = table if self.contexts == THESE else table.mean(axis=2)
            flat = flat.reshape(len(table), -1, *table.shape[3:])
            by_seed = flat.mean(axis=0)[None]
            if number in seeds:
                share = _counts(self.seeds[number][part], len(table)) / len(table)
                by_seed = np.tensordot(share, flat if weights is not None else flat.mean(axis=1, keepdims=True), axes=1)
            means = by_seed.mean(axis=1) if weights is None else np.einsum("du,du...->d...", weights, by_seed)
            yield np.asarray(means[:, None, None])

    def _cell_weights(self, part: slice) -> NDArray[np.float64]:
        """Weight of each context, shape (D, C), or of each inner seed of each context, shape (D, C * I)."""
        assert self.cells is not None
        drawn = self.cells[part]
        if self.contexts == THESE:
            inner = drawn.shape[2]
            drawn = (drawn + inner * np.arange(drawn.shape[1])[:, None]).reshape(len(drawn), -1)
        return np.asarray(_counts(drawn, drawn.shape[1]) / drawn.shape[1])


def _size_of_a_mean(table: NDArray[np.float64]) -> int:
    """Numbers held at once while the mean of one draw of a table is found."""
    return int(table[0].size if len(table) > 1 else table.shape[1])


def _counts(drawn: NDArray[np.intp], choices: int) -> NDArray[np.float64]:
    """How often each choice occurs in each row, shape (rows, choices)."""
    rows = len(drawn)
    cells = drawn + choices * np.arange(rows)[:, None]
    return np.bincount(cells.ravel(), minlength=rows * choices).reshape(rows, choices).astype(np.float64)


def redraw(tables: Sequence[ArrayLike], contexts: str, draws: int, seed: int) -> Redraws:
    """Draw everything that a study needs; arguments and errors as in `agents.statistics.study_interval`."""
    arrays = tuple(np.asarray(table, dtype=np.float64) for table in tables)
    shapes = [array.shape for array in arrays]
    if contexts not in (NEW, THESE):
        raise unknown_name("contexts", contexts, (NEW, THESE))
    if draws < 2:
        raise ValueError(f"at least 2 draws are needed, got {draws}")
    if not shapes or any(len(shape) not in (3, 4) or 0 in shape for shape in shapes):
        raise ValueError(f"tables of training seeds x contexts x inner seeds are needed, got shapes {shapes}")
    if len({shape[1:3] for shape in shapes}) > 1:
        raise ValueError(f"paired tables need the same contexts and inner seeds, got shapes {shapes}")
    if not all(np.all(np.isfinite(array)) for array in arrays):
        raise ValueError(f"scores must be finite; tables of shapes {shapes} hold NaN or infinite ones")
    generator = np.random.Generator(np.random.Philox(seed))
    _, count, inner = shapes[0][:3]
    # Cells first: players compared in separate calls then meet the same contexts in the same draws.
    size, choices = ((draws, count), count) if contexts == NEW else ((draws, count, inner), inner)
    cells = generator.integers(0, choices, size) if choices > 1 else None
    several = {number: len(array) for number, array in enumerate(arrays) if len(array) > 1}
    seeds = {number: generator.integers(0, length, (draws, length)) for number, length in several.items()}
    return Redraws(arrays, seeds, cells, contexts, draws)


def band(
    statistic: Statistic, redraws: Redraws, level: float, of_means: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Estimate and ends of the stretched percentile interval, each of shape () or (T,).

    Args:
        statistic: as in `agents.statistics.study_interval`, which says how the ends are found.
        redraws: the draws.
        level: level of the interval.
        of_means: whether the statistic needs only the tables' means.

    Raises:
        ValueError: a level outside (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")
    estimate = np.asarray(statistic(*(table.mean(axis=2) for table in redraws.tables)), dtype=np.float64)
    unknown = np.full_like(estimate, np.nan)
    if redraws.cells is None and (redraws.contexts == NEW or not redraws.seeds):
        return estimate, unknown, unknown
    whole = redraws.replicates(statistic, tuple(redraws.seeds), redraws.cells is not None, of_means)
    stretch = _stretch(statistic, redraws, whole, level, of_means)
    undefined = ~np.isfinite(whole)
    tail = 50.0 * (1.0 - level)
    with np.errstate(invalid="ignore"):
        low = np.percentile(np.where(undefined, -np.inf, whole), tail, axis=0)
        high = np.percentile(np.where(undefined, np.inf, whole), 100.0 - tail, axis=0)
        low, high = (estimate + stretch * (end - estimate) for end in (low, high))
    return estimate, np.where(np.isfinite(low), low, np.nan), np.where(np.isfinite(high), high, np.nan)


def _stretch(
    statistic: Statistic, redraws: Redraws, whole: NDArray[np.float64], level: float, of_means: bool
) -> NDArray[np.float64]:
    """Factor by which the ends are moved away from the estimate, shape () or (T,)."""
    terms: list[NDArray[np.float64]] = []
    freedom: list[float] = []
    pairs: list[NDArray[np.float64]] = []
    pair_freedom: list[float] = []
    by_cell, factor, cell_freedom = None, 1.0, 0.0
    if redraws.cells is not None:
        factor, cell_freedom = redraws.freedom
        by_cell = whole if not redraws.seeds else redraws.replicates(statistic, (), True, of_means)
        terms.append(factor * _variance(by_cell))
        freedom.append(cell_freedom)
    for number, drawn in redraws.seeds.items():
        seeds = drawn.shape[1]
        alone = len(redraws.seeds) == 1
        by_seed = whole if alone and by_cell is None else redraws.replicates(statistic, (number,), False, of_means)
        terms.append(seeds / (seeds - 1) * _variance(by_seed))
        freedom.append(seeds - 1)
        if by_cell is not None:
            both = whole if alone else redraws.replicates(statistic, (number,), True, of_means)
            pairs.append(-factor * seeds / (seeds - 1) * _variance(both - by_seed - by_cell))
            pair_freedom.append((seeds - 1) * cell_freedom)
    plain = _variance(whole)
    known = plain > 0.0
    spread = np.maximum(np.sum(terms + pairs, axis=0), np.max(terms, axis=0))
    certainty = sum(term**2 / count for term, count in zip(terms + pairs, freedom + pair_freedom, strict=True))
    count = np.where(known, spread, 1.0) ** 2 / np.where(known, certainty, 1.0)
    quantile = student_quantile(level, np.clip(count, min(freedom), None))
    ratio = np.sqrt(np.where(known, spread, 1.0) / np.where(known, plain, 1.0))
    stretch: NDArray[np.float64] = np.where(known, ratio * quantile / NormalDist().inv_cdf(0.5 + level / 2), 1.0)
    return stretch


def _variance(replicates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance over the draws in which the statistic is defined, 0 if there are none; shape () or (T,)."""
    defined = np.isfinite(replicates)
    count = np.maximum(defined.sum(axis=0), 1)
    values = np.where(defined, replicates, 0.0)
    centred = np.where(defined, values - values.sum(axis=0) / count, 0.0)
    return np.asarray((centred**2).sum(axis=0) / count)


def student_quantile(level: float, freedom: ArrayLike) -> NDArray[np.float64]:
    """Number that |t| of Student's distribution exceeds with probability 1 - level, shape as `freedom`.

    With ``t = sqrt(n) tan(x)`` the density of x is proportional to ``cos(x)^(n - 1)``, which a grid integrates.

    Args:
        level: in (0, 1).
        freedom: degrees of freedom, at least 1; above 10,000 they count as 10,000.
    """
    counts = np.minimum(np.asarray(freedom, dtype=np.float64), 1e4)
    grid = np.linspace(0.0, np.pi / 2, 4_001)
    cosine = np.clip(np.cos(grid), 0.0, None)
    found = []
    for count in counts.ravel():
        density = cosine ** (count - 1)
        area = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
        # Only the rising part is inverted: past it the area no longer grows in floating point.
        found.append(np.sqrt(count) * np.tan(np.interp(level * area[-1], area, grid)))
    return np.array(found).reshape(counts.shape)
