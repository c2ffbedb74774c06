"""No protection: every weight keeps training."""

from __future__ import annotations

from growenv.protection.base import PROTECTIONS, Protection


class Finetune(Protection):
    """Train on the current task and nothing else: the lower bracket of every comparison.

    Where tasks have heads of their own, old heads stay as they were, so old tasks are forgotten only through the
    shared layers.
    """

    name = "finetune"


PROTECTIONS.register("finetune", Finetune)
