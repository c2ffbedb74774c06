"""Heads of every kind answer as they should, also when units go."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from growenv.networks.other_weights import forward_with
from growenv.protection import Batch, Stage, joined
from tests.pairs import ROWS, AllHeads, accuracies, begun, everyone, onwards


def test_a_shared_head_outlives_freezing() -> None:
    learner = begun("domain-incremental", "freeze")
    learner.train()
    x = learner.data.gather(learner.data.evaluation_set("test", learner.task)[0])
    before = learner.network.forward(x).clone()
    learner.finish_task(everyone())
    assert learner.network.active_units.sum() == 0
    torch.testing.assert_close(learner.network.forward(x), before, atol=1e-5, rtol=0)


@pytest.mark.parametrize("permuted", [False, True])
def test_one_wide_head_learns_as_heads_of_their_own_do(permuted: bool) -> None:
    own, wide = (begun("task-incremental", protection, permuted=permuted) for protection in ("finetune", AllHeads()))
    assert wide.network.classes == 30
    for task in range(3):
        for learner in (own, wide):
            learner.train()
        for which in range(task + 1):
            tasks = np.full(ROWS, which)
            x = own.data.gather(own.data.evaluation_set("test", tasks)[0])
            one, other = own.logits(x, tasks), wide.logits(x, tasks)
            torch.testing.assert_close(one[:, :, :2], other[:, :, 10 * which : 10 * which + 2], atol=2e-4, rtol=1e-3)
            np.testing.assert_allclose(own.accuracy("test", tasks), wide.accuracy("test", tasks), atol=0.02)
        if task < 2:
            for learner in (own, wide):
                learner.next_task(everyone())


def test_restored_heads_are_silent_in_training_and_back_at_test() -> None:
    learner = begun("class-incremental-restore", optimizer="sgd", learning_rate=0.1)
    onwards(learner)
    constant = learner.network.layout.spans(2)[0].frozen.start
    head = learner.network.weights[-1]
    trained = learner.heads.kept[:, 0]
    assert trained[:, :, :2].any()
    assert not trained[:, :, 2:].any()
    biases = trained[:, 0, :2].clone()
    assert biases.any()
    for _ in range(3):
        learner.train()
        head = learner.network.weights[-1]
        torch.testing.assert_close(head[:, constant, :2], biases, atol=0, rtol=0)
        others = head[:, :, :2].clone()
        others[:, constant] = 0.0
        assert not others.any(), "weights of other classes are silent"
        assert not head[:, :, 4:].any()
    together = learner.heads.together(learner.task, learner.data.seeds)
    read = learner.heads.read()
    row, position = np.nonzero(read >= 0)
    assert torch.equal(together[row, position, :2], trained[row, read[row, position], :2])
    assert torch.equal(together[:, :, 2:4], head[:, :, 2:4])


def test_restoring_heads_forgets_less_than_training_all_outputs() -> None:
    final = {}
    for name in ("class-incremental-restore", "class-incremental-all"):
        learner = begun(name, optimizer="sgd", learning_rate=0.05, decisions=8)
        onwards(learner, 8)
        onwards(learner, 8)
        for _ in range(8):
            learner.train()
        final[name] = accuracies(learner)
    assert (final["class-incremental-all"][0] < 0.05).all()
    assert final["class-incremental-restore"][0].mean() > 0.2


def test_the_largest_answer_of_all_heads_is_the_concatenation_by_hand() -> None:
    learner = begun("class-incremental-max", "freeze", pairs=[(0, 1), (2, 3, 4), (4, 5)])
    onwards(learner)
    onwards(learner)
    learner.train()
    for task, classes in enumerate([(0, 1), (2, 3, 4), (4, 5)]):
        tasks = np.full(ROWS, task)
        samples, labels, weights = learner.data.evaluation_set("test", tasks)
        x = learner.data.gather(samples)
        scores = torch.full((ROWS, x.shape[1], 10), -1e9)
        for head, members in enumerate([(0, 1), (2, 3, 4), (4, 5)]):
            logits = learner.logits(x, np.full(ROWS, head))
            for place, label in enumerate(members):
                scores[:, :, label] = torch.maximum(scores[:, :, label], logits[:, :, place])
        right = scores.argmax(dim=2) == torch.tensor(classes)[labels]
        expected = (right * weights).sum(dim=1)
        np.testing.assert_allclose(learner.accuracy("test", tasks), expected, atol=1e-6)


def test_old_samples_train_their_own_heads() -> None:
    class OnlyOld(AllHeads):
        """From the second task on, trains on samples of the first task alone."""

        def rehearse(self, stage: Stage, batch: Batch) -> Batch:
            if stage.task[0] == 0:
                return batch
            old = stage.draw_from(0, np.zeros((ROWS, 16), dtype=np.int64))
            new = Batch(batch.inputs, batch.targets, batch.absent, 0.0, batch.samples, batch.outputs)
            return joined(new, old)

    learner = begun("task-incremental", OnlyOld(), permuted=True)
    onwards(learner, 1)
    before = accuracies(learner)
    for _ in range(4):
        learner.train()
    after = accuracies(learner)
    assert (after[0] > 0.9).all()
    assert (after[0] >= before[0]).all()
    assert (after[1] < 0.9).any(), "the new task was not trained"


def test_units_that_are_taken_away_are_gone_and_nothing_else_changes() -> None:
    learner = begun("task-incremental")
    onwards(learner)
    learner.grow(np.zeros(ROWS, dtype=np.int64), np.array([4, 0, 2]))
    learner.train()
    x = learner.data.gather(learner.data.evaluation_set("test", learner.task)[0])
    gone = np.zeros((ROWS, learner.network.layout.active[0]), dtype=bool)
    gone[0, [1, 13]], gone[2, [0]] = True, True
    silenced = learner.network.buffers["weights"].clone()
    blocks = learner.network.layout.blocks(silenced)
    for row, unit in zip(*np.nonzero(gone), strict=True):
        blocks[1][row, learner.network.layout.frozen[0] + unit] = 0.0
    expected = forward_with(learner.network, x, silenced)
    learner.remove(0, gone)
    torch.testing.assert_close(learner.network.forward(x), expected, atol=1e-6, rtol=0)
    assert learner.network.widths[:, 0].tolist() == [14, 12, 13]
    assert learner.units[:, :, 0].tolist() == [[11, 3, 0], [12, 0, 0], [11, 2, 0]]
    learner.train()


@pytest.mark.parametrize("layer", [0, 1])
def test_a_kept_head_loses_what_it_read_of_removed_units(layer: int) -> None:
    learner = begun("task-incremental")
    onwards(learner)
    kept = learner.heads.kept[:, 0].clone()
    gone = np.zeros((ROWS, learner.network.layout.active[layer]), dtype=bool)
    gone[1, 2] = True
    learner.remove(layer, gone)
    expected = kept.clone()
    if layer == 1:
        expected[1, 3:-1], expected[1, -1] = kept[1, 4:], 0.0  # unit 2 has birth index 3
    assert torch.equal(learner.heads.kept[:, 0], expected)
