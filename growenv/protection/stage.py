"""What a protection may see and change of a stack in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.networks import StackedMLP
from growenv.networks.other_weights import forward_with, hidden_with
from growenv.protection.base import Batch
from growenv.randomness import Purpose
from growenv.streams import Scenario
from growenv.streams.scenarios import PERIOD

if TYPE_CHECKING:
    from growenv.growth import GrowthOperator
    from growenv.learner import Learner

_PROBES = 1 << 16  # as many draws between two minibatches of a row have different samples
_OWN_DRAWS = 1 << 15  # where those of protections begin; growth operators and signals have those before


class Stage:
    """A stack in training, as its scenario lets a protection see it.

    What the scenario hides raises `NotVisibleError`.

    Args:
        learner: who trains the stack.
    """

    def __init__(self, learner: Learner) -> None:
        self.__learner = learner

    # -- always known ------------------------------------------------------------------------------------------------

    @property
    def network(self) -> StackedMLP:
        """The networks."""
        return self.__learner.network

    @property
    def scenario(self) -> Scenario:
        """Who may see what."""
        return self.__learner.scenario

    @property
    def rows(self) -> int:
        """Number of networks N."""
        return self.__learner.rows

    @property
    def tasks(self) -> int:
        """Most tasks of a stream T."""
        return self.__learner.tasks

    @property
    def outputs(self) -> int:
        """Outputs of the head C."""
        return self.network.classes

    @property
    def classes(self) -> int:
        """Classes of the data set."""
        return self.__learner.classes

    @property
    def heads_apart(self) -> bool:
        """Whether the network's head is the current task's alone, so that it is another one in the next task."""
        return self.__learner.heads.kind in ("own", "restored")

    @property
    def learning_rate(self) -> float:
        """Step size of the optimiser."""
        return self.__learner.config.learning_rate

    @property
    def batch_size(self) -> int:
        """Samples of a minibatch."""
        return self.__learner.config.batch_size

    @property
    def max_hidden(self) -> tuple[int, ...]:
        """Greatest width of each hidden layer."""
        return self.__learner.config.max_hidden

    @property
    def hidden(self) -> tuple[int, ...]:
        """Initial width of each hidden layer."""
        return self.__learner.config.hidden

    @property
    def device(self) -> torch.device:
        """Where everything lives."""
        return self.network.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights and inputs."""
        return self.network.dtype

    @property
    def seeds(self) -> NDArray[np.uint64]:
        """Seed of every row, (N,)."""
        return self.__learner.data.seeds

    @property
    def steps(self) -> NDArray[np.int64]:
        """Minibatches that each row has trained in its stream, (N,)."""
        return self.__learner.steps

    @property
    def finished(self) -> NDArray[np.int64]:
        """Tasks that each row has finished, (N,); without boundaries, periods of fixed length."""
        return self.__learner.finished

    @property
    def known_outputs(self) -> NDArray[np.bool_]:
        """Outputs among which the loss of the current samples chooses, bool (N, C)."""
        return self.__learner.taking_part

    # -- known where the scenario tells ------------------------------------------------------------------------------

    @property
    def task(self) -> NDArray[np.int64]:
        """Current task of each row, (N,)."""
        if not self.scenario.identity:
            raise self.scenario.hidden("which task is trained")
        return self.__learner.task

    @property
    def units(self) -> NDArray[np.int64]:
        """Units by the task during which they grew, (N, T, L)."""
        self.__need_boundaries()
        return self.__learner.units

    @property
    def task_steps(self) -> NDArray[np.int64]:
        """Minibatches that each row has trained in its current task, (N,)."""
        self.__need_boundaries()
        return self.__learner.task_steps

    @property
    def task_length(self) -> int:
        """Minibatches of a task."""
        self.__need_boundaries()
        return self.__learner.config.decisions * self.__learner.config.minibatches

    def __need_boundaries(self) -> None:
        if not self.scenario.boundaries:
            raise self.scenario.hidden("when tasks begin and end")

    # -- samples -----------------------------------------------------------------------------------------------------

    @property
    def sample_counts(self) -> NDArray[np.int64]:
        """Training samples of each row's current task, (N,); without boundaries, those that a period trains on."""
        if not self.scenario.boundaries:
            return np.full(self.rows, PERIOD * self.batch_size)
        return self.__learner.data.counts

    def task_counts(self) -> NDArray[np.int64]:
        """Training samples of every task of each row's stream that has begun, 0 of tasks to come, (N, T)."""
        return np.where(self.__begun(), self.__learner.samples.counts(), 0)

    def __begun(self) -> NDArray[np.bool_]:
        """Tasks whose data have been there, (N, T)."""
        if not (self.scenario.identity or self.scenario.boundaries):  # who knows the ends can keep the data
            raise self.scenario.hidden("which task is trained")
        return (np.arange(self.tasks) <= self.finished[:, None]) | self.scenario.together

    def draw(self, number: int, count: int) -> Batch:
        """Training samples of the current data that nothing is trained on.

        Args:
            number: which draw; equal numbers are equal samples until the network has trained on. At most 32,767.
            count: samples of each row.
        """
        return self.__learner.minibatches.drawn(self.steps * _PROBES + _OWN_DRAWS + number, count)

    def draw_from(self, number: int, tasks: NDArray[np.int64]) -> Batch:
        """Training samples of given tasks, (N, B): as if all data of these tasks were kept.

        Args:
            number: which draw of the next minibatch.
            tasks: the task of each sample, (N, B), none that is still to come.
        """
        if not np.take_along_axis(self.__begun(), tasks, axis=1).all():
            raise self.scenario.hidden("samples of tasks to come")
        learner = self.__learner
        counter = learner.steps * _PROBES + number
        return self.batch(*learner.samples.draw(counter, tasks, Purpose.REHEARSAL))

    def gather(self, samples: Tensor) -> Tensor:
        """Inputs of samples (N, B) that some batch had, as the network reads them now, (N, B, D + 1)."""
        return self.__learner.samples.gather(samples, self.__learner.task)

    def batch(self, samples: Tensor, outputs: Tensor, share: Tensor | float | None = None) -> Batch:
        """A batch of samples that some batch had.

        Args:
            samples: which ones, (N, B).
            outputs: their right outputs, (N, B).
            share: weight of each in its row's loss, (N, 1, B) or a number; 1 / B where None.
        """
        return self.__learner.minibatches.stored(samples, outputs, share)

    def one_hot(self, outputs: Tensor) -> Tensor:
        """Targets (N, C, B) from right outputs (N, B)."""
        return self.__learner.minibatches.one_hot(outputs)

    @property
    def absent(self) -> Tensor:
        """What is added to the logits of current samples, (N, C, 1)."""
        return self.__learner.absent

    def inputs_of(self, x: Tensor) -> Tensor:
        """Inputs in the order in which the current tasks have them, from inputs as the network reads them now."""
        return self.__reordered(x, inverse=False)

    def samples_like(self, inputs: Tensor) -> Tensor:
        """The way back of `inputs_of`; both (N, B, D + 1)."""
        return self.__reordered(inputs, inverse=True)

    def __reordered(self, x: Tensor, inverse: bool) -> Tensor:
        learner = self.__learner
        order = learner.samples.own_order(learner.task)
        if (order == np.arange(order.shape[1])).all():
            return x
        index = torch.from_numpy(np.argsort(order, axis=1) if inverse else order).to(x.device)
        return torch.gather(x, 2, index[:, None, :].expand(-1, x.shape[1], -1))

    def pixels(self, x: Tensor) -> Tensor:
        """Values in [0, 1], (N, B, D), in the order of the current tasks, from network inputs (N, B, D + 1)."""
        low, high = self.__learner.data.bounds
        return ((self.inputs_of(x)[:, :, :-1] - low) / (high - low)).clamp_(0.0, 1.0)

    def from_pixels(self, pixels: Tensor) -> Tensor:
        """The way back of `pixels`."""
        low, high = self.__learner.data.bounds
        inputs = torch.ones((*pixels.shape[:2], pixels.shape[2] + 1), dtype=self.dtype, device=self.device)
        inputs[:, :, :-1] = pixels * (high - low) + low
        return self.samples_like(inputs)

    # -- networks ----------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor, weights: Tensor | None = None, head: Tensor | None = None) -> Tensor:
        """Logits without `absent`, (N, B, C), without touching what training uses.

        Args:
            x: inputs as the network reads them now, (N, B, D + 1).
            weights: flat weights; None for the network's own.
            head: outgoing weights of all that the head reads, (N, fan_in, C); None for those in `weights`.
        """
        return forward_with(self.network, x, self.__own(weights), head)

    def read(self, x: Tensor, weights: Tensor | None = None) -> list[Tensor]:
        """What the reader of every hidden layer reads, L tensors (N, B, fan_in of the reader)."""
        return hidden_with(self.network, x, self.__own(weights))

    def __own(self, weights: Tensor | None) -> Tensor:
        return self.network.buffers["weights"] if weights is None else weights

    def grow(self, layer: int, amounts: NDArray[np.int64], operator: GrowthOperator | None = None) -> NDArray[np.int64]:
        """Add units now, as far as widths and hardware let.

        Args:
            layer: hidden layer.
            amounts: units that each row asks for, (N,).
            operator: how they start; None for the environment's growth operator.

        Returns:
            Units that each row got: all it asked for, or none, (N,).
        """
        return self.__learner.grow_for_protection(layer, amounts, operator)

    def remove(self, layer: int, gone: NDArray[np.bool_]) -> None:
        """Take active units away, (N, active); what followed them closes up."""
        self.__learner.remove(layer, gone)

    def restart(self, rows: NDArray[np.bool_]) -> None:
        """The optimiser forgets its moments and counts in some rows."""
        self.__learner.optimizer.restart(rows)
