"""Signals of saturation: what a layer can still learn with the weights that it has, and what new neurons would add."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.growth.signals.base import SIGNALS, Array, Scene, TaskClock, per_layer, ratio, relative, squash
from growenv.growth.signals.products import CANDIDATES, RIDGE, numbers
from growenv.growth.signals.spectra import classes, select
from growenv.networks import Layout, StackedMLP

KAPPA = 1e-3
"""A weight is taken if moving it by a typical weight changes the predictions by more nats than this; chosen so that a
third of the weights are taken in the middle of a task of the default environment. None is published."""
TINY = 1e-30


@SIGNALS.register("senn")
class NaturalExpansion:
    """What natural gradients gain from new neurons, beside what they gain from the present weights.

    Let g be a sample's error at the pre-activations of layer l + 1 (or at the logits), h what layer l answers (the
    constant one included), and a what 16 candidate neurons of layer l answer: random directions of what it reads, fixed
    for good. With F = E[g g^T], A = E[h h^T] and C = E[a a^T], and r what least squares on h leave of g:

    | feature | meaning | range |
    | --- | --- | --- |
    | senn_ratio_l | d / eta, as x / (1 + x) | [0, 1] |
    | senn_gain_l | d = Tr[F^-1 E[r a^T] C^-1 E[a r^T]], as x / (1 + x) | [0, 1] |

    eta = Tr[F^-1 E[g h^T] A^-1 E[h g^T]] is what natural gradients gain from the weights out of layer l, with the
    Kronecker-factored Fisher matrix F x A. Both are sums of squared correlations, hence free of scales: F, the Fisher
    matrix of the samples' own errors, holds the squared gradient of the loss by which the source divides d. Second
    moments are damped by a hundredth of their mean eigenvalue. Both features are 0 where nothing that trains would hear
    the neurons.

    Source: Mitchell et al. 2023, arXiv 2307.04526, the expansion score and its lower bound; they grow the layer with
    the largest gain where its ratio and its gain pass thresholds (0.03 and 0.0025 in one of their experiments).
    """

    name = "senn"

    def features(self, layers: int) -> tuple[str, ...]:
        """Names of the features; see `Signal.features`."""
        return *per_layer("senn_ratio", layers), *per_layer("senn_gain", layers)

    def begin(self, rows: NDArray[np.bool_]) -> None:
        """Nothing is remembered."""

    def measure(self, scene: Scene, rows: NDArray[np.bool_]) -> Array:
        """See `Signal.measure`."""
        products, network = scene.products, scene.evidence.network
        readers = np.stack([products.readers(layer) for layer in range(network.depth)])
        errors = products.half_errors.flatten(0, 1)
        candidates = products.candidates[:, :, : products.half].flatten(0, 1)
        size, kernels = 1 + network.widths.T.ravel(), products.kernels.flatten(0, 1)
        eta, gain = np.zeros((2, readers.size))
        for common, index in classes(readers.ravel(), 16):
            parts = (select(each, index) for each in (kernels, candidates, errors[:, :, :common]))
            eta[index], gain[index] = natural_gains(*parts, size[index], readers.ravel()[index])
        eta, gain = (each.reshape(readers.shape).T for each in (eta, gain))
        return squash(np.concatenate((ratio(gain, eta), gain), axis=1))


def natural_gains(
    kernel: Tensor, candidates: Tensor, errors: Tensor, size: NDArray[np.int64], readers: NDArray[np.int64]
) -> tuple[Array, Array]:
    """eta and d of `NaturalExpansion` for k layers, two arrays (k,).

    With Q = H H^T / S over S samples, damped least squares on h leave rho (Q + rho I)^-1 g of the errors g, so the width
    of the layer costs nothing.

    Args:
        kernel: Q, (k, S, S).
        candidates: what the candidates answer, (k, S, candidates).
        errors: (k, S, readers).
        size: values of h that are in use, (k,).
        readers: values of g that are in use, (k,).
    """
    count = errors.shape[1]
    fisher, _ = _root(torch.bmm(errors.transpose(1, 2), errors).div_(count), readers)
    # Errors in units in which F is one.
    errors = torch.linalg.solve_triangular(fisher, errors.transpose(1, 2), upper=False).transpose(1, 2)
    root, damping = _root(kernel.clone(), size)
    left = torch.cholesky_solve(errors, root).mul_(damping[:, None, None])
    eta = torch.linalg.vecdot(errors, errors - left, dim=1).sum(dim=1)
    root, _ = _root(torch.bmm(candidates.transpose(1, 2), candidates).div_(count), np.full(len(size), CANDIDATES))
    gain = torch.linalg.solve_triangular(root, torch.bmm(candidates.transpose(1, 2), left), upper=False)
    return np.maximum(numbers(eta), 0.0) / count, numbers(gain.square_().sum(dim=(1, 2))) / count**2


def _root(moments: Tensor, size: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Lower Cholesky factors of second moments of `size` values, (k, n, n), damped in place; and the damping, (k,)."""
    diagonal = moments.diagonal(dim1=1, dim2=2)
    damping = diagonal.sum(dim=1).mul_(torch.from_numpy(RIDGE / size).to(moments.device, moments.dtype)).add_(TINY)
    diagonal.add_(damping[:, None])
    return torch.linalg.cholesky_ex(moments)[0], damping


