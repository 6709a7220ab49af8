"""Learning a SAT Solver from Single-Bit Supervision (Selsam et al. 2019)."""

from paperzoo.papers.neurosat.decoding import attempts
from paperzoo.papers.neurosat.module import NeuroSATModule
from paperzoo.papers.neurosat.network import NeuroSAT

__all__ = ["NeuroSAT", "NeuroSATModule", "attempts"]
