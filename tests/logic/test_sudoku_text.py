"""Sudokus as people write them."""

import random
from pathlib import Path

import numpy as np
import pytest

from paperzoo.errors import UserError
from paperzoo.logic import sudoku_text
from paperzoo.logic.sudoku_text import Puzzles, first_repeat, parse_text, read_puzzles, repeats

SOLUTION = "562198473147536289983472156851349627796251348234687915375914862429865731618723594"
PUZZLE = "062198000007030200980400000050340607006250300000080900070010060000065001018000094"
OTHER_SOLUTION = "182965374397142658645837291973658412261493785458721963829316547514279836736584129"
OTHER = "100000300000042008045837000070650002200093005000701903829000040014209006030500100"
ROWS = [PUZZLE[start : start + 9] for start in range(0, 81, 9)]


def lines(puzzle: str, empty: str = "0", between: str = "", bar: str = "", middle: str = "", frame: str = "") -> str:
    """Nine lines of nine: what stands between cells and between boxes, and the line between the bands."""
    drawn = []
    for row in range(9):
        cells = [empty if cell == "0" else cell for cell in puzzle[9 * row : 9 * row + 9]]
        boxes = [between.join(cells[start : start + 3]) for start in (0, 3, 6)]
        drawn.append(frame + bar.join(boxes) + frame)
        if row in (2, 5) and middle:
            drawn.append(middle)
    return "\n".join(drawn) + "\n"


def found(read: Puzzles) -> list[tuple[str, str]]:
    """(givens, solution) of each puzzle; nothing was wrong."""
    assert read.problems == []
    pairs = zip(read.givens, read.solutions, strict=True)
    return [
        ("".join(map(str, givens)), "".join(map(str, solution)) if solution.any() else "") for givens, solution in pairs
    ]


ONE = {
    "dots": PUZZLE.replace("0", "."),
    "underscores": PUZZLE.replace("0", "_"),
    "stars": PUZZLE.replace("0", "*"),
    "dashes": PUZZLE.replace("0", "-"),
    "quoted": f'"{PUZZLE}"',
    "a comment behind": f"{PUZZLE}  # easy",
    "another comment behind": f"{PUZZLE}; made",
    "a rating behind": f"{PUZZLE}\t2.3",
    "an essay behind": f"{PUZZLE} // {'very ' * 20}hard",
    "spaced cells": " ".join(PUZZLE),
    "spaced rows": " ".join(ROWS),
    "spaces for empty cells": OTHER.replace("0", " "),
    "no line end": PUZZLE,
    "nine lines": lines(PUZZLE),
    "nine lines with comments": "".join(f"{row} # row {n}\n" for n, row in enumerate(ROWS)),
    "a line of comment between nine lines": "\n".join([*ROWS[:3], "# the second band", *ROWS[3:]]),
    "nine lines of dashes": lines(PUZZLE, "-"),
    "nine lines of spaced digits": lines(PUZZLE, between=" ", bar=" "),
    "nine lines with commas": lines(PUZZLE, between=",", bar=","),
    "nine lines with commas and nothing between": lines(PUZZLE, "", between=",", bar=","),
    "bars": lines(PUZZLE, ".", bar="|", middle="---+---+---"),
    "bars and spaces": lines(PUZZLE, ".", " ", " | ", "------+-------+------"),
    "bars and spaces and a frame": "+-------+-------+-------+\n"
    + lines(PUZZLE, "_", " ", " | ", "|-------+-------+-------|", "|")
    + "+-------+-------+-------+\n",
    "bars and spaces for empty cells": lines(PUZZLE, " ", bar="|", middle="---+---+---"),
    "lines of boxes": lines(PUZZLE, ".", " ", " │ ", "──────┼───────┼──────"),
    "blank lines between the bands": lines(PUZZLE, ".", bar=" ", middle=" "),
    "nine dashes between the bands": lines(PUZZLE, "0", middle="---------"),
    "spaces in nine lines": lines(PUZZLE, " "),
    "spaces in nine lines, cut at the end": "".join(f"{row.rstrip()}\n" for row in lines(PUZZLE, " ").splitlines()),
    "sdk": "#AMe\n#DMade here\n#B2024-01-01\n" + lines(PUZZLE, "."),
    "sdk with a section": "[Puzzle]\n" + lines(PUZZLE, "."),
    "sdk with the state of the game": "[Puzzle]\n" + lines(PUZZLE, ".") + "[State]\n" + lines(SOLUTION),
    "a list literal": "[" + ",\n".join(f"[{','.join(row)}]" for row in ROWS) + "]\n",
}
WITH_SOLUTION = {
    "two columns": f"{PUZZLE},{SOLUTION}",
    "kaggle": f"quizzes,solutions\n{PUZZLE},{SOLUTION}",
    "another kaggle": f"id,puzzle,solution,clues,difficulty\n1,{PUZZLE.replace('0', '.')},{SOLUTION},30,1.5",
    "sudoku-extreme": f"source,question,answer,rating\npuzzles0_kaggle,{PUZZLE.replace('0', '.')},{SOLUTION},0",
    "quoted": f'"Puzzle","Solution"\n"{PUZZLE}","{SOLUTION}"',
    "semicolons": f"puzzle;solution\n{PUZZLE};{SOLUTION}",
    "tabs": f"puzzle\tsolution\n{PUZZLE}\t{SOLUTION}",
    "the solution first": f"solution,puzzle\n{SOLUTION},{PUZZLE}",
    "grids with comments": f"# puzzle\n{lines(PUZZLE)}\n# solution\n{lines(SOLUTION)}",
    "grids": f"Puzzle\n{lines(PUZZLE)}\nSolution\n{lines(SOLUTION)}",
}


