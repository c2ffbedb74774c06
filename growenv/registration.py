"""The environments' ids."""

from __future__ import annotations

import gymnasium as gym

STREAMS = {"Mixed": "mixed", "Split": "split", "Permuted": "permuted", "Rotated": "rotated"}
DATASETS = {"Digits": "digits", "MNIST": "mnist", "FashionMNIST": "fashion-mnist"}
WIDER = {"hidden": [16, 16], "max_hidden": [128, 128], "amounts": [8, 32]}
"""Sizes for images of 28x28 pixels; the defaults of `GrowthConfig` are for 8x8."""
IDS = tuple(f"growenv/{streams}{dataset}-v0" for streams in STREAMS for dataset in DATASETS)


def register_environments() -> None:
    """Register every id with Gymnasium, unless it is registered already."""
    for stream_name, streams in STREAMS.items():
        for dataset_name, dataset in DATASETS.items():
            name = f"growenv/{stream_name}{dataset_name}-v0"
            if name not in gym.registry:
                gym.register(
                    name,
                    entry_point="growenv.env:GrowthEnv",
                    vector_entry_point="growenv.vector_env:GrowthVectorEnv",
                    kwargs={"dataset": dataset, "streams": streams, **({} if dataset == "digits" else WIDER)},
                )
