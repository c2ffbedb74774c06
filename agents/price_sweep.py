"""Accuracy against hardware: learned policies at several prices, and the front of fixed schedules and gates.

A policy that sees the price is a family of policies, one for each price. A schedule does not look at it, so its family
are all schedules: those on the front over val contexts play the contexts of the comparison, where the front is built
anew. Everybody plays the same contexts and inner seeds, so the points can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.baselines import TUNED
from agents.comparison import Comparison, Trained
from agents.contest import Contest, Runs
from agents.evaluation import evaluation_contexts
from agents.families import gate_family, schedule_family
from agents.pareto import Saving, front, hypervolume, saving
from agents.policy import PolicyFactory, PolicySpec
from growenv.streams.tasks import Context

PRICES = (0.15, 0.3, 0.6, 1.2, 2.4, 4.5)
CANDIDATES = 96  # schedules, and as many settings of the best gate, that are tried on val contexts
CHOSEN_ON = 32  # val contexts that choose the front
REFERENCE = (1.0, 0.0)
"""Cost and accuracy of the reference point of hypervolumes: all of the hardware, and nothing learned."""

Table = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Family:
    """Policies of one kind between which the price of the hardware chooses.

    Attributes:
        name: what they are.
        labels: what tells them apart: prices or settings, K of them.
        cost: cost of each episode, shape (K, S, C, I): training seeds, contexts, inner seeds.
        accuracy: validation accuracy of the same episodes.
    """

    name: str
    labels: tuple[str, ...]
    cost: Table
    accuracy: Table

    def points(self) -> list[tuple[float, float]]:
        """Mean cost and mean accuracy of each."""
        means = [table.mean(axis=(1, 2, 3)).tolist() for table in (self.cost, self.accuracy)]
        return list(zip(*means, strict=True))

    @property
    def hypervolume(self) -> float:
        """Area between the front of the points and `REFERENCE`."""
        costs, accuracies = zip(*self.points(), strict=True)
        return hypervolume(costs, accuracies, reference=REFERENCE)


@dataclass(frozen=True, eq=False)
class PriceSweep:
    """Families of policies on the same contexts, and what the learned ones save.

    Attributes:
        families: the learned policies first, then fixed schedules, then settings of the best gate if one was tuned.
        savings: for each learned family and each of its prices, what it saves against the fixed schedules at equal
            mean accuracy.
        initial_cost: cost of the network that all start from.
        contexts: contexts that were played, each with one inner seed.
    """

    families: tuple[Family, ...]
    savings: dict[str, tuple[Saving, ...]]
    initial_cost: float
    contexts: int

    def to_json(self) -> dict[str, Any]:
        """Plain types: the points and the hypervolume of each family, and the savings."""
        families = [
            {
                "name": family.name,
                "points": [
                    {"label": label, "cost": cost, "accuracy": accuracy}
                    for label, (cost, accuracy) in zip(family.labels, family.points(), strict=True)
                ],
                "hypervolume": family.hypervolume,
            }
            for family in self.families
        ]
        return {
            "families": families,
            "savings": {name: [asdict(each) for each in savings] for name, savings in self.savings.items()},
            "reference": {"cost": REFERENCE[0], "accuracy": REFERENCE[1]},
            "initial_cost": self.initial_cost,
            "contexts": self.contexts,
        }


def sweep_prices(
    contest: Contest, trained: Sequence[Trained], prices: Sequence[float], comparison: Comparison
) -> PriceSweep:
    """Play learned policies at each price, and the front of schedules.

    Args:
        contest: the environment, and the contexts of which the first inner seed is played.
        trained: learned policies; ablations are left out.
        prices: prices to pin.
        comparison: what was played before; its best tuned gate plays in all its settings.
    """
    contexts = contest.contexts[:: contest.inner_seeds]
    families = [_at_prices(contest, each, prices, contexts) for each in trained if each.kind == "learned"]
    learned = [family.name for family in families]
    families.append(_front(contest, "fixed schedules", schedule_family(contest.config, CANDIDATES), contexts))
    gates = [player for player in comparison.of_kind("gate") if player.name in comparison.searches]
    if gates:
        best = max(gates, key=lambda player: player.mean("return_")).name.removesuffix(TUNED)
        settings = gate_family(contest.config, best)[:CANDIDATES]
        families.append(_front(contest, f"settings of {best}", settings, contexts))
    initial = float(np.mean([record.cost for record in contest.play("never", [PolicySpec("never")], contexts)[0]]))
    schedules = families[len(learned)]
    savings = {
        family.name: tuple(
            saving(
                cost,
                accuracy,
                schedules.cost[:, 0],
                schedules.accuracy[:, 0],
                initial_cost=initial,
            )
            for cost, accuracy in zip(family.cost, family.accuracy, strict=True)
        )
        for family in families[: len(learned)]
    }
    return PriceSweep(tuple(families), savings, initial, len(contexts))


def _at_prices(contest: Contest, trained: Trained, prices: Sequence[float], contexts: Sequence[Context]) -> Family:
    """A learned policy with the price pinned; networks, streams and budgets are those of the comparison."""
    pinned = [replace(context, price=price) for price in prices for context in contexts]
    runs = contest.play(f"{trained.name} at {len(prices)} prices", trained.factories, pinned)
    cost, accuracy = (_table(runs, name).reshape(len(runs), len(prices), -1, 1) for name in ("cost", "accuracy"))
    labels = tuple(f"price {price:g}" for price in prices)
    return Family(trained.name, labels, cost.swapaxes(0, 1), accuracy.swapaxes(0, 1))


def _front(contest: Contest, name: str, specs: Sequence[PolicySpec], contexts: Sequence[Context]) -> Family:
    """The specs on the front over val contexts, on the contexts of the comparison."""
    tried = contest.play(f"{name} on val", specs, evaluation_contexts(contest.config, "val", CHOSEN_ON))
    means = [_table(tried, figure).mean(axis=1) for figure in ("cost", "accuracy")]
    chosen = [specs[place] for place in front(*means)]
    factories: list[PolicyFactory] = list(chosen)
    runs = contest.play(name, factories, contexts)
    cost, accuracy = (_table(runs, figure)[:, None, :, None] for figure in ("cost", "accuracy"))
    return Family(name, tuple(spec.name for spec in chosen), cost, accuracy)


def _table(runs: Runs, name: str) -> Table:
    return np.array([[getattr(record, name) for record in run] for run in runs], dtype=np.float64)
