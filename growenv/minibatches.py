"""What is trained on: minibatches of current, of mixed and of stored samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.protection import Batch
from growenv.randomness import Purpose, integers

if TYPE_CHECKING:
    from growenv.learner import Learner


class Minibatches:
    """Makes the batches that a learner's networks train on.

    Args:
        learner: who trains.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner = learner

    def coming(self) -> Iterator[Batch]:
        """The next minibatches of every row, at most `minibatches` of them."""
        mixed = not self.learner.scenario.boundaries
        return self._mixed() if mixed else self._current()

    def _current(self) -> Iterator[Batch]:
        """Minibatches of the current tasks."""
        data, count, size = self.learner.data, self.learner.config.minibatches, self.learner.config.batch_size
        samples, labels = data.minibatches(self.learner.task, self.learner.steps, count, size)
        targets = self.one_hot(labels)
        for number in range(count):
            x = data.gather(samples[number], out=self.learner.inputs)
            tokens = self.learner.samples.tokens(samples[number], self.learner.task)
            yield Batch(x, targets[number], self.learner.absent, 1.0 / size, tokens, labels[number])

    def _mixed(self) -> Iterator[Batch]:
        """Minibatches whose samples are of several tasks."""
        learner, size = self.learner, self.learner.config.batch_size
        while True:
            samples, labels = learner.samples.draw(learner.steps, self._tasks_now(size, learner.steps))
            if not learner.scenario.together:
                learner.heads.seen[np.arange(learner.rows)[:, None], labels.cpu().numpy()] = True
                learner.choose_outputs()
            yield self.stored(samples, labels)

    def _tasks_now(self, size: int, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """The task of each sample where boundaries are hidden, (N, size); `number` says which draw it is, (N,)."""
        learner, config = self.learner, self.learner.config
        if learner.scenario.together:
            every = np.array([learner.data.length(row) for row in range(learner.rows)])[:, None]
            place = np.arange(size)[None, :]
            return integers(every, learner.data.seeds[:, None], Purpose.BOUNDARY, number[:, None], place)
        over = np.minimum(learner.task_steps / (config.decisions * config.minibatches), 1.0)
        return learner.samples.mixture(learner.task, over, learner.scenario.fuzzy, size, number)

    def stored(self, samples: Tensor, outputs: Tensor, share: Tensor | float | None = None) -> Batch:
        """A batch of samples that some batch had; see `Stage.batch`."""
        share = 1.0 / samples.shape[1] if share is None else share
        inputs = self.learner.samples.gather(samples, self.learner.task)
        return Batch(inputs, self.one_hot(outputs), self.absent_for(samples), share, samples, outputs)

    def drawn(self, number: NDArray[np.int64], count: int) -> Batch:
        """Samples of what is trained on now, which are not trained on; see `Stage.draw`."""
        learner = self.learner
        if not learner.scenario.boundaries:
            return self.stored(*learner.samples.draw(number, self._tasks_now(count, number), Purpose.PROBE))
        chosen, labels = learner.data.minibatches(learner.task, number, 1, count, purpose=Purpose.PROBE)
        inputs = learner.data.gather(chosen[0])
        tokens = learner.samples.tokens(chosen[0], learner.task)
        return Batch(inputs, self.one_hot(labels[0]), learner.absent, 1.0 / count, tokens, labels[0])

    def one_hot(self, outputs: Tensor) -> Tensor:
        """Targets, (..., C, B), from right outputs, (..., B)."""
        every = torch.arange(self.learner.network.classes, device=outputs.device)[:, None]
        return (outputs[..., None, :] == every).to(self.learner.network.dtype)

    def absent_for(self, samples: Tensor) -> Tensor:
        """What is added to the logits of samples by the rule for their own tasks, (N, C, 1) or (N, C, B)."""
        if self.learner.heads.kind == "shared" and self.learner.scenario.loss != "task":
            return self.learner.absent
        by_task = [
            self.learner.heads.taking_part(np.full(self.learner.rows, number)) for number in range(self.learner.tasks)
        ]
        table = self.learner.heads.absent(np.stack(by_task, axis=1))
        row = torch.arange(self.learner.rows, device=samples.device)[:, None]
        return table[row, self.learner.samples.tasks(samples)].transpose(1, 2)
