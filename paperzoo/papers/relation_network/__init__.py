"""A simple neural network module for relational reasoning (Santoro et al. 2017), and multi-layer relation networks."""

from paperzoo.papers.relation_network.network import RelationNetwork
from paperzoo.papers.relation_network.physics import PhysicsModule

__all__ = ["PhysicsModule", "RelationNetwork"]
