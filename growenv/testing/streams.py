"""Checks for authors of data sets and stream distributions."""

from __future__ import annotations

import json

import numpy as np
import torch

from growenv.streams import (
    DATASETS,
    DISTRIBUTIONS,
    Context,
    Dataset,
    StreamDistribution,
    Task,
    draw_context,
    load_dataset,
)
from growenv.testing.require import own_randomness, require


def check_dataset(dataset: str | Dataset) -> None:
    """Check that a data set can be trained on and found again by the contexts that name it.

    Args:
        dataset: a registered name, which is checked to give the same data every time, or an object.

    Raises:
        AssertionError: what is wrong with it.
    """
    with own_randomness(f"dataset {dataset if isinstance(dataset, str) else dataset.name!r}"):
        data = DATASETS.make(dataset)
    require(isinstance(data, Dataset), f"the factory of dataset {dataset!r} returned a {type(data).__name__}")
    if isinstance(dataset, str):
        require(data.name == dataset, f"the dataset registered as {dataset!r} calls itself {data.name!r}")
        require(DATASETS.make(dataset).fingerprint == data.fingerprint, f"dataset {dataset!r} changes between loads")
    inputs = (data.inputs[data.train].float() - data.shift) * data.scale
    where = f"dataset {data.name!r}"
    require(torch.isfinite(inputs).all(), f"{where}: the network inputs of the inner train part are not finite")
    mean, deviation = float(inputs.mean()), float(inputs.std())
    require(
        abs(mean) <= 1 and 0.1 <= deviation <= 10,
        f"{where}: network inputs have mean {mean:.3g} and deviation {deviation:.3g}; normalise them to about 0 and 1",
    )
    for part in ("train", "validation", "test"):
        present = torch.unique(data.labels[getattr(data, part)])
        require(len(present) == data.classes, f"{where}: {part} has {len(present)} of {data.classes} classes")
    if data.image_shape is not None:
        bank = data.bank(30)
        alike = bank.shape == data.inputs.shape and bank.dtype == data.inputs.dtype
        require(alike, f"{where}: bank(30) is {bank.dtype} {tuple(bank.shape)}, unlike its inputs")
        require(torch.isfinite(bank.float()).all(), f"{where}: bank(30) is not finite")


def check_distribution(
    distribution: str | StreamDistribution, dataset: str | Dataset = "digits", *, tasks: int = 4, draws: int = 40
) -> None:
    """Check that a stream distribution draws valid streams, the same ones every time, in disjoint splits.

    Args:
        distribution: a registered name or an object.
        dataset: data set to draw streams for.
        tasks: tasks of the streams.
        draws: streams that are drawn for each split.

    Raises:
        AssertionError: what is wrong with it.
    """
    drawn, data = DISTRIBUTIONS.make(distribution), load_dataset(dataset)
    require(isinstance(drawn.name, str) and drawn.name, "a stream distribution needs a non-empty name")
    if isinstance(distribution, str):
        require(drawn.name == distribution, f"the one registered as {distribution!r} calls itself {drawn.name!r}")
    where = f"stream distribution {drawn.name!r}"
    with own_randomness(where):
        for length in (1, tasks, tasks + 3):
            for ood in (False, True):
                _check_streams(drawn, data, length, ood, where)
        _check_splits(drawn, data, tasks, draws, where)


def _check_streams(drawn: StreamDistribution, data: Dataset, length: int, ood: bool, where: str) -> None:
    for seed in range(5):
        stream = drawn.draw(np.random.default_rng(seed), data, length, ood)
        kind = type(stream).__name__
        tuples = isinstance(stream, tuple) and all(isinstance(task, Task) for task in stream)
        require(tuples, f"{where} must draw a tuple of Task, got a {kind} {stream!r}")
        require(len(stream) == length, f"{where} was asked for {length} tasks and drew {len(stream)}")
        again = drawn.draw(np.random.default_rng(seed), data, length, ood)
        require(again == stream, f"{where} drew two streams from equal generators; use no other randomness or state")
        for task in stream:
            try:
                task.check(data)
            except ValueError as error:
                raise AssertionError(f"{where} drew a task that does not fit: {error}") from error


def _check_splits(drawn: StreamDistribution, data: Dataset, tasks: int, draws: int, where: str) -> None:
    found: dict[str, str] = {}
    for split in ("train", "val", "test", "ood"):
        for index in range(draws):
            try:
                context = draw_context(
                    drawn, data, split, index, tasks=tasks, budget=(0.2, 0.8), price=(0.1, 1.0), inner_seed=index
                )
            except ValueError as error:
                raise AssertionError(f"{where}: no context of split {split!r}: {error}") from error
            read = Context.from_json(json.loads(json.dumps(context.to_json())))
            require(read == context, f"{where}: context {context.id} changes on its way through JSON")
            elsewhere = found.setdefault(context.stream_id, split)
            require(elsewhere == split, f"{where}: a stream of split {split!r} is also in split {elsewhere!r}")
    require(len(found) > 4, f"{where}: {4 * draws} draws gave only {len(found)} different streams")
