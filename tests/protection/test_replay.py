"""Replay trains on stored samples exactly as a slow network would, and keeps what it promises to keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.hardware import Architecture
from growenv.learner import Learner
from growenv.protection import PROTECTIONS, Batch, Replay
from growenv.protection.exemplars import TaskEnd
from growenv.protection.joint import Joint
from growenv.protection.stage import Stage
from growenv.streams import Context, Dataset, NotVisibleError, load_dataset
from growenv.streams.any_task import places_of, tasks_of
from growenv.testing import check_protection
from tests.reference import Row, logits_of, row_of
from tests.rollouts import context, learner, task

EVERYONE = np.ones(2, dtype=bool)
PERMUTED = [task(0, 1, permutation=1), task(2, 3), task(4, 5, permutation=2)]
SPLIT = [task(0, 1), task(2, 3), task(4, 5)]


class Recording(Replay):
    """Remembers every minibatch."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.batches: list[Batch] = []

    def rehearse(self, stage: Stage, batch: Batch) -> Batch:
        given = super().rehearse(stage, batch)
        self.batches.append(Batch(given.inputs.clone(), *list(vars(given).values())[1:]))
        return given


def began(protection: Any, stream: Any = SPLIT, **options: Any) -> Learner:
    chosen = {"minibatches": 4, "batch_size": 8, "decisions": 1, "hidden": (6, 5), **options}
    ours = learner(2, protection=protection, **chosen)
    ours.begin(EVERYONE, [context(stream, inner_seed=row) for row in range(2)])
    return ours


def trained(ours: Learner, tasks: int) -> Learner:
    for number in range(tasks):
        ours.train()
        if number < tasks - 1:
            ours.next_task(EVERYONE)
    return ours


def batches_of(ours: Learner) -> list[Batch]:
    assert isinstance(ours.protection, Recording)
    return ours.protection.batches


def replay_of(ours: Learner) -> Replay:
    assert isinstance(ours.protection, Replay)
    return ours.protection


# -- training --------------------------------------------------------------------------------------------------------


class SlowReplay:
    """One network with all heads, which permutes images and takes plain gradient steps on given samples."""

    def __init__(self, dataset: Dataset, stream: Context, weights: Row, rate: float) -> None:
        self.dataset, self.stream, self.rate = dataset, stream, rate
        weights.trained[0] = weights.trained[0][[*self.order(0), dataset.features]]
        self.weights = weights

    def order(self, number: int) -> Any:
        return self.stream.tasks[number].transform.pixel_order(self.dataset)

    def inputs(self, samples: Tensor, number: int) -> Tensor:
        images = (self.dataset.inputs[samples].double() - self.dataset.shift) * self.dataset.scale
        return torch.cat((images[:, self.order(number)], torch.ones((len(samples), 1), dtype=torch.float64)), dim=1)

    def loss(self, tokens: Tensor, number: int) -> Tensor:
        """Summed cross-entropy of samples of one task, in its own head."""
        samples, classes = places_of(tokens), list(self.stream.tasks[number].classes)
        places = [classes.index(int(label)) for label in self.dataset.labels[samples]]
        labels = torch.tensor(places, dtype=torch.int64)
        logits = logits_of(self.weights, self.inputs(samples, number))
        first = number * self.dataset.classes
        return torch.nn.functional.cross_entropy(logits[:, first : first + len(classes)], labels, reduction="sum")

    def train(self, batch: Batch, row: int, number: int, size: int) -> None:
        tokens = batch.samples[row]
        for each in self.weights.trained:
            each.requires_grad_(True)
        loss = self.loss(tokens[:size], number) / (size * (number + 1))
        old = tokens[size:]  # samples of the current task are stored as well
        for past in range(number + 1) if number else ():
            loss = loss + (1 - 1 / (number + 1)) * self.loss(old[tasks_of(old) == past], past) / size
        gradients = torch.autograd.grad(loss, self.weights.trained)
        for each, gradient in zip(self.weights.trained, gradients, strict=True):
            each.requires_grad_(False).sub_(self.rate * gradient)


