"""Scenarios: who may see what, and which outputs take part in the loss and in the answer.

A scenario is a contract. What it hides from learner and agent is not there: reading it raises `NotVisibleError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from growenv.registry import Registry

PERIOD = 100
"""Without boundaries, minibatches from one consolidation to the next (van de Ven et al. 2022, released code)."""
FUZZY = 0.25
"""Share of a task before and after a boundary in which neighbouring tasks are mixed (as above: 500 of 2000)."""
_CHOICES = {
    "heads": ("task", "shared"),
    "labels": ("place", "class"),
    "loss": ("task", "seen", "all"),
    "scored": ("task", "seen", "largest", "likeliest"),
}


class NotVisibleError(AttributeError):
    """Somebody asked for what the scenario hides."""


@dataclass(frozen=True)
class Scenario:
    """Who may see what at training and at test time (van de Ven and Tolias 2019, arXiv 1904.07734).

    Attributes:
        name: how results call it; it says everything that moves a figure.
        heads: ``"task"``, every task has a head of its own, or ``"shared"``, one head for all.
        labels: what output k of a head means: the k-th class of the task (``"place"``), or class k of the data set.
        loss: outputs among which the softmax of a training sample chooses: those of its ``"task"``, of all classes
            ``"seen"`` so far, or ``"all"``.
        scored: outputs among which an answer is chosen: those of the sample's own ``"task"`` (its identity is told at
            test time, or tasks do not differ in their outputs), those of classes ``"seen"`` so far, or of all heads of
            tasks so far, by ``"largest"`` logit or as the ``"likeliest"`` after a softmax in each head.
        boundaries: whether the learner is told when a task ends.
        identity: whether it is told which task it trains on.
        restore: train with the output weights of all other classes at zero and put them back to answer (Sokar et al.
            2021, arXiv 2007.07617, released code). Needs ``heads="task"``, ``labels="class"``.
        together: all tasks of the stream in every minibatch.
        fuzzy: share of a task on either side of a boundary in which samples of both tasks are mixed, 0 to 0.5.
    """

    name: str
    heads: str = "task"
    labels: str = "place"
    loss: str = "task"
    scored: str = "task"
    boundaries: bool = True
    identity: bool = True
    restore: bool = False
    together: bool = False
    fuzzy: float = 0.0

    def __post_init__(self) -> None:
        for field, known in _CHOICES.items():
            value = getattr(self, field)
            if value not in known:
                raise ValueError(f"{field} of scenario {self.name!r} is {value!r}, expected one of {', '.join(known)}")
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"the name of a scenario is {self.name!r}, expected a non-empty text")
        if not 0 <= self.fuzzy <= 0.5:
            raise ValueError(f"fuzzy of scenario {self.name!r} is {self.fuzzy}, expected a share of a task, 0 to 0.5")
        if self.restore and (self.heads != "task" or self.labels != "class"):
            raise ValueError(f"scenario {self.name!r} restores heads, which needs heads='task' and labels='class'")
        if self.heads == "task" and not (self.boundaries or self.together):
            raise ValueError(f"scenario {self.name!r} has a head for each task, but tells nobody when a task begins")

    @property
    def by_identity(self) -> bool:
        """Whether the task of a test sample is told."""
        return self.heads == "task" and self.scored == "task"

    def hidden(self, what: str) -> NotVisibleError:
        """The error for somebody who asks for what is hidden."""
        return NotVisibleError(
            f"the scenario {self.name!r} does not tell {what}; use what it does tell, or another scenario"
        )


SCENARIOS: Registry[Scenario] = Registry("scenario")


def _register(name: str, **contract: object) -> None:
    SCENARIOS.register(name, partial(Scenario, name, **contract))  # type: ignore[arg-type]


_register("task-incremental")
_register("domain-incremental", heads="shared", identity=False)
_register("class-incremental", heads="shared", labels="class", loss="seen", scored="seen")
_register("class-incremental-all", heads="shared", labels="class", loss="all", scored="seen")
_register("class-incremental-current", heads="shared", labels="class", loss="task", scored="seen")
_register("class-incremental-restore", labels="class", loss="all", scored="seen", restore=True)
_register("class-incremental-max", scored="largest")
_register("class-incremental-prob", scored="likeliest")
_register(
    "task-free",
    heads="shared",
    labels="class",
    loss="seen",
    scored="seen",
    boundaries=False,
    identity=False,
    fuzzy=FUZZY,
)
_register("multitask", together=True, boundaries=False)
