"""Sudoku: the puzzles with 17 givens and easier ones made from them, generated easy ones, or your own.

Palm et al. 2018, section 3.3; the puzzles with 17 givens, the fewest that there can be, were collected by Gordon Royle.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from pydantic import NonNegativeInt, PositiveInt

from paperzoo.batches import Sudokus
from paperzoo.data.base.generated import GeneratedData
from paperzoo.data.base.items import ArrayItems
from paperzoo.data.base.module import PREDICT, TEST, TRAIN, VAL, Augmentation, ItemData, Loading
from paperzoo.data.base.order import BatchLoader, hold_out
from paperzoo.data.logic.puzzles import (
    CELLS,
    FEWEST,
    SIZE,
    Boards,
    generated,
    puzzles,
    random_names,
    relabelled_by_place,
    renamed,
    solutions,
    with_more_givens,
)
from paperzoo.data.prepared.cache import ArrayWriter, checksums
from paperzoo.data.prepared.file_set import FileSet
from paperzoo.data.prepared.stored import StoredArray
from paperzoo.datamodule import stream_seed
from paperzoo.errors import UserError
from paperzoo.files import printable
from paperzoo.logic.sudoku import parse_puzzle
from paperzoo.logic.sudoku_text import Puzzles, parse_text, read_puzzles
from paperzoo.text import read_text

Givens = Annotated[int, Ge(FEWEST), Le(CELLS)]

Fraction = Annotated[float, Gt(0), Lt(1)]

SUFFIXES = (".txt", ".csv", ".tsv", ".sdk", ".sdm", ".sdx", ".ss", ".sudoku")
"""Of the files of a folder of puzzles."""

LOGGED = 10_000

log = logging.getLogger(__name__)


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
    boards = np.unique(relabelled_by_place(_read_list(path)), axis=0)
    found = []
    for number, (solution, unique) in enumerate(solutions(boards), start=1):
        if not unique:
            line = "".join(map(str, boards[number - 1]))
            raise UserError(f"{path}: a puzzle, {line} with digits renamed, has not one solution but none or several")
        found.append(solution)
        if number % LOGGED == 0:
            log.info("solved %d of %d puzzles", number, len(boards))
    writer.append("givens", boards)
    writer.append("solutions", np.concatenate(found))


def _read_list(path: Path) -> Boards:
    boards = []
    for number, line in enumerate(read_text(path, "replace").split("\n"), start=1):
        text = line.split(",")[0].strip()
        if not text or (number == 1 and text.isalpha()):  # the header of a .csv
            continue
        try:
            givens = parse_puzzle(text)
        except UserError as error:
            raise UserError(f"{path}: line {number}: {error}") from error
        if (count := int((givens != 0).sum())) != FEWEST:
            raise UserError(f"{path}: line {number}: {count} givens, but all puzzles of this list have {FEWEST}")
        boards.append(givens.numpy().astype(np.uint8))
    if not boards:
        raise UserError(f"{path}: holds no puzzles")
    return np.stack(boards)


SUDOKU17 = PuzzleFile(name="sudoku17", convert=convert)


class Sudoku(ItemData):
    """Puzzles with 17 to 34 givens, as many of each number, made from the ones with 17.

    These are first parted into three pools, the same ones in every run. A puzzle is drawn from its pool, its digits are
    renamed, and some of its solution are given away. So no two parts share a puzzle under other names of the digits.
    The puzzles are the same with all seeds.

    Args:
        data_root: the folder for all data sets; `~` is the home folder.
        val_pool: puzzles with 17 givens that the validation puzzles are made from.
        test_pool: the same for the test; the rest is for training.
        most_givens: a level for each number of givens from 17 to this.
        train_puzzles: training puzzles of each level.
        val_puzzles: validation puzzles of each level.
        test_puzzles: test puzzles of each level.
        loading: see `ItemData`.
    """

    yields = Sudokus

    def __init__(
        self,
        data_root: str,
        val_pool: PositiveInt,
        test_pool: PositiveInt,
        most_givens: Givens,
        train_puzzles: PositiveInt,
        val_puzzles: PositiveInt,
        test_puzzles: PositiveInt,
        **loading: Unpack[Loading],
    ) -> None:
        super().__init__(**loading)
        self.data_root = data_root
        self.pool_sizes = {VAL: val_pool, TEST: test_pool}
        self.levels = most_givens - FEWEST + 1
        self.sizes = {TRAIN: train_puzzles, VAL: val_puzzles, TEST: test_puzzles}

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        yield from SUDOKU17.file_problems(arguments["data_root"], download=True)

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {"size": SIZE}

    @property
    def file_sets(self) -> Sequence[FileSet]:
        return [SUDOKU17]

    def pools(self) -> dict[str, ArrayItems]:
        """The puzzles with 17 givens that each part is made from.

        Raises:
            UserError: there are too few.
        """
        cache = SUDOKU17.prepared(self.data_root, download=True)
        givens, solution = (StoredArray(cache, name).read() for name in ("givens", "solutions"))
        sizes = {TRAIN: len(givens) - sum(self.pool_sizes.values()), **self.pool_sizes}
        if sizes[TRAIN] < 1:
            raise UserError(
                f"data.test_pool={sizes[TEST]}: with the validation pool of {sizes[VAL]} nothing is left of "
                f"{len(givens)} puzzles to train on; choose smaller pools"
            )
        order = torch.randperm(len(givens), generator=_generator("pools")).split(list(sizes.values()))
        return {part: puzzles(givens[rows], solution[rows]) for part, rows in zip(sizes, order, strict=True)}

    def load(self) -> Mapping[str, ArrayItems]:
        return {part: self._levels(part, pool) for part, pool in self.pools().items()}

    def _levels(self, part: str, pool: ArrayItems) -> ArrayItems:
        made = []
        for level in range(self.levels):
            generator = _generator(part, level)
            count = self.sizes[part]
            drawn = pool[torch.randint(len(pool), (count,), generator=generator)]
            batch = renamed(drawn, random_names(count, generator))
            made.append((with_more_givens(batch, torch.full((count,), level), generator), batch.solution))
        givens, solution = (torch.cat(column).to(torch.uint8) for column in zip(*made, strict=True))
        return puzzles(givens, solution)


def _generator(*stream: int | str) -> torch.Generator:
    return torch.Generator().manual_seed(stream_seed("sudoku", *stream))


class EasySudoku(GeneratedData):
    """Generated puzzles that singles solve: some cell has one digit left, or some digit one cell of its unit.

    The parts are independent draws.

    Args:
        givens: least and greatest number of givens, all alike; a puzzle has more where fewer do not suffice.
        train_puzzles: training puzzles.
        val_puzzles: validation puzzles.
        test_puzzles: test puzzles.
        augment: random changes of training batches.
        loading: see `ItemData`.
    """

    yields = Sudokus

    def __init__(
        self,
        givens: tuple[Givens, Givens],
        train_puzzles: PositiveInt,
        val_puzzles: PositiveInt,
        test_puzzles: PositiveInt,
        augment: Sequence[Augmentation],
        **loading: Unpack[Loading],
    ) -> None:
        super().__init__(**loading, augment=augment)
        self.givens = givens
        self.sizes = {TRAIN: train_puzzles, VAL: val_puzzles, TEST: test_puzzles}

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        least, most = arguments["givens"]
        if least > most:
            yield f"givens={[least, most]}: the least number of givens comes first"

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {"size": SIZE}

    def make(self, part: str) -> ArrayItems:
        return generated(self.seed, part, self.sizes[part], self.givens)


class SudokuFiles(ItemData):
    """Your own puzzles, with solutions or without: to be solved, to measure how many are solved, to train on.

    See `paperzoo.logic.sudoku_text` for what is read. To be solved they may have any number of givens and solutions.

    Args:
        path: a file of puzzles, or a folder of such files.
        puzzle: one puzzle of 81 cells, instead of a file.
        trained_path: the `path` that the model was trained on, if it was trained on puzzles like these. Of that one
            a test takes what was held out, of others everything.
        test_path: test on this file or folder instead.
        validation_fraction: part of the puzzles with solutions that is held out from training, the same ones in every
            run; without `test_path` for the test, too.
        fold: which ones; those of two folds are different ones.
        augment: random changes of training batches.
        loading: see `ItemData`.

    Attributes:
        unreadable: what is wrong with each puzzle that was left out.
    """

    yields = Sudokus
    reads_own_items = True

    def __init__(
        self,
        path: str | None,
        puzzle: str | int | None,
        trained_path: str | None,
        test_path: str | None,
        validation_fraction: Fraction,
        fold: NonNegativeInt,
        augment: Sequence[Augmentation],
        **loading: Unpack[Loading],
    ) -> None:
        super().__init__(**loading, augment=augment)
        self.path = path
        self.puzzle = puzzle
        self.holds_out = path is not None and path == trained_path
        self.test_path = test_path
        self.validation_fraction = validation_fraction
        self.fold = fold
        self.item_lines: list[str] = []

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        path, puzzle = arguments["path"], arguments["puzzle"]
        if (path is None) == (puzzle is None):
            yield "path: name a file of puzzles or a folder of them, or give one puzzle as data.puzzle=LINE"
        for key in ("path", "test_path"):
            if arguments[key] is not None and not Path(arguments[key]).expanduser().exists():
                yield f"{key}={arguments[key]}: there is no such file or folder"

    @classmethod
    def facts(cls, **arguments: Any) -> dict[str, Any]:
        return {"size": SIZE}

    def load(self) -> Mapping[str, ArrayItems]:
        self.unreadable = []
        everything, self.item_lines = self._read()
        other = None if self.test_path is None else self._read_path(Path(self.test_path).expanduser())[0]
        if not self.holds_out:
            return {TEST: other or everything, PREDICT: everything}
        solution: Any = everything.columns["solution"]
        solved = solution.all(1).nonzero().flatten()
        held = max(1, round(self.validation_fraction * len(solved)))
        if len(solved) <= held:
            return {TEST: other or everything, PREDICT: everything}
        for problem in self.unreadable:
            log.warning("left out: %s", problem)
        chosen = hold_out(len(solved), held, self.fold)
        train, val = (everything.select(solved[torch.from_numpy(rows)]) for rows in chosen)
        return {TRAIN: train, VAL: val, TEST: other or val, PREDICT: everything}

    def _read(self) -> tuple[ArrayItems, list[str]]:
        if self.path is not None:
            return self._read_path(Path(self.path).expanduser())
        return self._items([("", parse_text(str(self.puzzle), "data.puzzle"))], "data.puzzle")

    def _read_path(self, path: Path) -> tuple[ArrayItems, list[str]]:
        """The puzzles of a file or folder, and what each is called: its line, in a folder behind its file.

        Raises:
            UserError: there are none.
        """
        if not path.is_dir():
            return self._items([("", read_puzzles(path))], str(path))
        read = []
        for file in sorted(path.rglob("*")):
            if file.is_dir() or file.name.startswith("."):
                continue
            if file.suffix.lower() not in SUFFIXES or not file.is_file():
                self.unreadable.append(
                    f"{file}: is no file of puzzles ({', '.join(SUFFIXES)}) that is there; rename it or take it away"
                )
                continue
            try:
                read.append((f"{printable(file.relative_to(path).as_posix())}:", read_puzzles(file)))
            except UserError as error:
                self.unreadable += error.problems
        return self._items(read, str(path))

    def _items(self, read: Sequence[tuple[str, Puzzles]], place: str) -> tuple[ArrayItems, list[str]]:
        self.unreadable += [problem for _, found in read for problem in found.problems]
        names = [f"{file}{line}" for file, found in read for line in found.lines.tolist()]
        if not names:
            raise UserError(*(self.unreadable or [f"{place}: holds no puzzles; write the 81 cells of each in a line"]))
        givens, solutions = (
            torch.from_numpy(np.concatenate([getattr(found, column) for _, found in read]))
            for column in ("givens", "solutions")
        )
        return puzzles(givens, solutions), names

    def loader(self, part: str) -> BatchLoader:
        if part not in self.parts:
            raise UserError(self._nothing_to_train_on)
        return super().loader(part)

    def initial_batch(self, size: int) -> Any:
        self.setup("fit")
        if TRAIN not in self.parts:
            raise UserError(self._nothing_to_train_on)
        return super().initial_batch(size)

    @property
    def _nothing_to_train_on(self) -> str:
        return (
            f"data.path={self.path}: has not two puzzles with solutions, to train on one; write the solution behind "
            f"each (puzzle,solution), or train with data=sudoku_easy"
        )

    def item_names(self) -> list[str]:
        self.setup("predict")
        return self.item_lines
