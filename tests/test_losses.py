"""Losses: values and derivatives against autograd, and environments that train on them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from growenv import GrowthConfig, GrowthEnv, GrowthVectorEnv
from growenv.growth.evidence import Loss
from growenv.losses import LOSSES
from growenv.protection import PROTECTIONS
from growenv.registry import UnknownNameError

NAMES = ("cross-entropy", "squared-error")
ROWS, OUTPUTS, SAMPLES = 3, 5, 4
ABSENT = -1e30
QUICK: dict[str, Any] = {"minibatches": 2, "decisions": 2, "validation_samples": 16, "test_samples": 16}


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Answers (N, C, B), right outputs (N, B), and what is added to the answers (N, C, 1); rows lack 0, 1, 2."""
    generator = torch.Generator().manual_seed(seed)
    answers = torch.randn((ROWS, OUTPUTS, SAMPLES), generator=generator, dtype=torch.float64)
    labels = torch.randint(0, OUTPUTS - 2, (ROWS, SAMPLES), generator=generator)
    absent = torch.zeros((ROWS, OUTPUTS, 1), dtype=torch.float64)
    absent[1, 4:], absent[2, 3:] = ABSENT, ABSENT
    return answers, labels, absent


def literal_losses(name: str, answers: Tensor, labels: Tensor, absent: Tensor) -> Tensor:
    """Loss of every sample by torch's own modules, among the outputs that take part, (N, B)."""
    every = []
    for row in range(ROWS):
        for sample in range(SAMPLES):
            part = torch.broadcast_to(absent, answers.shape)[row, :, sample] == 0
            given, label = answers[row, part, sample], labels[row, sample]
            if name == "cross-entropy":
                every.append(torch.nn.functional.cross_entropy(given, label))
            else:
                wanted = torch.nn.functional.one_hot(label, OUTPUTS)[part].double()
                every.append(torch.nn.functional.mse_loss(given, wanted))
    return torch.stack(every).view(ROWS, SAMPLES)


def training_gradient(name: str, answers: Tensor, labels: Tensor, absent: Tensor, share: Any) -> Tensor:
    logits = answers + absent
    grad, targets = torch.softmax(logits, 1), torch.nn.functional.one_hot(labels, OUTPUTS).transpose(1, 2)
    LOSSES.make(name).gradient(logits, grad, targets.to(answers.dtype), absent, share)
    return grad


# -- minibatches -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["number", "rows", "samples"])
@pytest.mark.parametrize("each_sample", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_that_of_autograd(name: str, each_sample: bool, shape: str) -> None:
    """With shares as a number, of rows and of samples; with outputs that rows, or single samples, lack."""
    answers, labels, absent = batch()
    if each_sample:
        absent = absent.expand(-1, -1, SAMPLES).clone()
        absent[0, 3, 1] = ABSENT
    shares = {
        "number": 0.25,
        "rows": torch.rand((ROWS, 1, 1)).double(),
        "samples": torch.rand((ROWS, 1, SAMPLES)).double(),
    }
    share: Any = shares[shape]
    answers.requires_grad_(True)
    weight = share[:, 0] if isinstance(share, Tensor) else share
    (expected,) = torch.autograd.grad((literal_losses(name, answers, labels, absent) * weight).sum(), answers)
    found = training_gradient(name, answers.detach(), labels, absent, share)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)


def test_the_squared_error_worked_by_hand() -> None:
    """Two of three outputs take part: 2 / 2 * (answer - target) * 1/2; nothing for the third."""
    logits = torch.tensor([[[1.0], [0.5], [ABSENT]]])
    grad, targets = torch.softmax(logits, 1), torch.tensor([[[0.0], [1.0], [0.0]]])
    LOSSES.make("squared-error").gradient(logits, grad, targets, (logits == ABSENT) * ABSENT, 0.5)
    assert grad.flatten().tolist() == [0.5, -0.25, 0.0]


def test_the_cross_entropy_worked_by_hand() -> None:
    """Softmax of two equal answers is a half."""
    logits = torch.tensor([[[2.0], [2.0]]])
    grad = torch.softmax(logits, 1)
    absent = torch.zeros((1, 2, 1))
    LOSSES.make("cross-entropy").gradient(logits, grad, torch.tensor([[[0.0], [1.0]]]), absent, 0.5)
    assert grad.flatten().tolist() == [0.25, -0.25]


# -- probe batches -----------------------------------------------------------------------------------------------------


def probed(name: str, dtype: torch.dtype = torch.float64) -> tuple[Loss, Tensor, Tensor, Tensor]:
    """The loss of a probe batch, its answers (N, B, C), right outputs and absences."""
    answers, labels, absent = batch(1)
    answers, absent = answers.to(dtype), absent.to(dtype)
    return LOSSES.make(name).of_probe(labels, absent.transpose(1, 2)), answers.transpose(1, 2), labels, absent


