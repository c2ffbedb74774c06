"""Stacked autoencoders learn exactly as single ones would."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from growenv.networks.stacked_vae import StackedVAE, parameter_count, stacked_normal
from growenv.randomness import Purpose

ROWS, PIXELS, HIDDEN, LATENT = 3, 6, (5, 4), 2
EVERYONE = np.ones(ROWS, dtype=bool)
SEEDS = np.array([7, 8, 9], dtype=np.uint64)


def built(rows: int = ROWS, seeds: Any = SEEDS) -> StackedVAE:
    vae = StackedVAE(rows, PIXELS, HIDDEN, LATENT, learning_rate=0.01, dtype=torch.float64)
    vae.begin(np.ones(rows, dtype=bool), seeds)
    return vae


def drawn(seed: int = 0, size: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Images, shares and noise."""
    rng = np.random.default_rng(seed)
    images, share = torch.from_numpy(rng.random((ROWS, size, PIXELS))), torch.from_numpy(rng.random((ROWS, size)))
    return images, share, torch.from_numpy(rng.normal(size=(ROWS, size, LATENT)))


class Single:
    """One autoencoder, written with modules and automatic gradients."""

    def __init__(self, vae: StackedVAE, row: int) -> None:
        sizes = [(6, 5), (5, 4), (4, 4), (2, 4), (4, 5), (5, 6)]
        self.layers = [nn.Linear(*size).double() for size in sizes]
        self.parameters = [each for layer in self.layers for each in layer.parameters()]
        flat, start = vae.parameters[row], 0
        for layer, (fan_in, fan_out) in zip(self.layers, sizes, strict=True):
            with torch.no_grad():
                layer.weight.copy_(flat[start : start + fan_in * fan_out].view(fan_in, fan_out).T)
                start += fan_in * fan_out
                layer.bias.copy_(flat[start : start + fan_out])
                start += fan_out
        assert start == len(flat)

    def decoded(self, code: Tensor) -> Tensor:
        one, two, three = self.layers[3:]
        return torch.as_tensor(torch.sigmoid(three(torch.relu(two(torch.relu(one(code)))))))

    def losses(self, images: Tensor, noise: Tensor) -> Tensor:
        one, two, three = self.layers[:3]
        statistics = three(torch.relu(two(torch.relu(one(images)))))
        mean, log_variance = statistics[:, :LATENT], statistics[:, LATENT:]
        code = mean + torch.exp(log_variance / 2) * noise
        error = nn.functional.binary_cross_entropy(self.decoded(code), images, reduction="none").mean(dim=1)
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(dim=1)
        return torch.as_tensor(error + divergence / PIXELS)

    def flat(self, of_gradients: bool) -> Tensor:
        chosen = [each.grad if of_gradients else each for each in self.parameters]
        return torch.cat([each.t().reshape(-1) for each in chosen if each is not None]).detach()


def test_losses_images_and_gradients_are_those_of_modules() -> None:
    vae, (images, share, noise) = built(), drawn()
    vae.differentiate(images, share, noise)
    losses, pictures = vae.losses(images, noise), vae.decode(noise)
    for row in range(ROWS):
        single = Single(vae, row)
        expected = single.losses(images[row], noise[row])
        torch.autograd.backward((expected * share[row]).sum())
        torch.testing.assert_close(losses[row], expected.detach(), atol=1e-12, rtol=0)
        torch.testing.assert_close(pictures[row], single.decoded(noise[row]).detach(), atol=1e-12, rtol=0)
        torch.testing.assert_close(vae.gradient[row], single.flat(of_gradients=True), atol=1e-12, rtol=0)


def test_the_loss_of_an_autoencoder_without_weights_is_worked_out_by_hand() -> None:
    """Every pixel is decoded as 1/2, so the error is log 2; zero means and unit variances diverge by nothing."""
    vae, (images, _, noise) = built(), drawn()
    vae.parameters.zero_()
    torch.testing.assert_close(vae.losses(images, noise), torch.full((ROWS, 4), np.log(2.0), dtype=torch.float64))


def test_training_equals_adam_on_modules_though_rows_began_at_different_times() -> None:
    vae = built()
    vae.train(*drawn(5))
    vae.begin(np.array([False, True, False]), SEEDS)
    begun = [Single(vae, row) for row in range(ROWS)]
    fresh = torch.optim.Adam(begun[1].parameters, lr=0.01)
    for number in range(5):
        images, share, noise = drawn(number)
        vae.train(images, share, noise)
        fresh.zero_grad()
        torch.autograd.backward((begun[1].losses(images[1], noise[1]) * share[1]).sum())
        fresh.step()
    assert vae.counts.tolist() == [6, 5, 6]
    torch.testing.assert_close(vae.parameters[1], begun[1].flat(of_gradients=False), atol=1e-9, rtol=0)
    assert not torch.allclose(vae.parameters[0], begun[0].flat(of_gradients=False), atol=1e-3)


