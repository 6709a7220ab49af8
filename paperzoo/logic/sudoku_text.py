"""Sudokus as people write them, 9 x 9: one in a line, in a table, or as nine lines of nine.

- A line of 81 cells, for itself or in a table: a second column of 81 digits is the solution. A header names the
  columns; without one the puzzle comes first.
- Nine lines of nine cells, with bars, spaces and lines between the boxes or without. Any other line is a heading. What
  stands under a heading with "solution" is the solution of the puzzle before it; under one with "state", nothing.
- Empty cells are 0 . _ * - or, in lines that are long enough, a space. A comment (#, //, %, or ; behind a space) goes
  to the end of the line.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, UInt8, UInt16

from paperzoo.errors import UserError
from paperzoo.text import Limited, line_blocks, plain_stream

Boards = UInt8[np.ndarray, "puzzle 81"]
Lines = Int64[np.ndarray, " puzzle"]

SIZE, CELLS = 9, 81
EMPTY_MARKS = "0._*-"
LINE_MARKS = frozenset("_*-")  # a line of these alone may part two boxes
CHARACTERS = frozenset(EMPTY_MARKS + "123456789")
BLOCK_BYTES = 1 << 23
GROWS = 6  # times its size that a file takes in memory: two boards for each line of two, and copies of them
TOLD = 20  # problems of a file that are told; of the others the number

PUZZLE_NAMES = ("puzzle", "puzzles", "quiz", "quizzes", "question", "sudoku", "givens", "board")
SOLUTION_NAMES = ("solution", "solutions", "answer", "answers", "solved")

CHECKED_TOGETHER = 1 << 15

# A run of so many cells is meant to be a puzzle: half of one in which a character is wrong is as long.
LONG_RUN = 40

_IS_CELL = np.zeros(256, dtype=bool)
_IS_CELL[[ord(mark) for mark in CHARACTERS]] = True
_DIGIT = np.zeros(256, dtype=np.uint8)
_DIGIT[np.arange(ord("1"), ord("9") + 1)] = np.arange(1, 10)
_BIT = np.array([0, *(1 << digit for digit in range(SIZE))], dtype=np.uint16)
_BEGINS_COMMENT = np.zeros(256, dtype=bool)
_BEGINS_COMMENT[list(b"#%/;")] = True

_COMMENT = re.compile(r"(\s*(#|//|%)|\s+;).*$")
_BETWEEN_BOXES = re.compile(r"[\s\-=+|:_*\u2500-\u257f]*")
_DECORATION = dict.fromkeys(map(ord, " \t|!,;:+\"'[](){}"), None) | dict.fromkeys(range(0x2500, 0x2580), None)
_FIELDS = re.compile(r"[,;\t]")
_SPACED_BOXES = re.compile(r"[|│]?([1-9 ]{3})[|│]([1-9 ]{3})[|│]([1-9 ]{3})[|│]?")
_NUMBER = re.compile(r"\s*\d{1,4}[.:]?\s*")


class Puzzles(NamedTuple):
    """The puzzles of a file."""

    givens: Boards
    """Digits, or 0 where a cell is empty."""
    solutions: Boards
    """Digits, or 0 if the file does not say them."""
    lines: Lines
    """The line that each puzzle stands in, or begins in."""
    problems: list[str]
    """What is wrong with each puzzle that was left out."""


def read_puzzles(path: Path) -> Puzzles:
    """Reads a file; what is wrong in it is left out and told.

    Raises:
        UserError: the file cannot be read.
    """
    reader = _Reader(str(path))
    try:
        with path.open("rb") as stream:
            text = plain_stream(Limited(stream, str(path), os.fstat(stream.fileno()).st_size, grows=GROWS))
            for block in line_blocks(text, BLOCK_BYTES):
                reader.take(block)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: begins as a text in {error.encoding}, but is none; save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); choose a file that can") from error
    return reader.finish()


def parse_text(text: str, name: str) -> Puzzles:
    """What `read_puzzles` does, of a text; `name` is what to call it in messages."""
    reader = _Reader(name)
    reader.take(f"{text}\n".encode())
    return reader.finish()


class _Line(NamedTuple):
    """A row of a grid: its nine cells, None if something is wrong with it."""

    number: int
    cells: str | None


class _Reader:
    """Takes a file block by block: lines that hold whole puzzles all at once, the others one by one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines_read = 0
        self.columns: tuple[int, int | None] | None = None  # of puzzle and solution, as a header says
        self.in_line: int | None = None  # runs of 81 cells that a line has
        self.heading = ""
        self.grid: list[_Line] = []
        self.has_spaces = False  # for empty cells, the rows of the grid
        self.number: tuple[int, int] | None = None  # line and length of a number that may be a heading
        self.found: list[tuple[Lines, Boards, Boards]] = []
        self.problems: list[tuple[int, str]] = []

    def take(self, block: bytes) -> None:
        """Reads whole lines."""
        codes = np.frombuffer(block, dtype=np.uint8)
        ends = np.flatnonzero(codes == ord("\n"))
        starts = np.concatenate([[0], ends[:-1] + 1])
        if not self.lines_read:
            self._read_header(block[: ends[0]].decode(errors="replace"))
        is_cell = np.concatenate([[False], _IS_CELL[codes]])  # the last character, a line end, is none
        edges = np.flatnonzero(is_cell[1:] != is_cell[:-1]).reshape(-1, 2)
        runs = edges[edges[:, 1] - edges[:, 0] >= LONG_RUN]
        line = np.searchsorted(ends, runs[:, 0])
        whole = runs[:, 1] - runs[:, 0] == CELLS
        count, right = np.bincount(line, minlength=len(ends)), np.bincount(line[whole], minlength=len(ends))
        quick = (count == right) & (count > 0) & (count <= 2) & ~_BEGINS_COMMENT[codes[starts]]
        if self.in_line is None and quick.any():
            self.in_line = int(count[quick.argmax()])
        quick &= count == self.in_line
        if quick.any():
            windows = np.lib.stride_tricks.sliding_window_view(codes, CELLS)[runs[quick[line], 0]]
            self._add_lines(self.lines_read + 1 + np.flatnonzero(quick), _DIGIT[windows])
        last = -1
        for number in np.flatnonzero(~quick).tolist():
            if number != last + 1:
                self._close_grid()
            if self.columns is not None and self.lines_read + number == 0:
                last = number
                continue  # the header
            text = block[starts[number] : ends[number]].decode(errors="replace")
            self._read_line(self.lines_read + 1 + number, text)
            last = number
        if last != len(ends) - 1:
            self._close_grid()
        self.lines_read += len(ends)

    def finish(self) -> Puzzles:
        """What was found, in the order of the lines."""
        self._close_grid()
        empty = np.zeros((0, CELLS), dtype=np.uint8)
        columns = zip(*self.found, strict=True) if self.found else ([np.zeros(0, dtype=np.int64)], [empty], [empty])
        lines, givens, solutions = (np.concatenate(list(column)) for column in columns)
        slices = [slice(start, start + CHECKED_TOGETHER) for start in range(0, len(lines), CHECKED_TOGETHER)]
        right = [self._checked(lines[rows], givens[rows], solutions[rows]) for rows in slices]
        order = np.argsort(lines, kind="stable")
        order = order[np.concatenate([*right, np.zeros(0, dtype=bool)])[order]]
        told = [f"{self.name}, line {number}: {problem}" for number, problem in sorted(self.problems)]
        if len(told) > TOLD:
            told[TOLD:] = [f"{self.name}: {len(told) - TOLD} more such lines"]
        return Puzzles(givens[order], solutions[order], lines[order], told)

    def _checked(self, lines: Lines, givens: Boards, solutions: Boards) -> Bool[np.ndarray, " puzzle"]:
        """Which puzzles keep the rules, and their solutions too; tells of the others."""
        known = solutions.any(1)
        bad_givens = repeats(givens)
        bad_solution = known & (repeats(solutions) | (solutions == 0).any(1))
        contradicts = known & ((givens != solutions) & (givens != 0)).any(1)
        for index in np.flatnonzero(bad_givens).tolist():
            self._tell(int(lines[index]), f"{first_repeat(givens[index])}; correct the puzzle")
        for index in np.flatnonzero(~bad_givens & bad_solution).tolist():
            fault = first_repeat(solutions[index]) or f"{(solutions[index] == 0).sum()} cells are empty"
            self._tell(int(lines[index]), f"the solution breaks the rules: {fault}; correct it or leave it out")
        for index in np.flatnonzero(~bad_givens & ~bad_solution & contradicts).tolist():
            cell = int(((givens[index] != solutions[index]) & (givens[index] != 0)).argmax())
            self._tell(
                int(lines[index]),
                f"the solution has {solutions[index, cell]} in row {cell // SIZE + 1}, column {cell % SIZE + 1}, where "
                f"{givens[index, cell]} is given; it is of another puzzle",
            )
        return ~(bad_givens | bad_solution | contradicts)

    def _tell(self, number: int, problem: str) -> None:
        self.problems.append((number, problem))

    def _read_header(self, text: str) -> None:
        names = [field.strip().strip("\"'").lower() for field in _FIELDS.split(text)]
        puzzle = next((names.index(name) for name in PUZZLE_NAMES if name in names), None)
        solution = next((names.index(name) for name in SOLUTION_NAMES if name in names), None)
        if puzzle is not None and (len(names) > 1 or text.strip()[0] in "\"'"):
            self.columns, self.in_line = (puzzle, solution), 1 if solution is None else 2

    def _add_lines(self, numbers: Lines, boards: UInt8[np.ndarray, "run 81"]) -> None:
        if self.in_line == 1:
            self.found.append((numbers, boards, np.zeros_like(boards)))
            return
        first, second = boards[0::2], boards[1::2]
        swapped = self.columns is not None and self.columns[1] is not None and self.columns[1] < self.columns[0]
        self.found.append((numbers, second, first) if swapped else (numbers, first, second))

    def _add(self, number: int, givens: str, solution: str = "") -> None:
        boards = [_board(givens), _board(solution or "0" * CELLS)]
        self.found.append((np.array([number]), boards[0], boards[1]))

    # Lines that hold no whole puzzle, or another number of them than the others

    def _read_line(self, number: int, text: str) -> None:
        body = "" if text[:1] in ("#", ";", "%") else _COMMENT.sub("", text)
        if self._read_row(number, text, body) or _BETWEEN_BOXES.fullmatch(body):
            if not body.strip() and not self.grid and text.strip():
                self.heading = text
        elif not self._read_whole(number, text, body):
            self._read_other(number, text, body)

    def _read_other(self, number: int, text: str, body: str) -> None:
        """A line without a puzzle or a row of one: a heading, unless it looks like a damaged one."""
        if _NUMBER.fullmatch(body) and self.columns is None and not self.grid and self.number is None:
            self.number = number, len(body.strip())
        elif problem := self._problem(body):
            if self.grid:
                self.grid.append(_Line(number, None))
            self._tell(number, problem)
        else:
            self._close_grid()
            self.heading = text

    def _read_row(self, number: int, text: str, body: str) -> bool:
        cells = _row(body)
        if cells is None and (spaced := _spaced_row(text, among_such=self.has_spaces)) is not None:
            cells, self.has_spaces = spaced, True
        if cells is None:
            return False
        self.number = None
        self.grid.append(_Line(number, cells))
        if len(self._rows()) == SIZE:
            self._close_grid()
        return True

    def _rows(self) -> list[_Line]:
        """The rows of the grid that is open, without lines between its boxes."""
        marks = self._marks()
        return [row for row in self.grid if row.cells is None or not set(row.cells) <= LINE_MARKS - marks]

    def _marks(self) -> set[str]:
        """What stands for empty cells in rows that have digits too."""
        return {mark for row in self.grid if row.cells and not set(row.cells) <= LINE_MARKS for mark in row.cells}

    def _close_grid(self) -> None:
        if self.number is not None:
            line, length = self.number
            self._tell(line, _length_problem(length))
            self.number = None
        rows = self._rows() if len(self._rows()) == SIZE or len(self.grid) != SIZE else self.grid
        self.grid, self.has_spaces = [], False
        if not rows:
            return
        if len(rows) != SIZE:
            if all(row.cells for row in rows):
                self._tell(rows[0].number, f"a grid of {len(rows)} rows begins here; write {SIZE} rows of {SIZE} cells")
            return
        if not all(row.cells for row in rows):
            return
        cells = "".join(row.cells or "" for row in rows)
        heading, self.heading = self.heading.lower(), ""
        if "state" in heading:
            return
        if "solution" in heading and self.found and not self.found[-1][2][-1].any():
            lines, givens, solutions = self.found.pop()
            solutions = np.concatenate([solutions[:-1], _board(cells)])
            self.found.append((lines, givens, solutions))
            return
        self._add(rows[0].number, cells)

    def _read_whole(self, number: int, text: str, body: str) -> bool:
        """Reads a puzzle that stands in one line: in a table, with spaces in it, or with spaces for empty cells."""
        fields = [field.translate(_DECORATION) for field in _FIELDS.split(body)]
        if self.columns is not None and len(fields) > max(self.columns[0], self.columns[1] or 0):
            chosen = [fields[self.columns[0]], "" if self.columns[1] is None else fields[self.columns[1]]]
        else:
            chosen = [field for field in fields if _is_board(field)]
            if chosen and _damaged(fields):
                return False
        if not chosen or not _is_board(chosen[0]):
            compact = body.translate(_DECORATION)
            chosen = [compact] if _is_board(compact) and self.columns is None else []
            if not chosen and len(text) == CELLS and set(text) <= set("123456789 "):
                chosen = [text.replace(" ", "0")]
        if not chosen:
            return False
        self._close_grid()
        if len(chosen) > 1 and chosen[1] and not _is_board(chosen[1]):
            self._tell(number, f"the solution: {_cells_problem(chosen[1])}")
        else:
            self._add(number, *chosen[:2])
        return True

    def _problem(self, body: str) -> str:
        """What is wrong with a line that is meant to be a puzzle or a row of one; empty if it is a heading."""
        fields = [field.translate(_DECORATION) for field in _FIELDS.split(body)]
        compact = body.translate(_DECORATION)
        if self.columns is not None:
            place = self.columns[0]
            return _cells_problem(fields[place]) if place < len(fields) else f"has no column {place + 1}"
        if wrong := _damaged(fields):
            return _cells_problem(wrong)
        if set(compact) <= CHARACTERS:
            return _length_problem(len(compact))
        return _cells_problem(compact) if self.grid and _cell_share(compact) > 1 / 2 else ""


