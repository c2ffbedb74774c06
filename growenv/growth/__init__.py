"""How, when and where networks grow: operators, and the evidence that they start from."""

from growenv.growth.adapter import LowRankAdapter
from growenv.growth.evidence import CrossEntropy, Evidence, Loss, SquaredError
from growenv.growth.firefly import Firefly
from growenv.growth.gradmax import GradMax, GradMaxOpt
from growenv.growth.net2wider import Net2Wider
from growenv.growth.operators import (
    OPERATORS,
    GrowthBatch,
    GrowthOperator,
    Proposal,
    apply_proposal,
    checked_proposal,
)
from growenv.growth.orthogonal import OrthogonalGrowth
from growenv.growth.pairs import VarianceTransfer
from growenv.growth.random import RandomGrowth
from growenv.growth.splitting import Splitting
from growenv.growth.tiny import Tiny

__all__ = [
    "OPERATORS",
    "CrossEntropy",
    "Evidence",
    "Firefly",
    "GradMax",
    "GradMaxOpt",
    "GrowthBatch",
    "GrowthOperator",
    "Loss",
    "LowRankAdapter",
    "Net2Wider",
    "OrthogonalGrowth",
    "Proposal",
    "RandomGrowth",
    "Splitting",
    "SquaredError",
    "Tiny",
    "VarianceTransfer",
    "apply_proposal",
    "checked_proposal",
]
