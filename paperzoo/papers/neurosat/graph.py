"""The graph of a batch of formulas, and sums along its edges (Selsam et al. 2019, section 3)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from paperzoo.batches import SatProblems

Sent = Float[Tensor, "sender feature"]
Received = Float[Tensor, "receiver feature"]
Neighbours = Int64[Tensor, " cell"]
Starts = Int64[Tensor, " receiver_plus_1"]


class Graph(NamedTuple):
    """The incidence of literals and clauses, M, as two lists of neighbours: no dense matrix, no atomic addition.

    The neighbours of clause c are `literals[clause_start[c]:clause_start[c + 1]]`, and the other way round.
    """

    literals: Neighbours
    clause_start: Starts
    clauses: Neighbours
    literal_start: Starts

    @classmethod
    def of(cls, problems: SatProblems) -> "Graph":
        literals, lengths = problems.cell_literal, problems.clause_length
        cell_clause = torch.repeat_interleave(lengths, output_size=len(literals))
        by_literal = torch.argsort(literals, stable=True)
        degrees = torch.bincount(literals, minlength=2 * len(problems.variable_problem))
        return cls(literals, _starts(lengths), cell_clause[by_literal], _starts(degrees))

    @property
    def degrees(self) -> Int64[Tensor, " literal"]:
        """How many clauses hold each literal."""
        return self.literal_start.diff()

    def sum_into_clauses(self, message: Sent) -> Received:
        """M^T message: the sum over the literals of each clause."""
        return _SumOverNeighbours.apply(message, self.literals, self.clause_start, self.clauses, self.literal_start)

    def sum_into_literals(self, message: Sent) -> Received:
        """M message: the sum over the clauses of each literal; 0 for a literal that no clause holds."""
        return _SumOverNeighbours.apply(message, self.clauses, self.literal_start, self.literals, self.clause_start)


def flip(literals: Sent) -> Sent:
    """Every literal's row replaced by that of its negation."""
    return literals.roll(len(literals) // 2, dims=0)


def _starts(lengths: Int64[Tensor, " node"]) -> Starts:
    return F.pad(lengths.cumsum(0), (1, 0))


class _SumOverNeighbours(torch.autograd.Function):
    """Sums rows by a list of neighbours; the gradient is the same sum by the list of the other side."""

    @staticmethod
    def forward(ctx, x, neighbours, start, neighbours_back, start_back):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(neighbours_back, start_back)
        return _bag_sum(x, neighbours, start)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return _bag_sum(gradient.contiguous(), *ctx.saved_tensors), None, None, None, None


def _bag_sum(x: Sent, neighbours: Neighbours, start: Starts) -> Received:
    return F.embedding_bag(neighbours, x, start, mode="sum", include_last_offset=True)
