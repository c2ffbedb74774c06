"""How, when and where networks grow: operators, later signals."""

from growenv.growth.operators import OPERATORS, GrowthBatch, GrowthOperator, RandomGrowth

__all__ = ["OPERATORS", "GrowthBatch", "GrowthOperator", "RandomGrowth"]
