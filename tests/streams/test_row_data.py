"""Every row sees the samples of its own task, through its own transform, whatever the others do."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from growenv.streams import Dataset, load_dataset
from growenv.streams.row_data import RowData
from tests.rollouts import TASKS, context, task, uneven_contexts

DIGITS = load_dataset("digits")
FIRST = np.zeros(3, dtype=np.int64)
EVERYONE = np.ones(3, dtype=bool)
CONTEXTS = [context(TASKS[:3], 5), context(TASKS[1:4], 6), context(TASKS[2:5], 7)]


def begun(contexts: Any = None, tasks: int = 3, validation: int = 20, test: int = 1000, **options: Any) -> RowData:
    chosen = contexts or CONTEXTS
    data = RowData(DIGITS, len(chosen), tasks, 10, validation, test, **options)
    everyone = np.ones(len(chosen), dtype=bool)
    data.begin(everyone, chosen)
    data.enter(everyone, np.zeros(len(chosen), dtype=np.int64))
    return data


def bytes_dataset() -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(60, 4, 4), dtype=np.uint8)
    return Dataset.from_arrays(images, np.arange(60) % 3, name="bytes")


# -- samples ---------------------------------------------------------------------------------------------------------


def test_gathered_samples_end_with_a_one() -> None:
    data = begun()
    index = torch.tensor([[0, 5], [7, 7], [1796, 3]])
    x = data.gather(index)
    assert x.shape == (3, 2, 65)
    assert torch.equal(x[..., :-1], DIGITS.inputs[index])
    assert (x[..., -1] == 1).all()


def test_bytes_are_normalised_on_the_way() -> None:
    dataset = bytes_dataset()
    assert dataset.inputs.dtype == torch.uint8
    data = RowData(dataset, 1, 1, 3, 5, 5)
    index = torch.tensor([[4, 0, 59]])
    expected = (dataset.inputs[index].float() - dataset.shift) * dataset.scale
    torch.testing.assert_close(data.gather(index)[..., :-1], expected)
    assert (data.gather(index)[..., -1] == 1).all()


@pytest.mark.parametrize("dataset", [DIGITS, bytes_dataset()], ids=["float", "bytes"])
def test_samples_can_be_gathered_into_a_given_tensor(dataset: Dataset) -> None:
    data = RowData(dataset, 2, 1, dataset.classes, 5, 5)
    out = torch.full((2, 3, dataset.features + 1), 9.0)
    index = torch.tensor([[1, 2, 3], [4, 5, 6]])
    data.gather(index, out=out)
    assert torch.equal(out, data.gather(index))


# -- minibatches -----------------------------------------------------------------------------------------------------


def test_minibatches_hold_training_samples_of_the_tasks_classes_with_labels_within_the_task() -> None:
    data = begun()
    for now in range(3):
        tasks = np.full(3, now)
        data.enter(EVERYONE, tasks)
        samples, labels = data.minibatches(tasks, FIRST, 30, 16)
        assert samples.shape == labels.shape == (30, 3, 16)
        train = set(DIGITS.train.tolist())
        for row, each in enumerate(CONTEXTS):
            drawn = samples[:, row].reshape(-1) % len(DIGITS.labels)
            classes = list(each.tasks[now].classes)
            assert set(drawn.tolist()) <= train
            assert DIGITS.labels[drawn].tolist() == [classes[label] for label in labels[:, row].reshape(-1)]
            assert set(labels[:, row].reshape(-1).tolist()) == set(range(len(classes)))


def test_rotated_tasks_read_the_rotated_copy() -> None:
    data = begun()
    samples, _ = data.minibatches(np.array([1, 0, 0]), FIRST, 1, 8)  # row 1 sees its images at 120 degrees
    assert CONTEXTS[1].tasks[0].transform.base == 30
    index = samples[0, 1]
    assert torch.equal(data.gather(index)[:, :-1], DIGITS.bank(30)[index % len(DIGITS.labels)])


def test_a_minibatch_is_named_by_seed_and_number_alone() -> None:
    data = begun()
    samples, labels = data.minibatches(FIRST, np.array([0, 10, 3]), 6, 8)
    for row, first in enumerate((0, 10, 3)):
        alone = begun(CONTEXTS[row : row + 1])
        one, two = alone.minibatches(FIRST[:1], np.array([first + 2]), 2, 8)
        offset = [0, data._offset[1, 0] - alone._offset[0, 0], 0][row]
        assert torch.equal(one[:, 0] + offset, samples[2:4, row])
        assert torch.equal(two[:, 0], labels[2:4, row])


def test_minibatches_are_drawn_uniformly_from_all_training_samples() -> None:
    data = begun()
    samples, _ = data.minibatches(FIRST, FIRST, 2000, 10)
    pool = np.flatnonzero(np.isin(DIGITS.labels.numpy(), (1, 4, 7)))
    pool = np.intersect1d(pool, DIGITS.train.numpy())
    counts = np.bincount(samples[:, 0].reshape(-1).numpy(), minlength=len(DIGITS.labels))
    assert set(np.flatnonzero(counts)) == set(pool)
    expected = 20_000 / len(pool)
    assert np.abs(counts[pool] - expected).max() < 5 * expected**0.5


def test_seeds_give_different_minibatches() -> None:
    data = begun([context(TASKS[:1], 1), context(TASKS[:1], 2)], tasks=1)
    samples, _ = data.minibatches(FIRST[:2], FIRST[:2], 5, 8)
    assert not torch.equal(samples[:, 0], samples[:, 1])


# -- evaluation sets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluation_sets_hold_the_parts_samples_of_the_tasks_classes(split: str) -> None:
    data = begun()
    part = getattr(DIGITS, split).numpy()
    for now in range(3):
        samples, labels, weights = data.evaluation_set(split, np.full(3, now))
        for row, each in enumerate(CONTEXTS):
            classes = list(each.tasks[now].classes)
            pool = part[np.isin(DIGITS.labels[part], classes)]
            real = weights[row] > 0
            drawn = samples[row][real] % len(DIGITS.labels)
            assert len(set(drawn.tolist())) == len(drawn) == min(len(pool), data.limits[split])
            assert set(drawn.tolist()) <= set(pool.tolist())
            assert DIGITS.labels[drawn].tolist() == [classes[label] for label in labels[row][real]]
            assert float(weights[row].sum()) == pytest.approx(1.0)
            assert len(set(weights[row][real].tolist())) == 1


def test_an_evaluation_set_depends_on_seed_and_task_but_not_on_neighbours() -> None:
    same = [task(0, 1, 2), task(0, 1, 2)]
    data = begun([context(same, 1), context(same, 2), context([task(*range(10))], 3)], validation=15)
    chosen = {}
    for row, now in ((0, 0), (0, 1), (1, 0)):
        samples, _, weights = data.evaluation_set("validation", np.array([now, now, 0]))
        chosen[row, now] = samples[row][weights[row] > 0].tolist()
        alone = begun([context(same, row + 1)], validation=15)
        again, _, real = alone.evaluation_set("validation", np.array([now]))
        assert again[0][real[0] > 0].tolist() == chosen[row, now]
    assert chosen[0, 0] != chosen[0, 1]
    assert chosen[0, 0] != chosen[1, 0]


# -- input orders ----------------------------------------------------------------------------------------------------


def test_reordered_weights_read_samples_as_the_task_sees_them() -> None:
    """From a task to any other: weights times samples equal the task's weights times its transformed images."""
    data, rng = begun(), np.random.default_rng(0)
    for now in range(3):
        for wanted in range(3):
            tasks = np.full(3, now), np.full(3, wanted)
            order = data.order(*tasks)
            samples, _, _ = data.evaluation_set("validation", tasks[1])
            x = data.gather(samples)
            for row, each in enumerate(CONTEXTS):
                weights = torch.from_numpy(rng.normal(size=65)).float()  # for transformed images, the bias last
                read = torch.empty(65)  # the same weights in the order in which task `now` reads samples
                here = torch.from_numpy(each.tasks[now].transform.pixel_order(DIGITS))
                read[torch.cat((here, torch.tensor([64])))] = weights
                transform = each.tasks[wanted].transform
                images = DIGITS.bank(transform.base)[samples[row] % len(DIGITS.labels)]
                seen = images[:, torch.from_numpy(transform.pixel_order(DIGITS))]
                expected = seen @ weights[:-1] + weights[-1]
                torch.testing.assert_close(x[row] @ read[order[row]], expected, atol=1e-4, rtol=1e-4)


