"""Signals from candidates: what new neurons would be worth in each layer, and what they cost."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from growenv.growth.scaling import LIVE_SHARE
from growenv.growth.signals.base import SIGNALS, Array, Scene, per_layer, ratio, squash
from growenv.growth.signals.products import TOP, numbers

HE = float(np.sqrt(2.0))
"""Length of the candidates' incoming weights (He et al. 2015, arXiv 1502.01852)."""
PORTION = 0.01
"""Share of capacity that `shadow_price` asks for."""


@SIGNALS.register("firefly")
class FireflyGain:
    """How much would the loss fall with the best of some random neurons?

    Every layer is offered 16 fixed random neurons, whose incoming weights are sqrt(2) long. Their outgoing weights
    point against the gradient, and are half as long as those of the layer's units in root mean square; where these have
    none, as those of a fresh head. s_n is the first-order change of the loss if neuron n were switched on.

    | feature | meaning | range |
    | --- | --- | --- |
    | ff_gain_l | minus the sum of the 4 lowest s_n, relative to the loss, as x / (1 + x) | [0, 1] |

    It is 0 where nothing that trains would hear the neurons.

    Source: Wu et al. 2020, arXiv 2102.08574: Firefly keeps the candidates with the lowest scores, after some training
    that these have not had.
    """

    name = "firefly"

    def features(self, layers: int) -> tuple[str, ...]:
        """Names of the features; see `Signal.features`."""
        return per_layer("ff_gain", layers)

    def begin(self, rows: NDArray[np.bool_]) -> None:
        """Nothing is remembered."""

    def measure(self, scene: Scene, rows: NDArray[np.bool_]) -> Array:
        """See `Signal.measure`."""
        products, network = scene.products, scene.evidence.network
        gains = []
        for layer, offers in enumerate(products.offers):
            slopes = np.sqrt(numbers(offers.square().sum(dim=2)))
            best = np.partition(slopes, -TOP, axis=1)[:, -TOP:].sum(axis=1)
            lengths = [
                numbers(torch.linalg.vector_norm(network.weights[block][:, where], dim=(1, 2)))
                for block, where in products.outgoing(layer)
            ]
            units = np.maximum(network.widths[:, layer], 1)
            squares = np.square(lengths).sum(axis=0)
            typical = np.sqrt(np.where(squares > 0.0, squares, products.readers(layer) / 3.0) / units)
            gains.append(HE * LIVE_SHARE * typical * best)
        return squash(ratio(np.stack(gains, axis=1), products.loss[:, None]))


@SIGNALS.register("gain")
class GainPerCost:
    """Where does a unit of capacity buy most?

    What new neurons of a layer gain is the sum of the 4 largest sigma^2 of `GradMaxSpectrum`; what one costs is the
    share of capacity of the cheapest request that fits, per neuron.

    | feature | meaning | range |
    | --- | --- | --- |
    | gain_per_cost_l | gain divided by cost, share of the sum over all hidden layers; 0 where nothing fits | [0, 1] |
    | shadow_price | the largest gain divided by cost of all layers, times 0.01, as x / (1 + x): what the best hundredth of the capacity would gain | [0, 1] |

    The shadow price falls with the loss, since gradients do.

    Source: the knapsack relaxation of Wang et al. 2019, arXiv 1910.03103, with GradMax's gains (Evci et al. 2022,
    arXiv 2201.05125).
    """  # noqa: E501 (a table)

    name = "gain"

    def features(self, layers: int) -> tuple[str, ...]:
        """Names of the features; see `Signal.features`."""
        return *per_layer("gain_per_cost", layers), "shadow_price"

    def begin(self, rows: NDArray[np.bool_]) -> None:
        """Nothing is remembered."""

    def measure(self, scene: Scene, rows: NDArray[np.bool_]) -> Array:
        """See `Signal.measure`."""
        each = np.where(
            np.isnan(scene.unit_cost), 0.0, ratio(scene.products.top.sum(axis=2), np.maximum(scene.unit_cost, 1e-12))
        )
        shares = ratio(each, each.sum(axis=1, keepdims=True))
        return np.concatenate((shares, squash(PORTION * each.max(axis=1, keepdims=True))), axis=1)
