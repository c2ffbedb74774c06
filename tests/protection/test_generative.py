"""Dreams look like old data, are named as the old network names them, and keep old tasks alive."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from growenv.hardware import Architecture
from growenv.learner import Learner
from growenv.networks.stacked_vae import StackedVAE
from growenv.protection import PROTECTIONS, Batch, GenerativeReplay
from growenv.protection.generative import OLD
from growenv.protection.stage import Stage
from growenv.streams import load_dataset
from growenv.testing import check_protection
from tests.protection.test_replay import PERMUTED, began, trained

TINY: dict[str, Any] = {"hidden": (8,), "latent": 3}


class Recording(GenerativeReplay):
    """Remembers the last minibatch."""

    def rehearse(self, stage: Stage, batch: Batch) -> Batch:
        self.last = super().rehearse(stage, batch)
        return self.last


def part_of(ours: Learner) -> Recording:
    assert isinstance(ours.protection, Recording)
    return ours.protection


# -- learning --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> Learner:
    """Two tasks of two digits, learned well, at the begin of a third one."""
    part = Recording(hidden=(48,), latent=6, learning_rate=4e-3)
    options: dict[str, Any] = {"minibatches": 250, "batch_size": 32, "hidden": (30,), "max_hidden": (40,)}
    ours = began(part, PERMUTED, scenario="class-incremental", learning_rate=0.005, dtype=torch.float32, **options)
    trained(ours, 3)
    return ours


def test_dreams_are_named_right_more_often_than_by_chance(digits: Learner) -> None:
    """What they show is told by the nearest mean image of a class, in the pixel order of its task."""
    part, data = part_of(digits), load_dataset("digits")
    assert part.last.samples.shape == (2, 64)
    dreams = digits.stage.pixels(part.last.inputs[:, 32:])
    # They were read in the third task, but each is an image as its own task has it.
    means = []
    for number, classes in enumerate(((0, 1), (2, 3))):
        order = torch.from_numpy(PERMUTED[number].transform.pixel_order(data))
        for label in classes:
            images = data.inputs[data.train[data.labels[data.train] == label]].float()
            low, high = float(data.inputs.min()), float(data.inputs.max())
            means.append(((images - low) / (high - low)).mean(dim=0)[order])
    nearest = torch.cdist(dreams, torch.stack(means).expand(2, -1, -1)).argmin(dim=2)
    named = part.last.outputs[:, 32:]
    assert set(np.unique(named.numpy()).tolist()) <= {0, 1, 2, 3}
    assert ((nearest == named).float().mean(dim=1) > 0.6).all(), "chance is 0.25"
    assert all(len(np.unique(nearest[row].numpy())) >= 3 for row in range(2)), "dreams differ"


def test_old_digits_are_remembered(digits: Learner) -> None:
    for number, least in ((0, 0.4), (1, 0.4), (2, 0.7)):
        assert (digits.accuracy("test", np.full(2, number)) > least).all()


# -- naming ----------------------------------------------------------------------------------------------------------


def targets_of(ours: Learner) -> tuple[Batch, Batch]:
    """The last minibatch, and its dreams alone."""
    last = part_of(ours).last
    assert isinstance(last.share, torch.Tensor)
    dreams = Batch(
        last.inputs[:, 8:],
        last.targets[:, :, 8:],
        last.absent[:, :, 8:],
        last.share[:, :, 8:],
        last.samples[:, 8:],
        last.outputs[:, 8:],
    )
    return last, dreams


def test_each_dream_is_named_by_the_head_of_some_old_task() -> None:
    ours = trained(began(Recording(**TINY), minibatches=20), 3)
    last, dreams = targets_of(ours)
    logits = ours.stage.forward(dreams.inputs, weights=ours.network.buffers[OLD])
    used = set()
    for row in range(2):
        for place in range(8):
            output = int(dreams.outputs[row, place])
            head = slice(10 * (output // 10), 10 * (output // 10) + 2)
            used.add(output // 10)
            assert output == head.start + int(logits[row, place, head].argmax())
            part = torch.arange(30)[head]
            assert (dreams.absent[row, :, place] == 0).nonzero()[:, 0].tolist() == part.tolist()
            assert dreams.targets[row, :, place].nonzero()[:, 0].tolist() == [output]
    assert used == {0, 1}
    np.testing.assert_allclose(torch.as_tensor(last.share)[0, 0], [1 / 24] * 8 + [2 / 24] * 8, atol=1e-12)


@pytest.mark.parametrize("scenario", ["class-incremental", "class-incremental-all", "class-incremental-current"])
@pytest.mark.parametrize("distill", [False, True])
def test_a_shared_head_names_dreams_among_all_old_outputs(scenario: str, distill: bool) -> None:
    ours = trained(began(Recording(distill=distill, **TINY), scenario=scenario, minibatches=20), 3)
    _, dreams = targets_of(ours)
    logits = ours.stage.forward(dreams.inputs, weights=ours.network.buffers[OLD])[:, :, :4]
    assert torch.equal(dreams.outputs, logits.argmax(dim=2))
    if distill:
        expected = torch.softmax(logits / 2, dim=2).transpose(1, 2)
        torch.testing.assert_close(dreams.targets[:, :4], expected, atol=1e-12, rtol=0)
        assert not dreams.targets[:, 4:].any()
    for row in range(2):
        for place in range(8):
            part = (dreams.absent[row, :, place] == 0).nonzero()[:, 0].tolist()
            first = int(dreams.outputs[row, place]) // 2 * 2
            alone = list(range(4)) if distill else [first, first + 1]
            wanted = {"class-incremental": range(6), "class-incremental-all": range(10)}.get(scenario, alone)
            assert part == list(wanted)


def test_distilled_dreams_have_the_gradient_of_the_cross_entropy_of_softened_probabilities() -> None:
    ours = trained(began(Recording(distill=True, **TINY), scenario="class-incremental"), 2)
    last, part = part_of(ours).last, part_of(ours)
    logits = torch.randn((2, 10, 16), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradient = torch.zeros_like(logits)
    part.on_logits(ours.stage, last, logits + last.absent, gradient)
    asked = logits.clone().requires_grad_(True)
    likelihood = torch.log_softmax((asked + last.absent) / 2, dim=1)[:, :, 8:]
    loss = -(last.targets[:, :, 8:] * likelihood).sum(dim=1, keepdim=True) * torch.as_tensor(last.share)[:, :, 8:]
    (expected,) = torch.autograd.grad(loss.sum(), asked)
    torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=0)
    assert gradient[:, :, 8:].any()


# -- what is kept ----------------------------------------------------------------------------------------------------


def test_generator_and_network_of_a_task_s_end_are_kept_until_the_next_end() -> None:
    ours = trained(began(Recording(**TINY), PERMUTED), 1)
    part = part_of(ours)
    generator, weights = part.generator.parameters.clone(), ours.network.buffers["weights"].clone()
    ours.next_task(np.array([True, False]))
    assert torch.equal(part.old_generator[0], generator[0])
    assert not part.old_generator[1].any()
    old = ours.network.layout.blocks(ours.network.buffers[OLD])
    before = ours.network.layout.blocks(weights)
    assert torch.equal(old[1][0], before[1][0])
    assert not torch.equal(old[0][0], before[0][0]), "the first weights follow the pixel order"
    assert not any(block[1].any() for block in old)
    ours.train()
    assert torch.equal(part.old_generator[0], generator[0])
    assert not torch.equal(part.generator.parameters[0], generator[0])


def test_pixels_survive_the_way_to_the_network_and_back() -> None:
    ours = trained(began(Recording(**TINY), PERMUTED), 2)
    pixels = torch.rand((2, 5, 64), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours.stage.pixels(ours.stage.from_pixels(pixels)), pixels, atol=1e-12, rtol=0)


def test_the_generator_trains_on_new_images_alone_in_the_first_task() -> None:
    ours = began(Recording(**TINY), minibatches=1)
    fresh = copy.deepcopy(part_of(ours).generator)
    assert isinstance(fresh, StackedVAE)
    ours.train()
    last, part = part_of(ours).last, part_of(ours)
    assert last.inputs.shape[1] == 8
    ours.steps -= 1  # as it was when the noise was drawn
    noise, share = part._normal(ours.stage, 2, 8), torch.full((2, 8), 1 / 8, dtype=torch.float64)
    fresh.train(ours.stage.pixels(last.inputs), share, noise)
    assert torch.equal(fresh.parameters, part.generator.parameters)


def test_memory_is_two_generators_and_one_network() -> None:
    units = np.zeros((1, 2, 2), dtype=np.int64)
    units[0, 0] = 400
    shape = Architecture(784, units, np.array([[2, 2]]), directed=False)
    solver = 784 * 400 + 400 * 400 + 400 * 4 + 800 + 4
    assert GenerativeReplay().memory(shape).tolist() == [4 * (2 * (554_600 + 515_184) + solver)]


# -- all -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dgr", "dgr-distill"])
def test_names(name: str) -> None:
    assert PROTECTIONS.make(name).name == name


def test_promises_of_protections() -> None:
    check_protection(GenerativeReplay(distill=True, **TINY))


@pytest.mark.parametrize(
    "wrong", [{"learning_rate": 0.0}, {"temperature": -1.0}, {"latent": 0}, {"hidden": ()}, {"temperature": np.inf}]
)
def test_numbers_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be above 0 and finite, got|of at least 1; got"):
        GenerativeReplay(**wrong)
