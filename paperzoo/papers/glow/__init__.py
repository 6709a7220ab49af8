"""Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma & Dhariwal 2018)."""

from paperzoo.papers.glow.adamax import Adamax
from paperzoo.papers.glow.flow import Glow
from paperzoo.papers.glow.module import GlowModule

__all__ = ["Adamax", "Glow", "GlowModule"]
