"""Recurrent relational networks (Palm et al. 2018, section 2): messages between the nodes of a graph, step by step."""

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from paperzoo.nn.classifiers import Rate
from paperzoo.nn.encoder import Encoder
from paperzoo.nn.perceptron import perceptron

Nodes = Float[Tensor, "batch node feature"]
State = tuple[Float[Tensor, "batch node unit"], ...]
"""What the neighbours of each node see, h, then whatever else its update remembers."""


class Graph(NamedTuple):
    """A graph for each item of a batch, all with as many nodes; a node hears from its neighbours."""

    nodes: Nodes
    """What is known of each node, x."""
    neighbours: Int64[Tensor, "node neighbour"] | None
    """Whom each node hears from, the same in every graph; None for complete graphs, in which that is all nodes."""
    heard: Bool[Tensor, " batch #node neighbour"] | None
    """Whose messages count; None for all."""
    edges: Float[Tensor, " batch #node #neighbour edge"] | None
    """What is known of each edge, e."""
    present: Bool[Tensor, "batch node"] | None
    """Which nodes are there; None for all."""


class GraphEncoder(Encoder):
    """Makes a `Graph` of each item of a batch.

    Attributes:
        size: features of a node.
        edge_size: features of an edge; 0 where nothing is known of edges.
    """

    edge_size: int


class Messages(nn.Module):
    """sum_{i in N(j)} f(h_i, h_j, e_ij) for every node j, eq. 1 and 2; f is a perceptron with a linear last layer.

    Both ends of f are linear, and both are moved off the edges, of which there are many, to the nodes: the first layer
    is applied before the nodes are paired, W [h_i; h_j; e] = W_1 h_i + W_2 h_j + W_3 e, and the last one after the sum,
    sum (W m + b) = W sum m + degree b.

    Args:
        dimension: features of a node and of a message.
        edge_size: features of an edge; may be 0.
        hidden: units of each hidden layer of f.
    """

    def __init__(self, dimension: PositiveInt, edge_size: int, hidden: Sequence[PositiveInt]) -> None:
        super().__init__()
        self.sizes = [dimension, dimension, edge_size]
        self.first = nn.Linear(sum(self.sizes), hidden[0])
        self.layers = nn.ModuleList(nn.Linear(*shape) for shape in pairwise(hidden))
        self.last = nn.Linear(hidden[-1], dimension)

    def told(self, edges: Tensor) -> Float[Tensor, " batch #node #neighbour unit"]:
        """What the first layer makes of the edges, the same at every step."""
        return F.linear(edges, self.first.weight.split(self.sizes, dim=1)[2])

    def forward(self, hidden: Nodes, graph: Graph, told: Tensor | None) -> Nodes:
        senders, receivers, _ = self.first.weight.split(self.sizes, dim=1)
        sent = F.linear(hidden, senders)
        own = F.linear(hidden, receivers, self.first.bias)[:, :, None]
        if told is not None:
            own = own + told
        pairs = own + (sent[:, None] if graph.neighbours is None else sent[:, graph.neighbours])
        pairs = pairs.relu_()
        for layer in self.layers:
            pairs = layer(pairs).relu_()
        if graph.heard is None:
            degree: Tensor | int = pairs.shape[2]
            received = pairs.sum(2)
        else:
            heard = graph.heard.to(pairs.dtype)
            degree = heard.sum(2, keepdim=True)
            received = (heard[:, :, None] @ pairs).squeeze(2)
        return F.linear(received, self.last.weight) + degree * self.last.bias


class LSTMUpdate(nn.Module):
    """h, c <- LSTM(MLP([x, m]), h, c), section 3; the released code starts h and c with zeros.

    Args:
        dimension: features of a node.
        hidden: units of each hidden layer of the perceptron.
    """

    def __init__(self, dimension: PositiveInt, hidden: Sequence[PositiveInt]) -> None:
        super().__init__()
        self.mix = perceptron([2 * dimension, *hidden, dimension])
        self.input_weight = nn.Parameter(torch.empty(4 * dimension, dimension))
        self.recurrent_weight = nn.Parameter(torch.empty(4 * dimension, dimension))
        self.bias = nn.Parameter(torch.zeros(4 * dimension))
        bound = (6 / (2 * dimension + 4 * dimension)) ** 0.5  # Xavier's, of both matrices as one
        for weight in (self.input_weight, self.recurrent_weight):
            nn.init.uniform_(weight, -bound, bound)
        nn.init.ones_(self.bias.data[dimension : 2 * dimension])  # the gate that forgets begins open, as in the code

    def start(self, nodes: Nodes) -> State:
        return nodes, torch.zeros_like(nodes), torch.zeros_like(nodes)

    def forward(self, nodes: Nodes, message: Nodes, state: State) -> State:
        mixed = self.mix(torch.cat([nodes, message], dim=2))
        _, recurrent, cell = state
        gates = F.linear(mixed, self.input_weight, self.bias) + F.linear(recurrent, self.recurrent_weight)
        enter, forget, new, leave = gates.chunk(4, dim=2)
        cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
        hidden = leave.sigmoid() * cell.tanh()
        return hidden, hidden, cell


class MLPUpdate(nn.Module):
    """h <- MLP([x, h, m]).

    Args:
        dimension: features of a node.
        hidden: units of each hidden layer of the perceptron.
    """

    def __init__(self, dimension: PositiveInt, hidden: Sequence[PositiveInt]) -> None:
        super().__init__()
        self.mix = perceptron([3 * dimension, *hidden, dimension])

    def start(self, nodes: Nodes) -> State:
        return (nodes,)

    def forward(self, nodes: Nodes, message: Nodes, state: State) -> State:
        return (self.mix(torch.cat([nodes, state[0], message], dim=2)),)


