"""A head that is solved: equal to joint training, exact when features are unlocked, and it needs no identities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.learner import Learner
from growenv.protection.base import Batch
from growenv.protection.closed_form import ClosedForm, fourier_bank
from growenv.protection.stage import Stage
from growenv.registry import UnknownNameError
from growenv.testing import check_protection
from tests.rollouts import context, learner, task

ROWS = 2
EVERYONE = np.ones(ROWS, dtype=bool)
DIGITS = [task(0, 1), task(2, 3), task(4, 5), task(6, 7)]


class Recording(ClosedForm):
    """Remembers the real inputs and the targets of every minibatch."""

    def prepare(self, stage: Stage) -> None:
        super().prepare(stage)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def rehearse(self, stage: Stage, batch: Batch) -> Batch:
        self.seen.append((stage.inputs_of(batch.inputs).clone(), batch.targets.transpose(1, 2).clone()))
        return super().rehearse(stage, batch)


def started(part: ClosedForm, tasks: list[Any] | None = None, **options: Any) -> Learner:
    stream = tasks or DIGITS
    sizes = {"scenario": "class-incremental", "hidden": (4, 6), "max_hidden": (12, 12)}
    ours = learner(ROWS, len(stream), protection=part, **{**sizes, **options})
    ours.begin(EVERYONE, [context(stream, inner_seed=row) for row in range(ROWS)])
    return ours


def part_of(ours: Learner) -> Any:
    assert isinstance(ours.protection, ClosedForm)
    return ours.protection


def scores(ours: Learner, number: int) -> Tensor:
    """Answers on validation samples of one task, (N, V, C)."""
    tasks = np.full(ROWS, number)
    samples, _, _ = ours.data.evaluation_set("validation", tasks)
    return ours.logits(ours.data.gather(samples), tasks).clone()


def through(ours: Learner, steps: int = 2) -> None:
    """Train on all tasks."""
    for number in range(ours.tasks):
        for _ in range(steps):
            ours.train()
        if number < ours.tasks - 1:
            ours.next_task(EVERYONE)


@pytest.mark.parametrize("name", ["closed-form", "closed-form-network"])
def test_the_contract_of_protections_holds(name: str) -> None:
    check_protection(name)


def test_the_contract_holds_for_discriminant_analysis_on_a_network_that_learns_at_first() -> None:
    check_protection(ClosedForm("first-task-network", "lda", shrinkage=0.1))


def test_fewer_fourier_features_are_the_first_of_more() -> None:
    seeds = np.array([3, 4], dtype=np.uint64)
    few, many = fourier_bank(seeds, 5, 7), fourier_bank(seeds, 5, 20)
    for one, two in zip(few, many, strict=True):
        assert torch.equal(one, two[..., :7])
        assert not torch.equal(two[0], two[1])
    assert float(many[1].min()) >= 0 and float(many[1].max()) < 2 * math.pi


def test_fourier_features_approximate_the_gaussian_kernel() -> None:
    frequencies, phases = fourier_bank(np.array([9], dtype=np.uint64), 3, 20_000)
    x = torch.tensor([[0.3, -0.2, 0.9], [0.1, 0.4, 0.5]])
    features = math.sqrt(2) * torch.cos(x @ frequencies[0] + phases[0])
    kernel = features @ features.T / 20_000
    assert float(kernel[0, 1]) == pytest.approx(math.exp(-0.5 * float((x[0] - x[1]).square().sum())), abs=0.02)


def slow_features(inputs: Any, scale: float, bank: Any, turn: Any) -> Any:
    """The first 24 features of inputs (B, D + 1)."""
    return (math.sqrt(2) * np.cos(inputs[:, :-1] * scale @ bank + turn))[:, :24]


@pytest.mark.parametrize("scenario", ["class-incremental", "task-incremental", "task-free"])
def test_any_stream_equals_joint_training_on_all_its_minibatches(scenario: str) -> None:
    ours = started(Recording(per_unit=4, passes=None, block=40), scenario=scenario)
    through(ours)
    part, order = part_of(ours), np.full(ROWS, 3)
    samples, _, _ = ours.data.evaluation_set("test", order)
    x = ours.data.gather(samples)
    found = part.answer(ours.stage, x, order)
    for row in range(ROWS):
        inputs, targets = (torch.cat([each[k][row] for each in part.seen]).numpy() for k in range(2))
        first = part.seen[0][0][row, :, :-1].numpy()
        scale = math.sqrt(2 / (64 * first.var(ddof=1)))
        frequencies, phases = fourier_bank(ours.data.seeds[row : row + 1], 64, 48)

        phi = slow_features(inputs, scale, frequencies[0].numpy(), phases[0].numpy())
        penalty = 1e-2 * (phi**2).sum() / len(phi)
        weights = np.linalg.solve(phi.T @ phi + penalty * np.eye(24), phi.T @ targets)
        read = slow_features(x[row].numpy(), scale, frequencies[0].numpy(), phases[0].numpy())
        expected = read @ weights
        known = targets.sum(axis=0) > 0
        assert np.abs(found[row].numpy() - expected)[:, known].max() < 1e-8
        assert (found[row].numpy()[:, ~known] < -1e8).all()


def test_features_unlocked_late_answer_as_if_they_had_always_been_there() -> None:
    grown, wide = (started(ClosedForm(per_unit=5), hidden=(4, width)) for width in (3, 9))
    for ours in (grown, wide):
        through(ours, 1)
    assert part_of(grown).unlocked(grown.stage).tolist() == [15, 15]
    before = scores(grown, 0)
    grown.grow(np.full(ROWS, 1), np.full(ROWS, 6))
    assert part_of(grown).unlocked(grown.stage).tolist() == [45, 45]
    assert not torch.allclose(scores(grown, 0), before)
    for number in range(4):
        assert torch.allclose(scores(grown, number), scores(wide, number), atol=1e-9)


def test_one_row_may_unlock_features_and_another_not() -> None:
    ours = started(ClosedForm(per_unit=5))
    ours.train()
    before = scores(ours, 0)
    ours.grow(np.full(ROWS, 1), np.array([0, 3]))
    after = scores(ours, 0)
    assert part_of(ours).unlocked(ours.stage).tolist() == [30, 45]
    assert torch.allclose(after[0], before[0], atol=1e-12)
    assert not torch.allclose(after[1], before[1])


def test_pixel_orders_are_undone() -> None:
    permuted = [task(*range(10), permutation=number) for number in range(3)]
    ours = started(ClosedForm(), permuted, scenario="domain-incremental")
    ours.train()
    before = scores(ours, 0)
    ours.next_task(EVERYONE)
    assert torch.allclose(scores(ours, 0), before, atol=1e-10)


@pytest.mark.parametrize("features", ["fourier", "random-network"])
def test_hidden_layers_never_train(features: str) -> None:
    ours = started(ClosedForm(features))
    before = [block.clone() for block in ours.network.weights[:-1]]
    through(ours)
    assert all(map(torch.equal, ours.network.weights[:-1], before))


def test_features_of_a_network_stay_what_they_are_when_any_layer_grows() -> None:
    ours = started(ClosedForm("random-network"))
    ours.train()
    samples, _, _ = ours.data.evaluation_set("validation", np.zeros(ROWS, dtype=np.int64))
    x = ours.data.gather(samples)
    start = ours.network.layout.frozen[1]
    before = ours.stage.read(x)[-1][:, :, start : start + 6].clone()
    assert bool((before > 0).any())
    for layer in range(2):
        ours.grow(np.full(ROWS, layer), np.full(ROWS, 3))
        now = ours.stage.read(x)[-1]
        assert torch.allclose(now[:, :, start : start + 6], before, atol=1e-12)
    assert now[:, :, start + 6 : start + 9].abs().sum() > 0  # and new ones are features too
    part = part_of(ours)
    assert part.unlocked(ours.stage).tolist() == [10, 10]
    before = part_of(ours)._sums.second.clone()
    ours.train()
    scores(ours, 0)
    assert not before[:, 7:].any() and bool(part._sums.second[:, 7:10].any())  # their past is zero, not their present


def test_a_network_that_learned_the_first_task_stands_still_afterwards() -> None:
    ours = started(ClosedForm("first-task-network", passes=1.0))
    fresh = ours.network.weights[0].clone()
    ours.train()
    assert torch.equal(
        scores(ours, 0),
        ours.network.forward(ours.data.gather(ours.data.evaluation_set("validation", ours.task)[0]))
        + ours.absent.transpose(1, 2),
    )
    learned = ours.network.weights[0].clone()
    assert not torch.equal(learned, fresh)
    ours.next_task(EVERYONE)
    part = part_of(ours)
    scores(ours, 0)
    size, samples = ours.config.batch_size, len(ours.data.pool(0, 0))
    assert part._sums.counts.sum(dim=1).tolist() == [-(-samples // size) * size] * ROWS
    ours.train()
    assert torch.equal(ours.network.weights[0], learned)


@pytest.mark.parametrize("passes", [0.5, 0.25, None])
def test_passes_bound_what_is_counted(passes: float | None) -> None:
    ours = started(ClosedForm(passes=passes), minibatches=12)
    samples = len(ours.data.pool(0, 0))
    ours.train()
    scores(ours, 0)
    expected = 12 if passes is None else math.ceil(passes * samples / 16)
    assert expected in (4, 7, 12)
    assert part_of(ours)._sums.counts.sum(dim=1).tolist() == [16.0 * expected] * ROWS


def test_where_boundaries_are_hidden_everything_counts() -> None:
    ours = started(ClosedForm(passes=0.25), minibatches=12, scenario="task-free")
    ours.train()
    scores(ours, 0)
    assert part_of(ours)._sums.counts.sum(dim=1).tolist() == [16.0 * 12] * ROWS


def test_it_learns_ten_digits_class_by_class_without_ids_or_stored_samples() -> None:
    pairs = [task(first, first + 1) for first in range(0, 10, 2)]
    sizes = {"hidden": (4, 20), "max_hidden": (4, 20), "minibatches": 16, "test_samples": 500}
    for scenario in ("class-incremental", "task-free"):
        for solver in ("ridge", "lda"):
            ours = started(ClosedForm(solver=solver, per_unit=20), pairs, scenario=scenario, **sizes)
            through(ours, 1)
            found = np.mean([ours.accuracy("test", np.full(ROWS, number)) for number in range(5)])
            assert found > 0.9, (scenario, solver, found)


def test_bytes_are_those_of_all_features_that_may_be_unlocked() -> None:
    ours = started(ClosedForm(per_unit=5, block=32))
    from experiments.continual import architecture

    # 60 features, 10 outputs, blocks of two minibatches of 16, numbers of 8 bytes.
    expected = 8 * ((60 * 60 + 60 * 10 + 10) + 32 * (60 + 10) + 61 * 10)
    assert part_of(ours).memory(architecture(ours)).tolist() == [expected] * ROWS


def test_before_any_sample_every_output_is_unknown() -> None:
    assert (scores(started(ClosedForm()), 0) < -1e8).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "fourrier"}, "did you mean 'fourier'"),
        ({"solver": "rigde"}, "did you mean 'ridge'"),
        ({"per_unit": 0}, "per_unit is 0"),
        ({"block": 1.5}, "block is 1.5"),
        ({"penalty": 0.0}, "penalty is 0.0"),
        ({"shrinkage": 1.5}, "shrinkage is 1.5"),
        ({"passes": -1.0}, "passes is -1.0"),
        ({"penalty": math.nan}, "penalty is nan"),
    ],
)
def test_bad_options_are_answered(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, UnknownNameError), match=message):
        ClosedForm(**options)
