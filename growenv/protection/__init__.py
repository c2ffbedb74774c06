"""Continual-learning strategies: what guards old tasks."""

from growenv.protection.base import PROTECTIONS, Batch, Protection, joined
from growenv.protection.closed_form import ClosedForm
from growenv.protection.cpg import CompactPickGrow
from growenv.protection.den import Den
from growenv.protection.den_expanding import DenExpanding
from growenv.protection.distillation import LearningWithoutForgetting
from growenv.protection.experts import Experts
from growenv.protection.finetune import Finetune
from growenv.protection.freeze import Freeze
from growenv.protection.generative import GenerativeReplay
from growenv.protection.joint import Joint
from growenv.protection.lora import LowRankAdapters
from growenv.protection.progressive import Progressive
from growenv.protection.quadratic import EWC, L2, OnlineEWC
from growenv.protection.replay import Replay
from growenv.protection.spacenet import SpaceNet
from growenv.protection.sparse import StaticSparse
from growenv.protection.sparse_rehearsal import SpaceNetRehearsal, StaticSparseRehearsal
from growenv.protection.stage import Stage
from growenv.protection.synaptic import SynapticIntelligence
from growenv.protection.unit_masks import UnitMasks

__all__ = [
    "EWC",
    "L2",
    "PROTECTIONS",
    "Batch",
    "ClosedForm",
    "CompactPickGrow",
    "Den",
    "DenExpanding",
    "Experts",
    "Finetune",
    "Freeze",
    "GenerativeReplay",
    "Joint",
    "LearningWithoutForgetting",
    "LowRankAdapters",
    "OnlineEWC",
    "Progressive",
    "Protection",
    "Replay",
    "SpaceNet",
    "SpaceNetRehearsal",
    "Stage",
    "StaticSparse",
    "StaticSparseRehearsal",
    "SynapticIntelligence",
    "UnitMasks",
    "joined",
]
