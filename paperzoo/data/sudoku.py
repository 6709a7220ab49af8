"""Sudoku: the puzzles with 17 givens and easier ones made from them, generated easy ones, or your own.

Palm et al. 2018, section 3.3; the puzzles with 17 givens, the fewest that there can be, were collected by Gordon Royle.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Le
from jaxtyping import Bool, Int64, UInt8, UInt16
from pydantic import NonNegativeInt, PositiveInt
from pysat.solvers import Solver
from torch import Tensor

from paperzoo.batches import Sudokus
from paperzoo.data.base import stream_seed
from paperzoo.data.cache import ArrayWriter, checksums
from paperzoo.data.file_set import FileSet
from paperzoo.data.indexed import IndexedData
from paperzoo.errors import UserError
from paperzoo.sudoku import neighbours, parse_puzzle, units

Boards = UInt8[np.ndarray, "puzzle 81"]
Candidates = UInt16[np.ndarray, "puzzle 81"]
Index = Int64[Tensor, " batch"]
Givens = Annotated[int, Ge(17), Le(81)]

SIZE, CELLS = 9, 81
FEWEST = 17
LOGGED = 10_000

# Of python-sat's solvers the fastest on puzzles with 17 givens.
SOLVER = "cadical153"
SOLVED_TOGETHER = 500

# Generated puzzles are made so many at a time.
BLOCK = 1000

UNITS = units(SIZE).numpy()
UNITS_OF_CELL = np.stack([np.equal(UNITS, cell).any(1).nonzero()[0] for cell in range(CELLS)])
ALL = np.uint16(2**SIZE - 1)

log = logging.getLogger(__name__)


def rules() -> list[list[int]]:
    """Clauses that say that every cell has one digit, and every unit every digit; variable 9 c + d: cell c has d."""
    cells = range(CELLS)
    somewhere = [[SIZE * cell + digit for digit in range(1, SIZE + 1)] for cell in cells]
    somewhere += [[SIZE * cell + digit for cell in unit] for unit in UNITS.tolist() for digit in range(1, SIZE + 1)]
    once = [[-one, -other] for names in somewhere[:CELLS] for one in names for other in names if one < other]
    pairs = [(one, other) for one, other in neighbours(SIZE).T.tolist() if one < other]
    once += [[-SIZE * a - digit, -SIZE * b - digit] for a, b in pairs for digit in range(1, SIZE + 1)]
    return somewhere + once


def solutions(puzzles: Boards) -> Iterator[tuple[Boards, bool]]:
    """For each puzzle its solution, one row, and whether that is the only one; no row if there is none."""
    for start in range(0, len(puzzles), SOLVED_TOGETHER):
        # a solver keeps what it learns of the rules, but also a clause for each puzzle
        with Solver(SOLVER, bootstrap_with=rules()) as solver:
            for number, puzzle in enumerate(puzzles[start : start + SOLVED_TOGETHER].tolist()):
                givens = [SIZE * cell + digit for cell, digit in enumerate(puzzle) if digit]
                if not solver.solve(assumptions=givens):
                    yield np.zeros((0, CELLS), dtype=np.uint8), False
                    continue
                true = [name for name in solver.get_model() if 0 < name <= SIZE * CELLS]
                switch = SIZE * CELLS + 1 + number  # true only while another solution of this puzzle is looked for
                solver.add_clause([-switch, *(-name for name in true)])
                unique = not solver.solve(assumptions=[*givens, switch])
                yield np.array([[(name - 1) % SIZE + 1 for name in true]], dtype=np.uint8), unique


def relabelled_by_place(puzzles: Boards) -> Boards:
    """The puzzles with their digits renamed 1, 2, ... as they come: equal if they differ in names only."""
    first = np.stack([np.where((puzzles == d).any(1), (puzzles == d).argmax(1), CELLS) for d in range(1, SIZE + 1)], 1)
    names = np.concatenate([np.zeros((len(puzzles), 1), dtype=np.uint8), 1 + first.argsort(1).argsort(1)], axis=1)
    return np.take_along_axis(names, puzzles.astype(np.int64), axis=1).astype(np.uint8)


class PuzzleFile(FileSet):
    """The list of puzzles: `sudoku17` or `sudoku17.txt`, or a .csv whose first column holds the puzzles."""

    def missing(self, folder: Path) -> list[str]:
        return [] if _find(folder) else ["sudoku17 (or a .csv of puzzles with 17 givens)"]

    def digests(self, folder: Path) -> dict[str, str]:
        path = _find(folder)
        return {path.name: checksums(path, "sha256")["sha256"]} if path else {}


def _find(folder: Path) -> Path | None:
    paths = [folder / "sudoku17", folder / "sudoku17.txt", *sorted(folder.glob("*.csv"))]
    return next((path for path in paths if path.is_file()), None)


def convert(files: Path, writer: ArrayWriter) -> None:
    """The puzzles in a fixed order, whatever that of the file, without those that differ in the names of digits only.

    Raises:
        UserError: a line is no puzzle, has not 17 givens, or not one solution.
    """
    path = _find(files)
    assert path is not None
    puzzles = np.unique(relabelled_by_place(_read_list(path)), axis=0)
    found = []
    for number, (solution, unique) in enumerate(solutions(puzzles), start=1):
        if not unique:
            line = "".join(map(str, puzzles[number - 1]))
            raise UserError(f"{path}: a puzzle, {line} with digits renamed, has not one solution but none or several")
        found.append(solution)
        if number % LOGGED == 0:
            log.info("solved %d of %d puzzles", number, len(puzzles))
    writer.append("givens", puzzles)
    writer.append("solutions", np.concatenate(found))


def _read_list(path: Path) -> Boards:
    puzzles = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        text = line.split(",")[0].strip()
        if not text or (number == 1 and text.isalpha()):  # the header of a .csv
            continue
        try:
            givens = parse_puzzle(text)
        except UserError as error:
            raise UserError(f"{path}: line {number}: {error}") from error
        if (count := int((givens != 0).sum())) != FEWEST:
            raise UserError(f"{path}: line {number}: {count} givens, but all puzzles of this list have {FEWEST}")
        puzzles.append(givens.numpy().astype(np.uint8))
    if not puzzles:
        raise UserError(f"{path}: holds no puzzles")
    return np.stack(puzzles)


SUDOKU17 = PuzzleFile(name="sudoku17", convert=convert)


@dataclass(frozen=True, eq=False)
class Puzzles:
    """Puzzles side by side, gathered a whole batch at a time: `puzzles[index]`.

    Attributes:
        givens: digits from 1, or 0 where a cell is empty.
        solution: digits from 1, or 0 if nobody knows the solution.
    """

    givens: UInt8[Tensor, "puzzle 81"]
    solution: UInt8[Tensor, "puzzle 81"]

    def __len__(self) -> int:
        return len(self.givens)

    def __getitem__(self, index: Index) -> Sudokus:
        return Sudokus(self.givens[index].long(), self.solution[index].long())


def renamed(puzzles: Sudokus, names: Int64[Tensor, "batch 10"]) -> Sudokus:
    """The puzzles with `names[d]` instead of digit d; `names[0]` is 0."""
    return Sudokus(names.gather(1, puzzles.givens), names.gather(1, puzzles.solution))


def random_names(count: int, generator: torch.Generator | None = None) -> Int64[Tensor, "count 10"]:
    """For each puzzle a permutation of the digits, all equally likely; 0 stays 0."""
    names = 1 + torch.rand(count, SIZE, generator=generator).argsort(1)
    return torch.cat([torch.zeros(count, 1, dtype=torch.long), names], dim=1)


def with_more_givens(
    puzzles: Sudokus, more: Int64[Tensor, " batch"], generator: torch.Generator
) -> Int64[Tensor, "batch 81"]:
    """The givens and so many more of each solution, all empty cells being equally likely."""
    places = torch.rand(puzzles.givens.shape, generator=generator) + (puzzles.givens != 0)
    return torch.where(places.argsort(1).argsort(1) < more[:, None], puzzles.solution, puzzles.givens)


class Sudoku(IndexedData):
    """Puzzles with 17 to 34 givens, as many of each number, made from the ones with 17.

    These are first parted into three pools, the same ones in every run. A puzzle is drawn from its pool, its digits are
    renamed, and some of its solution are given away. So no two parts share a puzzle under other names of the digits.

    Args:
        data_root: the folder for all data sets; `~` is the home folder.
        seed: names the random stream of order; the puzzles are the same with all seeds.
        size: digits: 9.
        val_pool: puzzles with 17 givens that the validation puzzles are made from.
        test_pool: the same for the test; the rest is for training.
        most_givens: a level for each number of givens from 17 to this.
        train_puzzles: training puzzles of each level.
        val_puzzles: validation puzzles of each level.
        test_puzzles: test puzzles of each level.
        batch_size: training puzzles in a batch, on each device.
        eval_batch_size: puzzles a batch in validation, test and prediction, on each device.
        workers: processes that gather batches; 0 gathers them in the training process.
    """

    yields = Sudokus

    def __init__(
        self,
        data_root: str,
        seed: int,
        size: PositiveInt,
        val_pool: PositiveInt,
        test_pool: PositiveInt,
        most_givens: Givens,
        train_puzzles: PositiveInt,
        val_puzzles: PositiveInt,
        test_puzzles: PositiveInt,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        workers: NonNegativeInt,
    ) -> None:
        super().__init__(seed, workers, batch_size, eval_batch_size)
        self.data_root = data_root
        self.pool_sizes = {"val": val_pool, "test": test_pool}
        self.levels = most_givens - FEWEST + 1
        self.sizes = {"train": train_puzzles, "val": val_puzzles, "test": test_puzzles}

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from size_problems(arguments["size"])
        yield from SUDOKU17.file_problems(arguments["data_root"], download=True)

    def prepare_data(self) -> None:
        """Solves the puzzles and keeps them as arrays, once for all processes of the machine.

        Raises:
            UserError: the list is missing or damaged, no space.
        """
        SUDOKU17.prepare(self.data_root, download=True)

    def pools(self) -> dict[str, Puzzles]:
        """The puzzles with 17 givens that each part is made from.

        Raises:
            UserError: there are too few.
        """
        self.prepare_data()
        cache = SUDOKU17.cache(self.data_root)
        givens, solution = (torch.from_numpy(np.array(cache.open(name))) for name in ("givens", "solutions"))
        sizes = {"train": len(givens) - sum(self.pool_sizes.values()), **self.pool_sizes}
        if sizes["train"] < 1:
            raise UserError(
                f"data.test_pool={sizes['test']}: with the validation pool of {sizes['val']} nothing is left of "
                f"{len(givens)} puzzles to train on; choose smaller pools"
            )
        order = torch.randperm(len(givens), generator=_generator("pools")).split(list(sizes.values()))
        return {part: Puzzles(givens[rows], solution[rows]) for part, rows in zip(sizes, order, strict=True)}

    def load(self) -> Mapping[str, Puzzles]:
        return {part: self._levels(part, pool) for part, pool in self.pools().items()}

    def _levels(self, part: str, pool: Puzzles) -> Puzzles:
        made = []
        for level in range(self.levels):
            generator = _generator(part, level)
            count = self.sizes[part]
            drawn = pool[torch.randint(len(pool), (count,), generator=generator)]
            puzzles = renamed(drawn, random_names(count, generator))
            givens = with_more_givens(puzzles, torch.full((count,), level), generator)
            made.append(Puzzles(givens.to(torch.uint8), puzzles.solution.to(torch.uint8)))
        return Puzzles(torch.cat([level.givens for level in made]), torch.cat([level.solution for level in made]))


def _generator(*stream: int | str) -> torch.Generator:
    return torch.Generator().manual_seed(stream_seed("sudoku", *stream))


def size_problems(size: int) -> Iterator[str]:
    """What is wrong with `data.size`."""
    if size != SIZE:
        yield f"data.size={size}: these puzzles have {SIZE} digits; choose {SIZE}"


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


@dataclass(frozen=True, eq=False)
class GeneratedPuzzles:
    """Easy puzzles, generated when one is asked for first: `puzzles[index]`.

    Attributes:
        seed: names the random streams.
        part: "train", "val" or "test".
        size: how many.
        givens: least and greatest number of givens; more than the greatest where singles need them.
    """

    seed: int
    part: str
    size: int
    givens: tuple[int, int]

    @cached_property
    def all(self) -> Puzzles:
        blocks = [self._block(number) for number in range(-(-self.size // BLOCK))]
        givens, solution = (torch.cat(column)[: self.size] for column in zip(*blocks, strict=True))
        return Puzzles(givens.to(torch.uint8), solution.to(torch.uint8))

    def _block(self, number: int) -> Sudokus:
        stream = stream_seed(self.seed, "easy sudoku", self.part, number)
        generator = np.random.default_rng(stream)
        boards = random_boards(BLOCK, generator)
        givens, solution = (torch.from_numpy(cells).long() for cells in (easy_puzzles(boards, generator), boards))
        least, most = self.givens
        wanted = torch.from_numpy(generator.integers(least, most, BLOCK, endpoint=True))
        more = (wanted - (givens != 0).sum(1)).clamp(min=0)
        filled = with_more_givens(Sudokus(givens, solution), more, torch.Generator().manual_seed(stream))
        return Sudokus(filled, solution)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Index) -> Sudokus:
        return self.all[index]


class EasySudoku(IndexedData):
    """Generated puzzles that singles solve: some cell has one digit left, or some digit one cell of its unit.

    In training, the digits of every batch are renamed at random. The parts are independent draws.

    Args:
        seed: names the random streams.
        size: digits: 9.
        givens: least and greatest number of givens, all alike; a puzzle has more where fewer do not suffice.
        train_puzzles: training puzzles.
        val_puzzles: validation puzzles.
        test_puzzles: test puzzles.
        batch_size: training puzzles in a batch, on each device.
        eval_batch_size: puzzles a batch in validation, test and prediction, on each device.
        workers: processes that gather batches; 0 gathers them in the training process.
    """

    yields = Sudokus

    def __init__(
        self,
        seed: int,
        size: PositiveInt,
        givens: tuple[Annotated[int, Ge(FEWEST), Le(CELLS)], Annotated[int, Ge(FEWEST), Le(CELLS)]],
        train_puzzles: PositiveInt,
        val_puzzles: PositiveInt,
        test_puzzles: PositiveInt,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        workers: NonNegativeInt,
    ) -> None:
        super().__init__(seed, workers, batch_size, eval_batch_size)
        self.givens = givens
        self.sizes = {"train": train_puzzles, "val": val_puzzles, "test": test_puzzles}

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from size_problems(arguments["size"])
        least, most = arguments["givens"]
        if least > most:
            yield f"data.givens={[least, most]}: the least number of givens comes first"

    def load(self) -> Mapping[str, GeneratedPuzzles]:
        return {part: GeneratedPuzzles(self.seed, part, size, self.givens) for part, size in self.sizes.items()}

    def augment(self, batch: Sudokus) -> Sudokus:
        return renamed(batch, random_names(len(batch.givens)).to(batch.givens.device))


class SudokuFiles(IndexedData):
    """Your own puzzles, to be solved by a trained model; they may have any number of givens and solutions.

    Args:
        seed: names the random streams.
        size: digits: 9.
        path: a file with a puzzle in each line, 81 digits, 0 or . where a cell is empty.
        puzzle: one such line, instead of a file.
        eval_batch_size: puzzles a batch, on each device.
        workers: processes that gather batches; 0 gathers them in the training process.
    """

    yields = Sudokus

    def __init__(
        self,
        seed: int,
        size: PositiveInt,
        path: str | None,
        puzzle: str | int | None,
        eval_batch_size: PositiveInt,
        workers: NonNegativeInt,
    ) -> None:
        super().__init__(seed, workers, 1, eval_batch_size)
        self.path = path
        self.puzzle = puzzle
        self.lines: list[int] = []

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from size_problems(arguments["size"])
        path, puzzle = arguments["path"], arguments["puzzle"]
        if (path is None) == (puzzle is None):
            yield "data.path: name a file of puzzles, or give one puzzle as data.puzzle=LINE"
        elif path is not None and not Path(path).expanduser().is_file():
            yield f"data.path={path}: there is no such file"

    def load(self) -> Mapping[str, Puzzles]:
        if self.path is None:
            place, lines = "data.puzzle", [str(self.puzzle)]
        else:
            path = Path(self.path).expanduser()
            place, lines = str(path), path.read_text(encoding="utf-8", errors="replace").splitlines()
        self.unreadable, self.lines = [], []
        boards = []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                boards.append(parse_puzzle(line.strip()))
                self.lines.append(number)
            except UserError as error:
                self.unreadable.append(f"{place}: line {number}: {error}")
        if not boards:
            raise UserError(*(self.unreadable or [f"{place}: holds no puzzles"]))
        givens = torch.stack(boards).to(torch.uint8)
        puzzles = Puzzles(givens, torch.zeros_like(givens))
        return dict.fromkeys(("test", "predict"), puzzles)

    def item_names(self) -> list[str]:
        self.setup()
        return [str(number) for number in self.lines]
