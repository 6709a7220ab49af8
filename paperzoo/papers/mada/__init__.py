"""Multi-Adversarial Domain Adaptation (Pei et al. 2018)."""

from paperzoo.papers.mada.module import ClasswiseAdversary, MADAModule

__all__ = ["ClasswiseAdversary", "MADAModule"]
