"""Real NVP (Dinh, Sohl-Dickstein, Bengio 2017, arXiv 1605.08803)."""

from paperzoo.papers.realnvp.flow import RealNVP
from paperzoo.papers.realnvp.module import RealNVPModule

__all__ = ["RealNVP", "RealNVPModule"]
