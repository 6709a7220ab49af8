"""Satisfying assignments from votes and embeddings (Selsam et al. 2019, section 5), checked clause by clause.

Symmetric formulas make exact ties: literals that nothing tells apart. Whatever is nearer than `TIE` counts as one, so
that the last bits of a sum decide nothing.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from paperzoo.batches import SatProblems
from paperzoo.logic.cnf import Formula, split, union
from paperzoo.papers.neurosat.network import Literals, Logits, NeuroSAT, State, Votes

Assignment = Bool[Tensor, " variable"]
Candidates = Bool[Tensor, "candidate variable"]
Centres = Float[Tensor, "problem 2 dimension"]
Pairs = Float[Tensor, "variable 2 dimension"]

LLOYD_STEPS = 20
UNSOLVED = 0
UNKNOWN = -1

# Of the size of what is compared. 26 rounds of a random network change embeddings by up to 1e-5 when only the order of
# sums in float32 differs.
TIE = 1e-5

# A matrix product may sum in another order for the last rows of a matrix, or for a matrix of few rows.
WHOLE_ROWS = 16


class Attempt(NamedTuple):
    """What the network knows of each problem after a round."""

    state: State
    votes: Votes
    logits: Logits
    solved_round: Int64[Tensor, " problem"]
    """The first round at which a candidate satisfied every clause of the problem; 0 if none has yet."""
    assignment: Assignment
    """The candidate of that round, for the variables of the solved problems; False for all others."""


def attempts(network: NeuroSAT, problems: SatProblems) -> Iterator[Attempt]:
    """Rounds 1, 2, 3, ... without end, every round's candidates tried on the problems that are still open."""
    assignment = torch.zeros_like(problems.variable_problem, dtype=torch.bool)
    solved_round = torch.zeros_like(problems.satisfiable)
    for number, state in enumerate(network.states(problems), start=1):
        embeddings = state.literals.embedding
        votes = network.votes(embeddings).to(embeddings.dtype)
        centres = two_means(embeddings, problems)
        candidates = torch.cat([by_votes(votes, problems), by_clusters(embeddings, centres, problems)])
        solves = satisfied(candidates, problems)
        newly = solves.any(0) & (solved_round == UNSOLVED)
        choice = solves.int().argmax(0)[problems.variable_problem]
        chosen = candidates.gather(0, choice[None])[0]
        assignment = torch.where(newly[problems.variable_problem], chosen, assignment)
        solved_round = torch.where(newly, number, solved_round)
        yield Attempt(state, votes, network.logits(votes, problems), solved_round, assignment)


def with_filler(problems: SatProblems) -> SatProblems:
    """The problems, and one more that brings the numbers of literals and of clauses to multiples of `WHOLE_ROWS`.

    So no problem's answer depends on those beside it: on a CPU every row of a matrix product is summed in one order.
    """
    literals, clauses = len(problems.in_core), len(problems.clause_length)
    variables = (WHOLE_ROWS - literals % WHOLE_ROWS) // 2
    filler = Formula.from_clauses(variables, [[1]] * (WHOLE_ROWS - clauses % WHOLE_ROWS))
    filled = union([*split(problems), filler], [*problems.satisfiable.tolist(), UNKNOWN])
    return SatProblems(*(column.to(problems.satisfiable.device) for column in filled))


def by_votes(votes: Votes, problems: SatProblems) -> Candidates:
    """A variable is true if its positive literal has the larger vote, not if it is a tie; and the opposite."""
    positive, negative = votes.chunk(2)
    variables = torch.bincount(problems.variable_problem, minlength=len(problems.satisfiable))
    largest = torch.segment_reduce(torch.maximum(positive.abs(), negative.abs()), "max", lengths=variables)
    is_true = positive - negative > TIE * largest[problems.variable_problem]
    return torch.stack([is_true, ~is_true])


def by_clusters(literals: Literals, centres: Centres, problems: SatProblems) -> Candidates:
    """A variable is true if its literals fit the clusters better that way round, not if it is a tie; and the opposite.

    Compares |x - a|^2 + |not x - b|^2 with |x - b|^2 + |not x - a|^2 for the centres a and b.
    """
    positive, negative = literals.chunk(2)
    owner = problems.variable_problem
    towards = (centres[:, 0] - centres[:, 1])[owner]
    is_true = ((positive - negative) * towards).sum(1) > _tie(centres)[owner]
    return torch.stack([is_true, ~is_true])


