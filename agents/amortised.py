"""Amortised compute: after how many uses does training once cost less than tuning, or searching, every time?

Everything is counted in environment steps. A step is one decision of one network with its inner training, which is
nearly all that a step costs; learning from the steps and drawing schedules cost little beside it and are left out. The
steps of the episodes that are played in the end are the same for everybody and left out as well. What remains are the
steps before the first episode (training, tuning) and the extra steps of each episode (look-ahead, per-task search).

After n uses a player has cost ``fixed + each * n``. Another one has cost less from use n on if its line lies below from
there on. For a policy that was trained with T steps and costs nothing more, that is

- against a schedule that is tuned anew, with S steps, for each deployment (a new distribution of streams, a new price
  or budget): the smallest n with ``T < S * n``;
- against a search that takes s extra steps in each episode after t steps of tuning: the smallest n with
  ``T < t + s * n``.

Costs say nothing about results, so the difference in return stands beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from agents.comparison import Player

AT_ONCE, NEVER = "at once", "never"
HEAD = (
    "player",
    "steps before",
    "extra steps each episode",
    "return",
    "learned gains",
    "learned costs less after episodes",
    "after deployments, if tuned for each",
)
"""Heads of the columns of `Line.cells`."""


def break_even(fixed: int, each: float, other_fixed: int = 0, other_each: float = 0.0) -> int | None:
    """Uses from which on one way has cost less in all than another: the smallest n that holds for all later n too.

    The one way costs ``fixed + each * n``, the other ``other_fixed + other_each * n``. Equal costs are not less.

    Args:
        fixed: steps before the first use.
        each: steps of each use.
        other_fixed: the same of the other way.
        other_each: the same of the other way.

    Returns:
        The smallest n >= 0; None if there is none.

    Raises:
        ValueError: a number that is negative or not finite.
    """
    for name, value in (("fixed", fixed), ("each", each), ("other_fixed", other_fixed), ("other_each", other_each)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value!r}, expected a number of steps, at least 0")
    more = Fraction(fixed) - Fraction(other_fixed)
    saved = Fraction(other_each) - Fraction(each)
    if saved < 0 or (saved == 0 and more >= 0):
        return None
    return 0 if more < 0 else math.floor(more / saved) + 1


@dataclass(frozen=True)
class Line:
    """What a player costs beside the learned policy.

    Attributes:
        player: name.
        steps: environment steps before the first episode.
        steps_per_episode: extra environment steps of each episode.
        return_: mean return.
        gain: mean return of the learned policy minus this one's; None for the learned policy itself.
        episodes: episodes after which the learned policy has cost less in all; None if never.
        deployments: deployments after which it has cost less, if this player is tuned anew for each of them and the
            learned policy is not; None if never.
    """

    player: str
    steps: int
    steps_per_episode: float
    return_: float
    gain: float | None
    episodes: int | None
    deployments: int | None

    def cells(self) -> tuple[str, ...]:
        """The line as text, a cell for each of `HEAD`."""
        own = self.gain is None
        return (
            self.player,
            f"{self.steps:,}",
            f"{self.steps_per_episode:,.0f}",
            f"{self.return_:.3f}",
            "" if self.gain is None else f"{self.gain:+.4f}",
            "" if own else _uses(self.episodes),
            "" if own else _uses(self.deployments),
        )


def _uses(count: int | None) -> str:
    if count is None:
        return NEVER
    return f"{count:,}" if count else AT_ONCE


def amortised(players: Sequence[Player], learned: str = "") -> list[Line]:
    """What every player costs, in their order.

    Args:
        players: those of a comparison.
        learned: name of the learned policy that the others are compared with; the first one of kind ``learned`` if
            empty. Its steps are those of one training seed.

    Raises:
        ValueError: no such player, or no learned one.
    """
    found = [player for player in players if player.name == learned or (not learned and player.kind == "learned")]
    if not found:
        names = ", ".join(player.name for player in players) or "none"
        raise ValueError(f"no learned policy {learned!r} to compare with; players: {names}")
    return [_line(player, found[0]) for player in players]


def _line(player: Player, policy: Player) -> Line:
    own = player.name == policy.name
    return Line(
        player.name,
        player.steps,
        player.steps_per_episode,
        player.mean("return_"),
        None if own else policy.mean("return_") - player.mean("return_"),
        None if own else break_even(policy.steps, policy.steps_per_episode, player.steps, player.steps_per_episode),
        None if own else break_even(policy.steps, 0.0, 0, player.steps),
    )
