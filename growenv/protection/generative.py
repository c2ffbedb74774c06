"""Deep generative replay: old samples are dreamt by a generator and named by the old network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.heads import ABSENT
from growenv.networks.live import index_of
from growenv.networks.stacked_vae import StackedVAE, parameter_count, stacked_normal
from growenv.protection.base import NUMBER_BYTES, PROTECTIONS, Batch, Protection
from growenv.protection.replay import beside, share_of_new
from growenv.randomness import Purpose, integers

if TYPE_CHECKING:
    from growenv.hardware import Architecture
    from growenv.protection.stage import Stage

OLD = "old_solver"
"""Buffer: the weights of every row's network at the end of its last task, with all heads."""
_CODE, _NOISE, _PERIOD = 1, 2, 3  # first counters after the purpose; 0 is that of the generator's weights


class GenerativeReplay(Protection):
    """Trains a variational autoencoder beside the network; both also learn from what it dreams up.

    From the second task on every minibatch has as many images of the generator of the last task's end as it has new
    samples. The network of that time names them: the output with the largest logit, among those that training has shown
    before, or (`distill`) the probabilities of these outputs at a temperature, which the new network then matches at
    the same temperature; the temperature's square is left out. Where every task has a head, each image is named by the
    head of an old task that is chosen at random, all as likely. In task t, new samples make up 1/t of both losses;
    where the scenario tells no boundaries, 1/2 from the first period's end on.

    The generator sees pixels in [0, 1] in the order in which a task has them, so it serves tasks with different orders.
    Its optimiser goes on from task to task.

    Args:
        distill: match probabilities instead of one output.
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        latent: latent values of the generator.
        learning_rate: step size of the generator's Adam, above 0.
        temperature: divides logits where probabilities are matched, above 0.

    Raises:
        ValueError: a number out of range, or no hidden layer.

    Source: Shin et al. 2017, arXiv 1705.08690; sizes, weights and distillation: van de Ven and Tolias 2019, arXiv
    1904.07734, and its released code.
    """

    all_heads = True

    def __init__(
        self,
        distill: bool = False,
        hidden: Sequence[int] = (400, 400),
        latent: int = 100,
        learning_rate: float = 1e-3,
        temperature: float = 2.0,
    ) -> None:
        for name, number in (("learning_rate", learning_rate), ("temperature", temperature)):
            if not 0 < number < np.inf:
                raise ValueError(f"{name} must be above 0 and finite, got {number}")
        parameter_count(1, tuple(hidden), latent)
        self.name = "dgr-distill" if distill else "dgr"
        self.distill, self.hidden, self.latent = distill, tuple(hidden), latent
        self.learning_rate, self.temperature = learning_rate, temperature

    def prepare(self, stage: Stage) -> None:
        """Make the generators, and room for copies of them and of the networks."""
        network = stage.network
        self.generator = StackedVAE(
            stage.rows,
            network.inputs,
            self.hidden,
            self.latent,
            learning_rate=self.learning_rate,
            dtype=network.dtype,
            device=network.device,
        )
        self.old_generator = torch.zeros_like(self.generator.parameters)
        # Task (or period) in which training first showed each output, -1 for never.
        self.shown: NDArray[np.int64] = np.full((stage.rows, stage.outputs), -1)
        network.add_buffer(OLD)

    def begin(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Fresh generators, and nothing shown yet."""
        self.generator.begin(rows, stage.seeds)
        self.shown[rows] = -1

    def rehearse(self, stage: Stage, batch: Batch) -> Batch:
        """The new samples and as many dreams; the generator trains on both."""
        self._notice(stage, batch)
        images, size = stage.pixels(batch.inputs), batch.samples.shape[1]
        share = share_of_new(stage)
        if (share < 1).any():
            code = self._normal(stage, _CODE, size)
            dreams = self.generator.decode(code, self.old_generator)
            batch = beside(stage, batch, share, self._named(stage, dreams))
            images = torch.cat((images, dreams), dim=1)
        weight = torch.as_tensor(batch.share, dtype=stage.dtype, device=stage.device)
        weight = weight.expand(stage.rows, 1, images.shape[1])[:, 0]
        self.generator.train(images, weight, self._normal(stage, _NOISE, images.shape[1]))
        return batch

    def _normal(self, stage: Stage, what: int, count: int) -> Tensor:
        """Normal numbers for as many samples, (N, count, latent)."""
        drawn = stacked_normal(stage.seeds, Purpose.PROTECTION, what, stage.steps, shape=(count, self.latent))
        return drawn.to(stage.device, stage.dtype)

    def _notice(self, stage: Stage, batch: Batch) -> None:
        """Remember when outputs were shown first."""
        row, right = np.arange(stage.rows)[:, None], batch.outputs.cpu().numpy()
        before = self.shown[row, right]
        self.shown[row, right] = np.where(before < 0, stage.finished[:, None], before)

    def _named(self, stage: Stage, dreams: Tensor) -> Batch:
        """Dreams with targets from the old network, which no stored sample belongs to."""
        inputs = stage.from_pixels(dreams)
        logits = stage.forward(inputs, weights=stage.network.buffers[OLD]).transpose(1, 2)
        shown = torch.from_numpy(self.shown).to(stage.device)[:, :, None]
        choice = self._choice(stage, shown, dreams.shape[1])
        logits = logits.masked_fill(~choice, ABSENT)
        outputs = logits.argmax(dim=1)
        targets = torch.softmax(logits / self.temperature, 1) if self.distill else stage.one_hot(outputs)
        part = (stage.absent == 0).expand_as(logits)
        if not bool(torch.gather(part, 1, outputs[:, None]).all()):
            # The loss is about the current task's outputs: old ones compete with those that were shown with them.
            part = choice if self.distill else shown == torch.gather(shown.expand_as(logits), 1, outputs[:, None])
        absent = torch.zeros_like(logits).masked_fill_(~part, ABSENT)
        return Batch(inputs, targets, absent, 1.0, torch.full_like(outputs, -1), outputs)

    def _choice(self, stage: Stage, shown: Tensor, count: int) -> Tensor:
        """Outputs among which the old network chooses for each dream, bool (N, C, count) or (N, C, 1)."""
        finished = stage.finished[:, None]
        if stage.scenario.heads == "shared":
            return (shown >= 0) & (shown < torch.from_numpy(finished).to(shown.device)[:, :, None])
        bound = np.maximum(finished, 1)
        period = integers(
            bound, stage.seeds[:, None], Purpose.PROTECTION, _PERIOD, stage.steps[:, None], np.arange(count)
        )
        return shown == torch.from_numpy(period).to(shown.device)[:, None, :]

    def on_logits(self, stage: Stage, batch: Batch, logits: Tensor, gradient: Tensor) -> None:
        """Where probabilities are matched, dreams have a loss of their own."""
        size = int((batch.samples[0] >= 0).sum())  # dreams come last
        if not self.distill or logits.shape[2] == size or not isinstance(batch.share, Tensor):
            return
        own = torch.softmax(logits[:, :, size:] / self.temperature, 1).sub_(batch.targets[:, :, size:])
        gradient[:, :, size:] = own.mul_(batch.share[:, :, size:] / self.temperature)

    def finish_task(self, stage: Stage, rows: NDArray[np.bool_]) -> None:
        """Generator and network of now are those of old from now on."""
        network, index = stage.network, index_of(rows, stage.network)
        self.old_generator[index] = self.generator.parameters[index]
        for old, weights in zip(network.layout.blocks(network.buffers[OLD]), network.weights, strict=True):
            old[index] = weights[index]

    def memory(self, architecture: Architecture) -> NDArray[np.int64]:
        """Bytes of the generator, of its copy and of the network's with all heads, from the start, int64 (N,)."""
        generator = parameter_count(architecture.inputs, self.hidden, self.latent)
        solver = architecture.connections().sum(axis=1) + architecture.biases()
        return np.asarray(NUMBER_BYTES * (2 * generator + solver))


PROTECTIONS.register("dgr", GenerativeReplay)
PROTECTIONS.register("dgr-distill", partial(GenerativeReplay, distill=True))
