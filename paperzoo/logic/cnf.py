"""Formulas in conjunctive normal form: as plain arrays, as one batch, and the checker that trusts nobody."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int32

from paperzoo.batches import SatProblems


@dataclass(frozen=True, eq=False)
class Formula:
    """One formula.

    Attributes:
        variables: number of variables; they are called 1 ... `variables`, used or not.
        literals: the literals of all clauses, one clause after the other, as in DIMACS: v, or -v for its negation.
        lengths: the number of literals of each clause.
    """

    variables: int
    literals: Int32[np.ndarray, " cell"]
    lengths: Int32[np.ndarray, " clause"]

    @classmethod
    def from_clauses(cls, variables: int, clauses: Sequence[Sequence[int]]) -> "Formula":
        literals = [literal for clause in clauses for literal in clause]
        lengths = [len(clause) for clause in clauses]
        return cls(variables, np.array(literals, dtype=np.int32), np.array(lengths, dtype=np.int32))

    @property
    def nodes(self) -> int:
        """Nodes of the graph: two for each variable, one for each clause."""
        return 2 * self.variables + len(self.lengths)

    def clauses(self) -> list[list[int]]:
        literals = self.literals.tolist()
        ends = np.cumsum(self.lengths).tolist()
        return [literals[end - length : end] for end, length in zip(ends, self.lengths.tolist(), strict=True)]

    def is_satisfied_by(self, assignment: Bool[np.ndarray, " variable"]) -> bool:
        """Whether every clause holds a true literal; `assignment[v - 1]` is the value of variable v."""
        values = assignment.tolist()
        return all(any(values[abs(literal) - 1] == (literal > 0) for literal in clause) for clause in self.clauses())


def union(
    formulas: Sequence[Formula],
    satisfiable: Iterable[int],
    groups: Iterable[int] | None = None,
    cores: Sequence[Sequence[int]] | None = None,
) -> SatProblems:
    """Formulas side by side as one batch.

    Args:
        formulas: at least one.
        satisfiable: 1, 0 or -1 (unknown) for each formula.
        groups: the kind of each formula; None: all 0.
        cores: for each formula the literals (v or -v) of its planted core; None: no cores.
    """
    variables = np.array([formula.variables for formula in formulas])
    clauses = np.array([len(formula.lengths) for formula in formulas])
    cells = np.array([len(formula.literals) for formula in formulas])
    first_variable = np.cumsum(variables) - variables
    total = int(variables.sum())
    literal = np.concatenate([formula.literals for formula in formulas]).astype(np.int64)
    nodes = np.abs(literal) - 1 + np.repeat(first_variable, cells) + total * (literal < 0)
    in_core = torch.zeros(2 * total, dtype=torch.bool)
    for first, core in zip(first_variable.tolist(), cores or (), strict=cores is not None):
        in_core[[abs(lit) - 1 + first + total * (lit < 0) for lit in core]] = True
    indices = np.arange(len(formulas))
    return SatProblems(
        cell_literal=torch.from_numpy(nodes),
        clause_length=torch.from_numpy(np.concatenate([formula.lengths for formula in formulas]).astype(np.int64)),
        clause_problem=torch.from_numpy(np.repeat(indices, clauses)),
        variable_problem=torch.from_numpy(np.repeat(indices, variables)),
        satisfiable=torch.tensor(list(satisfiable)),
        group=torch.tensor(list(groups) if groups is not None else [0] * len(formulas)),
        in_core=in_core,
    )


def split(batch: SatProblems) -> list[Formula]:
    """The formulas of a batch: what `union` put together."""
    problems = len(batch.satisfiable)
    total = len(batch.variable_problem)
    variable_problem, clause_problem = batch.variable_problem.cpu(), batch.clause_problem.cpu()
    variables = torch.bincount(variable_problem, minlength=problems)
    first_variable = torch.cumsum(variables, 0) - variables
    nodes, lengths = batch.cell_literal.cpu(), batch.clause_length.cpu()
    own = nodes % total - first_variable[torch.repeat_interleave(clause_problem, lengths)] + 1
    literals = torch.where(nodes < total, own, -own).numpy().astype(np.int32)
    clause_ends = torch.bincount(clause_problem, minlength=problems).cumsum(0).tolist()
    cell_ends = [0, *lengths.cumsum(0).tolist()]
    formulas, first = [], 0
    for count, end in zip(variables.tolist(), clause_ends, strict=True):
        own_lengths = lengths[first:end].numpy().astype(np.int32)
        formulas.append(Formula(count, literals[cell_ends[first] : cell_ends[end]], own_lengths))
        first = end
    return formulas
