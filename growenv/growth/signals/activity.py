"""Signals from activations: how many directions a layer uses, and how many of its units never fire."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from growenv.growth.signals.base import SIGNALS, Array, Scene, TaskClock, per_layer, relative
from growenv.growth.signals.products import Products
from growenv.growth.signals.spectra import count_above, count_above_mostly, select
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
        found = activation_ranks(scene.products, again) / np.maximum(network.widths, 1)
        self._rank = np.where(again, found, self._rank)
        self._first[new] = self._rank[new]
        weights = weight_ranks(network) / np.maximum(network.active_units, 1)
        return np.concatenate((self._rank, relative(self._rank, self._first), weights), axis=1)


def activation_ranks(products: Products, wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Singular values of H / sqrt(B) above 0.01 in every hidden layer, (N, L), where they are wanted; 0 elsewhere."""
    network, ranks = products.network, np.zeros(wanted.shape, dtype=np.int64)
    layer, row = np.nonzero(wanted.T)
    if not len(row):
        return ranks
    units, frozen = network.widths[row, layer, None], network.frozen_units[row, layer, None]
    place = np.arange(1, 1 + units.max())[None, :]
    there = place <= units
    gap = np.array(network.layout.frozen)[layer, None] - 1 - frozen  # allocated, but not the row's own
    index = torch.from_numpy(np.where(there, place + gap * (place > frozen), 0)).to(network.device)[:, None, :]
    parts = []
    for number, places in enumerate(torch.split(index, np.bincount(layer, minlength=network.depth).tolist())):
        answers = select(products.units(number), row[layer == number])
        parts.append(torch.gather(answers, 2, places.expand(-1, answers.shape[1], -1)))
    # In single precision, rounding would hide singular values that are a thousandth of the largest one.
    answers = torch.cat(parts).double().mul_(torch.from_numpy(there).to(network.device)[:, None, :])
    gram = torch.bmm(answers.transpose(1, 2), answers)
    ranks[row, layer] = count_above(gram, answers.shape[1] * LEAST**2)
    return ranks


def weight_ranks(network: StackedMLP) -> NDArray[np.int64]:
    """Singular values above 0.01 of the weights that train into every hidden layer, biases aside, (N, L)."""
    active, ranks = network.active_units, np.zeros(network.active_units.shape, dtype=np.int64)
    layer, row = np.nonzero(active.T)
    if not len(row):
        return ranks
    gram = torch.zeros((len(row), active.max(), active.max()), dtype=torch.float64, device=network.device)
    start = 0
    for number, weights in enumerate(network.weights[:-1]):
        own = row[layer == number]
        chosen = select(weights[:, :-1] if number == 0 else weights[:, 1:], own)
        size = min(chosen.shape[2], gram.shape[1])
        gram[start : start + len(own), :size, :size] = torch.bmm(chosen.transpose(1, 2), chosen)[:, :size, :size]
        start += len(own)
    # Units that a row has not got count, and are taken away again.
    missing = np.arange(gram.shape[1])[None, :] >= active[row, layer, None]
    gram.diagonal(dim1=1, dim2=2).add_(torch.from_numpy(missing).to(gram))
    ranks[row, layer] = count_above_mostly(gram, LEAST**2) - missing.sum(axis=1)
    return ranks


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
        sums = [products.units(layer).sum(dim=1).cpu().numpy() for layer in range(products.depth)]
        alive = np.stack([np.count_nonzero(each[:, 1:] > 0.0, axis=1) for each in sums], axis=1)
        dead: Array = (widths - alive) / np.maximum(widths, 1)
        return dead