class RecurrentRelationalNetwork(nn.Module):
    """h_j <- g(h_j, x_j, sum_i f(h_i, h_j, e_ij)) from h = x, for as many steps as one likes; eq. 1 to 3.

    Args:
        messages: f, and its sum over the neighbours.
        update: g.
        checkpointing: keep only the states between steps and compute the rest again in the backward pass.
    """

    def __init__(self, messages: Messages, update: LSTMUpdate | MLPUpdate, checkpointing: bool) -> None:
        super().__init__()
        self.messages = messages
        self.update = update
        self.checkpointing = checkpointing

    def forward(self, graph: Graph) -> Iterator[Nodes]:
        """The nodes after step 1, 2, 3, ... without end."""
        state = self.update.start(graph.nodes)
        told = None if graph.edges is None else self.messages.told(graph.edges)
        while True:
            if self.checkpointing and torch.is_grad_enabled():
                state = checkpoint(self._step, graph, told, state, use_reentrant=False)
            else:
                state = self._step(graph, told, state)
            yield state[0]

    def _step(self, graph: Graph, told: Tensor | None, state: State) -> State:
        return self.update(graph.nodes, self.messages(state[0], graph, told), state)


class QuestionNetwork(nn.Module):
    """Answers a question at every step from the sum of all nodes (sections 3.1 and 3.2).

    Args:
        graph: makes the graphs of a batch; their nodes know the question.
        dimension: features of a node.
        hidden_layers: of each perceptron but the readout.
        update: lstm, as for bAbI, or mlp, as for Pretty-CLEVR.
        readout: units of each hidden layer between the sum and the answers.
        dropout: rate of the dropout after the last of them, in training.
        answers: logits.
        steps: steps of messages.
        checkpointing: compute each step again in the backward pass to save memory.
    """

    def __init__(
        self,
        graph: GraphEncoder,
        dimension: PositiveInt,
        hidden_layers: PositiveInt,
        update: Literal["lstm", "mlp"],
        readout: Sequence[PositiveInt],
        dropout: Rate,
        answers: PositiveInt,
        steps: PositiveInt,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        self.graph = graph
        hidden = [dimension] * hidden_layers
        self.encode = perceptron([graph.size, *hidden, dimension])
        self.relations = RecurrentRelationalNetwork(
            Messages(dimension, graph.edge_size, hidden),
            (LSTMUpdate if update == "lstm" else MLPUpdate)(dimension, hidden),
            checkpointing,
        )
        self.readout = perceptron([dimension, *readout, answers], dropout=dropout)
        self.steps = steps
        initialize(self)

    def forward(self, batch: Any) -> Float[Tensor, "step batch answer"]:
        graph = self.graph(batch)
        graph = graph._replace(nodes=self.encode(graph.nodes))
        states = torch.stack(list(islice(self.relations(graph), self.steps)))
        if graph.present is not None:
            states = states * graph.present[..., None]
        return self.readout(states.sum(2))


class SudokuNetwork(nn.Module):
    """Cells that tell the 20 others in their row, column and box what they may be (section 3.3).

    Args:
        size: digits of a puzzle, which has as many rows, columns and boxes.
        neighbours: (2, edges): the pairs of cells that must differ, in both directions; as many of each cell.
        embedding: features of the embeddings of digit, row and column.
        dimension: features of a cell.
        hidden_layers: of each of the three perceptrons.
        checkpointing: compute each step again in the backward pass to save memory.
    """

    neighbours: Tensor

    def __init__(
        self,
        size: PositiveInt,
        neighbours: Int64[Tensor, "2 edge"],
        embedding: PositiveInt,
        dimension: PositiveInt,
        hidden_layers: PositiveInt,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        self.size = size
        self.digit = nn.Embedding(size + 1, embedding)
        self.row = nn.Embedding(size, embedding)
        self.column = nn.Embedding(size, embedding)
        hidden = [dimension] * hidden_layers
        self.encode = perceptron([3 * embedding, *hidden, dimension])
        self.relations = RecurrentRelationalNetwork(
            Messages(dimension, 0, hidden), LSTMUpdate(dimension, hidden), checkpointing
        )
        self.decode = nn.Linear(dimension, size + 1)
        receiver, sender = neighbours
        by_receiver = sender[receiver.argsort(stable=True)].view(size**2, -1)
        self.register_buffer("neighbours", by_receiver, persistent=False)
        initialize(self)

    def forward(
        self, givens: Int64[Tensor, "batch cell"], steps: PositiveInt
    ) -> Float[Tensor, "step batch cell digit"]:
        """The logits of digits 0 (empty, never right), 1, 2, ... of every cell after each of `steps` steps."""
        return torch.stack(list(islice(self.logits(givens), steps)))

    def logits(self, givens: Int64[Tensor, "batch cell"]) -> Iterator[Float[Tensor, "batch cell digit"]]:
        """The logits after step 1, 2, 3, ... without end."""
        cell = torch.arange(self.size**2, device=givens.device)
        places = torch.cat([self.row(cell // self.size), self.column(cell % self.size)], dim=1)
        known = torch.cat([self.digit(givens), places.expand(len(givens), -1, -1)], dim=2)
        graph = Graph(self.encode(known), self.neighbours, None, None, None)
        return (self.decode(hidden) for hidden in self.relations(graph))


def initialize(network: nn.Module) -> None:
    """Xavier's uniform weights for linear layers and embeddings, and zero biases, as in the released code."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.xavier_uniform_(module.weight)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
