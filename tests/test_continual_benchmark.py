"""The benchmark of continual learning times equal work."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import continual
from benchmarks.continual import PROTECTIONS, PlainLoop, Shape, Stream, measure, report

TINY = Shape(12, (8, 8), 16)


@pytest.fixture(scope="module")
def stream() -> Stream:
    return Stream(TINY, minibatches=2)


def test_both_sides_have_the_same_samples_of_two_classes_a_task(stream: Stream) -> None:
    for number, (inputs, labels) in enumerate(stream.tasks):
        assert inputs.shape == (2 * TINY.batch, TINY.inputs)
        assert sorted(set(labels.tolist())) == [2 * number, 2 * number + 1]
        assert np.bincount(labels)[2 * number :].tolist() == [TINY.batch] * 2


def test_the_plain_loops_protect(stream: Stream) -> None:
    loops = {}
    for protection in PROTECTIONS:
        loops[protection] = PlainLoop(stream.network(0), protection, TINY.batch)
        loops[protection].learn(stream.tasks)
    assert len(loops["ewc"].kept) == continual.TASKS
    assert all(importance.max() > 0 for importances, _ in loops["ewc"].kept for importance in importances)
    stored = loops["replay"].stored
    assert stored is not None
    assert sorted(set(stored[1].tolist())) == list(range(2 * continual.TASKS))
    weights = [torch.nn.utils.parameters_to_vector(loop.parameters) for loop in loops.values()]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_every_way_is_timed_and_shown() -> None:
    lines = measure(TINY, 1, 2, with_avalanche=False, repeats=1)
    assert [line["protection"] for line in lines] == list(PROTECTIONS)
    assert all(set(line["seconds"]) == {"stack", "in turn", "plain"} for line in lines)
    assert all(seconds > 0 for line in lines for seconds in line["seconds"].values())
    text = report({"lines": lines, "seeds": 2, "avalanche": None})
    assert "2 seeds, 3 minibatches each, one thread" in text
    assert "Avalanche is not installed" in text
    assert text.count("12-8-8, batch 16") == len(PROTECTIONS)