@pytest.mark.parametrize("text", ONE.values(), ids=ONE.keys())
def test_a_puzzle_is_read_however_it_is_written(text: str) -> None:
    assert [givens for givens, _ in found(parse_text(text, "mine"))] in ([PUZZLE], [OTHER])


@pytest.mark.parametrize("text", WITH_SOLUTION.values(), ids=WITH_SOLUTION.keys())
def test_a_solution_is_read_with_its_puzzle(text: str) -> None:
    assert found(parse_text(text, "mine")) == [(PUZZLE, SOLUTION)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_encoding_and_the_line_ends_do_not_matter(tmp_path: Path, encoding: str, end: str) -> None:
    text = f"quizzes,solutions\n{PUZZLE},{SOLUTION}\n{OTHER},{OTHER_SOLUTION}\n"
    (tmp_path / "mine.csv").write_bytes(text.replace("\n", end).encode(encoding))
    assert found(read_puzzles(tmp_path / "mine.csv")) == [(PUZZLE, SOLUTION), (OTHER, OTHER_SOLUTION)]


@pytest.mark.parametrize("heading", ["Grid {:02}\n", "# puzzle {}\n", "{}\n", "{}.\n", "Puzzle {}, easy:\n\n", "\n"])
def test_several_grids_have_headings_or_blank_lines_between(heading: str) -> None:
    read = parse_text("".join(heading.format(n) + lines(p) for n, p in ((1, PUZZLE), (2, OTHER))), "mine")
    assert [givens for givens, _ in found(read)] == [PUZZLE, OTHER]


def test_grids_need_nothing_between_and_may_stand_beside_lines() -> None:
    read = parse_text(lines(PUZZLE) + lines(OTHER) + PUZZLE + "\n" + lines(OTHER), "mine")
    assert [givens for givens, _ in found(read)] == [PUZZLE, OTHER, PUZZLE, OTHER]
    assert read.lines.tolist() == [1, 10, 19, 20]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (PUZZLE[:-1], "line 2: 80 characters, but a puzzle has 81"),
        (PUZZLE + "0", "line 2: 82 characters, but a puzzle has 81"),
        ("12345", "line 2: 5 characters"),
        ("123", "line 2: 3 characters"),
        (PUZZLE.replace("3", "x", 1), "line 2: 'x' is none of the digits 1 to 9"),
        (PUZZLE.replace("0", "6", 1), "line 2: 6 stands more than once in row 1; correct the puzzle"),
        (f"{PUZZLE[:-1]},{SOLUTION}", "line 2: 80 characters"),
        (f"{PUZZLE},{SOLUTION[:-1]}", "line 2: 80 characters"),
        (f"{PUZZLE},{SOLUTION[:-1]}3", "line 2: the solution breaks the rules: 3 stands more than once in row 9"),
        (f"{PUZZLE},{SOLUTION[:-1]}0", "line 2: the solution breaks the rules: 1 cells are empty"),
        (f"{PUZZLE},{OTHER_SOLUTION}", "line 2: the solution has 8 in row 1, column 2, where 6 is given"),
        ("\n".join(ROWS[:8]), "line 2: a grid of 8 rows begins here; write 9 rows of 9 cells"),
        ("\n".join([*ROWS[:4], ROWS[4][:-1], *ROWS[5:]]), "line 6: 8 characters"),
        ("\n".join([*ROWS[:4], "x" + ROWS[4][1:], *ROWS[5:]]), "line 6: 'x' is none of the digits"),
    ],
)
def test_what_is_wrong_is_told_by_its_line_and_the_others_are_read(text: str, problem: str) -> None:
    read = parse_text(f"{OTHER}\n{text}\n{PUZZLE}\n", "mine.txt")
    (told,) = read.problems
    assert told.startswith(f"mine.txt, {problem}")
    assert read.lines.tolist() == [1, 3 + text.count("\n")]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (f"3,{PUZZLE[:-1]},{SOLUTION}", "80 characters"),
        (f"3,,{SOLUTION}", "0 characters"),
        (f"3,{PUZZLE},{SOLUTION[:-3]}", "78 characters"),
        ("3", "has no column 2"),
    ],
)
def test_a_damaged_row_of_a_table_is_no_other_puzzle(row: str, problem: str) -> None:
    read = parse_text(f"id,puzzle,solution\n1,{PUZZLE},{SOLUTION}\n{row}\n2,{OTHER},{OTHER_SOLUTION}\n", "mine.csv")
    (told,) = read.problems
    assert told.startswith("mine.csv, line 3: ") and problem in told
    assert read.lines.tolist() == [2, 4]


