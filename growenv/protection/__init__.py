"""Continual-learning strategies: what guards old tasks."""

from growenv.protection.base import PROTECTIONS, Protection
from growenv.protection.finetune import Finetune
from growenv.protection.freeze import Freeze

__all__ = ["PROTECTIONS", "Finetune", "Freeze", "Protection"]
