"""Variance components of paths x trials, for all paths of a lattice from a stratified sample of them.

The model is y[p, t] = mean + path[p] + trial[t] + interaction[p, t]. Every path is trained once in every trial, so what
is not path or trial is one component: interaction and chance together. Paths are a sample without replacement within
strata; trials are a sample of few inner seeds. Both are uncertain, and an interval here speaks of other paths and of
other trials.

Trials are not replaced by more paths: an interaction that similar paths share (one trial favours an early first layer)
looks like an effect of paths, and 200 paths do not average it out. So the number of independent directions in which
trials disagree about paths is estimated (Box 1954) and used as degrees of freedom.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import f as fisher  # type: ignore[import-untyped]
from scipy.stats import t as student

Array = NDArray[np.float64]
LEVEL = 0.95
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
DRAWS = 20_000
CAUTION = 1.5
"""One standard error above the estimate of how much paths share their interactions, for 5 trials: with fewer degrees of
freedom a test says too seldom that order matters, with more of them too often."""
MOST_FREEDOM = 1e9
"""Degrees of freedom that stand for certainty."""
COMPONENTS = ("path", "interaction", "trial")


@dataclass(frozen=True)
class Sample:
    """Which paths were drawn, and from how many.

    A stratum of which fewer than two paths were drawn is joined to its neighbour, because one path says nothing about
    the spread; the two together count as one stratum.

    Args:
        stratum: stratum of each drawn path, integers (P,).
        sizes: number of all paths in each stratum, (H,).

    Raises:
        ValueError: strata that do not exist, fewer than two paths, or more drawn than there are.
    """

    stratum: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def __post_init__(self) -> None:
        stratum, sizes = np.asarray(self.stratum, dtype=np.int64), np.asarray(self.sizes, dtype=np.int64)
        if len(stratum) < 2 or stratum.min() < 0 or stratum.max() >= len(sizes):
            raise ValueError(
                f"{len(stratum)} paths in strata {np.unique(stratum)}: expected at least 2 of {len(sizes)}"
            )
        drawn = np.bincount(stratum, minlength=len(sizes))
        if (drawn > sizes).any():
            raise ValueError(f"drawn paths {drawn.tolist()} of each stratum: expected at most {sizes.tolist()}")
        stratum, sizes = _joined(stratum, sizes)
        object.__setattr__(self, "stratum", stratum)
        object.__setattr__(self, "sizes", sizes)

    @cached_property
    def drawn(self) -> NDArray[np.int64]:
        """Paths drawn from each stratum, (H,)."""
        return np.bincount(self.stratum, minlength=len(self.sizes))

    @cached_property
    def shares(self) -> Array:
        """Share of all paths that lie in each stratum, (H,)."""
        shares: Array = self.sizes / self.sizes.sum()
        return shares

    @cached_property
    def weights(self) -> Array:
        """Share of all paths that each drawn path stands for, (P,); they sum to 1."""
        each: Array = (self.shares / self.drawn)[self.stratum]
        return each

    @cached_property
    def effective(self) -> float:
        """Number of equally weighted paths that would tell as much (Kish 1965)."""
        return float(1 / (self.weights**2).sum())

    def mean(self, values: ArrayLike) -> Array:
        """Mean over all paths of values of the drawn ones, (P, ...) -> (...)."""
        mean: Array = np.einsum("p,p...->...", self.weights, np.asarray(values, dtype=np.float64))
        return mean

    def _within(self, values: Array) -> tuple[Array, Array]:
        """Means (H, K) and covariances (H, K, K) of values (P, K) within strata."""
        means, spread = [], []
        for stratum, drawn in enumerate(self.drawn):
            own = values[self.stratum == stratum]
            means.append(own.mean(axis=0))
            spread.append((own - means[-1]).T @ (own - means[-1]) / max(drawn - 1, 1))
        return np.stack(means), np.stack(spread)

    def error(self, values: Array) -> Array:
        """Covariance of the estimated means of values (P, K) that comes from drawing paths, (K, K).

        Source: Cochran 1977, Sampling Techniques, 5.3.
        """
        left = 1 - self.drawn / self.sizes
        return np.tensordot(self.shares**2 * left / self.drawn, self._within(values)[1], axes=1)

    def covariance(self, values: Array) -> Array:
        """Unbiased covariance over all paths of values (P, K) of the drawn ones, (K, K).

        Covariances within strata plus those of the strata's means, less what the means' own errors add to the latter.
        """
        means, within = self._within(values)
        apart = means - self.shares @ means
        between = (apart.T * self.shares) @ apart
        left = 1 - self.drawn / self.sizes
        added = self.shares * (1 - self.shares) * left / self.drawn
        inside = np.tensordot(self.shares * (1 - 1 / self.sizes) - added, within, axes=1)
        return np.asarray(inside + between, dtype=np.float64)


def _joined(stratum: NDArray[np.int64], sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Strata without fewer than two drawn paths, save where all of a stratum was drawn."""
    groups = [[number] for number in range(len(sizes)) if sizes[number]]
    drawn = np.bincount(stratum, minlength=len(sizes))

    def poor(group: list[int]) -> bool:
        return bool(drawn[group].sum() < min(2, sizes[group].sum()))

    while len(groups) > 1 and any(map(poor, groups)):
        place = next(number for number, group in enumerate(groups) if poor(group))
        # towards the middle, where strata are larger: what joins adds little to a large stratum
        other = place + 1 if place < len(groups) / 2 else place - 1
        groups[min(place, other)] += groups.pop(max(place, other))
    new = np.zeros(len(sizes), dtype=np.int64)
    for number, group in enumerate(groups):
        new[group] = number
    return new[stratum], np.array([sizes[group].sum() for group in groups], dtype=np.int64)


