"""What Stable-Baselines3 learned as a `Policy`, saved and loaded safely.

A policy is loaded by rebuilding its network from the manifest and copying tensors into it; nothing is unpickled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from agents.algorithms import algorithm, build, known_algorithms, policy_options
from agents.hidden_features import hidden_columns, without_columns
from agents.masked_policy import MASK
from agents.policy import Actions, Interface, Mask
from agents.saving import SavedFileError, load_state, read_policy_files, write_policy_files
from agents.spaces import space_from_json, space_to_json
from growenv.randomness import Purpose, uniform

SIGNALS = "signals"
"""The observation group whose features are chosen by the configuration."""

__all__ = ["LearnedPolicy", "build", "describe", "known_algorithms", "load_module", "load_policy", "save_policy"]


def describe(
    algo: str, architecture: Mapping[str, Any], vec_env: VecEnv, *, name: str = "", **more: Any
) -> dict[str, Any]:
    """The manifest of a policy that is trained in `vec_env`: all that is needed to rebuild and to check it.

    Args:
        algo: name of the algorithm.
        architecture: the network.
        vec_env: the environment; feature names, action names and configuration are noted where it has them.
        name: name in tables; that of the algorithm if empty.
        more: further entries of plain types, for example ``training``; ``hidden`` names features that are shown as 0,
            see `agents.hidden_features`.
    """
    growenv_like = vec_env.has_attr("feature_names") and vec_env.has_attr("config")
    features = vec_env.get_attr("feature_names", 0)[0] if growenv_like else None
    return {
        "kind": "growenv policy",
        "name": name or algo,
        "algorithm": algo,
        "architecture": dict(architecture),
        "observation_space": space_to_json(vec_env.observation_space),
        "action_space": space_to_json(vec_env.action_space),
        "feature_names": None if features is None else {group: list(names) for group, names in features.items()},
        "action_names": list(vec_env.get_attr("actions", 0)[0].names) if growenv_like else None,
        "config": vec_env.get_attr("config", 0)[0].to_json() if growenv_like else None,
        **more,
    }


class LearnedPolicy:
    """A trained network as a `Policy`.

    Args:
        module: the network.
        manifest: what `describe` returned.
        deterministic: choose the best action; otherwise draw from the policy's distribution. Value-based policies have
            no distribution and always choose the best.
        seed: seed of the draws, which depend on the episode and the decision but not on the other rows.
        first_episode: number of the first episode, see `Interface`.

    Attributes:
        name: name in tables.
        module: the network.
        manifest: what is known about it.
        transferred: whether it is bound to an environment whose actions have other amounts than those that it was
            trained with.

    Raises:
        ValueError: the actions are no finite set, or the manifest hides features that it does not name.
    """

    def __init__(
        self,
        module: BasePolicy,
        manifest: Mapping[str, Any],
        *,
        deterministic: bool = True,
        seed: int = 0,
        first_episode: int = 0,
    ) -> None:
        if not isinstance(module.action_space, spaces.Discrete):
            raise ValueError(f"a Policy chooses among actions, this one was trained for {module.action_space}")
        self.module, self.manifest = module, dict(manifest)
        self.name = str(manifest["name"])
        self.deterministic, self.seed = deterministic, seed
        self._begun = first_episode
        self._episode = self._decision = np.zeros(0, dtype=np.int64)
        self._memory: tuple[Tensor, Tensor] | None = None
        self._signals: list[int] | None = None
        self._hidden = hidden_columns(manifest.get("hidden", ()), manifest.get("feature_names") or {})
        self.transferred = False

    @property
    def draws(self) -> bool:
        """Whether it has a distribution to draw actions from."""
        return self._values() is None

    def drawing(self, seed: int = 0) -> LearnedPolicy:
        """The same policy drawing its actions, with this seed."""
        return LearnedPolicy(self.module, self.manifest, deterministic=False, seed=seed)

    def bind(self, interface: Interface) -> LearnedPolicy:
        """The policy for the rows of an environment, sharing the network.

        Features are shares, so they mean the same in larger networks and on other hardware. Only the amounts of neurons
        that actions add may therefore differ: the smallest one stands for the smallest one, and so on.

        Raises:
            ValueError: the environment shows other features or has other actions than the one it was trained in.
        """
        trained, given = self.manifest["feature_names"], dict(interface.feature_names)
        # Signals that it was not trained with do no harm: it does not look at them.
        known, present = (trained or {}).get(SIGNALS, ()), given.pop(SIGNALS, ())
        wanted = [name for name in known if name in present]
        self._check("features", trained, {**given, SIGNALS: wanted})
        self._check("actions", {"": self.manifest["action_names"]}, {"": interface.actions.names})
        bound = LearnedPolicy(
            self.module,
            self.manifest,
            deterministic=self.deterministic,
            seed=self.seed,
            first_episode=interface.first_episode,
        )
        bound._signals = [present.index(name) for name in wanted]
        bound.transferred = self.manifest["action_names"] != list(interface.actions.names)
        return bound

    def _check(self, what: str, trained: Mapping[str, Any] | None, given: Mapping[str, Any]) -> None:
        if trained is None or None in trained.values():
            raise ValueError(
                f"policy {self.name!r} was not trained in a growenv environment: it has no names of {what}"
            )
        before = [name for names in trained.values() for name in names]
        now = [name for names in given.values() for name in names]
        if before != now and _by_rank(before) != _by_rank(now):
            gone, new = [name for name in before if name not in now], [name for name in now if name not in before]
            raise ValueError(
                f"policy {self.name!r} was trained with other {what}: the environment lacks {gone or 'none'} and adds "
                f"{new or 'none'}; evaluate it in the environment it was trained in, or train another one"
            )

    def reset(self, rows: Mask) -> None:
        """Forget the past of the rows that begin an episode, shape (N,); episodes are numbered in row order."""
        rows = np.asarray(rows, dtype=bool)
        if len(self._episode) != len(rows):
            self._episode, self._decision = np.zeros((2, len(rows)), dtype=np.int64)
            self._memory = None
        count = int(np.count_nonzero(rows))
        self._episode[rows] = self._begun + np.arange(count)
        self._decision[rows] = 0
        self._begun += count
        if self._memory is not None:
            keep = torch.from_numpy(~rows).to(self._memory[0].dtype).view(1, -1, 1)
            self._memory = (self._memory[0] * keep, self._memory[1] * keep)

    @torch.no_grad()
    def act(self, observations: Mapping[str, NDArray[np.float32]] | NDArray[Any], masks: Mask) -> Actions:
        """The actions of N rows, always legal; a row without any legal action gets action 0.

        Args:
            observations: what the environment shows, every array with N rows.
            masks: legal actions, shape (N, A).
        """
        legal = np.asarray(masks, dtype=bool)
        if len(self._episode) != len(legal):
            self.reset(np.ones(len(legal), dtype=bool))
        seen = self._seen(observations)
        scores = self._scores(_tensors(seen, legal), legal).numpy().astype(np.float64)
        if not self.deterministic and not isinstance(self._values(), nn.Module):
            scores = scores + self._gumbel(scores.shape)
        self._decision += 1
        chosen: Actions = np.where(legal, scores, -np.inf).argmax(axis=1).astype(np.int64)
        return chosen

    def _seen(self, observations: Any) -> Any:
        """What the network looks at: of the signals those that it was trained with, and nothing that was hidden."""
        if self._signals is not None and isinstance(observations, Mapping) and SIGNALS in observations:
            rest = {group: values for group, values in observations.items() if group != SIGNALS}
            observations = {**rest, SIGNALS: observations[SIGNALS][:, self._signals]} if self._signals else rest
        return without_columns(observations, self._hidden) if self._hidden else observations

    def _values(self) -> nn.Module | None:
        """The value network of a value-based policy."""
        return getattr(self.module, "q_net", None) or getattr(self.module, "quantile_net", None)

    def _scores(self, observations: Any, legal: Mask) -> Tensor:
        """Logits or values of the actions, shape (N, A)."""
        module: Any = self.module
        values = self._values()
        module.set_training_mode(False)
        if values is not None:
            found: Tensor = values(observations)
            return found.mean(dim=1) if found.dim() == 3 else found  # quantiles are averaged
        if self.manifest["algorithm"] == "maskable-ppo":
            logits: Tensor = module.get_distribution(observations, action_masks=legal).distribution.logits
        elif hasattr(module, "lstm_actor"):
            memory = self._memory or _empty_memory(module, len(legal))
            distribution, self._memory = module.get_distribution(observations, memory, torch.zeros(len(legal)))
            logits = distribution.distribution.logits
        else:
            logits = module.get_distribution(observations).distribution.logits
        return logits

    def _gumbel(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Gumbel noise: the best of logits plus noise is a draw from their softmax (Gumbel-max trick)."""
        action = np.arange(shape[1])
        draws = uniform(self.seed, Purpose.POLICY, self._episode[:, None], self._decision[:, None], action)
        return -np.log(-np.log(np.maximum(draws, 1e-300)))


