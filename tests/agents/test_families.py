from __future__ import annotations

import numpy as np
import pytest

from agents.evaluation import play_together
from agents.families import anchors, gate_family, levels, neighbours, per_task_spec, refinements, schedule_family
from agents.gates import GATES
from agents.policy import PolicySpec
from growenv.config import GrowthConfig
from tests.agents.fake_env import CONFIG, FakeVectorEnv, make_contexts


def test_levels_are_sums_of_at_most_three_amounts() -> None:
    assert levels(CONFIG) == (0, 4, 8, 12, 16, 20, 24, 32, 36, 48)


def test_per_task_spec_takes_the_layers_in_turn_and_stops_at_the_task_end() -> None:
    spec = per_task_spec(CONFIG, (20, 4), (48, 48))
    assert spec.options["first"] == [[0, 16], [1, 4], [0, 4]]
    assert spec.options["later"] == [[0, 16], [1, 16], [0, 16], [1, 16]]
    assert spec.name == "first task +20/4, later tasks +32/32"


def test_family_is_a_fixed_sequence_without_repeats() -> None:
    family = schedule_family(CONFIG, 80)
    assert len({spec.key for spec in family}) == 80
    assert family[:40] == schedule_family(CONFIG, 40)
    assert family != schedule_family(CONFIG, 80, seed=1)
    names = {spec.policy for spec in anchors(CONFIG)}
    assert {"never", "static-large", "doubling", "periodic", "per-task"} == names
    tried = list(dict.fromkeys(spec.key for spec in anchors(CONFIG)))
    assert [spec.key for spec in family[: len(tried)]] == tried


def test_small_family_ends_early() -> None:
    tiny = GrowthConfig(decisions=1, hidden=(8,), max_hidden=(16,), amounts=(4,))
    family = schedule_family(tiny, 100)
    assert len(family) < 40


def test_neighbours_move_one_level_in_one_place() -> None:
    spec = per_task_spec(CONFIG, (16, 0), (4, 0))
    names = [near.name for near in neighbours(CONFIG, [spec])]
    assert names == [
        "first task +12/0, later tasks +4/0",
        "first task +20/0, later tasks +4/0",
        "first task +16/4, later tasks +4/0",
        "first task +16/0, later tasks +0/0",
        "first task +16/0, later tasks +8/0",
        "first task +16/0, later tasks +4/4",
    ]
    assert neighbours(CONFIG, [anchors(CONFIG)[0]]) == []


PUBLISHED = {
    "plateau": {"tau": 0.0005, "patience": 1, "amount": 4},
    "loss-gate": {"tau": 0.01, "rounds": 1, "amount": 4},
    "autogrow": {"every": 1, "tau": 0.0005, "patience": 2, "amount": 4},
    "fragrow": {"alpha": 4.0, "each": 1, "amount": 4},
    "cpg-goal": {"goal": 0.95, "cap": 1.5, "start": 1, "amount": 4},
    "north-act": {"gamma": 0.97},
    "north-weight": {"gamma": 0.99, "seed": True},
    "north-grad": {"factor": 1.0, "amount": 4},
    "senn": {"ratio": 0.03, "gain": 2.5e-3, "every": 1, "amount": 4},
    "noracl": {"gamma": 1.0, "share": 0.5, "rule": "either", "amount": 4},
    "random-where": {"every": 2, "amount": 4},
    "gradmax-where": {"every": 2, "amount": 4, "per_cost": True},
    "firefly-where": {"every": 2, "amount": 4, "top": 1},
    "knapsack": {"threshold": 0.0, "pace": 1.0, "priced": False, "each": 0, "amount": 4},
}


def test_every_gate_has_a_family() -> None:
    assert set(GATES) == set(PUBLISHED)


@pytest.mark.parametrize("gate", GATES)
def test_gate_families_begin_with_the_published_setting_and_all_play(gate: str) -> None:
    family = gate_family(CONFIG, gate)
    combinations = np.prod([len(values) for values in GATES[gate].ranges(CONFIG).values()])
    assert len(family) == len({spec.key for spec in family}) == combinations >= 6
    assert family[0].options == PUBLISHED[gate]
    assert gate_family(CONFIG, gate) == family
    contexts = make_contexts(1)
    played = play_together(
        [(spec, contexts) for spec in (PolicySpec(gate), *family[:24])], CONFIG, make_env=FakeVectorEnv
    )
    assert len({records[0].actions for records in played}) > 1
    assert played[0][0].actions == played[1][0].actions, "the published setting is the default"


def test_a_part_of_a_family_is_a_fair_sample() -> None:
    part = gate_family(CONFIG, "noracl")[:24]
    for option, values in GATES["noracl"].ranges(CONFIG).items():
        assert {spec.options[option] for spec in part} == set(values)


def test_only_gates_have_settings_to_tune() -> None:
    with pytest.raises(ValueError, match="unknown gate 'never'"):
        gate_family(CONFIG, "never")


def senn(ratio: float, gain: float = 0.1, every: int = 1) -> PolicySpec:
    return PolicySpec("senn", {"ratio": ratio, "gain": gain, "every": every, "amount": 4})


def test_refinements_lie_halfway_to_the_next_values() -> None:
    known = [senn(0.03), senn(0.3), senn(3.0), senn(0.3, gain=0.5, every=2), PolicySpec("noracl", {"ratio": 0.2})]
    # sqrt(0.03 x 0.3) = 0.0949, sqrt(0.3 x 3) = 0.949, sqrt(0.1 x 0.5) = 0.224; whole numbers stay.
    near = [(spec.options["ratio"], spec.options["gain"]) for spec in refinements([senn(0.3)], known)]
    assert near == [(0.0949, 0.1), (0.949, 0.1), (0.3, 0.224)]
    assert {spec.options["every"] for spec in refinements([senn(0.3)], known)} == {1}


def test_at_the_end_of_a_range_there_is_one_refinement_and_none_between_near_values() -> None:
    assert [spec.options["ratio"] for spec in refinements([senn(3.0)], [senn(0.03)])] == [0.3]
    assert refinements([senn(0.3)], [senn(0.31)]) == []
    assert refinements([PolicySpec("never")], [PolicySpec("never")]) == []


def test_refinements_towards_zero_and_over_it_are_arithmetic() -> None:
    near = refinements([senn(0.0)], [senn(-4.0), senn(1.0)])
    assert [spec.options["ratio"] for spec in near] == [-2.0, 0.5]
    assert [spec.options["ratio"] for spec in refinements([senn(-4.0)], [senn(-1.0)])] == [-2.0]


def test_the_gain_of_senn_is_tuned_between_its_constants() -> None:
    assert {0.01, 0.03} <= {spec.options["gain"] for spec in gate_family(CONFIG, "senn")}
