"""Results of long searches, kept in files by the hash of all that they depend on.

A search is a function of its arguments, so the same one is played only once. A file is named by the hash of its
request: the version of growenv, the environment, the kind of work, its settings and the contexts that are played. It
holds JSON only, and the request besides the result, so that a file can be checked and is never mistaken for another.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from agents.saving import SavedFileError, read_json, write_json
from growenv.config import GrowthConfig
from growenv.streams.tasks import Context
from growenv.version import __version__

FORMAT = 1
"""Raised whenever a search would give another result for the same request; older files are then not read."""

ADDED_SINCE = ("prune", "scenario", "loss", "precision")
"""Options that are younger than `FORMAT`. At their defaults nothing has changed, so what was found still counts."""

Request = dict[str, Any]
T = TypeVar("T")


def request(
    kind: str, config: GrowthConfig, contexts: Sequence[Context], make_env: Callable[..., Any], **settings: Any
) -> Request | None:
    """All that a result depends on, as plain types; None if it cannot be written down.

    The configuration's split is left out, because the contexts say what is played.

    Args:
        kind: kind of work.
        config: the environment.
        contexts: the contexts that are played, in order.
        make_env: builds the environment, as in `agents.evaluation.play`; it is written down by its name, so what has
            none, or was made within a function, cannot be.
        settings: what else the result depends on; plain JSON types.
    """
    name = getattr(make_env, "__qualname__", "<object>")
    try:
        options = config.to_json()
    except ValueError:  # an object in the configuration
        return None
    if "<" in name:
        return None
    del options["split"]
    for later in ADDED_SINCE:
        if getattr(config, later) == getattr(GrowthConfig, later):
            del options[later]
    played = hashlib.sha256("".join(context.id for context in contexts).encode()).hexdigest()
    written: Request = {
        "format": FORMAT,
        "growenv": __version__,
        "kind": kind,
        "config": options,
        "contexts": {"count": len(contexts), "sha256": played},
        "env": f"{make_env.__module__}.{name}",
        "settings": settings,
    }
    plain: Request = json.loads(_canonical(written))  # as a reader of the file will see it
    return plain


def key(asked: Request) -> str:
    """Name of the file of a request: its SHA-256."""
    return hashlib.sha256(_canonical(asked).encode()).hexdigest()


def _canonical(data: Any) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class SearchCache:
    """Folders of results.

    Attributes:
        folder: where results are read and written; made when the first one is written.
        shipped: a second folder that is only read; None if there is none.
    """

    folder: Path
    shipped: Path | None = None

    def read(self, asked: Request) -> Any:
        """The result of a request, or None; a file that holds something else is passed over, with a warning."""
        for folder in (self.folder, self.shipped):
            path = None if folder is None else folder / f"{key(asked)}.json"
            if path is None or not path.exists():
                continue
            try:
                data = read_json(path)
            except SavedFileError as error:
                _passed_over(str(error))
                continue
            if set(data) == {"request", "result"} and data["request"] == asked and data["result"] is not None:
                return data["result"]
            _passed_over(f"{path} holds another search than its name says")
        return None

    def write(self, asked: Request, result: Any) -> None:
        """Keep the result of a request, wholly or not at all.

        Raises:
            OSError: the file cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / f"{key(asked)}.json", {"request": asked, "result": result})


def cached(
    cache: SearchCache | None,
    asked: Request | None,
    compute: Callable[[], T],
    encode: Callable[[T], Any],
    decode: Callable[[Any], T],
) -> T:
    """The kept result of a request, or else the computed one, which is then kept.

    Args:
        cache: where results are kept; None: nowhere.
        asked: what `request` returned; None: this is not kept.
        compute: works the result out.
        encode: the result as plain JSON types.
        decode: the result that `encode` wrote; it must raise ValueError, TypeError, KeyError or AttributeError for what
            is none.
    """
    if cache is None or asked is None:
        return compute()
    kept = cache.read(asked)
    if kept is not None:
        try:
            return decode(kept)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            _passed_over(f"the kept result {key(asked)} cannot be read: {error}")
    result = compute()
    cache.write(asked, encode(result))
    return result


def _passed_over(reason: str) -> None:
    warnings.warn(f"{reason}; it is worked out again", stacklevel=4)