def test_replay_trains_as_slow_networks_do_on_the_same_stored_samples() -> None:
    ours = began(Recording(capacity=20), PERMUTED, optimizer="sgd", learning_rate=0.2)
    dataset = load_dataset("digits")
    streams = [context(PERMUTED, inner_seed=row) for row in range(2)]
    slow = [SlowReplay(dataset, streams[row], row_of(ours.network, row), 0.2) for row in range(2)]
    done = 0
    for number in range(3):
        for row in range(2):  # the head of a new task is drawn when it begins
            columns = slice(number * 10, number * 10 + 10)
            slow[row].weights.trained[-1][:, columns] = row_of(ours.network, row).trained[-1][:, columns]
        ours.train()
        for batch in batches_of(ours)[done:]:
            for row in range(2):
                slow[row].train(batch, row, number, 8)
        done = len(batches_of(ours))
        for past in range(number + 1):
            tasks = np.full(2, past)
            samples, _, _ = ours.data.evaluation_set("test", tasks)
            logits = ours.logits(ours.data.gather(samples), tasks)
            for row in range(2):
                expected = logits_of(slow[row].weights, slow[row].inputs(samples[row], past))
                two = slice(10 * past, 10 * past + 2)
                torch.testing.assert_close(logits[row, :, two], expected[:, two], atol=1e-5, rtol=0)
        if number < 2:
            ours.next_task(EVERYONE)
    assert batches_of(ours)[-1].samples.shape == (2, 16)


@pytest.mark.parametrize("weights", ["1/t", "even"])
def test_shares_of_new_and_stored_samples(weights: str) -> None:
    ours = trained(began(Recording(capacity=20, weights=weights)), 3)
    sums = []
    for batch in batches_of(ours):
        share = torch.as_tensor(batch.share).expand(2, 1, batch.inputs.shape[1])
        sums.append((float(share[0, 0, :8].sum()), float(share[0, 0, 8:].sum())))
        assert torch.equal(share[0], share[1])
    expected = [(1.0, 0.0)] * 4 + [(0.5, 0.5)] * 4 + [(1 / 3, 2 / 3)] * 4
    if weights == "even":
        expected = [(1.0, 0.0)] + [(0.5, 0.5)] * 11
    np.testing.assert_allclose(sums, expected, atol=1e-12)