def test_the_order_of_a_task_for_itself_changes_nothing() -> None:
    data = begun()
    assert torch.equal(data.order(np.full(3, 2), np.full(3, 2)), torch.arange(65).expand(3, -1))


# -- familiarity -----------------------------------------------------------------------------------------------------


def familiarity(*tasks: Any) -> Any:
    data = RowData(DIGITS, 1, len(tasks), 10, 5, 5)
    data.begin(np.ones(1, dtype=bool), [context(tasks)])
    return data.familiarity[0]


def test_familiarity_is_the_correlation_of_mean_images() -> None:
    tasks = [TASKS[0], TASKS[1], task(2, 5, permutation=3), task(8, 9, rotation=30)]
    means = []
    for each in tasks:
        index = DIGITS.train[torch.isin(DIGITS.labels[DIGITS.train], torch.tensor(each.classes))]
        images = DIGITS.bank(each.transform.base)[index][:, each.transform.pixel_order(DIGITS)].double()
        labels = DIGITS.labels[index]
        means.append(torch.stack([images[labels == label].mean(dim=0) for label in each.classes]).mean(dim=0))
    alike = np.corrcoef(torch.stack(means).numpy())
    expected = [0.0, *(alike[number, :number].max() for number in range(1, 4))]
    np.testing.assert_allclose(familiarity(*tasks), expected, atol=1e-9)