@SIGNALS.register("noracl")
class Saturation:
    """Whether a layer has run out of directions, and whether its weights have all been taken.

    | feature | meaning | range |
    | --- | --- | --- |
    | saturation_l | effective dimension of the activations of the layer's units relative to what it was when the task began, at most 2, halved: 1/2 is no change | [0, 1] |
    | plasticity_l | share of the weights that train into the layer that are taken | [0, 1] |

    The effective dimension is the participation ratio (Tr C)^2 / Tr C^2 of the covariance C of the activations on the
    probe batch. A weight is taken if moving it by the root mean square of its layer's weights that train would change
    the predictions by more than 0.001 nats: if F w^2 / 2 is more, with F the diagonal of the Fisher matrix of the
    samples' own errors, and its mean over all probe batches since the task has been trained on. plasticity is 0 before.

    Source: after the two kinds of saturation of NORACL, arXiv 2604.27031, whose constants were not to be had; Fisher
    matrices as in Kirkpatrick et al. 2017, arXiv 1612.00796.
    """  # noqa: E501 (a table)

    name = "noracl"

    def __init__(self) -> None:
        self._clock, self._taken = TaskClock(), FisherDiagonal()
        self._first: Array = np.zeros((0, 0))

    def features(self, layers: int) -> tuple[str, ...]:
        """Names of the features; see `Signal.features`."""
        return *per_layer("saturation", layers), *per_layer("plasticity", layers)

    def begin(self, rows: NDArray[np.bool_]) -> None:
        """Some rows begin a new stream; see `Signal.begin`."""
        self._clock.begin(rows)

    def measure(self, scene: Scene, rows: NDArray[np.bool_]) -> Array:
        """See `Signal.measure`."""
        kernels = scene.products.kernels
        dimension = participation(kernels.flatten(0, 1)).reshape(kernels.shape[:2]).T
        if self._first.shape != dimension.shape:
            self._first = np.zeros_like(dimension)
        new = self._clock.entered(scene.task, rows)
        self._first[new] = dimension[new]
        taken = self._taken.share(scene, rows, new)
        return np.concatenate((relative(dimension, self._first), taken), axis=1)


def participation(kernel: Tensor) -> Array:
    """(Tr C)^2 / Tr C^2 of covariances C, (k,), from the inner products of S samples, (k, S, S); 0 where C is 0.

    The centred inner products have the eigenvalues of the covariance. Centring also takes the constant unit out.
    """
    mean = kernel.mean(dim=2, keepdim=True)
    centred = (kernel - mean).sub_(mean.transpose(1, 2)).add_(mean.mean(dim=1, keepdim=True))
    trace = numbers(centred.diagonal(dim1=1, dim2=2).sum(dim=1))
    return ratio(np.square(trace), numbers(centred.square_().sum(dim=(1, 2))))


class FisherDiagonal:
    """Mean squared gradients of all weights since each row's current task has been trained on."""

    def __init__(self) -> None:
        self._probes: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._layout: Layout | None = None
        self._mean = torch.zeros(0)

    def share(self, scene: Scene, rows: NDArray[np.bool_], new: NDArray[np.bool_]) -> Array:
        """Take the probe batch in; share of the weights into each layer that are taken, (N, L).

        Args:
            scene: what there is to see.
            rows: rows that are measured, (N,).
            new: of these, the ones at a new task.
        """
        evidence, network, count = scene.evidence, scene.evidence.network, scene.products.half
        if len(self._probes) != len(rows):
            self._probes = np.zeros(len(rows), dtype=np.int64)
        counted = rows & scene.trained
        self._probes[new] = 0
        self._probes[counted] += 1
        mean = network.layout.blocks(self._kept(network.layout, evidence.x))
        step = torch.from_numpy(counted / np.maximum(self._probes, 1)).to(evidence.x.device, evidence.x.dtype)
        shares = []
        for layer in range(network.depth):
            read, errors = evidence.below[layer][:, :count], evidence.errors[layer][:, :count]
            now = torch.bmm(read.square().transpose(1, 2), errors.square().mul_(evidence.samples**2 / count))
            # A step of 1 forgets what was there.
            mean[layer].lerp_(torch.nan_to_num_(now, nan=0.0), step[:, None, None])
            shares.append(_taken(network, layer, mean[layer]))
        return np.where(scene.trained[:, None], np.stack(shares, axis=1), 0.0)

    def _kept(self, layout: Layout, like: Tensor) -> Tensor:
        """The means in the order in which the weights lie now; within a task units keep their places."""
        if self._layout is None or self._layout.rows != layout.rows:
            self._mean = torch.zeros(layout.size, dtype=like.dtype, device=like.device)
        elif self._layout != layout:
            self._mean = self._layout.repack(self._mean, layout)
        self._layout = layout
        return self._mean


def _taken(network: StackedMLP, layer: int, fisher: Tensor) -> Array:
    """Share of the weights that train into a layer that are taken, (N,)."""
    read = network.inputs + 1 if layer == 0 else network.widths[:, layer - 1] + 1
    count = read * network.active_units[:, layer]
    typical = numbers(torch.linalg.vector_norm(network.weights[layer], dim=(1, 2))) ** 2 / np.maximum(count, 1)
    with np.errstate(divide="ignore"):
        least = torch.from_numpy(2.0 * KAPPA / typical).to(fisher.device, fisher.dtype)
    taken = (fisher > least[:, None, None]).flatten(1).cpu().numpy()
    return np.count_nonzero(taken, axis=1) / np.maximum(count, 1)
