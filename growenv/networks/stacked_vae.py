"""N variational autoencoders as stacked tensors: generators of images for replay."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.networks.optimizers import TINY
from growenv.randomness import Purpose, bits, uniform

_SETTLE = 64  # steps between two searches for moments that decay into denormals
_relu_backward = torch.ops.aten.threshold_backward.grad_input


class StackedVAE:
    """N variational autoencoders (Kingma and Welling 2014, arXiv 1312.6114) of one shape, trained in lock-step by Adam.

    The encoder D - hidden - (means, log-variances of Z latent values) and its mirror image Z - hidden - D are ReLU
    networks; the last layer of the decoder is a sigmoid. A row's loss is the sum over its samples of

        share * (mean over the pixels of the binary cross-entropy + Kullback-Leibler divergence / D)

    as in van de Ven and Tolias 2019, arXiv 1904.07734. Weights and biases start uniform within 1 / sqrt(fan-in). No
    row's numbers depend on another row.

    Args:
        rows: number of autoencoders N.
        pixels: values of an image D, each in [0, 1].
        hidden: widths of the encoder's hidden layers, the lowest first.
        latent: latent values Z.
        learning_rate: step size of Adam, whose decays are 0.9 and 0.999.
        dtype: float32, or float64 for reference computations.
        device: where the tensors live.

    Attributes:
        parameters: all weights and biases of each row, (N, P).
        gradient: derivative of each row's loss by them, (N, P), as `differentiate` left it.
        counts: steps of each row's optimiser, (N,).

    Raises:
        ValueError: a number of rows, pixels, units or latent values below 1, or no hidden layer.
    """

    def __init__(
        self,
        rows: int,
        pixels: int,
        hidden: Sequence[int] = (400, 400),
        latent: int = 100,
        *,
        learning_rate: float = 1e-3,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        if rows < 1:
            raise ValueError(f"a stack needs at least 1 row, got {rows}")
        self.rows, self.pixels, self.hidden, self.latent = rows, pixels, tuple(hidden), latent
        self.learning_rate, self.device = learning_rate, torch.device(device)
        self.counts: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)
        size = parameter_count(pixels, self.hidden, latent)
        self.parameters, self._first, self._second = torch.zeros((3, rows, size), dtype=dtype, device=device)
        self.gradient = torch.zeros_like(self.parameters)

    def begin(self, rows: NDArray[np.bool_], seeds: NDArray[np.uint64]) -> None:
        """Fresh weights and a fresh optimiser for some rows.

        Args:
            rows: which rows, (N,).
            seeds: seed of every row, (N,).
        """
        index = np.flatnonzero(rows)
        number = np.arange(self.parameters.shape[1])
        for row in index:
            draw = torch.from_numpy(2.0 * uniform(seeds[row], Purpose.PROTECTION, _WEIGHTS, number) - 1.0)
            self.parameters[row] = draw.to(self.parameters)
        for weight, bias in self._layers(self.parameters):
            scale = weight.shape[1] ** -0.5
            weight[index] *= scale
            bias[index] *= scale
        self._first[index], self._second[index], self.counts[index] = 0.0, 0.0, 0

    def _layers(self, flat: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Views of `flat` as weights (N, fan-in, fan-out) and biases (N, 1, fan-out), the encoder's first."""
        views, start = [], 0
        for fan_in, fan_out in _shapes(self.pixels, self.hidden, self.latent):
            stop = start + fan_in * fan_out
            weight = flat[:, start:stop].view(-1, fan_in, fan_out)
            views.append((weight, flat[:, None, stop : stop + fan_out]))
            start = stop + fan_out
        return views

    # -- computing ---------------------------------------------------------------------------------------------------

    def decode(self, code: Tensor, parameters: Tensor | None = None) -> Tensor:
        """Images of latent values, (N, B, D).

        Args:
            code: latent values, (N, B, Z).
            parameters: those to use instead of the current ones, (N, P).
        """
        layers = self._layers(self.parameters if parameters is None else parameters)
        *hidden, last = layers[len(self.hidden) + 1 :]
        return _affine(_rise(code, hidden)[-1], last).sigmoid_()

    def losses(self, images: Tensor, noise: Tensor) -> Tensor:
        """Loss of every sample, (N, B); arguments as in `differentiate`."""
        _, mean, spread, decoded = self._forward(images, noise)
        logits = decoded[-1]
        error = torch.nn.functional.binary_cross_entropy_with_logits(logits, images, reduction="none").mean(dim=2)
        divergence = 0.5 * (mean.square() + spread.square() - 1.0).sum(dim=2) - spread.log().sum(dim=2)
        return error + divergence / self.pixels

    def differentiate(self, images: Tensor, share: Tensor, noise: Tensor) -> None:
        """Fill `gradient` with the derivative of every row's loss.

        Args:
            images: pixels in [0, 1], (N, B, D).
            share: weight of each sample in its row's loss, (N, B).
            noise: standard normal numbers, (N, B, Z).
        """
        encoded, mean, spread, decoded = self._forward(images, noise)
        layers = list(
            zip(self._layers(self.parameters), self._layers(self.gradient), [*encoded, *decoded[:-1]], strict=True)
        )
        encoder, decoder = layers[: len(encoded)], layers[len(encoded) :]
        weight = share[:, :, None] / self.pixels
        back = _descend(decoder, decoded[-1].sigmoid_().sub_(images).mul_(weight), to_inputs=True)
        # The latent value is mean + spread * noise, and the log-variance is twice the logarithm of the spread.
        by_mean = back + mean * weight
        by_variance = back.mul_(noise).mul_(spread).add_(spread.square().sub_(1.0).mul_(weight)).mul_(0.5)
        _descend(encoder, torch.cat((by_mean, by_variance), dim=2), to_inputs=False)

    def _forward(self, images: Tensor, noise: Tensor) -> tuple[list[Tensor], Tensor, Tensor, list[Tensor]]:
        """Inputs of every encoder layer, means and standard deviations, inputs of every decoder layer and logits."""
        layers, depth = self._layers(self.parameters), len(self.hidden)
        encoded = _rise(images, layers[:depth])
        mean, log_variance = _affine(encoded[-1], layers[depth]).chunk(2, dim=2)
        spread = (0.5 * log_variance).exp_()
        decoded = _rise(torch.addcmul(mean, spread, noise), layers[depth + 1 : -1])
        return encoded, mean, spread, [*decoded, _affine(decoded[-1], layers[-1])]

    # -- training ----------------------------------------------------------------------------------------------------

    def train(self, images: Tensor, share: Tensor, noise: Tensor) -> None:
        """One step of Adam in every row; arguments as in `differentiate`."""
        self.differentiate(images, share, noise)
        self.counts += 1
        edges = [0, *(np.flatnonzero(np.diff(self.counts)) + 1), self.rows]
        runs = [slice(start, stop) for start, stop in pairwise(edges)]
        torch._fused_adam_(
            [self.parameters[run] for run in runs],
            [self.gradient[run] for run in runs],
            [self._first[run] for run in runs],
            [self._second[run] for run in runs],
            [],
            [torch.tensor(float(self.counts[run.start]), device=self.device) for run in runs],
            lr=self.learning_rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )
        if (self.counts % _SETTLE == 0).any():
            for flat in (self._first, self._second):
                torch.hardshrink(flat, TINY, out=flat)

    def __getstate__(self) -> dict[str, Any]:
        # Every step writes the whole gradient anew, so no copy needs it.
        return {name: value for name, value in vars(self).items() if name != "gradient"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.gradient = torch.zeros_like(self.parameters)


_WEIGHTS = 0  # first counter of the initial weights


def _shapes(pixels: int, hidden: tuple[int, ...], latent: int) -> list[tuple[int, int]]:
    """Fan-in and fan-out of every layer, the encoder's first."""
    decoder = pairwise((latent, *reversed(hidden), pixels))
    return [*pairwise((pixels, *hidden, 2 * latent)), *decoder]


def parameter_count(pixels: int, hidden: tuple[int, ...], latent: int) -> int:
    """Weights and biases of one autoencoder; arguments as in `StackedVAE`.

    Raises:
        ValueError: a number below 1, or no hidden layer.
    """
    if not hidden or min(pixels, latent, *hidden) < 1:
        raise ValueError(
            f"expected at least one hidden layer, and pixels, hidden widths and latent of at least 1; "
            f"got pixels={pixels}, hidden={hidden}, latent={latent}"
        )
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in _shapes(pixels, hidden, latent))