@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_of_a_probe_batch_are_those_of_autograd(name: str) -> None:
    loss, answers, labels, absent = probed(name)
    answers = answers.contiguous().requires_grad_(True)
    expected = literal_losses(name, answers.transpose(1, 2), labels, absent).mean(dim=1)
    np.testing.assert_allclose(loss.value(answers.detach()), expected.detach(), rtol=1e-13)
    (slope,) = torch.autograd.grad(expected.sum(), answers)
    np.testing.assert_allclose(loss.gradient(answers.detach()), slope, rtol=1e-12, atol=1e-15)
    (own,) = torch.autograd.grad(loss.value(answers).sum(), answers)
    np.testing.assert_allclose(own, slope, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_a_probe_batch_in_single_precision_can_be_looked_at_in_double(name: str) -> None:
    loss, answers, labels, absent = probed(name, torch.float32)
    expected = literal_losses(name, answers.transpose(1, 2).double(), labels, absent).mean(dim=1)
    found = loss.value(answers.double()), loss.gradient(answers.double())
    assert found[0].dtype == found[1].dtype == torch.float64
    np.testing.assert_allclose(found[0], expected, rtol=1e-13)
    assert loss.gradient(answers).dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_the_accuracy_counts_outputs_that_take_part_alone(name: str) -> None:
    """An answer that is larger but absent is none."""
    labels = torch.tensor([[0, 1, 1, 1]])
    answers = torch.tensor([[[1.0, 0.0, 9.0], [0.0, 1.0, 9.0], [1.0, 0.0, 9.0], [0.0, 2.0, 9.0]]])
    absent = torch.tensor([[[0.0, 0.0, ABSENT]]])
    assert LOSSES.make(name).of_probe(labels, absent).accuracy(answers).tolist() == [0.75]


@pytest.mark.parametrize("name", NAMES)
def test_a_tie_is_no_right_answer_of_a_probe_batch(name: str) -> None:
    """So that a dead network, whose answers are all alike, knows nothing."""
    loss = LOSSES.make(name).of_probe(torch.tensor([[0, 1]]), torch.zeros((1, 1, 3)))
    assert loss.accuracy(torch.zeros((1, 2, 3))).tolist() == [0.0]


# -- options -----------------------------------------------------------------------------------------------------------


def test_an_unknown_loss_is_refused_by_its_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown loss 'squared-eror'; did you mean 'squared-error'\?"):
        GrowthVectorEnv(1, loss="squared-eror")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss": None}, "option loss=None: expected a registered name"),
        ({"loss": LOSSES.make("squared-error")}, "expected a registered name"),
        ({"precision": "double"}, "option precision='double': expected one of float32, float64"),
        ({"precision": torch.float64}, "expected one of float32, float64"),
        ({"precision": 64}, "expected one of float32, float64"),
    ],
)
def test_losses_and_precisions_that_do_not_exist_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GrowthConfig(**options)


def test_loss_and_precision_come_back_from_json() -> None:
    config = GrowthConfig(loss="squared-error", precision="float64")
    again = GrowthConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config and again.dtype == torch.float64
    assert GrowthConfig().dtype == torch.float32 and GrowthConfig().loss == "cross-entropy"


# -- environments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_networks_learn_the_digits_from_every_loss(name: str, precision: str) -> None:
    options: dict[str, Any] = {
        "tasks": 1,
        "decisions": 3,
        "minibatches": 40,
        "hidden": (16,),
        "max_hidden": (32,),
        "budget": 1.0,
    }
    env = GrowthVectorEnv(2, loss=name, precision=precision, autoreset_mode="DISABLED", **options)
    env.reset(seed=0)
    for _ in range(3):
        *_, infos = env.step(np.zeros(2, dtype=np.int64))
    assert (infos["validation_accuracy"] > 0.7).all()
    network = env.learner.network
    tensors = [
        *network.weights,
        *network.frozen,
        *network.buffers.values(),
        env.learner.data._bank,
        env.learner.heads.kept,
    ]
    assert {tensor.dtype for tensor in tensors} == {env.config.dtype}


def test_double_precision_is_single_precision_to_rounding() -> None:
    options: dict[str, Any] = {"tasks": 1, "decisions": 2, "minibatches": 5, "loss": "squared-error"}
    envs = [GrowthVectorEnv(2, precision=precision, **options) for precision in ("float32", "float64")]
    for env in envs:
        env.reset(seed=3)
        env.step(np.array([1, 2]))
    single, double = (env.learner.network.buffers["weights"] for env in envs)
    np.testing.assert_allclose(single, double, atol=1e-4)
    assert not torch.equal(single.double(), double)


@pytest.mark.parametrize("options", [{}, {"protection": "firefly-masks"}, {"protection": "experts"}])
def test_the_default_scenario_plays_in_double_precision(options: dict[str, Any]) -> None:
    """With the hardware, all signals and gated units."""
    env = GrowthEnv(precision="float64", signals="all", **{**QUICK, **options})
    _, infos = env.reset(seed=1)
    rng, terminated = np.random.default_rng(0), False
    while not terminated:
        action = rng.choice(np.flatnonzero(env.action_masks()))
        observation, reward, terminated, _, infos = env.step(int(action))
        assert env.observation_space.contains(observation) and np.isfinite(reward)
    assert env.rows.learner.network.dtype == torch.float64 and np.isfinite(infos["objective"])


@pytest.mark.parametrize("protection", PROTECTIONS.names())
def test_every_protection_plays_with_the_squared_error(protection: str) -> None:
    env = GrowthVectorEnv(2, loss="squared-error", protection=protection, autoreset_mode="DISABLED", **QUICK)
    env.reset(seed=0)
    rng, infos = np.random.default_rng(0), dict[str, Any]()
    while not env.episodes.ended.all():
        *_, infos = env.step(np.array([rng.choice(np.flatnonzero(mask)) for mask in env.action_masks()]))
    assert np.isfinite(infos["objective"]).all()
