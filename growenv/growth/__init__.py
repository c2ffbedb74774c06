"""How, when and where networks grow: operators, later signals."""

from growenv.growth.operators import OPERATORS, GrowthBatch, GrowthOperator, RandomGrowth, checked_proposal

__all__ = ["OPERATORS", "GrowthBatch", "GrowthOperator", "RandomGrowth", "checked_proposal"]
