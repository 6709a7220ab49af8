"""SR(n) and SRC(n, u): random twins, a satisfiable and an unsatisfiable formula that differ in one literal.

Selsam et al. 2019, section 4 and section 8; the lengths of clauses are those of the authors' generator.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pysat.solvers import Solver

from paperzoo.logic.cnf import Formula

# Of python-sat's solvers the fastest on these formulas; the twins are the same with every complete one.
SOLVER = "minisat22"

# A clause has 1 + Bernoulli + Geometric (1, 2, ...) literals, 4.2 on average, but at most one for each variable.
BERNOULLI, GEOMETRIC = 0.7, 0.4

# Random numbers drawn at once, at most.
BLOCK = 2_000_000


@dataclass(frozen=True)
class Core:
    """A small unsatisfiable formula to be planted; none of its clauses can be spared.

    Negating any one literal makes it satisfiable: a model of the other clauses makes the clause of that literal false,
    every literal of it. We negate the first.

    Attributes:
        variables: how many it has; they are called 1 ... `variables`.
        clauses: its clauses, as in DIMACS.
    """

    variables: int
    clauses: tuple[tuple[int, ...], ...]

    @property
    def literals(self) -> tuple[int, ...]:
        """Every literal that occurs in it, once."""
        return tuple(sorted({literal for clause in self.clauses for literal in clause}))

    @property
    def made_satisfiable(self) -> list[list[int]]:
        """The clauses with their first literal negated."""
        first, *others = map(list, self.clauses)
        return [[-first[0], *first[1:]], *others]


CORES = {
    # Rivest's 8 clauses (Knuth, TAOCP 7.2.2.2, eq. 6 and 7)
    "knuth_r": Core(
        4, ((1, 2, -3), (2, 3, -4), (3, 4, 1), (4, -1, 2), (-1, -2, 3), (-2, -3, 4), (-3, -4, -1), (-4, 1, -2))
    ),
    # m pigeons in m - 1 holes: each sits in a hole, no two in the same
    "pigeonhole_2_1": Core(2, ((1,), (2,), (-1, -2))),
    "pigeonhole_3_2": Core(6, ((1, 2), (3, 4), (5, 6), (-1, -3), (-1, -5), (-3, -5), (-2, -4), (-2, -6), (-4, -6))),
}
"""The unsatisfiable cores of section 8."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Twins.

    Attributes:
        unsatisfiable: the formula that cannot be satisfied.
        flipped: index in `unsatisfiable.literals` of the one literal that the satisfiable twin negates.
        core: the literals (v or -v) of the planted core; empty in SR(n).
    """

    unsatisfiable: Formula
    flipped: int
    core: tuple[int, ...] = ()

    @property
    def satisfiable(self) -> Formula:
        literals = self.unsatisfiable.literals.copy()
        literals[self.flipped] *= -1
        return Formula(self.unsatisfiable.variables, literals, self.unsatisfiable.lengths)


def sr_pair(variables: int, generator: np.random.Generator, solver: str = SOLVER) -> Pair:
    """Twins of SR(n): random clauses up to the first that makes them unsatisfiable, whose first literal is flipped.

    Args:
        variables: n.
        generator: where the randomness comes from; the twins are a function of its state.
        solver: python-sat's name of the solver; it decides how long this takes, not what comes out.
    """
    clauses = _until_unsatisfiable([], variables, generator, solver)
    formula = Formula.from_clauses(variables, clauses)
    return Pair(formula, flipped=len(formula.literals) - len(clauses[-1]))


def core_pair(core: Core, variables: int, generator: np.random.Generator, solver: str = SOLVER) -> Pair:
    """Twins of SRC(n, u): the one holds the core u, the other u made satisfiable, and random clauses like SR(n).

    The random clauses are those that make the satisfiable u unsatisfiable; of the last one the first literal is
    flipped, so that u alone decides.

    Args:
        core: u.
        variables: n, at least those of the core, which are the first ones.
        generator: where the randomness comes from; the twins are a function of its state.
        solver: python-sat's name of the solver; it decides how long this takes, not what comes out.
    """
    *clauses, last = _until_unsatisfiable(core.made_satisfiable, variables, generator, solver)
    random = [*clauses[len(core.clauses) :], [-last[0], *last[1:]]]
    return Pair(Formula.from_clauses(variables, [*core.clauses, *random]), flipped=0, core=core.literals)


def random_clauses(variables: int, generator: np.random.Generator) -> Iterator[list[int]]:
    """Clauses of SR(n) without end: distinct variables in random order, each negated half of the time."""
    # a little more than most pairs need, but never much memory
    block = min(16 + 6 * variables, 1 + BLOCK // variables)
    while True:
        lengths = 1 + (generator.random(block) < BERNOULLI) + generator.geometric(GEOMETRIC, block)
        names = 1 + generator.random((block, variables)).argsort(axis=1)[:, : lengths.max()]
        literals = np.where(generator.random(names.shape) < 0.5, names, -names)
        for literal, length in zip(literals.tolist(), lengths.tolist(), strict=True):
            yield literal[:length]


def expected_clauses(variables: int) -> float:
    """About the mean number of clauses of SR(n): measured for 1 <= n <= 200, linear beyond."""
    sizes, clauses = list(_MEAN_CLAUSES), list(_MEAN_CLAUSES.values())
    slope = (clauses[-1] - clauses[-2]) / (sizes[-1] - sizes[-2])
    return float(np.interp(variables, sizes, clauses)) + slope * max(0, variables - sizes[-1])


_MEAN_CLAUSES = {1: 3.0, 2: 8.3, 3: 19.2, 4: 30.4, 5: 38.9, 7: 51.8, 10: 68.2, 20: 121.8, 40: 228, 80: 441, 200: 1079}


def _until_unsatisfiable(
    clauses: list[list[int]], variables: int, generator: np.random.Generator, solver: str
) -> list[list[int]]:
    """`clauses`, which can be satisfied, and random ones up to the first with which they cannot."""
    clauses = list(clauses)
    with Solver(solver, bootstrap_with=clauses) as incremental:
        true: set[int] = set()
        for clause in random_clauses(variables, generator):
            clauses.append(clause)
            incremental.add_clause(clause)
            if true.isdisjoint(clause):  # else the last model satisfies this clause, too
                if not incremental.solve():
                    break
                true = set(incremental.get_model())
    return clauses
