from __future__ import annotations

import pytest

from agents.baselines import CONTROLS, DEFAULT_POLICIES, GROUPS, expand, kind_of, known_policies
from agents.comparison import BEST_FIXED, KINDS
from agents.gates import GATES
from agents.policy import PolicySpec
from growenv.registry import UnknownNameError


def test_groups_stand_for_their_members_that_are_not_named_besides() -> None:
    assert expand(["controls"]) == [*CONTROLS, BEST_FIXED]
    names = expand(["never", "gates", "plateau"])
    assert names.count("plateau") == 1
    assert set(names) == {"never", BEST_FIXED, *(name for gate in GATES for name in (gate, f"{gate}-tuned"))}
    assert expand(["gates", "tuned-gates"]) == [*GROUPS["gates"], BEST_FIXED]


def test_the_best_fixed_schedule_always_plays_once() -> None:
    assert expand([]) == [BEST_FIXED]
    assert expand([BEST_FIXED, "never"]) == [BEST_FIXED, "never"]


def test_wrong_and_repeated_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'plateau'"):
        expand(["plato"])
    with pytest.raises(ValueError, match="given twice: never"):
        expand(["never", "never"])
    with pytest.raises(ValueError, match="given twice: senn-tuned"):
        expand(["tuned-gates", PolicySpec("senn", {}, "senn-tuned")])


def test_schedules_that_need_options_are_no_names() -> None:
    assert "open-loop" not in known_policies()
    assert set(DEFAULT_POLICIES) <= set(known_policies())


def test_every_name_has_a_kind() -> None:
    kinds = {name: kind_of(name) for name in known_policies() if name not in GROUPS}
    assert set(kinds.values()) <= set(KINDS)
    assert kinds["senn-tuned"] == kinds["senn"] == kind_of(PolicySpec("senn", {}, "x")) == "gate"
    assert (kinds["random"], kinds["best-fixed"], kinds["look-ahead"], kinds["oracle"]) == (
        "control",
        "schedule",
        "search",
        "oracle",
    )
