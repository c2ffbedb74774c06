"""What happened so far in every row's episode: what observations, rewards and infos are read from."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from growenv import metrics
from growenv.streams import Context
from growenv.training_report import TrainingReport

Growth = tuple[int, int, int, int]
"""One entry of a growth log: decision of the stream, task, hidden layer, neurons (negative where they were pruned)."""


class Episodes:
    """The course of N episodes.

    Args:
        rows: number of rows N.
        tasks: most tasks of a stream T.
        classes: outputs of a head.

    Attributes:
        contexts: context of each row.
        lengths: tasks of each row's stream, (N,).
        decisions, task_decisions: decisions taken in the stream and in the current task, (N,).
        since_growth: decisions since the last growth in this task, or since the task began, (N,).
        accuracies: validation accuracy on each task, (N, T), 0 where it has not been trained on.
        trained: which tasks have been trained on, (N, T).
        gain: change of the current task's accuracy by the last decision, (N,); its whole accuracy at the first.
        validation_loss, early_loss, late_loss, confidence: what the last decision's training showed, (N,).
        used, used_at_start: share of capacity in use, now and when the stream began, (N,).
        outputs: classes of the tasks that have begun, (N, T).
        seen: classes among which an answer is chosen, (N,); 0 where these are those of the sample's own task.
        matrix: inner-test accuracy on task j after task i, (N, T, T); NaN where not measured.
        untrained: inner-test accuracy on each task before any training, (N, T); NaN where not measured.
        ended, diverged: whether the episode is over, and whether that is because the network diverged, (N,).
        growth: growth log of each row.
        history: validation accuracy on the current task after each decision, by task, of each row.
    """

    def __init__(self, rows: int, tasks: int, classes: int) -> None:
        self.rows, self.tasks, self.classes = rows, tasks, classes
        self.contexts: list[Context] = []
        self.growth: list[list[Growth]] = [[] for _ in range(rows)]
        self.history: list[list[tuple[int, float]]] = [[] for _ in range(rows)]
        self.lengths = np.ones(rows, dtype=np.int64)
        self.decisions = np.zeros(rows, dtype=np.int64)
        self.task_decisions = np.zeros(rows, dtype=np.int64)
        self.since_growth = np.zeros(rows, dtype=np.int64)
        self.accuracies = np.zeros((rows, tasks))
        self.trained = np.zeros((rows, tasks), dtype=np.bool_)
        self.gain = np.zeros(rows)
        self.validation_loss = np.zeros(rows)
        self.early_loss = np.zeros(rows)
        self.late_loss = np.zeros(rows)
        self.confidence = np.zeros(rows)
        self.used = np.zeros(rows)
        self.used_at_start = np.zeros(rows)
        self.outputs = np.zeros((rows, tasks), dtype=np.int64)
        self.seen = np.zeros(rows, dtype=np.int64)
        self.matrix = np.full((rows, tasks, tasks), np.nan)
        self.untrained = np.full((rows, tasks), np.nan)
        self.ended = np.ones(rows, dtype=np.bool_)
        self.diverged = np.zeros(rows, dtype=np.bool_)

    def begin(self, rows: NDArray[np.bool_], contexts: list[Context]) -> None:
        """Forget the episodes of some rows and give these rows their new contexts."""
        self.contexts = contexts
        for row in np.flatnonzero(rows):
            self.growth[row], self.history[row] = [], []
            self.lengths[row] = len(contexts[row].tasks)
        for name in ("decisions", "task_decisions", "since_growth", "accuracies", "gain", "validation_loss"):
            getattr(self, name)[rows] = 0
        for name in ("early_loss", "late_loss", "confidence", "outputs", "seen"):
            getattr(self, name)[rows] = 0
        for name in ("trained", "ended", "diverged"):
            getattr(self, name)[rows] = False
        self.matrix[rows], self.untrained[rows] = np.nan, np.nan

    @property
    def budget(self) -> NDArray[np.float64]:
        """Share of capacity that each row may use, (N,)."""
        return np.array([context.budget for context in self.contexts])

    @property
    def price(self) -> NDArray[np.float64]:
        """Reward lost for each unit of share, (N,)."""
        return np.array([context.price for context in self.contexts])

    @property
    def mean_accuracy(self) -> NDArray[np.float64]:
        """Mean validation accuracy over the tasks of each row's stream, those not yet trained counting 0, (N,)."""
        mean: NDArray[np.float64] = self.accuracies.sum(axis=1) / self.lengths
        return mean

    def choices(self, task: NDArray[np.int64]) -> NDArray[np.int64]:
        """Classes among which the answer to a sample of a task of each row, (N,), is chosen, (N,)."""
        return np.where(self.seen > 0, self.seen, self.outputs[np.arange(self.rows), task])

    def record_growth(self, task: NDArray[np.int64], layer: NDArray[np.int64], amount: NDArray[np.int64]) -> None:
        """Log one decision's growth; an amount of 0 is no growth. Rows that have ended stay as they are."""
        self.since_growth = self.since_growth + ~self.ended
        self.log_growth(task, layer, amount)

    def log_growth(self, task: NDArray[np.int64], layer: NDArray[np.int64], amount: NDArray[np.int64]) -> None:
        """Log growth that is part of a decision."""
        for row in np.flatnonzero(amount):
            entry = (self.decisions[row], task[row], layer[row], amount[row])
            self.growth[row].append((int(entry[0]), int(entry[1]), int(entry[2]), int(entry[3])))
        self.since_growth = np.where(amount > 0, 0, self.since_growth)

    def record_training(
        self,
        task: NDArray[np.int64],
        report: TrainingReport,
        accuracy: NDArray[np.float64],
        loss: NDArray[np.float64],
        live: NDArray[np.bool_],
    ) -> None:
        """Take over what a decision's training and validation showed, for the rows that are live."""
        row = np.flatnonzero(live)
        now = task[row]
        broken = ~(np.isfinite(report.loss) & np.isfinite(loss))
        self.diverged = np.where(live, broken, self.diverged)
        self.gain[row] = accuracy[row] - self.accuracies[row, now]
        self.accuracies[row, now] = accuracy[row]
        self.trained[row, now] = True
        for name, value in (("early_loss", report.early_loss), ("late_loss", report.late_loss)):
            getattr(self, name)[row] = value[row]
        self.confidence[row], self.validation_loss[row] = report.confidence[row], loss[row]
        for n in row:
            self.history[n].append((int(task[n]), float(accuracy[n])))
        self.decisions[row] += 1
        self.task_decisions[row] += 1

    def final_figures(self) -> dict[str, NDArray[np.float64]]:
        """Metrics of the finished streams from their accuracy matrices on inner-test data, each of shape (N,).

        They are 0 where a stream has not ended or its network diverged, and so is forward transfer where it was not
        measured.
        """
        figures = {name: np.zeros(self.rows) for name in ("acc", "bwt", "fwt", "forgetting")}
        done = self.ended & ~self.diverged
        for length in np.unique(self.lengths[done]):
            rows = done & (self.lengths == length)
            matrix = self.matrix[rows, :length, :length]
            figures["acc"][rows] = metrics.average_accuracy(matrix)
            figures["bwt"][rows] = metrics.backward_transfer(matrix)
            figures["fwt"][rows] = np.nan_to_num(metrics.forward_transfer(matrix, self.untrained[rows, :length]))
            figures["forgetting"][rows] = metrics.forgetting(matrix)
        return figures

    def growth_log(self, row: int) -> str:
        """The growth log of a row as JSON: a list of [decision, task, layer, neurons]."""
        return json.dumps(self.growth[row])
