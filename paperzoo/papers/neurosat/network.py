"""NeuroSAT's network (Selsam et al. 2019, section 3)."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from paperzoo.batches import SatProblems
from paperzoo.papers.neurosat.graph import Graph, flip
from paperzoo.papers.neurosat.layers import LayerNormLSTM, LstmState, Perceptron

Votes = Float[Tensor, " literal"]
Logits = Float[Tensor, " problem"]
Literals = Float[Tensor, "literal dimension"]


class State(NamedTuple):
    """The states of all nodes after a round."""

    literals: LstmState
    clauses: LstmState


class NeuroSAT(nn.Module):
    """Messages between the literals and clauses of formulas, and a vote of every literal on satisfiability.

        C' = LSTM_C(C, M^T L_msg(L))
        L' = LSTM_L(L, [Flip(L), M C_msg(C')])
        logit = mean over the literals of L_vote(L)

    Args:
        dimension: d, features of every node.
        hidden_layers: hidden layers of each of the three multi-layer perceptrons.
        checkpointing: keep only the states between rounds and compute the rest again in the backward pass.
    """

    def __init__(self, dimension: int = 128, hidden_layers: int = 3, checkpointing: bool = False) -> None:
        super().__init__()
        self.dimension = dimension
        self.checkpointing = checkpointing
        self.literal_init = nn.Parameter(torch.randn(dimension))
        self.clause_init = nn.Parameter(torch.randn(dimension))
        hidden = [dimension] * hidden_layers
        self.literal_message = Perceptron(dimension, *hidden, dimension)
        self.clause_message = Perceptron(dimension, *hidden, dimension)
        self.literal_update = LayerNormLSTM(2 * dimension, dimension)
        self.clause_update = LayerNormLSTM(dimension, dimension)
        self.literal_vote = Perceptron(dimension, *hidden, 1)
        self.vote_bias = nn.Parameter(torch.zeros(()))

    def compile_round(self) -> None:
        """Compiles a round of messages: for the first number of nodes, then, at another one, for any."""
        self._round = torch.compile(self._round)  # type: ignore[method-assign]

    def forward(self, problems: SatProblems, rounds: int) -> Logits:
        """The logit of "satisfiable" for each problem after `rounds` rounds."""
        graph = Graph.of(problems)
        state = self.initial_state(graph)
        for _ in range(rounds):
            state = self.round(graph, state)
        return self.logits(self.votes(state.literals.hidden), problems)

    def states(self, problems: SatProblems) -> Iterator[State]:
        """The states after round 1, 2, 3, ... without end."""
        graph = Graph.of(problems)
        state = self.initial_state(graph)
        while True:
            state = self.round(graph, state)
            yield state

    def initial_state(self, graph: Graph) -> State:
        return State(
            self._start(self.literal_init, len(graph.literal_start) - 1),
            self._start(self.clause_init, len(graph.clause_start) - 1),
        )

    def _start(self, embedding: Tensor, nodes: int) -> LstmState:
        hidden = (embedding / math.sqrt(self.dimension)).expand(nodes, -1)
        return LstmState(hidden, torch.zeros_like(hidden, memory_format=torch.contiguous_format))

    def round(self, graph: Graph, state: State) -> State:
        """One round of messages: clauses first, then literals, which see the new clauses."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(self._round, graph, state, use_reentrant=False)
        return self._round(graph, state)

    def _round(self, graph: Graph, state: State) -> State:
        literals, clauses = state
        # projected before the sum, since there are fewer literals than clauses
        message = self.literal_message(literals.hidden, self.clause_update.for_input)
        clauses = self.clause_update(graph.sum_into_clauses(message), clauses)
        # the last layer is linear: it may follow the sum, and there are fewer literals than clauses
        weight, bias = self.clause_message.last
        received = graph.sum_into_literals(self.clause_message.hidden(clauses.hidden))
        received = received @ weight.T + graph.degrees[:, None] * bias
        inputs = torch.cat([flip(literals.hidden), received], dim=1)
        literals = self.literal_update(inputs @ self.literal_update.for_input, literals)
        return State(literals, clauses)

    def votes(self, literals: Literals) -> Votes:
        """L_vote of each literal."""
        return self.literal_vote(literals).squeeze(1)

    def logits(self, votes: Votes, problems: SatProblems) -> Logits:
        """The mean vote of each problem's literals, and the bias of the released code."""
        positive, negative = votes.to(self.vote_bias.dtype).chunk(2)
        variables = torch.bincount(problems.variable_problem, minlength=len(problems.satisfiable))
        return torch.segment_reduce(positive + negative, "mean", lengths=variables) / 2 + self.vote_bias
