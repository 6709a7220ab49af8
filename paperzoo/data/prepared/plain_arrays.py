"""`.npy` files that somebody brings: plain numbers, as many as their header says, or refused."""

import tokenize
from pathlib import Path

import numpy as np

from paperzoo.errors import UserError

SUFFIX = ".npy"

# What numpy raises on damaged files. The header is a Python expression, of which only literals are taken.
_BROKEN = (
    ValueError, OSError, EOFError, OverflowError, TypeError, SyntaxError, MemoryError, RecursionError,
    tokenize.TokenError,
)  # fmt: skip


def map_array(path: Path) -> np.ndarray:
    """The array of a file, memory-mapped: so a header cannot claim more than the file holds.

    Raises:
        UserError: it is not there, damaged, cut short, or no array of plain values.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except _BROKEN as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: not a readable {SUFFIX} file of plain numbers, or cut short ({reason})") from error
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: holds several arrays; a {SUFFIX} file with one is wanted")
    return array
