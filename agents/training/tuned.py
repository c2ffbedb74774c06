"""Hyper-parameters that `agents.tune_agent` found, as a file that `train_agent.py --tuned` reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.saving import SavedFileError, read_json
from growenv.registry import unknown_name

MINIBATCHES = "minibatches"


def changed(
    options: Mapping[str, Any],
    architecture: Mapping[str, Any],
    changes: Mapping[str, Any],
    network: Mapping[str, Any],
    rows: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `agents.hyperparameters.hyperparameters` returned, with some entries replaced.

    Args:
        options: hyper-parameters.
        architecture: the network.
        changes: hyper-parameters to replace; ``minibatches`` is how many a roll-out is cut into, or the next smaller
            number that divides it.
        network: entries of the architecture to replace.
        rows: rows of the environment N.

    Raises:
        UnknownNameError: the algorithm has no such hyper-parameter, or the network no such entry.
        ValueError: the number of minibatches is no positive whole number.
    """
    known = (*options, *([MINIBATCHES] if {"batch_size", "n_steps"} <= set(options) else []))
    for name in changes:
        if name not in known:
            raise unknown_name("hyper-parameter", name, known)
    for name in network:
        if name not in architecture:
            raise unknown_name("entry of the architecture", name, architecture)
    new = {**options, **{name: value for name, value in changes.items() if name != MINIBATCHES}}
    if MINIBATCHES in changes:
        wanted = changes[MINIBATCHES]
        if type(wanted) is not int or wanted < 1:
            raise ValueError(f"minibatches={wanted!r}: expected a whole number of at least 1")
        samples = rows * int(new["n_steps"])
        new["batch_size"] = samples // next(
            count for count in range(wanted, 0, -1) if samples % count == 0 and (samples // count >= 2 or count == 1)
        )
    return new, {**architecture, **network}


def read_tuned(path: str | Path, algo: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The hyper-parameters and the network that a file of `agents.tune_agent` holds.

    Args:
        path: the file.
        algo: the algorithm that they are for.

    Raises:
        SavedFileError: the file is missing, damaged, or for another algorithm.
    """
    data = read_json(Path(path))
    hyperparameters, architecture = data.get("hyperparameters"), data.get("architecture")
    if not isinstance(hyperparameters, dict) or not isinstance(architecture, dict):
        raise SavedFileError(f"{path} is no file of agents.tune_agent: it has no hyperparameters and architecture")
    if data.get("algo") != algo:
        raise SavedFileError(f"{path} was tuned for {data.get('algo')!r}, not {algo!r}; add --algo {data.get('algo')}")
    return hyperparameters, architecture
