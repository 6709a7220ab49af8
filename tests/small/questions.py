"""Questions in the words of CLEVR, written as prepared arrays."""

from pathlib import Path

import numpy as np

from paperzoo.data.questions.clevr_files import FILE_SETS, Content
from tests.small.arrays import write_arrays

QUESTIONS = 40


def write_questions(content: Content, about: dict[str, np.ndarray], root: Path) -> None:
    """Questions of all kinds about the four things in `about`."""
    columns = {
        "words": np.ones((QUESTIONS, 3), dtype=np.uint8),
        "row": np.arange(QUESTIONS, dtype=np.int32) % 4,
        "answer": np.zeros(QUESTIONS, dtype=np.uint8),
        "kind": (np.arange(QUESTIONS) % 13).astype(np.uint8),
        **about,
    }
    arrays = {f"{part}_{name}": column for part in ("train", "val") for name, column in columns.items()}
    write_arrays(FILE_SETS[content].cache(str(root)), arrays)
