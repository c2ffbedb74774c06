"""Files that cannot run code: JSON for structure, `weights_only` tensors for numbers.

A saved policy is two files. ``policy.json``, the manifest, says how to rebuild the network, what it sees and what it
may do; ``policy.pt`` holds its tensors. The manifest holds the checksum of the tensors, so the two belong together or
are refused. All files are written to a temporary name, flushed to the disk and renamed, so a reader never meets half a
file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MANIFEST, TENSORS = "policy.json", "policy.pt"
FORMAT = 1


class SavedFileError(ValueError):
    """A saved file that is missing, damaged, foreign or of another version."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path`, wholly or not at all.

    Raises:
        OSError: the file cannot be written; what was there before is still there.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, data: Any) -> None:
    """Write plain types as JSON, atomically."""
    write_atomically(path, (json.dumps(data, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        SavedFileError: there is no such file, or it holds no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SavedFileError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise SavedFileError(f"{path} is damaged or no JSON file: {error}") from None
    if not isinstance(data, dict):
        raise SavedFileError(f"{path} should hold a JSON object, it holds a {type(data).__name__}")
    return data


def tensor_bytes(data: Any) -> bytes:
    """Tensors in dicts, lists and plain types as the bytes that `read_tensors` reads."""
    buffer = io.BytesIO()
    torch.save(data, buffer)
    return buffer.getvalue()


def read_tensors(path: Path) -> Any:
    """What `tensor_bytes` made, read without running any code.

    Raises:
        SavedFileError: the file is missing, damaged, or holds something else than tensors and plain types.
    """
    try:
        with warnings.catch_warnings():  # torch also warns of what it then refuses
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SavedFileError(f"{path} does not exist") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SavedFileError(
            f"{path} is damaged or holds something else than tensors; nothing was run: {reason}"
        ) from None


def write_policy_files(folder: Path, manifest: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write manifest and tensors so that a reader finds a pair that belongs together at every moment.

    The new manifest waits beside the old one until the tensors are in place; `read_policy_files` takes whichever of the
    two has the checksum of the tensors.

    Raises:
        OSError: a file cannot be written.
    """
    data = tensor_bytes({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    file = {"file": TENSORS, "sha256": hashlib.sha256(data).hexdigest()}
    shapes = {name: list(value.shape) for name, value in tensors.items()}
    waiting = folder / (MANIFEST + ".new")
    write_json(waiting, {"format": FORMAT, **manifest, "tensors": {**file, "shapes": shapes}})
    write_atomically(folder / TENSORS, data)
    os.replace(waiting, folder / MANIFEST)


def read_policy_files(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Manifest and tensors of a saved policy, checked against each other.

    Raises:
        SavedFileError: a file is missing or damaged, of another format version, or the two do not belong together.
    """
    if not folder.is_dir():
        raise SavedFileError(f"{folder} is no folder with a saved policy ({MANIFEST} and {TENSORS})")
    tensors = read_tensors(folder / TENSORS)
    digest = hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest()
    waiting = folder / (MANIFEST + ".new")
    candidates = [folder / MANIFEST, *([waiting] if waiting.exists() else [])]
    manifests = [read_json(path) for path in candidates if path.exists() or path.name == MANIFEST]
    for manifest in manifests:
        _check_format(manifest, folder / MANIFEST)
        if manifest["tensors"]["sha256"] == digest:
            _check_tensors(manifest, tensors, folder / TENSORS)
            return manifest, tensors
    raise SavedFileError(f"{folder / TENSORS} is not the file that {MANIFEST} was written with: its checksum differs")


def _check_format(manifest: Mapping[str, Any], path: Path) -> None:
    if manifest.get("format") != FORMAT:
        raise SavedFileError(f"{path} has format {manifest.get('format')!r}, this version reads format {FORMAT}")
    tensors = manifest.get("tensors")
    if not isinstance(tensors, dict) or not isinstance(tensors.get("sha256"), str):
        raise SavedFileError(f"{path} is no manifest of a policy: it has no checksum of {TENSORS}")


def _check_tensors(manifest: Mapping[str, Any], tensors: Any, path: Path) -> None:
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise SavedFileError(f"{path} should hold named tensors only")
    shapes = {name: list(value.shape) for name, value in tensors.items()}
    if shapes != manifest["tensors"].get("shapes"):
        raise SavedFileError(f"{path} holds tensors of other names or shapes than {MANIFEST} says")
    broken = [name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise SavedFileError(f"{path} holds numbers that are not finite, in {', '.join(broken)}")


def load_state(module: torch.nn.Module, tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Copy tensors into a module that was rebuilt by code.

    Raises:
        SavedFileError: names or shapes differ; the message names the first few.
    """
    own = module.state_dict()
    wrong = [f"{name} is missing" for name in own if name not in tensors]
    wrong += [f"{name} is not known" for name in tensors if name not in own]
    wrong += [
        f"{name} has shape {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise SavedFileError(f"the tensors in {source} do not fit the network: {'; '.join(wrong[:3])}{more}")
    module.load_state_dict(dict(tensors))


def read_sb3_zip(path: Path) -> dict[str, Tensor]:
    """The policy's tensors in a zip file that Stable-Baselines3 saved, without unpickling the rest of it.

    Raises:
        SavedFileError: the file is missing, damaged, or holds no tensors of a policy.
    """
    from stable_baselines3.common.save_util import load_from_zip_file

    try:
        _, parameters, _ = load_from_zip_file(path, load_data=False, device="cpu")
        tensors = parameters["policy"]
    except FileNotFoundError:
        raise SavedFileError(f"{path} does not exist") from None
    except (OSError, KeyError, RuntimeError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise SavedFileError(f"{path} is damaged or no zip file of Stable-Baselines3: {error}") from None
    return dict(tensors)
