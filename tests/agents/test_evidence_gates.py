"""Gates that read what signals say of the network."""

from __future__ import annotations

from typing import Any

import pytest

from agents.policy import PolicySpec
from tests.agents.scripted import interface, play

RANKS = interface(("rank_0", "rank_1", "weight_rank_0", "weight_rank_1"))
GRADIENTS = interface(("grad_excess_0", "grad_excess_1"))
SENN = interface(("senn_ratio_0", "senn_ratio_1", "senn_gain_0", "senn_gain_1"))
NORACL = interface(("saturation_0", "saturation_1", "plasticity_0", "plasticity_1"))


def squash(value: float) -> float:
    return value / (1.0 + value)


def ranks(widths: tuple[int, int], shares: tuple[float, float], name: str = "rank") -> dict[str, float]:
    """Layers of these widths, all of whose neurons belong to the present task, and their rank shares."""
    shown = {}
    for layer, (width, share) in enumerate(zip(widths, shares, strict=True)):
        shown |= {f"width_{layer}": width / 64, f"grown_{layer}": width / 64, f"{name}_{layer}": share}
    return shown


@pytest.mark.parametrize(("policy", "name"), [("north-act", "rank"), ("north-weight", "weight_rank")])
def test_north_grows_by_the_neurons_that_are_missing(policy: str, name: str) -> None:
    spec = PolicySpec(policy, {"gamma": 0.5})
    begins = ranks((20, 20), (0.5, 1.0), name)  # layer 0: 20 (0.5 - 0.25) = 5, layer 1: 20 (1 - 0.5) = 10
    later = ranks((20, 36), (0.9, 0.5), name)  # layer 0: 20 (0.9 - 0.25) = 13, layer 1: none
    none = ranks((20, 36), (0.25, 0.5), name)
    few = ranks((20, 36), (0.29, 0.5), name)  # 20 (0.29 - 0.25) = 0.8, which is none
    assert play(spec, RANKS, [begins, later, none, few]) == [3, 2, 0, 0]


def test_north_takes_its_reference_at_the_start_of_every_task() -> None:
    spec = PolicySpec("north-act", {"gamma": 1.0})
    script = [ranks((32, 32), (0.25, 0.25)), *[ranks((32, 32), (0.5, 0.25))] * 7]
    # 32 (0.5 - 0.25) = 8 neurons are missing, until the next task begins at the rank of 0.5.
    assert play(spec, RANKS, script) == [0, 1, 1, 1, 1, 1, 0, 0]


def test_north_with_the_published_constant_by_hand() -> None:
    script = [ranks((36, 4), (1.0, 1.0)), ranks((33, 4), (1.0, 1.0))]
    # floor(36 x 0.03) = 1 neuron is missing, so the smallest amount is the nearest; floor(33 x 0.03) = 0.
    assert play(PolicySpec("north-act"), RANKS, script) == [1, 0]


def test_north_counts_whole_neurons_though_observations_are_rounded() -> None:
    script = [ranks((10, 10), (0.7, 0.0)), ranks((10, 10), (0.8, 0.0))]
    assert play(PolicySpec("north-act", {"gamma": 1.0}), RANKS, script) == [0, 1]  # 10 x (0.8 - 0.7) is one


def weights(grown: tuple[int, int], shares: tuple[float, float]) -> dict[str, float]:
    """Layers of 40 neurons, some of the present task, and the rank shares of the weights that train."""
    new = {f"grown_{layer}": count / 64 for layer, count in enumerate(grown)}
    return {"width_0": 40 / 64, "width_1": 40 / 64, **new, "weight_rank_0": shares[0], "weight_rank_1": shares[1]}


def test_north_weight_starts_from_a_small_layer_where_nothing_trains() -> None:
    script = [
        weights((0, 0), (0.0, 0.0)),  # a new task under freezing: both layers need a first amount
        weights((4, 0), (0.5, 0.0)),  # the initial share of layer 0 is 0.5: 4 (0.5 - 0.25) = 1 missing; so has layer 1
        weights((4, 4), (0.25, 1.0)),  # layer 1: 4 (1 - 0.5) = 2
        weights((4, 8), (0.25, 0.5)),
    ]
    assert play(PolicySpec("north-weight", {"gamma": 0.5}), RANKS, script) == [1, 1, 3, 0]
    assert play(PolicySpec("north-weight", {"gamma": 0.5, "seed": False}), RANKS, script) == [0, 1, 3, 0]


