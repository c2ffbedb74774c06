"""How, when and where networks grow: operators, and the evidence that they start from."""

from growenv.growth.evidence import CrossEntropy, Evidence, Loss, SquaredError
from growenv.growth.operators import OPERATORS, GrowthBatch, GrowthOperator, Proposal, checked_proposal
from growenv.growth.random import RandomGrowth

__all__ = [
    "OPERATORS",
    "CrossEntropy",
    "Evidence",
    "GrowthBatch",
    "GrowthOperator",
    "Loss",
    "Proposal",
    "RandomGrowth",
    "SquaredError",
    "checked_proposal",
]
