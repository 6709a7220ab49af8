"""Problems on graphs: the graphs, that the formulas mean what they should, and the DataModule."""

from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from pysat.solvers import Solver

from paperzoo.config import instantiate
from paperzoo.data.logic.graph_sat import FAMILIES, KINDS, GraphProblems, GraphSat, Sizes, decode
from paperzoo.logic.cnf import Formula, split
from paperzoo.runner.check import target_problems
from tests.data.test_configs import composed

SIZES: Sizes = {"coloring": [3, 4, 5], "clique": [3, 4, 5], "dominating_set": [2, 3, 4], "vertex_cover": [4, 5, 6]}
DISTRIBUTION = GraphProblems(10, 17, tuple(FAMILIES), SIZES)


def solution(formula: Formula) -> np.ndarray | None:
    with Solver("cadical195", bootstrap_with=formula.clauses()) as solver:
        true = set(solver.get_model()) if solver.solve() else None
    return None if true is None else np.array([v in true for v in range(1, formula.variables + 1)])


def is_coloring(graph: nx.Graph, k: int, colors: np.ndarray) -> bool:
    return set(colors.tolist()) <= set(range(k)) and all(colors[u] != colors[v] for u, v in graph.edges)


def is_clique(graph: nx.Graph, k: int, chosen: np.ndarray) -> bool:
    nodes = np.flatnonzero(chosen).tolist()
    return len(nodes) == k and all(graph.has_edge(u, v) for u, v in combinations(nodes, 2))


def is_dominating_set(graph: nx.Graph, k: int, chosen: np.ndarray) -> bool:
    nodes = set(np.flatnonzero(chosen).tolist())
    return len(nodes) <= k and all(v in nodes or nodes & set(graph[v]) for v in graph)


def is_vertex_cover(graph: nx.Graph, k: int, chosen: np.ndarray) -> bool:
    return chosen.sum() <= k and all(chosen[u] or chosen[v] for u, v in graph.edges)


CHECKS: dict[str, Callable[[nx.Graph, int, np.ndarray], bool]] = {
    "coloring": is_coloring,
    "clique": is_clique,
    "dominating_set": is_dominating_set,
    "vertex_cover": is_vertex_cover,
}


def small_graphs() -> list[nx.Graph]:
    random = [nx.gnp_random_graph(6, density, seed=seed) for density in (0.2, 0.5, 0.8) for seed in range(4)]
    return [nx.empty_graph(6), nx.complete_graph(6), nx.star_graph(5), nx.cycle_graph(5), nx.empty_graph(1), *random]


@pytest.mark.parametrize("kind", KINDS)
def test_the_formula_can_be_satisfied_if_and_only_if_the_graph_has_what_is_asked_for(kind: Any) -> None:
    answers = set()
    for graph in small_graphs():
        for k in range(1, 5):
            values = product(range(k if kind == "coloring" else 2), repeat=len(graph))
            exists = any(CHECKS[kind](graph, k, np.array(value)) for value in values)
            found = solution(KINDS[kind](graph, k))
            assert (found is not None) == exists, (graph.edges, k)
            if found is not None:
                assert CHECKS[kind](graph, k, decode(kind, k, len(graph), found))
            answers.add(exists)
    assert answers == {True, False}


@pytest.mark.parametrize("family", FAMILIES)
def test_solutions_of_generated_problems_are_solutions_on_the_graph(family: Any) -> None:
    for number in range(3):
        graph = DISTRIBUTION.graph(family, "test", number)
        for kind, k in DISTRIBUTION.questions:
            problem = DISTRIBUTION.problem(graph, kind, k)
            found = solution(problem.formula)
            assert problem.satisfiable == (found is not None)
            if found is not None:
                assert CHECKS[kind](graph, k, decode(kind, k, 10, found))


def test_a_maximum_clique_is_what_networkx_finds() -> None:
    for number in range(10):
        graph = DISTRIBUTION.graph("erdos_renyi", "clique", number)
        largest = max(map(len, nx.find_cliques(graph)))
        assert DISTRIBUTION.problem(graph, "clique", largest).satisfiable
        assert not DISTRIBUTION.problem(graph, "clique", largest + 1).satisfiable


