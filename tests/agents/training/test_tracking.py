"""Experiment trackers, with small packages in place of the real ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from agents.training.tracking import track, tracker_module

SETTING = {"algo": "ppo", "hyperparameters": {"learning_rate": 0.5}}


class Recorded:
    """Stands for a package: notes every call by the name of the function."""

    def __init__(self, broken: str = "") -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.broken = broken

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*arguments: Any, **options: Any) -> Any:
            if name == self.broken:
                raise RuntimeError("no\nroom")
            self.calls.append((name, arguments, options))
            return self

        return call

    def of(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(arguments, options) for called, arguments, options in self.calls if called == name]


@pytest.fixture
def lines() -> list[str]:
    return []


def install(monkeypatch: pytest.MonkeyPatch, name: str, broken: str = "") -> Recorded:
    package = Recorded(broken)
    monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    return package


def test_wandb_gets_setting_figures_and_policy_and_stays_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: list[str]
) -> None:
    package = install(monkeypatch, "wandb")
    tracker = track("wandb", "run_1", SETTING, tmp_path, lines.append)
    tracker.log({"timesteps": 16.0, "waits": 0.75})
    tracker.finish([tmp_path / "policy.pt"], complete=True)
    expected = {"project": "growenv", "name": "run_1", "config": SETTING, "dir": str(tmp_path), "mode": "offline"}
    assert package.of("init") == [((), expected)]
    assert package.of("log") == [(({"timesteps": 16.0, "waits": 0.75},), {"step": 16})]
    assert package.of("add_file") == [((str(tmp_path / "policy.pt"),), {})]
    assert len(package.of("log_artifact")) == 1
    assert package.of("finish") == [((), {"exit_code": 0})]
    assert lines == []


def test_wandb_never_asks_for_a_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: list[str]) -> None:
    package = install(monkeypatch, "wandb")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    track("wandb", "run_1", SETTING, tmp_path, lines.append)
    assert package.calls == []
    assert "WANDB_API_KEY" in lines[0]
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password x\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    track("wandb", "run_1", SETTING, tmp_path, lines.append)
    monkeypatch.setenv("WANDB_API_KEY", "x")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    track("wandb", "run_1", SETTING, tmp_path, lines.append)
    assert [options["mode"] for _, options in package.of("init")] == ["online", "online"]


def test_mlflow_gets_setting_figures_and_policy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: list[str]
) -> None:
    package = install(monkeypatch, "mlflow")
    tracker = track("mlflow", "run_1", SETTING, tmp_path, lines.append)
    tracker.log({"timesteps": 16.0, "waits": 0.75})
    tracker.finish([tmp_path / "policy.pt"], complete=False)
    assert package.of("start_run") == [((), {"run_name": "run_1"})]
    assert package.of("log_params") == [(({"algo": "ppo", "hyperparameters.learning_rate": 0.5},), {})]
    assert package.of("log_metrics") == [(({"timesteps": 16.0, "waits": 0.75},), {"step": 16})]
    assert package.of("log_artifact") == [((str(tmp_path / "policy.pt"),), {"artifact_path": "policy"})]
    assert package.of("end_run") == [(("KILLED",), {})]
    assert lines == []


@pytest.mark.parametrize(("name", "broken"), [("wandb", "init"), ("wandb", "log"), ("mlflow", "log_metrics")])
def test_what_fails_is_said_once_and_left_alone(
    name: str, broken: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: list[str]
) -> None:
    package = install(monkeypatch, name, broken)
    tracker = track(name, "run_1", SETTING, tmp_path, lines.append)
    for step in (1.0, 2.0):
        tracker.log({"timesteps": step})
    count = len(package.calls)
    tracker.finish([], complete=True)
    assert lines == [f"warning: --track {name} failed and is off: RuntimeError: no room"]
    assert len(package.calls) == count


def test_a_missing_package_and_an_unknown_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ValueError, match="run: pip install mlflow"):
        tracker_module("mlflow")
    with pytest.raises(ValueError, match="did you mean 'wandb'"):
        tracker_module("wand")
