"""SR(n) and SRC(n, u): the distribution, the twins, the cores."""

from itertools import islice, product

import numpy as np
import pytest
from pysat.solvers import Solver

from paperzoo.data.logic.sr import CORES, Core, Pair, core_pair, expected_clauses, random_clauses, sr_pair
from paperzoo.logic.cnf import Formula


def generator(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def sr_pairs(variables: int, count: int) -> list[Pair]:
    return [sr_pair(variables, generator(variables, index)) for index in range(count)]


def core_pairs(core: Core, variables: int, count: int) -> list[Pair]:
    return [core_pair(core, variables, generator(variables, index)) for index in range(count)]


def solvable(clauses: list[list[int]]) -> bool:
    """Asks another solver than the generator does."""
    with Solver("glucose4", bootstrap_with=clauses) as solver:
        return bool(solver.solve())


def models(formula: Formula) -> int:
    """Counts the satisfying assignments of a small formula by going through all of them."""
    assignments = np.array(list(product([False, True], repeat=formula.variables)))
    satisfied = np.ones(len(assignments), dtype=bool)
    for clause in formula.clauses():
        literals = np.array(clause)
        satisfied &= (assignments[:, abs(literals) - 1] == (literals > 0)).any(axis=1)
    return int(satisfied.sum())


def test_clause_lengths_follow_the_published_distribution() -> None:
    count = 40_000
    lengths = np.array([len(clause) for clause in islice(random_clauses(40, generator(0)), count)])
    assert lengths.min() == 2
    assert abs(lengths.mean() - 4.2) < 4 * lengths.std() / count**0.5
    for k in range(2, 9):  # a Bernoulli(0.7) and a geometric variable from 1 on, added to 1
        share = 0.3 * 0.4 * 0.6 ** (k - 2) + (0.7 * 0.4 * 0.6 ** (k - 3) if k > 2 else 0)
        assert abs((lengths == k).mean() - share) < 4 * (share * (1 - share) / count) ** 0.5


def test_clauses_have_distinct_variables_all_alike_and_half_of_them_negated() -> None:
    variables, count = 20, 20_000
    clauses = list(islice(random_clauses(variables, generator(1)), count))
    assert all(len({abs(literal) for literal in clause}) == len(clause) for clause in clauses)
    for place in range(2):
        literals = np.array([clause[place] for clause in clauses])
        share = np.bincount(abs(literals), minlength=variables + 1)[1:] / count
        assert abs(share - 1 / variables).max() < 5 * (1 / variables / count) ** 0.5
        assert abs((literals > 0).mean() - 0.5) < 4 * 0.5 / count**0.5


def test_a_clause_has_at_most_all_variables() -> None:
    clauses = list(islice(random_clauses(3, generator(0)), 1000))
    assert {len(clause) for clause in clauses} == {2, 3}


# n: (mean number of clauses, of the sheet's simulation)
SIZES = {3: 19.1, 5: 38.8, 10: 68.4, 20: 121.9, 40: 228.1, 80: 438.0}


@pytest.mark.parametrize("variables", SIZES)
def test_pairs_have_as_many_clauses_as_the_published_ones(variables: int) -> None:
    clauses = np.array([len(pair.unsatisfiable.lengths) for pair in sr_pairs(variables, 200)])
    error = clauses.std() / len(clauses) ** 0.5
    assert abs(clauses.mean() - SIZES[variables]) < 4 * error
    if variables == 40:
        assert abs(clauses.std() - 29) < 4 * 29 / (2 * len(clauses)) ** 0.5


@pytest.mark.parametrize("variables", [1, 2, 6, 15, 60])
def test_the_expected_number_of_clauses_is_about_the_mean(variables: int) -> None:
    clauses = np.array([len(pair.unsatisfiable.lengths) for pair in sr_pairs(variables, 200)])
    error = clauses.std() / len(clauses) ** 0.5
    assert abs(clauses.mean() - expected_clauses(variables)) < 4 * error + 0.02 * expected_clauses(variables)


def test_the_expected_number_of_clauses_grows_beyond_what_was_measured() -> None:
    assert expected_clauses(400) - expected_clauses(300) == pytest.approx(100 * 5.3, rel=0.05)


@pytest.mark.parametrize("variables", [3, 10, 40])
def test_twins_differ_in_the_sign_of_the_first_literal_of_the_last_clause(variables: int) -> None:
    for pair in sr_pairs(variables, 20):
        unsatisfiable, satisfiable = pair.unsatisfiable.clauses(), pair.satisfiable.clauses()
        assert unsatisfiable[:-1] == satisfiable[:-1]
        assert unsatisfiable[-1][0] == -satisfiable[-1][0]
        assert unsatisfiable[-1][1:] == satisfiable[-1][1:]


@pytest.mark.parametrize("variables", [3, 10, 40, 100])
def test_only_the_last_clause_makes_the_one_twin_unsatisfiable(variables: int) -> None:
    for pair in sr_pairs(variables, 20):
        clauses = pair.unsatisfiable.clauses()
        assert not solvable(clauses)
        assert solvable(clauses[:-1])
        assert solvable(pair.satisfiable.clauses())


@pytest.mark.parametrize("variables", [1, 2, 3, 7, 10])
def test_trying_all_assignments_agrees(variables: int) -> None:
    for pair in sr_pairs(variables, 20):
        assert models(pair.unsatisfiable) == 0
        assert models(pair.satisfiable) > 0


@pytest.mark.parametrize("solver", ["glucose4", "maplesat", "cadical195", "lingeling"])
def test_twins_do_not_depend_on_the_solver(solver: str) -> None:
    for variables in (5, 40):
        for index in range(10):
            ours, theirs = (sr_pair(variables, generator(index), name) for name in ("minisat22", solver))
            assert ours.unsatisfiable.clauses() == theirs.unsatisfiable.clauses()
            assert ours.flipped == theirs.flipped


def test_twins_are_a_function_of_the_generators_state() -> None:
    first, again, other = (sr_pair(20, generator(seed)).unsatisfiable.clauses() for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_blocks_of_random_numbers_stay_small_for_any_number_of_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paperzoo.data.logic.sr.BLOCK", 100)
    clauses = list(islice(random_clauses(1000, generator(0)), 5))  # blocks of a single clause
    assert len({tuple(clause) for clause in clauses}) == 5


@pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
def test_a_core_is_unsatisfiable_and_cannot_spare_a_clause(core: Core) -> None:
    clauses = [list(clause) for clause in core.clauses]
    assert models(Formula.from_clauses(core.variables, clauses)) == 0
    for index in range(len(clauses)):
        assert models(Formula.from_clauses(core.variables, clauses[:index] + clauses[index + 1 :])) > 0
    assert {abs(literal) for literal in core.literals} == set(range(1, core.variables + 1))


def test_the_cores_have_the_published_sizes() -> None:
    sizes = {name: (core.variables, len(core.clauses)) for name, core in CORES.items()}
    assert sizes == {"knuth_r": (4, 8), "pigeonhole_2_1": (2, 3), "pigeonhole_3_2": (6, 9)}


@pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
def test_negating_any_one_literal_makes_a_core_satisfiable(core: Core) -> None:
    for i, clause in enumerate(core.clauses):
        for j in range(len(clause)):
            clauses = [list(clause) for clause in core.clauses]
            clauses[i][j] *= -1
            assert models(Formula.from_clauses(core.variables, clauses)) > 0


@pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
def test_only_the_planted_core_tells_the_twins_apart(core: Core) -> None:
    for pair in core_pairs(core, 20, 20):
        unsatisfiable, satisfiable = pair.unsatisfiable.clauses(), pair.satisfiable.clauses()
        size = len(core.clauses)
        assert unsatisfiable[:size] == [list(clause) for clause in core.clauses]
        assert satisfiable[:size] == core.made_satisfiable
        assert unsatisfiable[size:] == satisfiable[size:]
        assert sum(pair.unsatisfiable.literals != pair.satisfiable.literals) == 1
        assert not solvable(unsatisfiable)
        assert solvable(satisfiable)
        assert solvable(unsatisfiable[size:])
        assert set(pair.core) == {literal for clause in core.clauses for literal in clause}


@pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
def test_the_random_clauses_around_a_core_are_one_flip_from_unsatisfiable(core: Core) -> None:
    for pair in core_pairs(core, 20, 20):
        *clauses, last = pair.satisfiable.clauses()
        assert not solvable([*clauses, [-last[0], *last[1:]]])
        assert solvable(clauses)