def two_means(literals: Literals, problems: SatProblems) -> Centres:
    """The centres of two clusters of each problem's literals: Lloyd's algorithm, problem by problem.

    Starts from the literal that is farthest from the mean and the one that is farthest from that; from the mean of
    those that are equally far.
    """
    points = torch.stack(literals.chunk(2), dim=1)
    first = _farthest(points, _means(points, torch.ones_like(points[..., :1]), problems), problems)
    centres = torch.stack([first, _farthest(points, first, problems)], dim=1)
    closer: Tensor | None = None
    for _ in range(LLOYD_STEPS):
        before, closer = closer, in_second_cluster(literals, centres, problems).view(2, -1).T
        if before is not None and torch.equal(before, closer):
            break
        weights = torch.stack([~closer, closer], dim=-1).to(points.dtype)
        centres = torch.stack([_means(points, weights[..., k : k + 1], problems) for k in (0, 1)], dim=1)
    return centres


def in_second_cluster(literals: Literals, centres: Centres, problems: SatProblems) -> Bool[Tensor, " literal"]:
    """Whether each literal is nearer to its problem's second centre than to the first; not if it is a tie."""
    owner = problems.variable_problem.repeat(2)
    middle, towards = centres.mean(1)[owner], (centres[:, 1] - centres[:, 0])[owner]
    return ((literals - middle) * towards).sum(1) > _tie(centres)[owner]


def _tie(centres: Centres) -> Float[Tensor, " problem"]:
    """What counts as 0 in a product of an embedding with the difference of the centres."""
    return TIE * centres.norm(dim=2).amax(1) * (centres[:, 1] - centres[:, 0]).norm(dim=1)


def _means(points: Pairs, weights: Tensor, problems: SatProblems) -> Float[Tensor, "problem dimension"]:
    """The weighted mean of each problem's points; 0 for one without any weight."""
    variables = torch.bincount(problems.variable_problem, minlength=len(problems.satisfiable))
    totals = torch.cat([(points * weights).sum(1), weights.sum(1)], dim=1)
    sums = torch.segment_reduce(totals, "sum", lengths=variables)
    return sums[:, :-1] / sums[:, -1:].clamp(min=1)


def _farthest(points: Pairs, centre: Float[Tensor, "problem dimension"], problems: SatProblems) -> Tensor:
    """The point of each problem that is farthest from a centre; the mean of those that tie."""
    owner = problems.variable_problem
    variables = torch.bincount(owner, minlength=len(problems.satisfiable))
    distance = (points - centre[owner][:, None]).norm(dim=2)
    largest = torch.segment_reduce(distance.amax(1), "max", lengths=variables)
    is_farthest = distance >= (largest - TIE * centre.norm(dim=1))[owner][:, None]
    return _means(points, is_farthest[..., None].to(points.dtype), problems)


def satisfied(candidates: Candidates, problems: SatProblems) -> Bool[Tensor, "candidate problem"]:
    """Which problems have a true literal in every clause, for each candidate."""
    literal_is_true = torch.cat([candidates, ~candidates], dim=1)
    true_cells = _sums(literal_is_true[:, problems.cell_literal], problems.clause_length)
    clauses = torch.bincount(problems.clause_problem, minlength=len(problems.satisfiable))
    return _sums(true_cells == 0, clauses) == 0


def _sums(values: Tensor, lengths: Int64[Tensor, " segment"]) -> Int64[Tensor, "candidate segment"]:
    """Counts the true values of consecutive segments, exactly."""
    totals = torch.nn.functional.pad(values.long().cumsum(1), (1, 0))
    return totals[:, torch.nn.functional.pad(lengths.cumsum(0), (1, 0))].diff(dim=1)


def verified_assignments(problems: SatProblems, attempt: Attempt) -> list[Bool[np.ndarray, " variable"] | None]:
    """The assignment of each solved problem, None for the others; each checked clause by clause, apart from the graph.

    Raises:
        RuntimeError: one does not satisfy its formula: a defect of this code.
    """
    variables = torch.bincount(problems.variable_problem, minlength=len(problems.satisfiable)).tolist()
    assignments: list[Bool[np.ndarray, " variable"] | None] = []
    for index, (formula, own, solved_round) in enumerate(
        zip(
            split(problems),
            attempt.assignment.cpu().split(variables),
            attempt.solved_round.tolist(),
            strict=True,
        )
    ):
        if solved_round == UNSOLVED:
            assignments.append(None)
            continue
        if not formula.is_satisfied_by(own.numpy()):
            raise RuntimeError(f"problem {index} of the batch: its assignment of round {solved_round} is wrong")
        assignments.append(own.numpy())
    return assignments
