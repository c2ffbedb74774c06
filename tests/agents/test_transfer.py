from __future__ import annotations

import pytest

from agents.policy import PolicySpec
from agents.transfer import transferred
from growenv.config import GrowthConfig

SOURCE = GrowthConfig(amounts=(4, 16))
TARGET = GrowthConfig(amounts=(32, 8), max_hidden=(128, 128))


def test_amounts_are_replaced_by_those_of_the_same_rank_whatever_their_order() -> None:
    spec = PolicySpec("per-task", {"first": [[0, 16], [1, 4]], "later": [[1, 4]]}, "best")
    assert transferred(spec, SOURCE, TARGET) == PolicySpec(
        "per-task", {"first": [[0, 32], [1, 8]], "later": [[1, 8]]}, "best"
    )


def test_single_amounts_and_rules_are_replaced_and_everything_else_stays() -> None:
    spec = PolicySpec("periodic", {"every": 4, "amount": 16})
    assert transferred(spec, SOURCE, TARGET).options == {"every": 4, "amount": 32}
    assert transferred(PolicySpec("periodic", {"amount": 0}), SOURCE, TARGET).options == {"amount": 0}
    rule = {"task": "*", "decision": 0, "layer": 1, "amount": 4}
    assert transferred(PolicySpec("open-loop", {"rules": [rule]}), SOURCE, TARGET).options == {
        "rules": [{**rule, "amount": 8}]
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [({"amounts": (8,)}, "amounts"), ({"hidden": (4,), "max_hidden": (64,)}, "hidden"), ({"decisions": 3}, "3")],
)
def test_environments_of_another_structure_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        transferred(PolicySpec("never"), SOURCE, GrowthConfig(**options))  # type: ignore[arg-type]
