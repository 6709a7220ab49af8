"""Conditional Adversarial Domain Adaptation (Long et al. 2018)."""

from paperzoo.papers.cdan.conditioning import (
    MultilinearMap,
    RandomizedMultilinearMap,
    entropy_weight,
)
from paperzoo.papers.cdan.module import CDANModule

__all__ = ["CDANModule", "MultilinearMap", "RandomizedMultilinearMap", "entropy_weight"]