def stacked_normal(
    seeds: NDArray[np.uint64], purpose: int, *counters: NDArray[np.int64] | int, shape: tuple[int, int]
) -> Tensor:
    """Standard normal numbers for every row, float32 (N, *shape).

    Both numbers of a Box-Muller pair come from one hash, and the functions are those of torch: many times faster than
    one number a hash. A draw begins with the numbers of a smaller one.

    Args:
        seeds: seed of every row, (N,).
        purpose: what they are for, a `Purpose`.
        counters: what tells one such draw from another, each an integer or (N,).
        shape: numbers of a row.
    """
    count = shape[0] * shape[1]
    pairs = np.arange(-(-count // 2))
    word = bits(seeds[:, None], purpose, *(np.reshape(each, (-1, 1)) for each in counters), pairs[None, :])
    high, low = (torch.from_numpy(half.astype(np.float32)) for half in (word >> np.uint64(32), word & _LOW))
    # 2**-33 keeps the logarithm finite.
    radius = high.mul_(2.0**-32).add_(2.0**-33).log_().mul_(-2.0).clamp_(min=0.0).sqrt_()
    angle = low.mul_(2.0**-31 * np.pi)
    # A pair stays together, so that asking for more numbers does not move the first ones.
    drawn = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=2).view(len(seeds), -1)
    return drawn[:, :count].reshape(-1, *shape)


_LOW = np.uint64(0xFFFFFFFF)


def _affine(below: Tensor, layer: tuple[Tensor, Tensor]) -> Tensor:
    return torch.baddbmm(layer[1], below, layer[0])


def _rise(units: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """`units`, and what each of some ReLU layers above makes of them."""
    every = [units]
    for layer in layers:
        every.append(_affine(every[-1], layer).clamp_(min=0.0))
    return every


def _descend(
    layers: Sequence[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor]], delta: Tensor, to_inputs: bool
) -> Tensor:
    """Write the gradients of layers.

    Args:
        layers: weights and biases, their gradients, and the inputs of each layer, the lowest first.
        delta: derivative by the outputs of the last one, before its non-linearity.
        to_inputs: whether to go on to the inputs of the lowest.

    Returns:
        The derivative by the inputs of the lowest, if asked for.
    """
    for number in range(len(layers) - 1, -1, -1):
        (weight, _), (by_weight, by_bias), below = layers[number]
        torch.bmm(below.transpose(1, 2), delta, out=by_weight)
        torch.sum(delta, dim=1, keepdim=True, out=by_bias)
        if number > 0 or to_inputs:
            delta = torch.bmm(delta, weight.transpose(1, 2))
        if number > 0:
            delta = _relu_backward(delta, below, 0, grad_input=delta)
    return delta
