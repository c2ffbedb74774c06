"""Training, growing and measuring equal a slow reference that treats one row at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.heads import ABSENT
from growenv.learner import Learner
from growenv.streams import load_dataset
from growenv.streams.row_data import EVALUATION_CHUNK
from tests.reference import SlowRow, assert_equal_rows, check_padding, row_of
from tests.rollouts import TASKS, assert_same, context, learner, task, toy_dataset, uneven_contexts

CONTEXTS = [context(TASKS[:3], 21), context(TASKS[1:4], 22), context(TASKS[3:6], 23)]
EVERYONE = np.ones(3, dtype=bool)
NOBODY = np.zeros(3, dtype=np.int64)
DIGITS = load_dataset("digits")

# What every row does before it trains: "next", or (layer, amount). The rows are at different tasks most of the time.
SCRIPT: list[list[Any]] = [
    [None, (0, 3), None],
    [(1, 9), None, "next"],
    ["next", (0, 20), (1, 2)],
    [(0, 1), "next", (1, 1)],
    [(1, 2), (1, 4), None],
    ["next", (0, 2), "next"],
    [(0, 5), None, (0, 30)],
]


def sample_index(samples: Tensor) -> Tensor:
    """Samples of the data set, whatever rotated copy they were taken from."""
    return samples % len(DIGITS.labels)


def follow(ours: Learner, slow: list[SlowRow], actions: list[Any]) -> None:
    """Let the learner and the references grow, or go on to the next task, alike."""
    onwards = np.array([action == "next" for action in actions])
    for row in np.flatnonzero(onwards):
        slow[row].next_task()
    ours.next_task(onwards)
    for row in np.flatnonzero(onwards):
        slow[row].adopt(ours.network, row, head=True)
    requests = [action if isinstance(action, tuple) else (0, 0) for action in actions]
    ours.grow(np.array([layer for layer, _ in requests]), np.array([amount for _, amount in requests]))
    for row in np.flatnonzero([isinstance(action, tuple) for action in actions]):
        slow[row].adopt(ours.network, row, head=False)


def assert_same_answers(ours: Learner, slow: list[SlowRow]) -> None:
    """Logits, accuracies and losses on every task so far."""
    for number in range(3):
        reached = np.minimum(ours.task, number)
        for split in ("validation", "test"):
            samples, labels, weights = ours.data.evaluation_set(split, reached)
            logits = ours.logits(ours.data.gather(samples), reached)
            accuracy = ours.accuracy(split, reached)
            for row, each in enumerate(slow):
                real, now = weights[row] > 0, int(reached[row])
                index = sample_index(samples[row][real])
                expected = each.logits(index, now).detach()
                classes = expected.shape[1]
                torch.testing.assert_close(logits[row][real][:, :classes], expected, atol=1e-9, rtol=1e-9)
                assert (logits[row][:, classes:] < ABSENT / 2).all()
                assert accuracy[row] == pytest.approx(each.scores(index, now)[0], abs=1e-12)
                assert torch.equal(labels[row][real], each.labels(index, now))


@pytest.mark.parametrize("protection", ["freeze", "finetune"])
@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 0.01), ("sgd", 0.1)])
def test_training_equals_a_slow_reference(protection: str, optimizer: str, rate: float) -> None:
    ours = learner(3, protection=protection, optimizer=optimizer, learning_rate=rate, minibatches=5)
    ours.begin(EVERYONE, CONTEXTS)
    slow = [SlowRow(ours.config, DIGITS, each, freezes=protection == "freeze") for each in CONTEXTS]
    for row, each in enumerate(slow):
        each.adopt(ours.network, row, head=True)
    for actions in SCRIPT:
        follow(ours, slow, actions)
        samples, _ = ours.data.minibatches(ours.task, ours.steps, 5, 16)
        report = ours.train()
        accuracy, loss = ours.validate()
        chosen, _, weights = ours.data.evaluation_set("validation", ours.task)
        for row, each in enumerate(slow):
            results = [each.train(sample_index(samples[number, row])) for number in range(5)]
            losses = [result[0] for result in results]
            assert report.loss[row] == pytest.approx(np.mean(losses), abs=1e-9)
            assert report.early_loss[row] == pytest.approx(losses[0], abs=1e-9), "a quarter of five is one"
            assert report.late_loss[row] == pytest.approx(losses[-1], abs=1e-9)
            assert report.confidence[row] == pytest.approx(results[-1][1], abs=1e-9)
            scores = each.scores(sample_index(chosen[row][weights[row] > 0]), each.task)
            assert (accuracy[row], loss[row]) == (pytest.approx(scores[0]), pytest.approx(scores[1], abs=1e-9))
        assert_same_answers(ours, slow)
        check_padding(ours.network)
    assert ours.task.tolist() == [2, 1, 2]


@pytest.mark.parametrize("protection", ["freeze", "finetune"])
def test_activity_equals_a_slow_count_of_every_unit(protection: str) -> None:
    """Over the validation samples of the current task, of which rows have different numbers; by generation."""
    ours = learner(3, protection=protection, minibatches=5, validation_samples=300)
    ours.begin(EVERYONE, CONTEXTS)
    slow = [SlowRow(ours.config, DIGITS, each, freezes=protection == "freeze") for each in CONTEXTS]
    for row, each in enumerate(slow):
        each.adopt(ours.network, row, head=True)
    for actions in SCRIPT:
        follow(ours, slow, actions)
        samples, _ = ours.data.minibatches(ours.task, ours.steps, 5, 16)
        ours.train()
        chosen, _, weights = ours.data.evaluation_set("validation", ours.task)
        rates = ours.activity()
        assert (rates.dtype, rates.shape) == (np.float64, ours.units.shape)
        for row, each in enumerate(slow):
            for number in range(5):
                each.train(sample_index(samples[number, row]))
            active = each.activity(sample_index(chosen[row][weights[row] > 0]), each.task)
            for layer, units in enumerate(active):
                until = np.cumsum(ours.units[row, :, layer])
                for generation, (last, count) in enumerate(zip(until, ours.units[row, :, layer], strict=True)):
                    expected = units[last - count : last].mean() if count else 0.0
                    assert rates[row, generation, layer] == pytest.approx(float(expected), abs=1e-12)
    assert len({int((row > 0).sum()) for row in weights}) > 1
    assert (rates[ours.units > 0] > 0).any()
    assert (ours.units[:, 1:] > 0).any()


def test_measuring_activity_changes_nothing() -> None:
    ours, twin = learner(3), learner(3)
    for each in (ours, twin):
        each.begin(EVERYONE, CONTEXTS)
    ours.activity()
    assert_same([vars(ours.train()), ours.validate()], [vars(twin.train()), twin.validate()])


def test_units_that_nothing_excites_are_silent_and_biases_alone_make_others_fire_always() -> None:
    ours = learner(2, hidden=(2, 1))
    ours.begin(EVERYONE[:2], CONTEXTS[:2])
    ours.network.buffers["weights"].zero_()
    assert not ours.activity().any()
    ours.network.weights[0][:, -1, 0] = 1.0  # the bias of the first of two units
    np.testing.assert_array_equal(ours.activity()[:, 0], [[0.5, 0.0]] * 2)


def test_float32_stays_near_float64() -> None:
    rough, exact = (learner(3, dtype=dtype, minibatches=8) for dtype in (torch.float32, torch.float64))
    for ours in (rough, exact):
        ours.begin(EVERYONE, CONTEXTS)
        ours.grow(NOBODY, np.array([4, 0, 9]))
    np.testing.assert_allclose(rough.train().loss, exact.train().loss, atol=1e-4)


def test_reports_are_means_over_quarters() -> None:
    ours, twin = learner(2, minibatches=8), learner(2, minibatches=1)
    for each in (ours, twin):
        each.begin(EVERYONE[:2], CONTEXTS[:2])
    report = ours.train()
    singles = [twin.train() for _ in range(8)]
    losses = np.stack([each.loss for each in singles])
    np.testing.assert_allclose(report.loss, losses.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(report.early_loss, losses[:2].mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(report.late_loss, losses[-2:].mean(axis=0), atol=1e-12)
    confidence = np.stack([each.confidence for each in singles[-2:]]).mean(axis=0)
    np.testing.assert_allclose(report.confidence, confidence, atol=1e-12)


# -- heads and classes -----------------------------------------------------------------------------------------------


def test_absent_classes_have_no_probability_and_no_weights() -> None:
    ours = learner(3)
    ours.begin(EVERYONE, CONTEXTS)
    for _ in range(2):
        ours.train()
        for row, each in enumerate(CONTEXTS):
            classes = len(each.tasks[int(ours.task[row])].classes)
            assert not ours.network.weights[-1][row][:, classes:].any()
            assert ours.network.weights[-1][row][:, :classes].any()
        ours.next_task(EVERYONE)


def test_initial_networks_are_drawn_from_the_inner_seed_alone() -> None:
    """Hidden units of He length with zero biases, heads uniform within one over the root of the width."""
    ours = learner(3, hidden=(5, 4))
    ours.begin(EVERYONE, [CONTEXTS[0], CONTEXTS[0], CONTEXTS[2]])
    first, same, other = (row_of(ours.network, row) for row in range(3))
    assert_equal_rows(first, same)
    assert not torch.equal(first.trained[0], other.trained[0])
    for layer, source in ((0, slice(0, -1)), (1, slice(1, None))):
        lengths = first.trained[layer][source].norm(dim=0)
        torch.testing.assert_close(lengths, torch.full_like(lengths, 2**0.5))
    assert not first.trained[0][-1].any()
    assert not first.trained[1][0].any()
    head = first.trained[2][:, :3]
    assert not head[0].any(), "biases of heads start at zero"
    assert 0.3 < float(head[1:].abs().max()) <= 0.5


def test_tasks_to_come_are_read_through_the_heads_that_they_will_start_with() -> None:
    ours = learner(3)
    ours.begin(EVERYONE, CONTEXTS)
    ours.train()
    ahead = ours.accuracy("test", np.ones(3, dtype=np.int64))
    samples, _, _ = ours.data.evaluation_set("test", np.ones(3, dtype=np.int64))
    logits = ours.logits(ours.data.gather(samples), np.ones(3, dtype=np.int64)).clone()
    ours.next_task(EVERYONE)
    torch.testing.assert_close(ours.logits(ours.data.gather(samples), ours.task), logits, atol=1e-9, rtol=0)
    assert (ours.accuracy("test", ours.task) == ahead).all()


def test_a_dead_network_knows_nothing() -> None:
    """All its logits are alike; a tie is no right answer."""
    ours = learner(3)
    ours.begin(EVERYONE, CONTEXTS)
    ours.network.buffers["weights"].zero_()
    accuracy, loss = ours.validate()
    assert (accuracy == 0).all()
    np.testing.assert_allclose(loss, np.log([3, 2, 3]), atol=1e-9)


@pytest.mark.parametrize("samples", [EVALUATION_CHUNK - 1, EVALUATION_CHUNK, EVALUATION_CHUNK + 1, 10_000])
def test_measuring_in_chunks_changes_nothing(samples: int) -> None:
    ours = learner(2, test_samples=samples)
    ours.begin(EVERYONE[:2], [context([task(*range(10))], 1), context([task(0, 1)], 2)])
    ours.train()
    now = np.zeros(2, dtype=np.int64)
    index, labels, weights = ours.data.evaluation_set("test", now)
    right = ours.logits(ours.data.gather(index), now).argmax(dim=2) == labels
    np.testing.assert_allclose(ours.accuracy("test", now), (right * weights).sum(dim=1), atol=1e-12)


def test_it_learns() -> None:
    """Three separated clusters are told apart after some hundred minibatches, and forgotten by nobody who freezes."""
    dataset = toy_dataset()
    streams = [task(0, 1, 2), task(0, 1, 2, permutation=1)]
    ours = learner(2, tasks=2, dataset=dataset, hidden=(8, 8), minibatches=150, dtype=torch.float32)
    ours.begin(EVERYONE[:2], [context(streams, row, dataset="toy") for row in range(2)])
    ours.train()
    assert (ours.validate()[0] > 0.9).all()
    ours.next_task(EVERYONE[:2])
    ours.grow(np.zeros(2, dtype=np.int64), np.full(2, 8))
    ours.grow(np.ones(2, dtype=np.int64), np.full(2, 8))
    report = ours.train()
    assert (ours.validate()[0] > 0.9).all()
    assert (ours.accuracy("validation", np.zeros(2, dtype=np.int64)) > 0.9).all()
    assert (report.late_loss < report.early_loss).all()


# -- rows ------------------------------------------------------------------------------------------------------------


def test_a_new_stream_in_one_row_leaves_moments_counts_and_minibatches_of_the_others() -> None:
    ours, undisturbed = learner(3), learner(3)
    for each in (ours, undisturbed):
        each.begin(EVERYONE, CONTEXTS)
        each.train()
        each.grow(NOBODY, np.array([1, 2, 3]))
        each.train()
    ours.begin(np.array([False, True, False]), [context(TASKS[3:6], 77)] * 3)
    assert ours.steps.tolist() == [4, 0, 4]
    assert ours.optimizer.counts.tolist() == [4, 0, 4]  # type: ignore[attr-defined]
    for _ in range(2):
        for name in ("weights", "adam_first", "adam_second"):
            for row in (0, 2):
                theirs = undisturbed.network
                given = row_of(ours.network, row, ours.network.layout.blocks(ours.network.buffers[name]))
                assert_equal_rows(given, row_of(theirs, row, theirs.layout.blocks(theirs.buffers[name])))
        for each in (ours, undisturbed):
            each.train()
    fresh = learner(1)
    fresh.begin(EVERYONE[:1], [context(TASKS[3:6], 77)])
    for _ in range(2):
        fresh.train()
    assert_same(row_of(ours.network, 1).parts(), row_of(fresh.network, 0).parts(), tolerance=1e-12)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_row_that_diverges_harms_nobody_and_recovers_with_its_next_stream(value: float) -> None:
    ours, undisturbed = learner(3), learner(3)
    for each in (ours, undisturbed):
        each.begin(EVERYONE, CONTEXTS)
    ours.network.weights[0][1, :, :5] = value
    for each in (ours, undisturbed):
        each.train()
        each.next_task(np.array([True, False, False]))
        each.grow(np.array([0, 0, 1]), np.array([3, 0, 9]))
    report, expected = ours.train(), undisturbed.train()
    assert not (np.isfinite(report.loss[1]) and np.isfinite(ours.validate()[1][1]))
    for row in (0, 2):
        assert report.loss[row] == expected.loss[row]
        assert_equal_rows(row_of(ours.network, row), row_of(undisturbed.network, row))
    assert ours.accuracy("test", np.array([1, 0, 0]))[1] == 0
    for each in (ours, undisturbed):
        each.begin(np.array([False, True, False]), [CONTEXTS[2]] * 3)
        each.train()
    for row in range(3):
        assert_equal_rows(row_of(ours.network, row), row_of(undisturbed.network, row))
    check_padding(ours.network)


def test_snapshots_continue_exactly_in_the_same_and_in_another_learner() -> None:
    def rest(each: Learner) -> list[Any]:
        each.grow(np.array([0, 1, 0]), np.array([9, 2, 0]))
        reports = [vars(each.train())]
        each.next_task(np.array([True, False, True]))
        reports.append(vars(each.train()))
        return [*reports, each.validate(), each.accuracy("test", np.zeros(3, dtype=np.int64)), each.units.copy()]

    ours, other = learner(3), learner(3)
    ours.begin(EVERYONE, CONTEXTS)
    ours.train()
    ours.next_task(EVERYONE)
    ours.train()
    kept = ours.snapshot()
    expected = rest(ours)
    other.begin(EVERYONE, uneven_contexts(3))
    for each in (ours, ours, other, other):
        each.restore(kept)
        assert_same(rest(each), expected)
        check_padding(each.network)
