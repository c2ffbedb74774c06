"""Which samples to keep: buffers of fixed size, filled by three rules, for N rows at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from growenv.randomness import Purpose, integers, uniform

# First counters after the purpose: numbers drawn for one thing are never drawn for another.
_INSERT, _DRAW, _PRIORITY = 1, 2, 3


class Exemplars:
    """At most `capacity` samples of each row, as their numbers in the resident data and their right outputs.

    Args:
        rows: number of rows N.
        capacity: samples that a row may hold B.
        outputs: outputs of a head C.

    Attributes:
        samples, outputs: what is held, int64 (N, B); the first `counts` places of a row are in use.
        counts: samples held by each row, (N,).
    """

    def __init__(self, rows: int, capacity: int, outputs: int) -> None:
        self.capacity = capacity
        self.samples: NDArray[np.int64] = np.zeros((rows, capacity), dtype=np.int64)
        self.outputs: NDArray[np.int64] = np.zeros((rows, capacity), dtype=np.int64)
        self.counts: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)

    def clear(self, rows: NDArray[np.bool_]) -> None:
        """Empty the buffers of some rows."""
        self.counts[rows] = 0

    def insert(
        self,
        samples: NDArray[np.int64],
        outputs: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        steps: NDArray[np.int64],
    ) -> None:
        """Offer the samples of one minibatch, in their order.

        Args:
            samples: numbers in the resident data, (N, b).
            outputs: the right output of each, (N, b).
            seeds: seed of every row, (N,).
            steps: number of the minibatch in each row's stream, (N,).
        """

    def draw(
        self, count: int, seeds: NDArray[np.uint64], steps: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Some of the samples held, drawn uniformly with replacement, and their outputs, both (N, count).

        Rows that hold none answer anything. Arguments as in `insert`.
        """
        bound = np.maximum(self.counts, 1)[:, None]
        place = integers(bound, seeds[:, None], Purpose.PROTECTION, _DRAW, steps[:, None], np.arange(count))
        return np.take_along_axis(self.samples, place, 1), np.take_along_axis(self.outputs, place, 1)


class Reservoir(Exemplars):
    """A uniform sample of all that was offered (Vitter 1985, "Random sampling with a reservoir", algorithm R).

    Offer number m is held if m <= B; later ones draw j from 1..m and take place j if j <= B.
    """

    def __init__(self, rows: int, capacity: int, outputs: int) -> None:
        super().__init__(rows, capacity, outputs)
        self.offered: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)

    def clear(self, rows: NDArray[np.bool_]) -> None:
        """Empty the buffers of some rows."""
        super().clear(rows)
        self.offered[rows] = 0

    def insert(
        self,
        samples: NDArray[np.int64],
        outputs: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        steps: NDArray[np.int64],
    ) -> None:
        """Offer the samples of one minibatch, in their order; arguments as in `Exemplars.insert`."""
        position = np.arange(samples.shape[1])
        number = self.offered[:, None] + 1 + position
        draw = uniform(seeds[:, None], Purpose.PROTECTION, _INSERT, steps[:, None], position)
        place = np.where(number <= self.capacity, number - 1, (draw * number).astype(np.int64))
        row, taken = np.nonzero(place < self.capacity)
        # Where a place is taken twice, the later sample stays: an assignment leaves the last value.
        self.samples[row, place[row, taken]] = samples[row, taken]
        self.outputs[row, place[row, taken]] = outputs[row, taken]
        self.offered += samples.shape[1]
        self.counts = np.minimum(self.offered, self.capacity)


