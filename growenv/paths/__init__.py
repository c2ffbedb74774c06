"""Growth paths: in which order should layers grow? Every order from one root network to one target, measured.

`Lattice` lists the orders, `PathProblem` says what is trained, `PathTable` holds how well every beginning of a path
does, `Objective` says what a return is, and `planning` finds the best path exactly. `PathsEnv` and `PathsVectorEnv`
are the environments, whose steps only look numbers up.
"""

from growenv.paths.env import PathsEnv
from growenv.paths.lattice import Lattice
from growenv.paths.objective import Objective
from growenv.paths.problem import PathProblem
from growenv.paths.table import PathTable
from growenv.paths.vector_env import PathsVectorEnv

__all__ = ["Lattice", "Objective", "PathProblem", "PathTable", "PathsEnv", "PathsVectorEnv"]
