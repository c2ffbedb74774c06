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
        size, scenario, row = self.learner.config.batch_size, self.learner.scenario, np.arange(self.learner.rows)
        length = self.learner.config.decisions * self.learner.config.minibatches
        while True:
            if scenario.together:
                every = np.array([self.learner.data.length(int(n)) for n in row])[:, None]
                seeds, place = self.learner.data.seeds[:, None], np.arange(size)[None, :]
                tasks = integers(every, seeds, Purpose.BOUNDARY, self.learner.steps[:, None], place)
            else:
                over = np.minimum(self.learner.task_steps / length, 1.0)
                tasks = self.learner.samples.mixture(self.learner.task, over, scenario.fuzzy, size, self.learner.steps)
            samples, labels = self.learner.samples.draw(self.learner.steps, tasks)
            if not scenario.together:
                self.learner.heads.seen[row[:, None], labels.cpu().numpy()] = True
                self.learner.choose_outputs()
            yield self.stored(samples, labels)

    def stored(self, samples: Tensor, outputs: Tensor, share: Tensor | float | None = None) -> Batch:
        """A batch of samples that some batch had; see `Stage.batch`."""
        share = 1.0 / samples.shape[1] if share is None else share
        inputs = self.learner.samples.gather(samples, self.learner.task)
        return Batch(inputs, self.one_hot(outputs), self.absent_for(samples), share, samples, outputs)

    def drawn(self, number: NDArray[np.int64], count: int) -> Batch:
        """Samples of the current tasks that nothing is trained on; see `Stage.draw`."""
        chosen, labels = self.learner.data.minibatches(self.learner.task, number, 1, count, purpose=Purpose.PROBE)
        inputs = self.learner.data.gather(chosen[0])
        tokens = self.learner.samples.tokens(chosen[0], self.learner.task)
        return Batch(inputs, self.one_hot(labels[0]), self.learner.absent, 1.0 / count, tokens, labels[0])

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
