"""Files that cannot run code: what is refused, and what survives."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import PPO

from agents import saving
from agents.learned import build, describe, load_policy, save_policy
from agents.saving import (
    SavedFileError,
    read_json,
    read_sb3_zip,
    read_tensors,
    tensor_bytes,
    write_atomically,
    write_json,
)
from agents.spaces import space_from_json, space_to_json
from growenv.sb3 import as_vec_env
from tests.scripted_env import ScriptedVectorEnv

ARCHITECTURE = {"net_arch": [8], "activation": "tanh"}


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with a saved policy."""
    env = as_vec_env(ScriptedVectorEnv())
    model = build("ppo", env, 0, architecture=ARCHITECTURE)
    folder = tmp_path / "policy"
    folder.mkdir()
    save_policy(folder, (model.policy, describe("ppo", ARCHITECTURE, env)))
    return folder


def edit(folder: Path, **entries: Any) -> None:
    """Change entries of a manifest."""
    manifest = json.loads((folder / "policy.json").read_text())
    (folder / "policy.json").write_text(json.dumps(manifest | entries))


# --- files -------------------------------------------------------------------------------------------------------


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "file", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_json_without_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file.json", {"a": float("nan")})


@pytest.mark.parametrize(("text", "message"), [("{", "damaged"), ("[1]", "JSON object"), ("\x00", "damaged")])
def test_damaged_json_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(SavedFileError, match=rf"file\.json .*{message}"):
        read_json(tmp_path / "file.json")


def test_tensors_round_trip(tmp_path: Path) -> None:
    data = {"a": torch.arange(3), "b": [1, 2.5, None, "x"], "c": {"d": torch.zeros(2, 2, dtype=torch.bool)}}
    (tmp_path / "file").write_bytes(tensor_bytes(data))
    loaded = read_tensors(tmp_path / "file")
    assert torch.equal(loaded["a"], data["a"])
    assert loaded["b"] == data["b"]
    assert torch.equal(loaded["c"]["d"], data["c"]["d"])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"garbage" * 100, pickle.dumps({"a": 1})])
def test_damaged_tensors_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(SavedFileError, match="damaged"):
        read_tensors(tmp_path / "file")


def test_truncated_tensors_are_refused(saved: Path) -> None:
    data = (saved / "policy.pt").read_bytes()
    (saved / "policy.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(SavedFileError, match=r"policy\.pt is damaged"):
        load_policy(saved)


def test_a_hostile_pickle_is_refused_without_running(saved: Path, tmp_path: Path) -> None:
    mark = tmp_path / "fired"
    for content in (pickle.dumps(Hostile(mark)), tensor_bytes({"a": torch.zeros(1), "b": Hostile(mark)})):
        (saved / "policy.pt").write_bytes(content)
        with pytest.raises(SavedFileError, match="nothing was run"):
            load_policy(saved)
        assert not mark.exists()
    torch.load(saved / "policy.pt", weights_only=False)
    assert mark.exists()  # the payload was a real one


# --- policies ----------------------------------------------------------------------------------------------------


def test_a_saved_policy_has_a_manifest_that_describes_it(saved: Path) -> None:
    manifest = json.loads((saved / "policy.json").read_text())
    assert manifest["format"] == 1
    assert manifest["algorithm"] == "ppo"
    assert manifest["architecture"] == ARCHITECTURE
    assert manifest["tensors"]["shapes"]["action_net.weight"] == [4, 8]
    assert sorted(path.name for path in saved.iterdir()) == ["policy.json", "policy.pt"]


def test_another_checksum_is_refused(saved: Path) -> None:
    tensors = read_tensors(saved / "policy.pt")
    tensors["action_net.bias"] += 1
    (saved / "policy.pt").write_bytes(tensor_bytes(tensors))
    with pytest.raises(SavedFileError, match="checksum differs"):
        load_policy(saved)


def test_a_crash_between_the_two_files_leaves_a_policy_that_loads(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, manifest = load_policy(saved).module, load_policy(saved).manifest
    before = module.state_dict()["action_net.bias"].clone()
    replace, calls = os.replace, []

    def killed(source: Any, target: Any) -> None:
        calls.append(str(target))
        if len(calls) == crash:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(saving.os, "replace", killed)
    for crash in (1, 2, 3):
        calls.clear()
        module.state_dict()["action_net.bias"].copy_(before + crash)
        with pytest.raises(KeyboardInterrupt):
            save_policy(saved, (module, manifest))
        found = load_policy(saved).module.state_dict()["action_net.bias"] - before
        assert torch.equal(found, torch.full_like(found, 3.0 if crash == 3 else 0.0))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"format": 99}, "format 99"),
        ({"tensors": {}}, "checksum"),
        ({"algorithm": "pppo"}, "did you mean 'ppo'"),
        ({"architecture": {"net_arch": [10**9]}}, "sizes from 1 to 4096"),
        ({"architecture": {"net_arch": [16]}}, "do not fit the network"),
        ({"architecture": {"nett_arch": [16]}}, "did you mean 'net_arch'"),
        ({"architecture": {"activation": "exec"}}, "unknown activation"),
        ({"architecture": None}, "does not describe a policy"),
        ({"action_space": {"type": "box", "shape": [10**9], "dtype": "float32", "low": 0, "high": 1}}, "not supported"),
        ({"action_space": {"type": "discrete"}}, "description of a space is damaged"),
        ({"action_names": ["wait"]}, "names 1 actions"),
        ({"feature_names": {"task": ["a", "b"]}}, "features in the groups"),
    ],
)
def test_a_damaged_or_foreign_manifest_is_refused(saved: Path, entries: dict[str, Any], message: str) -> None:
    edit(saved, **entries)
    with pytest.raises(SavedFileError, match=message):
        load_policy(saved)


