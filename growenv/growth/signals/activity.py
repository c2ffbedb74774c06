"""Signals from activations: how many directions a layer uses, and how many of its units never fire."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.growth.signals.base import SIGNALS, Array, Scene, TaskClock, per_layer, relative
from growenv.growth.signals.products import Products
from growenv.growth.signals.spectra import count_above, select
from growenv.networks import StackedMLP

LEAST = 0.01
"""A singular value counts above this (Maile et al. 2022, arXiv 2202.08539)."""


@SIGNALS.register("rank")
class EffectiveRank:
    """What share of its units a layer has use for.

    H_l holds the activations of the layer's units, frozen and active, on the B samples of the probe batch.

    | feature | meaning | range |
    | --- | --- | --- |
    | rank_l | singular values of H_l / sqrt(B) above 0.01, per unit | [0, 1] |
    | rank_ratio_l | rank_l relative to what it was when the task began, at most 2, halved: 1/2 is no change | [0, 1] |
    | weight_rank_l | singular values above 0.01 of the incoming weights, without biases, of the units that train, per such unit; 0 where there are none | [0, 1] |

    A layer that is wider than the probe batch is large cannot reach a rank of 1. While none of its units trains, a layer
    keeps the rank that it had when the task began.

    Source: Maile et al. 2022, arXiv 2202.08539: NORTH* grows a layer while its rank is near what it was at first.
    """  # noqa: E501 (a table)

    name = "rank"

    def __init__(self) -> None:
        self._clock = TaskClock()
        self._rank, self._first = np.zeros((2, 0, 0))

    def features(self, layers: int) -> tuple[str, ...]:
        """Names of the features; see `Signal.features`."""
        return *per_layer("rank", layers), *per_layer("rank_ratio", layers), *per_layer("weight_rank", layers)

    def begin(self, rows: NDArray[np.bool_]) -> None:
        """Some rows begin a new stream; see `Signal.begin`."""
        self._clock.begin(rows)

    def measure(self, scene: Scene, rows: NDArray[np.bool_]) -> Array:
        """See `Signal.measure`."""
        network = scene.evidence.network
        if self._rank.shape != network.widths.shape:
            self._rank, self._first = np.zeros((2, *network.widths.shape))
        new = self._clock.entered(scene.task, rows)
        again = rows[:, None] & (network.widths > 0) & (new[:, None] | (network.active_units > 0))
        self._rank[new] = 0.0  # a layer may be absent
        seen, trained = again.T, network.active_units.T > 0
        rows_of = [np.flatnonzero(each) for each in (*seen, *trained)]
        units = [each[row] for each, row in zip((*network.widths.T, *network.active_units.T), rows_of, strict=True)]
        layers = range(network.depth)
        grams = [activation_gram(scene.products, layer, rows_of[layer]) for layer in layers]
        grams += [weight_gram(network, layer, rows_of[network.depth + layer]) for layer in layers]
        counts = count_above(grams, units, LEAST**2)
        shares = np.zeros((2 * network.depth, len(rows)))
        for share, row, count, size in zip(shares, rows_of, counts, units, strict=True):
            share[row] = count / size
        self._rank = np.where(again, shares[: network.depth].T, self._rank)
        self._first[new] = self._rank[new]
        return np.concatenate((self._rank, relative(self._rank, self._first), shares[network.depth :].T), axis=1)


def activation_gram(products: Products, layer: int, row: NDArray[np.int64]) -> Tensor:
    """H^T H / B of a layer of some rows, (k, S, S): its units in birth order, then zeros."""
    network, answers = products.network, products.units(layer)
    units, frozen = network.widths[row, layer, None], network.frozen_units[row, layer, None]
    place = np.arange(1, 1 + units.max(initial=0))[None, :]
    there = place <= units
    place = np.where(there, place + (network.layout.frozen[layer] - 1 - frozen) * (place > frozen), 0)
    index = torch.from_numpy(place).to(answers.device)
    chosen = torch.gather(select(answers, row), 2, index[:, None, :].expand(-1, answers.shape[1], -1))
    # In single precision, rounding would hide singular values that are a thousandth of the largest one.
    chosen = chosen.double().mul_(torch.from_numpy(there).to(answers.device)[:, None, :])
    return torch.bmm(chosen.transpose(1, 2), chosen).div_(chosen.shape[1])


def weight_gram(network: StackedMLP, layer: int, row: NDArray[np.int64]) -> Tensor:
    """W^T W of the weights that train into a layer, biases aside, of some rows, (k, active, active)."""
    weights = network.weights[layer][:, :-1] if layer == 0 else network.weights[layer][:, 1:]
    chosen = select(weights, row).double()
    return torch.bmm(chosen.transpose(1, 2), chosen)


@SIGNALS.register("dead")
class DeadUnits:
    """How many units are of no use at present.

    | feature | meaning | range |
    | --- | --- | --- |
    | dead_l | share of the layer's units, frozen and active, that are zero on every probe sample | [0, 1] |
    """

    name = "dead"

    def features(self, layers: int) -> tuple[str, ...]:
        """Names of the features; see `Signal.features`."""
        return per_layer("dead", layers)

    def begin(self, rows: NDArray[np.bool_]) -> None:
        """Nothing is remembered."""

    def measure(self, scene: Scene, rows: NDArray[np.bool_]) -> Array:
        """See `Signal.measure`."""
        products, widths = scene.products, scene.evidence.network.widths
        # Activations are not negative, so those of a unit sum to zero only if all are. The constant unit always fires.
        sums = [products.units(layer)[:, :, 1:].sum(dim=1).cpu().numpy() for layer in range(products.depth)]
        alive = np.stack([np.count_nonzero(each > 0.0, axis=1) for each in sums], axis=1)
        dead: Array = (widths - alive) / np.maximum(widths, 1)
        return dead
