"""Every option has an effect, every bad value a clear error, and configurations go through JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from growenv.config import COUNTS, SPLITS, GrowthConfig
from growenv.env import GrowthEnv
from growenv.growth import RandomGrowth
from growenv.hardware import METERS, MosaicMeter
from growenv.hardware.mosaic.spec import PRESETS
from growenv.protection import Finetune
from growenv.registry import UnknownNameError
from growenv.streams import DISTRIBUTIONS, SCENARIOS, Permuted, Scenario
from tests.giving import Giving
from tests.rollouts import SMALL, Step, assert_same, begin, play, toy_dataset

OPTIONS = [field.name for field in dataclasses.fields(GrowthConfig)]


class HugeGrowth(RandomGrowth):
    name = "huge"

    def __init__(self) -> None:
        super().__init__(scale=50.0)


# Another value of every option, where needed with the other options under which it can be told from the default.
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dataset": ({"dataset": toy_dataset()}, {"streams": "permuted"}),
    "input_pool": ({"input_pool": 4}, {}),
    "streams": ({"streams": "split"}, {}),
    "split": ({"split": "val"}, {}),
    "tasks": ({"tasks": 3}, {}),
    "decisions": ({"decisions": 3}, {}),
    "minibatches": ({"minibatches": 3}, {}),
    "batch_size": ({"batch_size": 17}, {}),
    "hidden": ({"hidden": (4, 5)}, {}),
    "max_hidden": ({"max_hidden": (64, 60)}, {}),
    "amounts": ({"amounts": (4, 12)}, {}),
    "prune": ({"prune": (1,)}, {"protection": Giving()}),
    "optimizer": ({"optimizer": "sgd"}, {}),
    "learning_rate": ({"learning_rate": 0.011}, {}),
    "loss": ({"loss": "squared-error"}, {}),
    "precision": ({"precision": "float64"}, {}),
    "protection": ({"protection": "finetune"}, {}),
    "scenario": ({"scenario": "class-incremental"}, {"protection": "finetune"}),
    "growth": ({"growth": HugeGrowth()}, {"minibatches": 10}),
    "meter": ({"meter": "mosaic-demo"}, {}),
    "signals": ({"signals": ["loss"]}, {}),
    "signals_every": ({"signals_every": 2}, {"signals": ["gradient"]}),
    "where": ({"where": "tile"}, {}),
    "regions": ({"regions": (2, 2)}, {"where": "tile"}),
    "budget": ({"budget": (0.5, 0.5)}, {}),
    "price": ({"price": 0.4}, {}),
    "validation_samples": ({"validation_samples": 20}, {}),
    "test_samples": ({"test_samples": 20}, {"minibatches": 20}),
    "accuracy_matrix": ({"accuracy_matrix": False}, {"minibatches": 20, "streams": "rotated"}),
    "divergence_penalty": ({"divergence_penalty": 0.5}, {"optimizer": "sgd", "learning_rate": 1e30}),
}


def rolled(**options: Any) -> list[Step]:
    env = GrowthEnv(**{**SMALL, "budget": (0.3, 1.0), **options})
    steps = [begin(env, seed=1)]
    for action in (4, 1, 3, 2, 0, 0):
        steps += play(env, [action])
        if steps[-1].terminated:
            break
    return steps


def test_every_option_is_tried() -> None:
    assert set(CHANGES) == set(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_has_an_effect(name: str) -> None:
    change, base = CHANGES[name]
    before, after = rolled(**base), rolled(**{**base, **change})
    assert_same(rolled(**base), before)
    with pytest.raises((AssertionError, ValueError)):
        assert_same(after, before)


BAD: list[tuple[str, Any, str]] = [
    *((name, value, "an integer >= 1") for name in COUNTS for value in (0, -1, 2.5, "3", None, True)),
    *(("input_pool", value, "None, or an integer >= 1") for value in (0, -4, 2.5, "4", True, (4, 4))),
    *(("hidden", value, "hidden=") for value in ((), (0,), (4, -1), (4.0, 4), "ab", None)),
    *(("max_hidden", value, "max_hidden=") for value in ((), (64,), (64, 64, 64), (3, 64), (64, 2.5), None)),
    *(("prune", value, "prune=") for value in ((0,), (4, 4), (-1,), (1.5,), None)),
    *(("scenario", value, "a registered name or a Scenario object") for value in (3, None, Scenario)),
    *(("amounts", value, "amounts=") for value in ((), (0, 4), (4, 4), (-1,), (1.5,), None)),
    *(("precision", value, "one of float32, float64") for value in ("float16", 32, None)),
    *(("learning_rate", value, "a number above 0") for value in (0, -0.1, math.nan, math.inf, "0.1", None, True)),
    *(("divergence_penalty", value, "a number >= 0") for value in (-1, math.nan, math.inf, "1", None)),
    *(("accuracy_matrix", value, "true or false") for value in (1, 0, "yes", None)),
    *(("budget", value, "budget=") for value in (0, (0, 1), (0.5, 0.2), (0.5, 1.1), (0.1, 0.2, 0.3), "1", None, -1)),
    *(("price", value, "price=") for value in (-1, (0, 1), (2, 1), (0.1,), math.nan, (0.1, math.inf), "1", None)),
    *(("where", value, "one of auto, tile") for value in ("tiles", "", None, 3, ["tile"])),
    *(("regions", value, "two integers >= 1") for value in ((), 3, (2,), (2, 2, 2), (0, 2), (2, -1))),
    *(("regions", value, "integers") for value in ((2.5, 2), "ab", None, (True, 2))),
    *(("split", value, "one of train, val, test, ood") for value in ("vall", "", None, 3, ["train"])),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD, ids=[f"{name}={value}" for name, value, _ in BAD])
def test_a_bad_value_is_refused_with_the_options_name(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"option {name}=") as caught:
        GrowthConfig.from_options(**{name: value})
    assert message in str(caught.value)
    assert "expected" in str(caught.value)


PARTS = {
    "dataset": "dataset",
    "streams": "stream distribution",
    "optimizer": "optimizer",
    "loss": "loss",
    "protection": "protection",
    "scenario": "scenario",
    "growth": "growth operator",
    "meter": "meter",
}


@pytest.mark.parametrize(("name", "kind"), PARTS.items())
def test_unknown_names_of_parts_suggest_the_nearest(name: str, kind: str) -> None:
    right = getattr(GrowthConfig(), name)
    with pytest.raises(UnknownNameError, match=f"unknown {kind} '{right[:-1]}'; did you mean '{right}'"):
        GrowthEnv(**{name: right[:-1]})


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("value", [None, 3, object(), Finetune])
def test_what_is_no_part_at_all_is_refused(name: str, value: Any) -> None:
    """A class is no part either: it must be called."""
    with pytest.raises(ValueError, match=f"option {name}=.*expected a registered name"):
        GrowthConfig.from_options(**{name: value})


@pytest.mark.parametrize(
    ("given", "nearest"), [("taks", "tasks"), ("max_hiden", "max_hidden"), ("data_set", "dataset"), ("lr", None)]
)
def test_unknown_options_suggest_the_nearest(given: str, nearest: str | None) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown option '{given}'") as caught:
        GrowthConfig.from_options(**{given: 1})
    assert (f"did you mean '{nearest}'" in str(caught.value)) == (nearest is not None)
    assert "minibatches" in str(caught.value), "the known options are listed"


def test_options_replace_those_of_a_configuration() -> None:
    base = GrowthConfig(tasks=3, price=0.2)
    assert GrowthConfig.from_options(base, tasks=4) == dataclasses.replace(base, tasks=4)
    assert GrowthConfig.from_options(base) == base
    assert GrowthEnv(base, **{**SMALL, "tasks": 4}).config.price == (0.2, 0.2)


def test_numbers_and_lists_stand_for_ranges_and_tuples() -> None:
    config = GrowthConfig(budget=0.5, price=0, hidden=[3], max_hidden=9, amounts=[1, 2])
    assert (config.budget, config.price) == ((0.5, 0.5), (0.0, 0.0))
    assert (config.hidden, config.max_hidden, config.amounts) == ((3,), (9,), (1, 2))


def test_numbers_of_numpy_are_numbers() -> None:
    """A sweep over np.arange is no mistake."""
    config = GrowthConfig(
        tasks=np.int64(3), learning_rate=np.float32(0.5), hidden=np.array([3, 4]), budget=np.float64(1)
    )
    assert config == GrowthConfig(tasks=3, learning_rate=0.5, hidden=(3, 4), budget=1.0)
    assert type(config.tasks) is int
    json.dumps(config.to_json())


@pytest.mark.parametrize(
    "change",
    [{}, {"tasks": 2}, {"price": 0}, {"split": "ood"}, {"input_pool": 4}, {"where": "tile", "regions": (2, 3)}],
)
def test_configurations_go_through_json(change: dict[str, Any]) -> None:
    config = GrowthConfig(**change)
    assert GrowthConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_from_json_is_as_strict_as_from_options() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tasks'"):
        GrowthConfig.from_json({"taks": 2})
    with pytest.raises(ValueError, match="a configuration is a JSON object, got list"):
        GrowthConfig.from_json([1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("dataset", toy_dataset()),
        ("streams", Permuted()),
        ("protection", Finetune()),
        ("growth", HugeGrowth()),
        ("scenario", Scenario("mine")),
    ],
)
def test_objects_are_parts_but_cannot_be_written(name: str, part: Any) -> None:
    config = GrowthConfig(**{"streams": "permuted", name: part})
    GrowthEnv(config, **SMALL).reset(seed=0)
    with pytest.raises(ValueError, match=f"the option '{name}' is an object .*register it under a name"):
        config.to_json()


def test_hardware_is_mosaic_where_nothing_else_is_said() -> None:
    config = GrowthConfig()
    assert (config.meter, config.where) == ("mosaic", "auto")
    meter = GrowthEnv(**SMALL).rows.admission.placed
    assert isinstance(meter, MosaicMeter)
    assert meter.spec == PRESETS["digits"]


def test_regions_do_nothing_unless_actions_name_tiles() -> None:
    assert_same(rolled(regions=(1, 2)), rolled())


def made(**options: Any) -> GrowthEnv:
    env = GrowthEnv(**{**SMALL, "budget": 1.0, **options})
    env.reset(seed=0)
    assert (env.context.distribution, env.context.split) == (env.config.streams, env.config.split)
    assert len(env.context.tasks) == (3 if env.config.split == "ood" else 2)
    return env


def test_every_registered_name_makes_an_environment() -> None:
    for streams in DISTRIBUTIONS.names():
        for split in SPLITS:
            made(streams=streams, split=split)
    for scenario in SCENARIOS.names():
        made(scenario=scenario, protection="finetune")
    for meter in METERS.names():
        options: dict[str, Any] = {}
        if meter == "crossbar":  # one crossbar holds any layer of the default sizes, so there all sizes cost the same
            options = {"max_hidden": (128, 128)}
        if meter == "mosaic-tiny":  # no room for the heads of ten classes
            options = {"dataset": toy_dataset(), "streams": "permuted", "hidden": (2, 2), "max_hidden": (6, 6)}
        assert made(meter=meter, **options).rows.admission.meter.name == meter