def test_a_row_of_a_table_may_lack_its_solution() -> None:
    read = parse_text(f"puzzle,solution\n{PUZZLE},{SOLUTION}\n{OTHER},\n", "mine.csv")
    assert found(read) == [(PUZZLE, SOLUTION), (OTHER, "")]


def test_of_many_problems_the_first_are_told() -> None:
    read = parse_text("12345678\n" * 100 + PUZZLE, "mine.txt")
    assert len(read.givens) == 1 and len(read.problems) == 21
    assert read.problems[-1] == "mine.txt: 80 more such lines"


def test_blocks_are_joined_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sudoku_text, "BLOCK_BYTES", 100)
    text = "id,puzzle,solution\n" + "".join(f"{n},{PUZZLE},{SOLUTION}\n" for n in range(20))
    (tmp_path / "mine.csv").write_text(text)
    assert found(read_puzzles(tmp_path / "mine.csv")) == [(PUZZLE, SOLUTION)] * 20
    (tmp_path / "grids.txt").write_text("".join(f"Grid {n}\n{lines(PUZZLE, '.', ' ', ' | ', '---')}" for n in range(9)))
    assert found(read_puzzles(tmp_path / "grids.txt")) == [(PUZZLE, "")] * 9


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.txt: cannot be read"):
        read_puzzles(tmp_path / "gone.txt")


def test_repeats_are_those_of_rows_columns_and_boxes() -> None:
    board = np.array([list(map(int, SOLUTION))], dtype=np.uint8)
    assert not repeats(board).any() and first_repeat(board[0]) == ""
    chosen = random.Random(0)
    for _ in range(100):
        changed = board.copy()
        cell = chosen.randrange(81)
        changed[0, cell] = changed[0, cell] % 9 + 1
        assert repeats(changed).all()
        assert first_repeat(changed[0]).startswith(f"{changed[0, cell]} stands more than once in row {cell // 9 + 1}")
    empty = np.zeros((1, 81), dtype=np.uint8)
    for cells, name in (((9, 72), "column 1"), ((0, 10), "box 1"), ((40, 30), "box 5"), ((8, 26), "column 9")):
        twice = empty.copy()
        twice[0, list(cells)] = 7
        assert repeats(twice).all() and first_repeat(twice[0]) == f"7 stands more than once in {name}"
