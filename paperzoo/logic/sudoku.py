"""The rules of Sudoku: every row, column and box holds every digit once; boards are rows of cells, row after row."""

from functools import cache
from math import isqrt

import torch
from jaxtyping import Bool, Int64
from pydantic import PositiveInt
from torch import Tensor

from paperzoo.errors import UserError

EMPTY = ".0"


@cache
def units(size: PositiveInt) -> Int64[Tensor, "unit cell"]:
    """The cells of each row, of each column and of each box.

    Args:
        size: digits, rows, columns and boxes of a board; a square number.
    """
    side = isqrt(size)
    if side**2 != size:
        raise ValueError(f"size={size}: boards of square boxes have 1, 4, 9, 16, ... rows")
    rows = torch.arange(size**2).view(size, size)
    boxes = rows.view(side, side, side, side).transpose(1, 2).reshape(size, size)
    return torch.cat([rows, rows.T, boxes])


@cache
def neighbours(size: PositiveInt) -> Int64[Tensor, "2 edge"]:
    """The pairs of cells that share a row, a column or a box, in both directions: 20 for each cell of 9 x 9."""
    linked = torch.zeros(size**2, size**2, dtype=torch.bool)
    for cells in units(size):
        linked[cells[:, None], cells] = True
    return linked.fill_diagonal_(False).nonzero().T.contiguous()


def is_solved(digits: Int64[Tensor, "batch cell"], givens: Int64[Tensor, "batch cell"]) -> Bool[Tensor, " batch"]:
    """Whether each board is full, keeps the rules, and has the givens where they are (0: none)."""
    size = isqrt(digits.shape[1])
    found = digits[:, units(size).to(digits.device)].sort(dim=2).values
    complete = (found == torch.arange(1, size + 1, device=digits.device)).all(2).all(1)
    return complete & ((digits == givens) | (givens == 0)).all(1)


def parse_puzzle(line: str, size: PositiveInt = 9) -> Int64[Tensor, " cell"]:
    """The givens of a puzzle written as one line: a digit for each cell, 0 or . where it is empty.

    Raises:
        UserError: wrong length, a wrong character, or a digit twice in a row, column or box.
    """
    if len(line) != size**2:
        raise UserError(f"{len(line)} characters, but a puzzle has {size**2}: one for each cell, row after row")
    if wrong := sorted(set(line) - set(EMPTY) - {str(digit) for digit in range(1, size + 1)}):
        raise UserError(f"{wrong[0]!r} is none of the digits 1 to {size}, nor 0 or . for an empty cell")
    givens = torch.tensor([0 if character in EMPTY else int(character) for character in line])
    names = [f"{kind} {number}" for kind in ("row", "column", "box") for number in range(1, size + 1)]
    for name, cells in zip(names, givens[units(size)], strict=True):
        counts = cells.bincount(minlength=size + 1)[1:]
        if counts.max() > 1:
            raise UserError(f"{int(counts.argmax()) + 1} stands more than once in {name}")
    return givens


def format_puzzle(digits: Int64[Tensor, " cell"]) -> str:
    """The board as one line, 0 where a cell is empty."""
    return "".join(map(str, digits.tolist()))


def drawn_puzzle(line: str) -> str:
    """A board of one line as rows, with lines between its boxes."""
    size = isqrt(len(line))
    side = isqrt(size)
    rows = [line[start : start + size] for start in range(0, len(line), size)]
    drawn = [" | ".join(" ".join(row[start : start + side]) for start in range(0, size, side)) for row in rows]
    rule = "-+-".join("-" * (2 * side - 1) for _ in range(side))
    bands = ["\n".join(drawn[start : start + side]) for start in range(0, size, side)]
    return f"\n{rule}\n".join(bands)
