"""Multi-Adversarial Domain Adaptation (Pei et al. 2018)."""

from paperzoo.papers.mada.adversary import ClasswiseAdversary

__all__ = ["ClasswiseAdversary"]
