"""Data sets, transforms, tasks and the distributions that streams of tasks are drawn from."""

from __future__ import annotations

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
from growenv.streams.pooling import pooled
from growenv.streams.tasks import SPLITS, Context, Task
from growenv.streams.transforms import Transform

__all__ = [
    "DATASETS",
    "DISTRIBUTIONS",
    "SPLITS",
    "Context",
    "Dataset",
    "Mixed",
    "Permuted",
    "Rotated",
    "Split",
    "StreamDistribution",
    "Task",
    "Transform",
    "draw_context",
    "load_dataset",
    "pooled",
    "split_of",
    "stream_length",
]
