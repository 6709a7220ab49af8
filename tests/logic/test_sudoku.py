"""The rules of Sudoku."""

import pytest
import torch

from paperzoo.errors import UserError
from paperzoo.logic.sudoku import format_puzzle, is_solved, neighbours, parse_puzzle

SOLUTION = "".join(str((3 * row + row // 3 + column) % 9 + 1) for row in range(9) for column in range(9))
EMPTY = torch.zeros(1, 81, dtype=torch.long)


@pytest.mark.parametrize(("size", "each"), [(4, 7), (9, 20)])
def test_each_cell_has_as_many_neighbours(size: int, each: int) -> None:
    one, other = neighbours(size)
    assert one.bincount().tolist() == other.bincount().tolist() == [each] * size**2
    for a, b in zip(one.tolist(), other.tolist(), strict=True):
        side = int(size**0.5)
        rows, columns = (a // size, b // size), (a % size, b % size)
        same_box = rows[0] // side == rows[1] // side and columns[0] // side == columns[1] // side
        assert a != b and (rows[0] == rows[1] or columns[0] == columns[1] or same_box)


def test_a_board_is_solved_only_if_every_cell_is_right() -> None:
    board = parse_puzzle(SOLUTION)[None]
    assert is_solved(board, EMPTY).all() and is_solved(board, board).all()
    for cell in range(81):
        changed = board.clone()
        changed[0, cell] = changed[0, cell] % 9 + 1
        assert not is_solved(changed, EMPTY).any()
        assert not is_solved(board, torch.where(torch.arange(81) == cell, changed, 0)).any()


def test_a_board_with_right_rows_and_columns_and_wrong_boxes_is_not_solved() -> None:
    cyclic = torch.tensor([[(row + column) % 9 + 1 for row in range(9) for column in range(9)]])
    assert not is_solved(cyclic, EMPTY).any()


def test_a_line_survives_parsing_and_formatting() -> None:
    line = "".join(digit if cell % 3 else "0" for cell, digit in enumerate(SOLUTION))
    assert format_puzzle(parse_puzzle(line)) == line == format_puzzle(parse_puzzle(line.replace("0", ".")))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("12", "2 characters"),
        ("x" + "0" * 80, "'x' is none of the digits"),
        ("5" + "0" * 7 + "5" + "0" * 72, "5 stands more than once in row 1"),
        ("5" + "0" * 71 + "5" + "0" * 8, "5 stands more than once in column 1"),
        ("5" + "0" * 9 + "5" + "0" * 70, "5 stands more than once in box 1"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(line: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        parse_puzzle(line)