_GROWTH = re.compile(r"(grow layer \d+ by )(\d+)")


def _by_rank(names: Sequence[str]) -> list[str]:
    """Names of features or actions with each amount replaced by its place among the amounts of all of them."""
    amounts = sorted({int(match[2]) for name in names for match in _GROWTH.finditer(name)})
    return [
        _GROWTH.sub(lambda match: f"{match[1]}amount #{1 + amounts.index(int(match[2]))} of {len(amounts)}", name)
        for name in names
    ]


def _tensors(observations: Any, legal: Mask) -> Any:
    """Observations as tensors; the mask in them is replaced by the one given."""
    if not isinstance(observations, Mapping):
        return torch.as_tensor(np.asarray(observations))
    tensors = {group: torch.as_tensor(np.asarray(values)) for group, values in observations.items()}
    if MASK in tensors:
        tensors[MASK] = torch.from_numpy(legal.astype(np.float32))
    return tensors


def _empty_memory(module: Any, rows: int) -> tuple[Tensor, Tensor]:
    layers, _, size = module.lstm_hidden_state_shape
    return torch.zeros(layers, rows, size), torch.zeros(layers, rows, size)


def save_policy(folder: str | Path, policy: LearnedPolicy | tuple[BasePolicy, Mapping[str, Any]]) -> None:
    """Write ``policy.json`` and ``policy.pt`` into a folder that exists.

    Args:
        folder: where to.
        policy: the policy, or a network and its manifest.

    Raises:
        OSError: a file cannot be written; a policy that was there before is still whole.
    """
    module, manifest = (policy.module, policy.manifest) if isinstance(policy, LearnedPolicy) else policy
    write_policy_files(Path(folder), manifest, module.state_dict())


