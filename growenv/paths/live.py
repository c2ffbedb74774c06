"""Growth paths in `GrowthVectorEnv` itself: every network is trained for real, from its root on, and nothing is shared.

Slow, and what tables are held against: whoever doubts a number plays its path.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import ArrayLike, NDArray

from growenv.paths.problem import PathProblem
from growenv.vector_env import GrowthVectorEnv


def play_live(
    problem: PathProblem, actions: ArrayLike, trials: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Train whole paths in the environment that a table of `problem` is a table of.

    Args:
        problem: configuration and trials.
        actions: paths, integers (P, T).
        trials: numbers of trials, K of them.

    Returns:
        Validation accuracy after every decision, (K, P, T), and inner-test accuracy at the end, (K, P).

    Raises:
        ValueError: no whole paths of the lattice, or hardware without room for one of them.
    """
    paths = np.atleast_2d(np.asarray(actions))
    problem.lattice.follow(paths)
    if paths.shape[1] != problem.lattice.horizon:
        raise ValueError(f"paths of {paths.shape[1]} actions: expected whole ones, of {problem.lattice.horizon}")
    contexts = [problem.contexts[trial] for trial in trials for _ in paths]
    env = GrowthVectorEnv(len(contexts), problem.config, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(options={"contexts": contexts})
    validation = np.zeros((problem.lattice.horizon, len(contexts)))
    infos: dict[str, NDArray[np.float64]] = {}
    for decision, chosen in enumerate(np.tile(paths, (len(trials), 1)).T):
        infos = env.step(chosen)[-1]
        if refused := np.flatnonzero(infos["invalid_action"]).tolist():
            path = refused[0] % len(paths)
            raise ValueError(
                f"meter={problem.config.meter!r} has no room for decision {decision} of path {path}; "
                "tables suppose that all growth fits: use a meter that counts, such as 'parameters'"
            )
        validation[decision] = infos["validation_accuracy"]
    shape = (len(trials), len(paths))
    return validation.T.reshape(*shape, -1), np.asarray(infos["acc"], dtype=np.float64).reshape(shape)