def test_a_transform_that_comes_back_looks_familiar() -> None:
    stream = task(0, 1, permutation=1), task(*range(10), permutation=2), task(4, 5, permutation=1)
    _, unknown, known = familiarity(*stream)
    assert known > 0.5 > unknown
    assert familiarity(task(0, 1), task(0, 1))[1] == pytest.approx(1.0)


# -- streams come and go ---------------------------------------------------------------------------------------------


def state_of(data: RowData, row: int, now: int) -> list[Any]:
    tasks = np.full(data.rows, now)
    data.enter(np.ones(data.rows, dtype=bool), tasks)
    samples, labels = data.minibatches(tasks, np.zeros(data.rows, dtype=np.int64), 3, 4)
    chosen, within, weights = data.evaluation_set("test", tasks)
    real = weights[row] > 0
    x = data.gather(samples[:, row]), data.gather(chosen[row][real])
    return [*x, labels[:, row], within[row][real], torch.from_numpy(data.familiarity[row].copy())]


def assert_states(given: list[Any], expected: list[Any]) -> None:
    for one, two in zip(given, expected, strict=True):
        assert torch.equal(one, two)


def test_a_new_stream_in_one_row_leaves_the_others() -> None:
    data = begun()
    before = [state_of(data, row, now) for row in (0, 2) for now in range(3)]
    data.begin(np.array([False, True, False]), [CONTEXTS[0], context(TASKS[3:6], 99), CONTEXTS[2]])
    after = [state_of(data, row, now) for row in (0, 2) for now in range(3)]
    for one, two in zip(after, before, strict=True):
        assert_states(one, two)
    fresh = begun([context(TASKS[3:6], 99)])
    for now in range(3):
        assert_states(state_of(data, 1, now), state_of(fresh, 0, now))


def test_a_shorter_stream_after_a_longer_one_is_as_in_a_fresh_instance() -> None:
    data = begun(uneven_contexts(3))
    short = context([task(8, 9, permutation=7)], 44)
    data.begin(np.array([False, False, True]), [CONTEXTS[0], CONTEXTS[1], short])
    assert_states(state_of(data, 2, 0), state_of(begun([short]), 0, 0))


def test_state_goes_into_another_instance_with_its_banks_in_another_order() -> None:
    data = begun([context([task(0, 1, rotation=30), task(2, 3, rotation=75)])], tasks=2)
    other = begun([context([task(0, 1, rotation=75), task(2, 3, rotation=45)], 9)], tasks=2)
    expected = [state_of(data, 0, now) for now in range(2)]
    data.enter(np.ones(1, dtype=bool), FIRST[:1])
    kept = data.state()
    data.begin(np.ones(1, dtype=bool), [context([task(4, 5), task(6, 7)], 3)])
    for target in (other, data, other):
        target.load_state(kept)
        for now in range(2):
            assert_states(state_of(target, 0, now), expected[now])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))])
def test_copies_hold_the_same_samples(duplicate: Any) -> None:
    data = begun()
    twin = duplicate(data)
    for row in range(3):
        assert_states(state_of(twin, row, 1), state_of(data, row, 1))
    twin.begin(EVERYONE, [CONTEXTS[2]] * 3)
    data.begin(EVERYONE, [CONTEXTS[2]] * 3)
    assert_states(state_of(twin, 0, 2), state_of(data, 0, 2))
