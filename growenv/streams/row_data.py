"""Which samples each row sees: its tasks' pools, minibatches, evaluation sets and input orders."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.randomness import Purpose, integers, uniform
from growenv.streams.datasets import Dataset
from growenv.streams.tasks import Context

EVALUATION_CHUNK = 128
"""Samples of each row that are evaluated at once; bounds the memory of wide data sets."""


class RowData:
    """The data of N rows at different points of different streams.

    Images are never transformed twice. A rotation by less than a quarter turn is a rotated copy of the whole data set,
    shared by all rows; a pixel order (permutation, quarter turn) is applied to the rows of the first weight matrix,
    once a task, by whoever trains on the samples: `order` says how.

    Args:
        dataset: where the samples come from.
        rows: number of rows N.
        tasks: tasks of each stream T.
        classes: outputs of a head C, at least the classes of every task.
        validation_samples: most validation samples of a task; all of the inner validation part if that is less.
        test_samples: most inner-test samples of a task.
        device: where the samples live.
        dtype: type of the samples as network inputs.
        by_class: label samples with their class in the data set, not with its place among the task's classes.
        apart: added to the labels for every task before a sample's own, so that tasks share no label.
    """

    def __init__(
        self,
        dataset: Dataset,
        rows: int,
        tasks: int,
        classes: int,
        validation_samples: int,
        test_samples: int,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        by_class: bool = False,
        apart: int = 0,
    ) -> None:
        self.dataset, self.rows, self.tasks, self.classes = dataset, rows, tasks, classes
        self.device, self.dtype = torch.device(device), dtype
        self._by_class, self._apart = by_class, apart
        self.limits = {"validation": validation_samples, "test": test_samples}
        self.seeds: NDArray[np.uint64] = np.zeros(rows, dtype=np.uint64)
        self.task_classes: NDArray[np.int64] = np.zeros((rows, tasks), dtype=np.int64)
        self._contexts: list[Context | None] = [None] * rows
        self._banks: dict[int, int] = {}
        self._bank = torch.empty(0)
        self._add_bank(0)
        count = dataset.labels.shape[0]
        self._samples = count
        constant = np.arange(dataset.features + 1)
        self._pixels = np.broadcast_to(constant, (rows, tasks, len(constant))).copy()
        self._offset = np.zeros((rows, tasks), dtype=np.int64)
        self._local = np.zeros((rows, tasks, dataset.classes), dtype=np.int64)
        self._pool = np.zeros((rows, 1), dtype=np.int64)
        self._pool_size = np.ones(rows, dtype=np.int64)
        self._sets = {name: np.zeros((rows, tasks, 1), dtype=np.int64) for name in self.limits}
        self._set_size = {name: np.ones((rows, tasks), dtype=np.int64) for name in self.limits}
        self._labels = dataset.labels.numpy()
        self._class_means: dict[int, NDArray[np.float64]] = {}
        self.familiarity: NDArray[np.float64] = np.zeros((rows, tasks))
        self._pools = lru_cache(maxsize=512)(self._class_pool)

    def __getstate__(self) -> dict[str, Any]:
        # A cache cannot be pickled.
        return {name: value for name, value in vars(self).items() if name != "_pools"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._pools = lru_cache(maxsize=512)(self._class_pool)

    # -- resident samples --------------------------------------------------------------------------------------------

    def _add_bank(self, degrees: int) -> None:
        """Append a rotated copy of all samples, with room for the constant input."""
        bank = self.dataset.bank(degrees)
        padded = torch.zeros((bank.shape[0], bank.shape[1] + 1), dtype=bank.dtype)
        padded[:, :-1] = bank
        if bank.is_floating_point():
            padded[:, -1] = 1.0
            padded = padded.to(self.dtype)
        padded = padded.to(self.device)
        self._banks[degrees] = len(self._banks)
        self._bank = padded if not self._bank.numel() else torch.cat((self._bank, padded))

    def _bank_start(self, degrees: int) -> int:
        """Index of the first sample of a rotated copy, which is made when it is first asked for."""
        if degrees not in self._banks:
            self._add_bank(degrees)
        return self._banks[degrees] * self._samples

    def gather(self, index: Tensor, out: Tensor | None = None) -> Tensor:
        """Samples as network inputs whose last value is one, shape (*index.shape, D + 1)."""
        flat = index.reshape(-1)
        shape = (*index.shape, self._bank.shape[1])
        if self._bank.is_floating_point():
            if out is None:
                return torch.index_select(self._bank, 0, flat).view(shape)
            return torch.index_select(self._bank, 0, flat, out=out.view(-1, shape[-1])).view(shape)
        raw = torch.index_select(self._bank, 0, flat)
        target = torch.empty(shape, dtype=self.dtype, device=self.device) if out is None else out
        target.view(raw.shape).copy_(raw)
        target.sub_(self.dataset.shift).mul_(self.dataset.scale)
        target[..., -1] = 1.0
        return target

    def _class_pool(self, split: str, classes: tuple[int, ...]) -> NDArray[np.int64]:
        index = getattr(self.dataset, split).numpy()
        members: NDArray[np.int64] = index[np.isin(self._labels[index], classes)]
        return members

    # -- streams -----------------------------------------------------------------------------------------------------

    def begin(self, rows: NDArray[np.bool_], contexts: Sequence[Context]) -> None:
        """Give new streams to some rows.

        Args:
            rows: which rows, shape (N,).
            contexts: one context for each row; those of other rows are ignored.
        """
        for row in map(int, np.flatnonzero(rows)):
            context = contexts[row]
            self._contexts[row] = context
            self.seeds[row] = context.inner_seed
            for number, task in enumerate(context.tasks):
                self.task_classes[row, number] = len(task.classes)
                self._offset[row, number] = self._bank_start(task.transform.base)
                self._pixels[row, number, :-1] = task.transform.pixel_order(self.dataset)
                self._local[row, number] = 0
                labels = np.array(task.classes) if self._by_class else np.arange(len(task.classes))
                self._local[row, number, list(task.classes)] = labels + number * self._apart
                for split in self.limits:
                    self._choose(split, row, number, task.classes)
            self.familiarity[row] = self._familiarity(context, row)

    def class_of(self, row: int, task: int) -> tuple[int, ...]:
        """The classes of one task of a row."""
        context = self._contexts[row]
        assert context is not None
        return context.tasks[task].classes

    def pool(self, row: int, task: int) -> NDArray[np.int64]:
        """The training samples of one task of a row, without the transform of the task."""
        return self._pools("train", self.class_of(row, task))

    def length(self, row: int) -> int:
        """Number of tasks of a row's stream."""
        context = self._contexts[row]
        assert context is not None
        return len(context.tasks)

    def _familiarity(self, context: Context, row: int) -> NDArray[np.float64]:
        """Correlation of each task's mean training input with the likest earlier task's, (T,); 0 for the first.

        A transform that is used again shows in the mean input even where the classes are new.
        """
        means = np.zeros((self.tasks, self.dataset.features))
        for number, task in enumerate(context.tasks):
            mean = self._means(task.transform.base)[list(task.classes)].mean(axis=0)
            means[number] = mean[self._pixels[row, number, :-1]]
        means -= means.mean(axis=1, keepdims=True)
        length = np.linalg.norm(means, axis=1)
        alike = means @ means.T / np.maximum(np.outer(length, length), 1e-12)
        alike[np.triu_indices(self.tasks)] = -1.0
        nearest: NDArray[np.float64] = np.clip(alike.max(axis=1), -1.0, 1.0)
        nearest[0] = 0.0
        return nearest

    def _means(self, degrees: int) -> NDArray[np.float64]:
        """Mean training sample of each class in one rotated copy, (classes, D)."""
        if degrees not in self._class_means:
            bank, train = self.dataset.bank(degrees), self.dataset.train
            labels = self.dataset.labels[train]
            # Class by class, because a whole data set of images as floats is large.
            means = [
                bank[train[labels == label]].float().mean(dim=0, dtype=torch.float64).numpy()
                for label in range(self.dataset.classes)
            ]
            self._class_means[degrees] = np.stack(means)
        return self._class_means[degrees]

    def _choose(self, split: str, row: int, number: int, classes: tuple[int, ...]) -> None:
        """Choose the samples that a task is always evaluated on."""
        pool, limit = self._pools(split, classes), self.limits[split]
        if len(pool) > limit:
            purpose = Purpose.VALIDATION
            draw = uniform(self.seeds[row], purpose, 0 if split == "validation" else 1, number, np.arange(len(pool)))
            pool = pool[np.sort(np.argpartition(draw, limit)[:limit])]
        table = self._sets[split]
        if len(pool) > table.shape[2]:
            wider = np.zeros((self.rows, self.tasks, len(pool)), dtype=np.int64)
            wider[:, :, : table.shape[2]] = table
            self._sets[split] = table = wider
        table[row, number, : len(pool)] = pool
        self._set_size[split][row, number] = len(pool)

    def enter(self, rows: NDArray[np.bool_], task: NDArray[np.int64]) -> None:
        """Point some rows at the training samples of their current task."""
        for row in map(int, np.flatnonzero(rows)):
            pool = self.pool(row, int(task[row]))
            if len(pool) > self._pool.shape[1]:
                wider = np.zeros((self.rows, len(pool)), dtype=np.int64)
                wider[:, : self._pool.shape[1]] = self._pool
                self._pool = wider
            self._pool[row, : len(pool)] = pool
            self._pool_size[row] = len(pool)

    def minibatches(
        self,
        task: NDArray[np.int64],
        first: NDArray[np.int64],
        count: int,
        size: int,
        purpose: Purpose = Purpose.MINIBATCH,
    ) -> tuple[Tensor, Tensor]:
        """Samples of the next minibatches, drawn uniformly with replacement from the task's training samples.

        Args:
            task: current task of each row, shape (N,).
            first: number of the first minibatch in the row's episode, shape (N,).
            count: minibatches to draw.
            size: samples in each.
            purpose: what they are for; equal numbers name other samples for another purpose.

        Returns:
            Sample indices for `gather` and labels within the task, both of shape (count, N, size).
        """
        number = first[None, :, None] + np.arange(count)[:, None, None]
        draw = integers(
            self._pool_size[None, :, None],
            self.seeds[None, :, None],
            purpose,
            number,
            np.arange(size)[None, None, :],
        )
        row = np.arange(self.rows)[None, :, None]
        sample = self._pool[row, draw]
        label = self._local[row, task[None, :, None], self._labels[sample]]
        sample = sample + self._offset[np.arange(self.rows), task][None, :, None]
        return torch.from_numpy(sample).to(self.device), torch.from_numpy(label).to(self.device)

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest value of a network input."""
        inputs, scale = self.dataset.inputs, self.dataset.scale
        byte = inputs.dtype == torch.uint8
        low, high = (0.0, 255.0) if byte else (float(inputs.min()), float(inputs.max()))
        return (low - self.dataset.shift) * scale, (high - self.dataset.shift) * scale

    @property
    def pixels(self) -> NDArray[np.int64]:
        """Pixel order of every task, (N, T, D + 1): a task's input is ``input[j] = sample[pixels[j]]``."""
        pixels: NDArray[np.int64] = self._pixels
        return pixels

    @property
    def contexts(self) -> list[Context | None]:
        """The context of each row; None before its first stream."""
        return self._contexts

    @property
    def counts(self) -> NDArray[np.int64]:
        """Training samples of each row's current task, (N,)."""
        return self._pool_size

    def labels(self, sample: NDArray[np.int64], task: NDArray[np.int64]) -> NDArray[np.int64]:
        """Labels of training samples, (N, B), which belong to the given tasks, (N, B); without any transform."""
        labels: NDArray[np.int64] = self._local[np.arange(self.rows)[:, None], task, self._labels[sample]]
        return labels

    def offset(self, task: NDArray[np.int64]) -> NDArray[np.int64]:
        """What to add to samples so that `gather` finds them as the given tasks, (N, B), turn them."""
        offset: NDArray[np.int64] = self._offset[np.arange(self.rows)[:, None], task]
        return offset

    def evaluation_set(self, split: str, task: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """The samples that one task of each row is evaluated on.

        Args:
            split: ``"validation"`` or ``"test"`` (of the data set).
            task: a task of each row, shape (N,).

        Returns:
            Sample indices, labels within the task and weights (1 / samples, 0 for padding), each of shape (N, V).
        """
        row = np.arange(self.rows)
        size = self._set_size[split][row, task]
        # Few different numbers of samples, so that few work spaces are needed.
        most = -(-int(size.max()) // 32) * 32
        sample = np.zeros((self.rows, most), dtype=np.int64)
        held = self._sets[split][row, task, :most]
        sample[:, : held.shape[1]] = held
        label = self._local[row[:, None], task[:, None], self._labels[sample]]
        weight = (np.arange(most)[None, :] < size[:, None]) / size[:, None]
        sample = sample + self._offset[row, task][:, None]
        weights = torch.from_numpy(weight).to(self.device, self.dtype)
        return torch.from_numpy(sample).to(self.device), torch.from_numpy(label).to(self.device), weights

    def order(self, now: NDArray[np.int64], wanted: NDArray[np.int64]) -> Tensor:
        """How to gather first-layer weights that fit task `now`, so that they fit task `wanted`; (N, D + 1).

        A task's input is ``input[j] = sample[p[j]]``, so weights that are to read samples directly are
        ``V[i] = W[q[i]]`` with q the inverse of p. From one task's V to another's: ``V'[i] = V[p[q'[i]]]``.
        """
        row = np.arange(self.rows)
        pixels, other = self._pixels[row, now], self._pixels[row, wanted]
        inverse = np.argsort(other, axis=1)
        return torch.from_numpy(np.take_along_axis(pixels, inverse, axis=1)).to(self.device)

    # -- saving ------------------------------------------------------------------------------------------------------

    _STATE = (
        "seeds",
        "task_classes",
        "_contexts",
        "_pixels",
        "_offset",
        "_local",
        "_pool",
        "_pool_size",
        "_sets",
        "_set_size",
        "familiarity",
    )

    def state(self) -> dict[str, Any]:
        """A copy of everything that streams change; the samples themselves never change."""
        return {name: copy.deepcopy(getattr(self, name)) for name in self._STATE}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state` returned."""
        for name, value in state.items():
            setattr(self, name, copy.deepcopy(value))
        # Another instance may hold its rotated copies in another order.
        for row, context in enumerate(self._contexts):
            for number, task in enumerate(context.tasks if context else ()):
                self._offset[row, number] = self._bank_start(task.transform.base)
