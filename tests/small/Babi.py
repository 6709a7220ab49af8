"""Two questions of each task."""

from pathlib import Path
from typing import Any

import numpy as np

from paperzoo.data.questions.babi import FILE_SETS
from tests.small.arrays import write_arrays

QUESTIONS = 40


def prepare(node: dict[str, Any], root: Path) -> None:
    columns = {
        "sentences": np.ones((QUESTIONS, 3), dtype=np.uint8),
        "questions": np.ones((QUESTIONS, 3), dtype=np.uint8),
        "first": np.arange(QUESTIONS),
        "last": np.arange(QUESTIONS) + 1,
        "answer": np.zeros(QUESTIONS, dtype=np.int64),
        "kind": np.arange(QUESTIONS) % 20,
    }
    arrays = {f"{part}_{name}": column for part in ("train", "test") for name, column in columns.items()}
    write_arrays(FILE_SETS["en-10k"].cache(str(root)), arrays)
