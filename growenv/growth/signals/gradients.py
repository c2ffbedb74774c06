"""Signals from gradients: how fast new neurons of each layer would learn, and how fast the old ones still do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from growenv.growth.signals.base import SIGNALS, Array, Scene, per_layer, ratio, squash
from growenv.growth.signals.products import numbers

HALF = 0.5
"""Factor of the threshold of `grad_excess` (released code of Maile et al. 2022)."""


@SIGNALS.register("gradmax")
class GradMaxSpectrum:
    """Where would new neurons have the largest gradients?

    With G_l = E[g_{l+1} h_{l-1}^T], the gradient across hidden layer l, and its singular values sigma_1, sigma_2, ...,
    k neurons whose outgoing weights are the leading left singular vectors get a squared gradient of
    sigma_1^2 + ... + sigma_k^2, and no others get more. Here k = 4.

    | feature | meaning | range |
    | --- | --- | --- |
    | sv_share_l | sum of the 4 largest sigma^2, share of that of all hidden layers | [0, 1] |
    | sv_strength_l | that sum divided by the squared mean loss, as x / (1 + x) | [0, 1] |

    Both are 0 where nothing that trains would hear the neurons, and where no gradient is left.

    Source: Evci et al. 2022, arXiv 2201.05125, section 3; the paper suggests the singular values for when and where.
    """

    name = "gradmax"

    def features(self, layers: int) -> tuple[str, ...]:
        """Names of the features; see `Signal.features`."""
        return *per_layer("sv_share", layers), *per_layer("sv_strength", layers)

    def begin(self, rows: NDArray[np.bool_]) -> None:
        """Nothing is remembered."""

    def measure(self, scene: Scene, rows: NDArray[np.bool_]) -> Array:
        """See `Signal.measure`."""
        gain = scene.products.top.sum(axis=2)
        share = ratio(gain, gain.sum(axis=1, keepdims=True))
        strength = squash(ratio(gain, np.square(scene.products.loss)[:, None]))
        return np.concatenate((share, strength), axis=1)


@SIGNALS.register("gradient")
class GradientSize:
    """How large are the gradients, relative to the weights and to those that a new neuron would have?

    | feature | meaning | range |
    | --- | --- | --- |
    | gradient_ratio_l | norm of the gradient of the weights that train into layer l, divided by theirs, as x / (1 + x) | [0, 1] |
    | gradient_ratio_head | the same of the weights into the head | [0, 1] |
    | grad_excess_l | sigma_1 of the gradient across layer l (see `GradMaxSpectrum`), divided by half the sum of the norms of the gradients into and out of each unit of the layer that trains, as x / (1 + x): above 1/2 where a new neuron would learn faster than the whole layer does | [0, 1] |

    Weights of frozen units count as no weights. Biases are weights. A layer without gradients has zeros; one in which
    only a new neuron would have a gradient has a grad_excess of 1.

    Source: Maile et al. 2022, arXiv 2202.08539, the gradient criterion of NORTH*, with the 1/2 of their released code.
    """  # noqa: E501 (a table)

    name = "gradient"

    def features(self, layers: int) -> tuple[str, ...]:
        """Names of the features; see `Signal.features`."""
        return *per_layer("gradient_ratio", layers), "gradient_ratio_head", *per_layer("grad_excess", layers)

    def begin(self, rows: NDArray[np.bool_]) -> None:
        """Nothing is remembered."""

    def measure(self, scene: Scene, rows: NDArray[np.bool_]) -> Array:
        """See `Signal.measure`."""
        products, network = scene.products, scene.evidence.network
        squares = [gradient.square() for gradient in products.gradients]
        into = [numbers(square.sum(dim=1)) for square in squares]  # of each unit, of each output
        sizes = np.stack([each.sum(axis=1) for each in into], axis=1)
        thresholds = np.zeros(network.widths.shape)
        for layer in range(network.depth):
            out = sum(numbers(squares[block][:, where].sum(dim=2)) for block, where in products.outgoing(layer))
            active = np.asarray(out)[:, network.layout.frozen[layer] - 1 :]
            thresholds[:, layer] = HALF * (np.sqrt(into[layer]) + np.sqrt(active)).sum(axis=1)
        relative = ratio(np.sqrt(sizes), products.weight_norms)
        excess = ratio(np.sqrt(products.top[:, :, 0]), thresholds)
        return squash(np.concatenate((relative, excess), axis=1))
