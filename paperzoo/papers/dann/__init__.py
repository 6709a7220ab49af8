"""Domain-Adversarial Training of Neural Networks (Ganin et al. 2016)."""

from paperzoo.papers.dann.module import DANNModule, DomainAdversary

__all__ = ["DANNModule", "DomainAdversary"]
