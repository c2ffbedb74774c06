"""Tasks and contexts: validation, JSON both ways, identity."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from growenv.streams import SPLITS, Context, Dataset, Task, Transform

Maker = Callable[..., Dataset]

tasks = st.builds(
    Task,
    transform=st.builds(Transform, st.integers(0, 359), st.none() | st.integers(0, 2**53 - 1)),
    classes=st.sets(st.integers(0, 9), min_size=1).map(lambda labels: tuple(sorted(labels))),
)
contexts = st.builds(
    Context,
    distribution=st.text(min_size=1, max_size=8),
    dataset=st.text(min_size=1, max_size=8),
    split=st.sampled_from(SPLITS),
    index=st.integers(0, 2**63 - 1),
    tasks=st.lists(tasks, min_size=1, max_size=4).map(tuple),
    budget=st.floats(0, 1, exclude_min=True),
    price=st.floats(0, 1e6),
    inner_seed=st.integers(0, 2**63 - 1),
)


def context(**changes: Any) -> Context:
    stream = (Task(Transform(), (0, 1)), Task(Transform(30, 5), (2, 3, 7)))
    fields: dict[str, Any] = {
        "distribution": "mixed",
        "dataset": "toy",
        "split": "train",
        "index": 3,
        "tasks": stream,
        "budget": 0.5,
        "price": 0.25,
        "inner_seed": 11,
    }
    return Context(**{**fields, **changes})


@given(contexts)
def test_context_survives_json(given_context: Context) -> None:
    again = Context.from_json(json.loads(json.dumps(given_context.to_json())))
    assert again == given_context
    assert (again.id, again.stream_id) == (given_context.id, given_context.stream_id)


def test_json_by_hand() -> None:
    assert context().to_json() == {
        "distribution": "mixed",
        "dataset": "toy",
        "split": "train",
        "index": 3,
        "tasks": [
            {"transform": {"rotation": 0, "permutation": None}, "classes": [0, 1]},
            {"transform": {"rotation": 30, "permutation": 5}, "classes": [2, 3, 7]},
        ],
        "budget": 0.5,
        "price": 0.25,
        "inner_seed": 11,
    }


def test_ids_are_16_hexadecimal_digits_that_never_change() -> None:
    assert context().id == EXPECTED_ID
    assert context().stream_id == EXPECTED_STREAM_ID
    assert len(context().id) == 16
    assert int(context().id, 16) >= 0


def test_id_follows_every_field_and_stream_id_only_the_stream() -> None:
    changes = {
        "distribution": "split",
        "dataset": "other",
        "split": "val",
        "index": 4,
        "tasks": context().tasks[:1],
        "budget": 0.6,
        "price": 0.0,
        "inner_seed": 12,
    }
    assert set(changes) == {field.name for field in dataclasses.fields(Context)}
    for name, value in changes.items():
        other = context(**{name: value})
        assert other.id != context().id
        assert (other.stream_id == context().stream_id) == (name != "tasks")


def test_order_of_json_keys_does_not_matter() -> None:
    data = context().to_json()
    assert Context.from_json(dict(reversed(data.items()))).id == context().id


def test_numpy_scalars_become_plain() -> None:
    plain = context(index=np.int64(3), budget=np.float64(0.5), inner_seed=np.uint64(11), price=1)
    assert [type(getattr(plain, name)) for name in ("index", "budget", "price", "inner_seed")] == [
        int,
        float,
        float,
        int,
    ]
    assert plain == context(price=1.0)
    json.dumps(plain.to_json())


def test_lists_become_tuples() -> None:
    listed = context(tasks=[Task(Transform(), [0, 1]), context().tasks[1]])  # type: ignore[arg-type]
    assert listed == context()
    assert hash(listed) == hash(context())


BAD_FIELDS: list[tuple[str, Any, str]] = [
    ("distribution", "", "distribution is ''"),
    ("dataset", 3, "dataset is 3"),
    ("split", "valid", "unknown split 'valid'; did you mean 'val'"),
    ("split", None, "unknown split None"),
    ("index", -1, "index is -1"),
    ("index", 1.5, "index is 1.5"),
    ("index", "1", "index is '1'"),
    ("tasks", (), "tasks is"),
    ("tasks", "abc", "tasks is"),
    ("tasks", None, "tasks is None"),
    ("budget", 0, "budget is 0.0"),
    ("budget", 1.01, "budget is 1.01"),
    ("budget", float("nan"), "budget is nan"),
    ("budget", True, "budget is True"),
    ("budget", "0.5", "budget is '0.5'"),
    ("budget", 10**400, "budget is 1000"),
    ("price", -0.1, "price is -0.1"),
    ("price", float("inf"), "price is inf"),
    ("inner_seed", 2**63, "inner_seed is"),
    ("inner_seed", -1, "inner_seed is -1"),
    ("inner_seed", None, "inner_seed is None"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD_FIELDS)
def test_bad_field_is_named(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        context(**{name: value})
    with pytest.raises(ValueError, match=message):
        Context.from_json({**context().to_json(), name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("price"), "missing: price"),
        (lambda data: data.update(seed=1), "unknown: seed"),
        (lambda data: data["tasks"].append({}), "task has wrong fields.*missing: transform, classes"),
        (lambda data: data["tasks"][0].update(classes=[]), "classes is"),
        (lambda data: data["tasks"][0].update(classes=[1, 0]), r"classes is \(1, 0\).*sorted"),
        (lambda data: data["tasks"][0].update(classes=[1, 1]), "distinct"),
        (lambda data: data["tasks"][0].update(classes=[-1, 1]), "classes is -1"),
        (lambda data: data["tasks"][0].update(classes=[0.0, 1]), "classes is 0.0"),
        (lambda data: data["tasks"][0].update(classes="01"), "classes is '01'"),
        (lambda data: data["tasks"][0].update(transform=3), "transform is 3"),
        (lambda data: data["tasks"][0]["transform"].update(rotation=400), "rotation is 400"),
    ],
)
def test_bad_json_names_the_field(change: Callable[[Any], Any], message: str) -> None:
    data: Any = json.loads(json.dumps(context().to_json()))
    change(data)
    with pytest.raises(ValueError, match=message):
        Context.from_json(data)


def test_json_that_is_no_object() -> None:
    cases: list[Any] = [None, [], "context", 3]
    for data in cases:
        with pytest.raises(ValueError, match="context is"):
            Context.from_json(data)


def test_task_needs_a_transform() -> None:
    with pytest.raises(ValueError, match="expected a Transform"):
        Task({"rotation": 0, "permutation": None}, (0, 1))  # type: ignore[arg-type]


def test_context_fits_its_dataset(toy: Dataset, dataset_maker: Maker) -> None:
    context().check(toy)
    with pytest.raises(ValueError, match="for dataset 'toy', got dataset 'other'"):
        context().check(dataset_maker(name="other"))
    with pytest.raises(ValueError, match=r"classes \(2, 3, 7\), dataset 'toy' has 0..4"):
        context().check(dataset_maker(classes=5))
    with pytest.raises(ValueError, match="rotation 30 needs grey images"):
        context().check(dataset_maker(image_shape=None))


EXPECTED_ID = "0c59bcf71de9666e"
EXPECTED_STREAM_ID = "4455865fb9d41403"
