"""Gates that look into the network: ranks, gradients, natural gradients, effective dimension."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from agents.gates.base import Floats, Gate, check, gate, unsquash
from agents.policy import Actions, Interface, Mask, Observations
from growenv.config import GrowthConfig
from growenv.registry import unknown_name

ROUNDING = 1e-4
"""Observations have seven digits, so a whole number of neurons may look like a little less."""


class NorthRank(Gate):
    """Grows a layer while its rank keeps up with its width: the two rank triggers of NORTH*.

    With a layer's width M and its rank as a share phi of M, ``k = floor(M (phi - gamma phi_0))`` neurons are missing,
    where phi_0 is the share at the start. So a layer grows as long as the neurons that it has are all of use.

    NORTH* asks after every minibatch, grows every layer by its own k and learns one data set. Here it is asked once a
    decision, phi_0 is taken anew in every task, the layer that misses most neurons grows, and by the amount nearest to
    k. The released code takes the floor of ``gamma phi_0 M`` alone, which is at most one neuron more.

    Args:
        interface: the environment's interface.
        gamma: share of the initial rank share that a layer must keep.

    Source: Maile et al. 2022, arXiv 2202.08539.
    """

    rank: ClassVar[str]

    def __init__(self, interface: Interface, gamma: float) -> None:
        super().__init__(interface)
        check(gamma >= 0, "gamma", gamma, "at least 0")
        self.gamma = gamma
        self.initial: Floats = np.zeros((interface.rows, self.layers))

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """Grow the layer that misses most neurons."""
        _, within = self.tick()
        return self.grow_by(self.missing(observations, (within == 0)[:, None]), masks)

    def missing(self, observations: Observations, begins: Mask) -> Floats:
        """Neurons that every layer misses, (N, L).

        Args:
            observations: what the environment shows.
            begins: layers, (N, L), or rows, (N, 1), whose initial rank is that of now.
        """
        share = self.per_layer(observations, self.rank)
        self.initial = np.where(begins, share, self.initial)
        missing: Floats = np.floor(self.units(observations) * (share - self.gamma * self.initial) + ROUNDING)
        return missing

    def units(self, observations: Observations) -> Floats:
        """Neurons of which the rank is a share, (N, L)."""
        return self.widths(observations)


@gate("north-act")
class NorthActivity(NorthRank):
    """NORTH* with the rank of the activations: see `NorthRank`.

    The rank is the number of singular values of ``H / sqrt(n)`` above 0.01, for the activations H of n samples.

    Args:
        interface: the environment's interface.
        gamma: share of the initial rank share to keep; 0.97 is the value for dense layers in the released code. Tuned:
            0.5 to 1.5; above 1 the share must have risen.

    Source: Maile et al. 2022, arXiv 2202.08539, NORTH-Act; constants of the released code.
    """

    signals = ("rank",)
    features = ("rank",)
    rank = "rank"

    def __init__(self, interface: Interface, gamma: float = 0.97) -> None:
        super().__init__(interface, gamma)

    @classmethod
    def ranges(cls, config: GrowthConfig) -> dict[str, tuple[Any, ...]]:
        """See `Gate.ranges`; the amount follows from the rank."""
        return {"gamma": (0.97, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0, 1.05, 1.1, 1.2, 1.3, 1.5)}


@gate("north-weight")
class NorthWeight(NorthRank):
    """NORTH* with the rank of the incoming weights: see `NorthRank`.

    The rank is that of the weights that train. After a task switch under freezing a layer has none, so there is nothing
    whose rank could keep up: the layer first grows by the smallest amount, as NORTH* starts from a small network, and
    phi_0 is the share of these neurons.

    Args:
        interface: the environment's interface.
        gamma: share of the initial rank share to keep; 0.99 is the value of the released code. Tuned: 0.5 to
            1.5.
        seed: whether a layer in which nothing trains grows. Tuned: yes, no.

    Source: Maile et al. 2022, arXiv 2202.08539, NORTH-Weight; constants of the released code.
    """

    signals = ("rank",)
    features = ("weight_rank",)
    rank = "weight_rank"

    def __init__(self, interface: Interface, gamma: float = 0.99, seed: bool = True) -> None:
        super().__init__(interface, gamma)
        self.seed = seed
        self.empty, self.old_train = np.zeros((2, interface.rows, self.layers), dtype=bool)

    @classmethod
    def ranges(cls, config: GrowthConfig) -> dict[str, tuple[Any, ...]]:
        """See `Gate.ranges`; the amount follows from the rank."""
        return {"gamma": (0.99, 0.5, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.5), "seed": (True, False)}

    def missing(self, observations: Observations, begins: Mask) -> Floats:
        """See `NorthRank.missing`; layers in which nothing trains miss one neuron."""
        # Units of earlier tasks train where a rank shows before the task has units of its own.
        old_train = (self.grown(observations) == 0) & (self.per_layer(observations, self.rank) > 0)
        self.old_train = np.where(begins, old_train, self.old_train)
        missing = super().missing(observations, begins | self.empty)
        self.empty = self.units(observations) == 0
        return np.where(self.empty & self.seed, 1.0, missing)

    def units(self, observations: Observations) -> Floats:
        """Neurons that train, (N, L)."""
        return np.where(self.old_train, self.widths(observations), self.grown(observations))

    def grown(self, observations: Observations) -> Floats:
        """Neurons of the present task, (N, L)."""
        return self.counts(observations, "grown")


@gate("north-grad")
class NorthGradient(Gate):
    """Grows a layer if a new neuron would have a larger gradient than an old one: the gradient trigger of NORTH*.

    The gradient across the layer has the singular values sigma; the layer may grow if the largest one reaches the
    threshold ``1/2 sum over its neurons of (|gradient of the incoming weights| + |gradient of the outgoing ones|)``.

    NORTH* adds as many neurons as singular values reach the threshold, in every layer and after every minibatch. The
    observation shows the largest one only, so here the layer with the largest ratio grows by a fixed amount.

    Args:
        interface: the environment's interface.
        factor: ratio of singular value and threshold from which on a layer grows; 1 is that of the released code, 2
            that of the paper, whose threshold has no 1/2. Tuned: 0.1 to 2.
        amount: neurons each time; 0 means the smallest amount. Tuned: every amount.

    Source: Maile et al. 2022, arXiv 2202.08539, NORTH-Grad; threshold of the released code.
    """

    signals = ("gradient",)
    features = ("grad_excess",)

    def __init__(self, interface: Interface, factor: float = 1.0, amount: int = 0) -> None:
        super().__init__(interface, amount)
        check(factor > 0, "factor", factor, "above 0")
        self.factor = factor

    @classmethod
    def ranges(cls, config: GrowthConfig) -> dict[str, tuple[Any, ...]]:
        """See `Gate.ranges`."""
        return {"factor": (1.0, 2.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.1), **super().ranges(config)}

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """Grow the layer with the largest gradient across it."""
        self.tick()
        excess = unsquash(self.per_layer(observations, "grad_excess"))
        return self.grow_best(np.where(excess >= self.factor, excess, -np.inf), masks)


@gate("senn")
class SENN(Gate):
    """Grows the layer whose expansion would add most to the natural gradient's gain, while that is worth it.

    With eta the gain of a natural gradient step of the network as it is, and d what the best new neurons of a layer
    would add to it, the layer with the largest d / eta grows if that ratio and an absolute gain exceed thresholds.

    SENN adds a neuron at a time until no layer passes, then waits (10 epochs in the same experiment). Here it is asked
    every `every` decisions, and adds a whole amount to one layer.

    Args:
        interface: the environment's interface.
        ratio: smallest d / eta; the experiments of the released code have 0.007, 0.03 (the default) and 1. Tuned: 0.03
            to 3.
        gain: smallest absolute gain; 2.5e-3 in all of these experiments but the one with 0.007, which has 0.25. Tuned:
            0.0025 to 1.
        every: decisions from one question to the next. Tuned: 1, 2.
        amount: neurons each time; 0 means the smallest amount. Tuned: every amount.

    Source: Mitchell et al. 2023 (SENN), arXiv 2307.04526; constants of the released code's transfer experiment.
    """

    signals = ("senn",)
    features = ("senn_ratio", "senn_gain")

    def __init__(
        self, interface: Interface, ratio: float = 0.03, gain: float = 2.5e-3, every: int = 1, amount: int = 0
    ) -> None:
        super().__init__(interface, amount)
        check(ratio >= 0, "ratio", ratio, "at least 0")
        check(gain >= 0, "gain", gain, "at least 0")
        check(every >= 1, "every", every, "at least 1 decision")
        self.ratio, self.gain, self.every = ratio, gain, every

    @classmethod
    def ranges(cls, config: GrowthConfig) -> dict[str, tuple[Any, ...]]:
        """See `Gate.ranges`."""
        thresholds = {"ratio": (0.03, 0.1, 0.3, 1.0, 3.0), "gain": (2.5e-3, 0.01, 0.03, 0.1, 0.25, 0.5, 1.0)}
        return {**thresholds, "every": (1, 2), **super().ranges(config)}

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """Grow the layer with the largest ratio."""
        _, within = self.tick()
        ratio = unsquash(self.per_layer(observations, "senn_ratio"))
        gain = unsquash(self.per_layer(observations, "senn_gain"))
        passes = (ratio > self.ratio) & (gain > self.gain) & (within % self.every == 0)[:, None]
        return self.grow_best(np.where(passes, ratio, -np.inf), masks)


@gate("noracl")
class NORACL(Gate):
    """Grows a layer whose representation or whose plasticity is saturated.

    | saturation | fires where |
    | --- | --- |
    | of the representation | effective dimension of the activations > gamma x that at the start of the task |
    | of the plasticity | share of the weights whose accumulated Fisher information is large > `share` |

    Of the layers that fire, the one that exceeds its threshold most grows. The paper grows when either is saturated.
    Its constants could not be verified, so gamma and share are this project's and meant to be tuned; what counts as
    large information is a constant of the signal.

    Args:
        interface: the environment's interface.
        gamma: ratio of effective dimensions, below 2, above which a representation is saturated. Tuned: 0.8 to 1.9.
        share: share of weights above which plasticity is saturated. Tuned: 0.1 to 0.9.
        rule: whether ``either`` saturation is enough, or ``both`` are needed. Tuned.
        amount: neurons each time; 0 means the smallest amount. Tuned: every amount.

    Source: NORACL 2026, arXiv 2604.27031.
    """

    signals = ("noracl",)
    features = ("saturation", "plasticity")
    RULES = ("either", "both")

    def __init__(
        self, interface: Interface, gamma: float = 1.0, share: float = 0.5, rule: str = "either", amount: int = 0
    ) -> None:
        super().__init__(interface, amount)
        check(0 < gamma < 2, "gamma", gamma, "above 0 and below 2, where the observation ends")
        check(0 < share <= 1, "share", share, "above 0 and at most 1")
        if rule not in self.RULES:
            raise unknown_name("rule", rule, self.RULES)
        self.gamma, self.share, self.rule = gamma, share, rule

    @classmethod
    def ranges(cls, config: GrowthConfig) -> dict[str, tuple[Any, ...]]:
        """See `Gate.ranges`."""
        thresholds = {"gamma": (1.0, 0.8, 1.1, 1.25, 1.5, 1.9), "share": (0.5, 0.1, 0.25, 0.75, 0.9)}
        return {**thresholds, "rule": cls.RULES, **super().ranges(config)}

    def act(self, observations: Observations, masks: Mask) -> Actions:
        """Grow the most saturated layer."""
        self.tick()
        dimension = 2.0 * self.per_layer(observations, "saturation") / self.gamma  # the observation shows half of it
        plasticity = self.per_layer(observations, "plasticity") / self.share
        combined = np.maximum if self.rule == "either" else np.minimum
        excess: Floats = combined(dimension, plasticity)
        return self.grow_best(np.where(excess > 1.0, excess, -np.inf), masks)
