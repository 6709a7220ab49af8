"""Problems on small random graphs as SAT problems (Selsam et al. 2019, section 7): far from what NeuroSAT trained on.

The paper names the problems and the distributions of graphs, and made its formulas with CNFgen by a script that is
lost. The encodings here are ours: the usual ones over places and orders, whose number of clauses is near CNFgen's.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, count, product
from typing import Annotated, Any, Literal, Unpack

import networkx as nx
import numpy as np
from annotated_types import Ge
from jaxtyping import Bool, Int64
from pydantic import PositiveInt
from torch.utils.data import Dataset

from paperzoo.batches import SatProblems
from paperzoo.data.logic.sat import (
    Evaluated,
    Problem,
    SatArguments,
    SatData,
    batch_of,
    formula_nodes,
    is_satisfiable,
    packed,
)
from paperzoo.datamodule import stream_seed
from paperzoo.logic.cnf import Formula

FamilyName = Literal[
    "erdos_renyi", "barabasi_albert", "forest_fire", "random_regular", "static_power_law", "random_geometric"
]
KindName = Literal["coloring", "clique", "dominating_set", "vertex_cover"]
Sizes = dict[KindName, list[PositiveInt]]

# The forward burning is the paper's, as a file of its authors is named; the backward ratio brings 10 nodes to 17 edges.
FORWARD_BURNING, BACKWARD_RATIO = 0.75, 0.1
POWER_LAW_EXPONENT = 3.0  # of the degrees, as in Barabasi and Albert's graphs

# Part of all pairs of nodes that may be edges: the families need room for chance.
MAX_DENSITY = 0.9


def erdos_renyi(nodes: int, edges: int, generator: np.random.Generator) -> nx.Graph:
    """Every pair is an edge with the same probability; `edges` is the mean."""
    return nx.gnp_random_graph(nodes, edges / _pairs(nodes), seed=_networkx_seed(generator))


def barabasi_albert(nodes: int, edges: int, generator: np.random.Generator) -> nx.Graph:
    """Each new node attaches to m others, preferably to those of high degree; begins with m + 1 nodes, all connected.

    m is chosen such that the number of edges, always the same, is as near to `edges` as it can be (10, 17: m = 2).
    """
    attachments = min(range(1, nodes), key=lambda m: abs(_pairs(m + 1) + m * (nodes - m - 1) - edges))
    start = nx.complete_graph(attachments + 1)
    return nx.barabasi_albert_graph(nodes, attachments, seed=_networkx_seed(generator), initial_graph=start)


def forest_fire(nodes: int, edges: int, generator: np.random.Generator) -> nx.Graph:
    """Each new node links to a random one and to all that the fire reaches from there (Leskovec et al. 2005).

    At each node that burns, the fire goes on along geometrically many of its links to nodes that do not burn yet: with
    mean p / (1 - p) along those that it made, p the forward burning probability, and with that times the backward ratio
    for p along those made to it. The number of edges follows from these (10 nodes: 17.3 on average), not from `edges`.
    """
    made: list[list[int]] = [[] for _ in range(nodes)]
    received: list[list[int]] = [[] for _ in range(nodes)]
    for new in range(1, nodes):
        burning = [int(generator.integers(new))]
        for node in burning:  # grows while it burns
            for links, probability in (
                (made[node], FORWARD_BURNING),
                (received[node], BACKWARD_RATIO * FORWARD_BURNING),
            ):
                spread = int(generator.geometric(1 - probability)) - 1
                unburnt = [link for link in links if link not in burning]
                burning.extend(generator.permutation(unburnt)[:spread].tolist() if unburnt else [])
        made[new] = burning
        for node in burning:
            received[node].append(new)
    return _graph(nodes, [(new, node) for new in range(nodes) for node in made[new]])


def random_regular(nodes: int, edges: int, generator: np.random.Generator) -> nx.Graph:
    """All nodes have the same degree: one of the two possible ones next to the mean degree (10, 17: 3 or 4)."""
    mean, step = 2 * edges / nodes, 1 + nodes % 2  # no graph has an odd number of nodes of odd degree
    low = int(mean // step) * step
    degree = low + step * bool(generator.random() < (mean - low) / step)
    return nx.random_regular_graph(degree, nodes, seed=_networkx_seed(generator))


def static_power_law(nodes: int, edges: int, generator: np.random.Generator) -> nx.Graph:
    """Exactly `edges` pairs, drawn with probability proportional to the fitness of both ends (Goh et al. 2001).

    Node i = 1, 2, ... has the fitness i ** (-1 / (exponent - 1)), for degrees that follow a power law.
    """
    fitness = np.arange(1, nodes + 1) ** (-1 / (POWER_LAW_EXPONENT - 1))
    pairs = np.array(list(combinations(range(nodes), 2)))
    weight = fitness[pairs].prod(axis=1)
    chosen = generator.choice(len(pairs), edges, replace=False, p=weight / weight.sum())
    return _graph(nodes, pairs[np.sort(chosen)].tolist())


def random_geometric(nodes: int, edges: int, generator: np.random.Generator) -> nx.Graph:
    """Points in the unit square, connected if they are near; `edges` is the mean."""
    radii = np.linspace(0, 1, 1001)
    probability = np.pi * radii**2 - 8 / 3 * radii**3 + radii**4 / 2  # that two points are nearer than this
    radius = float(np.interp(edges / _pairs(nodes), probability, radii))
    return nx.random_geometric_graph(nodes, radius, seed=_networkx_seed(generator))


FAMILIES: dict[FamilyName, Callable[[int, int, np.random.Generator], nx.Graph]] = {
    "erdos_renyi": erdos_renyi,
    "barabasi_albert": barabasi_albert,
    "forest_fire": forest_fire,
    "random_regular": random_regular,
    "static_power_law": static_power_law,
    "random_geometric": random_geometric,
}


def _pairs(nodes: int) -> int:
    return nodes * (nodes - 1) // 2


def _networkx_seed(generator: np.random.Generator) -> int:
    return int(generator.integers(2**32))


def _graph(nodes: int, edges: Sequence[Sequence[int]]) -> nx.Graph:
    graph = nx.empty_graph(nodes)
    graph.add_edges_from(edges)
    return graph


def coloring(graph: nx.Graph, k: int) -> Formula:
    """Each node has one of k colours, and another than its neighbours.

    Variable 1 + v k + c: node v has colour c. Clauses: a colour for each node, n; not two, n k (k - 1) / 2; for each
    edge and colour not that one at both ends, m k.
    """
    nodes = len(graph)
    has = 1 + np.arange(nodes * k).reshape(nodes, k)
    some = has.tolist()
    single = [[-one, -other] for row in has.tolist() for one, other in combinations(row, 2)]
    proper = [[-int(has[u, c]), -int(has[v, c])] for u, v in graph.edges for c in range(k)]
    return Formula.from_clauses(nodes * k, [*some, *single, *proper])


def clique(graph: nx.Graph, k: int) -> Formula:
    """k nodes are connected, each with each.

    Variable 1 + i n + v: the i-th of them is node v; they are in order, or one clique would be k! solutions. Clauses:
    a node for each place, k; not two, k n (n - 1) / 2; for places i < j not the nodes u and v, unless u < v and they
    are connected, k (k - 1) / 2 (n^2 - m).
    """
    nodes = len(graph)
    is_node = 1 + np.arange(k * nodes).reshape(k, nodes)
    some = is_node.tolist()
    single = [[-one, -other] for row in is_node.tolist() for one, other in combinations(row, 2)]
    connected = [
        [-int(is_node[i, u]), -int(is_node[j, v])]
        for i, j in combinations(range(k), 2)
        for u, v in product(range(nodes), repeat=2)
        if not (u < v and graph.has_edge(u, v))
    ]
    return Formula.from_clauses(k * nodes, [*some, *single, *connected])


def dominating_set(graph: nx.Graph, k: int) -> Formula:
    """At most k nodes are chosen, and each node is chosen or next to a chosen one; see `at_most`.

    One clause more for each neighbourhood (nodes with the same neighbourhood share it).
    """
    neighbourhoods = dict.fromkeys(tuple(sorted({v, *graph[v]})) for v in range(len(graph)))
    return at_most(k, len(graph), list(neighbourhoods))


def vertex_cover(graph: nx.Graph, k: int) -> Formula:
    """At most k nodes are chosen, and one end or both of each edge; see `at_most`.

    One clause more for each edge.
    """
    return at_most(k, len(graph), [tuple(sorted(edge)) for edge in graph.edges])


def at_most(k: int, nodes: int, hit: Sequence[Sequence[int]]) -> Formula:
    """At most k nodes are chosen, and one of each of the sets `hit`.

    Variable 1 + v: node v is chosen; 1 + n + v k + i: it is at place i of k, which are taken in order. Clauses: one for
    each set; a place for each chosen node, n; no place for others, n k; not two nodes at a place, k n (n - 1) / 2; not
    u behind v for u < v, n (n - 1) / 2 k (k - 1) / 2.
    """
    chosen = 1 + np.arange(nodes)
    place = 1 + nodes + np.arange(nodes * k).reshape(nodes, k)
    sets = [[int(chosen[v]) for v in nodes_hit] for nodes_hit in hit]
    placed = [[-int(chosen[v]), *place[v].tolist()] for v in range(nodes)]
    only_chosen = [[-int(place[v, i]), int(chosen[v])] for v in range(nodes) for i in range(k)]
    single = [[-one, -other] for column in place.T.tolist() for one, other in combinations(column, 2)]
    in_order = [
        [-int(place[u, j]), -int(place[v, i])]
        for u, v in combinations(range(nodes), 2)
        for i, j in combinations(range(k), 2)
    ]
    return Formula.from_clauses(nodes + nodes * k, [*sets, *placed, *only_chosen, *single, *in_order])


KINDS: dict[KindName, Callable[[nx.Graph, int], Formula]] = {
    "coloring": coloring,
    "clique": clique,
    "dominating_set": dominating_set,
    "vertex_cover": vertex_cover,
}


def decode(
    kind: KindName, k: int, nodes: int, assignment: Bool[np.ndarray, " variable"]
) -> Int64[np.ndarray, " {nodes}"]:
    """What a satisfying assignment says of each node: its colour 0 ... k - 1, or 1 if it is chosen and 0 if not."""
    match kind:
        case "coloring":
            return np.nonzero(assignment.reshape(nodes, k))[1]
        case "clique":
            return assignment.reshape(k, nodes).sum(axis=0)
        case _:
            return assignment[:nodes].astype(np.int64)


@dataclass(frozen=True)
class GraphProblems:
    """A distribution of graphs, and the problems that are posed on each.

    Attributes:
        nodes: nodes of a graph.
        edges: mean number of its edges.
        families: distributions of graphs.
        sizes: for each kind of problem the numbers k of colours or nodes that are asked for.
    """

    nodes: int
    edges: int
    families: tuple[FamilyName, ...]
    sizes: Sizes

    @property
    def kinds(self) -> tuple[KindName, ...]:
        return tuple(kind for kind, sizes in self.sizes.items() if sizes)

    @property
    def questions(self) -> list[tuple[KindName, int]]:
        """(kind, k) of each problem that is posed on a graph."""
        return [(kind, k) for kind in self.kinds for k in self.sizes[kind]]

    def graph(self, family: FamilyName, *stream: int | str) -> nx.Graph:
        """The graph of the random stream of that name."""
        generator = np.random.default_rng(stream_seed(*stream, family))
        return FAMILIES[family](self.nodes, self.edges, generator)

    def problem(self, graph: nx.Graph, kind: KindName, k: int, name: str = "") -> Problem:
        """The problem, labelled by a complete solver."""
        formula = KINDS[kind](graph, k)
        return Problem(name, formula, int(is_satisfiable(formula)), self.kinds.index(kind))

    def evaluation(self, seed: int, part: str, index: int) -> list[Problem]:
        """All problems on graph number `index` of a fixed set that takes the families in turn."""
        number, family = divmod(index, len(self.families))
        name = f"{self.families[family]}/{number:04d}"
        graph = self.graph(self.families[family], seed, part, number)
        return [self.problem(graph, kind, k, f"{name}/{kind}_{k}") for kind, k in self.questions]

    def training(self, seed: int, number: int) -> Iterator[Problem]:
        """Problems without end for training batch `number`: random families and kinds, each on a graph of its own."""
        for index in count():
            stream = (seed, "train", number, index)
            generator = np.random.default_rng(stream_seed(*stream))
            family = self.families[generator.integers(len(self.families))]
            kind, k = self.questions[generator.integers(len(self.questions))]
            yield self.problem(self.graph(family, *stream), kind, k)


class GraphStream(Dataset[SatProblems]):
    """Training batches without end: `stream[number]` is a function of (seed, number) alone.

    Args:
        problems: the distribution.
        nodes: nodes a batch at most, those of the formulas' graphs.
        seed: names the random streams.
    """

    def __init__(self, problems: GraphProblems, nodes: int, seed: int) -> None:
        self.problems, self.nodes, self.seed = problems, nodes, seed

    def __getitem__(self, number: int) -> SatProblems:
        return batch_of(next(packed(self.problems.training(self.seed, number), formula_nodes, self.nodes)))


class GraphSat(SatData):
    """Colourings, cliques, dominating sets and vertex covers of small random graphs, reported kind by kind.

    Args:
        nodes: nodes of a graph.
        edges: mean number of its edges. Barabasi and Albert's graphs have the number next to it that they can have,
            those of a forest fire what the fire makes of them.
        families: distributions of graphs, all equally often.
        sizes: for each kind of problem the numbers k of colours or nodes that are asked for; each graph gives one
            problem for each.
        validation_graphs: graphs of each family for validation.
        test_graphs: graphs of each family for testing. The paper's 4,888 satisfiable problems fit 106 or so.
        others: see `SatData`.
    """

    def __init__(
        self,
        nodes: Annotated[int, Ge(2)],
        edges: PositiveInt,
        families: tuple[FamilyName, ...],
        sizes: Sizes,
        validation_graphs: PositiveInt,
        test_graphs: PositiveInt,
        **others: Unpack[SatArguments],
    ) -> None:
        distribution = GraphProblems(nodes, edges, families, sizes)
        super().__init__(distribution.kinds, **others)
        self.distribution = distribution
        self.graphs: dict[Evaluated, int] = {"val": validation_graphs, "test": test_graphs}

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from super().check(**arguments)
        nodes, edges = arguments["nodes"], arguments["edges"]
        most = int(MAX_DENSITY * _pairs(nodes))
        if edges > most:
            yield f"edges={edges}: with nodes={nodes} choose at most {most}"
        if not arguments["families"]:
            yield f"families=[]: name at least one of {', '.join(FAMILIES)}"
        if not any(arguments["sizes"].values()):
            yield f"sizes={dict(arguments['sizes'])}: name at least one size of one of {', '.join(KINDS)}"

    def generate(self, part: Evaluated) -> list[Problem]:
        graphs = range(self.graphs[part] * len(self.distribution.families))
        made = self.in_processes(partial(self.distribution.evaluation, self.seed, part), graphs)
        return [problem for problems in made for problem in problems]

    def training(self) -> GraphStream:
        return GraphStream(self.distribution, self.batch_nodes, self.seed)
