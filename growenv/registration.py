"""The environments' ids."""

from __future__ import annotations

import gymnasium as gym

STREAMS = {"Mixed": "mixed", "Split": "split", "Permuted": "permuted", "Rotated": "rotated"}
DATASETS = {"Digits": "digits", "MNIST": "mnist", "FashionMNIST": "fashion-mnist"}
IMAGES = {
    "input_pool": 14,
    "hidden": [8, 8],
    "max_hidden": [128, 128],
    "amounts": [8, 32],
    "meter": "mosaic-mnist",
    "budget": [0.3, 0.7],
}
"""For images of 28x28 pixels, averaged down to what the hardware can hear; `GrowthConfig` has defaults for 8x8."""
IDS = tuple(f"growenv/{streams}{dataset}-v1" for streams in STREAMS for dataset in DATASETS)
"""Networks that grow on streams of tasks: `GrowthEnv`."""
PATHS = {"growenv/DigitsPaths-v0": "digits", "growenv/FashionMNISTPaths-v0": "fashion-mnist"}
"""Orders of growth, tabulated: `PathsEnv`, and the names of their tables."""


def register_environments() -> None:
    """Register every id with Gymnasium, unless it is registered already."""
    for stream_name, streams in STREAMS.items():
        for dataset_name, dataset in DATASETS.items():
            name = f"growenv/{stream_name}{dataset_name}-v1"
            if name not in gym.registry:
                gym.register(
                    name,
                    entry_point="growenv.env:GrowthEnv",
                    vector_entry_point="growenv.vector_env:GrowthVectorEnv",
                    kwargs={"dataset": dataset, "streams": streams, **({} if dataset == "digits" else IMAGES)},
                )
    for name, table in PATHS.items():
        if name not in gym.registry:
            gym.register(
                name,
                entry_point="growenv.paths.env:PathsEnv",
                vector_entry_point="growenv.paths.vector_env:PathsVectorEnv",
                kwargs={"table": table},
            )
