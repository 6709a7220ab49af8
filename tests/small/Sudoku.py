"""Eight puzzles with 17 givens."""

from pathlib import Path
from typing import Any

import numpy as np

from paperzoo.data.logic.sudoku import SUDOKU17
from tests.small.arrays import write_arrays


def prepare(node: dict[str, Any], root: Path) -> None:
    rows = [[(3 * (row % 3) + row // 3 + column) % 9 + 1 for column in range(9)] for row in range(9)]
    solutions = np.array([rows] * 8, dtype=np.uint8).reshape(8, 81)
    givens = solutions * (np.arange(81) < 17).astype(np.uint8)
    write_arrays(SUDOKU17.cache(str(root)), {"givens": givens, "solutions": solutions})
