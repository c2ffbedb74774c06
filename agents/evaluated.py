"""Which trained policies are evaluated, and in which environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from agents.comparison import Trained
from agents.environments import find_environment, is_growth
from agents.hidden_features import set_of
from agents.learned import LearnedPolicy, load_policy
from agents.training.run_folder import EVALUATIONS
from growenv.config import GrowthConfig
from growenv.registry import UnknownNameError
from growenv.vector_env import GrowthVectorEnv


@dataclass(frozen=True)
class Evaluated:
    """One line of the table: a trained policy, or several that differ in their training seed only.

    Attributes:
        name: name in tables.
        policies: one for each training seed.
        folders: where they came from.
    """

    name: str
    policies: tuple[LearnedPolicy, ...]
    folders: tuple[str, ...]

    @property
    def hidden(self) -> tuple[str, ...]:
        """Features that the policies were trained without."""
        return tuple(self.policies[0].manifest.get("hidden", ()))

    @property
    def steps(self) -> int:
        """Environment steps of the training of one policy, the evaluations that chose it included; 0: unknown."""
        return max(map(_steps, self.folders))

    @property
    def config(self) -> GrowthConfig:
        """The environment that they were trained in.

        Raises:
            ValueError: it was none of ours.
        """
        config = self.policies[0].manifest.get("config")
        if config is None:
            raise ValueError(f"policy {self.name!r} was not trained in a growenv environment")
        return GrowthConfig.from_json(config)

    @property
    def trained(self) -> Trained:
        """What plays."""
        note = f"trained without {', '.join(self.hidden)}" if self.hidden else ""
        kind = "ablation" if self.hidden else "learned"
        factories = tuple(policy.bind for policy in self.policies)
        drawing = [policy.drawing(seed) for seed, policy in enumerate(self.policies) if policy.draws]
        return Trained(self.name, factories, self.steps, kind, note, tuple(policy.bind for policy in drawing))

    @property
    def origin(self) -> list[dict[str, Any]]:
        """What tells the policies apart: algorithm, training and checksum of the tensors."""
        entries = ("algorithm", "environment", "training", "tensors", "hidden")
        return [{name: p.manifest[name] for name in entries if name in p.manifest} for p in self.policies]


def from_folders(single: Sequence[str], seeds: Sequence[str]) -> list[Evaluated]:
    """The policies of some folders.

    Args:
        single: folders whose policies have a line each; those of one name are told apart by their folders.
        seeds: folders of policies that differ in their training seed; one line for each algorithm, and one for each
            set of features that was hidden in training.

    Raises:
        SavedFileError: a folder holds no policy that can be loaded.
        ValueError: a folder is given twice, or the seeds of one line were trained in different environments.
    """
    if twice := sorted({folder for folder in (*single, *seeds) if [*single, *seeds].count(folder) > 1}):
        raise ValueError(f"a run was given twice: {' '.join(twice)}")
    groups: dict[str, list[tuple[str, LearnedPolicy]]] = {}
    for folder in seeds:
        policy = load_policy(folder)
        groups.setdefault(_label(policy), []).append((folder, policy))
    for name, members in groups.items():
        if any(policy.manifest.get("config") != members[0][1].manifest.get("config") for _, policy in members):
            raise ValueError(f"the runs of {name} were trained in different environments; they are no training seeds")
    alone = [(folder, load_policy(folder)) for folder in single]
    names = [*groups, *(_label(policy) for _, policy in alone)]
    for folder, policy in alone:
        name = _label(policy)
        groups[name if names.count(name) == 1 else f"{name} {folder}"] = [(folder, policy)]
    return [
        Evaluated(name, tuple(policy for _, policy in members), tuple(folder for folder, _ in members))
        for name, members in groups.items()
    ]


def _label(policy: LearnedPolicy) -> str:
    """The policy's name, and what was hidden from it in training: the name of the set, if it is one."""
    hidden = policy.manifest.get("hidden", ())
    known = set_of(hidden, policy.manifest.get("feature_names") or {})
    return f"{policy.name} without {known or ' '.join(hidden)}" if hidden else policy.name


def _steps(folder: str) -> int:
    """Steps of a training run and of the evaluations on val that chose its policy; 0 where its files are not there."""
    file = Path(folder) / EVALUATIONS
    if not file.is_file():
        return 0
    with np.load(file, allow_pickle=False) as evaluations:
        return int(evaluations["timesteps"][-1]) + int(evaluations["ep_lengths"].sum())


def environment_config(env: str, options: Mapping[str, Any], evaluated: Sequence[Evaluated]) -> GrowthConfig:
    """The environment to play: the one asked for, else that of the policies, with the given options on top.

    Args:
        env: an id; empty for that of the policies.
        options: options of `GrowthConfig` by name.
        evaluated: the policies.

    Raises:
        ValueError: no such environment or option, or the policies were trained in different environments.
    """
    if env:
        return GrowthConfig.from_options(**{**registered_options(env), **options})
    configs = [each.config for each in evaluated]
    if any(config != configs[0] for config in configs):
        raise ValueError("the runs were trained in different environments; choose one for all with --env")
    config = GrowthConfig.from_options(configs[0] if configs else None, **options)
    try:
        GrowthVectorEnv(1, config).close()
    except UnknownNameError as error:
        hint = "a name of your own is known once --env module:Namespace/Name-v0 has imported its module"
        raise ValueError(f"{error}; {hint}") from error
    return config


def registered_options(env_id: str) -> dict[str, Any]:
    """The options under which a growenv environment is registered.

    Raises:
        ValueError: there is no such environment, or it is none of ours.
    """
    known = find_environment(env_id)
    if not is_growth(known):
        raise ValueError(
            f"{known} is no growenv environment with streams: it has no contexts and no schedules to compare with"
        )
    return dict(gymnasium.registry[known].kwargs)
