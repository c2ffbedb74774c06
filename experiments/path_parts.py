"""Finished parts of long runs, as files that say what they are parts of: none is taken for a part of another run."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from growenv.paths import PathProblem

ABOUT = "about"
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def about(wanted: PathProblem, trial: int, **more: Any) -> str:
    """What a part of one trial is a part of; the number of other trials makes no difference.

    Args:
        wanted: the problem of the run.
        trial: number of the trial.
        more: what else the numbers of the part depend on, plain types.
    """
    return json.dumps({**wanted.to_json(), "trials": [wanted.trials[trial]], **more}, sort_keys=True)


def keep(path: Path, arrays: Mapping[str, ArrayLike]) -> None:
    """Write arrays so that whoever reads finds a whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished.npz")
    given: dict[str, Any] = dict(arrays)
    np.savez_compressed(unfinished, **given)
    unfinished.replace(path)


def keep_part(path: Path, arrays: Mapping[str, ArrayLike], said: str) -> None:
    """Write a part with what `about` said of it."""
    keep(path, {**arrays, ABOUT: np.array(said)})


def is_kept(path: Path, said: str) -> bool:
    """Whether a part has been finished.

    Raises:
        ValueError: the file is damaged, or a part of something else.
    """
    if not path.is_file():
        return False
    try:
        with np.load(path, allow_pickle=False) as file:
            found = str(file[ABOUT]) if ABOUT in file.files else ""
    except _DAMAGED as error:
        raise ValueError(f"{path} cannot be read ({type(error).__name__}: {error}); remove it") from error
    if found != said:
        raise ValueError(f"{path} was made with other settings; remove it, or give another --folder")
    return True


def read(path: Path) -> dict[str, Any]:
    """Arrays that `keep` or `keep_part` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)