class Balanced(Exemplars):
    """A uniform sample of every output, all equally large as far as there were offers.

    With n_c offers of output c, each output holds min(n_c, L) of them, where L is the largest number with which all
    fit. So L is at least the quota floor(B / outputs seen), and what has to go is taken from the largest. Each offer
    has a random priority and an output holds those with the least: a sample without replacement that does not depend on
    the order. The balance is that of Chrysakis and Moens 2020, "Online continual learning from imbalanced data".
    """

    def __init__(self, rows: int, capacity: int, outputs: int) -> None:
        super().__init__(rows, capacity, outputs)
        self.offered: NDArray[np.int64] = np.zeros((rows, outputs), dtype=np.int64)
        # Output plus priority, in rising order; infinite where nothing is held.
        self._keys = np.full((rows, capacity), np.inf)

    def clear(self, rows: NDArray[np.bool_]) -> None:
        """Empty the buffers of some rows."""
        super().clear(rows)
        self.offered[rows], self._keys[rows] = 0, np.inf

    def insert(
        self,
        samples: NDArray[np.int64],
        outputs: NDArray[np.int64],
        seeds: NDArray[np.uint64],
        steps: NDArray[np.int64],
    ) -> None:
        """Offer the samples of one minibatch; arguments as in `Exemplars.insert`.

        Raises:
            ValueError: more outputs than samples.
        """
        (rows, size), kinds = samples.shape, self.offered.shape[1]
        priority = uniform(seeds[:, None], Purpose.PROTECTION, _PRIORITY, steps[:, None], np.arange(size))
        held = np.minimum(self.offered, level(self.offered, self.capacity)[:, None])
        flat = np.arange(rows)[:, None] * kinds + outputs
        new = np.bincount(flat.reshape(-1), minlength=rows * kinds).reshape(rows, kinds)
        self.offered += new
        limit, seen = level(self.offered, self.capacity), int((self.offered > 0).sum(axis=1).max())
        if seen > self.capacity:
            raise ValueError(
                f"capacity {self.capacity} has no room for samples of {seen} outputs; give at least {seen}"
            )
        keys = np.concatenate((self._keys, outputs + priority), axis=1)
        order = np.argsort(keys, axis=1, kind="stable")  # fast where much is in order already
        keys = np.take_along_axis(keys, order, 1)
        first = np.cumsum(held + new, axis=1) - held - new
        kind = np.where(np.isfinite(keys), keys, 0.0).astype(np.int64)
        rank = np.arange(keys.shape[1]) - np.take_along_axis(first, kind, 1)
        kept = np.isfinite(keys) & (rank < limit[:, None])
        row, taken = np.nonzero(kept)
        place = (np.cumsum(kept, axis=1) - 1)[row, taken]
        source = order[row, taken]
        every = np.concatenate((self.samples, samples), axis=1)
        self._keys.fill(np.inf)
        self._keys[row, place] = keys[row, taken]
        self.samples[row, place] = every[row, source]
        self.outputs[row, place] = kind[row, taken]
        self.counts = kept.sum(axis=1)


class TaskEnd(Exemplars):
    """An equal share of every finished task, chosen at random when the task ends (the memory of GT-RIPL's benchmark).

    With t finished tasks each holds at most floor(B / t) different samples; older tasks give up the rest at random.

    Attributes:
        sizes: samples held of each finished task, for each row.
    """

    def __init__(self, rows: int, capacity: int, outputs: int) -> None:
        super().__init__(rows, capacity, outputs)
        self.sizes: list[list[int]] = [[] for _ in range(rows)]

    def clear(self, rows: NDArray[np.bool_]) -> None:
        """Empty the buffers of some rows."""
        super().clear(rows)
        for row in np.flatnonzero(rows):
            self.sizes[row] = []

    def quota(self, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Samples that each finished task may hold once some rows have finished one more, (N,); 0 for other rows.

        Raises:
            ValueError: more tasks than samples.
        """
        finished = np.array([len(sizes) + 1 for sizes in self.sizes])
        most = int(np.max(finished, initial=0, where=rows))
        if most > self.capacity:
            raise ValueError(f"capacity {self.capacity} has no room for samples of {most} tasks; give at least {most}")
        return np.where(rows, self.capacity // finished, 0)

    def keep(self, rows: NDArray[np.bool_], samples: NDArray[np.int64], outputs: NDArray[np.int64]) -> None:
        """Take a share of the task that some rows finish.

        Args:
            rows: which rows, (N,).
            samples: samples of that task in random order, repetitions too, (N, K).
            outputs: the right output of each, (N, K).
        """
        quota = self.quota(rows)
        for row in np.flatnonzero(rows):
            starts = np.cumsum([0, *self.sizes[row]])
            sizes = [min(size, int(quota[row])) for size in self.sizes[row]]
            # A task's samples are in random order, so its first ones are a random choice.
            old = [np.arange(start, start + size) for start, size in zip(starts, sizes, strict=False)]
            fresh = np.sort(np.unique(samples[row], return_index=True)[1])[: quota[row]]
            for table, given in ((self.samples, samples), (self.outputs, outputs)):
                held = np.concatenate([*(table[row, part] for part in old), given[row, fresh]])
                table[row, : len(held)] = held
            self.sizes[row] = [*sizes, len(fresh)]
            self.counts[row] = sum(self.sizes[row])


def level(offered: NDArray[np.int64], capacity: int) -> NDArray[np.int64]:
    """The largest L with which ``sum_c min(offered_c, L)`` is at most `capacity`, (N,); the most offers if all fit.

    Args:
        offered: how many there are of each kind, (N, C).
        capacity: how many there may be.
    """
    rising = np.sort(offered, axis=1)
    # With the j smallest kinds whole, the others share what is left.
    before = np.cumsum(rising, axis=1) - rising
    others = np.arange(offered.shape[1], 0, -1)
    candidates = (capacity - before) // others
    short = candidates < rising
    first = short.argmax(axis=1)
    found = np.take_along_axis(candidates, first[:, None], 1)[:, 0]
    return np.where(short.any(axis=1), found, rising[:, -1])