def _row(body: str) -> str | None:
    """The nine cells of a row of a grid, None if the line is no such row."""
    fields = [field.strip().strip("\"'") for field in _FIELDS.split(body)]
    if len(fields) == SIZE and all(not field or field in CHARACTERS for field in fields) and any(fields):
        return "".join(field or "0" for field in fields)
    compact = body.translate(_DECORATION)
    return compact if len(compact) == SIZE and set(compact) <= CHARACTERS else None


def _spaced_row(text: str, *, among_such: bool) -> str | None:
    """The nine cells of a row with spaces for the empty ones, which may be missing at its end; None if it is none.

    Args:
        text: the line.
        among_such: it follows such a row.
    """
    if boxes := _SPACED_BOXES.fullmatch(text):
        return "".join(boxes.groups()).replace(" ", "0")
    if not text or len(text) > SIZE or not set(text) <= set("123456789 "):
        return None
    if not among_such and (" " not in text or len(text.replace(" ", "")) < 3):
        return None
    return text.ljust(SIZE).replace(" ", "0") if text.strip() or len(text) == SIZE else None


def _cell_share(text: str) -> float:
    return sum(character in CHARACTERS for character in text) / max(1, len(text))


def _damaged(fields: list[str]) -> str:
    """The first field that is meant to be a board and is none; empty if there is none."""
    long = (field for field in fields if len(field) >= LONG_RUN and not _is_board(field))
    return next((field for field in long if _cell_share(field) >= 0.8), "")


