"""Growth by a new hidden layer: configurations whose networks start without one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv import GrowthVectorEnv
from growenv.config import GrowthConfig
from growenv.export import dense_network
from growenv.growth import CrossEntropy, RandomGrowth
from growenv.learner import Learner
from growenv.testing import check_env
from tests.reference import check_padding
from tests.rollouts import SMALL, TASKS, assert_same, context, learner, random_actions, started
from tests.test_export import compare

CONTEXTS = [context(TASKS[:3], 11), context(TASKS[1:4], 12), context(TASKS[2:5], 13)]
EVERYONE = np.ones(3, dtype=bool)
DEPTHS = {"two layers": (5, 0), "three layers": (5, 0, 0), "a layer in the middle": (5, 0, 4)}
depths = pytest.mark.parametrize("hidden", DEPTHS.values(), ids=DEPTHS)


def shallow(hidden: tuple[int, ...], rows: int = 3, **options: Any) -> Learner:
    made = learner(rows, hidden=hidden, max_hidden=(80,) * len(hidden), **options)
    made.begin(np.ones(rows, dtype=bool), CONTEXTS[:rows])
    return made


def logits(ours: Learner, task: int) -> Tensor:
    tasks = np.full(ours.rows, task)
    samples, _, _ = ours.data.evaluation_set("validation", tasks)
    return ours.logits(ours.data.gather(samples), tasks).clone()


def grow(ours: Learner, layers: list[int], amounts: list[int]) -> None:
    ours.grow(np.array(layers), np.array(amounts))


@depths
@pytest.mark.parametrize("growth", [RandomGrowth(), RandomGrowth(zero="in")], ids=["out", "in"])
@pytest.mark.parametrize("protection", ["freeze", "finetune"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_deepening_preserves_the_function_and_the_new_layer_learns(
    hidden: tuple[int, ...], growth: RandomGrowth, protection: str, dtype: torch.dtype, tolerance: float
) -> None:
    """In the first task and in a later one, by unequal requests; then more units below and in the new layer."""
    ours = shallow(hidden, growth=growth, protection=protection, dtype=dtype)
    for task in range(2):
        ours.train()
        for layers, amounts in (([1, 1, 1], [3, 0, 20]), ([0, 0, 1], [2, 4, 4]), ([len(hidden) - 1] * 3, [4, 2, 4])):
            before = [logits(ours, number) for number in range(task + 1)]
            grow(ours, layers, amounts)
            for number, expected in enumerate(before):
                torch.testing.assert_close(logits(ours, number), expected, atol=tolerance, rtol=0)
        kept = ours.network.weights[1].clone()
        ours.train()
        check_padding(ours.network)
        assert (ours.network.weights[1] != kept).any(dim=1).any(dim=1)[[0, 2]].all(), "the new layer does not learn"
        assert (ours.units.sum(axis=1) == ours.network.widths).all()
        ours.next_task(EVERYONE)


@depths
def test_old_tasks_stay_the_same_to_the_last_bit_whatever_is_deepened(hidden: tuple[int, ...]) -> None:
    ours = shallow(hidden, protection="freeze", dtype=torch.float32)
    ours.train()
    grow(ours, [1, 0, 1], [3, 3, 0])
    ours.train()
    ours.next_task(EVERYONE)
    first = logits(ours, 0)
    grow(ours, [1, 1, 1], [4, 12, 20])
    grow(ours, [len(hidden) - 1] * 3, [9, 1, 0])
    ours.train()
    assert torch.equal(logits(ours, 0), first)
    ours.next_task(EVERYONE)
    second = logits(ours, 1)
    grow(ours, [0, 1, 0], [20, 20, 1])
    ours.train()
    assert torch.equal(logits(ours, 0), first)
    assert torch.equal(logits(ours, 1), second)


@pytest.mark.parametrize("protection", ["freeze", "finetune"])
def test_a_network_that_is_not_deepened_is_the_shallower_network(protection: str) -> None:
    """The same weights, the same training, the same answers, and the same hardware."""
    flat, deep = (shallow(hidden, protection=protection) for hidden in ((5,), (5, 0)))
    for task in range(3):
        for ours in (flat, deep):
            ours.train()
            grow(ours, [0, 0, 0], [3, 0, 9])
            ours.train()
        for number in range(task + 1):
            torch.testing.assert_close(logits(deep, number), logits(flat, number), atol=1e-10, rtol=0)
        if task < 2:
            flat.next_task(EVERYONE)
            deep.next_task(EVERYONE)


@pytest.mark.parametrize("meter", ["parameters", "neurons", "macs", "crossbar", "mosaic"])
def test_a_network_that_is_not_deepened_uses_what_the_shallower_one_does(meter: str) -> None:
    used = []
    for hidden in ((8,), (8, 0)):
        env = GrowthVectorEnv(2, hidden=hidden, max_hidden=(24, 24)[: len(hidden)], meter=meter, budget=1.0, **SMALL)
        env.reset(options={"contexts": [context(TASKS[:2], row) for row in range(2)]})
        env.step(np.full(2, env.actions.index(0, 4)))
        used.append(env.admission.used(env.episodes) * env.admission.capacity)
        if meter == "mosaic":  # shares of other references; these are absolute
            figures = env.admission.placed.figures(env.admission.architecture(env.episodes))
            used[-1] = figures[:, :2].ravel()
    assert used[0].tolist() == used[1].tolist()


@depths
@pytest.mark.parametrize("protection", ["freeze", "finetune"])
def test_rows_of_different_depths_equal_singles(hidden: tuple[int, ...], protection: str) -> None:
    plan = [([1, 0, 1], [7, 3, 0]), ([1, 1, 0], [2, 0, 18]), ([len(hidden) - 1, 1, 0], [1, 9, 2])]

    def played(ours: Learner, rows: list[int]) -> list[Tensor]:
        found = []
        for task, (layers, amounts) in enumerate(plan):
            ours.train()
            grow(ours, [layers[row] for row in rows], [amounts[row] for row in rows])
            ours.train()
            found += [logits(ours, number) for number in range(task + 1)]
            if task < 2:
                ours.next_task(np.ones(len(rows), dtype=bool))
        return found

    together = played(shallow(hidden, protection=protection), [0, 1, 2])
    for row in range(3):
        single = learner(1, hidden=hidden, max_hidden=(80,) * len(hidden), protection=protection)
        single.begin(np.ones(1, dtype=bool), [CONTEXTS[row]])
        for one, all_rows in zip(played(single, [row]), together, strict=True):
            samples = min(one.shape[1], all_rows.shape[1])
            torch.testing.assert_close(one[0, :samples], all_rows[row, :samples], atol=1e-9, rtol=0)


@depths
def test_what_operators_are_told_of_wires_equals_autograd(hidden: tuple[int, ...]) -> None:
    ours = shallow(hidden)
    ours.train()
    grow(ours, [1, 0, 1], [3, 3, 6])
    ours.train()
    ours.next_task(EVERYONE)
    grow(ours, [1, 1, 1], [3, 2, 0])
    ours.train()
    evidence, network = ours.evidence(), ours.network
    assert isinstance(evidence.loss, CrossEntropy)
    torch.testing.assert_close(evidence.logits, network.forward(evidence.x), atol=1e-12, rtol=0)
    network.backward(evidence.x, evidence.loss.gradient(evidence.logits))
    for layer, gradient in enumerate(network.gradients):
        live = torch.ones(gradient.shape[:2], dtype=torch.bool)
        if layer > 0:
            live = torch.from_numpy(network.read_index(layer) >= 0)
        torch.testing.assert_close(evidence.gradient(layer)[live], gradient[live], atol=1e-12, rtol=0)
    for layer in range(network.depth):
        extra = torch.zeros_like(evidence.errors[layer + 1], requires_grad=True)
        value = evidence.loss_with(layer, extra)
        torch.testing.assert_close(value, evidence.loss.value(evidence.logits), atol=1e-12, rtol=0)
        (slope,) = torch.autograd.grad(value.sum(), [extra])
        torch.testing.assert_close(slope, evidence.errors[layer + 1], atol=1e-12, rtol=0)


@depths
@pytest.mark.parametrize("protection", ["freeze", "finetune"])
def test_exported_networks_compute_what_the_engine_computes(hidden: tuple[int, ...], protection: str) -> None:
    ours = shallow(hidden, protection=protection)
    for task in range(3):
        ours.train()
        grow(ours, [1, 0, len(hidden) - 1], [4, 3, 0 if task < 2 else 2])
        ours.train()
        for row in range(3):
            for number in range(task + 1):
                compare(ours, dense_network(ours, row, number), row, number, 1e-12)
        if task < 2:
            ours.next_task(EVERYONE)


def test_exported_wires_are_rows_of_the_identity_and_an_absent_layer_is_none() -> None:
    ours = shallow((5, 0))
    grow(ours, [1, 0, 0], [2, 1, 0])
    ours.train()
    first, second, head = dense_network(ours, 0, 0)
    assert [layer.weight.shape for layer in (first, second, head)] == [(5, 64), (2 + 5, 5), (3, 2 + 5)]
    assert (second.weight[2:] == np.eye(5)).all()
    assert not second.bias[2:].any()
    assert [layer.weight.shape for layer in dense_network(ours, 1, 0)] == [(6, 64), (2, 6)]


def test_activity_counts_the_units_of_a_layer_and_no_wires() -> None:
    ours = shallow((5, 0))
    ours.train()
    assert not ours.activity()[:, :, 1].any()
    grow(ours, [1, 1, 0], [4, 0, 4])
    ours.train()
    rates = ours.activity()[:, 0]
    assert (rates[:, 0] > 0).all()
    assert (rates[:, 1] > 0).tolist() == [True, False, False]


# -- the environment -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("meter", ["mosaic", "parameters"])
@pytest.mark.parametrize("hidden", [(8, 0), (6, 0, 0)])
def test_the_environment_passes_its_check(meter: str, hidden: tuple[int, ...]) -> None:
    check_env(hidden=hidden, max_hidden=(48,) * len(hidden), meter=meter, **{**SMALL, "decisions": 4})


def test_a_deepened_layer_is_seen_and_counted_like_any_other() -> None:
    env = started(hidden=(8, 0), max_hidden=(24, 24), budget=1.0)
    assert env.actions.names[3:] == ("grow layer 1 by 4", "grow layer 1 by 16")
    masks = env.action_masks()
    assert masks[:, 1:].all(), "deepening is legal from the start"
    action = np.array([0, env.actions.index(1, 4), env.actions.index(1, 16)])
    observations, _, _, _, infos = env.step(action)
    assert infos["widths"].tolist() == [[8, 0], [8, 4], [8, 16]]
    width = observations["architecture"][:, env.feature_names["architecture"].index("width_1")]
    np.testing.assert_allclose(width, [0, 4 / 24, 16 / 24], rtol=1e-6)
    assert (infos["used"][1:] > infos["used"][0]).all()
    assert not env.action_masks()[2, env.actions.index(1, 16)], "16 + 16 are more than 24"


@pytest.mark.parametrize("meter", ["mosaic", "parameters"])
def test_snapshots_continue_identically(meter: str) -> None:
    env, rng = started(hidden=(6, 0, 0), max_hidden=(24,) * 3, meter=meter), np.random.default_rng(0)
    env.step(random_actions(env, rng))
    kept = env.snapshot()
    actions = [random_actions(env, rng) for _ in range(2)]
    first = [env.step(action) for action in actions]
    env.restore(kept)
    for action, expected in zip(actions, first, strict=True):
        assert_same(list(env.step(action)), list(expected))


@pytest.mark.parametrize(
    ("hidden", "most", "message"),
    [
        ((0,), (8,), "at least 1 neuron in the first"),
        ((0, 4), (8, 8), "at least 1 neuron in the first"),
        ((4, -1), (8, 8), r"at least 0 \(absent at first\) in each other one"),
        ((4, 0), (8, 0), "a width of at least 1 for each layer"),
    ],
)
def test_configurations_that_no_network_can_start_from(hidden: Any, most: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GrowthConfig(hidden=hidden, max_hidden=most)


def test_configurations_say_where_wires_are() -> None:
    config = GrowthConfig(hidden=(8, 0, 4, 0), max_hidden=(8, 8, 8, 8))
    assert config.bypassed == (1, 3)
    assert GrowthConfig.from_json(config.to_json()) == config
    assert GrowthConfig().bypassed == ()
