"""growenv: when and where should a neural network grow? Growth as a Gymnasium environment.

Importing registers ``growenv/{Mixed,Split,Permuted,Rotated}{Digits,MNIST,FashionMNIST}-v0`` and does nothing else.
"""

from growenv.config import GrowthConfig
from growenv.env import GrowthEnv
from growenv.registration import register_environments
from growenv.streams import Context, Dataset, Task, Transform
from growenv.vector_env import GrowthVectorEnv

__version__ = "0.1.0"
__all__ = ["Context", "Dataset", "GrowthConfig", "GrowthEnv", "GrowthVectorEnv", "Task", "Transform"]

register_environments()
