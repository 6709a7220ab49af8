"""Conditional Adversarial Domain Adaptation (Long et al. 2018)."""

from paperzoo.papers.cdan.adversary import ConditionalAdversary
from paperzoo.papers.cdan.conditioning import MultilinearMap, RandomizedMultilinearMap, entropy_weight

__all__ = ["ConditionalAdversary", "MultilinearMap", "RandomizedMultilinearMap", "entropy_weight"]
