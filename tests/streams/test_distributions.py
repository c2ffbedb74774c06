"""Stream distributions: what they draw, disjoint splits, determinism, and every impossible request."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growenv.registry import UnknownNameError
from growenv.streams import (
    DISTRIBUTIONS,
    SPLITS,
    Context,
    Dataset,
    Mixed,
    StreamDistribution,
    Task,
    Transform,
    draw_context,
    split_of,
    stream_length,
)

Maker = Callable[..., Dataset]
NAMES = ("mixed", "permuted", "rotated", "split")


def draw(distribution: Any, dataset: Dataset, split: str = "train", index: int = 0, **options: Any) -> Context:
    settings_ = {"tasks": 5, "budget": (0.3, 0.9), "price": (0.01, 1.0), "inner_seed": 7, **options}
    return draw_context(distribution, dataset, split, index, **settings_)


def test_names() -> None:
    assert DISTRIBUTIONS.names() == NAMES
    for name in NAMES:
        assert isinstance(DISTRIBUTIONS.make(name), StreamDistribution)
        assert DISTRIBUTIONS.make(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_splits_are_disjoint_over_thousands_of_draws(name: str, toy: Dataset) -> None:
    seen = {split: {draw(name, toy, split, i).stream_id for i in range(700)} for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        assert not seen[one] & seen[other], f"{one} and {other} share streams"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_stream_tells_its_split(name: str, split: str, toy: Dataset) -> None:
    assert all(split_of(draw(name, toy, split, i).tasks) == split for i in range(50))


def test_shares_of_the_splits(toy: Dataset) -> None:
    rng, permuted = np.random.default_rng(0), DISTRIBUTIONS.make("permuted")
    counts = Counter(split_of(permuted.draw(rng, toy, 2, False)) for _ in range(3000))
    assert counts["train"] / 3000 == pytest.approx(0.7, abs=0.03)
    assert counts["val"] / 3000 == pytest.approx(0.15, abs=0.025)
    assert counts["test"] / 3000 == pytest.approx(0.15, abs=0.025)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    split=st.sampled_from(SPLITS),
    index=st.integers(0, 2**40),
    tasks=st.integers(2, 12),
    classes=st.sampled_from([5, 7, 10, 13]),
)
def test_every_context_is_sound(name: str, split: str, index: int, tasks: int, classes: int) -> None:
    dataset = DATASETS_BY_CLASSES[classes]
    context = draw(name, dataset, split, index, tasks=tasks)
    assert context == draw(name, dataset, split, index, tasks=tasks)
    assert Context.from_json(context.to_json()) == context
    context.check(dataset)
    assert (context.distribution, context.dataset, context.split, context.index) == (name, dataset.name, split, index)
    assert len(context.tasks) == stream_length(tasks, split)
    assert all(len(task.classes) >= 2 for task in context.tasks)
    shrink = 0.6 if split == "ood" else 1.0
    assert 0.3 * shrink <= context.budget <= 0.9 * shrink + 1e-12
    assert 0.01 <= context.price <= 1.0


def test_contexts_never_change(toy: Dataset) -> None:
    """Evaluation contexts are fixed for ever by (distribution, data set, split, index)."""
    assert {name: draw(name, toy, "test", 5).id for name in NAMES} == EXPECTED_IDS


def test_index_split_and_names_all_matter(toy: Dataset, dataset_maker: Maker) -> None:
    ids = [
        draw("mixed", toy, "train", 0).stream_id,
        draw("mixed", toy, "train", 1).stream_id,
        draw("mixed", toy, "val", 0).stream_id,
        draw("mixed", dataset_maker(name="other"), "train", 0).stream_id,
        draw(Mixed(name="my-mixed"), toy, "train", 0).stream_id,
    ]
    assert len(set(ids)) == len(ids)


def test_inner_seed_changes_nothing_else(toy: Dataset) -> None:
    one, other = draw("mixed", toy, inner_seed=1), draw("mixed", toy, inner_seed=2)
    assert (one.inner_seed, other.inner_seed) == (1, 2)
    assert (one.tasks, one.budget, one.price) == (other.tasks, other.budget, other.price)


def test_pinning_budget_or_price_keeps_the_stream(toy: Dataset) -> None:
    free = draw("mixed", toy)
    pinned = draw("mixed", toy, budget=(0.5, 0.5), price=(0.0, 0.0))
    assert pinned.tasks == free.tasks
    assert (pinned.budget, pinned.price) == (0.5, 0.0)
    assert draw("mixed", toy, budget=(0.5, 0.5)).price == free.price


def test_global_generator_is_left_alone(toy: Dataset) -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()  # type: ignore[index]
    draw("mixed", toy)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]


def test_ood_is_longer_and_tighter(toy: Dataset) -> None:
    assert [stream_length(tasks, "ood") for tasks in (1, 2, 5, 10)] == [2, 3, 8, 16]
    assert [stream_length(tasks, "test") for tasks in (1, 2, 5, 10)] == [1, 2, 5, 10]
    context = draw("mixed", toy, "ood", budget=(0.5, 0.5))
    assert len(context.tasks) == 8
    assert context.budget == pytest.approx(0.3)


def test_budget_is_uniform_and_price_log_uniform(toy: Dataset) -> None:
    drawn = [draw("split", toy, "train", i) for i in range(1500)]
    budgets = np.array([context.budget for context in drawn])
    logs = np.log10([context.price for context in drawn])
    np.testing.assert_allclose(np.quantile(budgets, [0.25, 0.5, 0.75]), [0.45, 0.6, 0.75], atol=0.03)
    np.testing.assert_allclose(np.quantile(logs, [0.25, 0.5, 0.75]), [-1.5, -1.0, -0.5], atol=0.1)
    assert abs(np.corrcoef(budgets, logs)[0, 1]) < 0.1


# -- split -------------------------------------------------------------------------------------------------------------


def test_split_uses_every_class_once_before_any_comes_back(toy: Dataset) -> None:
    for i in range(30):
        stream = draw("split", toy, "ood", i, tasks=10).tasks
        assert all(len(task.classes) == 2 and task.transform == Transform() for task in stream)
        for start in range(0, 15, 5):
            assert sorted(label for task in stream[start : start + 5] for label in task.classes) == list(range(10))


def test_split_of_an_odd_number_of_classes(dataset_maker: Maker) -> None:
    left_out = set()
    for i in range(40):
        stream = draw("split", dataset_maker(classes=5), "train", i, tasks=4).tasks
        assert not set(stream[0].classes) & set(stream[1].classes)
        left_out |= set(range(5)) - set(stream[0].classes) - set(stream[1].classes)
    assert left_out == set(range(5))


# -- permuted and rotated ----------------------------------------------------------------------------------------------


def test_permuted_brings_a_new_permutation_each_task(toy: Dataset) -> None:
    for i in range(30):
        stream = draw("permuted", toy, "train", i).tasks
        assert all(task.classes == tuple(range(10)) and task.transform.rotation == 0 for task in stream)
        assert len({task.transform.permutation for task in stream} - {None}) == 5


@pytest.mark.parametrize(("split", "offset"), [("train", 0), ("test", 0), ("ood", 15)])
def test_rotated_angles(toy: Dataset, split: str, offset: int) -> None:
    angles: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    for i in range(100):
        stream = draw("rotated", toy, split, i).tasks
        turns = [task.transform.rotation for task in stream]
        assert len(set(turns)) == len(turns)
        assert all(task.transform.permutation is None for task in stream)
        angles.update(turns)
        sizes.update(len(task.classes) for task in stream)
    assert set(angles) == set(range(offset, 360, 30))
    assert set(sizes) == {5, 10}
    assert sizes[5] / sizes.total() == pytest.approx(0.5, abs=0.1)


def test_rotated_beyond_twelve_tasks_starts_a_new_round(toy: Dataset) -> None:
    turns = [task.transform.rotation for task in draw("rotated", toy, tasks=24).tasks]
    assert set(turns[:12]) == set(turns[12:]) == set(range(0, 360, 30))


@pytest.mark.parametrize("image_shape", [None, (2, 8)])
def test_rotated_needs_square_images(dataset_maker: Maker, image_shape: tuple[int, int] | None) -> None:
    with pytest.raises(ValueError, match="'rotated' needs square images"):
        draw("rotated", dataset_maker(image_shape=image_shape))


# -- mixed -------------------------------------------------------------------------------------------------------------


def test_mixed_reuses_half_of_the_time(toy: Dataset) -> None:
    reused = kinds = 0
    for i in range(500):
        stream = draw("mixed", toy, "train", i).tasks
        for number, task in enumerate(stream[1:], start=1):
            kinds += 1
            reused += task.transform in {earlier.transform for earlier in stream[:number]}
    assert kinds == 2000
    assert reused / kinds == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("split", ["train", "ood"])
def test_mixed_never_repeats_a_task_and_varies_everything(toy: Dataset, split: str) -> None:
    sizes, firsts, new = Counter[int](), Counter[str](), Counter[str]()
    for i in range(300):
        stream = draw("mixed", toy, split, i, tasks=8).tasks
        assert len(set(stream)) == len(stream)
        sizes.update(len(task.classes) for task in stream)
        firsts[kind_of(stream[0])] += 1
        new.update(kind_of(task) for task in stream[1:])
        turns = {task.transform.rotation for task in stream} - {0}
        assert all(turn % 30 == (15 if split == "ood" else 0) for turn in turns)
    assert set(sizes) == {2, 5, 10}
    assert set(firsts) == {"plain", "permutation", "rotation"}
    for count in firsts.values():
        assert count / 300 == pytest.approx(1 / 3, abs=0.1)
    assert min(new["permutation"], new["rotation"]) / new.total() > 0.3


def kind_of(task: Task) -> str:
    if task.transform.permutation is not None:
        return "permutation"
    return "rotation" if task.transform.rotation else "plain"


def test_mixed_without_images_only_permutes(dataset_maker: Maker) -> None:
    vectors = dataset_maker(image_shape=None)
    kinds = {kind_of(task) for i in range(50) for task in draw("mixed", vectors, "train", i).tasks}
    assert kinds == {"plain", "permutation"}


def test_mixed_with_two_classes_brings_a_new_transform_every_time(dataset_maker: Maker) -> None:
    for i in range(20):
        stream = draw("mixed", dataset_maker(classes=2), "train", i).tasks
        assert len({task.transform for task in stream}) == 5


def test_mixed_outlasts_the_angles(toy: Dataset) -> None:
    rng = np.random.default_rng(0)
    stream = Mixed(reuse=0.0).draw(rng, toy, 60, False)
    assert len({task.transform for task in stream}) == 60


@pytest.mark.parametrize("options", [{"reuse": 1.5}, {"reuse": -0.1}, {"sizes": ()}, {"sizes": (0, 2)}])
def test_mixed_refuses_bad_settings(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="reuse is"):
        DISTRIBUTIONS.make("mixed", **options)


# -- requests that cannot be met ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": (0.0, 0.5)}, "budget is 0.0"),
        ({"budget": (0.5, 1.5)}, "budget is 1.5"),
        ({"budget": (0.9, 0.3)}, r"budget is \(0.9, 0.3\), expected low <= high"),
        ({"budget": 0.5}, "budget is 0.5, expected a range"),
        ({"budget": (0.1, 0.2, 0.3)}, "expected a range"),
        ({"budget": "ab"}, "expected a range"),
        ({"budget": (float("nan"), 0.5)}, "budget is nan"),
        ({"price": (0.0, 1.0)}, "expected 0 < low <= high"),
        ({"price": (1.0, 0.1)}, "expected 0 < low <= high"),
        ({"price": (-1.0, 1.0)}, "price is -1.0"),
        ({"price": None}, "expected a range"),
        ({"tasks": 0}, "tasks is 0"),
        ({"tasks": 2.5}, "tasks is 2.5"),
        ({"split": "validation"}, "unknown split 'validation'"),
        ({"index": -1}, "index is -1"),
        ({"index": 0.5}, "index is 0.5"),
        ({"inner_seed": -1}, "inner_seed is -1"),
        ({"inner_seed": 2**63}, "inner_seed is"),
    ],
)
def test_impossible_requests(toy: Dataset, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw("split", toy, options.pop("split", "train"), options.pop("index", 0), **options)


def test_unknown_distribution(toy: Dataset) -> None:
    with pytest.raises(UnknownNameError, match="unknown stream distribution 'mixd'; did you mean 'mixed'"):
        draw("mixd", toy)


def test_too_few_classes(dataset_maker: Maker) -> None:
    with pytest.raises(ValueError, match="'mixed' needs 5 classes or more, dataset 'toy' has 4"):
        draw(Mixed(sizes=(5, 10)), dataset_maker(classes=4))


def test_too_few_different_streams_for_three_splits(dataset_maker: Maker) -> None:
    """Two classes make one pair, and the only stream of it belongs to one split."""
    pair = dataset_maker(classes=2)
    (home,) = {split_of((Task(Transform(), (0, 1)),))}
    assert draw("split", pair, home, tasks=1).tasks[0].classes == (0, 1)
    for split in {"train", "val", "test"} - {home}:
        with pytest.raises(ValueError, match=f"too few different streams of 1 tasks.*'{split}'"):
            draw("split", pair, split, tasks=1)


@dataclass(frozen=True)
class Short:
    """A faulty plug-in."""

    name: str = "short"

    def draw(self, rng: np.random.Generator, dataset: Dataset, tasks: int, ood: bool) -> tuple[Task, ...]:
        return (Task(Transform(), (0, 1)),)


def test_plug_in_that_draws_too_few_tasks(toy: Dataset) -> None:
    with pytest.raises(ValueError, match="'short' drew 1 tasks, expected 5"):
        draw(Short(), toy)
    assert draw(Short(), toy, split_of(Short().draw(np.random.default_rng(0), toy, 1, False)), tasks=1).tasks


def _dataset(classes: int) -> Dataset:
    inputs = np.random.default_rng(classes).random((3 * classes, 3, 3))
    return Dataset.from_arrays(inputs, np.repeat(np.arange(classes), 3), name=f"toy-{classes}")


DATASETS_BY_CLASSES = {classes: _dataset(classes) for classes in (5, 7, 10, 13)}
EXPECTED_IDS = {
    "mixed": "c6e4a803683f323a",
    "permuted": "fbb05ff3aa14c565",
    "rotated": "a7c381dd6ec1efbb",
    "split": "a2819ab0656a8532",
}
