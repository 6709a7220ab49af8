"""Adversarial domain adaptation: what the papers on it share."""

from paperzoo.adaptation.module import AdaptationModule, NonNegative, OptimizerFactory, Schedule

__all__ = ["AdaptationModule", "NonNegative", "OptimizerFactory", "Schedule"]
