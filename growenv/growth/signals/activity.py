"""Signals from activations: how many directions a layer uses, and how many of its units never fire."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from growenv.growth.evidence import Evidence
from growenv.growth.signals.base import SIGNALS, Array, Scene, TaskClock, per_layer, relative
from growenv.growth.signals.products import numbers
from growenv.growth.signals.spectra import classes, count_above, select
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
        again = rows[:, None] & (new[:, None] | (network.active_units > 0))
        for layer in range(network.depth):
            row = np.flatnonzero(again[:, layer])
            self._rank[row, layer] = activation_rank(scene.evidence, layer, row) / network.widths[row, layer]
        self._first[new] = self._rank[new]
        weights = [weight_rank(network, layer) for layer in range(network.depth)]
        return np.concatenate((self._rank, relative(self._rank, self._first), np.stack(weights, axis=1)), axis=1)


def activation_rank(evidence: Evidence, layer: int, row: NDArray[np.int64]) -> NDArray[np.int64]:
    """Singular values of H / sqrt(B) above 0.01 of a layer of some rows, (k,)."""
    network, below = evidence.network, evidence.below[layer + 1]
    units, rank = network.widths[row, layer], np.zeros(len(row), dtype=np.int64)
    shift = network.layout.frozen[layer] - 1 - network.frozen_units[row, layer, None]
    for common, index in classes(units, 16):
        place = np.arange(1, 1 + common)[None, :]
        there = place <= units[index, None]
        place = place + np.where(place <= network.frozen_units[row[index], layer, None], 0, shift[index])
        chosen = torch.from_numpy(np.where(there, place, 0)).to(below.device)
        answers = torch.gather(select(below, row[index]), 2, chosen[:, None, :].expand(-1, below.shape[1], -1))
        answers.mul_(torch.from_numpy(there).to(below.device)[:, None, :])
        rank[index] = count_above(torch.bmm(answers.transpose(1, 2), answers), evidence.samples * LEAST**2)
    return rank


def weight_rank(network: StackedMLP, layer: int) -> Array:
    """Singular values above 0.01 of the weights that train into a layer, biases aside, per unit, (N,)."""
    active, rank = network.active_units[:, layer], np.zeros(network.rows)
    weights = network.weights[layer][:, :-1] if layer == 0 else network.weights[layer][:, 1:]
    for common, index in classes(active, 8):
        block = select(weights, index)[:, :, :common]
        rank[index] = count_above(torch.bmm(block.transpose(1, 2), block), LEAST**2) / active[index]
    return rank


@SIGNALS.register("dead")
class DeadUnits:
    """How many units are of no use at present.

    | feature | meaning | range |
    | --- | --- | --- |
    | dead_l | share of the layer's units, frozen and active, that are zero on every sample of the probe batch | [0, 1] |
    """

    name = "dead"

    def features(self, layers: int) -> tuple[str, ...]:
        """Names of the features; see `Signal.features`."""
        return per_layer("dead", layers)

    def begin(self, rows: NDArray[np.bool_]) -> None:
        """Nothing is remembered."""

    def measure(self, scene: Scene, rows: NDArray[np.bool_]) -> Array:
        """See `Signal.measure`."""
        network = scene.evidence.network
        # Activations are not negative, so those of a unit sum to zero only if all are. The constant unit always fires.
        alive = [numbers((below.sum(dim=1) > 0).sum(dim=1)) - 1.0 for below in scene.evidence.below[1:]]
        return 1.0 - np.stack(alive, axis=1) / np.maximum(network.widths, 1)
