"""Scenes for signals to look at, and what is to be seen: slowly, row by row, without padding, with autograd."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.growth.evidence import CrossEntropy
from growenv.growth.signals import SIGNALS, Scene
from growenv.learner import Learner
from growenv.wiring import readers
from tests.reference import row_of
from tests.rollouts import TASKS, context, learner

CONTEXTS = [context(TASKS[:3], 11), context(TASKS[1:4], 12), context(TASKS[2:5], 13)]
Array = NDArray[np.float64]


def everyone(rows: int) -> NDArray[np.bool_]:
    return np.ones(rows, dtype=bool)


def begun(finished: int = 0, rows: int = 3, **options: Any) -> Learner:
    """Rows of unequal widths that have finished some tasks and are in the middle of the next one."""
    ours = learner(rows, **{"max_hidden": (80, 80), **options})
    ours.begin(everyone(rows), CONTEXTS[:rows])
    for _ in range(finished):
        advance(ours)
        ours.next_task(everyone(rows))
    advance(ours)
    return ours


def advance(ours: Learner) -> None:
    """Every row grows its own way, and trains."""
    ours.train()
    depth = ours.network.depth
    for layer, amounts in ((depth - 1, (3, 0, 20)), (0, (2, 4, 1))):
        ours.grow(np.full(ours.rows, layer), np.array(amounts[: ours.rows]))
        ours.train()


def scene_of(ours: Learner, samples: int = 40, **changes: Any) -> Scene:
    """What the learner's networks show now; figures that come from an environment are made up."""
    rows, row = ours.rows, np.arange(ours.rows)
    made_up = np.random.default_rng(0)
    given = {
        "evidence": ours.evidence(0, samples),
        "units": ours.units,
        "task": ours.task,
        "outputs": ours.data.task_classes[row, ours.task],
        "trained": everyone(rows),
        "losses": made_up.uniform(0.1, 2.0, (rows, 7)),
        "validation_accuracy": made_up.uniform(size=rows),
        "validation_loss": made_up.uniform(size=rows),
        "unit_cost": made_up.uniform(0.001, 0.01, (rows, ours.network.depth)),
    }
    return Scene(**{**given, **changes})


SCENES: dict[str, dict[str, Any]] = {
    "first task": {},
    "second task": {"finished": 1},
    "third task": {"finished": 2},
    "finetune": {"finished": 1, "protection": "finetune"},
    "wires": {"finished": 1, "hidden": (5, 0, 4), "max_hidden": (80, 80, 80)},
    "wires up": {"hidden": (5, 4, 0, 0), "max_hidden": (80,) * 4},
}


@lru_cache(maxsize=len(SCENES))
def scene(name: str) -> Scene:
    """A scene to look at only; and for every row what a slow observer sees."""
    return scene_of(begun(**SCENES[name]))


@lru_cache(maxsize=3 * len(SCENES))
def slowly(name: str, row: int) -> Slow:
    return slow(scene(name), row)


def measured(name: str, scene: Scene, signal: Any = None) -> dict[str, Array]:
    """A signal's features by name, for all rows."""
    one = signal or SIGNALS.make(name)
    rows = everyone(len(scene.task))
    if signal is None:
        one.begin(rows)
    values = one.measure(scene, rows)
    return dict(zip(one.features(scene.evidence.network.depth), values.T, strict=True))


@dataclass
class Slow:
    """One row's network on the probe batch, in double precision.

    Attributes:
        read: what every layer and the head read, (B, n) each, the constant included.
        ids: for what a layer reads, pairs of source (0 for the inputs, else hidden layer + 1) and number there.
        errors: errors of each sample (not divided by B) at active units of every layer, and at the logits.
        weights: weights that train into every layer and into the head, (n, active or C).
        units: what the units of every hidden layer answer, (B, M), the constant one aside.
        active: units that train, of every hidden layer.
        loss: mean loss.
        bypassed: layers with wires around them.
    """

    read: list[Array]
    ids: list[list[tuple[int, int]]]
    errors: list[Array]
    weights: list[Array]
    units: list[Array]
    active: list[int]
    loss: float
    bypassed: tuple[int, ...]

    @property
    def depth(self) -> int:
        return len(self.units)

    def heard(self, layer: int) -> Array:
        """Errors at everything that hears a layer, (B, R)."""
        return np.concatenate([self.errors[block] for block in readers(layer, self.depth, self.bypassed)], axis=1)

    def gradient(self, block: int) -> Array:
        return self.read[block].T @ self.errors[block] / len(self.read[0])

    def across(self, layer: int) -> Array:
        return self.read[layer].T @ self.heard(layer) / len(self.read[0])

    def outgoing(self, layer: int, values: list[Array]) -> list[Array]:
        """The rows of blocks of weights, or of gradients, that lead out of a layer's units, for every block, (M, n)."""
        found = []
        for block in readers(layer, self.depth, self.bypassed):
            places = [
                number
                for number, (source, unit) in enumerate(self.ids[block])
                if (source, unit > 0) == (layer + 1, True)
            ]
            found.append(values[block][places])
        return found


def slow(scene: Scene, row: int) -> Slow:
    """Work everything out for one row with cross-entropy as its loss."""
    evidence, network = scene.evidence, scene.evidence.network
    assert isinstance(evidence.loss, CrossEntropy)
    weights, x = row_of(network, row), evidence.x[row].double()
    ones, frozen, everything = torch.ones((len(x), 1), dtype=x.dtype), x, x
    ids = [[(0, 1 + number) for number in range(network.inputs)] + [(0, 0)]]
    read, before, units = [x], [], []
    for layer, (old, new) in enumerate(zip(weights.frozen, weights.trained[:-1], strict=True)):
        wires = layer in network.bypassed
        brought = [(each[:, 1:] if wires else each[:, :0]) for each in (frozen, everything)]
        pre = (everything @ new.double()).detach().requires_grad_() if layer == 0 else everything @ new.double()
        if layer > 0:
            pre.retain_grad()
        before.append(pre)
        frozen = torch.cat((ones, torch.relu(frozen @ old.double())), dim=1)
        own = torch.cat((frozen, torch.relu(pre)), dim=1)
        units.append(own[:, 1:])
        ids.append([(layer + 1, unit) for unit in range(own.shape[1])] + (ids[-1][1:] if wires else []))
        everything, frozen = torch.cat((own, brought[1]), dim=1), torch.cat((frozen, brought[0]), dim=1)
        read.append(everything)
    outputs = int(scene.outputs[row])
    logits = (everything @ weights.trained[-1].double())[:, :outputs]
    logits.retain_grad()
    loss = torch.nn.functional.cross_entropy(logits, evidence.loss.labels[row])
    loss.backward()
    errors = [_numbers(each.grad) * len(x) for each in (*before, logits)]
    blocks = [_numbers(each) for each in weights.trained]
    blocks[-1] = blocks[-1][:, :outputs]
    active = [int(count) for count in network.active_units[row]]
    return Slow(
        [_numbers(each) for each in read],
        ids,
        errors,
        blocks,
        [_numbers(each) for each in units],
        active,
        float(loss.detach()),
        network.bypassed,
    )


def _numbers(values: Tensor | None) -> Array:
    assert values is not None
    return values.detach().double().numpy()


def squash(value: float) -> float:
    return 1.0 if np.isinf(value) else value / (1.0 + value)
