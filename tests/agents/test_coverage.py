"""Do 95 % intervals hold the true value in 95 % of the studies, whatever varies most?

Many studies are told apart by the last axis of their tables, so that one call finds the intervals of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from agents.redrawing import band, redraw
from agents.statistics import gap_report, interquartile_mean, mean_difference, study_interval

SEEDS, CONTEXTS, INNER = 10, 50, 2
TRUTH = 0.3
# Standard deviations: of training seeds, of the policy's advantage in a context, of the two together, of inner seeds
# within a policy's episodes. What both policies share (contexts, inner seeds) is larger and must cancel.
SEED_DOMINATED = {"training": 1.0, "context": 0.2, "both": 0.1, "own": 0.1}
CONTEXT_DOMINATED = {"training": 0.05, "context": 1.0, "both": 0.1, "own": 0.1}
INNER_DOMINATED = {"training": 0.02, "context": 0.05, "both": 0.0, "own": 1.0}
INTERACTION_DOMINATED = {"training": 0.0, "context": 0.0, "both": 1.0, "own": 0.0}
MIXED = {"training": 0.3, "context": 0.6, "both": 0.3, "own": 0.5}
GROUP = 100  # studies in one call, so that the tables stay in the processor's cache

Tables = tuple[np.ndarray, np.ndarray]


def studies(generator: np.random.Generator, count: int, sizes: Mapping[str, float], seeds: int = SEEDS) -> Tables:
    """Tables (S, C, I, studies) of a policy and of a baseline, the policy better by TRUTH in the mean."""

    def noise(size: float, *shape: int) -> np.ndarray:
        return generator.normal(0.0, size, (*shape, count)) if size else np.zeros((*shape, count))

    baseline = noise(2.0, 1, CONTEXTS, 1) + noise(1.0, 1, CONTEXTS, INNER)
    policy = baseline + TRUTH + noise(sizes["own"], seeds, CONTEXTS, INNER) + noise(sizes["training"], seeds, 1, 1)
    policy += noise(sizes["context"], 1, CONTEXTS, 1) + noise(sizes["both"], seeds, CONTEXTS, 1)
    return policy, baseline + noise(sizes["own"], 1, CONTEXTS, INNER)


def difference_of_each(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`mean_difference` of every study."""
    return np.asarray(mean_difference(np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)).T)


def coverage(count: int, sizes: Mapping[str, float], contexts: str = "new", seeds: int = SEEDS) -> float:
    """Share of the studies whose interval holds the truth."""
    generator, held = np.random.Generator(np.random.Philox(1)), []
    for number in range(count // GROUP):
        redraws = redraw(studies(generator, GROUP, sizes, seeds), contexts, 400, number)
        _, low, high = band(difference_of_each, redraws, 0.95, of_means=True)
        held.append((low <= TRUTH) & (high >= TRUTH))
    return float(np.mean(held))


def test_one_call_for_many_studies_finds_their_study_intervals() -> None:
    a, b = studies(np.random.Generator(np.random.Philox(3)), 4, MIXED)
    estimate, low, high = band(difference_of_each, redraw((a, b), "new", 200, 5), 0.95, of_means=True)
    for number in range(4):
        interval = study_interval(mean_difference, (a[..., number], b[..., number]), draws=200, seed=5)
        assert (interval.mean, interval.low, interval.high) == pytest.approx(
            (estimate[number], low[number], high[number])
        )


@pytest.mark.parametrize(
    "sizes",
    [SEED_DOMINATED, CONTEXT_DOMINATED, INNER_DOMINATED, MIXED],
    ids=["training seeds", "contexts", "inner seeds", "all alike"],
)
def test_intervals_hold_the_truth(sizes: Mapping[str, float]) -> None:
    assert 0.93 <= coverage(2000, sizes) <= 0.97


def test_what_belongs_to_a_seed_in_a_context_is_not_counted_three_times() -> None:
    """Plain crossed percentiles are too wide by the root of 3 here and hold the truth in 99.8 %.

    Still too wide rather than too narrow: a variance that is found negative counts as 0.
    """
    assert 0.95 <= coverage(2000, INTERACTION_DOMINATED) <= 0.985


def test_intervals_for_these_contexts_hold_the_truth() -> None:
    # Without an advantage that depends on the context, the mean over these contexts is TRUTH itself.
    sizes = {"training": 0.2, "context": 0.0, "both": 0.0, "own": 1.0}
    assert 0.93 <= coverage(2000, sizes, contexts="these") <= 0.97


def test_intervals_of_five_training_seeds_hold_the_truth() -> None:
    assert 0.93 <= coverage(2000, SEED_DOMINATED, seeds=5) <= 0.97


def test_intervals_of_two_learned_policies_hold_the_truth() -> None:
    """Each has its own training seeds, here of unequal numbers."""
    generator, held = np.random.Generator(np.random.Philox(2)), []
    for number in range(10):
        a, baseline = studies(generator, GROUP, SEED_DOMINATED)
        b, other = studies(generator, GROUP, SEED_DOMINATED, seeds=6)
        redraws = redraw((a, b - other + baseline), "new", 300, number)
        _, low, high = band(difference_of_each, redraws, 0.95, of_means=True)
        held.append((low <= 0.0) & (high >= 0.0))
    assert 0.93 <= np.mean(held) <= 0.97


def test_intervals_of_the_interquartile_mean_hold_the_truth() -> None:
    policy, baseline = studies(np.random.Generator(np.random.Philox(4)), 400, MIXED)
    hits = 0
    for number in range(400):
        scores = (policy - baseline)[..., number]
        interval = study_interval(interquartile_mean, [scores], draws=200, seed=number)
        hits += interval.low <= TRUTH <= interval.high
    assert 0.925 <= hits / 400 <= 0.975


def test_intervals_of_the_gap_closed_hold_the_truth() -> None:
    generator = np.random.Generator(np.random.Philox(5))
    hits = 0
    for number in range(500):
        noise = generator.normal(0.0, 0.1, (2, 1, CONTEXTS, INNER))
        fixed = generator.normal(0.0, 1.0, (1, CONTEXTS, 1)) + noise[0]
        gap = 0.5 + 0.5 * generator.normal(size=(1, CONTEXTS, 1))
        closed = 0.6 + 0.15 * generator.normal(size=(SEEDS, 1, 1))
        policy = fixed + closed * gap + generator.normal(0.0, 0.1, (SEEDS, CONTEXTS, INNER))
        ratio = gap_report(policy, fixed, fixed + gap + noise[1], draws=200, seed=number).ratio
        hits += ratio is not None and ratio.low <= 0.6 <= ratio.high
    assert 0.925 <= hits / 500 <= 0.975