def test_a_row_learns_the_same_alone() -> None:
    vae, alone = built(), built(rows=1, seeds=SEEDS[1:2])
    for number in range(3):
        given = drawn(number)
        vae.train(*given)
        alone.train(*(each[1:2] for each in given))
    torch.testing.assert_close(alone.parameters[0], vae.parameters[1], atol=1e-12, rtol=0)


def test_samples_without_a_share_teach_nothing() -> None:
    vae, (images, share, noise) = built(), drawn()
    share[:, 2:] = 0.0
    vae.differentiate(images, share, noise)
    both = vae.gradient.clone()
    vae.differentiate(images[:, :2], share[:, :2], noise[:, :2])
    torch.testing.assert_close(both, vae.gradient, atol=1e-14, rtol=0)


def test_training_makes_images_likelier() -> None:
    vae, rng = StackedVAE(ROWS, PIXELS, (16, 16), LATENT, learning_rate=0.01), np.random.default_rng(0)
    vae.begin(EVERYONE, SEEDS)
    images = torch.from_numpy((rng.random((ROWS, 16, 1)) < 0.5).repeat(PIXELS, axis=2)).float()
    share = torch.full((ROWS, 16), 1 / 16)
    noise = torch.zeros((ROWS, 16, LATENT))
    before = vae.losses(images, noise).mean(dim=1)
    for step in range(300):
        vae.train(images, share, stacked_normal(SEEDS, Purpose.PROTECTION, step, shape=(16, LATENT)))
    assert (vae.losses(images, noise).mean(dim=1) < before - 0.1).all()


def test_fresh_weights_depend_on_the_seed_and_the_fan_in_alone() -> None:
    vae = built()
    first = vae.parameters[:, : PIXELS * 5]
    assert (first.abs() < PIXELS**-0.5).all()
    assert float(first.abs().max()) > 0.8 * PIXELS**-0.5
    assert not torch.equal(vae.parameters[0], vae.parameters[1])
    torch.testing.assert_close(built(rows=1, seeds=SEEDS[2:]).parameters[0], vae.parameters[2], atol=0, rtol=0)


def test_a_copy_trains_on_alike_and_carries_no_gradient() -> None:
    vae = built()
    vae.train(*drawn(0))
    other = copy.deepcopy(vae)
    assert "gradient" not in vae.__getstate__()
    for each in (vae, other):
        each.train(*drawn(1))
    assert torch.equal(vae.parameters, other.parameters)
    assert vae.parameters.data_ptr() != other.parameters.data_ptr()


def test_parameters_are_counted() -> None:
    assert parameter_count(784, (400, 400), 100) == 554_600 + 515_184
    assert built().parameters.shape == (ROWS, parameter_count(PIXELS, HIDDEN, LATENT))


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"pixels": 0}, {"hidden": ()}, {"hidden": (4, 0)}, {"latent": 0}])
def test_sizes_that_no_autoencoder_has(wrong: dict[str, Any]) -> None:
    sizes: dict[str, Any] = {"rows": 1, "pixels": 4, "hidden": (3,), "latent": 2, **wrong}
    with pytest.raises(ValueError, match="at least"):
        StackedVAE(**sizes)


def test_normal_numbers_are_normal_and_each_row_has_its_own() -> None:
    every = stacked_normal(SEEDS, Purpose.PROTECTION, 3, shape=(500, 101))
    assert every.shape == (ROWS, 500, 101)
    assert torch.isfinite(every).all()
    assert (every.mean(dim=(1, 2)).abs() < 0.02).all()
    for power, moment in ((2, 1.0), (4, 3.0)):
        assert ((every**power).mean(dim=(1, 2)) - moment).abs().max() < 0.1
    alone = stacked_normal(SEEDS[1:2], Purpose.PROTECTION, np.array([3]), shape=(500, 101))
    assert torch.equal(alone[0], every[1])
    fewer = stacked_normal(SEEDS, Purpose.PROTECTION, 3, shape=(7, 101))
    assert torch.equal(fewer, every[:, :7])
    assert not torch.equal(stacked_normal(SEEDS, Purpose.PROTECTION, 4, shape=(500, 101)), every)