def _is_board(cells: str) -> bool:
    return len(cells) == CELLS and set(cells) <= CHARACTERS


def _board(cells: str) -> Boards:
    return _DIGIT[np.frombuffer(cells.encode(), dtype=np.uint8)][None]


def _cells_problem(cells: str) -> str:
    if wrong := sorted(set(cells) - CHARACTERS):
        return f"{wrong[0]!r} is none of the digits 1 to {SIZE}, nor one of {' '.join(EMPTY_MARKS)} for an empty cell"
    return _length_problem(len(cells))


def _length_problem(length: int) -> str:
    return f"{length} characters, but a puzzle has {CELLS}: one for each cell, row after row; or nine lines of nine"


def _units(boards: Boards) -> Iterator[tuple[str, UInt16[np.ndarray, "9 9 puzzle"]]]:
    """The digits, as bits, along each row, each column and each box."""
    bits = _BIT[np.ascontiguousarray(boards.T)].reshape(3, 3, 3, 3, -1)
    for name, order in (("row", (0, 1, 2, 3, 4)), ("column", (2, 3, 0, 1, 4)), ("box", (0, 2, 1, 3, 4))):
        yield name, bits.transpose(order).reshape(SIZE, SIZE, -1)


def repeats(boards: Boards) -> Bool[np.ndarray, " puzzle"]:
    """Whether a digit stands more than once in a row, column or box."""
    twice = np.zeros(len(boards), dtype=np.uint16)
    for _, lanes in _units(boards):
        for lane in lanes:
            once = lane[0]
            for cell in lane[1:]:
                twice |= once & cell
                once = once | cell
    return twice != 0


def first_repeat(board: UInt8[np.ndarray, " 81"]) -> str:
    """Which digit stands more than once in which unit; empty if none does."""
    for name, lanes in _units(board[None]):
        for number, lane in enumerate(lanes[..., 0].tolist(), start=1):
            if twice := next((bit for bit in lane if bit and lane.count(bit) > 1), 0):
                return f"{twice.bit_length()} stands more than once in {name} {number}"
    return ""