@dataclass(frozen=True)
class Estimate:
    """An estimate with its 95 % interval, and the probability of one so far from 0 by chance where it was tested."""

    mean: float
    low: float
    high: float
    p: float | None = None

    def to_json(self) -> dict[str, float]:
        """The estimate as plain types."""
        return {name: float(value) for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Components:
    """Variance components over all paths.

    Attributes:
        variance: unbiased estimates of path, interaction and trial; sampling may make them negative.
        p: probability of a path effect as large as the estimate if there is none.
        directions: independent directions in which trials disagree about paths.
        draws: what the data say of each component, as equally likely values (DRAWS, 3), never negative.
    """

    variance: dict[str, float]
    p: float
    directions: float
    draws: Array

    def sd(self, component: str) -> Estimate:
        """Standard deviation of a component, in the unit of the values."""
        drawn = np.sqrt(self.draws[:, COMPONENTS.index(component)])
        return around(max(self.variance[component], 0.0) ** 0.5, drawn)

    def share(self, component: str) -> Estimate:
        """Share of a component in the variance of a single training."""
        positive = np.maximum([self.variance[name] for name in COMPONENTS], 0.0)
        number, whole = COMPONENTS.index(component), self.draws.sum(axis=1)
        drawn = self.draws[:, number] / np.where(whole > 0, whole, 1.0)
        return around(float(positive[number] / (positive.sum() or 1.0)), drawn)


def around(mean: float, drawn: Array) -> Estimate:
    """An estimate with the interval of equally likely values; the estimate is never outside."""
    low, high = np.quantile(drawn, TAILS)
    return Estimate(mean, min(float(low), mean), max(float(high), mean))


def components(sample: Sample, values: Array, draws: int = DRAWS, seed: int = 0) -> Components:
    """Variance components of values (P, trials), trials at least 3.

    The variance of paths is what two different trials agree on: the mean covariance over all paths between trials. Its
    test is the F test of the path means against the interaction, with degrees of freedom corrected for interactions
    that paths share (Box 1954). Intervals are generalised (Weerahandi 1993; Hannig, Iyer and Patterson 2006): each mean
    square is taken as a scaled chi-square whose degrees of freedom match its variance (Satterthwaite 1946). They assume
    normal trials; for paths, fourth moments are measured.

    Raises:
        ValueError: values that do not fit the sample, fewer than 3 trials, or one that is not finite.
    """
    trials = values.shape[1] if values.ndim == 2 else 0
    if trials < 3 or len(values) != len(sample.stratum) or not np.isfinite(values).all():
        raise ValueError(
            f"values of shape {values.shape}: expected finite numbers for {len(sample.stratum)} paths in >= 3 trials"
        )
    both = sample.covariance(values)
    same, path = float(np.trace(both)) / trials, off_diagonal(both)
    interaction = max(same - path, 0.0)
    means = values.mean(axis=1)
    observed, noise = float(both.sum()) / trials**2, interaction / trials
    directions = _directions(both, sample.effective - 1)
    p = float(fisher.sf(observed / noise, directions, directions * (trials - 1))) if noise else float(path <= 0)
    uncertain = max(_uncertainty(sample, means, both), 2 * observed**2 / MOST_FREEDOM)
    certainty = max(1.0, 2 * observed**2 / uncertain) if observed > 0 else directions
    by_trial = sample.mean(values)
    apart = float(by_trial.var(ddof=1))
    moved = disagreement(sample.error(values))
    generator = np.random.default_rng(seed)
    drawn_mean = max(observed, 0.0) * certainty / generator.chisquare(certainty, draws)
    drawn_noise = noise * directions * (trials - 1) / generator.chisquare(directions * (trials - 1), draws)
    drawn_trial = apart * (trials - 1) / generator.chisquare(trials - 1, draws) - moved
    drawn = np.stack([drawn_mean - drawn_noise, trials * drawn_noise, drawn_trial], axis=1)
    variance = {"path": path, "interaction": same - path, "trial": apart - moved}
    return Components(variance, p, directions, np.maximum(drawn, 0.0))


def off_diagonal(matrix: Array) -> float:
    """Mean of a square matrix off its diagonal."""
    count = len(matrix)
    return float((matrix.sum() - np.trace(matrix)) / (count * (count - 1)))


def disagreement(matrix: Array) -> float:
    """Variance between trials in a covariance of trials: the mean of all contrasts."""
    return float(np.trace(matrix)) / len(matrix) - off_diagonal(matrix)


def contrasts(trials: int) -> Array:
    """Orthonormal differences between trials, (trials, trials - 1): what is left without their mean."""
    basis, _ = np.linalg.qr(np.column_stack([np.ones(trials), np.eye(trials)[:, 1:]]))
    return np.asarray(basis[:, 1:], dtype=np.float64)


def _directions(both: Array, most: float) -> float:
    """tr(S)^2 / tr(S^2) of the covariance S of interactions, from the inner products of trials; from 1 to `most`.

    Source: Bai and Saranadasa 1996, for the unbiased estimates of both traces.
    """
    basis = contrasts(len(both))
    inner, free = basis.T @ both @ basis, len(both) - 1
    trace = float(np.trace(inner)) / free
    square = free**2 / ((free - 1) * (free + 2)) * (float((inner**2).sum()) / free**2 - trace**2 / free)
    return float(np.clip((trace**2 - 2 * square / free) / (square * CAUTION), 1.0, most)) if square > 0 else most


def _uncertainty(sample: Sample, means: Array, both: Array) -> float:
    """Variance of the observed variance of path means (P,), from drawing paths and from drawing trials.

    The part that both see, independent noise of cells, is counted once (Cameron, Gelbach and Miller 2011).
    """
    trials = len(both)
    paths = float(sample.error(((means - sample.mean(means)) ** 2)[:, None])[0, 0])
    without = [off_diagonal(np.delete(np.delete(both, trial, 0), trial, 1)) for trial in range(trials)]
    jackknife = (trials - 1) / trials * float(((np.array(without) - np.mean(without)) ** 2).sum())
    path, noise = max(off_diagonal(both), 0.0), max(disagreement(both), 0.0)
    twice = (4 * path * noise / trials + 2 * noise**2 / (trials * (trials - 1))) / sample.effective
    few = float(student.ppf(TAILS[1], trials - 1) / student.ppf(TAILS[1], np.inf)) ** 2
    return paths + few * max(jackknife - twice, 0.0)
