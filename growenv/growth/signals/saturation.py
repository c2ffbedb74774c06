"""Signals of saturation: what a layer can still learn with the weights that it has, and what new neurons would add."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.growth.signals.base import SIGNALS, Array, Scene, TaskClock, per_layer, ratio, relative, squash
from growenv.growth.signals.products import CANDIDATES, Products, numbers
from growenv.growth.signals.spectra import TINY, select
from growenv.networks import Layout

KAPPA = 1e-4
"""A weight is taken if moving it by a typical weight changes the predictions by more nats than this; chosen so that a
third of the weights are taken in the middle of a task of the default environment. None is published."""
ROUNDING = 1e-5
"""Share of the second moments below which a covariance is nothing but rounding."""
RIDGE = 1e-2
"""Added to second moments before they are inverted, relative to their mean eigenvalue."""


@SIGNALS.register("senn")
class NaturalExpansion:
    """What natural gradients would gain from new neurons, beside what they gain from the present weights.

    Let g be the errors of a sample at all that hears layer l, h what the next layer reads (the constant unit among it),
    and a what 16 candidate neurons of layer l answer: random directions of what the layer reads, fixed for good. Let r be
    what least squares on h leave of g. With A = E[h h^T] and C = E[a a^T]:

    | feature | meaning | range |
    | --- | --- | --- |
    | senn_ratio_l | d / eta, as x / (1 + x) | [0, 1] |
    | senn_gain_l | d = Tr(E[r a^T] C^-1 E[a r^T]) / E[g^T g], the share of the squared errors that the candidates explain and the present neurons do not, as x / (1 + x) | [0, 1/2] |

    eta = Tr(E[g h^T] A^-1 E[h g^T]) / E[g^T g] is the share that least squares on h explain. Both are gains of natural
    gradients, with the Kronecker-factored Fisher matrix F x A. The source has F = E[g g^T]; here that is taken as a
    multiple of the identity, which changes the order of networks by their ratio d / eta little and spares an inverse. So
    the squared gradient of the loss, by which the source divides d, divides it here as well. Second moments are damped by
    a hundredth of their mean eigenvalue. Both features are 0 where nothing that trains would hear the neurons.

    Source: Mitchell et al. 2023, arXiv 2307.04526, the expansion score and its lower bound; they grow the layer with the
    largest gain where ratio and gain pass thresholds (0.03 and 0.0025 in one of their experiments).
    """  # noqa: E501 (a table)

    name = "senn"

    def features(self, layers: int) -> tuple[str, ...]:
        """Names of the features; see `Signal.features`."""
        return *per_layer("senn_ratio", layers), *per_layer("senn_gain", layers)

    def begin(self, rows: NDArray[np.bool_]) -> None:
        """Nothing is remembered."""

    def measure(self, scene: Scene, rows: NDArray[np.bool_]) -> Array:
        """See `Signal.measure`."""
        products, layers = scene.products, range(scene.products.depth)
        readers = np.stack([products.readers(layer) for layer in layers])
        size = np.stack([products.reads(layer + 1) for layer in layers])
        heard = np.flatnonzero(readers)
        stacks = products.kernels_read(), products.candidates[:, :, : products.few], products.errors_of_few()
        kernel, candidates, errors = (select(each.flatten(0, 1), heard) for each in stacks)
        eta, gain = np.zeros((2, readers.size))
        eta[heard], gain[heard] = explained(kernel, candidates, errors, size.ravel()[heard])
        eta, gain = eta.reshape(readers.shape).T, gain.reshape(readers.shape).T
        return squash(np.concatenate((ratio(gain, eta), gain), axis=1))


def explained(kernel: Tensor, candidates: Tensor, errors: Tensor, size: NDArray[np.int64]) -> tuple[Array, Array]:
    """eta and d of `NaturalExpansion` for k layers, two arrays (k,).

    With Q = H H^T / S over S samples, damped least squares on h leave rho (Q + rho I)^-1 g of the errors g, so the
    width of the layer costs nothing.

    Args:
        kernel: Q, (k, S, S); overwritten.
        candidates: what the candidates answer, (k, S, candidates).
        errors: g, (k, S, readers).
        size: values of h that are in use, (k,).
    """
    count = errors.shape[1]
    root, damping = _root(kernel, size)
    left = torch.cholesky_solve(errors, root).mul_(damping[:, None, None])
    root, _ = _root(torch.bmm(candidates.transpose(1, 2), candidates).div_(count), np.full(len(size), CANDIDATES))
    new = torch.linalg.solve_triangular(root, torch.bmm(candidates.transpose(1, 2), left), upper=False)
    energy, rest = (numbers(torch.linalg.vecdot(errors, each, dim=1).sum(dim=1)) for each in (errors, left))
    gain = numbers(new.square_().sum(dim=(1, 2))) / count
    return np.clip(ratio(energy - rest, energy), 0.0, 1.0), np.clip(ratio(gain, energy), 0.0, 1.0)


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
    """(Tr C)^2 / Tr C^2 of covariances C, (k,), from the inner products of S samples, (k, S, S).

    The centred inner products have the eigenvalues of the covariance. What is no more than rounding counts as 0.
    """
    mean = kernel.mean(dim=2, keepdim=True)
    centred = (kernel - mean).sub_(mean.transpose(1, 2)).add_(mean.mean(dim=1, keepdim=True))
    whole, trace = (numbers(each.diagonal(dim1=1, dim2=2).sum(dim=1)) for each in (kernel, centred))
    squares = numbers(centred.square_().sum(dim=(1, 2)))
    return ratio(np.where(trace > ROUNDING * whole, np.square(trace), 0.0), squares)


class FisherDiagonal:
    """Diagonal of the Fisher matrix of the weights into every layer, since each row's current task has been trained on.

    Of the weight from unit i to unit j it is E[h_i^2 g_j^2], for which E[h_i^2] E[g_j^2] stands: the diagonal of the
    Kronecker-factored matrix (Martens and Grosse 2015, arXiv 1503.05671). What is kept are the means of h^2 and g^2
    over all probe batches, in the order in which the network's units lie.
    """

    def __init__(self) -> None:
        self._probes: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._layout: Layout | None = None
        self._read: list[Array] = []
        self._errors: list[Array] = []

    def share(self, scene: Scene, rows: NDArray[np.bool_], new: NDArray[np.bool_]) -> Array:
        """Take the probe batch in; share of the weights into each layer that are taken, (N, L).

        Args:
            scene: what there is to see.
            rows: rows that are measured, (N,).
            new: of these, the ones at a new task.
        """
        products, network = scene.products, scene.evidence.network
        self._follow(network.layout)
        counted = rows & scene.trained
        self._probes[new] = 0
        self._probes[counted] += 1
        step = (counted / np.maximum(self._probes, 1))[:, None]  # 1 forgets what was there
        shares = np.zeros(network.widths.shape)
        for layer in range(network.depth):
            read, errors = products.mean_squares(layer)
            self._read[layer] += step * (read - self._read[layer])
            self._errors[layer] += step * (errors - self._errors[layer])
            shares[:, layer] = _taken(products, layer, self._read[layer], self._errors[layer])
        return np.where(scene.trained[:, None], shares, 0.0)

    def _follow(self, layout: Layout) -> None:
        """Bring the means into the order in which units lie now; while a task lasts, they only move as blocks."""
        if self._layout == layout:
            return
        read = [np.zeros((layout.rows, layout.fan_in(layer))) for layer in range(layout.depth)]
        errors = [np.zeros((layout.rows, layout.active[layer])) for layer in range(layout.depth)]
        if self._layout is None or self._layout.rows != layout.rows:
            self._probes = np.zeros(layout.rows, dtype=np.int64)
        else:
            for layer in range(layout.depth):
                _copy_first(self._errors[layer], errors[layer])
                for old, now in zip(self._layout.spans(layer), layout.spans(layer), strict=True):
                    _copy_first(self._read[layer][:, old.frozen], read[layer][:, now.frozen])
                    _copy_first(self._read[layer][:, old.active], read[layer][:, now.active])
        self._layout, self._read, self._errors = layout, read, errors


def _copy_first(old: Array, now: Array) -> None:
    """Copy as many columns as both have."""
    both = min(old.shape[1], now.shape[1])
    now[:, :both] = old[:, :both]


def _taken(products: Products, layer: int, read: Array, errors: Array) -> Array:
    """Share of the weights that train into a layer that are taken, (N,), from mean squares at both their ends."""
    count = np.maximum(products.reads(layer) * products.network.active_units[:, layer], 1)
    typical = np.nan_to_num(0.5 * products.weight_norms[:, layer] ** 2 / count, posinf=0.0)
    inner, outer = (torch.from_numpy(each).to(products.evidence.x) for each in (typical[:, None] * read, errors))
    change = torch.bmm(inner[:, :, None], outer[:, None, :])
    taken: Array = np.count_nonzero((change > KAPPA).flatten(1).cpu().numpy(), axis=1) / count
    return taken
