"""Sudoku puzzles: made, made easier, renamed and solved."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8, UInt16
from pysat.solvers import Solver
from torch import Tensor

from paperzoo.batches import Sudokus
from paperzoo.data.base.items import ArrayItems
from paperzoo.datamodule import stream_seed
from paperzoo.logic.sudoku import neighbours, units

Boards = UInt8[np.ndarray, "puzzle 81"]
Candidates = UInt16[np.ndarray, "puzzle 81"]
Cells = UInt8[Tensor, "puzzle 81"]

SIZE, CELLS = 9, 81
FEWEST = 17

# Of python-sat's solvers the fastest on puzzles with 17 givens.
SOLVER = "cadical153"
SOLVED_TOGETHER = 500

# Generated puzzles are made so many at a time.
BLOCK = 1000

UNITS = units(SIZE).numpy()
UNITS_OF_CELL = np.stack([np.equal(UNITS, cell).any(1).nonzero()[0] for cell in range(CELLS)])
ALL = np.uint16(2**SIZE - 1)


def puzzles(givens: Cells, solution: Cells) -> ArrayItems:
    """Puzzles side by side.

    Args:
        givens: digits from 1, or 0 where a cell is empty.
        solution: digits from 1, or 0 if nobody knows the solution.
    """
    return ArrayItems(_as_batch, {"givens": givens, "solution": solution})


def _as_batch(givens: Cells, solution: Cells) -> Sudokus:
    return Sudokus(givens.long(), solution.long())


def rules() -> list[list[int]]:
    """Clauses that say that every cell has one digit, and every unit every digit; variable 9 c + d: cell c has d."""
    cells = range(CELLS)
    somewhere = [[SIZE * cell + digit for digit in range(1, SIZE + 1)] for cell in cells]
    somewhere += [[SIZE * cell + digit for cell in unit] for unit in UNITS.tolist() for digit in range(1, SIZE + 1)]
    once = [[-one, -other] for names in somewhere[:CELLS] for one in names for other in names if one < other]
    pairs = [(one, other) for one, other in neighbours(SIZE).T.tolist() if one < other]
    once += [[-SIZE * a - digit, -SIZE * b - digit] for a, b in pairs for digit in range(1, SIZE + 1)]
    return somewhere + once


def solutions(boards: Boards) -> Iterator[tuple[Boards, bool]]:
    """For each puzzle its solution, one row, and whether that is the only one; no row if there is none."""
    for start in range(0, len(boards), SOLVED_TOGETHER):
        # a solver keeps what it learns of the rules, but also a clause for each puzzle
        with Solver(SOLVER, bootstrap_with=rules()) as solver:
            for number, puzzle in enumerate(boards[start : start + SOLVED_TOGETHER].tolist()):
                givens = [SIZE * cell + digit for cell, digit in enumerate(puzzle) if digit]
                if not solver.solve(assumptions=givens):
                    yield np.zeros((0, CELLS), dtype=np.uint8), False
                    continue
                true = [name for name in solver.get_model() if 0 < name <= SIZE * CELLS]
                switch = SIZE * CELLS + 1 + number  # true only while another solution of this puzzle is looked for
                solver.add_clause([-switch, *(-name for name in true)])
                unique = not solver.solve(assumptions=[*givens, switch])
                yield np.array([[(name - 1) % SIZE + 1 for name in true]], dtype=np.uint8), unique


def relabelled_by_place(boards: Boards) -> Boards:
    """The puzzles with their digits renamed 1, 2, ... as they come: equal if they differ in names only."""
    first = np.stack([np.where((boards == d).any(1), (boards == d).argmax(1), CELLS) for d in range(1, SIZE + 1)], 1)
    names = np.concatenate([np.zeros((len(boards), 1), dtype=np.uint8), 1 + first.argsort(1).argsort(1)], axis=1)
    return np.take_along_axis(names, boards.astype(np.int64), axis=1).astype(np.uint8)


def renamed(batch: Sudokus, names: Int64[Tensor, "batch 10"]) -> Sudokus:
    """The puzzles with `names[d]` instead of digit d; `names[0]` is 0."""
    return Sudokus(names.gather(1, batch.givens), names.gather(1, batch.solution))


def random_names(count: int, generator: torch.Generator | None = None) -> Int64[Tensor, "count 10"]:
    """For each puzzle a permutation of the digits, all equally likely; 0 stays 0."""
    names = 1 + torch.rand(count, SIZE, generator=generator).argsort(1)
    return torch.cat([torch.zeros(count, 1, dtype=torch.long), names], dim=1)


def with_more_givens(
    batch: Sudokus, more: Int64[Tensor, " batch"], generator: torch.Generator
) -> Int64[Tensor, "batch 81"]:
    """The givens and so many more of each solution, all empty cells being equally likely."""
    places = torch.rand(batch.givens.shape, generator=generator) + (batch.givens != 0)
    return torch.where(places.argsort(1).argsort(1) < more[:, None], batch.solution, batch.givens)


def narrowed(candidates: Candidates) -> tuple[Candidates, Bool[np.ndarray, " puzzle"]]:
    """What is left of the candidates when singles decide all they can, and where that is a contradiction.

    A candidate is a bit. A cell with one candidate takes it from its neighbours; the only cell of a unit that has a
    candidate takes it.
    """
    candidates = candidates.copy()
    active = np.arange(len(candidates))
    while len(active):
        now = candidates[active]
        single = np.where(now & (now - 1), np.uint16(0), now)
        taken = np.bitwise_or.reduce(np.bitwise_or.reduce(single[:, UNITS], axis=2)[:, UNITS_OF_CELL], axis=2)
        left = np.where(single, now, now & ~taken)
        members = left[:, UNITS]
        once, twice = members[:, :, 0], np.zeros_like(members[:, :, 0])
        for place in range(1, SIZE):
            twice = twice | (once & members[:, :, place])
            once = once | members[:, :, place]
        lone = np.bitwise_or.reduce((once & ~twice)[:, UNITS_OF_CELL], axis=2) & left
        left = np.where(lone, lone, left)
        candidates[active] = left
        active = active[(left != now).any(1)]
    members = candidates[:, UNITS]
    single = np.where(members & (members - 1), np.uint16(0), members)
    repeated = np.bitwise_count(single).sum(2) != np.bitwise_count(np.bitwise_or.reduce(single, axis=2))
    return candidates, (np.bitwise_or.reduce(members, axis=2) != ALL).any(1) | repeated.any(1)


def is_decided(candidates: Candidates) -> Bool[np.ndarray, "puzzle 81"]:
    """Whether each cell has one candidate."""
    return np.bitwise_count(candidates) == 1


def random_boards(count: int, generator: np.random.Generator) -> Boards:
    """Full boards: cells are filled in random order with random candidates; those that go wrong are dropped."""
    boards: list[np.ndarray] = []
    while sum(map(len, boards)) < count:
        candidates = np.full((count, CELLS), ALL)
        while len(candidates):
            cell = np.where(is_decided(candidates), -1.0, generator.random(candidates.shape)).argmax(1)
            rows = np.arange(len(candidates))
            bits = (candidates[rows, cell, None] >> np.arange(SIZE, dtype=np.uint16)) & 1
            choice = np.where(bits, generator.random(bits.shape), -1.0).argmax(1)
            candidates[rows, cell] = np.uint16(1) << choice.astype(np.uint16)
            candidates, wrong = narrowed(candidates)
            candidates = candidates[~wrong]
            full = is_decided(candidates).all(1)
            boards.append(1 + np.log2(candidates[full]).astype(np.uint8))
            candidates = candidates[~full]
    return np.concatenate(boards)[:count]


def easy_puzzles(solution: Boards, generator: np.random.Generator) -> Boards:
    """Givens of each board that singles make the whole board of: so this is the only solution.

    In random order, digits are given away that those before do not decide.
    """
    rank = generator.random(solution.shape)
    truth = np.uint16(1) << (solution - 1).astype(np.uint16)
    givens = np.zeros_like(solution)
    candidates = np.full(solution.shape, ALL)
    rows = np.arange(len(solution))
    while len(rows):
        cell = np.where(is_decided(candidates[rows]), -1.0, rank[rows]).argmax(1)
        givens[rows, cell] = solution[rows, cell]
        candidates[rows, cell] = truth[rows, cell]
        candidates[rows], _ = narrowed(candidates[rows])
        rows = rows[~is_decided(candidates[rows]).all(1)]
    return givens


def generated(seed: int, part: str, size: int, givens: tuple[int, int]) -> ArrayItems:
    """Easy puzzles.

    Args:
        seed: names the random streams.
        part: "train", "val" or "test".
        size: how many.
        givens: least and greatest number of givens; more than the greatest where singles need them.
    """
    blocks = [_block(stream_seed(seed, "easy sudoku", part, number), givens) for number in range(-(-size // BLOCK))]
    filled, solution = (torch.cat(column)[:size].to(torch.uint8) for column in zip(*blocks, strict=True))
    return puzzles(filled, solution)


def _block(stream: int, givens: tuple[int, int]) -> Sudokus:
    generator = np.random.default_rng(stream)
    boards = random_boards(BLOCK, generator)
    needed, solution = (torch.from_numpy(cells).long() for cells in (easy_puzzles(boards, generator), boards))
    wanted = torch.from_numpy(generator.integers(*givens, BLOCK, endpoint=True))
    more = (wanted - (needed != 0).sum(1)).clamp(min=0)
    filled = with_more_givens(Sudokus(needed, solution), more, torch.Generator().manual_seed(stream))
    return Sudokus(filled, solution)