def test_north_weight_counts_the_neurons_that_train() -> None:
    frozen = [weights((4, 4), (1.0, 0.0)), weights((4, 4), (1.0, 0.0))]  # 4 x 0.5 neurons of layer 0 are missing
    shared = [weights((0, 0), (1.0, 0.0)), weights((4, 4), (1.0, 0.0))]  # old ones train as well: 40 x 0.5
    assert play(PolicySpec("north-weight", {"gamma": 0.5}), RANKS, frozen) == [1, 1]
    assert play(PolicySpec("north-weight", {"gamma": 0.5}), RANKS, shared) == [2, 2]


def test_north_gradient_grows_the_layer_that_exceeds_the_threshold_most() -> None:
    script = [{"grad_excess_0": squash(a), "grad_excess_1": squash(b)} for a, b in [(0.9, 0.5), (1.1, 1.5), (3.0, 1.5)]]
    assert play(PolicySpec("north-grad"), GRADIENTS, script) == [0, 3, 1]
    assert play(PolicySpec("north-grad", {"factor": 2.0, "amount": 16}), GRADIENTS, script) == [0, 0, 2]
    assert play(PolicySpec("north-grad"), GRADIENTS, [{"grad_excess_1": 1.0}]) == [3]  # no threshold at all


def senn(*ratios_and_gains: float) -> dict[str, float]:
    names = ("senn_ratio_0", "senn_ratio_1", "senn_gain_0", "senn_gain_1")
    return {name: squash(value) for name, value in zip(names, ratios_and_gains, strict=True)}


def test_senn_needs_both_thresholds() -> None:
    large = senn(0.2, 0.4, 1.0, 1.0)
    weak = senn(0.2, 0.4, 1.0, 0.002)  # layer 1 adds next to nothing
    small = senn(0.02, 0.029, 1.0, 1.0)
    assert play(PolicySpec("senn"), SENN, [large, weak, small]) == [3, 1, 0]
    assert play(PolicySpec("senn", {"ratio": 0.3, "gain": 0.0}), SENN, [large, weak, small]) == [3, 3, 0]


def test_senn_asks_at_its_times() -> None:
    large = senn(0.4, 0.2, 1.0, 1.0)
    assert play(PolicySpec("senn", {"every": 2, "amount": 16}), SENN, [large] * 5) == [2, 0, 2, 0, 2]


def noracl(saturation: tuple[float, float], plasticity: tuple[float, float]) -> dict[str, float]:
    """Effective dimensions as multiples of those at the start, and shares of weights."""
    return {
        **{f"saturation_{layer}": value / 2 for layer, value in enumerate(saturation)},
        **{f"plasticity_{layer}": value for layer, value in enumerate(plasticity)},
    }


def test_noracl_grows_where_either_resource_is_saturated() -> None:
    script = [
        noracl((0.9, 0.9), (0.4, 0.4)),
        noracl((1.2, 1.1), (0.4, 0.4)),  # representation: 1.2 and 1.1 of the threshold
        noracl((0.9, 0.9), (0.4, 0.6)),  # plasticity of layer 1: 1.2 of the threshold
        noracl((1.2, 1.1), (0.4, 0.65)),  # 1.2 against 1.3
    ]
    assert play(PolicySpec("noracl"), NORACL, script) == [0, 1, 3, 3]


def test_noracl_may_ask_for_both() -> None:
    script = [noracl((1.2, 1.1), (0.4, 0.4)), noracl((1.2, 1.4), (0.9, 0.6)), noracl((1.1, 1.3), (0.9, 0.6))]
    # Of the layers with both, the one whose weaker excess is larger: 1.2 and 1.2, the first; 1.1 and 1.2.
    assert play(PolicySpec("noracl", {"rule": "both"}), NORACL, script) == [0, 1, 3]


def test_noracl_thresholds_can_be_moved() -> None:
    script = [noracl((1.2, 1.1), (0.2, 0.3))]
    assert play(PolicySpec("noracl", {"gamma": 1.5}), NORACL, script) == [0]
    assert play(PolicySpec("noracl", {"gamma": 1.5, "share": 0.25, "amount": 16}), NORACL, script) == [4]


@pytest.mark.parametrize(
    ("name", "options", "known"),
    [
        ("north-act", {"gamma": -0.1}, RANKS),
        ("north-grad", {"factor": 0.0}, GRADIENTS),
        ("senn", {"ratio": -1.0}, SENN),
        ("senn", {"gain": -1.0}, SENN),
        ("senn", {"every": 0}, SENN),
        ("noracl", {"gamma": 2.0}, NORACL),
        ("noracl", {"share": 0.0}, NORACL),
        ("noracl", {"rule": "eiter"}, NORACL),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any], known: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|did you mean 'either'"):
        PolicySpec(name, options)(known)
