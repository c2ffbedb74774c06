"""DEN: what trains in which phase, what grows, what splits, and who answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.hardware import Architecture
from growenv.learner import Learner
from growenv.protection import PROTECTIONS, Den, DenExpanding
from growenv.protection.den import DRIFT, EXPAND, FIRST, HEAD, RETRAIN, SETTLE
from growenv.pruning import removable
from growenv.streams import NotVisibleError
from growenv.testing.learning import check_protection
from tests.rollouts import context, learner, task

STREAM = [task(0, 1, 2), task(3, 4, permutation=5), task(5, 6, 7)]
ONE_EACH = {"decisions": 5, "minibatches": 1, "shares": (0.2,) * 5}
"""Five minibatches a task, one for each phase."""


def begun(protection: type[Den] = Den, *, rows: int = 2, tasks: int = 2, **options: Any) -> Learner:
    """Small networks at the start of a stream, with DEN's options and the environment's mixed."""
    own = {"l1", "l2", "group", "pull", "sigma", "shares", "split", "tau", "k"}
    built = protection(**{name: value for name, value in options.items() if name in own})
    rest = {name: value for name, value in options.items() if name not in own}
    ours = learner(rows, tasks, protection=built, **rest)
    ours.begin(np.ones(rows, dtype=bool), [context(STREAM[:tasks], inner_seed=row) for row in range(rows)])
    return ours


def trained(ours: Learner, decisions: int) -> Learner:
    for _ in range(decisions):
        ours.train()
    return ours


def second_task(ours: Learner) -> Learner:
    """The same after a whole first task."""
    trained(ours, ours.config.decisions)
    ours.next_task(np.ones(ours.rows, dtype=bool))
    return ours


def den(ours: Learner) -> Den:
    assert isinstance(ours.protection, Den)
    return ours.protection


def logits(ours: Learner, number: int) -> Tensor:
    tasks = np.full(ours.rows, number)
    samples, _, _ = ours.data.evaluation_set("test", tasks)
    return ours.logits(ours.data.gather(samples), tasks).clone()


def copies(ours: Learner) -> list[Tensor]:
    return [block.clone() for block in ours.network.weights]


def grow(ours: Learner, amounts: list[int]) -> None:
    for layer in range(2):
        ours.grow(np.full(ours.rows, layer), np.array(amounts))


@pytest.mark.parametrize(
    "protection", ["den", "den-expanding", Den(split=True, sigma=0.01), DenExpanding(k=3, tau=0.0)]
)
def test_it_keeps_the_promises_of_a_protection(protection: str | Den) -> None:
    check_protection(protection)


def test_phases_begin_with_their_share_of_the_task() -> None:
    ours = begun(minibatches=2, decisions=10, shares=(0.1, 0.4, 0.25, 0.15, 0.1), split=True)
    assert (den(ours).phase == FIRST).all()
    second_task(ours)
    seen = []
    for _ in range(10):
        ours.train()
        seen.append(int(den(ours).phase[0]))
    # Borders after 2, 10, 15 and 18 minibatches; what counts here is the phase of the second minibatch of each pair.
    assert seen == [HEAD] + [RETRAIN] * 4 + [EXPAND] * 2 + [DRIFT] * 2 + [SETTLE]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_in_each_phase_only_its_own_weights_move_to_the_last_bit(optimizer: str) -> None:
    ours = second_task(begun(optimizer=optimizer, l1=1e-5, **ONE_EACH))
    before = copies(ours)
    ours.train()
    first, second, head = (now != old for now, old in zip(ours.network.weights, before, strict=True))
    assert not first.any() and not second.any() and head.any()
    ours.network.weights[-1][:, ours.network.layout.frozen[1] + 1] = 0.0
    before = copies(ours)
    ours.train()
    network, mask = ours.network, ours.network.layout.blocks(ours.network.buffers["den_selected"])
    for now, old, chosen in zip(network.weights, before, mask, strict=True):
        assert not (now != old)[chosen == 0].any() and (now != old)[chosen == 1].any()
    second = network.weights[1] != before[1]
    assert not second[:, :, 1].any() and second[:, :, 0].any(), "unit 1 of the second layer was not selected"
    grow(ours, [2, 0])
    before = copies(ours)
    ours.train()
    assert den(ours).phase.tolist() == [EXPAND, EXPAND]
    at = network.layout.frozen[0]
    changed = [now != old for now, old in zip(network.weights, before, strict=True)]
    assert not changed[0][0][:, :5].any() and changed[0][0][:, 5:7].any(), "old units of the row that grew stand still"
    inner = changed[1][0]
    assert not inner[: at + 5, :4].any(), "weights among old units stand still"
    assert inner[at + 5 : at + 7, :4].any(), "old units begin to hear the new ones"
    assert changed[0][1].any(), "the row without new units retrains its selection"


def test_selection_is_of_the_tasks_own_outputs() -> None:
    ours = second_task(begun(rows=1, l1=0.0, **ONE_EACH))
    ours.train()
    head = ours.network.weights[-1]
    start = ours.network.layout.frozen[1]
    head[0, start : start + 3] = 0.0
    ours.train()
    chosen = ours.network.layout.blocks(ours.network.buffers["den_selected"])
    assert chosen[1][0].any(dim=0).nonzero().flatten().tolist() == [3], (
        "one unit of the second layer leads to an output"
    )
    assert chosen[2][0, :, :2].any(dim=1).nonzero().flatten().tolist() == [0, start + 3], "its weights and the biases"
    assert not chosen[2][0, :, 2:].any(), "classes that the task does not have"


def test_l1_makes_exact_zeros_and_spares_biases() -> None:
    dense, sparse = (trained(begun(rows=1, l1=l1, minibatches=20), 2) for l1 in (0.0, 0.01))
    inside = sparse.network.weights[0][0, :-1, :5]
    assert (dense.network.weights[0][0, :-1, :5] == 0).double().mean() < 0.2
    assert (inside == 0).double().mean() > 0.5 and inside.any()
    assert sparse.network.weights[0][0, -1, :5].all()


def test_strengths_can_be_given_for_each_row() -> None:
    mixed = trained(begun(l1=[0.0, 0.01], minibatches=10), 2)
    plain = trained(begun(l1=0.0, minibatches=10), 2)
    torch.testing.assert_close(mixed.network.weights[0][0], plain.network.weights[0][0])
    zeros = (mixed.network.weights[0][:, :-1, :5] == 0).double().mean(dim=(1, 2))
    assert zeros[1] > zeros[0] + 0.2


def test_it_is_the_slow_computation_of_one_network() -> None:
    """First task with l1, head with l1, selection, retraining with l2: plain SGD on one network, step by step."""
    options = {"l1": 0.004, "l2": 0.3, "shares": (0.5, 0.5, 0, 0, 0), "decisions": 1, "minibatches": 12}
    ours = begun(rows=2, optimizer="sgd", learning_rate=0.1, **options)
    blocks = [block[1].numpy().copy() for block in ours.network.weights]
    seen: list[tuple[Tensor, Tensor]] = []
    step = ours._step
    ours._step = lambda batch, *rest: (
        seen.append((batch.inputs[1].clone(), batch.targets[1].clone())),
        step(batch, *rest),
    )  # type: ignore[method-assign, func-returns-value]
    ours.train()
    slow(blocks, seen, ["first"] * 12, classes=3)
    for block, expected in zip(ours.network.weights, blocks, strict=True):
        np.testing.assert_allclose(block[1].numpy(), expected, atol=1e-12)
    seen.clear()
    ours.next_task(np.ones(2, dtype=bool))
    blocks = [block[1].numpy().copy() for block in ours.network.weights]
    ours.train()
    slow(blocks, seen, ["head"] * 6 + ["retrain"] * 6, classes=2)
    for block, expected in zip(ours.network.weights, blocks, strict=True):
        np.testing.assert_allclose(block[1].numpy(), expected, atol=1e-12)


def slow(blocks: list[NDArray[Any]], seen: list[tuple[Tensor, Tensor]], phases: list[str], classes: int) -> None:
    """Train one network of two hidden layers as DEN does, in place."""
    masks: list[NDArray[Any]] = []
    for (inputs, targets), phase in zip(seen, phases, strict=True):
        if phase == "retrain" and not masks:
            masks = slow_selection(blocks, classes)
        read, x = [], inputs.numpy()
        for block in blocks[:-1]:
            read.append(x)
            x = np.maximum(x @ block, 0.0)
            x = np.concatenate([np.ones((len(x), 1)), np.zeros((len(x), 7)), x], axis=1)  # the constant unit, padding
        read.append(x)
        out = np.exp((x @ blocks[-1])[:, :classes])
        delta = np.zeros((len(x), blocks[-1].shape[1]))
        delta[:, :classes] = (out / out.sum(axis=1, keepdims=True) - targets.numpy().T[:, :classes]) / len(x)
        gradients = []
        for layer in (2, 1, 0):
            gradients.insert(0, read[layer].T @ delta)
            delta = (delta @ blocks[layer].T * (read[layer] > 0))[:, 8:]
        for layer, (block, gradient) in enumerate(zip(blocks, gradients, strict=True)):
            if phase == "head" and layer < 2:
                continue
            if phase == "retrain":
                block -= 0.1 * masks[layer] * (gradient + 2 * 0.3 * block)
                continue
            block -= 0.1 * gradient
            bias = block[-1 if layer == 0 else 0].copy()
            block[:] = np.sign(block) * np.maximum(np.abs(block) - 0.004, 0.0)
            block[-1 if layer == 0 else 0] = bias


def slow_selection(blocks: list[NDArray[Any]], classes: int) -> list[NDArray[Any]]:
    """Masks of the weights among selected units, unit by unit."""
    chosen = set(range(classes))
    masks = []
    for layer in (2, 1, 0):
        mask, below = np.zeros_like(blocks[layer]), set()
        constant = len(mask) - 1 if layer == 0 else 0
        for source in range(len(mask)):
            if any(blocks[layer][source, reader] != 0 for reader in chosen):
                below.add(source)
        for source in below | {constant}:
            for reader in chosen:
                mask[source, reader] = 1.0
        masks.insert(0, mask)
        chosen = {source - 8 for source in below if source >= 8}
    return masks


def test_units_are_added_where_the_loss_is_above_tau_and_as_far_as_there_is_room() -> None:
    ours = second_task(begun(DenExpanding, rows=2, tau=[1e9, 0.0], k=3, split=False, max_hidden=(40, 6), **ONE_EACH))
    trained(ours, 2)
    assert ours.units[:, 1].tolist() == [[0, 0], [0, 0]]
    ours.train()
    assert ours.units[:, 1].tolist() == [[0, 0], [3, 2]], "the second layer has room for two"


def test_new_units_without_incoming_weights_go_when_expansion_ends() -> None:
    ours = second_task(begun(DenExpanding, rows=2, tau=0.0, k=4, group=[0.0, 1e9], split=False, **ONE_EACH))
    trained(ours, 3)
    assert ours.units[:, 1].tolist() == [[4, 4], [4, 4]]
    width = ours.network.layout.frozen[0] + 5
    assert ours.network.weights[0][1].any(dim=0).sum() == 5 and width == 13
    before = logits(ours, 1)[1]
    ours.network.fit()
    ours.protection.rehearse(ours.stage, ours.minibatches.drawn(ours.steps, 4))
    assert ours.units[:, 1].tolist() == [[4, 4], [0, 0]]
    torch.testing.assert_close(logits(ours, 1)[1], before)


def test_where_everything_splits_both_tasks_answer_as_they_did() -> None:
    ours = second_task(begun(split=True, sigma=0.0, **ONE_EACH))
    old = logits(ours, 0)
    trained(ours, 2)
    grow(ours, [2, 2])
    trained(ours, 2)
    moved, new = logits(ours, 0), logits(ours, 1)
    assert not torch.allclose(moved, old), "shared units have drifted"
    ours.protection.rehearse(ours.stage, ours.minibatches.drawn(ours.steps, 4))
    assert (den(ours).phase == SETTLE).all()
    assert ours.units[:, 1].tolist() == [[7, 6], [7, 6]], "five and four units were split, two had been added"
    torch.testing.assert_close(logits(ours, 0), old)
    torch.testing.assert_close(logits(ours, 1), new)
    ours.train()
    assert not torch.allclose(logits(ours, 1), new)


def test_only_units_that_drifted_beyond_sigma_are_split() -> None:
    ours = second_task(begun(rows=1, split=True, sigma=0.5, pull=0.0, **ONE_EACH))
    past = ours.network.weights[0][0].clone()
    trained(ours, 4)
    ours.network.weights[0][0, :, :5] = past[:, :5]
    ours.network.weights[0][0, 3, 1] += 0.4
    ours.network.weights[0][0, 3, 2] += 0.6
    far = (ours.network.weights[1][0] - ours.network.layout.blocks(ours.network.buffers["den_before"])[1][0]).norm(
        dim=0
    )
    ours.protection.rehearse(ours.stage, ours.minibatches.drawn(ours.steps, 4))
    assert ours.units[0, 1].tolist() == [1, int((far > 0.5).sum())]
    assert torch.equal(ours.network.weights[0][0, :, 2], past[:, 2])
    assert ours.network.weights[0][0, 3, 5] == past[3, 2] + 0.6


def test_the_pull_holds_weights_where_the_task_found_them() -> None:
    drift = []
    for pull in (0.0, 50.0):
        options = {"optimizer": "sgd", "decisions": 5, "minibatches": 8, "shares": (0.2, 0, 0, 0.8, 0)}
        ours = second_task(begun(rows=1, split=True, sigma=1e9, pull=pull, **options))
        past = copies(ours)
        trained(ours, 5)
        drift.append(float((ours.network.weights[0] - past[0]).norm()))
    assert drift[1] < 0.3 * drift[0]


def test_a_unit_answers_for_its_own_and_later_tasks_only() -> None:
    ours = second_task(begun(tasks=3, **ONE_EACH))
    grow(ours, [3, 0])
    first, second = (ours.stage.units.cumsum(axis=1)[:, number] for number in (0, 1))
    assert first.tolist() == [[5, 4], [5, 4]] and second.tolist() == [[8, 7], [5, 4]]
    gates = ours.protection.gates(ours.stage, np.zeros(2, dtype=np.int64))
    assert gates is not None
    # One constant unit, seven places of padding, then active units.
    assert gates[0].tolist() == [[1.0] + [0.0] * 7 + [1.0] * 5 + [0.0] * 3] * 2
    assert gates[1].tolist() == [[1.0] + [0.0] * 7 + [1.0] * 4 + [0.0] * 4] * 2
    assert ours.protection.gates(ours.stage, np.ones(2, dtype=np.int64)) is None, "everybody answers"
    before = logits(ours, 0)
    ours.network.weights[0][0, :, 5:8] = 3.0
    ours.network.weights[1][0, ours.network.layout.frozen[0] + 5 :, :4] = 3.0
    assert torch.equal(logits(ours, 0), before)


def test_importance_is_infinite_for_finished_tasks() -> None:
    ours = begun(**ONE_EACH)
    fresh = np.isfinite(ours.protection.importance(ours.stage, 0))
    assert fresh[0].tolist() == [True] * 5 + [False] * 3, "nothing is finished yet, and padding cannot go"
    second_task(ours)
    grow(ours, [2, 2])
    ours.network.weights[0][0, :, 5] = 0.0
    ours.network.weights[0][0, :2, 5] = torch.tensor([3.0, 4.0])
    ours.network.weights[1][0, ours.network.layout.frozen[0] + 5, :6] = torch.tensor([0.0, 2.0, 0.0, 0.0, 0.0, 0.0])
    found = ours.protection.importance(ours.stage, 0)
    assert np.isinf(found[0, :5]).all() and found[0, 5] == pytest.approx(10.0)
    assert removable(ours)[0].tolist() == [2, 2]


def test_memory_is_a_copy_of_the_hidden_layers_and_two_bits_a_weight() -> None:
    shape = Architecture(3, np.array([[[2, 4]]]), np.array([[5]]), directed=False)
    # 3 x 2 + 2 and 2 x 4 + 4 weights and biases: 20 of them.
    assert Den().memory(shape).tolist() == [20 * 4 + 5]


@pytest.mark.parametrize("name", ["den", "den-expanding"])
def test_it_needs_to_know_when_tasks_begin(name: str) -> None:
    for scenario in ("task-free", "multitask"):
        with pytest.raises(NotVisibleError, match="when a task begins"):
            learner(protection=name, scenario=scenario)


@pytest.mark.parametrize("scenario", ["class-incremental-max", "class-incremental", "domain-incremental"])
def test_it_trains_in_other_scenarios_with_boundaries(scenario: str) -> None:
    ours = second_task(begun(DenExpanding, scenario=scenario, tau=0.0, k=2, sigma=0.0, **ONE_EACH))
    trained(ours, 5)
    assert (ours.units[:, 1] > 2).all() and torch.isfinite(ours.network.buffers["weights"]).all()


def test_wrong_options_are_refused() -> None:
    for options in ({"l1": -1.0}, {"sigma": np.nan}, {"group": [[1.0]]}):
        with pytest.raises(ValueError, match="expected one number, or one for each row, finite and at least 0"):
            Den(**options)
    with pytest.raises(ValueError, match="five shares"):
        Den(shares=(0.5, 0.5))
    with pytest.raises(ValueError, match="five shares"):
        Den(shares=(0.5, 0.5, 0.5, -0.5, 0.0))
    with pytest.raises(ValueError, match="k=0"):
        DenExpanding(k=0)
    with pytest.raises(ValueError, match="tau=-1"):
        DenExpanding(tau=-1)
    with pytest.raises(ValueError, match="l1 has 3 numbers for 2 rows"):
        begun(l1=[0.1, 0.2, 0.3])
    assert PROTECTIONS.make("den").name == "den" and PROTECTIONS.make("den-expanding").name == "den-expanding"
