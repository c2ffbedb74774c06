"""What grows: stacked networks and their optimisers."""

from growenv.networks.layout import Layout
from growenv.networks.optimizers import OPTIMIZERS, StackedAdam, StackedOptimizer, StackedSGD
from growenv.networks.stacked_mlp import StackedMLP

__all__ = ["OPTIMIZERS", "Layout", "StackedAdam", "StackedMLP", "StackedOptimizer", "StackedSGD"]
