"""Checks that authors of plug-ins run on their own parts; each raises AssertionError with a sentence that says why.

`check_dataset`, `check_distribution`, `check_meter`, `check_protection`, `check_operator` and `check_signal` take a
registered name or an object, `check_env` the options of an environment, and `check_policy` a function that builds a
policy.
"""

from growenv.testing.environment import check_env, check_policy
from growenv.testing.hardware import check_meter
from growenv.testing.learning import check_operator, check_protection
from growenv.testing.signals import check_signal
from growenv.testing.streams import check_dataset, check_distribution

__all__ = [
    "check_dataset",
    "check_distribution",
    "check_env",
    "check_meter",
    "check_operator",
    "check_policy",
    "check_protection",
    "check_signal",
]