def test_a_row_without_stored_samples_trains_on_the_new_ones_alone() -> None:
    """Row 1 begins its stream while row 0 replays: row 1 learns what it would learn by itself."""
    ours = trained(began(Replay(capacity=20)), 2)
    ours.begin(np.array([False, True]), [context(SPLIT, inner_seed=1)] * 2)
    ours.train()
    fresh = trained(began(Replay(capacity=20)), 1)
    for one, two in zip(row_of(ours.network, 1).trained, row_of(fresh.network, 1).trained, strict=True):
        torch.testing.assert_close(one, two, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", ["replay", "replay-balanced", "replay-task-end", "joint"])
def test_old_classes_are_remembered(name: str) -> None:
    options = {"scenario": "class-incremental", "minibatches": 80, "batch_size": 16, "hidden": (30,)}
    options |= {"max_hidden": (40,), "learning_rate": 0.01}
    kept = trained(began(PROTECTIONS.make(name), **options), 3)
    lost = trained(began("finetune", **options), 3)
    first = np.zeros(2, dtype=np.int64)
    assert (kept.accuracy("test", first) > 0.7).all()
    assert (lost.accuracy("test", first) < 0.3).all()


# -- what is kept ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filling", ["reservoir", "balanced", "task-end"])
def test_stored_outputs_are_right_and_samples_were_trained_on_or_could_be(filling: str) -> None:
    ours, dataset = trained(began(Replay(capacity=12, filling=filling), PERMUTED), 3), load_dataset("digits")
    kept = replay_of(ours).exemplars
    assert (kept.counts == 12).all()
    for row in range(2):
        tokens = torch.from_numpy(kept.samples[row])
        tasks, samples = tasks_of(tokens), places_of(tokens)
        assert np.isin(samples, dataset.train).all()
        for number, sample, output in zip(tasks, samples, kept.outputs[row], strict=True):
            place = PERMUTED[int(number)].classes.index(int(dataset.labels[sample]))
            assert output == 10 * int(number) + place
        if filling == "balanced":
            assert (np.bincount(kept.outputs[row], minlength=26)[[0, 1, 10, 11, 20, 21]] == 2).all()
    assert not np.array_equal(kept.samples[0], kept.samples[1])


def test_a_task_gives_its_share_when_it_ends_and_nothing_before() -> None:
    ours = began("replay-task-end")
    kept = replay_of(ours).exemplars
    assert isinstance(kept, TaskEnd)
    ours.train()
    assert kept.counts.tolist() == [0, 0]
    replay_of(ours).exemplars.capacity = 30
    ours.next_task(EVERYONE)
    assert kept.counts.tolist() == [30, 30]
    assert len(np.unique(kept.samples[0, :30])) == 30
    ours.train()
    ours.next_task(np.array([True, False]))
    assert kept.sizes == [[15, 15], [30]]


def test_memory_is_that_of_all_samples_there_is_room_for() -> None:
    units = np.array([[[5], [0]], [[9], [1]]])
    shape = Architecture(784, units, np.array([[2, 0], [2, 2]]), directed=False)
    assert Replay(capacity=10).memory(shape).tolist() == [10 * (4 * 784 + 8)] * 2


# -- joint -----------------------------------------------------------------------------------------------------------


class RecordingJoint(Joint):
    """Counts the tasks of all samples, by the task in which they were trained on."""

    def __init__(self) -> None:
        self.counts = np.zeros((3, 3), dtype=np.int64)

    def rehearse(self, stage: Stage, batch: Batch) -> Batch:
        given = super().rehearse(stage, batch)
        tasks = tasks_of(given.samples).numpy()
        np.add.at(self.counts, (np.broadcast_to(stage.finished[:, None], tasks.shape), tasks), 1)
        assert given.samples.shape == batch.samples.shape
        return given


@pytest.mark.parametrize("scenario", ["task-incremental", "domain-incremental", "class-incremental"])
def test_joint_training_draws_evenly_from_all_samples_so_far(scenario: str) -> None:
    stream = SPLIT if scenario == "domain-incremental" else [task(0, 1, 6, 7, 8, 9), task(2, 3), task(4, 5)]
    ours = trained(began(RecordingJoint(), stream, scenario=scenario, minibatches=100), 3)
    part = ours.protection
    assert isinstance(part, RecordingJoint)
    sizes = ours.stage.task_counts()[0]
    for number in range(3):
        expected = 1600 * sizes[: number + 1] / sizes[: number + 1].sum()
        assert np.abs(part.counts[number, : number + 1] - expected).max() < 5 * np.sqrt(1600 / 4)
        assert not part.counts[number, number + 1 :].any(), "nothing is seen ahead of time"


def test_joint_training_needs_to_know_when_tasks_end() -> None:
    with pytest.raises(NotVisibleError):
        trained(began("joint", scenario="task-free"), 1)


def test_where_all_tasks_are_in_every_minibatch_joint_training_is_fine_tuning() -> None:
    one, two = (trained(began(name, scenario="multitask"), 1) for name in ("joint", "finetune"))
    assert torch.equal(one.network.buffers["weights"], two.network.buffers["weights"])


# -- all -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["replay", "replay-balanced", "replay-task-end", "joint"])
def test_promises_of_protections(name: str) -> None:
    assert PROTECTIONS.make(name).name == name
    check_protection(name)


@pytest.mark.parametrize("capacity", [0, -3, 2.5])
def test_capacities_that_are_none(capacity: Any) -> None:
    with pytest.raises(ValueError, match="capacity must be a whole number of samples, at least 1; got"):
        Replay(capacity=capacity)


def test_unknown_fillings_and_weights() -> None:
    with pytest.raises(ValueError, match="unknown filling 'reservoire'; did you mean 'reservoir'"):
        Replay(filling="reservoire")
    with pytest.raises(ValueError, match="unknown weights of replay 'evn'; did you mean 'even'"):
        Replay(weights="evn")
