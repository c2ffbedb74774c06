"""All gates in every registered environment, and in networks of other depths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest

from agents.evaluation import EpisodeRecord, evaluation_contexts, make_vector_env, play, play_together, with_signals
from agents.gates import GATES
from agents.policy import Interface, PolicySpec
from growenv.config import GrowthConfig
from growenv.growth.signals import SIGNALS
from growenv.registration import IDS, register_environments
from growenv.streams import Dataset

TINY: dict[str, Any] = {
    "tasks": 2,
    "decisions": 3,
    "minibatches": 2,
    "batch_size": 16,
    "validation_samples": 16,
    "test_samples": 16,
    "accuracy_matrix": False,
}
SPECS = [PolicySpec(name) for name in GATES]


def environment(env_id: str) -> GrowthConfig:
    """A small one; where it needs files of images, with noise of that size."""
    register_environments()
    options = {**gymnasium.registry[env_id].kwargs, **TINY}
    if "Digits" not in env_id:
        pixels = np.random.default_rng(0).integers(0, 256, (400, 28, 28), dtype=np.uint8)
        options["dataset"] = Dataset.from_arrays(pixels, np.arange(400) % 10, name="noise")
    return GrowthConfig.from_options(**options)


def together(config: GrowthConfig, contexts: int = 1) -> dict[str, list[EpisodeRecord]]:
    """All gates on the same contexts, in one environment that shows all that any of them reads."""
    drawn = evaluation_contexts(config, "val", contexts)
    played = play_together([(spec, drawn) for spec in SPECS], replace(config, signals="all"))
    return {spec.name: records for spec, records in zip(SPECS, played, strict=True)}


@pytest.mark.parametrize("env_id", IDS)
def test_all_gates_play_in_every_environment_within_the_same_budget(env_id: str) -> None:
    played = together(environment(env_id))
    for name, (record,) in played.items():
        assert record.invalid == 0, name
        assert record.cost <= record.budget + 1e-9, name
        assert len(record.actions) == 6, name
    assert len({records[0].budget for records in played.values()}) == 1
    assert len({records[0].actions for records in played.values()}) > 4


@pytest.mark.parametrize("hidden", [(6,), (6, 6, 6), (6, 0)])  # the last has a layer that is absent at first
def test_all_gates_play_in_networks_of_other_depths(hidden: tuple[int, ...]) -> None:
    config = GrowthConfig(**TINY, hidden=hidden, max_hidden=(24,) * len(hidden), meter="parameters", budget=(0.8, 1.0))
    for name, records in together(config, 3).items():
        assert all(record.invalid == 0 for record in records), name


def test_gates_with_regions_grow_in_the_cheapest_one() -> None:
    auto, tile = (together(GrowthConfig(**TINY, where=where), 3) for where in ("auto", "tile"))
    for name in GATES:
        for one, other in zip(auto[name], tile[name], strict=True):
            assert one.growth_events == other.growth_events, name
            assert one.hardware == other.hardware, name
            assert one.return_ == pytest.approx(other.return_, abs=1e-9), name


def test_a_gate_reads_features_of_its_signals_alone() -> None:
    for kind in GATES.values():
        shown = {name for signal in kind.signals for name in SIGNALS.make(signal).features(1)}
        assert all({name, f"{name}_0"} & shown for name in kind.features)
        assert bool(kind.signals) == bool(kind.features)


def test_a_gate_needs_its_signals_when_it_is_played_by_hand() -> None:
    env = make_vector_env(GrowthConfig(**TINY), 1)
    with pytest.raises(ValueError, match=r"'senn' reads senn_ratio, senn_gain, .* make it with signals=\['senn'\]"):
        PolicySpec("senn")(Interface.of(env))
    shown = make_vector_env(with_signals(env.config, ("senn",)), 1)
    assert PolicySpec("senn")(Interface.of(shown)).name == "senn"


def test_further_signals_change_nothing() -> None:
    config = GrowthConfig(**TINY)
    drawn = evaluation_contexts(config, "val", 3)
    own, all_of_them = (
        [play(spec, each, drawn) for spec in SPECS if spec.policy in ("senn", "knapsack", "north-act")]
        for each in (config, replace(config, signals="all"))
    )
    assert own == all_of_them
    assert np.ptp([record.growth_events for records in own for record in records]) > 0
