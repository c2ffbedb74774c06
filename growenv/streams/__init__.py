"""Data sets, transforms, tasks and the distributions that streams of tasks are drawn from."""

from __future__ import annotations

from growenv.streams.backgrounds import before_noise
from growenv.streams.datasets import DATASETS, Dataset, load_dataset
from growenv.streams.distributions import (
    DISTRIBUTIONS,
    Mixed,
    Permuted,
    Rotated,
    Split,
    StreamDistribution,
    draw_context,
    split_of,
    stream_length,
)
from growenv.streams.notes import data_note
from growenv.streams.pooling import pooled
from growenv.streams.scenarios import SCENARIOS, NotVisibleError, Scenario
from growenv.streams.tasks import SPLITS, Context, Task
from growenv.streams.transforms import Transform

__all__ = [
    "DATASETS",
    "DISTRIBUTIONS",
    "SCENARIOS",
    "SPLITS",
    "Context",
    "Dataset",
    "Mixed",
    "NotVisibleError",
    "Permuted",
    "Rotated",
    "Scenario",
    "Split",
    "StreamDistribution",
    "Task",
    "Transform",
    "before_noise",
    "data_note",
    "draw_context",
    "load_dataset",
    "pooled",
    "split_of",
    "stream_length",
]
