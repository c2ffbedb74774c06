from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.comparison import BEST_FIXED
from agents.report.breakdown import best_gate, breakdown, breakdown_text, protagonists, quantile_bins
from tests.agents.report.played import compared, player


def four_contexts(**more: list[float]):
    return compared(
        player("ppo", "learned", [0.5, 0.7, 0.9, 0.7], [0.7, 0.9, 0.9, 0.7]),
        player(BEST_FIXED, "schedule", [0.5, 0.5, 0.6, 0.8]),
        *(player(name, "gate", returns) for name, returns in more.items()),
    )


def test_breakdown_by_price_by_hand() -> None:
    cheap, dear = breakdown(four_contexts(), "price")  # prices 0.1, 0.2 and 0.3, 0.4: two contexts in each bin
    assert (cheap.contexts, dear.contexts) == (2, 2)
    np.testing.assert_allclose([cheap.low, cheap.high, dear.low, dear.high], [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose([cheap.returns["ppo"], cheap.returns[BEST_FIXED]], [0.7, 0.5])
    np.testing.assert_allclose([cheap.differences["ppo"].mean, dear.differences["ppo"].mean], [0.2, 0.1])
    assert set(dear.differences) == {"ppo"}
    assert dear.differences["ppo"].covers_zero


def test_equal_budgets_make_one_bin() -> None:
    (only,) = breakdown(four_contexts(), "budget")
    assert (only.low, only.high, only.contexts) == (1.0, 1.0, 4)


def test_one_context_makes_one_bin_without_ends() -> None:
    comparison = compared(player("ppo", "learned", [0.6]), player(BEST_FIXED, "schedule", [0.5]))
    (only,) = breakdown(comparison, "price")
    assert np.isnan(only.differences["ppo"].low)


def test_bins_by_hand() -> None:
    np.testing.assert_array_equal(quantile_bins(np.array([3.0, 1.0, 2.0, 4.0]), 2), [1, 0, 0, 1])
    np.testing.assert_array_equal(quantile_bins(np.array([0.0, 0.0, 0.0, 10.0, 10.0, 10.0]), 3), [0, 0, 0, 1, 1, 1])


@given(st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.9, 1.0]), min_size=1, max_size=30), st.integers(1, 7))
def test_no_bin_is_empty_and_equal_values_share_one(values: list[float], bins: int) -> None:
    place = quantile_bins(np.array(values), bins)
    assert set(place.tolist()) == set(range(int(place.max()) + 1))
    assert place.max() < bins
    assert all(len({b for v, b in zip(values, place, strict=True) if v == value}) == 1 for value in values)
    order = np.argsort(values, kind="stable")
    assert (np.diff(place[order]) >= 0).all()


def test_wrong_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="price or budget, got 'accuracy'"):
        breakdown(four_contexts(), "accuracy")
    with pytest.raises(ValueError, match="at least one bin and one value"):
        quantile_bins(np.array([1.0]), 0)
    with pytest.raises(ValueError, match="at least one bin and one value"):
        quantile_bins(np.array([]))


def test_the_best_gate_is_the_one_with_the_highest_mean() -> None:
    comparison = four_contexts(plateau=[0.1, 0.9, 0.1, 0.1], **{"loss-gate": [0.5, 0.5, 0.5, 0.5]})
    gate = best_gate(comparison)
    assert gate is not None
    assert gate.name == "loss-gate"
    assert [each.name for each in protagonists(comparison)] == ["ppo", "loss-gate", BEST_FIXED]
    assert best_gate(four_contexts()) is None


def test_a_breakdown_as_text_names_bins_and_differences() -> None:
    text = breakdown_text("price", breakdown(four_contexts(), "price"))
    assert text.splitlines()[0] == "minus best fixed, by price:"
    assert text.splitlines()[1].startswith("  0.10 to 0.20 (2 contexts)  ppo +0.200 [")
