"""PathsVectorEnv: N growth paths as one Gymnasium vector environment that only looks numbers up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from growenv.batching import autoreset_of, checked_actions, checked_count, checked_mask
from growenv.paths import planning, rendering
from growenv.paths.features import PathFeatures
from growenv.paths.lattice import Lattice
from growenv.paths.objective import Objective
from growenv.paths.table import PathTable
from growenv.randomness import Purpose, integers
from growenv.registry import unknown_name
from growenv.streams.fields import checked_integer

Observation = dict[str, NDArray[np.float32]]
Info = dict[str, Any]
RESET_OPTIONS = ("trials", "reset_mask")
MODES = ("rgb_array", "ansi")


class PathsVectorEnv(VectorEnv):
    """N rows of `PathsEnv`, which specifies the problem.

    Row i behaves as ``PathsEnv`` seeded with ``seed + i`` does, whatever the other rows do. A step looks numbers up for
    all rows at once.

    ## Ends of paths
    A path ends with ``terminated``, never with ``truncated``. What follows depends on `autoreset_mode`:

    | mode | at the end of a path |
    | --- | --- |
    | ``SAME_STEP`` (default) | the row begins its next path; ``infos`` holds ``final_obs`` and ``final_info`` |
    | ``NEXT_STEP`` | the next step ignores the row's action, begins its next path and returns reward 0 |
    | ``DISABLED`` | the row idles with reward 0 until ``reset(options={"reset_mask": ...})`` |

    ## Reset options
    ``trials`` (N trial numbers, any of the table) and ``reset_mask`` (which rows are reset, shape (N,)).

    Args:
        num_envs: number of rows N.
        table: a `PathTable`, the name of one that comes with growenv, or the path of its file.
        split: trials that episodes are drawn from: ``"train"``, ``"test"``, ``"all"``, or trial numbers.
        objective: ``"final"`` or ``"anytime"``; see `Objective`.
        price: accuracy lost if all decisions trained the target.
        metric: samples that rewards are measured on, ``"validation"`` or ``"test"``.
        autoreset_mode: an `AutoresetMode` or its name.
        render_mode: ``"rgb_array"``, ``"ansi"`` or None; `render` returns one frame a row.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: a damaged table, or an argument that does not fit.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (an instance has its own, with its autoreset mode)
        "render_modes": list(MODES),
        "render_fps": 4,
    }

    def __init__(
        self,
        num_envs: int = 1,
        table: PathTable | str | os.PathLike[str] = "digits",
        *,
        split: str | Sequence[int] = "train",
        objective: str = "final",
        price: float = 0.0,
        metric: str = "validation",
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
    ) -> None:
        self.num_envs = checked_count(num_envs)
        if render_mode is not None and render_mode not in MODES:
            raise unknown_name("render mode", render_mode, MODES)
        self.autoreset_mode = autoreset_of(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = render_mode
        self.table = table if isinstance(table, PathTable) else PathTable.load(table)
        self.objective = Objective(objective, price, metric)
        self.trials = self.table.trials_of(split)
        self._tabulate()
        self.single_observation_space = self._features.space
        self.single_action_space = spaces.Discrete(self.lattice.actions)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._seeds = np.random.default_rng().integers(2**63, size=self.num_envs, dtype=np.uint64)
        self._episodes = np.zeros(self.num_envs, dtype=np.int64)
        self._node = np.zeros(self.num_envs, dtype=np.int64)
        self._trial = np.zeros(self.num_envs, dtype=np.int64)
        self._begun = False

    def _tabulate(self) -> None:
        """Work out whatever a step looks up."""
        lattice = self.lattice
        self._features = PathFeatures(self.table)
        self.feature_names = self._features.names
        self._first_leaf = int(lattice.levels[-2])
        self._paths = lattice.path(lattice.leaves)
        allowed = lattice.children >= 0
        self._masks = allowed.astype(np.int8)
        fallback = np.where(allowed.any(axis=1), np.where(allowed, lattice.children, lattice.nodes).min(axis=1), -1)
        # Children are numbered in the order of their actions, so the lowest number is the lowest action's.
        self._next = np.where(allowed, lattice.children, fallback[:, None]).astype(np.int64)
        self._rewards = self.objective.rewards(self.table)
        self._returns = planning.sums(lattice, self._rewards)[:, lattice.leaves]
        reached = self._returns[self.trials].mean(axis=0)
        self._regrets = reached.max() - reached

    # -- what is known of the problem --------------------------------------------------------------------------------

    @property
    def lattice(self) -> Lattice:
        """The orders of growth."""
        return self.table.lattice

    def optimal_return(self, knowing: str = "nothing") -> float:
        """Largest mean return over the split's trials; see `planning.optimal_return`."""
        return planning.optimal_return(self.table, self.objective, self.trials, knowing=knowing)

    def optimal_actions(self, knowing: str = "nothing") -> NDArray[np.int64]:
        """A best path, (T,), or with ``knowing="trial"`` one for each of `trials`, (trials, T)."""
        return planning.optimal_actions(self.table, self.objective, self.trials, knowing=knowing)

    def regret(self, actions: ArrayLike) -> NDArray[np.float64]:
        """Optimal return minus the mean return of whole paths over the split's trials, (...), at least 0.

        Args:
            actions: sequences of T actions, integers of shape (..., T).

        Raises:
            ValueError: no whole paths of this lattice.
        """
        return np.asarray(self._regrets[planning.path_numbers(self.lattice, actions)])

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions are allowed, shape (N, A); none where a path has ended."""
        return self._masks[self._node].astype(np.bool_)

    # -- Gymnasium ---------------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Begin new paths in all rows, or in those of ``options["reset_mask"]``.

        Args:
            seed: seed of row 0, the next rows taking the numbers that follow; or one seed for each row.
            options: see the class.

        Returns:
            Observations and infos of all rows.

        Raises:
            ValueError: an option that does not exist, or that does not fit the environment.
        """
        given = options or {}
        for name in given:
            if name not in RESET_OPTIONS:
                raise unknown_name("reset option", name, RESET_OPTIONS)
        rows = checked_mask(given.get("reset_mask"), self.num_envs, self._begun)
        trials = None if given.get("trials") is None else self._one_each("trials", given["trials"])
        if trials is not None:
            trials = self.table.trials_of(trials)
        self._seed(seed, rows)
        self._begin(rows)
        if trials is not None:
            self._trial[rows] = trials[rows]
        self._begun = True
        return self._observe(), self._infos(np.zeros(self.num_envs, dtype=np.bool_))

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Info]:
        """Take one action of every path.

        Args:
            actions: one action for each row, shape (N,).

        Returns:
            Observations, rewards (N,), terminated (N,), truncated (N,), infos.

        Raises:
            ValueError: actions of another shape, or outside the action space.
            RuntimeError: `reset` has not been called.
        """
        self._need_reset()
        chosen = checked_actions(actions, self.num_envs, self.lattice.actions)
        live = self._node < self._first_leaf
        refused = live & (self._masks[self._node, chosen] == 0)
        self._node = np.where(live, self._next[self._node, chosen], self._node)
        rewards = np.where(live, self._rewards[self._trial, self._node], 0.0)
        ended = live & (self._node >= self._first_leaf)
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            self._begin(~live)
        observations, infos = self._observe(), self._infos(refused)
        if ended.any():
            infos.update(self._of_paths(ended))
            if self.autoreset_mode == AutoresetMode.SAME_STEP:
                observations, infos = self._restart(ended, observations, infos)
        return observations, rewards, ended, np.zeros(self.num_envs, dtype=np.bool_), infos

    def render(self) -> tuple[Any, ...] | None:
        """One frame a row: uint8 pictures of shape (height, width, 3), or texts."""
        if self.render_mode is None:
            return None
        self._need_reset()
        show = rendering.draw if self.render_mode == "rgb_array" else rendering.text
        frames = []
        for node, trial in zip(self._node, self._trial, strict=True):
            visited = self.lattice.follow(self.lattice.path(node))
            accuracy = self.table.validation[trial, visited] / self.table.samples["validation"]
            frames.append(show(self.lattice, visited, accuracy))
        return tuple(frames)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _need_reset(self) -> None:
        if not self._begun:
            raise RuntimeError("the environment has not begun; call reset() first")

    def _seed(self, seed: int | Sequence[int | None] | None, rows: NDArray[np.bool_]) -> None:
        if seed is None:
            return
        if isinstance(seed, int | np.integer):
            seed = [int(seed) + row for row in range(self.num_envs)]
        seeds = self._one_each("seeds", seed)
        for row in np.flatnonzero(rows):
            if seeds[row] is not None:
                self._seeds[row] = checked_integer("seed", seeds[row], 0, 2**64)
                self._episodes[row] = 0

    def _one_each(self, name: str, given: Any) -> Any:
        if not isinstance(given, Sequence | np.ndarray) or isinstance(given, str) or len(given) != self.num_envs:
            raise ValueError(f"{name}={given!r}: expected one for each of the {self.num_envs} rows")
        return given

    def _begin(self, rows: NDArray[np.bool_]) -> None:
        """Begin new paths in some rows, each in a trial drawn for it."""
        row = np.flatnonzero(rows)
        drawn = integers(len(self.trials), self._seeds[row], Purpose.TRIAL, self._episodes[row])
        self._trial[row] = self.trials[drawn]
        self._episodes[row] += 1
        self._node[row] = 0

    def _observe(self) -> Observation:
        return self._features.observe(self._trial, self._node)

    def _infos(self, refused: NDArray[np.bool_]) -> Info:
        values: Info = {"action_mask": self._masks[self._node], "invalid_action": refused, "node": self._node.copy()}
        return {**values, **{f"_{name}": np.ones(self.num_envs, dtype=np.bool_) for name in values}}

    def _of_paths(self, ended: NDArray[np.bool_]) -> Info:
        """What is told of paths that have just ended; zeros elsewhere."""
        row = np.flatnonzero(ended)
        node, trial = self._node[row], self._trial[row]
        path = node - self._first_leaf
        told = {
            "actions": self._paths[path],
            "trial": trial,
            "validation_accuracy": self.table.validation[trial, node] / self.table.samples["validation"],
            "test_accuracy": self.table.test[trial, node] / self.table.samples["test"],
            "objective": self._returns[trial, path],
            "regret": self._regrets[path],
        }
        infos: Info = {}
        for name, values in told.items():
            infos[name] = np.zeros((self.num_envs, *values.shape[1:]), dtype=values.dtype)
            infos[name][row] = values
            infos[f"_{name}"] = ended.copy()
        return infos

    def _restart(self, ended: NDArray[np.bool_], observations: Observation, infos: Info) -> tuple[Observation, Info]:
        """Begin new paths in rows that have just ended, keeping what they left in the infos."""
        row, names = np.flatnonzero(ended), tuple(observations)
        final_obs = np.full(self.num_envs, None, dtype=object)
        columns = [values[row] for values in observations.values()]
        final_obs[row] = [dict(zip(names, parts, strict=True)) for parts in zip(*columns, strict=True)]
        final_info = {name: values & ended if name[0] == "_" else values for name, values in infos.items()}
        self._begin(ended)
        fresh = self._infos(infos["invalid_action"] & ~ended)
        fresh.update(final_obs=final_obs, final_info=final_info, _final_obs=ended.copy(), _final_info=ended.copy())
        return self._observe(), fresh
