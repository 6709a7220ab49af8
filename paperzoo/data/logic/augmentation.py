"""Random changes of whole batches of puzzles, from torch's global generators."""

from paperzoo.batches import Sudokus
from paperzoo.data.logic.puzzles import random_names, renamed


class RenameDigits:
    """Renames the digits of each puzzle, all permutations being equally likely."""

    def __call__(self, batch: Sudokus) -> Sudokus:
        return renamed(batch, random_names(len(batch.givens)).to(batch.givens.device))
