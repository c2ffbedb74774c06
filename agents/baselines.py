"""Who plays against learned policies, by name: schedules, gates, controls, searches, the oracle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agents import schedules  # noqa: F401  (registers the policies)
from agents.comparison import BEST_FIXED, ORACLE
from agents.gates import GATES
from agents.policy import POLICIES, PolicySpec
from growenv.registry import unknown_name

TUNED = "-tuned"
"""Added to a gate's name, it names the best of `gate_family`."""
MATCHED = "rate-matched-random"
SHUFFLED = "shuffled-actions"
AVERAGE = "average-schedule"
FINAL_SIZE = "static-final-size"
SAMPLED = "sampled-actions"
LOOK_AHEAD = "look-ahead"
PER_TASK = "per-task-search"
RCL = "rcl"
LUCKY = "oracle-same-seed"
"""Comes with the oracle: its sequences on the inner seeds on which they were found."""

CONTROLS = (MATCHED, SHUFFLED, AVERAGE, FINAL_SIZE, SAMPLED)
"""What remains of a learned policy without its reactions: the rates, the counts, the average, the final size; and the
policy that draws its actions instead of taking the likeliest."""
SEARCHES = (LOOK_AHEAD, PER_TASK, RCL)
"""Players that try growth out in the episode itself, and pay for it with training steps."""
TUNED_GATES = "tuned-gates"
GROUPS: dict[str, tuple[str, ...]] = {
    "gates": tuple(name for gate in GATES for name in (gate, gate + TUNED)),
    TUNED_GATES: tuple(gate + TUNED for gate in GATES),
    "controls": CONTROLS,
    "searches": SEARCHES,
}
"""Names that stand for several players."""
DEFAULT_POLICIES = (
    "never",
    "static-large",
    "random",
    "periodic",
    "doubling",
    BEST_FIXED,
    "plateau-tuned",
    "loss-gate-tuned",
    "controls",
)
NEEDS_OPTIONS = ("open-loop", "per-task")


def known_policies() -> tuple[str, ...]:
    """Names that a comparison accepts; those that need options are played as `PolicySpec`."""
    plain = set(POLICIES.names()) - set(NEEDS_OPTIONS)
    more = {BEST_FIXED, ORACLE, *CONTROLS, *SEARCHES, *GROUPS, *GROUPS[TUNED_GATES]}
    return tuple(sorted(plain | more))


def expand(policies: Sequence[str | PolicySpec]) -> list[str | PolicySpec]:
    """The policies with every group replaced by its members, each name once; the best fixed schedule always plays.

    Raises:
        UnknownNameError: no such policy.
        ValueError: a policy is named twice.
    """
    expanded: list[str | PolicySpec] = []
    for policy in policies:
        if isinstance(policy, str) and policy not in known_policies():
            raise unknown_name("policy", policy, known_policies())
        members = GROUPS.get(policy, (policy,)) if isinstance(policy, str) else (policy,)
        expanded += [member for member in members if member == policy or member not in (*expanded, *policies)]
    if BEST_FIXED not in expanded:
        expanded.append(BEST_FIXED)
    check_different(name_of(policy) for policy in expanded)
    return expanded


def name_of(policy: str | PolicySpec) -> str:
    """The name in tables."""
    return policy if isinstance(policy, str) else policy.name


def check_different(names: Iterable[str]) -> None:
    """Refuse repeated names.

    Raises:
        ValueError: a name is given twice.
    """
    given = list(names)
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise ValueError(f"every policy needs its own name; given twice: {', '.join(twice)}")


def kind_of(policy: str | PolicySpec) -> str:
    """One of `agents.comparison.KINDS`."""
    name = policy if isinstance(policy, str) else policy.policy
    if name in (*CONTROLS, "random"):
        return "control"
    if name in SEARCHES:
        return "search"
    if name in (ORACLE, LUCKY):
        return "oracle"
    return "gate" if name.removesuffix(TUNED) in GATES else "schedule"
