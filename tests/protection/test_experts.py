"""Experts: when new units get a task, who serves which, what gates let through, and where samples are sent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv.learner import Learner
from growenv.protection.class_sums import UNSEEN, sums_bytes
from growenv.protection.experts import Experts
from growenv.registry import UnknownNameError
from growenv.streams.scenarios import NotVisibleError
from growenv.testing import check_protection
from tests.rollouts import context, learner, task

ROWS = 2
EVERYONE = np.ones(ROWS, dtype=bool)
PERMUTED = [task(*range(10), permutation=number) for number in range(3)]
AGAIN = [PERMUTED[0], PERMUTED[0], PERMUTED[1]]


def started(gate: str = "task", tasks: list[Any] | None = None, novelty: float = 1.6, **options: Any) -> Learner:
    stream = tasks or PERMUTED
    sizes = {"hidden": (8, 6), "max_hidden": (40, 40), "minibatches": 24, "batch_size": 32}
    part = Experts(gate, directions=16, novelty=novelty)
    ours = learner(ROWS, len(stream), protection=part, **{**sizes, **options})
    ours.begin(EVERYONE, [context(stream, inner_seed=row) for row in range(ROWS)])
    return ours


def part_of(ours: Learner) -> Any:
    assert isinstance(ours.protection, Experts)
    return ours.protection


def grow(ours: Learner, units: int = 4) -> None:
    for layer in range(2):
        ours.grow(np.full(ROWS, layer), np.full(ROWS, units))


def through(ours: Learner, units: int = 4) -> None:
    """Train on all tasks, with growth at the start of each but the first."""
    for number in range(ours.tasks):
        if number > 0:
            ours.next_task(EVERYONE)
            grow(ours, units)
        ours.train()


def inputs_of(ours: Learner, number: int) -> Tensor:
    """Test samples of a task as the network reads them now, (N, V, D + 1)."""
    tasks = np.full(ROWS, number)
    x = ours.data.gather(ours.data.evaluation_set("test", tasks)[0])
    order = torch.argsort(ours.data.order(ours.task, tasks), dim=1)
    return torch.gather(x, 2, order[:, None, :].expand_as(x))


def scores(ours: Learner, number: int) -> Tensor:
    tasks = np.full(ROWS, number)
    return ours.logits(ours.data.gather(ours.data.evaluation_set("test", tasks)[0]), tasks).clone()


@pytest.mark.parametrize("name", ["experts", "experts-soft", "experts-routed"])
def test_the_contract_of_protections_holds(name: str) -> None:
    check_protection(name)


def test_each_novel_task_gets_the_units_that_grew_for_it() -> None:
    ours = started()
    through(ours)
    part = part_of(ours)
    assert part.serves.tolist() == [[0, 1, 2]] * ROWS
    assert part.since.tolist() == [[0, 24, 48]] * ROWS
    assert part._owner[:, :16].tolist() == [[-2, *[0] * 6, *[1] * 4, *[2] * 4, -1]] * ROWS


def test_more_of_the_same_is_served_by_who_knows_it_and_new_units_wait_for_something_novel() -> None:
    ours = started(tasks=AGAIN)
    ours.train()
    ours.next_task(EVERYONE)
    grow(ours)
    start = 1 + 6  # the units that wait come after six frozen ones
    before = ours.network.weights[1][:, :, :4].clone()
    ours.train()
    part = part_of(ours)
    assert part.serves.tolist() == [[0, 0, -1]] * ROWS
    assert (part._owner[:, start : start + 4] == -1).all()
    assert torch.equal(ours.network.weights[1][:, :, :4], before)  # nothing trains them while they wait
    ours.next_task(EVERYONE)
    assert ours.network.active_units[:, 1].tolist() == [4, 4]  # nor are they frozen
    ours.train()
    assert part.serves.tolist() == [[0, 0, 1]] * ROWS
    assert (part._owner[:, start : start + 4] == 1).all()
    assert not torch.equal(ours.network.weights[1][:, :, :4], before)


def test_something_novel_waits_for_units_and_gets_them_when_they_grow() -> None:
    ours = started()
    ours.train()
    ours.next_task(EVERYONE)
    ours.train()
    part = part_of(ours)
    assert part.serves.tolist() == [[0, 0, -1]] * ROWS
    counted = part.densities.sums.counts.sum().item()
    assert counted == ROWS * 24 * 32  # who serves something novel for lack of others does not learn how it looks
    ours.grow(np.array([1, 1]), np.array([0, 3]))
    ours.train()
    assert part.serves.tolist() == [[0, 0, -1], [0, 1, -1]]
    assert part.since.tolist() == [[0, 24, -1], [0, 48, -1]]
    ours.grow(np.array([1, 1]), np.array([0, 2]))  # units that come later join who trains
    assert part._owner[1, 7:13].tolist() == [1] * 5 + [-1]
    assert part._owner[0, 7:13].tolist() == [-1] * 6


def test_gates_of_a_task_are_one_for_its_expert_and_the_constant_unit() -> None:
    ours = started()
    through(ours)
    for number, expected in enumerate(([1] * 6 + [0] * 8, [0] * 6 + [1] * 4 + [0] * 4, [0] * 10 + [1] * 4)):
        below, last = part_of(ours).gates(ours.stage, np.full(ROWS, number))
        born = ours.network.birth_index(1)
        for row in range(ROWS):
            order = np.argsort(born[row])[(born[row] < 0).sum() :]
            assert last[row].numpy()[order].tolist() == [1, *expected]
            assert not last[row].numpy()[born[row] < 0].any()
        assert (below == 1).all()


@pytest.mark.parametrize("scenario", ["task-incremental", "class-incremental-max"])
def test_finished_tasks_do_not_change(scenario: str) -> None:
    ours = started(scenario=scenario)
    ours.train()
    ours.next_task(EVERYONE)
    before = scores(ours, 0)
    grow(ours)
    ours.train()
    ours.next_task(EVERYONE)
    grow(ours, 2)
    ours.train()
    assert torch.allclose(scores(ours, 0), before, atol=1e-10)


def test_densities_send_samples_to_the_expert_of_their_task() -> None:
    ours = started("density", scenario="class-incremental-max", test_samples=200)
    through(ours)
    part = part_of(ours)
    for number in range(3):
        assert (part.route(ours.stage, inputs_of(ours, number)) == number).double().mean() > 0.97
        told = np.full(ROWS, number)
        assert np.allclose(ours.accuracy("test", told), true_expert(ours, number), atol=0.05)


def true_expert(ours: Learner, number: int) -> Any:
    """Accuracy if the right expert always answered."""
    twin = started("density", scenario="task-incremental", test_samples=200)
    through(twin)
    assert all(map(torch.equal, twin.network.frozen, ours.network.frozen))  # training is the same
    return twin.accuracy("test", np.full(ROWS, number))


def test_outputs_that_an_expert_has_never_seen_are_not_its_answer() -> None:
    ours = started("density", scenario="class-incremental-max")
    through(ours)
    found = part_of(ours).answer(ours.stage, inputs_of(ours, 1), np.full(ROWS, 1))
    route = part_of(ours).route(ours.stage, inputs_of(ours, 1))
    own = torch.arange(30)[None, None, :] // 10 == route[:, :, None]
    assert (found[~own] == UNSEEN).all()
    assert (found[own] > UNSEEN / 2).all()


@pytest.mark.parametrize("scenario", ["class-incremental", "domain-incremental"])
def test_routing_needs_no_identity(scenario: str) -> None:
    ours = started("density", scenario=scenario, test_samples=200)
    through(ours, units=6)
    assert (part_of(ours).experts == 3).all()
    # Each expert was trained on a task of its own, so the first one is not forgotten.
    assert ours.accuracy("test", np.zeros(ROWS, dtype=np.int64)).min() > 0.25


def test_without_boundaries_a_new_expert_is_there_once_the_inputs_change() -> None:
    ours = started("density", scenario="task-free", minibatches=110)
    ours.train()
    part = part_of(ours)
    assert part.experts.tolist() == [1, 1]
    assert ours.finished.tolist() == [1, 1] and not ours.network.active_units.any()  # a period is over
    ours.next_task(EVERYONE)
    grow(ours)
    ours.train()
    assert part.experts.tolist() == [2, 2]
    assert not part._training.any() and ours.finished.tolist() == [2, 2], "the second period has ended as well"


def test_the_soft_gates_slope_is_the_derivative_of_the_loss() -> None:
    ours = started("soft")
    through(ours)
    part = part_of(ours)
    part._map[0].normal_(0.0, 0.5, generator=torch.Generator().manual_seed(0))
    batch = part.rehearse(ours.stage, ours.stage.draw(0, 7))
    gates = part.gates(ours.stage, None)
    logits = ours.network.forward(batch.inputs, gates=gates).transpose(1, 2) + batch.absent
    gradient = (torch.softmax(logits, dim=1) - batch.targets) * batch.share
    found = part.slope(ours.stage, batch, gradient)

    read = ours.stage.read(batch.inputs)[-1]
    projected = part._projected(ours.stage, batch.inputs)
    for row in range(ROWS):
        weights = part._map[0][row].clone().requires_grad_(True)
        with torch.enable_grad():
            share = torch.softmax(torch.cat((projected[row], torch.ones(7, 1).double()), dim=1) @ weights, dim=1)
            total = torch.zeros(7, 30).double()
            for position, born in enumerate(ours.network.birth_index(1)[row]):
                owner = -1 if born < 0 else part._owner[row, born]
                if born < 0 or owner == -1:
                    continue
                factor = 1.0 if owner == -2 else share[:, owner, None]
                total = total + factor * read[row, :, position, None] * ours.network.weights[-1][row, position]
            loss = torch.nn.functional.cross_entropy(total + batch.absent[row, :, 0], batch.outputs[row])
            (slope,) = torch.autograd.grad(loss, weights)
        assert torch.allclose(found[row], slope, atol=1e-10)
        assert torch.allclose(logits[row].T, (total + batch.absent[row, :, 0]).detach(), atol=1e-9)


def test_the_soft_gate_learns_and_answers_without_being_told_the_task() -> None:
    ours = started("soft", minibatches=40, learning_rate=0.02)
    through(ours)
    share = part_of(ours)._shares(part_of(ours)._projected(ours.stage, inputs_of(ours, 2)))
    assert torch.allclose(share.sum(dim=2), torch.ones(()).double())
    assert share[:, :, 2].mean() > 0.5  # the task that it has learned last
    tasks = np.full(ROWS, 2)
    whole = part_of(ours).answer(ours.stage, inputs_of(ours, 2), tasks)
    assert torch.equal(whole, part_of(ours).answer(ours.stage, inputs_of(ours, 2), np.zeros_like(tasks)))


def test_a_shared_head_has_no_bias_under_one_hot_gates() -> None:
    ours = started("density", scenario="domain-incremental")
    ours.train()
    assert not part_of(ours).gates(ours.stage, None)[-1][:, 0].any()
    assert part_of(started("density")).gates(started("density").stage, None)[-1][:, 0].all()


def test_the_task_gate_says_that_it_needs_identities() -> None:
    with pytest.raises(NotVisibleError, match="of which task a test sample is"):
        started("task", scenario="class-incremental")


def test_wires_around_the_last_layer_are_refused() -> None:
    with pytest.raises(ValueError, match="wires lead around it"):
        started(hidden=(5, 0))


def test_bytes_by_hand() -> None:
    from experiments.continual import architecture

    ours = {gate: started(gate) for gate in ("task", "soft")}
    # 3 experts with 16 directions and 30 outputs, 41 units that may belong to one, and three times a map of 17 x 3.
    plain = 3 * sums_bytes(16, 30, 8) + 41 * 8
    for gate, extra in (("task", 0), ("soft", 3 * 17 * 3 * 8)):
        found = part_of(ours[gate]).memory(architecture(ours[gate]))
        assert found.tolist() == [plain + extra] * ROWS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gate": "tusk"}, "did you mean 'task'"),
        ({"novelty": 0.0}, "novelty is 0.0"),
        ({"directions": 0}, "directions is 0"),
        ({"shrinkage": 2.0}, "shrinkage is 2.0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
    ],
)
def test_bad_options_are_answered(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, UnknownNameError), match=message):
        Experts(**options)
