"""PathsEnv: in which order should the layers of a network grow? One growth path as a Gymnasium environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import ArrayLike, NDArray

from growenv.batching import first_info, first_observation
from growenv.paths.lattice import Lattice
from growenv.paths.table import PathTable
from growenv.paths.vector_env import MODES, PathsVectorEnv
from growenv.registry import unknown_name


class PathsEnv(gym.Env[dict[str, NDArray[np.float32]], np.int64]):
    """A network grows from a root to a target, one step at a time; the agent decides the order.

    ## Description
    An episode is one growth path: T decisions, at each of which one hidden layer grows by one step or nothing grows,
    then the network trains and is measured. Every path makes the same steps and waits as often, so that all end at the
    same architecture after the same training; only the order differs. All orders have been trained once, and a table
    holds how every beginning of a path does; a step only looks it up. So the best order is known exactly, and steps
    cost microseconds.

    A *trial* is the inner seed that draws the root's weights, the minibatches and how new neurons start. All paths of a
    trial share it. Each episode draws its trial from those of the split, and it is not observed. But observed
    accuracies depend on it: a policy can learn to recognise trials of the train split, so report figures of ``"test"``.

    ``growenv/DigitsPaths-v0`` and ``growenv/FashionMNISTPaths-v0`` have two hidden layers of 6 steps each and 1 wait:
    T = 13, 12,012 paths, 42,042 nodes. A *node* is the beginning of a path; node 0 is the root.

    ## Action space
    ``Discrete(1 + layers)``:

    | index | meaning |
    | --- | --- |
    | 0 | wait: nothing grows |
    | l + 1 | hidden layer l grows by one step |

    An action is allowed until the path has taken it as often as every path does. Instead of one that is not, the
    allowed action with the lowest number is taken, and ``info["invalid_action"]`` is true. The mask is in the
    observation, in ``info["action_mask"]`` and in `action_masks`.

    ## Observation space
    A ``Dict`` of float32 vectors with values in [-1, 1]. `feature_names` names every entry.

    | group | index | meaning | min | max |
    | --- | --- | --- | --- | --- |
    | position | l | share of layer l's steps that are done | 0 | 1 |
    | | L | share of the waits that are left, L being the number of hidden layers | 0 | 1 |
    | | L + 1 | share of the decisions that are over | 0 | 1 |
    | accuracy | 0 | validation accuracy after the last decision; at first that of the untrained root | 0 | 1 |
    | | 1 | its change by the last decision, at first 0 | -1 | 1 |
    | | 2 | the best so far | 0 | 1 |
    | action_mask | a | 1 where action a is allowed; no action is at the end | 0 | 1 |

    ## Reward
    With A(t) the accuracy after decision t = 1 to T, A(0) counted as 0, and w(t) the cost of a minibatch then, relative
    to that of the target network:

    | objective | reward of decision t | return |
    | --- | --- | --- |
    | final (default) | A(t) - A(t - 1) - price * w(t) / T | final accuracy - price * mean w |
    | anytime | (A(t) - price * w(t)) / T | mean accuracy - price * mean w |

    Accuracies of rewards are measured on `metric` samples; what is observed are always validation samples.

    ## Start and end
    The path starts at the root and ends with ``terminated`` after T decisions. It is never truncated.

    ## Info
    Always ``action_mask``, ``invalid_action`` and ``node``. At the end of a path also ``actions`` (those taken, T
    numbers), ``trial``, ``validation_accuracy``, ``test_accuracy``, ``objective`` (the episode's return) and
    ``regret``: the optimal return minus the mean return of this path over the trials of the split. It is 0 for a
    best path and never negative.

    ## Methods
    `optimal_return`, `optimal_actions` and `regret` know the optimum; `growenv.paths.planning` knows more.

    ## Arguments
    `table`, `split`, `objective`, `price`, `metric` and `render_mode` as below, for example
    ``gymnasium.make("growenv/DigitsPaths-v0", objective="anytime", price=0.1)``. ``reset(options={"trial": 3})`` pins
    the trial of one episode; any trial of the table will do.

    Args:
        table: a `PathTable`, the name of one that comes with growenv, or the path of its file.
        split: trials that episodes are drawn from: ``"train"``, ``"test"``, ``"all"``, or trial numbers.
        objective: ``"final"`` or ``"anytime"``.
        price: accuracy lost if all decisions trained the target, at least 0.
        metric: samples that rewards are measured on, ``"validation"`` or ``"test"``.
        render_mode: ``"rgb_array"``, ``"ansi"`` or None.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: a damaged table, or an argument that does not fit.

    ## Version history
    * v0: initial version.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (declared so by Gymnasium)
        "render_modes": list(MODES),
        "render_fps": 4,
    }

    def __init__(
        self,
        table: PathTable | str | os.PathLike[str] = "digits",
        *,
        split: str | Sequence[int] = "train",
        objective: str = "final",
        price: float = 0.0,
        metric: str = "validation",
        render_mode: str | None = None,
    ) -> None:
        self.rows = PathsVectorEnv(
            1,
            table,
            split=split,
            objective=objective,
            price=price,
            metric=metric,
            autoreset_mode=AutoresetMode.DISABLED,
            render_mode=render_mode,
        )
        self.render_mode = render_mode
        self.table, self.objective, self.trials = self.rows.table, self.rows.objective, self.rows.trials
        self.feature_names = self.rows.feature_names
        self.action_space = self.rows.single_action_space
        self.observation_space = self.rows.single_observation_space

    @property
    def lattice(self) -> Lattice:
        """The orders of growth."""
        return self.table.lattice

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
        """Begin a new path.

        Args:
            seed: seeds the choice of this and all later trials.
            options: see the class.

        Raises:
            ValueError: an option that does not exist, or a trial that does not.
        """
        super().reset(seed=seed)
        for name in options or {}:
            if name != "trial":
                raise unknown_name("reset option", name, ("trial",))
        trial = (options or {}).get("trial")
        observations, infos = self.rows.reset(seed=seed, options=None if trial is None else {"trials": [trial]})
        return first_observation(observations), first_info(infos)

    def step(self, action: np.int64 | int) -> tuple[dict[str, NDArray[np.float32]], float, bool, bool, dict[str, Any]]:
        """Take one action."""
        observations, rewards, terminated, _, infos = self.rows.step(np.atleast_1d(action))
        return first_observation(observations), float(rewards[0]), bool(terminated[0]), False, first_info(infos)

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions are allowed, shape (A,)."""
        masks: NDArray[np.bool_] = self.rows.action_masks()[0]
        return masks

    def render(self) -> Any:
        """The path on its lattice: a uint8 picture (height, width, 3), or text."""
        frames = self.rows.render()
        return None if frames is None else frames[0]

    def optimal_return(self, knowing: str = "nothing") -> float:
        """Largest mean return over the split's trials; see `planning.optimal_return`."""
        return self.rows.optimal_return(knowing)

    def optimal_actions(self, knowing: str = "nothing") -> NDArray[np.int64]:
        """A best path, (T,), or with ``knowing="trial"`` one for each of `trials`, (trials, T)."""
        return self.rows.optimal_actions(knowing)

    def regret(self, actions: ArrayLike) -> NDArray[np.float64]:
        """Optimal return minus the mean return of whole paths over the split's trials; see `PathsVectorEnv.regret`."""
        return self.rows.regret(actions)
