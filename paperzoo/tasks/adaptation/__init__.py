"""Adversarial domain adaptation: what the papers on it share."""

from paperzoo.tasks.adaptation.module import AdaptationModule, NonNegative, OptimizerFactory, Schedule
from paperzoo.tasks.adaptation.reverse_validation import ReverseValidation
from paperzoo.tasks.adaptation.subspace_alignment import SubspaceAlignment
from paperzoo.tasks.adaptation.views import TenCrops

__all__ = [
    "AdaptationModule",
    "NonNegative",
    "OptimizerFactory",
    "ReverseValidation",
    "Schedule",
    "SubspaceAlignment",
    "TenCrops",
]