def load_policy(folder: str | Path, *, deterministic: bool = True, seed: int = 0) -> LearnedPolicy:
    """The policy that `save_policy` wrote; arguments as in `LearnedPolicy`.

    Raises:
        SavedFileError: the files are missing, damaged, foreign, or do not fit each other.
    """
    module, manifest = load_module(folder)
    try:
        return LearnedPolicy(module, manifest, deterministic=deterministic, seed=seed)
    except ValueError as error:
        raise SavedFileError(f"{folder}: {error}") from None


def load_module(folder: str | Path) -> tuple[BasePolicy, dict[str, Any]]:
    """Network and manifest of a saved policy for any action space; the network has Stable-Baselines3's ``predict``.

    Raises:
        SavedFileError: as in `load_policy`.
    """
    path = Path(folder)
    manifest, tensors = read_policy_files(path)
    try:
        module = _rebuild(manifest)
    except KeyError as error:
        raise SavedFileError(f"{path}: the manifest lacks {error}") from None
    except (ValueError, TypeError, AssertionError, AttributeError) as error:
        raise SavedFileError(f"{path}: the manifest does not describe a policy: {error}") from None
    load_state(module, tensors, path)
    module.set_training_mode(False)
    return module, manifest


class _NoOptimizer:
    """Stands for the optimiser of a policy that is not trained: torch takes seconds to import its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take what an optimiser takes."""


def _rebuild(manifest: Mapping[str, Any]) -> BasePolicy:
    """The untrained network that a manifest describes."""
    seen, possible = space_from_json(manifest["observation_space"]), space_from_json(manifest["action_space"])
    features, actions = manifest["feature_names"], manifest["action_names"]
    if features is not None:
        counts = {group: (len(names),) for group, names in features.items()}
        shapes = {group: space.shape for group, space in dict(seen).items() if group != MASK}  # type: ignore[call-overload]
        if counts != shapes:
            raise ValueError(f"it names {counts} features in the groups, but their shapes are {shapes}")
    if actions is not None and len(actions) != possible.n:  # type: ignore[attr-defined]
        raise ValueError(f"it names {len(actions)} actions, but the action space is {possible}")
    kind, options = algorithm(manifest["algorithm"]).policy, policy_options(manifest["architecture"])
    options["optimizer_class"] = _NoOptimizer
    str(manifest["name"])
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn, then replaced: the global generator stays put
        return kind(seen, possible, lambda _: 0.0, **options)  # type: ignore[no-any-return]
