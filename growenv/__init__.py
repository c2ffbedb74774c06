"""growenv: when and where should a neural network grow? Growth as a Gymnasium environment.

Importing registers ``growenv/{Mixed,Split,Permuted,Rotated}{Digits,MNIST,FashionMNIST}-v1`` and, for orders of growth
whose optimum is known, ``growenv/{Digits,FashionMNIST}Paths-v0`` (`growenv.paths`), and does nothing else.
"""

from growenv.config import GrowthConfig
from growenv.env import GrowthEnv
from growenv.registration import register_environments
from growenv.streams import Context, Dataset, Task, Transform
from growenv.vector_env import GrowthVectorEnv
from growenv.version import __version__

__all__ = ["Context", "Dataset", "GrowthConfig", "GrowthEnv", "GrowthVectorEnv", "Task", "Transform", "__version__"]

register_environments()