@pytest.mark.parametrize(
    ("kind", "clauses"),
    [
        ("coloring", lambda n, m, k: n + n * k * (k - 1) // 2 + m * k),
        ("clique", lambda n, m, k: k + k * n * (n - 1) // 2 + k * (k - 1) // 2 * (n * n - m)),
        (
            "vertex_cover",
            lambda n, m, k: m + n + n * k + k * n * (n - 1) // 2 + n * (n - 1) // 2 * (k * (k - 1) // 2),
        ),
    ],
)
def test_formulas_have_as_many_clauses_as_their_documentation_says(kind: Any, clauses: Callable[..., int]) -> None:
    for k in (2, 3, 4):
        graph = nx.gnm_random_graph(9, 15, seed=k)
        assert len(KINDS[kind](graph, k).lengths) == clauses(9, 15, k)


@pytest.mark.parametrize("family", FAMILIES)
def test_ten_nodes_have_about_seventeen_edges(family: Any) -> None:
    graphs = [DISTRIBUTION.graph(family, "edges", number) for number in range(400)]
    assert all(sorted(graph) == list(range(10)) and nx.number_of_selfloops(graph) == 0 for graph in graphs)
    assert abs(np.mean([graph.number_of_edges() for graph in graphs]) - 17) < 1


def test_the_families_are_what_they_are_called() -> None:
    def graphs(family: Any) -> list[nx.Graph]:
        return [DISTRIBUTION.graph(family, "families", number) for number in range(200)]

    assert {graph.number_of_edges() for graph in graphs("barabasi_albert")} == {17}
    assert {graph.number_of_edges() for graph in graphs("static_power_law")} == {17}
    assert {tuple(set(dict(graph.degree).values())) for graph in graphs("random_regular")} == {(3,), (4,)}
    assert all(nx.is_connected(graph) for graph in [*graphs("forest_fire"), *graphs("barabasi_albert")])
    degrees = np.mean([[degree for _, degree in sorted(graph.degree)] for graph in graphs("static_power_law")], axis=0)
    assert degrees[0] > 1.5 * degrees[4] > 1.5 * degrees[9]
    transitivity = {family: np.mean([nx.transitivity(graph) for graph in graphs(family)]) for family in FAMILIES}
    assert transitivity["random_geometric"] > transitivity["erdos_renyi"] + 0.2  # near points have the same neighbours


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("nodes", "edges"), [(2, 1), (3, 2), (5, 9), (7, 6), (21, 60)])
def test_graphs_of_other_sizes_can_be_made(family: Any, nodes: int, edges: int) -> None:
    other = GraphProblems(nodes, edges, (family,), SIZES)
    assert {len(other.graph(family, "other", number)) for number in range(5)} == {nodes}


def data(tmp_path: Path, *overrides: str) -> GraphSat:
    small = ["data.workers=0", "data.test_graphs=2", "data.validation_graphs=1", *overrides]
    made = instantiate(composed("graph_sat", tmp_path, *small))
    assert isinstance(made, GraphSat)
    return made


def test_the_config_fits_its_class_and_is_the_papers(tmp_path: Path) -> None:
    node = composed("graph_sat", tmp_path)
    assert target_problems(node, "data") == []
    assert node["sizes"] == SIZES
    assert node["families"] == list(FAMILIES)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.edges=41", "data.edges=41: with nodes=10 choose at most 40"),
        ("data.nodes=1", "data.nodes=1"),
        ("data.families=[]", "data.families=[]: name at least one of erdos_renyi, "),
        ("data.families=[small_world]", "data.families"),
        ("data.sizes.clique=[0]", "data.sizes"),
        ("+data.sizes.matching=[3]", "data.sizes"),
        ("data.sizes={coloring:[],clique:[],dominating_set:[],vertex_cover:[]}", "data.sizes={'coloring': []"),
        ("data.path=nowhere", "data.path=nowhere"),
    ],
)
def test_wrong_values_are_problems(tmp_path: Path, override: str, message: str) -> None:
    problems = target_problems(composed("graph_sat", tmp_path, override), "data")
    assert problems
    assert all(problem.startswith(message) for problem in problems)


def test_each_graph_gives_twelve_problems_named_and_grouped_by_kind(tmp_path: Path) -> None:
    module = data(tmp_path)
    module.setup("test")
    assert module.names.kinds == ("coloring", "clique", "dominating_set", "vertex_cover")
    names = module.item_names()
    assert len(set(names)) == len(names) == 2 * 6 * 12
    assert names[0] == "erdos_renyi/0000/coloring_3"
    batches = list(module.test_dataloader())
    groups = torch.cat([batch.group for batch in batches]).tolist()
    assert [module.names.kinds[group] for group in groups] == [name.split("/")[2].rsplit("_", 1)[0] for name in names]
    assert {int(answer) for batch in batches for answer in batch.satisfiable} == {0, 1}


def test_kinds_without_sizes_are_left_out(tmp_path: Path) -> None:
    module = data(tmp_path, "data.sizes.coloring=[]", "data.sizes.clique=[4]")
    assert module.names.kinds == ("clique", "dominating_set", "vertex_cover")
    assert {problem.group for problem in module.problems("test")} == {0, 1, 2}
    assert len(module.problems("test")) == 2 * 6 * 7


def test_the_seed_alone_decides_what_is_generated(tmp_path: Path) -> None:
    one, again, other = data(tmp_path), data(tmp_path, "data.test_graphs=3"), data(tmp_path, "data.seed=4")
    formulas = [{p.name: p.formula.clauses() for p in module.problems("test")} for module in (one, again, other)]
    assert formulas[0].items() <= {k: v for k, v in formulas[1].items() if k in formulas[0]}.items()
    assert formulas[0] != formulas[2]
    assert [p.formula.clauses() for p in one.problems("val")] != [
        p.formula.clauses() for p in one.problems("test")[: len(one.problems("val"))]
    ]


def test_training_batches_are_functions_of_seed_and_number_and_fit_the_limit(tmp_path: Path) -> None:
    stream, again = (data(tmp_path, "data.batch_nodes=6000").training() for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(stream[7], again[7], strict=True))
    assert not torch.equal(stream[7].cell_literal, stream[8].cell_literal)
    answers, groups = set(), set()
    for number in range(5):
        batch = stream[number]
        assert 4000 < sum(formula.nodes for formula in split(batch)) <= 6000
        answers |= set(batch.satisfiable.tolist())
        groups |= set(batch.group.tolist())
    assert answers == {0, 1}
    assert groups == {0, 1, 2, 3}


def test_the_initial_batch_is_the_first_of_training(tmp_path: Path) -> None:
    module = data(tmp_path, "data.batch_nodes=2000")
    module.setup("fit")
    first, trained = module.initial_batch(2000), next(iter(module.train_dataloader()))
    assert all(map(torch.equal, first, trained))


def test_about_two_thirds_of_the_problems_can_be_solved(tmp_path: Path) -> None:
    """The paper has 4,888 satisfiable problems; 106 graphs of each of six families give 7,632."""
    problems = data(tmp_path, "data.test_graphs=40").problems("test")
    assert abs(np.mean([problem.satisfiable for problem in problems]) - 4888 / 7632) < 0.06
