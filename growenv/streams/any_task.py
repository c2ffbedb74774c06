"""Samples of any task of a stream, as the network reads its inputs now.

A sample of a stream is a *token*: the task that it comes from, and where it lies. Whoever keeps tokens needs to know
neither, and cannot read them: they are mixed up. `AnyTask.gather` turns them into inputs, whatever the current task is.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from growenv.randomness import Purpose, integers, uniform
from growenv.streams.row_data import RowData

_SHIFT = 40  # more samples than any data set has
_BITS = 62  # so tokens are never negative
_MASK = (1 << _BITS) - 1
_MIX = 0x1E3779B97F4A7C15  # odd, so that the product can be undone
_BACK = pow(_MIX, -1, 1 << _BITS)


class AnyTask:
    """Reads samples of all tasks of N streams.

    Args:
        data: the data of the rows.
    """

    def __init__(self, data: RowData) -> None:
        self.data = data
        self.forget()

    def forget(self) -> None:
        """Some rows have begun other streams."""
        self._order: Tensor | None = None
        self._now: NDArray[np.int64] | None = None
        self._pooled: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def tokens(self, samples: Tensor, task: NDArray[np.int64]) -> Tensor:
        """Tokens of samples of the rows' tasks: samples (N, B), as `RowData.minibatches` gives them, tasks (N,)."""
        return _mixed_up(samples + (torch.from_numpy(task).to(samples.device) << _SHIFT)[:, None])

    def tasks(self, tokens: Tensor) -> Tensor:
        """The task of each token, (N, B)."""
        return tasks_of(tokens)

    def gather(self, tokens: Tensor, now: NDArray[np.int64]) -> Tensor:
        """Inputs of the tokens, (N, B), under the input order of the tasks `now`, (N,): shape (N, B, D + 1)."""
        inputs = self.data.gather(places_of(tokens))
        order = self.orders(now)
        if order is None:
            return inputs
        row = torch.arange(self.data.rows, device=tokens.device)[:, None]
        return torch.gather(inputs, 2, order[row, self.tasks(tokens)])

    def orders(self, now: NDArray[np.int64]) -> Tensor | None:
        """For every task of a stream the order in which its samples are read under the tasks `now`, (N, T, D + 1).

        None where all tasks of all streams have one pixel order.
        """
        if self._now is None or not (self._now == now).all():
            self._now = now.copy()
            pixels = self.data.pixels
            # First weights for task t are V[i] = W[q[i]] with q the inverse of p[t], so a sample of task k is read as
            # s'[i] = s[p[k][q[i]]].
            inverse = np.argsort(pixels[np.arange(self.data.rows), now], axis=1)
            order = torch.from_numpy(np.take_along_axis(pixels, inverse[:, None, :], axis=2))
            plain = bool((order == torch.arange(order.shape[2])).all())
            self._order = None if plain else order.to(self.data.device)
        return self._order

    def own_order(self, now: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pixel order p of the tasks `now`, (N, D + 1): a task's input is ``input[j] = sample[p[j]]``."""
        order: NDArray[np.int64] = self.data.pixels[np.arange(self.data.rows), now]
        return order

    def draw(
        self, number: NDArray[np.int64], task: NDArray[np.int64], purpose: Purpose = Purpose.MINIBATCH
    ) -> tuple[Tensor, Tensor]:
        """Training samples of given tasks, drawn uniformly with replacement.

        Args:
            number: number of the draw in the row's episode, (N,).
            task: task of each sample, (N, B).
            purpose: what they are for.

        Returns:
            Tokens and labels, both (N, B).
        """
        data, rows = self.data, np.arange(self.data.rows)[:, None]
        sizes, pools = self._pools()
        place = integers(
            sizes[rows, task], data.seeds[:, None], purpose, number[:, None], np.arange(task.shape[1])[None, :]
        )
        sample = pools[rows, task, place]
        labels = data.labels(sample, task)
        found = _mixed_up(torch.from_numpy(sample + data.offset(task) + (task << _SHIFT)).to(data.device))
        return found, torch.from_numpy(labels).to(data.device)

    def _pools(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Training samples of every task, (N, T) counts and (N, T, most) samples."""
        if self._pooled is None:
            sizes = np.ones((self.data.rows, self.data.tasks), dtype=np.int64)
            pools = np.zeros((*sizes.shape, 1), dtype=np.int64)
            for row in range(self.data.rows):
                for task in range(self.data.length(row)):
                    pool = self.data.pool(row, task)
                    if len(pool) > pools.shape[2]:
                        wider = np.zeros((*sizes.shape, len(pool)), dtype=np.int64)
                        wider[:, :, : pools.shape[2]] = pools
                        pools = wider
                    pools[row, task, : len(pool)], sizes[row, task] = pool, len(pool)
            self._pooled = sizes, pools
        return self._pooled

    def counts(self) -> NDArray[np.int64]:
        """Training samples of every task of every row, (N, T)."""
        return self._pools()[0]

    def mixture(
        self, task: NDArray[np.int64], place: NDArray[np.float64], fuzzy: float, size: int, number: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The task of each sample of a minibatch near a boundary, (N, size).

        Neighbouring tasks are cross-faded linearly: at the boundary both are as likely.

        Args:
            task: current task of each row, (N,).
            place: how much of it is over, 0 to 1, (N,).
            fuzzy: share of a task on either side of a boundary; 0 for sharp ones.
            size: samples in the minibatch.
            number: number of the minibatch in the row's episode, (N,).
        """
        length = np.array([self.data.length(row) for row in range(self.data.rows)])
        if fuzzy == 0.0:
            return np.repeat(task[:, None], size, axis=1)
        before = np.where(task > 0, 0.5 * np.clip(1.0 - place / fuzzy, 0.0, 1.0), 0.0)
        after = np.where(task < length - 1, 0.5 * np.clip(1.0 - (1.0 - place) / fuzzy, 0.0, 1.0), 0.0)
        draw = uniform(self.data.seeds[:, None], Purpose.BOUNDARY, number[:, None], np.arange(size)[None, :])
        step = np.where(draw < before[:, None], -1, 0) + np.where(draw >= 1.0 - after[:, None], 1, 0)
        mixed: NDArray[np.int64] = task[:, None] + step
        return mixed


def tasks_of(tokens: Tensor) -> Tensor:
    """The task that each token comes from; for who trains, not for protections."""
    return _read(tokens) >> _SHIFT


def places_of(tokens: Tensor) -> Tensor:
    """Where each token lies, as `RowData.gather` wants it."""
    return _read(tokens) & ((1 << _SHIFT) - 1)


def _mixed_up(tokens: Tensor) -> Tensor:
    """Other integers, not negative, of which none tells what it was made of; `_read` undoes it."""
    tokens = (tokens * _MIX) & _MASK
    return ((tokens ^ (tokens >> _BITS // 2)) * _MIX) & _MASK


def _read(tokens: Tensor) -> Tensor:
    """The way back of `_mixed_up`."""
    tokens = (tokens * _BACK) & _MASK
    return ((tokens ^ (tokens >> _BITS // 2)) * _BACK) & _MASK