def test_a_manifest_without_an_entry_is_refused(saved: Path) -> None:
    manifest = json.loads((saved / "policy.json").read_text())
    del manifest["observation_space"]
    (saved / "policy.json").write_text(json.dumps(manifest))
    with pytest.raises(SavedFileError, match="lacks 'observation_space'"):
        load_policy(saved)


def test_missing_files_are_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(SavedFileError, match="no folder with a saved policy"):
        load_policy(tmp_path / "nothing")
    (saved / "policy.json").rename(saved / "elsewhere.json")
    with pytest.raises(SavedFileError, match=r"policy\.json does not exist"):
        load_policy(saved)
    (saved / "policy.pt").unlink()
    with pytest.raises(SavedFileError, match=r"policy\.pt does not exist"):
        load_policy(saved)


def test_numbers_that_are_not_finite_are_refused(saved: Path) -> None:
    policy = load_policy(saved)
    policy.module.state_dict()["value_net.bias"].fill_(float("nan"))
    save_policy(saved, policy)
    with pytest.raises(SavedFileError, match=r"not finite, in value_net\.bias"):
        load_policy(saved)


def test_loading_leaves_the_global_generators_alone(saved: Path) -> None:
    before = torch.get_rng_state(), pickle.dumps(np.random.get_state())
    load_policy(saved)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == pickle.dumps(np.random.get_state())


# --- zip files of Stable-Baselines3 ---------------------------------------------------------------------------------


def test_a_hostile_zip_gives_its_weights_without_firing(tmp_path: Path) -> None:
    import base64

    model = PPO("MultiInputPolicy", as_vec_env(ScriptedVectorEnv()), n_steps=4, batch_size=4, device="cpu")
    model.save(tmp_path / "good.zip")
    payload = base64.b64encode(pickle.dumps(Hostile(tmp_path / "fired"))).decode()
    with zipfile.ZipFile(tmp_path / "good.zip") as good, zipfile.ZipFile(tmp_path / "bad.zip", "w") as bad:
        for name in good.namelist():
            data = good.read(name)
            if name == "data":
                data = json.dumps({"policy_class": {":type:": "x", ":serialized:": payload}}).encode()
            bad.writestr(name, data)
    tensors = read_sb3_zip(tmp_path / "bad.zip")
    assert not (tmp_path / "fired").exists()
    assert all(torch.equal(value, tensors[name]) for name, value in model.policy.state_dict().items())


def test_a_damaged_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with pytest.raises(SavedFileError, match="no zip file"):
        read_sb3_zip(tmp_path / "bad.zip")
    with pytest.raises(SavedFileError, match="does not exist"):
        read_sb3_zip(tmp_path / "none.zip")


# --- spaces --------------------------------------------------------------------------------------------------------

BOXES = st.tuples(
    st.lists(st.integers(1, 3), min_size=1, max_size=2),
    st.sampled_from([(-1.0, 1.0), (0.0, np.inf), (-np.inf, np.inf)]),
    st.sampled_from([np.float32, np.float64]),
).map(lambda parts: spaces.Box(parts[1][0], parts[1][1], tuple(parts[0]), parts[2]))
SPACES = st.one_of(
    BOXES,
    st.integers(1, 9).map(spaces.Discrete),
    st.lists(st.integers(1, 5), min_size=1, max_size=3).map(spaces.MultiDiscrete),
    st.integers(1, 5).map(spaces.MultiBinary),
    st.dictionaries(st.sampled_from("abc"), BOXES, min_size=1).map(spaces.Dict),
)


@given(SPACES)
def test_spaces_round_trip_through_json(space: spaces.Space[Any]) -> None:
    assert space_from_json(json.loads(json.dumps(space_to_json(space), allow_nan=False))) == space


def test_bounds_of_every_entry_round_trip() -> None:
    space = spaces.Box(np.array([-1.0, -np.inf], np.float32), np.array([np.inf, 2.0], np.float32))
    assert space_from_json(space_to_json(space)) == space


def test_a_space_that_cannot_be_saved_is_named() -> None:
    with pytest.raises(ValueError, match="Text space cannot be saved"):
        space_to_json(spaces.Text(3))


@pytest.mark.parametrize(
    "data", [None, {}, {"type": "spam"}, {"type": "box", "shape": [2], "dtype": "O", "low": 0, "high": 1}]
)
def test_a_damaged_space_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match=r"damaged|unknown kind|not supported"):
        space_from_json(data)
