"""What a comparison shows, in words; it says so when nothing was shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from agents.baselines import AVERAGE, MATCHED, SAMPLED, SHUFFLED
from agents.comparison import BEST_FIXED, Comparison
from agents.report.breakdown import best_gate
from agents.statistics import Interval, mean_difference, study_interval

if TYPE_CHECKING:
    from agents.report.tables import Row

SEEDS, CONTEXTS = 10, 50
"""Training seeds and contexts below which a result is no headline."""


def verdicts(comparison: Comparison, lines: Sequence[Row], seed: int = 0) -> list[str]:
    """What was shown of each learned policy, one sentence an entry.

    Args:
        comparison: what was played.
        lines: from `agents.report.tables.rows`.
        seed: seed of the bootstrap.
    """
    learned = [line for line in lines if line.kind in ("learned", "ablation")]
    if not learned:
        return ["No learned policy played, so there is nothing to judge."]
    sentences = []
    for line in sorted(learned, key=lambda line: line.kind == "ablation"):  # what it is about comes first
        if line.kind == "learned" or not comparison.of_kind("learned"):
            own = [against_fixed(line), against_gate(comparison, line)]
            own += [
                against_strongest(comparison, lines, line, seed),
                ordering(comparison, lines, line),
                gap_words(line),
            ]
        else:
            own = [ablation_words(comparison, line)]
        sentences += [f"{line.name}: {sentence}." for sentence in (*own, training_words(line)) if sentence]
    sentences += [f"{sentence}." for sentence in reactions(comparison, lines)]
    if comparison.contexts < CONTEXTS:
        count = "1 context was" if comparison.contexts == 1 else f"{comparison.contexts} contexts were"
        sentences.append(f"Only {count} played; a claim needs at least {CONTEXTS}.")
    return sentences


def verdict(difference: Interval, other: str = "the best fixed schedule") -> str:
    """What a paired difference in return shows, in words.

    Args:
        difference: return minus the other's.
        other: what it is compared with.
    """
    if difference.covers_zero:
        return f"no improvement over {other} was shown"
    return f"{'better' if difference.low > 0 else 'worse'} than {other} in contexts like these"


def signed(interval: Interval, digits: int = 4) -> str:
    """A difference and its interval, with signs."""
    return f"{interval.mean:+.{digits}f} [{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]"


def against_fixed(line: Row) -> str:
    """A policy against the best fixed schedule."""
    if line.over_fixed is None or line.improvement is None:
        return ""
    often = f"it is better in {100 * line.improvement.mean:.0f} % of the contexts"
    return f"{verdict(line.over_fixed)} (difference {signed(line.over_fixed)}; {often})"


def against_gate(comparison: Comparison, line: Row) -> str:
    """A policy against the gate with the highest mean return."""
    gate = best_gate(comparison)
    if gate is None or line.over_gate is None:
        return ""
    return f"{verdict(line.over_gate, f'{gate.name}, the best gate,')} (difference {signed(line.over_gate)})"


def against_strongest(comparison: Comparison, lines: Sequence[Row], line: Row, seed: int) -> str:
    """A policy against the strongest baseline, where that is neither the best fixed schedule nor the best gate."""
    gate = best_gate(comparison)
    known = (BEST_FIXED, gate.name if gate else BEST_FIXED)
    others = [each for each in lines if each.kind in ("schedule", "gate", "control", "search")]
    baselines = [each for each in others if each.name != SAMPLED]  # that is the policy itself
    strongest = max(baselines, key=lambda each: each.return_.mean)
    if strongest.name in known:
        return ""
    tables = [comparison.player(name).values("return_") for name in (line.name, strongest.name)]
    difference = study_interval(mean_difference, tables, seed=seed)
    return f"{verdict(difference, f'{strongest.name}, the strongest baseline here,')} (difference {signed(difference)})"


def ordering(comparison: Comparison, lines: Sequence[Row], line: Row) -> str:
    """Whether a policy, the best gate, the best fixed schedule and growth at random at its rates come in this order."""
    gate, by_name = best_gate(comparison), {each.name: each for each in lines}
    if gate is None or MATCHED not in by_name or line.over_gate is None:
        return ""
    names = [line.name, gate.name, BEST_FIXED, MATCHED]
    order = " > ".join(names)
    means = [by_name[name].return_.mean for name in names]
    if any(left <= right for left, right in zip(means, means[1:], strict=False)):
        found = ", ".join(f"{name} {mean:.3f}" for name, mean in zip(names, means, strict=True))
        return f"the order {order} does not hold (mean returns: {found})"
    shown = [_above(line.over_gate), _above(by_name[gate.name].over_fixed), _below(by_name[MATCHED].over_fixed)]
    lacking = [f"{a} > {b}" for a, b, sure in zip(names, names[1:], shown, strict=False) if not sure]
    if not lacking:
        return f"the order {order} holds, each step with an interval above zero"
    return f"the order {order} holds in the means, but was not shown for {' and '.join(lacking)}"


def _above(difference: Interval | None) -> bool:
    return difference is not None and difference.low > 0


def _below(difference: Interval | None) -> bool:
    return difference is not None and difference.high < 0


def reactions(comparison: Comparison, lines: Sequence[Row]) -> list[str]:
    """Whether controls that do not look do as well as the policy that they were made of."""
    leaders = comparison.of_kind("learned")
    blind = [line for line in lines if line.name in (SHUFFLED, AVERAGE) and line.under_leader is not None]
    if not leaders or not blind:
        return []
    leader = leaders[0].name
    known = {line.name: line.under_leader for line in blind if line.under_leader is not None}
    if not all(np.isfinite(difference.low) for difference in known.values()):
        return [f"{leader}: whether it reacts cannot be told from so few contexts"]
    as_well = {name: signed(difference) for name, difference in known.items() if not difference.low > 0}
    if as_well:
        found = " and ".join(f"{name} (policy minus control {words})" for name, words in as_well.items())
        return [f"{leader}: the policy does not react, as far as was shown: as well as it does {found}"]
    found = " and ".join(f"{name} ({signed(difference)})" for name, difference in known.items())
    if AVERAGE not in known:  # a clock alone can beat permuted times
        return [f"{leader}: when it grows matters, it is better than {found}; {AVERAGE} did not play to show why"]
    return [f"{leader}: the policy reacts: it is better than {found}, which grow without looking"]


def ablation_words(comparison: Comparison, line: Row) -> str:
    """Whether a policy that was trained with less does worse than the first learned one."""
    if line.under_leader is None:
        return ""
    leader, difference = comparison.of_kind("learned")[0].name, line.under_leader
    words = f"({leader} minus this one {signed(difference)})"
    if difference.covers_zero:
        return f"no loss against {leader} was shown {words}"
    return f"{'worse' if difference.low > 0 else 'better'} than {leader} {words}"


def gap_words(line: Row) -> str:
    """How much of the gap between the best fixed schedule and the oracle a policy closes."""
    if line.gap is None:
        return ""
    if not np.isfinite(line.gap.gap.low):
        return "whether there is a gap to close cannot be told from so few contexts"
    gap = f"oracle minus best fixed {signed(line.gap.gap)}"
    if line.gap.ratio is None:
        return f"no gap to close ({gap})"
    without = f"no gap in {line.gap.without_gap} of {line.gap.contexts} contexts"
    return f"closes {line.gap.ratio} of the gap to the oracle ({gap}; {without})"


def training_words(line: Row) -> str:
    """What the number of training seeds means for the intervals."""
    count = len(line.seeds)
    if count == 1:
        return "one training seed: the interval is for this trained policy alone; another seed may give another result"
    if count < SEEDS:
        return f"only {count} training seeds, a claim needs at least {SEEDS}; the intervals cover training seeds"
    return f"{count} training seeds; the intervals cover training seeds and contexts"
